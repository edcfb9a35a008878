//! The life of a reservation as one table: states, commands, and what comes of them.
//!
//! `decide.rs` follows this table, the tests compare the service with it, and ARCHITECTURE.md shows it.

use super::{code::Code, outcome::State};

/// What callers and the clock ask of a reservation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    Extend,
    Confirm,
    Release,
    /// The clock reached `expires_at`.
    Expire,
}

/// What comes of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transition {
    /// All held units move, and an event says so. The reservation has this state from then on.
    Become(State),
    /// The hold lasts longer, and an event says so, unless it has no extensions left.
    Lengthen,
    /// Nothing changes. The answer is the reservation as it is; for a confirm only if the reference is not another one.
    Repeat,
    /// Nothing changes, and the caller is told why not.
    Refuse(Reason),
    /// Nothing changes, and nobody asked.
    Nothing,
}

/// Why the state does not allow the command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    AlreadyConfirmed,
    AlreadyReleased,
    ReservationExpired,
}

impl Command {
    pub const ALL: [Self; 4] = [Self::Extend, Self::Confirm, Self::Release, Self::Expire];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Extend => "extend",
            Self::Confirm => "confirm",
            Self::Release => "release",
            Self::Expire => "expire",
        }
    }
}

/// The table.
pub const fn transition(state: State, command: Command) -> Transition {
    use Command::{Confirm, Expire, Extend, Release};
    use Transition::{Become, Lengthen, Nothing, Refuse, Repeat};
    match (state, command) {
        (State::Held, Extend) => Lengthen,
        (State::Held, Confirm) => Become(State::Confirmed),
        (State::Held, Release) => Become(State::Released),
        (State::Held, Expire) => Become(State::Expired),
        (State::Confirmed, Confirm) => Repeat,
        (State::Confirmed, Extend | Release) => Refuse(Reason::AlreadyConfirmed),
        (State::Released, Release) => Repeat,
        (State::Released, Extend | Confirm) => Refuse(Reason::AlreadyReleased),
        (State::Expired, Extend | Confirm | Release) => Refuse(Reason::ReservationExpired),
        (State::Confirmed | State::Released | State::Expired, Expire) => Nothing,
    }
}

impl Reason {
    /// The code of the problem that a caller gets.
    pub fn code(self) -> Code {
        match self {
            Self::AlreadyConfirmed => Code::AlreadyConfirmed,
            Self::AlreadyReleased => Code::AlreadyReleased,
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
                Transition::Become(next) => format!("→ `{}`", next.as_str()),
                Transition::Lengthen => "lasts longer, or `extension_limit_reached`".to_owned(),
                Transition::Repeat if command == Command::Confirm => {
                    "the same again; with another reference `already_confirmed`".to_owned()
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
    fn only_a_hold_changes_and_every_end_is_final() {
        for state in State::ALL {
            for command in Command::ALL {
                let changes = matches!(transition(state, command), Transition::Become(_) | Transition::Lengthen);
                assert_eq!(changes, state == State::Held, "{state:?} {command:?}");
            }
        }
    }

    #[test]
    fn the_architecture_shows_this_table() {
        let page = include_str!("../../../ARCHITECTURE.md");
        assert!(page.contains(&as_markdown()), "ARCHITECTURE.md must contain:\n\n{}", as_markdown());
    }
}
