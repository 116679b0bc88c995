//! Plays a script to both servers and compares what they answer, then what they hold.

use super::allowed::{self, Likeness};
use super::script::{CLIENT_COUNT, Step, name};
use crate::common::client::{Client, Value, decode, request, shown};
use crate::common::process::Server;

/// The server under test and the one that is right.
pub(crate) struct Pair<'a> {
    pub(crate) ours: &'a Server,
    pub(crate) oracle: &'a Server,
    /// RESP version of the connections.
    pub(crate) protocol: u8,
}

/// What is not the same.
#[derive(Clone, Debug)]
pub(crate) struct Difference {
    /// The step; none if it showed in what was left.
    pub(crate) step: Option<usize>,
    pub(crate) command: Vec<Vec<u8>>,
    pub(crate) found: Vec<u8>,
    pub(crate) expected: Vec<u8>,
}

/// Settings that scripts change, as they are at the beginning.
const RESET: &[&str] = &["CONFIG SET maxmemory 0", "FLUSHALL"];
/// Stands for a reply that did not come.
const CLOSED: &[u8] = b"";
/// Patterns of one script whose whole iterations are compared.
const PATTERN_COUNT_MAX: usize = 8;
/// Most of a reply that a report shows.
const SHOWN_LEN_BYTES: usize = 160;

impl Pair<'_> {
    /// Plays `steps` from an empty keyspace. `succeeded` is told of each step that both servers
    /// answered alike and without an error.
    pub(crate) fn play(
        &self,
        steps: &[Step],
        mut succeeded: impl FnMut(&Step),
    ) -> Result<(), Difference> {
        let mut sides = [self.ours, self.oracle].map(|server| self.connections(server));
        let mut queued = [const { Vec::new() }; CLIENT_COUNT];
        let mut at = 0;
        for row in steps.chunk_by(|a, b| a.client == b.client) {
            let client = row[0].client;
            let [found, expected] = sides.each_mut().map(|side| answers(&mut side[client], row));
            for ((step, found), expected) in row.iter().zip(found).zip(expected) {
                let is_same = is_same(&step.words, &mut queued[client], &found, &expected);
                if !is_same {
                    return Err(Difference {
                        step: Some(at),
                        command: step.words.clone(),
                        found,
                        expected,
                    });
                }
                if expected.first() != Some(&b'-') {
                    succeeded(step);
                }
                at += 1;
            }
        }
        self.compare_what_is_left()?;
        self.compare_iterations(steps)?;
        end(&mut sides)
    }

    fn connections(&self, server: &Server) -> [Client; CLIENT_COUNT] {
        std::array::from_fn(|index| {
            let mut client = server.client();
            client.ask(&format!("HELLO {}", self.protocol));
            if index == 0 {
                RESET
                    .iter()
                    .for_each(|command| client.expect(command, "+OK\\r\\n"));
            }
            client
        })
    }

    /// Both must hold the same keys, values, types, encodings and expiries.
    fn compare_what_is_left(&self) -> Result<(), Difference> {
        let mut ours = self.ours.client();
        let mut oracle = self.oracle.client();
        let keys = compare(&mut ours, &mut oracle, &words(&["KEYS", "*"]))?;
        let keys: Vec<_> = decode(&keys).expect("it is whole").0.list();
        let key_count = keys.len();
        for key in keys {
            let key = key.bytes();
            for question in [&["TYPE"][..], &["GET"], &["PTTL"], &["OBJECT", "ENCODING"]] {
                let mut command = words(question);
                command.push(key.clone());
                compare(&mut ours, &mut oracle, &command)?;
            }
        }
        // Redis may still count what has expired.
        let [found, expected] = [ours.ask("DBSIZE"), format!(":{key_count}\r\n").into_bytes()];
        same_bytes("DBSIZE", found, expected)
    }

    /// Whole iterations here must find what KEYS finds there, for the patterns of the script.
    fn compare_iterations(&self, steps: &[Step]) -> Result<(), Difference> {
        let mut ours = self.ours.client();
        let mut oracle = self.oracle.client();
        let patterns = steps.iter().filter_map(|step| pattern_of(&step.words));
        for pattern in patterns.take(PATTERN_COUNT_MAX) {
            let (mut found, mut cursor) = (Vec::new(), b"0".to_vec());
            loop {
                let scan = [b"SCAN", &cursor[..], b"MATCH", pattern, b"COUNT", b"3"];
                let reply = ours.ask_with(&scan);
                let mut parts = decode(&reply).expect("it is whole").0.list();
                let keys = parts.pop().expect("keys behind the cursor");
                found.extend(keys.list().into_iter().map(Value::bytes));
                cursor = parts.pop().expect("a cursor").bytes();
                if cursor == b"0" {
                    break;
                }
            }
            found.sort_unstable();
            found.dedup();
            let reply = oracle.ask_with(&[b"KEYS", pattern]);
            let expected = decode(&reply).expect("it is whole").0.list();
            let mut expected: Vec<_> = expected.into_iter().map(Value::bytes).collect();
            expected.sort_unstable();
            if found != expected {
                return Err(Difference {
                    step: None,
                    command: vec![b"SCAN".to_vec(), pattern.to_vec()],
                    found: found.join(&b' '),
                    expected: expected.join(&b' '),
                });
            }
        }
        Ok(())
    }
}

/// The pattern of a KEYS or a SCAN.
fn pattern_of(words: &[Vec<u8>]) -> Option<&[u8]> {
    match name(words).as_str() {
        "keys" => words.get(1).map(Vec::as_slice),
        "scan" => {
            let mut pairs = words.windows(2);
            let pair = pairs.find(|pair| pair[0].eq_ignore_ascii_case(b"match"))?;
            Some(&pair[1])
        }
        _ => None,
    }
}

