//! Objects, properties and elements of arrays, as JSON Schema; and what is checked and masked on the way.

use serde_json::{Map, Number, Value, json};

use super::custom::{Custom, Holder};
use super::entry::Checks;
use super::quality::default_mask;
use super::time::{self, Form};
use super::{DEPTH_MAX, ENTRIES_MAX, Remarks};
use crate::contract::diagnostic::Code;
use crate::rule::pointer::Pointer;

/// The types of JSON but null.
const NOT_NULL: [&str; 5] = ["string", "number", "object", "array", "boolean"];

/// The formats of texts that are asserted. `password`, `byte` and `binary` are hints.
const TEXT_FORMATS: [&str; 15] = [
    "email",
    "idn-email",
    "uuid",
    "uri",
    "uri-reference",
    "iri",
    "iri-reference",
    "hostname",
    "idn-hostname",
    "ipv4",
    "ipv6",
    "date-time",
    "date",
    "duration",
    "regex",
];

/// The ranges of integers by their format, named as Rust names them.
const INTEGER_FORMATS: [(&str, &str, &str); 10] = [
    ("i8", "-128", "127"),
    ("i16", "-32768", "32767"),
    ("i32", "-2147483648", "2147483647"),
    ("i64", "-9223372036854775808", "9223372036854775807"),
    ("i128", "-170141183460469231731687303715884105728", "170141183460469231731687303715884105727"),
    ("u8", "0", "255"),
    ("u16", "0", "65535"),
    ("u32", "0", "4294967295"),
    ("u64", "0", "18446744073709551615"),
    ("u128", "0", "340282366920938463463374607431768211455"),
];

/// The options that mean something for a logical type and are keywords of JSON Schema by the same name.
pub(crate) fn options_of(logical_type: &str) -> &'static [&'static str] {
    match logical_type {
        "string" => &["minLength", "maxLength", "pattern"],
        "number" | "integer" => &["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"],
        "array" => &["minItems", "maxItems", "uniqueItems"],
        "object" => &["minProperties", "maxProperties"],
        _ => &[],
    }
}

/// A schema that takes null beside what it takes. It has a `type` that is a text or a list, or none, which takes null already.
fn nullable(schema: &mut Map<String, Value>) {
    let types = match schema.get("type") {
        Some(Value::String(one)) => vec![Value::from(one.as_str())],
        Some(Value::Array(several)) => several.clone(),
        _ => return,
    };
    if !types.iter().any(|of| of == "null") {
        schema.insert("type".to_owned(), types.into_iter().chain([Value::from("null")]).collect());
    }
    if let Some(Value::Array(choices)) = schema.get_mut("enum")
        && !choices.contains(&Value::Null)
    {
        choices.push(Value::Null);
    }
}

/// The key in an event: the physical name, where there is one.
pub(super) fn key_of(property: &Value) -> Option<&str> {
    property["physicalName"].as_str().filter(|name| !name.is_empty()).or_else(|| property["name"].as_str())
}

/// Where an element is in the payload.
#[derive(Clone)]
pub(super) struct Path {
    /// A `*` stands for each element of an array.
    pub pointer: Pointer,
    /// Below a map, whose keys have no names. Then `pointer` is the map's.
    pub is_below_map: bool,
}

/// Translates the elements of one object.
pub(super) struct Elements<'r> {
    remarks: &'r mut Remarks,
    checks: Checks,
    masks: Vec<(Value, Pointer)>,
    /// Whether what is not required may be null where it is there, as the standard says; or may only be absent.
    nullable: bool,
}

impl<'r> Elements<'r> {
    pub fn new(remarks: &'r mut Remarks, nullable: bool) -> Self {
        Self { remarks, checks: Checks::default(), masks: Vec::new(), nullable }
    }

    pub fn into_parts(self) -> (Checks, Vec<(Value, Pointer)>) {
        (self.checks, self.masks)
    }

