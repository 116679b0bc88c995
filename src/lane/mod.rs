//! One core as a synchronous state machine: bytes, batches and the time go in; reply bytes, batches
//! for other cores and the names of connections that can go on come out.
//!
//! ```text
//!            bytes                                      bytes
//!   socket ────────► receive_buffer ─► turn ─► unsent ────────► socket
//!                                      │  ▲
//!                      batches for     │  │ completions
//!                      other cores     ▼  │
//!                                    exchange ◄──► links ◄──► the lanes of other cores
//! ```
//!
//! A lane awaits nothing, sleeps never, reads no clock and makes no system call, so a seeded
//! simulator can drive many lanes in one thread with the code that ships (`simulation.rs`).
//! The server gives it bytes and time, and does what it says: sends what is unsent, calls `turn`
//! again for connections that are ready, rings doorbells.
//!
//! Files: what a connection sent (`input`, `buffer`, `window`), what it is owed (`output`,
//! `fragment`, `gather`), what it does next (`turn`, `dispatch`, `split`, `fanout`, `exec`), how it has
//! several shards at one moment (`holding`, `gate`, `moment`), what waits for the disk (`disk`) or for a
//! pause to end (`pause`), what survives together (`transaction`), whose time it was (`timing`), what
//! nobody waits for (`upkeep`), and how cores read each other's keys (`direct`) and talk (`batch`,
//! `ring`, `links`, `serve`).

#[cfg(all(test, not(loom)))]
mod bank_tests;
mod batch;
mod budget;
mod buffer;
mod connection;
mod departure;
mod direct;
mod disk;
#[cfg(all(test, not(loom)))]
mod disk_tests;
mod dispatch;
mod exec;
#[cfg(all(test, not(loom)))]
mod exec_tests;
mod fanout;
mod forward;
mod fragment;
mod gate;
mod gather;
#[cfg(all(test, not(loom)))]
mod hold_tests;
mod holding;
mod input;
mod links;
mod moment;
mod output;
mod parts;
mod pause;
mod pool;
mod ring;
mod serve;
#[cfg(all(test, not(loom)))]
mod simulation;
mod split;
#[cfg(all(test, not(loom)))]
mod tests;
mod timing;
mod transaction;
mod turn;
mod upkeep;
mod window;

use std::collections::VecDeque;
use std::sync::Arc;

use batch::{Batch, Notice, Ticket};
use connection::{Connection, Progress};
use parts::Parts;
use pool::Pool;
use serve::Service;
use turn::Worker;
use window::Placement;

pub use batch::ConnectionId;
pub use disk::Timer;
pub use links::Links;

use crate::command::{self, ClientIndex, Core, Now, Session, Settings, Watching};
use crate::hash::Hasher;
use crate::region::Region;
use crate::resp::Extern;
use crate::shard::{Moment, Shard};

/// What one core does: its connections, its shard, and its part in other cores' commands.
pub struct Lane {
    parts: Parts,
    service: Service,
    connections: Vec<Place>,
    free: Vec<u32>,
    ready: Vec<ConnectionId>,
    killed: Vec<ClientIndex>,
    /// Connections by their index among the core's clients.
    by_client: Vec<ConnectionId>,
    /// Connections without a socket whose plan can go on.
    leaving: Vec<ConnectionId>,
    /// Disconnected connections that wait for room in a ring.
    gone: Vec<ConnectionId>,
    /// Connections on their way from the gate to `ready`.
    woken: Vec<ConnectionId>,
    /// What other cores are to be told, by core.
    notices: Vec<Notice>,
}

/// A place for a connection, and the generation of its tenant.
struct Place {
    generation: u32,
    connection: Option<Box<Connection>>,
}

/// What a lane is made of.
pub struct Options {
    /// The keys this core owns.
    pub shard: Shard,
    /// What commands see of the core.
    pub core: Core,
    /// The core's ends of the rings, from [`Links::mesh`].
    pub links: Links,
    /// The region that all shards live in.
    pub region: Arc<Region>,
    /// The hash that all shards use.
    pub hasher: Hasher,
}

