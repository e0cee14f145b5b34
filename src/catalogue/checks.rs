//! Fields and rules in words: what each demands, when, and what a violation leads to.

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::html::{Html, joined, piece};
use super::words::{count, key, list};
use super::written::{WrittenContract, WrittenDomain};
use crate::contract::Check;
use crate::model::{Mode, Severity};
use crate::rule::OnFail;

/// The most values of a field's own list that are told.
const VALUES_MAX: usize = 60;

/// The most values of a reference list that are told.
const LIST_VALUES_MAX: usize = 300;

/// What a violation of a check leads to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Consequence {
    severity: Severity,
    on_fail: OnFail,
    mode: Mode,
}

impl Consequence {
    /// As it is in force.
    fn of(check: &Check) -> Self {
        Self { severity: check.severity, on_fail: check.on_fail, mode: check.mode }
    }

    /// As written, where whoever it binds has this mode.
    pub(super) fn written(check: &Value, mode: Mode) -> Self {
        let severity = part(&check["severity"]).unwrap_or_default();
        let by_severity = if severity == Severity::Error { OnFail::Quarantine } else { OnFail::Warn };
        let own: Mode = part(&check["mode"]).unwrap_or_default();
        Self { severity, on_fail: part(&check["on_fail"]).unwrap_or(by_severity), mode: own.and(mode) }
    }

    pub(super) fn mode(self) -> Mode {
        self.mode
    }

    pub(super) fn on_fail(self) -> OnFail {
        self.on_fail
    }

    /// The same, of what leads to this.
    pub(super) fn leading_to(self, on_fail: OnFail) -> Self {
        Self { on_fail, ..self }
    }

    pub(super) fn words(self) -> &'static str {
        match (self.mode, self.on_fail) {
            (Mode::Off, _) => "Off: it is not judged.",
            (Mode::Shadow, OnFail::Quarantine) => {
                "In shadow: a violation is counted and decides nothing; enforced, it would quarantine the event."
            }
            (Mode::Shadow, OnFail::Drop) => {
                "In shadow: a violation is counted and decides nothing; enforced, it would drop the event."
            }
            (Mode::Shadow, OnFail::Warn) => "In shadow: a violation is counted, and the event forwarded.",
            (Mode::Enforce, OnFail::Quarantine) => {
                "A violation quarantines the event: it goes to the dead-letter queue, not to the mesh."
            }
            (Mode::Enforce, OnFail::Drop) => "A violation drops the event: it is counted, and goes nowhere.",
            (Mode::Enforce, OnFail::Warn) => "A violation is counted, and the event forwarded.",
        }
    }
}

/// A part of a rule file that is known to be well-formed.
pub(super) fn part<T: DeserializeOwned>(value: &Value) -> Option<T> {
    T::deserialize(value).ok()
}

/// The fields of a contract, then its rules.
pub(super) fn own(h: &mut Html, contract: &WrittenContract<'_>) {
    let checks = contract.compiled.checks();
    let consequence = |written: &Value| {
        let id = written["id"].as_str().unwrap_or_default();
        let check = checks.iter().find(|check| !check.is_policy && &*check.id == id);
        check.map_or_else(|| Consequence::written(written, contract.compiled.mode), Consequence::of)
    };
    let all = contract.entries("fields").iter().chain(contract.entries("rules"));
    h.block("ul", &[("class", "checks")], |h| {
        h.markup("\n");
        for written in all {
            let id = format!("{}/{}/{}", contract.compiled.domain, contract.compiled.name, text(written, "id"));
            check(h, &id, text(written, "id"), written, consequence(written));
        }
    });
}

/// One field or rule.
pub(super) fn check(h: &mut Html, anchor: &str, id: &str, written: &Value, consequence: Consequence) {
    h.block("li", &[("id", anchor)], |h| {
        heading(h, id, written, consequence);
        match written["metric"].as_str() {
            Some(metric) => field(h, metric, written),
            None => rule(h, written),
        }
        told(h, "Its producer is told: ", written);
        h.paragraph("note", consequence.words());
    });
}

