//! What a server may hold after it was killed.
//!
//! A **unit** is a few keys that only one connection writes: a plain key, a counter, a group that is
//! always written as a whole, a pair between which a value is moved. It knows what its keys hold as
//! far as replies have told, and which commands are on their way. A killed server has run some first
//! part of those, each whole or not at all, so a handful of states are allowed and every other is a
//! lost write, a write that came back, or half of one. What is found becomes what is known, so that
//! nothing may change its mind at a later restart either.

use crate::common::client::{Value, decode};

/// The difference there may be between the clock of a test and that of a server.
const CLOCK_TOLERANCE_MS: u64 = 20;

/// What a key holds.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) value: Vec<u8>,
    /// Milliseconds since 1970.
    pub(crate) expires_at_ms: Option<u64>,
}

/// What each key of a unit holds.
pub(crate) type States = Vec<Option<Held>>;

/// A command for a unit. Those for one key take its first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Set(Held),
    Append(Vec<u8>),
    ExpireAt(u64),
    Persist,
    Increment,
    Get,
    /// DEL of all keys.
    Delete,
    /// MSET of all keys to one value.
    SetAll(Vec<u8>),
    /// MSETNX of all keys to one value.
    SetAllIfNone(Vec<u8>),
    /// DEL of all keys and SET of each to one value, in a transaction.
    Transact(Vec<u8>),
    /// From one key, by its place, to another.
    Rename(usize, usize),
}

/// Between the sending of a command and its reply, in milliseconds since 1970.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    pub(crate) from_ms: u64,
    pub(crate) until_ms: u64,
}

/// What kind of unit it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Plain,
    Counter,
    Group,
    Pair,
}

/// A few keys and what is known about them.
#[derive(Debug)]
pub(crate) struct Unit {
    pub(crate) kind: Kind,
    pub(crate) keys: Vec<String>,
    pub(crate) known: States,
    /// Commands sent and not answered, first first.
    pub(crate) pending: std::collections::VecDeque<Command>,
}

impl Unit {
    pub(crate) fn new(kind: Kind, keys: Vec<String>) -> Self {
        Self {
            kind,
            known: vec![None; keys.len()],
            keys,
            pending: std::collections::VecDeque::new(),
        }
    }

    /// What the keys hold once all that is on its way has run.
    pub(crate) fn expected(&self) -> States {
        let mut states = self.known.clone();
        for command in &self.pending {
            command.apply(&mut states);
        }
        states
    }

    /// Notes a command as sent, and gives the requests that it consists of.
    pub(crate) fn send(&mut self, command: Command) -> Vec<Vec<Vec<u8>>> {
        let requests = command.requests(&self.keys);
        self.pending.push_back(command);
        requests
    }

    /// Takes the last reply to the first command on its way. Says what is wrong with it.
    pub(crate) fn take_reply(
        &mut self,
        reply: &[u8],
        span: Span,
        is_evicting: bool,
    ) -> Result<(), String> {
        let command = self.pending.pop_front().expect("a command was sent");
        let (reply, _) = decode(reply).expect("it is whole");
        if let Value::Error(_) = reply {
            // Refused, for want of memory or space: then nothing has changed.
            return Ok(());
        }
        // Keys may have expired, or have been evicted, before the command ran.
        let may_be_gone = |held: &Held| is_evicting || held.may_be_gone(span);
        let befores = with_losses(vec![self.known.clone()], may_be_gone);
        for before in befores {
            let mut after = before.clone();
            if command.apply(&mut after) == reply && self.may_be(&before, span) {
                self.known = after;
                return Ok(());
            }
        }
        Err(format!(
            "{command:?} of {:?} was answered {reply:?} where {:?} was known at {span:?}",
            self.keys, self.known
        ))
    }

    /// Whether everything that is there in `states` may still be there.
    fn may_be(&self, states: &States, span: Span) -> bool {
        let mut held = states.iter().flatten();
        held.all(|held| !held.is_surely_gone(span))
    }

    /// Compares what was found after a restart with what may be there. Says what is wrong with it.
    pub(crate) fn check(
        &mut self,
        found: &States,
        span: Span,
        is_evicting: bool,
    ) -> Result<(), String> {
        let mut candidates = vec![self.known.clone()];
        let is_match = |states: &States| matches(states, found, span, is_evicting);
        let mut is_allowed = candidates.iter().any(is_match);
        for command in &self.pending {
            candidates = with_losses(candidates, |_| is_evicting);
            for states in &mut candidates {
                command.apply(states);
            }
            is_allowed |= candidates.iter().any(is_match);
        }
        if !is_allowed {
            return Err(format!(
                "{:?} hold {found:?}; known was {:?}, on their way were {:?}, at {span:?}",
                self.keys, self.known, self.pending
            ));
        }
        self.known.clone_from(found);
        self.pending.clear();
        Ok(())
    }
}

/// All states that can come of these when keys vanish that may.
fn with_losses(mut all: Vec<States>, may_be_gone: impl Fn(&Held) -> bool) -> Vec<States> {
    let key_count = all.first().map_or(0, Vec::len);
    for place in 0..key_count {
        let mut losses = Vec::new();
        for states in &all {
            if states[place].as_ref().is_some_and(&may_be_gone) {
                let mut without = states.clone();
                without[place] = None;
                losses.push(without);
            }
        }
        for states in losses {
            if !all.contains(&states) {
                all.push(states);
            }
        }
    }
    all
}

