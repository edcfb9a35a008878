//! What only PostgreSQL has: a network with TLS and passwords, services that start at once, a pooler in between, and texts that
//! it cannot hold.

use std::{fs, thread, time::Duration};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

use super::{
    databases::{server, settings},
    postgres_server::{Pooler, ROLE, Server, Sql},
    *,
};

fn store(settings: PostgresSettings) -> Result<Box<dyn Sink>, StoreError> {
    let mut store = PostgresStore::new(settings, Arc::default())?;
    store.reopen()?;
    Ok(Box::new(store))
}

#[test]
fn services_that_start_at_once_make_one_schema() {
    let database = Database::postgres();
    thread::scope(|scope| {
        let starts: Vec<_> = (0..6).map(|_| scope.spawn(|| database.store().standing().unwrap().cursor)).collect();
        starts.into_iter().for_each(|start| assert_eq!(start.join().unwrap(), 0));
    });
    assert_eq!(database.query("SELECT one, cursor, format FROM write_behind"), [["1", "0", "1"]]);
}

#[test]
fn the_schema_is_sqlites() {
    let (sqlite, postgres) = (Database::sqlite(), Database::postgres());
    drop((sqlite.store(), postgres.store()));
    let of_sqlite = sqlite.query(
        "SELECT m.name, c.name FROM sqlite_schema m JOIN pragma_table_xinfo(m.name) c
          WHERE m.type IN ('table', 'view') AND m.name NOT LIKE 'sqlite_%' ORDER BY m.name, c.cid",
    );
    let of_postgres = postgres.query(
        "SELECT table_name::text, column_name::text FROM information_schema.columns
          WHERE table_schema = current_schema() ORDER BY table_name COLLATE \"C\", ordinal_position",
    );
    assert_eq!(of_postgres, of_sqlite);
}

#[test]
fn a_text_with_a_nul_is_refused_and_nothing_is_written_past_it() {
    let database = Database::postgres();
    let journal = journal_with_sale(OPENS);
    catch_up(&mut write_behind(&journal, &database));
    let before = database.content();
    let id = reservation_id(OPENS, "a\0b", 4);
    journal.push(&[(0, &[held(id, "a\0b", 1)])]);
    let mut write_behind = write_behind(&journal, &database);
    let error = write_behind.step().unwrap_err();
    assert!(error.is_final() && error.to_string().contains("0x00"), "{error}");
    assert_eq!(database.content(), before);
    // Nor is anything locked while it waits for somebody to look.
    database.execute("", "SET lock_timeout = '2s'; BEGIN; LOCK TABLE write_behind, items, reservations; COMMIT");
}

/// As a process that froze while it copied rows: no limit of the server counts while it waits for them.
#[test]
fn a_store_is_taken_from_a_process_that_froze_in_a_copy() {
    let url = server().new_database();
    let (database, journal) = (Database::at(url.clone()), journal_with_sale(OPENS));
    catch_up(&mut write_behind(&journal, &database));
    let (frozen, beside) = (Sql::connect(&url), Sql::connect(&url));
    frozen.run("SET application_name = 'doorbuster'");
    frozen.run("BEGIN; SET LOCAL statement_timeout = 300; SET LOCAL idle_in_transaction_session_timeout = 300");
    frozen.run("UPDATE write_behind SET cursor = cursor + 1");
    let copying = frozen.copy("COPY stock_movements (sale) FROM STDIN");
    beside.run("BEGIN; LOCK TABLE write_behind IN ROW EXCLUSIVE MODE");

    let short = PostgresSettings { statement_time: Duration::from_secs(1), ..settings(&url) };
    let mut later = WriteBehind::new(journal.feed(), store(short).unwrap(), OWNER, single_batches());
    assert!(later.settle().is_err(), "it waits for whom it finds");
    catch_up(&mut later);
    assert_eq!(database.query("SELECT cursor, owner_epoch FROM write_behind"), [["1", "2"]]);
    assert!(frozen.try_run("COMMIT").is_err(), "it is gone");
    drop(copying);
    beside.run("COMMIT");
}

