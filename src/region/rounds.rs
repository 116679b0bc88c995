//! Rounds: what a power loss can no longer take back.
//!
//! A round is one `fdatasync` of the file; it covers everything that was done before it began.
//! Rounds count up. Whoever must know that something is on disk asks for the round that is sure to
//! cover it ([`Rounds::needed`]) and later whether that one is durable.
//!
//! ```text
//!   shard:  append, publish position ── fence ── started = 6 ──► needs round 7
//!   sync:                                          started = 7 ── fence ── load positions ── fdatasync ── durable = 7
//! ```
//!
//! Why it holds: the two fences are totally ordered. If the shard's came second, its load would
//! have seen 7 and it would need 8; so it came first, and the loads after the other fence, and
//! the kernel's look at the pages, see what the shard had written.
//!
//! **Positions.** A shard publishes how far its log has been written. Those loaded by round N are on
//! disk when N is: they are *synced*. The superblock says so one round later.
//!
//! **Settled.** Members of a transaction may be on disk before its commit record is. A lane keeps in a
//! word of its own the number of the last round that had started when its oldest open transaction
//! began. Positions that round k loaded hold no member of a transaction opened with a later number, so
//! once every open word is above k, all transactions with members before those positions have their
//! commit record. Round N, which sees that, loads the words before the positions: hence
//! - whatever has a member before the settled positions has its commit record before the synced ones
//!   of the same round;
//! - so recovery may take what is settled as it stands, and has to count members only of
//!   transactions whose commit record is not synced, and those lie beyond what is settled.
//!
//! A transaction that ends without a commit, for want of room, must not become settled in part: the
//! vector that waits when it ends may have been loaded in the middle of it. So that one is dropped, and
//! the next, loaded when all members were written, settles them all at once.
//!
//! One vector of positions at a time waits to become settled, so this needs no history and cannot
//! starve: it becomes settled when the transactions of its moment have ended.
//!
//! In memory nothing is synced: [`needed`](Rounds::needed) is 0, and round 0 is durable.
//!
//! Not here: the file (`file`), and when to run a round (`server`).

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::atomic::{AtomicBool, AtomicU64, CachePadded, Ordering, fence};

/// The counters of rounds, the positions of shards, the open transactions of lanes.
#[derive(Debug)]
pub struct Rounds {
    /// Whether there is a file at all.
    is_counting: bool,
    started: CachePadded<AtomicU64>,
    durable: CachePadded<AtomicU64>,
    /// The highest round anybody asked for.
    requested: AtomicU64,
    /// The last round that may have begun in the middle of a transaction without a commit.
    torn: AtomicU64,
    /// No transaction of the file has a higher number, but for those of this process.
    transaction_floor: AtomicU64,
    shards: Box<[CachePadded<ShardWords>]>,
    lanes: Box<[CachePadded<LaneWords>]>,
    is_waiting: AtomicBool,
    bell: Mutex<Bell>,
    rung: Condvar,
    /// Told under the bell's lock when a round is durable.
    ended: Condvar,
}

/// What one shard tells the rounds, and what they tell about it.
#[derive(Debug, Default)]
struct ShardWords {
    /// How far the log was written.
    position: AtomicU64,
    /// Counts changes that move no position.
    change_count: AtomicU64,
    synced_position: AtomicU64,
    synced_change_count: AtomicU64,
    settled_position: AtomicU64,
}

#[derive(Debug)]
struct LaneWords {
    /// The round that had started when the oldest open transaction began; [`NONE_OPEN`] if none is.
    oldest_open: AtomicU64,
    /// Rounds that had started when transactions began, with how many of those are open.
    open: Mutex<VecDeque<(u64, u32)>>,
}

#[derive(Debug, Default)]
struct Bell {
    is_rung: bool,
}

/// Later than every round.
const NONE_OPEN: u64 = u64::MAX;

/// What a round has found when it began.
#[derive(Clone, Debug)]
pub(super) struct Began {
    pub(super) round: u64,
    positions: Vec<u64>,
    change_counts: Vec<u64>,
    settled: Vec<u64>,
    waiting: Option<(u64, Vec<u64>)>,
}

