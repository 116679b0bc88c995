//! Lists of key hashes, cut into chunks that come from pages.
//!
//! ```text
//!   list ─► chunk, 31 hashes ─► chunk ─► ..        page: 256 chunks of four cache lines
//! ```
//!
//! A list is a pile: hashes are pushed and popped at its first chunk, so adding one costs a store
//! into a line that is usually in a cache, and nothing is ever copied because a list grew. A chunk
//! that becomes empty is free at once; of the pages with a free chunk the first is used first, so
//! that later ones run empty and go back.
//!
//! Pages come from the allocator but count against the region's budget. One is paid for ahead, for
//! those who must not fail for want of memory.
//!
//! Not here: what the hashes are for (`wheel`).

use std::sync::Arc;

use crate::hash::KeyHash;
use crate::limits::EXPIRY_PAGE_LEN_BYTES;
use crate::region::Region;

/// Pages with the lists in them.
#[derive(Debug)]
pub(super) struct Lists {
    region: Arc<Region>,
    /// By number; a number without a page is used again.
    pages: Vec<Option<Page>>,
    /// Bit n: page n has a free chunk.
    open: Vec<u64>,
    page_count: u64,
    /// Whether a page is paid for that is not there yet.
    has_reserve: bool,
    /// Pages of lists that were all given up, to be freed a few at a time.
    retired: Vec<Page>,
}

/// A list: its first chunk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct List(Link);

#[derive(Debug)]
struct Page {
    chunks: Box<[Chunk]>,
    /// The first free chunk's number in the page plus one; 0: none.
    free: Link,
    used_count: usize,
}

/// Four cache lines.
#[derive(Clone, Debug)]
struct Chunk {
    /// In a list the next chunk; in a page's free list the next free one of the page.
    next: Link,
    len: u32,
    hashes: [KeyHash; CHUNK_HASH_COUNT],
}

/// A chunk's number plus one; 0: none.
type Link = u32;

const CHUNK_HASH_COUNT: usize = 31;
const PAGE_CHUNK_COUNT: usize = EXPIRY_PAGE_LEN_BYTES / size_of::<Chunk>();
const WORD_BITS: usize = 64;

impl List {
    pub(super) const EMPTY: Self = Self(0);