/// The value's beginning is enough to know it.
impl std::fmt::Debug for Held {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shown = &self.value[..self.value.len().min(12)];
        let len = self.value.len();
        write!(formatter, "{}.. of {len} bytes", shown.escape_ascii())?;
        match self.expires_at_ms {
            Some(at_ms) => write!(formatter, " until {at_ms}"),
            None => Ok(()),
        }
    }
}

impl Held {
    fn may_be_gone(&self, span: Span) -> bool {
        self.expires_at_ms
            .is_some_and(|at_ms| at_ms <= span.until_ms + CLOCK_TOLERANCE_MS)
    }

    fn is_surely_gone(&self, span: Span) -> bool {
        self.expires_at_ms
            .is_some_and(|at_ms| at_ms + CLOCK_TOLERANCE_MS < span.from_ms)
    }
}

/// Whether a server where `states` is right may show `found`.
fn matches(states: &States, found: &States, span: Span, is_evicting: bool) -> bool {
    states
        .iter()
        .zip(found)
        .all(|(state, found)| match (state, found) {
            (None, None) => true,
            (None, Some(_)) => false,
            (Some(held), None) => is_evicting || held.may_be_gone(span),
            (Some(held), Some(found)) => held == found && !held.is_surely_gone(span),
        })
}

impl Command {
    /// What is sent: one request, or those of a transaction.
    fn requests(&self, keys: &[String]) -> Vec<Vec<Vec<u8>>> {
        let Self::Transact(value) = self else {
            return vec![self.request(keys)];
        };
        let word = |text: &str| text.as_bytes().to_vec();
        let set = |key: &String| vec![word("SET"), word(key), value.clone()];
        let mut requests = vec![vec![word("MULTI")], Self::Delete.request(keys)];
        requests.extend(keys.iter().map(set));
        requests.push(vec![word("EXEC")]);
        requests
    }

    fn request(&self, keys: &[String]) -> Vec<Vec<u8>> {
        let key = || keys[0].clone().into_bytes();
        let word = |text: &str| text.as_bytes().to_vec();
        let of_all = |name: &str, value: &[u8]| {
            let pairs = keys.iter().flat_map(|key| [word(key), value.to_vec()]);
            std::iter::once(word(name)).chain(pairs).collect()
        };
        match self {
            Self::Set(held) => {
                let mut request = vec![word("SET"), key(), held.value.clone()];
                if let Some(at_ms) = held.expires_at_ms {
                    request.extend([word("PXAT"), word(&at_ms.to_string())]);
                }
                request
            }
            Self::Append(more) => vec![word("APPEND"), key(), more.clone()],
            Self::ExpireAt(at_ms) => vec![word("PEXPIREAT"), key(), word(&at_ms.to_string())],
            Self::Persist => vec![word("PERSIST"), key()],
            Self::Increment => vec![word("INCR"), key()],
            Self::Get => vec![word("GET"), key()],
            Self::Delete => std::iter::once(word("DEL"))
                .chain(keys.iter().map(|key| word(key)))
                .collect(),
            Self::SetAll(value) => of_all("MSET", value),
            Self::SetAllIfNone(value) => of_all("MSETNX", value),
            Self::Rename(from, to) => {
                vec![word("RENAME"), word(&keys[*from]), word(&keys[*to])]
            }
            Self::Transact(_) => unreachable!("it has several requests"),
        }
    }

    /// Runs the command on what keys hold; its reply.
    fn apply(&self, states: &mut States) -> Value {
        let ok = || Value::Status("OK".to_owned());
        let number = |number: usize| Value::Integer(i64::try_from(number).expect("it is small"));
        let plain = |value: &[u8]| {
            Some(Held {
                value: value.to_vec(),
                expires_at_ms: None,
            })
        };
        match self {
            Self::Set(held) => {
                states[0] = Some(held.clone());
                ok()
            }
            Self::Append(more) => {
                let held = states[0].get_or_insert_with(|| plain(b"").expect("it is some"));
                held.value.extend_from_slice(more);
                number(held.value.len())
            }
            Self::ExpireAt(at_ms) => match &mut states[0] {
                Some(held) => {
                    held.expires_at_ms = Some(*at_ms);
                    number(1)
                }
                None => number(0),
            },
            Self::Persist => match &mut states[0] {
                Some(held) => number(usize::from(held.expires_at_ms.take().is_some())),
                None => number(0),
            },
            Self::Increment => {
                let held = states[0].get_or_insert_with(|| plain(b"0").expect("it is some"));
                let text = std::str::from_utf8(&held.value).expect("a counter is text");
                let next = text.parse::<i64>().expect("a counter is a number") + 1;
                held.value = next.to_string().into_bytes();
                Value::Integer(next)
            }
            Self::Get => match &states[0] {
                Some(held) => Value::Bytes(held.value.clone()),
                None => Value::Null,
            },
            Self::Delete => {
                let count = states.iter().flatten().count();
                states.fill(None);
                number(count)
            }
            Self::SetAll(value) => {
                states.fill(plain(value));
                ok()
            }
            Self::SetAllIfNone(_) if states.iter().any(Option::is_some) => number(0),
            Self::SetAllIfNone(value) => {
                states.fill(plain(value));
                number(1)
            }
            Self::Transact(value) => {
                let deleted = Self::Delete.apply(states);
                let set = std::iter::repeat_n(ok(), states.len());
                states.fill(plain(value));
                Value::List(std::iter::once(deleted).chain(set).collect())
            }
            Self::Rename(from, to) => match states[*from].take() {
                Some(held) => {
                    states[*to] = Some(held);
                    ok()
                }
                None => Value::Error("ERR no such key".to_owned()),
            },
        }
    }
}
