//! The rows as applying one event after the other makes them, without a thought for speed.

use std::collections::BTreeMap;

use super::{model::price_of, *};
use crate::{
    engine::batch::for_each,
    sale::{
        audit::Trail,
        catalogue::Catalogue,
        codec::Malformed,
        event::{Adjusted, AskedUnits, Changed, Joined, NoRoom, SaleDefined, Transferred, record},
        ids::EntryId,
        outcome::State,
        stock::Account,
    },
};

/// The columns of a waitlist entry.
pub(super) const ENTRY: &str =
    "id, sale, customer, state, place, lines, reference, joined_at, expires_at, ended_at, reservation_id,
                     passed_over_at, passed_over_code, tier, channel, region, labels, locations";

#[derive(Default)]
pub(super) struct Naive {
    pub catalogue: Catalogue,
    changed_at: BTreeMap<SaleNumber, Timestamp>,
    pub counts: BTreeMap<ItemNumber, Counts>,
    pools: BTreeMap<PoolNumber, Counts>,
    /// What was available when the last batch ended, and when an item was first sold out by one.
    left: BTreeMap<ItemNumber, i64>,
    touched: BTreeMap<ItemNumber, Timestamp>,
    pub sold_out: BTreeMap<ItemNumber, Timestamp>,
    pub reservations: BTreeMap<ReservationId, StoredReservation>,
    /// Delta, reason, time, stock after, the other pool of a transfer, and the reservation of cancelled units.
    movements: BTreeMap<PoolNumber, Vec<[String; 6]>>,
    /// Reservation, sale, time, reference and cause.
    pub refused: Vec<[String; 5]>,
    /// The cells of each waitlist entry, in the order of [`ENTRY`].
    pub entries: BTreeMap<EntryId, [String; 18]>,
    pub trail: Trail,
    /// Number, time and detail of each record.
    records: Vec<[String; 3]>,
}

impl Naive {
    pub(super) fn of(batches: &[Vec<u8>]) -> Self {
        let mut naive = Self::default();
        for batch in batches {
            for_each::<Malformed>(batch, |_, _, event| {
                naive.apply(&event);
                let is_news = !matches!(
                    event,
                    Event::Catalogue(CatalogueEvent::SaleDefined(_) | CatalogueEvent::Stocked { .. })
                        | Event::Customer(CustomerEvent::Sold { .. })
                );
                event.moves(|moved| {
                    if is_news && moved.change_of(Account::Available) != 0 {
                        let at = event.at().unwrap();
                        let last = naive.touched.entry(moved.item).or_insert(at);
                        *last = at.max(*last);
                    }
                });
                Ok(())
            })
            .unwrap();
            naive.end_batch();
        }
        naive
    }

    fn end_batch(&mut self) {
        for (item, at) in std::mem::take(&mut self.touched) {
            // Stock that an item begins with counts as if it had always been there.
            let initial = self.catalogue.item_numbered(item).settings.initial_stock as i64;
            let before = self.left.insert(item, self.counts[&item].available).unwrap_or(initial);
            if before > 0 && self.counts[&item].available == 0 {
                self.sold_out.entry(item).or_insert(at);
            }
        }
    }

