//! The checksum that closes an RDB file and a DUMP payload.
//!
//! CRC-64 with Jones's polynomial 0xad93d23594c935a9, bits reflected, start 0, no final
//! inversion, as in Redis's `crc64.c`. Eight bytes a step, by tables ("slicing by 8", Intel
//! 2006), because a file of many gigabytes is read through it.

/// `TABLES[k][b]`: the checksum of byte `b` followed by `k` zero bytes.
static TABLES: [[u64; 256]; 8] = tables();

/// The polynomial, lowest coefficient in the highest bit.
const POLYNOMIAL_REFLECTED: u64 = 0xad93_d235_94c9_35a9_u64.reverse_bits();

/// The checksum of what `before` is the checksum of, followed by `bytes`. It begins with 0.
#[must_use]
pub(super) fn crc64(before: u64, bytes: &[u8]) -> u64 {
    let mut crc = before;
    let (eights, rest) = bytes.as_chunks::<8>();
    for eight in eights {
        let mixed = crc ^ u64::from_le_bytes(*eight);
        let [b0, b1, b2, b3, b4, b5, b6, b7] = mixed.to_le_bytes().map(usize::from);
        crc = TABLES[7][b0]
            ^ TABLES[6][b1]
            ^ TABLES[5][b2]
            ^ TABLES[4][b3]
            ^ TABLES[3][b4]
            ^ TABLES[2][b5]
            ^ TABLES[1][b6]
            ^ TABLES[0][b7];
    }
    for &byte in rest {
        let [low, ..] = crc.to_le_bytes();
        crc = (crc >> 8) ^ TABLES[0][usize::from(low ^ byte)];
    }
    crc
}

const fn tables() -> [[u64; 256]; 8] {
    let mut tables = [[0u64; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u64;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 0 {
                crc >> 1
            } else {
                (crc >> 1) ^ POLYNOMIAL_REFLECTED
            };
            bit += 1;
        }
        tables[0][byte] = crc;
        byte += 1;
    }
    let mut zero_count = 1;
    while zero_count < 8 {
        let mut byte = 0;
        while byte < 256 {
            let before = tables[zero_count - 1][byte];
            tables[zero_count][byte] = (before >> 8) ^ tables[0][(before & 0xFF) as usize];
            byte += 1;
        }
        zero_count += 1;
    }
    tables
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_redis_s() {
        // From the self-test of Redis's crc64.c.
        assert_eq!(crc64(0, b"123456789"), 0xe9c6_d914_c4b8_d9ca);
    }

    #[test]
    fn pieces_give_the_checksum_of_the_whole() {
        let bytes: Vec<u8> = (0..100u8).map(|i| i.wrapping_mul(37)).collect();
        let whole = crc64(0, &bytes);
        for cut in 0..bytes.len() {
            let (one, other) = bytes.split_at(cut);
            assert_eq!(crc64(crc64(0, one), other), whole, "cut at {cut}");
        }
    }
}
