// The audit trail: what operators did, the newest first, page by page as its reader asks for more.

import { Refused, call } from "./api.js";
import { make, money, say, span, timeOfDay, units, withSeconds } from "./dom.js";

const RECORDS_PER_PAGE = 50;
const COLUMNS = ["When", "Who", "What", "Sale", "Item", "Details"];
const ACTIONS = {
  "sale.put": "Sale saved", "sale.pause": "Paused", "sale.resume": "Resumed", "sale.close": "Closed for good",
  "stock.adjust": "Stock adjusted", "stock.transfer": "Stock moved", "keys.change": "Keys changed", "customer.erase": "Customer erased",
  "holds.extend": "Holds extended", "webhook.resume": "Webhook resumed",
};
/** Members of a sale, as its form calls them. */
const MEMBERS = {
  name: "name", opens_at: "opens", closes_at: "closes", hold_seconds: "seconds of a hold", max_extensions: "extensions of a hold",
  customer_limit: "limit per customer", late_confirm_seconds: "seconds of late payments", hold_budget: "hold budget", price: "price", rate_limits: "rate limits", initial_stock: "initial stock",
  limit_counts_since: "limit counts since", phases: "phases", pools: "pools", sourcing: "sourcing", split: "split", low_stock_at: "low stock at",
  group: "group deal",
};

/** `sales`: ids to choose from. */
export function showTrail(sales) {
  const sale = make("input", { id: "trail-sale", list: "trail-sales", spellcheck: "false", autocapitalize: "off", placeholder: "All sales" });
  const known = make("datalist", { id: "trail-sales" }, ...sales.map((id) => make("option", { value: id })));
  const form = make("form", { class: "row", novalidate: true, autocomplete: "off" },
    make("label", { for: "trail-sale" }, "Sale"), sale, known, make("button", { type: "submit", class: "main" }, "Show"));
  const wrong = make("p", { class: "wrong", role: "alert", hidden: true });
  const asOf = make("p", { class: "muted", role: "status" }, "Reading the store.");
  const rows = make("tbody");
  const head = COLUMNS.map((name) => make("th", { scope: "col" }, name));
  const table = make("table", { class: "texts", "aria-label": "Audit trail", hidden: true }, make("thead", {}, make("tr", {}, ...head)), rows);
  const more = make("button", { type: "button", hidden: true, onclick: () => read(false) }, "Load more");
  const close = make("button", { type: "button", onclick: () => dialog.close() }, "Close");
  const dialog = make("dialog", { class: "page", "aria-labelledby": "trail-title" },
    make("div", { class: "head" }, make("h2", { id: "trail-title" }, "Audit trail"), close),
    make("div", { class: "report" }, form, asOf, wrong, table, make("div", {}, more)));
  let [next, wanted, turn] = ["", "", 0];

  async function read(anew) {
    const own = (turn += 1);
    if (anew) [next, wanted] = ["", sale.value.trim()];
    const query = [`limit=${RECORDS_PER_PAGE}`];
    if (wanted) query.push(`sale=${encodeURIComponent(wanted)}`);
    if (next) query.push(`before=${next}`);
    more.disabled = true;
    try {
      const page = await call("GET", `v1/audit?${query.join("&")}`);
      // Another question was asked meanwhile.
      if (own !== turn) return;
      if (anew) rows.replaceChildren();
      rows.append(...page.records.map(row));
      next = page.next ?? "";
      wrong.hidden = true;
      const found = rows.children.length;
      const whole = next ? "" : `${found === 0 ? "No records" : `All ${units(found)} records`}. `;
      say(asOf, `${whole}As of ${timeOfDay(Date.parse(page.as_of.read_at))}; the store was ${span(page.as_of.lag_seconds)} behind.`);
    } catch (error) {
      if (own !== turn) return;
      say(wrong, error instanceof Refused ? `${error.problem.title}: ${error.message}` : "The service does not answer.");
      wrong.hidden = false;
      say(asOf, "");
      if (anew) rows.replaceChildren();
    }
    table.hidden = rows.children.length === 0;
    [more.hidden, more.disabled] = [!next, false];
  }

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    read(true);
  });
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
  read(true);
}

