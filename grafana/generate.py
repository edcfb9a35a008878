"""Makes the dashboards with Grafana's Foundation SDK: `target/machine/bin/python grafana/generate.py` rewrites them.

Each panel is one entry: title, unit, meaning, queries, threshold. The datasource, job, instance and sale are variables.
"""

from __future__ import annotations

from pathlib import Path

from grafana_foundation_sdk.builders import dashboard, prometheus, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard as model

DIRECTORY = Path(__file__).parent / "dashboards"
SOURCE = model.DataSourceRef(type_val="prometheus", uid="${datasource}")
HERE = 'job=~"$job",instance=~"$instance"'
SALE = HERE + ',sale=~"$sale"'

# A query: expression and legend. A panel: title, unit, meaning, queries, and the value from which it is red, or None.
Query = tuple[str, str]
Panel = tuple[str, str, str, list[Query], float | None]


def rate(name: str, by: str, labels: str = "") -> str:
    return f"sum by ({by}) (rate(doorbuster_{name}{{{HERE}{labels}}}[$__rate_interval]))"


def quantile(share: float, name: str, by: str = "") -> Query:
    buckets = rate(f"{name}_bucket", f"le{by}")
    return f"histogram_quantile({share}, {buckets})", f"p{share * 100:g}" + (" {{route}}" if by else "")


def gauge(name: str, legend: str, labels: str = HERE) -> Query:
    return f"doorbuster_{name}{{{labels}}}", legend


def share(name: str, limit: str) -> Query:
    """How much of a limit is in use."""
    return f'doorbuster_{name}{{{HERE}}} / on (job, instance) doorbuster_limit{{limit="{limit}"}}', limit


UNITS = f"sum by (sale, state) (doorbuster_sale_stock_units{{{SALE}}})"


AVAILABLE = f'doorbuster_sale_stock_units{{{SALE},state="available"}}'


def ended(outcomes: str) -> str:
    return f'sum(rate(doorbuster_reservations_total{{{HERE},outcome=~"{outcomes}"}}[$__rate_interval]))'


WAITED = f"sum(rate(doorbuster_waitlist_waited_seconds_total{{{HERE}}}[$__rate_interval]))"
OFFERED = f'sum(rate(doorbuster_waitlist_entries_total{{{HERE},outcome="offered"}}[$__rate_interval]))'
GRANTED = rate("channel_reserves_total", "channel", ',outcome="held"')
BY_CHANNEL = rate("channel_reserves_total", "channel")


