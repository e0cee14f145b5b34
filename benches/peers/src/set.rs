//! A schema, perhaps rules, and events that hold.

use std::path::Path;

use jsonschema::Validator;
use serde_json::Value;

use crate::expert::Rules;

pub struct Set {
    pub name: String,
    pub events: Vec<Vec<u8>>,
    /// JSON Pointer to what the schema describes: `payload` of `set.json`.
    payload: String,
    validator: Validator,
    /// CEL, `expressions` of `set.json`; empty where the schema is all.
    pub rules: Rules,
}

/// Reads all sets below a directory.
pub fn read(directory: &Path) -> Vec<Set> {
    let directories = std::fs::read_dir(directory).expect("a directory").map(|entry| entry.expect("an entry").path());
    directories.map(|directory| Set::read(&directory)).collect()
}

impl Set {
    fn read(directory: &Path) -> Self {
        let read = |name: &str| std::fs::read(directory.join(name)).expect(name);
        let json = |name: &str| -> Value { serde_json::from_slice(&read(name)).expect(name) };
        let (schema, set) = (json("schema.json"), json("set.json"));
        let formats = set["formats"].as_bool().expect("true or false");
        let expressions = set["expressions"].as_array().expect("an array").iter();
        let expressions: Vec<&str> = expressions.map(|expression| expression.as_str().expect("CEL")).collect();
        Self {
            name: directory.file_name().expect("a name").to_string_lossy().into_owned(),
            events: read("events.ndjson")
                .split(|byte| *byte == b'\n')
                .filter(|e| !e.is_empty())
                .map(Vec::from)
                .collect(),
            payload: set["payload"].as_str().expect("a pointer").to_owned(),
            validator: jsonschema::options().should_validate_formats(formats).build(&schema).expect("a schema"),
            rules: Rules::compile(&expressions),
        }
    }

    pub fn payload<'e>(&self, event: &'e Value) -> &'e Value {
        event.pointer(&self.payload).expect("a payload")
    }

    /// The baseline: serde_json's tree, judged by the `jsonschema` crate.
    pub fn is_valid(&self, event: &[u8]) -> bool {
        let Ok(event) = serde_json::from_slice::<Value>(event) else { return false };
        self.validator.is_valid(self.payload(&event))
    }

    pub fn holds_schema(&self, event: &Value) -> bool {
        self.validator.is_valid(self.payload(event))
    }
}
