//! The data's way from and to the disk: SAVE, WAITAOF and their like, and what INFO says of it.
//!
//! Every change is in the log when it is answered, and the log is on disk when a round of writing
//! that began later is done (`region::rounds`). So there is nothing to write out on SAVE: it asks
//! for a round and waits, and BGSAVE does not wait. Without a directory these commands say that there
//! is nowhere to save to.
//!
//! While the data is being loaded connections are accepted and commands whose row says so run; all
//! others are refused with [`LOADING`], so that no client mistakes a key that has not been read yet
//! for one that is not there.

use std::sync::{Arc, OnceLock};
use std::thread::Thread;

use crate::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::resp::{Args, Reply};
use crate::shard::Progress;

use super::refusal::Refusal;
use super::{Context, Flags, Merge, Now, Resume, Row, Run, Scope, SessionContext, Status, number};

pub(super) const ROWS: &[Row] = &[
    Row {
        name: "bgrewriteaof",
        arity: 1,
        flags: OPERATOR,
        scope: Scope::AllShards,
        merge: Merge::With(reply_rewriting),
        run: Run::Shard(rewrite),
        ..Row::BLANK
    },
    Row {
        name: "bgsave",
        arity: -1,
        flags: OPERATOR,
        run: Run::Session(save_later),
        ..Row::BLANK
    },
    Row {
        name: "holdfile",
        arity: 1,
        flags: OPERATOR,
        run: Run::Session(hold),
        ..Row::BLANK
    },
    Row {
        name: "lastsave",
        arity: 1,
        flags: Flags::LOADING.with(Flags::STALE).with(Flags::FAST),
        run: Run::Session(last_save),
        ..Row::BLANK
    },
    Row {
        name: "save",
        arity: 1,
        flags: OPERATOR.with(Flags::NO_MULTI),
        scope: Scope::Disk,
        run: Run::Wait(save),
        ..Row::BLANK
    },
    Row {
        name: "wait",
        arity: 3,
        flags: Flags::NOSCRIPT.with(Flags::PATIENT),
        scope: Scope::Disk,
        run: Run::Wait(wait_for_replicas),
        ..Row::BLANK
    },
    Row {
        name: "waitaof",
        arity: 4,
        flags: Flags::NOSCRIPT.with(Flags::BLOCKING).with(Flags::PATIENT),
        scope: Scope::Disk,
        run: Run::Wait(wait_for_disk),
        ..Row::BLANK
    },
];

const OPERATOR: Flags = Flags::ADMIN
    .with(Flags::NOSCRIPT)
    .with(Flags::NO_ASYNC_LOADING);

pub(super) const NOWHERE: &str =
    "ERR there is nowhere to save to: the server was started without dir";

/// Reply to a command that needs the data before it is there.
pub const LOADING: &str = "LOADING Redis is loading the dataset in memory";

/// How far the data has come from the disk; every core reads it, the thread that loads writes it.
#[derive(Debug, Default)]
pub struct Loading {
    /// When it began, in milliseconds since 1970; 0: nothing is being loaded.
    started_at_ms: AtomicU64,
    /// Bytes that were read, of how many.
    pub progress: Progress,
}

impl Loading {
    /// From now on there is data to wait for.
    pub fn begin(&self, now_ms: u64) {
        self.started_at_ms.store(now_ms.max(1), Ordering::Relaxed);
    }

    /// All cores have their shards: what a core does after it saw this can rely on all of them.
    pub fn end(&self) {
        self.started_at_ms.store(0, Ordering::Release);
    }

    /// Whether there is data to wait for.
    pub fn is_under_way(&self) -> bool {
        self.started_at_ms.load(Ordering::Acquire) != 0
    }

