//! The configuration from outside: sources in, values or messages out.

use std::{collections::BTreeSet, fs, path::Path};

use figment::value::{Dict, Value};
use tempfile::TempDir;

use super::*;

const EXAMPLE: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/doorbuster.example.toml"));

fn load(file: &str, environment: &[(&str, &str)], flags: Vec<Flag>) -> Result<Loaded, Vec<String>> {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("doorbuster.toml");
    fs::write(&path, file).unwrap();
    let environment = environment.iter().map(|(name, value)| (name.into(), value.into())).collect();
    let told = |error: ConfigErrors| {
        let plain = |error: ConfigError| error.to_string().replace(&path.display().to_string(), "FILE");
        error.0.into_iter().map(plain).collect()
    };
    Sources { file: Some(path.clone()), environment, flags }.load().map_err(told)
}

fn errors(file: &str, environment: &[(&str, &str)]) -> Vec<String> {
    load(file, environment, Vec::new()).expect_err("something is wrong")
}

fn keys_of(sections: &Dict) -> Vec<String> {
    let keys = |(section, values): (&String, &Value)| {
        let keys: Vec<_> = values.as_dict().unwrap().keys().map(|key| format!("{section}.{key}")).collect();
        keys
    };
    sections.iter().flat_map(keys).collect()
}

#[test]
fn nothing_given_is_the_default_and_the_default_is_allowed() {
    assert_eq!(Config::default().check(), []);
    assert_eq!(Sources::default().load().unwrap().config, Config::default());
    assert!(Config::default().warnings().is_empty());
}

#[test]
fn environment_overrides_file_and_options_override_both() {
    let file = "[journal]\nack = \"buffered\"\nflush_ms = 7\n[server]\nworkers = 1\nlisten = \"127.0.0.1:1\"";
    let environment = [
        ("DOORBUSTER_JOURNAL__FLUSH_MS", "8"),
        ("DOORBUSTER_SERVER__LISTEN", "127.0.0.1:2"),
        ("DOORBUSTER_DATA__DIR", "123"),
        ("PATH", "/bin"),
    ];
    let listen = Flag { name: "--listen", section: "server", key: "listen", value: "[::1]:3".to_owned() };
    let loaded = load(file, &environment, vec![listen]).unwrap();
    let Config { server, data, journal, .. } = &loaded.config;
    assert_eq!((journal.ack, journal.flush_ms, server.workers), (Ack::Buffered, 8, 1));
    assert_eq!((server.listen.to_string(), data.dir.as_path()), ("[::1]:3".to_owned(), Path::new("123")));
    assert_eq!(loaded.origins["journal.flush_ms"], Origin::Variable("DOORBUSTER_JOURNAL__FLUSH_MS".to_owned()));
    assert_eq!(loaded.origins["server.listen"], Origin::Flag("--listen"));
    assert!(matches!(loaded.origins["server.workers"], Origin::File(_)));
    assert!(!loaded.origins.contains_key("engine.shards"));
}

#[test]
fn every_mistake_is_told_with_key_value_source_and_what_is_allowed() {
    let file = "tick_ms = 5\n[journal]\nack = \"fast\"\nflush_ms = 0\nflsh_ms = 1\n\
                [limits]\ntick_ms = 4\n[jurnal]\nack = 1\n[engine]\nshards = \"many\"\ntick_ms = [1]";
    let environment = [
        ("DOORBUSTER_ENGINE__TICK_MS", "10ms"),
        ("DOORBUSTER_JOURNAL_ACK", "durable"),
        ("DOORBUSTER_FROBNICATE", "1"),
        ("DOORBUSTER_SERVER__LISTEN", "localhost:8080"),
        ("DOORBUSTER_SERVICE_HOST", "10.0.0.1"),
    ];
    let errors: BTreeSet<_> = errors(file, &environment).into_iter().collect();
    let expected = [
        "engine.shards = \"many\" from file FILE: must be a whole number from 0 to 1024",
        "engine.tick_ms = an array from file FILE: must be a whole number from 1 to 50",
        "journal.flsh_ms in file FILE is unknown: there is no such key; did you mean journal.flush_ms?",
        "limits.tick_ms in file FILE is unknown: there is no such key; did you mean engine.tick_ms?",
        "journal.ack = \"fast\" from file FILE: must be \"durable\" or \"buffered\"",
        "journal.flush_ms = 0 from file FILE: must be a whole number from 1 to 1000",
        "[jurnal] in file FILE is unknown: there is no such section; did you mean journal?",
        "[tick_ms] in file FILE is unknown: there is no such section",
        "engine.tick_ms = \"10ms\" from environment variable DOORBUSTER_ENGINE__TICK_MS: must be a whole number from 1 to \
         50",
        "environment variable DOORBUSTER_JOURNAL_ACK is unknown: it sets no key; did you mean DOORBUSTER_JOURNAL__ACK?",
        "environment variable DOORBUSTER_FROBNICATE is unknown: it sets no key",
        "server.listen = \"localhost:8080\" from environment variable DOORBUSTER_SERVER__LISTEN: must be an IP address \
         and a port, such as \"127.0.0.1:8080\" or \"[::1]:8080\"",
    ];
    assert_eq!(errors, expected.map(str::to_owned).into_iter().collect());
}

