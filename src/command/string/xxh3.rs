//! XXH3 of 64 bits, without a seed: what DIGEST says of a value, and IFDEQ compares.
//!
//! After its description (github.com/Cyan4973/xxHash, doc/xxhash_spec.md, version 0.2.0). Redis 8.4
//! takes the digest from the same function, so that clients can compute it themselves.
//!
//! Inputs over 240 bytes are read in blocks of sixteen stripes; [`Blocks`] can stop between them.

const P32: [u64; 3] = [0x9E37_79B1, 0x85EB_CA77, 0xC2B2_AE3D];
const P64: [u64; 5] = [
    0x9E37_79B1_85EB_CA87,
    0xC2B2_AE3D_27D4_EB4F,
    0x1656_67B1_9E37_79F9,
    0x85EB_CA77_C2B2_AE63,
    0x27D4_EB2F_1656_67C5,
];
const MIX: [u64; 2] = [0x1656_6791_9E37_79F9, 0x9FB2_1C65_1E98_DF25];
/// The default secret of XXH3.
const SECRET: [u8; 192] = *b"\
\xb8\xfe\x6c\x39\x23\xa4\x4b\xbe\x7c\x01\x81\x2c\xf7\x21\xad\x1c\xde\xd4\x6d\xe9\x83\x90\x97\xdb\
\x72\x40\xa4\xa4\xb7\xb3\x67\x1f\xcb\x79\xe6\x4e\xcc\xc0\xe5\x78\x82\x5a\xd0\x7d\xcc\xff\x72\x21\
\xb8\x08\x46\x74\xf7\x43\x24\x8e\xe0\x35\x90\xe6\x81\x3a\x26\x4c\x3c\x28\x52\xbb\x91\xc3\x00\xcb\
\x88\xd0\x65\x8b\x1b\x53\x2e\xa3\x71\x64\x48\x97\xa2\x0d\xf9\x4e\x38\x19\xef\x46\xa9\xde\xac\xd8\
\xa8\xfa\x76\x3f\xe3\x9c\x34\x3f\xf9\xdc\xbb\xc7\xc7\x0b\x4f\x1d\x8a\x51\xe0\x4b\xcd\xb4\x59\x31\
\xc8\x9f\x7e\xc9\xd9\x78\x73\x64\xea\xc5\xac\x83\x34\xd3\xeb\xc3\xc5\x81\xa0\xff\xfa\x13\x63\xeb\
\x17\x0d\xdd\x51\xb7\xf0\xda\x49\xd3\x16\x55\x26\x29\xd4\x68\x9e\x2b\x16\xbe\x58\x7d\x47\xa1\xfc\
\x8f\xf8\xb8\xd1\x7a\xd0\x31\xce\x45\xcb\x3a\x8f\x95\x16\x04\x28\xaf\xd7\xfb\xca\xbb\x4b\x40\x7e";
const SECRET_LEN_MIN_BYTES: usize = 136;
const STRIPE_LEN_BYTES: usize = 64;
/// Bytes by which the secret moves from stripe to stripe.
const SECRET_STEP_BYTES: usize = 8;
const STRIPES_PER_BLOCK: usize = (SECRET.len() - STRIPE_LEN_BYTES) / SECRET_STEP_BYTES;
/// Bytes of a block.
pub(super) const BLOCK_LEN_BYTES: usize = STRIPES_PER_BLOCK * STRIPE_LEN_BYTES;
/// Longest input that is not read in blocks.
const WHOLE_LEN_MAX_BYTES: usize = 240;

