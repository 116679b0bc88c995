//! `coremap cli` beside redis-cli, with the same commands to the same server, byte for byte; and at
//! a terminal, as somebody types.
//!
//! What no server here sends (big numbers, pushes, attributes) comes from a server that answers
//! from a table.

#[path = "cli/canned.rs"]
mod canned;
mod common;
#[path = "cli/terminal.rs"]
mod terminal;

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use common::process::{Folder, Server, coremap, free_port};
use common::{scale, skip_because};
use terminal::Terminal;

/// The forms of output, and the protocols.
const MODES: &[&[&str]] = &[
    &[],
    &["--raw"],
    &["--no-raw"],
    &["--csv"],
    &["--json"],
    &["--quoted-json"],
    &["-2", "--json"],
    &["-3", "--raw"],
    &["-3", "--no-raw"],
    &["-3", "--csv"],
    &["-d", ", ", "-D", ";\n"],
];

#[test]
fn replies_look_as_redis_cli_shows_them() {
    let server = Server::start(&["--shards", "2"]);
    let Some(pair) = Pair::of(server.port) else {
        return;
    };
    pair.alike(&["SET", "text", "a \"b\" \\ \u{e4} \t\n"], "");
    pair.alike(
        &["--quoted-input", "SET", r#""\x01key""#, r#""\xff\x07""#],
        "",
    );
    let commands: &[&[&str]] = &[
        &["GET", "text"],
        &["GET", "nokey"],
        &["--quoted-input", "MGET", r#""\x01key""#, "nokey", "text"],
        &["--quoted-input", "GET", "text"],
        &["-r", "3", "STRLEN", "text"],
        &["-r", "2", "-i", "0.01", "PING"],
        &["INCR", "text"],
        &["NOCOMMAND"],
        &["SET", "text"],
        &["SCAN", "0"],
        &["COMMAND", "COUNT"],
        &["COMMAND", "INFO", "get", "nocommand", "mset"],
        &["COMMAND", "DOCS", "set", "config"],
        &["COMMAND", "LIST"],
        &["CONFIG", "GET", "max*"],
        &["CLUSTER", "INFO"],
        &["CLIENT", "NO-TOUCH"],
        &["ECHO", ""],
        &["--scan"],
        &["--scan", "--pattern", "t*"],
        &["--scan", "--pattern", "none"],
        &["-e", "GET", "text"],
        &["-e", "INCR", "text"],
        &["--no-auth-warning", "DBSIZE"],
    ];
    for mode in MODES {
        for command in commands {
            pair.alike(&[mode, *command].concat(), "");
        }
        pair.alike(&[mode, &["-x", "ECHO"][..]].concat(), "from stdin\n\0");
        pair.alike(
            &[mode, &["-X", "tag", "ECHO", "tag"][..]].concat(),
            "from stdin",
        );
        let lines = "SET n 1\n3 INCR n\n\nNOCOMMAND\nGET \"n\nECHO 'a b'\nexit\nGET n\n";
        pair.alike(mode, lines);
    }
}

#[test]
fn replies_of_every_type_look_as_redis_cli_shows_them() {
    let port = canned::serve(|words| match words.first().map(String::as_str) {
        Some("HELLO") => b"%1\r\n$5\r\nproto\r\n:3\r\n".to_vec(),
        Some("SHOW") => SHOWN[words[1].parse::<usize>().expect("an index")].into(),
        _ => b"-ERR unknown\r\n".to_vec(),
    });
    let Some(pair) = Pair::of(port) else {
        return;
    };
    // redis-cli asks for neither protocol if it is told both.
    for mode in MODES.iter().filter(|mode| !mode.contains(&"-2")) {
        for index in 0..SHOWN.len() {
            let index = index.to_string();
            pair.alike(&[mode, &["-3", "SHOW", &index][..]].concat(), "");
        }
    }
}

/// Replies of the newer protocol, nested in every way that changes how they look.
const SHOWN: &[&str] = &[
    "_\r\n",
    "#t\r\n",
    "#f\r\n",
    ",3.25\r\n",
    ",-inf\r\n",
    "=9\r\ntxt:a\r\nb\n\r\n",
    "%0\r\n",
    "~0\r\n",
    "*0\r\n",
    "~2\r\n:1\r\n*2\r\n$1\r\na\r\n_\r\n",
    "%2\r\n$1\r\na\r\n:1\r\n:2\r\n*0\r\n",
    "%1\r\n+a\r\n*1\r\n*1\r\n:1\r\n",
    "%1\r\n+a\r\n*2\r\n%1\r\n+b\r\n~2\r\n:1\r\n:2\r\n:3\r\n",
    "*2\r\n%2\r\n+a\r\n%2\r\n+b\r\n:1\r\n+c\r\n:2\r\n+d\r\n$-1\r\n-ERR within\r\n",
    "*11\r\n:1\r\n:2\r\n:3\r\n:4\r\n:5\r\n:6\r\n:7\r\n:8\r\n:9\r\n:10\r\n*2\r\n:1\r\n:2\r\n",
    "%1\r\n#t\r\n,1.5\r\n",
    "%1\r\n*1\r\n:1\r\n:1\r\n",
    ">2\r\n+message\r\n+unasked\r\n+OK\r\n",
];

#[test]
fn what_redis_cli_cannot_show_is_shown() {
    let port = canned::serve(|words| match words.first().map(String::as_str) {
        Some("BIG") => b"(123456789012345678901234567890\r\n".to_vec(),
        Some("ATTRIBUTE") => b"|1\r\n+ttl\r\n:1\r\n+OK\r\n".to_vec(),
        _ => b">2\r\n+invalidate\r\n*1\r\n+key\r\n+OK\r\n".to_vec(),
    });
    let port = port.to_string();
    let shown = |arguments: &[&str]| {
        let output = run_cli(&[&["-p", &port, "--no-raw"], arguments].concat(), "");
        String::from_utf8(output.stdout).expect("it is text")
    };
    assert_eq!(
        shown(&["BIG"]),
        "(big number) 123456789012345678901234567890\n"
    );
    assert_eq!(shown(&["ATTRIBUTE"]), "OK\n");
    assert_eq!(shown(&["PING"]), "OK\n");
    assert_eq!(
        shown(&["--show-pushes", "yes", "PING"]),
        "1) invalidate\n2) 1) key\nOK\n"
    );
}

#[test]
fn large_keys_are_found_as_redis_cli_finds_them() {
    let server = Server::start(&["--shards", "2"]);
    let Some(pair) = Pair::of(server.port) else {
        return;
    };
    let keys: String = (0..300)
        .map(|index| format!("SET key:{index} {}\n", "x".repeat(index)))
        .collect();
    assert!(run_cli(&["-p", &pair.port], &keys).status.success());
    // Of two keys of one length either may be the biggest, and types come in any order.
    for tool in [
        &["--bigkeys"][..],
        &["--memkeys"],
        &["--bigkeys", "--pattern", "key:1*"],
    ] {
        let [_, theirs] = pair.outputs(tool, "");
        // A page has as many keys as theirs, so that the progress is the same.
        let ours = run_cli(&[&["-p", &pair.port, "--count", "10"], tool].concat(), "");
        let [ours, theirs] = [ours, theirs].map(|output| {
            let text = String::from_utf8(output.stdout).expect("it is text");
            let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
            lines.sort();
            lines
        });
        assert_eq!(ours, theirs, "{tool:?}");
    }
    let refused = run_cli(&["-p", &pair.port, "--hotkeys"], "");
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).starts_with("coremap: error: ERR "));
}

