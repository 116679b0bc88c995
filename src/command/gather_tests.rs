//! Commands over values of several keys: on one shard and on several, small and large, to the end
//! and given up.

use super::harness::{Harness, bulk};

/// Keys of which no two neighbours live on one of two shards.
fn keys(harness: &Harness, count: usize) -> Vec<String> {
    let mut keys: Vec<String> = Vec::new();
    for number in 0.. {
        let key = format!("k{number}");
        let owner = |key: &String| harness.owner(key.as_bytes());
        if keys.last().is_none_or(|last| owner(last) != owner(&key)) {
            keys.push(key);
        }
        if keys.len() == count {
            break;
        }
    }
    keys
}

fn pattern(len_bytes: usize, factor: usize) -> Vec<u8> {
    let byte = |at: usize| u8::try_from((at * factor + at / 251) & 0xFF).expect("masked");
    (0..len_bytes).map(byte).collect()
}

#[test]
fn strings_of_any_length_and_shard_are_combined_alike() {
    for shard_count in [1, 2] {
        let mut harness = Harness::with_memory(shard_count, 128 << 20);
        let keys = keys(&Harness::new(2), 4);
        for len_bytes in [10, 5000, 300_000, 3 << 20] {
            let values = [pattern(len_bytes, 7), pattern(len_bytes / 2, 11)];
            for (key, value) in keys.iter().zip(&values) {
                harness.run(&[b"SET", key.as_bytes(), value]);
            }
            let word = |at: usize| keys[at].as_bytes();
            let (a, b, target) = (word(0), word(1), word(2));
            let length = format!(":{len_bytes}\r\n").into_bytes();
            let byte = |value: &Vec<u8>, at| value.get(at).copied().unwrap_or(0);
            type Join = fn(u8, u8) -> u8;
            let operations: [(&[u8], Join); 3] = [
                (b"AND", |one, other| one & other),
                (b"or", |one, other| one | other),
                (b"XOR", |one, other| one ^ other),
            ];
            for (name, join) in operations {
                assert_eq!(harness.run(&[b"BITOP", name, target, a, b]), length);
                let due: Vec<u8> = (0..len_bytes)
                    .map(|at| join(byte(&values[0], at), byte(&values[1], at)))
                    .collect();
                assert!(bulk(&harness.run(&[b"GET", target])) == due, "{len_bytes}");
            }
            assert_eq!(harness.run(&[b"BITOP", b"NOT", a, a]), length);
            let due: Vec<u8> = values[0].iter().map(|byte| !byte).collect();
            assert!(bulk(&harness.run(&[b"GET", a])) == due);
            assert_eq!(
                harness.run(&[b"BITOP", b"OR", a, b"none", b"nor"]),
                b":0\r\n"
            );
            assert_eq!(harness.run(&[b"EXISTS", a]), b":0\r\n");
        }
    }
}

#[test]
fn what_is_given_up_leaves_nothing_behind() {
    for shard_count in [1, 2] {
        let mut harness = Harness::with_memory(shard_count, 48 << 20);
        let keys = keys(&Harness::new(2), 3);
        let [a, b, c] = [0, 1, 2].map(|at| keys[at].as_bytes());
        let value = pattern(5 << 20, 3);
        for key in [a, b] {
            harness.run(&[b"SET", key, &value]);
        }
        for calls in 1..4 {
            let mut left = calls;
            harness.between = Some(Box::new(move |_| {
                left -= 1;
                left > 0
            }));
            let long: [&[&[u8]]; 3] =
                [&[b"BITOP", b"AND", c, a, b], &[b"DUMP", a], &[b"DIGEST", a]];
            for command in long.iter().filter(|_| shard_count == 1) {
                harness.run(command);
                harness.between = None;
            }
        }
        harness.between = None;
        // There is no room for one more of them if anything was left.
        for _ in 0..20 {
            let reply = harness.run(&[b"BITOP", b"XOR", c, a, b]);
            assert_eq!(reply, b":5242880\r\n");
            assert_eq!(harness.run(&[b"DEL", c]), b":1\r\n");
        }
    }
}

