//! How a reply looks: in each form byte for byte what redis-cli prints.
//!
//! ```text
//!   standard   types are told apart, strings are quoted, elements numbered and indented
//!   raw        nothing but the contents, an element a line: for pipes
//!   CSV        one line, strings quoted, maps flat
//!   JSON       one line; strings as they are, or quoted to ASCII
//! ```
//!
//! A big number, of which redis-cli 7.0 says that it does not know the type, is shown as digits.

use super::words::append_quoted;
use crate::cli::reply::Reply;
use crate::json;

/// A form of replies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Standard,
    Raw,
    Csv,
    Json,
    QuotedJson,
}

/// A form with what stands between things in its raw variant.
#[derive(Clone, Debug)]
pub(super) struct Style {
    pub(super) form: Form,
    /// Between elements.
    pub(super) element_delimiter: Vec<u8>,
    /// After each reply.
    pub(super) reply_delimiter: Vec<u8>,
}

impl Style {
    /// A reply as it is printed, its end of line included.
    pub(super) fn shown(&self, reply: &Reply) -> Vec<u8> {
        let mut output = Vec::new();
        match self.form {
            Form::Standard => append_standard(&mut output, reply, ""),
            Form::Raw => {
                self.append_raw(&mut output, reply);
                output.extend_from_slice(&self.reply_delimiter);
            }
            Form::Csv => {
                append_csv(&mut output, reply);
                output.push(b'\n');
            }
            Form::Json | Form::QuotedJson => {
                self.append_json(&mut output, reply);
                output.push(b'\n');
            }
        }
        output
    }

    /// A reply that is a text for people, in whatever form: as it is.
    pub(super) fn shown_as_text(&self, reply: &Reply) -> Vec<u8> {
        let mut output = Vec::new();
        self.append_raw(&mut output, reply);
        output
    }

    fn append_raw(&self, output: &mut Vec<u8>, reply: &Reply) {
        match reply {
            Reply::Null => {}
            Reply::Error(text) => {
                output.extend_from_slice(text);
                output.push(b'\n');
            }
            Reply::Boolean(is_true) => output.extend_from_slice(boolean(*is_true)),
            Reply::Array(elements) | Reply::Set(elements) | Reply::Push(elements) => {
                for (index, element) in elements.iter().enumerate() {
                    if index > 0 {
                        output.extend_from_slice(&self.element_delimiter);
                    }
                    self.append_raw(output, element);
                }
            }
            Reply::Map(pairs) => {
                for (index, (key, value)) in pairs.iter().enumerate() {
                    if index > 0 {
                        output.extend_from_slice(&self.element_delimiter);
                    }
                    self.append_raw(output, key);
                    output.push(b' ');
                    self.append_raw(output, value);
                }
            }
            Reply::Integer(_)
            | Reply::Double(_)
            | Reply::BigNumber(_)
            | Reply::Status(_)
            | Reply::Bulk(_)
            | Reply::Verbatim(_) => append_plain(output, reply),
        }
    }

    fn append_json(&self, output: &mut Vec<u8>, reply: &Reply) {
        match reply {
            Reply::Null => output.extend_from_slice(b"null"),
            Reply::Error(text) => {
                output.extend_from_slice(b"error:");
                self.append_json_string(output, text);
            }
            Reply::Status(text) | Reply::Bulk(text) | Reply::Verbatim(text) => {
                self.append_json_string(output, text);
            }
            Reply::Boolean(is_true) => output.extend_from_slice(truth(*is_true)),
            Reply::Array(elements) | Reply::Set(elements) | Reply::Push(elements) => {
                output.push(b'[');
                append_separated(output, elements, |output, element| {
                    self.append_json(output, element);
                });
                output.push(b']');
            }
            Reply::Map(pairs) => {
                output.push(b'{');
                append_separated(output, pairs, |output, (key, value)| {
                    self.append_json_key(output, key);
                    output.push(b':');
                    self.append_json(output, value);
                });
                output.push(b'}');
            }
            Reply::Integer(_) | Reply::Double(_) | Reply::BigNumber(_) => {
                append_plain(output, reply);
            }
        }
    }

    /// A key in JSON is a string, whatever it was.
    fn append_json_key(&self, output: &mut Vec<u8>, key: &Reply) {
        let is_string = key.text().is_some() || matches!(key, Reply::Error(_));
        if is_string {
            return self.append_json(output, key);
        }
        output.push(b'"');
        self.append_json(output, key);
        output.push(b'"');
    }