#[test]
fn mass_insertion_counts_replies_and_errors() {
    let server = Server::start(&["--shards", "2"]);
    let port = server.port.to_string();
    let count = scale(100_000, 3_000_000);
    let mut many = String::new();
    for index in 0..count {
        let key = format!("{index:08}");
        many += &format!("*3\r\n$3\r\nSET\r\n$8\r\n{key}\r\n$1\r\nx\r\n");
    }
    let output = run_cli(&["-p", &port, "--pipe"], &many);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert_eq!(
        said,
        format!(
            "All data transferred. Waiting for the last reply...\n\
             Last reply received from server.\nerrors: 0, replies: {count}\n"
        )
    );
    server.client().expect("DBSIZE", &format!(":{count}\\r\\n"));
    let Some(pair) = Pair::of(server.port) else {
        return;
    };
    for input in [
        "",
        "SET a 1\r\nGET a\r\nNOCOMMAND\r\nINCR 00000001\r\n",
        "PING",
    ] {
        pair.alike(&["--pipe"], input);
    }
}

#[test]
fn a_server_that_stops_answering_a_pipe_is_given_up() {
    let port = canned::serve(|_| Vec::new()).to_string();
    let output = run_cli(
        &["-p", &port, "--pipe", "--pipe-timeout", "0.1"],
        "*1\r\n$4\r\nPING\r\n",
    );
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("no replies for too long"), "{said}");
}

