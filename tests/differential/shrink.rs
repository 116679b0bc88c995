//! Makes a failing script short: steps are taken out as long as both servers still disagree.
//!
//! Delta debugging without its complement step: chunks of half the length, then of a quarter, down
//! to single steps, over again until nothing can go (A. Zeller, R. Hildebrandt: Simplifying and
//! Isolating Failure-Inducing Input, 2002).

use super::play::{Difference, Pair};
use super::script::Step;

/// Most scripts played for one failure.
const PLAY_COUNT_MAX: usize = 400;

/// A short script that still fails, and how; none if the failure does not come again.
pub(crate) fn shrink(pair: &Pair<'_>, steps: &[Step]) -> Option<(Vec<Step>, Difference)> {
    let mut difference = pair.play(steps, |_| {}).err()?;
    let mut steps = steps.to_vec();
    let mut play_count = 0;
    loop {
        // What came after the failing step has no part in it.
        steps.truncate(difference.step.map_or(steps.len(), |step| step + 1));
        let before = steps.len();
        let mut chunk_len = steps.len().div_ceil(2);
        while chunk_len > 0 {
            let mut start = 0;
            while start < steps.len() && play_count < PLAY_COUNT_MAX {
                let mut shorter = steps.clone();
                shorter.drain(start..steps.len().min(start + chunk_len));
                play_count += 1;
                match pair.play(&shorter, |_| {}) {
                    Err(found) => (steps, difference) = (shorter, found),
                    Ok(()) => start += chunk_len,
                }
            }
            chunk_len /= 2;
        }
        if steps.len() == before || play_count >= PLAY_COUNT_MAX {
            return Some((steps, difference));
        }
    }
}