#[test]
fn values_that_do_not_fit_together_are_told() {
    let file = "[server]\nlisten = \"0.0.0.0:80\"\nops_listen = \"0.0.0.0:80\"\n\
                [journal]\nsegment_bytes = 1_073_741_824\nmax_backlog_bytes = 2_000_000_000\n\
                [store]\nretry_ms_min = 6000\n[limits]\nitems_max = 10\npath_bytes_max = 60_000\n";
    let errors = errors(file, &[]);
    assert_eq!(errors.len(), 6, "{errors:#?}");
    assert!(errors[0].ends_with("must differ from server.listen, which is 0.0.0.0:80"));
    assert!(errors[1].starts_with("journal.max_backlog_bytes = 2000000000"));
    assert_eq!(
        errors[2],
        "store.retry_ms_max = 5000 from the default: must be at least store.retry_ms_min, which is 6000"
    );
    assert!(errors[3].starts_with("limits.path_bytes_max = 60000"));
    assert!(errors[4].starts_with("limits.items_per_sale_max = 10000 from the default"));
    assert!(errors[5].starts_with("server.listen = \"0.0.0.0:80\" from file FILE: must be a loopback address"));
}

#[test]
fn keys_come_from_file_or_environment_and_open_other_addresses() {
    let hash = crate::auth::mint(7, [1, 2, 3], [4; 32]).hash;
    let file = format!(
        "[server]\nlisten = \"0.0.0.0:80\"\n[auth.keys]\n\
         eu = {{ role = \"checkout\", sales = [\"a-*\", \"b\"], hash = \"{hash}\" }}\n"
    );
    let loaded = load(&file, &[], Vec::new()).unwrap();
    assert!(loaded.config.auth.keys["eu"].sales[0].matches("a-1"));
    assert_eq!(load(&loaded.to_toml(), &[], Vec::new()).unwrap().config, loaded.config);
    let variable = format!("{{ us = {{ role = \"viewer\", hash = \"{hash}\" }} }}");
    let loaded = load(&file, &[("DOORBUSTER_AUTH__KEYS", &variable)], Vec::new()).unwrap();
    assert_eq!(loaded.config.auth.keys["us"].role, crate::auth::Role::Viewer);
    assert_eq!(loaded.config.auth.keys.len(), 1, "the variable stands in the file's place");
    for (key, told) in [
        ("eu = 1", "eu: it must be {"),
        ("eu = { hash = \"x\" }", "hash must be as"),
        (&format!("eu = {{ role = 7, hash = \"{hash}\" }}"), "role must be \"viewer\", \"checkout\", \"operator\""),
        (&format!("eu = {{ hash = \"{hash}\" }}"), "role is required"),
        ("eu = { role = \"viewer\" }", "hash is required"),
        ("eu = { role = \"viewer\", hash = 7 }", "hash must be text"),
        ("eu = { role = \"viewer\", sales = \"a\" }", "sales must be a list"),
        ("eu = { role = \"viewer\", sales = [1] }", "each of sales must be text"),
        ("eu = { role = \"king\", hash = \"x\" }", "king"),
        ("eu = { role = \"viewer\", hash = \"x\" }", "hash must be as `doorbuster keys new` prints it"),
        ("EU = { role = \"viewer\", hash = \"x\" }", "the name \"EU\" must be"),
        (&format!("a = {{ role = \"viewer\", hash = \"{hash}\", sale = [] }}"), "sale"),
        (&format!("a = {{ role = \"viewer\", hash = \"{hash}\", sales = [\"A\"] }}"), "ids of sales"),
        (
            &format!("a = {{ role = \"viewer\", hash = \"{hash}\" }}\nb = {{ role = \"viewer\", hash = \"{hash}\" }}"),
            "are the same key",
        ),
    ] {
        let errors = errors(&format!("[auth.keys]\n{key}\n"), &[]);
        assert!(errors[0].starts_with("auth.keys = ") && errors[0].contains(told), "{errors:?}");
        for word in ["invalid", "expected", "unknown", "missing field", "struct", "type"] {
            assert!(!errors[0].contains(word), "{word:?} in {errors:?}");
        }
    }
}

