//! Calls on reservations: reserve, look, extend, change, confirm, release, cancel.

use std::{cell::RefCell, sync::Arc};

use rand::{Rng, rngs::ThreadRng};

use super::{
    Outcome, Service,
    commands::{CheckedCancel, CheckedConfirm, CheckedLines, CheckedReserve, asked_lines},
    problems,
    refusal_counts::Counting,
    refused::Refused,
};
use crate::{
    auth::Caller,
    engine::{Answer, CancelMade, CatalogueGuard, Made, Tried},
    sale::{
        code::Code,
        ids::{ReservationId, SaleNumber},
        outcome::{OfCustomer, Refusal, Reservation},
        shard::Search,
    },
    telemetry::Tally,
};

/// A sale that exists, by number and by id.
#[derive(Debug, Clone, Copy)]
pub struct SaleRef<'a> {
    pub number: SaleNumber,
    pub id: &'a str,
}

/// The API as one thread uses it: with counts and random bits of its own.
pub struct Api {
    pub service: Arc<Service>,
    pub tally: Arc<Tally>,
    refused: Counting,
    random: RefCell<ThreadRng>,
}

impl Api {
    pub fn new(service: Arc<Service>) -> Self {
        let tally = service.telemetry.tally();
        Self { service, tally, refused: Counting::default(), random: RefCell::new(rand::rng()) }
    }

    pub(super) fn entropy(&self) -> u64 {
        self.random.borrow_mut().next_u64()
    }

    /// Holds units for a customer. `sale`: None if there is none of that id. `catalogue` names everything in the outcome.
    pub fn reserve(
        &self,
        catalogue: &mut CatalogueGuard,
        sale: Option<SaleRef<'_>>,
        asked: &CheckedReserve<'_>,
        key: Option<&str>,
    ) -> Outcome<Made> {
        let Some(sale) = sale else {
            self.tally.refused(Code::SaleNotFound);
            return Err(Refused::no_such_sale());
        };
        let rates = &self.service.rates;
        if !rates.idle(catalogue) {
            let admitted = rates.admit_customer(catalogue.sale_numbered(sale.number), &asked.customer);
            admitted.map_err(|limited| self.service.rate_limited(limited))?;
        }
        Ok(self.decide(catalogue, sale, asked, key))
    }

    /// What a reserve would get, without any effect.
    pub fn try_reserve(&self, sale: &str, asked: &CheckedReserve<'_>) -> Answer<Result<Tried, Refusal>> {
        self.service.engine.try_out(self.service.now(), &asked.asked(sale, None))
    }

    /// Has the engine decide a reserve that was admitted, and counts the outcome.
    pub(super) fn decide(
        &self,
        catalogue: &mut CatalogueGuard,
        SaleRef { number, id }: SaleRef<'_>,
        asked: &CheckedReserve<'_>,
        key: Option<&str>,
    ) -> Answer<Result<Made, Refusal>> {
        let (engine, now) = (&self.service.engine, self.service.now());
        let answer = engine.reserve_in(catalogue, number, now, &asked.asked(id, key), self.entropy());
        self.count(number, asked, &answer.value);
        answer
    }

    /// Counts the outcome of a reserve.
    pub(super) fn count(&self, sale: SaleNumber, asked: &CheckedReserve<'_>, outcome: &Result<Made, Refusal>) {
        let channel = asked.extras.as_deref().and_then(|extras| extras.attributes.channel.as_deref());
        if let Some(channel) = channel {
            self.tally.came_through(channel, outcome.is_ok());
        }
        match outcome {
            Ok(made) if made.replayed_of.is_some() => self.service.telemetry.reservations.replayed(),
            Ok(_) => self.tally.held(),
            Err(refusal) => {
                let code = refusal.code();
                self.tally.refused(code);
                self.refused.count(&self.service.refusals, sale, code);
            }
        }
    }

    pub fn look(&self, caller: &Caller, id: ReservationId) -> Outcome<Reservation> {
        self.must_see(caller, id)?;
        Ok(self.service.engine.look(self.service.now(), id))
    }

