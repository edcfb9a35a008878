// What this page has seen of a sale: kept for the chart, for its pace, and for what happened.

const SAMPLES_MAX = 1800;
const NEWS_MAX = 100;
const PACE_SECONDS = 60;
const PACE_SECONDS_MIN = 4;
/** Longer without a sample, and the chart has a gap. */
const GAP_SECONDS = 15;

const histories = new Map();

export function historyOf(sale) {
  if (!histories.has(sale)) histories.set(sale, new History());
  return histories.get(sale);
}

export function forgetHistories() {
  histories.clear();
}

export function sumOf(sale) {
  const sum = { stock: 0, available: 0, held: 0, confirmed: 0, soldOut: 0 };
  for (const item of sale.items) {
    for (const name of ["stock", "available", "held", "confirmed"]) sum[name] += item[name];
    sum.soldOut += item.available === 0 ? 1 : 0;
  }
  return sum;
}

class History {
  constructor() {
    this.times = [];
    this.lines = { available: [], held: [], confirmed: [] };
    this.news = [];
    this.last = null;
    this.taken = [];
  }

  /** Takes what the sale is at this moment, in seconds. */
  add(sale, now) {
    const sum = sumOf(sale);
    const since = this.times.at(-1);
    if (since !== undefined && now - since > GAP_SECONDS) this.#push(since + 1, null);
    this.#push(now, sum);
    this.#tell(sale, now);
    if (this.last && this.last.status !== sale.status) this.taken = [];
    this.#pace(sum, now);
    this.last = sale;
  }

  #push(now, sum) {
    this.times.push(now);
    for (const [name, line] of Object.entries(this.lines)) line.push(sum ? sum[name] : null);
    if (this.times.length > SAMPLES_MAX) {
      this.times.shift();
      Object.values(this.lines).forEach((line) => line.shift());
    }
  }

  #pace({ held, confirmed }, now) {
    this.taken.push([now, held + confirmed]);
    while (this.taken[0][0] < now - PACE_SECONDS) this.taken.shift();
  }

  /** Units taken per second over the last minute, 0 while nothing can be taken; null while too little was seen. */
  pace() {
    if (this.last && this.last.status !== "open") return 0;
    const [from, to] = [this.taken[0], this.taken.at(-1)];
    if (!from || to[0] - from[0] < PACE_SECONDS_MIN) return null;
    // More may come back than is taken: nobody takes less than nothing.
    return Math.max(0, (to[1] - from[1]) / (to[0] - from[0]));
  }

  /** Seconds until nothing is available at this pace; null where it cannot be told. */
  sellOut(available) {
    const pace = this.pace();
    return pace > 0 && available > 0 ? available / pace : null;
  }

  #tell(sale, now) {
    const before = this.last;
    if (!before) return;
    const tell = (text) => this.news.unshift({ at: now, text });
    if (before.status !== sale.status) tell(`The sale is ${sale.status}; it was ${before.status}.`);
    const known = new Map(before.items.map((item) => [item.sku, item]));
    for (const item of sale.items) {
      const old = known.get(item.sku);
      if (!old) tell(`${item.sku} was added with ${item.stock} units.`);
      else if (item.stock !== old.stock) {
        const change = item.stock - old.stock;
        tell(`Stock of ${item.sku}: ${change > 0 ? "+" : "−"}${Math.abs(change)}, now ${item.stock}.`);
      }
      if (old && old.available > 0 && item.available === 0) tell(`${item.sku} is sold out.`);
      const isLow = ({ available, low_stock_at: level }) => available > 0 && available <= level;
      if (old && !isLow(old) && isLow(item)) tell(`Stock of ${item.sku} is low: ${item.available}.`);
      if (old && old.available === 0 && item.available > 0) tell(`${item.sku} is available again: ${item.available}.`);
    }
    this.news.length = Math.min(this.news.length, NEWS_MAX);
  }
}