    pub(super) const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl Lists {
    pub(super) fn new(region: Arc<Region>) -> Self {
        Self {
            has_reserve: region.charge(EXPIRY_PAGE_LEN_BYTES as u64),
            region,
            pages: Vec::new(),
            open: Vec::new(),
            page_count: 0,
            retired: Vec::new(),
        }
    }

    /// Adds a hash. Should no chunk be free, the reserve is used, else the budget is passed by a page:
    /// see [`make_room`](Self::make_room).
    #[inline]
    pub(super) fn push(&mut self, list: &mut List, hash: KeyHash) {
        if list.is_empty() || self.chunk(list.0).len as usize == CHUNK_HASH_COUNT {
            self.begin_chunk(list);
        }
        let chunk = self.chunk_mut(list.0);
        chunk.hashes[chunk.len as usize] = hash;
        chunk.len += 1;
    }

    /// Takes a hash out: the latest, if others were pushed onto the same chunk.
    #[inline]
    pub(super) fn pop(&mut self, list: &mut List) -> Option<KeyHash> {
        if list.is_empty() {
            return None;
        }
        let link = list.0;
        let chunk = self.chunk_mut(link);
        chunk.len -= 1;
        let hash = chunk.hashes[chunk.len as usize];
        if chunk.len == 0 {
            list.0 = chunk.next;
            self.free_chunk(link);
        }
        Some(hash)
    }

    /// Makes sure that the next push needs no page; false when the budget has no room for one.
    #[inline]
    pub(super) fn make_room(&mut self) -> bool {
        self.open.iter().any(|&word| word != 0) || self.add_page_in_budget()
    }

    /// As [`make_room`](Self::make_room), with the reserve.
    #[inline]
    pub(super) fn make_room_of_reserve(&mut self) -> bool {
        self.has_reserve || self.make_room()
    }

    /// Gives every list up. Who held one must forget it.
    pub(super) fn clear(&mut self) {
        self.retired.extend(self.pages.drain(..).flatten());
        self.open.clear();
    }

    /// Frees a few pages of lists that were given up; true when there are more. Pays for the reserve
    /// if it was used.
    pub(super) fn free_retired(&mut self) -> bool {
        for _ in 0..RETIRED_STEP_COUNT {
            if self.retired.pop().is_some() {
                self.discount_page();
            }
        }
        if !self.has_reserve {
            self.has_reserve = self.region.charge(EXPIRY_PAGE_LEN_BYTES as u64);
        }
        !self.retired.is_empty()
    }

    /// Bytes of pages, those included that are to be freed, and of the reserve.
    pub(super) const fn len_bytes(&self) -> u64 {
        (self.page_count + self.has_reserve as u64) * EXPIRY_PAGE_LEN_BYTES as u64
    }

    #[cold]
    fn add_page_in_budget(&mut self) -> bool {
        if !self.region.charge(EXPIRY_PAGE_LEN_BYTES as u64) {
            return false;
        }
        self.add_page();
        true
    }

    /// Adds a page that is already paid for; returns its number.
    fn add_page(&mut self) -> usize {
        self.page_count += 1;
        let vacant = self.pages.iter().position(Option::is_none);
        let number = vacant.unwrap_or(self.pages.len());
        if number == self.pages.len() {
            self.pages.push(None);
        }
        self.pages[number] = Some(Page::new());
        if number / WORD_BITS == self.open.len() {
            self.open.push(0);
        }
        self.open[number / WORD_BITS] |= 1 << (number % WORD_BITS);
        number
    }

    #[cold]
    fn begin_chunk(&mut self, list: &mut List) {
        let number = self.first_open().unwrap_or_else(|| {
            if !std::mem::take(&mut self.has_reserve) {
                self.region.overdraw(EXPIRY_PAGE_LEN_BYTES as u64);
            }
            self.add_page()
        });
        let page = self.pages[number].as_mut().expect("an open page is there");
        let index = page.free as usize - 1;
        let chunk = &mut page.chunks[index];
        page.free = chunk.next;
        page.used_count += 1;
        (chunk.next, chunk.len) = (list.0, 0);
        if page.free == 0 {
            self.open[number / WORD_BITS] &= !(1 << (number % WORD_BITS));
        }
        list.0 = link_to(number * PAGE_CHUNK_COUNT + index);
    }

    #[cold]
    fn free_chunk(&mut self, link: Link) {
        let (number, index) = place_of(link);
        let page = self.pages[number].as_mut().expect("its chunk was in use");
        page.chunks[index].next = page.free;
        page.free = link_to(index);
        page.used_count -= 1;
        let is_unused = page.used_count == 0;
        self.open[number / WORD_BITS] |= 1 << (number % WORD_BITS);
        // The last page with room stays: a wheel with few keys would take and return it all day.
        if is_unused && self.is_any_open_but(number) {
            self.pages[number] = None;
            self.open[number / WORD_BITS] &= !(1 << (number % WORD_BITS));
            self.discount_page();
        }
    }

    fn discount_page(&mut self) {
        self.page_count -= 1;
        self.region.refund(EXPIRY_PAGE_LEN_BYTES as u64);
    }

    fn first_open(&self) -> Option<usize> {
        let index = self.open.iter().position(|&word| word != 0)?;
        Some(index * WORD_BITS + self.open[index].trailing_zeros() as usize)
    }

    fn is_any_open_but(&self, number: usize) -> bool {
        let bit = 1 << (number % WORD_BITS);
        let words = self.open.iter().enumerate();
        let mut others = words.map(|(index, &word)| {
            if index == number / WORD_BITS {
                word & !bit
            } else {
                word
            }
        });
        others.any(|word| word != 0)
    }

    #[inline]
    fn chunk(&self, link: Link) -> &Chunk {
        let (number, index) = place_of(link);
        let page = self.pages[number].as_ref();
        &page.expect("a list's chunk is in use").chunks[index]
    }

    #[inline]
    fn chunk_mut(&mut self, link: Link) -> &mut Chunk {
        let (number, index) = place_of(link);
        let page = self.pages[number].as_mut();
        &mut page.expect("a list's chunk is in use").chunks[index]
    }
}

impl Drop for Lists {
    fn drop(&mut self) {
        self.region.refund(self.len_bytes());
    }
}

impl Page {
    fn new() -> Self {
        let chunk = |index: usize| Chunk {
            next: if index + 1 < PAGE_CHUNK_COUNT {
                link_to(index + 1)
            } else {
                0
            },
            len: 0,
            hashes: [KeyHash::from_bits(0); CHUNK_HASH_COUNT],
        };
        Self {
            chunks: (0..PAGE_CHUNK_COUNT).map(chunk).collect(),
            free: link_to(0),
            used_count: 0,
        }
    }
}

fn link_to(number: usize) -> Link {
    Link::try_from(number + 1).expect("hashes of four billion chunks do not fit into a region")
}

/// A chunk's page and its number there.
#[inline]
const fn place_of(link: Link) -> (usize, usize) {
    let number = link as usize - 1;
    (number / PAGE_CHUNK_COUNT, number % PAGE_CHUNK_COUNT)
}

/// Retired pages freed in one step: less than 0.1 ms.
const RETIRED_STEP_COUNT: usize = 16;

const _: () = assert!(size_of::<Chunk>() == 256);
const _: () = assert!(PAGE_CHUNK_COUNT * size_of::<Chunk>() == EXPIRY_PAGE_LEN_BYTES);

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::limits::MIB;
    use crate::region::RegionOptions;

