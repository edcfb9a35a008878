// What an operator does to a sale: turn it on and off, create it, edit it.

import { Refused, call, salePath } from "./api.js";
import { make } from "./dom.js";
import { Warned, area, ask, choice, field, integer, number, problem } from "./form.js";

const CONFIRMATIONS = {
  pause: ["Pause", "The sale refuses reserves until you resume it. Holds stay: they can be confirmed, released and extended."],
  resume: ["Resume", "The sale takes reserves again while its window is open."],
  close: ["Close", "Closing is final: the sale takes no more reserves. Holds stay, and can be confirmed and released."],
};

export function turn(verb, sale, done) {
  const [name, what] = CONFIRMATIONS[verb];
  const parts = [make("p", {}, what)];
  let ready = () => true;
  if (verb === "close") {
    const typed = field(`Type ${sale.id} to confirm`, { spellcheck: "false", autocapitalize: "off" });
    parts.push(typed.element);
    ready = () => typed.input.value.trim() === sale.id;
  }
  const send = () => call("POST", salePath(sale.id, `/${verb}`));
  ask(`${name} “${sale.name}”?`, parts, `${name} the sale`, { danger: verb === "close", ready, send, done });
}

export function create(done) {
  const id = field("Id", { "data-pointer": "/id", spellcheck: "false", autocapitalize: "off" },
    "Part of URLs, and cannot change: a-z, 0-9, dot, dash, underscore.");
  const now = Date.now();
  const { name, ...rules } = rulesOf({ name: "", opens_at: now, closes_at: now + 86_400_000, hold_seconds: 300 });
  const main = { name, id, ...rules };
  const items = make("div", { class: "field" });
  const rows = [];
  const add = () => {
    const row = itemRow(() => {
      rows.splice(rows.indexOf(row), 1);
      row.element.remove();
    });
    rows.push(row);
    items.append(row.element);
    return row;
  };
  add();
  const more = make("button", { type: "button", onclick: () => add().sku.focus() }, "Add an item");
  const form = make("div", { class: "field" },
    make("div", { class: "fields" }, ...Object.values(main).map((each) => each.element)),
    make("h3", {}, "Items"), items, make("div", {}, more));
  const written = new Written(form, () => saleBody(main, rows));
  const warn = warnings();
  const send = async () => {
    const body = written.asDocument ? written.document() : saleBody(main, rows);
    if (!body.id || `${body.id}`.includes("/")) throw missingId();
    await refuseIfThere(body.id);
    await warn(body.id, body);
    return call("PUT", salePath(body.id), { body });
  };
  ask("New sale", written.parts, "Create the sale", { wide: true, send, done });
}

/** A sale is written in a form, or as the document that the API takes, which has phases and pools as well. */
class Written {
  /** `body`: what the form says, to begin the document with. */
  constructor(form, body) {
    this.asDocument = false;
    this.text = area("Document", { class: "document", rows: 18, spellcheck: "false", autocapitalize: "off" },
      "The sale as JSON, with phases and pools. Times have a zone, such as 2030-11-27T08:00:00Z.");
    this.text.element.hidden = true;
    const way = choice("How to write the sale", ["Form", "Document"], (place) => {
      this.asDocument = place === 1;
      [form.hidden, this.text.element.hidden] = [this.asDocument, !this.asDocument];
      if (this.asDocument && this.text.input.value === "") this.text.input.value = this.before = JSON.stringify(body(), null, 2);
      form.dispatchEvent(new Event("input", { bubbles: true }));
    });
    this.parts = [way, form, this.text.element];
  }

  isChanged() {
    return this.text.input.value !== this.before;
  }

  document() {
    try {
      return JSON.parse(this.text.input.value);
    } catch (error) {
      throw problem(400, "invalid_request", "The document is not JSON", "", error.message);
    }
  }
}

/** Has the service look at a document before it is saved. Each document is warned of once. */
function warnings() {
  let told = "";
  return async (id, body) => {
    const text = JSON.stringify(body);
    if (text === told) return;
    const { warnings: found } = await call("PUT", salePath(id, "?dry_run=true"), { body });
    if (found.length === 0) return;
    told = text;
    throw new Warned(found);
  };
}

const local = (moment) => {
  const at = new Date(moment);
  return new Date(at.getTime() - at.getTimezoneOffset() * 60_000).toISOString().slice(0, 16);
};