    fn apply(&mut self, event: &Event<'_>) {
        if let Event::Catalogue(event) = event {
            self.catalogue.apply(event);
        }
        match event {
            Event::Customer(CustomerEvent::Held(held)) => self.hold(held),
            Event::Customer(CustomerEvent::Extended(Extended { id, expires_at, extensions, .. })) => {
                let row = self.reservations.get_mut(id).unwrap();
                (row.expires_at, row.extensions) = (expires_at.to_string(), u32::from(*extensions));
            }
            Event::Customer(CustomerEvent::Confirmed(ended)) => {
                let expires = |line: &mut StoredLine| line.returned = line.quantity;
                if ended.late {
                    self.row(ended.id).lines.iter_mut().for_each(expires);
                    self.each_unit(ended.id, &ended.portions, false, |line| give(&mut line.returned));
                }
                self.each_unit(ended.id, &ended.returned, true, |line| add_below(&mut line.returned, line.quantity));
                let from = if ended.late { "available" } else { "held" };
                self.shift(&ended.portions, from, "confirmed");
                self.shift(&ended.returned, "held", "available");
                let row = self.row(ended.id);
                (row.state, row.late) = (State::Confirmed, ended.late);
                (row.confirmed_at, row.expired_at) = (Some(ended.at.to_string()), None);
                row.reference = ended.text.map(str::to_owned).or(row.reference.take());
            }
            Event::Customer(CustomerEvent::Released(ended)) => {
                self.shift(&ended.portions, "held", "available");
                let row = self.row(ended.id);
                if row.group_state.as_deref() == Some("open") {
                    row.group_state = Some("left".to_owned());
                }
                (row.state, row.released_at) = (State::Released, Some(ended.at.to_string()));
                row.release_reason = ended.text.map(str::to_owned);
            }
            Event::Customer(CustomerEvent::Expired(ended)) => {
                self.shift(&ended.portions, "held", "available");
                let row = self.row(ended.id);
                (row.state, row.expired_at) = (State::Expired, Some(ended.at.to_string()));
            }
            Event::Customer(CustomerEvent::Changed(changed)) => self.change(changed),
            Event::Customer(CustomerEvent::Cancelled(cancelled)) => {
                self.each_unit(cancelled.id, &cancelled.portions, true, |line| {
                    add_below(&mut line.cancelled, line.quantity - line.returned)
                });
                self.shift(&cancelled.portions, "confirmed", "available");
                let row = self.row(cancelled.id);
                if cancelled.is_all {
                    (row.state, row.cancelled_at) = (State::Cancelled, Some(cancelled.at.to_string()));
                }
                row.cancel_reason = cancelled.reason.map(str::to_owned).or(row.cancel_reason.take());
            }
            Event::Customer(CustomerEvent::ConfirmRefused(refused)) => {
                let sale = self.catalogue.sale_numbered(refused.sale).settings.id.clone();
                let reference = refused.reference.unwrap_or("-").to_owned();
                let cause = refused.cause.as_str().to_owned();
                self.refused.push([refused.id.to_string(), sale, refused.at.to_string(), reference, cause]);
            }
            Event::Customer(CustomerEvent::GroupNoted(noted)) => {
                let row = self.row(noted.id);
                row.expires_at = noted.expires_at.to_string();
                row.group_state = Some(noted.state.as_str().to_owned());
            }
            Event::Customer(CustomerEvent::Joined(joined)) => self.join(joined),
            Event::Customer(CustomerEvent::Offered(offered)) => {
                self.end_wait(offered.id, "offered", offered.at);
                self.entry(offered.id)[10] = offered.reservation.to_string();
            }
            Event::Customer(CustomerEvent::LeftWaitlist(ended)) => self.end_wait(ended.id, "left", ended.at),
            Event::Customer(CustomerEvent::WaitExpired(ended)) => self.end_wait(ended.id, "expired", ended.at),
            Event::Customer(CustomerEvent::PassedOver(passed)) => {
                let code = match passed.cause {
                    NoRoom::CustomerLimit => "customer_limit_exceeded",
                    NoRoom::OpenHolds => "too_many_holds",
                    NoRoom::ExpiredHolds => "cooling_down",
                };
                let row = self.entry(passed.id);
                (row[11], row[12]) = (passed.at.to_string(), code.to_owned());
            }
            Event::Customer(CustomerEvent::CustomerErased { customer, .. }) => {
                for (id, row) in self.entries.iter_mut().filter(|(_, row)| row[2] == *customer) {
                    (row[2], row[6], row[16]) = (format!("erased-{id}"), "-".to_owned(), "-".to_owned());
                }
                for (id, row) in self.reservations.iter_mut().filter(|(_, row)| row.customer == *customer) {
                    row.customer = format!("erased-{id}");
                    (row.reference, row.release_reason, row.cancel_reason, row.labels) = (None, None, None, None);
                    let theirs = self.refused.iter_mut().filter(|refused| refused[0] == row.id);
                    theirs.for_each(|refused| refused[3] = "-".to_owned());
                    let theirs = self.movements.values_mut().flatten().filter(|movement| movement[5] == row.id);
                    theirs.for_each(|movement| movement[1] = "-".to_owned());
                }
            }
            Event::Catalogue(CatalogueEvent::SaleDefined(SaleDefined { sale, at, record, .. })) => {
                self.changed_at.insert(*sale, *at);
                for numbers in record::decode(record).unwrap().1 {
                    let item = self.catalogue.item_numbered(numbers.item).clone();
                    let stock = item.settings.initial_stock as i64;
                    let all = Counts { stock, available: stock, held: 0, confirmed: 0 };
                    self.counts.entry(numbers.item).or_insert(all);
                    for (&pool, (_, stock)) in numbers.pools.iter().zip(item.settings.pools_or_default()) {
                        let stock = stock as i64;
                        let all = Counts { stock, available: stock, held: 0, confirmed: 0 };
                        self.pools.entry(pool).or_insert(all);
                        let (stock, none) = (stock.to_string(), "-".to_owned());
                        let first = [stock.clone(), "initial".into(), at.to_string(), stock, none.clone(), none];
                        self.movements.entry(pool).or_insert_with(|| vec![first]);
                    }
                }
            }
            Event::Catalogue(CatalogueEvent::SalePaused { sale, at })
            | Event::Catalogue(CatalogueEvent::SaleResumed { sale, at })
            | Event::Catalogue(CatalogueEvent::SaleClosed { sale, at })
            | Event::Catalogue(CatalogueEvent::StatusReached { sale, at, .. }) => {
                self.changed_at.insert(*sale, *at);
            }
            Event::Catalogue(CatalogueEvent::Adjusted(adjusted)) => {
                let Adjusted { item, pool, at, delta, reason, of_reservation, .. } = adjusted;
                self.put(*item, *pool, *delta);
                let none = "-".to_owned();
                let reservation = of_reservation.map_or_else(|| none.clone(), |id| id.to_string());
                self.moved(*pool, *delta, reason.unwrap_or("-"), *at, [none, reservation]);
            }
            Event::Catalogue(CatalogueEvent::Transferred(transferred)) => {
                let Transferred { item, from, to, at, units, reason, .. } = transferred;
                let units = *units as i64;
                for (pool, delta, other) in [(*from, -units, *to), (*to, units, *from)] {
                    self.put(*item, pool, delta);
                    let [.., other] = self.names(other);
                    self.moved(pool, delta, reason.unwrap(), *at, [other, "-".to_owned()]);
                }
            }
            Event::Catalogue(CatalogueEvent::Audited(audited)) => {
                self.trail.apply(&CatalogueEvent::Audited(*audited)).unwrap();
                let record = audited.record;
                self.records.push([record.sequence.to_string(), record.at.to_string(), record.detail.to_owned()]);
            }
            _ => {}
        }
    }

