//! Rule files as their teams wrote them, beside what they compiled to.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;

use super::schema::SchemaSource;
use crate::contract::{Contract, ContractSet, Domain, RuleFiles, reread, yaml};
use crate::decode::json;
use crate::rule::reference::ReferenceList;

/// The domains that compiled, by name.
pub(super) type Domains<'a> = BTreeMap<&'a str, WrittenDomain<'a>>;

/// A domain, with the text of its files.
pub(super) struct WrittenDomain<'a> {
    pub(super) domain: &'a Domain,
    pub(super) contracts: BTreeMap<&'a str, WrittenContract<'a>>,
    /// Its JSON and YAML documents, by path inside its directory.
    documents: BTreeMap<String, Value>,
    /// Its other files, by the same path.
    files: BTreeMap<&'a str, &'a [u8]>,
}

/// A contract as written and as compiled.
pub(super) struct WrittenContract<'a> {
    pub(super) compiled: &'a Arc<Contract>,
    /// The whole file, in the words of our own format.
    pub(super) value: Value,
}

/// Reads once more what the set was compiled from. All of it is known to be well-formed.
pub(super) fn read<'a>(files: &'a RuleFiles, set: &'a ContractSet) -> Domains<'a> {
    let rule_files = files;
    let read = |domain: &'a Arc<Domain>| {
        let prefix = format!("{}/", domain.name);
        let inside = |path: &'a String| path.strip_prefix(prefix.as_str());
        let files: BTreeMap<&str, &[u8]> =
            files.iter().filter_map(|(path, bytes)| Some((inside(path)?, bytes.as_slice()))).collect();
        let documents = files.iter().filter_map(|(path, bytes)| Some(((*path).to_owned(), document(path, bytes)?)));
        let mut documents: BTreeMap<String, Value> = documents.collect();
        let contracts = domain.contracts.iter().filter_map(|(name, compiled)| {
            let reread = reread(rule_files, domain, compiled)?;
            documents.extend(reread.derived_schema);
            Some((&**name, WrittenContract { compiled, value: reread.value }))
        });
        let contracts = contracts.collect();
        (&*domain.name, WrittenDomain { domain, contracts, documents, files })
    };
    set.domains().map(read).collect()
}

/// A schema, or what one may refer to.
fn document(path: &str, bytes: &[u8]) -> Option<Value> {
    if path.ends_with(".json") {
        return json::parse(bytes).ok();
    }
    let is_yaml = path.ends_with(".yaml") || path.ends_with(".yml");
    if is_yaml && path.contains('/') { yaml::parse(bytes).ok().map(|document| document.value) } else { None }
}

impl WrittenContract<'_> {
    /// The part of the file under a key; null where there is none.
    pub(super) fn part(&self, key: &str) -> &Value {
        &self.value[key]
    }

    /// The schema's path, as [`WrittenDomain::schema`] looks it up.
    fn schema_path(&self) -> Option<String> {
        let written = self.value["payload"]["schema"].as_str()?;
        Some(written.split('/').filter(|part| !part.is_empty() && *part != ".").collect::<Vec<_>>().join("/"))
    }
}

impl<'a> WrittenDomain<'a> {
    /// The contract's schema; `None` when it has none.
    pub(super) fn schema(&self, contract: &WrittenContract<'_>) -> Option<SchemaSource<'_>> {
        let wanted = contract.schema_path()?;
        let (path, _) = self.documents.get_key_value(&wanted)?;
        let formats = contract.value["payload"]["formats"].as_bool().unwrap_or(true);
        Some(SchemaSource { path, documents: &self.documents, formats })
    }

    /// The values of a contract's reference list, sorted.
    pub(super) fn list(&self, contract: &WrittenContract<'_>, name: &str) -> Option<BTreeSet<String>> {
        let list = &contract.value["reference"][name];
        let path = list["file"].as_str()?;
        let path = path.split('/').filter(|part| !part.is_empty() && *part != ".").collect::<Vec<_>>().join("/");
        let bytes = self.files.get(path.as_str())?;
        let list = ReferenceList::parse(bytes, list["column"].as_str()?).ok()?;
        Some(list.values().map(str::to_owned).collect())
    }
}
