//! The life of a reservation as one table: states, commands, and what comes of them.
//!
//! `decide.rs` follows this table, the tests compare the service with it, and ARCHITECTURE.md shows it.

use super::{code::Code, outcome::State};

/// What callers and the clock ask of a reservation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    Extend,
    Change,
    Confirm,
    Release,
    Cancel,
    /// The clock reached `expires_at`.
    Expire,
}

/// What comes of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transition {
    /// Units move, and an event says so. The reservation has this state from then on, unless some of its units stay where they
    /// were.
    Become(State),
    /// The hold lasts longer, and an event says so, unless it has no extensions left.
    Lengthen,
    /// The hold gets other lines, and an event says so, unless they are the same.
    Change,
    /// The units are taken again, if the sale still allows it and they are available. Else an event says that a payment is to be
    /// returned.
    ConfirmLate,
    /// Nothing changes. The answer is the reservation as it is; for a confirm only if it asks for the same.
    Repeat,
    /// Nothing changes, and the caller is told why not.
    Refuse(Reason),
    /// Nothing changes, and nobody asked.
    Nothing,
}

/// Why the state does not allow the command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    NotConfirmed,
    AlreadyConfirmed,
    AlreadyReleased,
    AlreadyCancelled,
    ReservationExpired,
}

impl Command {
    pub const ALL: [Self; 6] = [Self::Extend, Self::Change, Self::Confirm, Self::Release, Self::Cancel, Self::Expire];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Extend => "extend",
            Self::Change => "change",
            Self::Confirm => "confirm",
            Self::Release => "release",
            Self::Cancel => "cancel",
            Self::Expire => "expire",
        }
    }
}

/// The table.
pub const fn transition(state: State, command: Command) -> Transition {
    use Command::{Cancel, Change, Confirm, Expire, Extend, Release};
    use Transition::{Become, Refuse, Repeat};
    match (state, command) {
        (State::Held, Extend) => Transition::Lengthen,
        (State::Held, Change) => Transition::Change,
        (State::Held, Confirm) => Become(State::Confirmed),
        (State::Held, Release) => Become(State::Released),
        (State::Held, Cancel) => Refuse(Reason::NotConfirmed),
        (State::Held, Expire) => Become(State::Expired),
        (State::Confirmed, Confirm) => Repeat,
        (State::Confirmed, Cancel) => Become(State::Cancelled),
        (State::Confirmed, Extend | Change | Release) => Refuse(Reason::AlreadyConfirmed),
        (State::Released, Release) => Repeat,
        (State::Released, Extend | Change | Confirm | Cancel) => Refuse(Reason::AlreadyReleased),
        (State::Expired, Confirm) => Transition::ConfirmLate,
        (State::Expired, Extend | Change | Release | Cancel) => Refuse(Reason::ReservationExpired),
        (State::Cancelled, Cancel) => Repeat,
        (State::Cancelled, Extend | Change | Confirm | Release) => Refuse(Reason::AlreadyCancelled),
        (State::Confirmed | State::Released | State::Expired | State::Cancelled, Expire) => Transition::Nothing,
    }
}

impl Reason {
    /// The code of the problem that a caller gets.
    pub fn code(self) -> Code {
        match self {
            Self::NotConfirmed => Code::NotConfirmed,
            Self::AlreadyConfirmed => Code::AlreadyConfirmed,
            Self::AlreadyReleased => Code::AlreadyReleased,
            Self::AlreadyCancelled => Code::AlreadyCancelled,
            Self::ReservationExpired => Code::ReservationExpired,
        }
    }
}

/// The table as Markdown, for ARCHITECTURE.md.
pub fn as_markdown() -> String {
    let mut table = String::from("| state |");
    Command::ALL.iter().for_each(|command| table.push_str(&format!(" {} |", command.as_str())));
    table.push_str("\n|---|");
    Command::ALL.iter().for_each(|_| table.push_str("---|"));
    for state in State::ALL {
        table.push_str(&format!("\n| `{}` |", state.as_str()));
        for command in Command::ALL {
            let cell = match transition(state, command) {
                Transition::Become(next) if command == Command::Cancel => {
                    format!("→ `{}`, or `{}` with fewer units", next.as_str(), state.as_str())
                }
                Transition::Become(next) => format!("→ `{}`", next.as_str()),
                Transition::Lengthen => "lasts longer, or `extension_limit_reached`".to_owned(),
                Transition::Change => "other lines".to_owned(),
                Transition::ConfirmLate => "late: → `confirmed`, or `reservation_expired`".to_owned(),
                Transition::Repeat if command == Command::Confirm => {
                    "the same again; with another reference or other lines `already_confirmed`".to_owned()
                }
                Transition::Repeat => "the same again".to_owned(),
                Transition::Refuse(reason) => format!("`{}`", reason.code().as_str()),
                Transition::Nothing => "–".to_owned(),
            };
            table.push_str(&format!(" {cell} |"));
        }
    }
    table.push('\n');
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_over_changes_only_by_a_cancellation_or_a_late_confirmation() {
        for state in State::ALL {
            for command in Command::ALL {
                let stays = matches!(
                    transition(state, command),
                    Transition::Repeat | Transition::Refuse(_) | Transition::Nothing
                );
                let changes = match state {
                    State::Held => command != Command::Cancel,
                    State::Confirmed => command == Command::Cancel,
                    State::Expired => command == Command::Confirm,
                    State::Released | State::Cancelled => false,
                };
                assert_eq!(changes, !stays, "{state:?} {command:?}");
            }
        }
    }

    #[test]
    fn the_architecture_shows_this_table() {
        let page = include_str!("../../../ARCHITECTURE.md");
        assert!(page.contains(&as_markdown()), "ARCHITECTURE.md must contain:\n\n{}", as_markdown());
    }
}
