//! A shard's entries for reservations and customers. There are millions of both, so each is as small as possible.

use std::{mem, sync::Arc};

use compact_str::CompactString;

use crate::{
    attributes::Attributes,
    event::{AskedUnits, JoinedGroup, RefusedConfirm},
    ids::{EntryId, ItemNumber, PoolNumber, ReservationId, SaleNumber},
    outcome::State,
    stock::{Account, Amounts},
    time::Timestamp,
};

/// A reservation in memory. Its creation time and bucket are in its id.
#[derive(Debug)]
pub(crate) struct Entry {
    pub id: ReservationId,
    pub expires_at: Timestamp,
    /// When it was confirmed, released or expired; meaningless while it is held.
    pub ended_at: Timestamp,
    pub(super) lines: Lines,
    pub(super) texts: Option<Box<Texts>>,
    /// The customer's slot, or `NOBODY`.
    pub(super) customer: u32,
    pub sale: SaleNumber,
    /// As first asked: the answer to a repeated request is made from it.
    pub(super) hold_seconds: u32,
    pub extensions: u16,
    pub state: State,
    /// Confirmed when the hold had expired.
    pub late: bool,
}

/// In the place of a customer's slot: the customer was erased.
pub(super) const NOBODY: u32 = u32::MAX;

/// A reservation's units from one pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Line {
    pub pool: PoolNumber,
    /// Its place among the shard's prices.
    pub price: u32,
    pub amounts: Amounts,
}

/// A reservation's lines. Nearly all have one whose units are all in one place.
#[derive(Debug)]
pub(super) enum Lines {
    /// One line, and all its units are where the reservation's state says.
    Whole {
        pool: PoolNumber,
        price: u32,
        units: u32,
    },
    Parts(Box<Box<[Line]>>),
}

#[derive(Debug, Default)]
pub(super) struct Texts {
    pub key: Option<(Box<str>, u64)>,
    pub reference: Option<Box<str>>,
    /// Confirmed or cancelled: the order's reference. Released: the reason.
    pub end_text: Option<Box<str>>,
    pub extras: Option<Box<Extras>>,
}

/// What most reservations lack.
#[derive(Debug, Default)]
pub(super) struct Extras {
    /// Shared by all reservations with the same; see `Shard::intern`.
    pub attributes: Option<Arc<Attributes<'static>>>,
    pub short: Box<[AskedUnits]>,
    pub history: Option<Box<History>>,
    pub group: Option<Box<Membership>>,
}

/// The group that a reservation opened or joined.
#[derive(Debug, Clone, Copy)]
pub(super) struct Membership {
    /// As it was when the hold was made.
    pub joined: JoinedGroup,
    /// How many members it has, or had at its end.
    pub members: u8,
    pub state: MemberState,
    /// When the group fails, or would have failed.
    pub deadline: Timestamp,
    /// When the last member joined, if the group is complete.
    pub completed_at: Timestamp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MemberState {
    Open,
    Complete,
    Failed,
    /// It was released while the group was open.
    Left,
}

/// What few reservations have behind them, as far as answers depend on it.
#[derive(Debug, Default)]
pub(super) struct History {
    /// The waitlist entry that it was offered to.
    pub entry: Option<EntryId>,
    /// The lines as they were first held, if they were changed since.
    pub as_made: Option<AsMade>,
    /// When it was confirmed, if it was cancelled since.
    pub confirmed_at: Option<Timestamp>,
    /// The last reason of a cancellation.
    pub cancel_reason: Option<Box<str>>,
    /// Keys of cancellations, with the fingerprints of their requests.
    pub cancellations: Vec<(Box<str>, u64)>,
    /// References of refused confirmations, the latest last: each is recorded once.
    pub refused: Vec<(Option<Box<str>>, RefusedConfirm)>,
}

/// Lines, and what was asked of items of which there was less.
pub(super) type AsMade = (Box<[Line]>, Box<[AskedUnits]>);

/// References of refused confirmations that are remembered of one reservation.
pub(super) const REFUSED_MAX: usize = 16;

#[derive(Debug)]
pub(super) struct Customer {
    pub name: CompactString,
    /// Reservations in memory.
    pub reservations: u32,
    pub holdings: Holdings,
}

/// A customer's units of one item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Holding {
    pub item: ItemNumber,
    /// Held and confirmed, of reservations in memory and of those that left it and still count.
    pub units: u64,
    /// The part of `units` whose reservations left memory.
    pub carried: u64,
}

