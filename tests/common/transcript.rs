//! Transcripts: commands and the exact bytes of their replies, in files that read like a session.
//!
//! ```text
//! # A comment.
//! == a section: a fresh connection and an empty server
//! > SET k v
//! +OK\r\n
//! > TIME
//! ...
//! ```
//!
//! `...` stands for any one reply. A section's title may end in `(resp3)`: the connection says
//! HELLO 3 first; and in `(since 7.2)`: the oracle, a redis-server 7.0, is not asked. The replies
//! in `tests/transcripts/` were recorded from the oracle, and `tests/compat.rs` asks it again.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use super::client::{Client, Value, decode, request, shown};
use super::process::Server;

/// What stands for any reply.
const ANY: &str = "...";
/// Calls that a SCAN of a section's few keys may take: one a shard.
const SCAN_CALL_COUNT_MAX: usize = 8;

/// One file.
pub(crate) struct Transcript {
    pub(crate) path: PathBuf,
    text: String,
}

/// All transcripts, by name.
pub(crate) fn all() -> Vec<Transcript> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts");
    let entries = std::fs::read_dir(folder).expect("the folder is there");
    let mut paths: Vec<PathBuf> = entries
        .map(|entry| entry.expect("it can be listed").path())
        .collect();
    paths.sort();
    let read = |path: PathBuf| Transcript {
        text: std::fs::read_to_string(&path).expect("a transcript is text"),
        path,
    };
    paths.into_iter().map(read).collect()
}

impl Transcript {
    /// Plays the transcript to a server and returns every difference.
    pub(crate) fn differences(&self, server: &Server, is_oracle: bool) -> Vec<String> {
        let mut found = Vec::new();
        self.play(server, is_oracle, |line, command, expected, reply| {
            if expected != ANY && expected != reply {
                let place = format!("{}:{line}: {command}", self.name());
                found.push(format!(
                    "{place}\n  expected {expected}\n  received {reply}"
                ));
            }
        });
        found
    }

    /// Plays the transcript to the oracle and writes its replies into the file.
    pub(crate) fn record(&self, server: &Server) {
        let mut replies = std::collections::BTreeMap::new();
        self.play(server, true, |line, _, expected, reply| {
            let kept = if expected == ANY { ANY } else { &reply };
            replies.insert(line, kept.to_owned());
        });
        let mut text = String::new();
        let mut is_stale = false;
        for (index, line) in self.text.lines().enumerate() {
            let is_marked = line.starts_with(['#', '>', '=']) || line.is_empty();
            if is_marked || !is_stale {
                writeln!(text, "{line}").expect("a string takes any text");
            }
            if is_marked {
                is_stale = replies.contains_key(&(index + 1));
            }
            if let Some(reply) = replies.get(&(index + 1)) {
                writeln!(text, "{reply}").expect("a string takes any text");
            }
        }
        std::fs::write(&self.path, text).expect("the transcript is writable");
    }

    fn name(&self) -> String {
        self.path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned()
    }

    /// Sends every command and hands over its line, itself, what is due and what came.
    fn play(
        &self,
        server: &Server,
        is_oracle: bool,
        mut each: impl FnMut(usize, &str, &str, String),
    ) {
        let lines: Vec<&str> = self.text.lines().collect();
        let mut client = server.client();
        let mut is_skipped = false;
        for (index, line) in lines.iter().enumerate() {
            if let Some(title) = line.strip_prefix("== ") {
                is_skipped = is_oracle && title.contains("(since ");
                client = server.client();
                client.expect("FLUSHALL", "+OK\\r\\n");
                if title.contains("(resp3)") {
                    client.ask("HELLO 3");
                }
            } else if let Some(command) = line.strip_prefix("> ").filter(|_| !is_skipped) {
                let expected = lines.get(index + 1).copied().unwrap_or("");
                let reply = ask(&mut client, command);
                each(index + 1, command, expected, shown(&reply));
            }
        }
    }
}

/// The reply to a command. A SCAN goes on from shard to shard, which the oracle does not have: the
/// keys of its calls stand in one reply.
fn ask(client: &mut Client, command: &str) -> Vec<u8> {
    let mut reply = client.ask(command);
    let Some(arguments) = command.strip_prefix("SCAN ") else {
        return reply;
    };
    let options = arguments.split_once(' ').map_or("", |(_, options)| options);
    let mut found = Vec::new();
    for call in 1..=SCAN_CALL_COUNT_MAX {
        let Some((Value::List(mut parts), _)) = decode(&reply) else {
            break;
        };
        let keys = parts.pop().expect("keys").list();
        let cursor = parts.pop().expect("a cursor").text();
        found.extend(keys.into_iter().map(Value::bytes));
        if cursor == "0" {
            return [&b"*2\r\n$1\r\n0\r\n"[..], &request(&found)].concat();
        }
        if call < SCAN_CALL_COUNT_MAX {
            reply = client.ask(&format!("SCAN {cursor} {options}"));
        }
    }
    reply
}
