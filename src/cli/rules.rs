//! What the commands that look at rule files share.

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, ValueEnum};

use super::{GOOD, github, trouble};
use crate::config::rules;
use crate::contract::{self, Compiled, RuleFiles, diagnostic};

#[derive(Debug, Clone, Args)]
pub struct RulesArgs {
    /// Directory of the rule files, one directory a domain in it.
    #[arg(default_value = "rules", value_name = "DIR")]
    pub dir: PathBuf,
    /// Whether to colour text for a terminal.
    #[arg(long, value_enum, default_value_t, value_name = "WHEN")]
    pub color: Color,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Color {
    /// When standard output is a terminal and NO_COLOR is not set.
    #[default]
    Auto,
    Always,
    Never,
}

impl Color {
    /// Whether to colour what goes to standard output.
    pub fn is_on(self) -> bool {
        match self {
            Self::Always => true,
            Self::Never => false,
            Self::Auto => {
                io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
            }
        }
    }
}

/// The files of a directory and what came of them.
pub struct Loaded {
    pub files: RuleFiles,
    pub compiled: Compiled,
    /// What to put before a file's name so that it can be opened from here.
    pub prefix: String,
    colour: bool,
}

impl RulesArgs {
    /// Reads and compiles the directory.
    ///
    /// # Errors
    ///
    /// When it cannot be read.
    pub fn load(&self) -> Result<Loaded, rules::ReadError> {
        let files = rules::read(&self.dir)?;
        let compiled = contract::compile(&files, &rules::revision(&self.dir));
        Ok(Loaded { compiled, files, prefix: prefix(&self.dir), colour: self.color.is_on() })
    }
}

/// Runs a command over the rule files of a directory, as [`exit`] does; `for_github`: with the names and without the colours that
/// GitHub asks for.
pub fn over(
    args: &RulesArgs,
    for_github: bool,
    run: impl FnOnce(&Loaded, &mut dyn Write) -> io::Result<u8>,
) -> ExitCode {
    match args.load() {
        Ok(mut loaded) => {
            if for_github {
                (loaded.prefix, loaded.colour) = (github::prefix(&args.dir), false);
            }
            exit(|out| run(&loaded, out))
        }
        Err(error) => github::trouble(error),
    }
}

impl Loaded {
    pub fn text(&self, diagnostics: &[diagnostic::Diagnostic]) -> String {
        diagnostic::text(diagnostics, &self.files, &self.prefix, self.colour)
    }

    /// A place as people write it: file and line.
    pub fn shown(&self, place: &diagnostic::Place) -> String {
        format!("{}{}:{}", self.prefix, place.file, place.line)
    }

    /// How many domains and contracts are good.
    pub fn size(&self) -> String {
        let domains = self.compiled.set.domains().count();
        let contracts = self.compiled.set.domains().map(|d| d.contracts.len()).sum();
        format!("{} and {}", count(domains, "domain"), count(contracts, "contract"))
    }
}

/// What to put before the name of a file in `dir` so that it can be opened from here.
pub fn prefix(dir: &Path) -> String {
    let dir = dir.to_string_lossy().replace('\\', "/");
    let dir = dir.trim_start_matches("./").trim_end_matches('/');
    if matches!(dir, "" | ".") { String::new() } else { format!("{dir}/") }
}

/// `1 contract`, `2 contracts`.
pub fn count(n: usize, noun: &str) -> String {
    format!("{n} {noun}{}", if n == 1 { "" } else { "s" })
}

/// Runs a command that writes to standard output and yields its exit code. A reader that went away, as in `| head`, is
/// no trouble.
pub fn exit(run: impl FnOnce(&mut dyn Write) -> io::Result<u8>) -> ExitCode {
    let mut out = io::BufWriter::new(io::stdout().lock());
    let code = run(&mut out).and_then(|code| out.flush().map(|()| code));
    match code {
        Ok(code) => ExitCode::from(code),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::from(GOOD),
        Err(error) => trouble(format!("standard output cannot be written: {error}")),
    }
}
