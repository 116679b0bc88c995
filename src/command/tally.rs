//! What each command cost: how often it ran, the time it took, how it failed.
//!
//! No clock is read for a command. The time of a turn is measured anyway; at its end it is shared
//! out evenly among the commands that ran in it. One command in a turn, which is what clients
//! without pipelines send, has all of it; a pipeline's commands have the turn's average each; and
//! the times of all commands add up to the time that the cores spent.
//!
//! | a command that            | time (`usec`)                        | latency (one sample)           |
//! |---------------------------|--------------------------------------|--------------------------------|
//! | ran within a turn         | its share of the turn                | the same                       |
//! | takes several turns       | its shares of them                   | from its first turn to its end |
//! | ran on another core       | its shares of that core's turns too  | of the core of its connection  |
//!
//! Commands are counted where their connection lives, and by the number of their row.

mod histogram;

pub use histogram::Histogram;

use super::Row;
use super::table::{TALLIED_COUNT, tallied};

/// The costs of one core's commands, or of all cores'.
#[derive(Clone, Debug)]
pub struct Tally {
    /// What ran since the last end of a turn, by the number of its row.
    weights: Box<[u32; TALLIED_COUNT]>,
    /// The numbers whose weight is not zero.
    touched: Vec<u16>,
    rows: Vec<Cost>,
    /// Error replies by their first word, and what did not fit the bound.
    errors: Vec<(ErrorCode, u64)>,
}

/// What the commands of one row cost.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// How often it ran.
    pub calls: u64,
    /// How often it was refused before it ran.
    pub rejected: u64,
    /// How often it replied an error.
    pub failed: u64,
    /// Time spent on it.
    pub ns: u64,
    /// Its latencies, in nanoseconds; none before the first.
    pub latencies: Option<Box<Histogram>>,
}

/// A turn that is over.
#[derive(Clone, Copy, Debug, Default)]
pub struct Spent {
    /// How long it took.
    pub ns: u64,
    /// The command from an earlier turn that it went on with.
    pub resumed: Option<&'static Row>,
    /// The last command that was begun in it, if that is not done.
    pub unfinished: Option<&'static Row>,
    /// Whether latencies are kept.
    pub keeps_latencies: bool,
}

/// The first word of an error reply, cut to what fits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ErrorCode([u8; Self::LEN_BYTES_MAX]);

impl Default for Tally {
    fn default() -> Self {
        Self {
            weights: Box::new([0; TALLIED_COUNT]),
            touched: Vec::with_capacity(TALLIED_COUNT),
            rows: vec![Cost::default(); TALLIED_COUNT],
            errors: Vec::new(),
        }
    }
}

impl Tally {
    /// Error codes counted apart; as many as Redis counts before it takes them for an attack.
    const ERROR_COUNT_MAX: usize = 128;

    /// Counts a command that runs in this turn, or goes on in it.
    #[inline]
    pub fn count(&mut self, row: &Row) {
        let weight = &mut self.weights[usize::from(row.number)];
        if *weight == 0 {
            self.touched.push(row.number);
        }
        *weight += 1;
    }

    /// Shares out the time of a turn of this core's connections among what ran in it, and returns
    /// among how many.
    pub fn end_turn(&mut self, spent: Spent) -> u64 {
        let weight_sum = self.weight_sum();
        let share_ns = spent.ns / weight_sum.max(1);
        let is = |row: Option<&Row>, number| row.is_some_and(|row| row.number == number);
        for number in self.touched.drain(..) {
            let weight = u64::from(std::mem::take(&mut self.weights[usize::from(number)]));
            let calls = weight - u64::from(is(spent.resumed, number));
            let cost = &mut self.rows[usize::from(number)];
            cost.calls += calls;
            cost.ns += share_ns * weight;
            if spent.keeps_latencies {
                let unfinished = u64::from(is(spent.unfinished, number));
                cost.sample(share_ns, calls - unfinished);
            }
        }
        weight_sum
    }

    /// Shares out time spent on commands of other cores, which count them.
    pub fn end_service(&mut self, ns: u64) {
        let share_ns = ns / self.weight_sum().max(1);
        for number in self.touched.drain(..) {
            let weight = u64::from(std::mem::take(&mut self.weights[usize::from(number)]));
            self.rows[usize::from(number)].ns += share_ns * weight;
        }
    }

    fn weight_sum(&self) -> u64 {
        let weights = self
            .touched
            .iter()
            .map(|number| self.weights[usize::from(*number)]);
        weights.map(u64::from).sum()
    }

    /// The latency of a command that took several turns.
    pub fn sample(&mut self, row: &Row, ns: u64) {
        self.rows[usize::from(row.number)].sample(ns, 1);
    }

