//! Rule files as their teams wrote them, beside what they compiled to.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;

use crate::contract::{Contract, ContractSet, Domain, RuleFiles, StreamGlob, yaml};
use crate::decode::json;
use crate::rule::number_types::SchemaAt;
use crate::rule::reference::ReferenceList;
use crate::rule::schema::references::References;

/// The directory of all policies.
const POLICIES: &str = "policies/";

/// A domain, with the text of its files.
pub(super) struct WrittenDomain<'a> {
    pub(super) set: &'a ContractSet,
    pub(super) domain: &'a Domain,
    /// Its `domain.yaml`; null where that cannot be found.
    pub(super) value: Value,
    pub(super) contracts: Vec<WrittenContract<'a>>,
    /// Its JSON and YAML documents, by path inside its directory.
    documents: BTreeMap<String, Value>,
    /// All of its files, by the same path.
    files: BTreeMap<&'a str, &'a [u8]>,
}

/// A contract as written and as compiled.
pub(super) struct WrittenContract<'a> {
    pub(super) compiled: &'a Arc<Contract>,
    /// The whole file.
    pub(super) value: Value,
}

/// A contract's schema, with the documents it may refer to.
pub(super) struct WrittenSchema<'a> {
    /// Its path inside the domain's directory.
    pub(super) path: &'a str,
    pub(super) references: References<'a>,
    /// Whether `format` is asserted.
    pub(super) formats: bool,
}

/// A policy as written.
pub(super) struct WrittenPolicy {
    pub(super) name: String,
    pub(super) value: Value,
}

/// Reads once more what the set was compiled from. All of it is known to be well-formed.
pub(super) fn domains<'a>(files: &'a RuleFiles, set: &'a ContractSet) -> Vec<WrittenDomain<'a>> {
    let read = |domain: &'a Arc<Domain>| {
        let prefix = format!("{}/", domain.name);
        let files: BTreeMap<&str, &[u8]> = files
            .iter()
            .filter_map(|(path, bytes)| Some((path.strip_prefix(prefix.as_str())?, bytes.as_slice())))
            .collect();
        let documents = files.iter().filter_map(|(path, bytes)| Some(((*path).to_owned(), document(path, bytes)?)));
        let contracts = domain.contracts.values().filter_map(|compiled| {
            let path = compiled.file.strip_prefix(prefix.as_str())?;
            Some(WrittenContract { compiled, value: yaml::parse(files.get(path)?).ok()?.value })
        });
        let (documents, contracts) = (documents.collect(), contracts.collect());
        let value = ["domain.yaml", "domain.yml"].iter().find_map(|name| files.get(name));
        let value = value.and_then(|bytes| yaml::parse(bytes).ok()).map_or(Value::Null, |document| document.value);
        WrittenDomain { set, domain, value, contracts, documents, files }
    };
    set.domains().map(read).collect()
}

/// The policies, by name.
pub(super) fn policies(files: &RuleFiles) -> Vec<WrittenPolicy> {
    let yaml = files.iter().filter(|(path, _)| path.starts_with(POLICIES));
    let mut policies: Vec<WrittenPolicy> = yaml
        .filter(|(path, _)| path.ends_with(".yaml") || path.ends_with(".yml"))
        .filter_map(|(_, bytes)| {
            let value = yaml::parse(bytes).ok()?.value;
            Some(WrittenPolicy { name: value["metadata"]["name"].as_str()?.to_owned(), value })
        })
        .collect();
    policies.sort_by(|a, b| a.name.cmp(&b.name));
    policies
}

/// A schema, or what one may refer to.
fn document(path: &str, bytes: &[u8]) -> Option<Value> {
    if path.ends_with(".json") {
        return json::parse(bytes).ok();
    }
    let is_yaml = path.ends_with(".yaml") || path.ends_with(".yml");
    if is_yaml && path.contains('/') { yaml::parse(bytes).ok().map(|document| document.value) } else { None }
}