#[test]
fn a_store_that_cannot_be_used_is_told_without_its_password() {
    let errors = errors("", &[("DOORBUSTER_STORE__URL", "postgres://app:secret@db/x?sslmode=prefer")]);
    assert_eq!(errors.len(), 1);
    assert!(errors[0].contains("sslmode=require") && !errors[0].contains("secret"), "{errors:?}");
    let file = "[store]\nurl = \"postgres://app@db/x\"\npassword_file = \"/run/secrets/db\"";
    let errors = self::errors(file, &[("DOORBUSTER_STORE__PASSWORD", "secret")]);
    assert_eq!(errors.len(), 1);
    assert!(errors[0].starts_with("store.password_file") && !errors[0].contains("secret"), "{errors:?}");
}

/// Neither where it is right, nor where it is wrong, nor where the file cannot be read.
#[test]
fn the_customer_key_is_wanted_with_its_mode_and_never_shown() {
    let key = "c0ffee".repeat(10) + "c0ff";
    let load = |file: &str, environment: &[(&str, &str)]| load(file, environment, Vec::new());
    let file = format!("[privacy]\ncustomer_ids = \"keyed_hash\"\ncustomer_key = \"{key}\"\n");
    let loaded = load(&file, &[]).unwrap();
    let shown = loaded.to_toml();
    assert!(shown.contains("customer_key = \"…\"") && !shown.contains("c0ff"), "{shown}");
    assert!(!format!("{:?}", loaded.config).contains("c0ff"));
    let known = loaded.config.privacy.customer_ids().unwrap();
    let hash = ("DOORBUSTER_PRIVACY__CUSTOMER_IDS", "keyed_hash");
    let by_variable = load("", &[hash, ("DOORBUSTER_PRIVACY__CUSTOMER_KEY", &key)]).unwrap();
    let by_variable = by_variable.config.privacy.customer_ids().unwrap();
    assert_eq!(known.known_as("ann"), by_variable.known_as("ann"));
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("key");
    fs::write(&path, format!("{key}\n")).unwrap();
    let file_key = ("DOORBUSTER_PRIVACY__CUSTOMER_KEY_FILE", path.to_str().unwrap());
    let by_file = load("", &[hash, file_key]).unwrap().config.privacy;
    assert_eq!(known.known_as("ann"), by_file.customer_ids().unwrap().known_as("ann"));
    fs::write(&path, &key[1..]).unwrap();
    let told = by_file.customer_ids().err().unwrap().to_string();
    assert!(told.contains("64 hexadecimal digits") && !told.contains("c0ff"), "{told}");

    let keyed = "[privacy]\ncustomer_ids = \"keyed_hash\"\n";
    for (file, told) in [
        (keyed.to_owned(), "needs a key"),
        (format!("{keyed}customer_key = \"{key}\"\ncustomer_key_file = \"x\"\n"), "not both"),
        (format!("[privacy]\ncustomer_key = \"{key}\"\n"), "must be \"keyed_hash\""),
        (format!("{keyed}customer_key = \"{}\"\n", &key[1..]), "64 hexadecimal digits"),
        (format!("{keyed}customer_key = \"{key}00\"\n"), "64 hexadecimal digits"),
        (format!("{keyed}customer_key = [\"{key}\"]\n"), "64 hexadecimal digits"),
        (format!("{keyed}customer_key = {key}\n"), "is not valid TOML"),
        (format!("{keyed}customer_key = \"{key}\n"), "is not valid TOML"),
        ("[privacy]\ncustomer_ids = \"hash\"\n".to_owned(), "\"plain\" or \"keyed_hash\""),
    ] {
        let errors = errors(&file, &[]).join("\n");
        assert!(errors.contains(told) && !errors.contains("c0ff"), "{errors}");
    }
}

