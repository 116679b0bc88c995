//! `--stat`: a line of INFO's figures each second, with a head every twenty lines, as redis-cli.

use std::io::Write;
use std::time::Duration;

use super::Outcome;
use super::pace::pause;
use super::session::Session;
use crate::error::Error;
use crate::limits::{GIB, KIB, MIB};

/// Lines between two heads.
const LINES_PER_HEAD: u64 = 20;
/// Between lines, unless said otherwise.
const PAUSE: Duration = Duration::from_secs(1);

/// Shows the figures until somebody ends it. A server that goes away is waited for.
pub(super) fn watch(
    session: &mut Session<'_>,
    interval: Option<Duration>,
    output: &mut impl Write,
) -> Outcome {
    session.connect()?;
    let interval = interval.unwrap_or(PAUSE);
    let mut requests_before = None;
    let mut line_count = 0;
    loop {
        match session.client().and_then(|client| client.ask(&[b"INFO"])) {
            Ok(reply) => {
                if line_count % LINES_PER_HEAD == 0 {
                    output.write_all(HEAD.as_bytes())?;
                }
                line_count += 1;
                let info = Info(String::from_utf8_lossy(reply.text().unwrap_or_default()).into());
                writeln!(output, "{}", info.line(requests_before))?;
                requests_before = Some(info.number("total_commands_processed"));
            }
            Err(error @ Error::Failed(_)) => {
                session.disconnect();
                write!(output, "\r\x1b[0Kreconnecting: {error}\r")?;
            }
            Err(error) => return Err(error.into()),
        }
        output.flush()?;
        pause(interval);
    }
}

const HEAD: &str = "\
------- data ------ --------------------- load -------------------- - child -
keys       mem      clients blocked requests            connections          
";

/// The text that INFO answers with.
struct Info(String);

impl Info {
    fn line(&self, requests_before: Option<i64>) -> String {
        let requests = self.number("total_commands_processed");
        let more = requests - requests_before.unwrap_or(requests);
        format!(
            "{:<11}{:<8} {:<8}{:<8}{:<19} {:<12}{}",
            self.key_count(),
            human_bytes(self.number("used_memory")),
            self.number("connected_clients"),
            self.number("blocked_clients"),
            format!("{requests} (+{more})"),
            self.number("total_connections_received"),
            self.work()
        )
    }

    /// What else the server does.
    fn work(&self) -> &'static str {
        let is = |field| self.number(field) == 1;
        match (
            is("rdb_bgsave_in_progress"),
            is("aof_rewrite_in_progress"),
            is("loading"),
        ) {
            (_, _, true) => "LOAD",
            (true, true, _) => "SAVE+AOF",
            (true, false, _) => "SAVE",
            (false, true, _) => "AOF",
            _ => "",
        }
    }

    /// Of all databases: `db0:keys=7,expires=..`.
    fn key_count(&self) -> i64 {
        let databases = self.0.lines().filter(|line| line.starts_with("db"));
        let counts = databases.filter_map(|line| {
            let (_, figures) = line.split_once(":keys=")?;
            figures.split(',').next()?.parse::<i64>().ok()
        });
        counts.sum()
    }

    /// The value of a field, or 0.
    fn number(&self, field: &str) -> i64 {
        let mut fields = self.0.lines().filter_map(|line| line.split_once(':'));
        let found = fields.find(|(name, _)| *name == field);
        found.map_or(0, |(_, value)| value.trim().parse().unwrap_or(0))
    }
}

/// Bytes in the largest unit that fits: 100B, 4.00K, 1.50G.
fn human_bytes(bytes: i64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "two digits are shown")]
    let in_units = |unit: usize| bytes as f64 / unit as f64;
    match usize::try_from(bytes).unwrap_or(0) {
        0..KIB => format!("{bytes}B"),
        KIB..MIB => format!("{:.2}K", in_units(KIB)),
        MIB..GIB => format!("{:.2}M", in_units(MIB)),
        _ => format!("{:.2}G", in_units(GIB)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_of_all_databases_make_a_line() {
        let info = Info(
            "used_memory:1572864\r\nused_memory_human:1.50M\r\nconnected_clients:2\r\n\
             blocked_clients:0\r\ntotal_commands_processed:12\r\ntotal_connections_received:3\r\n\
             loading:0\r\naof_rewrite_in_progress:1\r\ndb0:keys=7,expires=1,avg_ttl=0\r\ndb3:keys=1,expires=0\r\n"
                .to_owned(),
        );
        assert_eq!(
            info.line(Some(2)),
            "8          1.50M    2       0       12 (+10)            3           AOF"
        );
        assert!(info.line(None).contains("12 (+0) "));
    }

    #[test]
    fn bytes_are_shown_in_the_largest_unit() {
        for (bytes, shown) in [
            (0, "0B"),
            (1023, "1023B"),
            (1024, "1.00K"),
            (1 << 20, "1.00M"),
            (3 << 29, "1.50G"),
            (1 << 40, "1024.00G"),
        ] {
            assert_eq!(human_bytes(bytes), shown);
        }
    }
}
