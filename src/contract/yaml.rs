//! YAML with a memory of where everything stood: a JSON value for the compiler, spans for its messages.
//!
//! A rule file is one document of plain data. What makes YAML ambiguous, or lets a small file grow large in memory, is a
//! fault of the file: duplicate keys, several documents, keys that are not scalars, custom tags, values JSON lacks
//! (`.inf`, `.nan`), and aliases past a bound on what they unfold to. Scalars resolve as YAML 1.2's core schema says
//! (section 10.3): `yes`, `no` and `off` are strings. Numbers keep their text, so nothing is rounded.

mod load;
mod offset;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError};
use serde_json::Value;

use crate::rule::pointer::Pointer;

/// The largest YAML file, in bytes.
pub const BYTES_MAX: usize = 1024 * 1024;

/// The most values one file may hold, aliases unfolded.
pub const NODES_MAX: usize = 100_000;

/// The most bytes of text its values may hold together, aliases unfolded.
pub const TEXT_BYTES_MAX: usize = 4 * BYTES_MAX;

/// The deepest nesting: an event at its own limit ([`crate::decode::json::DEPTH_MAX`]) still fits into an example.
pub const DEPTH_MAX: usize = 128;

/// The most faults told of one file.
pub const FAULTS_MAX: usize = 100;

/// A parsed file.
#[derive(Debug, Clone)]
pub struct Document {
    pub value: Value,
    root: Node,
}

/// Where a value stood.
#[derive(Debug, Clone)]
pub struct Node {
    /// Byte offsets into the file. A block scalar's starts at its first line with content.
    span: Range<usize>,
    content: Content,
}

#[derive(Debug, Clone)]
enum Content {
    /// The text as the parser decoded it, and how it was written.
    Scalar(String, ScalarStyle),
    Sequence(Vec<Node>),
    Mapping(Vec<(Key, Node)>),
}

#[derive(Debug, Clone)]
struct Key {
    text: String,
    span: Range<usize>,
}

/// What is wrong with a file, and where. Byte offsets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct YamlFault {
    pub span: Range<usize>,
    pub kind: YamlFaultKind,
    pub message: String,
    pub hint: Option<String>,
}

/// Which of the faults that [`parse`] knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum YamlFaultKind {
    Syntax,
    DuplicateKey,
    TooLarge,
    /// YAML, but not plain data.
    NotData,
}

/// Parses one file.
///
/// # Errors
///
/// Every duplicate key and every value that is not plain data; the first only of syntax faults and of passed bounds,
/// because nothing reliable follows those.
pub fn parse(bytes: &[u8]) -> Result<Document, Vec<YamlFault>> {
    load::load(bytes)
}

impl Document {
    /// The node there; `None` when there is none.
    pub fn find(&self, pointer: &Pointer) -> Option<&Node> {
        pointer.segments().iter().try_fold(&self.root, |node, segment| node.child(segment).map(|(_, node)| node))
    }

    /// The span of the value there, or of the nearest value around it that exists.
    pub fn span(&self, pointer: &Pointer) -> Range<usize> {
        let mut node = &self.root;
        for segment in pointer.segments() {
            let Some((_, child)) = node.child(segment) else { break };
            node = child;
        }
        node.span.clone()
    }

    /// The span of the key there; of the value when it has no key.
    pub fn key_span(&self, pointer: &Pointer) -> Range<usize> {
        let mut node = &self.root;
        let mut span = node.span.clone();
        for segment in pointer.segments() {
            let Some((key, child)) = node.child(segment) else { break };
            span = key.map_or_else(|| child.span.clone(), |key| key.span.clone());
            node = child;
        }
        span
    }

    /// Where byte `offset` of the scalar there stands in the file; the scalar's start when it is no string or the
    /// offset is beyond it. `source` is the file's text.
    pub fn offset_in(&self, source: &str, pointer: &Pointer, offset: usize) -> usize {
        match self.find(pointer) {
            Some(Node { span, content: Content::Scalar(text, style) }) => {
                offset::in_source(source, span.start, *style, text, offset)
            }
            _ => self.span(pointer).start,
        }
    }
}