/// Who has connected.
#[derive(Clone, Debug, Default)]
pub struct Peer {
    /// `address:port` of the peer.
    pub address: String,
    /// `address:port` of this end.
    pub local_address: String,
    /// The socket.
    pub fd: i32,
    /// Whether it came over a unix socket.
    pub is_unix: bool,
}

/// How a connection's turn ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// It needs more input.
    Idle,
    /// It used up its budget: call again soon.
    More,
    /// It waits for other cores, and comes up in [`Lane::take_ready`].
    Waiting,
    /// Enough waits to be sent: call again when less does.
    OutputFull,
    /// Nothing more will be executed: send what is unsent, then close.
    Finished,
}

impl Lane {
    /// A lane without connections.
    #[must_use]
    pub fn new(mut options: Options) -> Self {
        options.core.configure(&mut options.shard);
        let shard_count = options.links.count();
        let read_buffer_bytes = usize::try_from(options.core.settings.read_buffer_bytes)
            .expect("the setting has its bounds");
        Self {
            parts: Parts {
                placement: Placement {
                    hasher: options.hasher,
                    shard_count,
                },
                shard: options.shard,
                core: options.core,
                links: options.links,
                gate: gate::Gate::default(),
                region: options.region,
                buffers: buffer::BufferPool::new(read_buffer_bytes),
                tails: Pool::new(output::TAIL_COUNT_MAX),
                windows: Pool::new(parts::WINDOW_COUNT_MAX),
                gathers: Pool::new(parts::GATHER_COUNT_MAX),
                batches: Pool::new(parts::BATCH_COUNT_MAX),
                released: Vec::new(),
                starved: Vec::new(),
                moment: Moment::default(),
                awaited: VecDeque::new(),
                wish: None,
                timers: Vec::new(),
                transaction_count: 0,
                member_count: 0,
            },
            service: Service::default(),
            connections: Vec::new(),
            free: Vec::new(),
            ready: Vec::new(),
            killed: Vec::new(),
            by_client: Vec::new(),
            leaving: Vec::new(),
            gone: Vec::new(),
            woken: Vec::new(),
            notices: (0..shard_count).map(|_| Notice::default()).collect(),
        }
    }

    /// Takes a new connection in.
    pub fn connect(&mut self, peer: Peer, now: Now) -> ConnectionId {
        let core = &mut self.parts.core;
        let client = core.clients.insert(Session {
            id: core.shared.next_client_id(),
            is_authenticated: core.settings.requirepass.is_empty(),
            is_unix: peer.is_unix,
            address: peer.address,
            local_address: peer.local_address,
            fd: peer.fd,
            created_at_ms: now.ms(),
            last_active_ms: now.ms(),
            ..Session::default()
        });
        core.stats.connections_received += 1;
        let index = self.free.pop().unwrap_or_else(|| {
            self.connections.push(Place {
                generation: 0,
                connection: None,
            });
            u32::try_from(self.connections.len() - 1).expect("descriptors are fewer")
        });
        let place = &mut self.connections[index as usize];
        let id = ConnectionId {
            index,
            generation: place.generation,
        };
        place.connection = Some(Box::new(Connection::new(id, client)));
        if self.by_client.len() <= client {
            self.by_client.resize(client + 1, id);
        }
        self.by_client[client] = id;
        id
    }

    /// Where the connection's next bytes go; empty: do not receive now.
    pub fn receive_buffer(&mut self, id: ConnectionId) -> &mut [u8] {
        let place = self.connections.get_mut(id.index as usize);
        let Some(connection) = place
            .filter(|place| place.generation == id.generation)
            .and_then(|place| place.connection.as_deref_mut())
            .filter(|connection| !connection.is_closing && !connection.is_end_received)
        else {
            return &mut [];
        };
        connection.input.receive_buffer(&mut self.parts.buffers)
    }

