// One sale: what it is, where its units are, and what an operator may do to it.

import { Chart } from "./chart.js";
import { compact, make, moment, money, rate, roundMoney, say, share, span, tile, timeOfDay, units } from "./dom.js";
import { historyOf, sumOf } from "./history.js";
import { Timeline } from "./phases.js";
import { Pools } from "./pools.js";

/** More rows are found by typing. */
const ROWS_MAX = 200;
const FILTER_FROM = 12;
const fine = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });
const COLUMNS = ["Price", "Stock", "Available", "Held", "Confirmed", "Per minute", "Sells out"];

export class SaleView {
  /** `act`: what to call for edit, extend, pause, resume, close, report (sale), adjust and transfer (sale, item). */
  constructor(section, id, act) {
    this.section = section;
    this.id = id;
    this.act = act;
    this.rows = new Map();
    this.chart = new Chart("Units over time", [
      ["Available", "available"], ["Held", "held"], ["Confirmed", "confirmed"],
    ]);
    this.#build();
  }

  #build() {
    this.name = make("h2", { id: "sale-title" });
    this.chip = make("span", { class: "chip" });
    this.about = make("p", { class: "muted" });
    this.report = make("button", { type: "button", onclick: () => this.act("report", this.sale) }, "Report");
    this.buttons = ["edit", "extend", "pause", "resume", "close"].map((verb) =>
      make("button", { type: "button", "data-verb": verb, hidden: true, onclick: () => this.act(verb, this.sale) }, {
        edit: "Edit", extend: "Extend all holds", pause: "Pause", resume: "Resume", close: "Close for good",
      }[verb]),
    );
    this.tiles = {
      available: tile("Available", "available"),
      held: tile("Held", "held"),
      confirmed: tile("Confirmed", "confirmed"),
      revenue: tile("Sold for"),
      pace: tile("Taken per second"),
      end: tile("Sells out"),
    };
    this.timeline = new Timeline();
    this.filter = make("input", { type: "search", id: "filter", placeholder: "SKU", oninput: () => this.#showItems() });
    this.filterRow = make("div", { class: "row" }, make("label", { for: "filter" }, "Find an item"), this.filter);
    this.body = make("tbody");
    const head = ["Item", ...COLUMNS].map((name) => make("th", { scope: "col" }, name));
    this.actHead = make("th", { scope: "col" }, "Change");
    this.table = make("table", { "aria-label": "Items" }, make("thead", {}, make("tr", {}, ...head, this.actHead)), this.body);
    this.left = make("p", { class: "muted" });
    this.log = make("ul", { class: "log", role: "list" });
    this.section.setAttribute("aria-labelledby", "sale-title");
    this.section.replaceChildren(
      make("div", { class: "head" }, make("div", { class: "row" }, this.name, this.chip), make("div", { class: "row" }, this.report, ...this.buttons)),
      this.about,
      make("div", { class: "tiles" }, ...Object.values(this.tiles).map((each) => each.element)),
      this.timeline.element,
      this.chart.element,
      make("h3", {}, "Items"),
      this.filterRow,
      this.table,
      this.left,
      make("h3", {}, "What happened since this page was opened"),
      this.log,
    );
  }

  remove() {
    this.chart.remove();
  }

  /** `outlook`: how its items sell. */
  show(sale, outlook, mayOperate, now) {
    const outlooks = new Map(outlook.items.map((item) => [item.sku, item]));
    Object.assign(this, { sale, outlooks, mayOperate, now, history: historyOf(sale.id) });
    say(this.name, sale.name);
    say(this.chip, sale.status);
    this.chip.className = `chip ${sale.status}`;
    say(this.about, `${sale.id} · ${windowOf(sale, now)} · holds last ${span(sale.hold_seconds)}${waiting(sale)}`);
    const offered = {
      open: ["edit", "extend", "pause", "close"], scheduled: ["edit", "pause", "close"], paused: ["edit", "extend", "resume", "close"],
      // Its last holds can still be confirmed.
      closed: sumOf(sale).held > 0 ? ["extend"] : [],
    };
    for (const button of this.buttons) button.hidden = !mayOperate || !offered[sale.status].includes(button.dataset.verb);
    this.#showTiles();
    this.timeline.show(sale, now);
    this.chart.show(this.history.times, ...Object.values(this.history.lines));
    this.#showItems();
    this.#showNews();
  }

  #showTiles() {
    const { sale, history, tiles } = this;
    const sum = sumOf(sale);
    tiles.available.set(compact(sum.available), `${share(sum.available, sum.stock)} of ${units(sum.stock)}`);
    tiles.held.set(compact(sum.held), "In holds");
    tiles.confirmed.set(compact(sum.confirmed), `${share(sum.confirmed, sum.stock)} sold`);
    const pace = history.pace();
    tiles.revenue.set(...worth(sale.items));
    if (sale.status !== "open") tiles.pace.set("0", `The sale is ${sale.status}`);
    else tiles.pace.set(pace === null ? "–" : rate(pace), pace === null ? "Measuring" : "Over the last minute");
    const [text, told] = this.#end(sum.available, sum.soldOut === sale.items.length);
    tiles.end.set(text, told || `${sum.soldOut} of ${sale.items.length} items sold out`);
  }

