// A sale's report: how it did, with a chart, tables, and the same as CSV for a spreadsheet.

import { Refused, call, salePath } from "./api.js";
import { Chart } from "./chart.js";
import { make, moment, money, share, span, tile, units } from "./dom.js";
import { choice } from "./form.js";

const BY = ["channel", "tier", "pool", "location"];
const SERIES = [["Granted", "available"], ["Confirmed", "confirmed"], ["Expired", "held"], ["Released", "refused"]];

export async function showReport(sale) {
  const body = make("div", { class: "report" }, make("p", { class: "muted" }, "Reading the store."));
  const close = make("button", { type: "button", onclick: () => dialog.close() }, "Close");
  const dialog = make("dialog", { class: "page", "aria-labelledby": "report-title" },
    make("div", { class: "head" }, make("h2", { id: "report-title" }, `Report: ${sale.name}`), close), body);
  let chart = null;
  dialog.addEventListener("close", () => {
    chart?.remove();
    dialog.remove();
  });
  document.body.append(dialog);
  dialog.showModal();
  try {
    const report = await call("GET", salePath(sale.id, "/report"));
    chart = new Chart("Units per minute", SERIES, units, "No units granted yet.");
    body.replaceChildren(...parts(report, chart));
    chart.show(...perMinute(report.minutes));
    body.append(groups(sale));
  } catch (error) {
    const told = error instanceof Refused ? `${error.problem.title}: ${error.message}` : "The service does not answer.";
    body.replaceChildren(make("p", { class: "wrong", role: "alert" }, told));
  }
}

/** Times and a line for each of the series. A minute in which nothing happened is left out of the report, and is 0 here. */
function perMinute(minutes) {
  const times = [];
  const lines = SERIES.map(() => []);
  const push = (at, minute) => {
    times.push(at);
    SERIES.forEach(([name], place) => lines[place].push(minute ? minute[name.toLowerCase()] : 0));
  };
  for (const minute of minutes) {
    const at = Date.parse(minute.minute) / 1000;
    if (times.length === 0 || times.at(-1) < at - 60) {
      if (times.length > 0) push(times.at(-1) + 60, null);
      if (times.length === 0 || times.at(-1) < at - 60) push(at - 60, null);
    }
    push(at, minute);
  }
  if (times.length > 0) push(times.at(-1) + 60, null);
  return [times, ...lines];
}

function parts(report, chart) {
  const { units: counts, rates, as_of: asOf } = report;
  const percent = (rate) => (rate === undefined ? "–" : share(rate * 10_000, 10_000));
  const figures = [
    ["Sold", units(counts.confirmed), `of ${units(report.stock.stock)} units`],
    ["Sell-through", percent(rates.sell_through), "of all stock"],
    ["Conversion", percent(rates.conversion), "of reservations granted"],
    ["Expired", percent(rates.expiry_rate), "of reservations granted"],
    ["Sold out after", report.seconds_to_sell_out === undefined ? "–" : span(report.seconds_to_sell_out), "after it opened"],
    ["Revenue", revenue(report), "at the prices that customers saw"],
  ];
  const tiles = figures.map(([name, value, note]) => {
    const each = tile(name);
    each.set(value, note);
    return each.element;
  });
  const items = report.items;
  const rows = items.map((item) => [item.sku, item.units.granted, item.units.confirmed, item.units.released, item.units.expired, item.units.held]);
  const refusals = report.refusals.by_reason;
  const sold = report.revenue.map(({ sku, price, units: count, revenue: sum }) => [
    sku, price ? money(price.amount, price.currency) : "–", count, price ? money(sum, price.currency) : "–",
  ]);
  return [
    make("p", { class: "muted" }, `As of ${moment(Date.parse(asOf.read_at))}; the store was ${span(asOf.lag_seconds)} behind.`),
    make("div", { class: "tiles" }, ...tiles),
    make("h3", {}, "Units per minute"), chart.element,
    make("div", { class: "head" }, make("h3", {}, "Items"), save(report)),
    table(["Item", "Granted", "Sold", "Released", "Expired", "Held"], rows),
    make("h3", {}, "Revenue"), table(["Item", "Price", "Sold", "Revenue"], sold),
    ...(report.waitlist ? waitlist(report.waitlist, percent) : []),
    ...(report.group_deals.length > 0 ? groupDeals(report.group_deals, percent) : []),
    make("h3", {}, "Refused"),
    refusals.length > 0
      ? table(["Reason", "Reserves"], refusals.map(({ reason, count }) => [reason, count]))
      : make("p", { class: "muted" }, "No refusals since the service started."),
  ];
}

