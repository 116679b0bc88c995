//! What an operator may ask of the pages of a region in memory: none huge, all locked, all there from
//! the start. To be asked before the first block is taken.
//!
//! Of a file, whose pages are the kernel's to keep, only the first. Not here: what is asked of it by itself
//! (`folios`).

use std::io;

use super::{Region, to_usize};

impl Region {
    /// Asks the kernel for small pages only: less memory where little of a block is used, and no pause
    /// in which a huge page is made, for more misses of the address cache.
    pub fn refuse_huge_pages(&self) {
        self.prefer_huge_pages(0, self.plan.large_start(), false);
        self.refuse_huge_folios();
    }

    /// Keeps every page in memory once it was touched: nothing is ever swapped out.
    ///
    /// # Errors
    /// The limit on locked memory, which counts all of the address space.
    pub fn lock(&mut self) -> io::Result<()> {
        self.reservation.lock()
    }

    /// Takes the whole budget from the kernel for blocks and keeps it, so that no turn ever waits for a
    /// page. Large values come on top.
    ///
    /// # Errors
    /// There is not so much memory.
    pub fn prefault(&mut self) -> io::Result<()> {
        self.keep_all_pages();
        let first = self.block_len_bytes();
        let len_bytes = self.maxmemory_bytes().min(self.plan.large_start() - first);
        let start = self.reservation_offset(first);
        match self.reservation.populate(start, to_usize(len_bytes)) {
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                // A kernel before 5.14, which ends the process where there is too little.
                self.touch_pages(first, len_bytes);
                Ok(())
            }
            outcome => outcome,
        }
    }
}
