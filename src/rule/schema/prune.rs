//! A payload cut to a size over which all reasons can be gathered.

use std::borrow::Cow;
use std::collections::HashSet;

use serde_json::{Map, Value};

/// The most values of a payload that reasons are gathered over. An event of 100 KB has about as many.
const VALUES_MAX: usize = 4096;

/// The payload itself when it is small, else a copy that leaves things out.
pub(super) struct Pruned<'v> {
    value: Cow<'v, Value>,
    /// JSON Pointers of the arrays and objects that something was left out of. What is said of one of these may be
    /// untrue of the whole.
    cuts: HashSet<String>,
}

impl<'v> Pruned<'v> {
    /// Keeps at most [`VALUES_MAX`] values, in the document's order, and nothing nested deeper than `depth`.
    pub(super) fn of(payload: &'v Value, depth: usize) -> Self {
        let mut left = VALUES_MAX;
        if fits(payload, depth, &mut left) {
            return Self { value: Cow::Borrowed(payload), cuts: HashSet::new() };
        }
        let mut cutter = Cutter { left: VALUES_MAX, at: String::new(), cuts: HashSet::new() };
        let value = cutter.cut(payload, depth);
        Self { value: Cow::Owned(value), cuts: cutter.cuts }
    }

    pub(super) fn value(&self) -> &Value {
        &self.value
    }

    pub(super) fn was_cut_at(&self, pointer: &str) -> bool {
        self.cuts.contains(pointer)
    }
}

fn fits(value: &Value, depth: usize, left: &mut usize) -> bool {
    if *left == 0 {
        return false;
    }
    *left -= 1;
    match value {
        Value::Array(array) => array.is_empty() || depth > 0 && array.iter().all(|v| fits(v, depth - 1, left)),
        Value::Object(object) => object.is_empty() || depth > 0 && object.values().all(|v| fits(v, depth - 1, left)),
        _ => true,
    }
}

struct Cutter {
    left: usize,
    at: String,
    cuts: HashSet<String>,
}

impl Cutter {
    fn cut(&mut self, value: &Value, depth: usize) -> Value {
        self.left = self.left.saturating_sub(1);
        match value {
            Value::Array(array) => {
                let kept: Vec<Value> = array
                    .iter()
                    .enumerate()
                    .map_while(|(index, element)| self.within(&index.to_string(), element, depth))
                    .collect();
                self.note(kept.len() < array.len());
                Value::Array(kept)
            }
            Value::Object(object) => {
                let kept: Map<String, Value> = object
                    .iter()
                    .map_while(|(key, value)| {
                        let segment = key.replace('~', "~0").replace('/', "~1");
                        Some((key.clone(), self.within(&segment, value, depth)?))
                    })
                    .collect();
                self.note(kept.len() < object.len());
                Value::Object(kept)
            }
            scalar => scalar.clone(),
        }
    }

    fn within(&mut self, segment: &str, value: &Value, depth: usize) -> Option<Value> {
        if depth == 0 || self.left == 0 {
            return None;
        }
        let length = self.at.len();
        self.at.push('/');
        self.at.push_str(segment);
        let kept = self.cut(value, depth - 1);
        self.at.truncate(length);
        Some(kept)
    }

    fn note(&mut self, cut: bool) {
        if cut {
            self.cuts.insert(self.at.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn small_payloads_stay_as_they_are() {
        let payload = json!({"a": [1, {"b": 2}]});
        let pruned = Pruned::of(&payload, 3);
        assert_eq!(pruned.value(), &payload);
        assert!(pruned.cuts.is_empty());
    }

    #[test]
    fn depth_is_cut_and_the_cuts_are_known() {
        let payload = json!({"a": [1, {"b/c": 2}], "d": {}});
        let pruned = Pruned::of(&payload, 2);
        assert_eq!(pruned.value(), &json!({"a": [1, {}], "d": {}}));
        assert!(pruned.was_cut_at("/a/1") && !pruned.was_cut_at("/a") && !pruned.was_cut_at("/d"));
    }

    #[test]
    fn size_is_cut_and_the_cuts_are_known() {
        let payload = json!({"first": 1, "many": vec![0; 100_000], "last": 1});
        let pruned = Pruned::of(&payload, usize::MAX);
        assert!(pruned.value()["many"].as_array().unwrap().len() < VALUES_MAX);
        assert!(pruned.was_cut_at("/many") && pruned.was_cut_at(""));
    }
}
