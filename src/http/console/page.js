// The page: who looks, which sale is looked at, and when the service is asked again.

import { create, edit, turn } from "./actions.js";
import { Away, Refused, call, key, salePath } from "./api.js";
import { make, say, span, units } from "./dom.js";
import { forgetHistories, historyOf, sumOf } from "./history.js";
import { extendAll } from "./holds.js";
import { showReport } from "./report.js";
import { find } from "./reservations.js";
import { SaleView } from "./sale.js";
import { ServiceView, noticesOf } from "./service.js";
import { adjust, transfer } from "./stock.js";
import { showTrail } from "./trail.js";
import { showWebhooks } from "./webhooks.js";

const POLL_MILLIS = 1000;
const OUTLOOK_EVERY_MILLIS = 3000;
const LIST_EVERY_MILLIS = 5000;
const SALES_PER_PAGE = 50;
/** Of all time, the share that answers may take: large sales are asked for less often. */
const SHARE = 4;
const WAITS_SECONDS = [1, 2, 4, 8, 15];

const part = (id) => document.getElementById(id);
const service = new ServiceView(part("service"));
const state = {
  caller: null, sales: [], pages: 1, listedAt: -Infinity, failures: 0, timer: null, asking: false, again: false,
  view: null, sale: null, clockJumps: null,
};

const chosen = () => decodeURIComponent(new URLSearchParams(location.hash.slice(1)).get("sale") ?? "");
const mayOperate = () => state.caller?.role === "operator";

function choose(id) {
  location.hash = new URLSearchParams({ sale: id }).toString();
}

async function poll() {
  clearTimeout(state.timer);
  if (document.hidden) return;
  if (state.asking) {
    state.again = true;
    return;
  }
  Object.assign(state, { asking: true, again: false });
  const began = performance.now();
  let wait;
  try {
    await ask();
    state.failures = 0;
    showLive();
    wait = Math.max(POLL_MILLIS, (performance.now() - began) * SHARE);
  } catch (error) {
    wait = showFailure(error);
  }
  state.asking = false;
  if (wait !== null && !document.hidden) state.timer = setTimeout(poll, state.again ? 0 : wait);
}

async function ask() {
  const { caller, service: figures } = await call("GET", "v1/status");
  state.caller = caller;
  showCaller();
  if (performance.now() - state.listedAt >= LIST_EVERY_MILLIS) {
    await list();
    state.listedAt = performance.now();
  }
  const id = chosen() || state.sales[0]?.id;
  if (id) await look(id);
  else showNoSale();
  showList();
  service.show(figures);
  showNotices(figures);
}

/** What somebody must know whatever sale is looked at. */
function showNotices(figures) {
  state.clockJumps ??= figures?.clock_jumps;
  const told = figures ? noticesOf(figures, figures.clock_jumps - state.clockJumps) : [];
  const shown = [...part("notices").children].map((each) => each.textContent);
  part("notices").hidden = told.length === 0;
  if (told.join() !== shown.join()) part("notices").replaceChildren(...told.map((text) => make("p", {}, text)));
}

async function list() {
  const sales = [];
  let after = "";
  state.more = false;
  for (let page = 0; page < state.pages; page += 1) {
    const query = new URLSearchParams({ limit: SALES_PER_PAGE, ...(after && { after }) });
    const answer = await call("GET", `v1/sales?${query}`);
    sales.push(...answer.sales);
    after = answer.next;
    state.more = Boolean(after);
    if (!after) break;
  }
  state.sales = sales;
}

async function look(id) {
  if (state.view?.id !== id) {
    state.view?.remove();
    state.view = new SaleView(part("sale"), id, act);
  }
  let sale;
  try {
    sale = await call("GET", salePath(id));
    await lookAhead(id);
  } catch (error) {
    if (error.status !== 404) throw error;
    state.view.remove();
    state.view = null;
    const back = make("button", { type: "button", onclick: () => choose("") }, "Show another");
    part("sale").replaceChildren(make("div", { class: "empty" }, make("h2", {}, error.problem.title),
      make("p", {}, "No sale has the id ", make("code", {}, id), ", or your key is not for this sale."), back));
    return;
  }
  const now = Date.now() / 1000;
  historyOf(id).add(sale, now);
  // What the list says of it is older.
  state.sales = state.sales.map((each) => (each.id === id ? sale : each));
  state.view?.show(sale, state.outlook, mayOperate(), now);
}

/** How the sale's items sell, every few seconds: it changes slowly. */
async function lookAhead(id) {
  if (state.outlook?.sale === id && performance.now() - state.outlookAt < OUTLOOK_EVERY_MILLIS) return;
  state.outlook = await call("GET", salePath(id, "/replenishment"));
  state.outlookAt = performance.now();
}

function act(verb, sale, item) {
  const done = () => {
    state.listedAt = -Infinity;
    poll();
  };
  if (verb === "adjust") adjust(sale, item, done);
  else if (verb === "transfer") transfer(sale, item, done);
  else if (verb === "extend") extendAll(sale, done);
  else if (verb === "report") showReport(sale);
  else if (verb === "edit") edit(sale, done).catch(showFailure);
  else turn(verb, sale, done);
}

