//! Reports: every figure against a naive recount of the events, to the unit.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use super::{
    model::{batches, for_cases, steps},
    naive::Naive,
    *,
};
use crate::sale::{
    attributes::Attributes,
    catalogue::Sale,
    event::{Adjusted, RefusedConfirm},
    outcome::State,
};

on_both! {
    every_figure_is_what_a_recount_of_the_events_says,
    sold_out_is_told_as_of_the_first_batch_that_left_nothing,
    what_cannot_be_told_is_left_out,
    a_report_is_given_up_at_its_deadline,
    so_many_groups_are_told_and_no_more,
}

fn far() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

/// The report of a sale, counted event by event without a thought for speed. `cursor` and `changed_at` are the store's.
pub(super) fn recount(naive: &Naive, sale: &Sale, counts_from: Option<&str>, read: &SaleReport) -> SaleReport {
    let mut expected = SaleReport {
        cursor: read.cursor,
        changed_at: read.changed_at.clone(),
        counts_from: counts_from.filter(|&from| sale.created_at.to_string().as_str() < from).map(str::to_owned),
        reservations: Reserved::default(),
        units: Units::default(),
        late: 0,
        refused: BTreeMap::new(),
        waitlist: super::waitlist::recount(naive, &sale.settings.id, counts_from),
        group_deals: group_deals(naive, sale, counts_from),
        group_deals_total: read.group_deals.len() as u64,
        stock: Stock::default(),
        items: Vec::new(),
        items_total: sale.items.len() as u64,
        items_sold_out: 0,
        items_ever_sold_out: 0,
        sold_out_at: None,
        seconds_to_sell_out: None,
        minutes: Vec::new(),
        minutes_total: 0,
        peak: None,
        revenue: Vec::new(),
        revenue_rows_total: 0,
        revenue_total: BTreeMap::new(),
        groups: read.groups.as_ref().map(|groups| regroup(naive, sale, counts_from, &groups.by)),
    };
    let (mut units, mut with_item) = (BTreeMap::<String, Units>::new(), BTreeMap::<String, Reserved>::new());
    let mut minutes = BTreeMap::<String, [u64; 4]>::new();
    let mut sold = BTreeMap::<(String, Option<(String, u64)>), u64>::new();
    let minute = |at: &str| format!("{}:00.000Z", &at[..16]);
    for row in naive.reservations.values().filter(|row| row.sale == sale.settings.id) {
        if !counts(row, counts_from) {
            continue;
        }
        expected.late += u64::from(row.late);
        for refused in naive.refused.iter().filter(|refused| refused[0] == row.id) {
            let cause = RefusedConfirm::ALL.into_iter().find(|cause| cause.as_str() == refused[4]).unwrap();
            *expected.refused.entry(cause).or_default() += 1;
        }
        add(&mut expected.reservations, row.state, 1);
        let skus: BTreeSet<&String> = row.lines.iter().map(|line| &line.sku).collect();
        skus.into_iter().for_each(|sku| add(with_item.entry(sku.clone()).or_default(), row.state, 1));
        for line in &row.lines {
            let quantity = u64::from(line.quantity);
            let sold_units = add_units(units.entry(line.sku.clone()).or_default(), row.state, line);
            minutes.entry(minute(&row.created_at)).or_default()[0] += quantity;
            for (place, at) in [(1, &row.confirmed_at), (2, &row.released_at), (3, &row.expired_at)] {
                if let Some(at) = at {
                    minutes.entry(minute(at)).or_default()[place] += quantity - u64::from(line.returned);
                }
            }
            if sold_units > 0 {
                let price = line.price.clone().map(|(amount, currency)| (currency, amount as u64));
                *sold.entry((line.sku.clone(), price)).or_default() += sold_units;
            }
        }
    }
    let begins = sale.settings.opens_at.max(sale.created_at);
    let mut items: Vec<_> = sale.items.iter().collect();
    items.sort_by_key(|item| &item.settings.sku);
    for item in items {
        let Counts { stock, available, held, confirmed } = naive.counts[&item.number];
        let [stock, available, held, confirmed] = [stock, available, held, confirmed].map(i64::unsigned_abs);
        let sold_out = naive.sold_out.get(&item.number);
        let told = ItemReport {
            sku: item.settings.sku.clone(),
            reservations: with_item.get(&item.settings.sku).copied().unwrap_or_default(),
            units: units.get(&item.settings.sku).copied().unwrap_or_default(),
            stock: Stock { stock, available, held, confirmed },
            sold_out_at: sold_out.map(ToString::to_string),
            seconds_to_sell_out: sold_out
                .filter(|&&at| at >= begins)
                .map(|at| (at.millis() - begins.millis()) as f64 / 1000.0),
        };
        let sum = [&mut expected.stock.stock, &mut expected.stock.available, &mut expected.stock.held];
        sum.into_iter().zip([stock, available, held]).for_each(|(sum, units)| *sum += units);
        expected.stock.confirmed += confirmed;
        let Units { granted, held, confirmed, released, expired, cancelled, returned } = &mut expected.units;
        let sums = [granted, held, confirmed, released, expired, cancelled, returned];
        let Units { granted, held, confirmed, released, expired, cancelled, returned } = told.units;
        let of_item = [granted, held, confirmed, released, expired, cancelled, returned];
        sums.into_iter().zip(of_item).for_each(|(sum, units)| *sum += units);
        expected.items_sold_out += u64::from(available == 0);
        expected.items_ever_sold_out += u64::from(sold_out.is_some());
        expected.items.push(told);
    }
    if expected.items.iter().all(|item| item.sold_out_at.is_some()) {
        let last = expected.items.iter().max_by(|one, other| one.sold_out_at.cmp(&other.sold_out_at)).unwrap();
        (expected.sold_out_at, expected.seconds_to_sell_out) = (last.sold_out_at.clone(), last.seconds_to_sell_out);
    }
    for (minute, [granted, confirmed, released, expired]) in minutes {
        expected.minutes_total += 1;
        expected.minutes.push(MinuteReport { minute, granted, confirmed, released, expired });
    }
    let most = expected.minutes.iter().map(|minute| minute.granted).max().unwrap_or(0);
    expected.peak = expected.minutes.iter().find(|minute| most > 0 && minute.granted == most).cloned();
    for ((sku, price), units) in sold {
        let (currency, amount) = price.clone().unwrap_or_default();
        let total = expected.revenue_total.entry(currency).or_default();
        *total = (total.0 + units, total.1 + units * amount);
        expected.revenue_rows_total += 1;
        let revenue = price.as_ref().map(|(_, amount)| amount * units);
        let price = price.map(|(currency, amount)| (amount, currency));
        expected.revenue.push(RevenueReport { sku, price, units, revenue });
    }
    expected
}