#[test]
fn failures_are_one_line_and_an_exit_code() {
    let server = Server::start(&["--shards", "1", "--requirepass", "secret"]);
    let port = server.port.to_string();
    let nobody = free_port().to_string();
    let cases: &[(&[&str], i32, &str)] = &[
        (&["-p", &nobody, "PING"], 1, "cannot connect to 127.0.0.1:"),
        (&["-s", "/nowhere", "PING"], 1, "cannot connect to /nowhere"),
        (&["-p", &port, "-a", "wrong", "PING"], 1, "WRONGPASS"),
        (&["-p", &port, "--scan"], 1, "NOAUTH"),
        (
            &["-p", &port, "-a", "secret", "-n", "-1", "PING"],
            1,
            "DB index",
        ),
        (
            &["-p", &port, "-a", "secret", "-e", "NOCOMMAND"],
            1,
            "ERR unknown command",
        ),
        (&["-p", "x", "PING"], 2, "-p"),
        (&["--nothing"], 2, "--nothing"),
        (&["-p", &port, "--quoted-input", "\"a"], 2, "not one word"),
        (&["-p", &port, "-X", "tag", "PING"], 2, "no argument"),
        (&["-i", "-1", "PING"], 2, "-i"),
    ];
    for (arguments, code, text) in cases {
        let output = run_cli(arguments, "");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(*code), "{arguments:?}: {said}");
        assert!(
            said.starts_with("coremap: error: ") && said.contains(text),
            "{said}"
        );
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(output.stdout.is_empty());
    }
    let output = run_cli(
        &["-p", &port, "--user", "default", "-a", "secret", "PING"],
        "",
    );
    assert_eq!(output.stdout, b"PONG\n");
}

#[test]
fn arguments_of_a_command_are_never_taken_for_options() {
    let server = Server::start(&["--shards", "1"]);
    let port = server.port.to_string();
    let said = |arguments: &[&str]| run_cli(&[&["-p", &port], arguments].concat(), "").stdout;
    assert_eq!(said(&["ECHO", "--raw=yes"]), b"--raw=yes\n");
    assert_eq!(said(&["ECHO", "-h"]), b"-h\n");
    assert_eq!(said(&["ECHO", "--help"]), b"--help\n");
    assert_eq!(said(&["ECHO", "help"]), b"help\n");
    assert!(said(&["--help"]).starts_with(b"Usage: coremap cli "));
}

#[test]
fn a_reader_that_leaves_early_ends_it_quietly() {
    let server = Server::start(&["--shards", "1"]);
    let command = format!(
        "'{}' cli -p {} -r -1 PING | head -n 3",
        coremap().display(),
        server.port
    );
    let output = Command::new("sh").args(["-c", &command]).output();
    let output = output.expect("there is a shell");
    assert_eq!(output.stdout, b"PONG\nPONG\nPONG\n");
    assert!(output.stderr.is_empty());
}

#[test]
fn latency_and_figures_are_shown_in_their_forms() {
    let server = Server::start(&["--shards", "1"]);
    let port = server.port.to_string();
    let said = |arguments: &[&str]| {
        let output = run_cli(&[&["-p", &port, "-i", "0.05"], arguments].concat(), "");
        String::from_utf8(output.stdout).expect("it is text")
    };
    for (form, separator) in [("--raw", ' '), ("--csv", ',')] {
        let line = said(&["--latency", form]);
        let numbers: Vec<f64> = line
            .trim_end()
            .split(separator)
            .map(|number| number.parse().expect("a number"))
            .collect();
        let [min, max, avg, count] = numbers[..] else {
            panic!("{line}");
        };
        assert!(min <= avg && avg <= max && count >= 1.0, "{line}");
    }
    assert!(said(&["--latency", "--json"]).starts_with("{\"min\": "));
    let command = format!(
        "'{}' cli -p {port} -i 0.01 --stat | head -n 4",
        coremap().display()
    );
    let output = Command::new("sh").args(["-c", &command]).output();
    let text = String::from_utf8(output.expect("there is a shell").stdout).expect("it is text");
    let lines: Vec<&str> = text.lines().collect();
    assert!(
        lines[1].starts_with("keys       mem      clients "),
        "{text}"
    );
    assert_eq!(
        lines[3].split_ascii_whitespace().nth(2),
        Some("1"),
        "{text}"
    );
}

