//! What each core counts, in one list: name, how it moves, unit, how cores merge, what it means.
//!
//! A counter is a plain number that its core adds to; nothing is shared and nothing is atomic. To
//! read them all, each core hands over its numbers as little-endian words ([`CoreStats::write`])
//! and whoever asked merges them.

/// What a metric counts in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Events or things.
    Count,
    /// Bytes.
    Bytes,
    /// Microseconds.
    Microseconds,
    /// Thousandths.
    Permille,
}

/// How a number moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It counts up, until the counts begin anew.
    Counter,
    /// The most there has been since the counts began.
    Peak,
    /// It describes this moment.
    Gauge,
    /// What a counter gained within the last second sampled.
    Rate,
}

/// How the cores' numbers become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Across {
    /// Added.
    Sum,
    /// The largest.
    Max,
}

/// One line of the list.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// Name, as in [`CoreStats`].
    pub name: &'static str,
    /// How it moves.
    pub kind: Kind,
    /// What it counts in.
    pub unit: Unit,
    /// How cores merge.
    pub across: Across,
    /// What it means.
    pub description: &'static str,
}

macro_rules! metrics {
    ($($name:ident: $kind:ident, $unit:ident, $across:ident, $description:literal;)*) => {
        /// The numbers of one core, or the merged numbers of several.
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub struct CoreStats {
            $(#[doc = $description] pub $name: u64,)*
        }

        /// Every metric, in the order of [`CoreStats::words`].
        pub const METRICS: &[Metric] = &[$(Metric {
            name: stringify!($name),
            kind: Kind::$kind,
            unit: Unit::$unit,
            across: Across::$across,
            description: $description,
        },)*];

        impl CoreStats {
            /// The numbers in the order of [`METRICS`].
            pub fn words(&self) -> [u64; METRICS.len()] {
                [$(self.$name,)*]
            }

            fn from_words(words: [u64; METRICS.len()]) -> Self {
                let [$($name,)*] = words;
                Self { $($name,)* }
            }
        }
    };
}

metrics! {
    connections_received: Counter, Count, Sum, "Connections accepted.";
    connections_rejected: Counter, Count, Sum, "Connections refused because of `maxclients`.";
    commands_processed: Counter, Count, Sum, "Commands run.";
    command_errors: Counter, Count, Sum, "Error replies.";
    protocol_errors: Counter, Count, Sum, "Connections closed because of bytes that are no request.";
    query_buffer_disconnections: Counter, Count, Sum, "Connections closed at `client-query-buffer-limit`.";
    idle_disconnections: Counter, Count, Sum, "Connections closed by `timeout`.";
    evicted_clients: Counter, Count, Sum, "Connections closed because of `maxmemory-clients`.";
    input_bytes: Counter, Bytes, Sum, "Bytes received.";
    output_bytes: Counter, Bytes, Sum, "Bytes sent.";
    receives: Counter, Count, Sum, "Times bytes were received.";
    sends: Counter, Count, Sum, "Times bytes were sent.";
    keyspace_hits: Counter, Count, Sum, "Lookups for reading that found a key.";
    keyspace_misses: Counter, Count, Sum, "Lookups for reading that found none.";
    turns: Counter, Count, Sum, "Turns: one connection's parse, run and reply.";
    turn_longest_us: Peak, Microseconds, Max, "The longest turn.";
    turns_over_1ms: Counter, Count, Sum, "Turns, batches and background steps of 1 ms and more.";
    turns_over_2ms: Counter, Count, Sum, "Turns, batches and background steps of 2 ms and more.";
    turns_over_5ms: Counter, Count, Sum, "Turns, batches and background steps of 5 ms and more.";
    busy_us: Counter, Microseconds, Sum, "Time spent in turns, batches and background steps.";
    sleeps: Counter, Count, Sum, "Times the core had nothing to do.";
    batches_sent: Counter, Count, Sum, "Batches of commands sent to other cores.";
    batches_served: Counter, Count, Sum, "Batches of other cores served.";
    commands_forwarded: Counter, Count, Sum, "Commands run on another core than their connection's.";
    commands_read_directly: Counter, Count, Sum, "Commands answered from another core's table.";
    holds: Counter, Count, Sum, "Times a shard was held for a command over several, or for a transaction.";
    doorbells: Counter, Count, Sum, "Sleeping cores woken.";
    input_buffers_bytes: Gauge, Bytes, Sum, "Memory of input buffers, now.";
    output_buffers_bytes: Gauge, Bytes, Sum, "Memory of output buffers, now.";
    waiting_buffers_bytes: Gauge, Bytes, Sum, "Memory of buffers that wait for their next use, within the last second.";
    commands_per_second: Rate, Count, Sum, "Commands run within the last second sampled.";
    input_bytes_per_second: Rate, Bytes, Sum, "Bytes received within the last second sampled.";
    output_bytes_per_second: Rate, Bytes, Sum, "Bytes sent within the last second sampled.";
    load_permille: Rate, Permille, Max, "Share of the last second sampled that the core was busy.";
}

impl CoreStats {
    /// Appends the numbers as little-endian words.
    pub fn write(&self, out: &mut Vec<u8>) {
        for word in self.words() {
            out.extend_from_slice(&word.to_le_bytes());
        }
    }

    /// Reads what [`Self::write`] wrote and returns what follows it; `None` if that is too short.
    pub fn read(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (head, rest) = bytes.split_at_checked(METRICS.len() * size_of::<u64>())?;
        let (words, _) = head.as_chunks();
        let mut numbers = [0; METRICS.len()];
        for (number, word) in numbers.iter_mut().zip(words) {
            *number = u64::from_le_bytes(*word);
        }
        Some((Self::from_words(numbers), rest))
    }

    /// Merges another core's numbers into these.
    pub fn merge(&mut self, other: &Self) {
        let mut words = self.words();
        for ((word, metric), other) in words.iter_mut().zip(METRICS).zip(other.words()) {
            *word = match metric.across {
                Across::Sum => *word + other,
                Across::Max => other.max(*word),
            };
        }
        *self = Self::from_words(words);
    }

    /// Begins the counts anew; what describes this moment stays.
    pub fn reset(&mut self) {
        let mut words = self.words();
        for (word, metric) in words.iter_mut().zip(METRICS) {
            if matches!(metric.kind, Kind::Counter | Kind::Peak) {
                *word = 0;
            }
        }
        *self = Self::from_words(words);
    }
}

/// Turns counts into rates: the difference to the sample before, about a second ago.
#[derive(Clone, Debug, Default)]
pub struct Sampler {
    sampled_at_us: u64,
    commands: u64,
    input_bytes: u64,
    output_bytes: u64,
    busy_us: u64,
}

impl Sampler {
    /// Writes the rates since the last call into `stats`; the first call only begins.
    pub fn sample(&mut self, stats: &mut CoreStats, unix_us: u64) {
        let elapsed_us = unix_us.saturating_sub(self.sampled_at_us);
        if self.sampled_at_us > 0 && elapsed_us > 0 {
            // A reset in between makes a count fall: then it began at zero.
            let since = |now: u64, before: u64| now.checked_sub(before).unwrap_or(now);
            let rate = |count: u64| count.saturating_mul(1_000_000) / elapsed_us;
            stats.commands_per_second = rate(since(stats.commands_processed, self.commands));
            stats.input_bytes_per_second = rate(since(stats.input_bytes, self.input_bytes));
            stats.output_bytes_per_second = rate(since(stats.output_bytes, self.output_bytes));
            stats.load_permille = rate(since(stats.busy_us, self.busy_us)) / 1_000;
        }
        *self = Self {
            sampled_at_us: unix_us,
            commands: stats.commands_processed,
            input_bytes: stats.input_bytes,
            output_bytes: stats.output_bytes,
            busy_us: stats.busy_us,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_survive_the_way_to_another_core() {
        let stats = CoreStats {
            commands_processed: 7,
            turn_longest_us: 9,
            ..Default::default()
        };
        let mut bytes = Vec::new();
        stats.write(&mut bytes);
        bytes.push(42);
        assert_eq!(CoreStats::read(&bytes), Some((stats, &[42][..])));
        assert_eq!(CoreStats::read(&bytes[2..]), None);
    }

    #[test]
    fn counts_add_up_and_maxima_do_not() {
        let mut all = CoreStats {
            commands_processed: 7,
            turn_longest_us: 9,
            ..Default::default()
        };
        let other = CoreStats {
            commands_processed: 3,
            turn_longest_us: 4,
            ..Default::default()
        };
        all.merge(&other);
        assert_eq!((all.commands_processed, all.turn_longest_us), (10, 9));
    }

    #[test]
    fn a_new_beginning_keeps_what_describes_this_moment() {
        let mut stats = CoreStats {
            commands_processed: 7,
            turn_longest_us: 9,
            input_buffers_bytes: 11,
            load_permille: 13,
            ..Default::default()
        };
        stats.reset();
        let left = CoreStats {
            input_buffers_bytes: 11,
            load_permille: 13,
            ..Default::default()
        };
        assert_eq!(stats, left);
    }

    #[test]
    fn rates_are_of_the_time_between_two_samples() {
        let mut sampler = Sampler::default();
        let mut stats = CoreStats {
            commands_processed: 100,
            ..Default::default()
        };
        sampler.sample(&mut stats, 5_000_000);
        assert_eq!(stats.commands_per_second, 0);

        stats.commands_processed = 1_100;
        stats.busy_us = 500_000;
        sampler.sample(&mut stats, 7_000_000);
        assert_eq!((stats.commands_per_second, stats.load_permille), (500, 250));

        stats.reset();
        stats.commands_processed = 20;
        sampler.sample(&mut stats, 8_000_000);
        assert_eq!(stats.commands_per_second, 20);
    }
}
