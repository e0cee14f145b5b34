//! One contract, as those who use its events read it: a data product.

use serde_json::Value;

use super::checks::{self, fact};
use super::html::{Html, joined};
use super::schema::{self, Row};
use super::words::{anything, span};
use super::written::{WrittenContract, WrittenDomain};
use super::{Page, examples, head, history, policy, stream};
use crate::contract::{Check, Contract, Status};
use crate::model::Mode;
use crate::rule::pointer::Pointer;

/// Writes everything of one contract.
pub(super) fn article(h: &mut Html, page: &Page<'_>, domain: &WrittenDomain<'_>, contract: &WrittenContract<'_>) {
    let compiled = contract.compiled;
    let name = format!("{}/{}", compiled.domain, compiled.name);
    let heading = format!("{name}-heading");
    h.block("article", &[("id", &name), ("class", "product"), ("aria-labelledby", &heading)], |h| {
        h.element("h3", &[("id", &heading)], |h| {
            h.text(&compiled.name);
        });
        h.markup("\n");
        h.element("p", &[("class", "badges")], |h| badges(h, compiled));
        h.markup("\n");
        if let Some(description) = contract.part("metadata")["description"].as_str() {
            h.paragraph("", description.trim_end());
        }
        h.block("dl", &[], |h| overview(h, contract));
        section(h, "Schema", |h| shape(h, domain, contract));
        if !contract.entries("fields").is_empty() || !contract.entries("rules").is_empty() {
            section(h, "Rules", |h| checks::own(h, contract));
        }
        if !contract.entries("stream").is_empty() {
            section(h, "Stream checks", |h| stream::all(h, page, contract));
        }
        checks::lists(h, domain, contract);
        let applying = policy::OfContract::of(&page.policies, compiled);
        if !applying.is_empty() {
            section(h, "Policies", |h| applying.write(h));
        }
        if !contract.entries("privacy").is_empty() {
            section(h, "Private fields", |h| private(h, contract));
        }
        promises(h, contract);
        if !compiled.examples().is_empty() {
            section(h, "Examples", |h| examples::all(h, domain, compiled));
        }
        let sources = domain.sources(contract);
        section(h, "History", |h| history::table(h, page.history, &compiled.file, &compiled.name, &sources));
    });
}

fn section(h: &mut Html, title: &str, inside: impl FnOnce(&mut Html)) {
    h.leaf("h4", &[], title).markup("\n");
    inside(h);
}

/// Version, status and mode.
pub(super) fn badges(h: &mut Html, contract: &Contract) {
    h.leaf("span", &[("class", "badge version")], format!("version {}", contract.version));
    let class = match contract.status {
        Status::Active => "good",
        Status::Proposed | Status::Draft | Status::Deprecated => "warning",
        Status::Retired => "quiet",
    };
    h.badge(class, contract.status.as_str());
    if contract.mode != Mode::Enforce && contract.is_live() {
        h.badge("mode", contract.mode.as_str());
    }
}

/// Who answers for something.
pub(super) fn owner(h: &mut Html, owner: &Value) {
    for (name, key) in [("Owner", "team"), ("Contact", "contact")] {
        if let Some(text) = owner[key].as_str() {
            fact(h, name, |h| {
                h.contact(text);
            });
        }
    }
}

/// Words people have put on it.
pub(super) fn tags(h: &mut Html, tags: &Value) {
    if let Some(tags) = tags.as_array().filter(|tags| !tags.is_empty()) {
        fact(h, "Tags", |h| {
            for tag in tags.iter().filter_map(Value::as_str) {
                h.badge("quiet", tag);
            }
        });
    }
}

fn overview(h: &mut Html, contract: &WrittenContract<'_>) {
    let compiled = contract.compiled;
    owner(h, &serde_json::to_value(&compiled.owner).unwrap_or_default());
    tags(h, &contract.part("metadata")["tags"]);
    fact(h, "Events", |h| {
        match &compiled.event_type {
            Some(event_type) => h.text("of type ").code(event_type),
            None => h.text("of every type that no other contract claims"),
        };
        match &compiled.stream {
            Some(stream) => h.text(" on the stream ").code(stream.as_str()),
            None => h.text(" on every stream"),
        };
    });
    fact(h, "Payload", |h| {
        match compiled.payload.is_root() {
            true => h.text("the whole event"),
            false => h.text("what stands at ").code(&compiled.payload),
        };
    });
    fact(h, "Mode", |h| {
        h.text(match (compiled.status, compiled.mode) {
            (Status::Retired, _) => "Retired: the contract is not used.",
            (Status::Proposed | Status::Draft, _) => {
                "Not active yet: events are judged and counted, and all are forwarded."
            }
            (_, Mode::Enforce) => "Enforced: violations decide what becomes of an event.",
            (_, Mode::Shadow) => "In shadow: events are judged and counted, and all are forwarded.",
            (_, Mode::Off) => "Off: events are forwarded unjudged.",
        });
        let decides = |check: &Check| check.is_policy && check.mode == Mode::Enforce;
        if compiled.mode != Mode::Enforce && compiled.is_live() && compiled.checks().iter().any(decides) {
            h.text(" Policies decide all the same.");
        }
    });
    fact(h, "File", |h| {
        h.code(&compiled.file);
    });
}

