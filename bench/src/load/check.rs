//! Compares what a server answers with what the tape says it must.
//!
//! The common case is one comparison of memory: the bytes that arrived are the bytes that are
//! due. Only where they differ is a reply told from its neighbours, and judged: a miss and an
//! error are counted, a counter may have any value, everything else is a wrong reply and ends
//! the run. Nothing is sampled; every byte is compared.

use super::dialect::shown;
use super::tape::Tape;

/// What the replies of a run were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// All replies: one for each command.
    pub(crate) reply_count: u64,
    /// Keys asked for that were not there; one command may miss several.
    pub(crate) miss_count: u64,
    /// Replies that were errors.
    pub(crate) error_count: u64,
}

impl Tally {
    pub(crate) fn add(&mut self, other: Self) {
        self.reply_count += other.reply_count;
        self.miss_count += other.miss_count;
        self.error_count += other.error_count;
    }
}

/// Where one connection's replies stand on the tape.
pub(crate) struct Checker<'a> {
    tape: &'a Tape,
    /// The command whose reply comes next.
    place: usize,
    /// Bytes of that reply that came already and were as due.
    matched_bytes: usize,
    /// The beginning of that reply, if it is not as due and not all there yet. Then
    /// `matched_bytes` is zero.
    odd: Vec<u8>,
    /// The first error, for a person to read.
    pub(crate) first_error: Option<String>,
}

impl<'a> Checker<'a> {
    pub(crate) fn new(tape: &'a Tape, place: usize) -> Self {
        Self {
            tape,
            place,
            matched_bytes: 0,
            odd: Vec::new(),
            first_error: None,
        }
    }

    /// Takes bytes as they arrive, while `due_count` replies are due; what they hold.
    ///
    /// # Errors
    /// A reply that is neither as due nor excusable, or one more than was asked for.
    pub(crate) fn take(&mut self, bytes: &[u8], due_count: usize) -> Result<Tally, String> {
        let mut tally = Tally::default();
        if self.odd.is_empty() {
            self.walk(bytes, due_count, &mut tally)?;
        } else {
            let mut whole = std::mem::take(&mut self.odd);
            whole.extend_from_slice(bytes);
            self.walk(&whole, due_count, &mut tally)?;
        }
        Ok(tally)
    }

    fn walk(&mut self, bytes: &[u8], due_count: usize, tally: &mut Tally) -> Result<(), String> {
        let due = |tally: &Tally| due_count - usize::try_from(tally.reply_count).unwrap_or(0);
        let mut at = 0;
        while at < bytes.len() {
            let due_now = due(tally);
            if due_now == 0 {
                return Err(format!(
                    "a reply that nobody asked for: {}",
                    shown(&bytes[at..])
                ));
            }
            let expected = &self.tape.replies(self.place, due_now)[self.matched_bytes..];
            let equal_bytes = common_prefix_len(&bytes[at..], expected);
            at += equal_bytes;
            tally.reply_count += self.advance(equal_bytes, due_now);
            if equal_bytes == expected.len() || at == bytes.len() {
                continue; // at the tape's end, or at the end of what has arrived
            }
            if at < self.matched_bytes {
                // This reply began in an earlier call: what came then is what was due.
                let early_bytes = self.matched_bytes - at;
                let mut whole = self.tape.replies(self.place, 1)[..early_bytes].to_vec();
                whole.extend_from_slice(bytes);
                self.matched_bytes = 0;
                return self.walk(&whole, due_count, tally);
            }
            let reply = &bytes[at - self.matched_bytes..];
            self.matched_bytes = 0;
            let Some(len_bytes) = self.tape.dialect.reply_len(reply)? else {
                reply.clone_into(&mut self.odd);
                return Ok(());
            };
            self.judge(&reply[..len_bytes], tally)?;
            at = bytes.len() - reply.len() + len_bytes;
            self.place = self.tape.after(self.place, 1);
            tally.reply_count += 1;
        }
        Ok(())
    }

    /// Goes on over bytes that were as due; how many replies they completed.
    fn advance(&mut self, equal_bytes: usize, due_count: usize) -> u64 {
        let from_reply_bytes = self.matched_bytes + equal_bytes;
        let done = self
            .tape
            .whole_replies(self.place, due_count, from_reply_bytes);
        self.matched_bytes = from_reply_bytes - self.tape.replies(self.place, done).len();
        self.place = self.tape.after(self.place, done);
        done as u64
    }

