//! Runs commands on a few shards without lanes: what the router does, in the plainest way.
//!
//! Every test of a command goes from the client's words to the reply's bytes, so that it also
//! tests the row: arity, where the keys are, scope, part and merge.

#![expect(
    unsafe_code,
    reason = "a reply's large values are read where they are pinned"
)]

use std::sync::Arc;

use crate::hash::{Hasher, KeyHash, cluster_slot, shard_of_slot};
use crate::region::{Region, RegionOptions};
use crate::resp::{Args, Extern, Protocol, Reply, Span};
use crate::shard::{Probe, Shard};

use super::plan::{Next, Plan};
use super::{
    Context, Core, Facts, Merge, Now, Part, Resume, Row, Run, Scope, Session, SessionContext,
    Settings, Shared, Status, lookup, merge, shard_of_cursor,
};

/// When tests happen, unless they say otherwise.
pub(super) const START_MS: u64 = 1_800_000_000_000;

/// Some shards, each with its core, and one client.
pub(super) struct Harness {
    pub(super) shards: Vec<Shard>,
    pub(super) cores: Vec<Core>,
    pub(super) now_ms: u64,
    pub(super) protocol: Protocol,
    region: Arc<Region>,
    client: usize,
    /// Calls of the last command that asked to be called again.
    pub(super) again_count: usize,
    /// What happens between the calls of a command that takes several; false gives it up.
    pub(super) between: Option<Between>,
}

/// Something that happens while a command is half done.
type Between = Box<dyn FnMut(&mut Harness) -> bool>;

impl Harness {
    pub(super) fn new(shard_count: u16) -> Self {
        Self::with_memory(shard_count, 64 << 20)
    }

    pub(super) fn with_memory(shard_count: u16, maxmemory_bytes: u64) -> Self {
        let options = RegionOptions {
            maxmemory_bytes,
            shard_count: usize::from(shard_count),
        };
        let region = Arc::new(Region::anonymous(options).expect("address space"));
        let facts = Arc::new(Facts {
            core_count: shard_count,
            ..Facts::default()
        });
        let shared = Arc::new(Shared::new(shard_count));
        let hasher = Hasher::new([1, 2, 3, 4]);
        let shard = |id| Shard::new(Arc::clone(&region), id, hasher.clone()).expect("memory");
        let core = |id: u16| {
            let (facts, shared) = (Arc::clone(&facts), Arc::clone(&shared));
            Core::new(id, Settings::default(), facts, shared, u64::from(id))
        };
        let mut cores: Vec<Core> = (0..shard_count).map(core).collect();
        let session = Session {
            is_authenticated: true,
            ..Session::default()
        };
        let client = cores[0].clients.insert(session);
        Self {
            shards: (0..shard_count).map(shard).collect(),
            cores,
            now_ms: START_MS,
            protocol: Protocol::Resp2,
            region,
            client,
            again_count: 0,
            between: None,
        }
    }

    /// The shard of a key.
    pub(super) fn owner(&self, key: &[u8]) -> u16 {
        let shard_count = u16::try_from(self.shards.len()).expect("few shards");
        shard_of_slot(cluster_slot(key), shard_count)
    }

    /// Runs a command given as words between spaces; the reply as text.
    pub(super) fn text(&mut self, command: &str) -> String {
        let words: Vec<&[u8]> = command.split(' ').map(str::as_bytes).collect();
        String::from_utf8(self.run(&words)).expect("replies of tests are text")
    }

    /// Runs commands and compares their replies, given without the last line end.
    pub(super) fn expect(&mut self, dialogue: &[(&str, &str)]) {
        for (command, expected) in dialogue {
            let reply = self.text(command);
            assert_eq!(reply, format!("{expected}\r\n"), "{command}");
        }
    }

    /// Runs one command.
    pub(super) fn run(&mut self, words: &[&[u8]]) -> Vec<u8> {
        let bytes = words.concat();
        let mut spans = Vec::new();
        for word in words {
            let start = spans.last().map_or(0, |span: &Span| span.start + span.len);
            spans.push(Span::new(start as usize, word.len()));
        }
        let args = Args::new(&bytes, &spans);
        self.again_count = 0;
        let row = match lookup(args) {
            Ok(row) => row,
            Err(error) => return self.reply(|_, reply| reply.error_bytes(&error)),
        };
        match row.scope {
            Scope::Session | Scope::Disk => self.run_session(row, args),
            Scope::Owner => {
                let key = args.get(usize::from(row.keys.first));
                self.run_on(self.owner(key), row, args).reply
            }
            Scope::Cursor => {
                let shard_count = u16::try_from(self.shards.len()).expect("few shards");
                self.run_on(shard_of_cursor(args.get(1), shard_count), row, args)
                    .reply
            }
            Scope::AllShards => {
                let all = 0..u16::try_from(self.shards.len()).expect("few shards");
                let keys = row.keys.positions(args.len());
                let mut owners: Vec<u16> = keys.map(|key| self.owner(args.get(key))).collect();
                if owners.is_empty() {
                    owners = all.collect();
                }
                let parts = owners
                    .into_iter()
                    .map(|shard| self.run_on(shard, row, args))
                    .collect::<Vec<_>>();
                self.merge(row, args, &parts)
            }
            Scope::PerKey | Scope::Plan => self.run_keys(row, args),
            Scope::Exec | Scope::Watch => unreachable!("the lane's to run"),
        }
    }