#[test]
fn a_terminal_has_hints_completion_help_and_a_history_of_its_owner() {
    if !Terminal::is_available() {
        return skip_because("util-linux's script is not installed");
    }
    let server = Server::start(&["--shards", "1"]);
    let home = Folder::new();
    let start = || Terminal::start(&format!("-p {}", server.port), home.path());
    let prompt = format!("127.0.0.1:{}> ", server.port);
    let mut terminal = start();
    terminal.expect(&prompt);
    terminal.type_keys("set");
    terminal.expect("\u{1b}[90m key value [NX|XX|IFEQ");
    terminal.type_keys(" greeting \"hello there\"\r");
    terminal.expect("\r\nOK\r\n");
    terminal.type_keys("strl\t");
    terminal.expect("strlen");
    terminal.type_keys(" greeting\r");
    terminal.expect("\r\n(integer) 11\r\n");
    terminal.enter("help getdel");
    terminal.expect("GETDEL key\r\n");
    terminal.expect("group: string\r\n");
    terminal.enter("auth secretword");
    terminal.expect("(error) ERR AUTH");
    terminal.enter("auth \"secretword");
    terminal.expect("Invalid argument(s)\r\n");
    terminal.enter("GET \"unclosed");
    terminal.expect("Invalid argument(s)\r\n");
    terminal.expect(&prompt);
    // Ctrl-C gives up the line.
    terminal.type_keys("FLUSHALL\u{3}");
    terminal.expect(&prompt);
    terminal.enter("exit");
    assert_eq!(terminal.wait(), Some(0));

    let file = home.path().join(".local/state/coremap/history");
    let kept = std::fs::read_to_string(&file).expect("the history is there");
    assert!(kept.contains("set greeting \"hello there\"\n"), "{kept}");
    assert!(!kept.contains("secretword"), "{kept}");
    assert!(!kept.contains("FLUSHALL"), "{kept}");
    let mode = std::fs::metadata(&file)
        .expect("it is there")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);

    let mut terminal = start();
    terminal.expect(&prompt);
    // Up, three times: the unclosed line, help, STRLEN.
    terminal.type_keys("\u{1b}[A\u{1b}[A\u{1b}[A\r");
    terminal.expect("\r\n(integer) 11\r\n");
    terminal.expect(&prompt);
    // Ctrl-D ends it.
    terminal.type_keys("\u{4}");
    assert_eq!(terminal.wait(), Some(0));
}

#[test]
fn a_uri_a_question_and_a_command_say_where_the_server_is_and_who_asks() {
    let options = ["--shards", "1", "--requirepass", "a@b"];
    let server = Server::start(&options);
    let port = server.port.to_string();
    let uri = format!("redis://:a%40b@127.0.0.1:{port}/0");
    assert_eq!(
        run_cli(&["-u", &uri, "ECHO", "there"], "").stdout,
        b"there\n"
    );
    let asking = ["-p", &port, "--askpass", "ECHO", "there"];
    assert_eq!(run_cli(&asking, "a@b\n").stdout, b"there\n");
    assert_eq!(
        run_cli(&["-u", "http://127.0.0.1", "PING"], "")
            .status
            .code(),
        Some(2)
    );
    if !Terminal::is_available() {
        return skip_because("util-linux's script is not installed");
    }
    let home = Folder::new();
    let mut terminal = Terminal::start(&format!("-p {port} --askpass"), home.path());
    terminal.expect("Please input password: ");
    terminal.enter("a@b");
    terminal.expect("***");
    terminal.expect(&format!("127.0.0.1:{port}> "));
    let other = Server::start(&options);
    terminal.enter("SET k first");
    terminal.expect("\r\nOK\r\n");
    terminal.enter(&format!("connect localhost {}", other.port));
    terminal.expect(&format!("localhost:{}> ", other.port));
    terminal.enter("EXISTS k");
    terminal.expect("\r\n(integer) 0\r\n");
    terminal.enter("exit");
    assert_eq!(terminal.wait(), Some(0));
}

