//! The grammar of every command, read from the oracle's own COMMAND DOCS, and sentences of it.
//!
//! ```text
//! set   key value [NX | XX] [GET] [EX seconds | PX milliseconds | ... | KEEPTTL]
//!  |     |                   |
//!  |     +- a place: its kind and name choose a pool of values (values.rs)
//!  |                         +- a token: counted, so that coverage can be asserted (coverage.rs)
//!  +- one or two words: a container and its subcommand
//! ```
//!
//! Nothing here names a command. One that appears in Coremap's table is tried with all its options
//! the next time this runs.
//!
//! Not here: sentences that break the grammar (script.rs).

use crate::common::Random;
use crate::common::client::Value;

/// One command, or one subcommand with its container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Command {
    /// As COMMAND LIST has it: `client|setname`.
    pub(crate) name: String,
    /// Whether there is a key among its arguments.
    pub(crate) has_keys: bool,
    arguments: Vec<Node>,
}

/// One argument, or several that belong together.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Node {
    name: String,
    kind: Kind,
    token: Option<String>,
    is_optional: bool,
    is_repeated: bool,
    repeats_its_token: bool,
    within: Vec<Node>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// The token is all there is.
    Token,
    OneOf,
    Block,
    Key,
    /// A place for a value.
    Place,
}

/// A place that wants a value: what is known of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'a> {
    pub(crate) command: &'a str,
    pub(crate) name: &'a str,
    pub(crate) is_key: bool,
}

/// A sentence of the grammar.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sentence {
    pub(crate) words: Vec<Vec<u8>>,
    /// The tokens among the words.
    pub(crate) tokens: Vec<String>,
}

/// What fills the places.
pub(crate) type Fill<'a> = dyn FnMut(Place<'_>, &mut Random) -> Vec<u8> + 'a;

/// Most times that something repeatable is repeated.
const REPEAT_COUNT_MAX: usize = 4;

impl Command {
    /// All commands of a COMMAND DOCS reply; containers as their subcommands.
    pub(crate) fn all(docs: Value) -> Vec<Self> {
        let mut found = Vec::new();
        for (name, doc) in pairs(docs) {
            let mut fields = pairs(doc);
            let subcommands = take(&mut fields, "subcommands");
            match subcommands {
                Some(subcommands) => found.extend(Self::all(subcommands)),
                None => {
                    let arguments = take(&mut fields, "arguments").map_or(Vec::new(), nodes);
                    found.push(Self {
                        name,
                        has_keys: have_keys(&arguments),
                        arguments,
                    });
                }
            }
        }
        found
    }

    /// Every option token of its grammar.
    pub(crate) fn tokens(&self) -> Vec<String> {
        let mut found = Vec::new();
        collect_tokens(&self.arguments, &mut found);
        found
    }

    /// A random sentence: optional parts come and go, and change places.
    pub(crate) fn sentence(&self, random: &mut Random, fill: &mut Fill<'_>) -> Sentence {
        let mut writer = self.writer(random, fill);
        let mut first_optional = self.arguments.len();
        while first_optional > 0 && self.arguments[first_optional - 1].is_optional {
            first_optional -= 1;
        }
        let mut order: Vec<_> = (0..self.arguments.len()).collect();
        shuffle(&mut order[first_optional..], writer.random);
        for index in order {
            writer.node(&self.arguments[index]);
        }
        writer.sentence
    }

    /// Random options without what has to stand before them: appended to a sentence they repeat
    /// or contradict it.
    pub(crate) fn more_options(&self, random: &mut Random, fill: &mut Fill<'_>) -> Vec<Vec<u8>> {
        let mut writer = self.writer(random, fill);
        writer.sentence.words.clear();
        let optional = self.arguments.iter().filter(|node| node.is_optional);
        optional.for_each(|node| writer.node(node));
        writer.sentence.words
    }

    fn writer<'a, 'f>(&'a self, random: &'a mut Random, fill: &'a mut Fill<'f>) -> Writer<'a, 'f> {
        let words = self.name.split('|').map(|word| word.as_bytes().to_vec());
        Writer {
            command: &self.name,
            random,
            fill,
            sentence: Sentence {
                words: words.collect(),
                tokens: Vec::new(),
            },
        }
    }
}

struct Writer<'a, 'f> {
    command: &'a str,
    random: &'a mut Random,
    fill: &'a mut Fill<'f>,
    sentence: Sentence,
}

impl Writer<'_, '_> {
    fn node(&mut self, node: &Node) {
        if node.is_optional && self.random.below(2) == 0 {
            return;
        }
        let count = match node.is_repeated {
            true => 1 + self.random.below(REPEAT_COUNT_MAX),
            false => 1,
        };
        for repetition in 0..count {
            if repetition == 0 || node.repeats_its_token {
                self.token(node);
            }
            match node.kind {
                Kind::Token => {}
                Kind::OneOf => {
                    let choice = self.random.below(node.within.len());
                    self.node(&node.within[choice]);
                }
                Kind::Block => node.within.iter().for_each(|node| self.node(node)),
                Kind::Key | Kind::Place => {
                    let place = Place {
                        command: self.command,
                        name: &node.name,
                        is_key: node.kind == Kind::Key,
                    };
                    let word = (self.fill)(place, self.random);
                    self.sentence.words.push(word);
                }
            }
        }
    }

    fn token(&mut self, node: &Node) {
        if let Some(token) = &node.token {
            self.sentence.words.push(token.clone().into_bytes());
            self.sentence.tokens.push(token.clone());
        }
    }
}

/// Fisher and Yates.
pub(crate) fn shuffle<T>(items: &mut [T], random: &mut Random) {
    for end in (1..items.len()).rev() {
        items.swap(end, random.below(end + 1));
    }
}

fn collect_tokens(nodes: &[Node], found: &mut Vec<String>) {
    for node in nodes {
        found.extend(node.token.clone());
        collect_tokens(&node.within, found);
    }
}

fn have_keys(nodes: &[Node]) -> bool {
    let is_key = |node: &Node| node.kind == Kind::Key || have_keys(&node.within);
    nodes.iter().any(is_key)
}

fn nodes(arguments: Value) -> Vec<Node> {
    arguments.list().into_iter().map(node).collect()
}

fn node(argument: Value) -> Node {
    let mut fields = pairs(argument);
    let mut text = |name| take(&mut fields, name).map(Value::text);
    let (name, kind, token) = (text("name"), text("type"), text("token"));
    let flags = take(&mut fields, "flags").map_or(Vec::new(), Value::list);
    let has = |flag: &str| flags.contains(&Value::Status(flag.to_owned()));
    Node {
        name: name.expect("an argument has a name"),
        kind: match kind.as_deref() {
            Some("pure-token") => Kind::Token,
            Some("oneof") => Kind::OneOf,
            Some("block") => Kind::Block,
            Some("key") => Kind::Key,
            _ => Kind::Place,
        },
        token,
        is_optional: has("optional"),
        is_repeated: has("multiple"),
        repeats_its_token: has("multiple_token"),
        within: take(&mut fields, "arguments").map_or(Vec::new(), nodes),
    }
}

fn pairs(map: Value) -> Vec<(String, Value)> {
    let mut values = map.list().into_iter();
    let mut found = Vec::new();
    while let (Some(name), Some(value)) = (values.next(), values.next()) {
        found.push((name.text(), value));
    }
    found
}

fn take(fields: &mut Vec<(String, Value)>, name: &str) -> Option<Value> {
    let index = fields.iter().position(|(field, _)| field == name)?;
    Some(fields.swap_remove(index).1)
}
