//! Goal: whoever reads a key, on its own core or from another, sees it as if all clients took turns.
//! Method: threads change and read a few keys as fast as they can and note when each operation began
//! and ended and what it answered; then a checker looks for an order that explains all of it
//! (`common/linearizable.rs`). Once with shards alone, whose tables split, merge, are compacted and
//! flushed meanwhile, and once with pipelines over sockets.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::time::Instant;

use common::client::{Client, decode, request};
use common::linearizable::{Action, Event, explain};
use common::process::Server;
use common::{Random, now, scale, seed};
use coremap::hash::Hasher;
use coremap::region::{Region, RegionOptions};
use coremap::shard::{Attributes, Shard};

/// The keys of one group, each with the number in its value.
type Group = [Option<u64>; 2];

/// What an owner did to a group, or a reader saw of it.
#[derive(Debug)]
enum Step {
    /// All keys have these values now.
    Made(Group),
    /// A key had this value.
    Saw(usize, Option<u64>),
    /// Both had these, read by one reader.
    SawBoth(Group),
}

impl Action for Step {
    type State = Group;

    fn apply(&self, state: &Group) -> Option<Group> {
        match self {
            Self::Made(group) => Some(*group),
            Self::Saw(index, value) => (state[*index] == *value).then_some(*state),
            Self::SawBoth(group) => (group == state).then_some(*state),
        }
    }
}

/// What one thread did to each group.
type Log = Vec<Vec<Event<Step>>>;

const GROUP_COUNT: usize = 6;
/// The first groups change key by key, and their keys are read one by one. In the others at most one
/// key is there, and a rename moves it: they are read as a whole.
const SINGLE_GROUP_COUNT: usize = 3;
/// When readers look; the owner's clock stands still before every expiry.
const READ_AT_MS: u64 = 50;
/// Keys that come and go around the others, so many at a time: all come, then all go.
const CROWD_COUNT: usize = 30_000;
const CROWD_STEP_COUNT: usize = 200;

fn key_name(group: usize, index: usize) -> Vec<u8> {
    format!("group:{group}:{index}").into_bytes()
}

/// A value that shows its number everywhere.
fn value_of(number: u64) -> Vec<u8> {
    let len = match number % 50 {
        0 => 300_000,
        rest => usize::try_from(rest * 7).expect("small"),
    };
    number.to_le_bytes().repeat(1 + len / 8)
}

fn number_in(value: &[u8]) -> u64 {
    let (numbers, rest) = value.as_chunks::<8>();
    assert!(rest.is_empty());
    assert!(
        numbers.iter().all(|number| *number == numbers[0]),
        "a torn value"
    );
    u64::from_le_bytes(numbers[0])
}

/// The thread that owns shard 0.
struct Owner {
    shard: Shard,
    random: Random,
    groups: [Group; GROUP_COUNT],
    /// The values of singles whose time has come for readers: the owner can call them back.
    expired: [Group; SINGLE_GROUP_COUNT],
    next_number: u64,
    /// The next key of the crowd to add or to remove.
    crowd_at: usize,
    is_crowd_growing: bool,
    log: Log,
    began: Instant,
}

impl Owner {
    fn note(&mut self, group: usize, began_ns: u64) {
        let event = Event {
            began_ns,
            ended_ns: moment_ns(self.began),
            action: Step::Made(self.groups[group]),
        };
        self.log[group].push(event);
    }

    fn store(&mut self, group: usize, index: usize, expires_at_ms: Option<u64>) -> u64 {
        self.next_number += 1;
        let (name, value) = (key_name(group, index), value_of(self.next_number));
        let attributes = Attributes {
            expires_at_ms,
            ..Attributes::default()
        };
        let key = self.shard.key(&name);
        self.shard
            .store(key, &value, attributes, 0)
            .expect("enough memory");
        self.next_number
    }

    /// Changes one key of a group, or renames within it.
    fn change(&mut self) {
        let group = self.random.below(GROUP_COUNT);
        let index = self.random.below(2);
        let began_ns = moment_ns(self.began);
        if group < SINGLE_GROUP_COUNT {
            self.change_single(group, index);
        } else {
            self.change_pair(group, index);
        }
        self.note(group, began_ns);
    }

