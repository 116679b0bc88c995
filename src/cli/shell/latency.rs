//! `--latency` and `--latency-history`: how long a PING takes, a hundred times a second.
//!
//! Milliseconds, as in redis-cli, whose whole milliseconds would all be 0 here: these have two
//! decimals. One request is on its way at a time, so a pause of the server counts once, not for
//! every sample it delayed.

use std::io::Write;
use std::time::Duration;

use super::Outcome;
use super::format::Form;
use super::pace::{Stopwatch, pause};
use super::session::Session;

/// Between samples.
const PAUSE: Duration = Duration::from_millis(10);
/// How long somebody who does not watch waits for the result.
const SPAN: Duration = Duration::from_secs(1);
/// A line of the history.
const HISTORY_SPAN: Duration = Duration::from_secs(15);

/// Samples, until somebody ends it, or for a while if nobody watches. With a history, each span is
/// shown by itself.
pub(super) fn watch(
    session: &mut Session<'_>,
    has_history: bool,
    span: Option<Duration>,
    output: &mut impl Write,
) -> Outcome {
    let form = session.style().form;
    let is_watched = form == Form::Standard;
    let span = span.unwrap_or(if has_history { HISTORY_SPAN } else { SPAN });
    let client = session.client()?;
    let mut figures = Figures::default();
    let mut started = Stopwatch::start();
    loop {
        let asked = Stopwatch::start();
        client.ask(&[b"PING"])?;
        figures.add(asked.elapsed());
        let is_over = started.elapsed() > span;
        if is_watched {
            write!(output, "\x1b[0G\x1b[2K{}", figures.shown(form))?;
        } else if is_over {
            writeln!(output, "{}", figures.shown(form))?;
        }
        if is_over && has_history {
            if is_watched {
                let seconds = started.elapsed().as_secs_f64();
                writeln!(output, " -- {seconds:.2} seconds range")?;
            }
            started = Stopwatch::start();
            figures = Figures::default();
        } else if is_over && !is_watched {
            return Ok(output.flush()?);
        }
        output.flush()?;
        pause(PAUSE);
    }
}

/// What the samples come to, in milliseconds.
#[derive(Debug, Default)]
struct Figures {
    min_ms: f64,
    max_ms: f64,
    sum_ms: f64,
    count: u32,
}

impl Figures {
    fn add(&mut self, took: Duration) {
        let took_ms = took.as_secs_f64() * 1e3;
        self.min_ms = if self.count == 0 {
            took_ms
        } else {
            self.min_ms.min(took_ms)
        };
        self.max_ms = self.max_ms.max(took_ms);
        self.sum_ms += took_ms;
        self.count += 1;
    }

    fn shown(&self, form: Form) -> String {
        let (min, max, count) = (self.min_ms, self.max_ms, self.count);
        let avg = self.sum_ms / f64::from(count.max(1));
        match form {
            Form::Standard => {
                format!("min: {min:.2}, max: {max:.2}, avg: {avg:.2} ({count} samples)")
            }
            Form::Raw => format!("{min:.2} {max:.2} {avg:.2} {count}"),
            Form::Csv => format!("{min:.2},{max:.2},{avg:.2},{count}"),
            Form::Json | Form::QuotedJson => format!(
                "{{\"min\": {min:.2}, \"max\": {max:.2}, \"avg\": {avg:.2}, \"count\": {count}}}"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_come_in_every_form() {
        let mut figures = Figures::default();
        for took_us in [250, 1_000, 40] {
            figures.add(Duration::from_micros(took_us));
        }
        assert_eq!(
            figures.shown(Form::Standard),
            "min: 0.04, max: 1.00, avg: 0.43 (3 samples)"
        );
        assert_eq!(figures.shown(Form::Csv), "0.04,1.00,0.43,3");
        assert_eq!(
            figures.shown(Form::Json),
            "{\"min\": 0.04, \"max\": 1.00, \"avg\": 0.43, \"count\": 3}"
        );
    }
}
