//! What parsing costs: pipelines of GETs and of SETs, by the general parser and by their head.
//!
//! One iteration parses a whole pipeline that is in the second-level cache. `general` reads every
//! number of every command (`Parser::next`), `head` compares how commands begin and reads the short
//! arguments (`Head::parse`), as a lane does for all but the first of a kind.

#[path = "../../tests/common/lanes.rs"]
#[expect(dead_code, reason = "pipelines alone are used here")]
mod lanes;

use coremap::resp::{Head, Limits, Parser, Span, Step};
use divan::counter::ItemsCount;
use divan::{Bencher, black_box};

fn main() {
    divan::main();
}

/// Commands of a pipeline.
const COUNT: usize = 1_000;
const KINDS: [&str; 2] = ["GET", "SET"];

#[divan::bench(args = KINDS)]
fn general(bencher: Bencher<'_, '_>, kind: &str) {
    let mut input = pipeline(kind);
    let mut spans = Vec::with_capacity(3 * COUNT);
    bencher.counter(ItemsCount::new(COUNT)).bench_local(|| {
        spans.clear();
        let mut parser = Parser::new();
        let mut at = 0;
        while at < input.len() {
            at += parse_general(&mut parser, &mut input[at..], &mut spans);
        }
        black_box(&spans).len()
    });
}

#[divan::bench(args = KINDS)]
fn head(bencher: Bencher<'_, '_>, kind: &str) {
    let mut input = pipeline(kind);
    let mut spans = Vec::with_capacity(3 * COUNT);
    parse_general(&mut Parser::new(), &mut input, &mut spans);
    let beginning = input.first_chunk().expect("a command is longer");
    let head = Head::of(beginning, &spans).expect("the head is short");
    bencher.counter(ItemsCount::new(COUNT)).bench_local(|| {
        spans.clear();
        let mut at = 0;
        while let Some(beginning) = input[at..].first_chunk() {
            assert!(head.begins(beginning));
            at += head
                .parse(&input[at..], &mut spans)
                .expect("it is complete");
        }
        black_box(&spans).len()
    });
}

fn pipeline(kind: &str) -> Vec<u8> {
    let keys = lanes::keys_of(0, 1, COUNT);
    let value = (kind == "SET").then_some("a value of thirty-two characters");
    lanes::pipeline(&keys, kind, value)
}

fn parse_general(parser: &mut Parser, input: &mut [u8], spans: &mut Vec<Span>) -> usize {
    match parser.next(input, Limits::AUTHENTICATED, spans) {
        Ok(Step::Command { len_bytes }) => len_bytes,
        other => panic!("not a command: {other:?}"),
    }
}
