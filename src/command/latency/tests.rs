//! Events of several cores, and histograms.

use super::*;
use crate::command::table::find;
use crate::command::tally::Spent;
use crate::command::tests::Cores;

/// Notes that `event` took `ms` on a core, so many seconds after the cores' time.
fn note(cores: &mut Cores, core: usize, event: Delay, seconds: u64, ms: u64) {
    let now = Now {
        unix_us: cores.now.unix_us + seconds * 1_000_000,
    };
    cores.cores[core].note_event(event, now, ms * 1_000_000);
}

#[test]
fn events_of_all_cores_come_in_the_order_of_time() {
    let mut cores = Cores::new(2);
    note(&mut cores, 0, Delay::Command, 0, 500);
    assert_eq!(cores.run("LATENCY LATEST"), "*0\r\n");
    assert!(
        cores
            .run("LATENCY DOCTOR")
            .contains("latency-monitor-threshold is 0")
    );
    cores.run("CONFIG SET latency-monitor-threshold 10");
    assert!(cores.run("LATENCY DOCTOR").contains("Nothing took 10 ms"));
    note(&mut cores, 0, Delay::Command, 0, 30);
    note(&mut cores, 1, Delay::Command, 2, 20);
    note(&mut cores, 0, Delay::Command, 0, 40);
    note(&mut cores, 0, Delay::Background, 1, 9);
    note(&mut cores, 1, Delay::Background, 1, 10);
    let history = "*2\r\n*2\r\n:1700000000\r\n:40\r\n*2\r\n:1700000002\r\n:20\r\n";
    assert_eq!(cores.run("LATENCY HISTORY command"), history);
    assert_eq!(cores.run("LATENCY HISTORY nosuch"), "*0\r\n");
    let latest = "*2\r\n*4\r\n$10\r\nbackground\r\n:1700000001\r\n:10\r\n:10\r\n\
        *4\r\n$7\r\ncommand\r\n:1700000002\r\n:20\r\n:40\r\n";
    assert_eq!(cores.run("LATENCY LATEST"), latest);
    assert!(
        cores
            .run("LATENCY DOCTOR")
            .contains("command: 2 seconds with spikes")
    );
    assert_eq!(cores.run("LATENCY RESET command nosuch"), ":1\r\n");
    assert_eq!(cores.run("LATENCY RESET"), ":1\r\n");
    assert_eq!(cores.run("LATENCY LATEST"), "*0\r\n");
}

#[test]
fn a_graph_has_a_column_for_each_sample() {
    let mut cores = Cores::new(1);
    let none = "-ERR No samples available for event 'command'\r\n";
    assert_eq!(cores.run("LATENCY GRAPH command"), none);
    cores.run("CONFIG SET latency-monitor-threshold 1");
    for (seconds, ms) in [(0, 10), (1, 20), (2, 120)] {
        note(&mut cores, 0, Delay::Command, seconds, ms);
    }
    cores.now.unix_us += 75_000_000;
    let rule = "-".repeat(80);
    let graph = format!(
        "command - high 120 ms, low 10 ms (all time high 120 ms)\n{rule}\n  #\n  #\n  #\n_o#\n\n\
         111\nmmm\n"
    );
    let reply = cores.run("LATENCY GRAPH command");
    assert_eq!(reply, format!("${}\r\n{graph}\r\n", graph.len()));
}

#[test]
fn histograms_count_up_to_powers_of_two() {
    let mut cores = Cores::new(2);
    for (core, ns) in [(0, 500), (1, 1_500), (1, 3_000_000)] {
        let tally = &mut cores.cores[core].tally;
        tally.count(find(b"get").unwrap());
        tally.end_turn(Spent {
            ns,
            keeps_latencies: true,
            ..Spent::default()
        });
    }
    let get = "$3\r\nget\r\n*4\r\n$5\r\ncalls\r\n:3\r\n$14\r\nhistogram_usec\r\n\
        *6\r\n:1\r\n:1\r\n:2\r\n:2\r\n:4194\r\n:3\r\n";
    assert_eq!(cores.run("LATENCY HISTOGRAM"), format!("*2\r\n{get}"));
    assert_eq!(
        cores.run("LATENCY HISTOGRAM nosuch GET"),
        format!("*2\r\n{get}")
    );
    assert_eq!(cores.run("LATENCY HISTOGRAM set"), "*0\r\n");
}