/// The positions that a superblock holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Vectors {
    /// On disk as of the last durable round, by shard.
    pub(super) synced: Vec<u64>,
    /// As far as every transaction is complete.
    pub(super) settled: Vec<u64>,
    /// What will be settled when the transactions open at that round have ended.
    waiting: Option<(u64, Vec<u64>)>,
}

impl Vectors {
    /// Of logs without open transactions.
    pub(super) const fn settled_at(synced: Vec<u64>, settled: Vec<u64>) -> Self {
        Self {
            synced,
            settled,
            waiting: None,
        }
    }
}

impl Rounds {
    /// Rounds for `shard_count` shards and as many lanes. If not `is_counting`, everything is as
    /// durable as it will ever be.
    pub(super) fn new(shard_count: usize, is_counting: bool) -> Self {
        Self {
            is_counting,
            started: CachePadded(AtomicU64::new(0)),
            durable: CachePadded(AtomicU64::new(0)),
            requested: AtomicU64::new(0),
            torn: AtomicU64::new(0),
            transaction_floor: AtomicU64::new(0),
            shards: (0..shard_count)
                .map(|_| CachePadded(ShardWords::default()))
                .collect(),
            lanes: (0..shard_count)
                .map(|_| CachePadded(LaneWords::new()))
                .collect(),
            is_waiting: AtomicBool::new(false),
            bell: Mutex::new(Bell::default()),
            rung: Condvar::new(),
            ended: Condvar::new(),
        }
    }

    /// Goes on where a file left off.
    pub(super) fn resume(&self, round: u64, vectors: &Vectors) {
        self.started.0.store(round, Ordering::Relaxed);
        self.durable.0.store(round, Ordering::Relaxed);
        for (index, shard) in self.shards.iter().enumerate() {
            let synced = vectors.synced.get(index).copied().unwrap_or(0);
            let settled = vectors.settled.get(index).copied().unwrap_or(0);
            shard.0.position.store(synced, Ordering::Relaxed);
            shard.0.synced_position.store(synced, Ordering::Relaxed);
            shard.0.settled_position.store(settled, Ordering::Relaxed);
        }
    }

    /// What the shards have published.
    pub(super) fn positions(&self) -> Vec<u64> {
        let words = self.shards.iter();
        words
            .map(|words| words.0.position.load(Ordering::Acquire))
            .collect()
    }

    /// Sets all positions, before any shard publishes.
    pub(super) fn begin_all_at(&self, position: u64) {
        for words in &self.shards {
            words.0.position.store(position, Ordering::Release);
        }
    }

    /// The first round that is sure to cover all the caller has done or seen; 0 in memory.
    #[must_use]
    pub fn needed(&self) -> u64 {
        if !self.is_counting {
            return 0;
        }
        // What was written must be visible before the number is read; see the module's proof.
        fence(Ordering::SeqCst);
        self.started.0.load(Ordering::Relaxed) + 1
    }

    /// Whether everything `round` covers is on disk.
    #[inline]
    #[must_use]
    pub fn is_durable(&self, round: u64) -> bool {
        self.durable() >= round
    }

    /// The last round that is on disk.
    #[inline]
    #[must_use]
    pub fn durable(&self) -> u64 {
        self.durable.0.load(Ordering::Acquire)
    }

    /// Says how far the log of `shard` has been written. For its owner, after every append.
    #[inline]
    pub fn publish(&self, shard: u16, position: u64) {
        // Release: who loads this position sees the record before it.
        self.shard(shard)
            .position
            .store(position, Ordering::Release);
    }

    /// Says that `shard` changed in place, which moves no position. For its owner.
    #[inline]
    pub fn note_change(&self, shard: u16) {
        let count = &self.shard(shard).change_count;
        // Only the owner writes it.
        let next = count.load(Ordering::Relaxed) + 1;
        count.store(next, Ordering::Release);
    }

    /// Whether a durable round covers all that `shard` has published.
    #[inline]
    #[must_use]
    pub fn is_synced(&self, shard: u16) -> bool {
        let words = self.shard(shard);
        words.synced_position.load(Ordering::Acquire) == words.position.load(Ordering::Acquire)
            && words.synced_change_count.load(Ordering::Acquire)
                == words.change_count.load(Ordering::Acquire)
    }

