//! The documents of one side of a comparison, and the objects of keywords that together bind one value.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use jsonschema::Draft;
use serde_json::{Map, Value, json};

use crate::plan::{OF_DRAFTS, has_identities_within, id_keyword};
use crate::rule::number_types::SchemaAt;
use crate::rule::pointer::Pointer;
use crate::rule::schema::Schema;
use crate::rule::schema::references::References;

/// One schema with the documents its references may lead to.
pub(super) struct Side<'a> {
    references: References<'a>,
    pub(super) path: &'a str,
    /// Whether `format` is asserted.
    pub(super) formats: bool,
    /// The draft of each document that can be understood.
    drafts: RefCell<BTreeMap<String, Option<Draft>>>,
    /// Whether a pattern matches a name, asked of the crate that judges.
    matches: RefCell<BTreeMap<(String, String), Option<bool>>>,
}

/// One object of keywords and where it stands.
#[derive(Clone)]
pub(super) struct Part<'a> {
    pub(super) place: SchemaAt,
    pub(super) keywords: &'a Map<String, Value>,
    pub(super) draft: Draft,
}

/// Everything that binds a value together: references followed, `allOf` laid side by side.
#[derive(Default)]
pub(super) struct Flat<'a> {
    pub(super) parts: Vec<Part<'a>>,
    /// Places that allow nothing.
    pub(super) never: Vec<SchemaAt>,
    /// Places that could not be understood, and why.
    pub(super) lost: Vec<(SchemaAt, &'static str)>,
}

impl Flat<'_> {
    /// Whether it binds nothing.
    pub(super) fn is_empty(&self) -> bool {
        self.parts.is_empty() && self.never.is_empty() && self.lost.is_empty()
    }

    /// What tells it from others of its side.
    pub(super) fn key(&self) -> Vec<SchemaAt> {
        let lost = self.lost.iter().map(|(place, _)| place);
        let mut key: Vec<SchemaAt> =
            self.parts.iter().map(|part| &part.place).chain(&self.never).chain(lost).cloned().collect();
        key.sort();
        key
    }
}

impl<'a> Side<'a> {
    pub(super) fn new(path: &'a str, documents: &'a BTreeMap<String, Value>, formats: bool) -> Option<Self> {
        let references = References::new(path, documents.get(path)?, documents);
        Some(Self { references, path, formats, drafts: RefCell::default(), matches: RefCell::default() })
    }

    /// The place as people name it: the file, and a JSON Pointer into it.
    pub(super) fn shown(&self, (document, pointer): &SchemaAt) -> String {
        let document = if document.is_empty() { self.path } else { document };
        format!("{document}#{pointer}")
    }

    pub(super) fn draft(&self, name: &str) -> Option<Draft> {
        if let Some(draft) = self.drafts.borrow().get(name) {
            return *draft;
        }
        let document = self.references.document(name);
        let draft = document.and_then(|document| {
            let draft = self.references.draft_of(document)?;
            (!has_identities_within(document, draft)).then_some(draft)
        });
        self.drafts.borrow_mut().insert(name.to_owned(), draft);
        draft
    }

    pub(super) fn value_at(&self, place: &SchemaAt) -> Option<&'a Value> {
        self.references.value_at(place)
    }

    /// Where a reference leads, when that is certain.
    pub(super) fn follow(&self, document: &str, reference: &str) -> Option<SchemaAt> {
        let draft = self.draft(document)?;
        let has_own_base =
            self.references.document(document).is_some_and(|document| document.get(id_keyword(draft)).is_some());
        self.references.follow(document, reference).filter(|_| reference.starts_with('#') || !has_own_base)
    }

    /// Lays side by side what binds a value at all these places.
    pub(super) fn flatten(&self, places: &[SchemaAt]) -> Flat<'a> {
        let mut flat = Flat::default();
        let mut seen = BTreeSet::new();
        let mut open: Vec<SchemaAt> = places.iter().rev().cloned().collect();
        while let Some(place) = open.pop() {
            if !seen.insert(place.clone()) {
                continue;
            }
            match (self.value_at(&place), self.draft(&place.0)) {
                (Some(Value::Bool(true)), _) => {}
                (Some(Value::Bool(false)), _) => flat.never.push(place),
                (Some(Value::Object(keywords)), Some(draft)) => {
                    let part = Part { place, keywords, draft };
                    self.open_up(&part, &mut open, &mut flat);
                }
                (Some(Value::Object(_)), None) => flat.lost.push((place, "is of a dialect that is not plain")),
                _ => flat.lost.push((place, "is no schema")),
            }
        }
        flat
    }

    /// What a part refers to and brings together, and the part itself.
    fn open_up(&self, part: &Part<'a>, open: &mut Vec<SchemaAt>, flat: &mut Flat<'a>) {
        if let Some(reference) = part.keywords.get("$ref").and_then(Value::as_str) {
            match self.follow(&part.place.0, reference) {
                Some(target) => open.push(target),
                None => flat.lost.push((part.below(&["$ref"]), "refers in a way that is not followed here")),
            }
            // Up to draft 7, what stands beside a reference is ignored.
            if part.draft <= Draft::Draft7 {
                return;
            }
        }
        for keyword in ["allOf", "anyOf", "oneOf"] {
            let length = part.keywords.get(keyword).and_then(Value::as_array).map_or(0, Vec::len);
            // One alternative is no choice.
            if keyword == "allOf" || length == 1 {
                open.extend((0..length).rev().map(|index| part.below(&[keyword, &index.to_string()])));
            }
        }
        // A mere reference says nothing beside its target.
        if part.keywords.len() > 1 || !part.keywords.contains_key("$ref") {
            flat.parts.push(part.clone());
        }
    }

    /// Whether a pattern matches a name. `None` when the crate cannot be asked.
    pub(super) fn matches(&self, pattern: &str, name: &str) -> Option<bool> {
        let key = (pattern.to_owned(), name.to_owned());
        if let Some(known) = self.matches.borrow().get(&key) {
            return *known;
        }
        let schema = json!({"patternProperties": {pattern: false}});
        let found = accepts(&schema, false, &json!({name: null})).map(|accepts| !accepts);
        self.matches.borrow_mut().insert(key, found);
        found
    }
}

