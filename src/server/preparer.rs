//! The thread that has blocks of the region backed by memory before a core needs them.
//!
//! The first touch of a block can cost milliseconds (see `region`, "Preparing"), which no turn should
//! pay. The thread is not pinned, so that the system puts it where a CPU has time; it sleeps unless
//! a block was taken. Where it must share a core's CPU it does not interrupt a turn when it wakes:
//! it begins when the core sleeps or has had its share.

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
    pub(super) fn start(region: Arc<Region>) -> Result<Self, Error> {
        let prepared = Arc::clone(&region);
        let thread = Builder::new()
            .name("preparer".to_owned())
            .spawn(move || {
                sys::wake_without_preempting();
                prepared.prepare_blocks();
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
