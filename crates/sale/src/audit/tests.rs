use super::*;
use crate::{
    command::{Adjust, AdjustAll, Transfer},
    event::Adjusted,
    ids::{ItemNumber, NAME_BYTES_MAX, PoolNumber, TEXT_BYTES_MAX},
    settings::{Currency, GroupSettings, ItemSettings, PoolSettings, Price, Quota, RateLimits, SaleSettings, Sourcing},
};

const AT: Timestamp = Timestamp::from_millis(1_795_766_400_123);

fn entry(action: Action, detail: &str) -> NewRecord<'static> {
    NewRecord { by: Actor::Key("eu"), action, sale: Some("drop"), sku: None, detail: detail.to_owned() }
}

/// A trail of some records, and their events.
fn lived() -> (Trail, Vec<NewRecord<'static>>) {
    let entries = vec![
        entry(Action::SalePut, r#"{"created":true}"#),
        NewRecord { by: Actor::Anybody, ..entry(Action::SalePause, "{}") },
        entry(Action::SaleResume, "{}"),
        NewRecord { sku: Some("tv"), ..entry(Action::StockAdjust, r#"{"delta":5}"#) },
        NewRecord { by: Actor::Process, sale: None, ..entry(Action::KeysChange, r#"{"keys":1}"#) },
        entry(Action::SaleClose, "{}"),
    ];
    let mut trail = Trail::default();
    for entry in &entries {
        let event = trail.record(AT, entry);
        trail.apply(&event).unwrap();
    }
    (trail, entries)
}

fn records<'a>(entries: &'a [NewRecord<'static>]) -> Vec<Audited<'a>> {
    let mut trail = Trail::default();
    entries
        .iter()
        .map(|entry| {
            let event = trail.record(AT, entry);
            trail.apply(&event).unwrap();
            let CatalogueEvent::Audited(audited) = event else { unreachable!() };
            audited
        })
        .collect()
}

fn walk(records: &[Audited<'_>]) -> Result<Head, Broken> {
    let mut head = Head::default();
    records.iter().try_for_each(|audited| head.follow(audited))?;
    Ok(head)
}

#[test]
fn a_trail_as_it_was_written_holds_and_ends_at_its_head() {
    let (trail, entries) = lived();
    let head = walk(&records(&entries)).unwrap();
    assert_eq!(head, trail.head());
    assert_eq!(head.sequence, 6);
    assert_eq!(head.is_whole(&trail.head()), Ok(()));
    // Kept in journals: must never change.
    assert_eq!(&*head.hash.to_hex(), "f8310d2c6aba110da1db7615591e85324f8e24549590f18cf74a612821e41f0b");
}

#[test]
fn each_byte_of_each_record_is_covered_by_its_hash() {
    let (_, entries) = lived();
    let records = records(&entries);
    for (index, audited) in records.iter().enumerate() {
        let mut bytes = Vec::new();
        audited.encode(&mut bytes);
        let mut refused = 0;
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut changed = bytes.clone();
                changed[at] ^= 1 << bit;
                let Ok(changed) = Audited::decode(&mut Reader::new(&changed)) else {
                    refused += 1;
                    continue;
                };
                let mut trail = records.clone();
                trail[index] = changed;
                let broken = walk(&trail).unwrap_err();
                // A changed number looks like what is missing or too much, anything else like what it is.
                match broken {
                    Broken::Changed { sequence } => assert_eq!(sequence, audited.record.sequence),
                    _ => assert!(at < 8, "byte {at}: {broken}"),
                }
            }
        }
        assert!(refused < bytes.len() * 4, "most changes are read and found out by the hash");
    }
}

#[test]
fn what_is_missing_foreign_or_made_anew_is_told() {
    let (trail, entries) = lived();
    let own = trail.head();
    let records = records(&entries);
    let without = |range: std::ops::Range<usize>| {
        let mut left = records.clone();
        left.drain(range);
        left
    };
    assert_eq!(walk(&without(0..1)), Err(Broken::Missing { first: 1, last: 1 }));
    assert_eq!(walk(&without(2..4)), Err(Broken::Missing { first: 3, last: 4 }));
    let head = walk(&without(4..6)).expect("a tail that is missing shows against the head alone");
    assert_eq!(head.is_whole(&own), Err(Broken::Missing { first: 5, last: 6 }));
    let mut twice = records.clone();
    twice.insert(3, records[2]);
    assert_eq!(walk(&twice), Err(Broken::Foreign { number: "3".into() }));

    // Somebody who knows how hashes are made makes all of them anew.
    let mut other = entries.clone();
    other[3].detail = r#"{"delta":50}"#.into();
    let head = walk(&self::records(&other)).expect("it holds in itself");
    assert_eq!(head.is_whole(&own), Err(Broken::Rewritten { sequence: 6 }));
    other.push(entry(Action::SalePut, "{}"));
    let head = walk(&self::records(&other)).unwrap();
    assert_eq!(head.is_whole(&own), Err(Broken::Foreign { number: "7".into() }));
    // And where only one hash was made anew, the next record gives it away.
    let mut patched = records.clone();
    patched[3] = self::records(&other)[3];
    assert_eq!(walk(&patched), Err(Broken::Changed { sequence: 5 }));
}

#[test]
fn a_trail_that_was_retold_goes_on_as_the_first_would() {
    let (mut trail, _) = lived();
    trail.apply(&CatalogueEvent::KeysNoted { keys: vec![("eu", [1; 16]), ("us", [2; 16])] }).unwrap();
    let mut again = Trail::default();
    trail.export(|event| again.apply(event).unwrap());
    assert_eq!((again.head(), again.keys()), (trail.head(), trail.keys()));
    let next = entry(Action::SalePut, "{}");
    assert_eq!(again.record(AT, &next), trail.record(AT, &next));
    let mut told = 0;
    Trail::default().export(|_| told += 1);
    assert_eq!(told, 0, "a trail without records adds nothing to a snapshot");
}

#[test]
fn actors_and_actions_are_read_as_they_are_told() {
    for actor in [Actor::Key("eu-1"), Actor::Key("anybody"), Actor::Anybody, Actor::Process] {
        assert_eq!(Actor::parse(&actor.to_string()), Some(actor));
    }
    assert_eq!(Actor::parse("root"), None);
    for action in Action::ALL {
        assert_eq!(Action::parse(action.as_str()), Some(action));
        assert_eq!(Action::from_u8(action as u8), Some(action));
    }
    assert_eq!((Action::parse("sale.sell"), Action::from_u8(0)), (None, None));
}

fn settings(items: usize) -> SaleSettings {
    let price = Some(Price { amount: 100, currency: Currency::parse("EUR").unwrap() });
    let item = |number| ItemSettings {
        sku: format!("sku-{number}"),
        initial_stock: 5,
        price,
        customer_limit: None,
        limit_counts_since: None,
        pools: Vec::new(),
        sourcing: None,
        split: None,
        low_stock_at: None,
        group: None,
    };
    SaleSettings {
        id: "drop".into(),
        name: "Drop".into(),
        opens_at: AT,
        closes_at: AT.plus_seconds(60),
        hold_seconds: 300,
        max_extensions: None,
        customer_limit: Some(2),
        late_confirm_seconds: 0,
        hold_budget: None,
        waitlist: None,
        rate_limits: None,
        phases: Vec::new(),
        items: (0..items).map(item).collect(),
    }
}

fn longest_pool(amount: u64) -> PoolSettings {
    let names = |count: usize| (0..count).map(|number| format!("{number:0>64}")).collect::<Vec<_>>();
    PoolSettings {
        id: "p".repeat(64),
        initial_stock: amount,
        tiers: Some(names(64)),
        channels: Some(names(64)),
        shared_at: Some(AT),
        location: Some("l".repeat(64)),
        costs: Some(names(64).into_iter().map(|name| (name, amount)).collect()),
        price: None,
    }
}

fn put(before: Option<&SaleSettings>, after: &SaleSettings) -> serde_json::Value {
    let encoded = serde_json::to_vec(after).unwrap();
    let detail: serde_json::Value = serde_json::from_str(&of_put(before, after)).unwrap();
    assert_eq!(detail["document"], blake3::hash(&encoded).to_hex().as_str());
    detail
}

#[test]
fn a_put_tells_what_it_changed_and_nothing_else() {
    let first = settings(2);
    let mut detail = put(None, &first);
    assert_eq!(detail["created"], true);
    assert_eq!(detail["changed"]["hold_seconds"], serde_json::json!({ "to": 300 }));
    assert_eq!(detail["items_added"], serde_json::json!({ "count": 2, "first": ["sku-0", "sku-1"] }));

    let mut second = settings(3);
    (second.hold_seconds, second.customer_limit, second.max_extensions) = (60, None, Some(1));
    second.items[1].price.as_mut().unwrap().amount = 1;
    second.items[1].customer_limit = Some(1);
    detail = put(Some(&first), &second);
    detail.as_object_mut().unwrap().remove("document");
    let eur = |amount: u64| serde_json::json!({ "amount": amount, "currency": "EUR" });
    let expected = serde_json::json!({
        "created": false,
        "items": 3,
        "changed": {
            "hold_seconds": { "from": 300, "to": 60 },
            "customer_limit": { "from": 2 },
            "max_extensions": { "to": 1 },
        },
        "items_added": { "count": 1, "first": ["sku-2"] },
        "items_changed": { "count": 1, "first": [{
            "sku": "sku-1",
            "changed": { "price": { "from": eur(100), "to": eur(1) }, "customer_limit": { "to": 1 } },
        }] },
    });
    assert_eq!(detail, expected);

    let mut same = put(Some(&second), &second);
    same.as_object_mut().unwrap().remove("document");
    assert_eq!(same, serde_json::json!({ "created": false, "items": 3 }));
}

#[test]
fn a_change_of_keys_tells_names_and_rights_and_nothing_of_the_keys() {
    let facts = |name, role, print| KeyFacts { name, role, sales: vec!["a-*"], channels: vec![], print: [print; 16] };
    let before = BTreeMap::from([("eu".into(), [1; 16]), ("old".into(), [2; 16]), ("us".into(), [3; 16])]);
    let after =
        [facts("eu", "operator", 9), facts("new", "viewer", 4), KeyFacts { sales: vec![], ..facts("us", "x", 3) }];
    let detail: serde_json::Value = serde_json::from_str(&of_keys("reload", &before, &after)).unwrap();
    let sales = serde_json::json!({ "count": 1, "first": ["a-*"] });
    let expected = serde_json::json!({
        "when": "reload",
        "keys": 3,
        "added": { "count": 1, "first": [{ "name": "new", "role": "viewer", "sales": sales }] },
        "changed": { "count": 1, "first": [{ "name": "eu", "role": "operator", "sales": sales }] },
        "removed": { "count": 1, "first": ["old"] },
    });
    assert_eq!(detail, expected);
}

/// Whatever is let in elsewhere: the longest texts, of letters that JSON writes twice as long, and lists without end.
#[test]
fn details_stay_within_their_bound() {
    let longest = |prefix: usize, bytes: usize| format!("{prefix:05}{}", "\"".repeat(bytes - 5));
    let quota = Some(Quota { requests: u32::MAX, window_seconds: 86_400 });
    let document = |amount: u64, name: char| {
        let price = Some(Price { amount, currency: Currency::parse("EUR").unwrap() });
        let item = |number: usize| ItemSettings {
            sku: longest(number, NAME_BYTES_MAX),
            initial_stock: u64::MAX,
            price,
            customer_limit: Some(amount as u32),
            limit_counts_since: Some(AT),
            pools: if !(3..=2990).contains(&number) { vec![longest_pool(amount); 64] } else { Vec::new() },
            sourcing: Some(Sourcing::MostAvailable),
            split: Some(amount > 1),
            low_stock_at: Some(7),
            group: Some(GroupSettings { size: 100, seconds: u32::MAX - amount as u32 % 2 }),
        };
        SaleSettings {
            name: name.to_string().repeat(TEXT_BYTES_MAX),
            closes_at: AT.plus_seconds(60 + amount),
            hold_seconds: u64::MAX - amount,
            max_extensions: Some(amount as u32),
            rate_limits: Some(RateLimits { sale: quota, customer: quota, key: quota }),
            items: (0..3000).map(item).collect(),
            ..settings(0)
        }
    };
    let before = document(1, '"');
    let mut after = document((1 << 53) - 1, '\\');
    after.items.extend((3000..6000).map(|number| ItemSettings { sku: longest(number, 64), ..before.items[5].clone() }));
    let adjusted = Adjusted {
        pool: PoolNumber(0),
        item: ItemNumber(0),
        at: AT,
        delta: i64::MIN,
        reason: Some(&before.name),
        reference: Some(&before.name),
        key: None,
        of_sale: None,
        of_reservation: None,
        stock: u64::MAX,
        available: u64::MAX,
        of_pool: None,
    };
    let change = Adjust {
        sale: "drop",
        sku: &before.items[0].sku,
        pool: Some(&before.items[0].pools[0].id),
        delta: i64::MIN,
        reason: Some(&before.name),
        reference: Some(&before.name),
        key: None,
    };
    let all = AdjustAll { sale: "drop", changes: vec![change; 10_000], key: None };
    let pool = before.items[0].pools[0].id.as_str();
    let (reason, reference) = (Some(before.name.as_str()), Some(before.name.as_str()));
    let transfer =
        Transfer { sale: "drop", sku: "tv", from: pool, to: pool, units: u64::MAX, reason, reference, key: None };
    let names: Vec<String> = (0..5000).map(|number| format!("{number:064}")).collect();
    let sales = vec![names[0].as_str(); 500];
    let key = |name: &'static str| KeyFacts {
        name,
        role: "operator",
        sales: sales.clone(),
        channels: sales.clone(),
        print: [0; 16],
    };
    let known = names.iter().take(3000).map(|name| (name.as_str().into(), [1; 16])).collect();
    let keys: Vec<_> = names[1500..].iter().map(|name| KeyFacts { name, ..key("") }).collect();
    for (what, detail) in [
        ("created", of_put(None, &after)),
        ("replaced", of_put(Some(&before), &after)),
        ("adjusted", of_adjustment(&adjusted, Some(pool))),
        ("adjusted together", of_adjustments(&all)),
        ("transferred", of_transfer(&transfer)),
        ("keys", of_keys("reload", &known, &keys)),
    ] {
        serde_json::from_str::<serde_json::Value>(&detail).unwrap();
        assert!(detail.len() <= DETAIL_BYTES_MAX, "{what}: {} bytes", detail.len());
    }
}
