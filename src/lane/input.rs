//! What a connection has sent and not yet seen executed.
//!
//! ```text
//!            start           parsed                end
//!   ───────────┼───────────────┼────────────────────┼──────────────
//!    executed    parsed, waits   not parsed yet       received next
//! ```
//!
//! Commands are parsed where they were received. A buffer is taken from the core's pool when bytes
//! are expected and given back as soon as all of them were executed, so an idle connection holds
//! none. A command too long for the buffer moves to a larger one, sized by the length its header
//! announces (untouched pages cost nothing); a buffer whose arguments other cores still read is left
//! to them, and only the part that is not executed moves.

use super::buffer::{Buffer, BufferPool};
use crate::limits::READ_BUFFER_ALIGN_BYTES;
use crate::resp::{Limits, Parser, ProtocolError, Span, Step};

/// Room below which a receive is not worth its system call.
const RECEIVE_LEN_BYTES_MIN: usize = 4096;

/// The unexecuted bytes of one connection.
#[derive(Default)]
pub(super) struct Input {
    buffer: Option<Buffer>,
    start: usize,
    /// Where the parser goes on.
    parsed: usize,
    end: usize,
    parser: Parser,
    /// Length, from the parser's place on, at which the command being received may be complete.
    need_bytes: usize,
}

impl Input {
    /// Bytes received and not executed.
    pub(super) fn len_bytes(&self) -> usize {
        self.end - self.start
    }

    /// Memory it holds.
    pub(super) fn capacity_bytes(&self) -> usize {
        self.buffer.as_ref().map_or(0, Buffer::len_bytes)
    }

    /// Memory it has touched: of a buffer longer than `usual_len_bytes`, which was made for a long value,
    /// only what has arrived.
    pub(super) fn resident_bytes(&self, usual_len_bytes: usize) -> usize {
        self.capacity_bytes().min(self.end.max(usual_len_bytes))
    }

    /// Where the next bytes go.
    pub(super) fn receive_buffer(&mut self, pool: &mut BufferPool) -> &mut [u8] {
        self.make_room(pool);
        let buffer = self.buffer.as_mut().expect("make_room provides one");
        let end = buffer.len_bytes();
        buffer.private_mut(self.end, end)
    }

    /// Takes note of received bytes.
    pub(super) fn received(&mut self, len_bytes: usize) {
        self.end += len_bytes;
        assert!(self.end <= self.capacity_bytes());
    }

    /// What was received and not parsed.
    #[inline]
    pub(super) fn unparsed(&self) -> &[u8] {
        match &self.buffer {
            Some(buffer) => buffer.received(self.parsed, self.end),
            None => &[],
        }
    }

    /// Whether the next command was not looked at yet, and may be parsed by another way.
    #[inline]
    pub(super) fn is_at_start(&self) -> bool {
        self.parser.is_at_start()
    }

    /// Passes over a command that was parsed by another way.
    #[inline]
    pub(super) fn pass(&mut self, len_bytes: usize) {
        debug_assert!(self.is_at_start());
        self.parsed += len_bytes;
        self.need_bytes = 0;
    }

    /// Parses the next command; its spans count from the command's own first byte.
    pub(super) fn parse(
        &mut self,
        limits: Limits,
        spans: &mut Vec<Span>,
    ) -> Result<Step, ProtocolError> {
        let Some(buffer) = &mut self.buffer else {
            return Ok(Step::Incomplete { need_bytes: 0 });
        };
        let unparsed = buffer.private_mut(self.parsed, self.end);
        let step = self.parser.next(unparsed, limits, spans)?;
        match step {
            Step::Command { len_bytes } | Step::Empty { len_bytes } => {
                self.parsed += len_bytes;
                self.need_bytes = 0;
            }
            Step::Incomplete { need_bytes } => self.need_bytes = need_bytes,
        }
        Ok(step)
    }

    /// The buffer, to borrow or pin arguments of commands that were parsed.
    pub(super) fn buffer(&self) -> &Buffer {
        self.buffer
            .as_ref()
            .expect("a parsed command lies in a buffer")
    }

    /// Offset in the buffer of the first byte that was not executed.
    pub(super) fn start(&self) -> usize {
        self.start
    }

    /// The last `len_bytes` that were executed; nothing if they are not here any more.
    pub(super) fn executed(&self, len_bytes: usize) -> &[u8] {
        match (&self.buffer, self.start.checked_sub(len_bytes)) {
            (Some(buffer), Some(start)) => buffer.received(start, self.start),
            _ => &[],
        }
    }

    /// All that was executed and is still here; it begins with a command.
    pub(super) fn all_executed(&self) -> &[u8] {
        self.executed(self.start)
    }

    /// Offset in the buffer of the first byte that was not parsed.
    pub(super) fn parsed(&self) -> usize {
        self.parsed
    }

    /// Passes over bytes that were executed.
    pub(super) fn consume(&mut self, len_bytes: usize) {
        self.start += len_bytes;
        assert!(self.start <= self.parsed);
    }

    /// Gives the buffer back if nothing is left in it.
    pub(super) fn release(&mut self, pool: &mut BufferPool) {
        if self.start == self.end
            && let Some(buffer) = self.buffer.take()
        {
            (self.start, self.parsed, self.end) = (0, 0, 0);
            pool.put(buffer);
        }
    }

    /// Drops what was received and not executed.
    pub(super) fn discard(&mut self) {
        self.start = self.end;
        self.parsed = self.end;
        self.need_bytes = 0;
        self.parser.reset();
    }

