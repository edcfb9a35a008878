//! Ownership of the store. Every transaction carries a token and changes nothing once the store holds another one, so two
//! processes can never write with one cursor.
//!
//! A token has the data directory's id, the process's id, and a count of takeovers. A higher count in the store means that a
//! later process took it: stop. A lower count means that the store was restored to an older state: take it again, and continue
//! from the older cursor. The process's id distinguishes two with the same count.

use uuid::Uuid;

use super::error::StoreError;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Token {
    /// The data directory.
    pub owner: Uuid,
    /// How often the store was taken over, this time included; from 1.
    pub epoch: u64,
    /// The process that took it.
    pub session: Uuid,
}

/// What the store's cursor row says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// The last epoch of the journal that was applied; 0 when none was.
    pub cursor: u64,
    /// None: no process has taken it yet.
    pub held_by: Option<Token>,
}

impl Standing {
    pub(super) fn new(cursor: u64, owner: Option<Uuid>, epoch: u64, session: Option<Uuid>) -> Result<Self, StoreError> {
        let held_by = match (owner, session) {
            (Some(owner), Some(session)) => Some(Token { owner, epoch, session }),
            (None, None) if epoch == 0 => None,
            _ => return Err(StoreError::Content("a write_behind row with half an owner".to_owned())),
        };
        Ok(Self { cursor, held_by })
    }

    /// Of an empty store, and of one whose cursor somebody deleted.
    pub(super) fn nowhere() -> Self {
        Self { cursor: 0, held_by: None }
    }

    pub fn epoch(&self) -> u64 {
        self.held_by.map_or(0, |token| token.epoch)
    }
}

/// One process's claim to its store.
#[derive(Debug)]
pub(super) struct Claim {
    owner: Uuid,
    session: Uuid,
    /// The highest count that this process gave itself; 0 before the first.
    epoch: u64,
}

/// What a claim comes to, seen what the store holds.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The store is this process's.
    Ours(Token),
    /// It may be taken, with this token. `put_back`: it was this process's before, and is older now.
    Take { token: Token, put_back: bool },
}

impl Claim {
    pub(super) fn new(owner: Uuid, session: Uuid) -> Self {
        Self { owner, session, epoch: 0 }
    }

    pub(super) fn judge(&self, standing: &Standing) -> Result<Verdict, StoreError> {
        let next = |held: u64| Token { owner: self.owner, epoch: held.max(self.epoch) + 1, session: self.session };
        let Some(held) = standing.held_by else {
            return Ok(Verdict::Take { token: next(0), put_back: self.epoch > 0 });
        };
        if held.owner != self.owner {
            return Err(StoreError::OtherOwner { owner: held.owner, this: self.owner });
        }
        if held.session == self.session && held.epoch == self.epoch {
            return Ok(Verdict::Ours(held));
        }
        // A process that took nothing yet takes it from the one before, which is gone: a data directory has one process.
        if self.epoch > 0 && held.epoch >= self.epoch {
            return Err(StoreError::Fenced { epoch: held.epoch });
        }
        Ok(Verdict::Take { token: next(held.epoch), put_back: self.epoch > 0 })
    }

    /// Whether this process took the store.
    pub(super) fn has_taken(&self) -> bool {
        self.epoch > 0
    }

    pub(super) fn taken(&mut self, token: &Token) {
        self.epoch = token.epoch;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standing(claim: &Claim, epoch: u64) -> Standing {
        Standing { cursor: 7, held_by: Some(Token { owner: claim.owner, epoch, session: claim.session }) }
    }

    fn take(claim: &mut Claim, before: &Standing) -> Token {
        let Verdict::Take { token, .. } = claim.judge(before).unwrap() else { panic!("it is ours") };
        claim.taken(&token);
        token
    }

    #[test]
    fn the_last_to_take_it_has_it() {
        let owner = Uuid::from_bytes([1; 16]);
        let (mut first, mut second) =
            (Claim::new(owner, Uuid::from_bytes([91; 16])), Claim::new(owner, Uuid::from_bytes([92; 16])));
        let of_first = take(&mut first, &Standing { cursor: 0, held_by: None });
        let held = Standing { cursor: 0, held_by: Some(of_first) };
        assert_eq!(first.judge(&held).unwrap(), Verdict::Ours(of_first));
        let of_second = take(&mut second, &held);
        assert!(of_second.epoch > of_first.epoch);
        let held = Standing { cursor: 0, held_by: Some(of_second) };
        assert!(matches!(first.judge(&held), Err(StoreError::Fenced { epoch: 2 })));
        assert_eq!(second.judge(&held).unwrap(), Verdict::Ours(of_second));
    }

    #[test]
    fn a_store_of_another_data_directory_is_not_taken() {
        let (ours, theirs) = (
            Claim::new(Uuid::from_bytes([1; 16]), Uuid::from_bytes([93; 16])),
            Claim::new(Uuid::from_bytes([2; 16]), Uuid::from_bytes([94; 16])),
        );
        let refused = ours.judge(&standing(&theirs, 1));
        assert!(matches!(refused, Err(StoreError::OtherOwner { owner, .. }) if owner == theirs.owner));
    }

    #[test]
    fn an_older_store_is_taken_again_and_above_all_that_were() {
        let mut claim = Claim::new(Uuid::from_bytes([1; 16]), Uuid::from_bytes([95; 16]));
        let before = standing(&Claim::new(claim.owner, Uuid::from_bytes([96; 16])), 4);
        assert_eq!(take(&mut claim, &before).epoch, 5);
        for older in [before, standing(&claim, 2), Standing { cursor: 0, held_by: None }] {
            let Verdict::Take { token, put_back } = claim.judge(&older).unwrap() else { panic!("it is not ours") };
            assert_eq!((token.epoch, put_back), (6, true));
        }
        // As high, and another process: it is not known who came last, so nobody's work is overwritten.
        assert!(matches!(
            claim.judge(&standing(&Claim::new(claim.owner, Uuid::from_bytes([97; 16])), 5)),
            Err(StoreError::Fenced { .. })
        ));
    }
}
