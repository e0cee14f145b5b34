//! What an ODCS contract says of itself, and one contract of ours for each of its objects.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use super::custom::{Custom, Holder};
use super::element::Elements;
use super::{DerivedSchema, Ground, Remarks, Translated, Translation, key};
use crate::contract::diagnostic::Code;
use crate::rule::pointer::Pointer;

/// Parts that say something to people and catalogues, and have nothing to judge.
const FOR_PEOPLE: [&str; 7] =
    ["dataProduct", "tenant", "price", "roles", "servers", "authoritativeDefinitions", "contractCreatedTs"];

/// The longest description that is passed on, in characters: it is repeated for each object.
const DESCRIPTION_CHARS_MAX: usize = 1000;

/// The most bytes of one custom property that holds for several objects: each repeats it.
const SHARED_BYTES_MAX: usize = 4096;
/// The longest name of an owner or a channel that is passed on, in characters.
const NAME_CHARS_MAX: usize = 256;

/// Translates a file whose shape is good.
pub(in crate::contract) fn translate(document: &Value, ground: Ground<'_>) -> Translation {
    let mut remarks = Remarks::default();
    let mut file_custom = Custom::read(document, &Pointer::root(), Holder::File, &mut remarks);
    if objects(document).len() > 1 {
        file_custom = file_custom.bounded(SHARED_BYTES_MAX, &mut remarks);
    }
    for name in ["jsonSchema", "type"] {
        if let Some((_, at)) = file_custom.get(name).filter(|_| objects(document).len() > 1) {
            let message = format!("`meshgate.{name}` of the file would hold for each of its objects");
            remarks.fault(at, Code::InvalidValue, message, Some("write it under the object it is of".to_owned()));
        }
    }
    formats_of_servers(document, &mut remarks);
    let slo = slo(document, &mut remarks);
    let said: Vec<&str> =
        FOR_PEOPLE.into_iter().filter(|name| document.get(name).is_some_and(|v| !v.is_null())).collect();
    if !said.is_empty() {
        remarks.for_people(
            &key(said[0]),
            format!("for people and catalogues, with nothing to judge: {}", said.join(", ")),
        );
    }
    if objects(document).is_empty() {
        remarks.not_judged(&Pointer::root(), "the contract has no schema objects, so it judges no event", "");
    }
    let of_file = OfFile { document, ground, custom: file_custom, slo };
    let contracts = (0..objects(document).len()).map(|index| of_file.contract(index, &mut remarks)).collect();
    Translation { contracts, remarks: remarks.into_told() }
}

fn objects(document: &Value) -> &[Value] {
    document["schema"].as_array().map_or(&[], Vec::as_slice)
}

/// What its objects share.
struct OfFile<'d> {
    document: &'d Value,
    ground: Ground<'d>,
    custom: Custom<'d>,
    slo: Option<(Value, Pointer)>,
}

/// A contract's file in the making.
#[derive(Default)]
struct Written {
    value: Map<String, Value>,
    places: HashMap<Vec<String>, Pointer>,
}

impl Written {
    fn put(&mut self, name: &str, value: impl Into<Value>, from: &Pointer) {
        self.places.insert(vec![name.to_owned()], from.clone());
        self.value.insert(name.to_owned(), value.into());
    }

    /// Into the mapping under `outer`.
    fn put_in(&mut self, outer: &str, name: &str, value: impl Into<Value>, from: &Pointer) {
        self.places.insert(vec![outer.to_owned(), name.to_owned()], from.clone());
        let inner = self.value.entry(outer).or_insert_with(|| json!({}));
        inner[name] = value.into();
    }
}

