// Webhooks: the state of each endpoint, and resuming one that is parked or fails.

import { Refused, call } from "./api.js";
import { make, say, span, units, withSeconds } from "./dom.js";
import { ask } from "./form.js";

const LOOK_MILLIS = 2000;
const COLUMNS = ["Name", "State", "Waiting", "Behind", "Details", ""];
const STATES = { active: "active", failing: "failing", parked: "parked" };

/** `mayResume`: whether the reader is an operator. */
export function showWebhooks(mayResume) {
  const wrong = make("p", { class: "wrong", role: "alert", hidden: true });
  const told = make("p", { class: "muted", role: "status" }, "Asking the service.");
  const rows = make("tbody");
  const head = COLUMNS.map((name) => (name ? make("th", { scope: "col" }, name) : make("td")));
  const table = make("table", { class: "texts", "aria-label": "Webhooks", hidden: true }, make("thead", {}, make("tr", {}, ...head)), rows);
  const close = make("button", { type: "button", onclick: () => dialog.close() }, "Close");
  const dialog = make("dialog", { class: "page", "aria-labelledby": "webhooks-title" },
    make("div", { class: "head" }, make("h2", { id: "webhooks-title" }, "Webhooks"), close),
    make("div", { class: "report" }, told, wrong, table));
  let [timer, shown] = [null, ""];

  async function look() {
    clearTimeout(timer);
    try {
      const { webhooks } = await call("GET", "v1/webhooks");
      wrong.hidden = true;
      say(told, webhooks.length === 0
        ? "The configuration has no webhooks that your key may see."
        : "The service posts events to these endpoints. A parked endpoint receives none until an operator resumes it.");
      // Rows stay while nothing changes, and with them what is focused.
      const text = JSON.stringify(webhooks.map(({ lag_seconds, ...rest }) => [Math.round(lag_seconds), rest]));
      if (text !== shown) rows.replaceChildren(...webhooks.map((webhook) => row(webhook, mayResume, look)));
      shown = text;
      table.hidden = webhooks.length === 0;
    } catch (error) {
      say(wrong, error instanceof Refused ? `${error.problem.title}: ${error.message}` : "The service does not answer.");
      wrong.hidden = false;
    }
    if (dialog.open) timer = setTimeout(look, LOOK_MILLIS);
  }

  dialog.addEventListener("close", () => {
    clearTimeout(timer);
    dialog.remove();
  });
  document.body.append(dialog);
  dialog.showModal();
  look();
}

function row(webhook, mayResume, done) {
  const { name, state, waiting, has_unread: hasUnread, lag_seconds: lag } = webhook;
  const chip = make("span", { class: `chip ${state === "active" ? "open" : state === "parked" ? "closed" : "paused"}` }, STATES[state]);
  const resumes = mayResume && state !== "active";
  const button = resumes ? make("button", { type: "button", class: "small", onclick: () => resume(webhook, done) }, "Resume") : null;
  const cells = [chip, hasUnread ? `at least ${units(waiting)}` : units(waiting), lag < 1 ? "–" : span(lag), details(webhook), button];
  return make("tr", {}, make("th", { scope: "row" }, name),
    ...cells.map((cell, place) => make("td", { "data-name": COLUMNS[place + 1] || null }, cell)));
}

function details({ url, events, sales, parked_at: parkedAt, failing_since: since, last_failure: failure, skipped_at: skippedAt }) {
  const moment = (text) => withSeconds(Date.parse(text));
  return [
    url,
    events.length > 0 && `events: ${events.join(", ")}`,
    sales.length > 0 && `sales: ${sales.join(", ")}`,
    parkedAt && `parked ${moment(parkedAt)}`,
    !parkedAt && since && `failing since ${moment(since)}`,
    (parkedAt || since) && failure && `last failure: ${failure.detail}`,
    skippedAt && `missed events ${moment(skippedAt)}`,
  ].filter(Boolean).join("; ");
}

function resume({ name, url, waiting }, done) {
  const about = make("p", {}, `The service sends events to ${url} again, beginning with the first that did not arrive. At least ${units(waiting)} wait.`);
  const send = () => call("POST", `v1/webhooks/${encodeURIComponent(name)}/resume`);
  ask(`Resume the webhook ${name}?`, [about], "Resume", { send, done });
}