    /// Counts a whole reply that is not the one due, or refuses it.
    fn judge(&mut self, reply: &[u8], tally: &mut Tally) -> Result<(), String> {
        let dialect = self.tape.dialect;
        let expected = self.tape.replies(self.place, 1);
        let missed = match (expected, reply) {
            _ if dialect.is_error(reply) => {
                tally.error_count += 1;
                self.first_error.get_or_insert_with(|| shown(reply));
                return Ok(());
            }
            ([b'$', ..], _) if dialect.is_miss(reply) => Some(1),
            ([b':', ..], [b':', ..]) if self.tape.takes_any_integer => Some(0),
            ([b':', ..], b":0\r\n") => Some(1),
            ([b'*' | b'V', ..], _) => dialect.missed_count(expected, reply),
            _ => None,
        };
        let count = missed.ok_or_else(|| {
            format!(
                "wrong reply {} to {}: {} was due",
                shown(reply),
                shown(self.tape.requests(self.place, 1)),
                shown(expected)
            )
        })?;
        tally.miss_count += count;
        Ok(())
    }
}

/// How far two byte strings agree, in ever finer steps of the platform's fastest comparison.
fn common_prefix_len(left: &[u8], right: &[u8]) -> usize {
    let end = left.len().min(right.len());
    let mut at = 0;
    for step in [1 << 14, 1 << 10, 1 << 6, 1 << 3, 1] {
        while at + step <= end && left[at..at + step] == right[at..at + step] {
            at += step;
        }
    }
    at
}

#[cfg(test)]
mod tests {
    use super::super::dialect::{Content, Dialect};
    use super::super::keys::Distribution;
    use super::super::tape::Workload;
    use super::*;

    fn tape(operation: &str, dialect: Dialect, command_count: u64) -> Tape {
        let workload = Workload {
            operation: operation.parse().unwrap(),
            dialect,
            content: Content {
                key_len_bytes: 16,
                value_lens: "3..40".parse().unwrap(),
            },
            distribution: Distribution::Uniform,
            key_count: 1000,
            ttl_seconds: None,
            seed: 7,
        };
        Tape::new(&workload, Some(command_count)).unwrap()
    }

    /// The replies due to a whole tape, with some of them replaced.
    fn stream(tape: &Tape, replaced: &[(usize, &[u8])]) -> Vec<u8> {
        let reply = |place: usize| {
            let other = replaced.iter().find(|(at, _)| *at == place);
            other
                .map_or(tape.replies(place, 1), |(_, reply)| reply)
                .to_vec()
        };
        (0..tape.len()).flat_map(reply).collect()
    }

    fn check_in_parts(tape: &Tape, parts: &[&[u8]]) -> Result<Tally, String> {
        let mut checker = Checker::new(tape, 0);
        let mut tally = Tally::default();
        for part in parts {
            let due = tape.len() - usize::try_from(tally.reply_count).unwrap();
            tally.add(checker.take(part, due)?);
        }
        assert!(checker.odd.is_empty() && checker.matched_bytes == 0);
        Ok(tally)
    }

    #[test]
    fn replies_are_judged_alike_wherever_the_stream_is_cut() {
        for (operation, dialect, miss, error) in [
            ("get", Dialect::Resp, &b"$-1\r\n"[..], &b"-ERR no\r\n"[..]),
            (
                "get",
                Dialect::Memcached,
                b"END\r\n",
                b"SERVER_ERROR no\r\n",
            ),
            ("del", Dialect::Resp, b":0\r\n", b"-ERR no\r\n"),
        ] {
            let tape = tape(operation, dialect, 10);
            let stream = stream(&tape, &[(0, miss), (4, error), (5, miss), (9, error)]);
            let expected = Tally {
                reply_count: 10,
                miss_count: 2,
                error_count: 2,
            };
            for cut in 0..=stream.len() {
                for second in [cut, stream.len().min(cut + 1), stream.len().min(cut + 7)] {
                    let parts = [&stream[..cut], &stream[cut..second], &stream[second..]];
                    assert_eq!(check_in_parts(&tape, &parts), Ok(expected), "cut at {cut}");
                }
            }
        }
    }

    #[test]
    fn a_value_of_another_key_is_refused() {
        let tape = tape("get", Dialect::Resp, 10);
        let other = tape.replies(1, 1).to_vec();
        let said = check_in_parts(&tape, &[&stream(&tape, &[(3, &other)])]).unwrap_err();
        assert!(
            said.starts_with("wrong reply") && said.contains("GET"),
            "{said}"
        );
    }

