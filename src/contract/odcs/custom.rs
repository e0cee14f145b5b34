//! Custom properties whose names begin with `meshgate.`: what the standard has no word for.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Remark, Remarks};
use crate::contract::diagnostic::{Code, Level};
use crate::rule::did_you_mean;
use crate::rule::pointer::Pointer;

/// What the names of ours begin with.
pub(super) const PREFIX: &str = "meshgate.";

/// Where a custom property stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Holder {
    /// Of the file: what holds for each of its objects.
    File,
    Object,
    Property,
    Quality,
}

/// The names that are read, by where they stand: for the file and its objects, for properties, and for quality entries. There,
/// `window` is how long a check over several events looks back, and `stream` all that the standard cannot say of one.
const NAMES: [&[&str]; 3] = [
    &[
        "type",
        "stream",
        "mode",
        "payload",
        "formats",
        "nullable",
        "reference",
        "privacy",
        "examples",
        "breaker",
        "replay",
        "schema",
        "jsonSchema",
    ],
    &["nullable", "mask", "jsonSchema"],
    &["mode", "onFail", "window", "stream"],
];

/// The custom properties of ours that an element has, by name without the prefix, with the places of their values.
#[derive(Debug, Default, Clone)]
pub(super) struct Custom<'d>(BTreeMap<&'d str, (&'d Value, Pointer)>);

impl<'d> Custom<'d> {
    /// Reads those of the element at `at`. A name of ours that is not known is remarked on: it would have no effect.
    pub fn read(element: &'d Value, at: &Pointer, level: Holder, remarks: &mut Remarks) -> Self {
        let known = match level {
            Holder::File | Holder::Object => NAMES[0],
            Holder::Property => NAMES[1],
            Holder::Quality => NAMES[2],
        };
        let list = at.child("customProperties");
        let mut found = BTreeMap::new();
        for (index, entry) in element["customProperties"].as_array().into_iter().flatten().enumerate() {
            let Some(name) = entry["property"].as_str().and_then(|name| name.strip_prefix(PREFIX)) else { continue };
            let at = list.child(index.to_string());
            if known.contains(&name) {
                found.insert(name, (&entry["value"], at.child("value")));
                continue;
            }
            let near = did_you_mean(name, known.iter().copied());
            remarks.push(Remark {
                at: at.child("property"),
                on_key: false,
                level: Level::Error,
                code: Code::UnknownKey,
                message: format!("the gate has no custom property `{PREFIX}{name}` here"),
                hint: near.or_else(|| Some(format!("here it reads {PREFIX}{}", known.join(&format!(", {PREFIX}"))))),
            });
        }
        Self(found)
    }

    /// Leaves out what is too large to hold for each of many objects.
    pub fn bounded(mut self, bytes_max: usize, remarks: &mut Remarks) -> Self {
        self.0.retain(|name, (value, at)| {
            let is_small = value.to_string().len() <= bytes_max;
            if !is_small {
                let message = format!("`{PREFIX}{name}` of a file of several objects has at most {bytes_max} bytes");
                let hint = Some("write it under the objects it is of".to_owned());
                remarks.fault(at, Code::TooLarge, message, hint);
            }
            is_small
        });
        self
    }

    pub fn get(&self, name: &str) -> Option<(&'d Value, &Pointer)> {
        self.0.get(name).map(|(value, at)| (*value, at))
    }

    /// A yes or no; what is neither is a fault.
    pub fn flag(&self, name: &str, remarks: &mut Remarks) -> Option<bool> {
        let (value, at) = self.get(name)?;
        if value.as_bool().is_none() {
            remarks.fault(at, Code::WrongType, format!("`{PREFIX}{name}` is true or false"), None);
        }
        value.as_bool()
    }
}
