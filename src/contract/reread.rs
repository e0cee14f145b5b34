//! A contract's file once more, as it was written: for those who compare contracts, or write them in another format.

use serde_json::Value;

use super::odcs::{self, Ground, Translated};
use super::{Contract, Domain, RuleFiles, yaml};

/// A contract in the words of our own format, whatever format its file is in.
#[derive(Debug, Clone)]
pub struct Reread {
    /// As a contract's file would hold it.
    pub value: Value,
    /// The schema that `value` names, by its path inside the domain's directory, where it is in no file.
    pub derived_schema: Option<(String, Value)>,
}

/// Reads the file that a contract was compiled from. `None` only when `files` are not those.
pub fn reread(files: &RuleFiles, domain: &Domain, contract: &Contract) -> Option<Reread> {
    let document = yaml::parse(files.get(&*contract.file)?).ok()?.value;
    if !odcs::is_odcs(&document) {
        return Some(Reread { value: document, derived_schema: None });
    }
    let translated = translated(&document, domain, contract)?;
    let derived_schema = translated.schema.map(|schema| (schema.path, schema.document));
    Some(Reread { value: translated.value, derived_schema })
}

/// The translation that a contract was compiled from; `None` where its file is in our own format.
pub(super) fn translated(document: &Value, domain: &Domain, contract: &Contract) -> Option<Translated> {
    if !odcs::is_odcs(document) {
        return None;
    }
    let file = contract.file.rsplit('/').next()?;
    let ground = Ground { domain: &domain.name, file, team: Some(&domain.owner.team) };
    let contracts = odcs::translate(document, ground).contracts;
    contracts.into_iter().find(|translated| translated.value["metadata"]["name"] == *contract.name)
}