    /// Takes note of bytes put into [`Lane::receive_buffer`]. A connection that sends more than
    /// `client-query-buffer-limit` ahead of what can be executed is closed, whatever it is owed.
    pub fn received(&mut self, id: ConnectionId, len_bytes: usize) {
        let core = &mut self.parts.core;
        core.stats.input_bytes += len_bytes as u64;
        core.stats.receives += 1;
        let limit_bytes = core.settings.client_query_buffer_limit_bytes;
        let Some(connection) = self.connection(id) else {
            return;
        };
        connection.is_active = true;
        connection.input.received(len_bytes);
        if connection.input.len_bytes() as u64 >= limit_bytes {
            let client = connection.client;
            self.parts.core.clients.kill(client);
            self.parts.core.stats.query_buffer_disconnections += 1;
            self.take_killed();
        }
    }

    /// Gives the read buffer back if a receive brought nothing: an idle connection holds none.
    pub fn received_nothing(&mut self, id: ConnectionId) {
        let place = &mut self.connections[id.index as usize];
        if let Some(connection) = place.connection.as_deref_mut() {
            connection.input.release(&mut self.parts.buffers);
        }
    }

    /// Takes note that the peer will send nothing more.
    pub fn received_end(&mut self, id: ConnectionId) {
        if let Some(connection) = self.connection(id) {
            connection.is_end_received = true;
        }
    }

    /// Runs the connection's next turn as if no time passed.
    pub fn turn(&mut self, id: ConnectionId, now: Now) -> Turn {
        self.timed_turn(id, now, &|| 0)
    }

    /// Runs the connection's next turn; `elapsed_ns` tells how long it has taken so far.
    pub fn timed_turn(&mut self, id: ConnectionId, now: Now, elapsed_ns: &dyn Fn() -> u64) -> Turn {
        let Some(mut connection) = self.take(id) else {
            return Turn::Finished;
        };
        if self.parts.core.clients[connection.client].is_killed && !connection.is_leaving {
            connection.output.discard(&mut self.parts.released);
            connection.discard_input();
            connection.is_closing = true;
            self.connections[id.index as usize].connection = Some(connection);
            return Turn::Finished;
        }
        let turn = Worker::new(&mut self.parts, &mut connection, now, elapsed_ns).run();
        self.parts.shard.end_reads();
        self.hold_replies(&mut connection, now);
        self.catch_up_with_expiry(now);
        self.end_turn(&mut connection, now, elapsed_ns());
        connection.input.release(&mut self.parts.buffers);
        self.note_buffers(&mut connection);
        self.connections[id.index as usize].connection = Some(connection);
        self.take_killed();
        turn
    }

    /// The next bytes to send, maybe not all; empty: nothing.
    #[must_use]
    pub fn unsent(&self, id: ConnectionId) -> &[u8] {
        let place = &self.connections[id.index as usize];
        match &place.connection {
            Some(connection) if place.generation == id.generation => {
                connection.output.unsent(&self.parts.region)
            }
            _ => &[],
        }
    }

    /// Takes note that the first bytes of [`Lane::unsent`] were sent.
    pub fn sent(&mut self, id: ConnectionId, len_bytes: usize) {
        let stats = &mut self.parts.core.stats;
        stats.output_bytes += len_bytes as u64;
        stats.sends += 1;
        let Some(mut connection) = self.take(id) else {
            return;
        };
        connection.is_active = true;
        connection.output.sent(len_bytes, &mut self.parts.released);
        connection.output.release(&mut self.parts.tails);
        self.note_buffers(&mut connection);
        self.connections[id.index as usize].connection = Some(connection);
    }

    /// Whether [`Lane::exchange`] would find anything to do.
    pub fn must_exchange(&mut self) -> bool {
        !self.parts.links.are_quiet()
            || !self.service.is_idle(&self.parts.gate)
            || !self.parts.core.unwatched.is_empty()
            || !self.leaving.is_empty()
            || self.wants_room()
            || self.has_durable()
            || !self.parts.released.is_empty()
            || self.notices.iter().any(|notice| !notice.is_empty())
    }

    /// Serves other cores' batches and takes what has come back, as if no time passed; true if there was
    /// anything.
    pub fn exchange(&mut self, now: Now) -> bool {
        self.timed_exchange(now, &|| 0)
    }