    /// Sale, SKU and id of a pool.
    fn names(&self, pool: PoolNumber) -> [String; 3] {
        let item = self.catalogue.item_numbered(self.catalogue.item_of(pool));
        let place = item.pools.iter().position(|known| *known == pool).unwrap();
        let (sale, sku) = self.catalogue.names(item.number);
        [sale, sku, item.settings.pool_id(place)].map(str::to_owned)
    }

    /// Puts units into a pool and its item.
    fn put(&mut self, item: ItemNumber, pool: PoolNumber, delta: i64) {
        for counts in [self.counts.get_mut(&item).unwrap(), self.pools.get_mut(&pool).unwrap()] {
            counts.stock += delta;
            counts.available += delta;
        }
    }

    fn moved(&mut self, pool: PoolNumber, delta: i64, reason: &str, at: Timestamp, [other, reservation]: [String; 2]) {
        let stock = self.pools[&pool].stock.to_string();
        let row = [delta.to_string(), reason.to_owned(), at.to_string(), stock, other, reservation];
        self.movements.get_mut(&pool).unwrap().push(row);
    }

    fn hold(&mut self, held: &Held<'_>) {
        let mut lines = Vec::new();
        for line in &held.portions {
            for counts in [self.counts.get_mut(&line.item).unwrap(), self.pools.get_mut(&line.pool).unwrap()] {
                counts.available -= i64::from(line.units);
                counts.held += i64::from(line.units);
            }
            let price = line.price.map(|price| (price.amount as i64, price.currency.as_str().to_owned()));
            let [_, sku, pool] = self.names(line.pool);
            lines.push(StoredLine { sku, pool, quantity: line.units, returned: 0, cancelled: 0, price });
        }
        let attributes = held.attributes.as_deref();
        let text = |text: &Option<std::borrow::Cow<'_, str>>| text.as_deref().map(str::to_owned);
        let labels = attributes.filter(|attributes| !attributes.labels.is_empty()).map(|attributes| {
            let labels = attributes.labels.iter().map(|(name, value)| format!("{name:?}:{}", serde_json::json!(value)));
            format!("{{{}}}", labels.collect::<Vec<_>>().join(","))
        });
        let short = held.short.iter().map(|asked| {
            let granted: u32 = held.portions.iter().filter(|line| line.item == asked.item).map(|line| line.units).sum();
            let sku = self.catalogue.sku(asked.item);
            format!("{{\"sku\":{sku:?},\"requested\":{},\"granted\":{granted}}}", asked.units)
        });
        let short = short.collect::<Vec<_>>();
        let created_at = held.id.created_at();
        let row = StoredReservation {
            id: held.id.to_string(),
            sale: self.catalogue.sale_numbered(held.sale).settings.id.clone(),
            customer: held.customer.to_owned(),
            state: State::Held,
            reference: held.reference.map(str::to_owned),
            created_at: created_at.to_string(),
            expires_at: held.expires_at().to_string(),
            extensions: 0,
            confirmed_at: None,
            released_at: None,
            expired_at: None,
            cancelled_at: None,
            late: false,
            release_reason: None,
            cancel_reason: None,
            tier: attributes.and_then(|attributes| text(&attributes.tier)),
            channel: attributes.and_then(|attributes| text(&attributes.channel)),
            region: attributes.and_then(|attributes| text(&attributes.region)),
            labels,
            short: (!short.is_empty()).then(|| format!("[{}]", short.join(","))),
            group_id: held.group.as_ref().map(|group| group.id.to_string()),
            group_size: held.group.as_ref().map(|group| group.size.into()),
            group_state: held
                .group
                .as_ref()
                .map(|group| if group.members == group.size { "complete" } else { "open" }.to_owned()),
            waitlist_entry: held.entry.map(|entry| entry.to_string()),
            lines,
        };
        assert!(self.reservations.insert(held.id, row).is_none());
    }

