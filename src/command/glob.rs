//! Glob patterns as Redis reads them: `*`, `?`, `[a-z]`, `[^a-z]` and `\` before a literal byte.
//!
//! The idea: every token except `*` eats exactly one byte, so only the latest `*` ever has to be
//! widened. Two remembered positions replace recursion, and the worst pattern costs
//! pattern length times text length, never more.
//!
//! The odd cases are Redis's too: a class that nothing closes ends with the pattern, `]` right
//! after `[` closes an empty class, `[^]` takes any byte, a `\` at the very end stands for
//! itself, and a range may be written backwards. Bytes compare unsigned. Of several stars none
//! stands for an empty text, a single one does.

/// Whether all of `text` matches `pattern`.
pub(super) fn matches(pattern: &[u8], text: &[u8]) -> bool {
    matches_folded(pattern, text, |byte| byte)
}

/// Whether all of `text` matches `pattern` when ASCII letters count the same in both cases.
pub(super) fn matches_ignoring_case(pattern: &[u8], text: &[u8]) -> bool {
    matches_folded(pattern, text, |byte| byte.to_ascii_lowercase())
}

fn matches_folded(pattern: &[u8], text: &[u8], fold: impl Fn(u8) -> u8 + Copy) -> bool {
    if text.is_empty() {
        return pattern.is_empty() || pattern == b"*";
    }
    let (mut at_pattern, mut at_text) = (0, 0);
    // Where to go on when a token fails: after the latest star, one text byte further.
    let mut retry: Option<(usize, usize)> = None;
    while at_text < text.len() {
        if pattern.get(at_pattern) == Some(&b'*') {
            at_pattern += 1;
            retry = Some((at_pattern, at_text));
            continue;
        }
        let rest = pattern.get(at_pattern..).unwrap_or_default();
        if let Some(len) = match_one(rest, text[at_text], fold) {
            at_pattern += len;
            at_text += 1;
        } else if let Some((after_star, star_text)) = retry {
            at_pattern = after_star;
            at_text = star_text + 1;
            retry = Some((after_star, at_text));
        } else {
            return false;
        }
    }
    pattern[at_pattern..].iter().all(|&byte| byte == b'*')
}

/// The length of the token that begins `pattern`, if it takes `byte`.
fn match_one(pattern: &[u8], byte: u8, fold: impl Fn(u8) -> u8 + Copy) -> Option<usize> {
    match *pattern {
        [] => None,
        [b'?', ..] => Some(1),
        [b'[', ref class @ ..] => {
            let (is_match, len) = match_class(class, fold(byte), fold);
            is_match.then_some(1 + len)
        }
        [b'\\', literal, ..] => (fold(literal) == fold(byte)).then_some(2),
        [literal, ..] => (fold(literal) == fold(byte)).then_some(1),
    }
}

/// Whether the class after `[` takes `byte`, and its length with the closing `]` if there is one.
fn match_class(class: &[u8], byte: u8, fold: impl Fn(u8) -> u8 + Copy) -> (bool, usize) {
    let is_negated = class.first() == Some(&b'^');
    let mut at = usize::from(is_negated);
    let mut is_member = false;
    loop {
        match class[at..] {
            [] => break,
            [b'\\', literal, ..] => {
                is_member |= fold(literal) == byte;
                at += 2;
            }
            [b']', ..] => {
                at += 1;
                break;
            }
            [first, b'-', last, ..] => {
                let (first, last) = (first.min(last), first.max(last));
                is_member |= (fold(first)..=fold(last)).contains(&byte);
                at += 3;
            }
            [literal, ..] => {
                is_member |= fold(literal) == byte;
                at += 1;
            }
        }
    }
    (is_member != is_negated, at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_mean_what_they_mean_in_redis() {
        let cases: &[(&str, &str, bool)] = &[
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("*", "anything", true),
            ("h?llo", "hello", true),
            ("h?llo", "hllo", false),
            ("h*llo", "heeeello", true),
            ("h*llo", "hllo", true),
            ("h*llo", "hllx", false),
            ("*a*b*", "xxaxxbxx", true),
            ("*a*b*", "xxbxxaxx", false),
            ("a**b", "ab", true),
            ("a*", "a", true),
            ("h[ae]llo", "hallo", true),
            ("h[ae]llo", "hillo", false),
            ("h[^e]llo", "hello", false),
            ("h[^e]llo", "hallo", true),
            ("h[a-c]llo", "hbllo", true),
            ("h[c-a]llo", "hbllo", true),
            ("h[a-c]llo", "hdllo", false),
            ("h\\*llo", "h*llo", true),
            ("h\\*llo", "hello", false),
            ("[\\]]", "]", true),
            ("[\\^a]", "^", true),
            ("x\\", "x\\", true),
            ("?", "", false),
            ("**", "", false),
        ];
        for &(pattern, text, expected) in cases {
            let found = matches(pattern.as_bytes(), text.as_bytes());
            assert_eq!(found, expected, "{pattern} against {text}");
        }
    }

    #[test]
    fn unclosed_and_empty_classes_end_as_in_redis() {
        for (pattern, text, expected) in [
            ("[", "a", false),
            ("[^", "a", true),
            ("[a", "a", true),
            ("[a-", "-", true),
            ("[a-]", "^", true), // the range from ] to a takes the closing bracket
            ("[]a]", "a]", false),
            ("[^]", "a", true),
            ("[\\", "\\", true),
        ] {
            let found = matches(pattern.as_bytes(), text.as_bytes());
            assert_eq!(found, expected, "{pattern} against {text}");
        }
    }

    #[test]
    fn case_counts_only_when_it_should() {
        assert!(!matches(b"MAX*", b"maxmemory"));
        assert!(matches_ignoring_case(b"MAX*", b"maxmemory"));
        assert!(matches_ignoring_case(b"[M-N]ax*", b"MAXMEMORY"));
        assert!(!matches_ignoring_case(b"m[^A]x", b"max"));
    }

    #[test]
    fn a_pattern_of_many_stars_stays_cheap() {
        let pattern = b"a*".repeat(200);
        let text = b"a".repeat(20_000);
        assert!(matches(&pattern, &text));
        let pattern = [pattern.as_slice(), b"b"].concat();
        assert!(!matches(&pattern, &text));
    }
}