    /// Counts an error reply, given without its `-`.
    #[cold]
    pub fn count_error(&mut self, row: Option<&Row>, text: &[u8]) {
        if let Some(row) = row {
            self.rows[usize::from(row.number)].failed += 1;
        }
        self.add_errors(ErrorCode::of(text), 1);
    }

    /// Counts a command that was not run.
    #[cold]
    pub fn count_rejected(&mut self, row: &Row) {
        self.rows[usize::from(row.number)].rejected += 1;
    }

    fn add_errors(&mut self, code: ErrorCode, count: u64) {
        match self.errors.binary_search_by_key(&code, |(code, _)| *code) {
            Ok(place) => self.errors[place].1 += count,
            Err(place) if self.errors.len() < Self::ERROR_COUNT_MAX => {
                self.errors.insert(place, (code, count));
            }
            Err(_) => {}
        }
    }

    /// What ran, was refused or failed, with its cost, by name.
    pub fn costs(&self) -> impl Iterator<Item = (&'static Row, &Cost)> {
        let costs = tallied().map(|row| (row, &self.rows[usize::from(row.number)]));
        costs.filter(|(_, cost)| cost.calls + cost.rejected + cost.failed > 0)
    }

    /// The first words of error replies, with how many there were, by name.
    pub fn errors(&self) -> impl Iterator<Item = (&str, u64)> {
        self.errors
            .iter()
            .map(|(code, count)| (code.text(), *count))
    }

    /// Begins to count anew.
    pub fn reset(&mut self) {
        self.rows.fill(Cost::default());
        self.errors.clear();
    }

    /// Adds another core's costs.
    pub fn merge(&mut self, other: &Self) {
        for (cost, other) in self.rows.iter_mut().zip(&other.rows) {
            cost.merge(other);
        }
        for (code, count) in &other.errors {
            self.add_errors(*code, *count);
        }
    }

    /// Appends the costs as little-endian words: how many rows, each row, how many errors, each.
    pub fn write(&self, out: &mut Vec<u8>) {
        let mut words = vec![0];
        for (number, cost) in (0..).zip(&self.rows) {
            if *cost != Cost::default() {
                words[0] += 1;
                words.extend([number, cost.calls, cost.rejected, cost.failed, cost.ns]);
                match &cost.latencies {
                    Some(latencies) => latencies.write(&mut words),
                    None => words.push(0),
                }
            }
        }
        words.push(self.errors.len() as u64);
        for (code, count) in &self.errors {
            let (halves, _) = code.0.as_chunks();
            words.extend(halves.iter().map(|half| u64::from_le_bytes(*half)));
            words.push(*count);
        }
        out.extend(words.iter().flat_map(|word| word.to_le_bytes()));
    }

    /// Reads what [`Self::write`] wrote; `None` if it is something else.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let (words, _) = bytes.as_chunks();
        let mut words = words.iter().map(|word| u64::from_le_bytes(*word));
        let mut tally = Self::default();
        for _ in 0..words.next()? {
            let number = usize::try_from(words.next()?).ok()?;
            let cost = tally.rows.get_mut(number)?;
            cost.calls = words.next()?;
            cost.rejected = words.next()?;
            cost.failed = words.next()?;
            cost.ns = words.next()?;
            cost.latencies = Histogram::read(&mut words)?.map(Box::new);
        }
        for _ in 0..words.next()? {
            let halves = [words.next()?, words.next()?];
            let mut code = ErrorCode::default();
            for (bytes, half) in code.0.chunks_mut(size_of::<u64>()).zip(halves) {
                bytes.copy_from_slice(&half.to_le_bytes());
            }
            tally.errors.push((code, words.next()?));
        }
        Some(tally)
    }
}

impl Cost {
    fn sample(&mut self, ns: u64, count: u64) {
        if count > 0 {
            self.latencies.get_or_insert_default().add(ns, count);
        }
    }

    fn merge(&mut self, other: &Self) {
        self.calls += other.calls;
        self.rejected += other.rejected;
        self.failed += other.failed;
        self.ns += other.ns;
        if let Some(latencies) = &other.latencies {
            self.latencies.get_or_insert_default().merge(latencies);
        }
    }
}

impl ErrorCode {
    const LEN_BYTES_MAX: usize = 16;

    fn of(text: &[u8]) -> Self {
        let mut code = Self::default();
        let is_part = |byte: &&u8| byte.is_ascii_graphic();
        for (to, byte) in code.0.iter_mut().zip(text.iter().take_while(is_part)) {
            *to = *byte;
        }
        code
    }

    fn text(&self) -> &str {
        let bytes = self.0.split(|byte| *byte == 0).next().unwrap_or_default();
        std::str::from_utf8(bytes).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
