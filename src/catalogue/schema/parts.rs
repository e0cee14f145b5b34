//! The objects of keywords that together bind one value, and what they say in words.

use std::collections::BTreeSet;

use jsonschema::Draft;
use serde_json::{Map, Value};

use super::{lost, words};
use crate::catalogue::html::{Html, joined, piece};
use crate::catalogue::written::WrittenSchema;
use crate::rule::number_types::SchemaAt;

/// How deep alternatives and conditions are told in words.
const BRIEF_DEPTH_MAX: usize = 3;

/// The most members and alternatives of one level that are told in words.
const BRIEF_WIDTH_MAX: usize = 12;

/// What a schema without demands allows.
const ANYTHING: &str = "anything";

/// The documents of a schema.
pub(super) struct Parts<'a> {
    pub(super) schema: &'a WrittenSchema<'a>,
}

/// One object of keywords, and where it stands.
pub(super) struct Part<'a> {
    place: SchemaAt,
    pub(super) keywords: &'a Map<String, Value>,
}

/// Everything that binds one value.
#[derive(Default)]
pub(super) struct Node<'a> {
    pub(super) parts: Vec<Part<'a>>,
    /// Keywords that bind nothing, and whose texts are told: those beside a reference, and around a choice.
    said: Vec<&'a Map<String, Value>>,
    /// Nothing is allowed.
    never: bool,
    /// References that are not followed.
    lost: Vec<&'a str>,
}

