// Reservations and waitlist entries: one by its id, or all reservations that a customer has in a sale.

import { Refused, call, salePath } from "./api.js";
import { make, moment, money, units, withSeconds } from "./dom.js";
import { ask, choice, field } from "./form.js";
import { cancel } from "./holds.js";

/** A reservation by its id, or all that a customer has in a sale. `sale`: the one that is looked at. `isCheckout`: the caller may ask
 * for customers and cancel. `changed`: called after a cancellation. */
export function find(sale, isCheckout, changed) {
  const plain = { spellcheck: "false", autocapitalize: "off" };
  const id = field("Reservation", { "data-pointer": "", ...plain }, "The id from the answer to the reserve. The id of a waitlist entry is found, too.");
  const customer = field("Customer", { "data-pointer": "/customer", ...plain }, "The customer id that the checkout sends.");
  const of = field("Sale", { ...plain, value: sale }, "The sale's id.");
  const ofCustomer = make("div", { class: "fields", hidden: true }, customer.element, of.element);
  const found = make("div", { class: "found", role: "status" });
  const typed = ({ input }) => input.value.trim();
  let byCustomer = false;
  const way = choice("How to find it", ["By its id", "By customer"], (place) => {
    byCustomer = place === 1;
    [id.element.hidden, ofCustomer.hidden] = [byCustomer, !byCustomer];
    found.replaceChildren();
    (byCustomer ? customer : id).input.focus();
    // Another field decides whether there is something to look for.
    ofCustomer.dispatchEvent(new Event("input", { bubbles: true }));
  });
  way.hidden = !isCheckout;
  const send = async () => {
    found.replaceChildren();
    if (!byCustomer) return byId(encodeURIComponent(typed(id)));
    return call("GET", salePath(typed(of), `/reservations?customer=${encodeURIComponent(typed(customer))}`));
  };
  const show = (answer) => {
    const again = () => {
      changed();
      return send().then(show, () => found.replaceChildren());
    };
    const offer = (reservation) => (isCheckout && reservation.state === "confirmed" ? offerToCancel(reservation, again) : null);
    found.replaceChildren(...(byCustomer ? has(answer, offer) : facts(answer, offer)));
  };
  ask("Find a reservation", [way, id.element, ofCustomer, found], "Find", {
    wide: true,
    stays: true,
    ready: () => (byCustomer ? typed(customer) !== "" && typed(of) !== "" : typed(id) !== ""),
    send,
    done: show,
  });
}

/** A reservation, or else a waitlist entry. */
async function byId(id) {
  try {
    return await call("GET", `v1/reservations/${id}`);
  } catch (error) {
    if (!(error instanceof Refused) || error.problem.code !== "reservation_not_found") throw error;
    // If there is neither, the answer is about what the field asks for.
    return call("GET", `v1/waitlist/${id}`).catch(() => { throw error; });
  }
}

function offerToCancel(reservation, done) {
  const label = `Cancel the reservation ${reservation.id}`;
  return make("div", {}, make("button", { type: "button", class: "small", "aria-label": label, onclick: () => cancel(reservation, done) }, "Cancel units"));
}

/** What a customer has in a sale: units against limits, and reservations. `offer`: what may be done to one. */
function has({ reservations, reservations_total: total, limits }, offer) {
  const some = limits.filter(({ already }) => already > 0);
  const rows = some.map(({ sku, limit, already }) => make("tr", {}, make("th", { scope: "row" }, sku),
    ...[["Has", already], ["Limit", limit], ["Left", Math.max(0, limit - already)]].map(([name, count]) => make("td", { "data-name": name }, units(count)))));
  const head = ["Item", "Has", "Limit", "Left"].map((name) => make("th", { scope: "col" }, name));
  const table = make("table", { "aria-label": "Units against limits" }, make("thead", {}, make("tr", {}, ...head)), make("tbody", {}, ...rows));
  const others = limits.length - some.length;
  const rest = others > 0 ? `Of ${units(others)} ${some.length > 0 ? "other " : ""}items with a limit the customer has none.` : "";
  const told = limits.length === 0 ? "No item of this sale has a limit per customer." : rest;
  const shown = reservations.map((reservation) => make("li", {}, ...entry(reservation), offer(reservation) ?? ""));
  const heading = total ? `The newest ${units(shown.length)} of ${units(total)} reservations` : `${units(shown.length)} ${shown.length === 1 ? "reservation" : "reservations"}, the newest first`;
  return [
    make("h3", {}, "Units against limits"), some.length > 0 ? table : null, told ? make("p", { class: "muted" }, told) : null,
    make("h3", {}, shown.length > 0 ? heading : "No reservations"),
    shown.length > 0
      ? make("ul", { class: "entries", role: "list" }, ...shown)
      : make("p", { class: "muted" }, "Memory has none of this customer in this sale. What was over long ago is in the store alone."),
  ].filter(Boolean);
}

