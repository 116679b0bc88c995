//! The commands of the LSM server on its tree: GET, SET, DEL, PING and DBSIZE, enough for a load.
//!
//! SETs and DELs wait in a batch of the tree until something reads or the input ends: a batch takes
//! the journal's lock once.

use std::path::Path;

use coremap::resp::{Args, Protocol, Reply};
use fjall::{Batch, Keyspace, PartitionCreateOptions, PartitionHandle};

/// Commands of one batch at most: the tree is told of memory it uses at the batch's end.
const BATCH_COMMAND_COUNT_MAX: usize = 1 << 10;

/// An open tree.
pub(super) struct Store {
    keyspace: Keyspace,
    items: PartitionHandle,
}

impl Store {
    /// Opens the tree below `dir`, empty if nothing is there.
    pub(super) fn open(dir: &Path, cache_bytes: u64) -> Result<Self, String> {
        let text = |error: fjall::Error| format!("{}: {error}", dir.display());
        let config = fjall::Config::new(dir).cache_size(cache_bytes);
        let keyspace = config.open().map_err(text)?;
        let options = PartitionCreateOptions::default();
        let items = keyspace.open_partition("items", options).map_err(text)?;
        Ok(Self { keyspace, items })
    }

    /// Begins to run the commands of one input; replies go to the end of `output`.
    pub(super) fn run<'a>(&'a self, output: &'a mut Vec<u8>) -> Run<'a> {
        Run {
            store: self,
            output,
            batch: None,
            owed_count: 0,
        }
    }
}

/// Commands that came together.
pub(super) struct Run<'a> {
    store: &'a Store,
    output: &'a mut Vec<u8>,
    batch: Option<Batch>,
    /// Commands in `batch`, which are answered when it is written.
    owed_count: usize,
}

impl Run<'_> {
    /// Runs one command.
    pub(super) fn command(&mut self, args: Args<'_>) {
        let name = args.get(0);
        match args.len() {
            3 if name.eq_ignore_ascii_case(b"set") => self.set(args.get(1), args.get(2)),
            2 if name.eq_ignore_ascii_case(b"get") => {
                self.finish();
                let found = self.store.items.get(args.get(1));
                self.answer(found, |reply, value| match value {
                    Some(bytes) => reply.bulk(&bytes),
                    None => reply.null(),
                });
            }
            2 if name.eq_ignore_ascii_case(b"del") => {
                self.finish();
                let items = &self.store.items;
                let key = args.get(1);
                let removed = items.contains_key(key).and_then(|is_there| {
                    let removed = if is_there { items.remove(key) } else { Ok(()) };
                    removed.map(|()| is_there)
                });
                self.answer(removed, |reply, is_there| reply.count(u64::from(is_there)));
            }
            1 if name.eq_ignore_ascii_case(b"dbsize") => {
                self.finish();
                let counted = self.store.items.len();
                self.answer(counted, |reply, count| reply.count(count as u64));
            }
            1 if name.eq_ignore_ascii_case(b"ping") => {
                self.finish();
                self.answer(Ok(()), |reply, ()| reply.simple("PONG"));
            }
            _ => {
                self.finish();
                self.answer(Ok(()), |reply, ()| reply.error("ERR unknown command"));
            }
        }
    }

    /// Writes and answers what waits in the batch.
    pub(super) fn finish(&mut self) {
        let Some(batch) = self.batch.take() else {
            return;
        };
        let written = batch.commit().map_err(|error| error.to_string());
        for _ in 0..std::mem::take(&mut self.owed_count) {
            self.answer(Ok(&written), |reply, written| match written {
                Ok(()) => reply.ok(),
                Err(error) => reply.error(&format!("ERR {error}")),
            });
        }
    }

    fn set(&mut self, key: &[u8], value: &[u8]) {
        let store = self.store;
        let batch = self.batch.get_or_insert_with(|| store.keyspace.batch());
        batch.insert(&store.items, key, value);
        self.owed_count += 1;
        if self.owed_count == BATCH_COMMAND_COUNT_MAX {
            self.finish();
        }
    }

    fn answer<T>(&mut self, outcome: fjall::Result<T>, write: impl FnOnce(&mut Reply<'_>, T)) {
        let mut externs = Vec::new();
        let mut reply = Reply::new(self.output, &mut externs, Protocol::Resp2);
        match outcome {
            Ok(value) => write(&mut reply, value),
            Err(error) => reply.error(&format!("ERR {error}")),
        }
    }
}
