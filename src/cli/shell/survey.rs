//! `--bigkeys`, `--memkeys` and `--hotkeys`: what stands out among all keys, in redis-cli's words.
//!
//! The keys are walked with SCAN, and asked about a page at a time in one pipeline. What is larger
//! than all before is said at once; sums come at the end. A key that is gone when it is asked about
//! is left out.

use std::io::Write;
use std::time::Duration;

use super::pace::pause;
use super::scan::{Pages, Selection};
use super::words::append_quoted;
use super::{Outcome, unexpected};
use crate::cli::client::{Client, append_request};
use crate::cli::reply::Reply;
use crate::error::Error;

/// Pages between two pauses that somebody asked for.
const PAGES_PER_PAUSE: u64 = 100;
/// Keys between two words about the progress.
const KEYS_PER_NOTE: u64 = 1_000_000;
/// Hot keys shown at the end.
const HOT_KEY_COUNT: usize = 16;

/// What a key's size is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Measure {
    /// Bytes of a string, elements of anything else.
    Length,
    /// Bytes of memory; of nested values so many samples are taken.
    Memory(Option<u64>),
}

/// Finds the largest key of each type, and sums.
pub(super) fn largest(
    client: &mut Client,
    selection: Selection<'_>,
    measure: Measure,
    output: &mut impl Write,
) -> Outcome {
    let mut kinds = Kind::all();
    let mut walk = Walk::new(client, selection, "biggest", output)?;
    while let Some(keys) = walk.next(client)? {
        let sizes = sizes_of(client, &keys, &mut kinds, measure)?;
        for (key, found) in keys.iter().zip(sizes) {
            let Some((index, size)) = found else { continue };
            let kind = &mut kinds[index];
            kind.add(size);
            walk.key_len_bytes += key.len() as u64;
            if kind
                .biggest
                .as_ref()
                .is_none_or(|(biggest, _)| size > *biggest)
                && size > 0
            {
                let name = quoted(key);
                let unit = kind.unit(measure);
                writeln!(
                    output,
                    "[{:05.2}%] Biggest {:<6} found so far '{name}' with {size} {unit}",
                    walk.percent, kind.name
                )?;
                kind.biggest = Some((size, name));
            }
            walk.count_one(output)?;
        }
    }
    show_summary(&walk, &kinds, measure, output)
}

fn show_summary(
    walk: &Walk<'_>,
    kinds: &[Kind],
    measure: Measure,
    output: &mut impl Write,
) -> Outcome {
    walk.show_count(output)?;
    writeln!(
        output,
        "Total key length in bytes is {} (avg len {:.2})\n",
        walk.key_len_bytes,
        ratio(walk.key_len_bytes, walk.sampled_count)
    )?;
    for kind in kinds {
        if let Some((size, name)) = &kind.biggest {
            let unit = kind.unit(measure);
            writeln!(
                output,
                "Biggest {:>6} found '{name}' has {size} {unit}",
                kind.name
            )?;
        }
    }
    writeln!(output)?;
    for kind in kinds {
        writeln!(
            output,
            "{} {}s with {} {} ({:05.2}% of keys, avg size {:.2})",
            kind.count,
            kind.name,
            kind.sum,
            kind.unit(measure),
            100.0 * ratio(kind.count, walk.sampled_count),
            ratio(kind.sum, kind.count)
        )?;
    }
    Ok(output.flush()?)
}