    /// The schema object at `at`. `json_schema` are keywords that replace those derived.
    pub fn object(&mut self, object: &Value, at: &Pointer, json_schema: Option<&Value>) -> Value {
        let path = Path { pointer: Pointer::root(), is_below_map: false };
        if let Some(kind @ ("blob" | "array")) = object["logicalType"].as_str() {
            let message = format!("an object that is one {kind} is not judged");
            self.remarks.not_judged(
                &at.child("logicalType"),
                message,
                "events are JSON; those of this type are objects",
            );
        }
        self.checks.quality(object, at, None, self.remarks);
        self.relationships(object, at);
        let mut schema = json!({"type": "object"}).as_object().cloned().unwrap_or_default();
        self.members(object, at, &path, 0, &mut schema);
        replace(&mut schema, json_schema);
        schema.into()
    }

    /// Into `schema`: `properties`, and the names of those that are required.
    fn members(&mut self, element: &Value, at: &Pointer, path: &Path, depth: usize, schema: &mut Map<String, Value>) {
        let list = element["properties"].as_array().map_or(&[][..], Vec::as_slice);
        if depth >= DEPTH_MAX && !list.is_empty() {
            let message = format!("properties nest deeper than {DEPTH_MAX} levels");
            return self.remarks.fault(&at.child("properties"), Code::TooLarge, message, None);
        }
        let mut properties = Map::new();
        let mut required: Vec<Value> = Vec::new();
        for (index, property) in list.iter().enumerate() {
            let at = at.child("properties").child(index.to_string());
            let Some(key) = key_of(property) else { continue };
            if properties.contains_key(key) {
                let message = format!("the object has two properties called `{key}`");
                self.remarks.fault(&at.child("name"), Code::DuplicateKey, message, None);
            }
            let pointer = if path.is_below_map { path.pointer.clone() } else { path.pointer.child(key) };
            let inner = Path { pointer, ..path.clone() };
            properties.insert(key.to_owned(), self.element(property, &at, &inner, depth + 1));
            if property["required"] == true {
                required.push(key.into());
            }
        }
        for name in element["logicalTypeOptions"]["required"].as_array().into_iter().flatten() {
            let of_name = list.iter().find(|property| property["name"] == *name);
            let key = of_name.and_then(key_of).map_or_else(|| name.clone(), Value::from);
            if !required.contains(&key) {
                required.push(key);
            }
        }
        if !properties.is_empty() {
            schema.insert("properties".to_owned(), properties.into());
        }
        if !required.is_empty() {
            schema.insert("required".to_owned(), required.into());
        }
    }

    /// A property, or what an array's elements are.
    fn element(&mut self, element: &Value, at: &Pointer, path: &Path, depth: usize) -> Value {
        let custom = Custom::read(element, at, Holder::Property, self.remarks);
        self.checks.quality(element, at, Some(path), self.remarks);
        self.relationships(element, at);
        self.identity(element, at);
        self.mask(element, at, path, &custom);
        let kind = element["logicalType"].as_str().unwrap_or_default();
        let mut schema = Map::new();
        self.options(element, at, kind, &mut schema);
        self.inside(element, at, path, depth, &mut schema);
        if let Some(choices) = element["enum"].as_array() {
            let values = choices.iter().map(|choice| choice["value"].clone());
            schema.insert("enum".to_owned(), values.collect());
        }
        let may_be_null = custom.flag("nullable", self.remarks).unwrap_or(self.nullable) && element["required"] != true;
        if may_be_null {
            nullable(&mut schema);
        } else if !schema.contains_key("type") {
            schema.insert("type".to_owned(), json!(NOT_NULL));
        }
        replace(&mut schema, custom.get("jsonSchema").map(|(value, _)| value));
        schema.into()
    }

    /// What an object, an array or a map holds.
    fn inside(&mut self, element: &Value, at: &Pointer, path: &Path, depth: usize, schema: &mut Map<String, Value>) {
        match element["logicalType"].as_str() {
            Some("object") => self.members(element, at, path, depth, schema),
            Some("array") if element["items"].is_object() => {
                let pointer = if path.is_below_map { path.pointer.clone() } else { path.pointer.child("*") };
                let inner = Path { pointer, ..path.clone() };
                let items = self.nested(&element["items"], &at.child("items"), &inner, depth);
                schema.insert("items".to_owned(), items);
            }
            Some("map") => {
                let inner = Path { is_below_map: true, ..path.clone() };
                for (name, keyword) in [("key", "propertyNames"), ("value", "additionalProperties")] {
                    let of = &element["map"][name];
                    if !of.is_object() {
                        continue;
                    }
                    let mut of = self.nested(of, &at.child("map").child(name), &inner, depth);
                    if let (true, Some(keys)) = (name == "key", of.as_object_mut()) {
                        // A key is a text, whatever its logical type is in another system.
                        keys.remove("type");
                    }
                    schema.insert(keyword.to_owned(), of);
                }
            }
            _ => {}
        }
    }