/// A path as written in a rule file, as a path of a file.
fn tidy(path: &str) -> String {
    path.split('/').filter(|part| !part.is_empty() && *part != ".").collect::<Vec<_>>().join("/")
}

impl WrittenContract<'_> {
    /// The part of the file under a key; null where there is none.
    pub(super) fn part(&self, key: &str) -> &Value {
        &self.value[key]
    }

    /// The entries of a list; none where there is no list.
    pub(super) fn entries(&self, key: &str) -> &[Value] {
        entries(&self.value, key)
    }
}

impl WrittenPolicy {
    pub(super) fn entries(&self, key: &str) -> &[Value] {
        entries(&self.value, key)
    }

    /// Why the policy, which would select it, does not apply to a contract.
    pub(super) fn exemption(&self, contract: &Contract) -> Option<&str> {
        let names = |key: &str| entries(&self.value["select"], key).iter().filter_map(Value::as_str);
        let mut globs = names("domains").filter_map(|glob| StreamGlob::parse(glob).ok()).peekable();
        let of_domain = globs.peek().is_none() || globs.any(|glob| glob.matches(&contract.domain));
        let mut tags = names("tags").peekable();
        let of_tags = tags.peek().is_none() || tags.any(|tag| contract.tags.iter().any(|other| other == tag));
        if !of_domain || !of_tags {
            return None;
        }
        let is_of = |exemption: &&Value| {
            exemption["domain"].as_str() == Some(&contract.domain)
                && exemption["contract"].as_str().is_none_or(|name| name == &*contract.name)
        };
        self.entries("exempt").iter().find(is_of)?["reason"].as_str()
    }
}

fn entries<'v>(value: &'v Value, key: &str) -> &'v [Value] {
    value[key].as_array().map_or(&[], Vec::as_slice)
}

impl WrittenDomain<'_> {
    /// The contract's schema; `None` when it has none.
    pub(super) fn schema(&self, contract: &WrittenContract<'_>) -> Option<WrittenSchema<'_>> {
        let wanted = tidy(contract.value["payload"]["schema"].as_str()?);
        let (path, document) = self.documents.get_key_value(&wanted)?;
        let formats = contract.value["payload"]["formats"].as_bool().unwrap_or(true);
        Some(WrittenSchema { path, references: References::new(path, document, &self.documents), formats })
    }

    /// The values of a contract's reference list, sorted.
    pub(super) fn list(&self, contract: &WrittenContract<'_>, name: &str) -> BTreeSet<String> {
        let list = &contract.value["reference"][name];
        let values = || {
            let bytes = self.files.get(tidy(list["file"].as_str()?).as_str())?;
            ReferenceList::parse(bytes, list["column"].as_str()?).ok()
        };
        values().map(|list| list.values().map(str::to_owned).collect()).unwrap_or_default()
    }

    /// The files that say what a contract's events must be: its own, its schema's, and those its schema refers to. Paths are
    /// relative to the rules directory.
    pub(super) fn sources(&self, contract: &WrittenContract<'_>) -> BTreeSet<String> {
        let mut sources = BTreeSet::from([contract.compiled.file.to_string()]);
        let Some(schema) = self.schema(contract) else { return sources };
        let mut open: Vec<SchemaAt> = vec![(String::new(), String::new())];
        while let Some((document, _)) = open.pop() {
            let path = if document.is_empty() { schema.path } else { &document };
            if sources.insert(format!("{}/{path}", self.domain.name))
                && let Some(value) = schema.references.document(&document)
            {
                follow_all(&schema.references, &document, value, &mut open);
            }
        }
        sources
    }
}

/// Collects where the references under a value lead.
fn follow_all(references: &References<'_>, document: &str, value: &Value, open: &mut Vec<SchemaAt>) {
    match value {
        Value::Object(members) => members.iter().for_each(|(key, value)| match (key.as_str(), value) {
            ("$ref", Value::String(reference)) => open.extend(references.follow(document, reference)),
            _ => follow_all(references, document, value, open),
        }),
        Value::Array(elements) => elements.iter().for_each(|value| follow_all(references, document, value, open)),
        _ => {}
    }
}
