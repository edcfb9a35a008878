//! The real binary as a process of its own: started, talked to, killed.

use std::{
    fs::File,
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use super::{Ask, Client, PATIENCE, described};

/// A `doorbuster serve` that is killed when this is dropped, however the test ends.
pub struct Process {
    child: Child,
    pub api: SocketAddr,
    pub ops: SocketAddr,
    log: PathBuf,
}

/// A `serve` that ended before it served, and what it said.
#[derive(Debug)]
pub struct Ended {
    pub code: Option<i32>,
    pub stderr: String,
}

/// The command `serve` on a data directory. `settings`: keys such as `journal.ack` with their values.
pub fn serve(data: &Path, settings: &[(&str, String)]) -> Command {
    configure(Command::new(env!("CARGO_BIN_EXE_doorbuster")), data, settings)
}

/// As `serve`, with the command line put into a shell that says `before` first.
pub fn serve_in_shell(before: &str, data: &Path, settings: &[(&str, String)]) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("{before}; exec \"$0\" \"$@\""), env!("CARGO_BIN_EXE_doorbuster")]);
    configure(shell, data, settings)
}

fn configure(mut command: Command, data: &Path, settings: &[(&str, String)]) -> Command {
    command.arg("serve").arg("--data").arg(data);
    command.args(["--listen", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0"]);
    without_environment(&mut command);
    for (key, value) in settings {
        command.env(format!("DOORBUSTER_{}", key.replace('.', "__").to_ascii_uppercase()), value);
    }
    command
}

/// Keeps from the command what would set a key, such as the settings of the tests themselves.
pub fn without_environment(command: &mut Command) {
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("DOORBUSTER_")) {
        command.env_remove(name);
    }
}

impl Process {
    /// Starts and waits until it serves. What it logs goes to `log`, beside the data directory.
    #[track_caller]
    pub fn start(data: &Path, settings: &[(&str, String)]) -> Self {
        Self::launch(serve(data, settings), data).unwrap_or_else(|ended| panic!("does not serve: {ended:?}"))
    }

    /// Runs the command until it serves or ends.
    pub fn launch(command: Command, data: &Path) -> Result<Self, Ended> {
        let log = data.with_extension("log");
        let stderr = File::options().create(true).append(true).open(&log).expect("a log file");
        Self::launch_with_stderr(command, data, stderr.into())
    }

    /// As `launch`, with a standard error that is not the log file.
    pub fn launch_with_stderr(mut command: Command, data: &Path, stderr: Stdio) -> Result<Self, Ended> {
        let log = data.with_extension("log");
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(stderr).spawn().expect("the binary");
        let stdout = child.stdout.take().expect("its output is ours");
        // Made at once: whatever happens below, the child does not outlive the test.
        let unknown = SocketAddr::from(([0, 0, 0, 0], 0));
        let mut process = Self { child, api: unknown, ops: unknown, log };
        let (lines, first) = mpsc::channel();
        // Reads on after the first line: a full pipe would stop the service.
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let _ = lines.send(line);
            }
        });
        match first.recv_timeout(PATIENCE) {
            Ok(line) => {
                (process.api, process.ops) = parse_addresses(&line);
                // One that is failing already has nothing to say of itself.
                let document = Client::unchecked(process.api).try_send(&Ask::new("GET", "/openapi.json"));
                if let Some(document) = document.ok().filter(|document| document.status == 200) {
                    described::learn(process.api, document.text());
                }
                Ok(process)
            }
            Err(mpsc::RecvTimeoutError::Timeout) => panic!("neither serves nor ends:\n{}", process.log()),
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                let status = process.wait(PATIENCE);
                Err(Ended { code: status.code(), stderr: process.log() })
            }
        }
    }

    /// A process whose addresses are known without its output.
    pub fn adopt(child: Child, api: SocketAddr, ops: SocketAddr, data: &Path) -> Self {
        Self { child, api, ops, log: data.with_extension("log") }
    }

    pub fn client(&self) -> Client {
        Client::new(self.api)
    }

    pub fn ops(&self) -> Client {
        Client::unchecked(self.ops)
    }

    /// What it said on standard error, this time and before.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The number that the kernel knows it by.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// `kill -9`, and waits until it is gone.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// SIGTERM; the end is waited for with `wait`.
    pub fn terminate(&self) {
        self.signal("TERM");
    }

    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status();
        assert!(sent.expect("kill").success(), "the process is there");
    }

    /// Waits for the end, and fails when it takes longer than `most`.
    #[track_caller]
    pub fn wait(&mut self, most: Duration) -> ExitStatus {
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                return status;
            }
            assert!(started.elapsed() < most, "still there after {most:?}:\n{}", self.log());
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// From `listening on http://127.0.0.1:PORT (API) and http://127.0.0.1:PORT (ops)`.
#[track_caller]
fn parse_addresses(line: &str) -> (SocketAddr, SocketAddr) {
    let parsed = line.strip_prefix("listening on http://").and_then(|rest| {
        let (api, ops) = rest.split_once(" (API) and http://")?;
        Some((api.parse().ok()?, ops.strip_suffix(" (ops)")?.parse().ok()?))
    });
    parsed.unwrap_or_else(|| panic!("the first line is {line:?}"))
}