impl<'a> Part<'a> {
    /// The place some keys further down.
    pub(super) fn below(&self, path: &[&str]) -> SchemaAt {
        let escaped = path.iter().map(|key| format!("/{}", key.replace('~', "~0").replace('/', "~1")));
        (self.place.0.clone(), escaped.fold(self.place.1.clone(), |pointer, key| pointer + &key))
    }

    /// A keyword that the part's draft knows.
    pub(super) fn get(&self, keyword: &str) -> Option<&'a Value> {
        self.keywords.get(keyword).filter(|_| self.knows(keyword))
    }

    /// Whether the part's draft knows a keyword, so far as drafts differ.
    pub(super) fn knows(&self, keyword: &str) -> bool {
        OF_DRAFTS.iter().all(|(name, from, to)| *name != keyword || (from..=to).contains(&&self.draft))
    }

    pub(super) fn object(&self, keyword: &str) -> impl Iterator<Item = (&'a String, &'a Value)> + use<'a> {
        self.get(keyword).and_then(Value::as_object).into_iter().flatten()
    }

    pub(super) fn array(&self, keyword: &str) -> &'a [Value] {
        self.get(keyword).and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }

    /// The places of an array's first elements, and the one of all others.
    pub(super) fn elements(&self) -> (Vec<SchemaAt>, Option<SchemaAt>) {
        let listed = |keyword: &str| -> Vec<SchemaAt> {
            (0..self.array(keyword).len()).map(|index| self.below(&[keyword, &index.to_string()])).collect()
        };
        let rest = |keyword: &str| self.get(keyword).map(|_| self.below(&[keyword]));
        if self.draft == Draft::Draft202012 {
            (listed("prefixItems"), rest("items"))
        } else if self.get("items").is_some_and(Value::is_array) {
            (listed("items"), rest("additionalItems"))
        } else {
            (Vec::new(), rest("items"))
        }
    }
}

/// Whether a schema that stands alone accepts a value. `None` when it does not compile.
pub(super) fn accepts(schema: &Value, formats: bool, value: &Value) -> Option<bool> {
    let schema = Schema::compile(schema, "x.json", &BTreeMap::new(), formats).ok()?;
    Some(schema.find(value, &Pointer::root(), 1).is_empty())
}

/// Whether two values mean the same on both sides: equal, and their references lead to what is the same.
pub(super) fn same(a_side: &Side<'_>, a: (&str, &Value), b_side: &Side<'_>, b: (&str, &Value)) -> bool {
    let mut seen = BTreeSet::new();
    let drafts = (a_side.draft(a.0), b_side.draft(b.0));
    drafts.0.is_some() && drafts.0 == drafts.1 && Same { a: a_side, b: b_side, seen: &mut seen }.values(a, b)
}

struct Same<'s, 'a> {
    a: &'s Side<'a>,
    b: &'s Side<'a>,
    seen: &'s mut BTreeSet<(SchemaAt, SchemaAt)>,
}

impl Same<'_, '_> {
    fn values(&mut self, (a_in, a): (&str, &Value), (b_in, b): (&str, &Value)) -> bool {
        match (a, b) {
            (Value::Object(x), Value::Object(y)) => {
                let is_open = |keyword: &str| x.contains_key(keyword);
                if is_open("$dynamicRef") || is_open("$recursiveRef") {
                    return false;
                }
                if is_open("format") && self.a.formats != self.b.formats {
                    return false;
                }
                if let (Some(Value::String(r)), Some(Value::String(s))) = (x.get("$ref"), y.get("$ref"))
                    && !self.targets((a_in, r), (b_in, s))
                {
                    return false;
                }
                x.len() == y.len()
                    && x.iter()
                        .all(|(key, value)| y.get(key).is_some_and(|other| self.values((a_in, value), (b_in, other))))
            }
            (Value::Array(x), Value::Array(y)) => {
                x.len() == y.len() && x.iter().zip(y).all(|(x, y)| self.values((a_in, x), (b_in, y)))
            }
            _ => a == b,
        }
    }

    fn targets(&mut self, (a_in, a): (&str, &str), (b_in, b): (&str, &str)) -> bool {
        let (Some(a), Some(b)) = (self.a.follow(a_in, a), self.b.follow(b_in, b)) else { return false };
        if !self.seen.insert((a.clone(), b.clone())) {
            return true;
        }
        let (Some(x), Some(y)) = (self.a.value_at(&a), self.b.value_at(&b)) else { return false };
        let drafts = (self.a.draft(&a.0), self.b.draft(&b.0));
        drafts.0.is_some() && drafts.0 == drafts.1 && self.values((&a.0, x), (&b.0, y))
    }
}