/// The group deals of a sale, counted member by member.
fn group_deals(naive: &Naive, sale: &Sale, counts_from: Option<&str>) -> Vec<GroupDealsReport> {
    let mut groups = BTreeMap::<(&str, &str), Vec<&StoredReservation>>::new();
    let rows = naive.reservations.values().filter(|row| row.sale == sale.settings.id && counts(row, counts_from));
    for row in rows {
        if let Some(id) = &row.group_id {
            groups.entry((&row.lines[0].sku, id)).or_default().push(row);
        }
    }
    let mut deals = Vec::<GroupDealsReport>::new();
    for ((sku, _), members) in groups {
        if deals.last().is_none_or(|deals| deals.sku != sku) {
            let (groups, open, complete, failed, members, confirmed_members) = Default::default();
            deals.push(GroupDealsReport {
                sku: sku.to_owned(),
                groups,
                open,
                complete,
                failed,
                members,
                confirmed_members,
            });
        }
        let deal = deals.last_mut().unwrap();
        let has = |state: &str| members.iter().any(|member| member.group_state.as_deref() == Some(state));
        let (complete, open) = (has("complete"), has("open"));
        deal.groups += 1;
        deal.complete += u64::from(complete);
        deal.open += u64::from(open);
        deal.failed += u64::from(!complete && !open);
        deal.members += members.iter().filter(|member| member.group_state.as_deref() != Some("left")).count() as u64;
        deal.confirmed_members += members.iter().filter(|member| member.state == State::Confirmed).count() as u64;
    }
    deals
}