impl<'a> Parts<'a> {
    fn value_at(&self, place: &SchemaAt) -> Option<&'a Value> {
        self.schema.references.value_at(place)
    }

    pub(super) fn is_object(&self, place: &SchemaAt) -> bool {
        self.value_at(place).is_some_and(Value::is_object)
    }

    /// Up to draft 7, what stands beside a reference binds nothing.
    fn is_alone(&self, place: &SchemaAt) -> bool {
        let draft = self.schema.references.document(&place.0).and_then(|d| self.schema.references.draft_of(d));
        draft.is_some_and(|draft| draft <= Draft::Draft7)
    }

    /// Lays side by side what binds a value at all these places.
    pub(super) fn node(&self, places: Vec<SchemaAt>) -> Node<'a> {
        let mut node = Node::default();
        let mut seen = BTreeSet::new();
        let mut open: Vec<SchemaAt> = places;
        open.reverse();
        while let Some(place) = open.pop() {
            if !seen.insert(place.clone()) {
                continue;
            }
            match self.value_at(&place) {
                Some(Value::Object(keywords)) => {
                    let part = Part { place, keywords };
                    let is_reference = self.open_up(&part, &mut open, &mut node);
                    if !is_reference {
                        node.parts.push(part);
                    }
                }
                Some(Value::Bool(false)) => node.never = true,
                _ => {}
            }
        }
        node
    }

    /// What a part refers to and brings together. Gives whether it says nothing else.
    fn open_up(&self, part: &Part<'a>, open: &mut Vec<SchemaAt>, node: &mut Node<'a>) -> bool {
        for keyword in ["allOf", "anyOf", "oneOf"] {
            let length = part.array(keyword).len();
            // One alternative is no choice.
            if keyword == "allOf" || length == 1 {
                open.extend((0..length).rev().map(|index| part.below(&[keyword, &index.to_string()])));
            }
        }
        for keyword in ["$ref", "$dynamicRef", "$recursiveRef"] {
            let Some(reference) = part.keywords.get(keyword).and_then(Value::as_str) else { continue };
            let followed =
                if keyword == "$ref" { self.schema.references.follow(&part.place.0, reference) } else { None };
            match followed.filter(|place| self.value_at(place).is_some()) {
                Some(target) => open.push(target),
                None => node.lost.push(reference),
            }
            if keyword == "$ref" && (part.keywords.len() == 1 || self.is_alone(&part.place)) {
                node.said.push(part.keywords);
                return true;
            }
        }
        false
    }

    /// The other alternative, where the node is a choice between null and one more, and says nothing else. What is said of the
    /// choice is said of its alternative.
    pub(super) fn null_or(&self, node: &Node<'a>) -> Option<Node<'a>> {
        let [(_, alternatives)] = &node.choices()[..] else { return None };
        let [first, second] = &alternatives[..] else { return None };
        let annotations = ["anyOf", "oneOf", "title", "description", "default", "examples", "$comment", "deprecated"];
        let is_bare = node.parts.iter().all(|part| part.keywords.keys().all(|key| annotations.contains(&&**key)));
        let is_null = |place: &SchemaAt| {
            let alternative = self.node(vec![place.clone()]);
            matches!(&alternative.parts[..], [part] if part.keywords.len() == 1) && alternative.types() == ["null"]
        };
        let other = match (is_null(first), is_null(second)) {
            (true, false) => second,
            (false, true) => first,
            _ => return None,
        };
        if !is_bare {
            return None;
        }
        let mut other = self.node(vec![other.clone()]);
        other.said.splice(..0, node.keywords());
        Some(other)
    }

    /// The types of a node, or of its alternatives where each has some.
    pub(super) fn types(&self, node: &Node<'a>) -> Vec<String> {
        let own = node.types();
        let choices = node.choices();
        let [(_, alternatives)] = &choices[..] else { return own };
        let each: Vec<Vec<String>> = alternatives.iter().map(|place| self.node(vec![place.clone()]).types()).collect();
        if !own.is_empty() || each.iter().any(Vec::is_empty) {
            return own;
        }
        let mut all: Vec<String> = Vec::new();
        for name in each.into_iter().flatten() {
            if !all.contains(&name) {
                all.push(name);
            }
        }
        all
    }

    /// Whether an alternative has fields or elements that deserve rows.
    pub(super) fn have_inside(&self, alternatives: &[SchemaAt]) -> bool {
        alternatives.iter().any(|place| self.node(vec![place.clone()]).has_inside())
    }

    /// What a node demands of its value, its members left out. `rows`: alternatives with an inside are told elsewhere.
    pub(super) fn demands(&self, node: &Node<'a>, rows: bool) -> Vec<Html> {
        self.demands_at(node, rows, BRIEF_DEPTH_MAX)
    }

    fn demands_at(&self, node: &Node<'a>, rows: bool, depth: usize) -> Vec<Html> {
        let mut told: Vec<Html> = Vec::new();
        if node.never {
            told.push(piece(|h| {
                h.text("must not be there");
            }));
        }
        told.extend(node.lost.iter().map(|reference| lost(reference)));
        for part in &node.parts {
            told.extend(words::demands(part.keywords, self.schema.formats));
        }
        for (keyword, alternatives) in node.choices() {
            if rows && self.have_inside(&alternatives) {
                continue;
            }
            let all: Vec<Html> =
                alternatives.iter().take(BRIEF_WIDTH_MAX).map(|place| self.brief(place, depth)).collect();
            let more = alternatives.len() - all.len();
            told.push(piece(|h| {
                h.text(if keyword == "oneOf" { "exactly one of: " } else { "one of: " }).add(&joined(&all, " — or "));
                if more > 0 {
                    h.text(format!(" — or {more} more"));
                }
            }));
        }
        node.parts.iter().for_each(|part| self.conditions(part, depth, &mut told));
        if node.parts.iter().any(Part::is_closed) {
            told.push(piece(|h| {
                h.text("no other members");
            }));
        }
        told
    }

    /// Keywords that hold schemas of their own and are no fields.
    fn conditions(&self, part: &Part<'a>, depth: usize, told: &mut Vec<Html>) {
        let inner = |keyword: &str| part.keywords.get(keyword).map(|_| self.brief(&part.below(&[keyword]), depth));
        let mut say = |words: &'static str, inner: Option<Html>| {
            told.extend(inner.map(|inner| {
                piece(|h| {
                    h.text(words).add(&inner);
                })
            }));
        };
        say("not: ", inner("not"));
        say("at least one element is: ", inner("contains"));
        say("each name is: ", inner("propertyNames"));
        if let Some(condition) = inner("if") {
            for (keyword, words) in [("then", "if "), ("else", "unless ")] {
                let Some(consequence) = inner(keyword) else { continue };
                told.push(piece(|h| {
                    h.text(words).add(&condition).text(" — then ").add(&consequence);
                }));
            }
        }
        for (name, _) in
            part.object("dependentSchemas").chain(part.object("dependencies").filter(|(_, v)| !v.is_array()))
        {
            let keyword =
                if part.keywords.contains_key("dependentSchemas") { "dependentSchemas" } else { "dependencies" };
            let consequence = self.brief(&part.below(&[keyword, name]), depth);
            told.push(piece(|h| {
                h.text("with ").code(name).text(": ").add(&consequence);
            }));
        }
        for (name, needs) in part.object("dependentRequired").chain(part.object("dependencies")) {
            let needs: Vec<Html> = needs.as_array().into_iter().flatten().filter_map(Value::as_str).map(code).collect();
            if !needs.is_empty() {
                told.push(piece(|h| {
                    h.text("with ").code(name).text(" also ").add(&joined(&needs, ", "));
                }));
            }
        }
    }

    /// A whole schema in one line.
    fn brief(&self, place: &SchemaAt, depth: usize) -> Html {
        let Some(depth) = depth.checked_sub(1) else {
            return piece(|h| {
                h.text("…");
            });
        };
        match self.value_at(place) {
            Some(Value::Bool(false)) => return plain("is not allowed"),
            Some(Value::Bool(true)) => return plain(ANYTHING),
            _ => {}
        }
        let node = self.node(vec![place.clone()]);
        let types = node.written_types();
        let mut told = if types.is_empty() { Vec::new() } else { vec![words::type_words(&types)] };
        told.extend(self.demands_at(&node, false, depth));
        let required = node.required();
        if !required.is_empty() {
            let names: Vec<Html> = required.iter().take(BRIEF_WIDTH_MAX).map(|name| code(name)).collect();
            told.push(piece(|h| {
                h.text("has ").add(&joined(&names, ", "));
            }));
        }
        for (name, places) in node.properties().into_iter().take(BRIEF_WIDTH_MAX) {
            let [place] = &places[..] else { continue };
            let inner = self.brief(place, depth);
            if inner != plain(ANYTHING) {
                told.push(piece(|h| {
                    h.code(&name).text(" ").add(&inner);
                }));
            }
        }
        if told.is_empty() { plain(ANYTHING) } else { joined(&told, ", ") }
    }
}