    pub fn confirm(&self, caller: &Caller, id: ReservationId, asked: &CheckedConfirm<'_>) -> Outcome<Reservation> {
        self.must_see(caller, id)?;
        let answer = self.service.engine.confirm(self.service.now(), id, asked.asked());
        self.service.telemetry.reservations.confirm(&answer.value);
        Ok(answer)
    }

    pub fn release(&self, caller: &Caller, id: ReservationId, reason: Option<&str>) -> Outcome<Reservation> {
        self.must_see(caller, id)?;
        let answer = self.service.engine.release(self.service.now(), id, reason);
        self.service.telemetry.reservations.release(&answer.value);
        Ok(answer)
    }

    /// Gives a hold other lines.
    pub fn change(&self, caller: &Caller, id: ReservationId, lines: &CheckedLines<'_>) -> Outcome<Reservation> {
        self.must_see(caller, id)?;
        let answer = self.service.engine.change(self.service.now(), id, &asked_lines(lines));
        self.service.telemetry.reservations.change(&answer.value);
        Ok(answer)
    }

    /// Gives back confirmed units.
    pub fn cancel(
        &self,
        caller: &Caller,
        id: ReservationId,
        asked: &CheckedCancel<'_>,
        key: Option<&str>,
    ) -> Outcome<CancelMade> {
        self.must_see(caller, id).map_err(|_| Refused::no_such_reservation_to_cancel())?;
        let answer = self.service.engine.cancel(self.service.now(), id, &asked.asked(key));
        self.service.telemetry.reservations.cancel(&answer.value);
        Ok(answer)
    }

    pub fn extend(&self, caller: &Caller, id: ReservationId, hold_seconds: u32) -> Outcome<Reservation> {
        self.must_see(caller, id)?;
        let answer = self.service.engine.extend(self.service.now(), id, hold_seconds);
        self.service.telemetry.reservations.extend(&answer.value);
        Ok(answer.map(|outcome| outcome.map(|extension| extension.reservation)))
    }

    /// A reservation of a sale, or through a channel, that the caller may not see does not exist for it.
    fn must_see(&self, caller: &Caller, id: ReservationId) -> Result<(), Refused> {
        let sees = || {
            let place = self.service.engine.place_of(id);
            place
                .is_none_or(|(sale, channel)| caller.sees(&sale.settings.id) && caller.sees_channel(channel.as_deref()))
        };
        if caller.sees_everything() || sees() { Ok(()) } else { Err(Refused::no_such_reservation()) }
    }
}

impl Service {
    /// What memory has of the customer of a finished search.
    /// As far as the caller may see it.
    pub fn of_customer(&self, caller: &Caller, search: &Search) -> Answer<OfCustomer> {
        let mut answer = self.engine.of_customer(self.now(), search);
        if !caller.sees_everything() {
            let OfCustomer { reservations, total, .. } = &mut answer.value;
            let sees = |reservation: &Reservation| {
                let attributes = reservation.attributes.as_deref();
                caller.sees_channel(attributes.and_then(|attributes| attributes.channel.as_deref()))
            };
            let all = reservations.len();
            reservations.retain(sees);
            // How many there are of other channels is not for this caller.
            if reservations.len() < all {
                *total = reservations.len();
            }
        }
        answer
    }

    /// A search for one customer's reservations in a sale; to be stepped until it is finished. `sale`: None if there is none.
    pub fn search(&self, sale: Option<SaleNumber>, customer: String) -> Result<(SaleNumber, Search), Refused> {
        let sale = sale.ok_or_else(Refused::no_such_sale)?;
        let customer = self.customer_ids.known_as(customer);
        Ok((sale, Search::new(&customer, sale, self.limits.customer_reservations_max)))
    }
}

/// The id in a path. A text that is no id is that of no reservation.
pub fn parse_id(text: &str) -> Result<ReservationId, Refused> {
    let unknown = || problems::RESERVATION_NOT_FOUND.because("this is not a reservation id");
    ReservationId::parse(text).ok_or_else(unknown)
}