    /// The fields of INFO, in the words of Redis.
    pub(super) fn fields(&self, now_ms: u64) -> Vec<(&'static str, String)> {
        let started_at_ms = self.started_at_ms.load(Ordering::Relaxed);
        if started_at_ms == 0 {
            return vec![("loading", "0".to_owned())];
        }
        let total_bytes = self.progress.total_bytes();
        let loaded_bytes = self.progress.done_bytes();
        // Redis rounds nothing to zero either: what has not begun takes at least a second.
        let spent_s = (now_ms.saturating_sub(started_at_ms) / MS_PER_SECOND).max(1);
        let left_bytes = total_bytes.saturating_sub(loaded_bytes);
        let eta_s = u128::from(left_bytes) * u128::from(spent_s) / u128::from(loaded_bytes.max(1));
        let percent = 100.0 * loaded_bytes as f64 / total_bytes.max(1) as f64;
        vec![
            ("loading", "1".to_owned()),
            (
                "loading_start_time",
                (started_at_ms / MS_PER_SECOND).to_string(),
            ),
            ("loading_total_bytes", total_bytes.to_string()),
            ("loading_loaded_bytes", loaded_bytes.to_string()),
            ("loading_loaded_perc", format!("{percent:.2}")),
            ("loading_eta_seconds", eta_s.max(1).to_string()),
        ]
    }
}

/// What the thread that syncs and the cores tell each other, besides the rounds themselves.
#[derive(Debug, Default)]
pub struct Saving {
    /// Whether rounds are run although nobody asks: `appendfsync` is not `no`.
    is_unasked: AtomicBool,
    /// When the last round was done, in milliseconds since 1970.
    saved_at_ms: AtomicU64,
    last_us: AtomicU64,
    longest_us: AtomicU64,
    round_count: AtomicU64,
    rounds_total_us: AtomicU64,
    /// How often a connection began to wait for a round.
    awaited_count: AtomicU64,
    /// The count at which a round is worth running.
    enough_count: AtomicU64,
    /// The thread that syncs.
    thread: OnceLock<Thread>,
}

impl Saving {
    /// The calling thread is the one that syncs.
    pub fn set_thread(&self) {
        // There is one, so this is the first call.
        let _ = self.thread.set(std::thread::current());
    }

    /// One more connection waits for a round.
    pub fn note_awaited(&self) {
        let count = self.awaited_count.fetch_add(1, Ordering::Relaxed) + 1;
        if count == self.enough_count.load(Ordering::Relaxed)
            && let Some(thread) = self.thread.get()
        {
            thread.unpark();
        }
    }

    /// How often a connection began to wait.
    pub fn awaited_count(&self) -> u64 {
        self.awaited_count.load(Ordering::Relaxed)
    }

    /// Sets the count at which the thread that syncs is woken.
    pub fn set_enough_count(&self, count: u64) {
        self.enough_count.store(count, Ordering::Relaxed);
    }

    /// Sets whether rounds are run although nobody asks.
    pub fn set_unasked(&self, is_unasked: bool) {
        self.is_unasked.store(is_unasked, Ordering::Relaxed);
    }

    /// Whether rounds are run although nobody asks.
    pub fn is_unasked(&self) -> bool {
        self.is_unasked.load(Ordering::Relaxed)
    }

    /// The longest round is counted anew.
    pub fn forget_longest(&self) {
        self.longest_us.store(0, Ordering::Relaxed);
    }

    /// A round is done that took so long.
    pub fn note_round(&self, now_ms: u64, took_us: u64) {
        self.saved_at_ms.store(now_ms, Ordering::Relaxed);
        self.last_us.store(took_us, Ordering::Relaxed);
        self.longest_us.fetch_max(took_us, Ordering::Relaxed);
        self.round_count.fetch_add(1, Ordering::Relaxed);
        self.rounds_total_us.fetch_add(took_us, Ordering::Relaxed);
    }

    /// How many rounds this process has done, and the microseconds they took together.
    pub fn rounds(&self) -> (u64, u64) {
        let load = |word: &AtomicU64| word.load(Ordering::Relaxed);
        (load(&self.round_count), load(&self.rounds_total_us))
    }
}