    /// Whether a round would make anything durable that is not.
    #[must_use]
    pub fn has_changes(&self) -> bool {
        let shards = 0..u16::try_from(self.shards.len()).unwrap_or(u16::MAX);
        self.is_counting && shards.into_iter().any(|shard| !self.is_synced(shard))
    }

    /// Whether later rounds would settle more than is settled, though nothing changes any more.
    #[must_use]
    pub fn is_settling(&self) -> bool {
        let is_behind = |words: &CachePadded<ShardWords>| {
            words.0.settled_position.load(Ordering::Acquire)
                != words.0.position.load(Ordering::Acquire)
        };
        self.is_counting && self.shards.iter().any(is_behind)
    }

    /// The position of `shard` before which the superblock on disk calls everything settled.
    #[must_use]
    pub fn settled(&self, shard: u16) -> u64 {
        self.shard(shard).settled_position.load(Ordering::Acquire)
    }

    /// Before the first part of a transaction of `lane` is executed. For that lane; what it returns
    /// closes the transaction.
    #[must_use]
    pub fn open_transaction(&self, lane: u16) -> u64 {
        if !self.is_counting {
            return 0;
        }
        let words = &self.lanes[usize::from(lane)].0;
        let started = self.started.0.load(Ordering::SeqCst);
        let mut open = words.lock_open();
        match open.back_mut() {
            Some((round, count)) if *round == started => *count += 1,
            _ => open.push_back((started, 1)),
        }
        drop(open);
        words.publish();
        started
    }

    /// Whether any lane has a transaction open.
    #[must_use]
    pub fn has_open_transaction(&self) -> bool {
        self.oldest_open() != NONE_OPEN
    }

    /// After the commit record of a transaction was appended, or when it ended without members.
    /// For the lane that opened it.
    pub fn close_transaction(&self, lane: u16, opened: u64) {
        if !self.is_counting {
            return;
        }
        let words = &self.lanes[usize::from(lane)].0;
        let mut open = words.lock_open();
        let entry = open.iter_mut().find(|(round, _)| *round == opened);
        entry
            .expect("a transaction is closed once, after it was opened")
            .1 -= 1;
        while open.front().is_some_and(|&(_, count)| count == 0) {
            open.pop_front();
        }
        drop(open);
        words.publish();
    }

    /// As [`close_transaction`](Self::close_transaction), for one whose members were written and whose
    /// commit was not: until a later round settles all of them, none counts after a crash.
    pub fn close_uncommitted(&self, lane: u16, opened: u64) {
        // As in `needed`: a round that begins later sees all members.
        fence(Ordering::SeqCst);
        let started = self.started.0.load(Ordering::Relaxed);
        // Before the word of the lane, so that who sees it closed sees this.
        self.torn.fetch_max(started, Ordering::Release);
        self.close_transaction(lane, opened);
    }

    /// Notes the number of a transaction that was found in the file.
    pub fn note_transaction(&self, number: u64) {
        if number > self.transaction_floor() {
            self.transaction_floor.fetch_max(number, Ordering::Relaxed);
        }
    }

    /// The highest number of a transaction that was found in the file: new ones have higher numbers.
    #[must_use]
    pub fn transaction_floor(&self) -> u64 {
        self.transaction_floor.load(Ordering::Relaxed)
    }

    /// Asks for `round` to be run soon. Costs a system call only if the syncing thread sleeps.
    pub fn request(&self, round: u64) {
        if !self.is_counting || self.requested.fetch_max(round, Ordering::SeqCst) >= round {
            return;
        }
        if self.is_waiting.load(Ordering::SeqCst) {
            self.wake();
        }
    }

    /// Whether somebody asked for a round that has not started.
    #[must_use]
    pub fn is_requested(&self) -> bool {
        self.requested.load(Ordering::SeqCst) > self.started.0.load(Ordering::SeqCst)
    }

    /// Waits until `round` is durable or `timeout` is over. For a write that has no room without it.
    pub fn wait_for(&self, round: u64, timeout: Duration) {
        let bell = self.lock_bell();
        // Whether it was in time does not matter: who waits looks again.
        _ = self
            .ended
            .wait_timeout_while(bell, timeout, |_| !self.is_durable(round));
    }

