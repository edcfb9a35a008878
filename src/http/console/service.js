// The service as a whole: rates and durations from the differences of counts, holds, and the store.

import { Chart } from "./chart.js";
import { compact, latency, make, rate, say, span, tile, units } from "./dom.js";

const SAMPLES_MAX = 1800;
/** Rates and durations are of the last so many seconds. */
const WINDOW_SECONDS = 10;
const GAP_SECONDS = 15;
/** What a checkout waits for. */
const CHECKOUT = new Set(["reserve", "confirm", "release", "extend"]);

export class ServiceView {
  constructor(section) {
    this.section = section;
    this.readings = [];
    this.series = { times: [], grants: [], refusals: [] };
    this.tiles = {
      grants: tile("Grants per second"),
      refusals: tile("Refusals per second"),
      durations: tile("Calls, p50 / p99"),
      holds: tile("Live holds"),
      expiring: tile("Ending in a minute"),
      store: tile("Store lag"),
    };
    this.chart = new Chart("Grants and refusals per second", [["Grants", "confirmed"], ["Refusals", "refused"]], rate);
    this.body = make(
      "div",
      { class: "chart" },
      make("div", { class: "tiles" }, ...Object.values(this.tiles).map((each) => each.element)),
    );
    this.hint = make("p", { class: "muted" });
    this.title = make("h2", { id: "service-title" }, "The whole service");
    this.told = make("p", { class: "muted" });
    section.replaceChildren(make("div", { class: "head" }, this.title, this.told), this.hint, this.body, this.chart.element);
  }

  /** Of a key of some sales there are no figures. */
  show(figures) {
    for (const part of [this.body, this.chart.element, this.told]) part.hidden = !figures;
    this.hint.hidden = Boolean(figures);
    if (!figures) {
      say(this.hint, "Figures of the whole service need a key for all sales; this key is limited to certain sales.");
      return;
    }
    this.#read(figures);
    this.#showRates();
    this.#showHolds(figures);
    this.#showStore(figures.store);
    const up = (Date.parse(figures.at) - Date.parse(figures.started_at)) / 1000;
    say(this.told, `Version ${figures.version}, up for ${span(up)}, ${units(figures.connections)} connections`);
  }

  #read(figures) {
    const seen = { at: Date.parse(figures.at) / 1000, figures };
    const last = this.readings.at(-1);
    if (last && seen.at <= last.at) return;
    // After a restart all counts begin again.
    if (last && last.figures.started_at !== figures.started_at) this.readings = [];
    this.readings.push(seen);
    while (this.readings.length > 2 && this.readings[1].at <= seen.at - WINDOW_SECONDS) this.readings.shift();
    const before = this.readings.at(-2);
    if (!before) return;
    const { times, grants, refusals } = this.series;
    const seconds = seen.at - before.at;
    if (seconds > GAP_SECONDS) {
      this.readings = [seen];
      this.#push(seen.at, null, null);
      return;
    }
    this.#push(seen.at, (granted(figures) - granted(before.figures)) / seconds,
      (refused(figures) - refused(before.figures)) / seconds);
    this.chart.show(times, grants, refusals);
  }

  #push(at, granted, refused) {
    const { times, grants, refusals } = this.series;
    times.push(at);
    grants.push(granted);
    refusals.push(refused);
    if (times.length > SAMPLES_MAX) for (const line of [times, grants, refusals]) line.shift();
  }

  #showRates() {
    const { grants, refusals, durations } = this.tiles;
    const [from, to] = [this.readings[0], this.readings.at(-1)];
    if (!to || to === from) {
      for (const each of [grants, refusals, durations]) each.set("–", "Measuring");
      return;
    }
    const seconds = to.at - from.at;
    const [was, is] = [from.figures, to.figures];
    const per = (count) => rate((count(is) - count(was)) / seconds);
    const told = `Over ${span(seconds)}`;
    grants.set(per(granted), `${told}; ${compact(granted(is))} since the start`);
    refusals.set(per(refused), mostly(was, is) || `${told}; ${compact(refused(is))} since the start`);
    const { count, quantile } = distribution(was, is);
    if (count === 0) durations.set("–", `No call in ${span(seconds)}`);
    else durations.set(`${quantile(0.5)} / ${quantile(0.99)}`, `${compact(count)} calls in ${span(seconds)}`);
  }

  #showHolds({ holds, reservations }) {
    this.tiles.holds.set(compact(holds.live), `${compact(reservations.expired)} expired since the start`);
    this.tiles.expiring.set(compact(holds.expiring_next_minute), "Holds; looked at every 5 s");
  }

  #showStore({ kind, state, lag_seconds, backlog_bytes, backlog_full }) {
    const lag = lag_seconds < 1 ? `${Math.round(lag_seconds * 1000)} ms` : span(lag_seconds);
    const isWell = state === "following" && !backlog_full;
    const told = backlog_full
      ? "Backlog full: reserves are refused"
      : `${kind}, ${state}${backlog_bytes > 0 ? `, ${compact(backlog_bytes)} bytes behind` : ""}`;
    this.tiles.store.set(lag, told, !isWell || lag_seconds > 30);
  }
}