fn plain(text: &'static str) -> Html {
    piece(|h| {
        h.text(text);
    })
}

fn code(text: &str) -> Html {
    piece(|h| {
        h.code(text);
    })
}

impl<'a> Node<'a> {
    /// What tells it from other nodes.
    pub(super) fn key(&self) -> Vec<SchemaAt> {
        let mut key: Vec<SchemaAt> = self.parts.iter().map(|part| part.place.clone()).collect();
        key.sort();
        key
    }

    /// Where its texts are, the outermost first.
    pub(super) fn keywords(&self) -> impl Iterator<Item = &'a Map<String, Value>> {
        self.said.iter().copied().chain(self.parts.iter().map(|part| part.keywords))
    }

    /// As written; of the values where only those are.
    pub(super) fn types(&self) -> Vec<String> {
        let written = self.written_types();
        if !written.is_empty() {
            return written;
        }
        let of_values = self.parts.iter().map(|part| words::types_of_values(part.keywords));
        of_values.into_iter().find(|names| !names.is_empty()).unwrap_or_default()
    }

    fn written_types(&self) -> Vec<String> {
        let written = self.parts.iter().map(|part| words::types(part.keywords));
        written.into_iter().filter(|names| !names.is_empty()).min_by_key(Vec::len).unwrap_or_default()
    }

    /// What its teams say of it: the outermost of the texts under a key.
    pub(super) fn text(&self, key: &str) -> Option<String> {
        let mut texts = self.keywords().filter_map(|keywords| keywords.get(key).and_then(Value::as_str));
        texts.next().map(str::to_owned)
    }

    /// The alternatives of each choice.
    pub(super) fn choices(&self) -> Vec<(&'static str, Vec<SchemaAt>)> {
        let of = |part: &Part<'a>, keyword: &'static str| {
            let length = part.array(keyword).len();
            (length > 1).then(|| (keyword, (0..length).map(|i| part.below(&[keyword, &i.to_string()])).collect()))
        };
        self.parts.iter().flat_map(|part| ["anyOf", "oneOf"].map(|keyword| of(part, keyword))).flatten().collect()
    }

    /// Whether it has fields or elements.
    pub(super) fn has_inside(&self) -> bool {
        let keywords = ["properties", "patternProperties", "items", "prefixItems", "required"];
        let is_filled = |value: &Value| match value {
            Value::Object(members) => !members.is_empty(),
            Value::Array(elements) => !elements.is_empty(),
            _ => false,
        };
        self.parts.iter().any(|part| {
            keywords.iter().any(|keyword| part.keywords.get(*keyword).is_some_and(is_filled))
                || part.keywords.get("additionalProperties").is_some_and(Value::is_object)
        })
    }

    /// Its fields in the order they are written, with the places that bind each.
    pub(super) fn properties(&self) -> Vec<(String, Vec<SchemaAt>)> {
        let mut all: Vec<(String, Vec<SchemaAt>)> = Vec::new();
        for part in &self.parts {
            for name in part.members("properties") {
                let place = part.below(&["properties", name]);
                match all.iter_mut().find(|(other, _)| other == name) {
                    Some((_, places)) => places.push(place),
                    None => all.push((name.clone(), vec![place])),
                }
            }
        }
        all
    }

    pub(super) fn has_property(&self, name: &str) -> bool {
        self.parts.iter().any(|part| part.object("properties").any(|(other, _)| other == name))
    }

    /// Names that must be there, in the order they are written.
    pub(super) fn required(&self) -> Vec<String> {
        let mut all: Vec<String> = Vec::new();
        for name in self.parts.iter().flat_map(|part| part.array("required")).filter_map(Value::as_str) {
            if !all.iter().any(|other| other == name) {
                all.push(name.to_owned());
            }
        }
        all
    }
}

