//! The two protocols a load can speak: what a command looks like, what answers it, and where an
//! answer ends.
//!
//! `resp` is the protocol of Redis (RESP2), `memcached` the text protocol of memcached. Replies
//! are written here as a server gives them that holds every key, for `check` to compare with.

use std::fmt;
use std::str::FromStr;

use super::keys::write_key;
use super::values::{ValueLens, write_value};

const CRLF: &[u8] = b"\r\n";
/// Ends memcached's list of the values that were found.
const MEMCACHED_END: &[u8] = b"END\r\n";

/// A protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    Resp,
    Memcached,
}

impl FromStr for Dialect {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "resp" => Ok(Self::Resp),
            "memcached" => Ok(Self::Memcached),
            _ => Err(format!("`{text}` is neither resp nor memcached")),
        }
    }
}

impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Resp => "resp",
            Self::Memcached => "memcached",
        })
    }
}

/// One command on keys by their numbers.
pub(crate) enum Command<'a> {
    Ping,
    Get(u64),
    /// Lives for so many seconds, or for ever.
    Set(u64, Option<u64>),
    Del(u64),
    Incr(u64),
    Mget(&'a [u64]),
    Mset(&'a [u64]),
}

/// How keys and values of a run are written.
#[derive(Clone, Debug)]
pub(crate) struct Content {
    pub(crate) key_len_bytes: usize,
    pub(crate) value_lens: ValueLens,
}

impl Content {
    /// Counters have keys of their own, so that other values never stand in their way.
    fn key(&self, out: &mut Vec<u8>, command: &Command<'_>, key: u64) {
        let letter = if matches!(command, Command::Incr(_)) {
            b'n'
        } else {
            b'k'
        };
        write_key(out, letter, key, self.key_len_bytes);
    }

    fn bulk_key(&self, out: &mut Vec<u8>, command: &Command<'_>, key: u64) {
        length(out, b'$', self.key_len_bytes);
        self.key(out, command, key);
        out.extend_from_slice(CRLF);
    }

    fn bulk_value(&self, out: &mut Vec<u8>, key: u64) {
        let len_bytes = self.value_lens.of(key);
        length(out, b'$', len_bytes);
        write_value(out, key, len_bytes);
        out.extend_from_slice(CRLF);
    }

    fn memcached_value(&self, out: &mut Vec<u8>, command: &Command<'_>, key: u64) {
        let len_bytes = self.value_lens.of(key);
        out.extend_from_slice(b"VALUE ");
        self.key(out, command, key);
        out.extend_from_slice(b" 0 ");
        decimal(out, len_bytes as u64);
        out.extend_from_slice(CRLF);
        write_value(out, key, len_bytes);
        out.extend_from_slice(CRLF);
    }
}

impl Dialect {
    /// Appends a command as a client sends it.
    pub(crate) fn request(self, out: &mut Vec<u8>, command: &Command<'_>, content: &Content) {
        match self {
            Self::Resp => resp_request(out, command, content),
            Self::Memcached => memcached_request(out, command, content),
        }
    }

    /// Appends what answers a command where every key is present, and counters are new.
    pub(crate) fn reply(self, out: &mut Vec<u8>, command: &Command<'_>, content: &Content) {
        match (self, command) {
            (Self::Resp, Command::Ping) => out.extend_from_slice(b"+PONG\r\n"),
            (Self::Resp, Command::Get(key)) => content.bulk_value(out, *key),
            (Self::Resp, Command::Set(..) | Command::Mset(_)) => out.extend_from_slice(b"+OK\r\n"),
            (Self::Resp, Command::Del(_) | Command::Incr(_)) => out.extend_from_slice(b":1\r\n"),
            (Self::Resp, Command::Mget(keys)) => {
                length(out, b'*', keys.len());
                for key in *keys {
                    content.bulk_value(out, *key);
                }
            }
            (Self::Memcached, Command::Get(key)) => {
                content.memcached_value(out, command, *key);
                out.extend_from_slice(MEMCACHED_END);
            }
            (Self::Memcached, Command::Mget(keys)) => {
                for key in *keys {
                    content.memcached_value(out, command, *key);
                }
                out.extend_from_slice(MEMCACHED_END);
            }
            (Self::Memcached, Command::Set(..)) => out.extend_from_slice(b"STORED\r\n"),
            (Self::Memcached, _) => out.extend_from_slice(b"MN\r\n"),
        }
    }

    /// Whether the dialect has this command.
    pub(crate) fn speaks(self, command: &Command<'_>) -> bool {
        use Command::{Get, Mget, Ping, Set};
        self == Self::Resp || matches!(command, Ping | Get(_) | Set(..) | Mget(_))
    }

    /// Bytes of the first reply of `bytes`; none while it is not all there.
    pub(crate) fn reply_len(self, bytes: &[u8]) -> Result<Option<usize>, String> {
        match self {
            Self::Resp => resp_reply_len(bytes),
            Self::Memcached => memcached_reply_len(bytes),
        }
    }

    /// Whether a whole reply is an error.
    pub(crate) fn is_error(self, reply: &[u8]) -> bool {
        match self {
            Self::Resp => reply.starts_with(b"-"),
            Self::Memcached => {
                let word = reply.split(|byte| matches!(byte, b' ' | b'\r')).next();
                matches!(word, Some(b"ERROR" | b"CLIENT_ERROR" | b"SERVER_ERROR"))
            }
        }
    }

    /// Whether a whole reply says that there is no such key.
    pub(crate) fn is_miss(self, reply: &[u8]) -> bool {
        match self {
            Self::Resp => matches!(reply, b"$-1\r\n" | b"_\r\n"),
            Self::Memcached => reply == MEMCACHED_END,
        }
    }

    /// How many keys a whole reply lacks that are in the one expected; none if it differs from
    /// that in any other way.
    pub(crate) fn missed_count(self, expected: &[u8], reply: &[u8]) -> Option<u64> {
        let (mut due, mut found, mut missed_count) = (expected, reply, 0);
        if self == Self::Resp && expected.starts_with(b"*") {
            let (due_line, found_line) = (line_len(due)?, line_len(found)?);
            if due[..due_line] != found[..found_line] {
                return None;
            }
            (due, found) = (&due[due_line..], &found[found_line..]);
        }
        while !due.is_empty() {
            let (due_value, due_rest) = due.split_at(self.value_len(due)?);
            if let Some(rest) = found.strip_prefix(due_value) {
                found = rest;
            } else if self == Self::Resp {
                let (found_value, rest) = found.split_at(self.value_len(found)?);
                if !self.is_miss(found_value) {
                    return None;
                }
                (found, missed_count) = (rest, missed_count + 1);
            } else {
                missed_count += 1; // memcached lists what it has
            }
            due = due_rest;
        }
        found.is_empty().then_some(missed_count)
    }

    /// Bytes of the first value of a list, or of what ends it.
    fn value_len(self, bytes: &[u8]) -> Option<usize> {
        match self {
            Self::Resp => resp_reply_len(bytes).ok()?,
            Self::Memcached => memcached_value_len(bytes).ok()?,
        }
    }
}

fn resp_request(out: &mut Vec<u8>, command: &Command<'_>, content: &Content) {
    match command {
        Command::Ping => out.extend_from_slice(b"*1\r\n$4\r\nPING\r\n"),
        Command::Get(key) => {
            out.extend_from_slice(b"*2\r\n$3\r\nGET\r\n");
            content.bulk_key(out, command, *key);
        }
        Command::Del(key) => {
            out.extend_from_slice(b"*2\r\n$3\r\nDEL\r\n");
            content.bulk_key(out, command, *key);
        }
        Command::Incr(key) => {
            out.extend_from_slice(b"*2\r\n$4\r\nINCR\r\n");
            content.bulk_key(out, command, *key);
        }
        Command::Set(key, ttl_seconds) => {
            length(out, b'*', if ttl_seconds.is_some() { 5 } else { 3 });
            out.extend_from_slice(b"$3\r\nSET\r\n");
            content.bulk_key(out, command, *key);
            content.bulk_value(out, *key);
            if let Some(seconds) = ttl_seconds {
                out.extend_from_slice(b"$2\r\nEX\r\n");
                let text = seconds.to_string();
                length(out, b'$', text.len());
                out.extend_from_slice(text.as_bytes());
                out.extend_from_slice(CRLF);
            }
        }
        Command::Mget(keys) => {
            length(out, b'*', 1 + keys.len());
            out.extend_from_slice(b"$4\r\nMGET\r\n");
            for key in *keys {
                content.bulk_key(out, command, *key);
            }
        }
        Command::Mset(keys) => {
            length(out, b'*', 1 + 2 * keys.len());
            out.extend_from_slice(b"$4\r\nMSET\r\n");
            for key in *keys {
                content.bulk_key(out, command, *key);
                content.bulk_value(out, *key);
            }
        }
    }
}

fn memcached_request(out: &mut Vec<u8>, command: &Command<'_>, content: &Content) {
    match command {
        Command::Get(key) => {
            out.extend_from_slice(b"get ");
            content.key(out, command, *key);
        }
        Command::Mget(keys) => {
            out.extend_from_slice(b"get");
            for key in *keys {
                out.push(b' ');
                content.key(out, command, *key);
            }
        }
        Command::Set(key, ttl_seconds) => {
            let len_bytes = content.value_lens.of(*key);
            out.extend_from_slice(b"set ");
            content.key(out, command, *key);
            out.extend_from_slice(b" 0 ");
            decimal(out, ttl_seconds.unwrap_or(0));
            out.push(b' ');
            decimal(out, len_bytes as u64);
            out.extend_from_slice(CRLF);
            write_value(out, *key, len_bytes);
        }
        // The meta no-op: the cheapest command that is answered. `speaks` admits no other.
        _ => out.extend_from_slice(b"mn"),
    }
    out.extend_from_slice(CRLF);
}

/// Appends `$12\r\n` or `*12\r\n`.
fn length(out: &mut Vec<u8>, sigil: u8, count: usize) {
    out.push(sigil);
    decimal(out, count as u64);
    out.extend_from_slice(CRLF);
}

fn decimal(out: &mut Vec<u8>, number: u64) {
    let digit_count = number.checked_ilog10().unwrap_or(0) as usize + 1;
    let start = out.len();
    out.resize(start + digit_count, b'0');
    let mut rest = number;
    for digit in out[start..].iter_mut().rev() {
        *digit = b'0' + u8::try_from(rest % 10).expect("a digit");
        rest /= 10;
    }
}

fn resp_reply_len(bytes: &[u8]) -> Result<Option<usize>, String> {
    let Some(line_len) = line_len(bytes) else {
        return Ok(None);
    };
    let line = &bytes[..line_len];
    match line[0] {
        b'+' | b'-' | b':' | b'_' | b',' | b'#' => Ok(Some(line_len)),
        b'$' => Ok(match number(&line[1..])? {
            None => Some(line_len),
            Some(len_bytes) => ends_at(bytes, line_len + len_bytes)?,
        }),
        b'*' => {
            let mut end = line_len;
            for _ in 0..number(&line[1..])?.unwrap_or(0) {
                match resp_reply_len(&bytes[end..])? {
                    Some(len_bytes) => end += len_bytes,
                    None => return Ok(None),
                }
            }
            Ok(Some(end))
        }
        _ => Err(unreadable(line)),
    }
}

fn memcached_reply_len(bytes: &[u8]) -> Result<Option<usize>, String> {
    let mut end = 0;
    while let Some(len_bytes) = memcached_value_len(&bytes[end..])? {
        let is_listed = bytes[end..].starts_with(b"VALUE ");
        end += len_bytes;
        if !is_listed {
            return Ok(Some(end));
        }
    }
    Ok(None)
}

/// Bytes of a value with its header, or of a line that is none.
fn memcached_value_len(bytes: &[u8]) -> Result<Option<usize>, String> {
    let Some(line_len) = line_len(bytes) else {
        return Ok(None);
    };
    let line = &bytes[..line_len];
    if !line.starts_with(b"VALUE ") {
        return Ok(Some(line_len));
    }
    let len_text = line.rsplit(|byte| *byte == b' ').next().unwrap_or(line);
    let len_bytes = number(len_text)?.ok_or_else(|| unreadable(line))?;
    ends_at(bytes, line_len + len_bytes)
}

/// Bytes of the first line, its end included.
fn line_len(bytes: &[u8]) -> Option<usize> {
    let end = bytes.windows(2).position(|window| window == CRLF);
    end.map(|end| end + CRLF.len())
}

/// The number of a header line; none for `-1`.
fn number(line: &[u8]) -> Result<Option<usize>, String> {
    let text = line.strip_suffix(CRLF).unwrap_or(line);
    if text == b"-1" {
        return Ok(None);
    }
    let number = std::str::from_utf8(text)
        .ok()
        .and_then(|text| text.parse().ok());
    number.map(Some).ok_or_else(|| unreadable(line))
}

/// The end of data that a line end must follow; none while it is not all there.
fn ends_at(bytes: &[u8], data_end: usize) -> Result<Option<usize>, String> {
    match bytes.get(data_end..data_end + CRLF.len()) {
        None => Ok(None),
        Some(found) if found == CRLF => Ok(Some(data_end + CRLF.len())),
        Some(_) => Err(format!(
            "no end where the header of {} puts it",
            shown(bytes)
        )),
    }
}

fn unreadable(line: &[u8]) -> String {
    format!("not a reply: {}", shown(line))
}

/// The beginning of a message for a person to read.
pub(crate) fn shown(bytes: &[u8]) -> String {
    const SHOWN_LEN_BYTES: usize = 80;
    let cut = &bytes[..bytes.len().min(SHOWN_LEN_BYTES)];
    let dots = if cut.len() < bytes.len() { "..." } else { "" };
    format!("\"{}{dots}\"", cut.escape_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(lens: &str) -> Content {
        Content {
            key_len_bytes: 5,
            value_lens: lens.parse().unwrap(),
        }
    }

    fn request(dialect: Dialect, command: &Command<'_>) -> String {
        let mut out = Vec::new();
        dialect.request(&mut out, command, &content("3"));
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn commands_are_written_as_redis_reads_them() {
        let value = {
            let mut out = Vec::new();
            write_value(&mut out, 7, 3);
            String::from_utf8(out).unwrap()
        };
        for (command, expected) in [
            (Command::Ping, "*1|$4|PING|".to_owned()),
            (Command::Get(7), "*2|$3|GET|$5|k0007|".to_owned()),
            (Command::Del(7), "*2|$3|DEL|$5|k0007|".to_owned()),
            (Command::Incr(7), "*2|$4|INCR|$5|n0007|".to_owned()),
            (
                Command::Set(7, None),
                format!("*3|$3|SET|$5|k0007|$3|{value}|"),
            ),
            (
                Command::Set(7, Some(60)),
                format!("*5|$3|SET|$5|k0007|$3|{value}|$2|EX|$2|60|"),
            ),
            (
                Command::Mget(&[7, 10]),
                "*3|$4|MGET|$5|k0007|$5|k0010|".to_owned(),
            ),
            (
                Command::Mset(&[7]),
                format!("*3|$4|MSET|$5|k0007|$3|{value}|"),
            ),
        ] {
            assert_eq!(
                request(Dialect::Resp, &command),
                expected.replace('|', "\r\n")
            );
        }
    }

    #[test]
    fn commands_are_written_as_memcached_reads_them() {
        assert_eq!(
            request(Dialect::Memcached, &Command::Get(7)),
            "get k0007\r\n"
        );
        assert_eq!(request(Dialect::Memcached, &Command::Ping), "mn\r\n");
        let mget = request(Dialect::Memcached, &Command::Mget(&[7, 10]));
        assert_eq!(mget, "get k0007 k0010\r\n");
        let set = request(Dialect::Memcached, &Command::Set(7, Some(60)));
        assert!(
            set.starts_with("set k0007 0 60 3\r\n") && set.ends_with("\r\n"),
            "{set}"
        );
        assert!(!Dialect::Memcached.speaks(&Command::Del(7)));
    }

    #[test]
    fn a_reply_ends_where_it_ends_and_not_before() {
        let mut replies = vec![
            (Dialect::Resp, b"$-1\r\n".to_vec()),
            (Dialect::Resp, b":-12\r\n".to_vec()),
            (Dialect::Resp, b"-ERR no\r\n".to_vec()),
            (Dialect::Resp, b"*2\r\n$-1\r\n$2\r\n\r\n\r\n".to_vec()),
            (Dialect::Memcached, b"END\r\n".to_vec()),
            (
                Dialect::Memcached,
                b"SERVER_ERROR out of memory\r\n".to_vec(),
            ),
        ];
        for dialect in [Dialect::Resp, Dialect::Memcached] {
            let many = Command::Mget(&[1, 2]);
            for command in [Command::Get(1), Command::Set(1, None), Command::Ping, many] {
                let mut out = Vec::new();
                dialect.reply(&mut out, &command, &content("1..300"));
                replies.push((dialect, out));
            }
        }
        for (dialect, reply) in replies {
            let stream = [&reply[..], b"+OK\r\n"].concat();
            assert_eq!(dialect.reply_len(&stream), Ok(Some(reply.len())));
            for cut in 0..reply.len() {
                assert_eq!(
                    dialect.reply_len(&reply[..cut]),
                    Ok(None),
                    "{}",
                    shown(&reply)
                );
            }
        }
    }

    #[test]
    fn what_is_no_reply_is_refused() {
        for bytes in [
            &b"hello\r\n"[..],
            b"$x\r\n",
            b"$1\r\nabc\r\n",
            b"*1\r\n?\r\n",
        ] {
            assert!(Dialect::Resp.reply_len(bytes).is_err(), "{}", shown(bytes));
        }
        assert!(Dialect::Memcached.reply_len(b"VALUE k 0 x\r\n").is_err());
        assert!(
            Dialect::Memcached
                .reply_len(b"VALUE k 0 1\r\nabcdefgh\r\n")
                .is_err()
        );
    }
}
