//! Whether a recorded history can be explained by one operation after the other.
//!
//! A history is what each of some clients did, in its order, with the moment before and the moment
//! after. It is linearizable if every operation can be given an instant between its two moments such
//! that, in the order of the instants, each one answered what it should have. The search is Wing and
//! Gong's with Lowe's memory: go on with any client's next operation that no other client's operation
//! has ended before, remember the configurations that led nowhere. A client's operations may overlap
//! in time, as those of a pipeline do; their order is then the order in which they were sent.

use std::collections::HashSet;
use std::fmt::Debug;
use std::hash::Hash;

/// What a client did between two moments.
#[derive(Clone, Debug)]
pub(crate) struct Event<A> {
    pub(crate) began_ns: u64,
    pub(crate) ended_ns: u64,
    pub(crate) action: A,
}

/// An operation with its answer.
pub(crate) trait Action: Debug {
    /// What is changed and asked about.
    type State: Clone + Debug + Eq + Hash;

    /// The state afterwards; `None` if the answer is impossible in `state`.
    fn apply(&self, state: &Self::State) -> Option<Self::State>;
}

/// How far an explanation has come: operations of each client, and the state.
type Configuration<S> = (Vec<usize>, S);

/// The state at the end of a history that begins with `start`; else where every explanation ends.
pub(crate) fn explain<A: Action>(
    start: A::State,
    clients: &[Vec<Event<A>>],
) -> Result<A::State, String> {
    let mut seen = HashSet::new();
    let mut open: Vec<Configuration<A::State>> = vec![(vec![0; clients.len()], start)];
    let mut farthest = open[0].clone();
    while let Some(configuration) = open.pop() {
        if !seen.insert(configuration.clone()) {
            continue;
        }
        let (done, state) = &configuration;
        let next = |client: usize| clients[client].get(done[client]);
        if (0..clients.len()).all(|client| next(client).is_none()) {
            return Ok(state.clone());
        }
        if done.iter().sum::<usize>() > farthest.0.iter().sum() {
            farthest = configuration.clone();
        }
        for client in 0..clients.len() {
            let Some(event) = next(client) else { continue };
            let is_late = (0..clients.len()).any(|other| {
                other != client && next(other).is_some_and(|it| it.ended_ns < event.began_ns)
            });
            if is_late {
                continue;
            }
            if let Some(state) = event.action.apply(state) {
                let mut done = done.clone();
                done[client] += 1;
                open.push((done, state));
            }
        }
    }
    let (done, state) = farthest;
    let stuck: Vec<_> = clients
        .iter()
        .zip(&done)
        .map(|(events, done)| &events[done.saturating_sub(2)..events.len().min(done + 3)])
        .collect();
    Err(format!(
        "no explanation goes on from {state:?} after {done:?}: {stuck:#?}"
    ))
}
