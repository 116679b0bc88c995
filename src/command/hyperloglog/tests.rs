//! Sketches: Redis's bytes, and whatever a client may have SET instead.

use super::registers::{REGISTER_COUNT, Registers};
use super::sketch::Sketch;
use crate::command::Random;
use crate::command::harness::Harness;

#[test]
fn a_sketch_has_the_bytes_of_redis() {
    let mut harness = Harness::new(1);
    harness.expect(&[
        ("PFADD k", ":1"),
        ("PFADD k", ":0"),
        ("PFADD k a b c", ":1"),
    ]);
    // From redis-server 7.0.15.
    let due = b"$27\r\nHYLL\x01\0\0\0\0\0\0\0\0\0\0\x80`\xf3\x80P\xb1\x84K\xfb\x80BZ\r\n";
    assert_eq!(harness.run(&[b"GET", b"k"]), due);
    harness.expect(&[
        ("PFADD k a", ":0"),
        ("PFCOUNT k", ":3"),
        ("OBJECT ENCODING k", "$3\r\nraw"),
    ]);
    let counted = harness.run(&[b"GET", b"k"]);
    assert_eq!(counted[5..21], *b"HYLL\x01\0\0\0\x03\0\0\0\0\0\0\0");
}

#[test]
fn a_sparse_sketch_becomes_dense_and_says_the_same() {
    let mut harness = Harness::new(1);
    let mut sketch = Sketch::new();
    let mut registers: Box<Registers> = Box::new([0; REGISTER_COUNT]);
    let mut was_dense = false;
    for number in 0_u32..20_000 {
        let (register, value) = super::place_of(&number.to_le_bytes());
        let is_raised = sketch.raise(register, value).expect("it is whole");
        assert_eq!(is_raised, registers[register] < value);
        registers[register] = registers[register].max(value);
        if number % 997 == 0 || sketch.is_dense() != was_dense {
            was_dense = sketch.is_dense();
            let mut merged: Box<Registers> = Box::new([0; REGISTER_COUNT]);
            sketch.merge_into(&mut merged).expect("it is whole");
            assert!(merged == registers, "{number}");
        }
    }
    assert!(was_dense);
    assert_eq!(sketch.bytes().len(), 12_304);
    harness.run(&[b"SET", b"k", sketch.bytes()]);
    harness.expect(&[("PFMERGE other k", "+OK"), ("STRLEN other", ":12304")]);
}

#[test]
fn what_is_no_sketch_is_an_error_and_stays() {
    let mut harness = Harness::new(1);
    let wrong = "-WRONGTYPE Key is not a valid HyperLogLog string value.";
    harness.expect(&[
        ("SET k text", "+OK"),
        ("PFADD k a", wrong),
        ("PFCOUNT k", wrong),
        ("PFCOUNT k none", wrong),
        ("PFMERGE t k", wrong),
        ("EXISTS t", ":0"),
        ("GET k", "$4\r\ntext"),
        ("PFCOUNT none", ":0"),
    ]);
}

#[test]
fn hostile_sketches_are_an_error_and_never_a_panic() {
    let mut random = Random::new(11);
    let mut harness = Harness::new(1);
    let corrupt = b"-INVALIDOBJ Corrupted HLL object detected\r\n";
    let mut corrupt_count = 0;
    for round in 0..3000_u64 {
        let mut sketch = b"HYLL\x01\0\0\0\0\0\0\0\0\0\0\x80".to_vec();
        if round % 3 == 0 {
            let whole = Sketch::new();
            sketch = whole.bytes().to_vec();
            sketch[15] = 0x80;
        }
        let extra = random.below(60);
        sketch.extend((0..extra).map(|_| random.next_u64().to_le_bytes()[0]));
        harness.run(&[b"SET", b"k", &sketch]);
        for command in [
            &[&b"PFADD"[..], b"k", b"a", b"b", b"c"][..],
            &[b"PFCOUNT", b"k"],
            &[b"PFCOUNT", b"k", b"none"],
            &[b"PFMERGE", b"t", b"k"],
        ] {
            let reply = harness.run(command);
            corrupt_count += usize::from(reply == corrupt);
            assert!(reply == corrupt || reply[0] != b'-', "{sketch:?}");
        }
    }
    assert!(corrupt_count > 1000);
}