impl<'d> OfFile<'d> {
    fn contract(&self, index: usize, remarks: &mut Remarks) -> Translated {
        let at = key("schema").child(index.to_string());
        let object = &objects(self.document)[index];
        let custom = Custom::read(object, &at, Holder::Object, remarks);
        let find = |name: &str| custom.get(name).or_else(|| self.custom.get(name));
        let mut written = Written::default();
        written.places.insert(Vec::new(), at.clone());
        written.put("apiVersion", "meshgate/v1", &key("apiVersion"));
        written.put("kind", "EventContract", &key("kind"));
        self.metadata(object, &at, &mut written);
        self.matching(object, &at, &custom, &mut written);
        if let Some((mode, from)) = find("mode") {
            written.put("mode", mode.clone(), from);
        }
        for (name, here) in [("payload", "pointer"), ("formats", "formats"), ("schema", "schema")] {
            if let Some((value, from)) = find(name) {
                written.put_in("payload", here, value.clone(), from);
            }
        }
        for name in ["reference", "examples", "breaker", "replay"] {
            if let Some((value, from)) = find(name) {
                written.put(name, value.clone(), from);
            }
        }
        let nullable = custom.flag("nullable", remarks).or_else(|| self.custom.flag("nullable", remarks));
        let mut elements = Elements::new(remarks, nullable.unwrap_or(true));
        let document = elements.object(object, &at, find("jsonSchema").map(|(value, _)| value));
        let (checks, masks) = elements.into_parts();
        checks.put(&mut written.value, &mut written.places);
        let mut privacy: Vec<Value> = Vec::new();
        for (mask, from) in masks {
            written.places.insert(vec!["privacy".to_owned(), privacy.len().to_string()], from);
            privacy.push(mask);
        }
        if let Some((Value::Array(more), from)) = find("privacy") {
            for (index, mask) in more.iter().enumerate() {
                let place = vec!["privacy".to_owned(), privacy.len().to_string()];
                written.places.insert(place, from.child(index.to_string()));
                privacy.push(mask.clone());
            }
        }
        if !privacy.is_empty() {
            written.value.insert("privacy".to_owned(), privacy.into());
        }
        if let Some((slo, from)) = self.slo.as_ref().filter(|(_, from)| self.is_about(from, object)) {
            written.put("slo", json!([slo]), from);
            written.places.insert(vec!["slo".to_owned(), "0".to_owned()], from.clone());
        }
        // A schema file of the domain stands for the properties where the standard cannot say what it does.
        let schema = find("schema")
            .is_none()
            .then(|| DerivedSchema { path: format!("{}~{index}.json", self.ground.file), document });
        if let Some(schema) = &schema {
            written.put_in("payload", "schema", schema.path.as_str(), &at.child("properties"));
        }
        Translated { value: Value::Object(written.value), schema, object: at, places: written.places }
    }

    /// Whether a service level is about an object: it names no element, or one of the object's.
    fn is_about(&self, level: &Pointer, object: &Value) -> bool {
        let element = level.resolve(self.document).and_then(|level| level["element"].as_str());
        let names = |element: &str| element.split('.').next().map(str::trim) == object["name"].as_str();
        objects(self.document).len() == 1 || element.is_none_or(|elements| elements.split(',').any(names))
    }

    fn metadata(&self, object: &Value, at: &Pointer, written: &mut Written) {
        let document = self.document;
        let domain = document.get("domain").cloned().unwrap_or_else(|| self.ground.domain.into());
        written.put_in("metadata", "domain", domain, &key("domain"));
        written.put_in("metadata", "name", object["name"].clone(), &at.child("name"));
        written.put_in("metadata", "version", document["version"].clone(), &key("version"));
        let status = document["status"].as_str().unwrap_or_default().to_lowercase();
        let status = match status.as_str() {
            "development" | "dev" | "test" | "testing" => "draft",
            "production" | "prod" => "active",
            other => other,
        };
        written.put_in("metadata", "status", status, &key("status"));
        if let Some((owner, from)) = self.owner() {
            written.put_in("metadata", "owner", owner, &from);
        }
        let of_file =
            || document["description"]["purpose"].as_str().map(|text| (text, key("description").child("purpose")));
        let described = object["description"].as_str().map(|text| (text, at.child("description"))).or_else(of_file);
        if let Some((text, from)) = described {
            let text: String = text.chars().take(DESCRIPTION_CHARS_MAX).collect();
            written.put_in("metadata", "description", text, &from);
        }
        let mut tags: Vec<&Value> = Vec::new();
        for tag in [&document["tags"], &object["tags"]].into_iter().filter_map(Value::as_array).flatten() {
            if !tags.contains(&tag) {
                tags.push(tag);
            }
        }
        if !tags.is_empty() {
            written.put_in("metadata", "tags", json!(tags), &key("tags"));
        }
    }