    const HASHES_PER_PAGE: u64 = (CHUNK_HASH_COUNT * PAGE_CHUNK_COUNT) as u64;

    fn lists(maxmemory_bytes: usize) -> Lists {
        let options = RegionOptions {
            maxmemory_bytes: maxmemory_bytes as u64,
            shard_count: 1,
        };
        Lists::new(Arc::new(
            Region::anonymous(options).expect("a small region"),
        ))
    }

    #[test]
    fn what_is_pushed_is_popped_once() {
        let mut lists = lists(4 * MIB);
        let mut piles = [List::EMPTY; 3];
        for number in 0..10_000 {
            for pile in &mut piles {
                lists.push(pile, KeyHash::from_bits(number));
            }
        }
        for pile in &mut piles {
            let popped = std::iter::from_fn(|| lists.pop(pile));
            let mut popped: Vec<u64> = popped.map(KeyHash::bits).collect();
            popped.sort_unstable();
            assert!(popped.into_iter().eq(0..10_000));
        }
        assert_eq!(lists.len_bytes(), EXPIRY_PAGE_LEN_BYTES as u64);
    }

    #[test]
    fn pages_that_run_empty_go_back_to_the_budget() {
        let mut lists = lists(4 * MIB);
        let mut pile = List::EMPTY;
        for number in 0..5 * HASHES_PER_PAGE {
            lists.push(&mut pile, KeyHash::from_bits(number));
        }
        assert_eq!(lists.len_bytes(), 5 * EXPIRY_PAGE_LEN_BYTES as u64);
        assert_eq!(lists.region.used_bytes(), lists.len_bytes());
        while lists.pop(&mut pile).is_some() {}
        assert_eq!(lists.len_bytes(), EXPIRY_PAGE_LEN_BYTES as u64);
        assert_eq!(lists.region.used_bytes(), lists.len_bytes());
    }

    #[test]
    fn lists_given_up_are_freed_in_steps() {
        let mut lists = lists(16 * MIB);
        let mut pile = List::EMPTY;
        for number in 0..40 * HASHES_PER_PAGE {
            lists.push(&mut pile, KeyHash::from_bits(number));
        }
        lists.clear();
        assert_eq!(lists.len_bytes(), 40 * EXPIRY_PAGE_LEN_BYTES as u64);
        assert!(lists.free_retired());
        let mut pile = List::EMPTY;
        lists.push(&mut pile, KeyHash::from_bits(7));
        while lists.free_retired() {}
        assert_eq!(lists.len_bytes(), 2 * EXPIRY_PAGE_LEN_BYTES as u64);
        assert_eq!(lists.pop(&mut pile), Some(KeyHash::from_bits(7)));
    }

    #[test]
    fn a_push_beyond_the_reserve_passes_the_budget_by_a_page() {
        let mut lists = lists(MIB);
        let mut pile = List::EMPTY;
        let mut count = 0;
        while lists.make_room() {
            lists.push(&mut pile, KeyHash::from_bits(count));
            count += 1;
        }
        assert_eq!(lists.region.used_bytes(), MIB as u64);
        // What is left of the last chunk needs no page, and then there is the reserve.
        for _ in 1..CHUNK_HASH_COUNT as u64 + HASHES_PER_PAGE {
            lists.push(&mut pile, KeyHash::from_bits(0));
        }
        assert_eq!(lists.region.used_bytes(), MIB as u64);
        lists.push(&mut pile, KeyHash::from_bits(0));
        assert_eq!(
            lists.region.used_bytes(),
            (MIB + EXPIRY_PAGE_LEN_BYTES) as u64
        );
    }
}
