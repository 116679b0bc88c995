//! `coremap-bench load` as users run it: against a real server, and against the same server
//! behind a relay that delays or damages what it answers.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::sync::mpsc;
use std::time::Duration;

/// Starts Coremap with two shards in this process; it lives as long as the test program.
fn server() -> SocketAddr {
    let mut config = coremap::Config::default();
    config.settings.port = 0;
    config.settings.shards = 2;
    config.settings.maxmemory_bytes = 256 << 20;
    let server = coremap::Server::start(config).expect("a server on a free port");
    let address = server.local_addrs()[0];
    std::mem::forget(server);
    address
}

/// What a relay does to the bytes of the server's answers.
#[derive(Clone, Copy)]
enum Fault {
    /// Holds everything back once, when so many bytes have passed.
    Stall {
        after_bytes: usize,
        length: Duration,
    },
    /// Changes one bit of the byte at this place.
    Flip { at_byte: usize },
}

/// A relay for one connection to `server`.
fn relay(server: SocketAddr, fault: Fault) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("the port it got");
    std::thread::spawn(move || {
        let (mut client, _) = listener.accept().expect("the load connects");
        let mut upstream = TcpStream::connect(server).expect("the server listens");
        let (mut requests, mut to_server) = (
            client.try_clone().expect("descriptors"),
            upstream.try_clone().expect("descriptors"),
        );
        std::thread::spawn(move || std::io::copy(&mut requests, &mut to_server));
        let (mut buffer, mut passed_bytes) = (vec![0; 4096], 0);
        while let Ok(len) = upstream.read(&mut buffer)
            && len > 0
        {
            let range = passed_bytes..passed_bytes + len;
            passed_bytes += len;
            match fault {
                Fault::Stall {
                    after_bytes,
                    length,
                } if range.contains(&after_bytes) => stall(length),
                Fault::Flip { at_byte } if range.contains(&at_byte) => {
                    buffer[at_byte - range.start] ^= 1;
                }
                _ => {}
            }
            if client.write_all(&buffer[..len]).is_err() {
                break; // the load has ended
            }
        }
    });
    address
}

/// Does nothing for a while.
fn stall(length: Duration) {
    let (_sender, receiver) = mpsc::channel::<()>();
    let ended = receiver.recv_timeout(length);
    assert!(ended.is_err(), "nobody sends");
}

/// Runs `load`; what it printed, or what it complained about.
fn load(server: SocketAddr, arguments: &[&str]) -> Result<Vec<(String, String)>, String> {
    let output = Command::new(env!("CARGO_BIN_EXE_coremap-bench"))
        .args(["load", "--server", &server.to_string()])
        .args(arguments)
        .output()
        .expect("the program starts");
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    let text = String::from_utf8(output.stdout).expect("text");
    let (names, values) = text
        .trim_end()
        .split_once('\n')
        .expect("a header and a line");
    assert_eq!(names.matches(',').count(), values.matches(',').count());
    let pairs = names.split(',').zip(values.split(','));
    Ok(pairs
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect())
}

fn column(line: &[(String, String)], name: &str) -> u64 {
    let (_, value) = line
        .iter()
        .find(|(found, _)| found == name)
        .expect("a column");
    value
        .parse()
        .unwrap_or_else(|_| panic!("{name} is {value}"))
}

fn file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name)
}

#[test]
fn every_operation_gets_the_replies_that_are_due() {
    let server = server();
    let pid = std::process::id().to_string();
    for operation in [
        "get", "set", "mixed:30", "mget:7", "mset:7", "incr", "ping", "set-del", "del",
    ] {
        for (pipeline, distribution) in [("1", "uniform"), ("100", "zipfian"), ("33", "sequential")]
        {
            let arguments = [
                "--operation",
                operation,
                "--pipeline",
                pipeline,
                "--keys-distribution",
                distribution,
                "--keys",
                "500",
                "--value-len",
                "1..300",
                "--connections",
                "7",
                "--threads",
                "2",
                "--count",
                "5000",
                "--preload",
                "--server-pid",
                &pid,
            ];
            let line = load(server, &arguments).unwrap();
            assert_eq!(column(&line, "commands"), 5000, "{operation}");
            assert_eq!(column(&line, "errors"), 0, "{operation}");
            if !operation.contains("del") {
                assert_eq!(column(&line, "misses"), 0, "{operation}");
            }
            assert!(column(&line, "latency_p50_ns") > 0, "{operation}");
        }
    }
}

#[test]
fn keys_that_are_not_there_are_misses() {
    let arguments = ["--keys", "300", "--count", "1000", "--pipeline", "10"];
    let line = load(server(), &arguments).unwrap();
    assert_eq!(
        (column(&line, "commands"), column(&line, "misses")),
        (1000, 1000)
    );
}

#[test]
fn a_preload_and_a_counted_sequence_send_every_key_once() {
    let server = server();
    let incr = [
        "--operation",
        "incr",
        "--keys",
        "1000",
        "--connections",
        "7",
    ];
    let first = ["--keys-distribution", "sequential", "--count", "1"];
    load(server, &[&incr[..], &["--preload"], &first].concat()).unwrap();
    let order = ["--keys-distribution", "sequential", "--count", "1000"];
    load(server, &[&incr[..], &order].concat()).unwrap();
    // The first key was counted once more, by the run that the preload was for.
    let mut client = TcpStream::connect(server).unwrap();
    for key in [1, 499, 500, 999] {
        write!(client, "GET n{key:015}\r\n").unwrap();
        let mut reply = [0; 7];
        client.read_exact(&mut reply).unwrap();
        assert_eq!(&reply, b"$1\r\n2\r\n", "key {key}");
    }
}

