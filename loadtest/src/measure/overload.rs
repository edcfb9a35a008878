//! What comes of more than can be done: rate and latency against offered load.

use std::time::Duration;

use crate::{
    Common,
    contenders::{Ask, Contender},
    generator::Pace,
    machine, plot,
    service::{Setup, binary},
};

const STEPS: [f64; 6] = [0.5, 0.8, 1.0, 2.0, 5.0, 10.0];

pub fn run(connections: usize, common: &Common) -> anyhow::Result<()> {
    let binary = binary(common.doorbuster.as_deref())?;
    let running = Contender::Doorbuster(Setup::DURABLE).start(&binary)?;
    let ask = |pace| Ask { connections, pace, warm_up: Duration::from_secs(1), time: common.time(), check: false };
    println!("{}", machine::describe());
    // The rate that a closed loop finds, less what keeping to a schedule needs: a tenth.
    let sustainable = running.measure(&ask(Pace::AsAnswered))?.seen.goodput() * 0.9;
    println!("{sustainable:.0} grants a second can be sustained over {connections} connections\n");
    println!(
        "{:>8} {:>11} {:>11} {:>11} {:>11} {:>16} {:>16}",
        "offered", "offered/s", "answers/s", "granted/s", "given up/s", "p99 of grants ms", "p99 from due ms"
    );
    let (mut goodput, mut latency) = (Vec::new(), Vec::new());
    for step in STEPS {
        let offered = sustainable * step;
        let seen = running.measure(&ask(Pace::PerSecond(offered)))?.seen;
        let p99 = seen.granted.value_at_quantile(0.99) as f64 / 1000.0;
        println!(
            "{step:>7}x {offered:>11.0} {:>11.0} {:>11.0} {:>11.0} {p99:>16.2} {:>16.2}",
            seen.rate(),
            seen.goodput(),
            seen.given_up as f64 / seen.elapsed.as_secs_f64(),
            seen.response.value_at_quantile(0.99) as f64 / 1000.0,
        );
        goodput.push((offered, seen.goodput()));
        latency.push((offered, p99));
    }
    let peak = goodput.iter().map(|point| point.1).fold(0.0, f64::max);
    println!("\nP11  goodput at 10x / peak: {:.3} (target >= 0.9)", goodput[5].1 / peak);
    println!("P11  p99 of grants at 10x / at 0.8x: {:.2} (target <= 3)", latency[5].1 / latency[1].1);
    if let Some(directory) = &common.plots {
        plot::lines(
            &directory.join("overload-rate.svg"),
            "Granted against offered",
            ("requests offered a second", "grants a second"),
            &[("durable", goodput)],
        )?;
        plot::lines(
            &directory.join("overload-latency.svg"),
            "p99 of grants against offered load",
            ("requests offered a second", "milliseconds"),
            &[("durable", latency)],
        )?;
    }
    Ok(())
}
