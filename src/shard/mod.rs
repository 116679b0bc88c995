//! One shard: the keys that one core owns, with their values and expiries.
//!
//! ```text
//!   key ─► hash ─► table ─► slot ─► record in a block of the log ─► value
//!                                                  └─► run of a large value
//! ```
//!
//! A write reserves space at the log's tail, writes the whole record, and publishes it by one store
//! of its slot; the record it replaces is dead from then on and its space comes back by compaction.
//! Everything is synchronous and deterministic: time and seeds are arguments.
//!
//! **Invariants**
//! - A published record never changes, except for its expiry word; a slot never moves within a
//!   segment; what is given up waits in limbo until no other core can be reading it.
//! - A write either happens whole or answers [`OutOfMemory`] and has changed nothing.
//! - Between two calls the shard's memory is at most live data, the slack that compaction is allowed
//!   (`compact`), its reserve, and what waits in limbo.
//!
//! Not here: RESP, commands, who owns which key, and any clock.

use std::sync::Arc;

use crate::error::Error;
use crate::hash::{Hasher, KeyHash};
use crate::limits::{LARGE_VALUE_LEN_BYTES_MIN, LOG_SLACK_PERCENT_DEFAULT};
use crate::region::{Region, RegionOptions};

mod ahead;
mod change;
mod compact;
mod draft;
mod durable;
mod evict;
mod expiry;
mod extents;
mod large;
mod limbo;
mod log;
#[cfg(all(test, loom))]
mod loom_tests;
mod marks;
mod moment;
#[cfg(all(test, loom))]
mod moment_loom_tests;
mod reader;
mod reclaim;
mod record;
mod recover;
mod remove;
mod room;
mod scan;
mod seal;
mod slot;
mod stage;
mod stats;
mod stream;
mod table;
mod wait;
mod watch;

pub use ahead::Ahead;
pub use evict::Eviction;
pub use large::Pinned;
pub use moment::Moment;
pub use reader::{Reader, Unsure};
pub use recover::{Damage, Mode, Progress, RecoverError, Report, recover};
pub use room::Change;
pub use stats::Stats;
pub use table::Probe;

use compact::Compaction;
use evict::Evictor;
use expiry::Expiry;
use large::{Large, RunReference};
use limbo::{Limbo, Retired};
use log::{Log, Purpose, Reserved};
use record::{Kind, Record, Shape, copy};
use room::Room;
use slot::{Location, Slot};
use stage::{Staged, shape_of};
use table::{Mark, Place, SplitError, Table};
use wait::Pace;
use watch::Watches;

/// The keys of one core.
///
/// ```
/// use coremap::shard::{Attributes, Options, Shard};
///
/// let mut shard = Shard::embedded(Options { maxmemory_bytes: 64 << 20, seeds: [1, 2, 3, 4] })?;
/// let now_ms = 0; // time is an argument
/// let key = shard.key(b"greeting");
/// shard.store(key, b"hello", Attributes::default(), now_ms).expect("64 MiB are enough");
/// assert_eq!(shard.find(key, now_ms).map(|value| value.bytes), Some(&b"hello"[..]));
/// # Ok::<(), coremap::error::Error>(())
/// ```
#[derive(Debug)]
pub struct Shard {
    region: Arc<Region>,
    id: u16,
    hasher: Hasher,
    table: Table,
    log: Log,
    large: Large,
    limbo: Limbo,
    compaction: Compaction,
    expiry: Expiry,
    evictor: Evictor,
    staged: Vec<Staged>,
    room: Room,
    pace: Pace,
    publish_depth: u32,
    /// None while nothing is watched.
    watches: Option<Box<Watches>>,
    /// Values from this length become large ones.
    large_len_bytes_min: usize,
    key_count: u64,
    volatile_count: u64,
    expired_count: u64,
    emergency_count: u64,
    out_of_memory_count: u64,
    /// Where the search for segments to merge goes on, and removals since it last found none.
    merge_at: usize,
    removals: u64,
}