/// The groups of a sale, counted line by line.
fn regroup(naive: &Naive, sale: &Sale, counts_from: Option<&str>, by: &By) -> Groups {
    let mut groups = BTreeMap::<String, GroupReport>::new();
    for row in naive.reservations.values().filter(|row| row.sale == sale.settings.id) {
        if !counts(row, counts_from) {
            continue;
        }
        let mut counted = BTreeSet::new();
        for line in &row.lines {
            let item = sale.item(&line.sku).unwrap();
            let value = match by {
                By::Channel => row.channel.clone(),
                By::Tier => row.tier.clone(),
                By::Pool => Some(line.pool.clone()),
                By::Location => {
                    let pool = item.settings.pools.iter().find(|pool| pool.id == line.pool);
                    pool.and_then(|pool| pool.location.clone())
                }
                By::Label(name) => row.labels.as_ref().and_then(|labels| {
                    let labels: BTreeMap<String, String> = serde_json::from_str(labels).unwrap();
                    labels.get(name).cloned()
                }),
            };
            let key = value.clone().unwrap_or_default();
            let (reservations, units) = (Reserved::default(), Units::default());
            let empty = GroupReport { value, reservations, units, revenue: BTreeMap::new() };
            let group = groups.entry(key.clone()).or_insert(empty);
            if counted.insert(key) {
                add(&mut group.reservations, row.state, 1);
            }
            let units = add_units(&mut group.units, row.state, line);
            if let Some((amount, currency)) = line.price.clone().filter(|_| units > 0) {
                let sold = group.revenue.entry(currency).or_default();
                *sold = (sold.0 + units, sold.1 + units * amount as u64);
            }
        }
    }
    let total = groups.len() as u64;
    let mut groups: Vec<GroupReport> = groups.into_values().collect();
    groups.sort_by_key(|group| std::cmp::Reverse(group.reservations.granted));
    Groups { by: by.clone(), groups, total }
}

/// Whether reports that count from a moment on count the reservation.
fn counts(row: &StoredReservation, counts_from: Option<&str>) -> bool {
    let ends = [&row.cancelled_at, &row.confirmed_at, &row.released_at, &row.expired_at];
    let ended_at = ends.into_iter().flatten().next();
    ended_at.is_none_or(|at| counts_from.is_none_or(|from| at.as_str() >= from))
}

fn add(sums: &mut Reserved, state: State, count: u64) {
    sums.granted += count;
    *match state {
        State::Held => &mut sums.held,
        State::Confirmed => &mut sums.confirmed,
        State::Released => &mut sums.released,
        State::Expired => &mut sums.expired,
        State::Cancelled => &mut sums.cancelled,
    } += count;
}

/// Says how many of the units stay sold.
fn add_units(sums: &mut Units, state: State, line: &StoredLine) -> u64 {
    let [all, returned, cancelled] = [line.quantity, line.returned, line.cancelled].map(u64::from);
    sums.granted += all;
    match state {
        State::Held => sums.held += all,
        State::Released => sums.released += all,
        State::Expired => sums.expired += all,
        State::Confirmed | State::Cancelled => {
            sums.returned += returned;
            sums.cancelled += cancelled;
            sums.confirmed += all - returned - cancelled;
            return all - returned - cancelled;
        }
    }
    0
}

/// The views say what the report says, with shares.
fn compare_views(database: &Database, sale: &str, report: &SaleReport) {
    let share = |part: u64, whole: u64| (whole > 0).then(|| part as f64 / whole as f64);
    let row = &database.query(&format!(
        "SELECT reservations, granted_units, confirmed_units, items, items_sold_out, items_ever_sold_out, cancelled_reservations,
                late_reservations, refused_confirmations, cancelled_units, returned_units, stock, conversion, unit_conversion,
                expiry_rate, release_rate, sell_through, sold_out_at, seconds_to_sell_out, counts_from
           FROM report_sales WHERE sale = '{sale}'"
    ))[0];
    let (reservations, units, stock) = (&report.reservations, &report.units, &report.stock);
    let counts = [
        reservations.granted,
        units.granted,
        units.confirmed,
        report.items_total,
        report.items_sold_out,
        report.items_ever_sold_out,
        reservations.cancelled,
        report.late,
        report.refused.values().sum(),
        units.cancelled,
        units.returned,
    ];
    counts.iter().chain([&stock.stock]).zip(row).for_each(|(count, cell)| assert_eq!(cell, &count.to_string()));
    for (cell, share) in row[12..17].iter().zip([
        share(reservations.confirmed, reservations.granted),
        share(units.confirmed, units.granted),
        share(reservations.expired, reservations.granted),
        share(reservations.released, reservations.granted),
        share(stock.confirmed, stock.stock),
    ]) {
        match share {
            None => assert_eq!(cell, "-"),
            Some(share) => assert!((cell.parse::<f64>().unwrap() - share).abs() < 0.000_051, "{cell} for {share}"),
        }
    }
    let shown = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".to_owned());
    let seconds = report.seconds_to_sell_out.map(|seconds| seconds.to_string());
    assert_eq!(row[17..], [shown(&report.sold_out_at), shown(&seconds), shown(&report.counts_from)]);
    for item in &report.items {
        let cells = database.query(&format!(
            "SELECT conversion, unit_conversion, sell_through FROM report_items WHERE sale = '{sale}' AND sku = '{}'",
            item.sku
        ));
        let shares = [
            share(item.reservations.confirmed, item.reservations.granted),
            share(item.units.confirmed, item.units.granted),
            share(item.stock.confirmed, item.stock.stock),
        ];
        for (cell, share) in cells[0].iter().zip(shares) {
            match share {
                None => assert_eq!(cell, "-"),
                Some(share) => assert!((cell.parse::<f64>().unwrap() - share).abs() < 0.000_051, "{cell} for {share}"),
            }
        }
    }
}