/// What the server says of a row that it refuses quotes the row.
#[test]
fn no_error_names_a_customer_or_says_what_callers_wrote() {
    for in_the_way in [
        "ALTER TABLE reservations ADD CONSTRAINT in_the_way CHECK (customer = 'bob')",
        "ALTER TABLE reservations ADD CONSTRAINT in_the_way CHECK (reference IS NULL)",
        "CREATE UNIQUE INDEX in_the_way ON reservations (customer)",
        "CREATE UNIQUE INDEX in_the_way ON reservations (sale, reference)",
    ] {
        let database = Database::postgres();
        let journal = journal_with_sale(OPENS);
        catch_up(&mut write_behind(&journal, &database));
        database.execute("", in_the_way);
        for entropy in [1, 2] {
            let id = reservation_id(OPENS, "recognisable", entropy << 8);
            let Event::Customer(CustomerEvent::Held(hold)) = held(id, "recognisable", 1) else { unreachable!() };
            journal.push(&[(
                0,
                &[Event::Customer(CustomerEvent::Held(Held { reference: Some("what callers wrote"), ..hold }))],
            )]);
        }
        let error = write_behind(&journal, &database).step().unwrap_err();
        let told = format!("{error} {error:?}");
        assert!(told.contains("in_the_way"), "{told}");
        assert!(!told.contains("recognisable") && !told.contains("what callers wrote"), "{told}");
    }
}

#[test]
fn each_transaction_may_be_of_another_session() {
    let server = server();
    let pooler = Pooler::start(server);
    let direct = server.new_database();
    let name = direct.rsplit_once('/').unwrap().1;
    let pooled = pooler.url(server, name);
    // Several sessions of the pool, so that there are others to change to.
    let others: Vec<_> = (0..3).map(|_| Sql::connect(&pooled)).collect();
    others.iter().for_each(|other| other.run("BEGIN"));
    others.iter().for_each(|other| other.run("COMMIT"));

    let database = Database::at(direct);
    let journal = journal_with_sale(OPENS);
    let ids: Vec<_> = (1..8_u64).map(|entropy| reservation_id(OPENS, "ann", entropy << 8)).collect();
    ids.iter().for_each(|&id| journal.push(&[(0, &[held(id, "ann", 1)])]));
    for &id in &ids {
        journal.push(&[(0, &[Event::Customer(CustomerEvent::Released(ended(id, OPENS, 1, Some("no"))))])]);
    }
    let mut write_behind = WriteBehind::new(journal.feed(), store(settings(&pooled)).unwrap(), OWNER, single_batches());
    catch_up(&mut write_behind);
    assert_eq!(write_behind.status().failures_total(), 0);
    let counts = database.reader().count_by_state().unwrap();
    assert_eq!(counts, StateCounts { released: 7, ..StateCounts::default() });
    // Nothing that a session keeps was left in one: neither statements nor settings.
    for other in others {
        assert_eq!(other.text("SELECT count(*) FROM pg_prepared_statements"), "0");
        let settings = "SELECT count(*) FROM pg_settings WHERE name IN ('jit', 'enable_seqscan') AND setting = 'off'";
        assert_eq!(other.text(settings), "0");
    }
}

#[test]
fn a_cursor_that_was_reported_is_durable_whatever_the_database_prefers() {
    let url = server().new_database();
    let name = url.rsplit_once('/').unwrap().1;
    server().admin().run(&format!("ALTER DATABASE {name} SET synchronous_commit = off"));
    drop(store(settings(&url)).unwrap());
    Sql::connect(&url).run(
        "CREATE TABLE seen (mode text);
         CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS
           $$ BEGIN INSERT INTO seen VALUES (current_setting('synchronous_commit')); RETURN NULL; END $$;
         CREATE TRIGGER note AFTER UPDATE ON write_behind FOR EACH ROW EXECUTE FUNCTION note()",
    );
    catch_up(&mut write_behind(&journal_with_sale(OPENS), &Database::at(url.clone())));
    assert_eq!(Database::at(url).query("SELECT DISTINCT mode FROM seen"), [["on"]]);
}

#[test]
fn a_window_is_looked_up_by_key_whatever_the_planner_knows() {
    let database = Database::postgres();
    let journal = journal_with_sale(OPENS);
    let id = reservation_id(OPENS, "ann", 4);
    journal.push(&[(0, &[held(id, "ann", 1)])]);
    catch_up(&mut write_behind(&journal, &database));
    let fill = "INSERT INTO reservations SELECT gen_random_uuid(), 'drop', 'bob', 'held', NULL, now(), now(), 0
                  FROM generate_series(1, 20000); ANALYZE reservations";
    database.execute("", fill);
    let scans = "SELECT seq_scan FROM pg_stat_user_tables WHERE relid = 'reservations'::regclass";
    let flushed = || database.execute("", "SELECT pg_stat_force_next_flush()");
    flushed();
    let before = database.query(scans);
    journal.push(&[(0, &[Event::Customer(CustomerEvent::Confirmed(ended(id, OPENS, 1, None)))])]);
    catch_up(&mut write_behind(&journal, &database));
    thread::sleep(Duration::from_millis(1500));
    flushed();
    assert_eq!(database.query(scans), before, "no window reads all reservations");
}

