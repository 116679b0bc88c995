//! The rounds of an experiment: A B A B, each with freshly started and filled servers.
//!
//! What is written down of a round is what `load` prints, the fields of INFO that were asked for, and
//! what the rest of the machine did meanwhile. A key that was missed or an error that was answered ends
//! the experiment.

use std::path::Path;
use std::process::Command;

use hdrhistogram::Histogram;

use super::experiment::{Experiment, Knob, Scalar, info_column};
use crate::compare::engine::{self, Others};
use crate::load;
use crate::peers::{Peer, Running};
use crate::process;
use crate::table::{Table, line};

/// Points of a percentile plot for each halving of what is left above.
const TICKS_PER_HALF_DISTANCE: u32 = 5;

/// What was measured.
pub(super) struct Measured {
    /// A line for each value in each round.
    pub(super) raw: Table,
    /// Latencies of all rounds by quantile, for each value.
    pub(super) percentiles: Table,
}

/// One value of the knob: the server it makes, and the latencies of all its rounds.
struct Side {
    value: String,
    peer: Peer,
    /// Changes the host before the server starts.
    command: Option<String>,
    latency_ns: Histogram<u64>,
}

/// The servers of an experiment, for the record.
pub(super) fn peers(experiment: &Experiment, program: &Path) -> Result<Vec<Peer>, String> {
    let sides = sides(experiment, program)?;
    Ok(sides.into_iter().map(|side| side.peer).collect())
}

/// Runs all rounds. What was measured before a failure is kept.
pub(super) fn run(
    experiment: &Experiment,
    program: &Path,
    measured: &mut Measured,
) -> Result<(), String> {
    let mut sides = sides(experiment, program)?;
    let _undo = Undo::of(&experiment.knob);
    let mut outcome = Ok(());
    'rounds: for round in 1..=experiment.rounds {
        for side in &mut sides {
            outcome = side
                .measure(experiment, round, &mut measured.raw)
                .map_err(|error| format!("{}: {error}", side.peer.name));
            if outcome.is_err() {
                break 'rounds;
            }
        }
    }
    for side in &sides {
        side.write_percentiles(&mut measured.percentiles)?;
    }
    outcome
}

/// Empty tables for an experiment.
pub(super) fn tables(experiment: &Experiment) -> Measured {
    let mut columns = vec![
        "round".to_owned(),
        "value".to_owned(),
        "others_cpus".to_owned(),
    ];
    columns.extend(experiment.info_fields().into_iter().map(info_column));
    columns.push(load::csv_header());
    Measured {
        raw: Table::new(&columns.join(",")),
        percentiles: Table::new("value,quantile,latency_ns"),
    }
}

fn sides(experiment: &Experiment, program: &Path) -> Result<Vec<Side>, String> {
    let side = |value: &Scalar| {
        let knob = &experiment.knob;
        let mut peer = Peer::coremap(&knob.label(value), program)?;
        for (name, value) in &experiment.server.settings {
            peer.set_option(name, &value.to_string());
        }
        let value = value.to_string();
        if let Some(setting) = &knob.setting {
            peer.set_option(setting, &value);
        }
        if let Some(variable) = &knob.environment {
            peer.set_environment(variable, &value);
        }
        let command = knob.command.as_ref();
        Ok(Side {
            command: command.map(|command| command.replace("{value}", &value)),
            value,
            peer,
            latency_ns: load::histogram(),
        })
    };
    experiment.knob.values.iter().map(side).collect()
}

impl Side {
    fn measure(
        &mut self,
        experiment: &Experiment,
        round: usize,
        raw: &mut Table,
    ) -> Result<(), String> {
        if let Some(command) = &self.command {
            shell(command)?;
        }
        let running = self.start(experiment)?;
        let pid = running.server.pid();
        let load = load::Options {
            server: running.server.address.clone(),
            server_pid: Some(pid),
            ..experiment.load()?
        };
        load::preload(&load)?;
        if experiment.overwrite > 0 {
            engine::overwrite(&load, experiment.overwrite)?;
        }
        engine::settle(pid)?;
        let others = Others::begin(pid)?;
        let outcome = load::run(&load)?;
        let others_cpus = others.cpus()?;
        engine::check(load.operation, &outcome)?;
        let mut fields = vec![
            round.to_string(),
            self.value.clone(),
            format!("{others_cpus:.2}"),
        ];
        for field in experiment.info_fields() {
            let number = self.peer.info(&running.server.address, field);
            let number = number.ok_or_else(|| format!("INFO has no number `{field}`"))?;
            fields.push(number.to_string());
        }
        let rest = load::csv_line("coremap", &load, &outcome);
        raw.push(&format!("{},{rest}", line(&fields)))?;
        self.latency_ns
            .add(&outcome.latency_ns)
            .expect("all histograms have the same bounds");
        eprintln!(
            "round {round} of {}: {}: {:.1} ns of CPU, {:.0} commands/s",
            experiment.rounds,
            self.peer.name,
            outcome.cpu_ns_per_command().unwrap_or(f64::NAN),
            outcome.commands_per_s()
        );
        Ok(())
    }

    fn start(&self, experiment: &Experiment) -> Result<Running, String> {
        let server = &experiment.server;
        let cpus = process::cpu_list(&server.cpus)?;
        self.peer
            .start(server.shards, server.maxmemory_bytes, &cpus)
    }

    fn write_percentiles(&self, percentiles: &mut Table) -> Result<(), String> {
        if self.latency_ns.is_empty() {
            return Ok(());
        }
        for step in self.latency_ns.iter_quantiles(TICKS_PER_HALF_DISTANCE) {
            percentiles.push(&line(&[
                self.value.clone(),
                format!("{:.9}", step.quantile_iterated_to()),
                step.value_iterated_to().to_string(),
            ]))?;
        }
        Ok(())
    }
}

/// Puts the host back when dropped.
struct Undo(Option<String>);

impl Undo {
    fn of(knob: &Knob) -> Self {
        Self(knob.undo.clone())
    }
}

impl Drop for Undo {
    fn drop(&mut self) {
        if let Some(command) = &self.0
            && let Err(error) = shell(command)
        {
            eprintln!("the host is not as it was: {error}");
        }
    }
}

/// Runs a command that changes the host.
fn shell(command: &str) -> Result<(), String> {
    let output = Command::new("sh").args(["-c", command]).output();
    let output = output.map_err(|error| format!("`{command}`: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!(
        "`{command}`: {}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr).trim()
    ))
}

#[cfg(test)]
mod tests {
    use super::super::experiment::tests::TEXT;
    use super::*;

    #[test]
    fn a_column_for_each_field_of_info_stands_before_those_of_the_load() {
        let experiment = Experiment::parse(TEXT).unwrap();
        let text = tables(&experiment).raw.to_text();
        assert!(text.starts_with("round,value,others_cpus,info_used_memory,server,operation,"));
    }

    #[test]
    fn a_host_that_refuses_ends_the_experiment_and_what_was_changed_is_undone() {
        let folder = crate::process::Folder::new("tune").unwrap();
        let file = folder.path().join("changed");
        let path = file.display();
        shell(&format!("touch {path}")).unwrap();
        assert!(file.exists());
        let knob = Knob {
            setting: None,
            environment: None,
            command: Some("true".to_owned()),
            undo: Some(format!("rm {path}")),
            values: Vec::new(),
        };
        drop(Undo::of(&knob));
        assert!(!file.exists());
        assert!(shell("echo no >&2; exit 3").unwrap_err().contains("no"));
    }
}
