//! The thread that has blocks of the region backed by memory before a core needs them.
//!
//! The first touch of a block can cost milliseconds (see `region::preparing`), which no turn should
//! pay. The thread keeps off the cores' CPUs if it may use others. Where it must share one it does
//! not interrupt a turn when it wakes: it begins when the core sleeps or has had its share. It
//! sleeps until a block is taken or a round has ended, and looks once a second while blocks are.

use std::sync::Arc;
use std::thread::{Builder, JoinHandle};

use crate::error::Error;
use crate::region::Region;
use crate::sys;

/// The thread; dropping this ends it.
#[derive(Debug)]
pub(super) struct Preparer {
    region: Arc<Region>,
    thread: Option<JoinHandle<()>>,
}

impl Preparer {
    /// Starts the thread beside executors on `core_cpus`.
    pub(super) fn start(region: Arc<Region>, core_cpus: Vec<usize>) -> Result<Self, Error> {
        let prepared = Arc::clone(&region);
        let thread = Builder::new()
            .name("preparer".to_owned())
            .spawn(move || {
                sys::keep_off(&core_cpus);
                sys::wake_without_preempting();
                prepared.prepare_blocks(sys::monotonic_us);
            })
            .map_err(|error| Error::start("cannot start the preparing thread", &error))?;
        Ok(Self {
            region,
            thread: Some(thread),
        })
    }
}

impl Drop for Preparer {
    fn drop(&mut self) {
        self.region.stop_preparing();
        if let Some(thread) = self.thread.take() {
            // It holds nothing that anyone needs any more.
            _ = thread.join();
        }
    }
}
