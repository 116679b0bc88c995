//! What the server says of its commands (COMMAND DOCS), for hints, completion and `help`.
//!
//! The arguments of a command are a tree: tokens, values, choices, blocks, each perhaps optional or
//! repeated. What was typed is matched against it from the left, options in any order; the hint is
//! what is left. A server that does not document its commands gives no hints.

use std::collections::BTreeMap;

use crate::cli::reply::Reply;

/// All commands, by their names in capitals; subcommands as `CONFIG GET`.
#[derive(Clone, Debug, Default)]
pub(super) struct Docs {
    commands: BTreeMap<String, Command>,
}

#[derive(Clone, Debug)]
struct Command {
    summary: String,
    since: String,
    group: String,
    arguments: Vec<Argument>,
}

#[derive(Clone, Debug)]
struct Argument {
    name: String,
    kind: Kind,
    /// The word that announces it.
    token: Option<String>,
    is_optional: bool,
    is_repeated: bool,
    /// Whether each repetition has the token.
    repeats_token: bool,
    parts: Vec<Argument>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// The token alone.
    Token,
    /// One of the parts.
    Choice,
    /// All parts in order.
    Block,
    Value,
}

impl Docs {
    /// Reads a reply to COMMAND DOCS. What cannot be understood is left out.
    pub(super) fn of(reply: &Reply) -> Self {
        let mut docs = Self::default();
        docs.add(reply);
        docs
    }

    fn add(&mut self, commands: &Reply) {
        for (name, fields) in commands.pairs() {
            let name = text(name).to_uppercase().replace('|', " ");
            let field = |name| field(fields, name);
            if let Some(subcommands) = field("subcommands") {
                self.add(subcommands);
            }
            let command = Command {
                summary: field("summary").map(text).unwrap_or_default(),
                since: field("since").map(text).unwrap_or_default(),
                group: field("group").map(text).unwrap_or_default(),
                arguments: field("arguments").map(arguments).unwrap_or_default(),
            };
            self.commands.insert(name, command);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.commands.is_empty()
    }

    /// What may follow a line; nothing if that is not known.
    pub(super) fn hint(&self, line: &str) -> Option<String> {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        let (name, command) = self.command_of(&words)?;
        let typed = &words[name.split(' ').count()..];
        let rest = rest(&command.arguments, typed)?.join(" ");
        if rest.is_empty() {
            return None;
        }
        let gap = if line.ends_with(' ') { "" } else { " " };
        Some(format!("{gap}{rest}"))
    }

    /// Words that may stand where the last word of a line begins, and where that is.
    pub(super) fn completions(&self, line: &str) -> (usize, Vec<String>) {
        let start = line.rfind(char::is_whitespace).map_or(0, |at| at + 1);
        let mut before: Vec<&str> = line[..start].split_ascii_whitespace().collect();
        if before.first().is_some_and(|word| is_help(word)) {
            before.remove(0);
        }
        let typed = &line[start..];
        let mut found: Vec<String> = self.next_names(&before);
        if let Some((_, command)) = self.command_of(&before).filter(|_| !typed.is_empty()) {
            command
                .arguments
                .iter()
                .for_each(|argument| argument.add_tokens(&mut found));
        }
        found.retain(|word| starts_with(word, typed));
        found.sort();
        found.dedup();
        if typed.starts_with(|c: char| c.is_ascii_lowercase()) {
            found
                .iter_mut()
                .for_each(|word| word.make_ascii_lowercase());
        }
        (start, found)
    }

    /// What is known of a command, of a group `@name`, or how to ask.
    pub(super) fn help(&self, topic: &[String]) -> String {
        let topic = topic.join(" ");
        if let Some(group) = topic.strip_prefix('@') {
            let commands = self.commands.iter();
            return commands
                .filter(|(_, command)| command.group.eq_ignore_ascii_case(group))
                .map(|(name, command)| command.shown(name))
                .collect();
        }
        let name = topic.to_uppercase();
        let within = format!("{name} ");
        if name.is_empty() {
            return HELP.to_owned();
        }
        let commands = self.commands.iter();
        commands
            .filter(|(other, _)| **other == name || other.starts_with(&within))
            .map(|(name, command)| command.shown(name))
            .collect()
    }

    /// The command that words begin with: the one with the longest name.
    fn command_of(&self, words: &[&str]) -> Option<(String, &Command)> {
        let lengths = [2, 1].into_iter().filter(|len| *len <= words.len());
        lengths.into_iter().find_map(|len| {
            let name = words[..len].join(" ").to_uppercase();
            self.commands.get(&name).map(|command| (name, command))
        })
    }

    /// The words with which names go on that begin with these.
    fn next_names(&self, before: &[&str]) -> Vec<String> {
        let names = self.commands.keys().filter_map(|name| {
            let mut words = name.split(' ');
            let is_so = before.iter().all(|word| {
                words
                    .next()
                    .is_some_and(|own| own.eq_ignore_ascii_case(word))
            });
            is_so.then(|| words.next()).flatten().map(str::to_owned)
        });
        names.collect()
    }
}

/// Whether a word asks for help.
pub(super) fn is_help(word: &str) -> bool {
    word == "?" || word.eq_ignore_ascii_case("help")
}

const HELP: &str = "
  help COMMAND   what a command does and which arguments it has
  help @GROUP    the same of all commands of a group, as @string
  TAB            completes commands and their words
  5 COMMAND      runs a command five times
  clear          clears the screen
  exit, quit     ends, as Ctrl-D

";

impl Command {
    fn shown(&self, name: &str) -> String {
        let usages: Vec<String> = self.arguments.iter().map(Argument::usage).collect();
        let line = [&[name.to_owned()], usages.as_slice()].concat().join(" ");
        let Self {
            summary,
            since,
            group,
            ..
        } = self;
        format!("\n  {line}\n  summary: {summary}\n  since: {since}\n  group: {group}\n\n")
    }
}

impl Argument {
    /// How it is written, in the form of Redis's documentation.
    fn usage(&self) -> String {
        let usage = self.usage_if_required();
        match (self.is_optional, self.kind) {
            (true, _) => format!("[{usage}]"),
            (false, Kind::Choice) if self.token.is_none() => format!("<{usage}>"),
            _ => usage,
        }
    }