/// Finds the keys that are used most. Only a server that evicts by use knows.
pub(super) fn hottest(
    client: &mut Client,
    selection: Selection<'_>,
    output: &mut impl Write,
) -> Outcome {
    // From the hottest down.
    let mut found: Vec<(i64, String)> = Vec::new();
    let mut walk = Walk::new(client, selection, "hot", output)?;
    while let Some(keys) = walk.next(client)? {
        let requests = keys.iter().map(|key| vec![&b"OBJECT"[..], b"FREQ", key]);
        let replies = ask_all(client, requests)?;
        for (key, reply) in keys.iter().zip(replies) {
            let used = match reply {
                Reply::Integer(used) => used,
                Reply::Error(text) if !text.starts_with(b"ERR no such key") => {
                    return Err(Error::Failed(String::from_utf8_lossy(&text).into_owned()).into());
                }
                _ => continue,
            };
            walk.count_one(output)?;
            let place = found.partition_point(|(other, _)| *other >= used);
            if used > 0 && place < HOT_KEY_COUNT {
                let name = quoted(key);
                writeln!(
                    output,
                    "[{:05.2}%] Hot key '{name}' found so far with counter {used}",
                    walk.percent
                )?;
                found.insert(place, (used, name));
                found.truncate(HOT_KEY_COUNT);
            }
        }
    }
    walk.show_count(output)?;
    for (used, name) in found {
        writeln!(
            output,
            "hot key found with counter: {used}\tkeyname: {name}"
        )?;
    }
    Ok(output.flush()?)
}

/// A walk over all keys that says how far it is.
struct Walk<'a> {
    pages: Pages<'a>,
    pause: Duration,
    page_count: u64,
    whole_count: u64,
    sampled_count: u64,
    key_len_bytes: u64,
    percent: f64,
}

impl<'a> Walk<'a> {
    fn new(
        client: &mut Client,
        selection: Selection<'a>,
        what: &str,
        output: &mut impl Write,
    ) -> Outcome<Self> {
        let Reply::Integer(whole_count) = client.ask(&[b"DBSIZE"])? else {
            return Err(unexpected("DBSIZE").into());
        };
        writeln!(
            output,
            "\n# Scanning the entire keyspace to find {what} keys as well as\n\
             # average sizes per key type.  You can use -i 0.1 to sleep 0.1 sec\n\
             # per 100 SCAN commands (not usually needed).\n"
        )?;
        Ok(Self {
            pages: Pages::new(selection),
            pause: selection.pause,
            page_count: 0,
            whole_count: u64::try_from(whole_count).unwrap_or(0),
            sampled_count: 0,
            key_len_bytes: 0,
            percent: 0.0,
        })
    }

    fn next(&mut self, client: &mut Client) -> Result<Option<Vec<Vec<u8>>>, Error> {
        self.page_count += 1;
        if self.page_count.is_multiple_of(PAGES_PER_PAUSE) {
            pause(self.pause);
        }
        self.percent = 100.0 * ratio(self.sampled_count, self.whole_count);
        self.pages.next(client)
    }

    fn count_one(&mut self, output: &mut impl Write) -> Outcome {
        self.sampled_count += 1;
        if self.sampled_count.is_multiple_of(KEYS_PER_NOTE) {
            let (percent, count) = (self.percent, self.sampled_count);
            writeln!(output, "[{percent:05.2}%] Sampled {count} keys so far")?;
        }
        Ok(())
    }

    fn show_count(&self, output: &mut impl Write) -> Outcome {
        writeln!(
            output,
            "\n-------- summary -------\n\nSampled {} keys in the keyspace!",
            self.sampled_count
        )?;
        Ok(())
    }
}

/// A type of values and what was found of it.
struct Kind {
    name: String,
    /// The command that says how long one is, and what it counts.
    length: Option<(&'static str, &'static str)>,
    count: u64,
    sum: u64,
    /// The size and the name of the biggest.
    biggest: Option<(u64, String)>,
}

impl Kind {
    fn new(name: &str, length: Option<(&'static str, &'static str)>) -> Self {
        Self {
            name: name.to_owned(),
            length,
            count: 0,
            sum: 0,
            biggest: None,
        }
    }

