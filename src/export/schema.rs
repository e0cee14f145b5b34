//! A JSON Schema as ODCS properties. What the standard has no word for stays a JSON Schema keyword, under `meshgate.jsonSchema`.
//!
//! The way back (`contract::odcs`) gives a schema that judges alike: references are followed and what they lead to is written in
//! place, but where they lead in circles; then the schema they name is kept under `$defs` of the object's `meshgate.jsonSchema`.

use std::collections::BTreeMap;

use jsonschema::Draft;
use serde_json::{Map, Value, json};

use crate::contract::odcs::{DEPTH_MAX, options_of};
use crate::rule::number_types::SchemaAt;
use crate::rule::schema::references::References;

/// The most elements that are written; past it, references are no longer followed.
const ELEMENTS_MAX: usize = 5_000;
/// The longest name of a property, as our reading of ODCS bounds it.
const NAME_CHARS_MAX: usize = 256;

/// Keywords that judge nothing.
const ANNOTATIONS: [&str; 17] = [
    "$comment",
    "$id",
    "$schema",
    "$defs",
    "definitions",
    "$vocabulary",
    "id",
    "title",
    "description",
    "default",
    "examples",
    "deprecated",
    "readOnly",
    "writeOnly",
    "contentEncoding",
    "contentMediaType",
    "contentSchema",
];
/// Keywords whose meaning depends on where a schema is evaluated from.
const DYNAMIC: [&str; 5] = ["$dynamicRef", "$dynamicAnchor", "$recursiveRef", "$recursiveAnchor", "$anchor"];
/// Formats that are options of a text.
const TEXT_FORMATS: [&str; 7] = ["email", "uuid", "uri", "hostname", "ipv4", "ipv6", "idn-email"];
const ALL_TYPES: [&str; 6] = ["object", "array", "string", "number", "boolean", "null"];

/// The schema cannot be taken apart: it must stay a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Inseparable(pub &'static str);

/// What came of a schema.
#[derive(Debug, Default)]
pub(super) struct Exported {
    /// Parts of a schema object: `properties`, and more.
    pub object: Map<String, Value>,
    /// Keywords of the whole payload that the standard has no word for.
    pub json_schema: Map<String, Value>,
    /// How often each keyword has been kept as it is.
    pub kept: BTreeMap<String, usize>,
}

struct Exporter<'a> {
    references: References<'a>,
    /// Where the references that were followed lead, on the way from the root.
    open: Vec<SchemaAt>,
    elements: usize,
    depth: usize,
    /// The schemas that stay schemas, by where they are.
    definitions: BTreeMap<SchemaAt, String>,
    pending: Vec<SchemaAt>,
    kept: BTreeMap<String, usize>,
}

/// Takes the schema at `path` apart.
pub(super) fn export(path: &str, documents: &BTreeMap<String, Value>) -> Result<Exported, Inseparable> {
    let document = documents.get(path).ok_or(Inseparable("it is in no file"))?;
    let references = References::new(path, document, documents);
    let draft = references.draft_of(document).ok_or(Inseparable("it is of a dialect of its own"))?;
    let mut exporter = Exporter {
        references,
        open: Vec::new(),
        elements: 0,
        depth: 0,
        definitions: BTreeMap::new(),
        pending: Vec::new(),
        kept: BTreeMap::new(),
    };
    let mut exported = exporter.root(draft)?;
    if let Some(dialect) = document.get("$schema").filter(|_| draft != Draft::Draft202012) {
        exported.json_schema.insert("$schema".to_owned(), dialect.clone());
    }
    exporter.define(draft, &mut exported.json_schema)?;
    exported.json_schema.keys().for_each(|keyword| exporter.count(keyword));
    exported.kept = exporter.kept;
    Ok(exported)
}

/// One schema as an ODCS element.
#[derive(Default)]
struct Element {
    odcs: Map<String, Value>,
    /// Keywords for `meshgate.jsonSchema`.
    keywords: Map<String, Value>,
    is_nullable: bool,
    /// Whether its type is said, so that the standard's `required` means no more than the schema does.
    has_type: bool,
    /// What the schema requires and the standard's `required` would say too strictly.
    soft: Vec<Value>,
    /// All that the schema requires, where it has properties.
    required: Vec<Value>,
}

