//! Which document a reference leads to: the rule files, and nothing else.

use std::collections::{BTreeMap, HashMap};

use jsonschema::{Draft, ReferencingError, Registry, Retrieve, Uri};
use serde_json::Value;

use super::SchemaFault;
use crate::rule::did_you_mean;

/// The scheme of rule files, so that `../a.json` in one leads to the other.
const SCHEME: &str = "rules:///";

/// The URI of a rule file; a key that is a URI already stands for itself.
pub(super) fn uri_of(path: &str) -> String {
    if path.contains("://") {
        return path.to_owned();
    }
    let mut uri = String::from(SCHEME);
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte) {
            uri.push(char::from(byte));
        } else {
            uri.push_str(&format!("%{byte:02X}"));
        }
    }
    uri
}

/// The document being compiled and those it may refer to.
pub(super) struct Files<'a> {
    pub(super) path: &'a str,
    pub(super) document: &'a Value,
    pub(super) others: &'a BTreeMap<String, Value>,
}

impl<'a> Files<'a> {
    pub(super) fn new(path: &'a str, document: &'a Value, others: &'a BTreeMap<String, Value>) -> Self {
        Self { path, document, others }
    }

    /// Hands out the other documents. It owns copies, as the crate keeps it.
    pub(super) fn retriever(&self) -> Documents {
        let mut documents = HashMap::new();
        for (path, document) in self.others {
            if let Some(id) = id_of(document) {
                documents.insert(id.to_owned(), document.clone());
            }
            documents.insert(uri_of(path), document.clone());
        }
        Documents(documents)
    }

    pub(super) fn registry(&self) -> Result<Registry<'a>, ReferencingError> {
        let mut registry = Registry::new().retriever(self.retriever());
        for (path, document) in self.others.iter().filter(|(_, document)| self.has_known_dialect(document)) {
            registry = registry.add(uri_of(path), document)?;
        }
        registry.prepare()
    }

    /// Whether a document's dialect is a draft, or a meta-schema among the files. A file of another is left out: it is not
    /// this one's fault.
    fn has_known_dialect(&self, document: &Value) -> bool {
        let Some(dialect) = document.get("$schema").and_then(Value::as_str) else { return true };
        Draft::default().detect(document) != Draft::Unknown
            || self.others.iter().any(|(path, other)| path == dialect || id_of(other) == Some(dialect))
    }

    /// A reference that leads nowhere, with the place it is written at.
    pub(super) fn reference_fault(&self, error: &ReferencingError) -> SchemaFault {
        let fault = |pointer: Option<String>, message: String, hint: Option<String>| {
            let message =
                if pointer.is_none() { format!("{message} (written in a file this one refers to)") } else { message };
            SchemaFault { pointer: pointer.unwrap_or_default(), message, hint }
        };
        let dialect = self.document.get("$schema").and_then(Value::as_str).map(|uri| uri.trim_end_matches('#'));
        match error {
            ReferencingError::Unretrievable { uri, .. } if dialect == Some(uri.trim_end_matches('#')) => {
                unknown_dialect(uri)
            }
            ReferencingError::Unretrievable { uri, .. } => {
                let name = uri.strip_prefix(SCHEME).unwrap_or(uri);
                let last = name.rsplit('/').next().unwrap_or(name);
                let written = find_ref(self.document, &|r| {
                    r.split('#').next().is_some_and(|file| !file.is_empty() && file.ends_with(last))
                });
                let hint = did_you_mean(name, self.others.keys().map(String::as_str)).or_else(|| {
                    Some("references lead to other rule files, by relative path or by their $id; nothing is fetched from the network".to_owned())
                });
                fault(written, format!("the reference leads to {name:?}, which is not among the rule files"), hint)
            }
            ReferencingError::PointerToNowhere { pointer } => {
                let written =
                    find_ref(self.document, &|r| r.split_once('#').is_some_and(|(_, fragment)| fragment == pointer));
                let siblings = self.siblings(pointer);
                fault(
                    written,
                    format!("the reference leads to {pointer:?}, where nothing is"),
                    did_you_mean(pointer, siblings.iter().map(String::as_str)),
                )
            }
            ReferencingError::NoSuchAnchor { anchor } | ReferencingError::InvalidAnchor { anchor } => {
                let written =
                    find_ref(self.document, &|r| r.split_once('#').is_some_and(|(_, fragment)| fragment == anchor));
                fault(written, format!("the reference leads to the anchor {anchor:?}, which nothing has"), None)
            }
            ReferencingError::UnknownSpecification { specification } => unknown_dialect(specification),
            other => fault(None, format!("a reference or $id does not resolve: {other}"), None),
        }
    }

    /// Pointers beside the one that leads nowhere: what its author may have meant.
    fn siblings(&self, pointer: &str) -> Vec<String> {
        let Some((parent, _)) = pointer.rsplit_once('/') else { return Vec::new() };
        let keys = self.document.pointer(parent).and_then(Value::as_object);
        keys.into_iter().flat_map(|object| object.keys()).map(|key| format!("{parent}/{key}")).collect()
    }
}

fn unknown_dialect(uri: &str) -> SchemaFault {
    SchemaFault {
        pointer: "/$schema".to_owned(),
        message: format!("{uri:?} is no draft of JSON Schema that is known, nor a meta-schema among the rule files"),
        hint: Some("leave it out for 2020-12, or write https://json-schema.org/draft/2020-12/schema".to_owned()),
    }
}

/// The URI a document gives itself.
pub(super) fn id_of(document: &Value) -> Option<&str> {
    let id = document.get("$id").or_else(|| document.get("id"))?.as_str()?;
    let id = id.trim_end_matches('#');
    id.contains("://").then_some(id)
}

/// The pointer of the first `$ref` whose text is the one looked for.
fn find_ref(value: &Value, wanted: &dyn Fn(&str) -> bool) -> Option<String> {
    match value {
        Value::Object(object) => {
            for keyword in ["$ref", "$dynamicRef"] {
                if object.get(keyword).and_then(Value::as_str).is_some_and(wanted) {
                    return Some(format!("/{keyword}"));
                }
            }
            object.iter().find_map(|(key, value)| {
                let inner = find_ref(value, wanted)?;
                Some(format!("/{}{inner}", key.replace('~', "~0").replace('/', "~1")))
            })
        }
        Value::Array(array) => {
            array.iter().enumerate().find_map(|(i, value)| Some(format!("/{i}{}", find_ref(value, wanted)?)))
        }
        _ => None,
    }
}

/// Documents by URI.
pub(super) struct Documents(HashMap<String, Value>);

#[derive(Debug, thiserror::Error)]
#[error("not among the rule files")]
struct NotARuleFile;

impl Retrieve for Documents {
    fn retrieve(&self, uri: &Uri<String>) -> Result<Value, Box<dyn std::error::Error + Send + Sync>> {
        Ok(self.0.get(uri.as_str().trim_end_matches('#')).ok_or(NotARuleFile)?.clone())
    }
}
