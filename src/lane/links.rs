//! What ties the lanes together: per ordered pair of cores one ring for batches and one for the
//! way back, and a doorbell for a core that sleeps.
//!
//! ```text
//!            requests ══════════════════►
//!   core A                                  core B      and the same again for B's own batches
//!            ◄════════════════ completions
//! ```
//!
//! Requests are always taken, whatever becomes of them, and a completion that finds its ring full
//! waits on this side of it: so a full ring is never full for long, and neither serving nor
//! completing blocks. When a ring is full, [`Links::post`] gives the batch back and the connection
//! waits, never the core. A batch held back for a client that does not read takes no place in any
//! ring, so it holds up nobody else.
//!
//! A doorbell is rung only for a core that said it is about to sleep: it arms its bell, looks at
//! its rings once more and only then sleeps; who pushes looks at the bell afterwards. Between the
//! two stands a sequentially consistent fence on each side, so one of them sees the other.

use std::collections::VecDeque;
use std::sync::Arc;

use super::batch::Batch;
use super::ring::{Consumer, Producer, ring};
use crate::atomic::{AtomicBool, CachePadded, Ordering, fence};
use crate::limits::RING_CAPACITY;

/// One core's ends of the rings to and from every other core.
pub struct Links {
    id: u16,
    /// By core; the own place is empty.
    peers: Vec<Option<Peer>>,
    /// Batches of this core that have not come back.
    out_count: usize,
    bells: Arc<[CachePadded<AtomicBool>]>,
}

struct Peer {
    requests_out: Producer<Batch>,
    completions_in: Consumer<Batch>,
    requests_in: Consumer<Batch>,
    completions_out: Producer<Batch>,
    /// Whether anything was pushed since the bells were last looked at.
    is_pushed: bool,
    /// Completions that found their ring full, oldest first.
    late: VecDeque<Box<Batch>>,
}

impl Links {
    /// The links of `count` cores, one element for each.
    #[must_use]
    pub fn mesh(count: u16) -> Vec<Self> {
        Self::mesh_with_capacity(count, RING_CAPACITY)
    }

    fn mesh_with_capacity(count: u16, capacity: usize) -> Vec<Self> {
        let bells: Arc<[_]> = (0..count)
            .map(|_| CachePadded(AtomicBool::new(false)))
            .collect();
        let mut links: Vec<Self> = (0..count)
            .map(|id| Self {
                id,
                peers: (0..count).map(|_| None).collect(),
                out_count: 0,
                bells: Arc::clone(&bells),
            })
            .collect();
        for low in 0..usize::from(count) {
            for high in low + 1..usize::from(count) {
                let (one, other) = Peer::pair(capacity);
                links[low].peers[high] = Some(one);
                links[high].peers[low] = Some(other);
            }
        }
        links
    }

    /// Cores, this one included.
    pub(super) fn count(&self) -> u16 {
        u16::try_from(self.peers.len()).expect("made from a u16")
    }

    /// Every core but this one.
    pub(super) fn others(&self) -> impl Iterator<Item = u16> + use<> {
        let here = self.id;
        (0..self.count()).filter(move |core| *core != here)
    }

    /// Hands `batch` to another core; gives it back when the ring is full.
    pub(super) fn post(&mut self, core: u16, batch: Box<Batch>) -> Result<(), Box<Batch>> {
        let peer = self.peer(core);
        peer.requests_out.push(batch)?;
        peer.is_pushed = true;
        self.out_count += 1;
        Ok(())
    }

    /// Sends a served batch back to the core it came from.
    pub(super) fn complete(&mut self, core: u16, batch: Box<Batch>) {
        let peer = self.peer(core);
        peer.late.push_back(batch);
        peer.push_late();
    }

    /// The next batch of another core to serve.
    pub(super) fn take_request(&mut self, core: u16) -> Option<Box<Batch>> {
        let peer = self.peer(core);
        peer.push_late();
        peer.requests_in.pop()
    }

    /// The next of this core's own batches that has come back.
    pub(super) fn take_completion(&mut self, core: u16) -> Option<Box<Batch>> {
        let batch = self.peer(core).completions_in.pop()?;
        self.out_count -= 1;
        Some(batch)
    }

    /// Whether batches of this core are with others.
    pub(super) const fn are_any_out(&self) -> bool {
        self.out_count > 0
    }

    /// Names the sleeping cores that something was pushed for; the caller rings them.
    pub(super) fn take_doorbells(&mut self, into: &mut Vec<u16>) {
        if !self.peers.iter().flatten().any(|peer| peer.is_pushed) {
            return;
        }
        // Pairs with the fence in `arm`: the pushes come before the look at the bells.
        fence(Ordering::SeqCst);
        for (core, peer) in (0u16..).zip(&mut self.peers) {
            let Some(peer) = peer else { continue };
            if std::mem::take(&mut peer.is_pushed) {
                let bell = &self.bells[usize::from(core)];
                if bell.0.load(Ordering::Relaxed) && bell.0.swap(false, Ordering::Relaxed) {
                    into.push(core);
                }
            }
        }
    }

    /// Whether nothing came, and nothing waits for room.
    pub(super) fn are_quiet(&mut self) -> bool {
        self.peers.iter_mut().flatten().all(|peer| {
            peer.late.is_empty() && peer.requests_in.is_empty() && peer.completions_in.is_empty()
        })
    }

