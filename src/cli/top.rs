//! `meshgate top`: how it stands with a gate, in a terminal. It asks the admin port for what the status page shows.

mod ask;
mod screen;
mod view;

use std::io::{self, IsTerminal as _, Write};
use std::process::ExitCode;
use std::time::Duration;

use super::output::{self, Failure};
use crate::admin::status::document::{SCHEMA, Status};

/// Between two looks.
const EVERY: Duration = Duration::from_secs(2);

/// Show rates, pass rates, violations, refusals and far ends of a gate that runs.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "\
Examples:
  meshgate top                              refreshed every two seconds, until Ctrl-C
  meshgate top --once                       one report
  meshgate top --admin 10.0.3.7:9570
  meshgate top --json | jq '.health'
  meshgate top > report.txt                 what does not fit on a screen

The same is a page for browsers at http://ADMIN/.

Exit codes: 0 good, 2 usage or operational error (no gate there).")]
pub struct TopArgs {
    /// Address of the gate's admin port: a host and a port
    #[arg(long, env = "MESHGATE_ADMIN", value_name = "ADDR", default_value = "127.0.0.1:9570")]
    pub admin: String,
    /// One report, and end
    #[arg(long)]
    pub once: bool,
    /// The document as the gate gives it (meshgate.status/v1), once
    #[arg(long)]
    pub json: bool,
}

pub fn run(args: &TopArgs) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return super::trouble(format_args!("cannot start: {error}")),
    };
    output::exit_code(runtime.block_on(execute(args)))
}

async fn execute(args: &TopArgs) -> Result<(), Failure> {
    let body = ask::status(&args.admin).await?;
    if args.json {
        io::stdout().write_all(&body)?;
        return Ok(());
    }
    let status = parse(&args.admin, &body)?;
    if args.once || !io::stdout().is_terminal() {
        let colours = io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        let text = view::report(&status, &view::Look { colours, ..view::Look::whole() });
        return Ok(io::stdout().write_all(text.as_bytes())?);
    }
    screen::follow(&args.admin, status, EVERY).await
}

fn parse(admin: &str, body: &[u8]) -> Result<Status, Failure> {
    serde_json::from_slice::<Status>(body).ok().filter(|status| status.schema == SCHEMA).ok_or_else(|| {
        Failure::Told(format!(
            "what http://{admin}/status.json answers is no document of form {SCHEMA}; is this the admin port of a gate of version {}?",
            env!("CARGO_PKG_VERSION")
        ))
    })
}
