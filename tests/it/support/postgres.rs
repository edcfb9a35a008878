//! A PostgreSQL server of the tests' own: its directory, its port, and its end however the tests end.
//!
//! It is the real server, found where Debian puts it. Tests that need it fail where it cannot be started; none is skipped.
//!
//! A keeper, a shell that outlives the test, waits until the test's process is gone in whatever way, then ends the server
//! and removes its directory.

// Benches and the store's unit tests include this file, too.
#![allow(unreachable_pub)]

use std::{
    env, fs, io,
    net::{Ipv4Addr, TcpListener},
    os::unix::{fs::chown, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use tokio::runtime::{Builder, Runtime};
use tokio_postgres::{Client, Config, NoTls, Row};

/// Longer than a start or an end takes on a machine that is busy with everything else.
const PATIENCE: Duration = Duration::from_secs(60);

/// Who may do everything, from this machine.
pub const ROLE: &str = "doorbuster";

pub struct Server {
    directory: PathBuf,
    settings: Vec<String>,
    pub port: u16,
    account: Option<Account>,
    process: Option<Child>,
    keeper: Child,
    databases: AtomicU64,
}

/// Whom the server runs as, when the tests run as root: it refuses to be root.
#[derive(Debug, Clone, Copy)]
struct Account {
    user: u32,
    group: u32,
}

impl Server {
    /// A new cluster with a running server. `settings`: of `postgresql.conf`, such as `fsync=on`.
    pub fn start(settings: &[&str]) -> Self {
        Self::start_on(settings, |_| {})
    }

    /// As `start`, on a disk of its own of so many MiB. Only root may make one, or who may become root.
    pub fn start_on_disk(mebibytes: u32, settings: &[&str]) -> Self {
        Self::start_on(settings, |directory| {
            let size = format!("size={mebibytes}m,mode=777");
            let mut mount = if rustix::process::geteuid().is_root() { Command::new("mount") } else { sudo("mount") };
            mount.args(["-t", "tmpfs", "-o", &size, "none"]).arg(directory);
            assert!(mount.status().expect("mount").success(), "a small disk is mounted, as root or by sudo");
        })
    }

    fn start_on(settings: &[&str], prepare: impl FnOnce(&Path)) -> Self {
        let account = (rustix::process::geteuid().is_root()).then(unprivileged);
        let directory = tempfile::Builder::new().prefix("doorbuster-postgres-").tempdir().expect("a directory").keep();
        if let Some(Account { user, group }) = account {
            chown(&directory, Some(user), Some(group)).expect("root may give a directory away");
        }
        prepare(&directory);
        let keeper = keep(&directory, "data/postmaster.pid");
        let settings = settings.iter().map(|setting| (*setting).to_owned()).collect();
        let (process, databases) = (None, AtomicU64::new(0));
        let mut server = Self { directory, settings, port: 0, account, process, keeper, databases };
        server.make_cluster();
        server.launch();
        server
    }

    /// Copies the cluster that an earlier server made, because `initdb` takes a second of a core.
    fn make_cluster(&self) {
        let kept = kept_cluster();
        if kept.exists() {
            return self.copy(&kept, &self.data());
        }
        let mut initdb = self.command("initdb");
        initdb.args(["--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C", "--no-instructions"]);
        initdb.args(["--username", ROLE, "--pgdata"]).arg(self.data());
        let made = initdb.output().expect("initdb runs");
        assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        let copy = kept.with_file_name(self.directory.file_name().expect("a name"));
        self.copy(&self.data(), &copy);
        // Fails where another server was faster.
        if fs::rename(&copy, &kept).is_err() {
            let _ = fs::remove_dir_all(&copy);
        }
    }

    /// Where the cluster is.
    pub fn data(&self) -> PathBuf {
        self.directory.join("data")
    }

    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// A file for the server to read, such as a key.
    pub fn put_file(&self, name: &str, content: &str) -> PathBuf {
        use std::os::unix::fs::PermissionsExt;
        let path = self.directory.join(name);
        fs::write(&path, content).expect("a file");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("its owner may");
        if let Some(Account { user, group }) = self.account {
            chown(&path, Some(user), Some(group)).expect("root may give a file away");
        }
        path
    }

    /// Makes an empty database and says its URL.
    pub fn new_database(&self) -> String {
        let name = format!("test_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        self.admin().run(&format!("CREATE DATABASE {name}"));
        self.url(&name)
    }

    pub fn url(&self, database: &str) -> String {
        self.url_at(self.port, database)
    }

    /// As `url`, through something that listens on another port.
    pub fn url_at(&self, port: u16, database: &str) -> String {
        format!("postgres://{ROLE}@127.0.0.1:{port}/{database}")
    }

    /// A connection that has nothing to do with any store.
    pub fn admin(&self) -> Sql {
        Sql::connect(&self.url("postgres"))
    }

    /// Starts the server on the cluster as it is, after `kill` or `stop`.
    pub fn launch(&mut self) {
        let started = Instant::now();
        loop {
            // The same port again: who was connected comes back to it.
            if self.port == 0 {
                let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
                self.port = free.local_addr().expect("an address").port();
            }
            let mut process = self.spawn();
            while process.try_wait().expect("a child").is_none() {
                if try_connect(&self.url("postgres")).is_ok() {
                    self.process = Some(process);
                    return;
                }
                assert!(started.elapsed() < PATIENCE, "PostgreSQL does not start:\n{}", self.log());
                thread::sleep(Duration::from_millis(20));
            }
            // Somebody else took the port in between, or the last server is not quite gone.
            assert!(started.elapsed() < PATIENCE, "PostgreSQL does not start:\n{}", self.log());
            thread::sleep(Duration::from_millis(100));
            if self.databases.load(Ordering::Relaxed) == 0 {
                self.port = 0;
            }
        }
    }

    fn spawn(&self) -> Child {
        let log = fs::File::options().create(true).append(true).open(self.directory.join("log")).expect("a log");
        let mut command = self.command("postgres");
        command.arg("-D").arg(self.data());
        let mut set = |setting: &str| {
            command.args(["-c", setting]);
        };
        set(&format!("port={}", self.port));
        set("listen_addresses=127.0.0.1");
        set(&format!("unix_socket_directories={}", self.directory.display()));
        set("fsync=off");
        set("shared_buffers=32MB");
        set("max_connections=60");
        self.settings.iter().for_each(|setting| set(setting));
        let errors = log.try_clone().expect("a log");
        command.stdout(log).stderr(errors).spawn().expect("postgres runs")
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(programs().join(program));
        if let Some(Account { user, group }) = self.account {
            command.uid(user).gid(group);
        }
        command.current_dir(&self.directory).env_clear().stdin(Stdio::null());
        command.env("PATH", "/usr/bin:/bin").env("LC_ALL", "C").env("TZ", "UTC");
        command
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.directory.join("log")).unwrap_or_default()
    }

    /// `kill -9` of the server and all its processes.
    pub fn kill(&mut self) {
        let children = self.children();
        let mut process = self.process.take().expect("it runs");
        process.kill().expect("a child");
        process.wait().expect("a child");
        children.iter().for_each(|&child| signal("KILL", child));
    }

    /// An orderly end, which cuts off who is connected.
    pub fn stop(&mut self) {
        let mut process = self.process.take().expect("it runs");
        signal("INT", process.id());
        let started = Instant::now();
        while process.try_wait().expect("a child").is_none() {
            assert!(started.elapsed() < PATIENCE, "PostgreSQL does not end:\n{}", self.log());
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Makes all its processes hang: connections stay open and nothing is answered.
    pub fn freeze(&self) {
        signal("STOP", self.id());
        self.children().into_iter().for_each(|child| signal("STOP", child));
    }

    pub fn thaw(&self) {
        self.children().into_iter().for_each(|child| signal("CONT", child));
        signal("CONT", self.id());
    }

    /// Copies the cluster aside. The server must not run.
    pub fn back_up(&self, name: &str) {
        self.copy(&self.data(), &self.directory.join(name));
    }

    /// Puts a copy in the place of the cluster.
    pub fn put_back(&self, name: &str) {
        fs::remove_dir_all(self.data()).expect("the cluster goes");
        self.copy(&self.directory.join(name), &self.data());
    }

    fn copy(&self, from: &Path, to: &Path) {
        assert!(self.process.is_none(), "the server does not run");
        let copied = Command::new("cp").arg("-a").arg(from).arg(to).status();
        assert!(copied.expect("cp").success());
    }

    /// For a server that may have given up by itself.
    pub fn launch_if_ended(&mut self) {
        let process = self.process.as_mut().expect("it ran");
        if process.try_wait().expect("a child").is_some() {
            self.process = None;
            self.launch();
        }
    }

    /// The ids of all its processes.
    pub fn processes(&self) -> Vec<u32> {
        let mut ids = self.children();
        ids.push(self.id());
        ids
    }

    fn id(&self) -> u32 {
        self.process.as_ref().expect("it runs").id()
    }

    /// Its processes besides the first, each of which is a session of its own.
    fn children(&self) -> Vec<u32> {
        let parent = self.id();
        let all = fs::read_dir("/proc").expect("Linux").flatten();
        let ids = all.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        let is_child = |id: &u32| {
            let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
            let after_name = stat.rsplit_once(") ").map(|(_, fields)| fields.to_owned()).unwrap_or_default();
            after_name.split(' ').nth(1).and_then(|field| field.parse().ok()) == Some(parent)
        };
        ids.filter(is_child).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The keeper ends the server when nobody holds its input any more.
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
        if let Some(mut process) = self.process.take() {
            let _ = process.wait();
        }
    }
}

/// A PgBouncer in front of a server, which gives each transaction another session.
pub struct Pooler {
    process: Child,
    keeper: Child,
    port: u16,
}

impl Pooler {
    pub fn start(server: &Server) -> Self {
        let directory = tempfile::Builder::new().prefix("doorbuster-pooler-").tempdir().expect("a directory").keep();
        let keeper = keep(&directory, "pid");
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let port = free.local_addr().expect("an address").port();
        drop(free);
        let settings = format!(
            "[databases]\n* = host=127.0.0.1 port={} user={ROLE}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
             listen_port = {port}\nunix_socket_dir =\nauth_type = any\npool_mode = transaction\n\
             default_pool_size = 3\nserver_round_robin = 1\npidfile = pid\n",
            server.port
        );
        fs::write(directory.join("pgbouncer.ini"), settings).expect("a file");
        let mut command = Command::new("/usr/sbin/pgbouncer");
        if let Some(Account { user, group }) = server.account {
            for path in [directory.clone(), directory.join("pgbouncer.ini")] {
                chown(path, Some(user), Some(group)).expect("root may give a file away");
            }
            command.uid(user).gid(group);
        }
        let log = fs::File::create(directory.join("log")).expect("a log");
        command.arg("pgbouncer.ini").current_dir(&directory).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let process = command.spawn().expect("PgBouncer is here: scripts/test installs it");
        let pooler = Self { process, keeper, port };
        let started = Instant::now();
        while try_connect(&pooler.url(server, "postgres")).is_err() {
            let told = fs::read_to_string(directory.join("log")).unwrap_or_default();
            assert!(started.elapsed() < PATIENCE, "PgBouncer does not start:\n{told}");
            thread::sleep(Duration::from_millis(20));
        }
        pooler
    }

    pub fn url(&self, server: &Server, database: &str) -> String {
        server.url_at(self.port, database)
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}

/// `pid_file`: in the directory, names the process to end.
fn keep(directory: &Path, pid_file: &str) -> Child {
    // An immediate end; a server that hangs is woken for it, and kills its own processes that do not end.
    let script = r#"
        trap '' INT TERM HUP
        read -r line
        if [ -f "$2" ]; then
            id=$(head -n 1 "$2")
            kill -CONT "$id"; kill -QUIT "$id"
            tries=0
            while kill -0 "$id" && [ "$tries" -lt 100 ] && ! grep -q '^State:.Z' "/proc/$id/status"; do
                tries=$((tries + 1)); sleep 0.1
            done
        fi
        cd /
        if mountpoint -q "$1"; then umount "$1" || sudo -n umount "$1"; fi
        rm -rf "$1""#;
    let mut command = Command::new("sh");
    command.args(["-c", script, "keeper"]).arg(directory).arg(pid_file).current_dir(directory);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("a shell")
}

fn sudo(program: &str) -> Command {
    let mut command = Command::new("sudo");
    command.args(["-n", program]);
    command
}

fn signal(name: &str, process: u32) {
    // It may have ended by itself.
    let _ = Command::new("kill").args([&format!("-{name}"), &process.to_string()]).stderr(Stdio::null()).status();
}

/// Where `initdb` and `postgres` are: PostgreSQL 15 where Debian puts it, any other version there, or what is on the path.
fn programs() -> PathBuf {
    let of_debian = Path::new("/usr/lib/postgresql");
    let mut versions: Vec<u32> = fs::read_dir(of_debian)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect();
    versions.sort_unstable_by_key(|&version| (version == 15, version));
    let directories = versions.into_iter().rev().map(|version| of_debian.join(format!("{version}/bin")));
    let on_path = env::split_paths(&env::var_os("PATH").unwrap_or_default()).collect::<Vec<_>>();
    let found = directories.chain(on_path).find(|bin| bin.join("initdb").exists() && bin.join("postgres").exists());
    found.expect("PostgreSQL's initdb and postgres are not here: scripts/test installs them")
}

/// A cluster that no server has used, beside this program, for each version of PostgreSQL.
fn kept_cluster() -> PathBuf {
    let programs = programs();
    let version = programs.parent().and_then(Path::file_name).unwrap_or_default().to_string_lossy().into_owned();
    let program = env::current_exe().expect("this program's path");
    program.with_file_name(format!("postgres-cluster-{version}"))
}

/// The account `postgres`, or else `nobody`.
fn unprivileged() -> Account {
    let accounts = fs::read_to_string("/etc/passwd").expect("accounts");
    let of = |name: &str| {
        let line = accounts.lines().find(|line| line.split(':').next() == Some(name))?;
        let mut fields = line.split(':').skip(2);
        Some(Account { user: fields.next()?.parse().ok()?, group: fields.next()?.parse().ok()? })
    };
    of("postgres").or_else(|| of("nobody")).expect("an account that is not root")
}

/// A connection of the test's own.
pub struct Sql {
    runtime: Runtime,
    client: Client,
}

impl Sql {
    #[track_caller]
    pub fn connect(url: &str) -> Self {
        try_connect(url).unwrap_or_else(|error| panic!("{url}: {error}"))
    }

    /// Statements without results.
    #[track_caller]
    pub fn run(&self, sql: &str) {
        self.try_run(sql).unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    }

    pub fn try_run(&self, sql: &str) -> Result<(), tokio_postgres::Error> {
        self.runtime.block_on(self.client.batch_execute(sql))
    }

    /// A COPY that nothing is sent to.
    pub fn copy(&self, sql: &str) -> impl Sized {
        self.runtime.block_on(self.client.copy_in::<_, &[u8]>(sql)).unwrap_or_else(|error| panic!("{sql}: {error:?}"))
    }

    #[track_caller]
    pub fn rows(&self, sql: &str) -> Vec<Row> {
        self.runtime.block_on(self.client.query(sql, &[])).unwrap_or_else(|error| panic!("{sql}: {error:?}"))
    }

    /// The one value of a query, as text, asked without preparing anything.
    #[track_caller]
    pub fn text(&self, sql: &str) -> String {
        let messages = self.runtime.block_on(self.client.simple_query(sql));
        let messages = messages.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
        let value = messages.iter().find_map(|message| match message {
            tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0),
            _ => None,
        });
        value.expect("a row").to_owned()
    }

    /// The one number that a query comes to.
    #[track_caller]
    pub fn number(&self, sql: &str) -> i64 {
        self.rows(sql)[0].get(0)
    }
}

fn try_connect(url: &str) -> Result<Sql, io::Error> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let mut config: Config = url.parse().map_err(io::Error::other)?;
    config.connect_timeout(Duration::from_secs(5)).application_name("test");
    let client = runtime.block_on(async {
        let connecting = tokio::time::timeout(Duration::from_secs(5), config.connect(NoTls));
        let (client, connection) = connecting.await.map_err(io::Error::other)?.map_err(io::Error::other)?;
        tokio::spawn(async { drop(connection.await) });
        Ok::<_, io::Error>(client)
    })?;
    Ok(Sql { runtime, client })
}
