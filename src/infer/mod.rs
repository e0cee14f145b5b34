//! Drafts a contract from sample events: what they all have in common, written for a person to edit.
//!
//! ```text
//! bytes ─▶ split (events) ─▶ Sample (one tree of what was seen, by type) ─▶ draft ─▶ contract, schema, domain, table
//! ```
//!
//! All events are looked at, in memory that does not grow with them: paths, depth, keys and different values are bounded,
//! and each bound that was met is told. Every event that was seen passes the drafted contract; that is the property this
//! module is tested by. Values are shown nowhere but where they are the point of the schema: enumerations, and the letters of
//! a pattern, of fields that nothing says are private.

mod distinct;
mod draft;
mod fields;
mod node;
mod private;
mod schema;
mod split;
mod text;

use std::collections::BTreeMap;

use serde::Serialize;

pub use distinct::{DISTINCT_MAX, UNIQUE_MAX};
pub use node::{DEPTH_MAX, KEYS_MAX, PATHS_MAX, PATHS_OF_TYPE_MAX};
pub use split::{EVENT_BYTES_MAX, Piece, SplitFault, Splitter};

use self::fields::{Field, Privacy};
use self::node::{Node, Room};
use crate::decode::cloudevents;
use crate::decode::json::{self, Malformed};
use crate::rule::pointer::Pointer;

/// The most event types that are told apart.
pub const TYPES_MAX: usize = 1_000;
/// The most event types whose events are looked at when none was chosen: those that came first.
pub const TYPES_LOOKED_AT_MAX: usize = 20;
/// The longest event type that a contract can name, in characters.
const TYPE_CHARS_MAX: usize = 256;

/// What to look for in a sample.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Only events of this type; `None` for those of the most frequent one.
    pub event_type: Option<String>,
    /// Where events that are no CloudEvents name their type.
    pub type_pointer: Pointer,
}

impl Settings {
    /// Where events name their type unless the domain says otherwise.
    pub fn default_type_pointer() -> Pointer {
        Pointer::root().child("type")
    }
}

/// What a draft is called.
#[derive(Debug, Clone, Copy)]
pub struct Names<'n> {
    /// The domain's name, which must be one; a draft without it says that it is to do.
    pub domain: Option<&'n str>,
    /// What the contract of events without a type is called.
    pub untyped: &'n str,
    /// `match.stream`, a glob that compiles.
    pub stream: Option<&'n str>,
}

/// What was seen so far of a sample.
#[derive(Debug)]
pub struct Sample {
    settings: Settings,
    groups: Vec<Group>,
    index: BTreeMap<Option<Box<str>>, usize>,
    room: Room,
    /// Events of types beyond [`TYPES_MAX`].
    uncounted: u64,
}

/// The events of one type.
#[derive(Debug)]
struct Group {
    event_type: Option<Box<str>>,
    events: u64,
    cloud_events: u64,
    /// `None` when its events are counted only.
    root: Option<Node>,
    paths_left: usize,
}

/// Why nothing can be drafted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Undrafted {
    #[error("there is no event in it")]
    NoEvents,
    #[error("no event in it has the type that was asked for")]
    NoSuchType(Vec<TypeSeen>),
    /// The most frequent type came after too many others.
    #[error(
        "it holds more than {TYPES_LOOKED_AT_MAX} types of events, and the most frequent was not among the first; choose one"
    )]
    NotLookedAt(Vec<TypeSeen>),
}

/// A type of events in the sample.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TypeSeen {
    /// `None` for events without a type, or with one that no contract can name.
    #[serde(rename = "type")]
    pub event_type: Option<String>,
    pub events: u64,
}

/// One path of the payload, and what was seen there. Never a value of it, but the ends of ranges and constant parts of
/// patterns where nothing is private.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FieldSeen {
    /// JSON Pointer into the payload: `*` stands for every element of an array, `<key>` for keys that are values.
    pub path: String,
    pub types: Vec<&'static str>,
    /// How many objects (or events) have it, of how many that could.
    pub present: u64,
    pub of: u64,
    /// How many different texts, numbers and booleans; at least so many unless `distinctIsExact`.
    pub distinct: u64,
    #[serde(rename = "distinctIsExact")]
    pub distinct_is_exact: bool,
    /// A format, a pattern, a range or lengths in characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shape: Option<String>,
    /// What it may be that is private.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub private: Option<String>,
    /// Different in every event.
    #[serde(rename = "isKey")]
    pub is_key: bool,
}