/// The id of a check, and how much it weighs.
pub(super) fn heading(h: &mut Html, id: &str, written: &Value, consequence: Consequence) {
    h.element("h5", &[], |h| {
        h.code(id);
        let severity = consequence.severity.as_str();
        h.badge(severity, severity);
        if let Some(dimension) = written["dimension"].as_str() {
            h.badge("quiet", dimension);
        }
        if consequence.mode != Mode::Enforce {
            h.badge("mode", consequence.mode.as_str());
        }
    });
    h.markup("\n");
}

/// The message of a check, where it has one.
pub(super) fn told(h: &mut Html, words: &'static str, written: &Value) {
    if let Some(message) = written["message"].as_str() {
        h.element("p", &[], |h| {
            h.text(words).leaf("q", &[], message);
        });
        h.markup("\n");
    }
}

fn text<'v>(written: &'v Value, key: &str) -> &'v str {
    written[key].as_str().unwrap_or_default()
}

fn field(h: &mut Html, metric: &str, written: &Value) {
    let arguments = &written["arguments"];
    h.element("p", &[], |h| {
        h.code(place(text(written, "path")));
        match metric {
            "nullValues" => {
                h.text(" must be there, and not null.");
            }
            "missingValues" => {
                h.text(" must be there, and not null");
                if let Some(values) = arguments["missingValues"].as_array() {
                    let word = if values.len() == 1 { " or " } else { " or one of " };
                    h.text(word).add(&list(values, VALUES_MAX));
                }
                h.text(".");
            }
            "invalidValues" => {
                h.text(", where it is there, must ").add(&valid(arguments)).text(".");
            }
            other => {
                h.text(format!(": {}.", key(other)));
            }
        }
    });
    h.markup("\n");
}

pub(super) fn place(path: &str) -> &str {
    if path.is_empty() { "the payload" } else { path }
}

/// What makes a value valid.
pub(super) fn valid(arguments: &Value) -> Html {
    let mut told = Vec::new();
    if let Some(values) = arguments["validValues"].as_array() {
        told.push(piece(|h| {
            h.text("be one of ").add(&list(values, VALUES_MAX));
        }));
    }
    if let Some(name) = arguments["validValuesFrom"].as_str() {
        told.push(piece(|h| {
            h.text("be in the list ").code(name);
        }));
    }
    if let Some(pattern) = arguments["pattern"].as_str() {
        told.push(piece(|h| {
            h.text("match ").code(pattern);
        }));
    }
    joined(&told, " and ")
}

fn rule(h: &mut Html, written: &Value) {
    let mut expression = |words: &str, key: &str| {
        if let Some(source) = written[key].as_str() {
            h.paragraph("label", words);
            h.block("pre", &[], |h| {
                h.code(source.trim_end());
            });
        }
    };
    expression("Only where", "when");
    expression("Must hold", "expression");
    expression("Its producer is told the text of", "messageExpression");
}

/// One entry of a list of facts.
pub(super) fn fact(h: &mut Html, name: &str, value: impl FnOnce(&mut Html)) {
    h.element("div", &[], |h| {
        h.leaf("dt", &[], name).element("dd", &[], value);
    });
    h.markup("\n");
}

/// The lists of known values that a contract's fields refer to.
pub(super) fn lists(h: &mut Html, domain: &WrittenDomain<'_>, contract: &WrittenContract<'_>) {
    for (name, written) in contract.part("reference").as_object().into_iter().flatten() {
        let values = domain.list(contract, name);
        h.block("details", &[], |h| {
            h.element("summary", &[], |h| {
                h.text("List ").code(name).text(format!(": {}", count(values.len(), "value")));
            });
            h.element("p", &[], |h| {
                h.text("Column ").code(text(written, "column")).text(" of ").code(text(written, "file")).text(": ");
                let told: Vec<Html> = values
                    .iter()
                    .take(LIST_VALUES_MAX)
                    .map(|value| {
                        piece(|h| {
                            h.code(value);
                        })
                    })
                    .collect();
                h.add(&joined(&told, ", "));
                if values.len() > told.len() {
                    h.text(format!(" and {} more", values.len() - told.len()));
                }
                h.text(".");
            });
        });
    }
}