    #[test]
    fn every_changed_byte_of_a_stream_is_noticed() {
        let tape = tape("mixed:50", Dialect::Resp, 20);
        let clean = stream(&tape, &[]);
        for place in 0..clean.len() {
            let mut dirty = clean.clone();
            dirty[place] ^= 1;
            let checked = check_in_parts_or_left(&tape, &dirty);
            assert_ne!(checked, Ok(20), "byte {place}");
        }
    }

    /// The replies of a stream that may end within one.
    fn check_in_parts_or_left(tape: &Tape, stream: &[u8]) -> Result<u64, String> {
        let tally = Checker::new(tape, 0).take(stream, tape.len())?;
        Ok(tally.reply_count - tally.error_count)
    }

    #[test]
    fn a_reply_too_many_is_refused() {
        let tape = tape("ping", Dialect::Resp, 3);
        let stream = [&stream(&tape, &[])[..], b"+PONG\r\n"].concat();
        assert!(Checker::new(&tape, 0).take(&stream, 3).is_err());
    }

    #[test]
    fn an_array_may_lack_values_but_not_hold_others() {
        let tape = tape("mget:3", Dialect::Resp, 2);
        let values = |place: usize| {
            let reply = tape.replies(place, 1);
            let mut at = b"*3\r\n".len();
            let mut values = Vec::new();
            while at < reply.len() {
                let len_bytes = Dialect::Resp.reply_len(&reply[at..]).unwrap().unwrap();
                values.push(reply[at..at + len_bytes].to_vec());
                at += len_bytes;
            }
            values
        };
        let [first, second, third] = values(1).try_into().unwrap();
        let partial = [b"*3\r\n$-1\r\n", &second[..], b"$-1\r\n"].concat();
        let tally = check_in_parts(&tape, &[&stream(&tape, &[(1, &partial)])]).unwrap();
        assert_eq!((tally.reply_count, tally.miss_count), (2, 2));
        let swapped = [b"*3\r\n", &second[..], &first[..], &third[..]].concat();
        assert!(check_in_parts(&tape, &[&stream(&tape, &[(1, &swapped)])]).is_err());
        let short = [b"*2\r\n", &first[..], &second[..]].concat();
        assert!(check_in_parts(&tape, &[&stream(&tape, &[(1, &short)])]).is_err());
    }

    #[test]
    fn a_list_of_memcached_may_lack_values_but_not_hold_others() {
        let tape = tape("mget:3", Dialect::Memcached, 2);
        let whole = String::from_utf8(tape.replies(1, 1).to_vec()).unwrap();
        let second_at = whole.match_indices("VALUE ").nth(1).unwrap().0;
        let third_at = whole.match_indices("VALUE ").nth(2).unwrap().0;
        let lacks_one = [&whole[..second_at], &whole[third_at..]].concat();
        for (reply, missed) in [(&lacks_one[..], 1), ("END\r\n", 3)] {
            let stream = stream(&tape, &[(1, reply.as_bytes())]);
            let tally = check_in_parts(&tape, &[&stream]).unwrap();
            assert_eq!((tally.reply_count, tally.miss_count), (2, missed));
        }
        let twice = [&whole[..third_at], &whole[second_at..]].concat();
        let stream = stream(&tape, &[(1, twice.as_bytes())]);
        assert!(check_in_parts(&tape, &[&stream]).is_err());
    }

    #[test]
    fn counters_may_say_any_number_but_nothing_else() {
        let tape = tape("incr", Dialect::Resp, 3);
        let counted = stream(&tape, &[(0, b":12345\r\n"), (1, b":-1\r\n")]);
        assert_eq!(check_in_parts(&tape, &[&counted]).unwrap().reply_count, 3);
        assert!(check_in_parts(&tape, &[&stream(&tape, &[(2, b"+OK\r\n")])]).is_err());
    }

    #[test]
    fn a_tape_goes_on_at_its_beginning() {
        let tape = tape("get", Dialect::Resp, 5);
        let mut checker = Checker::new(&tape, 3);
        let twice = [stream(&tape, &[]), stream(&tape, &[])].concat();
        let first = twice.len() / 2 - tape.replies(3, 2).len();
        let tally = checker
            .take(&twice[first..first + twice.len() / 2], 5)
            .unwrap();
        assert_eq!((tally.reply_count, checker.place), (5, 3));
    }
}
