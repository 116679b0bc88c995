//! docs/FORMAT.md, read literally: a file of each version, taken apart by the offsets given there and
//! without the library's help, and then opened.
//!
//! A fixture is a file that the program of its time wrote, as text. It is never made again: a later
//! program must read it, or say which version it is.

mod common;

use common::images::{from_text, to_text};
use common::process::Folder;
use coremap::region::{Access, FileOptions, Region, RegionOptions};

const VERSION_1: &str = include_str!("fixtures/format-1.txt");

/// The bytes of a fixture, up to the end of the header.
fn header() -> Vec<u8> {
    let folder = Folder::new();
    let path = folder.path().join("coremap.data");
    from_text(VERSION_1, &path);
    let mut bytes = vec![0; 256 * 1024];
    let file = std::fs::File::open(path).expect("just written");
    std::os::unix::fs::FileExt::read_exact_at(&file, &mut bytes, 0).expect("long enough");
    bytes
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(bytes[at..at + 2].try_into().expect("two bytes"))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

/// CRC-32C, bit by bit.
fn crc32c<'a>(bytes: impl IntoIterator<Item = &'a u8>) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ if crc & 1 == 1 { 0x82f6_3b78 } else { 0 };
        }
    }
    !crc
}

#[test]
fn the_checksum_is_the_one_of_its_standard() {
    // RFC 3720, B.4: 32 bytes of zeros.
    assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
}

#[test]
fn superblocks_of_version_one_are_where_the_document_says() {
    let header = header();
    for copy in [&header[..64 * 1024], &header[64 * 1024..128 * 1024]] {
        assert_eq!(&copy[..8], b"COREMAP\n");
        assert_eq!(u32_at(copy, 8), 1);
        let end = 256 + 2 * 16;
        let covered = copy[..12].iter().chain(&copy[16..end]);
        assert_eq!(u32_at(copy, 12), crc32c(covered));
        assert_eq!(u64_at(copy, 24), 0x0123_4567_89ab_cdef, "secret");
        assert_eq!(u32_at(copy, 40), 256 * 1024, "block length");
        assert_eq!(u32_at(copy, 44), 1, "first block");
        assert_eq!(u32_at(copy, 48), 88, "block count");
        assert_eq!(u64_at(copy, 56), 128 << 30, "large area");
        assert_eq!(u32_at(copy, 64), 1, "generations");
        let generation = (u32_at(copy, 72), u32_at(copy, 76), u64_at(copy, 80));
        assert_eq!(generation, (1, 2, 1));
        assert!(copy[88..256].iter().all(|&byte| byte == 0));
    }
    let [a, b] = [&header[..], &header[64 * 1024..]];
    assert_eq!(u64_at(a, 16) % 2, 0);
    assert_eq!(u64_at(b, 16) % 2, 1);
    let newer = if u64_at(a, 16) > u64_at(b, 16) { a } else { b };
    let pairs = [256, 272].map(|at| (u64_at(newer, at), u64_at(newer, at + 8)));
    let position = |sequence: u64, within: u64| sequence * 256 * 1024 + within;
    assert_eq!(
        pairs,
        [
            (position(3, 80), position(3, 80)),
            (position(1, 160), position(1, 160))
        ]
    );
    assert_eq!(u32_at(newer, 52), 1, "closed in order");
}

#[test]
fn entries_of_version_one_are_where_the_document_says() {
    let header = header();
    let mut states = Vec::new();
    for block in 0..88u32 {
        let at = 128 * 1024 + 8 * block as usize;
        let word = u64_at(&header, at);
        let body = word & ((1 << 48) - 1);
        let mut covered = body.to_le_bytes().to_vec();
        covered.extend(block.to_le_bytes());
        covered.extend(0x0123_4567_89ab_cdef_u64.to_le_bytes());
        assert_eq!(
            u32::from(u16_at(&header, at + 6)),
            crc32c(&covered) & 0xffff
        );
        let (state, owner, sequence) = (body & 3, body >> 2 & 1023, body >> 12);
        if state != 1 {
            states.push((block, state, owner, sequence));
        } else {
            assert_eq!((owner, sequence), (0, 0));
        }
    }
    let expected = [(1, 3, 0, 1), (2, 2, 0, 2), (3, 2, 0, 3), (4, 2, 1, 1)];
    assert_eq!(states, expected);
}

#[test]
fn a_file_of_version_one_opens() {
    let folder = Folder::new();
    let path = folder.path().join("coremap.data");
    from_text(VERSION_1, &path);
    let region = RegionOptions {
        maxmemory_bytes: 4 << 20,
        shard_count: 2,
    };
    let options = FileOptions::new(region, Access::Inspect);
    let (region, found) = Region::open(folder.path(), options).expect("readable for ever");
    assert!(found.is_clean);
    let blocks: Vec<_> = found
        .blocks
        .iter()
        .map(|found| {
            (
                found.block.get(),
                found.is_freed,
                found.owner,
                found.sequence,
            )
        })
        .collect();
    let expected = [
        (1, true, 0, 1),
        (2, false, 0, 2),
        (3, false, 0, 3),
        (4, false, 1, 1),
    ];
    assert_eq!(blocks, expected);
    let seal = region.block_seal(found.blocks[3].block);
    assert_eq!((seal.at(0), seal.at(8)), (0x17f8_24ba, 0xfc2b_9c79));
    drop(region);
    assert!(
        VERSION_1.ends_with(&to_text(&path)),
        "inspecting changes nothing"
    );
}