#[test]
fn a_file_that_is_missing_or_no_toml_is_told() {
    let missing = Sources { file: Some("/nowhere/doorbuster.toml".into()), ..Sources::default() };
    assert!(missing.load().unwrap_err().to_string().starts_with("cannot read the configuration file /nowhere/"));
    let broken = errors("[journal]\nack = durable\n", &[]);
    let told = "FILE is not valid TOML in line 2, which is: ack = durable\nwrite each key as name = value on a line of its own, \
                with text in double quotes, below its [section]";
    assert_eq!(broken, [told]);
    let twice = errors("[log]\nlevel = \"info\"\nlevel = \"warn\"\n", &[]);
    assert!(twice[0].contains("in line 3, which is: level = \"warn\"\n") && twice[0].contains("twice"), "{twice:?}");
    for file in
        ["[log", "= 1", "[log]\nlevel", "[log]\nlevel = \"info", "a = [1,", "x = 1 2", "[]", "\"", "a.b = 1\na = 2"]
    {
        let told = errors(file, &[]).join("\n");
        assert!(told.starts_with("FILE is not valid TOML "), "{told}");
        for word in ["expected", "column", "parse", "invalid", "string", "|", "newline"] {
            let ours = told.split("which is: ").next().unwrap().to_owned() + told.split('\n').next_back().unwrap();
            assert!(!ours.contains(word), "{word:?} in {told}");
        }
    }
}

#[test]
fn what_may_surprise_is_warned_of() {
    let file =
        "[server]\nops_listen = \"0.0.0.0:9464\"\n[engine]\nretention_seconds = 60\n[journal]\nack = \"buffered\"";
    let warnings = load(file, &[], Vec::new()).unwrap().config.warnings();
    let starts: Vec<_> = warnings.iter().map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(starts, ["server.ops_listen", "engine.retention_seconds", "journal.ack"]);
}

#[test]
fn what_is_shown_reads_back_the_same() {
    let file = "[data]\ndir = 'C:\\a \"b\"'\n[log]\nlevel = \"info,doorbuster=debug\"\nformat = \"json\"";
    let loaded = load(file, &[("DOORBUSTER_JOURNAL__ACK", "buffered")], Vec::new()).unwrap();
    let shown = loaded.to_toml();
    assert_eq!(load(&shown, &[], Vec::new()).unwrap().config, loaded.config);
    let told = shown.lines().find(|line| line.starts_with("ack")).unwrap();
    assert!(told.ends_with("# environment variable DOORBUSTER_JOURNAL__ACK"), "{told}");
    assert!(shown.lines().any(|line| line == "flush_ms = 5"));
}

#[test]
fn the_keys_are_the_fields() {
    let Ok(Value::Dict(_, sections)) = Value::serialize(Config::default()) else { panic!("a struct") };
    let listed =
        SECTIONS.iter().flat_map(|(section, keys)| keys.iter().map(move |key| format!("{section}.{}", key.name)));
    let fields: BTreeSet<_> = keys_of(&sections).into_iter().collect();
    // Of webhooks the keys are names.
    let listed = listed.filter(|key| !key.ends_with('.'));
    assert_eq!(listed.collect::<BTreeSet<_>>(), fields);
}

#[test]
fn the_example_holds_every_key_with_its_default() {
    let loaded = load(EXAMPLE, &[], Vec::new()).unwrap();
    assert_eq!(loaded.config, Config::default());
    let Ok(Value::Dict(_, sections)) = Value::serialize(Config::default()) else { panic!("a struct") };
    let set: Vec<_> = loaded.origins.into_keys().collect();
    assert_eq!(set, keys_of(&sections).into_iter().collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>());
}

