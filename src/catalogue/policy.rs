//! Policies: what the platform team asks of many contracts, told once, and of each contract which apply and which do not.

use super::checks::{self, Consequence, fact, part};
use super::html::{Html, joined, piece};
use super::words::list;
use super::written::WrittenPolicy;
use crate::contract::Contract;
use crate::model::Mode;

/// The policies that ask something of a contract, and those it is exempt from.
pub(super) struct OfContract<'p> {
    applying: Vec<&'p WrittenPolicy>,
    exempt: Vec<(&'p WrittenPolicy, &'p str)>,
}

impl<'p> OfContract<'p> {
    pub(super) fn of(policies: &'p [WrittenPolicy], contract: &Contract) -> Self {
        let asks = |policy: &&WrittenPolicy| {
            let prefix = format!("{}/", policy.name);
            contract.checks().iter().any(|check| check.is_policy && check.id.starts_with(&prefix))
        };
        let exempt = policies.iter().filter_map(|policy| Some((policy, policy.exemption(contract)?)));
        Self { applying: policies.iter().filter(asks).collect(), exempt: exempt.collect() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.applying.is_empty() && self.exempt.is_empty()
    }

    pub(super) fn write(&self, h: &mut Html) {
        h.block("ul", &[], |h| {
            h.markup("\n");
            for policy in &self.applying {
                h.block("li", &[], |h| {
                    link(h, policy);
                    let checks = policy.entries("fields").iter().chain(policy.entries("rules"));
                    let ids = checks.filter_map(|check| check["id"].as_str());
                    let ids: Vec<Html> = ids
                        .map(|id| {
                            piece(|h| {
                                h.code(id);
                            })
                        })
                        .collect();
                    h.text(": ").add(&joined(&ids, ", "));
                });
            }
            for (policy, reason) in &self.exempt {
                h.block("li", &[], |h| {
                    h.text("Exempt from ");
                    link(h, policy);
                    h.text(": ").leaf("q", &[], reason);
                });
            }
        });
    }
}

fn mode(policy: &WrittenPolicy) -> Mode {
    part(&policy.value["mode"]).unwrap_or_default()
}

fn link(h: &mut Html, policy: &WrittenPolicy) {
    h.leaf("a", &[("href", &format!("#policies/{}", policy.name))], &policy.name);
    if mode(policy) != Mode::Enforce {
        h.badge("mode", mode(policy).as_str());
    }
}

/// A policy and its rules.
pub(super) fn section(h: &mut Html, policy: &WrittenPolicy) {
    let metadata = &policy.value["metadata"];
    h.block("article", &[("id", &format!("policies/{}", policy.name)), ("class", "product")], |h| {
        h.element("h3", &[], |h| {
            h.text(&policy.name);
            if mode(policy) != Mode::Enforce {
                h.badge("mode", mode(policy).as_str());
            }
        });
        h.markup("\n");
        if let Some(description) = metadata["description"].as_str() {
            h.paragraph("", description);
        }
        h.block("dl", &[], |h| {
            super::product::owner(h, &metadata["owner"]);
            let select = &policy.value["select"];
            fact(h, "Applies to", |h| {
                let domains = select["domains"].as_array();
                let tags = select["tags"].as_array();
                match (domains, tags) {
                    (None, None) => h.text("every contract"),
                    (Some(domains), None) => h.text("domains ").add(&list(domains, 200)),
                    (None, Some(tags)) => h.text("contracts tagged ").add(&list(tags, 200)),
                    (Some(domains), Some(tags)) => {
                        h.text("domains ").add(&list(domains, 200)).text(", contracts tagged ").add(&list(tags, 200))
                    }
                };
            });
        });
        h.block("ul", &[("class", "checks")], |h| {
            h.markup("\n");
            for written in policy.entries("fields").iter().chain(policy.entries("rules")) {
                let id = format!("{}/{}", policy.name, written["id"].as_str().unwrap_or_default());
                let consequence = Consequence::written(written, mode(policy));
                checks::check(h, &format!("policies/{id}"), &id, written, consequence);
            }
        });
    });
}