/** A reservation in short: its state, lines and times. */
function entry(reservation) {
  const { id, state, lines, reference, created_at: made, expires_at: until, [`${state}_at`]: ended } = reservation;
  const at = (time) => withSeconds(Date.parse(time));
  const how = reservation.late ? `${state} late` : state;
  const when = state === "held" ? `held until ${at(until)}` : `${how} ${at(ended)}`;
  const what = lines.map(({ sku, quantity }) => `${units(quantity)} × ${sku}`).join(", ");
  return [
    make("div", { class: "row" }, make("span", { class: `chip ${state}` }, state), make("strong", {}, what)),
    make("p", {}, `Made ${at(made)}, ${when}${reference ? ` · ${reference}` : ""}`),
    ...notes(reservation).map(([name, text]) => make("p", {}, `${name}: ${text}`)),
    make("p", { class: "muted" }, id),
  ];
}

const counted = (lines) => (lines ?? []).map(({ sku, quantity }) => `${units(quantity)} × ${sku}`).join(", ");

/** What a reservation says beside its lines: what went back, where units came from, what was short, and who asked. */
function notes({ lines, returned, cancelled, short, group, tier, channel, region, labels }) {
  const from = lines.filter((line) => line.from).map((line) => `${line.sku} ${line.from.map(part).join(", ")}`);
  const missing = (short ?? []).map(({ sku, requested, granted }) => `${units(granted)} of ${units(requested)} × ${sku}`);
  const named = Object.entries(labels ?? {}).map(([name, value]) => `${name} = ${value}`);
  const all = [["Returned", counted(returned)], ["Cancelled", counted(cancelled)], ["From", from.join("; ")], ["Short", missing.join(", ")], ["Group", group && groupOf(group)], ["Tier", tier], ["Channel", channel], ["Region", region], ["Labels", named.join(", ")]];
  return all.filter(([, text]) => text);
}

function groupOf({ id, size, members, state, expires_at: until }) {
  const open = state === "open" ? ` until ${withSeconds(Date.parse(until))}` : "";
  return `${units(members)} of ${units(size)} members, ${state}${open} · ${id}`;
}

function part({ pool, quantity, price, location }) {
  const at = price ? ` at ${money(price.amount, price.currency)}` : "";
  return `${units(quantity)} from ${pool}${location ? ` (${location})` : ""}${at}`;
}

function facts(reservation, offer) {
  const named = [
    ["State", reservation.late ? `${reservation.state}, late` : reservation.state], ["Sale", reservation.sale], ["Customer", reservation.customer], ["Reference", reservation.reference],
    ["Created", reservation.created_at], ["Joined", reservation.joined_at], ["Position", reservation.position], ["Expires", reservation.expires_at], ["Confirmed", reservation.confirmed_at],
    ["Released", reservation.released_at], ["Expired", reservation.expired_at], ["Cancelled", reservation.cancelled_at], ["Extensions", reservation.extensions],
    ["Offered", reservation.offered_at], ["Left", reservation.left_at], ["Reservation", reservation.reservation], ["Waitlist entry", reservation.waitlist],
    ["Passed over", reservation.passed_over && `${moment(Date.parse(reservation.passed_over.at))}: ${reservation.passed_over.code}`],
  ];
  const list = named.filter(([, value]) => value !== undefined).flatMap(([name, value]) => {
    const told = name !== "Reference" && /^\d{4}-\d\d-\d\dT/.test(value) ? moment(Date.parse(value)) : `${value}`;
    return [make("dt", {}, name), make("dd", {}, told)];
  });
  const told = notes(reservation).flatMap(([name, text]) => [make("dt", {}, name), make("dd", {}, text)]);
  const lines = reservation.lines.map(({ sku, quantity, price }) =>
    make("li", {}, `${units(quantity)} × ${sku}${price ? ` at ${money(price.amount, price.currency)}` : ""}`));
  return [make("dl", { class: "facts" }, ...list, ...told), make("ul", {}, ...lines), offer(reservation)].filter(Boolean);
}
