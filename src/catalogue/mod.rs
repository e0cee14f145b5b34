//! The catalogue: what the domains offer, as one page that stands alone.
//!
//! ```text
//! compiled contracts ─┐
//! rule files ─────────┼─▶ written ─▶ domains ─▶ products: schema, rules, policies, privacy, examples, history ─▶ one page
//! history (of git) ───┘
//! ```
//!
//! The page needs no other file, no network and no script; the one it has filters the index. Same inputs, same bytes.
//! Everything a team wrote is escaped ([`html`]), and a content security policy leaves a browser nothing to run but that one
//! script. Values of private fields are masked as in a DLQ that keeps masked copies only.

mod checks;
mod examples;
mod history;
mod html;
mod policy;
mod product;
mod schema;
mod stream;
mod words;
mod written;

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use sha2::{Digest, Sha256};

use self::checks::fact;
use self::html::Html;
use self::words::count;
use self::written::{WrittenDomain, WrittenPolicy};
use crate::contract::{ContractSet, DlqPayload, RuleFiles, UnknownType};

pub use history::{CHANGES_MAX, Change, GitHistory, History};

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("filter.js");

/// The files each contract is made of (its own, its schema's, and those its schema refers to), by its own file. All paths are
/// relative to the rules directory.
pub fn sources(files: &RuleFiles, set: &ContractSet) -> BTreeMap<String, BTreeSet<String>> {
    let domains = written::domains(files, set);
    let of = |domain: &WrittenDomain<'_>| -> Vec<(String, BTreeSet<String>)> {
        domain.contracts.iter().map(|c| (c.compiled.file.to_string(), domain.sources(c))).collect()
    };
    domains.iter().flat_map(of).collect()
}

/// The page. `set` is what `files` compiled to.
pub fn render(files: &RuleFiles, set: &ContractSet, history: &History) -> String {
    let (domains, policies) = (written::domains(files, set), written::policies(files));
    let page = Page { domains, policies, history, revision: set.revision() };
    let mut html = Html::new();
    html.markup("<!DOCTYPE html>\n");
    html.block("html", &[("lang", "en")], |h| {
        h.markup("\n");
        h.block("head", &[], |h| page.head(h));
        h.block("body", &[], |h| page.body(h));
    });
    html.into_string()
}

struct Page<'a> {
    domains: Vec<WrittenDomain<'a>>,
    policies: Vec<WrittenPolicy>,
    history: &'a History,
    revision: &'a str,
}

