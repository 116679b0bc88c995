//! Strings in JSON, for whoever prints it: the rest of what is printed is numbers and brackets.

/// Appends a string in quotes; what JSON cannot hold as it is, is escaped. Bytes that are no text
/// stay what they are.
pub fn append_string(output: &mut Vec<u8>, text: &[u8]) {
    output.push(b'"');
    for byte in text {
        match byte {
            b'"' | b'\\' => output.extend_from_slice(&[b'\\', *byte]),
            b'\n' => output.extend_from_slice(b"\\n"),
            b'\r' => output.extend_from_slice(b"\\r"),
            b'\t' => output.extend_from_slice(b"\\t"),
            0x08 => output.extend_from_slice(b"\\b"),
            0x0c => output.extend_from_slice(b"\\f"),
            0..=0x1f => output.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
            _ => output.push(*byte),
        }
    }
    output.push(b'"');
}

/// The same as text: what is none is shown as such (U+FFFD).
pub fn string(text: &[u8]) -> String {
    let mut output = Vec::with_capacity(text.len() + 2);
    append_string(&mut output, text);
    String::from_utf8_lossy(&output).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_hold_any_bytes() {
        assert_eq!(string(b"a\"\\\n\x01\x7f<"), "\"a\\\"\\\\\\n\\u0001\x7f<\"");
        assert_eq!(string(b"\xff"), "\"\u{fffd}\"");
        let mut bytes = Vec::new();
        append_string(&mut bytes, b"\xff\t");
        assert_eq!(bytes, b"\"\xff\\t\"");
    }
}