const STORES = {
  away: "The store does not answer. Reservations go on; reports and the audit trail are from before, or wait.",
  stuck: "The store cannot go on without help: the service's log says what to do. Reservations go on; reports are from before.",
  fenced: "Another process writes the store, and this one does not any more: the service's log says what to do.",
  ended: "The store is not written any more: the service's log says why. Reservations go on.",
};

/** What is not as it should be, in sentences. `jumps`: how often the machine's clock was set since the page was opened. */
export function noticesOf({ store, disk_low, clock_ahead_seconds }, jumps) {
  const told = [];
  if (disk_low) told.push("The journal's disk is nearly full: new reservations are refused until there is room. Confirms and releases go on.");
  if (store.backlog_full) told.push("The store is too far behind: new reservations are refused until it has caught up. Confirms and releases go on.");
  if (STORES[store.state]) told.push(STORES[store.state]);
  if (clock_ahead_seconds !== 0) {
    const how = `${span(Math.abs(clock_ahead_seconds))} ${clock_ahead_seconds > 0 ? "ahead of" : "behind"}`;
    told.push(`The machine's clock was set: it is ${how} the service's time. Holds last as long as they were promised.`);
  } else if (jumps > 0) {
    told.push("The machine's clock was set while this page was open. Holds last as long as they were promised.");
  }
  return told;
}

const granted = (figures) => figures.reservations.held;
const refused = (figures) => figures.refusals.reduce((sum, { count }) => sum + count, 0) + figures.rate_limited;

/** The reason of most refusals of late. */
function mostly(was, is) {
  const before = new Map(was.refusals.map(({ reason, count }) => [reason, count]));
  const counts = is.refusals.map(({ reason, count }) => [count - (before.get(reason) ?? 0), reason]);
  counts.push([is.rate_limited - was.rate_limited, "rate_limited"]);
  const [count, reason] = counts.reduce((most, each) => (each[0] > most[0] ? each : most));
  return count > 0 ? `Mostly ${reason}` : "";
}

/** Of the calls between two readings: how many, and quantiles as Prometheus estimates them, from the buckets. */
function distribution(was, is) {
  const bounds = is.duration_bounds;
  const within = bounds.map(() => 0);
  let count = 0;
  const before = new Map(was.durations.map((each) => [each.call, each]));
  for (const now of is.durations.filter((each) => CHECKOUT.has(each.call))) {
    const then = before.get(now.call);
    count += now.count - (then?.count ?? 0);
    now.within.forEach((answers, place) => (within[place] += answers - (then?.within[place] ?? 0)));
  }
  const quantile = (part) => {
    const wanted = part * count;
    const place = within.findIndex((answers) => answers >= wanted);
    if (place < 0) return `over ${latency(bounds.at(-1))}`;
    const [low, below] = place === 0 ? [0, 0] : [bounds[place - 1], within[place - 1]];
    return latency(low + (bounds[place] - low) * ((wanted - below) / (within[place] - below || 1)));
  };
  return { count, quantile };
}
