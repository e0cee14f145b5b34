//! Where a part of a contract, or of its schema, stands: for those who speak of rules that compiled.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use serde_json::Value;

use super::compile::json_span;
use super::diagnostic::Place;
use super::odcs::Translated;
use super::{Contract, Domain, RuleFiles, reread, yaml};
use crate::decode::json;
use crate::rule::pointer::Pointer;

/// Finds places in rule files. Each YAML file is parsed once.
pub struct Places<'f> {
    files: &'f RuleFiles,
    documents: RefCell<BTreeMap<String, Option<Rc<yaml::Document>>>>,
}

impl<'f> Places<'f> {
    pub fn new(files: &'f RuleFiles) -> Self {
        Self { files, documents: RefCell::default() }
    }

    /// The key at `pointer` of a contract, in the words of our own format, or the nearest thing around it. Of an ODCS file: what that
    /// part was translated from.
    pub fn in_contract(&self, domain: &Domain, contract: &Contract, pointer: &Pointer) -> Place {
        let source = match self.translated(domain, contract) {
            Some(translated) => translated.source_of(pointer),
            None => pointer.clone(),
        };
        self.in_yaml(&contract.file, &source)
    }

    /// An entry of a contract's lists (`fields`, `rules`, `stream`), by its id: the first of `keys` that it has, or where it begins.
    /// `None` when it has no such entry.
    pub fn of_entry(&self, domain: &Domain, contract: &Contract, id: &str, keys: &[&str]) -> Option<Place> {
        let value = match self.translated(domain, contract) {
            Some(translated) => translated.value,
            None => self.document(&contract.file)?.value.clone(),
        };
        ["fields", "rules", "stream"].into_iter().find_map(|list| {
            let index = value[list].as_array()?.iter().position(|entry| entry["id"] == *id)?;
            let at = Pointer::root().child(list).child(index.to_string());
            let key = keys.iter().find(|key| value[list][index].get(**key).is_some());
            Some(self.in_contract(domain, contract, &key.map_or_else(|| at.clone(), |key| at.child(*key))))
        })
    }

    /// The value at `pointer` of the schema document at `path`, relative to the rules directory, or the nearest value around it. Of the
    /// schema that was derived from an ODCS file: the property it was derived from.
    pub fn in_schema(&self, domain: &Domain, contract: &Contract, path: &str, pointer: &Pointer) -> Place {
        let Some(bytes) = self.files.get(path) else {
            let document = self.document(&contract.file);
            let source = document.zip(self.translated(domain, contract));
            return match source.map(|(document, translated)| translated.source_of_schema(&document.value, pointer)) {
                Some(source) => self.in_yaml(&contract.file, &source),
                None => self.in_contract(domain, contract, &Pointer::root().child("payload").child("schema")),
            };
        };
        if path.ends_with(".json") {
            let text = std::str::from_utf8(bytes).unwrap_or_default();
            return Place::new(path, text, json_span::locate(text, pointer));
        }
        self.in_yaml(path, pointer)
    }

    /// The element of the `required` list at `pointer` that names `property`; the list's pointer where there is none.
    pub fn required(&self, path: &str, pointer: &Pointer, property: &str) -> Pointer {
        let json = || json::parse(self.files.get(path)?).ok();
        let value = if path.ends_with(".json") { json() } else { self.document(path).map(|d| d.value.clone()) };
        let list = value.as_ref().and_then(|value| pointer.resolve(value)).and_then(Value::as_array);
        let index = list.and_then(|list| list.iter().position(|name| name == property));
        index.map_or_else(|| pointer.clone(), |index| pointer.child(index.to_string()))
    }

    /// The key at `pointer` of a YAML file, or the nearest thing around it. The file's beginning when it is not there.
    pub fn in_yaml(&self, path: &str, pointer: &Pointer) -> Place {
        let text = self.files.get(path).and_then(|bytes| std::str::from_utf8(bytes).ok());
        match (text, self.document(path)) {
            (Some(text), Some(document)) => Place::new(path, text, document.key_span(pointer)),
            _ => Place::of_file(path),
        }
    }

