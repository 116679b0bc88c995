//! The parser against a naive one, against itself in pieces, and against Redis's words.

use super::*;
use crate::resp::{Args, Head};

type Command = Vec<Vec<u8>>;

/// What a stretch of input holds.
#[derive(Debug, Default, PartialEq, Eq)]
struct Parsed {
    commands: Vec<Command>,
    error: Option<ProtocolError>,
    /// Bytes of a command that is not complete, or that is in error.
    left_bytes: usize,
}

/// Parses input that arrives up to each of `ends` in turn, in fresh memory each time: with and
/// without knowing how earlier commands began, which must not matter.
fn parse_in_pieces(
    input: &[u8],
    ends: impl Iterator<Item = usize> + Clone,
    limits: Limits,
) -> Parsed {
    let parsed = parse_knowing_heads(false, input, ends.clone(), limits);
    assert_eq!(parsed, parse_knowing_heads(true, input, ends, limits));
    parsed
}

fn parse_knowing_heads(
    knows_heads: bool,
    input: &[u8],
    ends: impl Iterator<Item = usize>,
    limits: Limits,
) -> Parsed {
    let mut parsed = Parsed::default();
    let mut parser = Parser::new();
    let mut heads: Vec<Head> = Vec::new();
    let mut start = 0;
    for end in ends {
        loop {
            let mut piece = input[start..end].to_vec();
            let mut spans = Vec::new();
            let first = piece.first_chunk().copied().filter(|_| knows_heads);
            let head = first.and_then(|first| heads.iter().find(|head| head.begins(&first)));
            let known = head.filter(|_| parser.is_at_start());
            let step = match known.and_then(|head| head.parse(&piece, &mut spans)) {
                Some(len_bytes) => Ok(Step::Command { len_bytes }),
                None => parser.next(&mut piece, limits, &mut spans),
            };
            match step {
                Ok(Step::Command { len_bytes }) => {
                    if let Some(first) = first {
                        heads.extend(Head::of(&first, &spans));
                    }
                    let args = Args::new(&piece, &spans);
                    parsed
                        .commands
                        .push(args.iter().map(<[u8]>::to_vec).collect());
                    start += len_bytes;
                }
                Ok(Step::Empty { len_bytes }) => start += len_bytes,
                Ok(Step::Incomplete { need_bytes }) => {
                    assert!(need_bytes == 0 || need_bytes > piece.len());
                    assert!(spans.is_empty());
                    break;
                }
                Err(error) => {
                    assert!(spans.is_empty());
                    parsed.error = Some(error);
                    parsed.left_bytes = input.len() - start;
                    return parsed;
                }
            }
        }
    }
    parsed.left_bytes = input.len() - start;
    parsed
}

fn parse(input: &[u8]) -> Parsed {
    parse_in_pieces(input, std::iter::once(input.len()), Limits::AUTHENTICATED)
}

fn parse_byte_by_byte(input: &[u8]) -> Parsed {
    parse_in_pieces(input, 0..=input.len(), Limits::AUTHENTICATED)
}

/// The protocol once more, as plainly as it can be said; for lines within their limit.
fn parse_naively(input: &[u8]) -> Parsed {
    let mut parsed = Parsed::default();
    let mut rest = input;
    while let Some(first) = rest.first() {
        let outcome = if *first == b'*' {
            naive_multibulk(rest)
        } else {
            naive_inline(rest)
        };
        match outcome {
            Ok(Some((command, after))) => {
                if !command.is_empty() {
                    parsed.commands.push(command);
                }
                rest = after;
            }
            Ok(None) => break,
            Err(error) => {
                parsed.error = Some(error);
                break;
            }
        }
    }
    parsed.left_bytes = rest.len();
    parsed
}

type Naive<'a> = Result<Option<(Command, &'a [u8])>, ProtocolError>;

