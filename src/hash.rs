//! Where a key belongs: every bit field of every hash in the program, in this one file.
//!
//! ```text
//!  cluster slot: CRC16(key, or its {hash tag}) mod 16,384, scaled to the shards
//!                stable over restarts, builds and machines; nothing else decides the shard
//!
//!  key hash (ahash, secret seeds):
//!    63                    40 39        32 31                          0
//!    ┌───────────────────────┬────────────┬─────────────────────────────┐
//!    │ tag, 24 bits:         │ distance   │ home bucket within the      │
//!    │ the directory uses    │ to the     │ segment, scaled: any number │
//!    │ its top bits          │ other one  │ of buckets, no division     │
//!    └───────────────────────┴────────────┴─────────────────────────────┘
//! ```
//!
//! The other bucket a key may be in is 1 to 256 after its home. Were it always the next, full
//! buckets would fill their neighbours and segments would overflow at 70 % instead of 86 %.
//!
//! The fields never overlap, so a bucket's keys are spread over all tags and a segment's keys over
//! all buckets. The key hash differs between builds, machines and seeds: nothing derived from it
//! is ever stored where another process could read it.

use std::hash::{BuildHasher as _, Hasher as _};

/// Bits of a tag: the fingerprint of a slot, whose top bits choose the segment.
pub const TAG_BITS: u32 = 24;
/// Cluster slots, as in Redis Cluster.
pub const CLUSTER_SLOT_COUNT: u16 = 16_384;

/// The hash of one key, computed once per command and handed along with the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyHash(u64);

impl KeyHash {
    /// Takes 64 bits of a keyed hash as they are.
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// All 64 bits.
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// The top 24 bits: directory index first, fingerprint after.
    #[inline]
    #[must_use]
    pub const fn tag(self) -> u32 {
        (self.0 >> (64 - TAG_BITS)) as u32
    }

    /// The two buckets among `bucket_count`, more than 256, that the key may be in.
    #[inline]
    #[must_use]
    pub const fn buckets(self, bucket_count: u32) -> [u32; 2] {
        let home = self.home_bucket(bucket_count);
        let other = home + 1 + (self.0 >> 32 & 0xFF) as u32;
        [
            home,
            if other < bucket_count {
                other
            } else if cfg!(loom) {
                // The model checker's segments are shorter than the distance.
                other % bucket_count
            } else {
                other - bucket_count
            },
        ]
    }

    /// The bucket at home among `bucket_count`: the low 32 bits, scaled.
    #[inline]
    #[must_use]
    const fn home_bucket(self, bucket_count: u32) -> u32 {
        (((self.0 & 0xFFFF_FFFF) * bucket_count as u64) >> 32) as u32
    }
}

/// The keyed hash function of one server: the same seeds on every core.
#[derive(Clone)]
pub struct Hasher {
    state: ahash::RandomState,
}

impl Hasher {
    /// A hash function that only those who know `seeds` can predict.
    #[must_use]
    pub fn new(seeds: [u64; 4]) -> Self {
        let [a, b, c, d] = seeds;
        Self {
            state: ahash::RandomState::with_seeds(a, b, c, d),
        }
    }

    /// The hash of `key`.
    #[inline]
    #[must_use]
    pub fn hash(&self, key: &[u8]) -> KeyHash {
        let mut hasher = self.state.build_hasher();
        hasher.write(key);
        KeyHash(hasher.finish())
    }
}

impl std::fmt::Debug for Hasher {
    /// Says nothing: the seeds are secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hasher")
    }
}

/// The Redis Cluster slot of `key`: CRC16 of the key, or of the part between its first `{` and
/// the next `}` when that part is not empty.
#[inline]
#[must_use]
pub fn cluster_slot(key: &[u8]) -> u16 {
    crc16(hash_tag(key)) % CLUSTER_SLOT_COUNT
}

/// The shard that owns `slot`: slots are cut into `shard_count` runs of nearly equal length.
#[inline]
#[must_use]
#[expect(
    clippy::cast_possible_truncation,
    reason = "less than shard_count, which is a u16"
)]
pub const fn shard_of_slot(slot: u16, shard_count: u16) -> u16 {
    (slot as u32 * shard_count as u32 / CLUSTER_SLOT_COUNT as u32) as u16
}

/// The part of `key` that decides its slot.
#[inline]
fn hash_tag(key: &[u8]) -> &[u8] {
    if !has_brace(key) {
        return key;
    }
    let Some(open) = key.iter().position(|&byte| byte == b'{') else {
        return key;
    };
    let inner = &key[open + 1..];
    match inner.iter().position(|&byte| byte == b'}') {
        Some(close) if close > 0 => &inner[..close],
        _ => key,
    }
}

/// Whether `key` may hold a `{`, eight bytes at a time: nearly no key does.
#[inline]
fn has_brace(key: &[u8]) -> bool {
    let (eights, rest) = key.as_chunks::<8>();
    let is_in = |eight: &[u8; 8]| {
        // A byte is zero where the key has a brace; the test for a zero byte may err towards yes.
        let differences = u64::from_le_bytes(*eight) ^ (ONES * u64::from(b'{'));
        differences.wrapping_sub(ONES) & !differences & (ONES << 7) != 0
    };
    eights.iter().any(is_in) || rest.contains(&b'{')
}

/// One in every byte.
const ONES: u64 = u64::MAX / 0xFF;