#[test]
fn an_open_loop_counts_from_the_time_a_command_was_due() {
    let fault = Fault::Stall {
        after_bytes: 9 * 500, // about 500 replies, or 250 ms, into the run
        length: Duration::from_millis(400),
    };
    let server = server();
    load(
        server,
        &[
            "--operation",
            "set",
            "--preload",
            "--keys",
            "1000",
            "--count",
            "1",
        ],
    )
    .unwrap();
    let arguments = [
        "--rate",
        "2000",
        "--keys",
        "1000",
        "--connections",
        "1",
        "--pipeline",
        "1",
        "--warm-up-seconds",
        "0",
        "--seconds",
        "1",
    ];
    let line = load(relay(server, fault), &arguments).unwrap();
    // One command met the stall; the 800 that were due meanwhile waited too.
    assert!(column(&line, "latency_max_ns") >= 390_000_000, "{line:?}");
    assert!(column(&line, "latency_p90_ns") >= 200_000_000, "{line:?}");
    assert!(column(&line, "behind_max_ns") >= 200_000_000, "{line:?}");
    assert!(
        column(&line, "commands") + column(&line, "unsent") >= 1900,
        "{line:?}"
    );
}

#[test]
fn an_open_loop_keeps_its_rate_with_many_connections() {
    for arrivals in ["even", "poisson"] {
        let arguments = [
            "--operation",
            "ping",
            "--rate",
            "5000",
            "--arrivals",
            arrivals,
            "--connections",
            "20",
            "--threads",
            "2",
            "--warm-up-seconds",
            "0",
            "--seconds",
            "1",
        ];
        let line = load(server(), &arguments).unwrap();
        let due_count = column(&line, "commands") + column(&line, "unsent");
        assert!((4500..5500).contains(&due_count), "{arrivals}: {line:?}");
    }
}

#[test]
fn one_changed_bit_ends_the_run() {
    let server = server();
    load(
        server,
        &[
            "--operation",
            "set",
            "--preload",
            "--keys",
            "1000",
            "--count",
            "1",
        ],
    )
    .unwrap();
    let fault = Fault::Flip {
        at_byte: 9 * 700 + 5,
    };
    let arguments = ["--keys", "1000", "--connections", "1", "--count", "2000"];
    let said = load(relay(server, fault), &arguments).unwrap_err();
    assert!(
        said.contains("wrong reply") && said.contains("was due"),
        "{said}"
    );
}

#[test]
fn a_run_leaves_the_files_it_was_asked_for() {
    let names = ["load.json", "load.hgrm", "load.csv"].map(file);
    let [json, hgrm, csv] = names.each_ref().map(|path| path.to_str().unwrap());
    let arguments = [
        "--operation",
        "set",
        "--seconds",
        "2",
        "--warm-up-seconds",
        "0",
        "--rate",
        "1000",
        "--keys",
        "1000",
        "--json",
        json,
        "--hgrm",
        hgrm,
        "--interval-csv",
        csv,
    ];
    let line = load(server(), &arguments).unwrap();
    let [json, hgrm, csv] = names.map(|path| std::fs::read_to_string(path).unwrap());
    let commands = column(&line, "commands");
    assert!(
        json.contains(&format!("\"commands\": {commands},")),
        "{json}"
    );
    assert!(
        json.contains("\"rate_per_s\": 1000.0,") && json.ends_with("]\n}\n"),
        "{json}"
    );
    let total = hgrm
        .lines()
        .rev()
        .find_map(|line| line.split_once("Total count    ="));
    let total: u64 = total
        .unwrap()
        .1
        .trim()
        .trim_end_matches(']')
        .parse()
        .unwrap();
    assert!(
        total >= commands && hgrm.contains("1.000000000000"),
        "{hgrm}"
    );
    let rows: Vec<_> = csv
        .lines()
        .skip(1)
        .map(|row| row.split(',').nth(2))
        .collect();
    let counts: Vec<u64> = rows
        .into_iter()
        .map(|count| count.unwrap().parse().unwrap())
        .collect();
    assert_eq!((counts.len(), counts.iter().sum()), (2, commands), "{csv}");
}

#[test]
fn options_that_make_no_sense_are_refused_with_a_reason() {
    let nowhere = SocketAddr::from(([127, 0, 0, 1], 1));
    for (arguments, reason) in [
        (&["--pipeline", "0"][..], "--pipeline wants 1 to 100000"),
        (
            &["--threads", "3", "--connections", "2"],
            "one for each thread",
        ),
        (
            &["--keys", "1000", "--key-len", "4"],
            "a letter and 4 digits",
        ),
        (&["--rate", "0"], "more than none"),
        (&["--arrivals", "poisson"], "wants --rate"),
        (
            &["--operation", "get", "--ttl-seconds", "9"],
            "sets no lifetimes",
        ),
        (
            &["--dialect", "memcached", "--operation", "incr"],
            "not incr",
        ),
        (&["--operation", "gets"], "none of get, set"),
        (&["--operation", "get:3"], "none of get, set"),
        (&["--value-len", "9..3"], "not a length"),
        (&["--seconds", "0"], "want at least 1"),
        (&["--count", "1"], "refused"), // the connection
    ] {
        let said = load(nowhere, arguments).unwrap_err();
        assert!(said.contains(reason), "{arguments:?}: {said}");
    }
}
