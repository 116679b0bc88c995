//! Who is given the time of a turn, and how costs travel.

use super::*;
use crate::command::table::find;

fn row(name: &str) -> &'static Row {
    find(name.as_bytes()).expect("a command")
}

fn spent(ns: u64) -> Spent {
    Spent {
        ns,
        keeps_latencies: true,
        ..Spent::default()
    }
}

fn cost(tally: &Tally, name: &str) -> (u64, u64, u64) {
    let mut costs = tally.costs().filter(|(row, _)| row.name == name);
    let (_, cost) = costs.next().expect("it ran");
    let latencies = cost.latencies.as_ref();
    (
        cost.calls,
        cost.ns,
        latencies.map_or(0, |latencies| latencies.count()),
    )
}

#[test]
fn the_commands_of_a_turn_share_its_time() {
    let mut tally = Tally::default();
    for name in ["get", "get", "set", "get"] {
        tally.count(row(name));
    }
    tally.end_turn(spent(4_000));
    tally.count(row("set"));
    tally.end_turn(spent(500));
    assert_eq!(cost(&tally, "get"), (3, 3_000, 3));
    assert_eq!(cost(&tally, "set"), (2, 1_500, 2));
    tally.reset();
    assert_eq!(tally.costs().count(), 0);
}

#[test]
fn a_command_of_several_turns_counts_once_and_has_one_latency() {
    let mut tally = Tally::default();
    let keys = Some(row("keys"));
    tally.count(row("keys"));
    tally.end_turn(Spent {
        unfinished: keys,
        ..spent(1_000)
    });
    tally.count(row("keys"));
    tally.end_turn(Spent {
        resumed: keys,
        ..spent(2_000)
    });
    assert_eq!(cost(&tally, "keys"), (1, 3_000, 0));
    tally.sample(row("keys"), 9_000);
    assert_eq!(cost(&tally, "keys"), (1, 3_000, 1));
}

#[test]
fn what_runs_for_another_core_costs_time_and_counts_there() {
    let mut here = Tally::default();
    here.count(row("set"));
    here.end_service(700);
    here.count(row("get"));
    here.end_turn(spent(100));
    let mut there = Tally::default();
    there.count(row("set"));
    there.end_turn(spent(300));
    there.merge(&here);
    assert_eq!(cost(&there, "set"), (1, 1_000, 1));
}

#[test]
fn costs_and_errors_survive_the_way_to_another_core() {
    let mut tally = Tally::default();
    tally.count(row("get"));
    tally.end_turn(spent(123_456));
    tally.count_error(
        Some(row("incr")),
        b"ERR value is not an integer or out of range\r\n",
    );
    tally.count_error(None, b"ERR unknown command");
    tally.count_error(None, b"AVERYLONGERRORCODE of somebody");
    tally.count_rejected(row("set"));
    let mut bytes = Vec::new();
    tally.write(&mut bytes);
    let copy = Tally::read(&bytes).expect("what was written");
    assert_eq!(copy.rows, tally.rows);
    let errors: Vec<_> = copy.errors().collect();
    assert_eq!(errors, [("AVERYLONGERRORCO", 1), ("ERR", 2)]);
    assert!(Tally::read(&bytes[..bytes.len() - 8]).is_none());
}

#[test]
fn every_row_that_clients_can_name_has_a_number_of_its_own() {
    let mut numbers: Vec<u16> = tallied().map(|row| row.number).collect();
    numbers.sort_unstable();
    let count = u16::try_from(numbers.len()).expect("few");
    assert_eq!(numbers, (1..=count).collect::<Vec<_>>());
    assert_eq!(numbers.len() + 1, TALLIED_COUNT);
}
