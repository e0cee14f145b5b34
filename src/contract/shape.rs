//! A file that people write against its published JSON Schema, the same that editors complete from: rule files against
//! `rules/contract.schema.json`, settings against `meshgate.schema.json`. Findings are told in the words of the format, with
//! the keys it knows.

use std::sync::LazyLock;

use jsonschema::error::{TypeKind, ValidationErrorKind};
use jsonschema::{Draft, ValidationError, Validator};
use serde_json::Value;

use super::diagnostic::Code;
use crate::rule::did_you_mean;
use crate::rule::pointer::Pointer;

/// The format's JSON Schema, Draft 2020-12.
pub const FORMAT_SCHEMA: &str = include_str!("../../rules/contract.schema.json");

static FORMAT: LazyLock<Shape> = LazyLock::new(|| Shape::new(FORMAT_SCHEMA));

/// The shape of a kind of file.
pub struct Shape {
    schema: Value,
    validator: Validator,
}

/// The most faults told of one file.
pub const FAULTS_MAX: usize = 100;

/// Something the format does not allow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShapeFault {
    pub pointer: Pointer,
    /// The key at `pointer` is at fault, not its value.
    pub on_key: bool,
    pub code: Code,
    pub message: String,
    pub hint: Option<String>,
}

/// What in `value`, a whole rule file, the format does not allow: up to [`FAULTS_MAX`] faults.
pub fn check(value: &Value) -> Vec<ShapeFault> {
    FORMAT.check(value)
}

impl Shape {
    /// Compiles a schema, Draft 2020-12, that is part of this program.
    ///
    /// # Panics
    /// When it is no schema: a fault of the program, which any test of it finds.
    pub fn new(schema: &str) -> Self {
        let schema: Value = serde_json::from_str(schema).expect("embedded, tested");
        let validator = jsonschema::options().with_draft(Draft::Draft202012).build(&schema).expect("embedded, tested");
        Self { schema, validator }
    }

    /// What in `value`, a whole file, the schema does not allow: up to [`FAULTS_MAX`] faults.
    pub fn check(&self, value: &Value) -> Vec<ShapeFault> {
        let mut faults: Vec<ShapeFault> = Vec::new();
        for fault in self.validator.iter_errors(value).flat_map(|error| self.explain(&error)) {
            if faults.len() == FAULTS_MAX {
                break;
            }
            if !faults.contains(&fault) {
                faults.push(fault);
            }
        }
        faults
    }

