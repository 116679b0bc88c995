//! One file of the tree as the checks of `tidy.rs` see it.
//!
//! `code` is the text with the bytes of strings, characters and comments and of `#[cfg(test)]`
//! modules turned into spaces: offsets and line numbers stay those of the text. The reduction is
//! a small lexer, not a parser; it knows just enough Rust to tell a lifetime from a character
//! and a raw string from a name.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

/// A file, its path relative to the root with `/` between the parts.
pub(crate) struct Source {
    pub(crate) path: String,
    pub(crate) text: String,
    /// The text reduced to code; empty for documents.
    pub(crate) code: String,
    /// As `code`, with the test modules still in.
    code_and_tests: String,
    /// Whether it is a file of `src/` that is compiled for tests only; then `code` is empty.
    pub(crate) is_for_tests: bool,
}

static SOURCES: LazyLock<Vec<Source>> = LazyLock::new(|| {
    let folders = ["src", "tests", "bench", "examples"];
    let mut found: Vec<Source> = folders
        .iter()
        .flat_map(|folder| read(folder, "rs"))
        .collect();
    let for_tests: Vec<String> = found.iter().flat_map(Source::modules_for_tests).collect();
    for source in &mut found {
        source.is_for_tests = for_tests.iter().any(|module| {
            let inside = source.path.strip_prefix(module.as_str());
            inside.is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
        });
        if source.is_for_tests {
            source.code.clear();
        }
    }
    found
});
static DOCUMENTS: LazyLock<Vec<Source>> = LazyLock::new(|| read("", "md"));

/// Every Rust file of the tree.
pub(crate) fn sources() -> &'static [Source] {
    &SOURCES
}

/// Every Markdown file of the tree.
pub(crate) fn documents() -> &'static [Source] {
    &DOCUMENTS
}

/// The folder of the root package.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

impl Source {
    pub(crate) fn new(path: String, text: String) -> Self {
        let (mut code, mut code_and_tests) = (String::new(), String::new());
        if path.ends_with(".rs") {
            code_and_tests = blank_strings_and_comments(&text);
            code = blank_test_modules(&code_and_tests);
        }
        Self {
            path,
            text,
            code,
            code_and_tests,
            is_for_tests: false,
        }
    }

    /// Paths, without their ending, of the modules this file declares under `#[cfg(test)]`.
    fn modules_for_tests(&self) -> Vec<String> {
        let stem = self.path.trim_end_matches(".rs");
        let parent = stem.rsplit_once('/').map_or("", |(parent, _)| parent);
        let is_root = ["/mod", "/lib", "/main"]
            .iter()
            .any(|name| stem.ends_with(name));
        let folder = if is_root { parent } else { stem };
        let marks =
            test_marks(&self.code_and_tests).map(|(_, after)| &self.code_and_tests[after..]);
        marks
            .filter_map(|rest| {
                let (item, _) = rest.split_once(['{', ';'])?;
                let (before, name) = item.rsplit_once("mod ")?;
                let is_file = rest[item.len()..].starts_with(';') && !before.contains("fn ");
                is_file.then(|| format!("{folder}/{}", name.trim()))
            })
            .collect()
    }

    /// The module of `src/` this file belongs to; none for `lib.rs`, `main.rs` and other folders.
    pub(crate) fn layer(&self) -> Option<&str> {
        let inside = self.path.strip_prefix("src/")?;
        let name = inside.split('/').next()?.trim_end_matches(".rs");
        (name != "lib" && name != "main").then_some(name)
    }

    /// Modules of the crate that the code names, each with its line.
    pub(crate) fn imports(&self) -> Vec<(usize, String)> {
        let all: Vec<(usize, &str)> = tokens(&self.code).collect();
        let mut found = Vec::new();
        let mut index = 0;
        while index < all.len() {
            let supers = all[index..]
                .iter()
                .step_by(2)
                .take_while(|(_, word)| *word == "super")
                .count();
            let is_crate = all[index].1 == "crate";
            let steps = if is_crate { 1 } else { supers };
            if steps == 0
                || all
                    .get(index + 2 * steps - 1)
                    .is_none_or(|(_, word)| *word != "::")
            {
                index += 1;
                continue;
            }
            index += 2 * steps;
            if is_crate || supers == self.depth() {
                names_after(&all[index..], &mut found);
            }
        }
        found
            .into_iter()
            .map(|(offset, name)| (line_of(&self.code, offset), name))
            .collect()
    }

