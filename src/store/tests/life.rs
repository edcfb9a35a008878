//! Reservations of which units move in several steps: in one window, and in windows that find rows of earlier ones.

use super::*;
use crate::sale::event::{Adjusted, Cancelled, Changed, ConfirmRefused, PricedPortions, RefusedConfirm, Settled};

on_both! {
    units_that_move_in_steps_are_where_they_should_be,
    texts_of_every_step_are_erased_if_they_were_told_before,
    lines_changed_by_hand_are_not_written_over,
}

fn at(seconds: u64) -> Timestamp {
    OPENS.plus_seconds(seconds)
}

fn portions(units: u32) -> Portions {
    [Portion { item: TV, pool: PoolNumber(TV.0), units }].into_iter().collect()
}

fn changed(id: ReservationId, back: u32, more: u32, amount: u64) -> Event<'static> {
    let price = Some(Price { amount, currency: Currency::parse("EUR").unwrap() });
    let taken = [PricedPortion { item: TV, pool: PoolNumber(TV.0), units: more, price }].into_iter();
    let taken: PricedPortions = taken.filter(|portion| portion.units > 0).collect();
    let returned = portions(back).into_iter().filter(|portion| portion.units > 0).collect();
    CustomerEvent::Changed(Changed { id, sale: SALE, at: at(1), returned, taken }).into()
}

fn cancelled<'a>(id: ReservationId, seconds: u64, units: u32, is_all: bool, reason: Option<&'a str>) -> Event<'a> {
    let (portions, restock, key) = (portions(units), true, None);
    CustomerEvent::Cancelled(Cancelled { id, sale: SALE, at: at(seconds), reason, portions, restock, is_all, key })
        .into()
}

fn taken_out<'a>(id: ReservationId, units: i64, reason: Option<&'a str>) -> Event<'a> {
    CatalogueEvent::Adjusted(Adjusted {
        item: TV,
        pool: PoolNumber(TV.0),
        at: at(60),
        delta: -units,
        reason,
        reference: None,
        key: None,
        of_sale: None,
        of_reservation: Some(id),
        stock: 9,
        available: 1,
        of_pool: None,
    })
    .into()
}

fn refused<'a>(id: ReservationId, reference: Option<&'a str>, cause: RefusedConfirm) -> Event<'a> {
    CustomerEvent::ConfirmRefused(ConfirmRefused { id, sale: SALE, at: at(90), reference, cause }).into()
}

