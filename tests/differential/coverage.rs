//! What has been tried with success: each command, and each option token of its grammar.
//!
//! Random scripts reach nearly all of it; what they have missed is then tried on purpose, so that
//! the assertion does not depend on chance. A token no sentence of which succeeds is named.

use std::collections::BTreeSet;

use super::play::{Difference, Pair};
use super::script::{Source, Step, name};
use super::syntax::Command;
use crate::common::Random;

/// Sentences tried for something that chance has missed.
const TRY_COUNT: usize = 4000;
/// Steps of a script that looks for it.
const SCRIPT_LEN: usize = 40;
/// What cannot succeed, and why.
const UNREACHABLE: &[(&str, &str)] = &[];

/// Commands as `name`, tokens as `name TOKEN`.
#[derive(Default)]
pub(crate) struct Coverage(BTreeSet<String>);

impl Coverage {
    pub(crate) fn note(&mut self, step: &Step) {
        let name = name(&step.words);
        for token in &step.tokens {
            self.0.insert(format!("{name} {token}"));
        }
        self.0.insert(name);
    }

    /// Tries what is missing; what is missing then.
    pub(crate) fn complete(
        &mut self,
        pair: &Pair<'_>,
        source: &Source,
        random: &mut Random,
    ) -> Result<Vec<String>, (Vec<Step>, Difference)> {
        let mut missing = Vec::new();
        for command in &source.commands {
            let tokens = command.tokens().into_iter().map(Some);
            for token in std::iter::once(None).chain(tokens) {
                if !self.seek(pair, source, command, token.as_deref(), random)? {
                    missing.push(entry(command, token.as_deref()));
                }
            }
        }
        Ok(missing)
    }

    fn seek(
        &mut self,
        pair: &Pair<'_>,
        source: &Source,
        command: &Command,
        token: Option<&str>,
        random: &mut Random,
    ) -> Result<bool, (Vec<Step>, Difference)> {
        let wanted = entry(command, token);
        for _ in 0..TRY_COUNT / SCRIPT_LEN {
            if self.0.contains(&wanted) || UNREACHABLE.iter().any(|(entry, _)| *entry == wanted) {
                return Ok(true);
            }
            let mut steps = Vec::new();
            for _ in 0..SCRIPT_LEN {
                steps.extend(source.valid(command, token, random));
            }
            if let Err(difference) = pair.play(&steps, |step| self.note(step)) {
                return Err((steps, difference));
            }
        }
        Ok(self.0.contains(&wanted))
    }
}

fn entry(command: &Command, token: Option<&str>) -> String {
    match token {
        Some(token) => format!("{} {token}", command.name),
        None => command.name.clone(),
    }
}
