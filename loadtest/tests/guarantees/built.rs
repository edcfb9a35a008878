//! The service's binary that the tests built, and never an older one.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
    time::SystemTime,
};

/// `target/debug/doorbuster`, as the build of all tests leaves it there; built when it is not there or older than a file that
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

/// Whether it is there, and nothing that it is made of was changed since.
fn is_fresh(binary: &Path) -> Result<(), String> {
    let changed = |path: &Path| -> Result<SystemTime, String> {
        fs::metadata(path).and_then(|file| file.modified()).map_err(|error| format!("{}: {error}", path.display()))
    };
    let made = changed(binary)?;
    let mut left = ["Cargo.toml", "Cargo.lock", "src"].map(|name| root().join(name)).to_vec();
    let mut count = 0;
    while let Some(path) = left.pop() {
        if path.is_dir() {
            let entries = fs::read_dir(&path).map_err(|error| format!("{}: {error}", path.display()))?;
            left.extend(entries.map_while(Result::ok).map(|entry| entry.path()));
        } else if changed(&path)? > made {
            return Err(format!("{} is newer", path.display()));
        } else {
            count += 1;
        }
    }
    if count < 100 { Err(format!("{count} sources were found")) } else { Ok(()) }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate stands in the service's checkout")
}

fn build(profile: &Path) {
    let mut command = Command::new(env!("CARGO"));
    // As the tests are built: of one package alone, or without the features that tests ask for (which `--examples` adds), the
    // dependencies would be built once more.
    command.current_dir(root()).args([
        "build",
        "--locked",
        "--quiet",
        "--workspace",
        "--bin",
        "doorbuster",
        "--examples",
    ]);
    command.arg("--target-dir").arg(profile.parent().expect("target/PROFILE"));
    if profile.ends_with("release") {
        command.arg("--release");
    }
    let built = command.status().unwrap();
    assert!(built.success(), "{command:?}: {built}");
}
