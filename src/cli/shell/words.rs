//! The words of a line, and the form in which bytes are shown so that they are words again.
//!
//! ```text
//!   a bc            words end at white space
//!   "a\n\x00\"b"    \n \r \t \a \b, \xHH for any byte, and any other byte after \ for itself
//!   'a\'b'          nothing but the quote can be escaped
//!   a"b c"          quotes may begin within a word, and end it
//! ```
//!
//! These are the rules of Redis's inline commands and of redis-cli.

/// Splits a line into its words; `None` if a quote is not closed, or closed within a word.
pub(super) fn split(line: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut words = Vec::new();
    let mut rest = line;
    loop {
        rest = rest.trim_ascii_start();
        if rest.is_empty() {
            return Some(words);
        }
        words.push(take_word(&mut rest)?);
    }
}

/// The one word that a text in quotes is.
pub(super) fn unquote(text: &[u8]) -> Option<Vec<u8>> {
    let words = split(text)?;
    <[Vec<u8>; 1]>::try_from(words).ok().map(|[word]| word)
}

/// Appends bytes in double quotes.
pub(super) fn append_quoted(output: &mut Vec<u8>, bytes: &[u8]) {
    output.push(b'"');
    for &byte in bytes {
        match byte {
            b'"' | b'\\' => output.extend_from_slice(&[b'\\', byte]),
            b'\n' => output.extend_from_slice(b"\\n"),
            b'\r' => output.extend_from_slice(b"\\r"),
            b'\t' => output.extend_from_slice(b"\\t"),
            BELL => output.extend_from_slice(b"\\a"),
            BACKSPACE => output.extend_from_slice(b"\\b"),
            b' '..=b'~' => output.push(byte),
            _ => output.extend_from_slice(format!("\\x{byte:02x}").as_bytes()),
        }
    }
    output.push(b'"');
}

const BELL: u8 = 0x07;
const BACKSPACE: u8 = 0x08;

fn take_word(rest: &mut &[u8]) -> Option<Vec<u8>> {
    let mut word = Vec::new();
    while let Some((first, after)) = rest.split_first() {
        *rest = after;
        match first {
            b'"' => take_quoted(rest, &mut word)?,
            b'\'' => take_literal(rest, &mut word)?,
            b' ' | b'\n' | b'\r' | b'\t' | 0 => break,
            byte => {
                word.push(*byte);
                continue;
            }
        }
        // A closing quote ends the word.
        let is_end = rest
            .first()
            .is_none_or(|next| next.is_ascii_whitespace() || *next == 0);
        return is_end.then_some(word);
    }
    Some(word)
}

/// What is left of a double quoted part, with its end.
fn take_quoted(rest: &mut &[u8], word: &mut Vec<u8>) -> Option<()> {
    loop {
        let (byte, after) = match *rest {
            [b'"', after @ ..] => {
                *rest = after;
                return Some(());
            }
            [b'\\', b'x', high, low, after @ ..] if hex(*high, *low).is_some() => {
                (hex(*high, *low)?, after)
            }
            [b'\\', escaped, after @ ..] => (unescaped(*escaped), after),
            [byte, after @ ..] => (*byte, after),
            [] => return None,
        };
        word.push(byte);
        *rest = after;
    }
}

/// What is left of a single quoted part, with its end.
fn take_literal(rest: &mut &[u8], word: &mut Vec<u8>) -> Option<()> {
    loop {
        let (byte, after) = match *rest {
            [b'\'', after @ ..] => {
                *rest = after;
                return Some(());
            }
            [b'\\', b'\'', after @ ..] => (b'\'', after),
            [byte, after @ ..] => (*byte, after),
            [] => return None,
        };
        word.push(byte);
        *rest = after;
    }
}

fn hex(high: u8, low: u8) -> Option<u8> {
    let digit = |byte: u8| {
        char::from(byte)
            .to_digit(16)
            .and_then(|digit| u8::try_from(digit).ok())
    };
    Some(digit(high)? << 4 | digit(low)?)
}

fn unescaped(byte: u8) -> u8 {
    match byte {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'a' => BELL,
        b'b' => BACKSPACE,
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Option<Vec<String>> {
        let words = split(line.as_bytes())?.into_iter();
        Some(
            words
                .map(|word| String::from_utf8_lossy(&word).into_owned())
                .collect(),
        )
    }

    #[test]
    fn lines_split_as_redis_splits_them() {
        let cases: &[(&str, &[&str])] = &[
            ("", &[]),
            (" \t ", &[]),
            ("SET k v", &["SET", "k", "v"]),
            ("  SET\tk  v ", &["SET", "k", "v"]),
            (r#"SET "a b" 'c d'"#, &["SET", "a b", "c d"]),
            (r#""""#, &[""]),
            (r#"a"b c" d"#, &["ab c", "d"]),
            (r#""\n\r\t\a\b\\\"\q""#, &["\n\r\t\x07\x08\\\"q"]),
            (r#""\x41\x4g""#, &["Ax4g"]),
            (r"'a\'b\n'", &["a'b\\n"]),
        ];
        for (line, expected) in cases {
            assert_eq!(words(line).expect(line), *expected, "{line}");
        }
        for line in [r#"""#, r#""a"#, "'", r#""a"b"#, "'a'b", r#""a\""#] {
            assert_eq!(words(line), None, "{line}");
        }
        assert_eq!(split(br#""\x00\xff""#), Some(vec![vec![0, 0xff]]));
    }

    #[test]
    fn quoted_bytes_split_into_themselves() {
        let all: Vec<u8> = (0..=255).collect();
        let mut quoted = Vec::new();
        append_quoted(&mut quoted, &all);
        assert!(quoted.is_ascii());
        assert_eq!(unquote(&quoted), Some(all));
        assert_eq!(unquote(b"a b"), None);
    }
}