/// What a command waits for, as it is kept in its [`Resume`]: whichever comes first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wait {
    /// A round.
    pub round: Option<u64>,
    /// A time, in milliseconds since 1970.
    pub due_ms: Option<u64>,
}

impl Wait {
    /// What [`Self::keep`] kept.
    pub fn of(resume: Resume) -> Self {
        let [has_round, has_due] = [1, 2].map(|bit| resume.count & bit != 0);
        Self {
            round: has_round.then_some(resume.cursor),
            due_ms: has_due.then_some(resume.more[0]),
        }
    }

    /// The time is over, whatever it waits for.
    pub fn give_up(resume: &mut Resume) {
        let wait = Self {
            due_ms: Some(0),
            ..Self::of(*resume)
        };
        wait.keep(resume);
    }

    pub(super) fn keep(self, resume: &mut Resume) {
        resume.count = u64::from(self.round.is_some()) | u64::from(self.due_ms.is_some()) << 1;
        resume.cursor = self.round.unwrap_or(0);
        resume.more[0] = self.due_ms.unwrap_or(0);
    }

    fn is_due(self, now: Now) -> bool {
        self.due_ms.is_some_and(|due_ms| due_ms <= now.ms())
    }
}

/// Waits until everything done so far is on disk.
fn save(
    context: &mut SessionContext<'_>,
    _: Args<'_>,
    resume: &mut Resume,
    reply: &mut Reply<'_>,
) -> Status {
    let region = context.shard.region();
    if !region.is_durable() {
        reply.error(NOWHERE);
        return Status::Done;
    }
    let round = *Wait::of(*resume)
        .round
        .get_or_insert_with(|| region.rounds().needed());
    if !region.rounds().is_durable(round) {
        let wait = Wait {
            round: Some(round),
            due_ms: None,
        };
        wait.keep(resume);
        return Status::Again;
    }
    reply.ok();
    Status::Done
}

fn save_later(context: &mut SessionContext<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    let region = context.shard.region();
    match args.len() {
        1 => {}
        2 if args.get(1).eq_ignore_ascii_case(b"schedule") => {}
        _ => return Refusal::SYNTAX.write(reply),
    }
    if !region.is_durable() {
        return reply.error(NOWHERE);
    }
    region.rounds().request(region.rounds().needed());
    reply.simple("Background saving started");
}

/// Keeps what is in the file as it is until the connection ends, so that it can be copied.
fn hold(context: &mut SessionContext<'_>, _: Args<'_>, reply: &mut Reply<'_>) {
    let region = context.shard.region();
    if !region.is_durable() {
        return reply.error(NOWHERE);
    }
    let hold = Arc::new(region.hold());
    context.session().hold = Some(hold);
    reply.ok();
}

/// When the last round was done; before the first one, when the server began to serve.
fn last_save(context: &mut SessionContext<'_>, _: Args<'_>, reply: &mut Reply<'_>) {
    reply.count(saved_at_ms(context) / MS_PER_SECOND);
}

fn saved_at_ms(context: &SessionContext<'_>) -> u64 {
    let saving = &context.core.shared.saving;
    let saved_at_ms = saving.saved_at_ms.load(Ordering::Relaxed);
    saved_at_ms.max(context.core.facts.started_at_ms)
}

