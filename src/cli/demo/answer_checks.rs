//! What is checked of the answers themselves, of their times and of where they are kept: G2, G4, G6, G8, G9 and G10.

use super::{
    answers::Reservation,
    checks::Finding,
    client::{ANSWER_TIME_MAX, moment},
    history::{History, LimitTried},
    screen::{counted, milliseconds, number},
    tally::End,
    timeline::SLACK,
};
use crate::{
    sale::time::Timestamp,
    store::{Counts, StoredReservation},
};

/// Due holds are back in stock within this.
const OVERDUE_MILLIS_MAX: u64 = 100;

pub(super) fn no_lost_answer(history: &History) -> Finding {
    let broken = history.seen().filter_map(|(grant, shown)| {
        let id = &grant.made.id;
        let Some(shown) = shown else { return Some(format!("{id} was acknowledged but is missing")) };
        let mut expected = grant.last.clone();
        if grant.end == End::Open && shown.expired_at.is_some() {
            expected.state = "expired".to_owned();
            expected.expired_at = shown.expired_at;
        }
        let known = !matches!(grant.end, End::Unknown(_));
        (known && *shown != expected).then(|| format!("{id} is {}, which is not what the answer said", shown.state))
    });
    let seen = history.audit.seen.len();
    let of = if seen < history.tally.grants.len() {
        format!(" of {}", number(history.tally.grants.len() as u64))
    } else {
        String::new()
    };
    let evidence = format!("{}{of} read again, each exactly as answered", counted(seen, "reservation"));
    Finding::new(broken.collect(), seen, evidence)
}

pub(super) fn once(history: &History) -> Finding {
    let clicks = &history.tally.double_clicks;
    let mut broken = Vec::new();
    let mut both = 0;
    for click in clicks {
        let originals = click.granted.iter().filter(|granted| !granted.1).count();
        let one_id = click.granted.iter().all(|granted| granted.0 == click.granted[0].0);
        both += usize::from(click.granted.len() == 2);
        if !one_id || originals != 1 {
            broken.push(format!("key {} made {originals} reservations", click.key));
        }
    }
    for (index, repeat) in &history.audit.repeats {
        let click = &clicks[*index];
        let same = repeat.as_ref().is_some_and(|repeat| {
            repeat.status == 201 && repeat.replayed && repeat.reservation.as_ref() == Some(&click.made)
        });
        if !same {
            broken.push(format!("key {}, repeated, did not give {} again", click.key, click.made.id));
        }
    }
    let evidence = format!(
        "{} gave one id each; {} repeated, each with its first answer",
        counted(both, "double click"),
        counted(history.audit.repeats.len(), "key")
    );
    Finding::new(broken, both.min(history.audit.repeats.len()), evidence)
}

pub(super) fn exact_time(history: &History) -> Finding {
    let mut broken = Vec::new();
    let (mut expired, mut latest) = (0_usize, 0);
    for (grant, shown) in history.seen() {
        let Some(shown) = shown else { continue };
        let (id, expires_at) = (&shown.id, shown.expires_at);
        match (shown.expired_at, shown.confirmed_at) {
            (Some(at), _) if at < expires_at => {
                broken.push(format!("{id} expired {} ms early", expires_at.millis_since(at)))
            }
            (Some(at), _) => {
                expired += 1;
                latest = latest.max(at.millis_since(expires_at));
            }
            (None, Some(at)) if at >= expires_at => broken.push(format!("{id} was confirmed at or after its end")),
            (None, None) if shown.state == "held" && moment(expires_at) + SLACK < history.audit.at => {
                broken.push(format!("{id} is held after its end"));
            }
            _ => {}
        }
        if let End::Confirmed(span) = grant.end
            && span.sent > moment(expires_at) + SLACK
        {
            broken.push(format!("{id} accepted a confirm that was sent after its end"));
        }
    }
    if latest > OVERDUE_MILLIS_MAX {
        broken.push(format!("a hold came back {latest} ms after its end; {OVERDUE_MILLIS_MAX} ms are promised"));
    }
    let opens_at = moment(history.offer.opens_at);
    let early_refusals = history.tally.too_late.iter().filter(|(got, expires_at)| got + SLACK < *expires_at);
    broken.extend(early_refusals.map(|_| "a confirm was refused as too late before the end of its hold".to_owned()));
    let late_openings = history.tally.too_early.iter().filter(|span| span.sent > opens_at + SLACK);
    broken.extend(late_openings.map(|_| "a reserve was refused as too early after the opening".to_owned()));
    let early_grants = history.tally.grants.iter().filter(|grant| grant.span.got + SLACK < opens_at);
    broken.extend(early_grants.map(|grant| format!("{} was granted before the opening", grant.made.id)));
    let evidence = format!(
        "{} expired, none early, none over {latest} ms late; {} refused",
        counted(expired, "hold"),
        counted(history.tally.too_late.len(), "late payment")
    );
    Finding::new(broken, expired, evidence)
}

