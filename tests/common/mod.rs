//! What the tests over sockets share: a server of one's own and a client that speaks bytes.
//!
//! Every test starts the servers it needs on free ports, with a folder of their own, and they
//! end with it. Nothing sleeps: waiting means reading, with a deadline that only a hang can meet.
//! `COREMAP_TEST_BIN` names another server to test, `COREMAP_TEST_LONG=1` asks for full sizes.

#![allow(
    dead_code,
    reason = "each test binary uses its own part of this module"
)]

pub(crate) mod client;
pub(crate) mod images;
pub(crate) mod linearizable;
pub(crate) mod malformed;
pub(crate) mod process;
pub(crate) mod store;
pub(crate) mod transcript;

use std::time::{Duration, Instant};

/// How long anything may take before it counts as hung. Machines under load are slow.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Whether the tests run at full size (`make test-long`).
pub(crate) fn is_long() -> bool {
    std::env::var_os("COREMAP_TEST_LONG").is_some_and(|value| value != "0")
}

/// One of two sizes: for every run, and for `make test-long`.
pub(crate) fn scale<T>(short: T, long: T) -> T {
    if is_long() { long } else { short }
}

/// Says how much a test has tried: a line of the record that `make test-long` writes.
pub(crate) fn tell_tried(what: &str) {
    println!("tried: {what}");
}

/// Whether a test may skip itself because a program is missing. Says so, or fails where the
/// environment promises that everything is installed.
pub(crate) fn skip_because(reason: &str) {
    let is_promised = std::env::var_os("COREMAP_REQUIRE_CLIENTS").is_some_and(|value| value != "0");
    assert!(!is_promised, "COREMAP_REQUIRE_CLIENTS is set, but {reason}");
    eprintln!("skipped: {reason}");
}

#[expect(
    clippy::disallowed_methods,
    reason = "deadlines of tests are in real time"
)]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Lets time pass, for what can only be seen in time, as idleness.
pub(crate) fn pass(duration: Duration) {
    let (_sender, never) = std::sync::mpsc::channel::<()>();
    let _ = never.recv_timeout(duration);
}

/// splitmix64; tests print their seed.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound).expect("a usize has at most 64 bits");
        usize::try_from(self.next() % bound).expect("below a usize")
    }

    pub(crate) fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }
}

/// The seed of a run: `COREMAP_TEST_SEED` to repeat one, else a different one each time.
pub(crate) fn seed() -> u64 {
    let given = std::env::var("COREMAP_TEST_SEED")
        .ok()
        .and_then(|text| text.parse().ok());
    let seed = given.unwrap_or_else(|| {
        use std::hash::{BuildHasher, Hasher};
        std::hash::RandomState::new().build_hasher().finish()
    });
    println!("COREMAP_TEST_SEED={seed}");
    seed
}
