//! How the figures of servers follow from the rows that were measured for them (`served`).
//!
//! Ratios are taken round by round, of servers that were measured one after the other, and the
//! median is that of the ratios. CPU time is the server's own, whoever shares its cores; rates and
//! latencies on both cores are what is left after a client that runs on the same two.

use super::served::{CONNECTIONS, FEW_KEYS, LARGE_BATCH, LARGE_BATCH_CONNECTIONS, MANY_KEYS_BATCH};
use super::{Bound, Goal, Scale};
use crate::report::overhead_bytes;
use crate::report::view::{commands_per_s, cpu_ns, latency_us};
use crate::table::{Row, Spread, Table};

/// The GET of Redis to which the promised time of a PING refers.
const PING_REFERENCE_NS: f64 = 1_600.0;
/// Waits that no store on a shared host is blamed for.
const WAIT_US_MIN: f64 = 20_000.0;
const US_PER_MS: f64 = 1e3;

/// Where a number stands.
#[derive(Clone, Copy)]
struct At<'a> {
    server: &'a str,
    operation: &'a str,
    batch: usize,
    connections: usize,
    shards: usize,
    keys: u64,
}

type Measure = fn(Row<'_>) -> Option<f64>;

/// A number of each round, in order.
fn rounds(raw: &Table, at: At<'_>, measure: Measure) -> Vec<f64> {
    let numbers = [
        ("pipeline", at.batch as u64),
        ("connections", at.connections as u64),
        ("shards", at.shards as u64),
        ("keys", at.keys),
    ];
    raw.rows()
        .filter(|row| row.text("server") == at.server && row.text("operation") == at.operation)
        .filter(|row| {
            numbers
                .iter()
                .all(|(column, number)| row.text(column) == number.to_string())
        })
        .filter_map(measure)
        .collect()
}

/// Quotients of the same rounds.
fn over(above: &[f64], below: &[f64]) -> Option<Spread> {
    Spread::of(above.iter().zip(below).map(|(above, below)| above / below))
}

/// What was measured in ways of its own and has no rows.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Special {
    /// What a GET of another core's key takes over one of a key of its own.
    pub(super) remote_over_local: Option<Spread>,
    pub(super) reloaded_keys_per_s: Option<Spread>,
}

/// Every served goal, with what `raw` and `special` have for it.
pub(super) fn goals(scale: &Scale, raw: &Table, special: &Special) -> Vec<Goal> {
    let figures = Figures { scale, raw };
    let mut goals = figures.go_kv();
    goals.extend(figures.gomap());
    goals.extend(figures.go_hit(special.reloaded_keys_per_s));
    goals.extend(figures.over_redis());
    goals.extend(figures.within_coremap(special.remote_over_local));
    goals.extend(figures.memory());
    goals.extend(figures.waits());
    goals
}

struct Figures<'a> {
    scale: &'a Scale,
    raw: &'a Table,
}