impl<'a> Part<'a> {
    /// The place some keys further down.
    pub(super) fn below(&self, path: &[&str]) -> SchemaAt {
        let escaped = path.iter().map(|key| format!("/{}", key.replace('~', "~0").replace('/', "~1")));
        (self.place.0.clone(), escaped.fold(self.place.1.clone(), |pointer, key| pointer + &key))
    }

    fn object(&self, keyword: &str) -> impl Iterator<Item = (&'a String, &'a Value)> + use<'a> {
        self.keywords.get(keyword).and_then(Value::as_object).into_iter().flatten()
    }

    /// The names under a keyword.
    pub(super) fn members(&self, keyword: &str) -> impl Iterator<Item = &'a String> + use<'a> {
        self.object(keyword).map(|(name, _)| name)
    }

    fn array(&self, keyword: &str) -> &'a [Value] {
        self.keywords.get(keyword).and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }

    fn is_closed(&self) -> bool {
        ["additionalProperties", "unevaluatedProperties"]
            .iter()
            .any(|keyword| self.keywords.get(*keyword) == Some(&Value::Bool(false)))
    }

    /// The places of an array's first elements, and the one of all others.
    pub(super) fn elements(&self) -> (Vec<SchemaAt>, Option<SchemaAt>) {
        let listed = |keyword: &str| -> Vec<SchemaAt> {
            (0..self.array(keyword).len()).map(|index| self.below(&[keyword, &index.to_string()])).collect()
        };
        let rest = |keyword: &str| self.keywords.get(keyword).map(|_| self.below(&[keyword]));
        if self.keywords.get("items").is_some_and(Value::is_array) {
            (listed("items"), rest("additionalItems"))
        } else {
            (listed("prefixItems"), rest("items"))
        }
    }
}