    fn usage_if_required(&self) -> String {
        let token = self.token.iter().cloned();
        let value = self.value_usage();
        match (self.is_repeated, self.repeats_token) {
            (false, _) => self.usage_once(),
            (true, true) => format!("{0} [{0} ...]", self.usage_once()),
            (true, false) => {
                let words = token.chain([format!("{value} [{value} ...]")]);
                words.collect::<Vec<_>>().join(" ")
            }
        }
    }

    fn usage_once(&self) -> String {
        let words = self.token.iter().cloned().chain([self.value_usage()]);
        let words: Vec<String> = words.filter(|word| !word.is_empty()).collect();
        words.join(" ")
    }

    /// What follows the token.
    fn value_usage(&self) -> String {
        let parts = self.parts.iter().map(Argument::usage);
        match self.kind {
            Kind::Token => String::new(),
            Kind::Choice => parts.collect::<Vec<_>>().join("|"),
            Kind::Block => parts.collect::<Vec<_>>().join(" "),
            Kind::Value => self.name.clone(),
        }
    }

    fn add_tokens(&self, found: &mut Vec<String>) {
        found.extend(self.token.clone());
        self.parts.iter().for_each(|part| part.add_tokens(found));
    }

    /// How many words it takes, once, and what it still needs if they do not suffice. `None` if they
    /// are something else.
    fn take(&self, words: &[&str]) -> Option<(usize, Vec<String>)> {
        let mut count = 0;
        if let Some(token) = &self.token {
            if !words.first()?.eq_ignore_ascii_case(token) {
                return None;
            }
            count = 1;
        }
        let needs = |usage: String| Some((words.len(), vec![usage]));
        match self.kind {
            Kind::Token => Some((count, Vec::new())),
            Kind::Value | Kind::Choice if count == words.len() => needs(self.value_usage()),
            Kind::Value => Some((count + 1, Vec::new())),
            Kind::Choice => {
                let mut parts = self.parts.iter();
                let (taken, missing) = parts.find_map(|part| part.take(&words[count..]))?;
                Some((count + taken, missing))
            }
            Kind::Block => {
                let mut missing = Vec::new();
                for part in &self.parts {
                    if count == words.len() {
                        missing.push(part.usage());
                        continue;
                    }
                    match part.take(&words[count..]) {
                        Some((taken, more)) => {
                            count += taken;
                            missing.extend(more);
                        }
                        None if part.is_optional => {}
                        None => return None,
                    }
                }
                Some((count, missing))
            }
        }
    }
}

/// What is still to be typed after these words; `None` if they do not fit.
fn rest(arguments: &[Argument], typed: &[&str]) -> Option<Vec<String>> {
    let mut words = typed;
    let mut rest = Vec::new();
    let mut index = 0;
    while let Some(argument) = arguments.get(index) {
        let run_len = arguments[index..]
            .iter()
            .take_while(|one| one.is_optional)
            .count();
        if run_len > 0 {
            take_options(&arguments[index..index + run_len], &mut words, &mut rest);
            index += run_len;
            continue;
        }
        index += 1;
        if words.is_empty() {
            rest.push(argument.usage());
        } else {
            take_all(argument, &mut words, &mut rest).then_some(())?;
        }
    }
    words.is_empty().then_some(rest)
}

/// Takes options in any order; what is left of them.
fn take_options(options: &[Argument], words: &mut &[&str], rest: &mut Vec<String>) {
    let mut left: Vec<&Argument> = options.iter().collect();
    let mut needs = Vec::new();
    while !words.is_empty() {
        let Some(place) = left
            .iter()
            .position(|option| take_all(option, words, &mut needs))
        else {
            break;
        };
        left.remove(place);
    }
    rest.append(&mut needs);
    rest.extend(left.into_iter().map(Argument::usage));
}

/// Takes an argument as often as it may be there; whether it was. What it still needs, or may have
/// more of, goes to `rest`.
fn take_all(argument: &Argument, words: &mut &[&str], rest: &mut Vec<String>) -> bool {
    let Some((count, missing)) = argument.take(words) else {
        return false;
    };
    *words = &words[count..];
    let is_whole = missing.is_empty();
    rest.extend(missing);
    if argument.is_repeated && is_whole {
        let mut again = argument.clone();
        if !argument.repeats_token {
            again.token = None;
        }
        while !words.is_empty() {
            let Some((count, missing)) = again.take(words) else {
                return true;
            };
            *words = &words[count..];
            rest.extend(missing);
        }
        rest.push(format!("[{} ...]", again.usage_once()));
    }
    true
}

fn arguments(reply: &Reply) -> Vec<Argument> {
    reply.elements().iter().map(argument).collect()
}

fn argument(reply: &Reply) -> Argument {
    let field = |name| field(reply, name);
    let flags: Vec<String> = field("flags")
        .map(|flags| flags.elements().iter().map(text).collect())
        .unwrap_or_default();
    let has = |flag: &str| flags.iter().any(|own| own == flag);
    let name = field("display_text").or_else(|| field("name")).map(text);
    Argument {
        name: name.unwrap_or_default(),
        kind: match field("type").map(text).as_deref() {
            Some("pure-token") => Kind::Token,
            Some("oneof") => Kind::Choice,
            Some("block") => Kind::Block,
            _ => Kind::Value,
        },
        token: field("token").map(text),
        is_optional: has("optional"),
        is_repeated: has("multiple"),
        repeats_token: has("multiple_token"),
        parts: field("arguments").map(arguments).unwrap_or_default(),
    }
}

/// A field of a map.
fn field<'r>(map: &'r Reply, name: &str) -> Option<&'r Reply> {
    let mut pairs = map.pairs().into_iter();
    let found = pairs.find(|(key, _)| key.text() == Some(name.as_bytes()));
    found.map(|(_, value)| value)
}