impl Figures<'_> {
    /// Coremap on one core, the usual keys and connections.
    fn one_core(&self, operation: &'static str, batch: usize) -> At<'static> {
        At {
            server: "coremap",
            operation,
            batch,
            connections: CONNECTIONS,
            shards: 1,
            keys: self.scale.keys,
        }
    }

    fn two_cores(&self, operation: &'static str, batch: usize) -> At<'static> {
        At {
            shards: 2,
            ..self.one_core(operation, batch)
        }
    }

    fn many_keys(&self, operation: &'static str, server: &'static str) -> At<'static> {
        At {
            server,
            keys: self.scale.many_keys,
            ..self.two_cores(operation, MANY_KEYS_BATCH)
        }
    }

    fn of(&self, at: At<'_>, measure: Measure) -> Vec<f64> {
        rounds(self.raw, at, measure)
    }

    /// Conditions where the client shares both cores with the server.
    fn on_both(&self, operation: &str, batch: usize, connections: usize) -> String {
        format!(
            "both cores, the client on them too; {}",
            self.load(operation, batch, connections)
        )
    }

    /// Conditions where server and client have a core each.
    fn apart(&self, operation: &str, batch: usize) -> String {
        format!(
            "one core, the client on another; {}",
            self.load(operation, batch, CONNECTIONS)
        )
    }

    fn load(&self, operation: &str, batch: usize, connections: usize) -> String {
        let overwritten = match operation {
            "set" => format!(", after {}x its data", self.scale.overwrite_factor),
            _ => String::new(),
        };
        let keys = self.scale.keys;
        format!("batch {batch}, {connections} connections, {keys} keys{overwritten}")
    }

    fn go_kv(&self) -> Vec<Goal> {
        let mut goals = Vec::new();
        let large = [
            (
                "get",
                "GET/s, batch 20,000",
                9.2e6,
                "mean latency of a batch of 20,000 GETs",
                20.7,
            ),
            (
                "set",
                "SET/s, batch 20,000",
                5.5e6,
                "mean latency of a batch of 20,000 SETs",
                49.8,
            ),
        ];
        for (operation, rate, per_s, latency, ms) in large {
            let at = At {
                connections: LARGE_BATCH_CONNECTIONS,
                ..self.two_cores(operation, LARGE_BATCH)
            };
            let rates = self.of(at, commands_per_s);
            let conditions = self.on_both(operation, LARGE_BATCH, LARGE_BATCH_CONNECTIONS);
            let rate = Goal::new("Go KV", rate, Bound::AtLeast(per_s), "/s");
            goals.push(rate.measured_if(Spread::of(rates.iter().copied()), conditions.clone()));
            // Little's law: what is under way over what is done in a second.
            let under_way =
                f64::from(u32::try_from(LARGE_BATCH * LARGE_BATCH_CONNECTIONS).unwrap_or(u32::MAX));
            let mean_ms = Spread::of(rates.iter().map(|rate| under_way / rate * US_PER_MS));
            goals.push(
                Goal::new("Go KV", latency, Bound::AtMost(ms), "ms")
                    .measured_if(mean_ms, conditions),
            );
        }
        for (operation, batch, figure, per_s) in [
            ("get", 100, "GET/s, batch 100", 400e3),
            ("set", 100, "SET/s, batch 100", 200e3),
            ("get", 1, "GET/s, batch 1", 26e3),
            ("set", 1, "SET/s, batch 1", 27.6e3),
        ] {
            let rates = self.of(self.two_cores(operation, batch), commands_per_s);
            goals.push(
                Goal::new("Go KV", figure, Bound::AtLeast(per_s), "/s").measured_if(
                    Spread::of(rates),
                    self.on_both(operation, batch, CONNECTIONS),
                ),
            );
        }
        goals
    }

    fn gomap(&self) -> Vec<Goal> {
        let conditions = format!(
            "both cores, the client on them too; batch {MANY_KEYS_BATCH}, {CONNECTIONS} connections, \
             {} keys",
            self.scale.many_keys
        );
        let mut goals = Vec::new();
        for (operation, rate, per_s, latency, ms) in [
            (
                "get",
                "GET/s at 50M keys",
                1.67e6,
                "GET p50 at 50M keys",
                0.94,
            ),
            (
                "set",
                "SET/s at 50M keys",
                469e3,
                "SET p50 at 50M keys",
                4.23,
            ),
        ] {
            let at = self.many_keys(operation, "coremap");
            let rates = Spread::of(self.of(at, commands_per_s));
            let p50_ms: Measure = |row| latency_us(row, "p50").map(|us| us / US_PER_MS);
            let latencies = Spread::of(self.of(at, p50_ms));
            goals.push(
                Goal::new("Gomap", rate, Bound::AtLeast(per_s), "/s")
                    .measured_if(rates, conditions.clone()),
            );
            goals.push(
                Goal::new("Gomap", latency, Bound::AtMost(ms), "ms")
                    .measured_if(latencies, conditions.clone()),
            );
        }
        let ratio = over(
            &self.of(self.many_keys("get", "coremap"), commands_per_s),
            &self.of(self.many_keys("get", "lsm"), commands_per_s),
        );
        goals.push(
            Goal::new(
                "Gomap",
                "GET/s over an LSM store's",
                Bound::AtLeast(1.6),
                "x",
            )
            .measured_if(
                ratio,
                format!("{conditions}; fjall behind the same protocol"),
            ),
        );
        goals
    }

    fn go_hit(&self, reloaded: Option<Spread>) -> Vec<Goal> {
        let rates = Spread::of(self.of(self.two_cores("set", 1), commands_per_s));
        vec![
            Goal::new("Go-Hit", "writes/s", Bound::AtLeast(100e3), "/s").measured_if(
                rates,
                format!("{}; in memory", self.on_both("set", 1, CONNECTIONS)),
            ),
            Goal::new("Go-Hit", "keys/s reloaded", Bound::AtLeast(100e3), "/s")
                .measured_if(
                    reloaded,
                    format!(
                        "{} keys of 16 bytes, values of 8, two shards on both cores, after a kill; from the \
                         start of the process, page cache warm",
                        self.scale.memory_keys
                    ),
                ),
        ]
    }

    /// Ratios with redis-server, the two in turn on one core with the client on another.
    fn over_redis(&self) -> Vec<Goal> {
        let mut goals = Vec::new();
        for (operation, batch, figure, bound) in [
            (
                "get",
                LARGE_BATCH,
                "CPU per GET, batch 20,000: Redis over Coremap",
                12.0,
            ),
            (
                "set",
                LARGE_BATCH,
                "CPU per SET, batch 20,000: Redis over Coremap",
                8.0,
            ),
            (
                "get",
                100,
                "CPU per GET, batch 100: Redis over Coremap",
                8.0,
            ),
            (
                "set",
                100,
                "CPU per SET, batch 100: Redis over Coremap",
                8.0,
            ),
            ("get", 1, "CPU per GET, batch 1: Redis over Coremap", 1.6),
            ("set", 1, "CPU per SET, batch 1: Redis over Coremap", 1.6),
        ] {
            let ratio = self.redis_over(self.one_core(operation, batch), cpu_ns);
            goals.push(
                Goal::new("Redis", figure, Bound::AtLeast(bound), "x")
                    .measured_if(ratio, self.apart(operation, batch)),
            );
        }
        let p99: Measure = |row| latency_us(row, "p99");
        for (operation, figure) in [
            ("get", "p99 of GET, batch 1: Redis over Coremap"),
            ("set", "p99 of SET, batch 1: Redis over Coremap"),
        ] {
            let ratio = self.redis_over(self.one_core(operation, 1), p99);
            goals.push(
                Goal::new("Redis", figure, Bound::AtLeast(1.0), "x")
                    .measured_if(ratio, self.apart(operation, 1)),
            );
        }
        let many = At {
            keys: self.scale.many_keys,
            ..self.one_core("get", LARGE_BATCH)
        };
        let conditions = format!(
            "one core, batch {LARGE_BATCH}, {CONNECTIONS} connections, {} keys",
            many.keys
        );
        goals.push(
            Goal::new(
                "Redis",
                "CPU per GET at 50M keys: Redis over Coremap",
                Bound::AtLeast(10.0),
                "x",
            )
            .measured_if(self.redis_over(many, cpu_ns), conditions),
        );
        goals
    }

    fn redis_over(&self, at: At<'_>, measure: Measure) -> Option<Spread> {
        let redis = At {
            server: "redis",
            ..at
        };
        over(&self.of(redis, measure), &self.of(at, measure))
    }

    /// What one thing costs Coremap over another.
    fn within_coremap(&self, remote: Option<Spread>) -> Vec<Goal> {
        let large = |operation| self.one_core(operation, LARGE_BATCH);
        let cpu = |at| self.of(at, cpu_ns);
        let gets = cpu(large("get"));
        let pings = cpu(large("ping"));
        let redis_gets = cpu(At {
            server: "redis",
            ..large("get")
        });
        let scaled = pings
            .iter()
            .zip(&redis_gets)
            .map(|(ping, get)| ping * PING_REFERENCE_NS / get);
        let few = At {
            keys: FEW_KEYS,
            ..large("get")
        };
        let many = At {
            keys: self.scale.many_keys,
            ..large("get")
        };
        let goal = |figure, bound| Goal::new("Coremap", figure, Bound::AtMost(bound), "x");
        let split = |operation| {
            over(
                &cpu(self.two_cores(operation, LARGE_BATCH)),
                &cpu(large(operation)),
            )
        };
        let conditions = |operation| self.apart(operation, LARGE_BATCH);
        let two = |operation| {
            let both = self.on_both(operation, LARGE_BATCH, CONNECTIONS);
            format!("{both}; over {}", conditions(operation))
        };
        vec![
            goal("CPU per GET over CPU per PING, batch 20,000", 2.2)
                .measured_if(over(&gets, &pings), conditions("get")),
            Goal::new("Coremap", "CPU per PING, batch 20,000", Bound::AtMost(60.0), "ns").measured_if(
                Spread::of(scaled),
                format!("{}; scaled to a Redis whose GET takes 1,600 ns", conditions("ping")),
            ),
            goal("CPU per GET, two shards over one", 1.1).measured_if(split("get"), two("get")),
            goal("CPU per SET, two shards over one", 1.3).measured_if(split("set"), two("set")),
            goal("latency of a GET at batch 1, key of the other core over own", 1.15).measured_if(
                remote,
                "two shards, the client on the same two cores, one connection, medians of alternating blocks",
            ),
            goal("CPU per GET, 50M keys over 1k", 2.5).measured_if(
                over(&cpu(many), &cpu(few)),
                format!("one core, batch {LARGE_BATCH}, {} keys over {FEW_KEYS}", many.keys),
            ),
        ]
    }

    fn memory(&self) -> Vec<Goal> {
        let at = |keys| At {
            keys,
            ..self.one_core("get", LARGE_BATCH)
        };
        let overhead = self.of(at(self.scale.memory_keys), overhead_bytes);
        let turn_ms: Measure = |row| {
            row.number("loaded_turn_longest_us")
                .map(|us| us / US_PER_MS)
        };
        let turns = self.of(at(self.scale.loaded_keys), turn_ms);
        vec![
            Goal::new(
                "Coremap",
                "bytes per key beyond key and value",
                Bound::AtMost(24.0),
                "bytes",
            )
            .measured_if(
                Spread::of(overhead),
                format!(
                    "growth of resident memory over {} keys of 16 bytes, values of 8",
                    self.scale.memory_keys
                ),
            ),
            Goal::new(
                "Coremap",
                "longest turn while loading",
                Bound::AtMost(2.0),
                "ms",
            )
            .measured_if(
                Spread::of(turns),
                format!(
                    "{} keys set over one connection, batch 1,000; as INFO tells it",
                    self.scale.loaded_keys
                ),
            ),
        ]
    }

    /// The longest wait of all rounds, against Redis's.
    fn waits(&self) -> Vec<Goal> {
        let longest: Measure = |row| latency_us(row, "max");
        [(2, "longest wait, 2 connections"), (CONNECTIONS, "longest wait, 50 connections")]
            .into_iter()
            .map(|(connections, figure)| {
                let at = At { connections, ..self.two_cores("mixed:50", 1) };
                let redis = At { server: "redis", ..at };
                let worst = |at| self.of(at, longest).into_iter().fold(0.0, f64::max);
                let bound_us = WAIT_US_MIN.max(1.5 * worst(redis));
                let goal = Goal::new("Redis", figure, Bound::AtMost(bound_us / US_PER_MS), "ms");
                let waits = Spread::of((worst(at) > 0.0).then(|| worst(at) / US_PER_MS));
                goal.measured_if(
                    waits,
                    format!(
                        "two shards, the client on the same two cores, batch 1, half SETs, {} rounds of {} s in \
                         turn with Redis, whose longest was {:.1} ms",
                        self.scale.wait_rounds,
                        self.scale.wait_seconds,
                        worst(redis) / US_PER_MS
                    ),
                )
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::served;
    use super::*;

    #[test]
    fn every_goal_finds_the_rows_of_the_cases_that_are_measured_for_it() {
        let scale = Scale::QUICK;
        let mut raw = Table::new(
            "server,operation,pipeline,connections,shards,keys,key_len_bytes,value_len_bytes,commands_per_s,\
             server_cpu_ns_per_command,latency_p50_ns,latency_p99_ns,latency_max_ns,empty_rss_bytes,\
             loaded_rss_bytes,loaded_turn_longest_us",
        );
        for part in served::parts(&scale, [0, 1]) {
            assert!(served::PARTS.contains(&part.name));
            for (server, case) in part
                .servers
                .iter()
                .flat_map(|s| part.cases.iter().map(move |c| (s, c)))
            {
                let (keys, shards) = (case.data.keys, case.data.shards);
                raw.push(&format!(
                    "{server},{},{},{},{shards},{keys},16,8,1000000,100,1000000,2000000,3000000,0,{},700",
                    case.operation,
                    case.batch,
                    case.connections,
                    keys * 48
                ))
                .unwrap();
            }
        }
        let special = Special {
            remote_over_local: Spread::of([1.0]),
            reloaded_keys_per_s: Spread::of([2e5]),
        };
        let goals = goals(&scale, &raw, &special);
        let missing: Vec<_> = goals.iter().filter(|goal| goal.value().is_none()).collect();
        assert!(missing.is_empty(), "{missing:?}");
        let of = |figure: &str| {
            goals
                .iter()
                .find(|goal| goal.figure.starts_with(figure))
                .unwrap()
                .value()
        };
        assert_eq!(of("bytes per key"), Some(24.0));
        assert_eq!(of("GET p50 at 50M keys"), Some(1.0));
        assert_eq!(of("longest wait, 2"), Some(3.0));
        assert_eq!(of("CPU per PING"), Some(1600.0));
        assert_eq!(of("mean latency of a batch of 20,000 GETs"), Some(160.0));
    }

    #[test]
    fn ratios_are_taken_round_by_round() {
        let ratio = over(&[10.0, 30.0, 20.0], &[10.0, 10.0]).unwrap();
        assert_eq!((ratio.min, ratio.median, ratio.max), (1.0, 2.0, 3.0));
        assert_eq!(over(&[], &[1.0]), None);
    }
}