function row({ at, actor, action, sale, sku, detail }) {
  const cells = [who(actor), ACTIONS[action] ?? action, sale ?? "–", sku ?? "–", told(action, detail) || "–"];
  return make("tr", {}, make("th", { scope: "row" }, make("time", { datetime: at }, withSeconds(Date.parse(at)))),
    ...cells.map((text, place) => make("td", { "data-name": COLUMNS[place + 1] }, text)));
}

function who(actor) {
  if (actor === "process") return "the service";
  return actor.startsWith("key:") ? actor.slice(4) : actor;
}

/** A record's detail in words. */
function told(action, detail) {
  if (action === "stock.adjust") return detail.changes ? adjustedTogether(detail.changes) : adjusted(detail);
  if (action === "stock.transfer") return transferred(detail);
  if (action === "sale.put") return saved(detail);
  if (action === "keys.change") return keys(detail);
  if (action === "holds.extend") return because(`all holds end ${span(detail.seconds)} later`, detail);
  if (action === "webhook.resume") return detail.webhook;
  if (action === "customer.erase") return `${units(detail.reservations)} reservations were in memory`;
  return Object.keys(detail).length > 0 ? JSON.stringify(detail) : "";
}

const signed = (delta) => `${delta > 0 ? "+" : "−"}${units(Math.abs(delta))}`;

const because = (change, { reason, reference }) =>
  [change, reason && `reason: ${reason}`, reference && `reference: ${reference}`].filter(Boolean).join("; ");

function adjusted(detail) {
  const { pool, delta, stock, available } = detail;
  const where = pool ? ` in ${pool}` : "";
  return because(`${signed(delta)}${where}: stock ${units(stock)}, of which ${units(available)} available`, detail);
}

function adjustedTogether({ count: all, first }) {
  const shown = first.map(({ sku, pool, delta }) => `${sku}${pool ? ` in ${pool}` : ""} ${signed(delta)}`).join(", ");
  return `${count(all, "item")} together: ${shown}${all > first.length ? " and others" : ""}`;
}

function transferred(detail) {
  return because(`${units(detail.quantity)} from ${detail.from} to ${detail.to}`, detail);
}

function saved(detail) {
  if (detail.created) return `created, with ${count(detail.items, "item")}`;
  const parts = changes(detail.changed);
  for (const { sku, changed } of detail.items_changed?.first ?? []) parts.push(`${sku}: ${changes(changed).join(", ")}`);
  if (detail.items_changed?.count > detail.items_changed?.first.length) parts.push(`${count(detail.items_changed.count, "item")} changed in all`);
  if (detail.items_added) parts.push(`${count(detail.items_added.count, "item")} added: ${detail.items_added.first.join(", ")}`);
  return parts.join("; ") || "as it was";
}

const count = (number, noun) => `${units(number)} ${noun}${number === 1 ? "" : "s"}`;

function changes(changed = {}) {
  return Object.entries(changed).map(([member, { from, to }]) => {
    const [before, after] = [value(from), value(to)];
    return `${MEMBERS[member] ?? member} ${before === after ? "changed" : `${before} → ${after}`}`;
  });
}

function value(it) {
  if (it === undefined || it === null) return "none";
  // A long list is recorded as its length and its hash.
  if (typeof it === "object" && "blake3" in it) return units(it.count);
  if (typeof it === "object" && "currency" in it) return money(it.amount, it.currency);
  if (typeof it === "string" && /^\d{4}-\d\d-\d\dT/.test(it)) return withSeconds(Date.parse(it));
  return typeof it === "object" ? JSON.stringify(it) : `${typeof it === "number" ? units(it) : it}`;
}

function keys({ when, keys: all, added, changed, removed }) {
  const name = (key) => (typeof key === "string" ? key : `${key.name} (${key.role})`);
  const parts = [["added", added], ["changed", changed], ["removed", removed]].filter(([, list]) => list)
    .map(([what, list]) => `${what} ${list.first.map(name).join(", ")}${list.count > list.first.length ? " and others" : ""}`);
  return [`${count(all, "key")} at the ${when}`, ...parts].join("; ");
}