#[test]
fn the_sources_count_as_they_were_when_the_command_began() {
    let mut harness = Harness::with_memory(1, 64 << 20);
    harness.run(&[b"SET", b"a", &vec![0xFF; 4 << 20]]);
    harness.run(&[b"SET", b"b", &vec![0xFF; 4 << 20]]);
    let mut is_first = true;
    harness.between = Some(Box::new(move |harness| {
        if std::mem::take(&mut is_first) {
            harness.run(&[b"SETBIT", b"a", b"33554431", b"0"]);
            harness.run(&[b"DEL", b"b"]);
        }
        true
    }));
    assert_eq!(
        harness.run(&[b"BITOP", b"AND", b"c", b"a", b"b"]),
        b":4194304\r\n"
    );
    assert!(harness.again_count > 2);
    harness.between = None;
    harness.expect(&[("BITCOUNT c", ":33554432"), ("BITCOUNT a", ":33554431")]);
}

#[test]
fn a_result_for_which_there_is_no_room_changes_nothing() {
    for shard_count in [1, 2] {
        let mut harness = Harness::with_memory(shard_count, 24 << 20);
        let keys = keys(&Harness::new(2), 3);
        let [a, b, c] = [0, 1, 2].map(|at| keys[at].as_bytes());
        harness.run(&[b"SET", a, &pattern(8 << 20, 3)]);
        harness.run(&[b"SET", b, b"x"]);
        harness.run(&[b"SET", c, b"kept"]);
        for _ in 0..3 {
            let reply = harness.run(&[b"BITOP", b"OR", c, a, b]);
            let is_refused = reply.starts_with(b"-OOM");
            assert!(is_refused || reply == b":8388608\r\n");
            if is_refused {
                assert_eq!(harness.run(&[b"GET", c]), b"$4\r\nkept\r\n");
            }
            harness.run(&[b"SET", c, b"kept"]);
        }
    }
}

#[test]
fn many_sketches_are_merged_in_slices() {
    for shard_count in [1, 2] {
        let mut harness = Harness::new(shard_count);
        let mut count: Vec<Vec<u8>> = vec![b"PFCOUNT".to_vec()];
        for number in 0..100 {
            let key = format!("s{number}").into_bytes();
            let element = number.to_string().into_bytes();
            harness.run(&[b"PFADD", &key, &element, b"same"]);
            count.push(key);
        }
        let words: Vec<&[u8]> = count.iter().map(Vec::as_slice).collect();
        assert_eq!(harness.run(&words), b":101\r\n");
        assert!(harness.again_count >= 3);
        let mut merge = words.clone();
        merge[0] = b"PFMERGE";
        merge.insert(1, b"target");
        assert_eq!(harness.run(&merge), b"+OK\r\n");
        harness.expect(&[("PFCOUNT target", ":101"), ("PFCOUNT target", ":101")]);
    }
}

#[test]
fn values_that_are_too_long_together_are_refused_and_let_go() {
    for shard_count in [1, 2] {
        // So much that blocks are as large as they get, and records as long.
        let mut harness = Harness::with_memory(shard_count, 1 << 30);
        let keys = keys(&Harness::new(2), 300);
        for key in &keys {
            harness.run(&[b"SET", key.as_bytes(), &[7; 250_000]]);
        }
        // Those that stay where they are count for nothing.
        let large = vec![8; 3 << 20];
        harness.run(&[b"SET", keys[0].as_bytes(), &large]);
        let words = |count: usize| {
            let mut words = vec![&b"BITOP"[..], b"OR", keys[299].as_bytes()];
            words.extend(keys[..count].iter().map(String::as_bytes));
            words
        };
        let refusal = b"-ERR source values are too long together\r\n";
        assert_eq!(harness.run(&words(299)), refusal);
        assert_eq!(harness.run(&words(260)), b":3145728\r\n");
        // A run that is still pinned would be kept beside what takes its place.
        let used_bytes = harness.shards[0].region().used_bytes();
        for _ in 0..30 {
            harness.run(&words(299));
            harness.run(&[b"SET", keys[0].as_bytes(), &large]);
        }
        for shard in &mut harness.shards {
            while shard.background(1 << 20) {}
        }
        assert!(harness.shards[0].region().used_bytes() <= used_bytes + (4 << 20));
    }
}
