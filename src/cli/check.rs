//! `meshgate check`: every fault of every rule file.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Args, ValueEnum};

use super::rules::{self, Loaded, RulesArgs, count};
use super::{FINDINGS, GOOD};
use crate::contract::diagnostic::{self, Level};

/// Check rule files: every fault with its file, line, column and a hint
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  meshgate check                            the domains in ./rules
  meshgate check contracts --format github  annotations on a pull request
  meshgate check --format sarif > out.sarif for code scanning

Exit codes: 0 good (warnings at most), 1 an error in some file, 2 the directory cannot be read.")]
pub struct CheckArgs {
    #[command(flatten)]
    pub rules: RulesArgs,
    /// How to tell what was found.
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
    /// SARIF 2.1.0, for code scanning.
    Sarif,
    /// GitHub workflow commands, which annotate a pull request.
    Github,
}

pub fn run(args: &CheckArgs) -> ExitCode {
    rules::over(&args.rules, |loaded, out| write(loaded, args.format, out))
}

fn write(loaded: &Loaded, format: Format, out: &mut dyn Write) -> io::Result<u8> {
    let diagnostics = &loaded.compiled.diagnostics;
    let told = match format {
        Format::Text => loaded.text(diagnostics),
        Format::Json => diagnostic::json(diagnostics, &loaded.prefix),
        Format::Sarif => diagnostic::sarif(diagnostics, &loaded.prefix),
        Format::Github => diagnostic::github(diagnostics, &loaded.prefix),
    };
    out.write_all(told.as_bytes())?;
    if format == Format::Text {
        writeln!(out, "{}", summary(loaded))?;
    }
    Ok(if loaded.compiled.is_good() { GOOD } else { FINDINGS })
}

fn summary(loaded: &Loaded) -> String {
    let diagnostics = &loaded.compiled.diagnostics;
    let of = |level| diagnostics.iter().filter(|d| d.level == level).count();
    let (errors, warnings) = (count(of(Level::Error), "error"), count(of(Level::Warning), "warning"));
    let mut line = format!("{} good; {errors}, {warnings}", loaded.size());
    if of(Level::Note) > 0 {
        line += &format!(", {}", count(of(Level::Note), "note"));
    }
    if !loaded.compiled.failed.is_empty() {
        line += &format!("; not usable: {}", loaded.compiled.failed.join(", "));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::super::rules::Color;
    use super::*;

    fn check(files: &[(&str, &str)], format: Format) -> (u8, String) {
        let dir = tempfile::TempDir::new().unwrap();
        for (name, content) in files {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
        let mut loaded = RulesArgs { dir: dir.path().to_owned(), color: Color::Never }.load().unwrap();
        loaded.prefix = "rules/".to_owned();
        let mut out = Vec::new();
        let code = write(&loaded, format, &mut out).unwrap();
        (code, String::from_utf8(out).unwrap())
    }

    const DOMAIN: &str = "apiVersion: meshgate/v1\nkind: Domain\nmetadata: {name: a, owner: {team: t}}\n";

    #[test]
    fn good_rules_exit_with_0() {
        let (code, out) = check(&[("a/domain.yaml", DOMAIN)], Format::Text);
        assert_eq!((code, out.as_str()), (GOOD, "1 domain and 0 contracts good; 0 errors, 0 warnings\n"));
    }

    #[test]
    fn a_fault_exits_with_1_in_every_format() {
        let files = [("a/domain.yaml", DOMAIN), ("a/b.yaml", "kind: EventContract\nnonsense: 1\n")];
        let (code, out) = check(&files, Format::Text);
        assert_eq!(code, FINDINGS);
        assert!(out.contains("rules/a/b.yaml:2:1") && out.ends_with("not usable: a\n"), "{out}");
        for format in [Format::Json, Format::Sarif, Format::Github] {
            let (code, out) = check(&files, format);
            assert_eq!(code, FINDINGS);
            assert!(out.contains("unknown-key") && !out.contains("not usable"), "{out}");
        }
    }

    #[test]
    fn a_byte_that_is_not_utf_8_is_told_with_its_place() {
        let dir = tempfile::TempDir::new().unwrap();
        std::fs::create_dir(dir.path().join("a")).unwrap();
        std::fs::write(dir.path().join("a/domain.yaml"), [DOMAIN.as_bytes(), b"# caf\xe9\n"].concat()).unwrap();
        let loaded = RulesArgs { dir: dir.path().to_owned(), color: Color::Never }.load().unwrap();
        let mut out = Vec::new();
        assert_eq!(write(&loaded, Format::Text, &mut out).unwrap(), FINDINGS);
        let out = String::from_utf8(out).unwrap();
        assert!(out.contains("a/domain.yaml:4:6"), "{out}");
    }
}
