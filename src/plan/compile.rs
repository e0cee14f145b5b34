//! Schema documents to nodes.
//!
//! Each place of a schema becomes one node, however often it is referred to. What the plan does not express becomes a node
//! that is left out, with the reason; the rest of the schema is not affected.

mod containers;
mod reading;
mod scalars;

use std::collections::BTreeMap;
use std::sync::Arc;

use jsonschema::Draft;
use serde_json::{Map, Value};

use super::node::{ANY, Also, Keyword, NEVER, Node, NodeId, Types};
use super::number::Exact;
use super::told::Words;
use super::{LeftOut, Plan, sieve};
use crate::rule::capture::Reads;
use crate::rule::number_types::SchemaAt;
use crate::rule::pointer::Pointer;
use crate::rule::schema::reason::{Kind, message};
use crate::rule::schema::references::References;
use crate::rule::schema::words;

/// Why a subschema is left out, to be read after "because it".
type Reason = String;

/// Keywords the plan knows in some drafts and the `jsonschema` crate may read in others.
pub(crate) const OF_DRAFTS: [(&str, Draft, Draft); 11] = [
    ("const", Draft::Draft6, Draft::Draft202012),
    ("contains", Draft::Draft6, Draft::Draft202012),
    ("propertyNames", Draft::Draft6, Draft::Draft202012),
    ("if", Draft::Draft7, Draft::Draft202012),
    ("dependencies", Draft::Draft4, Draft::Draft7),
    ("additionalItems", Draft::Draft4, Draft::Draft201909),
    ("dependentRequired", Draft::Draft201909, Draft::Draft202012),
    ("dependentSchemas", Draft::Draft201909, Draft::Draft202012),
    ("minContains", Draft::Draft201909, Draft::Draft202012),
    ("maxContains", Draft::Draft201909, Draft::Draft202012),
    ("prefixItems", Draft::Draft202012, Draft::Draft202012),
];

/// Keywords that need more than one pass, or a tree.
const NOT_EXPRESSED: [&str; 6] = [
    "$dynamicRef",
    "$recursiveRef",
    "unevaluatedProperties",
    "unevaluatedItems",
    "contentEncoding",
    "contentMediaType",
];

pub(super) fn plan(references: Option<&References<'_>>, formats: bool, payload: &Pointer, reads: Reads) -> Plan {
    let mut compiler = Compiler {
        references,
        formats,
        nodes: vec![Node::of_types(Types::ALL), Node::of_types(Types::NONE)],
        words: Words::default(),
        places: BTreeMap::new(),
        drafts: BTreeMap::new(),
        left_out: Vec::new(),
    };
    compiler.nodes[NEVER].schema = NEVER;
    compiler.say(NEVER, Keyword::Nothing, Kind::Nothing);
    let schema = compiler.at((String::new(), String::new()));
    let event = payload.segments().iter().rev().fold(schema, |inner, key| compiler.envelope(key, inner));
    sieve::install(&mut compiler.nodes);
    let root = compiler.reading(event, &reads);
    let Compiler { mut nodes, words, left_out, .. } = compiler;
    // All but the first, which is skipped.
    nodes[NEVER..].iter_mut().for_each(Node::finish);
    Plan { nodes, words, root, reads, left_out }
}

struct Compiler<'a> {
    /// `None` when there is no schema: anything may stand anywhere.
    references: Option<&'a References<'a>>,
    formats: bool,
    nodes: Vec<Node>,
    words: Words,
    places: BTreeMap<SchemaAt, NodeId>,
    /// Of each document, or why it is left out.
    drafts: BTreeMap<String, Result<Draft, Reason>>,
    left_out: Vec<LeftOut>,
}

/// One object of keywords, where it stands, and the node it becomes.
#[derive(Clone, Copy)]
struct Schema<'s> {
    id: NodeId,
    place: &'s SchemaAt,
    keywords: &'s Map<String, Value>,
    draft: Draft,
}

