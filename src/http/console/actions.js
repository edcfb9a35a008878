// What an operator does: dialogs that say what will happen, do it once, and show the service's own words when it refuses.

import { Refused, call, intention, salePath } from "./api.js";
import { make, moment, money, say, units, withSeconds } from "./dom.js";

const CONFIRMATIONS = {
  pause: ["Pause", "The sale refuses reserves until you resume it. Holds stay: they can be confirmed, released and extended."],
  resume: ["Resume", "The sale takes reserves again while its window is open."],
  close: ["Close", "Closing is final: the sale takes no more reserves. Holds stay, and can be confirmed and released."],
};

/** A dialog around a form. `send` gives a promise; what it is refused with is shown, and the form stays. */
function ask(title, parts, verb, { danger = false, wide = false, stays = false, ready = () => true, send, done }) {
  const wrong = make("div", { class: "wrong", role: "alert", hidden: true });
  const button = make("button", { type: "submit", class: danger ? "danger" : "main" }, verb);
  const cancel = make("button", { type: "button", onclick: () => dialog.close() }, stays ? "Close" : "Cancel");
  const form = make("form", { novalidate: true, autocomplete: "off" },
    make("h2", { id: "dialog-title" }, title), ...parts, wrong, make("div", { class: "end" }, cancel, button));
  const dialog = make("dialog", { "aria-labelledby": "dialog-title", class: wide ? "wide" : null }, form);
  const check = () => (button.disabled = !ready());
  form.addEventListener("input", check);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (button.disabled) return;
    button.disabled = true;
    wrong.hidden = true;
    form.querySelectorAll("[aria-invalid]").forEach((input) => input.removeAttribute("aria-invalid"));
    try {
      const answer = await send();
      if (!stays) dialog.close();
      done(answer);
    } catch (error) {
      wrong.replaceChildren(...told(error));
      wrong.hidden = false;
      mark(form, error);
    } finally {
      check();
    }
  });
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  check();
  dialog.showModal();
}

/** What the service said, in its own words. */
function told(error) {
  if (!(error instanceof Refused)) {
    return [make("strong", {}, "The service does not answer. "), "The change may or may not have happened: check, then try again."];
  }
  const { title, detail, errors } = error.problem;
  const list = (errors ?? []).map((each) => make("li", {}, `${each.pointer || "request"}: ${each.detail}`));
  const text = list.length > 0 ? make("ul", {}, ...list) : make("p", {}, detail === title ? "" : detail ?? "");
  const changed = error.status === 412 ? " Close this form and open it again to see the sale as it is now." : "";
  return [make("strong", {}, `${title} (${error.status} ${error.problem.code})`), text, changed];
}

/** Leads to the field that the first error points at. */
function mark(form, error) {
  const pointers = (error.problem?.errors ?? []).map((each) => each.pointer);
  const inputs = [...form.querySelectorAll("[data-pointer]")];
  const meant = inputs.filter((input) => pointers.some((pointer) => pointer === pointerOf(input)));
  meant.forEach((input) => input.setAttribute("aria-invalid", "true"));
  meant[0]?.focus();
}

/** Fields of an item stand for the place that the item has now. */
function pointerOf(input) {
  const item = input.closest("fieldset");
  if (!item) return input.dataset.pointer;
  const place = [...item.parentElement.querySelectorAll(":scope > fieldset")].indexOf(item);
  return `/items/${place}${input.dataset.pointer}`;
}

let fields = 0;

function field(label, members = {}, hint = "") {
  const id = `field-${(fields += 1)}`;
  const input = make("input", { id, ...members, "aria-describedby": hint ? `${id}-hint` : null });
  const told = hint ? make("span", { class: "hint", id: `${id}-hint` }, hint) : null;
  return { input, element: make("div", { class: "field" }, make("label", { for: id }, label), input, told) };
}

const integer = { inputmode: "numeric", spellcheck: "false" };

/** A whole number, or what was typed: the service then says what is wrong with it. */
function number(text) {
  const trimmed = text.trim();
  return /^[+-]?\d+$/.test(trimmed) && Number.isSafeInteger(Number(trimmed)) ? Number(trimmed) : trimmed;
}

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