    fn nested(&mut self, element: &Value, at: &Pointer, path: &Path, depth: usize) -> Value {
        if depth >= DEPTH_MAX {
            let message = format!("elements nest deeper than {DEPTH_MAX} levels");
            self.remarks.fault(at, Code::TooLarge, message, None);
            return json!({});
        }
        self.element(element, at, path, depth + 1)
    }

    /// `type`, and what the options ask for.
    fn options(&mut self, element: &Value, at: &Pointer, kind: &str, schema: &mut Map<String, Value>) {
        let json_type = match kind {
            "string" | "date" | "timestamp" | "time" => "string",
            "map" => "object",
            "vector" => "array",
            "number" | "integer" | "object" | "array" | "boolean" => kind,
            _ => "",
        };
        if !json_type.is_empty() {
            schema.insert("type".to_owned(), json_type.into());
        }
        let options_at = at.child("logicalTypeOptions");
        let empty = Map::new();
        let options = element["logicalTypeOptions"].as_object().unwrap_or(&empty);
        match kind {
            "string" => self.text_format(options, &options_at, schema),
            "date" | "timestamp" | "time" => self.time_format(kind, options, &options_at, schema),
            "integer" => integer_format(options, schema),
            "vector" => {
                schema.insert("items".to_owned(), json!({"type": "number"}));
                for keyword in ["minItems", "maxItems"] {
                    if let Some(dimensions) = options.get("dimensions") {
                        schema.insert(keyword.to_owned(), dimensions.clone());
                    }
                }
            }
            _ => {}
        }
        for (name, value) in options {
            if options_of(kind).contains(&name.as_str()) && (value.is_number() || !is_bound(name)) {
                schema.insert(name.clone(), value.clone());
            } else if is_bound(name) && matches!(kind, "date" | "timestamp" | "time") {
                let hint = "a rule can: quality: [{type: custom, engine: meshgate, implementation: {expression: …}}]";
                self.remarks.not_judged(
                    &options_at.child(name.as_str()),
                    "bounds of dates and times are not judged",
                    hint,
                );
            } else if !is_read_elsewhere(name, kind) {
                let of = if kind.is_empty() { "a property without logicalType" } else { kind };
                let message = format!("`{name}` is no option of {of}, so it judges nothing");
                let hint = match options_of(kind) {
                    [] => String::new(),
                    known => format!("its options are {}", known.join(", ")),
                };
                self.remarks.not_judged(&options_at.child(name.as_str()), message, &hint);
            }
        }
    }

    fn text_format(&mut self, options: &Map<String, Value>, at: &Pointer, schema: &mut Map<String, Value>) {
        let Some(format) = options.get("format").and_then(Value::as_str) else { return };
        if TEXT_FORMATS.contains(&format) {
            schema.insert("format".to_owned(), format.into());
        } else if !matches!(format, "password" | "byte" | "binary") {
            let hint = format!("formats that are judged: {}; or give a pattern", TEXT_FORMATS.join(", "));
            self.remarks.not_judged(&at.child("format"), format!("the format {format:?} is not judged"), &hint);
        }
    }

