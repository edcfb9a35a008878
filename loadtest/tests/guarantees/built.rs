//! The service's binary that the tests built, and never an older one.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
    time::SystemTime,
};

/// `target/debug/doorbuster`, as `cargo test --workspace` leaves it there; built when it is not there or older than a file that
/// went into it.
pub fn doorbuster() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        // This program is target/debug/deps/NAME.
        let this = std::env::current_exe().unwrap();
        let profile = this.parent().and_then(Path::parent).expect("a test stands in target/PROFILE/deps").to_owned();
        let binary = profile.join("doorbuster");
        if let Err(stale) = is_fresh(&binary) {
            build(&profile);
            if let Err(still) = is_fresh(&binary) {
                panic!("{} is stale, before and after a build: {stale}; {still}", binary.display());
            }
        }
        binary
    })
}

/// Cargo writes down what each binary was made of.
fn is_fresh(binary: &Path) -> Result<(), String> {
    let changed = |path: &Path| -> Result<SystemTime, String> {
        fs::metadata(path).and_then(|file| file.modified()).map_err(|error| format!("{}: {error}", path.display()))
    };
    let made = changed(binary)?;
    let list = binary.with_extension("d");
    let text = fs::read_to_string(&list).map_err(|error| format!("{}: {error}", list.display()))?;
    let (_, sources) = text.lines().next().and_then(|line| line.split_once(": ")).ok_or("no list of sources")?;
    // A blank in a name is escaped.
    let sources = sources.replace("\\ ", "\0");
    let mut count = 0;
    for source in sources.split_whitespace() {
        let source = PathBuf::from(source.replace('\0', " "));
        if changed(&source)? > made {
            return Err(format!("{} is newer", source.display()));
        }
        count += 1;
    }
    if count < 10 { Err(format!("{} lists {count} sources", list.display())) } else { Ok(()) }
}

fn build(profile: &Path) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate stands in the service's checkout");
    let mut command = Command::new(env!("CARGO"));
    command.current_dir(root).args(["build", "--locked", "--quiet", "--package", "doorbuster", "--bin", "doorbuster"]);
    command.arg("--target-dir").arg(profile.parent().expect("target/PROFILE"));
    if profile.ends_with("release") {
        command.arg("--release");
    }
    let built = command.status().unwrap();
    assert!(built.success(), "{command:?}: {built}");
}