  /** When it sells out, in a few words, and why it cannot be told. */
  #end(available, isSoldOut) {
    if (isSoldOut) return ["Sold out", "Units come back when holds end"];
    if (this.sale.status !== "open") return ["–", `The sale is ${this.sale.status}`];
    const seconds = this.history.sellOut(available);
    if (seconds === null) return ["–", this.history.pace() === null ? "Measuring" : "Nothing is being taken"];
    return [seconds > 86_400 ? "not today" : `in ${span(seconds)}`, "At the pace of the last minute"];
  }

  /** An item's pace, when it sells out, and what would make it last, as the service measures them. */
  #outlook({ sku, available }) {
    const outlook = this.outlooks.get(sku);
    if (!outlook?.measured_seconds) return ["–", "–", "The pace is being measured."];
    const restock = outlook.suggested_restock;
    const lasts = restock > 0 ? `With ${units(restock)} more it lasts until the sale closes.` : "It lasts until the sale closes.";
    const end = outlook.sells_out_at && available > 0 ? moment(Date.parse(outlook.sells_out_at)) : "–";
    return [fine.format(outlook.units_per_minute), end, `At the pace of the last five minutes on sale. ${lasts}`];
  }

  #showItems() {
    const { sale, rows } = this;
    const wanted = this.filter.value.trim().toLowerCase();
    this.filterRow.hidden = sale.items.length < FILTER_FROM;
    this.actHead.hidden = !this.mayOperate;
    const matching = sale.items.filter((item) => item.sku.toLowerCase().includes(wanted));
    const shown = matching.slice(0, ROWS_MAX);
    const elements = shown.flatMap((item) => {
      if (!rows.has(item.sku)) rows.set(item.sku, this.#row(item.sku));
      const row = rows.get(item.sku);
      this.#fill(row, item);
      const pools = row.pools.show(item, this.now);
      for (const pool of pools) pool.lastElementChild.hidden = !this.mayOperate;
      return [row.element, ...pools];
    });
    const isSame = elements.length === this.body.children.length && elements.every((row, at) => row === this.body.children[at]);
    if (!isSame) this.body.replaceChildren(...elements);
    const more = matching.length - shown.length;
    this.left.hidden = more === 0 && matching.length > 0;
    say(this.left, matching.length === 0 ? "No item has this in its SKU." : `${units(more)} more: find them by their SKU.`);
  }

  #row(sku) {
    const cells = COLUMNS.map((name) => make("td", { "data-name": name }));
    const button = (verb, name, label) => make("button", {
      type: "button", class: "small", "aria-label": `${label} of ${sku}`,
      onclick: () => this.act(verb, this.sale, this.sale.items.find((item) => item.sku === sku)),
    }, name);
    const transfer = button("transfer", "Move", "Move units between the pools");
    const act = make("td", { class: "act" }, button("adjust", "Adjust", "Adjust the stock"), transfer);
    const pools = new Pools(sku, COLUMNS, () => this.#showItems());
    const mark = make("span", { class: "chip out", hidden: true }, "sold out");
    const low = make("span", { class: "chip low", hidden: true }, "low");
    const end = make("span");
    cells.at(-1).append(mark, end);
    const group = make("span", { class: "about muted", hidden: true });
    const head = make("th", { scope: "row", title: sku }, make("span", {}, sku), low, group, pools.head);
    const element = make("tr", { "data-sku": sku }, head, ...cells, act);
    return { element, cells, act, transfer, mark, low, end, group, pools };
  }

  #fill({ cells, act, transfer, mark, low, end, group }, item) {
    group.hidden = !item.group;
    say(group, item.group ? `groups of ${units(item.group.size)}, ${span(item.group.seconds)} each; ${units(item.open_groups ?? 0)} open` : "");
    say(cells[0], priceOf(item));
    transfer.hidden = !(item.pools?.length > 1);
    ["stock", "available", "held", "confirmed"].forEach((name, place) => say(cells[place + 1], units(item[name])));
    const isSoldOut = item.available === 0;
    mark.hidden = !isSoldOut;
    low.hidden = isSoldOut || !(item.available <= item.low_stock_at);
    low.title = `No more than ${units(item.low_stock_at ?? 0)} are available`;
    const [pace, soldOutAt, told] = this.#outlook(item);
    say(cells.at(-2), pace);
    say(end, isSoldOut ? "" : soldOutAt);
    cells.at(-1).title = told;
    act.hidden = !this.mayOperate;
  }

  #showNews() {
    const { news } = this.history;
    if (this.newest === news[0] && this.log.children.length > 0) return;
    this.newest = news[0];
    const entry = ({ at, text }) => make("li", {}, make("time", {}, timeOfDay(at * 1000)), text);
    const nothing = make("li", { class: "muted" }, "Nothing yet. Changes of status and stock, and sold-out items, appear here.");
    this.log.replaceChildren(...(news.length > 0 ? news.map(entry) : [nothing]));
  }
}

