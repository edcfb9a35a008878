// Holds and confirmed reservations: all holds of a sale last longer, one reservation is cancelled.

import { Away, Refused, call, intention, salePath } from "./api.js";
import { make, say, span, units } from "./dom.js";
import { ask, choice, field, fingerprint, integer, number, tell } from "./form.js";
import { sumOf } from "./history.js";

/** Pauses before repeats, in seconds. The extension of a million holds takes longer than one call waits. */
const REPEATS_SECONDS = [1, 2, 4, 8, 8, 8];

const reasonField = (where) => field("Reason", { "data-pointer": "/reason", maxlength: 255 }, where);

/** Extends every live hold of a sale. A failed call is repeated with its key, so each hold is extended once. */
export function extendAll(sale, done) {
  const seconds = field("Extend by", { "data-pointer": "/seconds", value: "600", ...integer }, "In seconds.");
  const reason = reasonField("Kept for good in the audit trail.");
  const typed = field(`Type ${sale.id} to confirm`, { spellcheck: "false", autocapitalize: "off" });
  const state = make("p", { class: "muted", role: "status" });
  const preview = () => {
    const by = number(seconds.input.value);
    say(state, typeof by === "number" && by > 0 ? `Every hold will end ${span(by)} later.` : "");
  };
  seconds.input.addEventListener("input", preview);
  preview();
  const about = make("p", {}, `Holds have ${units(sumOf(sale).held)} units now. This cannot be undone: these units come back later if nobody pays.`,
    " Customers can go on buying. It counts towards no limit of extensions.");
  const key = intention();
  const send = async () => {
    const body = { seconds: number(seconds.input.value), ...(reason.input.value.trim() && { reason: reason.input.value.trim() }) };
    const idempotencyKey = `${key}-${fingerprint(body)}`;
    const again = () => say(state, "No answer yet. Trying again with the same key: each hold is extended once.");
    const answer = await patiently(() => call("POST", salePath(sale.id, "/holds/extend"), { body, idempotencyKey }), again).finally(preview);
    return { ...answer, by: span(body.seconds) };
  };
  const finished = ({ holds, by }) => {
    tell("Holds extended", `${units(holds)} ${holds === 1 ? "hold ends" : "holds end"} ${by} later.`);
    done();
  };
  const ready = () => typed.input.value.trim() === sale.id && seconds.input.value.trim() !== "";
  ask(`Extend all holds of “${sale.name}”?`, [about, seconds.element, state, reason.element, typed.element], "Extend all holds", {
    danger: true, ready, send, done: finished,
  });
}

/** Repeats what got no answer, or was asked to come again. `again`: called before each repeat. */
async function patiently(send, again) {
  for (const seconds of REPEATS_SECONDS) {
    try {
      return await send();
    } catch (error) {
      const isPassing = error instanceof Away || (error instanceof Refused && error.status >= 500);
      if (!isPassing) throw error;
      again();
      await new Promise((resolve) => setTimeout(resolve, 1000 * Math.max(seconds, error.retryAfter ?? 0)));
    }
  }
  return send();
}

/** Cancels a confirmed reservation, or a part of it. `done` gets it as it is then. */
export function cancel(reservation, done) {
  let restock = true;
  const way = choice("What happens to the units", ["Sell them again", "Take them out of the sale"], (place) => {
    restock = place === 0;
    show();
  });
  const lines = reservation.lines.map(({ sku, quantity }) => ({
    sku, quantity, ...field(sku, { value: quantity, ...integer }, `Units to cancel, of ${units(quantity)}.`),
  }));
  const reason = reasonField("Kept in the store.");
  const preview = make("p", { class: "muted", role: "status" });
  const wanted = () => lines.map((line) => ({ sku: line.sku, quantity: number(line.input.value) })).filter(({ quantity }) => quantity !== 0);
  const isAll = () => lines.every(({ quantity, input }) => number(input.value) === quantity);
  const isCount = () => lines.every(({ quantity, input }) => /^\d+$/.test(input.value.trim()) && number(input.value) <= quantity);
  const show = () => {
    const then = restock ? "Available to other customers at once" : "Taken out of the sale's stock";
    const count = isCount() ? wanted().reduce((sum, { quantity }) => sum + quantity, 0) : 0;
    const rest = isAll() ? "Nothing of this reservation stays sold." : "The rest stays sold.";
    say(preview, count === 0 ? "" : `${then}: ${units(count)}. ${rest} Refund the customer yourself.`);
  };
  for (const { input } of lines) input.addEventListener("input", show);
  show();
  const key = intention();
  const send = () => {
    const text = reason.input.value.trim();
    const body = { ...(!isAll() && { lines: wanted() }), restock, ...(text && { reason: text }) };
    const idempotencyKey = `${key}-${fingerprint(body)}`;
    return call("POST", `v1/reservations/${encodeURIComponent(reservation.id)}/cancel`, { body, idempotencyKey });
  };
  const parts = [make("div", { class: "fields" }, ...lines.map(({ element }) => element)), way, preview, reason.element];
  ask(`Cancel the reservation of ${reservation.customer}?`, parts, "Cancel the units", {
    danger: true, leave: "Keep them", ready: () => isCount() && wanted().length > 0, send, done,
  });
}