fn words(words: &[&str]) -> Vec<Vec<u8>> {
    words.iter().map(|word| word.as_bytes().to_vec()).collect()
}

fn compare(
    ours: &mut Client,
    oracle: &mut Client,
    command: &[Vec<u8>],
) -> Result<Vec<u8>, Difference> {
    let (found, expected) = (ours.ask_with(command), oracle.ask_with(command));
    if is_same(command, &mut Vec::new(), &found, &expected) {
        return Ok(expected);
    }
    Err(Difference {
        step: None,
        command: command.to_vec(),
        found,
        expected,
    })
}

fn same_bytes(what: &str, found: Vec<u8>, expected: Vec<u8>) -> Result<(), Difference> {
    if found == expected {
        return Ok(());
    }
    Err(Difference {
        step: None,
        command: words(&[what]),
        found,
        expected,
    })
}

/// Each connection takes its leave; nothing may follow the farewell.
fn end(sides: &mut [[Client; CLIENT_COUNT]; 2]) -> Result<(), Difference> {
    for client in 0..CLIENT_COUNT {
        let [found, expected] = sides.each_mut().map(|side| {
            let _ = side[client].try_send(&request(&["QUIT"]));
            side[client].rest()
        });
        same_bytes("QUIT", found, expected)?;
    }
    Ok(())
}

fn answers(client: &mut Client, row: &[Step]) -> Vec<Vec<u8>> {
    let pipeline: Vec<u8> = row.iter().flat_map(|step| request(&step.words)).collect();
    // If the server has closed the connection, that shows below.
    let _ = client.try_send(&pipeline);
    let mut found = client.replies(row.len());
    found.resize(row.len(), CLOSED.to_vec());
    found
}

/// Whether the replies to a command are as alike as they must be. `queued` holds what the
/// connection's transaction has queued so far.
fn is_same(
    command: &[Vec<u8>],
    queued: &mut Vec<Vec<Vec<u8>>>,
    found: &[u8],
    expected: &[u8],
) -> bool {
    if expected == b"+QUEUED\r\n" {
        queued.push(command.to_vec());
        return found == expected;
    }
    let is_transaction_over = matches!(name(command).as_str(), "exec" | "discard" | "reset");
    let ran = match is_transaction_over {
        true => std::mem::take(queued),
        false => Vec::new(),
    };
    if found == expected {
        return true;
    }
    if name(command) == "exec" && !ran.is_empty() {
        return match (elements(found), elements(expected)) {
            (Some(found), Some(expected)) if found.len() == ran.len() => {
                let pairs = found.iter().zip(&expected);
                expected.len() == ran.len()
                    && ran.iter().zip(pairs).all(|(command, (found, expected))| {
                        is_same(command, &mut Vec::new(), found, expected)
                    })
            }
            _ => false,
        };
    }
    is_alike(command, found, expected)
}

fn is_alike(command: &[Vec<u8>], found: &[u8], expected: &[u8]) -> bool {
    if allowed::is_documented(command, found, expected) {
        return true;
    }
    let is_error = found.first() == Some(&b'-') || expected.first() == Some(&b'-');
    match allowed::likeness(command) {
        _ if is_error => false,
        Likeness::Bytes => false,
        Likeness::Kind => kind(found) == kind(expected),
        Likeness::AnyOrder => sorted(found) == sorted(expected),
        Likeness::Near(tolerance) => match (decode(found), decode(expected)) {
            (Some((Value::Integer(a), _)), Some((Value::Integer(b), _))) => {
                a >= 0 && b >= 0 && (a - b).abs() <= tolerance
            }
            _ => false,
        },
    }
}

/// The type of a reply, which its first byte tells, and whether it is null.
fn kind(reply: &[u8]) -> (Option<&u8>, bool) {
    let is_null = matches!(reply, b"$-1\r\n" | b"*-1\r\n" | b"_\r\n");
    (reply.first(), is_null)
}

/// The elements of an array.
fn elements(reply: &[u8]) -> Option<Vec<&[u8]>> {
    let line_len = reply.windows(2).position(|pair| pair == b"\r\n")?;
    let mut rest = reply.strip_prefix(b"*").map(|_| &reply[line_len + 2..])?;
    let mut found = Vec::new();
    while !rest.is_empty() {
        let (element, after) = rest.split_at(decode(rest)?.1);
        found.push(element);
        rest = after;
    }
    Some(found)
}

fn sorted(reply: &[u8]) -> Option<Vec<&[u8]>> {
    let mut found = elements(reply)?;
    found.sort_unstable();
    Some(found)
}

impl Difference {
    /// Differences that look alike, probably of one cause.
    pub(crate) fn signature(&self) -> String {
        let head = |reply: &[u8]| match reply.first() {
            Some(b'-') => shown(&reply[..reply.len().min(30)]),
            other => other.map_or(String::new(), |byte| char::from(*byte).to_string()),
        };
        let name = name(&self.command);
        format!("{name}: {} / {}", head(&self.found), head(&self.expected))
    }
}

/// A command as one line, as a transcript writes it.
pub(crate) fn line(words: &[Vec<u8>]) -> String {
    let quoted = words.iter().map(|word| format!("\"{}\"", cut(word)));
    quoted.collect::<Vec<_>>().join(" ")
}

/// Bytes as a transcript shows them, up to a length.
pub(crate) fn cut(bytes: &[u8]) -> String {
    let more = match bytes.len() {
        0..=SHOWN_LEN_BYTES => String::new(),
        len => format!("... ({len} bytes)"),
    };
    shown(&bytes[..bytes.len().min(SHOWN_LEN_BYTES)]) + &more
}
