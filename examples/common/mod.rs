//! What the examples share: keys, numbers and time.
#![expect(unsafe_code, reason = "std has no clock of a thread's own time")]

use std::time::Duration;

use coremap::shard::{Ahead, Key, Shard};

/// Runs something on each key, looked at before its turn, and sums up what it returns.
pub(crate) fn sum_ahead(
    shard: &mut Shard,
    mut numbers: impl Iterator<Item = u64>,
    mut run: impl FnMut(&mut Shard, Key<'_>) -> u64,
) -> u64 {
    let mut ahead = Ahead::default();
    std::iter::from_fn(|| {
        let source = || {
            let mut text = *b"key:000000000000";
            write_number(&mut text[4..], numbers.next()?);
            Some((text, shard.key(&text).hash()))
        };
        let (text, probe) = ahead.next(
            source,
            |_, hash| shard.prefetch_bucket(hash),
            |_, hash| shard.probe(hash),
        )?;
        let bytes = &text;
        Some(run(shard, Key { bytes, probe }))
    })
    .sum()
}

fn write_number(out: &mut [u8], mut number: u64) {
    for digit in out.iter_mut().rev() {
        *digit = b'0' + u8::try_from(number % 10).expect("a digit");
        number /= 10;
    }
}

/// Numbers that look random, the same for the same start.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    /// `count` numbers below `end`.
    pub(crate) fn numbers(&mut self, end: u64, count: u64) -> impl Iterator<Item = u64> {
        (0..count).map(move |_| self.next() % end)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB) >> 16
    }
}

/// Time this thread has run: the machine's other work does not count.
pub(crate) fn now() -> CpuTime {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the call fills the struct it is given.
    let failed = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    assert_eq!(failed, 0);
    CpuTime(Duration::new(
        time.tv_sec.unsigned_abs(),
        u32::try_from(time.tv_nsec).unwrap_or(0),
    ))
}

/// A moment of that time.
pub(crate) struct CpuTime(Duration);

impl CpuTime {
    pub(crate) fn elapsed(&self) -> Duration {
        now().0 - self.0
    }
}