    /// Redis's types, in the order in which redis-cli lists them.
    fn all() -> Vec<Self> {
        [
            ("list", "LLEN", "items"),
            ("hash", "HLEN", "fields"),
            ("string", "STRLEN", "bytes"),
            ("stream", "XLEN", "entries"),
            ("set", "SCARD", "members"),
            ("zset", "ZCARD", "members"),
        ]
        .map(|(name, command, unit)| Self::new(name, Some((command, unit))))
        .into()
    }

    fn unit(&self, measure: Measure) -> &'static str {
        match (measure, self.length) {
            (Measure::Memory(_), _) => "bytes",
            (Measure::Length, Some((_, unit))) => unit,
            (Measure::Length, None) => "?",
        }
    }

    fn add(&mut self, size: u64) {
        self.count += 1;
        self.sum += size;
    }
}

/// The kind and the size of each key; nothing for one that is gone.
fn sizes_of(
    client: &mut Client,
    keys: &[Vec<u8>],
    kinds: &mut Vec<Kind>,
    measure: Measure,
) -> Result<Vec<Option<(usize, u64)>>, Error> {
    let requests = keys.iter().map(|key| vec![&b"TYPE"[..], key]);
    let types = ask_all(client, requests)?;
    let indexes: Vec<Option<usize>> = types
        .iter()
        .map(|reply| kind_index(kinds, reply))
        .collect::<Result<_, _>>()?;
    let samples = match measure {
        Measure::Memory(samples) => samples.map(|samples| samples.to_string()),
        Measure::Length => None,
    };
    let asked: Vec<Vec<&[u8]>> = keys
        .iter()
        .zip(&indexes)
        .filter_map(|(key, index)| match (measure, kinds[(*index)?].length) {
            (Measure::Memory(_), _) => {
                let mut words = vec![&b"MEMORY"[..], b"USAGE", key];
                if let Some(samples) = &samples {
                    words.extend([&b"SAMPLES"[..], samples.as_bytes()]);
                }
                Some(words)
            }
            (Measure::Length, Some((command, _))) => Some(vec![command.as_bytes(), key]),
            (Measure::Length, None) => None,
        })
        .collect();
    let mut replies = ask_all(client, asked.into_iter())?.into_iter();
    let sizes = indexes.into_iter().map(|index| {
        let index = index?;
        let is_asked = measure != Measure::Length || kinds[index].length.is_some();
        let size = match is_asked.then(|| replies.next()).flatten() {
            Some(Reply::Integer(size)) => u64::try_from(size).unwrap_or(0),
            _ => 0,
        };
        Some((index, size))
    });
    Ok(sizes.collect())
}

/// Which kind a reply to TYPE names; a kind that nobody knew is added.
fn kind_index(kinds: &mut Vec<Kind>, reply: &Reply) -> Result<Option<usize>, Error> {
    let name = reply.text().ok_or_else(|| unexpected("TYPE"))?;
    let name = String::from_utf8_lossy(name);
    if name == "none" {
        return Ok(None);
    }
    let known = kinds.iter().position(|kind| kind.name == name);
    Ok(Some(known.unwrap_or_else(|| {
        kinds.push(Kind::new(&name, None));
        kinds.len() - 1
    })))
}

/// Sends commands in one pipeline; their replies.
fn ask_all<'k>(
    client: &mut Client,
    requests: impl Iterator<Item = Vec<&'k [u8]>>,
) -> Result<Vec<Reply>, Error> {
    let mut bytes = Vec::new();
    let mut count = 0;
    for words in requests {
        append_request(&mut bytes, &words);
        count += 1;
    }
    client.send(&bytes)?;
    (0..count).map(|_| client.receive()).collect()
}

fn quoted(key: &[u8]) -> String {
    let mut name = Vec::new();
    append_quoted(&mut name, key);
    String::from_utf8(name).expect("quoted bytes are ASCII")
}

#[expect(clippy::cast_precision_loss, reason = "two digits are shown")]
fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        return 0.0;
    }
    part as f64 / whole as f64
}
