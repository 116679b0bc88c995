//! The oracle: redis-server 7.0 must answer what the tests say it does, and what Coremap does.
//!
//! Two kinds of test. Transcripts and the tables of bad input are asked of the oracle, so that no
//! expectation rests on memory; `COREMAP_RECORD=1 cargo test --test compat` writes its replies into
//! new rows. And seeded random scripts go to both servers and every reply is compared byte
//! for byte. Where no redis-server 7.0 is installed these tests say so and pass, except in CI.

mod common;
#[path = "compat/script.rs"]
mod script;

use common::process::Server;
use common::{malformed, scale, seed, transcript};

#[test]
fn redis_answers_the_transcripts_as_they_are_written() {
    let Some(redis) = Server::start_redis(&[]) else {
        return;
    };
    let mut found = Vec::new();
    for transcript in transcript::all() {
        if std::env::var_os("COREMAP_RECORD").is_some() {
            transcript.record(&redis);
        } else {
            found.extend(transcript.differences(&redis, true));
        }
    }
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

#[test]
fn redis_answers_bad_input_as_the_tables_say() {
    let Some(redis) = Server::start_redis(&[]) else {
        return;
    };
    malformed::check(&redis);
}

#[test]
fn random_scripts_over_resp2_get_the_same_bytes_from_both() {
    compare_random_scripts(2);
}

#[test]
fn random_scripts_over_resp3_get_the_same_bytes_from_both() {
    compare_random_scripts(3);
}

fn compare_random_scripts(protocol: u8) {
    let Some(redis) = Server::start_redis(&[]) else {
        return;
    };
    let coremap = Server::start(&["--shards", "4"]);
    let seed = seed();
    for round in 0..scale(20, 2000) {
        script::compare(&coremap, &redis, protocol, seed.wrapping_add(round));
    }
}