/** An item's price, or those of its pools. */
function priceOf({ price, pools = [] }) {
  const prices = pools.length > 0 ? pools.map((pool) => pool.price ?? price).filter(Boolean) : [price].filter(Boolean);
  if (prices.length === 0) return "–";
  const amounts = prices.map(({ amount }) => amount);
  const [least, most] = [Math.min(...amounts), Math.max(...amounts)];
  const say = (amount) => money(amount, prices[0].currency);
  return least === most ? say(least) : `${say(least)} – ${say(most)}`;
}

/** What the confirmed units are worth at today's prices, and what that leaves out. The report has the prices they were sold at. */
function worth(items) {
  const sums = new Map();
  for (const item of items) {
    for (const { confirmed, price = item.price } of item.pools ?? [item]) {
      if (price) sums.set(price.currency, (sums.get(price.currency) ?? 0) + confirmed * price.amount);
    }
  }
  if (sums.size === 0) return ["–", "Items have no prices"];
  return [[...sums].map(([currency, amount]) => roundMoney(amount, currency)).join(" + "), "Confirmed units at today's prices"];
}

/** How many wait, in a sale with a waitlist. */
function waiting({ waiting: customers }) {
  if (customers === undefined) return "";
  return ` · ${units(customers)} ${customers === 1 ? "customer waits" : "customers wait"}`;
}

function windowOf(sale, now) {
  const [opens, closes] = [Date.parse(sale.opens_at), Date.parse(sale.closes_at)];
  const left = (until) => (until - now * 1000) / 1000;
  if (sale.status === "scheduled" || left(opens) > 0) return `opens ${moment(opens)}, in ${span(left(opens))}`;
  if (left(closes) > 0) return `window closes ${moment(closes)}, in ${span(left(closes))}`;
  return `window closed ${moment(closes)}`;
}