impl Node {
    fn child(&self, segment: &str) -> Option<(Option<&Key>, &Node)> {
        match &self.content {
            Content::Mapping(entries) => {
                entries.iter().find(|(key, _)| key.text == segment).map(|(key, node)| (Some(key), node))
            }
            Content::Sequence(nodes) => nodes.get(segment.parse::<usize>().ok()?).map(|node| (None, node)),
            Content::Scalar(..) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn faults(text: &str) -> String {
        let list = parse(text.as_bytes()).unwrap_err();
        list.iter().map(|f| format!("{:?} {:?} {}\n", f.kind, text.get(f.span.clone()), f.message)).collect()
    }

    fn value(text: &str) -> Value {
        parse(text.as_bytes()).unwrap().value
    }

    #[test]
    fn scalars_resolve_as_the_core_schema_says() {
        let text = "[yes, off, true, False, ~, null, '', 0x1F, 0o17, +12, 007, 1.50, .5, 1e3, 12345678901234567890123, 2026-11-22, 'true', !!str 1, 1.2.0]";
        let expected = r#"["yes","off",true,false,null,null,"",31,15,12,7,1.50,0.5,1e3,12345678901234567890123,"2026-11-22","true","1","1.2.0"]"#;
        assert_eq!(value(text).to_string().replace("1e+3", "1e3"), expected);
    }

    #[test]
    fn spans_name_the_text_with_any_line_ends_and_characters() {
        for eol in ["\n", "\r\n"] {
            let text = ["# größe ✓", "a: héllo", "b:", "  - {c: \"ü\"}", "  - d: [1, 22]", "é: x", ""].join(eol);
            let document = parse(text.as_bytes()).unwrap();
            let at = |pointer: &str| &text[document.span(&Pointer::parse(pointer).unwrap())];
            assert_eq!(at("/a"), "héllo");
            assert_eq!(at("/b/0/c"), "\"ü\"");
            assert_eq!(at("/b/1/d/1"), "22");
            assert_eq!(at("/é"), "x");
            assert_eq!(&text[document.key_span(&Pointer::parse("/é").unwrap())], "é");
            assert_eq!(at("/b/1/nope"), at("/b/1"));
        }
    }

    #[test]
    fn an_anchor_may_be_used_again() {
        assert_eq!(value("a: &x {b: 1}\nc: *x\n"), json!({"a": {"b": 1}, "c": {"b": 1}}));
    }

    #[test]
    fn what_is_not_plain_data_is_refused() {
        let cases = [
            "a: 1\nb: 2\na: 3\nb: 4\n",
            "a: 1\n---\nb: 2\n",
            "a: [1\nb: 2\n",
            "? [a]\n: 1\n",
            "a: !secret x\n",
            "a: .inf\n",
            "a: &x [*x]\n",
            "",
            "a: \"\\uD800\"\n",
            "a:\n\tb: 1\n",
        ];
        let all: String = cases.iter().map(|c| format!("{c:?}\n{}", faults(c))).collect();
        expect![[r#"
            "a: 1\nb: 2\na: 3\nb: 4\n"
            DuplicateKey Some("a") key `a` stands here twice; first on line 1
            DuplicateKey Some("b") key `b` stands here twice; first on line 2
            "a: 1\n---\nb: 2\n"
            NotData Some("---") a rule file holds one YAML document; this is the second
            "a: [1\nb: 2\n"
            Syntax Some(":") not YAML: illegal placement of ':' indicator
            "? [a]\n: 1\n"
            NotData Some("[") a key is text here, not a list or a mapping
            "a: !secret x\n"
            NotData Some("!secret x") tag `!secret` has no meaning in a rule file
            "a: .inf\n"
            NotData Some(".inf") `.inf` has no place in JSON, so no event can hold it
            "a: &x [*x]\n"
            NotData Some("*x") an alias cannot stand inside the value it names
            ""
            NotData Some("") the file is empty
            "a: \"\\uD800\"\n"
            Syntax Some("\"") not YAML: while parsing a quoted scalar, found invalid Unicode character escape code
            "a:\n\tb: 1\n"
            Syntax Some("b") not YAML: tabs disallowed within this context (block indentation)
        "#]]
        .assert_eq(&all);
    }

    #[test]
    fn bombs_are_refused_before_they_unfold() {
        let mut nodes = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for i in 1..12 {
            let refs = vec![format!("*a{}", i - 1); 10].join(", ");
            nodes += &format!("a{i}: &a{i} [{refs}]\n");
        }
        let text = format!("a: &a {}\nb: [{}]\n", "x".repeat(500_000), vec!["*a"; 1000].join(","));
        let deep = "[".repeat(100_000);
        let large = format!("a: {}", "x".repeat(BYTES_MAX));
        for (bomb, word) in [(&nodes, "values"), (&text, "text"), (&deep, "nest"), (&large, "bytes")] {
            let list = parse(bomb.as_bytes()).unwrap_err();
            assert_eq!(list.len(), 1);
            assert_eq!(list[0].kind, YamlFaultKind::TooLarge, "{word}");
            assert!(list[0].message.contains(word), "{}", list[0].message);
        }
    }

    #[test]
    fn a_file_of_faults_is_told_in_part() {
        let list = parse("a: 1\n".repeat(50_000).as_bytes()).unwrap_err();
        assert_eq!(list.len(), FAULTS_MAX);
    }

    #[test]
    fn bytes_that_are_no_text_are_refused_where_they_stand() {
        let list = parse(b"a: 1\nb: \xff\n").unwrap_err();
        assert_eq!((list[0].span.clone(), list[0].kind), (8..9, YamlFaultKind::Syntax));
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[a-c:#&*!|>'\"\\[\\]{}, \\-?%@`~0-9\\n\\t\u{e9}\\\\]{0,60}") {
            match parse(text.as_bytes()) {
                Ok(document) => { text.get(document.span(&Pointer::root())).unwrap(); }
                Err(list) => for fault in list { prop_assert!(text.get(fault.span).is_some()); }
            }
        }

        #[test]
        fn offsets_stay_inside_the_file(scalar in "[|>'\" ]{0,2}[-+]?[a-c \\\\'\"\n\u{e9}]{0,20}", offset in 0..24_usize) {
            let text = format!("k: {scalar}\n");
            if let Ok(document) = parse(text.as_bytes()) {
                let at = document.offset_in(&text, &Pointer::root().child("k"), offset);
                prop_assert!(text.get(at..).is_some());
            }
        }

        #[test]
        fn json_is_yaml(value in arbitrary_json()) {
            prop_assert_eq!(super::parse(value.to_string().as_bytes()).unwrap().value, value);
        }
    }

    fn arbitrary_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "[a-z :#'-]{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[a-z]{0,4}", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }
}
