//! A machine's clock that a test sets, for the real binary alone: a small library between it and the kernel adds an offset.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use super::now_millis;

/// The clock of the processes that are started with it.
pub struct MachineClock {
    directory: tempfile::TempDir,
    offset_millis: i64,
}

impl MachineClock {
    pub fn new() -> Self {
        let clock = Self { directory: tempfile::tempdir().expect("a directory"), offset_millis: 0 };
        fs::write(clock.file(), [0; 8]).expect("a file");
        clock
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join("offset")
    }

    /// Lets the command's process read this clock.
    pub fn give_to(&self, command: &mut Command) {
        command.env("LD_PRELOAD", library()).env("CLOCK_OFFSET_FILE", self.file());
    }

    /// Sets the clock forward, or back.
    pub fn set_by(&mut self, millis: i64) {
        self.offset_millis += millis;
        // Written in place: the processes have the file mapped.
        let mut file = fs::File::options().write(true).open(self.file()).expect("the file is there");
        std::io::Write::write_all(&mut file, &(self.offset_millis * 1_000_000).to_ne_bytes())
            .expect("the file is ours");
    }

    /// What this clock shows, in milliseconds since the epoch.
    pub fn now_millis(&self) -> u64 {
        now_millis().checked_add_signed(self.offset_millis).expect("no test sets a clock to before 1970")
    }
}

/// The library, built by the first process that needs it.
fn library() -> &'static PathBuf {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let library = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("clock.so");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/served/clock.c");
        let changed = |path: &Path| path.metadata().and_then(|file| file.modified()).ok();
        if changed(&library) < changed(source.as_ref()) {
            // Another process may build it at the same time.
            let built = library.with_extension(std::process::id().to_string());
            let mut build = Command::new("cc");
            build.args(["-shared", "-fPIC", "-O2", "-Wall", "-Werror", "-o"]).arg(&built).arg(source);
            assert!(build.status().expect("a C compiler").success(), "the library of the clock is built");
            fs::rename(&built, &library).expect("the directory is ours");
        }
        library
    })
}