/** Who waited, and what became of it. */
function waitlist({ waiting, offered, open_offers: open, confirmed_offers: confirmed, left, expired, conversion, seconds_to_offer: seconds }, percent) {
  const wait = seconds === undefined ? "–" : span(seconds);
  return [
    make("h3", {}, "Waitlist"),
    table(["Waiting", "Left", "Expired", "Offered", "Of them held", "Of them sold", "Conversion of offers", "Wait for an offer"],
      [[waiting, left, expired, offered, open, confirmed, percent(conversion), wait]]),
  ];
}

/** What became of the groups of each item. */
function groupDeals(deals, percent) {
  const rows = deals.map(({ sku, groups: all, open, complete, failed, completion_rate: rate, members, confirmed_members: sold }) =>
    [sku, all, open, complete, failed, percent(rate), members, sold]);
  return [
    make("h3", {}, "Group deals"),
    table(["Item", "Groups", "Open", "Complete", "Failed", "Completed", "Members", "Of them confirmed"], rows),
  ];
}

/** What each channel, or tier, pool or location, brought. */
function groups(sale) {
  const body = make("div", { class: "report", role: "status" });
  let turn = 0;
  const show = async (by) => {
    const own = (turn += 1);
    body.replaceChildren(make("p", { class: "muted" }, "Reading the store."));
    let shown;
    try {
      const report = await call("GET", salePath(sale.id, `/report?by=${by}`));
      shown = report.groups.some(({ value }) => value !== undefined) ? grouped(by, report) : make("p", { class: "muted" }, `No reservation has a ${by}.`);
    } catch (error) {
      // A service that does not group says so for each of them.
      element.hidden = error.status === 400;
      shown = make("p", { class: "wrong" }, error instanceof Refused ? `${error.problem.title}: ${error.message}` : "The service does not answer.");
    }
    // Another one was chosen meanwhile.
    if (own === turn) body.replaceChildren(shown);
  };
  const names = BY.map((by) => `By ${by}`);
  const element = make("div", { class: "report" }, make("h3", {}, "Groups"), choice("What to group by", names, (place) => show(BY[place])), body);
  show(BY[0]);
  return element;
}

function grouped(by, { groups: all, groups_total: total }) {
  const rows = all.map((group) => [group.value ?? `without a ${by}`, group.reservations.granted, group.units.granted, group.units.confirmed,
    group.rates.conversion === undefined ? "–" : share(group.rates.conversion * 10_000, 10_000), revenue(group)]);
  const shown = table([by[0].toUpperCase() + by.slice(1), "Reservations", "Units granted", "Units sold", "Conversion", "Revenue"], rows);
  const more = make("p", { class: "muted" }, `The ${units(all.length)} with the most reservations, of ${units(total)}.`);
  return total > all.length ? make("div", {}, shown, more) : shown;
}

function revenue(report) {
  const sums = report.revenue_by_currency;
  return sums.length === 0 ? "–" : sums.map((each) => money(each.revenue, each.currency)).join(" + ");
}

function table(head, rows) {
  const cell = (value) => (typeof value === "number" ? units(value) : value);
  const body = rows.map(([first, ...rest]) => make("tr", {}, make("th", { scope: "row" }, cell(first)),
    ...rest.map((value, place) => make("td", { "data-name": head[place + 1] }, cell(value)))));
  return make("table", {}, make("thead", {}, make("tr", {}, ...head.map((name) => make("th", { scope: "col" }, name)))), make("tbody", {}, ...body));
}

/** Two files' worth in one: items, then minutes, each with a head of its own. */
function csv(report) {
  const quote = (value) => (/[",\n]/.test(`${value}`) ? `"${`${value}`.replaceAll('"', '""')}"` : `${value ?? ""}`);
  // A text that a spreadsheet would take for a formula is marked as text.
  const safe = (value) => (typeof value === "string" && /^[=+\-@]/.test(value) ? `'${value}` : value);
  const lines = [["item", "granted", "confirmed", "released", "expired", "held"]];
  for (const { sku, units: of } of report.items) lines.push([sku, of.granted, of.confirmed, of.released, of.expired, of.held]);
  lines.push([], ["minute", "granted", "confirmed", "released", "expired"]);
  for (const each of report.minutes) lines.push([each.minute, each.granted, each.confirmed, each.released, each.expired]);
  return lines.map((line) => line.map((value) => quote(safe(value))).join(",")).join("\n");
}

function save(report) {
  const href = `data:text/csv;charset=utf-8,${encodeURIComponent(csv(report))}`;
  return make("a", { class: "button", download: `${report.sale}-report.csv`, href }, "Save as CSV");
}