    fn change_single(&mut self, group: usize, index: usize) {
        let name = key_name(group, index);
        let key = self.shard.key(&name);
        match self.random.below(6) {
            0 => {
                self.shard.remove(key, 0).expect("in memory");
                (self.groups[group][index], self.expired[group][index]) = (None, None);
            }
            1 => {
                // For the readers its time has come.
                let is_there = self.shard.set_expiry(key, Some(READ_AT_MS), 0);
                if is_there.expect("enough memory") {
                    let value = self.groups[group][index].take();
                    self.expired[group][index] = value.or(self.expired[group][index]);
                }
            }
            2 => {
                let is_there = self.shard.set_expiry(key, None, 0);
                if is_there.expect("enough memory") {
                    let value = self.expired[group][index].take();
                    self.groups[group][index] = value.or(self.groups[group][index]);
                }
            }
            kind => {
                let expires_at_ms = (kind == 3).then_some(READ_AT_MS + 1);
                let number = self.store(group, index, expires_at_ms);
                (self.groups[group][index], self.expired[group][index]) = (Some(number), None);
            }
        }
    }

    fn change_pair(&mut self, group: usize, index: usize) {
        let Some(there) = self.groups[group].iter().position(Option::is_some) else {
            self.groups[group][index] = Some(self.store(group, index, None));
            return;
        };
        if self.random.below(3) == 0 {
            self.groups[group][there] = Some(self.store(group, there, None));
            return;
        }
        let (source, target) = (key_name(group, there), key_name(group, 1 - there));
        let (source, target) = (self.shard.key(&source), self.shard.key(&target));
        assert_eq!(self.shard.rename(source, target, 0), Ok(true));
        self.groups[group].swap(0, 1);
    }

    /// Moves what is around the groups: keys come and go, blocks are compacted, rarely all goes.
    fn stir(&mut self) {
        for number in self.crowd_at..self.crowd_at + CROWD_STEP_COUNT {
            let name = format!("crowd:{number}");
            let key = self.shard.key(name.as_bytes());
            if self.is_crowd_growing {
                let stored = self.shard.store(key, &[7; 100], Attributes::default(), 0);
                stored.expect("enough memory");
            } else {
                self.shard.remove(key, 0).expect("in memory");
            }
        }
        self.crowd_at += CROWD_STEP_COUNT;
        if self.crowd_at >= CROWD_COUNT {
            self.crowd_at = 0;
            self.is_crowd_growing = !self.is_crowd_growing;
        }
        self.shard.background(1 << 18);
    }

    fn flush(&mut self) {
        let began_ns = moment_ns(self.began);
        self.shard.clear().expect("in memory");
        self.groups = [[None; 2]; GROUP_COUNT];
        self.expired = [[None; 2]; SINGLE_GROUP_COUNT];
        (0..GROUP_COUNT).for_each(|group| self.note(group, began_ns));
    }

    fn round(&mut self) -> Log {
        self.log = (0..GROUP_COUNT).map(|_| Vec::new()).collect();
        for _ in 0..20 {
            (0..20).for_each(|_| self.change());
            self.stir();
        }
        if self.random.below(10) == 0 {
            self.flush();
            (0..20).for_each(|_| self.change());
        }
        std::mem::take(&mut self.log)
    }
}

/// Reads groups from another core until told to stop.
fn watch(shard: &mut Shard, random: &mut Random, began: Instant, is_over: &AtomicBool) -> Log {
    let mut log: Log = (0..GROUP_COUNT).map(|_| Vec::new()).collect();
    while !is_over.load(Ordering::Relaxed) {
        for _ in 0..16 {
            let (group, index) = (random.below(GROUP_COUNT), random.below(2));
            let began_ns = moment_ns(began);
            let reader = shard.reader(0);
            let find = |index| {
                let found = reader.find(reader.key(&key_name(group, index)), READ_AT_MS)?;
                Ok::<_, coremap::shard::Unsure>(found.map(|value| number_in(value.bytes)))
            };
            let action = if group < SINGLE_GROUP_COUNT {
                find(index).map(|value| Step::Saw(index, value))
            } else if index == 0 {
                find(0).and_then(|first| Ok(Step::SawBoth([first, find(1)?])))
            } else {
                find(1).and_then(|second| Ok(Step::SawBoth([find(0)?, second])))
            };
            if let Ok(action) = action {
                log[group].push(Event {
                    began_ns,
                    ended_ns: moment_ns(began),
                    action,
                });
            }
        }
        shard.end_reads();
    }
    log
}

/// The moment between what this thread has done and what it does next. A store may wait in a core
/// for a while after its instruction; a reply that leaves the core comes after it, and so do fences.
fn moment_ns(began: Instant) -> u64 {
    fence(Ordering::SeqCst);
    let moment = began.elapsed();
    fence(Ordering::SeqCst);
    u64::try_from(moment.as_nanos()).expect("centuries")
}

