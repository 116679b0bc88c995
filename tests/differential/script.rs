//! Random scripts: valid sentences of the grammar, spoiled ones, and transactions around them.
//!
//! A script has a theme, a few commands that come often, so that what only matters in the wake of
//! something else (a value that PFADD made, a key that was watched) is met often enough. Its steps
//! are those of two connections; whatever one of them sends in a row is one pipeline.

use super::allowed::{Sending, sending};
use super::syntax::{Command, Sentence, shuffle};
use super::values::{self, EDGES};
use crate::common::Random;

/// Steps of one script.
const STEP_COUNT: usize = 300;
/// Commands of a theme.
const THEME_LEN: usize = 8;
/// Connections of one script.
pub(crate) const CLIENT_COUNT: usize = 2;

/// What scripts are made of.
pub(crate) struct Source {
    pub(crate) commands: Vec<Command>,
    /// What DUMP gave for some values, for RESTORE.
    pub(crate) payloads: Vec<Vec<u8>>,
}

/// One command of one connection.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub(crate) client: usize,
    pub(crate) words: Vec<Vec<u8>>,
    /// The option tokens in it, if it is a sentence of the grammar.
    pub(crate) tokens: Vec<String>,
}

impl Source {
    /// The script of a seed.
    pub(crate) fn script(&self, random: &mut Random) -> Vec<Step> {
        let theme = self.theme(random);
        let mut steps = Vec::new();
        let mut is_queueing = [false; CLIENT_COUNT];
        while steps.len() < STEP_COUNT {
            let client = usize::from(random.below(6) == 0);
            let sentence = match random.below(20) {
                0..3 if is_queueing[client] => self.named("exec", random),
                3 if is_queueing[client] => self.named("discard", random),
                0 => self.named("multi", random),
                1..12 => self.sentence(theme[random.below(theme.len())], random),
                _ => self.sentence(self.any(random), random),
            };
            let Some(sentence) = sentence else { continue };
            match name(&sentence.words).as_str() {
                "multi" => is_queueing[client] = true,
                "exec" | "discard" | "reset" => is_queueing[client] = false,
                _ => {}
            }
            steps.push(Step {
                client,
                words: sentence.words,
                tokens: sentence.tokens,
            });
        }
        steps
    }

    /// A sentence of the command called `name` with `token` in it, if there is one.
    pub(crate) fn valid(
        &self,
        command: &Command,
        token: Option<&str>,
        random: &mut Random,
    ) -> Option<Step> {
        let sentence = self.plain(command, random);
        let has_it = token.is_none_or(|token| sentence.tokens.iter().any(|found| found == token));
        (has_it && sending(&sentence.words) == Sending::Yes).then_some(Step {
            client: 0,
            words: sentence.words,
            tokens: sentence.tokens,
        })
    }

    fn theme(&self, random: &mut Random) -> Vec<&Command> {
        let mut all: Vec<_> = self.commands.iter().collect();
        shuffle(&mut all, random);
        all.truncate(THEME_LEN);
        all
    }

    /// Any command; those that concern no key a tenth as often.
    fn any(&self, random: &mut Random) -> &Command {
        loop {
            let command = &self.commands[random.below(self.commands.len())];
            if command.has_keys || random.below(10) == 0 {
                return command;
            }
        }
    }

    fn named(&self, name: &str, random: &mut Random) -> Option<Sentence> {
        let command = self.commands.iter().find(|command| command.name == name)?;
        self.sentence(command, random)
    }

    /// A sentence of `command`; where that is another command, one of those follows.
    fn plain(&self, command: &Command, random: &mut Random) -> Sentence {
        let mut sentence = command.sentence(random, &mut |place, random| {
            values::fill(place, &self.payloads, random)
        });
        if command.name.starts_with("command|getkeys") {
            let inner = &self.commands[random.below(self.commands.len())];
            sentence.words.extend(self.plain(inner, random).words);
        }
        sentence
    }

    /// A sentence of `command`, one in four spoiled; none if it is one that is never sent.
    fn sentence(&self, command: &Command, random: &mut Random) -> Option<Sentence> {
        let mut fill = |place: super::syntax::Place<'_>, random: &mut Random| {
            values::fill(place, &self.payloads, random)
        };
        let mut sentence = self.plain(command, random);
        if random.below(4) == 0 {
            sentence.tokens.clear();
            match random.below(8) {
                0 => {
                    let options = command.more_options(random, &mut fill);
                    sentence.words.extend(options);
                }
                _ => spoil(&mut sentence.words, random),
            }
        }
        if random.below(4) == 0 {
            change_case(&mut sentence.words, random);
        }
        (sending(&sentence.words) == Sending::Yes).then_some(sentence)
    }
}

/// The name of a command as COMMAND LIST has it, if the first two words are a subcommand's; else
/// the first word.
pub(crate) fn name(words: &[Vec<u8>]) -> String {
    let word = |index: usize| String::from_utf8_lossy(&words[index]).to_lowercase();
    let is_container = |name: &str| super::allowed::CONTAINERS.contains(&name);
    match words.len() {
        0 => String::new(),
        2.. if is_container(&word(0)) => format!("{}|{}", word(0), word(1)),
        _ => word(0),
    }
}

/// Takes a word away, puts one in, or changes one; the name stays.
fn spoil(words: &mut Vec<Vec<u8>>, random: &mut Random) {
    let edge = random.pick(EDGES).as_bytes().to_vec();
    let place = 1 + random.below(words.len());
    match random.below(4) {
        0 => words.insert(place, edge),
        1 => words.truncate(place),
        _ if place == words.len() => words.push(edge),
        2 => {
            words.remove(place);
        }
        _ => words[place] = edge,
    }
}

fn change_case(words: &mut [Vec<u8>], random: &mut Random) {
    for word in words {
        // Keys and values change with it, which is as good as any.
        match random.below(3) {
            0 => word.make_ascii_uppercase(),
            1 => word.make_ascii_lowercase(),
            _ => {}
        }
    }
}