pub(super) fn disk_first(history: &History) -> Finding {
    let (tally, audit) = (&history.tally, &history.audit);
    let mut broken = Vec::new();
    if !history.offer.durable {
        return Finding::not_promised("not promised with journal.ack = \"buffered\"");
    }
    if tally.unsynced > 0 {
        broken
            .push(format!("{} came without a commit after their request", counted(tally.unsynced as usize, "answer")));
    }
    if audit.durable_epoch < audit.latest_epoch {
        broken.push(format!("epoch {} is not on disk, only {}", audit.latest_epoch, audit.durable_epoch));
    }
    let evidence = format!(
        "{}, each with a commit between request and answer; {} batches on disk",
        counted(tally.synced as usize, "change"),
        number(audit.durable_epoch)
    );
    Finding::new(broken, tally.synced as usize, evidence)
}

pub(super) fn store_is_journal(history: &History) -> Finding {
    let audit = &history.audit;
    let stored = match &audit.store {
        Ok(stored) => stored,
        Err(error) => return Finding::missing(error.clone()),
    };
    let mut broken = Vec::new();
    if stored.cursor < audit.latest_epoch {
        broken.push(format!("the store is at batch {} of {}", stored.cursor, audit.latest_epoch));
    }
    let shown = audit.sale.iter().flat_map(|sale| &sale.items);
    for item in shown {
        let signed = |units| i64::try_from(units).unwrap_or(i64::MAX);
        let counts = Counts {
            stock: signed(item.stock),
            available: signed(item.available),
            held: signed(item.held),
            confirmed: signed(item.confirmed),
        };
        let row = stored.items.iter().find(|row| row.sku == item.sku);
        if row.is_none_or(|row| row.stored != counts || row.recomputed != counts) {
            broken.push(format!("{}: the store's counts differ from the service's", item.sku));
        }
    }
    for ((_, shown), row) in audit.seen.iter().zip(&stored.reservations) {
        let Some(shown) = shown else { continue };
        if row.as_ref().is_none_or(|row| !same(shown, row)) {
            broken.push(format!("the store and the service differ on {}", shown.id));
        }
    }
    let evidence = format!(
        "SQLite shows {} and {} as the API does, at batch {}",
        counted(stored.reservations.len(), "reservation"),
        counted(stored.items.len(), "item"),
        number(stored.cursor)
    );
    Finding::new(broken, stored.reservations.len(), evidence)
}

fn same(shown: &Reservation, row: &StoredReservation) -> bool {
    let text = |at: Option<Timestamp>| at.map(|at| at.to_string());
    let mut lines: Vec<_> = shown.lines.iter().collect();
    lines.sort_by(|one, other| one.sku.cmp(&other.sku));
    lines.len() == row.lines.len()
        && lines.iter().zip(&row.lines).all(|(line, stored)| {
            let price = line.price.as_ref().map(|price| (price.amount, price.currency.clone()));
            line.sku == stored.sku && line.quantity == u64::from(stored.quantity) && price == stored.price
        })
        && (&shown.id, &shown.sale, &shown.customer) == (&row.id, &row.sale, &row.customer)
        && shown.state == row.state.as_str()
        && shown.reference == row.reference
        && shown.extensions == row.extensions
        && (shown.created_at.to_string(), shown.expires_at.to_string())
            == (row.created_at.clone(), row.expires_at.clone())
        && text(shown.confirmed_at) == row.confirmed_at
        && text(shown.released_at) == row.released_at
        && text(shown.expired_at) == row.expired_at
}

pub(super) fn all_answered(history: &History) -> Finding {
    let tally = &history.tally;
    let mut broken = Vec::new();
    let why = tally.complaints.first().map(|why| format!(": {why}")).unwrap_or_default();
    if tally.unanswered > 0 {
        broken.push(format!("{} without an answer{why}", counted(tally.unanswered as usize, "request")));
    }
    if tally.unexpected > 0 {
        broken.push(format!("{} outside the contract{why}", counted(tally.unexpected as usize, "answer")));
    }
    if u128::from(tally.slowest) > ANSWER_TIME_MAX.as_micros() {
        broken.push(format!("an answer took {} ms", milliseconds(tally.slowest)));
    }
    let mut tried = Vec::new();
    for LimitTried { what, expected, status } in &history.audit.limits {
        match status {
            Some(status) if status == expected => tried.push(format!("{what}: {status}")),
            Some(status) => broken.push(format!("{what} was answered {status}, not {expected}")),
            None => broken.push(format!("{what} was not answered")),
        }
    }
    let requests = counted(tally.requests as usize, "request");
    let evidence = format!("{requests}, none over {} ms; {}", milliseconds(tally.slowest), tried.join(", "));
    Finding::new(broken, tried.len().min(tally.requests as usize), evidence)
}
