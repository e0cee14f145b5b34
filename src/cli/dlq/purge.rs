//! `meshgate dlq purge`: letters that nobody needs any more.

use std::io::{self, BufRead as _, IsTerminal as _, Write};

use super::{FilterArgs, Place, scan};
use crate::cli::output::Failure;

#[derive(Debug, Clone, clap::Args)]
pub struct PurgeArgs {
    #[command(flatten)]
    pub filter: FilterArgs,
    /// Only say how many would be deleted.
    #[arg(long)]
    pub dry_run: bool,
    /// Do not ask.
    #[arg(long)]
    pub yes: bool,
}

pub fn run(place: &Place, args: &PurgeArgs, out: &mut dyn Write) -> Result<(), Failure> {
    if args.dry_run {
        let count = each(place, args, scan::Then::Release)?;
        writeln!(out, "{count} dead letters would be deleted")?;
        return Ok(());
    }
    if !args.yes && !is_confirmed()? {
        return Err(Failure::Told("nothing was deleted; say --yes to delete without being asked".into()));
    }
    let count = each(place, args, scan::Then::Remove)?;
    writeln!(out, "{count} dead letters deleted")?;
    Ok(())
}

fn each(place: &Place, args: &PurgeArgs, then: scan::Then) -> Result<u64, Failure> {
    let mut count = 0;
    let options = scan::Options { filter: args.filter.filter(), letters_max: u64::MAX, doing: "deleting" };
    scan::each(place, options, |_, _| {
        count += 1;
        Ok(then)
    })?;
    Ok(count)
}

/// Only a person at a terminal can say yes.
fn is_confirmed() -> Result<bool, Failure> {
    if !io::stdin().is_terminal() {
        return Ok(false);
    }
    eprint!("These events are gone for good then, unless they are in an archive. Delete them? [y/N] ");
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "yes"))
}