    fn join(&mut self, joined: &Joined<'_>) {
        let none = || "-".to_owned();
        let text = |text: Option<&str>| text.map_or_else(none, str::to_owned);
        let line = |asked: &AskedUnits| {
            format!("{{\"sku\":{:?},\"quantity\":{}}}", self.catalogue.sku(asked.item), asked.units)
        };
        let lines: Vec<String> = joined.lines.iter().map(line).collect();
        let attributes = joined.attributes.as_deref();
        let labels: Vec<String> = attributes
            .into_iter()
            .flat_map(|attributes| &attributes.labels)
            .map(|(name, value)| format!("{name:?}:{}", serde_json::json!(value)))
            .collect();
        let locations = attributes.into_iter().flat_map(|attributes| &attributes.locations);
        let locations: Vec<String> = locations.map(|location| format!("{location:?}")).collect();
        let row = [
            joined.id.to_string(),
            self.catalogue.sale_numbered(joined.sale).settings.id.clone(),
            joined.customer.to_owned(),
            "waiting".to_owned(),
            joined.place.to_string(),
            format!("[{}]", lines.join(",")),
            text(joined.reference),
            joined.id.created_at().to_string(),
            joined.expires_at.to_string(),
            none(),
            none(),
            none(),
            none(),
            text(attributes.and_then(|attributes| attributes.tier.as_deref())),
            text(attributes.and_then(|attributes| attributes.channel.as_deref())),
            text(attributes.and_then(|attributes| attributes.region.as_deref())),
            if labels.is_empty() { none() } else { format!("{{{}}}", labels.join(",")) },
            if locations.is_empty() { none() } else { format!("[{}]", locations.join(",")) },
        ];
        assert!(self.entries.insert(joined.id, row).is_none());
    }