/// The table of the schema.
fn shape(h: &mut Html, domain: &WrittenDomain<'_>, contract: &WrittenContract<'_>) {
    let Some(schema) = domain.schema(contract) else {
        h.paragraph("note", "None: the payload may be of any shape.");
        return;
    };
    let table = schema::rows(&schema);
    let private = Private::of(contract);
    let consequence = match contract.compiled.mode {
        Mode::Enforce => "An event that does not fit is quarantined.",
        Mode::Shadow => "An event that does not fit is counted, and forwarded.",
        Mode::Off => "It is not asked for: the contract is off.",
    };
    h.paragraph("note", consequence);
    let has_private = table.rows.iter().any(|row| private.class(&row.path).is_some());
    let has_words = table.rows.iter().any(|row| row.description.is_some());
    let mut heads = vec!["Field", "Type", "Required", "Must be"];
    heads.extend(has_words.then_some("Description"));
    heads.extend(has_private.then_some("Private"));
    h.block("table", &[("role", "table"), ("class", "stack schema")], |h| {
        h.element("caption", &[], |h| {
            h.text("Payload of ").code(&contract.compiled.name).text(", by ").code(schema.path);
        });
        head(h, &heads);
        h.element("tbody", &[("role", "rowgroup")], |h| {
            h.markup("\n");
            for row in &table.rows {
                let class = private.class(&row.path);
                h.block("tr", &[("role", "row")], |h| cells(h, row, class, &heads));
            }
        });
    });
    if table.is_cut {
        h.paragraph(
            "note",
            format!("There is more than these {} rows show; the rest is in {}.", schema::ROWS_MAX, schema.path),
        );
    }
}

fn cells(h: &mut Html, row: &Row, private: Option<&str>, heads: &[&'static str]) {
    h.element("th", &[("role", "rowheader"), ("scope", "row")], |h| {
        match row.path.is_empty() {
            true => h.text("the payload"),
            false => h.code(&row.path),
        };
        if !row.option.is_empty() {
            h.badge("quiet", &row.option);
        }
        if row.deprecated {
            h.badge("warning", "deprecated");
        }
    });
    for name in &heads[1..] {
        let attributes = [("role", "cell"), ("data-label", name), ("class", "none")];
        let mut cell = Html::new();
        match *name {
            "Type" => {
                cell.add(&row.types);
            }
            "Required" => {
                cell.text(match row.required {
                    Some(true) => "yes",
                    Some(false) => "no",
                    None => "",
                });
            }
            "Must be" => {
                // Samples of a private field are as private as the field.
                let remarks = if private.is_some() { &[][..] } else { &row.remarks };
                let told: Vec<Html> = row.demands.iter().chain(remarks).cloned().collect();
                cell.add(&joined(&told, "; "));
            }
            "Description" => {
                cell.text(row.description.as_deref().unwrap_or_default());
            }
            _ => {
                if let Some(class) = private {
                    cell.badge("private", class);
                }
            }
        }
        let length = if cell.is_empty() { 3 } else { 2 };
        h.element("td", &attributes[..length], |h| {
            h.add(&cell);
        });
    }
}

/// A contract's private fields, as patterns with what they are called.
struct Private<'a> {
    fields: Vec<(Vec<String>, &'a str)>,
}

impl<'a> Private<'a> {
    fn of(contract: &'a WrittenContract<'_>) -> Self {
        let field = |entry: &'a Value| {
            let path = Pointer::parse(entry["path"].as_str()?).ok()?;
            Some((path.segments().to_vec(), entry["classification"].as_str().unwrap_or("private")))
        };
        Self { fields: contract.entries("privacy").iter().filter_map(field).collect() }
    }

    /// What the place is called, where it is private or stands inside of something that is.
    fn class(&self, path: &str) -> Option<&'a str> {
        let row: Vec<String> = Pointer::parse(path).ok()?.segments().to_vec();
        self.fields.iter().find(|(field, _)| is_within(field, &row)).map(|(_, class)| *class)
    }
}

