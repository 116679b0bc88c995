//! The keys of a command of several, looked at before their turn (`shard::Ahead`).

use crate::resp::Args;
use crate::shard::{Ahead, Key};

use super::direct::Lookup;

/// The keys of one command: its first argument after the name, and each `step` later.
pub(super) struct KeysAhead<'a> {
    args: Args<'a>,
    step: usize,
    /// Where the next key to be asked for is.
    position: usize,
    ahead: Ahead<usize>,
}

impl<'a> KeysAhead<'a> {
    /// Of a command whose keys stand `step` arguments apart.
    pub(super) fn new(args: Args<'a>, step: usize) -> Self {
        Self {
            args,
            step,
            position: 1,
            ahead: Ahead::default(),
        }
    }

    /// The next key, with its position.
    #[inline]
    pub(super) fn next(&mut self, lookup: &impl Lookup) -> Option<(usize, Key<'a>)> {
        let Self {
            args,
            step,
            position,
            ahead,
        } = self;
        let source = || {
            let at = *position;
            *position += *step;
            (at < args.len()).then(|| (at, lookup.key(args.get(at)).hash()))
        };
        let (at, probe) = ahead.next(
            source,
            |_, hash| lookup.prefetch_bucket(hash),
            |_, hash| lookup.probe(hash),
        )?;
        let bytes = args.get(at);
        Some((at, Key { bytes, probe }))
    }
}
