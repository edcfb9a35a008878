// Who may buy when: a sale's phases and the times at which its pools are shared, on a timeline with a mark for now.

import { make, moment, say, span, timeOfDay, units } from "./dom.js";

/** Times of sharing that are shown one by one. */
const SHARED_MAX = 20;

export class Timeline {
  constructor() {
    this.list = make("ul", { class: "phases", role: "list" });
    this.ends = [make("span"), make("span"), make("span")];
    this.title = make("h3", { id: "phases-title" });
    this.element = make("section", { class: "timeline", "aria-labelledby": "phases-title", hidden: true },
      this.title, this.list, make("p", { class: "ends muted" }, ...this.ends));
    this.rows = [];
  }

  /** `now` in seconds. */
  show(sale, now) {
    const phases = sale.phases ?? [];
    const shared = sharedOf(sale);
    this.element.hidden = phases.length + shared.length === 0;
    if (this.element.hidden) return;
    say(this.title, phases.length === 0 ? "Pools that open to everybody" : shared.length === 0 ? "Phases" : "Phases, and pools that open to everybody");
    const [opens, closes] = [Date.parse(sale.opens_at), Date.parse(sale.closes_at)];
    const at = (time) => Math.min(100, Math.max(0, (100 * (time - opens)) / (closes - opens)));
    const told = [...phases.map((phase) => ofPhase(phase, sale, now * 1000)), ...shared.map((each) => ofSharing(each, closes, now * 1000))];
    if (this.rows.length !== told.length) {
      this.rows = told.map(row);
      this.list.replaceChildren(...this.rows.map(({ element }) => element));
    }
    told.forEach((phase, place) => {
      const { name, chip, who, bar, now: mark, element } = this.rows[place];
      say(name, phase.name);
      say(chip, phase.state);
      chip.className = `chip ${CHIPS[phase.state]}`;
      say(who, phase.told);
      // The page's policy allows no style in its markup: positions are set on the elements.
      bar.style.left = `${at(phase.from)}%`;
      bar.style.width = `${Math.max(0.5, at(phase.until) - at(phase.from))}%`;
      bar.className = `bar ${CHIPS[phase.state]}`;
      mark.style.left = `${at(now * 1000)}%`;
      mark.hidden = now * 1000 < opens || now * 1000 > closes;
      element.title = `${moment(phase.from)} – ${moment(phase.until)}`;
    });
    say(this.ends[0], moment(opens));
    say(this.ends[1], now * 1000 >= opens && now * 1000 <= closes ? `The mark is now, ${timeOfDay(now * 1000)}` : "");
    say(this.ends[2], moment(closes));
  }
}

const CHIPS = { running: "open", later: "scheduled", over: "closed", shared: "open", "not yet": "scheduled" };

function row() {
  const [name, chip, who] = [make("strong"), make("span", { class: "chip" }), make("span", { class: "muted" })];
  const [bar, now] = [make("span", { class: "bar" }), make("span", { class: "now" })];
  const track = make("div", { class: "track", "aria-hidden": "true" }, bar, now);
  return { name, chip, who, bar, now, element: make("li", {}, make("div", { class: "row" }, name, chip, who), track) };
}

function ofPhase(phase, sale, now) {
  const [from, until] = [Date.parse(phase.opens_at), Date.parse(phase.closes_at ?? sale.closes_at)];
  const state = now < from ? "later" : now < until ? "running" : "over";
  const when = {
    later: `from ${moment(from)}, in ${span((from - now) / 1000)}`,
    running: `until ${moment(until)}, for ${span((until - now) / 1000)} more`,
    over: `ended ${moment(until)}`,
  }[state];
  const limit = phase.customer_limit ? ` · at most ${units(phase.customer_limit)} of each item per customer` : "";
  return { name: phase.name, state, from, until, told: `${audienceOf(phase)} · ${when}${limit}` };
}

function ofSharing({ at, pools }, closes, now) {
  const isShared = now >= at;
  const when = isShared ? `open to everybody since ${moment(at)}` : `open to everybody from ${moment(at)}, in ${span((at - now) / 1000)}`;
  const name = pools.length > 2 ? `${pools.length} pools` : `Pool ${pools.join(", ")}`;
  return { name, state: isShared ? "shared" : "not yet", from: at, until: closes, told: when };
}

/** Pools that are shared at a time, by that time. */
function sharedOf({ items }) {
  const times = new Map();
  for (const { sku, pools = [] } of items) {
    for (const { id, shared_at: at } of pools.filter((pool) => pool.shared_at)) {
      const time = Date.parse(at);
      times.set(time, [...(times.get(time) ?? []), `${id} of ${sku}`]);
    }
  }
  return [...times].sort(([one], [other]) => one - other).slice(0, SHARED_MAX).map(([at, pools]) => ({ at, pools }));
}

/** Who a phase or a pool is for, in words. */
export function audienceOf({ tiers, channels }) {
  const parts = [tiers && `tier ${tiers.join(" or ")}`, channels && `channel ${channels.join(" or ")}`].filter(Boolean);
  return parts.join(", ") || "everybody";
}
