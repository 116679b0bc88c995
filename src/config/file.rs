//! Configuration files: one `name value...` a line, `#` in front of comments, quotes as in
//! redis.conf.

use std::path::Path;

use super::{Applied, Config};
use crate::error::Error;

/// Reads `path` into `config`; returns the warnings, each with its line number.
pub(super) fn read(config: &mut Config, path: &Path) -> Result<Vec<String>, Error> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| Error::start(format_args!("cannot read {}", path.display()), &error))?;
    let warnings = apply(config, &text)
        .map_err(|(line, reason)| Error::Usage(format!("{}:{line}: {reason}", path.display())))?;
    config.config_file = Some(std::path::absolute(path).unwrap_or_else(|_| path.to_owned()));
    let with_path = |(line, warning)| format!("{}:{line}: {warning}", path.display());
    Ok(warnings.into_iter().map(with_path).collect())
}

type AtLine = (usize, String);

fn apply(config: &mut Config, text: &str) -> Result<Vec<AtLine>, AtLine> {
    let mut warnings = Vec::new();
    for (line_number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let mut words = words(line).ok_or((line_number, "unbalanced quotes".to_owned()))?;
        let name = words.remove(0).to_ascii_lowercase();
        match config.set(&name, &words) {
            Ok(Applied::Set) => {}
            Ok(Applied::Ignored(warning)) => warnings.push((line_number, warning)),
            Err(error) => return Err((line_number, error.to_string())),
        }
    }
    Ok(warnings)
}

/// The words of a line, of which there is at least one; `None` when quotes do not balance. Within
/// double quotes `\n`, `\r`, `\t`, `\b`, `\a` and `\xHH` stand for one byte, `\` before anything else for
/// that; within single quotes only `\'` is special.
fn words(line: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut rest = line.trim_start();
    while !rest.is_empty() {
        let (word, after) = match rest.as_bytes()[0] {
            b'"' => double_quoted(&rest[1..])?,
            b'\'' => single_quoted(&rest[1..])?,
            _ => rest.split_once(char::is_whitespace).map_or_else(
                || (rest.to_owned(), ""),
                |(word, after)| (word.to_owned(), after),
            ),
        };
        words.push(word);
        rest = after.trim_start();
    }
    Some(words)
}

fn double_quoted(text: &str) -> Option<(String, &str)> {
    let mut bytes = Vec::new();
    let mut chars = text.char_indices();
    while let Some((index, char)) = chars.next() {
        match char {
            '"' => return ends_word(bytes, &text[index + 1..]),
            '\\' => match chars.next()?.1 {
                'n' => bytes.push(b'\n'),
                'r' => bytes.push(b'\r'),
                't' => bytes.push(b'\t'),
                'b' => bytes.push(8),
                'a' => bytes.push(7),
                'x' if hex(&text[index + 2..]).is_some() => {
                    bytes.push(hex(&text[index + 2..])?);
                    chars.nth(1);
                }
                other => push_char(&mut bytes, other),
            },
            other => push_char(&mut bytes, other),
        }
    }
    None
}

fn single_quoted(text: &str) -> Option<(String, &str)> {
    let mut bytes = Vec::new();
    let mut chars = text.char_indices().peekable();
    while let Some((index, char)) = chars.next() {
        match char {
            '\'' => return ends_word(bytes, &text[index + 1..]),
            '\\' if chars.peek().is_some_and(|(_, next)| *next == '\'') => {
                chars.next();
                bytes.push(b'\'');
            }
            other => push_char(&mut bytes, other),
        }
    }
    None
}

/// A closing quote must end the word, as in redis.conf.
fn ends_word(bytes: Vec<u8>, after: &str) -> Option<(String, &str)> {
    let is_end = after.is_empty() || after.starts_with(char::is_whitespace);
    Some((String::from_utf8(bytes).ok().filter(|_| is_end)?, after))
}

fn hex(text: &str) -> Option<u8> {
    u8::from_str_radix(text.get(..2)?, 16).ok()
}

fn push_char(bytes: &mut Vec<u8>, char: char) {
    bytes.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(words: &[&str]) -> Option<Vec<String>> {
        Some(words.iter().map(|word| (*word).to_owned()).collect())
    }

    #[test]
    fn words_are_split_and_unquoted_as_in_redis_conf() {
        assert_eq!(
            words("bind 127.0.0.1  -::1"),
            strings(&["bind", "127.0.0.1", "-::1"])
        );
        assert_eq!(words(r#"save """#), strings(&["save", ""]));
        assert_eq!(
            words(r#"requirepass "a \"b\" \x41\n" "#),
            strings(&["requirepass", "a \"b\" A\n"])
        );
        assert_eq!(
            words(r"requirepass 'it\'s \x41'"),
            strings(&["requirepass", r"it's \x41"])
        );
        assert_eq!(words(r#"requirepass "open"#), None);
        assert_eq!(words(r#"requirepass "a"b"#), None);
    }

    #[test]
    fn an_error_and_a_warning_name_their_line() {
        let mut config = Config::default();
        let warnings = apply(&mut config, "# a comment\n\nPort 7000\nhz 10\n").unwrap();
        assert_eq!(config.settings.port, 7000);
        assert_eq!(warnings.len(), 1);
        assert_eq!(warnings[0].0, 4);
        let error = apply(&mut config, "port 1\nmaxmemroy 1gb\n").unwrap_err();
        assert_eq!(
            error,
            (
                2,
                "unknown setting 'maxmemroy', did you mean 'maxmemory'?".to_owned()
            )
        );
        let error = apply(&mut config, "port many").unwrap_err();
        assert_eq!(
            error,
            (1, "port: 'many' is not a number from 0 to 65535".to_owned())
        );
    }
}