#[test]
fn readers_of_a_shard_that_splits_merges_compacts_and_flushes_see_one_history() {
    let region = Region::anonymous(RegionOptions {
        maxmemory_bytes: 48 << 20,
        shard_count: 3,
    });
    let region = Arc::new(region.expect("a small region"));
    let shard =
        |id| Shard::new(Arc::clone(&region), id, Hasher::new([1, 2, 3, 4])).expect("first blocks");
    let (seed, began) = (seed(), now());
    let mut owner = Owner {
        shard: shard(0),
        random: Random(seed),
        groups: [[None; 2]; GROUP_COUNT],
        expired: [[None; 2]; SINGLE_GROUP_COUNT],
        next_number: 0,
        crowd_at: 0,
        is_crowd_growing: true,
        log: Vec::new(),
        began,
    };
    let mut readers = [1, 2].map(|id| (shard(id), Random(seed.wrapping_add(u64::from(id)))));
    let mut read_count = 0;
    for _ in 0..scale(150, 3_000) {
        let starts = owner.groups;
        let is_over = AtomicBool::new(false);
        let mut logs = std::thread::scope(|scope| {
            let watching = readers.each_mut().map(|(shard, random)| {
                let is_over = &is_over;
                scope.spawn(move || watch(shard, random, began, is_over))
            });
            let log = owner.round();
            is_over.store(true, Ordering::Relaxed);
            let mut logs = vec![log];
            logs.extend(watching.map(|thread| thread.join().expect("the reader does not panic")));
            logs
        });
        for (group, start) in starts.into_iter().enumerate() {
            let clients: Vec<_> = logs
                .iter_mut()
                .map(|log| std::mem::take(&mut log[group]))
                .collect();
            read_count += clients[1].len() + clients[2].len();
            if let Err(why) = explain(start, &clients) {
                panic!("group {group}: {why}");
            }
        }
    }
    let stats = owner.shard.stats();
    println!("{read_count} reads; {stats:?}");
    assert!(read_count > 10_000);
    assert!(stats.split_count > 0 && stats.merge_count > 0 && stats.compacted_block_count > 0);
}

/// A command on one key of a server, with its reply.
#[derive(Debug)]
enum Asked {
    Set(i64),
    Get(Option<i64>),
    Increment(i64),
    Delete(bool),
    Exists(bool),
}

impl Action for Asked {
    type State = Option<i64>;

    fn apply(&self, state: &Option<i64>) -> Option<Option<i64>> {
        let value = state.unwrap_or(0);
        match *self {
            Self::Set(number) => Some(Some(number)),
            Self::Get(seen) => (seen == *state).then_some(*state),
            Self::Increment(made) => (made == value + 1).then_some(Some(made)),
            Self::Delete(was_there) => (was_there == state.is_some()).then_some(None),
            Self::Exists(is_there) => (is_there == state.is_some()).then_some(*state),
        }
    }
}

impl Asked {
    /// A command about `key`, without its reply yet.
    fn invent(random: &mut Random, number: i64) -> Self {
        match random.below(12) {
            0..2 => Self::Set(number),
            2 => Self::Increment(0),
            3 => Self::Delete(false),
            4 => Self::Exists(false),
            _ => Self::Get(None),
        }
    }

    fn request(&self, key: &str) -> Vec<u8> {
        match self {
            Self::Set(number) => request(&["SET", key, &number.to_string()]),
            Self::Get(_) => request(&["GET", key]),
            Self::Increment(_) => request(&["INCR", key]),
            Self::Delete(_) => request(&["DEL", key]),
            Self::Exists(_) => request(&["EXISTS", key]),
        }
    }

    fn take_reply(&mut self, reply: &[u8]) {
        let (value, _) = decode(reply).expect("it is whole");
        match self {
            Self::Set(_) => assert_eq!(reply, b"+OK\r\n"),
            Self::Get(seen) if reply == b"$-1\r\n" => *seen = None,
            Self::Get(seen) => *seen = Some(value.text().parse().expect("a number")),
            Self::Increment(made) => *made = value.integer(),
            Self::Delete(was_there) => *was_there = value.integer() == 1,
            Self::Exists(is_there) => *is_there = value.integer() == 1,
        }
    }
}

const SERVED_KEY_COUNT: usize = 4;