fn text(reply: &Reply) -> String {
    String::from_utf8_lossy(reply.text().unwrap_or_default()).into_owned()
}

fn starts_with(word: &str, prefix: &str) -> bool {
    let start = word.as_bytes().get(..prefix.len());
    start.is_some_and(|start| start.eq_ignore_ascii_case(prefix.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Arguments as `name`, `name@TOKEN`, `@TOKEN`; `?` before optional ones, `*` before repeated.
    fn arguments_of(line: &str) -> Vec<Argument> {
        line.split(' ').map(argument_of).collect()
    }

    fn argument_of(text: &str) -> Argument {
        let marks = text.len() - text.trim_start_matches(['?', '*']).len();
        let (marks, rest) = text.split_at(marks);
        let (name, rest) = rest.split_once('(').unwrap_or((rest, ""));
        let (name, token) = match name.split_once('@') {
            Some((name, token)) => (name, Some(token.to_owned())),
            None => (name, None),
        };
        let parts = rest.trim_end_matches(')').split([',', '+']);
        let parts = parts
            .filter(|part| !part.is_empty())
            .map(argument_of)
            .collect();
        Argument {
            name: name.to_owned(),
            kind: match (name, rest) {
                ("", "") => Kind::Token,
                (_, "") => Kind::Value,
                _ if rest.contains('+') => Kind::Block,
                _ => Kind::Choice,
            },
            token,
            is_optional: marks.contains('?'),
            is_repeated: marks.contains('*'),
            repeats_token: false,
            parts,
        }
    }

    fn docs() -> Docs {
        let commands = [
            (
                "SET",
                "key value ?condition(@NX,@XX) ?@GET ?expiration(seconds@EX,milliseconds@PX,@KEEPTTL)",
            ),
            ("DEL", "*key"),
            ("MSET", "*data(key+value)"),
            ("PING", "?message"),
            ("CONFIG", "x"),
            ("CONFIG GET", "*parameter"),
            ("LMOVE", "source where(@LEFT,@RIGHT)"),
        ];
        let commands = commands.map(|(name, arguments)| {
            let command = Command {
                summary: format!("does {name}"),
                since: "1.0.0".to_owned(),
                group: "string".to_owned(),
                arguments: arguments_of(arguments),
            };
            (name.to_owned(), command)
        });
        Docs {
            commands: commands.into(),
        }
    }

    #[test]
    fn hints_are_what_is_left_to_type() {
        let expiration = "[EX seconds|PX milliseconds|KEEPTTL]";
        let cases = [
            (
                "set",
                Some(format!(" key value [NX|XX] [GET] {expiration}")),
            ),
            ("SET k ", Some(format!("value [NX|XX] [GET] {expiration}"))),
            ("set k v", Some(format!(" [NX|XX] [GET] {expiration}"))),
            ("set k v get ", Some(format!("[NX|XX] {expiration}"))),
            ("set k v EX", Some(" seconds [NX|XX] [GET]".to_owned())),
            ("set k v ex 10 ", Some("[NX|XX] [GET]".to_owned())),
            ("set k v keepttl get nx", None),
            ("set k v so", None),
            ("del ", Some("key [key ...]".to_owned())),
            ("del a", Some(" [key ...]".to_owned())),
            ("mset a", Some(" value".to_owned())),
            ("mset a 1 ", Some("[key value ...]".to_owned())),
            ("ping", Some(" [message]".to_owned())),
            ("config get", Some(" parameter [parameter ...]".to_owned())),
            ("lmove a", Some(" <LEFT|RIGHT>".to_owned())),
            ("nothing", None),
            ("", None),
        ];
        for (line, expected) in cases {
            assert_eq!(docs().hint(line), expected, "{line}");
        }
    }

    #[test]
    fn words_are_completed_in_the_case_in_which_they_begin() {
        let cases: &[(&str, usize, &[&str])] = &[
            ("s", 0, &["set"]),
            ("CON", 0, &["CONFIG"]),
            ("config ", 7, &["GET"]),
            ("config g", 7, &["get"]),
            ("set k v n", 8, &["nx"]),
            ("SET k v K", 8, &["KEEPTTL"]),
            ("set k ", 6, &[]),
            ("help co", 5, &["config"]),
        ];
        for (line, start, expected) in cases {
            let found = docs().completions(line);
            assert_eq!(
                (found.0, found.1.as_slice()),
                (
                    *start,
                    &expected
                        .iter()
                        .map(|word| (*word).to_owned())
                        .collect::<Vec<_>>()[..]
                ),
                "{line}"
            );
        }
    }

    #[test]
    fn help_shows_commands_subcommands_and_groups() {
        let docs = docs();
        let topic = |words: &[&str]| {
            docs.help(
                &words
                    .iter()
                    .map(|word| (*word).to_owned())
                    .collect::<Vec<_>>(),
            )
        };
        assert_eq!(
            topic(&["del"]),
            "\n  DEL key [key ...]\n  summary: does DEL\n  since: 1.0.0\n  group: string\n\n"
        );
        assert!(topic(&["config"]).contains("CONFIG GET parameter"));
        assert_eq!(topic(&["@string"]).matches("summary").count(), 7);
        assert!(topic(&[]).contains("help COMMAND"));
        assert_eq!(topic(&["nothing"]), "");
    }

    #[test]
    fn documents_come_as_maps_and_as_arrays() {
        let argument = b"*2\r\n*4\r\n+name\r\n+key\r\n+type\r\n+key\r\n\
            *6\r\n+name\r\n+x\r\n+token\r\n+X\r\n+flags\r\n*1\r\n+optional\r\n";
        let flat = [
            &b"*2\r\n+get\r\n*4\r\n+summary\r\n+gets\r\n+arguments\r\n"[..],
            argument,
        ]
        .concat();
        let map = [
            &b"%1\r\n+get\r\n%2\r\n+summary\r\n+gets\r\n+arguments\r\n"[..],
            argument,
        ]
        .concat();
        for input in [flat, map] {
            let reply = Reply::read(&mut &input[..]).expect("a reply");
            let docs = Docs::of(&reply);
            assert_eq!(docs.hint("get "), Some("key [X x]".to_owned()));
        }
        assert!(Docs::of(&Reply::Null).is_empty());
    }
}