/// The hash of `input`.
pub(super) fn xxh3(input: &[u8]) -> u64 {
    let len = input.len() as u64;
    match input.len() {
        0 => avalanche_64(secret(56) ^ secret(64)),
        1..=3 => {
            let [first, middle, last] =
                [input[0], input[input.len() / 2], input[input.len() - 1]].map(u64::from);
            let combined = first << 16 | middle << 24 | last | len << 8;
            avalanche_64(combined ^ u64::from(read32(&SECRET, 0) ^ read32(&SECRET, 4)))
        }
        4..=8 => {
            let (first, last) = (read32(input, 0), read32(input, input.len() - 4));
            let both = u64::from(last) | u64::from(first) << 32;
            strong_avalanche(both ^ secret(8) ^ secret(16), len)
        }
        9..=16 => {
            let low = read64(input, 0) ^ secret(24) ^ secret(32);
            let high = read64(input, input.len() - 8) ^ secret(40) ^ secret(48);
            let folded = fold(low, high);
            avalanche(sum([len, low.swap_bytes(), high, folded]))
        }
        17..=128 => {
            let pairs = (input.len() - 1) / 32;
            let mixed = (0..=pairs).map(|pair| {
                let front = mix16(input, pair * 16, pair * 32);
                let back = mix16(input, input.len() - 16 * (pair + 1), pair * 32 + 16);
                front.wrapping_add(back)
            });
            avalanche(sum(mixed).wrapping_add(len.wrapping_mul(P64[0])))
        }
        129..=WHOLE_LEN_MAX_BYTES => {
            let front = sum((0..8).map(|at| mix16(input, at * 16, at * 16)));
            let front = avalanche(front.wrapping_add(len.wrapping_mul(P64[0])));
            let rest = (8..input.len() / 16).map(|at| mix16(input, at * 16, (at - 8) * 16 + 3));
            let last = mix16(input, input.len() - 16, SECRET_LEN_MIN_BYTES - 17);
            avalanche(sum(rest).wrapping_add(front).wrapping_add(last))
        }
        _ => {
            let mut blocks = Blocks::default();
            blocks.go_on(input, usize::MAX);
            blocks.finish(input)
        }
    }
}

/// The hash of a long input, on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Blocks {
    sums: [u64; 8],
    done: usize,
}

impl Default for Blocks {
    fn default() -> Self {
        Self {
            sums: [
                P32[2], P64[0], P64[1], P64[2], P64[3], P32[1], P64[4], P32[0],
            ],
            done: 0,
        }
    }
}

impl Blocks {
    /// Reads at most `count_max` of the blocks that come before the last; whether all are done.
    pub(super) fn go_on(&mut self, input: &[u8], count_max: usize) -> bool {
        let all = (input.len() - 1) / BLOCK_LEN_BYTES;
        let end = self.done.saturating_add(count_max).min(all);
        for block in self.done..end {
            self.read_stripes(&input[block * BLOCK_LEN_BYTES..][..BLOCK_LEN_BYTES]);
            self.scramble();
        }
        self.done = end;
        end == all
    }

    /// The hash, when all blocks but the last are done.
    pub(super) fn finish(mut self, input: &[u8]) -> u64 {
        let rest = &input[self.done * BLOCK_LEN_BYTES..input.len() - 1];
        self.read_stripes(rest);
        let last = &input[input.len() - STRIPE_LEN_BYTES..];
        self.read_stripe(last, SECRET.len() - STRIPE_LEN_BYTES - 7);
        let pairs = (0..4).map(|pair| {
            let [one, other] = [2 * pair, 2 * pair + 1];
            let keys = [secret(11 + 16 * pair), secret(11 + 16 * pair + 8)];
            fold(self.sums[one] ^ keys[0], self.sums[other] ^ keys[1])
        });
        avalanche(sum(pairs).wrapping_add((input.len() as u64).wrapping_mul(P64[0])))
    }

    /// Its state, for [`Self::from_words`].
    pub(super) fn words(&self) -> [u64; 9] {
        let mut words = [self.done as u64; 9];
        words[..8].copy_from_slice(&self.sums);
        words
    }

    /// The one whose [`Self::words`] these are.
    pub(super) fn from_words(words: [u64; 9]) -> Self {
        let [sums @ .., done] = words;
        Self {
            sums,
            done: usize::try_from(done).expect("it was one"),
        }
    }

    /// Reads the whole stripes of at most a block.
    fn read_stripes(&mut self, bytes: &[u8]) {
        for (at, stripe) in bytes.chunks_exact(STRIPE_LEN_BYTES).enumerate() {
            self.read_stripe(stripe, at * SECRET_STEP_BYTES);
        }
    }

    fn read_stripe(&mut self, stripe: &[u8], secret_at: usize) {
        for lane in 0..8 {
            let data = read64(stripe, lane * 8);
            let key = data ^ secret(secret_at + lane * 8);
            let product = (key & u64::from(u32::MAX)).wrapping_mul(key >> 32);
            self.sums[lane ^ 1] = self.sums[lane ^ 1].wrapping_add(data);
            self.sums[lane] = self.sums[lane].wrapping_add(product);
        }
    }

    fn scramble(&mut self) {
        for (lane, sum) in self.sums.iter_mut().enumerate() {
            let key = secret(SECRET.len() - STRIPE_LEN_BYTES + lane * 8);
            *sum = (*sum ^ (*sum >> 47) ^ key).wrapping_mul(P32[0]);
        }
    }
}

