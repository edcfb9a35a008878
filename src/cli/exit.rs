//! What the program says as it ends, to supervisors and scripts.

/// Each number keeps its meaning for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum ExitCode {
    Clean = 0,
    /// What was to be checked is not so: the demo saw a guarantee broken, the service that was asked is not healthy, the store
    /// is not what the journal says, or nothing was there to be checked.
    CheckFailed = 1,
    /// Bad configuration or arguments: starting again without a change is of no use.
    BadConfig = 2,
    /// The journal or a snapshot is damaged: somebody has to look.
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
