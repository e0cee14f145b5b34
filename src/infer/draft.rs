//! The rule files of a draft, as a person would begin them: what is certain is written, what is a guess is a comment.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::fields::{Field, Ground, Privacy};
use super::node::Kind;
use super::{Names, thousands};

/// The most bytes of `privacy:`, well below what a rule file may hold.
const PRIVACY_BYTES_MAX: usize = 256 * 1024;
/// The most rules that are suggested.
const RULES_MAX: usize = 30;

/// What the contract is written from.
pub(super) struct Facts<'f> {
    pub names: Names<'f>,
    pub name: &'f str,
    pub event_type: Option<&'f str>,
    pub is_cloud_event: bool,
    /// The payload's place in the event: empty, or one key.
    pub pointer: &'f str,
    pub events: u64,
    pub fields: &'f [Field<'f>],
}

/// The contract's file.
pub(super) fn contract(facts: &Facts<'_>) -> String {
    let Facts { names, name, events, pointer, .. } = facts;
    let domain = match names.domain {
        Some(domain) => domain.to_owned(),
        None => "todo  # TODO: the domain, which is the name of this file's directory".to_owned(),
    };
    let mut text = format!(
        "\
# yaml-language-server: $schema=../contract.schema.json
# Drafted by `meshgate infer` from {events} events. While its status is draft, events are judged and counted, and all are
# forwarded. The schema asks for what all these events have in common: loosen what was chance.
apiVersion: meshgate/v1
kind: EventContract
metadata:
  domain: {domain}
  name: {name}
  version: 0.1.0
  status: draft
  # owner: {{team: TODO, contact: TODO}}  # TODO: where it is another team than the domain's
  description: \"TODO: what the event means, and when it is sent\"
",
        events = thousands(*events),
        name = scalar(name),
    );
    text += &matching(facts);
    let whole = match (facts.is_cloud_event, pointer.is_empty()) {
        (true, true) => "  # the whole event: not all of them have `data`",
        _ => "",
    };
    let pointer = if pointer.is_empty() { "\"\"" } else { pointer };
    let _ =
        writeln!(text, "payload: {{pointer: {pointer}, schema: {}}}{whole}", scalar(&format!("schemas/{name}.json")));
    text += &privacy(facts.fields);
    text += &suggestions(facts.fields);
    text
}

/// How events find the contract.
fn matching(facts: &Facts<'_>) -> String {
    let stream = facts.names.stream.map(scalar);
    let guess = format!("{}-*", facts.names.domain.unwrap_or("todo"));
    match (stream, facts.event_type.map(scalar)) {
        (Some(stream), Some(of_type)) => format!("match: {{stream: {stream}, type: {of_type}}}\n"),
        (None, Some(of_type)) => {
            format!("match: {{type: {of_type}}}  # TODO: on which streams, as in stream: {guess}; now on all of them\n")
        }
        (Some(stream), None) => {
            format!("match: {{stream: {stream}}}  # without a type, it takes all there that no other contract takes\n")
        }
        (None, None) => {
            let guess = scalar(&guess);
            format!(
                "match: {{stream: {guess}}}  # TODO: where these events are written; without a type, it takes all there that no other contract takes\n"
            )
        }
    }
}

