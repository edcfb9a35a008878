// Dialogs with a form: they say what will happen, do it once, and show the service's own words when it refuses.

import { Refused } from "./api.js";
import { make, say } from "./dom.js";

/** What was sent is valid, and has likely mistakes. Sending the same once more goes through. */
export class Warned extends Error {
  constructor(warnings) {
    super("likely mistakes");
    this.warnings = warnings;
  }
}

let ids = 0;

/** A dialog around a form. `leave`: the button that closes it. `send` gives a promise; what it is refused with, or warned of, is shown, and the form stays. */
export function ask(title, parts, verb, { danger = false, wide = false, stays = false, leave = stays ? "Close" : "Cancel", ready = () => true, send, done }) {
  const id = `dialog-${(ids += 1)}`;
  const wrong = make("div", { class: "wrong", role: "alert", hidden: true });
  const button = make("button", { type: "submit", class: danger ? "danger" : "main" }, verb);
  const cancel = make("button", { type: "button", onclick: () => dialog.close() }, leave);
  const form = make("form", { novalidate: true, autocomplete: "off" },
    make("h2", { id }, title), ...parts, wrong, make("div", { class: "end" }, cancel, button));
  const dialog = make("dialog", { "aria-labelledby": id, class: wide ? "wide" : null }, form);
  const check = () => (button.disabled = !ready());
  form.addEventListener("input", () => {
    say(button, verb);
    check();
  });
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
      const isWarning = error instanceof Warned;
      wrong.classList.toggle("warned", isWarning);
      say(button, isWarning ? `${verb} anyway` : verb);
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

/** Says what was done, until somebody has read it. */
export function tell(title, text) {
  const id = `dialog-${(ids += 1)}`;
  const close = make("button", { type: "button", class: "main", onclick: () => dialog.close() }, "Close");
  const dialog = make("dialog", { "aria-labelledby": id },
    make("form", {}, make("h2", { id }, title), make("p", { role: "status" }, text), make("div", { class: "end" }, close)));
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}

/** What the service said, in its own words. */
function told(error) {
  if (error instanceof Warned) {
    const list = error.warnings.map(({ pointer, code, detail }) => make("li", {}, `${pointer}: ${detail} (${code})`));
    return [make("strong", {}, "The document is valid, but this is likely to be a mistake"), make("ul", {}, ...list)];
  }
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

export function field(label, members = {}, hint = "") {
  return labelled("input", label, members, hint);
}

/** Text of several lines. */
export function area(label, members = {}, hint = "", text = "") {
  return labelled("textarea", label, members, hint, text);
}

/** One of several: [value, name] each. */
export function select(label, options, members = {}, hint = "") {
  return labelled("select", label, members, hint, ...options.map(([value, name]) => make("option", { value }, name)));
}

function labelled(tag, label, members, hint, ...children) {
  const id = `field-${(ids += 1)}`;
  const input = make(tag, { id, ...members, "aria-describedby": hint ? `${id}-hint` : null }, ...children);
  const told = hint ? make("span", { class: "hint", id: `${id}-hint` }, hint) : null;
  return { input, element: make("div", { class: "field" }, make("label", { for: id }, label), input, told) };
}

/** Buttons of which one is pressed. `chosen` gets its place. */
export function choice(label, names, chosen) {
  const press = (place) => buttons.forEach((button, at) => button.setAttribute("aria-pressed", `${at === place}`));
  const choose = (place) => {
    press(place);
    chosen(place);
  };
  const buttons = names.map((name, place) => make("button", { type: "button", class: "small", onclick: () => choose(place) }, name));
  press(0);
  return make("div", { class: "row", role: "group", "aria-label": label }, ...buttons);
}

export const integer = { inputmode: "numeric", spellcheck: "false" };

/** A whole number, or what was typed: the service then says what is wrong with it. */
export function number(text) {
  const trimmed = text.trim();
  return /^[+-]?\d+$/.test(trimmed) && Number.isSafeInteger(Number(trimmed)) ? Number(trimmed) : trimmed;
}

/** The same change sent again is the same intention; another one is not. */
export function fingerprint(body) {
  let hash = 0;
  for (const character of JSON.stringify(body)) hash = (Math.imul(hash, 31) + character.codePointAt(0)) >>> 0;
  return hash.toString(16);
}

/** A refusal in the service's form that the page itself gives. */
export function problem(status, code, title, pointer, detail) {
  return new Refused(status, { title, code, detail, errors: [{ pointer, detail }] }, null);
}
