//! Byte streams that no honest client sends: pipelines of valid requests, changed where it hurts.
//!
//! The requests are sentences of every command's grammar (`differential/syntax.rs`), with transactions
//! begun and not ended, ended and not begun. What is then changed knows the protocol: lengths and
//! counts become others, line ends go, requests are cut, repeated, laid into one another. So most of
//! a stream still gets past the parser, and what follows a damaged place is read in a state that
//! no test thought of.

use super::syntax::Command;
use super::values;
use crate::common::Random;
use crate::common::client::{Value, request};

/// Most requests of one stream.
const REQUEST_COUNT_MAX: usize = 120;
/// Most changes to one stream.
const CHANGE_COUNT_MAX: usize = 8;
/// Most bytes that one change takes, repeats or puts in.
const PIECE_LEN_BYTES_MAX: usize = 64;
/// What lengths and counts become.
const NUMBERS: &[&str] = &[
    "0",
    "1",
    "2",
    "-1",
    "+1",
    "01",
    "",
    "x",
    "3",
    "65536",
    "1048577",
    "536870912",
    "536870913",
    "2147483648",
    "9223372036854775807",
    "99999999999999999999",
];
/// Commands that are not sent: they end the server, change it for all, or stop everybody.
const UNSENT: &[&str] = &[
    "client|kill",
    "client|pause",
    "config|rewrite",
    "config|set",
    "debug",
    "shutdown",
];
/// What stands between requests now and then.
const BETWEEN: &[&[u8]] = &[
    b"*1\r\n$5\r\nMULTI\r\n",
    b"*1\r\n$4\r\nEXEC\r\n",
    b"*1\r\n$7\r\nDISCARD\r\n",
    b"*2\r\n$5\r\nWATCH\r\n$1\r\na\r\n",
    b"PING inline\r\n",
    b"SET a \"quoted \\x00 words\"\r\n",
    b"\r\n",
    b"*0\r\n",
    b"*-1\r\n",
];

/// Where streams come from.
pub(crate) struct Streams {
    commands: Vec<Command>,
    payloads: Vec<Vec<u8>>,
}

impl Streams {
    /// Streams of the commands in a COMMAND DOCS reply.
    pub(crate) fn new(docs: Value) -> Self {
        let mut commands = Command::all(docs);
        commands.retain(|command| !UNSENT.contains(&command.name.as_str()));
        commands.sort_by(|a, b| a.name.cmp(&b.name));
        Self {
            commands,
            // Nothing that RESTORE takes, and nearly.
            payloads: vec![
                b"\0\xc0\x0c\x0b\0\x01\x02\x03\x04\x05\x06\x07\x08".to_vec(),
                vec![0; 20],
            ],
        }
    }

    /// A hostile stream. `is_sent` decides which commands occur in it.
    pub(crate) fn stream(&self, random: &mut Random, is_sent: impl Fn(&str) -> bool) -> Vec<u8> {
        let mut stream = Vec::new();
        for _ in 0..=random.below(REQUEST_COUNT_MAX) {
            let command = &self.commands[random.below(self.commands.len())];
            if random.below(6) == 0 {
                stream.extend_from_slice(random.pick(BETWEEN));
            }
            if is_sent(&command.name) {
                let sentence = command.sentence(random, &mut |place, random| {
                    values::fill(place, &self.payloads, random)
                });
                stream.extend(request(&sentence.words));
            }
        }
        for _ in 0..random.below(CHANGE_COUNT_MAX) {
            change(&mut stream, random);
        }
        stream
    }
}

/// One change.
fn change(stream: &mut Vec<u8>, random: &mut Random) {
    if stream.is_empty() {
        return;
    }
    let place = random.below(stream.len());
    let end = stream
        .len()
        .min(place + 1 + random.below(PIECE_LEN_BYTES_MAX));
    match random.below(8) {
        0 => stream[place] ^= 1 << random.below(8),
        1 => drop(stream.drain(place..end)),
        2 => {
            let piece = stream[place..end].to_vec();
            let other = random.below(stream.len());
            stream.splice(other..other, piece);
        }
        3 => {
            let piece: Vec<_> = (place..end)
                .map(|_| random.next().to_le_bytes()[0])
                .collect();
            stream.splice(place..place, piece);
        }
        4 => stream.truncate(place),
        _ => change_number(stream, place, random),
    }
}

/// Replaces the next length or count after `place`, or its line end.
fn change_number(stream: &mut Vec<u8>, place: usize, random: &mut Random) {
    let is_mark = |byte: &u8| matches!(byte, b'$' | b'*');
    let Some(mark) = stream[place..].iter().position(is_mark) else {
        return;
    };
    let start = place + mark + 1;
    let Some(len) = stream[start..].iter().position(|byte| *byte == b'\r') else {
        return;
    };
    match random.below(6) {
        0 => drop(stream.remove(start + len)),
        _ => drop(stream.splice(start..start + len, random.pick(NUMBERS).bytes())),
    }
}