fn naive_multibulk(input: &[u8]) -> Naive<'_> {
    let Some((line, mut rest)) = naive_line(input) else {
        return Ok(None);
    };
    let count = naive_number(&line[1..]).filter(|count| *count <= (1 << 20));
    let count = count.ok_or(ProtocolError::InvalidMultibulkLength)?;
    let mut command = Vec::new();
    for _ in 0..count {
        let Some((line, after)) = naive_line(rest) else {
            return Ok(None);
        };
        match line.first() {
            Some(b'$') => {}
            Some(other) => return Err(ProtocolError::ExpectedBulk(*other)),
            None => return Err(ProtocolError::ExpectedBulk(b'\r')),
        }
        let len = naive_number(&line[1..]).filter(|len| (0..=512 << 20).contains(len));
        let len = usize::try_from(len.ok_or(ProtocolError::InvalidBulkLength)?).unwrap();
        if after.len() < len + 2 {
            return Ok(None);
        }
        command.push(after[..len].to_vec());
        rest = &after[len + 2..];
    }
    Ok(Some((command, rest)))
}

fn naive_line(input: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = input.iter().position(|byte| *byte == b'\r')?;
    (end + 2 <= input.len()).then(|| (&input[..end], &input[end + 2..]))
}

fn naive_number(text: &[u8]) -> Option<i64> {
    let number: i64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    (number.to_string().as_bytes() == text).then_some(number)
}

fn naive_inline(input: &[u8]) -> Naive<'_> {
    let Some(end) = input.iter().position(|byte| *byte == b'\n') else {
        return Ok(None);
    };
    let line = input[..end].strip_suffix(b"\r").unwrap_or(&input[..end]);
    let words = naive_words(line).ok_or(ProtocolError::UnbalancedQuotes)?;
    Ok(Some((words, &input[end + 1..])))
}

fn naive_words(line: &[u8]) -> Option<Command> {
    let mut words = Vec::new();
    let mut bytes = line.iter().copied().peekable();
    while bytes.peek().is_some() {
        if is_space(bytes.next_if(|byte| is_space(*byte)).unwrap_or(b'.')) {
            continue;
        }
        let mut word = Vec::new();
        let mut quote = None;
        loop {
            match (bytes.next(), quote) {
                (None, None) => break,
                (None, Some(_)) => return None,
                (Some(b' ' | b'\t' | b'\r' | b'\n'), None) => break,
                (Some(open @ (b'"' | b'\'')), None) => quote = Some(open),
                (Some(close), Some(open)) if close == open => {
                    if bytes.peek().is_some_and(|byte| !is_space(*byte)) {
                        return None;
                    }
                    break;
                }
                (Some(b'\\'), Some(b'"')) if bytes.peek().is_some() => {
                    let mut ahead = bytes.clone();
                    let escape: Vec<u8> = ahead.by_ref().take(3).collect();
                    let hex = std::str::from_utf8(&escape)
                        .ok()
                        .and_then(|e| e.strip_prefix('x'));
                    let is_hex = hex.is_some_and(|h| h.len() == 2 && !h.starts_with('+'));
                    match hex
                        .filter(|_| is_hex)
                        .and_then(|h| u8::from_str_radix(h, 16).ok())
                    {
                        Some(byte) => {
                            word.push(byte);
                            bytes = ahead;
                        }
                        None => word.push(match bytes.next() {
                            Some(b'n') => b'\n',
                            Some(b'r') => b'\r',
                            Some(b't') => b'\t',
                            Some(b'a') => 7,
                            Some(b'b') => 8,
                            other => other.unwrap(),
                        }),
                    }
                }
                (Some(b'\\'), Some(b'\'')) if bytes.peek() == Some(&b'\'') => {
                    word.extend(bytes.next());
                }
                (Some(byte), _) => word.push(byte),
            }
        }
        words.push(word);
    }
    Some(words)
}

fn command(words: &[&str]) -> Command {
    words.iter().map(|word| word.as_bytes().to_vec()).collect()
}

#[test]
fn a_pipeline_is_parsed_command_by_command() {
    let parsed =
        parse(b"*2\r\n$3\r\nGET\r\n$1\r\na\r\nPING\r\n*0\r\n\r\n*-1\r\n*1\r\n$4\r\nQUIT\r\n*1");
    assert_eq!(
        parsed.commands,
        [
            command(&["GET", "a"]),
            command(&["PING"]),
            command(&["QUIT"])
        ]
    );
    assert_eq!((parsed.error, parsed.left_bytes), (None, 2));
}