fn privacy(fields: &[Field<'_>]) -> String {
    let mut entries = String::new();
    let mut left_out = 0;
    for field in fields {
        let Privacy::Suspected(suspicion, ground) = field.privacy else { continue };
        if field.is_below_keys || entries.len() > PRIVACY_BYTES_MAX {
            left_out += 1;
            continue;
        }
        let mask = if matches!(suspicion.mask, crate::rule::mask::MaskMethod::Hash) { "hash" } else { "redact" };
        let path = scalar(&field.path.to_string());
        let why = match ground {
            Ground::Name => format!("{}, by its name", suspicion.what),
            Ground::Values(count) => {
                format!("{}: {} of {} values", suspicion.what, thousands(count), thousands(field.node.count))
            }
            Ground::Keys => format!("{}, in its keys or below them", suspicion.what),
        };
        let classification = suspicion.classification;
        let entry = format!("- {{path: {path}, classification: {classification}, mask: {mask}}}");
        let _ = writeln!(entries, "  {entry:<70}  # {why}");
    }
    if entries.is_empty() {
        return "\n# privacy:  # nothing looked private; TODO: name what is\n".to_owned();
    }
    let mut text = "\n# TODO: take out what is not private, add what is. Masked is what people see of an event, not what is forwarded.\n\
                    privacy:\n"
        .to_owned();
    text += &entries;
    if left_out > 0 {
        let _ = writeln!(text, "  # TODO: {left_out} more fields may be private; there were too many to list");
    }
    text
}

/// Rules that may be true of other events, too. Commented out, so that nothing is judged by them yet.
fn suggestions(fields: &[Field<'_>]) -> String {
    let mut notes = String::new();
    let mut rules = String::new();
    let mut ids = BTreeSet::new();
    // Records have one partition key: of several that would do, the one that is called an id.
    let key = || fields.iter().filter(|field| expression_of(field).is_some() && is_text_key(field));
    let key = key().find(|field| field.is_called_id()).or_else(|| key().next());
    for field in fields {
        if ids.len() == RULES_MAX {
            break;
        }
        let path = printable(&field.path.to_string());
        if field.is_key() {
            let _ = writeln!(notes, "# {path} is different in each of the {} events.", thousands(field.node.count));
        } else if field.is_key_as_far_as_known() {
            let count = thousands(field.node.distinct.count() as u64);
            let _ = writeln!(notes, "# {path} is different in each of {count} events; further ones were not compared.");
        }
        let Some((id, rule, why)) = keyed(field, key).or_else(|| ranged(field)) else { continue };
        if ids.insert(id.clone()) {
            let _ = writeln!(rules, "#   - {{id: {id}, {rule}}}  # {why}");
        }
    }
    if notes.is_empty() && rules.is_empty() {
        return String::new();
    }
    if !rules.is_empty() {
        rules.insert_str(0, "# TODO: rule or chance? Widen what must hold for all events, and take out the marks before it.\n# rules:\n");
    }
    format!("\n{notes}{rules}")
}

type Suggestion = (String, String, String);

/// A key makes a partition key that keeps the events of one thing in order.
fn keyed(field: &Field<'_>, key: Option<&Field<'_>>) -> Option<Suggestion> {
    let (this, id) = expression_of(field).filter(|_| key.is_some_and(|key| std::ptr::eq(key, field)))?;
    let rule = format!("when: has(record.partitionKey), expression: record.partitionKey == {this}, severity: warning");
    Some((rule_id("keyed_by_", &id, "")?, rule, "keeps in order what has one key".to_owned()))
}

/// Partition keys are texts.
fn is_text_key(field: &Field<'_>) -> bool {
    field.is_key() && field.node.types() == [Kind::String]
}

fn ranged(field: &Field<'_>) -> Option<Suggestion> {
    let range = field.range()?;
    let kind = field.node.only_type()?;
    let literal = |text: &str| match kind {
        Kind::Integer => text.parse::<i64>().ok().map(|_| text.to_owned()),
        Kind::Number if text.contains(['.', 'e', 'E']) => Some(text.to_owned()),
        Kind::Number => Some(format!("{text}.0")),
        _ => None,
    };
    let (this, id) = expression_of(field)?;
    let (least, most) = (literal(range.least())?, literal(range.most())?);
    let may_be_absent = field.node.count < field.of;
    let may_be_null = field.node.of_kind(Kind::Null) > 0;
    let when = match (may_be_absent, may_be_null) {
        (false, false) => String::new(),
        (true, false) => format!("when: has({this}), "),
        (false, true) => format!("when: {this} != null, "),
        (true, true) => format!("when: \"has({this}) && {this} != null\", "),
    };
    let rule = format!("{when}expression: \"{this} >= {least} && {this} <= {most}\"");
    Some((rule_id("", &id, "_range")?, rule, format!("seen {}", field.presence())))
}

/// The field in CEL and as a part of an id; `None` where that takes more than names and dots.
fn expression_of(field: &Field<'_>) -> Option<(String, String)> {
    const RESERVED: [&str; 22] = [
        "true",
        "false",
        "null",
        "in",
        "as",
        "break",
        "const",
        "continue",
        "else",
        "for",
        "function",
        "if",
        "import",
        "let",
        "loop",
        "package",
        "namespace",
        "return",
        "var",
        "void",
        "while",
        "this",
    ];
    let is_identifier = |key: &String| {
        key.starts_with(|c: char| c.is_ascii_alphabetic())
            && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
            && !RESERVED.contains(&key.as_str())
    };
    let keys = field.path.segments();
    let is_plain = field.is_reachable && !keys.is_empty() && keys.iter().all(is_identifier);
    is_plain.then(|| (format!("this.{}", keys.join(".")), keys.join("_")))
}

/// Rule ids have at most 64 characters.
fn rule_id(before: &str, id: &str, after: &str) -> Option<String> {
    let id = format!("{before}{id}{after}");
    (id.len() <= 64).then_some(id)
}

/// The domain's own file. `type_pointer` where it is not the default.
pub(super) fn domain(name: &str, type_pointer: Option<&str>) -> String {
    let mut text = format!(
        "\
# yaml-language-server: $schema=../contract.schema.json
apiVersion: meshgate/v1
kind: Domain
metadata:
  name: {}
  owner: {{team: TODO, contact: TODO}}  # TODO: who answers for these events, and where to reach them
",
        scalar(name)
    );
    if let Some(pointer) = type_pointer {
        let _ = writeln!(text, "defaults: {{typePointer: {}}}", scalar(pointer));
    }
    text
}

/// Text as a scalar that means this text in block and in flow style: plain where it is plain to see, else in double quotes.
fn scalar(text: &str) -> String {
    let is_word = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/')
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/_.-*".contains(&byte));
    let has_meaning = ["true", "false", "null"].iter().any(|word| text.eq_ignore_ascii_case(word));
    if is_word && !has_meaning {
        return text.to_owned();
    }
    format!("\"{}\"", escaped(text, true))
}

/// Text for a comment: one line of it, and nothing that moves a cursor.
fn printable(text: &str) -> String {
    escaped(text, false)
}

fn escaped(text: &str, is_quoted: bool) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '"' | '\\' if is_quoted => safe.extend(['\\', c]),
            ' '..='~' => safe.push(c),
            // Letters of other scripts are read by people; marks, controls and what reorders text are not.
            _ if c.is_alphanumeric() => safe.push(c),
            _ if u32::from(c) <= 0xffff => {
                let _ = write!(safe, "\\u{:04x}", u32::from(c));
            }
            _ => {
                let _ = write!(safe, "\\U{:08x}", u32::from(c));
            }
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::contract::yaml;

    /// The schema of the same comment is told by `schema::suspect`; both name the ground.
    #[test]
    fn grounds_are_told_alike() {
        assert!(super::super::schema::suspect("x", Ground::Name).ends_with("x, by its name"));
        assert!(super::super::schema::suspect("x", Ground::Keys).ends_with("x, in its keys or below them"));
    }

    proptest! {
        #[test]
        fn a_scalar_means_its_text(text in "\\PC{0,12}|[ -~]{0,8}|(true|null|1|1.5|~|-|\\*a|/a/\\*/b|a: b|a #b|\n|\u{85}|\u{feff}|\u{1f600})") {
            let document = yaml::parse(format!("flow: {{a: {0}, b: [{0}]}}\nblock: {0}\n", scalar(&text)).as_bytes()).unwrap();
            prop_assert_eq!(&document.value, &json!({"flow": {"a": text, "b": [text]}, "block": text}));
        }

        #[test]
        fn a_comment_stays_one_line(text in any::<String>()) {
            prop_assert!(!printable(&text).contains(char::is_control));
        }
    }
}
