//! Errors of PostgreSQL and of the connection, and whether they may pass without action.

use std::time::Duration;

use tokio_postgres::error::SqlState;

use super::url::with_sources;

#[derive(Debug, thiserror::Error)]
pub enum PostgresError {
    /// The server refused.
    #[error("{text}")]
    Refused {
        code: SqlState,
        text: String,
        /// Of the row that a constraint refused.
        table: Option<String>,
    },
    /// There is no server, or no connection to it any more.
    #[error("{0}")]
    Connection(String),
    #[error("{what} took longer than {} s and was cancelled", limit.as_secs_f64())]
    TimedOut { what: &'static str, limit: Duration },
    #[error("{what} was cancelled: the service is stopping")]
    Stopping { what: &'static str },
    /// A file that is needed to connect.
    #[error("{0}")]
    Setup(String),
}

impl PostgresError {
    /// Whether the same may succeed later without anybody's doing. Not so: what a row or the schema is refused for.
    pub fn passes(&self) -> bool {
        let Self::Refused { code, .. } = self else { return true };
        // Data, integrity, syntax and names, internal errors such as damaged pages. Privileges stand among names.
        !["22", "23", "42", "XX"].iter().any(|class| code.code().starts_with(class))
    }

    /// Whether the role may not do this.
    pub(in crate::store) fn is_denied(&self) -> bool {
        matches!(self, Self::Refused { code: SqlState::INSUFFICIENT_PRIVILEGE, .. })
    }

    /// Whether less at a time may succeed.
    pub fn is_too_slow(&self) -> bool {
        // What the server's own limits say is the same.
        let of_server = [SqlState::QUERY_CANCELED, SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT];
        match self {
            Self::TimedOut { .. } => true,
            Self::Refused { code, .. } => of_server.contains(code),
            _ => false,
        }
    }

    /// Whether something was waited for as long as a statement may take.
    pub(super) fn is_waited_out(&self) -> bool {
        self.is_too_slow() || matches!(self, Self::Refused { code: SqlState::LOCK_NOT_AVAILABLE, .. })
    }

    /// Whether the server has no column or table of that name.
    pub(super) fn is_unknown_name(&self) -> bool {
        matches!(self, Self::Refused { code, .. }
            if [SqlState::UNDEFINED_COLUMN, SqlState::UNDEFINED_TABLE].contains(code))
    }

    /// Whether a constraint of this table refused a row.
    pub(super) fn is_constraint_of(&self, name: &str) -> bool {
        matches!(self, Self::Refused { code, table: Some(table), .. }
            if code.code().starts_with("23") && table == name)
    }
}

impl From<tokio_postgres::Error> for PostgresError {
    fn from(error: tokio_postgres::Error) -> Self {
        let Some(refused) = error.as_db_error() else { return Self::Connection(with_sources(&error)) };
        let mut text = format!("{} ({})", refused.message(), refused.code().code());
        // Details quote rows, with customers and texts. Those of the tables' own keys quote ids alone.
        let own_key = *refused.code() == SqlState::UNIQUE_VIOLATION
            && refused.constraint().is_some_and(|constraint| constraint.ends_with("_pkey"));
        for (what, more) in [("", refused.detail().filter(|_| own_key)), ("hint: ", refused.hint())] {
            if let Some(more) = more {
                text = format!("{text}; {what}{more}");
            }
        }
        Self::Refused { code: refused.code().clone(), text, table: refused.table().map(str::to_owned) }
    }
}
