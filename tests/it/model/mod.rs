//! The service against a naive model of it: random sequences of everything that can be asked or can happen, answers and
//! state compared after each command.
//!
//! `DOORBUSTER_MODEL_COMMANDS` sets how many commands are run (default 300,000).

mod commands;
mod compare;
mod documents;
mod life;
mod naive;
mod tally;
mod waiting;
mod world;

use std::{
    env,
    sync::{Mutex, PoisonError},
};

use proptest::{
    strategy::Strategy,
    test_runner::{Config, TestRunner},
};

use self::{
    commands::SHARDS,
    tally::{OUTCOMES, Tally},
    world::World,
};

const DEFAULT_COMMANDS: u64 = 300_000;
const SEQUENCE_MOST: usize = 400;

#[test]
fn the_service_answers_as_the_naive_model_does() {
    let wanted = match env::var("DOORBUSTER_MODEL_COMMANDS") {
        Ok(text) => text.parse().expect("DOORBUSTER_MODEL_COMMANDS is a number of commands"),
        Err(_) => DEFAULT_COMMANDS,
    };
    // Each half has proptest's own seed; two, because test machines have at least two cores.
    let halves = [wanted / 2, wanted - wanted / 2];
    let tallies = std::thread::scope(|scope| {
        let halves = halves.map(|half| scope.spawn(move || run_commands(half)));
        halves.map(|half| half.join().expect("the service answers as the model does"))
    });
    let mut tally = Tally::default();
    tallies.iter().for_each(|half| tally.add(half));
    println!("{} commands compared, with these outcomes: {:#?}", tally.commands, tally.outcomes);
    assert!(tally.commands >= wanted, "{wanted} commands were to be compared, and only {} were", tally.commands);
    if wanted >= DEFAULT_COMMANDS {
        let missed: Vec<_> = OUTCOMES.iter().filter(|outcome| !tally.outcomes.contains_key(*outcome)).collect();
        assert!(missed.is_empty(), "the sequences never came to {missed:?}");
    }
}

fn run_commands(wanted: u64) -> Tally {
    let tally = Mutex::new(Tally::default());
    let lock = || tally.lock().unwrap_or_else(PoisonError::into_inner);
    let config =
        Config { failure_persistence: None, max_shrink_iters: 20_000, max_shrink_time: 60_000, ..Config::default() };
    let mut runner = TestRunner::new(config);
    let shards = proptest::sample::select(&SHARDS[..]);
    let sequences = (shards, commands::first_document(), commands::commands(SEQUENCE_MOST));
    while lock().commands < wanted {
        let sequence = sequences.new_tree(&mut runner).expect("nothing is filtered");
        let outcome = runner.run_one(sequence, |(shards, first, commands)| {
            let mut world = World::new(shards, &first);
            for command in &commands {
                world.run(command);
            }
            lock().add(&world.tally);
            Ok(())
        });
        if let Err(failure) = outcome {
            panic!("{failure}");
        }
    }
    tally.into_inner().unwrap_or_else(PoisonError::into_inner)
}