    fn reply(&mut self, write: impl FnOnce(&mut Self, &mut Reply<'_>)) -> Vec<u8> {
        let (mut out, mut externs) = (Vec::new(), Vec::new());
        write(self, &mut Reply::new(&mut out, &mut externs, self.protocol));
        self.resolve(&out, &externs)
    }

    fn session(&mut self) -> SessionContext<'_> {
        SessionContext {
            core: &mut self.cores[0],
            client: self.client,
            shard: &mut self.shards[0],
            now: Now {
                unix_us: self.now_ms * 1000,
            },
        }
    }

    fn run_session(&mut self, row: &Row, args: Args<'_>) -> Vec<u8> {
        let Run::Session(run) = row.run else {
            panic!("{} runs on a session", row.name)
        };
        self.reply(|harness, reply| run(&mut harness.session(), args, reply))
    }

    fn merge(&mut self, row: &Row, args: Args<'_>, parts: &[Ran]) -> Vec<u8> {
        let parts: Vec<Part<'_>> = (0..)
            .zip(parts)
            .map(|(shard, ran)| ran.part(shard))
            .collect();
        self.reply(|harness, reply| merge(row, &mut harness.session(), args, &parts, reply))
    }

    fn run_keys(&mut self, row: &'static Row, args: Args<'_>) -> Vec<u8> {
        let positions = row.keys.positions(args.len());
        let first = self.owner(args.get(1));
        if positions
            .clone()
            .all(|position| self.owner(args.get(position)) == first)
        {
            return self.run_on(first, row, args).reply;
        }
        if row.scope == Scope::Plan {
            return self.follow(row, args);
        }
        let part = row.part.expect("a per-key row names its part");
        let mut replies = Vec::new();
        for position in positions {
            let mut spans = vec![args.spans()[0]];
            spans.extend_from_slice(&args.spans()[position..][..usize::from(row.keys.step)]);
            let args = Args::new(args.base(), &spans);
            replies.push(self.run_on(self.owner(args.get(1)), part, args));
        }
        assert!(!matches!(row.merge, Merge::None));
        self.merge(row, args, &replies)
    }

    fn follow(&mut self, row: &'static Row, args: Args<'_>) -> Vec<u8> {
        let mut plan = Plan::start(row, args);
        let mut replies: Vec<Ran> = Vec::new();
        let (mut out, mut externs) = (Vec::new(), Vec::new());
        loop {
            let parts: Vec<Part<'_>> = replies.iter().map(|ran| ran.part(0)).collect();
            let mut reply = Reply::new(&mut out, &mut externs, self.protocol);
            let Next::Steps(steps) = plan.next(args, &parts, &mut reply) else {
                return self.resolve(&out, &externs);
            };
            replies.clear();
            for step in &steps {
                let mut spans = Vec::new();
                let args = step.args(args, &mut spans);
                replies.push(self.run_on(self.owner(args.get(1)), step.row, args));
            }
        }
    }

    fn run_on(&mut self, shard: u16, row: &Row, args: Args<'_>) -> Ran {
        let Run::Shard(run) = row.run else {
            panic!("{} runs on a shard", row.name)
        };
        let at = usize::from(shard);
        let hash = match row.keys.first {
            0 => KeyHash::from_bits(0),
            first => self.shards[at].key(args.get(usize::from(first))).hash(),
        };
        let (mut out, mut externs) = (Vec::new(), Vec::new());
        let mut resume = Resume::default();
        loop {
            let mut context = Context {
                shard: &mut self.shards[at],
                core: &mut self.cores[at],
                now: Now {
                    unix_us: self.now_ms * 1000,
                },
                probe: Probe::of(hash),
                resume: &mut resume,
                caller: None,
            };
            let mut reply = Reply::new(&mut out, &mut externs, self.protocol);
            if run(&mut context, args, &mut reply) == Status::Done {
                break;
            }
            self.again_count += 1;
            if let Some(mut between) = self.between.take() {
                let goes_on = between(self);
                self.between = Some(between);
                if !goes_on {
                    break;
                }
            }
        }
        Ran {
            reply: self.resolve(&out, &externs),
            count: resume.count,
        }
    }

    /// Puts large values into the reply and unpins them.
    fn resolve(&mut self, out: &[u8], externs: &[Extern]) -> Vec<u8> {
        let (mut whole, mut taken) = (Vec::new(), 0);
        for large in externs {
            whole.extend_from_slice(&out[taken..large.at]);
            taken = large.at;
            // SAFETY: the extern is of a pinned value of this region, unpinned below.
            whole.extend_from_slice(unsafe { self.region.bytes_at(large.offset, large.len_bytes) });
            self.shards[usize::from(large.owner)].unpin(large.run);
        }
        whole.extend_from_slice(&out[taken..]);
        whole
    }
}

/// What one call replied.
struct Ran {
    reply: Vec<u8>,
    count: u64,
}

impl Ran {
    fn part(&self, shard: u16) -> Part<'_> {
        Part {
            shard,
            reply: &self.reply,
            count: self.count,
        }
    }
}

/// The bytes of a bulk string.
pub(super) fn bulk(reply: &[u8]) -> &[u8] {
    let end = reply
        .iter()
        .position(|byte| *byte == b'\n')
        .expect("a line");
    &reply[end + 1..reply.len() - 2]
}
