//! `coremap-bench`: the instruments that every number about Coremap comes from.
//!
//! - `load` drives one running server and prints one CSV line.
//! - `compare` starts Coremap and redis-server in turn on the same core, measures both with the
//!   same load and writes a record: summary, raw lines, command and machine.
//!
//! The path of a measurement: `load` builds the requests, drives them through its connections in
//! a closed or an open loop and checks every reply; `process` starts servers, `usage` reads what
//! they cost, `record` writes it down.

mod clock;
mod compare;
mod load;
mod machine;
mod process;
mod record;
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
}

fn main() -> std::process::ExitCode {
    let arguments: Arguments = argh::from_env();
    let outcome = match arguments.instrument {
        Instrument::Load(options) => load::main(&options),
        Instrument::Compare(options) => compare::main(&options),
    };
    match outcome {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("error: {reason}");
            std::process::ExitCode::FAILURE
        }
    }
}