    fn explain(&self, error: &ValidationError<'_>) -> Vec<ShapeFault> {
        let pointer = Pointer::parse(error.instance_path().as_str()).unwrap_or_default();
        let name = match pointer.segments().last() {
            Some(last) if last.bytes().all(|b| b.is_ascii_digit()) => "this entry".to_owned(),
            Some(last) => format!("`{last}`"),
            None => "a rule file".to_owned(),
        };
        let one = |code, message: String, hint: Option<String>| {
            vec![ShapeFault { pointer: pointer.clone(), on_key: false, code, message, hint }]
        };
        match error.kind() {
            ValidationErrorKind::AdditionalProperties { unexpected } => {
                let known = self.known_keys(error);
                let typed = self.type_of(error).map(with_article);
                let unknown = |key: &String| ShapeFault {
                    pointer: pointer.child(key.as_str()),
                    on_key: true,
                    code: Code::UnknownKey,
                    message: match &typed {
                        Some(typed) => format!("{typed} takes no `{key}`"),
                        None => format!("the format has no key `{key}` here"),
                    },
                    hint: did_you_mean(key, known.iter().map(String::as_str))
                        .or_else(|| Some(format!("keys here are {}", known.join(", ")))),
                };
                unexpected.iter().map(unknown).collect()
            }
            ValidationErrorKind::Required { property } => {
                let key = property.as_str().unwrap_or_default();
                let hint = self.described(error, &["properties", key]);
                let message = match self.type_of(error) {
                    Some(typed) => format!("{} needs `{key}`", with_article(typed)),
                    None if pointer.is_root() => format!("the file lacks the key `{key}`"),
                    None => format!("{name} lacks the key `{key}`"),
                };
                vec![ShapeFault { pointer: pointer.clone(), on_key: true, code: Code::MissingKey, message, hint }]
            }
            ValidationErrorKind::Type { kind } => {
                let found = type_name(error.instance());
                let wanted = match kind {
                    TypeKind::Single(kind) => kind.to_string(),
                    TypeKind::Multiple(kinds) => {
                        kinds.into_iter().map(|k| k.to_string()).collect::<Vec<_>>().join(" or ")
                    }
                };
                let hint = match error.instance().as_ref() {
                    // Where texts must have some form, quotes alone would only lead to the next fault.
                    Value::Number(_) | Value::Bool(_) if wanted == "string" && !self.asks_for_a_form(error) => {
                        Some("put it in quotes".to_owned())
                    }
                    _ => self.described(error, &[]),
                };
                one(Code::WrongType, format!("{name} is {found}; it must be {}", with_article(&wanted)), hint)
            }
            ValidationErrorKind::Enum { options } => {
                let options: Vec<&str> = options.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
                let hint = error.instance().as_str().and_then(|text| did_you_mean(text, options.iter().copied()));
                one(Code::InvalidValue, format!("{name} must be one of {}", options.join(", ")), hint)
            }
            ValidationErrorKind::Constant { expected_value } => {
                one(Code::InvalidValue, format!("{name} must be {expected_value}"), self.described(error, &[]))
            }
            ValidationErrorKind::MinProperties { .. } => {
                one(Code::MissingKey, format!("{name} is empty"), self.described(error, &[]))
            }
            ValidationErrorKind::Pattern { .. } => {
                one(Code::InvalidValue, format!("{name} is not of the form it must have"), self.described(error, &[]))
            }
            ValidationErrorKind::PropertyNames { .. } => {
                one(Code::InvalidValue, format!("a name under {name} is not of the form it must have"), None)
            }
            _ => one(Code::InvalidValue, format!("{name}: {}", error.masked()), self.described(error, &[])),
        }
    }

    /// The schema object whose keyword failed.
    fn failed_schema(&self, error: &ValidationError<'_>) -> Option<&Value> {
        let path = error.schema_path().as_str();
        let parent = &path[..path.rfind('/')?];
        self.schema.pointer(parent)
    }

    /// The type that the object at fault says it is of, where that decides which keys it takes.
    fn type_of(&self, error: &ValidationError<'_>) -> Option<&str> {
        self.failed_schema(error)?.pointer("/properties/type/const")?.as_str()
    }

    fn asks_for_a_form(&self, error: &ValidationError<'_>) -> bool {
        self.failed_schema(error).is_some_and(|schema| schema.get("pattern").is_some())
    }

    fn known_keys(&self, error: &ValidationError<'_>) -> Vec<String> {
        let properties = self.failed_schema(error).and_then(|schema| schema["properties"].as_object());
        properties.into_iter().flatten().map(|(key, _)| key.clone()).collect()
    }

    /// The schema's own words on what stands there, `$ref`s inside this file followed.
    fn described(&self, error: &ValidationError<'_>, path: &[&str]) -> Option<String> {
        let schema = path.iter().try_fold(self.failed_schema(error)?, |schema, key| schema.get(key))?;
        let schema = match schema["$ref"].as_str() {
            Some(reference) if schema.get("description").is_none() => {
                self.schema.pointer(reference.strip_prefix('#')?)?
            }
            _ => schema,
        };
        schema["description"].as_str().map(str::to_owned)
    }
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "a mapping",
    }
}

