//! The `coremap` binary: hands its arguments to the library's command line.

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Result<Vec<String>, _> = std::env::args_os()
        .skip(1)
        .map(std::ffi::OsString::into_string)
        .collect();
    match arguments {
        Ok(arguments) => coremap::cli::run(&arguments),
        Err(argument) => {
            eprintln!("coremap: error: argument {argument:?} is not valid UTF-8");
            ExitCode::from(2)
        }
    }
}
