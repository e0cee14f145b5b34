//! `meshgate check`: every fault of every rule file.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Args, ValueEnum};

use super::github::markdown::Markdown;
use super::github::{self, Annotation, Told};
use super::rules::{self, Loaded, RulesArgs, count};
use super::{FINDINGS, GOOD};
use crate::contract::diagnostic::{self, Level};

/// Check rule files: every fault with its file, line, column and a hint
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  meshgate check                            the domains in ./rules
  meshgate check contracts --format github  in a step of GitHub Actions: annotations, a summary
  meshgate check --format sarif > out.sarif for code scanning

In a step of GitHub Actions (GITHUB_ACTIONS=true, no terminal) the format is github unless told
otherwise: docs/rule-ci.md has a workflow and hooks.

Exit codes: 0 good (warnings at most), 1 an error in some file, 2 the directory cannot be read.")]
pub struct CheckArgs {
    #[command(flatten)]
    pub rules: RulesArgs,
    /// How to tell what was found [default: text; github in a step of GitHub Actions].
    #[arg(long, value_enum)]
    pub format: Option<Format>,
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
    /// As text, with annotations for a pull request and a summary of the job.
    Github,
}

pub fn run(args: &CheckArgs) -> ExitCode {
    let format = args.format.unwrap_or(if github::is_here() { Format::Github } else { Format::Text });
    rules::over(&args.rules, format == Format::Github, |loaded, out| write(loaded, format, out))
}

fn write(loaded: &Loaded, format: Format, out: &mut dyn Write) -> io::Result<u8> {
    let diagnostics = &loaded.compiled.diagnostics;
    let text = || format!("{}{}\n", loaded.text(diagnostics), summary(loaded));
    let told = match format {
        Format::Text => text(),
        Format::Json => diagnostic::json(diagnostics, &loaded.prefix),
        Format::Sarif => diagnostic::sarif(diagnostics, &loaded.prefix),
        Format::Github => {
            let annotations = diagnostics.iter().map(Annotation::of).collect();
            github::tell(&Told { log: text(), annotations, summary: page(loaded) }, &loaded.prefix, out)?;
            String::new()
        }
    };
    out.write_all(told.as_bytes())?;
    Ok(if loaded.compiled.is_good() { GOOD } else { FINDINGS })
}

/// The job's summary.
fn page(loaded: &Loaded) -> Markdown {
    let diagnostics = &loaded.compiled.diagnostics;
    let mut page = Markdown::default();
    page.heading(if loaded.compiled.is_good() { "meshgate check: good" } else { "meshgate check: failed" });
    page.paragraph(&summary(loaded));
    let row = |d: &diagnostic::Diagnostic| {
        [loaded.shown(&d.place), format!("{} {}", d.level.as_str(), d.code.as_str()), d.in_full()]
    };
    page.table(["Where", "Kind", "What"], diagnostics.iter().map(row).collect());
    page
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
        for format in [Format::Json, Format::Sarif] {
            let (code, out) = check(&files, format);
            assert_eq!(code, FINDINGS);
            assert!(out.contains("unknown-key") && !out.contains("not usable"), "{out}");
        }
        let (code, told) = check(&files, Format::Github);
        assert_eq!(code, FINDINGS);
        let annotation =
            "\n::error file=rules/a/b.yaml,line=2,endLine=2,col=1,endColumn=9,title=meshgate unknown-key::";
        assert!(told.starts_with(&out) && told.contains(annotation), "{told}");
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