    fn append_json_string(&self, output: &mut Vec<u8>, text: &[u8]) {
        if self.form == Form::QuotedJson {
            let mut quoted = Vec::new();
            append_quoted(&mut quoted, text);
            for byte in quoted {
                if byte == b'\\' {
                    output.push(b'\\');
                }
                output.push(byte);
            }
            return;
        }
        json::append_string(output, text);
    }
}

/// For people: `prefix` is the indentation of the elements after the first.
fn append_standard(output: &mut Vec<u8>, reply: &Reply, prefix: &str) {
    match reply {
        Reply::Array(elements) => append_list(output, elements, "(empty array)", ')', prefix),
        Reply::Push(elements) => append_list(output, elements, "(empty push)", ')', prefix),
        Reply::Set(elements) => append_list(output, elements, "(empty set)", '~', prefix),
        Reply::Map(pairs) => append_map(output, pairs, prefix),
        single => {
            let kind: &[u8] = match single {
                Reply::Error(_) => b"(error) ",
                Reply::Integer(_) => b"(integer) ",
                Reply::Double(_) => b"(double) ",
                Reply::BigNumber(_) => b"(big number) ",
                _ => b"",
            };
            output.extend_from_slice(kind);
            match single {
                Reply::Null => output.extend_from_slice(b"(nil)"),
                Reply::Boolean(is_true) => output.extend_from_slice(boolean(*is_true)),
                Reply::Bulk(text) => append_quoted(output, text),
                other => append_plain(output, other),
            }
            output.push(b'\n');
        }
    }
}

fn append_list(output: &mut Vec<u8>, elements: &[Reply], empty: &str, mark: char, prefix: &str) {
    let numbers = Numbers::new(elements.len(), mark, prefix);
    for (index, element) in elements.iter().enumerate() {
        numbers.append(output, index);
        append_standard(output, element, &numbers.inner_prefix);
    }
    if elements.is_empty() {
        output.extend_from_slice(empty.as_bytes());
        output.push(b'\n');
    }
}

fn append_map(output: &mut Vec<u8>, pairs: &[(Reply, Reply)], prefix: &str) {
    let numbers = Numbers::new(pairs.len(), '#', prefix);
    for (index, (key, value)) in pairs.iter().enumerate() {
        numbers.append(output, index);
        append_standard(output, key, &numbers.inner_prefix);
        output.pop();
        output.extend_from_slice(b" => ");
        if is_on_several_lines(value) {
            output.push(b'\n');
            output.extend_from_slice(numbers.inner_prefix.as_bytes());
        }
        append_standard(output, value, &numbers.inner_prefix);
    }
    if pairs.is_empty() {
        output.extend_from_slice(b"(empty hash)\n");
    }
}

/// Whether a value would not fit behind its key.
fn is_on_several_lines(reply: &Reply) -> bool {
    match reply {
        Reply::Map(pairs) => match pairs.as_slice() {
            [] => false,
            [(_, value)] => is_on_several_lines(value),
            _ => true,
        },
        _ => match reply.elements() {
            [] => false,
            [element] => is_on_several_lines(element),
            _ => true,
        },
    }
}

/// The numbers before elements: as wide as the last one needs.
struct Numbers<'a> {
    width: usize,
    mark: char,
    prefix: &'a str,
    inner_prefix: String,
}

impl<'a> Numbers<'a> {
    fn new(count: usize, mark: char, prefix: &'a str) -> Self {
        let width = count.to_string().len();
        Self {
            width,
            mark,
            prefix,
            inner_prefix: format!("{prefix}{}", " ".repeat(width + 2)),
        }
    }

    /// The first stands where the line is already: behind the number of what it is in.
    fn append(&self, output: &mut Vec<u8>, index: usize) {
        let prefix = if index == 0 { "" } else { self.prefix };
        let (number, width, mark) = (index + 1, self.width, self.mark);
        output.extend_from_slice(format!("{prefix}{number:width$}{mark} ").as_bytes());
    }
}