/// Takes a mean as it was read, if it is what was expected to a millisecond: databases round means in their own ways.
fn close_to(expected: &mut SaleReport, read: &SaleReport) {
    let means = expected.waitlist.as_mut().zip(read.waitlist.as_ref());
    if let Some((expected, read)) = means
        && let Some((mean, read)) = expected.seconds_to_offer.as_mut().zip(read.seconds_to_offer)
        && (*mean - read).abs() < 0.001_1
    {
        *mean = read;
    }
}

/// Every report against a recount.
pub(super) fn compare(database: &Database, naive: &Naive, counts_from: Option<&str>) {
    let mut reader = database.reader();
    for sale in naive.catalogue.sales() {
        let report = reader.report(&sale.settings.id, None, far()).unwrap().expect("the store has the sale");
        let mut expected = recount(naive, sale, counts_from, &report);
        close_to(&mut expected, &report);
        assert_eq!(report, expected);
        compare_views(database, &sale.settings.id, &report);
        super::waitlist::compare_views(database, &sale.settings.id, report.waitlist.as_ref());
        for by in ["channel", "tier", "pool", "location", "label:host", "label:x.y-z", "label:none"] {
            let grouped = reader.report(&sale.settings.id, By::parse(by).as_ref(), far()).unwrap().unwrap();
            let mut expected = recount(naive, sale, counts_from, &grouped);
            close_to(&mut expected, &grouped);
            assert_eq!(grouped, expected, "by {by}");
            assert_eq!(SaleReport { groups: None, ..grouped }, report, "by {by}");
        }
    }
    assert_eq!(reader.report("none", None, far()).unwrap(), None);
}

fn every_figure_is_what_a_recount_of_the_events_says(new: New) {
    for_cases(new, 30, &(steps(), 1..120u64), |(steps, window_events_max)| {
        let (batches, database) = (batches(&steps), new());
        let settings = WriteBehindSettings { window_events_max, ..Default::default() };
        catch_up(&mut write_behind_with(&MemoryJournal::of(&batches), &database, settings));
        compare(&database, &Naive::of(&batches), None);
        Ok(())
    });
}

/// However windows are cut, and also where units came back within the window or the batch.
fn sold_out_is_told_as_of_the_first_batch_that_left_nothing(new: New) {
    let at = |seconds| OPENS.plus_seconds(seconds);
    let [all, some, rest, again] =
        [(0, 1), (10, 2), (20, 3), (30, 4)].map(|(seconds, entropy)| reservation_id(at(seconds), "ann", entropy << 8));
    let back = |id, seconds, units| Event::Customer(CustomerEvent::Released(ended(id, at(seconds), units, None)));
    let lanes: Vec<Vec<Event<'_>>> = vec![
        // Within one batch nobody saw it.
        vec![held(all, "ann", 10), back(all, 5, 10)],
        vec![held(some, "ann", 4)],
        vec![held(rest, "ann", 6)],
        vec![back(rest, 25, 6)],
        vec![held(again, "ann", 6)],
    ];
    for window_events_max in 1..=8 {
        let (database, journal) = (new(), journal_with_sale(OPENS));
        lanes.iter().for_each(|events| journal.push(&[(0, events)]));
        let settings = WriteBehindSettings { window_events_max, ..Default::default() };
        catch_up(&mut write_behind_with(&journal, &database, settings));
        let told = database.query("SELECT sku, sold_out_at, seconds_to_sell_out FROM report_items ORDER BY sku");
        assert_eq!(told, [["phone", "-", "-"], ["tv", "2026-11-27T08:00:20.000Z", "20"]], "{window_events_max}");
    }
}