/** Fields for the members of a sale that can be changed at any time. */
function rulesOf(sale) {
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  const time = (name) => ({ "data-pointer": `/${name}`, type: "datetime-local", value: local(sale[name]) });
  const count = (name) => ({ "data-pointer": `/${name}`, ...integer, value: sale[name] ?? "" });
  return {
    name: field("Name", { "data-pointer": "/name", value: sale.name }, "For people."),
    opens_at: field("Opens", time("opens_at"), zone),
    closes_at: field("Closes", time("closes_at"), zone),
    hold_seconds: field("A hold lasts", count("hold_seconds"), "In seconds. Existing holds keep their time."),
    max_extensions: field("Extensions of a hold", count("max_extensions"), "At most; empty: the service's limit."),
    customer_limit: field("Limit per customer", count("customer_limit"), "Units of each item; empty: none."),
    late_confirm_seconds: field("Late payments", count("late_confirm_seconds"), "Seconds after a hold's end; empty: none."),
  };
}

/** Changes what was changed in the form, and only if nobody else has changed the sale meanwhile. */
export async function edit({ id }, done) {
  const { document: sale, version } = await call("GET", salePath(id), { versioned: true });
  const rules = rulesOf(sale);
  const before = Object.fromEntries(Object.entries(rules).map(([name, { input }]) => [name, input.value]));
  const known = sale.items.map((item) => editedItem(item));
  const list = make("div", { class: "field items" }, ...known.map((each) => each.element));
  const added = [];
  const add = () => {
    const row = itemRow(() => {
      added.splice(added.indexOf(row), 1);
      row.element.remove();
    });
    added.push(row);
    list.append(row.element);
    row.sku.focus();
  };
  const changes = () => {
    const patch = {};
    for (const [name, { input }] of Object.entries(rules)) {
      if (input.value !== before[name]) patch[name] = valueOf(name, input.value.trim());
    }
    const items = [...known.map((each) => each.change()).filter(Boolean), ...added.map(itemOf)];
    if (items.length > 0) patch.items = items;
    return patch;
  };
  const form = make("div", { class: "field" },
    make("div", { class: "fields" }, ...Object.values(rules).map((each) => each.element)),
    make("h3", {}, "Items"), make("p", { class: "muted" }, "A new price applies to new reservations. To change stock, adjust it."),
    list, make("div", {}, make("button", { type: "button", onclick: add }, "Add an item")));
  const written = new Written(form, () => documentOf(sale));
  const warn = warnings();
  const send = async () => {
    if (written.asDocument) {
      const body = written.document();
      await warn(id, body);
      return call("PUT", salePath(id), { body, ifMatch: version });
    }
    try {
      await warn(id, merged(documentOf(sale), changes()));
    } catch (error) {
      // What is refused is refused again below, with the places of the form.
      if (!(error instanceof Refused) || error.status >= 500) throw error;
    }
    return call("PATCH", salePath(id), { body: changes(), ifMatch: version });
  };
  ask(`Edit “${sale.name}”`, written.parts, "Save the changes", {
    wide: true,
    ready: () => (written.asDocument ? written.isChanged() : Object.keys(changes()).length > 0),
    send,
    done,
  });
}

const COUNTS = ["stock", "available", "held", "confirmed", "limit_counts_since"];

/** The sale as its operator wrote it, without what the service counts. */
function documentOf({ status: _, ...sale }) {
  const plain = (it) => Object.fromEntries(Object.entries(it).filter(([name]) => !COUNTS.includes(name)));
  const items = sale.items.map((item) => ({ ...plain(item), ...(item.pools && { pools: item.pools.map(plain) }) }));
  return { ...sale, items };
}

/** A document with a merge patch, as far as the form makes one: items by their SKU, and null for what is to go. */
function merged(sale, { items = [], ...rules }) {
  const merge = (before, patch) => Object.fromEntries(Object.entries({ ...before, ...patch }).filter(([, value]) => value !== null));
  const known = sale.items.map((item) => merge(item, items.find(({ sku }) => sku === item.sku)));
  const added = items.filter(({ sku }) => !sale.items.some((item) => item.sku === sku));
  return { ...merge(sale, rules), items: [...known, ...added] };
}

function valueOf(name, text) {
  if (name === "name") return text;
  if (name.endsWith("_at")) return text ? new Date(text).toISOString() : text;
  // In a merge patch null takes an optional member away.
  return text === "" ? null : number(text);
}

