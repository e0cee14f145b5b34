//! The command line: one file per command, each with its arguments and its `run`.
//!
//! Exit codes are the same everywhere: 0 good; 1 findings (a faulty rule file, a refused event, a failed example);
//! 2 a usage or operational error. Reports go to stdout, progress and errors to stderr.

pub mod check;
pub mod demo;
pub mod diff;
pub mod dlq;
pub mod docs;
pub mod export;
mod github;
pub mod health;
pub mod infer;
pub mod judge;
pub mod kcl;
mod notify;
pub mod output;
mod rules;
pub mod run;
pub mod tail;
pub mod test;
pub mod top;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// All that was asked for is true.
pub const GOOD: u8 = 0;
/// Faulty rule files, refused events, failed examples.
pub const FINDINGS: u8 = 1;
/// The command could not do its work. clap uses the same code for usage errors.
pub const TROUBLE: u8 = 2;

/// A data quality gate for event streams.
///
/// Events go in; each is judged against its domain's contract; good events go on to the mesh stream byte for byte, bad
/// ones to a dead-letter queue with every reason.
#[derive(Parser)]
#[command(name = "meshgate", version, max_term_width = 110, after_help = EXAMPLES)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  meshgate demo                          see the whole job, with nothing to set up
  meshgate run                           gate ./rules on 127.0.0.1:4570, store in ./data/meshgate.db
  meshgate infer events.ndjson --out rules/orders
  meshgate check rules && meshgate test rules
  meshgate export odcs -o catalogue      contracts as ODCS, for catalogues
  meshgate diff origin/main              what a change of rules means, before it is merged
  meshgate docs rules                    a page of what the domains offer, for those who use it
  AWS_ENDPOINT_URL_KINESIS=http://127.0.0.1:4570 aws kinesis put-record --stream-name orders …
  meshgate top                           how it stands with a gate that runs
  meshgate dlq ls                        what was refused, why, and whose it is

Exit codes: 0 good; 1 findings (a faulty rule file, a refused event, a failed example); 2 usage or
operational error.";

#[derive(Subcommand)]
enum Command {
    Run(run::RunArgs),
    Check(check::CheckArgs),
    Diff(diff::DiffArgs),
    Docs(docs::DocsArgs),
    Test(test::TestArgs),
    Judge(judge::JudgeArgs),
    Kcl(kcl::KclArgs),
    Infer(infer::InferArgs),
    Export(export::ExportArgs),
    Tail(tail::TailArgs),
    Dlq(dlq::DlqArgs),
    Health(health::HealthArgs),
    Top(top::TopArgs),
    Demo(demo::DemoArgs),
}

impl Cli {
    pub fn run(self) -> ExitCode {
        match self.command {
            Command::Run(args) => run::run(args),
            Command::Check(args) => check::run(&args),
            Command::Diff(args) => diff::run(&args),
            Command::Docs(args) => docs::run(&args),
            Command::Test(args) => test::run(&args),
            Command::Judge(args) => judge::run(args),
            Command::Kcl(args) => kcl::run(args),
            Command::Infer(args) => infer::run(args),
            Command::Export(args) => export::run(&args),
            Command::Tail(args) => tail::run(args),
            Command::Dlq(args) => dlq::run(args),
            Command::Health(args) => health::run(&args),
            Command::Top(args) => top::run(&args),
            Command::Demo(args) => demo::run(args),
        }
    }
}

/// Says on stderr what went wrong, and gives the exit code for it.
pub(crate) fn trouble(message: impl std::fmt::Display) -> ExitCode {
    eprintln!("error: {message}");
    ExitCode::from(TROUBLE)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    /// Where a terminal's width is not known, clap wraps at 100 columns, in the middle of an example.
    const COLUMNS: usize = 100;

    #[test]
    fn each_command_has_examples_that_fit() {
        let mut open = vec![Cli::command()];
        while let Some(command) = open.pop() {
            open.extend(command.get_subcommands().filter(|sub| sub.get_name() != "help").cloned());
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.contains("Examples:"), "{}", command.get_name());
            for line in help.lines() {
                assert!(line.chars().count() <= COLUMNS, "{}: {line}", command.get_name());
            }
        }
    }
}