/// CRC16 with polynomial 0x1021, start 0, most significant bit first (XMODEM), eight bytes a step.
#[inline]
fn crc16(bytes: &[u8]) -> u16 {
    let (eights, rest) = bytes.as_chunks::<8>();
    let mut crc = 0u16;
    for &[b0, b1, b2, b3, b4, b5, b6, b7] in eights {
        let [high, low] = [(crc >> 8) as u8, (crc & 0xFF) as u8];
        crc = CRC16[7][(b0 ^ high) as usize]
            ^ CRC16[6][(b1 ^ low) as usize]
            ^ CRC16[5][b2 as usize]
            ^ CRC16[4][b3 as usize]
            ^ CRC16[3][b4 as usize]
            ^ CRC16[2][b5 as usize]
            ^ CRC16[1][b6 as usize]
            ^ CRC16[0][b7 as usize];
    }
    for &byte in rest {
        crc = (crc << 8) ^ CRC16[0][((crc >> 8) as u8 ^ byte) as usize];
    }
    crc
}

/// `CRC16[k][b]`: the CRC of byte `b` followed by `k` zero bytes.
static CRC16: [[u16; 256]; 8] = crc16_tables();

#[expect(clippy::cast_possible_truncation, reason = "byte is below 256")]
const fn crc16_tables() -> [[u16; 256]; 8] {
    let mut tables = [[0u16; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = (byte as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000 == 0 {
                crc << 1
            } else {
                (crc << 1) ^ 0x1021
            };
            bit += 1;
        }
        tables[0][byte] = crc;
        byte += 1;
    }
    let mut zeros = 1;
    while zeros < 8 {
        let mut byte = 0;
        while byte < 256 {
            let before = tables[zeros - 1][byte];
            tables[zeros][byte] = (before << 8) ^ tables[0][(before >> 8) as usize];
            byte += 1;
        }
        zeros += 1;
    }
    tables
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_redis_cluster() {
        // From the cluster specification, and `CLUSTER KEYSLOT` of Redis 7.0.
        assert_eq!(crc16(b"123456789"), 0x31C3);
        assert_eq!(cluster_slot(b"foo"), 12_182);
        assert_eq!(cluster_slot(b"bar"), 5_061);
        assert_eq!(cluster_slot(b""), 0);
    }

    #[test]
    fn eight_bytes_a_step_equal_one_bit_a_step() {
        let bytes: Vec<u8> = (0..100u8).map(|i| i.wrapping_mul(37)).collect();
        for len in 0..bytes.len() {
            let mut slow = 0u16;
            for &byte in &bytes[..len] {
                slow ^= u16::from(byte) << 8;
                for _ in 0..8 {
                    slow = if slow & 0x8000 == 0 {
                        slow << 1
                    } else {
                        (slow << 1) ^ 0x1021
                    };
                }
            }
            assert_eq!(crc16(&bytes[..len]), slow, "length {len}");
        }
    }

    #[test]
    fn a_hash_tag_is_found_wherever_it_begins() {
        for start in 0..20 {
            let key = format!("{}{{tag}}{}", "-".repeat(start), "x".repeat(start % 5));
            assert_eq!(cluster_slot(key.as_bytes()), cluster_slot(b"tag"), "{key}");
        }
        // Bytes around the brace's code are none.
        assert_eq!(
            cluster_slot(b"zzz|||yyy"),
            crc16(b"zzz|||yyy") % CLUSTER_SLOT_COUNT
        );
    }

    #[test]
    fn only_a_nonempty_hash_tag_decides_the_slot() {
        assert_eq!(
            cluster_slot(b"{user1000}.following"),
            cluster_slot(b"user1000")
        );
        assert_eq!(cluster_slot(b"foo{}{bar}"), crc16(b"foo{}{bar}") % 16_384);
        assert_eq!(cluster_slot(b"foo{{bar}}zap"), cluster_slot(b"{bar"));
        assert_eq!(cluster_slot(b"foo{bar}{zap}"), cluster_slot(b"bar"));
        assert_eq!(cluster_slot(b"foo{bar"), crc16(b"foo{bar") % 16_384);
    }

    #[test]
    fn every_shard_owns_a_run_of_slots() {
        for shard_count in [1u16, 2, 3, 8, 1024] {
            let owners: Vec<u16> = (0..16_384)
                .map(|slot| shard_of_slot(slot, shard_count))
                .collect();
            assert!(owners.is_sorted());
            assert_eq!((owners[0], owners[16_383]), (0, shard_count - 1));
        }
    }

    #[test]
    fn fields_of_the_key_hash_do_not_overlap() {
        let hash = KeyHash::from_bits(0xABCD_EF00_8000_0000);
        assert_eq!(hash.tag(), 0xABCDEF);
        assert_eq!(hash.home_bucket(2044), 1022);
        assert_eq!(hash.buckets(2044), [1022, 1023]);
        assert_eq!(KeyHash::from_bits(u64::MAX).buckets(2044), [2043, 255]);
    }

    #[test]
    fn equal_seeds_give_equal_hashes() {
        let hasher = Hasher::new([1, 2, 3, 4]);
        assert_eq!(hasher.hash(b"key"), Hasher::new([1, 2, 3, 4]).hash(b"key"));
        assert_ne!(hasher.hash(b"key"), Hasher::new([1, 2, 3, 5]).hash(b"key"));
        assert_ne!(hasher.hash(b"a"), hasher.hash(b"a\0"));
    }
}