#[test]
fn spans_are_relative_to_the_input_and_appended() {
    let mut input = *b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n";
    let mut spans = vec![Span::new(7, 7)];
    let step = Parser::new().next(&mut input, Limits::AUTHENTICATED, &mut spans);
    assert_eq!(
        step,
        Ok(Step::Command {
            len_bytes: input.len()
        })
    );
    assert_eq!(spans, [Span::new(7, 7), Span::new(8, 3), Span::new(17, 1)]);
}

#[test]
fn the_input_split_at_every_byte_parses_as_the_whole() {
    let inputs: [&[u8]; 5] = [
        b"*3\r\n$3\r\nSET\r\n$0\r\n\r\n$12\r\nhello\r\nworld\r\n*1\r\n$4\r\nPING\r\n",
        b"PING\r\n\r\n  set \"a\\x41\\n b\" 'it\\'s'\tx\n*0\r\nEXISTS k\r\n",
        b"*2\r\n$4\r\nECHO\r\n$3\r\nabc\r\n*1\r\n$-4\r\n",
        b"*1\r\n\r\n\r\n",
        b"GET 'a'b\r\n",
    ];
    for input in inputs {
        let whole = parse(input);
        assert_eq!(parse_byte_by_byte(input), whole);
        for cut in 0..=input.len() {
            let ends = [cut, input.len()].into_iter();
            assert_eq!(parse_in_pieces(input, ends, Limits::AUTHENTICATED), whole);
        }
    }
}

#[test]
fn an_incomplete_argument_says_how_much_input_completes_it() {
    let mut parser = Parser::new();
    let mut spans = Vec::new();
    let mut input = b"*2\r\n$3\r\nGET\r\n$100000\r\nab".to_vec();
    let need_bytes = b"*2\r\n$3\r\nGET\r\n$100000\r\n".len() + 100_000 + 2;
    let step = parser.next(&mut input, Limits::AUTHENTICATED, &mut spans);
    assert_eq!(step, Ok(Step::Incomplete { need_bytes }));

    parser.reset();
    let step = parser.next(&mut b"PING\n".to_vec(), Limits::AUTHENTICATED, &mut spans);
    assert_eq!(step, Ok(Step::Command { len_bytes: 5 }));
}

#[test]
fn a_million_arguments_in_small_pieces_are_looked_at_once() {
    let count = limits::ARGUMENT_COUNT_MAX;
    let mut input = format!("*{count}\r\n").into_bytes();
    (0..count).for_each(|_| input.extend_from_slice(b"$1\r\nx\r\n"));
    let mut parser = Parser::new();
    let mut spans = Vec::new();
    // A parser that began anew with each piece would make 2^37 steps here.
    for end in (0..input.len()).step_by(64) {
        let step = parser.next(&mut input[..end], Limits::AUTHENTICATED, &mut spans);
        assert!(matches!(step, Ok(Step::Incomplete { .. })));
    }
    let step = parser.next(&mut input, Limits::AUTHENTICATED, &mut spans);
    assert_eq!(
        step,
        Ok(Step::Command {
            len_bytes: input.len()
        })
    );
    assert_eq!(spans.len(), count);
}

