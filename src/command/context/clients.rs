//! The connections of one core, as far as commands see them.
//!
//! Not here: buffers and the life of a connection (`lane`), which fills in the figures that `CLIENT
//! LIST` prints.

use std::ops::Range;
use std::sync::Arc;

use crate::command::Row;
use crate::command::transaction::{Queue, Watching};
use crate::region::Hold;
use crate::resp::Protocol;

/// Which replies are not sent: CLIENT REPLY.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Muting {
    /// All are.
    #[default]
    Off,
    /// That of the next command is not.
    Next,
    /// That of the command that runs is not.
    This,
    /// None is.
    All,
}

/// One connection, as far as commands see it.
#[derive(Clone, Debug, Default)]
pub struct Session {
    /// Unique in this process, ascending.
    pub id: u64,
    /// `CLIENT SETNAME`.
    pub name: Vec<u8>,
    /// `CLIENT SETINFO LIB-NAME`.
    pub library_name: Vec<u8>,
    /// `CLIENT SETINFO LIB-VER`.
    pub library_version: Vec<u8>,
    /// What `HELLO` chose.
    pub protocol: Protocol,
    /// Whether it gave the password, or there was none when it connected.
    pub is_authenticated: bool,
    /// The lane sends what is unsent, then closes.
    pub close_after_reply: bool,
    /// The lane closes at once: `CLIENT KILL`. Set it through [`Clients::kill`].
    pub is_killed: bool,
    /// Which replies are not sent.
    pub muting: Muting,
    /// Until when its next command waits; 0: it does not.
    pub paused_until_ms: u64,
    /// Another client has ended what it waits for: with an error, or as if its time were over.
    pub unblocked: Option<bool>,
    /// Whether a command of it that has begun waits for a time or for the disk.
    pub is_blocked: bool,
    /// Whose evictions `CLIENT NO-EVICT on` exempts.
    pub is_no_evict: bool,
    /// Whose reads `CLIENT NO-TOUCH on` keeps out of the use marks.
    pub is_no_touch: bool,
    /// Keeps the data file as it is, for `coremap backup`.
    pub hold: Option<Arc<Hold>>,
    /// What MULTI has queued, if it was called.
    pub queue: Option<Box<Queue>>,
    /// What WATCH named.
    pub watching: Option<Watching>,
    /// Whether the socket is a unix socket.
    pub is_unix: bool,
    /// `address:port` of the peer, or the path of the socket and `:0`.
    pub address: String,
    /// `address:port` of our end.
    pub local_address: String,
    /// The socket.
    pub fd: i32,
    /// When it connected.
    pub created_at_ms: u64,
    /// When it last sent something.
    pub last_active_ms: u64,
    /// The command it sent last.
    pub last_command: Option<&'static Row>,
    /// Unread input.
    pub input_len_bytes: usize,
    /// Room left in its input buffer.
    pub input_free_bytes: usize,
    /// Arguments of a command that is not complete.
    pub arguments_len_bytes: usize,
    /// Unsent output.
    pub output_len_bytes: usize,
    /// Capacity of its output buffer.
    pub output_capacity_bytes: usize,
    /// Pieces of output sent from where they live.
    pub output_extern_count: usize,
}

impl Session {
    /// Whether a command of it waits, or waits to begin.
    pub const fn is_waiting(&self) -> bool {
        self.is_blocked || self.paused_until_ms > 0
    }
}

/// A connection of one core: its index in [`Clients`].
pub type ClientIndex = usize;

/// The connections of one core.
#[derive(Debug, Default)]
pub struct Clients {
    slots: Vec<Option<Session>>,
    free: Vec<ClientIndex>,
    killed: Vec<ClientIndex>,
    woken: Vec<ClientIndex>,
}

impl Clients {
    /// Adds a connection.
    pub fn insert(&mut self, session: Session) -> ClientIndex {
        if let Some(index) = self.free.pop() {
            self.slots[index] = Some(session);
            return index;
        }
        self.slots.push(Some(session));
        self.slots.len() - 1
    }

    /// Takes a connection out.
    pub fn remove(&mut self, index: ClientIndex) -> Option<Session> {
        let session = self.slots.get_mut(index)?.take()?;
        self.free.push(index);
        self.killed.retain(|killed| *killed != index);
        self.woken.retain(|woken| *woken != index);
        Some(session)
    }

    /// The connection at `index`.
    pub fn get(&self, index: ClientIndex) -> Option<&Session> {
        self.slots.get(index)?.as_ref()
    }

    /// The connection at `index`, to change it.
    pub fn get_mut(&mut self, index: ClientIndex) -> Option<&mut Session> {
        self.slots.get_mut(index)?.as_mut()
    }

    /// Every connection with its index, in order of index.
    pub fn iter(&self) -> impl Iterator<Item = (ClientIndex, &Session)> {
        self.slots
            .iter()
            .enumerate()
            .filter_map(|(i, slot)| Some((i, slot.as_ref()?)))
    }

    /// The connections at the indices of `range`, in order.
    pub fn within(&self, range: Range<ClientIndex>) -> impl Iterator<Item = &Session> {
        self.slots.get(range).unwrap_or_default().iter().flatten()
    }

    /// One more than the largest index there may be.
    pub fn index_end(&self) -> ClientIndex {
        self.slots.len()
    }

    /// How many connections there are.
    pub fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Marks a connection for closing; the lane learns of it from [`Self::take_killed`].
    pub fn kill(&mut self, index: ClientIndex) {
        if let Some(session) = self.get_mut(index)
            && !session.is_killed
        {
            session.is_killed = true;
            self.killed.push(index);
        }
    }

    /// Gives a connection a turn; the lane learns of it from [`Self::take_woken`].
    pub fn wake(&mut self, index: ClientIndex) {
        self.woken.push(index);
    }

    /// Takes the connections that were woken since the last call.
    pub fn take_woken(&mut self) -> Vec<ClientIndex> {
        std::mem::take(&mut self.woken)
    }

    /// Moves the connections marked since the last call to `into`.
    pub fn take_killed(&mut self, into: &mut Vec<ClientIndex>) {
        into.append(&mut self.killed);
    }
}

impl std::ops::Index<ClientIndex> for Clients {
    type Output = Session;

    fn index(&self, index: ClientIndex) -> &Session {
        self.get(index).expect("the lane names connections it has")
    }
}

impl std::ops::IndexMut<ClientIndex> for Clients {
    fn index_mut(&mut self, index: ClientIndex) -> &mut Session {
        self.get_mut(index)
            .expect("the lane names connections it has")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_of_a_closed_connection_is_used_again() {
        let mut clients = Clients::default();
        let first = clients.insert(Session {
            id: 1,
            ..Session::default()
        });
        let second = clients.insert(Session {
            id: 2,
            ..Session::default()
        });
        assert_eq!(clients.remove(first).map(|session| session.id), Some(1));
        assert_eq!(clients.len(), 1);
        assert!(clients.remove(first).is_none());

        let third = clients.insert(Session {
            id: 3,
            ..Session::default()
        });
        assert_eq!(third, first);
        assert_eq!(
            clients.iter().map(|(_, s)| s.id).collect::<Vec<_>>(),
            [3, 2]
        );
        assert_eq!(clients[second].id, 2);
    }

    #[test]
    fn a_killed_connection_is_reported_once() {
        let mut clients = Clients::default();
        let index = clients.insert(Session::default());
        clients.kill(index);
        clients.kill(index);
        let mut killed = Vec::new();
        clients.take_killed(&mut killed);
        clients.take_killed(&mut killed);
        assert_eq!(killed, [index]);
    }
}