    fn document(&self, path: &str) -> Option<Rc<yaml::Document>> {
        if let Some(document) = self.documents.borrow().get(path) {
            return document.clone();
        }
        let document = self.files.get(path).and_then(|bytes| yaml::parse(bytes).ok()).map(Rc::new);
        self.documents.borrow_mut().insert(path.to_owned(), document.clone());
        document
    }

    fn translated(&self, domain: &Domain, contract: &Contract) -> Option<Translated> {
        reread::translated(&self.document(&contract.file)?.value, domain, contract)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::compile;

    const SOLD: &str = "apiVersion: meshgate/v1
kind: EventContract
metadata: {domain: shop, name: sold, version: 1.0.0, status: active}
match: {type: sold}
payload:
  schema: schemas/sold.json
rules:
  - id: paid
    expression: has(this.paid)
    mode: shadow
";
    const SCHEMA: &str = "{\n  \"type\": \"object\",\n  \"required\": [\n    \"qty\",\n    \"paid\"\n  ]\n}\n";
    const ODCS: &str = "apiVersion: v3.1.0
kind: DataContract
id: returned
version: 1.0.0
status: active
schema:
  - name: returned
    properties:
      - name: why
        logicalType: string
        required: true
        logicalTypeOptions:
          maxLength: 3
";

    fn files() -> RuleFiles {
        let domain = "apiVersion: meshgate/v1\nkind: Domain\nmetadata: {name: shop, owner: {team: t}}\n";
        [
            ("shop/domain.yaml", domain),
            ("shop/sold.yaml", SOLD),
            ("shop/schemas/sold.json", SCHEMA),
            ("shop/o.yaml", ODCS),
        ]
        .map(|(path, text)| (path.to_owned(), text.into()))
        .into()
    }

    #[test]
    fn parts_of_contracts_and_schemas_are_found_where_they_were_written() {
        let files = files();
        let compiled = compile(&files, "r1");
        assert!(compiled.is_good(), "{:?}", compiled.diagnostics);
        let places = Places::new(&files);
        let domain = compiled.set.domain("shop").unwrap();
        let at = |place: Place| (place.file, place.line);
        let sold = &domain.contracts["sold"];
        let pointer = |text: &str| Pointer::parse(text).unwrap();
        assert_eq!(
            at(places.in_contract(domain, sold, &pointer("/metadata/version"))),
            ("shop/sold.yaml".to_owned(), 3)
        );
        let entry = |keys: &[&str]| places.of_entry(domain, sold, "paid", keys).unwrap().line;
        assert_eq!((entry(&["severity", "mode"]), entry(&["severity"])), (10, 8));
        assert_eq!(places.of_entry(domain, sold, "gone", &[]), None);

        let path = "shop/schemas/sold.json";
        let required = places.required(path, &pointer("/required"), "paid");
        assert_eq!(at(places.in_schema(domain, sold, path, &required)), (path.to_owned(), 5));
        let required = places.required(path, &pointer("/required"), "gone");
        assert_eq!(places.in_schema(domain, sold, path, &required).line, 3);
        assert_eq!(at(places.in_yaml("shop/gone.yaml", &pointer("/mode"))), ("shop/gone.yaml".to_owned(), 1));
    }

    #[test]
    fn parts_of_a_translation_are_found_in_the_file_it_is_of() {
        let files = files();
        let compiled = compile(&files, "r1");
        let places = Places::new(&files);
        let domain = compiled.set.domain("shop").unwrap();
        let contract = &domain.contracts["returned"];
        let derived = reread(&files, domain, contract).unwrap().derived_schema.unwrap().0;
        let pointer = Pointer::parse("/properties/why/maxLength").unwrap();
        let place = places.in_schema(domain, contract, &format!("shop/{derived}"), &pointer);
        assert_eq!((&*place.file, place.line), ("shop/o.yaml", 13));
        let place = places.in_contract(domain, contract, &Pointer::parse("/metadata/version").unwrap());
        assert_eq!((&*place.file, place.line), ("shop/o.yaml", 4));
    }
}