    /// ISO 8601 where no pattern is given.
    fn time_format(&mut self, kind: &str, options: &Map<String, Value>, at: &Pointer, schema: &mut Map<String, Value>) {
        let form = match options.get("format").and_then(Value::as_str) {
            Some(pattern) => time::form(pattern),
            None => Some(match kind {
                "date" => Form::Format("date"),
                "time" => Form::Pattern(time::TIME.to_owned()),
                _ if options.get("timezone") == Some(&Value::Bool(false)) => Form::Pattern(time::LOCAL.to_owned()),
                _ => Form::Format("date-time"),
            }),
        };
        match form {
            Some(Form::Format(name)) => drop(schema.insert("format".to_owned(), name.into())),
            Some(Form::Pattern(regex)) => drop(schema.insert("pattern".to_owned(), regex.into())),
            None => {
                let hint = "yyyy MM dd HH mm ss SSS X and quoted text are; or give meshgate.jsonSchema a pattern";
                self.remarks.not_judged(&at.child("format"), "this form of a time is not judged", hint);
            }
        }
    }

    /// What looks at more than one event.
    fn identity(&mut self, element: &Value, at: &Pointer) {
        for name in ["unique", "primaryKey"] {
            if element[name] == true {
                let hint = "quality: [{metric: duplicateValues, mustBe: 0, customProperties: [{property: meshgate.window, value: 24h}]}]";
                let message = format!("`{name}` is about all events together, and a stream has no end");
                self.remarks.not_judged(&at.child(name), message, hint);
            }
        }
    }

    fn relationships(&mut self, element: &Value, at: &Pointer) {
        if element["relationships"].as_array().is_some_and(|list| !list.is_empty()) {
            let hint =
                "a check can be: {type: custom, engine: meshgate, implementation: {type: referentialIntegrity, …}}";
            let at = at.child("relationships");
            self.remarks.not_judged(&at, "relationships to other data are not judged", hint);
        }
    }

    fn mask(&mut self, element: &Value, at: &Pointer, path: &Path, custom: &Custom<'_>) {
        let class = element["classification"].as_str().filter(|class| !class.is_empty());
        let default = class.and_then(default_mask);
        let (mask, from) = match (custom.get("mask"), default) {
            (Some((mask, from)), _) => (mask.as_str().unwrap_or_default().to_owned(), from.clone()),
            (None, Some(mask)) => (mask.to_owned(), at.child("classification")),
            (None, None) => {
                if let Some(class) = class {
                    let message = format!("{class:?} does not say whether the value may be shown, so it is not masked");
                    let hint = "customProperties: [{property: meshgate.mask, value: redact}], or hash, or none";
                    self.remarks.not_judged(&at.child("classification"), message, hint);
                }
                return;
            }
        };
        if mask == "none" || self.masks.len() > ENTRIES_MAX {
            return;
        }
        let pointer = path.pointer.to_string();
        if path.is_below_map && self.masks.iter().any(|(mask, _)| mask["path"] == pointer.as_str()) {
            return;
        }
        let mut entry = json!({"path": pointer, "mask": mask});
        if let Some(class) = class {
            entry["classification"] = class.into();
        }
        self.masks.push((entry, from));
    }
}

/// Whether an option is not a keyword of JSON Schema and judges all the same, or says how to read another.
fn is_read_elsewhere(name: &str, kind: &str) -> bool {
    match name {
        "format" => matches!(kind, "string" | "date" | "timestamp" | "time" | "integer" | "number"),
        "required" => kind == "object",
        "timezone" | "defaultTimezone" => matches!(kind, "timestamp" | "time"),
        "dimensions" | "elementType" | "distanceMetric" | "normalized" | "embeddingModel" => kind == "vector",
        _ => false,
    }
}

fn is_bound(name: &str) -> bool {
    matches!(name, "minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum")
}

fn integer_format(options: &Map<String, Value>, schema: &mut Map<String, Value>) {
    let format = options.get("format").and_then(Value::as_str);
    let Some((_, least, most)) = INTEGER_FORMATS.iter().find(|(name, _, _)| Some(*name) == format) else { return };
    for (keyword, text) in [("minimum", least), ("maximum", most)] {
        if let Ok(number) = serde_json::from_str::<Number>(text) {
            schema.insert(keyword.to_owned(), number.into());
        }
    }
}

/// Keywords of `meshgate.jsonSchema` stand in place of those derived.
fn replace(schema: &mut Map<String, Value>, keywords: Option<&Value>) {
    for (keyword, value) in keywords.and_then(Value::as_object).into_iter().flatten() {
        schema.insert(keyword.clone(), value.clone());
    }
}