#[test]
fn a_terminal_survives_its_server() {
    if !Terminal::is_available() {
        return skip_because("util-linux's script is not installed");
    }
    let home = Folder::new();
    let server = Server::start(&["--shards", "1"]);
    let port = server.port.to_string();
    let prompt = format!("127.0.0.1:{port}> ");
    let mut terminal = Terminal::start(&format!("-p {port}"), home.path());
    terminal.expect(&prompt);
    terminal.enter("SET k first");
    terminal.expect("\r\nOK\r\n");
    drop(server);
    terminal.enter("GET k");
    terminal.expect("error: cannot connect to 127.0.0.1:");
    terminal.expect("not connected> ");
    let _server = Server::start_on(&port, &["--shards", "1"]);
    terminal.enter("SET k second");
    terminal.expect("\r\nOK\r\n");
    terminal.expect(&prompt);
    terminal.enter("exit");
    assert_eq!(terminal.wait(), Some(0));
}

#[test]
fn a_transaction_is_seen_in_the_prompt() {
    if !Terminal::is_available() {
        return skip_because("util-linux's script is not installed");
    }
    let port = canned::serve(|words| match words[0].to_uppercase().as_str() {
        "MULTI" | "DISCARD" | "SELECT" => b"+OK\r\n".to_vec(),
        "EXEC" => b"*1\r\n:1\r\n".to_vec(),
        "COMMAND" => b"-ERR no\r\n".to_vec(),
        _ => b"+QUEUED\r\n".to_vec(),
    });
    let home = Folder::new();
    let mut terminal = Terminal::start(&format!("-p {port}"), home.path());
    terminal.expect(&format!("127.0.0.1:{port}> "));
    for (line, reply, prompt) in [
        ("multi", "OK", "(TX)> "),
        ("incr counter", "QUEUED", "(TX)> "),
        ("exec", "1) (integer) 1", "> "),
        ("select 3", "OK", "[3]> "),
        ("multi", "OK", "[3](TX)> "),
        ("select 5", "OK", "[5](TX)> "),
        ("discard", "OK", "[3]> "),
    ] {
        terminal.enter(line);
        terminal.expect(&format!("\r\n{reply}\r\n"));
        terminal.expect(&format!("127.0.0.1:{port}{prompt}"));
    }
    terminal.enter("exit");
    assert_eq!(terminal.wait(), Some(0));
}

/// `coremap cli` and redis-cli with one server.
struct Pair {
    port: String,
}

impl Pair {
    /// None, with the reason said, if redis-cli is not there.
    fn of(port: u16) -> Option<Self> {
        let version = Command::new("redis-cli").arg("--version").output();
        let is_oracle = version.is_ok_and(|output| output.stdout.starts_with(b"redis-cli 7.0."));
        if !is_oracle {
            skip_because("redis-cli 7.0 is not installed");
        }
        is_oracle.then(|| Self {
            port: port.to_string(),
        })
    }

    /// What ours and theirs do with the same arguments.
    fn outputs(&self, arguments: &[&str], input: &str) -> [Output; 2] {
        let arguments = [&["-p", &self.port], arguments].concat();
        let theirs = run(Path::new("redis-cli"), &arguments, input);
        [run_cli(&arguments, input), theirs]
    }

    /// Fails if stdout or the exit code differ.
    fn alike(&self, arguments: &[&str], input: &str) {
        let [ours, theirs] = self.outputs(arguments, input);
        let text = |output: &Output| String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(
            text(&ours),
            text(&theirs),
            "{arguments:?}, redis-cli on the right"
        );
        assert_eq!(ours.stdout, theirs.stdout, "{arguments:?}");
        assert_eq!(ours.status.code(), theirs.status.code(), "{arguments:?}");
    }
}

fn run_cli(arguments: &[&str], input: &str) -> Output {
    run(&coremap(), &[&["cli"], arguments].concat(), input)
}

/// Runs a program with this on stdin until it ends.
fn run(program: &Path, arguments: &[&str], input: &str) -> Output {
    let mut child = Command::new(program)
        .args(arguments)
        .env_remove("REDISCLI_AUTH")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it can be started");
    let mut stdin = child.stdin.take().expect("it is piped");
    std::thread::scope(|scope| {
        // A program that ends before it has read everything is no failure here.
        scope.spawn(move || drop(stdin.write_all(input.as_bytes())));
        child.wait_with_output().expect("it ends")
    })
}
