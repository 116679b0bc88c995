//! What a shard's operations cost: table and log together, without commands and replies.
//!
//! One iteration is a thousand or ten thousand operations on different keys, in an order that no
//! prefetcher of the hardware foresees. 1,000 keys are in the caches; of a million only a part is,
//! and operations wait for memory. Where keys are `probed`, their buckets and then their records are
//! asked for 32 keys ahead, as a lane does it: the difference is what the waiting costs.

use std::cell::RefCell;
use std::fmt;
use std::ops::Range;

use coremap::shard::{Attributes, Key, Options, Shard, Written};
use divan::counter::ItemsCount;
use divan::{Bencher, black_box};

fn main() {
    divan::main();
}

/// Operations of one iteration, unless there are fewer keys.
const COUNT_MAX: u64 = 10_000;
/// Keys that are looked up together, as in a lane's window.
const WINDOW_COUNT: usize = 32;
const SMALL_KEY_COUNT: u64 = 1_000;
const LARGE_KEY_COUNT: u64 = 1_000_000;
/// Room for a million keys and for what overwriting them leaves dead.
const MAXMEMORY_BYTES: u64 = 512 << 20;
/// A prime that divides no key count, so the order of keys is a permutation.
const STRIDE: u64 = 7_368_787;
const VALUE: &[u8] = b"a value of thirty-two characters";
/// Time is an argument; these keys never end.
const NOW_MS: u64 = 1;

/// A benchmark's size, and whether its keys are probed ahead.
#[derive(Clone, Copy)]
struct Case {
    key_count: u64,
    is_probed: bool,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let how = if self.is_probed { ", probed" } else { "" };
        write!(f, "{} keys{how}", self.key_count)
    }
}

/// Under `cargo test` each benchmark runs once, and on the small size alone.
fn cases() -> Vec<Case> {
    let is_measured = std::env::args().any(|argument| argument == "--bench");
    let sizes = [SMALL_KEY_COUNT, LARGE_KEY_COUNT];
    let sizes = &sizes[..if is_measured { 2 } else { 1 }];
    let both = |key_count: &u64| {
        [false, true].map(|is_probed| Case {
            key_count: *key_count,
            is_probed,
        })
    };
    sizes.iter().flat_map(both).collect()
}

#[divan::bench(args = cases(), sample_size = 1)]
fn find_hit(bencher: Bencher<'_, '_>, case: Case) {
    measure(
        bencher,
        case,
        |_, _| {},
        |bench, from| {
            bench.each(bench.there(from), |shard, key| {
                assert!(black_box(shard.find(key, NOW_MS)).is_some());
            });
        },
    );
}

#[divan::bench(args = cases(), sample_size = 1)]
fn find_miss(bencher: Bencher<'_, '_>, case: Case) {
    measure(
        bencher,
        case,
        |_, _| {},
        |bench, from| {
            bench.each(bench.absent(from), |shard, key| {
                assert!(black_box(shard.find(key, NOW_MS)).is_none());
            });
        },
    );
}

/// In the steady state: as many bytes are compacted as become dead.
#[divan::bench(args = cases(), sample_size = 1)]
fn store_overwrite(bencher: Bencher<'_, '_>, case: Case) {
    let overwrite = |bench: &mut Bench, from| {
        bench.each(bench.there(from), |shard, key| {
            assert_eq!(store(shard, key), Written::Replaced);
        });
    };
    let warm_up = |bench: &mut Bench, from| {
        while bench.shard.stats().compacted_block_count == 0 {
            overwrite(bench, from);
        }
    };
    measure(bencher, case, warm_up, overwrite);
}

#[divan::bench(args = cases(), sample_size = 1)]
fn store_new(bencher: Bencher<'_, '_>, case: Case) {
    let remove_last = |bench: &mut Bench, from: u64| {
        if let Some(last) = from.checked_sub(bench.count) {
            bench.each(bench.absent(last), |shard, key| {
                assert_eq!(shard.remove(key, NOW_MS), Ok(true));
            });
        }
    };
    measure(bencher, case, remove_last, |bench, from| {
        bench.each(bench.absent(from), |shard, key| {
            assert_eq!(store(shard, key), Written::Fresh);
        });
    });
}