/// WAIT: how many replicas have what this connection did. There are none: who wants one waits for
/// as long as it said.
fn wait_for_replicas(
    context: &mut SessionContext<'_>,
    args: Args<'_>,
    resume: &mut Resume,
    reply: &mut Reply<'_>,
) -> Status {
    let integer = |index| number::parse_i64(args.get(index));
    let wanted = integer(1).ok_or(Refusal::NOT_AN_INTEGER).and_then(|count| {
        let timeout_ms = integer(2).ok_or(Refusal::TIMEOUT_NOT_AN_INTEGER)?;
        Ok(Wanted {
            local_count: 0,
            replica_count: u64::try_from(count).unwrap_or(0),
            timeout_ms: u64::try_from(timeout_ms).map_err(|_| Refusal::TIMEOUT_NEGATIVE)?,
        })
    });
    let wanted = match wanted {
        Ok(wanted) => wanted,
        Err(refusal) => {
            refusal.write(reply);
            return Status::Done;
        }
    };
    let mut wait = Wait::of(*resume);
    if wait.due_ms.is_none() {
        wait.due_ms = wanted.due_ms(context.now);
    }
    if wanted.replica_count == 0 || wait.is_due(context.now) {
        reply.count(0);
        return Status::Done;
    }
    wait.keep(resume);
    Status::Again
}

/// WAITAOF: how many disks and how many replicas' disks have what this connection did; waits until
/// they are as many as asked for. There are no replicas.
fn wait_for_disk(
    context: &mut SessionContext<'_>,
    args: Args<'_>,
    resume: &mut Resume,
    reply: &mut Reply<'_>,
) -> Status {
    let wanted = match Wanted::parse(args) {
        Ok(wanted) => wanted,
        Err(refusal) => {
            refusal.write(reply);
            return Status::Done;
        }
    };
    let region = context.shard.region();
    if wanted.local_count > 0 && !region.is_durable() {
        reply.error("ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled.");
        return Status::Done;
    }
    let rounds = region.rounds();
    let mut wait = Wait::of(*resume);
    if wait == Wait::default() {
        let has_changes = rounds.has_changes();
        wait.round = has_changes.then(|| rounds.needed());
        wait.due_ms = wanted.due_ms(context.now);
    }
    let is_local = region.is_durable() && wait.round.is_none_or(|round| rounds.is_durable(round));
    let local_count = u64::from(is_local);
    let is_enough = local_count >= wanted.local_count && wanted.replica_count == 0;
    if is_enough || wait.is_due(context.now) {
        reply.array(2);
        reply.count(local_count);
        reply.count(0);
        return Status::Done;
    }
    wait.keep(resume);
    Status::Again
}

/// The arguments of WAIT and WAITAOF.
struct Wanted {
    local_count: u64,
    replica_count: u64,
    timeout_ms: u64,
}

impl Wanted {
    fn parse(args: Args<'_>) -> Result<Self, Refusal> {
        let integer = |index| number::parse_i64(args.get(index));
        let local_count = integer(1).ok_or(Refusal::NOT_AN_INTEGER)?;
        let replica_count = integer(2).ok_or(Refusal::NOT_AN_INTEGER)?;
        let timeout_ms = integer(3).ok_or(Refusal::TIMEOUT_NOT_AN_INTEGER)?;
        Ok(Self {
            local_count: u64::try_from(local_count)
                .ok()
                .filter(|count| *count <= 1)
                .ok_or(Refusal::NOT_ZERO_OR_ONE)?,
            replica_count: u64::try_from(replica_count).map_err(|_| Refusal::NOT_POSITIVE)?,
            timeout_ms: u64::try_from(timeout_ms).map_err(|_| Refusal::TIMEOUT_NEGATIVE)?,
        })
    }

    /// When it gives up; never if the timeout is 0.
    fn due_ms(&self, now: Now) -> Option<u64> {
        (self.timeout_ms > 0).then(|| now.ms().saturating_add(self.timeout_ms))
    }
}

/// Asks a shard to compact everything dead in its log.
fn rewrite(context: &mut Context<'_>, _: Args<'_>, reply: &mut Reply<'_>) -> Status {
    if context.shard.region().is_durable() {
        context.shard.compact_all();
        reply.ok();
    } else {
        reply.error(NOWHERE);
    }
    Status::Done
}

