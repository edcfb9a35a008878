// Making and changing what is on the page. Text goes in as text: names come from callers.

/** An element. Members that start with "on" are listeners; `null` and `false` leave an attribute out. */
export function make(tag, members = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(members)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== null && value !== undefined && value !== false) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** Changes text only where it is another: what is selected stays selected, and nothing is laid out anew. */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** A tile with a value that changes. */
export function tile(name, kind = "") {
  const value = make("span");
  const note = make("div", { class: "note" });
  const element = make("dl", { class: `tile ${kind}` }, make("dt", {}, name), make("dd", {}, value, note));
  return {
    element,
    set(text, told = "", alarm = false) {
      say(value, text);
      say(note, told);
      element.classList.toggle("alarm", alarm);
    },
  };
}

/** An amount of money as people write it; `amount` is in minor units. */
export function money(amount, currency) {
  try {
    const format = new Intl.NumberFormat("en", { style: "currency", currency });
    return format.format(amount / 10 ** format.resolvedOptions().maximumFractionDigits);
  } catch {
    return `${whole.format(amount)} ${currency}`;
  }
}

/** Where there is little room: without cents from ten thousand on. */
export function roundMoney(amount, currency) {
  try {
    const format = new Intl.NumberFormat("en", { style: "currency", currency });
    const value = amount / 10 ** format.resolvedOptions().maximumFractionDigits;
    if (value < 10_000) return format.format(value);
    return new Intl.NumberFormat("en", { style: "currency", currency, maximumFractionDigits: 0 }).format(value);
  } catch {
    return `${whole.format(amount)} ${currency}`;
  }
}

const whole = new Intl.NumberFormat("en");
const short = new Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 3 });

export const units = (count) => whole.format(count);
export const compact = (count) => (Math.abs(count) < 10_000 ? whole.format(count) : short.format(count));
export const rate = (perSecond) =>
  perSecond > 0 && perSecond < 9.95 ? perSecond.toFixed(1) : compact(Math.round(perSecond));
export const share = (part, all) => (all > 0 ? `${Math.floor((100 * part) / all)} %` : "–");

const YEAR_SECONDS = 31_557_600;

/** Seconds as people say them, in two parts at most. */
export function span(seconds) {
  if (seconds >= 2 * YEAR_SECONDS) return `${Math.floor(seconds / YEAR_SECONDS)} years`;
  const parts = [["d", 86_400], ["h", 3600], ["min", 60], ["s", 1]];
  let rest = Math.max(0, Math.round(seconds));
  const said = [];
  for (const [name, size] of parts) {
    const count = Math.floor(rest / size);
    rest %= size;
    if (count > 0) said.push(`${count} ${name}`);
    else if (said.length > 0) break;
    if (said.length === 2) break;
  }
  return said.join(" ") || "0 s";
}

/** A duration of an answer. */
export function latency(seconds) {
  if (seconds < 0.001) return `${Math.round(seconds * 1e6)} µs`;
  if (seconds < 1) return `${(seconds * 1000).toFixed(seconds < 0.01 ? 1 : 0)} ms`;
  return `${seconds.toFixed(1)} s`;
}

const clock = new Intl.DateTimeFormat(undefined, { timeStyle: "medium" });
const date = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });

const exact = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });

export const withSeconds = (millis) => exact.format(millis);
export const timeOfDay = (millis) => clock.format(millis);
export const moment = (millis) => date.format(millis);
