//! `meshgate test`: runs the examples that stand beside the rules.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use serde_json::json;

use super::github::markdown::Markdown;
use super::github::{self, Annotation, Told};
use super::rules::{self, Loaded, RulesArgs, count};
use super::{FINDINGS, GOOD};
use crate::contract::{Contract, ContractSet, Example, Tried};

/// Run the examples in contracts, and name the rules that no example ever fails
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  meshgate test                 the examples of the domains in ./rules
  meshgate test --format json   one JSON object a line
  meshgate test --format github annotations and a summary: what it is in a step of GitHub Actions

Exit codes: 0 every example came out as expected, 1 some did not or a rule file has an error, 2 the
directory cannot be read. A rule that no example fails is named, and is no error.")]
pub struct TestArgs {
    #[command(flatten)]
    pub rules: RulesArgs,
    /// How to tell what came out [default: text; github in a step of GitHub Actions].
    #[arg(long, value_enum)]
    pub format: Option<Format>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line: an `example`, an `untested_rule`, a `fault`, and one `summary`.
    Json,
    /// As text, with annotations for a pull request and a summary of the job.
    Github,
}

pub fn run(args: &TestArgs) -> ExitCode {
    let format = args.format.unwrap_or(if github::is_here() { Format::Github } else { Format::Text });
    rules::over(&args.rules, format == Format::Github, |loaded, out| write(loaded, format, out))
}

/// What came of one contract's examples.
struct Tested<'c> {
    contract: &'c Contract,
    tried: Vec<(&'c Example, Tried)>,
    /// Ids of the rules no example fails.
    untested: Vec<&'c str>,
}

fn write(loaded: &Loaded, format: Format, out: &mut dyn Write) -> io::Result<u8> {
    let mut tested = Vec::new();
    for domain in loaded.compiled.set.domains() {
        tested.extend(domain.contracts.values().map(|contract| test(contract, &loaded.compiled.set)));
    }
    match format {
        Format::Text => write_text(loaded, &tested, out)?,
        Format::Json => write_json(loaded, &tested, out)?,
        Format::Github => {
            let mut text = Vec::new();
            write_text(loaded, &tested, &mut text)?;
            let faults = loaded.compiled.diagnostics.iter().filter(|d| d.is_error());
            let annotations = tested.iter().flat_map(Tested::failures).chain(faults).map(Annotation::of).collect();
            let log = String::from_utf8_lossy(&text).into_owned();
            github::tell(&Told { log, annotations, summary: page(loaded, &tested) }, &loaded.prefix, out)?;
        }
    }
    let is_good = loaded.compiled.is_good() && tested.iter().all(|t| t.failures().count() == 0);
    Ok(if is_good { GOOD } else { FINDINGS })
}

fn test<'c>(contract: &'c Contract, set: &ContractSet) -> Tested<'c> {
    let tried: Vec<_> = contract.examples().iter().map(|e| (e, contract.try_example(e, set))).collect();
    let failed: BTreeSet<&str> = tried.iter().flat_map(|(_, t)| &t.violations).map(String::as_str).collect();
    // A policy's rules are tested where the policy is.
    let of_policy = |id: &str| contract.checks().iter().any(|check| check.is_policy && *check.id == *id);
    let untested = contract.rule_ids().filter(|id| !failed.contains(id) && !of_policy(id)).collect();
    Tested { contract, tried, untested }
}

impl Tested<'_> {
    fn failures(&self) -> impl Iterator<Item = &crate::contract::Diagnostic> {
        self.tried.iter().filter_map(|(_, tried)| tried.failure.as_ref())
    }

    fn name(&self) -> String {
        format!("{}/{}", self.contract.domain, self.contract.name)
    }
}

