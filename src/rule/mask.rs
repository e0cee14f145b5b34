//! What may not be shown of an event: fields a contract marks private are masked in everything a person looks at.
//!
//! A hash lets two events be told to hold the same value without saying which. It is no protection of values that can be
//! guessed (a country, a phone number): for those, `redact`.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::pointer::{Pattern, Pointer, PointerFault};

/// What stands for a redacted value.
const REDACTED: &str = "***";

/// One entry of a contract's `privacy:`, as written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MaskSpec {
    /// JSON Pointer into the payload; a `*` segment stands for every element of an array.
    pub path: String,
    /// What kind of data it is (`pii`, …): for people and catalogues, without effect here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub classification: Option<String>,
    pub mask: MaskMethod,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MaskMethod {
    /// `sha256:` and the first 16 hexadecimal digits of the SHA-256 of the value's text.
    Hash,
    /// `***`.
    Redact,
}

/// A compiled [`MaskSpec`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mask {
    path: Pattern,
    method: MaskMethod,
}

impl Mask {
    /// # Errors
    ///
    /// When `path` is no JSON Pointer.
    pub fn compile(spec: &MaskSpec) -> Result<Self, PointerFault> {
        Ok(Self { path: Pattern::parse(&spec.path)?, method: spec.mask })
    }

    /// The same mask for a document that holds the payload at `payload_pointer`.
    pub fn within(&self, payload_pointer: &Pointer) -> Self {
        Self { path: self.path.within(payload_pointer), method: self.method }
    }

    /// The path it masks.
    pub fn path(&self) -> &Pattern {
        &self.path
    }

    /// As it would be written, so that a document can carry its own masks.
    pub fn to_spec(&self) -> MaskSpec {
        MaskSpec { path: self.path.to_string(), classification: None, mask: self.method }
    }

    /// Masks every value at the path, whatever its type: an object or array is masked as a whole. An absent path is left
    /// alone. Masking twice shows no more than masking once.
    pub fn apply(&self, payload: &mut Value) {
        self.path.visit_mut(payload, &mut |value| {
            *value = Value::String(match self.method {
                MaskMethod::Redact => REDACTED.to_owned(),
                MaskMethod::Hash => hash(value),
            });
        });
    }
}

/// A string's text is its content, any other value's its compact JSON.
fn hash(value: &Value) -> String {
    let digest = match value {
        Value::String(text) => Sha256::digest(text.as_bytes()),
        other => Sha256::digest(other.to_string().as_bytes()),
    };
    digest[..8].iter().fold(String::from("sha256:"), |text, byte| text + &format!("{byte:02x}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn mask(path: &str, mask: MaskMethod) -> Mask {
        Mask::compile(&MaskSpec { path: path.to_owned(), classification: None, mask }).unwrap()
    }

    #[test]
    fn values_of_any_type_are_masked() {
        let mut payload = json!({"email": "abc", "age": 41, "address": {"zip": "1"}, "phones": ["1", "2"], "kept": 1});
        mask("/email", MaskMethod::Hash).apply(&mut payload);
        mask("/age", MaskMethod::Hash).apply(&mut payload);
        mask("/address", MaskMethod::Redact).apply(&mut payload);
        mask("/phones/*", MaskMethod::Redact).apply(&mut payload);
        mask("/absent/deeper", MaskMethod::Redact).apply(&mut payload);
        // SHA-256("abc") as in FIPS 180-4, SHA-256("41").
        assert_eq!(payload["email"], json!("sha256:ba7816bf8f01cfea"));
        assert_eq!(payload["age"], json!("sha256:3d914f9348c9cc0f"));
        assert_eq!(payload["address"], json!("***"));
        assert_eq!(payload["phones"], json!(["***", "***"]));
        assert_eq!(payload["kept"], json!(1));
    }

    #[test]
    fn a_list_where_one_object_was_expected_hides_nothing() {
        let mut payload = json!([{"email": "abc"}, [{"email": "abc"}]]);
        mask("/email", MaskMethod::Redact).apply(&mut payload);
        assert_eq!(payload, json!([{"email": "***"}, [{"email": "***"}]]));
    }

    #[test]
    fn a_mask_moves_with_its_payload() {
        let mut event = json!({"data": {"email": "abc"}, "email": "not private"});
        mask("/email", MaskMethod::Redact).within(&Pointer::parse("/data").unwrap()).apply(&mut event);
        assert_eq!(event, json!({"data": {"email": "***"}, "email": "not private"}));
    }

    #[test]
    fn the_spec_reads_as_contracts_write_it() {
        let spec: MaskSpec =
            serde_json::from_value(json!({"path": "/email", "classification": "pii", "mask": "hash"})).unwrap();
        assert_eq!(spec.mask, MaskMethod::Hash);
        assert!(serde_json::from_value::<MaskSpec>(json!({"path": "/e", "mask": "hash", "typo": 1})).is_err());
    }

    proptest! {
        #[test]
        fn the_masked_value_is_gone(secret in "[a-z]{12,20}") {
            for method in [MaskMethod::Hash, MaskMethod::Redact] {
                let mut payload = json!({"a": [{"b": &secret}, {"b": [&secret]}]});
                mask("/a/*/b", method).apply(&mut payload);
                prop_assert!(!payload.to_string().contains(&secret));
            }
        }
    }
}