/// A customer's units, by item. Most customers have those of one item, whose members fill the gaps around the tag.
#[derive(Debug)]
pub(super) enum Holdings {
    One {
        item: ItemNumber,
        units: u64,
        carried: u64,
    },
    /// Sorted by item.
    Other(Box<[Holding]>),
}

/// What a reservation takes in memory beside its lines and texts: its slot; a cell of the index by id, of which a half is in
/// use on average; and its places among the deadlines of its expiry and its retirement.
const RESERVATION_BYTES: usize = size_of::<Option<Entry>>() + CELL_BYTES + 12;

/// A cell of an index, with its share of the cells that are empty.
pub(super) const CELL_BYTES: usize = 16;

/// An entry among deadlines, with its share of unused space. An extended hold leaves its earlier entries there.
const DEADLINE_BYTES: usize = 8;

/// What a member takes in the table of groups: its id, and its share of the group's entries, which it may be the only one to have.
const MEMBER_BYTES: usize = 192;

/// What a pool takes among a bucket's sold units: an entry of a B-tree that is two thirds full.
pub(super) const SOLD_BYTES: u64 = 24;

/// What a customer takes in memory beside a long name and several holdings.
const CUSTOMER_BYTES: usize = size_of::<Option<Customer>>() + CELL_BYTES;

/// What the allocator takes for so many bytes: up to 64 of them in steps of 16, and more in four steps from each power of two
/// to the next. (mimalloc's size classes.)
pub(super) fn allocated(bytes: usize) -> usize {
    match bytes {
        0 => 0,
        1..=8 => 8,
        9..=64 => bytes.next_multiple_of(16),
        _ => bytes.next_multiple_of(1 << ((bytes - 1).ilog2() - 2)),
    }
}

impl Entry {
    /// What it takes in memory, all in all.
    pub(crate) fn bytes(&self) -> u64 {
        let extensions = usize::from(self.extensions) * DEADLINE_BYTES;
        let texts = self.texts.as_deref().map_or(0, Texts::bytes);
        (RESERVATION_BYTES + extensions + self.lines.bytes() + texts) as u64
    }

    /// Takes over that units moved, after the lines did. The state follows from where the units are now. `cause`: the state of a
    /// reservation of which nothing else is left.
    pub(super) fn follow_units(&mut self, cause: State) {
        self.state = match self.lines {
            Lines::Whole { .. } => cause,
            Lines::Parts(_) => {
                let any = |units: fn(Amounts) -> u32| self.lines.iter(self.state).any(|line| units(line.amounts) > 0);
                match () {
                    () if any(|amounts| amounts.held) => State::Held,
                    () if any(|amounts| amounts.confirmed) => State::Confirmed,
                    () => cause,
                }
            }
        };
        // A single line whose units are all where the state says takes no more memory than at first.
        if let Lines::Parts(lines) = &self.lines
            && let [Line { pool, price, amounts }] = ***lines
            && amounts == self.state.amounts(amounts.sum())
        {
            self.lines = Lines::Whole { pool, price, units: amounts.sum() };
        }
    }

    pub(super) fn end_with(&mut self, text: Option<&str>) {
        if let Some(text) = text {
            self.texts.get_or_insert_default().end_text = Some(text.into());
        }
    }

    pub(super) fn history(&self) -> Option<&History> {
        self.texts.as_deref()?.extras.as_deref()?.history.as_deref()
    }

    /// Its history, to be changed; begun if there is none.
    pub(super) fn history_mut(&mut self) -> &mut History {
        self.texts.get_or_insert_default().extras.get_or_insert_default().history.get_or_insert_default()
    }

    pub(super) fn membership(&self) -> Option<&Membership> {
        self.texts.as_deref()?.extras.as_deref()?.group.as_deref()
    }

    pub(super) fn membership_mut(&mut self) -> Option<&mut Membership> {
        self.texts.as_deref_mut()?.extras.as_deref_mut()?.group.as_deref_mut()
    }

    /// Whether it is of a group that was open at this moment, or is it still.
    pub(crate) fn is_of_group_open_at(&self, moment: Timestamp) -> bool {
        self.membership().is_some_and(|it| it.state == MemberState::Open || it.completed_at >= moment)
    }

    /// Whether it waits for its group to be complete: then it ends with the group, and not by itself.
    pub(crate) fn is_open_member(&self) -> bool {
        self.membership().is_some_and(|membership| membership.state == MemberState::Open)
    }

    pub(crate) fn key(&self) -> Option<&str> {
        self.texts.as_deref()?.key.as_ref().map(|(key, _)| &**key)
    }

