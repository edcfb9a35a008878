// Lines over time, drawn by uPlot, with a legend that tells the values under the pointer, or else the last ones.

import { compact, make, say, timeOfDay } from "./dom.js";

/** Seconds between marks of time: whole ones, so that no two marks read the same. */
const STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14_400, 28_800, 43_200, 86_400, 172_800, 604_800, 2_592_000];

const charts = new Set();

/** `lines`: [name, colour] each; the colour is one of the stylesheet's. */
export class Chart {
  constructor(title, lines, tell = compact, nothing = "The chart begins with what this page sees from now on.") {
    Object.assign(this, { title, lines, tell, data: null, plot: null });
    this.values = lines.map(() => make("span"));
    this.when = make("span", { class: "when" });
    const legend = lines.map(([name, colour], place) =>
      make("span", {}, make("i", { class: `swatch-${colour}` }), `${name} `, this.values[place]),
    );
    this.nothing = make("p", { class: "muted" }, nothing);
    this.place = make("div", { class: "plot", role: "img", "aria-label": title }, this.nothing);
    this.element = make("div", { class: "chart" }, make("div", { class: "legend" }, ...legend, this.when), this.place);
    this.watcher = new ResizeObserver(() => this.#fit());
    this.watcher.observe(this.place);
    charts.add(this);
  }

  /** Times in seconds, then the values of each line. */
  show(times, ...values) {
    this.data = [times, ...values];
    this.nothing.hidden = times.length >= 2;
    if (times.length < 2) return;
    if (this.plot) this.plot.setData(this.data);
    else this.#draw();
    if (this.plot.cursor.idx === null || this.plot.cursor.idx === undefined) this.#legend(times.length - 1, false);
  }

  remove() {
    this.watcher.disconnect();
    this.plot?.destroy();
    charts.delete(this);
  }

  /** In the colours of the theme as it is now. */
  redraw() {
    this.plot?.destroy();
    this.plot = null;
    if (this.data && this.data[0].length >= 2) this.#draw();
  }

  #draw() {
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(`--${name}`).trim();
    const axis = { stroke: colour("muted"), grid: { stroke: colour("grid"), width: 1 }, ticks: { stroke: colour("grid") } };
    const line = ([name, of]) => ({ label: name, stroke: colour(of), width: 2, spanGaps: false, points: { show: false } });
    const options = {
      width: Math.max(this.place.clientWidth, 50),
      height: Math.max(this.place.clientHeight, 50),
      legend: { show: false },
      cursor: { drag: { x: false, y: false } },
      scales: { y: { range: (_, __, most) => [0, Math.max(most * 1.05, 1)] } },
      axes: [{ ...axis, space: 90, incrs: STEPS, values: (_, ticks) => ticks.map((tick) => timeOfDay(tick * 1000)) }, { ...axis, size: 56, values: (_, ticks) => ticks.map((tick) => compact(tick)) }],
      series: [{}, ...this.lines.map(line)],
      hooks: { setCursor: [(plot) => this.#legend(plot.cursor.idx ?? this.data[0].length - 1, plot.cursor.idx != null)] },
    };
    this.plot = new window.uPlot(options, this.data, this.place);
  }

  #legend(at, isPointedAt) {
    const told = this.data.slice(1).map((values) => (values[at] == null ? "–" : this.tell(values[at])));
    this.values.forEach((value, place) => say(value, told[place]));
    say(this.when, isPointedAt ? timeOfDay(this.data[0][at] * 1000) : "");
    if (!isPointedAt) {
      const now = this.lines.map(([name], place) => `${name} ${told[place]}`).join(", ");
      this.place.setAttribute("aria-label", `${this.title}. Now: ${now}`);
    }
  }

  #fit() {
    const [width, height] = [this.place.clientWidth, this.place.clientHeight];
    if (this.plot && width > 0 && (width !== this.plot.width || height !== this.plot.height)) {
      this.plot.setSize({ width, height });
    }
  }
}

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => charts.forEach((chart) => chart.redraw()));