    fn entry(&mut self, id: EntryId) -> &mut [String; 18] {
        self.entries.get_mut(&id).unwrap()
    }

    fn end_wait(&mut self, id: EntryId, state: &str, at: Timestamp) {
        let row = self.entry(id);
        (row[3], row[9]) = (state.to_owned(), at.to_string());
    }

    fn row(&mut self, id: ReservationId) -> &mut StoredReservation {
        self.reservations.get_mut(&id).unwrap()
    }

    /// Moves units between accounts.
    fn shift(&mut self, portions: &Portions, from: &str, to: &str) {
        for line in portions {
            for counts in [self.counts.get_mut(&line.item).unwrap(), self.pools.get_mut(&line.pool).unwrap()] {
                for (account, units) in [(from, -i64::from(line.units)), (to, i64::from(line.units))] {
                    *match account {
                        "available" => &mut counts.available,
                        "held" => &mut counts.held,
                        _ => &mut counts.confirmed,
                    } += units;
                }
            }
        }
    }

    /// Does something to a line of the pool for each unit: the first line that it can be done to, or the last one.
    fn each_unit(&mut self, id: ReservationId, portions: &Portions, last: bool, act: impl Fn(&mut StoredLine) -> bool) {
        for portion in portions {
            let [_, sku, pool] = self.names(portion.pool);
            for _ in 0..portion.units {
                let lines = self.row(id).lines.iter_mut().filter(|line| line.sku == sku && line.pool == pool);
                let mut lines: Vec<&mut StoredLine> = lines.collect();
                if last {
                    lines.reverse();
                }
                assert!(lines.into_iter().any(&act), "{id} has the unit");
            }
        }
    }

    fn change(&mut self, changed: &Changed) {
        self.shift(&changed.returned, "held", "available");
        self.each_unit(changed.id, &changed.returned, true, |line| give(&mut line.quantity));
        self.row(changed.id).lines.retain(|line| line.quantity > 0);
        for &PricedPortion { item, pool, units, price } in &changed.taken {
            self.shift(&[Portion { item, pool, units }].into_iter().collect(), "available", "held");
            let price = price.map(|price| (price.amount as i64, price.currency.as_str().to_owned()));
            let [_, sku, pool] = self.names(pool);
            let lines = &mut self.row(changed.id).lines;
            let same = |line: &&mut StoredLine| line.sku == sku && line.pool == pool && line.price == price;
            match lines.iter_mut().find(same) {
                Some(line) => line.quantity += units,
                None => {
                    let after = lines.iter().rposition(|line| line.sku == sku).map_or(lines.len(), |last| last + 1);
                    lines.insert(after, StoredLine { sku, pool, quantity: units, returned: 0, cancelled: 0, price });
                }
            }
        }
        self.row(changed.id).short = None;
    }