SALE_LIVE: list[Panel] = [
    (
        "Units by state",
        "short",
        "Units of each sale by state. The states add up to the sale's stock.",
        [(UNITS, "{{sale}} {{state}}")],
        None,
    ),
    (
        "Grants and endings",
        "reqps",
        "Successful commands on reservations, and holds that expired.",
        [(rate("reservations_total", "outcome"), "{{outcome}}")],
        None,
    ),
    (
        "Refusals by reason",
        "reqps",
        "Refused commands, by reason.",
        [(rate("reservation_refusals_total", "reason"), "{{reason}}")],
        None,
    ),
    (
        "Conversion",
        "percentunit",
        "The share of ended holds that was confirmed.",
        [(f"{ended('confirmed|confirmed_late')} / ({ended('confirmed|released|expired')} > 0)", "confirmed")],
        None,
    ),
    (
        "Late and refused payments",
        "reqps",
        "Confirms that got their units after the hold had expired, and refused ones, whose payments must be returned. "
        "A provider that repeats a refused payment counts each time.",
        [
            (ended("confirmed_late"), "confirmed late"),
            (ended("confirm_refused"), "to return"),
        ],
        None,
    ),
    (
        "Groups",
        "short",
        "Groups that are open, and groups that were completed or failed within five minutes.",
        [
            gauge("groups_open", "open"),
            (f"sum by (outcome) (increase(doorbuster_groups_total{{{HERE}}}[5m]))", "{{outcome}}"),
        ],
        None,
    ),
    (
        "Live holds",
        "short",
        "Current holds, and those that expire within a minute.",
        [gauge("live_holds", "live"), gauge("holds_expiring_next_minute", "expire within a minute")],
        None,
    ),
    (
        "Waiting customers",
        "short",
        "Customers on waitlists, by sale.",
        [gauge("sale_waiting_customers", "{{sale}}", SALE)],
        None,
    ),
    (
        "Waitlist entries",
        "ops",
        "Entries by what happened to them. Passed over: the customer could have no more, and keeps the place.",
        [(rate("waitlist_entries_total", "outcome"), "{{outcome}}")],
        None,
    ),
    (
        "Time from joining to the offer",
        "s",
        "Mean over the entries that were offered a hold.",
        [(f"{WAITED} / ({OFFERED} > 0)", "mean")],
        None,
    ),
    (
        "Items sold out",
        "short",
        "Items with no units available, by sale.",
        [gauge("sale_items_sold_out", "{{sale}}", SALE)],
        None,
    ),
    (
        "Items with low stock",
        "short",
        "Items with no more available units than their documents call low, by sale.",
        [gauge("sale_items_low_stock", "{{sale}}", SALE)],
        None,
    ),
    (
        "Units per minute by item",
        "short",
        "The items that sell fastest, of those that have their own series. Five minutes count, in which each could be "
        "bought.",
        [(f"topk(10, doorbuster_item_units_per_minute{{{SALE}}})", "{{sale}} {{sku}}")],
        None,
    ),
    (
        "Time to sell-out",
        "s",
        "Time until no units are left at the current pace. Sales that lose no units are not shown.",
        [(f"{AVAILABLE} / (-deriv({AVAILABLE}[$__rate_interval]) > 0)", "{{sale}}")],
        None,
    ),
    (
        "Available by item",
        "short",
        "The items with the fewest available units, of those that have their own series.",
        [(f'bottomk(10, doorbuster_stock_units{{{SALE},state="available"}})', "{{sale}} {{sku}}")],
        None,
    ),
    (
        "Available by pool",
        "short",
        "The pools with the fewest available units, of those that have their own series. An empty pool is not a closed "
        "one: customers for whom a later pool is open are served from that.",
        [(f'bottomk(20, doorbuster_pool_units{{{SALE},state="available"}})', "{{sale}} {{sku}} {{pool}}")],
        None,
    ),
    (
        "Confirmed by pool",
        "short",
        "The pools that sold the most units, of those that have their own series.",
        [(f'topk(20, doorbuster_pool_units{{{SALE},state="confirmed"}})', "{{sale}} {{sku}} {{pool}}")],
        None,
    ),
    (
        "Reserves by channel",
        "reqps",
        "Reserves that name a channel, by channel and outcome, over all sales.",
        [(rate("channel_reserves_total", "channel, outcome"), "{{channel}} {{outcome}}")],
        None,
    ),
    (
        "Granted by channel",
        "percentunit",
        "The share of each channel's reserves that was granted, over all sales.",
        [(f"{GRANTED} / ({BY_CHANNEL} > 0)", "{{channel}}")],
        None,
    ),
    ("Sales by status", "short", "Number of sales in each status.", [gauge("sales", "{{status}}")], None),
    (
        "Drift and oversell",
        "short",
        "Units that do not add up. Any value but 0 is a bug: see the runbook.",
        [gauge("conservation_drift_units", "drift"), gauge("oversold_units", "oversold")],
        1,
    ),
]
SERVICE: list[Panel] = [
    ("Requests", "reqps", "Answered requests, by call.", [(rate("http_requests_total", "route"), "{{route}}")], None),
    ("Statuses", "reqps", "Answers by status.", [(rate("http_requests_total", "status"), "{{status}}")], None),
    (
        "Errors",
        "percentunit",
        "Share of answers that are 5xx; the objective is 0.1 %.",
        [
            (
                f'(sum(rate(doorbuster_http_requests_total{{{HERE},status=~"5.."}}[$__rate_interval])) or vector(0)) / sum(rate(doorbuster_http_requests_total{{{HERE}}}[$__rate_interval]))',  # noqa: E501
                "5xx",
            )
        ],
        0.001,
    ),
    (
        "Latency",
        "s",
        "Time from a request's head to its answer, over all calls.",
        [
            quantile(0.5, "http_request_duration_seconds"),
            quantile(0.99, "http_request_duration_seconds"),
            quantile(0.999, "http_request_duration_seconds"),
        ],
        0.25,
    ),
    (
        "Latency by call",
        "s",
        "The 99th percentile of each call.",
        [quantile(0.99, "http_request_duration_seconds", ", route")],
        0.25,
    ),
    ("Connections", "short", "Open connections of the API.", [gauge("http_connections", "open")], None),
    (
        "Refused connections",
        "cps",
        "Connections refused because the limit was reached.",
        [(rate("http_connections_refused_total", "instance"), "{{instance}}")],
        1,
    ),
    (
        "Limits",
        "percentunit",
        "How much of each limit is in use. At 1, what would go beyond it is refused.",
        [
            share("http_connections", "limits.connections_max"),
            share("event_readers", "limits.event_readers_max"),
            share("reservations_in_memory", "limits.reservations_max"),
            share("customers_in_memory", "limits.customers_max"),
            share("state_bytes", "limits.memory_bytes_max"),
            share("buffered_bytes", "limits.buffered_bytes_max"),
            share("store_backlog_bytes", "journal.max_backlog_bytes"),
        ],
        0.8,
    ),
    (
        "Rate limited",
        "reqps",
        "Requests over a quota, by the kind of quota.",
        [(rate("rate_limited_total", "policy"), "{{policy}}")],
        None,
    ),
    (
        "Feed of events",
        "short",
        "Readers of the feed, and events sent to them per second.",
        [gauge("event_readers", "readers"), (rate("events_sent_total", "instance"), "events a second")],
        None,
    ),
    (
        "Webhooks, deliveries",
        "cps",
        "Deliveries to webhooks per second, by outcome.",
        [(rate("webhook_deliveries_total", "webhook, outcome"), "{{webhook}} {{outcome}}")],
        None,
    ),
    (
        "Webhooks, behind",
        "s",
        "Age of the oldest event that a webhook still has to get. A parked one gets none until it is resumed.",
        [gauge("webhook_lag_seconds", "{{webhook}}")],
        300,
    ),
    (
        "Webhooks, duration",
        "s",
        "Seconds that deliveries took, whatever their outcome.",
        [quantile(0.5, "webhook_delivery_duration_seconds"), quantile(0.99, "webhook_delivery_duration_seconds")],
        None,
    ),
    (
        "Trace spans",
        "cps",
        "Spans of traced requests, by outcome.",
        [(rate("trace_spans_total", "outcome"), "{{outcome}}")],
        None,
    ),
]
INTERNALS: list[Panel] = [
    (
        "Threads busy",
        "percentunit",
        "Share of time that each thread ran. A thread at 1 is the bottleneck.",
        [gauge("thread_busy_ratio", "{{thread}}")],
        0.9,
    ),
    (
        "Threads without a core",
        "percentunit",
        "Share of time that a thread was ready to run but had no core.",
        [gauge("thread_starved_ratio", "{{thread}}")],
        0.3,
    ),
    (
        "Shard lock wait",
        "s",
        "How long an operation on a shard waits for its lock.",
        [quantile(0.99, "shard_lock_wait_seconds")],
        0.001,
    ),
    (
        "Reservations by shard",
        "short",
        "How evenly customers are spread over shards.",
        [gauge("shard_reservations", "{{shard}}")],
        None,
    ),
    (
        "Waiting changes",
        "bytes",
        "Bytes of events that are not in a batch yet, by shard.",
        [gauge("shard_lane_bytes", "{{shard}}")],
        None,
    ),
    (
        "Slow path",
        "reqps",
        "Reserves decided under all locks.",
        [(rate("stock_gathers_total", "instance"), "{{instance}}")],
        None,
    ),
    (
        "Journal sync",
        "s",
        "Time to make a batch durable.",
        [quantile(0.5, "journal_sync_seconds"), quantile(0.99, "journal_sync_seconds")],
        0.05,
    ),
    ("Journal write", "s", "Time to write a batch.", [quantile(0.99, "journal_write_seconds")], 0.05),
    (
        "Journal",
        "Bps",
        "Bytes appended to the journal per second.",
        [(rate("journal_bytes_total", "instance"), "{{instance}}")],
        None,
    ),
    (
        "Batches",
        "ops",
        "Batches made durable per second.",
        [(rate("journal_batches_total", "instance"), "{{instance}}")],
        None,
    ),
    (
        "Store lag",
        "s",
        "Age of the oldest durable change that is not in the store yet.",
        [gauge("store_lag_seconds", "lag")],
        60,
    ),
    (
        "Store backlog",
        "bytes",
        "Bytes of the journal that the store has not applied yet.",
        [gauge("store_backlog_bytes", "backlog")],
        None,
    ),
    (
        "Store state",
        "short",
        "1 for the state that the store is in.",
        [gauge("store_state", "{{state}}")],
        None,
    ),
    (
        "Store",
        "ops",
        "Rows and transactions written, and failed attempts, per second.",
        [(rate(f"store_{it}_total", "instance"), it) for it in ("rows", "transactions", "failures")],
        None,
    ),
    (
        "Expiry lag",
        "s",
        "How late expired holds return their units. The guarantee is 100 ms.",
        [quantile(0.99, "expiry_lag_seconds")],
        0.1,
    ),
    ("Memory", "bytes", "Resident memory of the process.", [gauge("process_resident_bytes", "resident")], None),
    (
        "Disk",
        "bytes",
        "Size of the data directory's disk, and its free space.",
        [gauge("data_disk_available_bytes", "available"), gauge("data_disk_bytes", "size")],
        None,
    ),
    (
        "Disk of the journal",
        "bytes",
        "Room left on the disk of the journal; below the reserve, new reservations are refused.",
        [gauge("journal_disk_available_bytes", "available"), gauge("journal_disk_reserve_bytes", "reserve")],
        None,
    ),
    (
        "Open files",
        "short",
        "Files and connections that the process has open, and how many it may have.",
        [gauge("process_open_files", "open"), gauge("process_open_files_max", "limit")],
        None,
    ),
    (
        "Machine's clock",
        "s",
        "By how much the machine's clock differs from the service's time while that is in doubt.",
        [(f"abs(doorbuster_clock_offset_seconds{{{HERE}}})", "difference")],
        None,
    ),
    (
        "Dropped log lines",
        "cps",
        "Log lines that were dropped because standard error did not take them.",
        [(rate("log_lines_dropped_total", "instance"), "{{instance}}")],
        1,
    ),
    (
        "Configuration reloads",
        "cps",
        "Reloads of configuration, keys and certificates, by outcome.",
        [(rate("config_reloads_total", "outcome"), "{{outcome}}")],
        None,
    ),
    (
        "Age of the last backup",
        "s",
        "Seconds since the last backup was finished.",
        [(f"time() - (doorbuster_backup_last_timestamp_seconds{{{HERE}}} > 0)", "age")],
        None,
    ),
]
# Annotations for changes that Prometheus can see: a status that is new within the last minute, and items that sold out.
ANNOTATIONS = [
    (
        "Opens",
        "green",
        f'doorbuster_sale_status{{{SALE},status="open"}} == 1 unless doorbuster_sale_status{{{SALE},status="open"}} offset 1m == 1',  # noqa: E501
    ),
    (
        "Pauses",
        "orange",
        f'doorbuster_sale_status{{{SALE},status="paused"}} == 1 unless doorbuster_sale_status{{{SALE},status="paused"}} offset 1m == 1',  # noqa: E501
    ),
    (
        "Sell-outs",
        "red",
        f"doorbuster_sale_items_sold_out{{{SALE}}} > doorbuster_sale_items_sold_out{{{SALE}}} offset 1m",
    ),
]
DASHBOARDS: list[tuple[str, str, list[Panel]]] = [
    ("doorbuster-sale", "Sale live", SALE_LIVE),
    ("doorbuster-service", "Service", SERVICE),
    ("doorbuster-internals", "Internals", INTERNALS),
]