    pub(super) fn attributes(&self) -> Option<&Arc<Attributes<'static>>> {
        self.texts.as_deref()?.extras.as_deref()?.attributes.as_ref()
    }

    pub(super) fn short(&self) -> &[AskedUnits] {
        self.texts.as_deref().and_then(|texts| texts.extras.as_deref()).map_or(&[], |extras| &extras.short)
    }

    /// Whether its customer is still known.
    pub(crate) fn is_somebodys(&self) -> bool {
        self.customer != NOBODY
    }
}

impl Texts {
    fn bytes(&self) -> usize {
        let text = |text: &Option<Box<str>>| text.as_deref().map_or(0, |text| allocated(text.len()));
        let key = self.key.as_ref().map_or(0, |(key, _)| allocated(key.len()) + CELL_BYTES);
        let extras = self.extras.as_deref().map_or(0, Extras::bytes);
        allocated(size_of::<Self>()) + key + text(&self.reference) + text(&self.end_text) + extras
    }
}

impl Extras {
    fn bytes(&self) -> usize {
        let history = self.history.as_deref().map_or(0, History::bytes);
        let group = self.group.as_ref().map_or(0, |_| allocated(size_of::<Membership>()) + MEMBER_BYTES);
        allocated(size_of::<Self>()) + allocated(size_of_val::<[AskedUnits]>(&self.short)) + history + group
    }
}

impl History {
    /// What is left of it when the customer is erased: no text of a caller.
    pub(super) fn without_texts(&self) -> Option<Self> {
        let Self { entry, as_made, confirmed_at, .. } = self;
        let is_needed = entry.is_some() || as_made.is_some() || confirmed_at.is_some();
        is_needed.then(|| Self {
            entry: *entry,
            as_made: as_made.clone(),
            confirmed_at: *confirmed_at,
            ..Self::default()
        })
    }

    fn bytes(&self) -> usize {
        let Self { entry: _, as_made, confirmed_at: _, cancel_reason, cancellations, refused } = self;
        let as_made = as_made.as_ref().map_or(0, |(lines, short)| {
            allocated(size_of_val::<[Line]>(lines)) + allocated(size_of_val::<[AskedUnits]>(short))
        });
        let reason = cancel_reason.as_ref().map_or(0, |reason| allocated(reason.len()));
        let keys = cancellations.iter().map(|(key, _)| allocated(key.len())).sum::<usize>();
        let references = refused.iter().flat_map(|(reference, _)| reference).map(|it| allocated(it.len()));
        allocated(size_of::<Self>())
            + as_made
            + reason
            + allocated(cancellations.capacity() * size_of::<(Box<str>, u64)>())
            + keys
            + allocated(refused.capacity() * size_of::<(Option<Box<str>>, RefusedConfirm)>())
            + references.sum::<usize>()
    }
}

/// What attributes take in memory, their place among those that are shared included.
pub(super) fn bytes_of(attributes: &Attributes<'_>) -> u64 {
    let texts = attributes.texts().map(|(_, text)| allocated(text.len())).sum::<usize>();
    let names =
        attributes.labels.iter().map(|(name, _)| allocated(name.len()) + 2 * size_of::<String>()).sum::<usize>();
    let locations =
        attributes.locations.iter().map(|location| allocated(location.len()) + size_of::<String>()).sum::<usize>();
    (allocated(size_of::<Attributes<'_>>() + 16) + texts + names + locations + CELL_BYTES) as u64
}

impl Lines {
    /// Of a hold.
    pub(super) fn held(lines: impl ExactSizeIterator<Item = Line>) -> Self {
        let mut lines = lines;
        if lines.len() == 1
            && let Some(Line { pool, price, amounts }) = lines.next()
        {
            return Self::Whole { pool, price, units: amounts.held };
        }
        Self::Parts(Box::new(lines.collect()))
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Whole { .. } => 0,
            Self::Parts(lines) => allocated(size_of::<Box<[Line]>>()) + allocated(size_of_val::<[Line]>(lines)),
        }
    }

    /// The lines of a reservation in this state.
    pub(super) fn iter(&self, state: State) -> impl ExactSizeIterator<Item = Line> {
        let (whole, parts) = match self {
            &Self::Whole { pool, price, units } => (Some(Line { pool, price, amounts: state.amounts(units) }), &[][..]),
            Self::Parts(lines) => (None, &***lines),
        };
        Iter { whole, parts: parts.iter() }
    }

    /// Moves units of a pool. `state`: the reservation's before the event.
    ///
    /// # Panics
    /// If the reservation does not have the units there.
    pub(super) fn shift(&mut self, state: State, pool: PoolNumber, (from, to): (Account, Account), units: u32) {
        if let Self::Whole { pool: only, units: all, .. } = *self
            && only == pool
            && all == units
            && state.account() == from
        {
            // All of it: the new state says where.
            return;
        }
        if let Self::Whole { .. } = self {
            *self = Self::Parts(Box::new(self.iter(state).collect()));
        }
        let Self::Parts(lines) = self else { unreachable!("it was just made") };
        // There are several lines of a pool if its price changed. The first is confirmed first, the last goes back first.
        let of_pool = lines.iter_mut().filter(|line| line.pool == pool);
        let left = if to == Account::Confirmed {
            shift_in_order(of_pool, (from, to), units)
        } else {
            shift_in_order(of_pool.rev(), (from, to), units)
        };
        assert_eq!(left, 0, "a reservation has the units that an event moves");
    }
}

/// Moves units of lines, as many as there are; the rest.
fn shift_in_order<'a>(
    lines: impl Iterator<Item = &'a mut Line>,
    (from, to): (Account, Account),
    mut units: u32,
) -> u32 {
    for line in lines {
        let moved = units.min(line.amounts.in_account(from));
        line.amounts.shift(from, to, moved);
        units -= moved;
    }
    units
}