/// Follows the batches as they are, all in one window, and in two: what begins first, and what follows.
fn both_ways(new: New, batches: &[Vec<Event<'_>>], judge: impl Fn(&Database)) {
    for settings in [single_batches(), WriteBehindSettings::default()] {
        let (database, journal) = (new(), journal_with_sale(OPENS));
        batches.iter().for_each(|events| journal.push(&[(0, events)]));
        catch_up(&mut write_behind_with(&journal, &database, settings));
        judge(&database);
        assert!(database.reader().totals().unwrap().iter().all(|total| total.stored == total.recomputed));
    }
    let (database, journal) = (new(), journal_with_sale(OPENS));
    let mut following = write_behind(&journal, &database);
    for window in [&batches[..1], &batches[1..]] {
        window.iter().for_each(|events| journal.push(&[(0, events)]));
        catch_up(&mut following);
    }
    judge(&database);
}

fn units_that_move_in_steps_are_where_they_should_be(new: New) {
    let [parts, late] =
        [("ann", 4), ("bob", 8)].map(|(customer, entropy)| reservation_id(OPENS, customer, entropy << 8));
    let settled = |id, seconds, units, returned, late, text| {
        let (portions, returned) = (portions(units), if returned > 0 { portions(returned) } else { Portions::new() });
        Event::Customer(CustomerEvent::Confirmed(Settled {
            id,
            sale: SALE,
            at: at(seconds),
            text,
            portions,
            returned,
            late,
        }))
    };
    let batches = [
        vec![held(parts, "ann", 2), held(late, "bob", 3)],
        // Three more at another price, of which one is left over.
        vec![changed(parts, 0, 3, 17_500), Event::Customer(CustomerEvent::Expired(ended(late, at(10), 3, None)))],
        vec![settled(parts, 20, 4, 1, false, Some("order-1")), settled(late, 20, 2, 0, true, Some("order-2"))],
        vec![cancelled(parts, 30, 3, false, Some("one too many")), taken_out(late, 2, Some("damaged"))],
        vec![cancelled(late, 60, 2, true, Some("damaged")), refused(late, Some("order-3"), RefusedConfirm::Cancelled)],
    ];
    both_ways(new, &batches, |database| {
        let columns = "state, reference, confirmed_at, expired_at, cancelled_at, late, cancel_reason";
        let rows = database.query(&format!("SELECT {columns} FROM reservations ORDER BY id"));
        let (confirmed_at, cancelled_at) = (at(20).to_string(), at(60).to_string());
        assert_eq!(rows[0], ["confirmed", "order-1", &confirmed_at, "-", "-", "0", "one too many"]);
        assert_eq!(rows[1], ["cancelled", "order-2", &confirmed_at, "-", &cancelled_at, "1", "damaged"]);
        let columns = "line, quantity, returned, cancelled, price_amount";
        let lines = database.query(&format!("SELECT {columns} FROM reservation_lines ORDER BY reservation_id, line"));
        assert_eq!(
            lines,
            [["1", "2", "0", "1", "19900"], ["2", "3", "1", "2", "17500"], ["1", "3", "1", "2", "19900"]]
        );
        let refused = database.query("SELECT reservation_id, sale, reference, cause FROM refused_confirmations");
        assert_eq!(refused, [[late.to_string().as_str(), "drop", "order-3", "cancelled"]]);
        let taken_out = database.query("SELECT delta, reason, reservation_id FROM stock_movements WHERE delta < 0");
        assert_eq!(taken_out, [["-2", "damaged", &late.to_string()]]);
        let views = database.query("SELECT lines, amount, late FROM customer_reservations ORDER BY id");
        assert_eq!(views, [["1 x tv", "19900", "0"], ["2 x tv", "39800", "1"]]);
        assert_eq!(database.query("SELECT sku, units, revenue FROM report_revenue"), [["tv", "1", "19900"]]);
    });
}

/// Wherever an erasure stands: what was told before goes, and what is told later stays.
fn texts_of_every_step_are_erased_if_they_were_told_before(new: New) {
    let id = reservation_id(OPENS, "ann", 4 << 8);
    let other = reservation_id(OPENS, "bob", 8 << 8);
    let confirmed = |id, text| Event::Customer(CustomerEvent::Confirmed(ended(id, at(1), 4, Some(text))));
    let erased = || Event::Customer(CustomerEvent::CustomerErased { at: at(95), customer: "ann" });
    let steps = |id| {
        [
            vec![cancelled(id, 30, 1, false, Some("first")), taken_out(id, 1, Some("first"))],
            vec![refused(id, Some("pay-1"), RefusedConfirm::AlreadyConfirmed)],
            vec![cancelled(id, 60, 1, false, Some("last")), taken_out(id, 1, Some("last"))],
            vec![refused(id, Some("pay-2"), RefusedConfirm::AlreadyConfirmed)],
        ]
    };
    for erased_before in 0..=4 {
        let mut batches = vec![vec![held(id, "ann", 4), held(other, "bob", 4)]];
        batches.push(vec![confirmed(id, "order"), confirmed(other, "order")]);
        batches.extend(steps(other));
        for (number, events) in steps(id).into_iter().enumerate() {
            if number == erased_before {
                batches.push(vec![erased()]);
            }
            batches.push(events);
        }
        if erased_before == 4 {
            batches.push(vec![erased()]);
        }
        let text = |number: usize, text: &'static str| if number < erased_before { "-" } else { text };
        both_ways(new, &batches, |database| {
            let reasons = database.query("SELECT cancel_reason, reference FROM reservations ORDER BY customer");
            assert_eq!(reasons, [["last", "order"], [text(2, "last"), "-"]], "{erased_before}");
            let of = |table: &str, column: &str, id| {
                let sql = format!("SELECT {column} FROM {table} WHERE reservation_id = '{id}' ORDER BY id");
                database.query(&sql).concat()
            };
            assert_eq!(of("refused_confirmations", "reference", other), ["pay-1", "pay-2"]);
            assert_eq!(of("stock_movements", "reason", other), ["first", "last"]);
            let references = of("refused_confirmations", "reference", id);
            assert_eq!(references, [text(1, "pay-1"), text(3, "pay-2")], "{erased_before}");
            assert_eq!(of("stock_movements", "reason", id), [text(0, "first"), text(2, "last")], "{erased_before}");
        });
    }
}

fn lines_changed_by_hand_are_not_written_over(new: New) {
    let (database, journal) = (new(), journal_with_sale(OPENS));
    let id = reservation_id(OPENS, "ann", 4 << 8);
    journal.push(&[(0, &[held(id, "ann", 2), CustomerEvent::Confirmed(ended(id, at(1), 2, None)).into()])]);
    let mut write_behind = write_behind(&journal, &database);
    catch_up(&mut write_behind);
    let edit = "UPDATE reservation_lines SET quantity = 1";
    database.execute(edit, edit);
    journal.push(&[(0, &[cancelled(id, 2, 2, true, None)])]);
    let error = write_behind.step().unwrap_err().to_string();
    assert!(error.contains(&id.to_string()) && error.contains("lacks units"), "{error}");
    let edit = "UPDATE reservation_lines SET quantity = 2";
    database.execute(edit, edit);
    catch_up(&mut write_behind);
    assert_eq!(database.query("SELECT quantity, cancelled FROM reservation_lines"), [["2", "2"]]);
}