export function adjust(sale, item, done) {
  const delta = field("Units", { ...integer, "data-pointer": "/delta", placeholder: "+50 or -5" },
    "Units to add, or to remove with a minus. Only available units can be removed.");
  const reason = field("Reason", { "data-pointer": "/reason", maxlength: 255 }, "Kept for good in the audit trail.");
  const reference = field("Reference", { "data-pointer": "/reference", maxlength: 255 }, "For instance, a delivery number.");
  const now = make("p", {}, `Stock ${units(item.stock)}, of which ${units(item.available)} are available.`);
  const preview = make("p", { class: "muted", role: "status" });
  delta.input.addEventListener("input", () => {
    const change = number(delta.input.value);
    const isChange = typeof change === "number" && change !== 0;
    if (!isChange) say(preview, "");
    else if (item.available + change < 0) say(preview, `Only ${units(item.available)} can be removed: the others are held or sold.`);
    else say(preview, `The stock will be ${units(item.stock + change)}, of which ${units(item.available + change)} available.`);
  });
  const idempotencyKey = intention();
  const send = () => {
    const body = { delta: number(delta.input.value) };
    for (const [name, { input }] of Object.entries({ reason, reference })) {
      if (input.value.trim()) body[name] = input.value.trim();
    }
    const path = salePath(sale.id, `/items/${encodeURIComponent(item.sku)}/adjustments`);
    return call("POST", path, { body, idempotencyKey: `${idempotencyKey}-${fingerprint(body)}` });
  };
  ask(`Adjust the stock of ${item.sku}`, [now, delta.element, preview, reason.element, reference.element], "Adjust the stock", {
    ready: () => delta.input.value.trim() !== "", send, done,
  });
}

/** The same change sent again is the same intention; another one is not. */
function fingerprint(body) {
  let hash = 0;
  for (const character of JSON.stringify(body)) hash = (Math.imul(hash, 31) + character.codePointAt(0)) >>> 0;
  return hash.toString(16);
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
  const send = async () => {
    const body = saleBody(main, rows);
    if (!body.id || body.id.includes("/")) throw missingId();
    await refuseIfThere(body.id);
    return call("PUT", salePath(body.id), { body });
  };
  const parts = [make("div", { class: "fields" }, ...Object.values(main).map((each) => each.element)),
    make("h3", {}, "Items"), items, make("div", {}, more)];
  ask("New sale", parts, "Create the sale", { wide: true, send, done });
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
  const parts = [
    make("div", { class: "fields" }, ...Object.values(rules).map((each) => each.element)),
    make("h3", {}, "Items"), make("p", { class: "muted" }, "A new price applies to new reservations. To change stock, adjust it."),
    list, make("div", {}, make("button", { type: "button", onclick: add }, "Add an item")),
  ];
  ask(`Edit “${sale.name}”`, parts, "Save the changes", {
    wide: true,
    ready: () => Object.keys(changes()).length > 0,
    send: () => call("PATCH", salePath(id), { body: changes(), ifMatch: version }),
    done,
  });
}

function valueOf(name, text) {
  if (name === "name") return text;
  if (name.endsWith("_at")) return text ? new Date(text).toISOString() : text;
  // In a merge patch null takes an optional member away.
  return text === "" ? null : number(text);
}

/** An item that is there: its price and its limit. */
function editedItem(item) {
  const digits = item.price ? digitsOf(item.price.currency) : 2;
  const shown = item.price ? (item.price.amount / 10 ** digits).toFixed(digits) : "";
  const price = field("Price", { "data-pointer": "/price/amount", inputmode: "decimal", value: shown });
  const currency = field("Currency", { "data-pointer": "/price/currency", maxlength: 3, value: item.price?.currency ?? "" });
  const limit = field("Limit per customer", { "data-pointer": "/customer_limit", ...integer, value: item.customer_limit ?? "" });
  const all = [price, currency, limit];
  const before = all.map(({ input }) => input.value);
  const element = make("fieldset", {}, make("legend", {}, item.sku), make("div", { class: "fields" }, ...all.map((each) => each.element)));
  const change = () => {
    if (all.every(({ input }, place) => input.value === before[place])) return null;
    const typed = price.input.value.trim() || currency.input.value.trim();
    return {
      sku: item.sku,
      price: typed ? priceOf(price.input.value, currency.input.value) : null,
      customer_limit: valueOf("customer_limit", limit.input.value.trim()),
    };
  };
  return { element, change };
}