/// Iterates over lines.
struct Iter<'a> {
    whole: Option<Line>,
    parts: std::slice::Iter<'a, Line>,
}

impl Iterator for Iter<'_> {
    type Item = Line;

    fn next(&mut self) -> Option<Line> {
        self.whole.take().or_else(|| self.parts.next().copied())
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = usize::from(self.whole.is_some()) + self.parts.len();
        (left, Some(left))
    }
}

impl ExactSizeIterator for Iter<'_> {}

impl Customer {
    pub(super) fn new(name: &str) -> Self {
        Self { name: name.into(), reservations: 0, holdings: Holdings::none() }
    }

    /// What it takes in memory, all in all.
    pub(super) fn bytes(&self) -> u64 {
        let name = if self.name.is_heap_allocated() { allocated(self.name.len()) } else { 0 };
        (CUSTOMER_BYTES + name + self.holdings.bytes()) as u64
    }

    pub(super) fn units(&self, item: ItemNumber) -> u64 {
        self.holdings.of(item).map_or(0, |holding| holding.units)
    }

    /// Units that were taken. Returns by how many bytes the customer grew in memory.
    pub(super) fn take(&mut self, item: ItemNumber, units: u64) -> i64 {
        self.holdings.change(item, |holding| holding.units += units)
    }

    /// Units that the customer has no more. Returns by how many bytes the customer grew in memory.
    ///
    /// # Panics
    /// When the customer does not have them.
    pub(super) fn give_up(&mut self, item: ItemNumber, units: u64) -> i64 {
        self.holdings.change(item, |holding| {
            holding.units = holding.units.checked_sub(units).expect("a customer has what is taken away");
        })
    }

    /// So many of the customer's units are of a reservation that left memory. Returns by how many bytes the customer grew.
    pub(super) fn carry(&mut self, item: ItemNumber, units: u64) -> i64 {
        self.holdings.change(item, |holding| holding.carried += units)
    }
}

impl Holdings {
    fn none() -> Self {
        Self::Other(Box::default())
    }

