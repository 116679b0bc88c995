//! What was typed, kept for the next time: where, and what not.
//!
//! `$XDG_STATE_HOME/coremap/history`, by default below `~/.local/state`; `COREMAP_HISTFILE` names
//! another file. Only its owner can read it. Lines with a password are not kept, not even until the
//! end.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::PathBuf;

use super::session::is;
use super::words::split;

/// Lines kept at most.
pub(super) const LINE_COUNT_MAX: usize = 1_000;

/// The file, its directory made if it was not there; none if there is no home for it.
pub(super) fn file() -> Option<PathBuf> {
    let path = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    if let Some(file) = path("COREMAP_HISTFILE") {
        return Some(file.into());
    }
    let state = path("XDG_STATE_HOME").map(PathBuf::from);
    let state = state.or_else(|| Some(PathBuf::from(path("HOME")?).join(".local/state")))?;
    let folder = state.join("coremap");
    let made = DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&folder);
    made.ok().map(|()| folder.join("history"))
}

/// Whether a line has, or sets, a password: understood or not, and with a count before the command.
pub(super) fn is_secret(line: &[u8]) -> bool {
    let mut words = split(line).unwrap_or_else(|| {
        let words = line.split(u8::is_ascii_whitespace);
        let words = words.filter(|word| !word.is_empty());
        words.map(<[u8]>::to_vec).collect()
    });
    let is_count = |word: &Vec<u8>| word.iter().all(|byte| b"+-0123456789".contains(byte));
    if words.first().is_some_and(is_count) {
        words.remove(0);
    }
    let words = words.as_slice();
    let has = |names: &[&str]| {
        let is_one = |word: &Vec<u8>| {
            let mut names = names.iter();
            names.any(|name| word.eq_ignore_ascii_case(name.as_bytes()))
        };
        words.iter().skip(1).any(is_one)
    };
    is(words, &["auth"])
        || is(words, &["acl", "setuser"])
        || is(words, &["config", "set"]) && has(&["requirepass", "masterauth", "masteruser"])
        || is(words, &["hello"]) && has(&["auth"])
        || is(words, &["migrate"]) && has(&["auth", "auth2"])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_with_a_password_are_secret() {
        for (line, expected) in [
            ("auth secret", true),
            ("  auth \"secret", true),
            ("0 auth secret", true),
            ("AUTH user secret", true),
            ("Config Set maxmemory 1g requirepass x", true),
            ("HELLO 3 AUTH default x", true),
            ("acl setuser x >y", true),
            ("migrate h 1 k 0 5 AUTH2 u p", true),
            ("SET auth requirepass", false),
            ("CONFIG GET requirepass", false),
            ("HELLO 3 SETNAME x", false),
        ] {
            assert_eq!(is_secret(line.as_bytes()), expected, "{line}");
        }
    }
}
