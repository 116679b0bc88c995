//! RDB files, Redis's snapshots: their strings, and how much else is in them.
//!
//! ```text
//!   REDIS0010 | note ... | 254 database | [252 expiry] code key value ... | 255 | checksum
//!               named by a code from 243                                        of all before it
//! ```
//!
//! [`Reader`] walks through a file of any version up to those of Redis 8 and Valkey 9 and lends
//! each key with its value if that is a string, else with its type. Nothing in a file is trusted:
//! whatever it holds, the walk ends in its last byte or in a [`Fault`] that names the offset, and
//! holds in memory no more than one key and one value whose bytes have really come.
//!
//! Below it, `string` is the form of lengths and strings, which DUMP payloads share, `shape` says
//! how far everything else extends.
//!
//! `payload` is what DUMP gives and RESTORE takes: one value.
//!
//! Not here: lists, sets and the like as values. They are passed over.

mod crc64;
mod lzf;
mod payload;
mod shape;
mod source;
mod string;

use std::io::BufRead;

use crate::limits::BULK_LEN_BYTES_MAX;

pub use lzf::{Place, check_part, expand_part};
pub use payload::{Content, checksum, foot, has_known_version, head, read};
pub use source::Fault;

use shape::Dialect;
use source::Source;
use string::{StringRead, read_length, read_string};

/// Versions that are known: of Redis, up to those of 8.
const VERSION_OF_REDIS_MAX: u32 = 14;
/// Versions that are known: of Valkey since it went its own way, with 9.0.
const VERSION_OF_VALKEY: u32 = 80;
/// The first version that ends with a checksum.
const VERSION_WITH_CHECKSUM: u32 = 5;
/// The code of a string value.
const STRING: u8 = 0;

/// One key of a file.
#[derive(Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// The database it is in.
    pub database: u64,
    /// Its name; empty if it is longer than any key may be.
    pub key: &'a [u8],
    /// When it expires, in milliseconds since 1970; it may be long ago.
    pub expires_at_ms: Option<i64>,
    /// What it holds.
    pub value: Value<'a>,
}

/// What a key holds.
#[derive(Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// A string.
    String(&'a [u8]),
    /// A string, or any value whose key is one, longer than any server takes.
    TooLong,
    /// Something else, as TYPE calls it.
    Other(&'static str),
}

/// A walk through a file.
#[derive(Debug)]
pub struct Reader<B> {
    source: Source<B>,
    version: u32,
    dialect: Dialect,
    database: u64,
    key: Vec<u8>,
    value: Vec<u8>,
    is_over: bool,
}

impl<B: BufRead> Reader<B> {
    /// Reads the head of a file.
    ///
    /// # Errors
    /// It is none, or of a version that is not known.
    pub fn new(input: B) -> Result<Self, Fault> {
        let mut source = Source::new(input);
        let (dialect, version) = read_head(&mut source)?;
        Ok(Self {
            source,
            version,
            dialect,
            database: 0,
            key: Vec::new(),
            value: Vec::new(),
            is_over: false,
        })
    }

    /// Bytes read so far.
    pub fn offset(&self) -> u64 {
        self.source.offset()
    }

    /// The next key; none when the file is over, its checksum is right and nothing follows.
    ///
    /// # Errors
    /// The file is cut short, damaged, or holds what is not known. It cannot be read on then.
    pub fn next_entry(&mut self) -> Result<Option<Entry<'_>>, Fault> {
        let mut expires_at_ms = None;
        while !self.is_over {
            match self.source.byte()? {
                255 => self.read_end()?,
                254 => self.database = read_length(&mut self.source)?,
                253 => {
                    let seconds = i32::from_le_bytes(self.source.array()?);
                    expires_at_ms = Some(i64::from(seconds) * 1000);
                }
                252 => expires_at_ms = Some(i64::from_le_bytes(self.source.array()?)),
                code => match shape::note_of(code, self.dialect) {
                    Some(note) => shape::skip(&mut self.source, note)?,
                    None => return self.read_entry(code, expires_at_ms).map(Some),
                },
            }
        }
        Ok(None)
    }

    /// Reads a key and its value, whose code has been read.
    fn read_entry(&mut self, code: u8, expires_at_ms: Option<i64>) -> Result<Entry<'_>, Fault> {
        let of = shape::type_of(code, self.dialect);
        if of.is_none() && code != STRING {
            return Err(self.source.fault(format!(
                "{code} is no type of value that is known here, and nothing behind it can be found"
            )));
        }
        let key_read = read_string(&mut self.source, BULK_LEN_BYTES_MAX, &mut self.key)?;
        let value = match of {
            Some(of) => {
                shape::skip(&mut self.source, of)?;
                Value::Other(of.name)
            }
            None => {
                let read = read_string(&mut self.source, BULK_LEN_BYTES_MAX, &mut self.value)?;
                match (key_read, read) {
                    (StringRead::Whole, StringRead::Whole) => Value::String(&self.value),
                    _ => Value::TooLong,
                }
            }
        };
        Ok(Entry {
            database: self.database,
            key: &self.key,
            expires_at_ms,
            value,
        })
    }

    fn read_end(&mut self) -> Result<(), Fault> {
        if self.version >= VERSION_WITH_CHECKSUM {
            let due = self.source.checksum();
            let stored = u64::from_le_bytes(self.source.array()?);
            // Redis writes 0 if `rdbchecksum` is off.
            if stored != 0 && stored != due {
                return Err(self.source.fault(format!(
                    "the checksum is {stored:016x}, but {due:016x} is that of what was read: \
                     the file is damaged"
                )));
            }
        }
        if !self.source.is_at_end()? {
            return Err(self.source.fault(
                "something follows the end: this is no RDB file alone (one of an append-only \
                 log begins like one)",
            ));
        }
        self.is_over = true;
        Ok(())
    }
}

/// Reads `REDIS` and four digits, or `VALKEY` and three.
fn read_head<B: BufRead>(source: &mut Source<B>) -> Result<(Dialect, u32), Fault> {
    let not_one = |source: &Source<B>| source.fault("this is no RDB file");
    let head: [u8; 9] = source.array().map_err(|_| not_one(source))?;
    let (dialect, digits) = match (head.strip_prefix(b"REDIS"), head.strip_prefix(b"VALKEY")) {
        (Some(digits), _) => (Dialect::Redis, digits),
        (_, Some(digits)) => (Dialect::Valkey, digits),
        _ => return Err(not_one(source)),
    };
    let version = std::str::from_utf8(digits)
        .ok()
        .filter(|digits| digits.bytes().all(|digit| digit.is_ascii_digit()))
        .and_then(|digits| digits.parse().ok());
    let version = version.ok_or_else(|| not_one(source))?;
    let is_known = match dialect {
        Dialect::Redis => (1..=VERSION_OF_REDIS_MAX).contains(&version),
        Dialect::Valkey => version == VERSION_OF_VALKEY,
    };
    if !is_known {
        return Err(source.fault(format!(
            "this is an RDB file of version {version}; those up to {VERSION_OF_REDIS_MAX} of \
             Redis and version {VERSION_OF_VALKEY} of Valkey are known"
        )));
    }
    Ok((dialect, version))
}

#[cfg(test)]
mod tests;
