// The pools of an item: rows below the item's row, hidden while an item with many is collapsed.

import { make, moment, money, say, units } from "./dom.js";
import { audienceOf } from "./phases.js";

/** An item with more pools is collapsed until somebody opens it. */
const OPEN_MAX = 4;
const REGIONS_MAX = 4;
const SOURCING = { in_order: "in this order", cheapest: "cheapest for the region first", most_available: "most available first" };

export class Pools {
  /** `columns`: as in the item's row. `changed`: what to call when somebody opens or closes it. */
  constructor(sku, columns, changed) {
    this.columns = columns;
    this.isOpen = null;
    this.toggle = make("button", {
      type: "button", class: "small quiet", "aria-expanded": "false", onclick: () => {
        this.isOpen = !this.isOpen;
        changed();
      },
    });
    this.how = make("span", { class: "how muted" });
    this.head = make("div", { class: "pools", hidden: true }, this.toggle, this.how);
    this.sku = sku;
    this.rows = new Map();
  }

  /** The rows to be shown below the item. */
  show(item, now) {
    const pools = item.pools ?? [];
    this.head.hidden = pools.length === 0;
    if (pools.length === 0) return [];
    this.isOpen ??= pools.length <= OPEN_MAX;
    const count = `${pools.length} ${pools.length === 1 ? "pool" : "pools"}`;
    say(this.toggle, `${this.isOpen ? "Hide" : "Show"} ${count}`);
    this.toggle.setAttribute("aria-expanded", `${this.isOpen}`);
    this.toggle.setAttribute("aria-label", `${this.isOpen ? "Hide" : "Show"} ${count} of ${this.sku}`);
    const whole = item.split === false ? "; lines are not split" : "";
    say(this.how, pools.length > 1 ? `${SOURCING[item.sourcing ?? "in_order"]}${whole}` : "");
    if (!this.isOpen) return [];
    return pools.map((pool) => {
      if (!this.rows.has(pool.id)) this.rows.set(pool.id, this.#row(pool.id));
      return fill(this.rows.get(pool.id), pool, item, now);
    });
  }

  #row(id) {
    const about = make("span", { class: "about muted" });
    const cells = this.columns.map((name) => make("td", { "data-name": name }));
    const element = make("tr", { class: "pool", "data-pool": `${this.sku} ${id}` },
      make("th", { scope: "row", title: id }, make("span", {}, id), about), ...cells, make("td", { class: "act" }));
    return { element, cells, about };
  }
}

function fill({ element, cells, about }, pool, item, now) {
  const price = pool.price ?? item.price;
  say(cells[0], price ? money(price.amount, price.currency) : "–");
  ["stock", "available", "held", "confirmed"].forEach((name, place) => say(cells[place + 1], units(pool[name])));
  say(cells.at(-1), pool.available === 0 ? "empty" : "");
  say(about, [sharedOf(pool, now), pool.location, costsOf(pool)].filter(Boolean).join(" · "));
  return element;
}

/** The costs by region, as far as there is room. */
function costsOf({ costs = {} }) {
  const all = Object.entries(costs);
  const shown = all.slice(0, REGIONS_MAX).map(([region, cost]) => `${region} ${units(cost)}`).join(", ");
  return shown && `costs ${shown}${all.length > REGIONS_MAX ? ` and ${all.length - REGIONS_MAX} more` : ""}`;
}

function sharedOf(pool, now) {
  if (!pool.shared_at) return audienceOf(pool);
  const at = Date.parse(pool.shared_at);
  if (at <= now * 1000) return `everybody since ${moment(at)}; before: ${audienceOf(pool)}`;
  return `${audienceOf(pool)}; everybody from ${moment(at)}`;
}