/// A contract that all events of one type pass, and what it was drafted from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Draft {
    /// The contract's name, which is good for a file's: the event type, with `-` for what no name may hold.
    pub name: String,
    #[serde(rename = "type")]
    pub event_type: Option<String>,
    pub events: u64,
    /// Where the domain must say that events name their type: where that is not its default, and these are no CloudEvents.
    #[serde(rename = "typePointer", skip_serializing_if = "Option::is_none")]
    pub type_pointer: Option<String>,
    /// Where in the event the payload stands, a JSON Pointer.
    pub payload: &'static str,
    /// The contract, YAML.
    pub contract: String,
    /// `schemas/<name>.json`, JSON Schema 2020-12.
    pub schema: String,
    /// `domain.yaml`, for a domain that has none; `None` when the domain has no name yet.
    pub domain: Option<String>,
    pub fields: Vec<FieldSeen>,
    /// The other types seen, the most frequent first.
    pub others: Vec<TypeSeen>,
    /// What was not looked at, in a person's words.
    pub bounds: Vec<String>,
}

impl Sample {
    pub fn new(settings: Settings) -> Self {
        Self { settings, groups: Vec::new(), index: BTreeMap::new(), room: Room::new(), uncounted: 0 }
    }

    /// Takes in one event.
    ///
    /// # Errors
    ///
    /// When its bytes are not one strict JSON text. It is then left out: the gate quarantines it whatever a contract says.
    pub fn add(&mut self, event: &[u8]) -> Result<(), Malformed> {
        let event = json::parse(event)?;
        let of_cloud_event = cloudevents::event_type(|key| event.get(key)?.as_str());
        let named = of_cloud_event.or_else(|| self.settings.type_pointer.resolve(&event)?.as_str());
        let nameable = named.filter(|name| (1..=TYPE_CHARS_MAX).contains(&name.chars().count()));
        let Some(at) = self.group(nameable) else {
            self.uncounted += 1;
            return Ok(());
        };
        let group = &mut self.groups[at];
        group.events += 1;
        group.cloud_events += u64::from(of_cloud_event.is_some());
        if let Some(root) = &mut group.root {
            self.room.paths_of_type = group.paths_left;
            root.observe(&event, 0, &mut self.room);
            group.paths_left = self.room.paths_of_type;
        }
        Ok(())
    }

    fn group(&mut self, event_type: Option<&str>) -> Option<usize> {
        let event_type: Option<Box<str>> = event_type.map(Into::into);
        if let Some(at) = self.index.get(&event_type) {
            return Some(*at);
        }
        let chosen = self.settings.event_type.as_deref();
        let is_chosen = chosen.is_some() && event_type.as_deref() == chosen;
        if self.groups.len() >= TYPES_MAX && !is_chosen {
            return None;
        }
        let is_looked_at = if chosen.is_some() { is_chosen } else { self.groups.len() < TYPES_LOOKED_AT_MAX };
        let root = is_looked_at.then(Node::default);
        self.index.insert(event_type.clone(), self.groups.len());
        self.groups.push(Group { event_type, events: 0, cloud_events: 0, root, paths_left: PATHS_OF_TYPE_MAX });
        Some(self.groups.len() - 1)
    }

    /// The types seen, the most frequent first; among equals the one that came first.
    fn ranked(&self) -> Vec<&Group> {
        let mut ranked: Vec<&Group> = self.groups.iter().collect();
        ranked.sort_by_key(|group| std::cmp::Reverse(group.events));
        ranked
    }

    /// Drafts the contract of the type that was chosen, else of the most frequent one.
    ///
    /// # Errors
    ///
    /// When there is no event of that type, or its events were not looked at.
    pub fn draft(&self, names: Names<'_>) -> Result<Draft, Undrafted> {
        let ranked = self.ranked();
        let seen = |of: &[&Group]| -> Vec<TypeSeen> { of.iter().map(|group| group.seen()).collect() };
        let at = match self.settings.event_type.as_deref() {
            Some(chosen) => ranked.iter().position(|group| group.event_type.as_deref() == Some(chosen)),
            None => (!ranked.is_empty()).then_some(0),
        };
        let Some(at) = at else {
            return Err(if ranked.is_empty() { Undrafted::NoEvents } else { Undrafted::NoSuchType(seen(&ranked)) });
        };
        let group = ranked[at];
        let root = group.root.as_ref().ok_or_else(|| Undrafted::NotLookedAt(seen(&ranked)))?;
        let others = [&ranked[..at], &ranked[at + 1..]].concat();
        Ok(self.draft_of(group, root, seen(&others), names))
    }