    /// How many modules lie between the crate's root and what this file holds.
    fn depth(&self) -> usize {
        let parts = self.path.split('/').count() - 1;
        if self.path.ends_with("/mod.rs") {
            parts - 1
        } else {
            parts
        }
    }

    /// Lines of code, outside tests, on which `word` stands.
    pub(crate) fn lines_with_word<'a>(&'a self, word: &'a str) -> impl Iterator<Item = usize> + 'a {
        tokens(&self.code)
            .filter(move |(_, token)| *token == word)
            .map(|(offset, _)| line_of(&self.code, offset))
    }

    /// Lines on which `path` stands in code; in a file of tests, or in test modules.
    pub(crate) fn lines_with_path(&self, path: &str, is_test: bool) -> Vec<usize> {
        let is_inside = |offset: usize| is_test || self.code.as_bytes().get(offset) != Some(&b't');
        let places = self
            .code_and_tests
            .match_indices(path)
            .map(|(offset, _)| offset);
        places
            .filter(|offset| is_inside(*offset))
            .map(|offset| line_of(&self.text, offset))
            .collect()
    }

    /// Lines that hold code, outside tests.
    pub(crate) fn code_line_count(&self) -> usize {
        self.code
            .lines()
            .filter(|line| !line.trim().is_empty())
            .count()
    }

    /// The functions marked `#[test]`, each with its line.
    pub(crate) fn test_names(&self) -> Vec<(usize, String)> {
        let code = &self.code_and_tests;
        let marks = code.match_indices("#[test]").map(|(offset, _)| offset);
        marks
            .filter_map(|mark| {
                let rest = &code[mark..];
                let at = rest.find("fn ")? + 3;
                let name: String = rest[at..].chars().take_while(|c| is_word(*c)).collect();
                Some((line_of(code, mark + at), name))
            })
            .collect()
    }

    /// Decimal integer literals outside `const` and `static` items and attributes.
    /// Hexadecimal and binary ones are bit patterns and not counted.
    pub(crate) fn decimal_literals_outside_consts(&self) -> Vec<(usize, u128)> {
        let mut found = Vec::new();
        let mut constant: Option<usize> = None;
        let mut depth = 0_usize;
        let all: Vec<(usize, &str)> = tokens(&self.code).collect();
        for (index, (offset, token)) in all.iter().enumerate() {
            match *token {
                "const" | "static" if constant.is_none() && begins_item(&all, index) => {
                    constant = Some(depth);
                }
                "(" | "[" | "{" => depth += 1,
                ")" | "]" | "}" => depth = depth.saturating_sub(1),
                ";" if constant == Some(depth) => constant = None,
                _ => {}
            }
            if constant.is_none()
                && let Some(value) = decimal(token)
            {
                found.push((line_of(&self.code, *offset), value));
            }
        }
        found
    }

    /// Names of constants and fields whose type is a number, each with its line.
    pub(crate) fn integer_names(&self) -> Vec<(usize, String)> {
        const NUMBERS: &[&str] = &["u8", "u16", "u32", "u64", "usize", "i32", "i64", "f64"];
        let all: Vec<(usize, &str)> = tokens(&self.code).collect();
        let typed = all
            .windows(3)
            .filter(|window| window[1].1 == ":" && NUMBERS.contains(&window[2].1));
        typed
            .map(|window| (line_of(&self.code, window[0].0), window[0].1.to_owned()))
            .collect()
    }

    /// Targets of links into the tree, each with its line.
    pub(crate) fn links(&self) -> Vec<(usize, String)> {
        let starts = self.text.match_indices("](").map(|(offset, _)| offset + 2);
        let targets =
            starts.filter_map(|start| Some((start, self.text[start..].split_once(')')?.0)));
        targets
            .filter(|(_, target)| !target.contains("://") && !target.starts_with("mailto:"))
            .map(|(start, target)| (line_of(&self.text, start), target.to_owned()))
            .collect()
    }
}

