//! What the schema that is to imply another one binds a value to: its keywords together.

use std::collections::BTreeSet;

use jsonschema::Draft;
use serde_json::Value;

use super::bound::{Bound, Kinds, is_plain};
use super::place::{Flat, Part, Side};
use crate::rule::number_types::SchemaAt;

/// What holds of every value that the implying side accepts at a place.
pub(super) struct Binding<'a> {
    pub(super) parts: Vec<Part<'a>>,
    /// Whether nothing is accepted.
    pub(super) never: bool,
    pub(super) kinds: Kinds,
    /// All values there are, up to those equal to them; `None` when they are not few.
    pub(super) values: Option<Vec<Value>>,
}

impl<'a> Binding<'a> {
    /// Of what binds a value, among values of these kinds. What cannot be understood binds nothing, so that more is taken for
    /// possible than is.
    pub(super) fn of(flat: Flat<'a>, within: Kinds) -> Self {
        let mut binding = Self { never: !flat.never.is_empty(), parts: flat.parts, kinds: within, values: None };
        for part in &binding.parts {
            if let Some(named) = part.get("type") {
                binding.kinds = binding.kinds.and(Kinds::named(named, part.draft));
            }
            let listed = match (part.get("enum"), part.get("const")) {
                (Some(Value::Array(listed)), _) => listed.clone(),
                (_, Some(value)) => vec![value.clone()],
                _ => continue,
            };
            let kinds = listed.iter().map(Kinds::of).fold(Kinds::NONE, Kinds::or);
            binding.kinds = binding.kinds.and(kinds);
            binding.values.get_or_insert(listed);
        }
        let kinds = binding.kinds;
        if let Some(values) = &mut binding.values {
            values.retain(|value| kinds.meets(Kinds::of(value)));
            binding.never |= values.is_empty();
        } else if kinds == Kinds::of(&Value::Null) {
            binding.values = Some(vec![Value::Null]);
        } else if kinds == Kinds::of(&Value::Bool(true)) {
            binding.values = Some(vec![Value::Bool(false), Value::Bool(true)]);
        }
        binding.never |= kinds == Kinds::NONE;
        binding
    }

    /// All values, where a schema asked about each tells of every value equal to it.
    pub(super) fn plain_values(&self, draft: Draft) -> Option<&[Value]> {
        let values = self.values.as_deref()?;
        let is_sure = |value: &Value| is_plain(value) && (draft != Draft::Draft4 || !holds_number(value));
        values.iter().all(is_sure).then_some(values)
    }

    /// The values of a keyword in all parts whose draft knows it.
    pub(super) fn said<'b>(&'b self, keyword: &'b str) -> impl Iterator<Item = &'a Value> + 'b {
        self.parts.iter().filter_map(move |part| part.get(keyword))
    }

    /// The strictest count that a keyword names. `upper`: the smallest.
    pub(super) fn count(&self, keyword: &str, upper: bool) -> Option<u64> {
        let counts = self.said(keyword).filter_map(Value::as_u64);
        if upper { counts.min() } else { counts.max() }
    }

    pub(super) fn bounds(&self, upper: bool) -> Vec<Bound<'a>> {
        self.parts.iter().flat_map(|part| Bound::all_of(part.keywords, part.draft, upper)).collect()
    }

    pub(super) fn required(&self) -> BTreeSet<&'a str> {
        self.said("required").filter_map(Value::as_array).flatten().filter_map(Value::as_str).collect()
    }

    /// The names that some part has a schema for.
    pub(super) fn property_names(&self) -> BTreeSet<&'a str> {
        self.parts.iter().flat_map(|part| part.object("properties")).map(|(name, _)| name.as_str()).collect()
    }

    /// The places that bind the member of this name.
    pub(super) fn member(&self, side: &Side<'a>, name: &str) -> Vec<SchemaAt> {
        let mut places = Vec::new();
        for part in &self.parts {
            let mut is_additional = true;
            if part.object("properties").any(|(known, _)| known == name) {
                places.push(part.below(&["properties", name]));
                is_additional = false;
            }
            for (pattern, _) in part.object("patternProperties") {
                match side.matches(pattern, name) {
                    Some(true) => {
                        places.push(part.below(&["patternProperties", pattern]));
                        is_additional = false;
                    }
                    Some(false) => {}
                    None => is_additional = false,
                }
            }
            if is_additional && part.get("additionalProperties").is_some() {
                places.push(part.below(&["additionalProperties"]));
            }
        }
        places
    }

    /// The places that bind a member of a name that stands under no `properties` here, and matches none of `not_matching`.
    pub(super) fn other_members(&self, not_matching: &BTreeSet<&str>) -> Vec<SchemaAt> {
        let is_sure = |part: &&Part<'_>| {
            part.get("additionalProperties").is_some()
                && part.object("patternProperties").all(|(pattern, _)| not_matching.contains(pattern.as_str()))
        };
        self.parts.iter().filter(is_sure).map(|part| part.below(&["additionalProperties"])).collect()
    }

    /// The places that bind a member of a name that stands under no `properties` here, and matches a pattern.
    pub(super) fn matching_members(&self, pattern: &str) -> Vec<SchemaAt> {
        let by_pattern = self.parts.iter().filter(|part| part.object("patternProperties").any(|(p, _)| p == pattern));
        let by_pattern = by_pattern.map(|part| part.below(&["patternProperties", pattern]));
        by_pattern.chain(self.other_members(&BTreeSet::new())).collect()
    }

    /// The places that bind the element of this index.
    pub(super) fn element(&self, index: usize) -> Vec<SchemaAt> {
        let of_part = |part: &Part<'_>| {
            let (first, rest) = part.elements();
            first.get(index).cloned().or(rest)
        };
        self.parts.iter().filter_map(of_part).collect()
    }

    /// How many first elements have a schema of their own.
    pub(super) fn first_elements(&self) -> usize {
        self.parts.iter().map(|part| part.elements().0.len()).max().unwrap_or(0)
    }
}

fn holds_number(value: &Value) -> bool {
    match value {
        Value::Number(_) => true,
        Value::Array(elements) => elements.iter().any(holds_number),
        Value::Object(members) => members.values().any(holds_number),
        _ => false,
    }
}