    /// v3.1: the team's name. v3.0: the member who owns, and is still there. With the first channel of support.
    fn owner(&self) -> Option<(Value, Pointer)> {
        let team = &self.document["team"];
        let is_owner = |member: &&Value| {
            let role = member["role"].as_str().unwrap_or_default();
            role.to_lowercase().contains("owner") && member["dateOut"].is_null()
        };
        let named = team["name"].as_str().or_else(|| {
            let member = team.as_array()?.iter().find(is_owner)?;
            member["name"].as_str().or_else(|| member["username"].as_str())
        });
        let contact = self.document["support"][0]["channel"].as_str();
        let from = if named.is_some() { key("team") } else { key("support") };
        let team = named.or(contact.and(self.ground.team)).filter(|team| !team.is_empty())?;
        let short = |name: &str| name.chars().take(NAME_CHARS_MAX).collect::<String>();
        let (team, contact) = (short(team), contact.map(short));
        let owner = match contact {
            Some(contact) => json!({"team": team, "contact": contact}),
            None => json!({"team": team}),
        };
        Some((owner, from))
    }

    /// The type is the object's name; a topic's physical name is the stream's.
    fn matching(&self, object: &Value, at: &Pointer, custom: &Custom<'_>, written: &mut Written) {
        let find = |name: &str| custom.get(name).or_else(|| self.custom.get(name));
        written.places.insert(vec!["match".to_owned()], at.child("name"));
        written.value.insert("match".to_owned(), json!({}));
        match find("type") {
            // Every type on the stream.
            Some((Value::Null, _)) => {}
            Some((value, from)) => written.put_in("match", "type", value.clone(), from),
            None => written.put_in("match", "type", object["name"].clone(), &at.child("name")),
        }
        let is_stream = matches!(object["physicalType"].as_str(), Some("topic" | "stream"));
        match find("stream") {
            Some((value, from)) => written.put_in("match", "stream", value.clone(), from),
            None if is_stream && object["physicalName"].is_string() => {
                written.put_in("match", "stream", object["physicalName"].clone(), &at.child("physicalName"));
            }
            None => {}
        }
    }
}

/// Streams carry JSON here.
fn formats_of_servers(document: &Value, remarks: &mut Remarks) {
    for (index, server) in document["servers"].as_array().into_iter().flatten().enumerate() {
        let carries_events = matches!(server["type"].as_str(), Some("kinesis" | "kafka" | "pubsub"));
        let format = server["format"].as_str().filter(|format| carries_events && !format.eq_ignore_ascii_case("json"));
        if let Some(format) = format {
            let at = key("servers").child(index.to_string()).child("format");
            let message = format!("events are judged as JSON, and this server says {format}");
            remarks.not_judged(&at, message, "an event in another format is malformed, and quarantined");
        }
    }
}

/// The share of events that may fail. Other service levels are not about single events.
fn slo(document: &Value, remarks: &mut Remarks) -> Option<(Value, Pointer)> {
    let mut slo = None;
    let mut for_people: Vec<&str> = Vec::new();
    let list = document["slaProperties"].as_array().map_or(&[][..], Vec::as_slice);
    for (index, entry) in list.iter().enumerate() {
        let at = key("slaProperties").child(index.to_string());
        let property = entry["property"].as_str().unwrap_or_default();
        match property.to_lowercase().as_str() {
            "errorrate" | "er" if slo.is_none() => {
                let mut written = json!({"property": "errorRate", "value": entry["value"], "unit": entry["unit"]});
                if let Some(window) = entry["valueExt"].as_str() {
                    written["window"] = window.into();
                }
                if entry["unit"].is_null() {
                    written["unit"] = "percent".into();
                }
                slo = Some((written, at));
            }
            name @ ("errorrate" | "er" | "latency" | "ly" | "frequency" | "fy" | "throughput" | "th" | "freshness") => {
                let message = format!("the service level `{property}` is not judged as one");
                let hint = match name {
                    "latency" | "ly" | "freshness" => {
                        "a check can be: {type: custom, engine: meshgate, implementation: {type: latency, …}}"
                    }
                    "throughput" | "th" | "frequency" | "fy" => {
                        "a metric of an object can be: rowCount with meshgate.window"
                    }
                    _ => "errorRate, once, is what the gate publishes as a target",
                };
                remarks.not_judged(&at, message, hint);
            }
            _ if for_people.contains(&property) => {}
            _ => for_people.push(property),
        }
    }
    if !for_people.is_empty() {
        let message = format!("service levels for people, with nothing to judge: {}", for_people.join(", "));
        remarks.for_people(&key("slaProperties"), message);
    }
    slo
}