    /// The same; `elapsed_ns` tells how long it has taken so far.
    pub fn timed_exchange(&mut self, now: Now, elapsed_ns: &dyn Fn() -> u64) -> bool {
        let mut is_busy = self.service.pass(&mut self.parts, now, elapsed_ns);
        for core in self.parts.links.others() {
            while let Some(batch) = self.parts.links.take_completion(core) {
                is_busy = true;
                self.complete(core, batch);
            }
        }
        if self.wants_room() {
            // There may be room although nothing has come: who took the batches may keep them until
            // what finds no room has arrived.
            is_busy = true;
            self.take_starved();
            self.post_for_the_gone();
        }
        is_busy |= self.take_durable();
        self.wake_let_in();
        is_busy |= self.see_off(now);
        self.notify();
        self.take_killed();
        is_busy
    }

    /// Moves the names of connections that can go on to `into`; a name may come twice.
    pub fn take_ready(&mut self, into: &mut Vec<ConnectionId>) {
        self.wake_let_in();
        into.append(&mut self.ready);
    }

    /// Moves the names of sleeping cores that have new messages to `into`.
    pub fn take_doorbells(&mut self, into: &mut Vec<u16>) {
        let before = into.len();
        self.parts.links.take_doorbells(into);
        self.parts.core.stats.doorbells += (into.len() - before) as u64;
    }

    /// Before sleeping: others will ring. False: there are messages, exchange again. With batches out
    /// the round that is wanted is not asked for: they are back soon, and their replies wait for it as
    /// well. Who sleeps then should not do so for long, and see to it ([`Lane::ask_for_round`]).
    pub fn arm_doorbell(&mut self) -> bool {
        if !self.parts.links.are_any_out() {
            self.parts.ask_for_round();
        }
        if !self.parts.links.arm() {
            return false;
        }
        // Behind the fence in `arm`: a round that this does not see rings.
        let is_quiet = !self.has_durable();
        if !is_quiet {
            self.disarm_doorbell();
        }
        is_quiet
    }

    /// After sleeping: others need not ring.
    pub fn disarm_doorbell(&mut self) {
        self.parts.links.disarm();
    }

    /// Takes the shard that was loaded for this core, in place of an empty one of another region.
    /// Nothing of that one is in use: no command that touches keys has run.
    pub fn install(&mut self, mut shard: Shard) {
        let maxmemory_bytes = self.parts.core.settings.maxmemory_bytes;
        let is_changed = shard.region().maxmemory_bytes() != maxmemory_bytes;
        if is_changed && command::is_leader(&self.parts.core) {
            // Changed while the data was being loaded. Should it be too much for this region, the
            // one it was opened with stays.
            let _ = shard.region().set_maxmemory(maxmemory_bytes);
        }
        self.parts.core.configure(&mut shard);
        self.parts.region = Arc::clone(shard.region());
        self.parts.shard = shard;
        if self.parts.gate.is_held() {
            // By an EXEC of commands that need no data; its release counts on it.
            self.parts.shard.begin_publish();
        }
    }

