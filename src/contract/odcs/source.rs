//! Where in an ODCS file a part of its derived schema was written.

use serde_json::Value;

use super::custom::PREFIX;
use super::element::key_of;
use crate::rule::pointer::Pointer;

/// Follows the schema's `pointer` through the object at `object`, of which the schema mirrors the shape. What was derived from
/// nothing that is written leads to the element it is of.
pub(super) fn of_schema(document: &Value, object: &Pointer, pointer: &Pointer) -> Pointer {
    let mut at = object.clone();
    let mut rest = pointer.segments().iter();
    while let Some(keyword) = rest.next() {
        let Some(element) = at.resolve(document) else { break };
        if let Some(written) =
            json_schema(element, &at).filter(|w| w.child(keyword.as_str()).resolve(document).is_some())
        {
            return rest.fold(written.child(keyword.as_str()), |at, segment| at.child(segment.as_str()));
        }
        let next = match keyword.as_str() {
            "properties" => {
                rest.next().and_then(|name| named(element, name)).map(|index| at.child("properties").child(index))
            }
            "items" => Some(at.child("items")),
            "propertyNames" => Some(at.child("map").child("key")),
            "additionalProperties" => Some(at.child("map").child("value")),
            _ => {
                let places = [at.child("logicalTypeOptions").child(keyword.as_str()), at.child(keyword.as_str())];
                return places.into_iter().find(|place| place.resolve(document).is_some()).unwrap_or(at);
            }
        };
        match next {
            Some(next) => at = next,
            None => break,
        }
    }
    at
}

fn json_schema(element: &Value, at: &Pointer) -> Option<Pointer> {
    let list = element["customProperties"].as_array()?;
    let index = list.iter().position(|entry| {
        entry["property"].as_str().and_then(|name| name.strip_prefix(PREFIX)) == Some("jsonSchema")
    })?;
    Some(at.child("customProperties").child(index.to_string()).child("value"))
}

fn named(element: &Value, name: &str) -> Option<String> {
    let index = element["properties"].as_array()?.iter().position(|property| key_of(property) == Some(name))?;
    Some(index.to_string())
}