    pub(super) fn compare(&self, database: &Database) {
        let reader = database.reader();
        for (id, expected) in &self.reservations {
            assert_eq!(reader.reservation(id).unwrap().as_ref(), Some(expected));
        }
        reader.check_audit(&[]).unwrap().unwrap().end(&self.trail.head()).unwrap();
        assert_eq!(database.query("SELECT sequence, at, detail FROM audit ORDER BY sequence"), self.records);
        let mut by_state = StateCounts::default();
        for row in self.reservations.values() {
            match row.state {
                State::Held => by_state.held += 1,
                State::Confirmed => by_state.confirmed += 1,
                State::Released => by_state.released += 1,
                State::Expired => by_state.expired += 1,
                State::Cancelled => by_state.cancelled += 1,
            }
        }
        assert_eq!(reader.count_by_state().unwrap(), by_state);

        let totals = reader.totals().unwrap().into_iter();
        let totals: BTreeMap<_, _> =
            totals.map(|total| ((total.sale.clone(), total.sku.clone(), total.pool.clone()), total)).collect();
        assert_eq!(totals.len(), self.counts.len() + self.pools.len());
        let check = |[sale, sku]: [&String; 2], pool: Option<&String>, counts: &Counts| {
            let found = &totals[&(sale.clone(), sku.clone(), pool.cloned())];
            assert_eq!((found.stored, found.recomputed), (*counts, *counts), "{sale} {sku} {pool:?}");
        };
        for sale in self.catalogue.sales() {
            let status = sale.status(self.changed_at[&sale.number]).as_str();
            let sql = format!("SELECT name, status FROM sales WHERE id = '{}'", sale.settings.id);
            assert_eq!(database.query(&sql), [[sale.settings.name.clone(), status.into()]]);
            for item in &*sale.items {
                check([&sale.settings.id, &item.settings.sku], None, &self.counts[&item.number]);
            }
        }
        let (mut moves, mut settings) = (Vec::new(), Vec::new());
        for (&pool, counts) in &self.pools {
            let names = self.names(pool);
            check([&names[0], &names[1]], Some(&names[2]), counts);
            let movements = self.movements[&pool].iter();
            moves.extend(movements.map(|movement| names.iter().chain(movement).cloned().collect::<Vec<_>>()));
            settings.push(names.into_iter().chain(self.settings_of(pool)).collect::<Vec<_>>());
        }
        moves.sort_by(|one, other| one[..3].cmp(&other[..3]));
        settings.sort();
        let columns = "SELECT sale, sku, pool, delta, reason, at, stock_after, other_pool, reservation_id";
        assert_eq!(database.query(&format!("{columns} FROM stock_movements ORDER BY sale, sku, pool, id")), moves);
        let columns = "SELECT reservation_id, sale, at, reference, cause FROM refused_confirmations";
        let mut refused = self.refused.clone();
        // Of each reservation in their order.
        refused.sort_by(|one, other| one[0].cmp(&other[0]));
        assert_eq!(database.query(&format!("{columns} ORDER BY reservation_id, id")), refused);
        let entries: Vec<_> = self.entries.values().map(|row| row.to_vec()).collect();
        assert_eq!(database.query(&format!("SELECT {ENTRY} FROM waitlist_entries ORDER BY id")), entries);
        let columns = "SELECT sale, sku, pool, number, position, location, initial_stock, price_amount, price_currency,
                              tiers, channels, shared_at";
        assert_eq!(database.query(&format!("{columns} FROM pools ORDER BY sale, sku, pool")), settings);
        let low_stock = self.catalogue.sales().iter().flat_map(|sale| &*sale.items).map(|item| {
            let low_stock_at = item.settings.low_stock_at.map_or_else(|| "-".to_owned(), |level| level.to_string());
            vec![item.number.0.to_string(), low_stock_at]
        });
        let mut low_stock: Vec<_> = low_stock.collect();
        low_stock.sort_by_key(|row| row[0].parse::<u32>().ok());
        assert_eq!(database.query("SELECT number, low_stock_at FROM items ORDER BY number"), low_stock);
    }

    /// What the last document says of a pool.
    fn settings_of(&self, pool: PoolNumber) -> [String; 9] {
        let item = self.catalogue.item_numbered(self.catalogue.item_of(pool));
        let place = item.pools.iter().position(|known| *known == pool).unwrap();
        let declared = item.settings.pools.get(place);
        let none = || "-".to_owned();
        let list = |list: Option<&Vec<String>>| list.map_or_else(none, |names| format!("{names:?}").replace(", ", ","));
        let price = price_of(&self.catalogue, pool);
        [
            pool.0.to_string(),
            (place + 1).to_string(),
            declared.and_then(|pool| pool.location.clone()).unwrap_or_else(none),
            declared.map_or(item.settings.initial_stock, |pool| pool.initial_stock).to_string(),
            price.map_or_else(none, |price| price.amount.to_string()),
            price.map_or_else(none, |price| price.currency.as_str().to_owned()),
            list(declared.and_then(|pool| pool.tiers.as_ref())),
            list(declared.and_then(|pool| pool.channels.as_ref())),
            declared.and_then(|pool| pool.shared_at).map_or_else(none, |at| at.to_string()),
        ]
    }
}

/// Takes one away, if there is one.
fn give(units: &mut u32) -> bool {
    let had = *units > 0;
    *units -= u32::from(had);
    had
}

/// Adds one, if it stays at most `most`.
fn add_below(units: &mut u32, most: u32) -> bool {
    let room = *units < most;
    *units += u32::from(room);
    room
}