    pub(super) fn is_empty(&self) -> bool {
        matches!(self, Self::Other(all) if all.is_empty())
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Holding> {
        let (one, other) = match self {
            &Self::One { item, units, carried } => (Some(Holding { item, units, carried }), &[][..]),
            Self::Other(all) => (None, &**all),
        };
        one.into_iter().chain(other.iter().copied())
    }

    fn of(&self, item: ItemNumber) -> Option<Holding> {
        match self {
            Self::One { .. } => self.iter().find(|holding| holding.item == item),
            Self::Other(all) => all.binary_search_by_key(&item, |holding| holding.item).ok().map(|at| all[at]),
        }
    }

    /// What they take in memory beside the customer.
    fn bytes(&self) -> usize {
        match self {
            Self::One { .. } => 0,
            Self::Other(all) => allocated(size_of_val::<[Holding]>(all)),
        }
    }

    /// Changes what there is of the item; what has no units left is forgotten. Returns by how many bytes they grew.
    fn change(&mut self, item: ItemNumber, change: impl FnOnce(&mut Holding)) -> i64 {
        let bytes_before = self.bytes() as i64;
        let mut holding = self.of(item).unwrap_or(Holding { item, units: 0, carried: 0 });
        change(&mut holding);
        let others = match self {
            Self::One { item: known, .. } => *known != item,
            Self::Other(all) => !all.is_empty(),
        };
        *self = match (others, holding) {
            (false, Holding { units: 0, .. }) => Self::none(),
            (false, Holding { item, units, carried }) => Self::One { item, units, carried },
            (true, holding) => self.with(holding),
        };
        self.bytes() as i64 - bytes_before
    }

    /// These holdings and this one, which takes the place of what there is of its item.
    fn with(&mut self, holding: Holding) -> Self {
        if let Self::Other(all) = self
            && let Ok(at) = all.binary_search_by_key(&holding.item, |holding| holding.item)
            && holding.units > 0
        {
            all[at] = holding;
            return Self::Other(mem::take(all));
        }
        // One more or one less.
        let mut all: Vec<Holding> = self.iter().filter(|other| other.item != holding.item).collect();
        if holding.units > 0 {
            all.insert(all.partition_point(|other| other.item < holding.item), holding);
        }
        match *all {
            [Holding { item, units, carried }] => Self::One { item, units, carried },
            _ => Self::Other(all.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_hold_and_its_customer_are_small() {
        assert_eq!((size_of::<Option<Entry>>(), size_of::<Option<Customer>>()), (72, 56));
    }

    #[test]
    fn the_allocator_rounds_up() {
        for (bytes, taken) in
            [(0, 0), (1, 8), (9, 16), (33, 48), (64, 64), (65, 80), (129, 160), (255, 256), (257, 320)]
        {
            assert_eq!(allocated(bytes), taken, "{bytes}");
        }
    }

    fn line(number: u32) -> Line {
        Line { pool: PoolNumber(number), price: number + 1, amounts: Amounts::held(number + 7) }
    }

    #[test]
    fn lines_come_back_as_they_were() {
        for count in 0..4 {
            let lines = Lines::held((0..count).map(line));
            assert!(lines.iter(State::Held).eq((0..count).map(line)));
        }
    }

    #[test]
    fn a_whole_line_is_where_the_state_says_and_a_part_of_it_is_kept_apart() {
        let mut lines = Lines::held([line(1)].into_iter());
        let confirm = (Account::Held, Account::Confirmed);
        lines.shift(State::Held, PoolNumber(1), confirm, 8);
        let amounts = |lines: &Lines, state| lines.iter(state).map(|line| line.amounts).collect::<Vec<_>>();
        let confirmed = Amounts { confirmed: 8, ..Amounts::default() };
        assert_eq!((amounts(&lines, State::Confirmed), lines.bytes()), (vec![confirmed], 0));

        let mut lines = Lines::held([line(1)].into_iter());
        lines.shift(State::Held, PoolNumber(1), confirm, 3);
        lines.shift(State::Confirmed, PoolNumber(1), (Account::Held, Account::Available), 5);
        let mixed = Amounts { confirmed: 3, returned: 5, ..Amounts::default() };
        assert_eq!(amounts(&lines, State::Confirmed), [mixed]);
        assert!(lines.bytes() > 0);
    }

    proptest! {
        /// Whatever is taken, carried and given up, the customer has what a plain map has.
        #[test]
        fn holdings_are_those_of_a_map(steps in prop::collection::vec((0_u32..5, 0..3, 1_u64..4), 1..60)) {
            let mut customer = Customer::new("ann");
            let mut plain: BTreeMap<ItemNumber, (u64, u64)> = BTreeMap::new();
            for (item, what, units) in steps {
                let item = ItemNumber(item);
                let had = plain.get(&item).copied().unwrap_or_default();
                let has = match what {
                    0 => (had.0 + units, had.1),
                    1 if had.0 >= had.1 + units => (had.0, had.1 + units),
                    2 if had.0 >= had.1 + units => (had.0 - units, had.1),
                    _ => continue,
                };
                let bytes_before = customer.bytes() as i64;
                let grown = match what {
                    0 => customer.take(item, units),
                    1 => customer.carry(item, units),
                    _ => customer.give_up(item, units),
                };
                prop_assert_eq!(customer.bytes() as i64, bytes_before + grown);
                plain.insert(item, has);
                plain.retain(|_, (units, _)| *units > 0);
                let told: Vec<_> = customer.holdings.iter().map(|it| (it.item, (it.units, it.carried))).collect();
                prop_assert_eq!(&told, &plain.iter().map(|(&item, &has)| (item, has)).collect::<Vec<_>>());
                prop_assert_eq!(customer.units(item), has.0);
                prop_assert_eq!(customer.holdings.is_empty(), plain.is_empty());
            }
        }
    }
}