impl Page<'_> {
    /// Whether the page tells of a contract, `DOMAIN/NAME`.
    fn has(&self, name: &str) -> bool {
        let is_it = |domain: &WrittenDomain<'_>, contract: &str| {
            domain.contracts.iter().any(|there| *there.compiled.name == *contract)
        };
        name.split_once('/').is_some_and(|(of, contract)| {
            self.domains.iter().any(|domain| *domain.domain.name == *of && is_it(domain, contract))
        })
    }

    fn head(&self, h: &mut Html) {
        h.markup("\n<meta charset=\"utf-8\">\n");
        let hash = |text: &str| BASE64.encode(Sha256::digest(text));
        let policy = format!(
            "default-src 'none'; style-src 'sha256-{}'; script-src 'sha256-{}'; base-uri 'none'; form-action 'none'",
            hash(STYLE),
            hash(SCRIPT)
        );
        h.open("meta", &[("http-equiv", "Content-Security-Policy"), ("content", &policy)]).markup("\n");
        h.markup("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n");
        h.markup("<meta name=\"color-scheme\" content=\"light dark\">\n");
        h.markup("<meta name=\"generator\" content=\"meshgate docs\">\n<title>Data products</title>\n<style>");
        h.markup(STYLE).markup("</style>\n");
    }

    fn body(&self, h: &mut Html) {
        h.markup("\n<a class=\"skip\" href=\"#products\">Skip to the data products</a>\n");
        h.block("header", &[], |h| {
            h.markup("\n<h1>Data products</h1>\n");
            let contracts: usize = self.domains.iter().map(|domain| domain.contracts.len()).sum();
            h.paragraph(
                "lead",
                format!(
                    "{} with {}: what their events must be, who answers for them, and what becomes of an event that is \
                     not as it must be.",
                    count(self.domains.len(), "domain"),
                    count(contracts, "contract")
                ),
            );
            self.provenance(h);
        });
        self.index(h);
        h.block("main", &[("id", "products"), ("tabindex", "-1")], |h| {
            h.markup("\n");
            self.domains.iter().for_each(|domain| self.domain(h, domain));
            if !self.policies.is_empty() {
                h.block("section", &[("id", "policies"), ("class", "domain")], |h| {
                    h.markup("\n<h2>Policies</h2>\n<p class=\"note\">Rules of the platform team. No domain can weaken them.</p>\n");
                    self.policies.iter().for_each(|policy| policy::section(h, policy));
                });
            }
        });
        h.markup("<script>").markup(SCRIPT).markup("</script>\n");
    }

    /// Which rule files the page tells of.
    fn provenance(&self, h: &mut Html) {
        h.element("p", &[("class", "note")], |h| {
            match self.history {
                History::Git(GitHistory { newest: Some(newest), uncommitted, .. }) => {
                    h.text("Rule files as of commit ").code(&newest.revision).text(", ");
                    h.leaf("time", &[("datetime", &newest.date)], &newest.date);
                    if !uncommitted.is_empty() {
                        h.text(format!(", with {} changed since", count(uncommitted.len(), "file")));
                    }
                }
                _ => {
                    h.text("Rule files ").code(self.revision);
                }
            }
            h.text(".");
        });
        h.markup("\n");
    }

    fn index(&self, h: &mut Html) {
        h.block("nav", &[("aria-labelledby", "index-heading")], |h| {
            h.markup("\n<h2 id=\"index-heading\">Index</h2>\n");
            // Shown by the script, without which it would do nothing.
            h.markup("<div id=\"search\" role=\"search\" hidden><label for=\"filter\">Filter by any word: a name, a field, a team</label>");
            h.markup("<input id=\"filter\" type=\"search\" autocomplete=\"off\"><p id=\"found\" role=\"status\"></p></div>\n");
            for domain in &self.domains {
                let name = &domain.domain.name;
                h.element("h3", &[], |h| {
                    h.leaf("a", &[("href", &format!("#{name}"))], name);
                });
                h.block("ul", &[("class", "index")], |h| {
                    h.markup("\n");
                    for contract in &domain.contracts {
                        h.block("li", &[], |h| product::line(h, contract));
                    }
                });
            }
            if !self.policies.is_empty() {
                h.markup("<h3><a href=\"#policies\">Policies</a></h3>\n");
            }
        });
    }

    fn domain(&self, h: &mut Html, domain: &WrittenDomain<'_>) {
        let compiled = domain.domain;
        h.block("section", &[("id", &compiled.name), ("class", "domain")], |h| {
            h.markup("\n");
            h.leaf("h2", &[], &compiled.name).markup("\n");
            let metadata = &domain.value["metadata"];
            if let Some(description) = metadata["description"].as_str() {
                h.paragraph("", description.trim_end());
            }
            h.block("dl", &[], |h| {
                product::owner(h, &metadata["owner"]);
                product::tags(h, &metadata["tags"]);
                fact(h, "Dead-letter queue", |h| {
                    match &compiled.dlq {
                        Some(queue) => h.code(queue),
                        None => h.text("the gate's"),
                    };
                    h.text(match compiled.dlq_payload {
                        DlqPayload::Verbatim => ", which keeps events as they came",
                        DlqPayload::Masked => ", which keeps copies with private fields masked",
                    });
                });
                fact(h, "Events of an unknown type", |h| {
                    h.text(match compiled.unknown_type {
                        UnknownType::Forward => "are forwarded",
                        UnknownType::Quarantine => "are quarantined",
                        UnknownType::Refuse => "are quarantined, and their producer gets an error",
                    });
                });
                fact(h, "Type of an event", |h| {
                    h.text("its CloudEvents type, else what stands at ").code(&compiled.type_pointer);
                });
            });
            for contract in &domain.contracts {
                product::article(h, self, domain, contract);
            }
        });
    }
}

/// The heads of a table's columns. Roles are told again, since a table that is laid out as cards loses them in some browsers.
fn head(h: &mut Html, names: &[&'static str]) {
    h.element("thead", &[("role", "rowgroup")], |h| {
        h.element("tr", &[("role", "row")], |h| {
            for name in names {
                h.leaf("th", &[("role", "columnheader"), ("scope", "col")], name);
            }
        });
    });
    h.markup("\n");
}

#[cfg(test)]
mod tests;