fn reply_rewriting(
    _: &mut SessionContext<'_>,
    _: Args<'_>,
    parts: &[super::Part<'_>],
    reply: &mut Reply<'_>,
) {
    match parts.iter().find(|part| part.reply.starts_with(b"-")) {
        Some(part) => reply.raw(part.reply),
        None => reply.simple("Background append only file rewriting started"),
    }
}

/// What INFO says of the disk, in the words of Redis where they fit.
pub(super) fn fields(context: &SessionContext<'_>, now: Now) -> Vec<(&'static str, String)> {
    let shared = &context.core.shared;
    let region = context.shard.region();
    let rounds = region.rounds();
    let mut fields = shared.loading.fields(now.ms());
    let mut add = |name, value: u64| fields.push((name, value.to_string()));
    add("async_loading", 0);
    add("rdb_bgsave_in_progress", rounds.is_requested().into());
    add("rdb_last_save_time", saved_at_ms(context) / MS_PER_SECOND);
    add("aof_enabled", region.is_durable().into());
    add("aof_rewrite_in_progress", 0);
    add("aof_rewrite_scheduled", 0);
    add("coremap_sync_rounds", rounds.durable());
    add("coremap_sync_pending", rounds.has_changes().into());
    let saving = &shared.saving;
    add(
        "coremap_sync_last_us",
        saving.last_us.load(Ordering::Relaxed),
    );
    add(
        "coremap_sync_longest_us",
        saving.longest_us.load(Ordering::Relaxed),
    );
    let status = if region.is_disk_full() { "err" } else { "ok" };
    // A round that fails ends the process, so there is none to report.
    fields.push(("rdb_last_bgsave_status", "ok".to_owned()));
    fields.push(("aof_last_bgrewrite_status", "ok".to_owned()));
    fields.push(("aof_last_write_status", status.to_owned()));
    fields
}

const MS_PER_SECOND: u64 = 1_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::tests::Cores;

    #[test]
    fn without_a_directory_there_is_nowhere_to_save_to() {
        let mut cores = Cores::new(2);
        let nowhere = format!("-{NOWHERE}\r\n");
        for command in ["SAVE", "BGSAVE", "BGSAVE SCHEDULE", "BGREWRITEAOF"] {
            assert_eq!(cores.run(command), nowhere, "{command}");
        }
        assert_eq!(cores.run("BGSAVE NOW"), "-ERR syntax error\r\n");
        assert!(cores.run("LASTSAVE").starts_with(':'));
    }

    #[test]
    fn waitaof_counts_disks_and_gives_up_when_its_time_is_over() {
        let mut cores = Cores::new(1);
        for (arguments, reply) in [
            ("0 0 0", "*2\r\n:0\r\n:0"),
            ("0 1 10", "*2\r\n:0\r\n:0"),
            (
                "1 0 0",
                "-ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled.",
            ),
            (
                "2 0 0",
                "-ERR value is out of range, value must between 0 and 1",
            ),
            ("x 0 0", "-ERR value is not an integer or out of range"),
            ("0 -1 0", "-ERR value is out of range, must be positive"),
            ("0 0 -1", "-ERR timeout is negative"),
            ("0 0 x", "-ERR timeout is not an integer or out of range"),
        ] {
            let command = format!("WAITAOF {arguments}");
            assert_eq!(cores.run(&command), format!("{reply}\r\n"), "{command}");
        }
    }

    #[test]
    fn what_is_loaded_is_told_with_the_time_it_will_take() {
        let loading = Loading::default();
        assert_eq!(loading.fields(5_000), [("loading", "0".to_owned())]);
        loading.begin(1_000);
        let fields: Vec<String> = loading
            .fields(5_000)
            .iter()
            .map(|(name, value)| format!("{name}:{value}"))
            .collect();
        let expected = [
            "loading:1",
            "loading_start_time:1",
            "loading_total_bytes:0",
            "loading_loaded_bytes:0",
            "loading_loaded_perc:0.00",
            "loading_eta_seconds:1",
        ];
        assert_eq!(fields, expected);
        assert!(loading.is_under_way());
        loading.end();
        assert!(!loading.is_under_way());
    }
}
