//! A notice in words: the line that people see first, and the JSON document for programs. Names and counts; never a value of an event.

use std::fmt::Write;

use serde::Serialize;

use super::{Event, Notice, Tally};
use crate::contract::Owner;

/// Names the document's form. Another form gets another name.
pub const SCHEMA: &str = "meshgate.notice/v1";

/// The longest subject in bytes. SNS wants fewer than 100 (API reference of `Publish`).
pub const SUBJECT_BYTES_MAX: usize = 99;

/// The longest word of a rule file that is passed on, in characters. Names are shorter; whom to ask may be anything.
const WORD_CHARS_MAX: usize = 256;

/// What a notice says beside what was counted.
#[derive(Debug, Clone, Copy)]
pub struct About<'a> {
    /// Unique to the notice.
    pub id: &'a str,
    /// The domain's; `None` where no domain took the events, or it has gone since.
    pub owner: Option<&'a Owner>,
    /// Of the domain's rules in force.
    pub revision: Option<&'a str>,
    /// The process that tells it, for people.
    pub gate: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document<'a> {
    schema: &'static str,
    id: &'a str,
    event: &'static str,
    domain: &'a str,
    /// That of the first rule.
    #[serde(skip_serializing_if = "Option::is_none")]
    contract: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    owner: Option<ShownOwner>,
    at: String,
    since: String,
    last_quarantined_at: String,
    judged: u64,
    quarantined: u64,
    peak_per_minute: u64,
    rules: Vec<ShownRule<'a>>,
    by_other_rules: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    revision: Option<&'a str>,
    gate: &'a str,
    command: String,
}

#[derive(Serialize)]
struct ShownOwner {
    team: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    contact: Option<String>,
}

#[derive(Serialize)]
struct ShownRule<'a> {
    contract: &'a str,
    rule: &'a str,
    kind: &'static str,
    events: u64,
}

impl<'a> ShownRule<'a> {
    fn of(tally: &'a Tally) -> Self {
        let Tally { contract, rule, kind, events } = tally;
        Self { contract, rule, kind: kind.as_str(), events: *events }
    }
}

/// The document. A few kilobytes at most.
pub fn document(notice: &Notice, about: &About<'_>) -> String {
    let owner =
        about.owner.map(|owner| ShownOwner { team: cut(&owner.team), contact: owner.contact.as_deref().map(cut) });
    let document = Document {
        schema: SCHEMA,
        id: about.id,
        event: notice.event.as_str(),
        domain: &notice.domain,
        contract: notice.rules.first().map(|tally| &*tally.contract),
        owner,
        at: notice.at.to_string(),
        since: notice.since.to_string(),
        last_quarantined_at: notice.last.to_string(),
        judged: notice.judged,
        quarantined: notice.quarantined,
        peak_per_minute: notice.peak_per_minute,
        rules: notice.rules.iter().map(ShownRule::of).collect(),
        by_other_rules: notice.by_others,
        revision: about.revision,
        gate: about.gate,
        command: command(notice),
    };
    serde_json::to_string(&document).unwrap_or_default()
}

/// What happened, in one line of printable ASCII, at most [`SUBJECT_BYTES_MAX`].
pub fn subject(notice: &Notice) -> String {
    let what = match notice.event {
        Event::Started => "quarantine started",
        Event::Exceeded => "quarantine exceeds its rate",
        Event::Ended => "quarantine ended",
    };
    let mut text = format!("meshgate: {}: {what}, {} of {}", notice.domain, notice.quarantined, notice.judged);
    if let Some(first) = notice.rules.first() {
        let _ = write!(text, ", {}", first.rule);
    }
    let is_plain = |c: char| c == ' ' || c.is_ascii_graphic();
    text.chars().map(|c| if is_plain(c) { c } else { '?' }).take(SUBJECT_BYTES_MAX).collect()
}

/// What shows the dead letters that are meant.
pub fn command(notice: &Notice) -> String {
    let mut text = format!("meshgate dlq ls --domain {}", quoted(&notice.domain));
    if let Some(first) = notice.rules.first() {
        let _ = write!(text, " --rule {}", quoted(&first.rule));
    }
    text
}

/// As a shell takes it for one word.
fn quoted(word: &str) -> String {
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'/' | b'-');
    if !word.is_empty() && word.bytes().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

fn cut(text: &str) -> String {
    text.chars().take(WORD_CHARS_MAX).collect()
}
