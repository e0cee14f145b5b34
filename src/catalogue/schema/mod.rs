//! A JSON Schema as rows of a table: one for each place of the payload it speaks of.
//!
//! References are followed and `allOf` is laid side by side, so that a reader sees fields and not how the schema is put
//! together. Alternatives that differ in their fields are rows of their own; others are told in words where they stand.

mod parts;
mod words;

use serde_json::Value;

use self::parts::{Node, Parts};
use super::html::{Html, piece};
use super::words::value;
use super::written::WrittenSchema;
use crate::rule::number_types::SchemaAt;

/// The most rows of one schema.
pub(super) const ROWS_MAX: usize = 500;

/// The deepest place that is gone into.
const DEPTH_MAX: usize = 16;

/// One place of a payload.
#[derive(Debug, Clone)]
pub(super) struct Row {
    /// A JSON Pointer into the payload; `*` stands for every element, braces for names that the schema leaves open.
    pub(super) path: String,
    /// In which alternatives it stands.
    pub(super) option: String,
    pub(super) types: Html,
    /// `None` where it makes no sense to ask: the payload itself, elements, alternatives.
    pub(super) required: Option<bool>,
    pub(super) demands: Vec<Html>,
    /// Said, not demanded.
    pub(super) remarks: Vec<Html>,
    pub(super) description: Option<String>,
    pub(super) deprecated: bool,
}

/// A whole schema.
pub(super) struct Rows {
    pub(super) rows: Vec<Row>,
    /// It has more than [`ROWS_MAX`].
    pub(super) is_cut: bool,
}

/// The rows of a schema, in its own order.
pub(super) fn rows(schema: &WrittenSchema<'_>) -> Rows {
    let mut walk = Walk { parts: Parts { schema }, rows: Vec::new(), open: Vec::new(), is_cut: false };
    let root = Spot { path: String::new(), required: None, option: String::new() };
    walk.visit(vec![(String::new(), String::new())], root, false);
    Rows { rows: walk.rows, is_cut: walk.is_cut }
}

/// Where in the payload, and how it is bound from outside.
#[derive(Clone)]
struct Spot {
    path: String,
    required: Option<bool>,
    option: String,
}

impl Spot {
    fn child(&self, segment: &str, required: Option<bool>) -> Self {
        Self { path: format!("{}/{segment}", self.path), required, option: self.option.clone() }
    }
}

struct Walk<'a> {
    parts: Parts<'a>,
    rows: Vec<Row>,
    /// The nodes that are being gone into, and their paths.
    open: Vec<(Vec<SchemaAt>, String)>,
    is_cut: bool,
}

impl Walk<'_> {
    /// `nullable`: null is allowed too.
    fn visit(&mut self, places: Vec<SchemaAt>, spot: Spot, mut nullable: bool) {
        if self.rows.len() >= ROWS_MAX {
            self.is_cut = true;
            return;
        }
        let mut node = self.parts.node(places);
        // "This or null" is no choice worth rows of its own.
        while let Some(other) = self.parts.null_or(&node) {
            nullable = true;
            node = other;
        }
        let again = self.open.iter().find(|(key, _)| *key == node.key()).map(|(_, path)| path.clone());
        let index = self.rows.len();
        self.rows.push(self.row(&node, &spot, nullable));
        if let Some(path) = again.filter(|_| node.has_inside()) {
            self.rows[index].demands.push(piece(|h| {
                h.text("made like ").code(shown(&path));
            }));
            return;
        }
        if self.open.len() >= DEPTH_MAX {
            self.is_cut |= node.has_inside();
            return;
        }
        self.open.push((node.key(), spot.path.clone()));
        self.options(&node, &spot, index);
        self.members(&node, &spot);
        self.elements(&node, &spot);
        self.open.pop();
    }

    fn row(&self, node: &Node<'_>, spot: &Spot, nullable: bool) -> Row {
        let mut types = self.parts.types(node);
        if nullable && !types.is_empty() && !types.iter().any(|name| name == "null") {
            types.push("null".to_owned());
        }
        let mut demands = self.parts.demands(node, true);
        if nullable && types.is_empty() {
            demands.push(piece(|h| {
                h.text("or null");
            }));
        }
        Row {
            path: spot.path.clone(),
            option: spot.option.clone(),
            types: words::type_words(&types),
            required: spot.required,
            demands,
            remarks: node.keywords().flat_map(words::remarks).collect(),
            description: node.text("description").or_else(|| node.text("title").filter(|_| !spot.path.is_empty())),
            deprecated: node.keywords().any(|keywords| keywords.get("deprecated") == Some(&Value::Bool(true))),
        }
    }

    /// Alternatives with an inside: each is a row, followed by its own fields.
    fn options(&mut self, node: &Node<'_>, spot: &Spot, index: usize) {
        for (keyword, alternatives) in node.choices() {
            if !self.parts.have_inside(&alternatives) {
                continue;
            }
            let count = alternatives.len();
            let word = if keyword == "oneOf" { "exactly one" } else { "at least one" };
            self.rows[index].demands.push(piece(|h| {
                h.text(format!("{word} of the {count} options below holds"));
            }));
            for (number, place) in alternatives.into_iter().enumerate() {
                let within = if spot.option.is_empty() { String::new() } else { format!("{}, ", spot.option) };
                let option = format!("{within}option {} of {count}", number + 1);
                self.visit(vec![place], Spot { path: spot.path.clone(), required: None, option }, false);
            }
        }
    }

    fn members(&mut self, node: &Node<'_>, spot: &Spot) {
        let required = node.required();
        for (name, places) in node.properties() {
            let is_required = required.contains(&name);
            let segment = name.replace('~', "~0").replace('/', "~1");
            self.visit(places, spot.child(&segment, Some(is_required)), false);
        }
        for name in required.iter().filter(|name| !node.has_property(name)) {
            let segment = name.replace('~', "~0").replace('/', "~1");
            self.visit(Vec::new(), spot.child(&segment, Some(true)), false);
        }
        for part in &node.parts {
            for pattern in part.members("patternProperties") {
                let place = part.below(&["patternProperties", pattern]);
                self.visit(vec![place], spot.child(&format!("{{name that matches {pattern}}}"), None), false);
            }
            for keyword in ["additionalProperties", "unevaluatedProperties"] {
                if part.keywords.get(keyword).is_some_and(Value::is_object) {
                    self.visit(vec![part.below(&[keyword])], spot.child("{any other name}", None), false);
                }
            }
        }
    }

    fn elements(&mut self, node: &Node<'_>, spot: &Spot) {
        for part in &node.parts {
            let (listed, rest) = part.elements();
            let is_list = !listed.is_empty();
            for (index, place) in listed.into_iter().enumerate() {
                self.visit(vec![place], spot.child(&index.to_string(), None), false);
            }
            let Some(place) = rest.filter(|place| self.parts.is_object(place)) else { continue };
            let segment = if is_list { "{any further element}" } else { "*" };
            self.visit(vec![place], spot.child(segment, None), false);
        }
    }
}

/// A path as people read it.
pub(super) fn shown(path: &str) -> &str {
    if path.is_empty() { "the payload" } else { path }
}

/// The keyword of a place that nothing is allowed at, or that could not be followed.
fn lost(reference: &str) -> Html {
    piece(|h| {
        h.text("as ").add(&value(&Value::from(reference))).text(" says");
    })
}

#[cfg(test)]
mod tests;