    /// Announces that this core is about to sleep. False: there are messages, do not sleep.
    pub(super) fn arm(&mut self) -> bool {
        let bell = &self.bells[usize::from(self.id)];
        bell.0.store(true, Ordering::Relaxed);
        // Pairs with the fence in `take_doorbells`: the bell is armed before the rings are seen.
        fence(Ordering::SeqCst);
        let is_quiet = self.are_quiet();
        if !is_quiet {
            self.disarm();
        }
        is_quiet
    }

    /// Takes the announcement back.
    pub(super) fn disarm(&self) {
        self.bells[usize::from(self.id)]
            .0
            .store(false, Ordering::Relaxed);
    }

    fn peer(&mut self, core: u16) -> &mut Peer {
        self.peers[usize::from(core)]
            .as_mut()
            .expect("another core, not this one")
    }
}

impl Peer {
    /// Pushes completions as far as there is room.
    fn push_late(&mut self) {
        while let Some(batch) = self.late.pop_front() {
            if let Err(batch) = self.completions_out.push(batch) {
                self.late.push_front(batch);
                return;
            }
            self.is_pushed = true;
        }
    }

    /// The two ends of one pair of cores.
    fn pair(capacity: usize) -> (Self, Self) {
        let (there_out, there_in) = ring::<Batch>(capacity);
        let (there_done_out, there_done_in) = ring::<Batch>(capacity);
        let (back_out, back_in) = ring::<Batch>(capacity);
        let (back_done_out, back_done_in) = ring::<Batch>(capacity);
        let one = Self {
            requests_out: there_out,
            completions_in: there_done_in,
            requests_in: back_in,
            completions_out: back_done_out,
            is_pushed: false,
            late: VecDeque::new(),
        };
        let other = Self {
            requests_out: back_out,
            completions_in: back_done_in,
            requests_in: there_in,
            completions_out: there_done_out,
            is_pushed: false,
            late: VecDeque::new(),
        };
        (one, other)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::Links;
    use crate::lane::batch::{Batch, ConnectionId, Ticket};

    fn batch() -> Box<Batch> {
        let connection = ConnectionId {
            index: 0,
            generation: 0,
        };
        Box::new(Batch::new(Ticket {
            connection,
            gather: None,
            place: 0,
        }))
    }

    #[test]
    fn completions_past_a_full_ring_wait_and_come_in_order() {
        let mut links = Links::mesh_with_capacity(2, 2);
        let (mut server, mut origin) = (links.pop().expect("two"), links.pop().expect("two"));
        for place in 0..7 {
            let mut next = batch();
            next.ticket.place = place;
            assert!(origin.post(1, next).is_ok(), "requests are taken at once");
            let request = server.take_request(0).expect("posted");
            server.complete(0, request);
        }
        assert!(!server.arm(), "who owes completions does not sleep");
        for place in 0..7 {
            let back = origin.take_completion(1).expect("completed");
            assert_eq!(back.ticket.place, place);
            assert!(server.take_request(0).is_none());
        }
        assert!(origin.take_completion(1).is_none());
        assert!(server.arm());
    }

    #[test]
    fn a_full_ring_gives_the_batch_back() {
        let mut links = Links::mesh_with_capacity(3, 2);
        let mut origin = links.swap_remove(0);
        assert!(origin.post(2, batch()).is_ok());
        assert!(origin.post(2, batch()).is_ok());
        assert!(origin.post(2, batch()).is_err());
        assert!(
            origin.post(1, batch()).is_ok(),
            "each pair has its own ring"
        );
    }

    #[test]
    fn a_doorbell_rings_once_for_a_core_that_sleeps_and_never_for_one_that_does_not() {
        let mut links = Links::mesh_with_capacity(2, 8);
        let (mut sleeper, mut origin) = (links.pop().expect("two"), links.pop().expect("two"));
        let mut rung = Vec::new();
        assert!(origin.post(1, batch()).is_ok());
        origin.take_doorbells(&mut rung);
        assert!(rung.is_empty());
        assert!(!sleeper.arm(), "there is a message");
        assert!(sleeper.take_request(0).is_some());
        assert!(sleeper.arm());
        for _ in 0..2 {
            assert!(origin.post(1, batch()).is_ok());
            origin.take_doorbells(&mut rung);
        }
        assert_eq!(rung, [1]);
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::Links;
    use crate::lane::batch::{Batch, ConnectionId, Ticket};

    /// Every interleaving of one core posting and the other going to sleep.
    #[test]
    fn who_sleeps_with_a_message_waiting_is_rung_for() {
        loom::model(|| {
            let mut links = Links::mesh_with_capacity(2, 1);
            let (mut sleeper, mut origin) = (links.pop().expect("two"), links.pop().expect("two"));
            let poster = loom::thread::spawn(move || {
                let connection = ConnectionId {
                    index: 0,
                    generation: 0,
                };
                let batch = Batch::new(Ticket {
                    connection,
                    gather: None,
                    place: 0,
                });
                assert!(origin.post(1, Box::new(batch)).is_ok());
                let mut rung = Vec::new();
                origin.take_doorbells(&mut rung);
                (!rung.is_empty(), origin)
            });
            let sleeps = sleeper.arm();
            let (is_rung, _origin) = poster.join().expect("the poster does not panic");
            assert!(!sleeps || is_rung);
        });
    }
}
