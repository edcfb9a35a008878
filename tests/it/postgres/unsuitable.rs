//! Databases that cannot be a store, and stores that are dropped under a running service: said at once, and followed as soon
//! as they can be.

use std::path::PathBuf;

use serde_json::Value;

use crate::{
    served::{process::Process, wait_until},
    support::postgres::{Server, Sql},
};

struct Shop {
    process: Process,
    server: Server,
    held: i64,
    _directory: tempfile::TempDir,
}

impl Shop {
    /// With a hold in the journal, whatever becomes of the store.
    fn open(server: Server, url: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let data: PathBuf = directory.path().join("data");
        let settings = [
            ("store.url", url.to_owned()),
            ("store.retry_ms_max", "200".to_owned()),
            ("store.linger_ms", "10".to_owned()),
            ("engine.shards", "2".to_owned()),
        ];
        let process = Process::start(&data, &settings);
        process.client().put_open_sale("drop", [("tv", 100)]);
        let mut shop = Self { process, server, held: 0, _directory: directory };
        shop.hold();
        shop
    }

    fn hold(&mut self) {
        self.held += 1;
        self.process.client().hold("drop", &format!("customer-{}", self.held), [("tv", 1)]);
    }

    fn store(&self) -> Value {
        let ready = self.process.ops().get("/readyz");
        assert_eq!(ready.status, 200, "the store is no reason to take no requests: {}", ready.text());
        ready.json()["store"].clone()
    }

    /// Says what it says of the store once it is stuck for this reason.
    #[track_caller]
    fn wait_until_stuck(&self, words: &[&str]) {
        wait_until(words[0], || {
            let store = self.store();
            let error = store["last_error"].as_str().unwrap_or_default();
            store["state"] == "stuck" && words.iter().all(|word| error.contains(word))
        });
        // The log is written by a thread of its own.
        wait_until("it is logged", || {
            let log = self.process.log();
            words.iter().all(|word| log.contains(word))
        });
    }

    #[track_caller]
    fn wait_until_followed(&self, url: &str) {
        wait_until("the store has everything", || {
            let store = self.store();
            store["state"] == "following" && store["lag_epochs"] == 0
        });
        assert_eq!(Sql::connect(url).number("SELECT held FROM items"), self.held);
    }
}

#[test]
fn a_database_of_another_encoding_is_refused_before_anything_is_written() {
    let server = Server::start(&[]);
    server.admin().run("CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'");
    let url = server.url("latin");
    let shop = Shop::open(server, &url);
    shop.wait_until_stuck(&["LATIN1", "ENCODING 'UTF8'"]);
    assert_eq!(Sql::connect(&url).number("SELECT count(*) FROM pg_class WHERE relname = 'reservations'"), 0);
    shop.server.admin().run("DROP DATABASE latin WITH (FORCE)");
    shop.server.admin().run("CREATE DATABASE latin ENCODING 'UTF8' TEMPLATE template0");
    shop.wait_until_followed(&url);
}

#[test]
fn rights_that_are_missing_are_named_and_it_goes_on_when_they_are_granted() {
    let server = Server::start(&[]);
    let url = server.new_database();
    let (_, place) = url.split_once('@').unwrap();
    let seller = format!("postgres://seller@{place}");
    let database = url.rsplit('/').next().unwrap().to_owned();
    server.admin().run("CREATE ROLE seller LOGIN");
    let mut shop = Shop::open(server, &seller);
    shop.wait_until_stuck(&["GRANT CREATE ON SCHEMA"]);
    Sql::connect(&url).run("GRANT CREATE ON SCHEMA public TO seller");
    shop.wait_until_followed(&url);

    // Tables of somebody else, and rights that are taken away while it runs.
    let sql = Sql::connect(&url);
    sql.run("REASSIGN OWNED BY seller TO CURRENT_USER");
    shop.hold();
    shop.wait_until_stuck(&["INSERT on reservations", "UPDATE on write_behind"]);
    sql.run("GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO seller");
    sql.run("GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO seller");
    shop.wait_until_followed(&url);

    shop.server.admin().run(&format!("REVOKE TEMPORARY ON DATABASE {database} FROM PUBLIC"));
    shop.hold();
    shop.server.admin().run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'seller'");
    shop.wait_until_stuck(&["GRANT TEMPORARY ON DATABASE"]);
    shop.server.admin().run(&format!("GRANT TEMPORARY ON DATABASE {database} TO seller"));
    shop.wait_until_followed(&url);
}

#[test]
fn a_store_that_is_dropped_while_nobody_writes_is_noticed_and_made_anew() {
    let server = Server::start(&[]);
    let url = server.new_database();
    let database = url.rsplit('/').next().unwrap().to_owned();
    let mut shop = Shop::open(server, &url);
    shop.wait_until_followed(&url);
    let recreate = "DROP SCHEMA public CASCADE; CREATE SCHEMA public";

    Sql::connect(&url).run(recreate);
    wait_until("it is told", || shop.process.log().contains("tables were dropped"));
    shop.wait_until_followed(&url);

    Sql::connect(&url).run("DROP TABLE reservation_lines CASCADE");
    shop.wait_until_stuck(&["some of the store's tables were dropped", "write_behind"]);
    shop.hold();
    Sql::connect(&url).run(recreate);
    shop.wait_until_followed(&url);

    Sql::connect(&url).run("DELETE FROM write_behind");
    shop.wait_until_stuck(&["write_behind has lost its row"]);
    Sql::connect(&url).run(recreate);
    shop.wait_until_followed(&url);

    shop.server.admin().run(&format!("DROP DATABASE {database} WITH (FORCE)"));
    shop.server.admin().run(&format!("CREATE DATABASE {database}"));
    shop.hold();
    shop.wait_until_followed(&url);
}