fn sum(terms: impl IntoIterator<Item = u64>) -> u64 {
    terms.into_iter().fold(0, u64::wrapping_add)
}

fn secret(at: usize) -> u64 {
    read64(&SECRET, at)
}

#[inline]
fn read64(bytes: &[u8], at: usize) -> u64 {
    let eight = bytes[at..].first_chunk().expect("so many are left");
    u64::from_le_bytes(*eight)
}

fn read32(bytes: &[u8], at: usize) -> u32 {
    let four = bytes[at..].first_chunk().expect("so many are left");
    u32::from_le_bytes(*four)
}

/// The upper and the lower half of a product, one on the other.
fn fold(left: u64, right: u64) -> u64 {
    let product = u128::from(left) * u128::from(right);
    let low = product & u128::from(u64::MAX);
    u64::try_from((product >> 64) ^ low).expect("two halves")
}

fn mix16(input: &[u8], at: usize, secret_at: usize) -> u64 {
    fold(
        read64(input, at) ^ secret(secret_at),
        read64(input, at + 8) ^ secret(secret_at + 8),
    )
}

fn avalanche(hash: u64) -> u64 {
    let hash = (hash ^ (hash >> 37)).wrapping_mul(MIX[0]);
    hash ^ (hash >> 32)
}

/// That of XXH64.
fn avalanche_64(hash: u64) -> u64 {
    let hash = (hash ^ (hash >> 33)).wrapping_mul(P64[1]);
    let hash = (hash ^ (hash >> 29)).wrapping_mul(P64[2]);
    hash ^ (hash >> 32)
}

fn strong_avalanche(hash: u64, len: u64) -> u64 {
    let hash = hash ^ hash.rotate_left(49) ^ hash.rotate_left(24);
    let hash = hash.wrapping_mul(MIX[1]);
    let hash = (hash ^ (hash >> 35).wrapping_add(len)).wrapping_mul(MIX[1]);
    hash ^ (hash >> 28)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lengths around every bound, and what the `xxhash` package of Python (0.8.2 of the C library
    /// within) says of so many bytes of [`input`].
    const KNOWN: &[(usize, u64)] = &[
        (0, 0x2d06_8005_38d3_94c2),
        (1, 0xc44b_dff4_074e_ecdb),
        (3, 0x6811_538b_444f_c6dc),
        (4, 0xed50_3340_c589_a28b),
        (8, 0xe5b4_3ab0_74c9_c13b),
        (9, 0x089b_8d25_b20f_b877),
        (16, 0x0a0e_c5ae_8679_cb7f),
        (17, 0x57c5_2d21_ce49_2c1e),
        (32, 0x8e62_a5f6_7100_f10d),
        (33, 0xbc16_fc6b_4257_1f75),
        (64, 0x7714_914b_0d79_4113),
        (65, 0xdd17_52f7_2380_1bbc),
        (96, 0x7f31_6343_f379_455b),
        (97, 0x0c5d_e558_2128_3dde),
        (128, 0x6960_69c4_f1e6_a91a),
        (129, 0xb1ad_a522_8575_7beb),
        (143, 0x9e0a_3a7f_8ef4_2c36),
        (144, 0x8d31_3a49_64e2_87f0),
        (240, 0xb802_8483_7259_eee4),
        (241, 0x44db_d318_0a66_4e27),
        (512, 0xb3ce_5abe_feb9_30b1),
        (1024, 0xd1ab_b5db_d520_32f9),
        (1025, 0xa390_8b11_6ddf_0191),
        (1088, 0x73a4_a4f2_0d1a_da67),
        (2048, 0x597c_efa0_9847_8059),
        (4999, 0x8410_2c07_fc8b_d186),
    ];

    fn input(len_bytes: usize) -> Vec<u8> {
        let byte = |at: usize| u8::try_from((at * 131 + (at >> 8) * 7) & 0xFF).expect("masked");
        (0..len_bytes).map(byte).collect()
    }

    #[test]
    fn inputs_of_every_kind_have_the_known_hash() {
        for (len_bytes, hash) in KNOWN {
            assert_eq!(xxh3(&input(*len_bytes)), *hash, "{len_bytes}");
        }
    }

    #[test]
    fn blocks_can_be_read_one_at_a_time() {
        let input = input(10 * BLOCK_LEN_BYTES + 100);
        let mut blocks = Blocks::default();
        while !blocks.go_on(&input, 3) {
            blocks = Blocks::from_words(blocks.words());
        }
        assert_eq!(blocks.finish(&input), xxh3(&input));
    }
}