/// What an embedded shard is made of.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Bytes the shard may use.
    pub maxmemory_bytes: u64,
    /// Secrets of the hash function; random unless keys are trusted.
    pub seeds: [u64; 4],
}

/// A key with its hash, computed once.
#[derive(Clone, Copy, Debug)]
pub struct Key<'a> {
    /// The key itself.
    pub bytes: &'a [u8],
    /// Its hash by the shard's hasher, and what [`Shard::probe`] found, which saves the search.
    pub probe: Probe,
}

impl<'a> Key<'a> {
    /// A key whose slots nobody has looked at.
    #[inline]
    #[must_use]
    pub const fn new(bytes: &'a [u8], hash: KeyHash) -> Self {
        Self {
            bytes,
            probe: Probe::of(hash),
        }
    }

    /// Its hash by the shard's hasher.
    #[inline]
    #[must_use]
    pub const fn hash(self) -> KeyHash {
        self.probe.hash
    }
}

/// What a lookup found; borrows the shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Value<'a> {
    /// The value, contiguous.
    pub bytes: &'a [u8],
    /// When it ends.
    pub expires_at_ms: Option<u64>,
    /// Whether it was made by changing another (OBJECT ENCODING says raw).
    pub is_raw: bool,
    /// The run of a large value, which can be pinned.
    pub large: Option<u32>,
}

/// What a value is stored with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    /// When the value ends.
    pub expires_at_ms: Option<u64>,
    /// Whether it was made by changing another.
    pub is_raw: bool,
}

/// There is no room and nothing can be reclaimed. The write did not happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutOfMemory {
    /// The budget is used up.
    Budget,
    /// The disk is full.
    Disk,
    /// The key is too long for a record in a file.
    LongKey,
}

impl OutOfMemory {
    fn of(region: &Region) -> Self {
        if region.is_disk_full() {
            Self::Disk
        } else {
            Self::Budget
        }
    }
}

/// What a store did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// The key was not there.
    Fresh,
    /// The key had another value.
    Replaced,
}

/// Where a record will be: in the log, or in a run of its own because its key is so long.
enum Space {
    Log(Reserved),
    Run(u32, Location),
}

impl Space {
    const fn location(&self) -> Location {
        match self {
            Self::Log(reserved) => reserved.location,
            Self::Run(_, location) => *location,
        }
    }
}

impl Shard {
    /// A shard of its own region, to be used without a server.
    ///
    /// # Errors
    /// If the budget is too small or the kernel refuses the address space.
    pub fn embedded(options: Options) -> Result<Self, Error> {
        let Options {
            maxmemory_bytes,
            seeds,
        } = options;
        let region = Region::anonymous(RegionOptions {
            maxmemory_bytes,
            shard_count: 1,
        })?;
        let shard = Self::new(Arc::new(region), 0, Hasher::new(seeds));
        Ok(shard.expect("a region has room for what its shards take at start"))
    }

    /// Shard `id` of a region. A region's shards are made once and live as long as it does.
    ///
    /// # Errors
    /// If the region has no memory for the shard's first blocks.
    pub fn new(region: Arc<Region>, id: u16, hasher: Hasher) -> Result<Self, OutOfMemory> {
        let table = Table::new(Arc::clone(&region), id).ok_or(OutOfMemory::Budget)?;
        let log = Log::new(Arc::clone(&region), id).ok_or_else(|| OutOfMemory::of(&region))?;
        Ok(Self::of_parts(region, id, hasher, table, log))
    }

    fn of_parts(region: Arc<Region>, id: u16, hasher: Hasher, table: Table, log: Log) -> Self {
        let large = Large::new(Arc::clone(&region), id);
        let record_len_bytes_max =
            usize::try_from(log.record_len_bytes_max()).expect("less than a block");
        Self {
            id,
            hasher,
            table,
            large,
            limbo: Limbo::default(),
            compaction: Compaction::new(LOG_SLACK_PERCENT_DEFAULT),
            expiry: Expiry::new(Arc::clone(&region)),
            evictor: Evictor::default(),
            staged: Vec::new(),
            room: Room::default(),
            pace: Pace::default(),
            publish_depth: 0,
            watches: None,
            large_len_bytes_min: LARGE_VALUE_LEN_BYTES_MIN.min(record_len_bytes_max),
            key_count: 0,
            volatile_count: 0,
            expired_count: 0,
            emergency_count: 0,
            out_of_memory_count: 0,
            merge_at: 0,
            removals: 0,
            log,
            region,
        }
    }

