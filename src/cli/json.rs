//! Strings in JSON, for the tools that print it.

/// Appends a string in quotes; what JSON cannot hold as it is, is escaped.
pub(super) fn append_string(output: &mut Vec<u8>, text: &[u8]) {
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
