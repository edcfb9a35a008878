// Changes of an item's stock: adjustments, and transfers between its pools.

import { call, intention, salePath } from "./api.js";
import { make, say, units } from "./dom.js";
import { ask, field, fingerprint, integer, number, select } from "./form.js";

const told = ({ stock, available }) => `Stock ${units(stock)}, of which ${units(available)} ${available === 1 ? "is" : "are"} available`;

function reasons(example) {
  return {
    reason: field("Reason", { "data-pointer": "/reason", maxlength: 255 }, "Kept for good in the audit trail."),
    reference: field("Reference", { "data-pointer": "/reference", maxlength: 255 }, `For instance, ${example}.`),
  };
}

/** What was typed of optional members. */
function typed(fields) {
  const filled = Object.entries(fields).map(([name, { input }]) => [name, input.value.trim()]).filter(([, text]) => text);
  return Object.fromEntries(filled);
}

const named = (pools) => pools.map(({ id, available }) => [id, `${id} (${units(available)} available)`]);

export function adjust(sale, item, done) {
  const pools = item.pools ?? [];
  const pool = pools.length > 1 ? select("Pool", named(pools), { "data-pointer": "/pool" }) : null;
  const delta = field("Units", { ...integer, "data-pointer": "/delta", placeholder: "+50 or -5" },
    "Units to add, or to remove with a minus. Only available units can be removed.");
  const optional = reasons("a delivery number");
  const now = make("p", {});
  const preview = make("p", { class: "muted", role: "status" });
  const show = () => {
    const of = pool ? pools.find(({ id }) => id === pool.input.value) : item;
    say(now, `${told(of)}.`);
    const change = number(delta.input.value);
    const isChange = typeof change === "number" && change !== 0;
    if (!isChange) say(preview, "");
    else if (of.available + change < 0) say(preview, `Only ${units(of.available)} can be removed: the others are held or sold.`);
    else say(preview, `The stock will be ${units(of.stock + change)}, of which ${units(of.available + change)} available.`);
  };
  for (const each of [delta, pool]) each?.input.addEventListener("input", show);
  show();
  const idempotencyKey = intention();
  const send = () => {
    const body = { ...(pool && { pool: pool.input.value }), delta: number(delta.input.value), ...typed(optional) };
    const path = salePath(sale.id, `/items/${encodeURIComponent(item.sku)}/adjustments`);
    return call("POST", path, { body, idempotencyKey: `${idempotencyKey}-${fingerprint(body)}` });
  };
  const fields = [pool?.element, now, delta.element, preview, ...Object.values(optional).map((each) => each.element)];
  ask(`Adjust the stock of ${item.sku}`, fields.filter(Boolean), "Adjust the stock", {
    ready: () => delta.input.value.trim() !== "", send, done,
  });
}

export function transfer(sale, item, done) {
  const from = select("From", named(item.pools), { "data-pointer": "/from" });
  const to = select("To", named(item.pools), { "data-pointer": "/to" });
  to.input.selectedIndex = 1;
  const quantity = field("Units", { ...integer, "data-pointer": "/quantity" },
    "Only available units move. Units in holds stay, and return to the pool that they came from.");
  const optional = reasons("a decision");
  const preview = make("p", { class: "muted", role: "status" });
  const isCount = () => /^[1-9]\d*$/.test(quantity.input.value.trim());
  const show = () => {
    const [giver, getter] = [from, to].map(({ input }) => item.pools.find(({ id }) => id === input.value));
    const count = Number(quantity.input.value.trim());
    if (giver === getter) say(preview, "Choose two different pools.");
    else if (!isCount()) say(preview, "");
    else if (giver.available < count) say(preview, `${giver.id} has only ${units(giver.available)} available.`);
    else say(preview, `Available then: ${giver.id} ${units(giver.available - count)}, ${getter.id} ${units(getter.available + count)}.`);
  };
  for (const { input } of [from, to, quantity]) input.addEventListener("input", show);
  const idempotencyKey = intention();
  const send = () => {
    const body = { from: from.input.value, to: to.input.value, quantity: number(quantity.input.value), ...typed(optional) };
    const path = salePath(sale.id, `/items/${encodeURIComponent(item.sku)}/transfers`);
    return call("POST", path, { body, idempotencyKey: `${idempotencyKey}-${fingerprint(body)}` });
  };
  const fields = [make("div", { class: "fields" }, from.element, to.element), quantity.element, preview,
    ...Object.values(optional).map((each) => each.element)];
  ask(`Move units of ${item.sku} between pools`, fields, "Move the units", {
    ready: () => isCount() && from.input.value !== to.input.value, send, done,
  });
}
