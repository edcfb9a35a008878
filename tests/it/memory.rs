//! The bytes that the engine counts are the bytes that the process takes. Other tests in this process would take memory, too.

use std::{env, fs};

use doorbuster::{
    engine::{Engine, Settings},
    journal::Source,
    sale::{audit::Actor, command::Reserve},
};

use crate::support::{OPENING, ask, dice::Dice};

fn resident_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("the kernel tells");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a line of it");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
}

#[test]
fn bytes_that_are_counted_are_those_that_are_taken() {
    assert!(env::var_os("NEXTEST").is_some(), "run this by cargo-nextest, which gives each test a process of its own");
    let skus: Vec<String> = (0..20).map(|number| format!("sku-{number}")).collect();
    let stock: Vec<(&str, u64)> = skus.iter().map(|sku| (sku.as_str(), 1_000_000_000)).collect();
    let sale = ask::sale("drop", &stock);
    let mut dice = Dice::new(7);
    // Kept to the end: what one of them gave back the other would take without growing.
    let mut engines = Vec::new();
    for (lines, text_bytes, customer_bytes, count, least, most) in
        [(1, 0, 10, 400_000_u64, 150.0, 200.0), (20, 255, 64, 40_000, 1600.0, 2000.0)]
    {
        let engine = Engine::new(Settings::default());
        engine.put_sale(OPENING, Actor::Anybody, &sale).value.expect("it may be put");
        let lines: Vec<(&str, u32)> = skus[..lines].iter().map(|sku| (sku.as_str(), 1)).collect();
        let mut payload = Vec::new();
        let mut reserve = |from: u64, until: u64| {
            for number in from..until {
                let customer = format!("{number:0customer_bytes$}");
                let text = format!("{number:0text_bytes$}");
                let texts = (text_bytes > 0).then_some(text.as_str());
                let asked = Reserve { key: texts, reference: texts, ..ask::reserve("drop", &customer, &lines) };
                engine.reserve(OPENING, &asked, dice.throw()).value.expect("there is plenty");
                if number % 1000 == 0 {
                    payload.clear();
                    engine.cut(&mut payload);
                }
            }
        };
        // Buffers that are used again have their size by then, and tables their first cells.
        reserve(0, count / 10);
        let (counted_before, resident_before) = (engine.memory_bytes(), resident_bytes());
        reserve(count / 10, count);
        let counted = (engine.memory_bytes() - counted_before) as f64;
        let taken = (resident_bytes() - resident_before) as f64;
        let each = engine.memory_bytes() as f64 / count as f64;
        println!("{each:.0} bytes each; {:.2} of what is taken", counted / taken);
        assert!((least..most).contains(&each), "{each} bytes each");
        assert!((0.75..1.25).contains(&(counted / taken)), "{counted} bytes are counted where {taken} are taken");
        engines.push(engine);
    }
}