fn append_csv(output: &mut Vec<u8>, reply: &Reply) {
    match reply {
        Reply::Null => output.extend_from_slice(b"NULL"),
        Reply::Error(text) => {
            output.extend_from_slice(b"ERROR,");
            append_quoted(output, text);
        }
        Reply::Status(text) | Reply::Bulk(text) | Reply::Verbatim(text) => {
            append_quoted(output, text);
        }
        Reply::Boolean(is_true) => output.extend_from_slice(truth(*is_true)),
        Reply::Array(elements) | Reply::Set(elements) | Reply::Push(elements) => {
            append_separated(output, elements, append_csv);
        }
        Reply::Map(pairs) => append_separated(output, pairs, |output, (key, value)| {
            append_csv(output, key);
            output.push(b',');
            append_csv(output, value);
        }),
        Reply::Integer(_) | Reply::Double(_) | Reply::BigNumber(_) => append_plain(output, reply),
    }
}

/// What a single reply contains, without its type.
fn append_plain(output: &mut Vec<u8>, reply: &Reply) {
    match reply {
        Reply::Integer(number) => output.extend_from_slice(number.to_string().as_bytes()),
        Reply::Status(text)
        | Reply::Error(text)
        | Reply::Bulk(text)
        | Reply::Verbatim(text)
        | Reply::Double(text)
        | Reply::BigNumber(text) => output.extend_from_slice(text),
        Reply::Null
        | Reply::Boolean(_)
        | Reply::Array(_)
        | Reply::Map(_)
        | Reply::Set(_)
        | Reply::Push(_) => unreachable!("each form has its own way to show these"),
    }
}

fn append_separated<T>(output: &mut Vec<u8>, all: &[T], append: impl Fn(&mut Vec<u8>, &T)) {
    for (index, one) in all.iter().enumerate() {
        if index > 0 {
            output.push(b',');
        }
        append(output, one);
    }
}

fn boolean(is_true: bool) -> &'static [u8] {
    if is_true { b"(true)" } else { b"(false)" }
}

fn truth(is_true: bool) -> &'static [u8] {
    if is_true { b"true" } else { b"false" }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(form: Form, reply: &[u8]) -> String {
        let style = Style {
            form,
            element_delimiter: b"\n".into(),
            reply_delimiter: b"\n".into(),
        };
        let reply = Reply::read(&mut &reply[..]).expect("a reply");
        String::from_utf8(style.shown(&reply)).expect("it is text")
    }

    #[test]
    fn nested_replies_are_numbered_and_indented() {
        let reply = b"*2\r\n*2\r\n:1\r\n*0\r\n%2\r\n+a\r\n:1\r\n$1\r\nb\r\n~1\r\n_\r\n";
        assert_eq!(
            shown(Form::Standard, reply),
            "1) 1) (integer) 1\n   2) (empty array)\n2) 1# a => (integer) 1\n   2# \"b\" => 1~ (nil)\n"
        );
        assert_eq!(shown(Form::Raw, reply), "1\n\na 1\nb \n");
        assert_eq!(shown(Form::Csv, reply), "1,,\"a\",1,\"b\",NULL\n");
        assert_eq!(
            shown(Form::Json, reply),
            "[[1,[]],{\"a\":1,\"b\":[null]}]\n"
        );
        let ten = [&b"*10\r\n"[..], &b":0\r\n".repeat(9), b"*1\r\n+z\r\n"].concat();
        assert!(shown(Form::Standard, &ten).ends_with(" 9) (integer) 0\n10) 1) z\n"));
    }

    #[test]
    fn what_json_cannot_hold_is_escaped() {
        let reply = b"$9\r\n\"\\\n\t\x01\xc3\xa4\x08\x0c\r\n";
        assert_eq!(
            shown(Form::Json, reply),
            "\"\\\"\\\\\\n\\t\\u0001\u{e4}\\b\\f\"\n"
        );
        assert_eq!(
            shown(Form::QuotedJson, b"$2\r\n\xc3\xa4\r\n"),
            "\"\\\\xc3\\\\xa4\"\n"
        );
        assert_eq!(shown(Form::Json, b"%1\r\n:1\r\n#t\r\n"), "{\"1\":true}\n");
    }

    #[test]
    fn numbers_of_every_kind_keep_their_digits() {
        let big = b"(1234567890123456789012\r\n";
        assert_eq!(
            shown(Form::Standard, big),
            "(big number) 1234567890123456789012\n"
        );
        assert_eq!(shown(Form::Standard, b",3.10\r\n"), "(double) 3.10\n");
        assert_eq!(shown(Form::Json, b",3.10\r\n"), "3.10\n");
    }
}
