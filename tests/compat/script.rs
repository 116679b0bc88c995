//! Seeded random scripts over few keys, and the comparison of what two servers answer.
//!
//! Few keys, so that commands meet each other's results; values and numbers from pools that hold
//! the edges (empty, huge, almost a number, large enough to live outside the log). Every other
//! script is sent as one pipeline. What no two servers can agree on to the byte is normalised:
//! the order of KEYS, and times to live, which are compared with a tolerance.

use crate::common::Random;
use crate::common::client::{Client, Value, decode, request, shown};
use crate::common::process::Server;

/// Commands of one script.
const COMMAND_COUNT: usize = 300;
/// How far apart two times to live may be, in milliseconds.
const TOLERANCE_MS: i64 = 5_000;

/// `$k` key, `$v` value, `$n` integer, `$f` float, `$i` index, `$o` offset, `$t` time to live,
/// `$s` and `$m` points in time in seconds and milliseconds, `$p` one that has passed.
const TEMPLATES: &[&str] = &[
    "get $k",
    "get $k",
    "get $k",
    "set $k $v",
    "set $k $v",
    "set $k $v",
    "set $k $v nx",
    "set $k $v xx",
    "set $k $v get",
    "set $k $v nx get",
    "set $k $v ex $t",
    "set $k $v px $t",
    "set $k $v exat $s",
    "set $k $v pxat $m",
    "set $k $v keepttl",
    "set $k $v xx get keepttl",
    "set $k $v nx xx",
    "set $k $v ex $n",
    "set $k $v ex 1 px 1",
    "set $k $v bogus",
    "set $k",
    "setnx $k $v",
    "setex $k $t $v",
    "setex $k $n $v",
    "psetex $k $t $v",
    "getset $k $v",
    "getdel $k",
    "getex $k",
    "getex $k ex $t",
    "getex $k pxat $m",
    "getex $k persist",
    "getex $k ex $n",
    "getex $k bogus",
    "mget $k $k $k $k",
    "mget $k",
    "mset $k $v $k $v $k $v",
    "mset $k $v $k",
    "msetnx $k $v $k $v",
    "msetnx $k $v",
    "append $k $v",
    "append $k $v",
    "strlen $k",
    "getrange $k $i $i",
    "substr $k $i $i",
    "getrange $k $n $i",
    "setrange $k $o $v",
    "setrange $k $i $v",
    "incr $k",
    "incr $k",
    "decr $k",
    "incrby $k $n",
    "decrby $k $n",
    "incrbyfloat $k $f",
    "incrbyfloat $k $v",
    "del $k",
    "del $k $k $k",
    "unlink $k $k",
    "exists $k $k $k",
    "type $k",
    "ttl $k",
    "pttl $k",
    "expire $k $t",
    "expire $k $t nx",
    "expire $k $t xx",
    "expire $k $t gt",
    "expire $k $t lt",
    "expire $k $t nx gt",
    "expire $k $n",
    "pexpire $k $t",
    "expireat $k $s",
    "pexpireat $k $m",
    "pexpireat $k $p",
    "expireat $k $p",
    "getex $k pxat $p",
    "pexpireat $k $m gt",
    "expiretime $k",
    "pexpiretime $k",
    "persist $k",
    "rename $k $k",
    "renamenx $k $k",
    "copy $k $k",
    "copy $k $k replace",
    "copy $k $k db 0 replace",
    "touch $k $k",
    "keys *",
    "keys *$i*",
    "keys [a-c]*",
    "keys \\{*",
    "dbsize",
    "object encoding $k",
    "echo $v",
    "ping $v",
    "nosuch $k $v",
    "get",
    "get $k $k",
    "object bogus $k",
    "scan bogus",
    "select 0",
    "select 1",
    "select $v",
    "flushall bogus",
];

const KEYS: &[&str] = &[
    "a",
    "b",
    "c",
    "{t}a",
    "{t}b",
    "long-key-0123456789-0123456789",
    "",
    "k\r\n",
];
const VALUES: &[&str] = &[
    "",
    "0",
    "1",
    "-7",
    "42",
    "3.5",
    "-0.1",
    "abc",
    " 1",
    "1 ",
    "01",
    "+5",
    "-0",
    "1e3",
    "nan",
    "inf",
    "0x10",
    "9223372036854775807",
    "-9223372036854775808",
    "9223372036854775808",
    "a longer value, more than 44 bytes of it ...",
    "exactly forty-four bytes, as embstr allows..",
];
const NUMBERS: &[&str] = &[
    "0",
    "1",
    "-1",
    "10",
    "9223372036854775807",
    "-9223372036854775808",
    "9223372036854775808",
    "x",
    "",
];
const FLOATS: &[&str] = &[
    "0.1",
    "-2.5",
    "1e10",
    "3",
    "1e-5",
    "inf",
    "nan",
    "x",
    "1e400",
    "0.30000000000000004",
];
const INDICES: &[&str] = &["0", "1", "2", "-1", "-2", "5", "-100", "100", "40000"];
const OFFSETS: &[&str] = &["0", "1", "10", "100", "-1", "300000", "536870912"];