impl Element {
    fn finish(mut self, exporter: &mut Exporter<'_>) -> Map<String, Value> {
        let mut custom = Vec::new();
        if self.is_nullable {
            custom.push(json!({"property": "meshgate.nullable", "value": true}));
        }
        if !self.keywords.is_empty() {
            self.keywords.keys().for_each(|keyword| exporter.count(keyword));
            custom.push(json!({"property": "meshgate.jsonSchema", "value": self.keywords}));
        }
        if !custom.is_empty() {
            self.odcs.insert("customProperties".to_owned(), custom.into());
        }
        self.odcs
    }
}

impl Exporter<'_> {
    fn count(&mut self, keyword: &str) {
        *self.kept.entry(keyword.to_owned()).or_default() += 1;
    }

    /// The payload's schema. A schema object is an object without options of its own; what else it is, is said in full.
    fn root(&mut self, draft: Draft) -> Result<Exported, Inseparable> {
        let mut element = self.element(&(String::new(), String::new()), draft)?;
        let mut keywords = element.keywords;
        match element.odcs.get("logicalType").and_then(Value::as_str) {
            Some("object") if !element.is_nullable => {}
            Some("object") => drop(keywords.entry("type").or_insert_with(|| json!(["object", "null"]))),
            Some(_) => return Err(Inseparable("its payload is no object")),
            None => drop(keywords.entry("type").or_insert_with(|| json!(ALL_TYPES))),
        }
        if let Some(Value::Object(options)) = element.odcs.remove("logicalTypeOptions") {
            keywords.extend(options);
        }
        if !element.soft.is_empty() {
            keywords.insert("required".to_owned(), element.required.into());
        }
        let parts = ["properties", "description", "businessName"].into_iter();
        let object = parts.filter_map(|name| Some((name.to_owned(), element.odcs.remove(name)?))).collect();
        Ok(Exported { object, json_schema: keywords, kept: BTreeMap::new() })
    }

    fn element(&mut self, at: &SchemaAt, draft: Draft) -> Result<Element, Inseparable> {
        self.elements += 1;
        let schema = self.references.value_at(at).ok_or(Inseparable("a part of it is not there"))?;
        let Value::Object(schema) = schema else {
            let mut element = Element { is_nullable: true, ..Element::default() };
            if schema == &Value::Bool(false) {
                element.keywords.insert("not".to_owned(), json!({}));
            }
            return Ok(element);
        };
        if schema.keys().any(|keyword| DYNAMIC.contains(&keyword.as_str())) {
            return Err(Inseparable("it has anchors or dynamic references"));
        }
        let has_base = schema.contains_key("$id") || draft == Draft::Draft4 && schema.contains_key("id");
        if !at.1.is_empty() && (has_base || schema.contains_key("$schema")) {
            return Err(Inseparable("a part of it has an $id or a $schema of its own"));
        }
        if let Some(reference) = schema.get("$ref") {
            return self.reference(at, schema, reference, draft);
        }
        let mut element = Element::default();
        for (from, to) in [("title", "businessName"), ("description", "description"), ("examples", "examples")] {
            let is_good = |value: &&Value| if to == "examples" { value.is_array() } else { value.is_string() };
            if let Some(value) = schema.get(from).filter(is_good) {
                element.odcs.insert(to.to_owned(), value.clone());
            }
        }
        let kind = self.kind(schema, &mut element);
        let opens = self.depth < DEPTH_MAX;
        let mut options = Map::new();
        for (keyword, value) in schema {
            let is_option =
                options_of(kind).contains(&keyword.as_str()) && (!value.is_boolean() || keyword == "uniqueItems");
            match keyword.as_str() {
                "type" => {}
                "format" if matches!(kind, "date" | "timestamp") => {}
                "format" if kind == "string" && value.as_str().is_some_and(|name| TEXT_FORMATS.contains(&name)) => {
                    options.insert("format".to_owned(), value.clone());
                }
                "properties" if kind == "object" && opens => self.properties(at, schema, draft, &mut element)?,
                "required" if kind == "object" && opens && schema.get("properties").is_some_and(Value::is_object) => {}
                "items" if kind == "array" && value.is_object() && opens => {
                    let mut inner = self.inner(&(at.0.clone(), format!("{}/items", at.1)), draft)?;
                    soft_options(&mut inner);
                    element.odcs.insert("items".to_owned(), inner.finish(self).into());
                }
                _ if is_option => drop(options.insert(keyword.clone(), value.clone())),
                annotation if ANNOTATIONS.contains(&annotation) => {}
                _ => {
                    let kept = self.rewritten(&at.0, keyword, value)?;
                    element.keywords.insert(keyword.clone(), kept);
                }
            }
        }
        if !options.is_empty() {
            element.odcs.insert("logicalTypeOptions".to_owned(), options.into());
        }
        Ok(element)
    }

    /// An element inside another.
    fn inner(&mut self, at: &SchemaAt, draft: Draft) -> Result<Element, Inseparable> {
        self.depth += 1;
        let element = self.element(at, draft);
        self.depth -= 1;
        element
    }

    /// The logical type, with what is to be said of the type beside it.
    fn kind(&mut self, schema: &Map<String, Value>, element: &mut Element) -> &'static str {
        let types: Vec<&str> = match schema.get("type") {
            Some(Value::String(one)) => vec![one],
            Some(Value::Array(several)) => several.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        };
        let is_choice_of_texts = schema.get("type").is_none()
            && schema
                .get("enum")
                .and_then(Value::as_array)
                .is_some_and(|e| !e.is_empty() && e.iter().all(Value::is_string));
        element.has_type = !types.is_empty() || is_choice_of_texts;
        element.is_nullable = !element.has_type || types.contains(&"null");
        let others: Vec<&str> = types.iter().copied().filter(|of| *of != "null").collect();
        let format = schema.get("format").and_then(Value::as_str);
        let kind = match others.as_slice() {
            ["string"] if format == Some("date") => "date",
            ["string"] if format == Some("date-time") => "timestamp",
            ["string"] => "string",
            ["integer"] => "integer",
            ["number"] => "number",
            ["boolean"] => "boolean",
            ["array"] => "array",
            ["object"] => "object",
            [] if is_choice_of_texts => "string",
            _ if schema.get("properties").is_some_and(Value::is_object) => {
                let types = if types.is_empty() { json!(ALL_TYPES) } else { json!(types) };
                element.keywords.insert("type".to_owned(), types);
                "object"
            }
            [] if types.is_empty() => "",
            _ => {
                element.keywords.insert("type".to_owned(), json!(types));
                ""
            }
        };
        if !kind.is_empty() {
            element.odcs.insert("logicalType".to_owned(), kind.into());
        }
        kind
    }

    fn properties(
        &mut self,
        at: &SchemaAt,
        schema: &Map<String, Value>,
        draft: Draft,
        element: &mut Element,
    ) -> Result<(), Inseparable> {
        let required: Vec<&str> =
            schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
        let names = schema.get("properties").and_then(Value::as_object).into_iter().flatten().map(|(name, _)| name);
        let mut properties = Vec::new();
        let mut said: Vec<&str> = Vec::new();
        for name in names {
            if name.is_empty() || name.chars().count() > NAME_CHARS_MAX {
                return Err(Inseparable("a property's name is empty or very long"));
            }
            let pointer = format!("{}/properties/{}", at.1, name.replace('~', "~0").replace('/', "~1"));
            let mut inner = self.inner(&(at.0.clone(), pointer), draft)?;
            soft_options(&mut inner);
            let mut property = Map::from_iter([("name".to_owned(), Value::from(name.as_str()))]);
            if required.contains(&name.as_str()) && inner.has_type && !inner.is_nullable {
                property.insert("required".to_owned(), true.into());
                said.push(name);
            }
            property.append(&mut inner.finish(self));
            properties.push(Value::from(property));
        }
        element.required = required.iter().copied().map(Value::from).collect();
        element.soft = required.into_iter().filter(|name| !said.contains(name)).map(Value::from).collect();
        element.odcs.insert("properties".to_owned(), properties.into());
        Ok(())
    }

    /// What a reference leads to, in its place.
    fn reference(
        &mut self,
        at: &SchemaAt,
        schema: &Map<String, Value>,
        reference: &Value,
        draft: Draft,
    ) -> Result<Element, Inseparable> {
        let target = reference.as_str().and_then(|reference| self.references.follow(&at.0, reference));
        let target = target.ok_or(Inseparable("a reference leads where it is not followed"))?;
        let document = self.references.document(&target.0).ok_or(Inseparable("a document is not there"))?;
        if self.references.draft_of(document) != Some(draft) {
            return Err(Inseparable("its documents are of several drafts"));
        }
        let ignores_siblings = matches!(draft, Draft::Draft4 | Draft::Draft6 | Draft::Draft7);
        let is_alone = ignores_siblings
            || schema.keys().all(|keyword| keyword == "$ref" || ANNOTATIONS.contains(&keyword.as_str()));
        let is_bounded = self.elements < ELEMENTS_MAX && self.open.len() < DEPTH_MAX;
        if is_alone && is_bounded && !self.open.contains(&target) {
            self.open.push(target.clone());
            let element = self.element(&target, draft);
            self.open.pop();
            let mut element = element?;
            if let Some(description) = schema.get("description").filter(|d| d.is_string() && !ignores_siblings) {
                element.odcs.insert("description".to_owned(), description.clone());
            }
            return Ok(element);
        }
        let mut element = Element { is_nullable: true, ..Element::default() };
        for (keyword, value) in schema.iter().filter(|(k, _)| !ANNOTATIONS.contains(&k.as_str())) {
            if *keyword == "$ref" || !ignores_siblings {
                let kept = self.rewritten(&at.0, keyword, value)?;
                element.keywords.insert(keyword.clone(), kept);
            }
        }
        Ok(element)
    }

    /// A keyword's value, with references to what is kept under `$defs`.
    fn rewritten(&mut self, document: &str, keyword: &str, value: &Value) -> Result<Value, Inseparable> {
        match (keyword, value) {
            (dynamic, _) if DYNAMIC.contains(&dynamic) => Err(Inseparable("it has anchors or dynamic references")),
            ("$id" | "$schema", Value::String(_)) => {
                Err(Inseparable("a part of it has an $id or a $schema of its own"))
            }
            ("const" | "enum" | "default" | "examples", _) => Ok(value.clone()),
            ("$ref", Value::String(reference)) => {
                let target = self.references.follow(document, reference);
                let target = target.ok_or(Inseparable("a reference leads where it is not followed"))?;
                Ok(format!("#/$defs/{}", self.definition(target)).into())
            }
            (
                "properties" | "patternProperties" | "$defs" | "definitions" | "dependentSchemas" | "dependencies",
                Value::Object(of),
            ) => {
                let each = of.iter().map(|(name, schema)| Ok((name.clone(), self.schema(document, schema)?)));
                each.collect::<Result<Map<_, _>, _>>().map(Value::from)
            }
            (_, Value::Array(several)) => {
                several.iter().map(|one| self.schema(document, one)).collect::<Result<Vec<_>, _>>().map(Value::from)
            }
            _ => self.schema(document, value),
        }
    }

    fn schema(&mut self, document: &str, value: &Value) -> Result<Value, Inseparable> {
        let Value::Object(schema) = value else { return Ok(value.clone()) };
        let each =
            schema.iter().map(|(keyword, value)| Ok((keyword.clone(), self.rewritten(document, keyword, value)?)));
        each.collect::<Result<Map<_, _>, _>>().map(Value::from)
    }

    /// Its name under `$defs`.
    fn definition(&mut self, at: SchemaAt) -> String {
        if let Some(name) = self.definitions.get(&at) {
            return name.clone();
        }
        let last = at.1.rsplit('/').next().filter(|last| !last.is_empty()).unwrap_or("whole");
        let word: String = last.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '_').take(40).collect();
        let name = format!("{word}{}", self.definitions.len() + 1);
        self.definitions.insert(at.clone(), name.clone());
        self.pending.push(at);
        name
    }

    /// Adds what is referred to, and what that refers to in turn.
    fn define(&mut self, draft: Draft, keywords: &mut Map<String, Value>) -> Result<(), Inseparable> {
        let mut defined = Map::new();
        while let Some(at) = self.pending.pop() {
            let document = self.references.document(&at.0).ok_or(Inseparable("a document is not there"))?;
            if self.references.draft_of(document) != Some(draft) {
                return Err(Inseparable("its documents are of several drafts"));
            }
            let schema = self.references.value_at(&at).ok_or(Inseparable("a part of it is not there"))?.clone();
            let mut schema = schema;
            if let Some(of) = schema.as_object_mut() {
                // A whole document brings its own head, and definitions that are named one by one.
                for keyword in ["$schema", "$id", "$defs", "definitions", "title", "$comment"] {
                    of.remove(keyword);
                }
            }
            let name = self.definitions[&at].clone();
            let schema = self.schema(&at.0, &schema)?;
            defined.insert(name, schema);
        }
        if !defined.is_empty() {
            keywords.insert("$defs".to_owned(), defined.into());
        }
        Ok(())
    }
}

/// Names that must be there and may be null go to the options of the object they are of.
fn soft_options(element: &mut Element) {
    if element.soft.is_empty() {
        return;
    }
    let options = element.odcs.entry("logicalTypeOptions").or_insert_with(|| json!({}));
    options["required"] = std::mem::take(&mut element.soft).into();
}
