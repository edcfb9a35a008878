//! Overload: rate and latency against offered load.

use std::time::Duration;

use crate::{
    Common,
    bout::{Ratio, median},
    contenders::{Ask, Contender},
    generator::Pace,
    machine, plot,
    service::{Setup, binary},
};

const STEPS: [f64; 6] = [0.5, 0.8, 1.0, 2.0, 5.0, 10.0];

/// Grants a second, and their p99 in milliseconds.
#[derive(Clone, Copy, Default)]
struct Point {
    goodput: f64,
    p99: f64,
}

pub fn run(connections: usize, common: &Common) -> anyhow::Result<()> {
    let binary = binary(common.doorbuster.as_deref())?;
    let running = Contender::Doorbuster(Setup::DURABLE).start(&binary)?;
    let ask = |pace| Ask { connections, pace, warm_up: Duration::from_secs(1), time: common.time(), check: false };
    println!("{}", machine::describe());
    // The rate that a closed loop finds, less what keeping to a schedule needs: a tenth.
    let sustainable = running.measure(&ask(Pace::AsAnswered))?.seen.goodput() * 0.9;
    println!("the sustainable rate over {connections} connections is {sustainable:.0} grants per second\n");
    println!(
        "{:>8} {:>11} {:>11} {:>11} {:>11} {:>16} {:>16}",
        "offered", "offered/s", "answers/s", "granted/s", "given up/s", "p99 of grants ms", "p99 from due ms"
    );
    let mut rounds: Vec<[Point; STEPS.len()]> = Vec::new();
    for number in 0..common.pairs {
        // Up and down in turn: what changes with time must not look like a matter of the load.
        let mut places: Vec<usize> = (0..STEPS.len()).collect();
        if number % 2 == 1 {
            places.reverse();
        }
        let mut points = [Point::default(); STEPS.len()];
        for place in places {
            let (step, offered) = (STEPS[place], sustainable * STEPS[place]);
            let seen = running.measure(&ask(Pace::PerSecond(offered)))?.seen;
            let point = Point { goodput: seen.goodput(), p99: seen.granted.value_at_quantile(0.99) as f64 / 1000.0 };
            println!(
                "{step:>7}x {offered:>11.0} {:>11.0} {:>11.0} {:>11.0} {:>16.2} {:>16.2}",
                seen.rate(),
                point.goodput,
                seen.given_up as f64 / seen.elapsed.as_secs_f64(),
                point.p99,
                seen.response.value_at_quantile(0.99) as f64 / 1000.0,
            );
            points[place] = point;
        }
        rounds.push(points);
    }
    let over = |of: &dyn Fn(&[Point; STEPS.len()]) -> f64| Ratio { pairs: rounds.iter().map(of).collect() };
    let goodput = over(&|points| points[5].goodput / points.iter().map(|point| point.goodput).fold(0.0, f64::max));
    let latency = over(&|points| points[5].p99 / points[1].p99);
    println!();
    for (what, ratio, target) in
        [("goodput at 10x / the round's peak", goodput, ">= 0.9"), ("p99 of grants at 10x / at 0.8x", latency, "<= 3")]
    {
        let (least, most) = ratio.spread();
        println!(
            "P11  {what}: {:.3} ({least:.3} to {most:.3}, {} rounds; target {target})",
            ratio.median(),
            ratio.pairs.len()
        );
    }
    let (goodput, latency): (Vec<_>, Vec<_>) = (0..STEPS.len())
        .map(|place| {
            let each =
                |of: fn(&Point) -> f64| median(&rounds.iter().map(|points| of(&points[place])).collect::<Vec<_>>());
            let offered = sustainable * STEPS[place];
            ((offered, each(|point| point.goodput)), (offered, each(|point| point.p99)))
        })
        .unzip();
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