/// Whether a mask of `field` reaches `row`. As masks do, it goes into the elements of a list it was not told of; a name that
/// the schema leaves open may be any.
fn is_within(field: &[String], row: &[String]) -> bool {
    match (field, row) {
        ([], _) => true,
        (_, []) => false,
        ([name, inner @ ..], [segment, rest @ ..]) => {
            (name == segment || segment.starts_with('{')) && is_within(inner, rest)
                || segment == "*" && name != "*" && is_within(field, rest)
                || name == "*" && segment.parse::<usize>().is_ok() && is_within(inner, rest)
        }
    }
}

fn private(h: &mut Html, contract: &WrittenContract<'_>) {
    h.paragraph(
        "note",
        "Masked in messages, logs, pages and every view of the dead-letter queue; the forwarded event is untouched.",
    );
    h.block("table", &[("role", "table"), ("class", "stack")], |h| {
        h.element("caption", &[], |h| {
            h.text("Private fields of ").code(&contract.compiled.name);
        });
        head(h, &["Field", "Classification", "Shown as"]);
        h.element("tbody", &[("role", "rowgroup")], |h| {
            h.markup("\n");
            for entry in contract.entries("privacy") {
                h.block("tr", &[("role", "row")], |h| {
                    h.element("th", &[("role", "rowheader"), ("scope", "row")], |h| {
                        let path = entry["path"].as_str().unwrap_or_default();
                        h.code(schema::shown(path));
                    });
                    let class = entry["classification"].as_str().unwrap_or("—");
                    h.leaf("td", &[("role", "cell"), ("data-label", "Classification")], class);
                    let mask = match entry["mask"].as_str() {
                        Some("hash") => "a hash: the same value gives the same text",
                        _ => "***: nothing is left",
                    };
                    h.leaf("td", &[("role", "cell"), ("data-label", "Shown as")], mask);
                });
            }
        });
    });
}

/// What its owner promises, and what happens when too much is refused.
fn promises(h: &mut Html, contract: &WrittenContract<'_>) {
    if !contract.entries("slo").is_empty() {
        section(h, "Service level", |h| {
            for slo in contract.entries("slo") {
                h.element("p", &[], |h| objective(h, slo));
                h.markup("\n");
            }
        });
    }
    if contract.part("breaker").is_object() {
        section(h, "When too much is refused", |h| stream::breaker(h, contract.part("breaker")));
    }
}

fn objective(h: &mut Html, slo: &Value) {
    if slo["property"] != "errorRate" {
        h.add(&anything(slo));
        return;
    }
    let unit = if slo["unit"] == "percent" { "%" } else { " of 1" };
    h.text("At most ")
        .leaf("strong", &[], format!("{}{unit}", slo["value"]))
        .text(" of events are quarantined or dropped");
    if let Some(window) = slo["window"].as_str() {
        h.text(format!(", over {}", span(window)));
    }
    h.text(".");
}

/// The line of a contract in the index.
pub(super) fn line(h: &mut Html, contract: &WrittenContract<'_>) {
    let compiled = contract.compiled;
    let target = format!("#{}/{}", compiled.domain, compiled.name);
    h.leaf("a", &[("href", &target)], &compiled.name);
    h.text(" ");
    badges(h, compiled);
    h.text(" ").leaf("span", &[("class", "by")], &compiled.owner.team);
    if let Some(description) = contract.part("metadata")["description"].as_str() {
        h.leaf("span", &[("class", "about")], first_sentence(description));
    }
}

fn first_sentence(text: &str) -> &str {
    let text = text.trim();
    text.find(". ").map_or(text, |end| &text[..=end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_covers_what_it_reaches() {
        let covers = |field: &str, row: &str| {
            let segments = |path: &str| Pointer::parse(path).unwrap().segments().to_vec();
            is_within(&segments(field), &segments(row))
        };
        for (field, row, is) in [
            ("/email", "/email", true),
            ("/email", "/emails", false),
            ("/name", "/name/first", true),
            ("/name/first", "/name", false),
            ("/lines/*/sku", "/lines/*/sku", true),
            ("/lines/sku", "/lines/*/sku", true),
            ("/pair/*", "/pair/0", true),
            ("/lines/*/sku", "/lines/*", false),
            ("/labels/home", "/labels/{any other name}", true),
            ("", "/anything", true),
        ] {
            assert_eq!(covers(field, row), is, "{field} over {row}");
        }
    }
}