#[divan::bench(args = cases(), sample_size = 1)]
fn remove(bencher: Bencher<'_, '_>, case: Case) {
    let store_last = |bench: &mut Bench, from: u64| {
        if let Some(last) = from.checked_sub(bench.count) {
            bench.each(bench.there(last), |shard, key| {
                assert_eq!(store(shard, key), Written::Fresh);
            });
        }
    };
    measure(bencher, case, store_last, |bench, from| {
        bench.each(bench.there(from), |shard, key| {
            assert_eq!(shard.remove(key, NOW_MS), Ok(true));
        });
    });
}

/// A shard with its keys, and how to go through them.
struct Bench {
    shard: Shard,
    case: Case,
    count: u64,
    /// Where the next iteration begins in the order of keys.
    next: u64,
}

/// Measures `operate`; before each of its iterations, and outside the clock, comes `prepare`. Both
/// are given the place in the order of keys where the iteration begins.
fn measure(
    bencher: Bencher<'_, '_>,
    case: Case,
    prepare: impl Fn(&mut Bench, u64),
    operate: impl Fn(&mut Bench, u64),
) {
    let bench = RefCell::new(Bench::new(case));
    let count = bench.borrow().count;
    bencher
        .counter(ItemsCount::new(count))
        .with_inputs(|| {
            let bench = &mut *bench.borrow_mut();
            let from = bench.next;
            bench.next += count;
            prepare(bench, from);
            from
        })
        .bench_local_values(|from| operate(&mut bench.borrow_mut(), from));
}

impl Bench {
    fn new(case: Case) -> Self {
        let shard = Shard::embedded(Options {
            maxmemory_bytes: MAXMEMORY_BYTES,
            seeds: [1, 2, 3, 4],
        });
        let mut shard = shard.expect("address space");
        for number in 0..case.key_count {
            let bytes = key_of(number);
            let key = shard.key(&bytes);
            store(&mut shard, key);
        }
        Self {
            shard,
            case,
            count: COUNT_MAX.min(case.key_count),
            next: 0,
        }
    }

    /// Numbers of keys that are there: those of one iteration are all different.
    fn there(&self, from: u64) -> Numbers {
        Numbers {
            places: from..from + self.count,
            modulus: self.case.key_count,
            offset: 0,
        }
    }

    /// Numbers of keys that are not: no two iterations have one in common.
    fn absent(&self, from: u64) -> Numbers {
        Numbers {
            places: from..from + self.count,
            modulus: u64::MAX,
            offset: self.case.key_count,
        }
    }

    /// One operation on each key.
    #[inline(always)]
    fn each(&mut self, numbers: Numbers, operation: impl Fn(&mut Shard, Key<'_>)) {
        if !self.case.is_probed {
            for place in numbers.places.clone() {
                let bytes = key_of(numbers.at(place));
                let key = self.shard.key(&bytes);
                operation(&mut self.shard, key);
            }
            return;
        }
        let mut window = Vec::with_capacity(WINDOW_COUNT);
        for start in numbers.places.clone().step_by(WINDOW_COUNT) {
            let end = numbers.places.end.min(start + WINDOW_COUNT as u64);
            window.clear();
            for place in start..end {
                let bytes = key_of(numbers.at(place));
                let hash = self.shard.hasher().hash(&bytes);
                self.shard.prefetch_bucket(hash);
                window.push((bytes, hash));
            }
            let probes: [_; WINDOW_COUNT] = std::array::from_fn(|index| {
                let (_, hash) = window[index.min(window.len() - 1)];
                self.shard.probe(hash)
            });
            for ((bytes, _), probe) in window.iter().zip(probes) {
                operation(&mut self.shard, Key { bytes, probe });
            }
        }
    }
}

/// Numbers of keys, by their place in the order.
struct Numbers {
    places: Range<u64>,
    modulus: u64,
    offset: u64,
}

impl Numbers {
    fn at(&self, place: u64) -> u64 {
        self.offset + place * STRIDE % self.modulus
    }
}

/// A key of 16 bytes.
fn key_of(number: u64) -> [u8; 16] {
    let mut key = *b"key:key:........";
    key[8..].copy_from_slice(&number.to_le_bytes());
    key
}

#[inline(always)]
fn store(shard: &mut Shard, key: Key<'_>) -> Written {
    let written = shard.store(key, VALUE, Attributes::default(), NOW_MS);
    written.expect("there is room")
}