def panel(line: Panel) -> timeseries.Panel:
    title, unit, meaning, queries, red = line
    steps = [model.Threshold(value=None, color="green")]
    if red is not None:
        steps.append(model.Threshold(value=red, color="red"))
    limits = dashboard.ThresholdsConfig().mode(model.ThresholdsMode.ABSOLUTE).steps(steps)
    made = timeseries.Panel().title(title).description(meaning).unit(unit).datasource(SOURCE).thresholds(limits)
    made = made.min(0).span(8).height(8)
    for number, (expr, legend) in enumerate(queries):
        made = made.with_target(prometheus.Dataquery().expr(expr).legend_format(legend).ref_id(chr(ord("A") + number)))
    return made


def variable(name: str, query: str) -> dashboard.QueryVariable:
    made = dashboard.QueryVariable(name).label(name).datasource(SOURCE).query(query).multi(True).include_all(True)
    return made.all_value(".*").refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED)


def build(uid: str, title: str, panels: list[Panel]) -> str:
    made = dashboard.Dashboard(title).uid(uid).tags(["doorbuster"]).refresh("5s").time("now-15m", "now").readonly()
    made = made.with_variable(dashboard.DatasourceVariable("datasource").label("datasource").type("prometheus"))
    made = made.with_variable(variable("job", "label_values(doorbuster_build_info, job)"))
    made = made.with_variable(variable("instance", 'label_values(doorbuster_build_info{job=~"$job"}, instance)'))
    made = made.with_variable(variable("sale", f"label_values(doorbuster_sale_stock_units{{{HERE}}}, sale)"))
    for other, name, _ in DASHBOARDS:
        if other != uid:
            link = dashboard.DashboardLink(name).type(model.DashboardLinkType.LINK).url(f"/d/{other}")
            made = made.link(link.include_vars(True).keep_time(True))
    for name, color, expr in ANNOTATIONS:
        made = made.annotation(
            dashboard.AnnotationQuery().name(name).datasource(SOURCE).enable(True).icon_color(color).expr(expr)
        )
    for line in panels:
        made = made.with_panel(panel(line))
    return JSONEncoder(sort_keys=True, indent=2).encode(made.build()) + "\n"


def documents() -> dict[Path, str]:
    return {DIRECTORY / f"{uid}.json": build(uid, title, panels) for uid, title, panels in DASHBOARDS}


if __name__ == "__main__":
    for path, text in documents().items():
        path.write_text(text)