impl<'s> Schema<'s> {
    fn get(&self, keyword: &str) -> Option<&'s Value> {
        self.keywords.get(keyword)
    }

    fn has_any(&self, keywords: &[&str]) -> bool {
        keywords.iter().any(|keyword| self.keywords.contains_key(*keyword))
    }

    fn below(&self, path: &[&str]) -> SchemaAt {
        let escaped = path.iter().map(|key| format!("/{}", key.replace('~', "~0").replace('/', "~1")));
        (self.place.0.clone(), escaped.fold(self.place.1.clone(), |pointer, key| pointer + &key))
    }

    /// The value of a keyword that counts, or what it is when left out.
    fn count(&self, keyword: &str, otherwise: u64) -> Result<u64, Reason> {
        let Some(value) = self.get(keyword) else { return Ok(otherwise) };
        let number = value.as_number().and_then(|number| Exact::parse(number.as_str()));
        let count = number.and_then(Exact::to_count);
        count.ok_or_else(|| format!("has a `{keyword}` that is not written as a plain number"))
    }
}

impl Compiler<'_> {
    /// The node of a place.
    fn at(&mut self, place: SchemaAt) -> NodeId {
        if let Some(id) = self.places.get(&place) {
            return *id;
        }
        let Some(references) = self.references else { return ANY };
        match references.value_at(&place) {
            Some(Value::Bool(true)) => ANY,
            Some(Value::Bool(false)) => NEVER,
            Some(Value::Object(keywords)) => self.object_at(place, keywords),
            _ => {
                let id = self.add(Node::left_out());
                self.leave_out(place, "is no schema".to_owned());
                id
            }
        }
    }

    fn object_at(&mut self, place: SchemaAt, keywords: &Map<String, Value>) -> NodeId {
        // Until it is built, its id already stands for it: schemas may be recursive.
        let id = self.add(Node::left_out());
        self.places.insert(place.clone(), id);
        let built = self.draft(&place.0).and_then(|draft| self.build(Schema { id, place: &place, keywords, draft }));
        match built {
            Ok(Built::Node(node)) => self.nodes[id] = Node { schema: id, ..*node },
            Ok(Built::SameAs(other)) => {
                self.nodes[id] = Node::same_as(other);
                self.places.insert(place, other);
                return other;
            }
            Err(reason) => self.leave_out(place, reason),
        }
        id
    }

    fn add(&mut self, node: Node) -> NodeId {
        self.nodes.push(node);
        self.nodes.len() - 1
    }

    /// What a keyword says when it does not hold.
    fn say(&mut self, id: NodeId, keyword: Keyword, kind: Kind) {
        self.say_of(id, keyword, 0, kind);
    }

    /// The same of one of its details.
    fn say_of(&mut self, id: NodeId, keyword: Keyword, detail: u32, kind: Kind) {
        let said = message(&kind, "").into();
        self.words.insert(id, keyword, detail, kind, said);
    }

    /// The same for words that tell nothing about alternatives.
    fn say_words(&mut self, id: NodeId, keyword: Keyword, words: impl Into<Arc<str>>) {
        self.say(id, keyword, Kind::Said(words.into()));
    }

    fn leave_out(&mut self, (document, pointer): SchemaAt, reason: Reason) {
        self.left_out.push(LeftOut { document, pointer, reason });
    }

    fn draft(&mut self, name: &str) -> Result<Draft, Reason> {
        if let Some(draft) = self.drafts.get(name) {
            return draft.clone();
        }
        let document = self.references.and_then(|references| references.document(name));
        let draft = document.and_then(|document| self.references?.draft_of(document));
        let draft = match (document, draft) {
            (Some(document), Some(draft)) if !has_identities_within(document, draft) => Ok(draft),
            (Some(_), Some(_)) => Err("is in a document with a `$id` or another `$schema` inside".to_owned()),
            _ => Err("is of a dialect that is not plain".to_owned()),
        };
        self.drafts.insert(name.to_owned(), draft.clone());
        draft
    }

    fn build(&mut self, schema: Schema<'_>) -> Result<Built, Reason> {
        let mut also = Vec::new();
        if let Some(reference) = schema.get("$ref") {
            let target = self.follow(schema, reference)?;
            // Up to draft 7, what stands beside a reference is ignored.
            if schema.draft <= Draft::Draft7 {
                return Ok(Built::SameAs(target));
            }
            also.push(Also::All(Box::new([target])));
        }
        for keyword in NOT_EXPRESSED {
            if schema.get(keyword).is_some() {
                return Err(format!("uses `{keyword}`"));
            }
        }
        for (keyword, from, to) in OF_DRAFTS {
            if schema.get(keyword).is_some() && !(from..=to).contains(&schema.draft) {
                return Err(format!("uses `{keyword}`, which is of another draft"));
            }
        }
        let mut node = Node::of_types(Types::ALL);
        node.integers_as_written = schema.draft == Draft::Draft4;
        let own = [
            self.types_and_values(schema, &mut node, &mut also)?,
            self.strings(schema, &mut node)?,
            self.numbers(schema, &mut node)?,
            self.array(schema, &mut node)?,
            self.object(schema, &mut node)?,
        ];
        self.alternatives(schema, &mut also)?;
        node.is_bare = !own.contains(&true);
        match (node.is_bare, also.as_slice()) {
            (true, []) => return Ok(Built::SameAs(ANY)),
            (true, [Also::All(one)]) if one.len() == 1 => return Ok(Built::SameAs(one[0])),
            _ => {}
        }
        node.also = also.into();
        Ok(Built::Node(Box::new(node)))
    }

    fn follow(&mut self, schema: Schema<'_>, reference: &Value) -> Result<NodeId, Reason> {
        let text = reference.as_str().unwrap_or_default();
        let document = &schema.place.0;
        let references = self.references.ok_or("stands in no document")?;
        let has_own_base =
            references.document(document).is_some_and(|document| document.get(id_keyword(schema.draft)).is_some());
        let target = references.follow(document, text).filter(|_| text.starts_with('#') || !has_own_base);
        target.map(|target| self.at(target)).ok_or_else(|| "refers by an anchor or a URI, not by a pointer".to_owned())
    }

    fn alternatives(&mut self, schema: Schema<'_>, also: &mut Vec<Also>) -> Result<(), Reason> {
        type Of = fn(Box<[NodeId]>) -> Also;
        let kinds: [(&str, Of); 3] =
            [("allOf", Also::All), ("anyOf", |list| Also::Any(list, None)), ("oneOf", |list| Also::One(list, None))];
        for (keyword, of) in kinds {
            if let Some(nodes) = self.list(schema, keyword)? {
                also.push(of(nodes));
            }
        }
        self.say_words(schema.id, Keyword::Several, words::SEVERAL);
        if schema.get("not").is_some() {
            self.say_words(schema.id, Keyword::Not, words::NOT);
            also.push(Also::Not(self.at(schema.below(&["not"]))));
        }
        if schema.get("if").is_some() {
            let mut branch = |keyword| match schema.get(keyword) {
                Some(_) => self.at(schema.below(&[keyword])),
                None => ANY,
            };
            also.push(Also::If { condition: branch("if"), then: branch("then"), otherwise: branch("else") });
        }
        Ok(())
    }

    fn list(&mut self, schema: Schema<'_>, keyword: &str) -> Result<Option<Box<[NodeId]>>, Reason> {
        let Some(value) = schema.get(keyword) else { return Ok(None) };
        let length = value.as_array().ok_or_else(|| format!("has a `{keyword}` that is no array"))?.len();
        Ok(Some((0..length).map(|index| self.at(schema.below(&[keyword, &index.to_string()]))).collect()))
    }
}

enum Built {
    Node(Box<Node>),
    /// What another node says, and no more.
    SameAs(NodeId),
}

pub(crate) fn id_keyword(draft: Draft) -> &'static str {
    if draft == Draft::Draft4 { "id" } else { "$id" }
}

/// Whether a part of the document has a name or another dialect of its own, from which references inside it would be read.
pub(crate) fn has_identities_within(document: &Value, draft: Draft) -> bool {
    let is_own = |value: &Value| {
        let is_other_dialect = value.get("$schema").is_some() && Draft::default().detect(value) != draft;
        is_other_dialect || value.get(id_keyword(draft)).is_some_and(Value::is_string)
    };
    let is_or_has = |value: &Value| is_own(value) || has_identities_within(value, draft);
    match document {
        Value::Object(object) => object.values().any(is_or_has),
        Value::Array(array) => array.iter().any(is_or_has),
        _ => false,
    }
}