    /// Makes sure that there is a buffer with room worth a receive.
    fn make_room(&mut self, pool: &mut BufferPool) {
        let Some(buffer) = &mut self.buffer else {
            self.buffer = Some(pool.take());
            return;
        };
        let pending = self.end - self.start;
        if pending == 0 && !buffer.is_pinned() {
            (self.start, self.parsed, self.end) = (0, 0, 0);
        }
        let announced = (self.parsed - self.start) + self.need_bytes;
        let is_roomy = buffer.len_bytes() - self.end >= RECEIVE_LEN_BYTES_MIN;
        if is_roomy && self.start + announced <= buffer.len_bytes() {
            return;
        }
        let wanted = pending.max(announced) + RECEIVE_LEN_BYTES_MIN;
        // What a long value has touched is given back as soon as the usual size will do.
        let usual = pool.len_bytes();
        let is_outgrown = wanted <= usual && buffer.len_bytes() > usual;
        if wanted <= buffer.len_bytes() && !buffer.is_pinned() && !is_outgrown {
            buffer.move_to_front(self.start, self.end);
        } else {
            let mut larger = if wanted <= usual {
                pool.take()
            } else {
                Buffer::with_len(
                    wanted
                        .max(announced)
                        .max(pending * 2)
                        .next_multiple_of(READ_BUFFER_ALIGN_BYTES),
                )
            };
            larger
                .private_mut(0, pending)
                .copy_from_slice(buffer.received(self.start, self.end));
            pool.put(std::mem::replace(buffer, larger));
        }
        self.parsed -= self.start;
        self.end = pending;
        self.start = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::Input;
    use crate::lane::buffer::BufferPool;
    use crate::limits::READ_BUFFER_LEN_BYTES;
    use crate::resp::{Limits, Step};

    /// Receives `bytes` in pieces of at most `piece_len_bytes`.
    fn feed(input: &mut Input, pool: &mut BufferPool, bytes: &[u8], piece_len_bytes: usize) {
        for piece in bytes.chunks(piece_len_bytes) {
            let room = input.receive_buffer(pool);
            room[..piece.len()].copy_from_slice(piece);
            input.received(piece.len());
        }
    }

    fn parse(input: &mut Input) -> Option<usize> {
        match input.parse(Limits::AUTHENTICATED, &mut Vec::new()) {
            Ok(Step::Command { len_bytes }) => Some(len_bytes),
            Ok(_) => None,
            Err(error) => panic!("valid input gave {error:?}"),
        }
    }

    #[test]
    fn an_executed_input_gives_its_buffer_back() {
        let (mut input, mut pool) = (Input::default(), BufferPool::default());
        feed(&mut input, &mut pool, b"*1\r\n$4\r\nPING\r\n", 5);
        let len_bytes = parse(&mut input).expect("complete");
        input.consume(len_bytes);
        input.release(&mut pool);
        assert_eq!(input.capacity_bytes(), 0);
    }

    #[test]
    fn a_pinned_buffer_is_left_behind_and_the_rest_moves() {
        let (mut input, mut pool) = (Input::default(), BufferPool::default());
        feed(
            &mut input,
            &mut pool,
            b"*1\r\n$4\r\nPING\r\n*1\r\n$4\r\nPI",
            64,
        );
        let len_bytes = parse(&mut input).expect("complete");
        let pin = input.buffer().clone();
        input.consume(len_bytes);
        assert_eq!(parse(&mut input), None);
        let filler = vec![b'x'; READ_BUFFER_LEN_BYTES - 30];
        feed(&mut input, &mut pool, b"NG\r\n", 64);
        assert_eq!(parse(&mut input), Some(14));
        input.consume(14);
        feed(&mut input, &mut pool, &filler[..100], 100);
        let end = input.receive_buffer(&mut pool).len();
        input.received(end);
        let _ = input.receive_buffer(&mut pool);
        assert_eq!(pin.received(0, 14), b"*1\r\n$4\r\nPING\r\n");
    }

    #[test]
    fn a_long_value_gets_a_buffer_of_the_announced_size_at_once() {
        let (mut input, mut pool) = (Input::default(), BufferPool::default());
        feed(
            &mut input,
            &mut pool,
            b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$3000000\r\n",
            64,
        );
        assert_eq!(parse(&mut input), None);
        let value = vec![b'v'; 3_000_000];
        feed(&mut input, &mut pool, &value, 200_000);
        let capacity_bytes = input.capacity_bytes();
        assert!((3_000_000..3_100_000).contains(&capacity_bytes));
        feed(&mut input, &mut pool, b"\r\n", 2);
        assert!(parse(&mut input).is_some());
    }

    #[test]
    fn a_buffer_made_for_a_long_value_is_given_back_with_the_next_short_command() {
        let (mut input, mut pool) = (Input::default(), BufferPool::default());
        feed(
            &mut input,
            &mut pool,
            b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$3000000\r\n",
            64,
        );
        assert_eq!(parse(&mut input), None);
        feed(&mut input, &mut pool, &vec![b'v'; 3_000_000], 200_000);
        feed(&mut input, &mut pool, b"\r\n*2000\r\n", 99);
        let len_bytes = parse(&mut input).expect("complete");
        input.consume(len_bytes);
        assert_eq!(parse(&mut input), None);
        for _ in 0..1500 {
            feed(&mut input, &mut pool, b"$4\r\nabcd\r\n", 10);
            assert_eq!(parse(&mut input), None);
        }
        assert_eq!(input.capacity_bytes(), READ_BUFFER_LEN_BYTES);
    }
}
