//! The `meshgate` binary: parse, run, exit code.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    meshgate::cli::Cli::parse().run()
}
