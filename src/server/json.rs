//! What is written as JSON: strings, as the rest is numbers.

/// `text` as a string of JSON, quotes included. What is no text is shown as such (U+FFFD).
pub(super) fn string(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let mut json = String::with_capacity(text.len() + 2);
    json.push('"');
    for char in text.chars() {
        match char {
            '"' | '\\' => json.extend(['\\', char]),
            '\u{20}'.. => json.push(char),
            _ => json.push_str(&format!("\\u{:04x}", u32::from(char))),
        }
    }
    json.push('"');
    json
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_hold_any_bytes() {
        assert_eq!(string(b"a\"\\\n\x7f<"), "\"a\\\"\\\\\\u000a\x7f<\"");
        assert_eq!(string(b"\xff"), "\"\u{fffd}\"");
    }
}
