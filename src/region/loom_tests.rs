//! Every interleaving of shards and lanes that publish and a thread that runs rounds: the shipped
//! words, with loom's atomics.

use std::sync::Arc;

use loom::model::Builder;
use loom::thread;

use super::rounds::{Rounds, Vectors};

/// Runs `test` in every interleaving.
fn model(test: impl Fn() + Send + Sync + 'static) {
    let mut builder = Builder::new();
    builder.max_branches = 100_000;
    builder.check(test);
}

/// What the syncing thread does, without a disk.
fn run_round(rounds: &Rounds, vectors: &mut Vectors) -> u64 {
    let began = rounds.begin(vectors);
    let round = began.round;
    rounds.complete(began, vectors);
    round
}

#[test]
fn the_round_that_is_needed_covers_what_was_published_before() {
    model(|| {
        let rounds = Arc::new(Rounds::new(1, true));
        let shard = Arc::clone(&rounds);
        let writer = thread::spawn(move || {
            shard.publish(0, 8);
            shard.needed()
        });
        let mut vectors = Vectors::settled_at(vec![0], vec![0]);
        let mut synced = vec![(0, 0)];
        for _ in 0..2 {
            let round = run_round(&rounds, &mut vectors);
            synced.push((round, vectors.synced[0]));
        }
        let needed = writer.join().expect("the writer does not panic");
        assert!(
            synced
                .iter()
                .all(|&(round, position)| round < needed || position == 8)
        );
    });
}

#[test]
fn who_sees_a_round_durable_sees_what_it_covers() {
    model(|| {
        let rounds = Arc::new(Rounds::new(1, true));
        let shard = Arc::clone(&rounds);
        let writer = thread::spawn(move || {
            shard.publish(0, 8);
            let needed = shard.needed();
            if shard.is_durable(needed) {
                assert!(shard.is_synced(0));
            }
        });
        let mut vectors = Vectors::settled_at(vec![0], vec![0]);
        run_round(&rounds, &mut vectors);
        writer.join().expect("the writer does not panic");
    });
}

#[test]
fn what_is_settled_has_its_commit_record_before_what_is_synced() {
    const MEMBER: u64 = 8;
    const COMMIT: u64 = 16;
    model(|| {
        let rounds = Arc::new(Rounds::new(1, true));
        let lane = Arc::clone(&rounds);
        let writer = thread::spawn(move || {
            let opened = lane.open_transaction(0);
            lane.publish(0, MEMBER);
            lane.publish(0, COMMIT);
            lane.close_transaction(0, opened);
        });
        let mut vectors = Vectors::settled_at(vec![0], vec![0]);
        for _ in 0..3 {
            run_round(&rounds, &mut vectors);
            assert!(vectors.settled[0] < MEMBER || vectors.synced[0] >= COMMIT);
        }
        writer.join().expect("the writer does not panic");
    });
}

#[test]
fn members_on_two_shards_are_settled_only_after_the_commit_record() {
    const MEMBER: u64 = 8;
    const COMMIT: u64 = 16;
    model(|| {
        let rounds = Arc::new(Rounds::new(2, true));
        let lane = Arc::clone(&rounds);
        let other = Arc::clone(&rounds);
        let writer = thread::spawn(move || {
            let opened = lane.open_transaction(0);
            let part = thread::spawn(move || other.publish(1, MEMBER));
            part.join().expect("the other shard does not panic");
            lane.publish(0, COMMIT);
            lane.close_transaction(0, opened);
        });
        let mut vectors = Vectors::settled_at(vec![0; 2], vec![0; 2]);
        for _ in 0..2 {
            run_round(&rounds, &mut vectors);
            assert!(vectors.settled[1] < MEMBER || vectors.synced[0] >= COMMIT);
        }
        writer.join().expect("the writer does not panic");
    });
}
