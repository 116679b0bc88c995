//! One connection's writes: random commands for its units, in pipelines, until the server is gone.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::common::Random;
use crate::common::client::{Client, request};
use crate::oracle::{Command, Held, Kind, Span, Unit};

/// Commands of one pipeline at most.
const PIPELINE_LEN_MAX: usize = 60;
/// Keys of a group.
const GROUP_KEY_COUNT: usize = 3;
/// Later than any test.
const FAR_MS: u64 = 3_600_000;

/// Units of one connection, and where its choices come from.
pub(crate) struct Load {
    pub(crate) units: Vec<Unit>,
    random: Random,
    /// Makes every value different.
    version: u64,
    is_evicting: bool,
}

/// Counters that all connections increment: how often they have tried, and what they were told.
#[derive(Default)]
pub(crate) struct Shared {
    pub(crate) sent_count: AtomicU64,
    pub(crate) highest_reply: AtomicU64,
}

/// The key of the shared counter.
pub(crate) const SHARED_KEY: &str = "shared";

impl Load {
    /// The units of connection `name`.
    pub(crate) fn new(name: usize, seed: u64, is_evicting: bool) -> Self {
        let key = |kind: &str, i: usize, part: usize| format!("{kind}:{name}:{i}:{part}");
        let unit = |kind, word: &str, i, count| {
            Unit::new(kind, (0..count).map(|part| key(word, i, part)).collect())
        };
        let plain_count = if is_evicting { 2_500 } else { 300 };
        let mut units: Vec<Unit> = (0..plain_count)
            .map(|i| unit(Kind::Plain, "plain", i, 1))
            .collect();
        for i in 0..20 {
            units.push(unit(Kind::Counter, "counter", i, 1));
            // One that is refused for want of memory may be half done.
            if !is_evicting {
                units.push(unit(Kind::Group, "group", i, GROUP_KEY_COUNT));
            }
            units.push(unit(Kind::Pair, "pair", i, 2));
        }
        Self {
            units,
            random: Random(seed),
            version: 0,
            is_evicting,
        }
    }

    /// Sends pipelines until the connection breaks. Panics on a wrong reply.
    pub(crate) fn run(&mut self, address: SocketAddr, shared: &Shared) {
        let Ok(mut client) = Client::try_connect(address) else {
            return;
        };
        while self.run_pipeline(&mut client, shared).is_some() {}
    }

    fn run_pipeline(&mut self, client: &mut Client, shared: &Shared) -> Option<()> {
        let from_ms = now_ms();
        let mut requests = request(&["INCR", SHARED_KEY]);
        let mut order = Vec::new();
        for _ in 0..=self.random.below(PIPELINE_LEN_MAX) {
            let place = self.random.below(self.units.len());
            if let Some(command) = self.choose(place, from_ms) {
                let sent = self.units[place].send(command);
                requests.extend(sent.iter().flat_map(|words| request(words)));
                order.push((place, sent.len()));
            }
        }
        shared.sent_count.fetch_add(1, Ordering::SeqCst);
        client.try_send(&requests).ok()?;
        let reply = client.try_reply()?;
        if let Some(number) = reply.strip_prefix(b":") {
            let text = std::str::from_utf8(number).expect("it is a number");
            let number = text.trim_end().parse().expect("it is a number");
            shared.highest_reply.fetch_max(number, Ordering::SeqCst);
        }
        for (place, reply_count) in order {
            // That of EXEC says it all.
            for _ in 1..reply_count {
                client.try_reply()?;
            }
            let reply = client.try_reply()?;
            let until_ms = now_ms();
            let span = Span { from_ms, until_ms };
            let outcome = self.units[place].take_reply(&reply, span, self.is_evicting);
            outcome.unwrap_or_else(|wrong| panic!("{wrong}"));
        }
        Some(())
    }

    /// A command for a unit, if one makes sense now.
    fn choose(&mut self, place: usize, now_ms: u64) -> Option<Command> {
        let unit = &self.units[place];
        let expected = unit.expected();
        let is_idle = unit.pending.is_empty();
        match unit.kind {
            Kind::Plain => Some(self.choose_plain(expected[0].as_ref(), now_ms)),
            Kind::Counter if self.random.below(4) == 0 => Some(Command::Get),
            Kind::Counter => Some(Command::Increment),
            // Commands of one pipeline on different shards may run in any order, so of those for
            // several keys one is on its way at a time.
            _ if !is_idle => None,
            Kind::Group => Some(match self.random.below(6) {
                0 => Command::Delete,
                1 => Command::SetAllIfNone(self.value(200)),
                2 | 3 => Command::Transact(self.value(200)),
                _ => Command::SetAll(self.value(200)),
            }),
            Kind::Pair => Some(match (&expected[0], &expected[1]) {
                _ if self.random.below(4) == 0 => Command::Set(Held {
                    value: self.value(200),
                    expires_at_ms: None,
                }),
                (Some(_), _) if !self.is_evicting => Command::Rename(0, 1),
                (None, Some(_)) if !self.is_evicting => Command::Rename(1, 0),
                _ => Command::Get,
            }),
        }
    }

    fn choose_plain(&mut self, expected: Option<&Held>, now_ms: u64) -> Command {
        // What depends on whether the key is there is for keys that surely are or are not.
        let is_sure = !self.is_evicting
            && expected
                .and_then(|held| held.expires_at_ms)
                .is_none_or(|at_ms| at_ms > now_ms + FAR_MS / 2);
        let choice = self.random.below(10);
        match choice {
            0 => Command::Get,
            1 => Command::Delete,
            2 if is_sure => Command::Append(self.value(50)),
            3 if is_sure => Command::ExpireAt(self.soon(now_ms)),
            4 if is_sure => Command::ExpireAt(now_ms + FAR_MS),
            5 if is_sure => Command::Persist,
            _ => {
                let len_max = self.random.pick(&[20, 100, 100, 1_000, 1_000, 5_000]);
                // One in a few hundred lives outside the log.
                let is_large = self.random.below(400) == 0;
                let value = self.value(if is_large { 600_000 } else { len_max });
                let expires_at_ms = match choice {
                    6 => Some(self.soon(now_ms)),
                    7 => Some(now_ms + FAR_MS),
                    _ => None,
                };
                Command::Set(Held {
                    value,
                    expires_at_ms,
                })
            }
        }
    }

    /// A moment that most rounds will see pass.
    fn soon(&mut self, now_ms: u64) -> u64 {
        now_ms + 1 + self.random.below(400) as u64
    }

    /// A value unlike every other, of up to `len_max` bytes and some.
    fn value(&mut self, len_max: usize) -> Vec<u8> {
        self.version += 1;
        let mut value = format!("v{}.", self.version).into_bytes();
        let mark = value.clone();
        let len = self.random.below(len_max);
        while value.len() < len {
            value.extend_from_slice(&mark);
        }
        value
    }
}

/// The wall clock, which the server reads as well.
#[expect(
    clippy::disallowed_methods,
    reason = "expiries are moments of the wall clock"
)]
pub(crate) fn now_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let ms = since.expect("it is after 1970").as_millis();
    u64::try_from(ms).expect("it is not that late")
}