/// Sends random pipelines; what each command answered, by key.
fn converse(
    client: &mut Client,
    random: &mut Random,
    began: Instant,
    first_number: i64,
) -> Vec<Vec<Event<Asked>>> {
    let mut log: Vec<Vec<Event<Asked>>> = (0..SERVED_KEY_COUNT).map(|_| Vec::new()).collect();
    for round in 0..20 {
        let count = 1 + random.below(12);
        let mut commands: Vec<(usize, Asked)> = (0..count)
            .map(|index| {
                let number = first_number + round * 100 + i64::try_from(index).expect("few");
                (
                    random.below(SERVED_KEY_COUNT),
                    Asked::invent(random, number),
                )
            })
            .collect();
        let stream: Vec<u8> = commands
            .iter()
            .flat_map(|(key, asked)| asked.request(&format!("key:{key}")))
            .collect();
        let began_ns = moment_ns(began);
        client.send(&stream);
        for (_, asked) in &mut commands {
            asked.take_reply(&client.reply());
        }
        let ended_ns = moment_ns(began);
        for (key, action) in commands {
            log[key].push(Event {
                began_ns,
                ended_ns,
                action,
            });
        }
    }
    log
}

#[test]
fn pipelines_of_clients_on_different_cores_see_one_history_of_each_key() {
    let server = Server::start(&["--shards", "2"]);
    let (seed, began) = (seed(), now());
    let mut clients: Vec<(Client, Random)> = (0..4u64)
        .map(|number| (server.client(), Random(seed.wrapping_add(number))))
        .collect();
    let mut states = [None; SERVED_KEY_COUNT];
    for round in 0..scale(100, 2_000) {
        let mut logs: Vec<Vec<Vec<Event<Asked>>>> = std::thread::scope(|scope| {
            let talking: Vec<_> = (0i64..)
                .zip(&mut clients)
                .map(|(number, (client, random))| {
                    let first_number = (round * 4 + number) * 10_000;
                    scope.spawn(move || converse(client, random, began, first_number))
                })
                .collect();
            talking
                .into_iter()
                .map(|thread| thread.join().expect("the client does not panic"))
                .collect()
        });
        for (key, state) in states.iter_mut().enumerate() {
            let mut events: Vec<_> = logs
                .iter_mut()
                .map(|log| std::mem::take(&mut log[key]))
                .collect();
            // What is there in the end decides between explanations.
            let (began_ns, mut action) = (moment_ns(began), Asked::Get(None));
            action.take_reply(&clients[0].0.ask(&format!("GET key:{key}")));
            let ended_ns = moment_ns(began);
            events[0].push(Event {
                began_ns,
                ended_ns,
                action,
            });
            *state = explain(*state, &events).unwrap_or_else(|why| panic!("key {key}: {why}"));
        }
    }
    let info = clients[0].0.value("INFO").text();
    let direct = info
        .lines()
        .find_map(|line| line.strip_prefix("coremap_commands_read_directly:"));
    let direct: u64 = direct
        .expect("the metric")
        .trim()
        .parse()
        .expect("a number");
    assert!(direct > 1_000, "{direct}");
}

#[test]
fn the_checker_finds_what_cannot_be() {
    let event = |began_ns, ended_ns, action| Event {
        began_ns,
        ended_ns,
        action,
    };
    use Asked::{Get, Increment, Set};
    let write = || vec![event(10, 20, Set(1)), event(30, 40, Set(2))];
    // Overlapping reads may see either side, but not go back.
    let fine = vec![event(12, 15, Get(None)), event(16, 18, Get(Some(1)))];
    assert_eq!(explain(None, &[write(), fine]), Ok(Some(2)));
    let back = vec![event(12, 15, Get(Some(1))), event(16, 18, Get(None))];
    assert!(explain(None, &[write(), back]).is_err());
    let stale = vec![event(50, 60, Get(Some(1)))];
    assert!(explain(None, &[write(), stale]).is_err());
    let early = vec![event(1, 5, Get(Some(1)))];
    assert!(explain(None, &[write(), early]).is_err());
    let lost = vec![event(1, 50, Increment(1)), event(1, 50, Get(Some(3)))];
    assert!(explain(None, &[vec![event(1, 50, Increment(1))], lost]).is_err());
    // Commands of one pipeline overlap in time and keep their order all the same.
    let ordered = vec![event(1, 9, Set(5)), event(1, 9, Get(None))];
    assert!(explain(None, &[ordered]).is_err());
}
