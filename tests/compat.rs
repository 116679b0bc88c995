//! The oracle: redis-server 7.0 must answer what the tests say it does.
//!
//! Transcripts and the tables of bad input are asked of the oracle, so that no expectation rests
//! on memory; `COREMAP_RECORD=1 cargo test --test compat` writes its replies into new rows. Where no
//! redis-server 7.0 is installed these tests say so and pass, except in CI.
//!
//! Not here: random scripts (differential.rs).

mod common;
use common::process::Server;
use common::{malformed, transcript};

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