fn write_text(loaded: &Loaded, tested: &[Tested<'_>], out: &mut dyn Write) -> io::Result<()> {
    for tested in tested.iter().filter(|t| !t.tried.is_empty()) {
        writeln!(out, "{} {}", tested.name(), tested.contract.version)?;
        for (example, tried) in &tested.tried {
            let mark = if tried.failure.is_some() { "FAIL" } else { "ok" };
            writeln!(out, "  {mark:<4}  {:<10}  {}", tried.verdict.as_str(), example.name)?;
        }
    }
    let faults: Vec<_> =
        tested.iter().flat_map(Tested::failures).chain(&loaded.compiled.diagnostics).cloned().collect();
    if !faults.is_empty() {
        write!(out, "\n{}", loaded.text(&faults).trim_end())?;
        writeln!(out)?;
    }
    let untested: Vec<_> = tested.iter().filter(|t| !t.untested.is_empty()).collect();
    if !untested.is_empty() {
        writeln!(out, "\nRules that no example fails:")?;
        for tested in untested {
            writeln!(out, "  {}: {}", tested.name(), tested.untested.join(", "))?;
        }
    }
    writeln!(out, "\n{}", Totals::of(loaded, tested).line())
}

/// The job's summary.
fn page(loaded: &Loaded, tested: &[Tested<'_>]) -> Markdown {
    let totals = Totals::of(loaded, tested);
    let mut page = Markdown::default();
    let is_good = totals.failed + totals.faults == 0;
    page.heading(if is_good { "meshgate test: good" } else { "meshgate test: failed" });
    page.paragraph(&totals.line());
    let failures = tested.iter().flat_map(Tested::failures);
    page.table(["Where", "Failed example"], failures.map(|d| [loaded.shown(&d.place), d.in_full()]).collect());
    let faults = loaded.compiled.diagnostics.iter().filter(|d| d.is_error());
    page.table(["Where", "Error"], faults.map(|d| [loaded.shown(&d.place), d.in_full()]).collect());
    let row = |t: &Tested<'_>| {
        let (examples, failed) = (t.tried.len(), t.failures().count());
        [
            format!("{} {}", t.name(), t.contract.version),
            examples.to_string(),
            failed.to_string(),
            t.untested.join(", "),
        ]
    };
    let headers = ["Contract", "Examples", "Failed", "Rules that no example fails"];
    page.table(headers, tested.iter().map(row).collect());
    page
}

fn write_json(loaded: &Loaded, tested: &[Tested<'_>], out: &mut dyn Write) -> io::Result<()> {
    for tested in tested {
        let contract = tested.contract;
        for (example, tried) in &tested.tried {
            let mut line = json!({
                "kind": "example", "domain": *contract.domain, "contract": *contract.name, "example": *example.name,
                "passed": tried.failure.is_none(), "verdict": tried.verdict.as_str(), "violations": tried.violations,
                "file": format!("{}{}", loaded.prefix, example.place.file), "line": example.place.line,
            });
            if let Some(failure) = &tried.failure {
                line["message"] = json!(failure.message);
            }
            writeln!(out, "{line}")?;
        }
        for rule in &tested.untested {
            let line = json!({
                "kind": "untested_rule", "domain": *contract.domain, "contract": *contract.name, "rule": rule,
            });
            writeln!(out, "{line}")?;
        }
    }
    for d in loaded.compiled.diagnostics.iter().filter(|d| d.is_error()) {
        let file = format!("{}{}", loaded.prefix, d.place.file);
        let line = json!({
            "kind": "fault", "file": file, "line": d.place.line, "column": d.place.column, "code": d.code.as_str(),
            "message": d.message,
        });
        writeln!(out, "{line}")?;
    }
    let totals = Totals::of(loaded, tested);
    let line = json!({
        "kind": "summary", "examples": totals.examples, "passed": totals.passed(), "failed": totals.failed,
        "untested_rules": totals.untested, "faults": totals.faults,
    });
    writeln!(out, "{line}")
}

struct Totals {
    examples: usize,
    failed: usize,
    untested: usize,
    faults: usize,
}

impl Totals {
    fn of(loaded: &Loaded, tested: &[Tested<'_>]) -> Self {
        Self {
            examples: tested.iter().map(|t| t.tried.len()).sum(),
            failed: tested.iter().map(|t| t.failures().count()).sum(),
            untested: tested.iter().map(|t| t.untested.len()).sum(),
            faults: loaded.compiled.diagnostics.iter().filter(|d| d.is_error()).count(),
        }
    }

    fn passed(&self) -> usize {
        self.examples - self.failed
    }

    fn line(&self) -> String {
        let examples = count(self.examples, "example");
        let line = format!("{examples}: {} passed, {} failed", self.passed(), self.failed);
        let line = format!("{line}; {} that no example fails", count(self.untested, "rule"));
        match self.faults {
            0 => line,
            faults => format!("{line}; {} in rule files", count(faults, "error")),
        }
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::super::rules::Color;
    use super::*;

    fn check(expect_verdict: &str, format: Format, code: u8, expected: &Expect) {
        let dir = tempfile::TempDir::new().unwrap();
        std::fs::create_dir(dir.path().join("shop")).unwrap();
        let domain = "apiVersion: meshgate/v1\nkind: Domain\nmetadata: {name: shop, owner: {team: t}}\n";
        let contract = format!(
            "apiVersion: meshgate/v1\nkind: EventContract\nmatch: {{type: sold}}\n\
             metadata: {{domain: shop, name: sold, version: 1.0.0, status: active}}\n\
             rules: [{{id: paid, expression: this.paid, message: not paid}}, {{id: named, expression: this.name != \"\"}}]\n\
             examples:\n  - {{name: unpaid, event: {{type: sold, paid: false, name: x}},\n\
             \x20    expect: {{verdict: {expect_verdict}, violations: [paid]}}}}\n"
        );
        std::fs::write(dir.path().join("shop/domain.yaml"), domain).unwrap();
        std::fs::write(dir.path().join("shop/sold.yaml"), contract).unwrap();
        let mut loaded = RulesArgs { dir: dir.path().to_owned(), color: Color::Never }.load().unwrap();
        loaded.prefix = "rules/".to_owned();
        let mut out = Vec::new();
        assert_eq!(write(&loaded, format, &mut out).unwrap(), code);
        expected.assert_eq(&String::from_utf8(out).unwrap());
    }

    #[test]
    fn what_passes_and_what_is_untested_is_told() {
        check(
            "quarantine",
            Format::Text,
            GOOD,
            &expect![[r#"
            shop/sold 1.0.0
              ok    quarantine  unpaid

            Rules that no example fails:
              shop/sold: named

            1 example: 1 passed, 0 failed; 1 rule that no example fails
        "#]],
        );
    }

    #[test]
    fn a_failed_example_is_shown_in_its_file() {
        check(
            "forward",
            Format::Text,
            FINDINGS,
            &expect![[r#"
            shop/sold 1.0.0
              FAIL  quarantine  unpaid

            error[example-fails]: example "unpaid" fails: verdict quarantine, expected forward
             --> rules/shop/sold.yaml:8:6
              |
            8 |      expect: {verdict: forward, violations: [paid]}}
              |      ^^^^^^

            Rules that no example fails:
              shop/sold: named

            1 example: 0 passed, 1 failed; 1 rule that no example fails
        "#]],
        );
    }

    #[test]
    fn github_is_shown_the_line_of_what_was_expected() {
        check(
            "forward",
            Format::Github,
            FINDINGS,
            &expect![[r#"
            shop/sold 1.0.0
              FAIL  quarantine  unpaid

            error[example-fails]: example "unpaid" fails: verdict quarantine, expected forward
             --> rules/shop/sold.yaml:8:6
              |
            8 |      expect: {verdict: forward, violations: [paid]}}
              |      ^^^^^^

            Rules that no example fails:
              shop/sold: named

            1 example: 0 passed, 1 failed; 1 rule that no example fails
            ::error file=rules/shop/sold.yaml,line=8,endLine=8,col=6,endColumn=12,title=meshgate example-fails::example "unpaid" fails: verdict quarantine, expected forward
        "#]],
        );
    }

    #[test]
    fn json_says_the_same_a_line_each() {
        check(
            "forward",
            Format::Json,
            FINDINGS,
            &expect![[r#"
            {"kind":"example","domain":"shop","contract":"sold","example":"unpaid","passed":false,"verdict":"quarantine","violations":["paid"],"file":"rules/shop/sold.yaml","line":8,"message":"example \"unpaid\" fails: verdict quarantine, expected forward"}
            {"kind":"untested_rule","domain":"shop","contract":"sold","rule":"named"}
            {"kind":"summary","examples":1,"passed":0,"failed":1,"untested_rules":1,"faults":0}
        "#]],
        );
    }
}