    /// Waits until a round is asked for, [`wake`](Self::wake) is called or `timeout` is over.
    /// For the syncing thread.
    pub fn wait(&self, timeout: Duration) {
        let mut bell = self.lock_bell();
        // Set before the look at requests, as requests are noted before the look at this: one of the
        // two sees the other.
        self.is_waiting.store(true, Ordering::SeqCst);
        if !bell.is_rung && !self.is_requested() {
            let waited = self
                .rung
                .wait_timeout_while(bell, timeout, |bell| !bell.is_rung);
            bell = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        bell.is_rung = false;
        self.is_waiting.store(false, Ordering::SeqCst);
    }

    /// Ends one [`wait`](Self::wait), the next one if none is under way.
    pub fn wake(&self) {
        self.lock_bell().is_rung = true;
        self.rung.notify_one();
    }

    /// Begins the next round: from here on it covers what was done before.
    pub(super) fn begin(&self, vectors: &Vectors) -> Began {
        let round = self.started.0.fetch_add(1, Ordering::SeqCst) + 1;
        fence(Ordering::SeqCst);
        // The words before the positions: the commit record of what is seen closed is then among
        // what the positions cover.
        let oldest_open = self.oldest_open();
        let load = |word: fn(&ShardWords) -> &AtomicU64| -> Vec<u64> {
            let words = self.shards.iter().map(|shard| word(&shard.0));
            words.map(|word| word.load(Ordering::Acquire)).collect()
        };
        let change_counts = load(|words| &words.change_count);
        let positions = load(|words| &words.position);
        let mut settled = vectors.settled.clone();
        let mut waiting = vectors.waiting.clone();
        let torn = self.torn.load(Ordering::Acquire);
        waiting.take_if(|(round, _)| *round <= torn);
        if let Some((_, ready)) = waiting.take_if(|(round, _)| *round < oldest_open) {
            settled = ready;
        }
        let waiting = waiting.or_else(|| Some((round, positions.clone())));
        Began {
            round,
            positions,
            change_counts,
            settled,
            waiting,
        }
    }

    /// Publishes that a round is on disk, and with it the superblock that holds `vectors`, which
    /// become what the next superblock will hold.
    pub(super) fn complete(&self, began: Began, vectors: &mut Vectors) {
        for (index, shard) in self.shards.iter().enumerate() {
            let words = &shard.0;
            let settled = vectors.settled.get(index).copied().unwrap_or(0);
            words.settled_position.store(settled, Ordering::Release);
            words
                .synced_position
                .store(began.positions[index], Ordering::Release);
            words
                .synced_change_count
                .store(began.change_counts[index], Ordering::Release);
        }
        *vectors = Vectors {
            synced: began.positions,
            settled: began.settled,
            waiting: began.waiting,
        };
        // Release: whoever sees the round durable sees what was published with it. Under the lock: who is
        // about to wait for it sees it or is told.
        let bell = self.lock_bell();
        self.durable.0.store(began.round, Ordering::Release);
        drop(bell);
        self.ended.notify_all();
    }

    fn oldest_open(&self) -> u64 {
        let words = self.lanes.iter();
        words
            .map(|lane| lane.0.oldest_open.load(Ordering::Acquire))
            .fold(NONE_OPEN, u64::min)
    }

    fn shard(&self, shard: u16) -> &ShardWords {
        &self.shards[usize::from(shard)].0
    }

    fn lock_bell(&self) -> MutexGuard<'_, Bell> {
        self.bell.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LaneWords {
    fn new() -> Self {
        Self {
            oldest_open: AtomicU64::new(NONE_OPEN),
            open: Mutex::new(VecDeque::new()),
        }
    }

    /// Only the lane itself comes here, so nobody ever waits.
    fn lock_open(&self) -> MutexGuard<'_, VecDeque<(u64, u32)>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn publish(&self) {
        let oldest = self
            .lock_open()
            .front()
            .map_or(NONE_OPEN, |&(round, _)| round);
        // Release, for a close: the commit record happens before. For an open, the parts that follow
        // are seen only with this word.
        self.oldest_open.store(oldest, Ordering::Release);
    }
}