/// Sends the script of `seed` to both servers; fails at the first difference.
pub(crate) fn compare(ours: &Server, oracle: &Server, protocol: u8, seed: u64) {
    let mut random = Random(seed);
    let commands: Vec<_> = (0..COMMAND_COUNT).map(|_| command(&mut random)).collect();
    let is_pipelined = random.below(2) == 0;
    let mut ours = greeted(ours, protocol);
    let mut oracle = greeted(oracle, protocol);
    if is_pipelined {
        let all: Vec<u8> = commands
            .iter()
            .flat_map(|command| request(command))
            .collect();
        ours.send(&all);
        oracle.send(&all);
    }
    for (index, command) in commands.iter().enumerate() {
        if !is_pipelined {
            ours.send(&request(command));
            oracle.send(&request(command));
        }
        let (found, expected) = (ours.reply(), oracle.reply());
        if !is_same(command, &found, &expected) {
            let history: Vec<_> = commands[..=index]
                .iter()
                .map(|command| line(command))
                .collect();
            panic!(
                "seed {seed}, pipelined: {is_pipelined}\n{}\n  expected {}\n  received {}",
                history.join("\n"),
                cut(&expected),
                cut(&found)
            );
        }
    }
    compare_what_is_left(&mut ours, &mut oracle, seed);
}

/// After a script both must hold the same keys, values and expiries.
fn compare_what_is_left(ours: &mut Client, oracle: &mut Client, seed: u64) {
    let keys = sorted(&ours.ask("KEYS *"));
    assert_eq!(keys, sorted(&oracle.ask("KEYS *")), "seed {seed}");
    for key in keys {
        for name in ["get", "pttl", "object"] {
            let key = key.clone().bytes();
            let command = match name {
                "object" => vec![b"object".to_vec(), b"encoding".to_vec(), key],
                _ => vec![name.as_bytes().to_vec(), key],
            };
            let (found, expected) = (ours.ask_with(&command), oracle.ask_with(&command));
            assert!(
                is_same(&command, &found, &expected),
                "seed {seed}, at the end {}: {} instead of {}",
                line(&command),
                cut(&found),
                cut(&expected)
            );
        }
    }
}

/// A connection of the given protocol to an emptied server.
fn greeted(server: &Server, protocol: u8) -> Client {
    let mut client = server.client();
    client.ask(&format!("HELLO {protocol}"));
    client.expect("FLUSHALL", "+OK\\r\\n");
    client
}

/// One random command.
fn command(random: &mut Random) -> Vec<Vec<u8>> {
    let template = random.pick(TEMPLATES);
    template
        .split(' ')
        .map(|word| argument(word, random))
        .collect()
}

fn argument(word: &str, random: &mut Random) -> Vec<u8> {
    // Far from now, and hardly ever twice the same, so that a millisecond does not decide.
    let ttl = 100_000 + random.below(1 << 30);
    let text = match word {
        "$k" => random.pick(KEYS).to_owned(),
        "$v" => return value(random),
        "$n" => random.pick(NUMBERS).to_owned(),
        "$f" => random.pick(FLOATS).to_owned(),
        "$i" | "*$i*" => word.replace("$i", random.pick(INDICES)),
        "$o" => random.pick(OFFSETS).to_owned(),
        "$t" => ttl.to_string(),
        "$s" => (4_102_444_800 + ttl).to_string(),
        // Gone at once with these commands; with SET, Redis keeps such a key until it looks.
        "$p" => "1000".to_owned(),
        "$m" => (4_102_444_800_000 + ttl).to_string(),
        other => other.to_owned(),
    };
    text.into_bytes()
}

fn value(random: &mut Random) -> Vec<u8> {
    match random.below(60) {
        0 => vec![b'L'; 262_100 + random.below(100)],
        1 => vec![b'M'; 20_000],
        2..8 => (0..random.below(70))
            .map(|_| random.next().to_le_bytes()[0])
            .collect(),
        8..14 => random.below(1000).to_string().into_bytes(),
        _ => random.pick(VALUES).as_bytes().to_vec(),
    }
}

fn is_same(command: &[Vec<u8>], found: &[u8], expected: &[u8]) -> bool {
    if found == expected {
        return true;
    }
    let tolerance = match command[0].as_slice() {
        b"keys" => return sorted(found) == sorted(expected),
        // After INCRBYFLOAT made a whole number, Redis no longer calls it one.
        b"object" => return found == b"$3\r\nint\r\n" && expected == b"$6\r\nembstr\r\n",
        b"pttl" | b"pexpiretime" => TOLERANCE_MS,
        b"ttl" | b"expiretime" => TOLERANCE_MS / 1000,
        _ => return false,
    };
    match (decode(found), decode(expected)) {
        (Some((Value::Integer(a), _)), Some((Value::Integer(b), _))) => {
            a >= 0 && b >= 0 && (a - b).abs() <= tolerance
        }
        _ => false,
    }
}

fn sorted(reply: &[u8]) -> Vec<Value> {
    let (value, _) = decode(reply).expect("it is whole");
    let mut values = match value {
        Value::List(values) => values,
        other => vec![other],
    };
    values.sort_by_key(|value| format!("{value:?}"));
    values
}

/// A command or a reply as one line of bounded length.
fn line(command: &[Vec<u8>]) -> String {
    command
        .iter()
        .map(|word| format!("\"{}\"", cut(word)))
        .collect::<Vec<_>>()
        .join(" ")
}

fn cut(bytes: &[u8]) -> String {
    let more = if bytes.len() > 100 {
        format!("... ({} bytes)", bytes.len())
    } else {
        String::new()
    };
    shown(&bytes[..bytes.len().min(100)]) + &more
}