function showNoSale() {
  state.view?.remove();
  state.view = null;
  const how = mayOperate()
    ? make("button", { type: "button", class: "main", onclick: createSale }, "Create the first sale")
    : make("p", {}, "An operator creates one here, or with ", make("code", {}, "PUT /v1/sales/{sale}"), ".");
  part("sale").replaceChildren(make("div", { class: "empty" }, make("h2", {}, "No sales yet"),
    make("p", {}, "A sale has a time window, rules, and items with their stock. A new sale appears here at once."), how));
}

function createSale() {
  create((sale) => {
    state.listedAt = -Infinity;
    choose(sale.id);
    poll();
  });
}

function showList() {
  const current = state.view?.id;
  const rows = state.sales.map((sale) => {
    const sum = sumOf(sale);
    const told = sum.available === 0 ? "sold out" : `${units(sum.available)} of ${units(sum.stock)} left`;
    return [sale.id, sale.name, sale.status, told];
  });
  const list = part("sales");
  const before = new Map([...list.children].map((row) => [row.dataset.sale, row]));
  const elements = rows.map(([id, name, status, told]) => {
    const row = before.get(id) ?? make("li", { "data-sale": id },
      make("button", { type: "button", onclick: () => choose(id) },
        make("span", { class: "name" }), make("span"), make("span", { class: "units" })));
    const [button] = row.children;
    const [named, chip, count] = button.children;
    say(named, name);
    say(chip, status);
    chip.className = `chip ${status}`;
    say(count, told);
    if (id === current) button.setAttribute("aria-current", "true");
    else button.removeAttribute("aria-current");
    return row;
  });
  const isSame = elements.length === list.children.length && elements.every((row, at) => row === list.children[at]);
  if (!isSame) list.replaceChildren(...elements);
  part("more").hidden = !state.more;
}

function showCaller() {
  const { role, key: name, all_sales: all } = state.caller;
  say(part("caller"), name ? `${name}, ${role}${all ? "" : " of some sales"}` : "No keys configured: everybody is an operator");
  part("forget").hidden = !key.get();
  part("create").hidden = !mayOperate();
  part("trail").hidden = !mayOperate();
  part("content").hidden = false;
  part("key").hidden = true;
}

function showLive() {
  part("link").className = "link live";
  say(part("link"), "Live");
  part("banner").hidden = true;
}

/** Says what is wrong, and gives the milliseconds until the next try; null: when somebody does something. */
function showFailure(error) {
  if (!(error instanceof Refused || error instanceof Away)) {
    say(part("link"), "The page is broken");
    throw error;
  }
  part("link").className = "link away";
  if (error.status === 401 || error.status === 403) {
    showKey(error);
    return null;
  }
  const least = WAITS_SECONDS[Math.min(state.failures, WAITS_SECONDS.length - 1)];
  state.failures += 1;
  const seconds = Math.max(error.retryAfter ?? 0, least);
  const what = error instanceof Away ? "The service does not answer." : `${error.problem.title}: ${error.message}.`;
  say(part("link"), error instanceof Away ? "Away" : "Waiting");
  const text = make("span", {}, `${what} What is shown is from before. Trying again in ${span(seconds)}.`);
  part("banner").replaceChildren(text, make("button", { type: "button", class: "small", onclick: poll }, "Try now"));
  part("banner").hidden = false;
  return seconds * 1000;
}

function showKey(error) {
  state.caller = null;
  say(part("link"), "A key is required");
  say(part("caller"), "");
  for (const id of ["content", "banner", "forget", "notices"]) part(id).hidden = true;
  part("key").hidden = false;
  part("key-wrong").hidden = !key.get();
  say(part("key-wrong"), `${error.problem.title}: ${error.message}`);
  part("key-text").focus();
}

function startAnew() {
  state.view?.remove();
  Object.assign(state, { view: null, sales: [], pages: 1, listedAt: -Infinity, failures: 0, caller: null, clockJumps: null });
  forgetHistories();
  poll();
}

part("key").addEventListener("submit", (event) => {
  event.preventDefault();
  const typed = part("key-text").value.trim();
  if (!/^[!-~]+$/.test(typed)) {
    part("key-wrong").hidden = false;
    say(part("key-wrong"), "A key is db_ and then letters and digits, without spaces.");
    return;
  }
  key.set(typed);
  part("key-text").value = "";
  startAnew();
});
part("forget").addEventListener("click", () => {
  key.forget();
  startAnew();
});
part("create").addEventListener("click", createSale);
part("find").addEventListener("click", () => find(state.view?.id ?? "", state.caller?.role !== "viewer", poll));
part("trail").addEventListener("click", () => showTrail(state.sales.map(({ id }) => id)));
part("webhooks").addEventListener("click", () => showWebhooks(mayOperate()));
part("more").addEventListener("click", () => {
  state.pages += 1;
  state.listedAt = -Infinity;
  poll();
});
addEventListener("hashchange", poll);
document.addEventListener("visibilitychange", poll);
poll();