    /// `bytes` as a key of this shard.
    #[inline]
    #[must_use]
    pub fn key<'a>(&self, bytes: &'a [u8]) -> Key<'a> {
        Key::new(bytes, self.hasher.hash(bytes))
    }

    /// The value of a key. One whose time has come is removed and counts as absent.
    #[inline]
    pub fn find(&mut self, key: Key<'_>, now_ms: u64) -> Option<Value<'_>> {
        let (place, slot) = self.lookup(key)?;
        let record = self.log.record(slot.location());
        if record.is_expired(now_ms) {
            self.expire(place);
            return None;
        }
        self.table.touch(place);
        Some(self.value_of(self.log.record(slot.location())))
    }

    /// Sets the value of a key, whatever it was.
    ///
    /// # Errors
    /// If there is no memory for it; the key then has the value it had.
    #[inline]
    pub fn store(
        &mut self,
        key: Key<'_>,
        value: &[u8],
        attributes: Attributes,
        now_ms: u64,
    ) -> Result<Written, OutOfMemory> {
        if value.len() >= self.large_len_bytes_min {
            return self.store_large(key, value, attributes, now_ms);
        }
        let shape = shape_of(key, value.len(), attributes);
        let place = self.place_for(key)?;
        if let Some(expires_at_ms) = attributes.expires_at_ms {
            self.arm(place, key.hash(), expires_at_ms, now_ms, Purpose::Write)?;
        }
        let space = match self.reserve(shape, Purpose::Write) {
            // Beside a long key there may be no room for a value that is hardly a small one.
            Err(OutOfMemory::LongKey) if value.len() > RunReference::LEN_BYTES => {
                return self.store_large(key, value, attributes, now_ms);
            }
            reserved => reserved?,
        };
        copy(
            shape.write(self.fill(&space), key.bytes, attributes.expires_at_ms),
            value,
        );
        self.complete(&space);
        let written = self.put(place, key.hash(), space.location(), now_ms);
        self.volatile_count += u64::from(attributes.expires_at_ms.is_some());
        self.pay_for(shape.len_bytes());
        Ok(written)
    }

    /// Sets or removes the expiry of a key; false when the key is not there.
    ///
    /// # Errors
    /// If the record must be written again and even the reserve is used up.
    pub fn set_expiry(
        &mut self,
        key: Key<'_>,
        expires_at_ms: Option<u64>,
        now_ms: u64,
    ) -> Result<bool, OutOfMemory> {
        let Some(place) = self.find_place(key, now_ms) else {
            return Ok(false);
        };
        if let Some(expires_at_ms) = expires_at_ms {
            self.arm(place, key.hash(), expires_at_ms, now_ms, Purpose::Bound)?;
        }
        let record = self.log.record(self.table.slot(place).location());
        let was_volatile = record.expires_at_ms().is_some();
        // Within a transaction nothing may happen before all of it does.
        let is_in_place = !self.log.is_in_transaction();
        if is_in_place && record.set_expires_at_ms(expires_at_ms) {
            self.note_change();
            self.mark_change(key.hash());
            self.volatile_count += u64::from(expires_at_ms.is_some());
            self.volatile_count -= u64::from(was_volatile);
        } else if expires_at_ms.is_some() || was_volatile {
            let shape = Shape {
                has_expiry: expires_at_ms.is_some(),
                is_member: false,
                ..record.shape()
            };
            let space = self.reserve(shape, Purpose::Bound)?;
            self.rewrite(place, &space, shape, key, expires_at_ms);
            self.pay_for(shape.len_bytes());
        }
        Ok(true)
    }

    /// Keys, including those whose time has come but whom nobody has looked at since.
    #[must_use]
    pub const fn len(&self) -> u64 {
        self.key_count
    }

    /// Whether there are no keys.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.key_count == 0
    }

    /// Keys that have an expiry.
    #[must_use]
    pub const fn volatile_len(&self) -> u64 {
        self.volatile_count
    }

    /// Keeps a large value as it is, and where it is, until it is unpinned as often. What a command
    /// answers with can then be sent from its place, by any core.
    pub fn pin(&mut self, run: u32) -> Pinned {
        self.large.pin(run)
    }

    /// The bytes of a run that is pinned; none if it is not.
    #[must_use]
    pub fn pinned_bytes(&self, run: u32) -> Option<&[u8]> {
        self.large.is_pinned(run).then(|| self.large.bytes(run))
    }

    /// Ends one pin.
    pub fn unpin(&mut self, run: u32) {
        // A copy of this value that was given up would wait for its last slice for ever.
        let address = self.large.bytes(run).as_ptr().addr();
        self.unstage_at(address);
        if let Some(extent) = self.large.unpin(run) {
            self.give_up(Retired::Extent(extent));
        }
    }

    /// The shard's number in its region.
    #[must_use]
    pub const fn id(&self) -> u16 {
        self.id
    }

    /// The region the shard lives in.
    #[must_use]
    pub const fn region(&self) -> &Arc<Region> {
        &self.region
    }

    /// The hash function of the shard's keys.
    #[must_use]
    pub const fn hasher(&self) -> &Hasher {
        &self.hasher
    }

    #[inline]
    fn lookup(&self, key: Key<'_>) -> Option<(Place, Slot)> {
        self.table.find(key.probe, |location| {
            self.log.record(location).has_key(key.bytes)
        })
    }

    /// The place of a key that is there and whose time has not come.
    fn find_place(&mut self, key: Key<'_>, now_ms: u64) -> Option<Place> {
        self.spare(key);
        let (place, slot) = self.lookup(key)?;
        if self.log.record(slot.location()).is_expired(now_ms) {
            self.expire(place);
            return None;
        }
        Some(place)
    }

    #[inline]
    fn value_of<'a>(&'a self, record: Record<'a>) -> Value<'a> {
        let large = record.run();
        let bytes = large.map_or_else(|| record.value(), |run| self.large.bytes(run));
        let is_raw = record.shape().is_raw;
        Value {
            bytes,
            expires_at_ms: record.expires_at_ms(),
            is_raw,
            large,
        }
    }

    /// The slot of a key, or an empty one for it. Stays valid until the table splits.
    #[inline]
    fn place_for(&mut self, key: Key<'_>) -> Result<Place, OutOfMemory> {
        self.spare(key);
        if let Some((place, _)) = self.lookup(key) {
            return Ok(place);
        }
        self.vacancy_for(key.hash())
    }

    /// An empty slot for a key that is not there.
    #[inline]
    fn vacancy_for(&mut self, hash: KeyHash) -> Result<Place, OutOfMemory> {
        if !self.table.is_crowded(hash)
            && let Some(place) = self.table.vacancy(hash)
        {
            return Ok(place);
        }
        self.place_by_splitting(hash)
    }

    #[cold]
    fn place_by_splitting(&mut self, hash: KeyHash) -> Result<Place, OutOfMemory> {
        // What segments are kept is for those that are full.
        if self.keeps_room()
            && let Some(place) = self.table.vacancy(hash)
        {
            return Ok(place);
        }
        loop {
            match self.table.split(hash, &mut self.limbo) {
                Ok(()) => {}
                // A crowded segment goes on as long as it has room.
                Err(_) if self.table.vacancy(hash).is_some() => {}
                Err(SplitError::NoBlock) => {
                    self.with_room(|shard| shard.table.split(hash, &mut shard.limbo).ok())?;
                }
                Err(SplitError::TooDeep) => {
                    self.out_of_memory_count += 1;
                    return Err(OutOfMemory::of(&self.region));
                }
            }
            if let Some(place) = self.table.vacancy(hash) {
                return Ok(place);
            }
        }
    }

    /// Space for a record. Records may move meanwhile; places stay.
    #[inline]
    fn reserve(&mut self, shape: Shape, purpose: Purpose) -> Result<Space, OutOfMemory> {
        let len_bytes = shape.len_bytes();
        if self.log.is_too_long(shape) {
            if self.log.is_durable() {
                return Err(OutOfMemory::LongKey);
            }
            return self
                .make_run_for_record(len_bytes)
                .map(|(run, location)| Space::Run(run, location));
        }
        match self.log.reserve(len_bytes, purpose) {
            Some(reserved) => Ok(Space::Log(reserved)),
            None => self
                .with_room_for(purpose, |shard| shard.log.reserve(len_bytes, purpose))
                .map(Space::Log),
        }
    }

    /// A run for a record that is too long for the log, and where the record goes.
    fn make_run_for_record(&mut self, len_bytes: usize) -> Result<(u32, Location), OutOfMemory> {
        match self.take_prepared_run(len_bytes) {
            Some(prepared) => Ok(prepared),
            None => self.with_room(|shard| shard.large.create_for_record(len_bytes)),
        }
    }

    #[inline]
    fn fill(&mut self, space: &Space) -> &mut [u8] {
        match space {
            Space::Log(reserved) => self.log.fill(reserved),
            Space::Run(run, _) => self.large.record_mut(*run),
        }
    }

    /// What was filled is whole: before a slot names it.
    #[inline]
    fn complete(&mut self, space: &Space) {
        if let Space::Log(reserved) = space {
            self.log.complete(reserved);
        }
    }

    /// Publishes a record for a key and gives up the one it replaces, with its value.
    #[inline]
    fn put(&mut self, place: Place, hash: KeyHash, location: Location, now_ms: u64) -> Written {
        self.mark_change(hash);
        let old = self.table.slot(place);
        let slot = Slot::new(hash.tag(), location);
        if old.is_empty() {
            self.table.insert(place, slot);
            self.table.set_mark(place, Mark::FRESH);
            self.key_count += 1;
            return Written::Fresh;
        }
        self.table.replace(place, slot);
        self.table.touch(place);
        let was_expired = self.log.record(old.location()).is_expired(now_ms);
        self.give_up_value(old.location());
        self.bury(old.location());
        if was_expired {
            self.expired_count += 1;
            return Written::Fresh;
        }
        Written::Replaced
    }

    /// Publishes another record for the same key and value.
    fn rewrite(
        &mut self,
        place: Place,
        space: &Space,
        shape: Shape,
        key: Key<'_>,
        expires_at_ms: Option<u64>,
    ) {
        self.mark_change(key.hash());
        let source = self.table.slot(place).location();
        let (record, target) = match space {
            Space::Log(reserved) => self.log.fill_from(source, reserved),
            Space::Run(run, _) => (self.log.record(source), self.large.record_mut(*run)),
        };
        shape
            .write(target, key.bytes, expires_at_ms)
            .copy_from_slice(record.value());
        self.complete(space);
        self.table
            .replace(place, Slot::new(key.hash().tag(), space.location()));
        self.bury(source);
        self.volatile_count += u64::from(expires_at_ms.is_some());
    }

    /// Gives up the run of a large value; the value in a record goes with the record.
    #[inline]
    fn give_up_value(&mut self, location: Location) {
        if let Some(run) = self.log.record(location).run() {
            self.condemn(run);
        }
    }

    /// Counts a record as dead that no slot points to any more.
    #[inline]
    fn bury(&mut self, location: Location) {
        let record = self.log.record(location);
        let len_bytes = record.shape().len_bytes();
        self.volatile_count -= u64::from(record.expires_at_ms().is_some());
        if self.region.is_large(location.offset()) {
            self.condemn(self.large.run_of_record(location));
        } else {
            self.log.kill(location, len_bytes);
        }
    }

    #[cold]
    fn condemn(&mut self, run: u32) {
        if let Some(extent) = self.large.condemn(run) {
            self.give_up(Retired::Extent(extent));
        }
    }
}
