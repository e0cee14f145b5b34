//! `meshgate export`: contracts in other formats.

use std::io::{self, IsTerminal as _, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, Subcommand};

use super::{GOOD, output, trouble};
use crate::config::rules;
use crate::contract::shape::FORMAT_SCHEMA;
use crate::contract::{self, Contract, Domain, RuleFiles, diagnostic};
use crate::export::{self, Exported};

/// Write contracts, or what they are written by, in another format.
#[derive(Args)]
#[command(after_help = "\
Examples:
  meshgate export odcs -o catalogue                   each contract as ODCS, for catalogues
  meshgate export schema > rules/contract.schema.json what editors complete rule files from")]
pub struct ExportArgs {
    #[command(subcommand)]
    format: Format,
}

#[derive(Subcommand)]
enum Format {
    Odcs(OdcsArgs),
    Schema(SchemaArgs),
}

/// The JSON Schema of rule files, for editors.
///
/// Rule files name it in their first line: `# yaml-language-server: $schema=../contract.schema.json`.
#[derive(Args)]
#[command(after_help = "\
Examples:
  meshgate export schema > rules/contract.schema.json")]
struct SchemaArgs {}

/// As ODCS v3.1 (Open Data Contract Standard), one file a contract.
///
/// What the standard has no word for goes to custom properties whose names begin with `meshgate.`, and is told on stderr. The files
/// are rule files too: in place of the contracts they were written from, they judge alike.
#[derive(Args)]
#[command(after_help = "\
Examples:
  meshgate export odcs --contract orders/order.placed   print one contract
  meshgate export odcs rules -o catalogue               catalogue/DOMAIN/CONTRACT.odcs.yaml for each

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
    let done = match &args.format {
        Format::Odcs(args) => odcs(args),
        Format::Schema(SchemaArgs {}) => print(FORMAT_SCHEMA),
    };
    match done {
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
        (None, [(domain, contract)], _) => print(&exported(&files, domain, contract)?.text),
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

fn print(text: &str) -> Result<(), String> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(format!("cannot print it: {error}")),
        _ => Ok(()),
    }
}

/// What can be refused is refused before anything is written.
fn write(files: &RuleFiles, wanted: &[(&Arc<Domain>, &Arc<Contract>)], out: &Path, force: bool) -> Result<(), String> {
    let path = |contract: &Contract| out.join(&*contract.domain).join(format!("{}.odcs.yaml", contract.name));
    if !force {
        output::refuse_those_there(wanted.iter().map(|(_, contract)| path(contract)))?;
    }
    for (domain, contract) in wanted {
        let path = path(contract);
        let text = exported(files, domain, contract)?.text;
        output::write_file(&path, &text)?;
        println!("{}", path.display());
    }
    Ok(())
}
