//! The differential test: random scripts of everything that Coremap supports, played to it and to
//! redis-server 7.0.15, and compared to the byte.
//!
//! ```text
//! COMMAND DOCS of the oracle ── grammar ──> scripts ──> Coremap ──┐
//!                               values                            ├─ alike? ── no: shrunk, shown
//!                                        └───────────> oracle ────┘
//! ```
//!
//! Replies must be the same bytes but for a list with reasons (`allowed.rs`). After each script both
//! must hold the same keys, values and expiries, and iterate over the same keys. At the end every command and every option token
//! has succeeded at least once. Where no redis-server 7.0 is installed these tests say so and pass,
//! except in CI. `COREMAP_TEST_SEED` repeats a run; a failure prints the seed of its script.

#[path = "differential/allowed.rs"]
mod allowed;
mod common;
#[path = "differential/coverage.rs"]
mod coverage;
#[path = "differential/play.rs"]
mod play;
#[path = "differential/script.rs"]
mod script;
#[path = "differential/shrink.rs"]
mod shrink;
#[path = "differential/syntax.rs"]
mod syntax;
#[path = "differential/values.rs"]
mod values;

use std::collections::{BTreeMap, BTreeSet};

use common::client::Client;
use common::process::Server;
use common::{Random, scale, seed, tell_tried};
use coverage::Coverage;
use play::{Difference, Pair, cut, line};
use script::{Source, Step};
use syntax::Command;

/// The scripts that every change is tried with: what is found by rare chance is for the long run.
const DEFAULT_SEED: u64 = 55;
/// Scripts of one run, each of 300 commands.
const SCRIPT_COUNT: (u64, u64) = (100, 4000);
/// Most failures that one run collects before it shows them.
const FAILURE_COUNT_MAX: usize = 12;

#[test]
fn over_resp2_one_shard_answers_as_redis_does() {
    compare("1", 2);
}

#[test]
fn over_resp3_one_shard_answers_as_redis_does() {
    compare("1", 3);
}

#[test]
fn over_resp2_two_shards_answer_as_redis_does() {
    compare("2", 2);
}

#[test]
fn over_resp3_two_shards_answer_as_redis_does() {
    compare("2", 3);
}

#[test]
fn every_command_documents_the_grammar_that_redis_documents() {
    let Some(oracle) = Server::start_redis(&[]) else {
        return;
    };
    let ours = Server::start(&[]);
    let grammars = |server: &Server| {
        let all = Command::all(server.client().value("COMMAND DOCS"));
        let named = all
            .into_iter()
            .map(|command| (command.name.clone(), command));
        named.collect::<BTreeMap<_, _>>()
    };
    let expected = grammars(&oracle);
    let found = grammars(&ours);
    let differ = found.iter().filter(|(name, command)| {
        expected
            .get(*name)
            .is_some_and(|expected| expected != *command)
            && !allowed::has_grammar_of_its_own(name)
    });
    let names: Vec<_> = differ.map(|(name, _)| name).collect();
    assert!(names.is_empty(), "another grammar: {names:?}");
}

#[test]
fn random_scripts_are_the_same_for_the_same_seed() {
    let Some(oracle) = Server::start_redis(&[]) else {
        return;
    };
    let ours = Server::start(&[]);
    let pair = Pair {
        ours: &ours,
        oracle: &oracle,
        protocol: 2,
    };
    let source = source(&pair);
    let script = || source.script(&mut Random(1));
    let words = |steps: Vec<Step>| steps.into_iter().map(|step| step.words);
    assert!(words(script()).eq(words(script())));
}

fn compare(shards: &str, protocol: u8) {
    let Some(oracle) = Server::start_redis(&[]) else {
        return;
    };
    let ours = Server::start(&["--shards", shards]);
    let pair = Pair {
        ours: &ours,
        oracle: &oracle,
        protocol,
    };
    let source = source(&pair);
    let is_given = std::env::var("COREMAP_TEST_SEED").is_ok();
    let seed = if is_given || scale(false, true) {
        seed()
    } else {
        DEFAULT_SEED
    };
    let mut coverage = Coverage::default();
    let mut failures = BTreeMap::new();
    let mut step_count = 0;
    for round in 0..scale(SCRIPT_COUNT.0, SCRIPT_COUNT.1) {
        let seed = seed.wrapping_add(round);
        let steps = source.script(&mut Random(seed));
        step_count += steps.len();
        if let Err(difference) = pair.play(&steps, |step| coverage.note(step)) {
            let signature = difference.signature();
            failures
                .entry(signature)
                .or_insert((seed, steps, difference));
        }
        if failures.len() == FAILURE_COUNT_MAX {
            break;
        }
    }
    tell_tried(&format!(
        "{step_count} random commands over RESP{protocol}, {shards} shards, as redis-server answers"
    ));
    if !failures.is_empty() {
        panic!("{}", report(&pair, failures.into_values()));
    }
    let missing = coverage
        .complete(&pair, &source, &mut Random(seed))
        .unwrap_or_else(|(steps, found)| panic!("{}", report(&pair, [(seed, steps, found)])));
    assert!(missing.is_empty(), "never succeeded: {missing:#?}");
}

/// What both servers have, but for what is never sent.
fn source(pair: &Pair<'_>) -> Source {
    let names = |client: &mut Client| {
        let all = Command::all(client.value("COMMAND DOCS"));
        all.into_iter().map(|command| command.name)
    };
    let ours: BTreeSet<_> = names(&mut pair.ours.client()).collect();
    let mut oracle = pair.oracle.client();
    let mut commands = Command::all(oracle.value("COMMAND DOCS"));
    commands.retain(|command| ours.contains(&command.name) && allowed::is_tried(&command.name));
    commands.sort_by(|a, b| a.name.cmp(&b.name));
    let payloads = DUMPED.map(|value| {
        oracle.ask_with(&["SET", "k", value]);
        oracle.value("DUMP k").bytes()
    });
    Source {
        commands,
        payloads: payloads.to_vec(),
    }
}

/// Values whose dumps RESTORE is given: each way in which Redis writes a string.
const DUMPED: [&str; 6] = [
    "",
    "12",
    "-70000",
    "2147483647",
    "a word",
    "compressible, compressible, compressible, compressible, compressible, compressible",
];

fn report(
    pair: &Pair<'_>,
    failures: impl IntoIterator<Item = (u64, Vec<Step>, Difference)>,
) -> String {
    let mut text = String::new();
    for (seed, steps, difference) in failures {
        let (steps, difference, fate) = match shrink::shrink(pair, &steps) {
            Some((steps, difference)) => (steps, difference, "shrunk"),
            None => {
                let end = difference.step.map_or(steps.len(), |step| step + 1);
                let tail = steps[end.saturating_sub(20)..end].to_vec();
                (tail, difference, "does not come again; its end is")
            }
        };
        let lines = steps
            .iter()
            .map(|step| format!("{}> {}\n", step.client, line(&step.words)));
        text += &format!(
            "\nscript {seed}, {fate}:\n{}at {}\n  expected {}\n  received {}\n",
            lines.collect::<String>(),
            line(&difference.command),
            cut(&difference.expected),
            cut(&difference.found)
        );
    }
    text
}