/// Above each key stands a comment, and in it the key's range.
#[test]
fn the_example_explains_every_key() {
    let mut comment = String::new();
    let mut section = "";
    for line in EXAMPLE.lines() {
        if let Some(text) = line.strip_prefix('#') {
            comment.push_str(text);
        } else if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end_matches(']');
        } else if let Some((name, _)) = line.split_once(" = ") {
            let (_, keys) = SECTIONS.iter().find(|(known, _)| *known == section).unwrap();
            let key = keys.iter().find(|key| key.name == name).unwrap();
            assert!(comment.len() > 20, "{section}.{name} has no comment");
            if let Allowed::Integer { least, most } = key.allowed {
                let ends = |show: fn(u64) -> String| format!("{} to {}", show(least), show(most));
                let shown = [ends(grouped), ends(with_unit)];
                assert!(shown.iter().any(|range| comment.contains(range)), "{section}.{name}: {shown:?} in {comment}");
            }
            if let Allowed::Ratio = key.allowed {
                assert!(comment.contains("0 to 1."), "{section}.{name} has no range in {comment}");
            }
            comment.clear();
        } else {
            comment.clear();
        }
    }
}

/// With an underscore every three digits, from five digits on.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    if digits.len() < 5 {
        return digits;
    }
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push('_');
        }
        grouped.push(digit);
    }
    grouped
}