/// A server that takes the role `app` by TLS and password alone; its name is `localhost`.
struct Secured {
    server: Server,
    files: tempfile::TempDir,
}

impl Secured {
    fn start() -> Self {
        let server = Server::start(&[]);
        let files = tempfile::tempdir().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let authority = params.self_signed(&key).unwrap();
        fs::write(files.path().join("ca.pem"), authority.pem()).unwrap();
        let issuer = Issuer::new(params, key);
        let key = KeyPair::generate().unwrap();
        let certificate =
            CertificateParams::new(vec!["localhost".to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
        let certificate = server.put_file("server.pem", &certificate.pem());
        let key = server.put_file("server.key", &key.serialize_pem());
        fs::write(
            server.data().join("pg_hba.conf"),
            format!("host all {ROLE} 127.0.0.1/32 trust\nhostssl all app 127.0.0.1/32 scram-sha-256\n"),
        )
        .unwrap();
        let admin = server.admin();
        for set in [
            format!("ssl_cert_file = '{}'", certificate.display()),
            format!("ssl_key_file = '{}'", key.display()),
            "ssl = on".to_owned(),
        ] {
            admin.run(&format!("ALTER SYSTEM SET {set}"));
        }
        admin.run("CREATE ROLE app LOGIN PASSWORD 'right'");
        admin.run("CREATE DATABASE shop OWNER app");
        admin.run("SELECT pg_reload_conf()");
        // The signal is on its way.
        while admin.rows("SHOW ssl")[0].get::<_, &str>(0) != "on" {
            thread::sleep(Duration::from_millis(20));
        }
        Self { server, files }
    }

    fn settings(&self, host: &str, password: Option<Password>) -> PostgresSettings {
        let url = format!("postgres://app@{host}:{}/shop?sslmode=require", self.server.port);
        PostgresSettings { password, ca_file: Some(self.files.path().join("ca.pem")), ..settings(&url) }
    }
}

#[test]
fn a_server_is_known_by_its_certificate_and_knows_us_by_the_password() {
    let secured = Secured::start();
    let given = |text: &str| Some(Password::Given(text.to_owned()));
    let told = |settings: PostgresSettings| match store(settings) {
        Ok(_) => panic!("it was let in"),
        Err(error) => {
            assert!(!error.is_final(), "a password or certificate may be put right while the service runs: {error}");
            error.to_string()
        }
    };
    let mut in_the_clear = secured.settings("localhost", given("right"));
    in_the_clear.url = PostgresUrl::parse(&format!("postgres://app@localhost:{}/shop", secured.server.port)).unwrap();
    assert!(told(in_the_clear).contains("no pg_hba.conf entry"));
    assert!(told(secured.settings("localhost", given("wrong"))).contains("password authentication failed"));
    assert!(told(secured.settings("localhost", None)).contains("password"));
    let other_name = told(secured.settings("127.0.0.1", given("right")));
    assert!(other_name.contains("certificate"), "{other_name}");
    let untrusted = PostgresSettings { ca_file: None, ..secured.settings("localhost", given("right")) };
    let untrusted = told(untrusted);
    assert!(
        untrusted.contains("certificate") || untrusted.contains("trusts no certificate authorities"),
        "{untrusted}"
    );

    // The file is read at each connection.
    let file = secured.files.path().join("password");
    let missing = told(secured.settings("localhost", Some(Password::File(file.clone()))));
    assert!(missing.contains("the password file"), "{missing}");
    fs::write(&file, "right\n").unwrap();
    let mut store = store(secured.settings("localhost", Some(Password::File(file.clone())))).unwrap();
    assert_eq!(store.standing().unwrap().cursor, 0);
    secured.server.admin().run("ALTER ROLE app PASSWORD 'new'");
    assert!(store.reopen().is_err());
    fs::write(&file, "new\n").unwrap();
    store.reopen().unwrap();
    let encrypted = "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE ssl AND usename = 'app'";
    assert_eq!(secured.server.admin().number(encrypted), 1);
}
