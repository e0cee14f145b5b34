//! `meshgate export`: contracts in other formats.

use std::fs;
use std::io::{self, IsTerminal as _, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, Subcommand};

use super::{GOOD, trouble};
use crate::config::rules;
use crate::contract::{self, Contract, Domain, RuleFiles, diagnostic};
use crate::export::{self, Exported};

/// Write contracts in another format.
#[derive(Args)]
pub struct ExportArgs {
    #[command(subcommand)]
    format: Format,
}

#[derive(Subcommand)]
enum Format {
    Odcs(OdcsArgs),
}

/// As ODCS v3.1 (Open Data Contract Standard), one file a contract.
///
/// What the standard has no word for goes to custom properties whose names begin with `meshgate.`, and is told on stderr. The files
/// are rule files too: in place of the contracts they were written from, they judge alike.
#[derive(Args)]
#[command(after_help = "\
Examples:
  meshgate export odcs --contract orders/order.placed    print one contract
  meshgate export odcs rules -o catalogue                write catalogue/DOMAIN/CONTRACT.odcs.yaml for each

Exit codes: 0 written; 2 nothing was written.")]
struct OdcsArgs {
    /// Directory of rule files
    #[arg(default_value = "rules", value_name = "RULES_DIR")]
    rules: PathBuf,
    /// This contract alone
    #[arg(long, value_name = "DOMAIN/NAME")]
    contract: Option<String>,
    /// Directory to write into [default: one contract is printed]
    #[arg(short, long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Overwrite files that are there
    #[arg(long, requires = "out")]
    force: bool,
}

/// Reads, writes.
pub fn run(args: &ExportArgs) -> ExitCode {
    let Format::Odcs(args) = &args.format;
    match odcs(args) {
        Ok(()) => ExitCode::from(GOOD),
        Err(message) => trouble(message),
    }
}

fn odcs(args: &OdcsArgs) -> Result<(), String> {
    let files = rules::read(&args.rules).map_err(|error| error.to_string())?;
    let compiled = contract::compile(&files, "");
    if !compiled.is_good() {
        let prefix = format!("{}/", args.rules.display());
        eprint!("{}", diagnostic::text(&compiled.diagnostics, &files, &prefix, io::stderr().is_terminal()));
        return Err("the rules do not compile, so nothing was written; `meshgate check` shows this too".to_owned());
    }
    let each =
        compiled.set.domains().flat_map(|domain| domain.contracts.values().map(move |contract| (domain, contract)));
    let all: Vec<_> = each.collect();
    let named = |contract: &Contract| format!("{}/{}", contract.domain, contract.name);
    let is_wanted = |contract: &Contract| args.contract.as_ref().is_none_or(|name| *name == named(contract));
    let wanted: Vec<_> = all.iter().copied().filter(|(_, contract)| is_wanted(contract)).collect();
    let names = || all.iter().map(|(_, contract)| named(contract)).collect::<Vec<_>>().join(", ");
    match (&args.out, wanted.as_slice(), &args.contract) {
        (_, [], Some(name)) => Err(format!("there is no contract {name}; there are {}", names())),
        (_, [], None) => Err(format!("there is no contract in {}", args.rules.display())),
        (None, [(domain, contract)], _) => print(&exported(&files, domain, contract)?),
        (None, _, _) => Err(format!("of several contracts, --contract prints one ({}); -o DIR writes all", names())),
        (Some(out), wanted, _) => write(&files, wanted, out, args.force),
    }
}

fn exported(files: &RuleFiles, domain: &Domain, contract: &Contract) -> Result<Exported, String> {
    let name = format!("{}/{}", contract.domain, contract.name);
    let exported = export::odcs(files, domain, contract).ok_or_else(|| format!("{name} cannot be read again"))?;
    for warning in &exported.warnings {
        eprintln!("warning: {name}: {warning}");
    }
    Ok(exported)
}

fn print(exported: &Exported) -> Result<(), String> {
    let mut out = io::stdout().lock();
    match out.write_all(exported.text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(format!("cannot print the contract: {error}")),
        _ => Ok(()),
    }
}

/// What can be refused is refused before anything is written.
fn write(files: &RuleFiles, wanted: &[(&Arc<Domain>, &Arc<Contract>)], out: &Path, force: bool) -> Result<(), String> {
    let path = |contract: &Contract| out.join(&*contract.domain).join(format!("{}.odcs.yaml", contract.name));
    let there: Vec<String> = wanted
        .iter()
        .map(|(_, contract)| path(contract))
        .filter(|path| path.exists())
        .map(|path| path.display().to_string())
        .collect();
    if !there.is_empty() && !force {
        return Err(format!("{} is there already; nothing was written. --force overwrites", there.join(" and ")));
    }
    for (domain, contract) in wanted {
        let path = path(contract);
        let text = exported(files, domain, contract)?.text;
        let cannot_write = |error: io::Error| format!("cannot write {}: {error}", path.display());
        fs::create_dir_all(path.parent().unwrap_or(out)).map_err(cannot_write)?;
        fs::write(&path, text).map_err(cannot_write)?;
        println!("{}", path.display());
    }
    Ok(())
}