fn with_unit(bytes: u64) -> String {
    let units = ["bytes", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut value = bytes;
    let mut unit = 0;
    while value >= 1024 && value.is_multiple_of(1024) {
        value /= 1024;
        unit += 1;
    }
    format!("{value} {}", units[unit])
}

#[test]
fn a_ratio_is_any_number_from_0_to_1() {
    let ratio = |text: &str| {
        let file = load(&format!("[tracing]\nsample_ratio = {text}\n"), &[], Vec::new());
        let variable = load("", &[("DOORBUSTER_TRACING__SAMPLE_RATIO", text)], Vec::new());
        let [file, variable] = [file, variable].map(|loaded| loaded.ok().map(|it| it.config.tracing.sample_ratio.0));
        assert_eq!(file, variable, "{text}");
        file
    };
    assert_eq!(["0", "1", "0.25", "1.0", "1e-3"].map(ratio), [0.0, 1.0, 0.25, 1.0, 0.001].map(Some));
    for wrong in ["-0.1", "1.01", "2", "-1", "nan", "inf", "true", "[]"] {
        assert_eq!(ratio(wrong), None, "{wrong}");
    }
    let told = errors("[tracing]\nsample_ratio = 7\n", &[]);
    assert!(told[0].starts_with("tracing.sample_ratio = 7 ") && told[0].ends_with("must be a number from 0 to 1"));
    let loaded = load("[tracing]\nsample_ratio = 0.25\n", &[], Vec::new()).unwrap();
    assert_eq!(load(&loaded.to_toml(), &[], Vec::new()).unwrap().config, loaded.config);
}

#[test]
fn a_collector_is_an_address_without_tls() {
    let judge = |text: &str| load("", &[("DOORBUSTER_TRACING__OTLP_ENDPOINT", text)], Vec::new()).is_ok();
    for right in ["", "http://127.0.0.1:4318", "http://collector:4318/", "http://[::1]:4318", "http://agent"] {
        assert!(judge(right), "{right}");
    }
    for wrong in
        ["127.0.0.1:4318", "https://x:4318", "http://", "http:///", "http://x/v1/traces", "http://a b", "grpc://x"]
    {
        assert!(!judge(wrong), "{wrong}");
    }
    for wrong in ["http://user:secret@x:4318", "http://x:4318?a=b", "http://x:4318#a", "http://x:y", "http://:4318"] {
        assert!(!judge(wrong), "{wrong}");
    }
}

#[test]
fn webhooks_are_told_what_is_wrong_with_them() {
    let file = "[webhooks.orders]\nurl = \"https://orders.example/hooks?token=a\"\nsecret_file = \"/run/secrets/orders\"\n\
                events = [\"reservation.*\", \"item.sold_out\"]\nsales = [\"summer-*\"]\nallow_private_addresses = true\n";
    let loaded = load(file, &[], Vec::new()).unwrap();
    let settings = loaded.config.webhooks.settings();
    assert_eq!((settings[0].name.as_str(), settings[0].park_after.as_secs()), ("orders", 86_400));
    assert!(settings[0].allow_private_addresses && settings[0].events[0].matches("reservation.held"));
    let shown = loaded.to_toml();
    assert!(shown.contains("url = \"https://orders.example/hooks?…\"\n"), "{shown}");
    let mut again = load(&shown, &[], Vec::new()).unwrap().config;
    again.webhooks.0.get_mut("orders").unwrap().url.clone_from(&loaded.config.webhooks.0["orders"].url);
    assert_eq!(again, loaded.config);
    let variable = "{ a = { url = \"http://localhost:9/\", secret_file = \"s\", deliveries_max = 4 } }";
    let by_variable = load(file, &[("DOORBUSTER_WEBHOOKS", variable)], Vec::new()).unwrap().config.webhooks;
    assert_eq!(by_variable.0.keys().collect::<Vec<_>>(), ["a"], "the variable replaces the file's");
    assert_eq!(by_variable.0["a"].deliveries_max, 4);
    let good = "url = \"https://a.example/\"\nsecret_file = \"s\"\n";
    let plain = "[webhooks.orders]\nsecret_file = \"s\"\n";
    for (section, expected, told) in [
        ("[webhooks]\nurl = \"https://a.example/\"", "webhooks.url = one value from ", "such as [webhooks.orders]"),
        ("[webhooks.orders]\nurl = \"https://a.example/\"", "webhooks.orders.secret_file = \"\" from ", "is required"),
        (plain, "webhooks.orders.url = \"\" from ", "is required"),
        (&*format!("{plain}url = \"http://a.example/\""), "webhooks.orders.url = ", "must be an address with https"),
        (
            &*format!("{plain}url = \"https://me:hidden@a.example/\""),
            "webhooks.orders.url = \"…\" from ",
            "must not contain a user name",
        ),
        (&*format!("[webhooks.Orders]\n{good}"), "webhooks.\"Orders\" = a section from ", "must have a name of"),
        (
            &*format!("[webhooks.orders]\n{good}secret = \"hidden\""),
            "webhooks.orders.secret = \"…\" from ",
            "is not a key of a webhook; the keys are url,",
        ),
        (
            &*format!("[webhooks.orders]\n{good}events = [\"order.*\"]"),
            "webhooks.orders.events = [\"order.*\"] from ",
            "must be a type of events or match one",
        ),
        (&*format!("[webhooks.orders]\n{good}events = \"*\""), "webhooks.orders.events = ", "must be a list"),
        (
            &*format!("[webhooks.orders]\n{good}sales = [\"A\"]"),
            "webhooks.orders.sales = [\"A\"] from ",
            "must be a list of ids of sales",
        ),
        (
            &*format!("[webhooks.orders]\n{good}park_after_seconds = 0"),
            "webhooks.orders.park_after_seconds = 0 from ",
            "must be a whole number from 1",
        ),
        (
            &*format!("[webhooks.orders]\n{good}timeout_seconds = 61"),
            "webhooks.orders.timeout_seconds = 61 from ",
            "must be a whole number from 1 to 60",
        ),
        (
            &*format!("[webhooks.orders]\n{good}allow_private_addresses = 1"),
            "webhooks.orders.allow_private_addresses = 1 from ",
            "must be true or false",
        ),
    ] {
        let errors = errors(section, &[]);
        assert!(errors.len() == 1 && errors[0].starts_with(expected) && errors[0].contains(told), "{told}: {errors:?}");
        assert!(!errors[0].contains("hidden"), "{errors:?}");
    }
    let two = errors("[webhooks.a]\nurl = \"x\"\n[webhooks.b]\nsecret_file = \"s\"", &[]);
    assert_eq!(two.len(), 3, "each is told: {two:?}");
    let many: String = (0..33).map(|number| format!("[webhooks.w{number}]\n{good}")).collect();
    assert!(errors(&many, &[])[0].contains("at most 32"));
}
