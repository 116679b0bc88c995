//! `coremap-bench`: the instruments that every number about Coremap comes from.
//!
//! - `load` drives one running server and prints one CSV line.
//! - `compare` starts Coremap and its peers in turn on the same cores, measures all with the same
//!   load and writes a record: a folder with command, versions, machine and every raw line.
//! - `goals` measures every figure this project has promised and says where each stands.
//! - `report` makes a record's tables and plots again.
//! - `tune` asks what a knob does, and writes down what the rounds prove.
//! - `hits` compares how often caches of the same memory find what they are asked for.
//! - `soak` keeps a server busy for long while its clients are killed, and says whether anything grew.
//! - `lsm` serves an LSM tree over Redis's protocol, for `compare`.
//!
//! The path of a measurement: `peers` says how each server is started, `process` starts it, `load`
//! builds the requests, drives them through its connections in a closed or an open loop and checks
//! every reply, `usage` reads what the server spent, `compare/engine` puts rounds together, `record`
//! keeps them as a `table`, and `report` with `plot` shows them.

mod allocations;
mod clock;
mod compare;
mod goals;
mod hits;
mod load;
mod lsm;
mod machine;
mod peers;
mod plot;
mod process;
mod record;
mod report;
mod soak;
mod table;
mod tune;
mod usage;

use argh::FromArgs;

/// Measure Coremap and its peers.
#[derive(FromArgs)]
struct Arguments {
    #[argh(subcommand)]
    instrument: Instrument,
}

#[derive(FromArgs)]
#[argh(subcommand)]
enum Instrument {
    Load(load::Options),
    Compare(compare::Options),
    Report(report::Options),
    Goals(goals::Options),
    Lsm(lsm::Options),
    Hits(hits::Options),
    Tune(tune::Options),
    Soak(soak::Options),
}

fn main() -> std::process::ExitCode {
    coremap::sys::end_with_reader();
    let arguments: Arguments = argh::from_env();
    let outcome = match arguments.instrument {
        Instrument::Load(options) => load::main(&options),
        Instrument::Compare(options) => compare::main(&options),
        Instrument::Report(options) => report::main(&options),
        Instrument::Goals(options) => goals::main(&options),
        Instrument::Lsm(options) => lsm::main(&options),
        Instrument::Hits(options) => hits::main(&options),
        Instrument::Tune(options) => tune::main(&options),
        Instrument::Soak(options) => soak::main(&options),
    };
    match outcome {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("error: {reason}");
            std::process::ExitCode::FAILURE
        }
    }
}
