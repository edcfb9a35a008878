//! Exit codes, for supervisors and scripts.

/// Each number keeps its meaning for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum ExitCode {
    Clean = 0,
    /// A check failed: the demo found a guarantee broken, the service is not healthy, the store differs from the journal, or
    /// there was nothing to check.
    CheckFailed = 1,
    /// Bad configuration or arguments: a restart without a change does not help.
    BadConfig = 2,
    /// The journal or a snapshot is damaged: an operator has to act.
    JournalDamaged = 3,
    /// The disk failed while the program ran.
    StorageFailed = 4,
    /// Another process has the data directory.
    DataDirectoryInUse = 5,
}

impl From<ExitCode> for std::process::ExitCode {
    fn from(code: ExitCode) -> Self {
        Self::from(code as u8)
    }
}