    fn draft_of(&self, group: &Group, root: &Node, others: Vec<TypeSeen>, names: Names<'_>) -> Draft {
        let is_cloud_event = group.cloud_events == group.events;
        // An event without `data` would have no payload to judge.
        let data = root.member("data").filter(|data| is_cloud_event && data.count == group.events);
        let (payload, root) = data.map_or(("", root), |data| ("/data", data));
        let name = contract_name(group.event_type.as_deref(), names.untyped);
        let fields = fields::fields(root);
        let facts = draft::Facts {
            names,
            name: &name,
            event_type: group.event_type.as_deref(),
            is_cloud_event,
            pointer: payload,
            events: group.events,
            fields: &fields,
        };
        let type_pointer = (self.settings.type_pointer != Settings::default_type_pointer() && !is_cloud_event)
            .then(|| self.settings.type_pointer.to_string());
        Draft {
            contract: draft::contract(&facts),
            schema: schema::document(root),
            domain: names.domain.map(|domain| draft::domain(domain, type_pointer.as_deref())),
            type_pointer,
            fields: fields.iter().map(Field::seen).collect(),
            name,
            event_type: group.event_type.as_deref().map(str::to_owned),
            events: group.events,
            payload,
            others,
            bounds: self.bounds(),
        }
    }

    fn bounds(&self) -> Vec<String> {
        let mut bounds = Vec::new();
        let looked_at = self.groups.iter().filter(|group| group.root.is_some()).count();
        if self.room.hit.depth {
            bounds.push(format!("what is nested deeper than {DEPTH_MAX} levels was not looked at"));
        }
        if self.room.hit.paths {
            bounds.push(format!(
                "there were more than {} paths ({} in all); those that came later were not looked at",
                thousands(PATHS_OF_TYPE_MAX as u64),
                thousands(PATHS_MAX as u64)
            ));
        }
        if self.settings.event_type.is_none() && self.groups.len() > looked_at {
            bounds.push(format!("of types beyond the first {TYPES_LOOKED_AT_MAX}, events were counted only"));
        }
        if self.uncounted > 0 {
            let (events, types) = (thousands(self.uncounted), thousands(TYPES_MAX as u64));
            bounds.push(format!("{events} events of types beyond the first {types} were left out"));
        }
        bounds
    }
}

impl Group {
    fn seen(&self) -> TypeSeen {
        TypeSeen { event_type: self.event_type.as_deref().map(str::to_owned), events: self.events }
    }
}

impl Field<'_> {
    fn seen(&self) -> FieldSeen {
        let private = match self.privacy {
            Privacy::Open => None,
            Privacy::Suspected(suspicion, _) => Some(suspicion.what.to_owned()),
            Privacy::Inside => Some("as what it stands in".to_owned()),
        };
        FieldSeen {
            path: self.path.to_string(),
            types: self.node.types().iter().map(|kind| kind.as_str()).collect(),
            present: self.node.count,
            of: self.of,
            distinct: self.node.distinct.count() as u64,
            distinct_is_exact: self.node.distinct.is_exact(),
            shape: self.shape(),
            private,
            is_key: self.is_key(),
        }
    }
}

/// A name that contracts and files may have, of an event type.
fn contract_name(event_type: Option<&str>, untyped: &str) -> String {
    let is_good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let cleaned = |text: &str| -> String {
        let text: String = text.chars().map(|c| if is_good(c) { c } else { '-' }).collect();
        let text = text.trim_start_matches(|c: char| !c.is_ascii_alphanumeric());
        text.chars().take(NAME_CHARS_MAX).collect()
    };
    let names = [event_type.map(cleaned).unwrap_or_default(), cleaned(untyped), "events".to_owned()];
    let name = names.into_iter().find(|name| !name.is_empty()).unwrap_or_default();
    // The gate's own words for an event of no contract, and for the domain's file.
    if matches!(name.as_str(), "unknown" | "domain") { format!("{name}.event") } else { name }
}

/// The longest name of a contract, in characters.
const NAME_CHARS_MAX: usize = 128;

/// `1,204`.
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut told = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            told.push(',');
        }
        told.push(digit);
    }
    told
}

#[cfg(test)]
mod tests;