fn what_cannot_be_told_is_left_out(new: New) {
    let (database, journal) = (new(), journal_with_sale(OPENS));
    catch_up(&mut write_behind(&journal, &database));
    let report = database.reader().report("drop", None, far()).unwrap().unwrap();
    assert_eq!((report.reservations, report.minutes.len(), report.peak), (Reserved::default(), 0, None));
    assert_eq!((report.cursor, report.items.len(), report.stock.stock), (1, 2, 20));
    assert_eq!((report.sold_out_at, report.counts_from), (None, None));
    let row = database.query("SELECT conversion, expiry_rate, sell_through, sold_out_at FROM report_sales");
    assert_eq!(row, [["-", "-", "0", "-"]]);
    // More money than a column holds.
    let most = "UPDATE reservation_lines SET price_amount = 9007199254740991, quantity = 4000000000";
    let id = reservation_id(OPENS, "ann", 1 << 8);
    journal.push(&[(0, &[held(id, "ann", 1), Event::Customer(CustomerEvent::Confirmed(ended(id, OPENS, 1, None)))])]);
    catch_up(&mut write_behind(&journal, &database));
    database.execute(most, most);
    let report = database.reader().report("drop", None, far()).unwrap().unwrap();
    assert_eq!(report.revenue_total["EUR"], (4_000_000_000, i64::MAX as u64));
}

/// So many more televisions.
fn adjusted(delta: i64) -> Event<'static> {
    let units = 10 + delta.unsigned_abs();
    Event::Catalogue(CatalogueEvent::Adjusted(Adjusted {
        pool: PoolNumber(TV.0),
        item: TV,
        at: OPENS,
        delta,
        reason: None,
        reference: None,
        key: None,
        of_sale: None,
        of_reservation: None,
        stock: units,
        available: units,
        of_pool: None,
    }))
}

fn a_report_is_given_up_at_its_deadline(new: New) {
    let (database, journal) = (new(), journal_with_sale(OPENS));
    journal.push(&[(CATALOGUE_LANE, &[adjusted(50_000)])]);
    for part in 0..10_u64 {
        let id = |number: u64| reservation_id(OPENS.plus_millis(part), "ann", (part * 2000 + number + 1) << 20);
        let events: Vec<_> = (0..2000).map(|number| held(id(number), "ann", 1)).collect();
        journal.push(&[(0, &events)]);
    }
    catch_up(&mut write_behind(&journal, &database));
    let begun = Instant::now();
    let refused = database.reader().report("drop", None, begun + Duration::from_millis(2));
    assert!(refused.is_err(), "{refused:?}");
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    assert_eq!(database.reader().report("drop", None, far()).unwrap().unwrap().units.granted, 20_000);
}

/// As many campaigns as reservations, and one that has two.
fn so_many_groups_are_told_and_no_more(new: New) {
    let (database, journal) = (new(), journal_with_sale(OPENS));
    let count = ROWS_MAX as u64 + 5;
    let campaigns: Vec<String> = (0..count).map(|number| format!("{number:04}")).collect();
    let more = adjusted(count as i64 + 1);
    journal.push(&[(CATALOGUE_LANE, &[more])]);
    let events = campaigns.iter().chain(campaigns.last()).zip(1..).map(|(campaign, number)| {
        let id = reservation_id(OPENS, "ann", number << 20);
        let Event::Customer(CustomerEvent::Held(held)) = held(id, "ann", 1) else { unreachable!() };
        let labels = vec![("campaign".into(), campaign.as_str().into())];
        let attributes = Some(Box::new(Attributes { labels, ..Attributes::default() }));
        Event::Customer(CustomerEvent::Held(Held { attributes, ..held }))
    });
    journal.push(&[(0, &events.collect::<Vec<_>>())]);
    catch_up(&mut write_behind(&journal, &database));
    let by = By::parse("label:campaign");
    let groups = database.reader().report("drop", by.as_ref(), far()).unwrap().unwrap().groups.unwrap();
    assert_eq!((groups.groups.len(), groups.total), (ROWS_MAX, count));
    let told: Vec<_> = groups.groups.iter().map(|group| (group.value.as_deref(), group.units.granted)).collect();
    assert_eq!(told[..2], [(campaigns.last().map(String::as_str), 2), (Some("0000"), 1)]);
    assert_eq!(told[ROWS_MAX - 1].0, Some(campaigns[ROWS_MAX - 2].as_str()));
}