    /// Brings the settings that can change now to what `wanted` says; see [`command::reload`].
    pub fn reload(&mut self, wanted: &Settings) -> Result<Vec<&'static str>, String> {
        command::reload(&mut self.parts.core, &mut self.parts.shard, wanted)
    }

    /// Whether other cores owe it nothing: no batch is out or waits for room, no connection that is
    /// gone has a plan to finish, no hold is to be given, and no run of a large value to be returned.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        let mut connections = self
            .connections
            .iter()
            .filter_map(|place| place.connection.as_ref());
        connections.all(|it| it.outstanding == 0 && it.unposted.is_empty() && !it.is_leaving)
            && self.gone.is_empty()
            && !self.parts.gate.has_next()
            && self.notices.iter().all(Notice::is_empty)
    }

    /// What commands see of the core.
    #[must_use]
    pub fn core(&self) -> &Core {
        &self.parts.core
    }

    /// What commands see of the core, to change it.
    pub fn core_mut(&mut self) -> &mut Core {
        &mut self.parts.core
    }

    /// The keys this core owns.
    #[must_use]
    pub fn shard(&self) -> &Shard {
        &self.parts.shard
    }

    fn connection(&mut self, id: ConnectionId) -> Option<&mut Connection> {
        let place = self.connections.get_mut(id.index as usize)?;
        let is_it = place.generation == id.generation;
        let connection = place.connection.as_deref_mut()?;
        (is_it && !connection.is_disconnected).then_some(connection)
    }

    fn take(&mut self, id: ConnectionId) -> Option<Box<Connection>> {
        let place = self.connections.get_mut(id.index as usize)?;
        let is_it = place.generation == id.generation;
        place
            .connection
            .take_if(|connection| is_it && !connection.is_disconnected)
    }

    /// Takes one of this core's batches that came back.
    fn complete(&mut self, core: u16, mut batch: Box<Batch>) {
        let ticket = batch.ticket;
        if batch.is_unanswered {
            self.parts.put_batch(batch);
            return;
        }
        let place = &mut self.connections[ticket.connection.index as usize];
        assert!(place.generation == ticket.connection.generation);
        let mut connection = place.connection.take().expect("it has a batch out");
        connection.outstanding -= 1;
        if let Some(transaction) = &mut connection.transaction {
            transaction.member_count += std::mem::take(&mut batch.member_count);
        }
        if connection.is_disconnected {
            self.bury(&mut connection, core, batch);
            self.put_or_free(connection);
            return;
        }
        if batch.takes_hold
            && let Some(holding) = &mut connection.holding
        {
            holding.note_given();
        }
        match ticket.gather {
            Some(number) => connection.gather_mut(number).put_batch(batch),
            None => {
                if !batch.is_empty()
                    && let Some(Progress::Fanout(fanout)) = &mut connection.progress
                {
                    fanout.put_batch(&mut batch);
                }
                self.parts.put_batch(batch);
            }
        }
        self.connections[ticket.connection.index as usize].connection = Some(connection);
        self.wake(ticket.connection);
    }

    /// Whether anything found a ring full.
    fn wants_room(&self) -> bool {
        !self.parts.starved.is_empty() || !self.gone.is_empty()
    }

    /// Lets connections try again that found a ring full.
    fn take_starved(&mut self) {
        for id in std::mem::take(&mut self.parts.starved) {
            self.wake(id);
        }
    }

    /// Lets connections go on that waited for this core's shard.
    fn wake_let_in(&mut self) {
        let mut woken = std::mem::take(&mut self.woken);
        self.parts.gate.take_woken(&mut woken);
        for id in woken.drain(..) {
            self.wake(id);
        }
        self.woken = woken;
    }

    /// Gives a connection another turn, if it is still there.
    fn wake(&mut self, id: ConnectionId) {
        match self.connection(id) {
            Some(connection) if connection.is_leaving => self.leaving.push(id),
            Some(_) => self.ready.push(id),
            None => {}
        }
    }

    /// Unpins large values that were sent, and ends watches, here or by way of a batch without
    /// commands.
    fn notify(&mut self) {
        let here = self.parts.core.id;
        for Extern { owner, run, .. } in self.parts.released.drain(..) {
            if owner == here {
                self.parts.shard.unpin(run);
            } else {
                self.notices[usize::from(owner)].released_runs.push(run);
            }
        }
        for Watching { id, shards } in self.parts.core.unwatched.drain(..) {
            for core in shards {
                if core == here {
                    self.parts.shard.unwatch(id);
                } else {
                    self.notices[usize::from(core)].unwatched.push(id);
                }
            }
        }
        for (core, notice) in (0u16..).zip(&mut self.notices) {
            if notice.is_empty() {
                continue;
            }
            let connection = ConnectionId {
                index: u32::MAX,
                generation: 0,
            };
            let mut batch = self.parts.take_batch(Ticket {
                connection,
                gather: None,
                place: 0,
            });
            std::mem::swap(&mut batch.notice, notice);
            batch.is_unanswered = true;
            if let Err(mut batch) = self.parts.links.post(core, batch) {
                std::mem::swap(&mut batch.notice, notice);
                self.parts.put_batch(batch);
            }
        }
    }

    /// Gives connections that a command or a timeout marked for closing their last turn.
    pub(super) fn take_killed(&mut self) {
        self.parts.core.clients.take_killed(&mut self.killed);
        for client in self.killed.drain(..) {
            self.ready.push(self.by_client[client]);
        }
        self.take_woken();
    }
}