fn with_article(word: &str) -> String {
    match word {
        "object" => "a mapping".to_owned(),
        "array" => "a list".to_owned(),
        "integer" => "a whole number".to_owned(),
        _ if word.starts_with(['a', 'e', 'i', 'o', 'u']) => format!("an {word}"),
        _ => format!("a {word}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn contract(changes: &Value) -> Value {
        let mut file = json!({
            "apiVersion": "meshgate/v1",
            "kind": "EventContract",
            "metadata": {"domain": "a", "name": "b", "version": "1.0.0", "status": "active"},
            "match": {"type": "b"},
        });
        for (key, value) in changes.as_object().unwrap() {
            file[key] = value.clone();
        }
        file
    }

    fn messages(value: &Value) -> Vec<String> {
        let line = |f: ShapeFault| {
            format!("{:?} {} {} | {}", f.pointer.to_string(), f.code.as_str(), f.message, f.hint.unwrap_or_default())
        };
        check(value).into_iter().map(line).collect()
    }

    #[test]
    fn the_schema_is_good_and_so_is_a_good_file() {
        assert!(jsonschema::draft202012::meta::is_valid(&FORMAT.schema));
        assert_eq!(messages(&contract(&json!({}))), Vec::<String>::new());
    }

    /// Closed: an object of the format that would take any key is a hole. Only what is data by nature is open.
    #[test]
    fn every_object_of_the_format_is_closed() {
        fn walk(value: &Value, path: &str) {
            if let Value::Object(object) = value
                && !path.ends_with("/if")
            {
                let open = object.get("type") == Some(&json!("object")) && !object.contains_key("additionalProperties");
                // What they are of decides on the schema that closes them.
                let allowed = ["", "/$defs/streamCheck"];
                assert!(!open || allowed.contains(&path), "{path}");
                object.iter().for_each(|(key, value)| walk(value, &format!("{path}/{key}")));
            }
        }
        walk(&FORMAT.schema, "");
    }

    #[test]
    fn faults_are_told_in_the_formats_words() {
        let file = contract(&json!({
            "moed": "shadow",
            "frobnicate": 1,
            "match": {},
            "metadata": {"domain": "a", "name": "b", "version": 1.2, "status": "live"},
            "rules": [{"id": "x", "sevrity": "error", "expression": true}, {"id": "9"}],
        }));
        expect_test::expect![[r#"
            "/metadata/version" wrong-type `version` is a number; it must be a string | Version of the contract, semantic: x.y.z, such as 1.2.0.
            "/metadata/status" invalid-value `status` must be one of proposed, draft, active, deprecated, retired | 
            "/match" missing-key `match` is empty | Which records this contract judges. At least one of the two.
            "/rules/0/expression" wrong-type `expression` is a boolean; it must be a string | put it in quotes
            "/rules/0/sevrity" unknown-key the format has no key `sevrity` here | did you mean "severity"?
            "/rules/1" missing-key this entry lacks the key `expression` | CEL that is true for a good event. An error (a missing field, an overflow) never passes.
            "/rules/1/id" invalid-value `id` is not of the form it must have | Name of the rule, unique in its contract, a metric label: a letter, then letters, digits, _ . or -, at most 64.
            "/moed" unknown-key the format has no key `moed` here | did you mean "mode"?
            "/frobnicate" unknown-key the format has no key `frobnicate` here | keys here are apiVersion, kind, metadata, match, payload, mode, fields, rules, stream, reference, privacy, replay, breaker, slo, examples
        "#]].assert_eq(&(messages(&file).join("\n") + "\n"));
        expect_test::expect![[r#"
            "" missing-key the file lacks the key `apiVersion` | Version of this format: meshgate/v1. Of an ODCS contract: v3.0.x to v3.2.x.
            "/kind" invalid-value `kind` must be one of EventContract, Domain, Policy, DataContract | 
        "#]]
        .assert_eq(&(messages(&json!({"kind": "Contract"})).join("\n") + "\n"));
        expect_test::expect![[r#"
            "" wrong-type a rule file is a list; it must be a mapping | An event contract, or what the contracts of a domain share. See docs/contracts.md.
        "#]].assert_eq(&(messages(&json!([1])).join("\n") + "\n"));
    }
}