#[test]
fn protocol_errors_have_the_words_of_redis() {
    let cases: [(&[u8], &[u8]); 22] = [
        (b"*+1\r\n", b"invalid multibulk length"),
        (b"*01\r\n", b"invalid multibulk length"),
        (b"* 1\r\n", b"invalid multibulk length"),
        (b"*\r\n", b"invalid multibulk length"),
        (b"*1xx\r\n", b"invalid multibulk length"),
        (b"*-0\r\n", b"invalid multibulk length"),
        (b"*2147483648\r\n", b"invalid multibulk length"),
        (b"*1048577\r\n", b"invalid multibulk length"),
        (b"*99999999999999999999\r\n", b"invalid multibulk length"),
        (b"*1\r\n\r\n\r\n", b"expected '$', got '\r'"),
        (b"*1\r\n\nabc\r\n", b"expected '$', got '\n'"),
        (b"*1\r\n:3\r\n", b"expected '$', got ':'"),
        (b"*1\r\n\xff\r\n", b"expected '$', got '\xff'"),
        (b"*1\r\n:nonsense\r\n", b"expected '$', got ':'"),
        (b"*1\r\n$-1\r\n", b"invalid bulk length"),
        (b"*1\r\n$536870913\r\n", b"invalid bulk length"),
        (b"*1\r\n$abc\r\n", b"invalid bulk length"),
        (b"*1\r\n$\r\n", b"invalid bulk length"),
        (b"*2\r\n$4\r\nPING\r\n$01\r\n", b"invalid bulk length"),
        (b"PING \"a\"b\r\n", b"unbalanced quotes in request"),
        (b"PING 'a\r\n", b"unbalanced quotes in request"),
        (b"PING \"\n", b"unbalanced quotes in request"),
    ];
    for (input, message) in cases {
        let error = parse(input).error.unwrap();
        assert_eq!(error.message(), message, "{}", input.escape_ascii());
        assert_eq!(parse_byte_by_byte(input).error, Some(error));
    }
}

#[test]
fn lines_without_an_end_are_refused_past_64_kib_and_not_before() {
    let cases: [(&[u8], ProtocolError); 3] = [
        (b"a", ProtocolError::InlineTooLong),
        (b"*1", ProtocolError::MultibulkCountTooLong),
        (b"$1", ProtocolError::BulkCountTooLong),
    ];
    for (line, error) in cases {
        let prefix: &[u8] = if line[0] == b'$' { b"*1\r\n" } else { b"" };
        let mut input = [prefix, line].concat();
        input.resize(prefix.len() + limits::INLINE_LEN_BYTES_MAX, b'1');
        let ends = (0..input.len()).step_by(1_000).chain([input.len()]);
        assert_eq!(
            parse_in_pieces(&input, ends, Limits::AUTHENTICATED).error,
            None
        );
        input.push(b'1');
        let ends = (0..input.len()).step_by(1_000).chain([input.len()]);
        assert_eq!(
            parse_in_pieces(&input, ends, Limits::AUTHENTICATED).error,
            Some(error)
        );
        assert_eq!(parse(&input).error, Some(error));
    }
}

#[test]
fn the_longest_argument_may_be_announced() {
    let mut input = b"*1\r\n$536870912\r\n".to_vec();
    let need_bytes = input.len() + limits::BULK_LEN_BYTES_MAX + 2;
    let step = Parser::new().next(&mut input, Limits::AUTHENTICATED, &mut Vec::new());
    assert_eq!(step, Ok(Step::Incomplete { need_bytes }));
}

#[test]
fn before_authentication_counts_and_lengths_are_small() {
    let parse = |input: &[u8]| {
        parse_in_pieces(input, std::iter::once(input.len()), Limits::UNAUTHENTICATED).error
    };
    assert_eq!(parse(b"*10\r\n"), None);
    assert_eq!(
        parse(b"*11\r\n"),
        Some(ProtocolError::UnauthenticatedMultibulkLength)
    );
    assert_eq!(
        parse(b"*1048577\r\n"),
        Some(ProtocolError::InvalidMultibulkLength)
    );
    assert_eq!(parse(b"*1\r\n$16384\r\n"), None);
    assert_eq!(
        parse(b"*1\r\n$16385\r\n"),
        Some(ProtocolError::UnauthenticatedBulkLength)
    );
    assert_eq!(
        parse(b"*1\r\n$536870913\r\n"),
        Some(ProtocolError::InvalidBulkLength)
    );
}

#[test]
fn bytes_that_end_a_line_or_an_argument_are_skipped_unseen_as_in_redis() {
    let parsed = parse(b"*1\rx$4\ryPINGxx*1\r\n$4\r\nQUIT\r\n");
    assert_eq!(parsed.commands, [command(&["PING"]), command(&["QUIT"])]);
}