/** An item that is there: its price, its limit, and when its stock is low. */
function editedItem(item) {
  const digits = item.price ? digitsOf(item.price.currency) : 2;
  const shown = item.price ? (item.price.amount / 10 ** digits).toFixed(digits) : "";
  const price = field("Price", { "data-pointer": "/price/amount", inputmode: "decimal", value: shown });
  const currency = field("Currency", { "data-pointer": "/price/currency", maxlength: 3, value: item.price?.currency ?? "" });
  const limit = field("Limit per customer", { "data-pointer": "/customer_limit", ...integer, value: item.customer_limit ?? "" });
  const low = field("Low stock at", { "data-pointer": "/low_stock_at", ...integer, value: item.low_stock_at ?? "" });
  const all = [price, currency, limit, low];
  const before = all.map(({ input }) => input.value);
  const element = make("fieldset", {}, make("legend", {}, item.sku), make("div", { class: "fields" }, ...all.map((each) => each.element)));
  const change = () => {
    if (all.every(({ input }, place) => input.value === before[place])) return null;
    const typed = price.input.value.trim() || currency.input.value.trim();
    return {
      sku: item.sku,
      price: typed ? priceOf(price.input.value, currency.input.value) : null,
      customer_limit: valueOf("customer_limit", limit.input.value.trim()),
      low_stock_at: low.input.value.trim() === "" ? null : number(low.input.value),
    };
  };
  return { element, change };
}

function itemRow(remove) {
  const sku = field("SKU", { "data-pointer": "/sku", spellcheck: "false" });
  const stock = field("Stock", { "data-pointer": "/initial_stock", ...integer });
  const price = field("Price", { "data-pointer": "/price/amount", inputmode: "decimal", placeholder: "199.00" });
  const currency = field("Currency", { "data-pointer": "/price/currency", maxlength: 3, placeholder: "EUR", autocapitalize: "characters" });
  const parts = [sku, stock, price, currency].map((each) => each.element);
  const drop = make("button", { type: "button", class: "small", onclick: remove }, "Remove");
  const element = make("fieldset", {}, make("legend", {}, "Item"), make("div", { class: "fields" }, ...parts), make("div", {}, drop));
  return { element, sku: sku.input, stock: stock.input, price: price.input, currency: currency.input };
}

function saleBody(main, rows) {
  const text = Object.fromEntries(Object.entries(main).map(([name, { input }]) => [name, input.value.trim()]));
  const time = (value) => (value ? new Date(value).toISOString() : value);
  const body = {
    id: text.id,
    name: text.name,
    opens_at: time(text.opens_at),
    closes_at: time(text.closes_at),
    hold_seconds: number(text.hold_seconds),
    items: rows.map(itemOf),
  };
  for (const name of ["max_extensions", "customer_limit", "late_confirm_seconds"]) if (text[name]) body[name] = number(text[name]);
  return body;
}

function itemOf(row) {
  const item = { sku: row.sku.value.trim(), initial_stock: number(row.stock.value) };
  if (row.price.value.trim() || row.currency.value.trim()) item.price = priceOf(row.price.value, row.currency.value);
  return item;
}

/** Prices are typed as people write them, and sent in minor units. */
function priceOf(typed, currency) {
  const code = currency.trim().toUpperCase();
  const digits = digitsOf(code);
  const [, units, fraction = ""] = /^(\d+)(?:[.,](\d+))?$/.exec(typed.trim()) ?? [];
  const isExact = units !== undefined && fraction.length <= digits;
  return { amount: isExact ? Number(units + fraction.padEnd(digits, "0")) : typed.trim(), currency: code };
}

function digitsOf(currency) {
  try {
    return new Intl.NumberFormat("en", { style: "currency", currency }).resolvedOptions().maximumFractionDigits;
  } catch {
    return 2; // not a currency: the service says so
  }
}

function missingId() {
  return problem(400, "invalid_request", "The sale needs an id", "/id", "must be 1 to 64 characters from a-z, 0-9, dot, dash and underscore");
}

/** PUT would replace it. */
async function refuseIfThere(id) {
  try {
    await call("GET", salePath(id));
  } catch (error) {
    if (error.status === 404 || error.status === 400) return;
    throw error;
  }
  throw problem(409, "sale_exists", "A sale with this id exists", "/id", "choose another: an id cannot be reused");
}