/** A reservation by its id, or all that a customer has in a sale. `sale`: the one that is looked at. */
export function find(sale, mayAskForCustomers) {
  const plain = { spellcheck: "false", autocapitalize: "off" };
  const id = field("Reservation", { "data-pointer": "", ...plain }, "The id from the answer to the reserve.");
  const customer = field("Customer", { "data-pointer": "/customer", ...plain }, "The customer id that the checkout sends.");
  const of = field("Sale", { ...plain, value: sale }, "The sale's id.");
  const ofCustomer = make("div", { class: "fields", hidden: true }, customer.element, of.element);
  const found = make("div", { class: "found", role: "status" });
  const typed = ({ input }) => input.value.trim();
  let byCustomer = false;
  const choose = (wanted) => {
    byCustomer = wanted;
    [id.element.hidden, ofCustomer.hidden] = [byCustomer, !byCustomer];
    ways.forEach((way, place) => way.setAttribute("aria-pressed", `${Boolean(place) === byCustomer}`));
    found.replaceChildren();
    (byCustomer ? customer : id).input.focus();
    // Another field decides whether there is something to look for.
    ofCustomer.dispatchEvent(new Event("input", { bubbles: true }));
  };
  const ways = ["By its id", "By customer"].map((name, place) =>
    make("button", { type: "button", class: "small", "aria-pressed": `${place === 0}`, onclick: () => choose(place === 1) }, name));
  const way = make("div", { class: "row", role: "group", "aria-label": "How to find it", hidden: !mayAskForCustomers }, ...ways);
  const send = async () => {
    found.replaceChildren();
    if (!byCustomer) return call("GET", `v1/reservations/${encodeURIComponent(typed(id))}`);
    return call("GET", salePath(typed(of), `/reservations?customer=${encodeURIComponent(typed(customer))}`));
  };
  ask("Find a reservation", [way, id.element, ofCustomer, found], "Find", {
    wide: true,
    stays: true,
    ready: () => (byCustomer ? typed(customer) !== "" && typed(of) !== "" : typed(id) !== ""),
    send,
    done: (answer) => found.replaceChildren(...(byCustomer ? has(answer) : facts(answer))),
  });
}

/** What a customer has in a sale: units against limits, and reservations. */
function has({ reservations, reservations_total: total, limits }) {
  const some = limits.filter(({ already }) => already > 0);
  const rows = some.map(({ sku, limit, already }) => make("tr", {}, make("th", { scope: "row" }, sku),
    ...[["Has", already], ["Limit", limit], ["Left", Math.max(0, limit - already)]].map(([name, count]) => make("td", { "data-name": name }, units(count)))));
  const head = ["Item", "Has", "Limit", "Left"].map((name) => make("th", { scope: "col" }, name));
  const table = make("table", { "aria-label": "Units against limits" }, make("thead", {}, make("tr", {}, ...head)), make("tbody", {}, ...rows));
  const others = limits.length - some.length;
  const rest = others > 0 ? `Of ${units(others)} ${some.length > 0 ? "other " : ""}items with a limit the customer has none.` : "";
  const told = limits.length === 0 ? "No item of this sale has a limit per customer." : rest;
  const shown = reservations.map((reservation) => make("li", {}, ...entry(reservation)));
  const counted = total ? `The newest ${units(shown.length)} of ${units(total)} reservations` : `${units(shown.length)} ${shown.length === 1 ? "reservation" : "reservations"}, the newest first`;
  return [
    make("h3", {}, "Units against limits"), some.length > 0 ? table : null, told ? make("p", { class: "muted" }, told) : null,
    make("h3", {}, shown.length > 0 ? counted : "No reservations"),
    shown.length > 0
      ? make("ul", { class: "entries", role: "list" }, ...shown)
      : make("p", { class: "muted" }, "Memory has none of this customer in this sale. What was over long ago is in the store alone."),
  ].filter(Boolean);
}

/** A reservation in short: its state, lines and times. */
function entry(reservation) {
  const { id, state, lines, reference, created_at: made, expires_at: until, [`${state}_at`]: ended } = reservation;
  const at = (time) => withSeconds(Date.parse(time));
  const when = state === "held" ? `held until ${at(until)}` : `${state} ${at(ended)}`;
  const what = lines.map(({ sku, quantity }) => `${units(quantity)} × ${sku}`).join(", ");
  return [
    make("div", { class: "row" }, make("span", { class: `chip ${state}` }, state), make("strong", {}, what)),
    make("p", {}, `Made ${at(made)}, ${when}${reference ? ` · ${reference}` : ""}`),
    make("p", { class: "muted" }, id),
  ];
}

function facts(reservation) {
  const named = [
    ["State", reservation.state], ["Sale", reservation.sale], ["Customer", reservation.customer], ["Reference", reservation.reference],
    ["Created", reservation.created_at], ["Expires", reservation.expires_at], ["Confirmed", reservation.confirmed_at],
    ["Released", reservation.released_at], ["Expired", reservation.expired_at], ["Extensions", reservation.extensions],
  ];
  const list = named.filter(([, value]) => value !== undefined).flatMap(([name, value]) => {
    const told = name !== "Reference" && /^\d{4}-\d\d-\d\dT/.test(value) ? moment(Date.parse(value)) : `${value}`;
    return [make("dt", {}, name), make("dd", {}, told)];
  });
  const lines = reservation.lines.map(({ sku, quantity, price }) =>
    make("li", {}, `${units(quantity)} × ${sku}${price ? ` at ${money(price.amount, price.currency)}` : ""}`));
  return [make("dl", { class: "facts" }, ...list), make("ul", {}, ...lines)];
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
  for (const name of ["max_extensions", "customer_limit"]) if (text[name]) body[name] = number(text[name]);
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

function problem(status, code, title, pointer, detail) {
  return new Refused(status, { title, code, detail, errors: [{ pointer, detail }] }, null);
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