/// Words, numbers and marks of `code` with their offsets; `::` is one token.
pub(crate) fn tokens(code: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        at += code[at..].len() - code[at..].trim_start().len();
        let first = code[at..].chars().next()?;
        let len = if first.is_ascii_digit() {
            number_len(&code[at..])
        } else if is_word(first) {
            code[at..].find(|c| !is_word(c)).unwrap_or(code.len() - at)
        } else if code[at..].starts_with("::") {
            2
        } else {
            first.len_utf8()
        };
        at += len;
        Some((at - len, &code[at - len..at]))
    })
}

/// The names of headings as links refer to them.
pub(crate) fn anchors(text: &str) -> BTreeSet<String> {
    let headings = text.lines().filter(|line| line.starts_with('#'));
    headings
        .map(|line| {
            let kept = line.trim_start_matches('#').trim().to_lowercase();
            let kept = kept
                .chars()
                .filter(|c| c.is_alphanumeric() || " -_".contains(*c));
            kept.map(|c| if c == ' ' { '-' } else { c }).collect()
        })
        .collect()
}

/// Reads every file below `folder` that ends in `extension`.
fn read(folder: &str, extension: &str) -> Vec<Source> {
    const SKIPPED: &[&str] = &["target", "node_modules", ".git", "results"];
    let mut found = Vec::new();
    let mut folders: Vec<PathBuf> = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else {
            continue;
        };
        for entry in entries.map(|entry| entry.expect("the tree can be listed")) {
            let path = entry.path();
            if path.is_dir() {
                if !SKIPPED.contains(&entry.file_name().to_string_lossy().as_ref()) {
                    folders.push(path);
                }
            } else if path.extension().is_some_and(|found| found == extension) {
                let text = std::fs::read_to_string(&path).expect("a source is UTF-8");
                let path = path.strip_prefix(root()).expect("it lies below the root");
                found.push(Source::new(path.to_string_lossy().into_owned(), text));
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

/// Collects `x`, with its offset, of a path that goes on with `x` or with a group `{x, y::z, ..}`.
fn names_after(rest: &[(usize, &str)], found: &mut Vec<(usize, String)>) {
    let mut push = |(offset, name): (usize, &str)| found.push((offset, name.to_owned()));
    match rest.first() {
        Some((_, "{")) => {
            let mut depth = 0;
            let mut is_start = true;
            for token in rest {
                match token.1 {
                    "{" => depth += 1,
                    "}" => depth -= 1,
                    "," if depth == 1 => is_start = true,
                    _ if depth == 1 && is_start => {
                        push(*token);
                        is_start = false;
                    }
                    _ => {}
                }
                if depth == 0 {
                    break;
                }
            }
        }
        Some(token) if token.1.starts_with(|c: char| c.is_ascii_lowercase()) => push(*token),
        _ => {}
    }
}

/// Whether the `const` or `static` at `index` begins an item, rather than a function, a block,
/// a pointer, a lifetime or a parameter of a generic.
fn begins_item(all: &[(usize, &str)], index: usize) -> bool {
    let before = index.checked_sub(1).map_or("", |before| all[before].1);
    let after = all.get(index + 1).map_or("", |(_, token)| *token);
    !["fn", "{", "unsafe"].contains(&after) && !["*", "'", "<", ",", "|", "||"].contains(&before)
}

/// The value of a decimal integer token.
fn decimal(token: &str) -> Option<u128> {
    let digits: String = token
        .chars()
        .filter(|c| *c != '_')
        .take_while(char::is_ascii_digit)
        .collect();
    let is_other_base = token.len() > 1
        && token.starts_with('0')
        && !token[1..].starts_with(|c: char| c.is_ascii_digit() || c == '_');
    if is_other_base || token.contains('.') {
        None
    } else {
        digits.parse().ok()
    }
}

/// Length of the number at the start: digits, base, suffix and a fraction.
fn number_len(text: &str) -> usize {
    let whole = text.find(|c| !is_word(c)).unwrap_or(text.len());
    let fraction = text[whole..]
        .strip_prefix('.')
        .filter(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    whole
        + fraction.map_or(0, |rest| {
            1 + rest.find(|c| !is_word(c)).unwrap_or(rest.len())
        })
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The number, from one, of the line that holds `offset`.
fn line_of(text: &str, offset: usize) -> usize {
    1 + text.as_bytes()[..offset]
        .iter()
        .filter(|byte| **byte == b'\n')
        .count()
}

/// Spaces for `bytes`, line ends kept, so that offsets and lines stay where they were.
fn blank(bytes: &mut [u8]) {
    for byte in bytes.iter_mut().filter(|byte| **byte != b'\n') {
        *byte = b' ';
    }
}

/// Turns strings, characters and comments into spaces.
fn blank_strings_and_comments(text: &str) -> String {
    let mut bytes = text.as_bytes().to_vec();
    let mut at = 0;
    while at < text.len() {
        let len = quoted_len(
            &text.as_bytes()[at..],
            at.checked_sub(1).map(|before| text.as_bytes()[before]),
        );
        blank(&mut bytes[at..at + len]);
        at += len.max(1);
    }
    String::from_utf8(bytes).expect("whole characters were replaced")
}

/// Length of the string, character or comment that starts here; 0 if none does.
fn quoted_len(rest: &[u8], before: Option<u8>) -> usize {
    let until = |end: &[u8], from: usize| {
        rest[from..]
            .windows(end.len())
            .position(|window| window == end)
            .map_or(rest.len(), |at| from + at + end.len())
    };
    match rest {
        [b'/', b'/', ..] => until(b"\n", 2).saturating_sub(1).max(2),
        [b'/', b'*', ..] => until(b"*/", 2),
        [b'"', ..] => closing(rest, b'"'),
        [b'r', b'"' | b'#', ..]
            if !before.is_some_and(|byte| byte.is_ascii_alphanumeric() && byte != b'b') =>
        {
            let hashes = rest[1..].iter().take_while(|byte| **byte == b'#').count();
            if rest.get(1 + hashes) == Some(&b'"') {
                let end = [b"\"".as_slice(), &b"#".repeat(hashes)].concat();
                until(&end, 2 + hashes)
            } else {
                0
            }
        }
        [b'\'', b'\\', ..] => closing(rest, b'\''),
        [b'\'', first, ..] => {
            let len = 1 + std::str::from_utf8(&rest[1..rest.len().min(5)]).map_or_else(
                |_| utf8_len(*first),
                |text| text.chars().next().map_or(1, char::len_utf8),
            );
            if rest.get(len) == Some(&b'\'') {
                len + 1
            } else {
                0
            }
        }
        _ => 0,
    }
}

/// Bytes of the character whose first byte this is.
fn utf8_len(first: u8) -> usize {
    usize::try_from(first.leading_ones()).map_or(1, |ones| ones.max(1))
}

/// Length of what starts with `quote` and ends with the next one that no backslash escapes.
fn closing(rest: &[u8], quote: u8) -> usize {
    let mut at = 1;
    while at < rest.len() {
        match rest[at] {
            b'\\' => at += 2,
            byte if byte == quote => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

/// Where attributes that compile for tests only begin and end: `#[cfg(test)]` and such.
fn test_marks(code: &str) -> impl Iterator<Item = (usize, usize)> {
    code.match_indices("#[cfg(").filter_map(|(mark, _)| {
        let after = mark + code[mark..].find(']')? + 1;
        let condition = &code[mark..after];
        let is_for_tests = tokens(condition).any(|(_, token)| token == "test");
        (is_for_tests && !condition.contains("not(test)")).then_some((mark, after))
    })
}

/// Turns the bodies of `#[cfg(test)] mod .. { }` into spaces.
fn blank_test_modules(code: &str) -> String {
    let mut bytes = code.as_bytes().to_vec();
    for (mark, after) in test_marks(code) {
        let Some(open) = code[after..].find(['{', ';']).map(|at| after + at) else {
            continue;
        };
        if code.as_bytes()[open] == b';' {
            continue;
        }
        let mut depth = 0_i32;
        let body = code[open..].bytes().position(|byte| {
            depth += i32::from(byte == b'{') - i32::from(byte == b'}');
            depth == 0
        });
        let end = body.map_or(code.len(), |len| open + len + 1);
        blank(&mut bytes[mark..end]);
    }
    String::from_utf8(bytes).expect("whole characters were replaced")
}