#[test]
fn inline_words_follow_the_rules_of_redis() {
    let cases: [(&[u8], &[&[u8]]); 12] = [
        (b"PING\n", &[b"PING"]),
        (b"PING\r\n", &[b"PING"]),
        (b"  set \t a\x0c b \r\n", &[b"set", b"a\x0c", b"b"]),
        (b"ECHO a\x0bb\n", &[b"ECHO", b"a\x0bb"]),
        (b"ECHO foo\"bar\"\n", &[b"ECHO", b"foobar"]),
        (
            b"ECHO \"a\\x41\\n\\r\\t\\b\\a\\\\\\\"\"\n",
            &[b"ECHO", b"aA\n\r\t\x08\x07\\\""],
        ),
        (b"ECHO \"\\xzz\\q\"\n", &[b"ECHO", b"xzzq"]),
        (b"ECHO 'a\\'b\\n'\n", &[b"ECHO", b"a'b\\n"]),
        (b"ECHO \"\" ''\n", &[b"ECHO", b"", b""]),
        (b"ECHO \"a\"\x0b\n", &[b"ECHO", b"a"]),
        (b"ECHO a\\nb\n", &[b"ECHO", b"a\\nb"]),
        (b"ECHO \0x\n", &[b"ECHO", b"\0x"]),
    ];
    for (input, words) in cases {
        assert_eq!(parse(input).commands, [words], "{}", input.escape_ascii());
    }
}

/// Bytes of the protocol's own making more often than others, so that most inputs get somewhere.
fn random_input(random: &mut Random, input: &mut Vec<u8>) {
    const PIECES: [&[u8]; 24] = [
        b"*",
        b"$",
        b"\r\n",
        b"\r",
        b"\n",
        b"*1\r\n",
        b"*2\r\n",
        b"*3\r\n",
        b"$1\r\n",
        b"$3\r\n",
        b"GET\r\n",
        b"$0\r\n\r\n",
        b"a\r\n",
        b"PING",
        b" ",
        b"\"",
        b"'",
        b"\\",
        b"\\x41",
        b"-1",
        b"0",
        b"12",
        b"$3\r\nGET\r\n",
        b"*0\r\n",
    ];
    input.clear();
    for _ in 0..random.below(12) {
        match random.below(8) {
            0 => input.push(random.byte()),
            _ => input.extend_from_slice(PIECES[random.below(PIECES.len())]),
        }
    }
}

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[3]
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() >> 16).unwrap() % bound
    }
}

#[test]
fn random_bytes_parse_as_the_naive_parser_says_however_they_are_split() {
    let seed = 0x5EED_0001;
    let mut random = Random(seed);
    let mut input = Vec::new();
    for round in 0..1_000_000 {
        random_input(&mut random, &mut input);
        let whole = parse(&input);
        let context = || format!("seed {seed:#x}, round {round}: {}", input.escape_ascii());
        assert_eq!(whole, parse_naively(&input), "{}", context());
        let mut ends = [
            random.below(input.len() + 1),
            random.below(input.len() + 1),
            input.len(),
        ];
        ends.sort_unstable();
        let pieces = parse_in_pieces(&input, ends.into_iter(), Limits::AUTHENTICATED);
        assert_eq!(pieces, whole, "{}", context());
    }
}

#[test]
fn mutated_pipelines_parse_alike_whole_and_in_pieces() {
    let pipeline: &[u8] = b"*3\r\n$3\r\nSET\r\n$5\r\nkey:1\r\n$11\r\nvalue\r\nmore\r\n\
        *2\r\n$3\r\nGET\r\n$5\r\nkey:1\r\nPING \"quoted \\x00 word\"\r\n*1\r\n$4\r\nQUIT\r\n";
    let mut random = Random(0x5EED_0002);
    for _ in 0..100_000 {
        let mut input = pipeline.to_vec();
        for _ in 0..=random.below(3) {
            let at = random.below(input.len());
            match random.below(3) {
                0 => input[at] = random.byte(),
                1 => drop(input.remove(at)),
                _ => input.insert(at, b"\r\n*$19\"'"[random.below(8)]),
            }
        }
        let whole = parse(&input);
        assert_eq!(whole, parse_naively(&input), "{}", input.escape_ascii());
        let step = 1 + random.below(9);
        let ends = (0..input.len()).step_by(step).chain([input.len()]);
        let pieces = parse_in_pieces(&input, ends, Limits::AUTHENTICATED);
        assert_eq!(pieces, whole, "{}", input.escape_ascii());
    }
}
