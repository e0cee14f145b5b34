//! JSON Pointer (RFC 6901): where in an event something is.

use std::fmt;
use std::str::FromStr;

use serde_json::Value;

/// A parsed pointer. The empty one is the whole document.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Pointer {
    segments: Vec<String>,
}

/// Why a text is no pointer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PointerFault {
    #[error("a JSON Pointer is empty or begins with \"/\"; write {suggestion:?}")]
    NoLeadingSlash { suggestion: String },
    #[error("\"~\" at byte {offset} of a JSON Pointer is followed by \"0\" (for ~) or \"1\" (for /)")]
    BadEscape { offset: usize },
}

impl Pointer {
    /// The whole document.
    pub const fn root() -> Self {
        Self { segments: Vec::new() }
    }

    /// Parses the form of RFC 6901 section 3.
    ///
    /// # Errors
    ///
    /// When a non-empty text does not begin with `/`, or has a `~` that escapes nothing.
    pub fn parse(text: &str) -> Result<Self, PointerFault> {
        if text.is_empty() {
            return Ok(Self::root());
        }
        let Some(rest) = text.strip_prefix('/') else {
            let path = text.strip_prefix("$.").or(text.strip_prefix("this.")).unwrap_or(text);
            return Err(PointerFault::NoLeadingSlash { suggestion: format!("/{}", path.replace('.', "/")) });
        };
        for (at, _) in text.match_indices('~') {
            if !matches!(text.as_bytes().get(at + 1), Some(b'0' | b'1')) {
                return Err(PointerFault::BadEscape { offset: at });
            }
        }
        Ok(Self { segments: rest.split('/').map(|s| s.replace("~1", "/").replace("~0", "~")).collect() })
    }

    /// The value there; `None` when there is none.
    pub fn resolve<'v>(&self, value: &'v Value) -> Option<&'v Value> {
        self.segments.iter().try_fold(value, |value, segment| step(value, segment))
    }

    pub fn resolve_mut<'v>(&self, value: &'v mut Value) -> Option<&'v mut Value> {
        self.segments.iter().try_fold(value, |value, segment| step_mut(value, segment))
    }

    /// This pointer and one more segment, unescaped.
    pub fn child(&self, segment: impl Into<String>) -> Self {
        let mut segments = self.segments.clone();
        segments.push(segment.into());
        Self { segments }
    }

    /// `inner`, as seen from where this pointer starts.
    pub fn join(&self, inner: &Self) -> Self {
        Self { segments: self.segments.iter().chain(&inner.segments).cloned().collect() }
    }

    /// The segments, unescaped.
    pub fn segments(&self) -> &[String] {
        &self.segments
    }

    pub fn is_root(&self) -> bool {
        self.segments.is_empty()
    }
}

/// A pointer whose `*` segments stand for every element of an array: `/lines/*/sku`. Elsewhere `*` is an ordinary key,
/// so an object's key `*` is still found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    pointer: Pointer,
}

impl Pattern {
    /// # Errors
    ///
    /// As [`Pointer::parse`].
    pub fn parse(text: &str) -> Result<Self, PointerFault> {
        Pointer::parse(text).map(Self::from)
    }

    /// The pattern seen from where `outer` starts.
    pub fn within(&self, outer: &Pointer) -> Self {
        Self { pointer: outer.join(&self.pointer) }
    }

    /// Visits each place the pattern names, with its value where there is one, in the document's order. A `*` over an
    /// array visits its elements, none for an empty one; where the way to a place breaks off, the place is visited as
    /// absent, once, at the pointer where it would be (with `*` for what has no index). Stops when `visit` says so.
    pub fn visit<'v>(&self, value: &'v Value, visit: &mut dyn FnMut(&Pointer, Option<&'v Value>) -> Visit) {
        let _ = descend(Some(value), &mut Pointer::root(), &self.pointer.segments, visit);
    }

    /// How much of `pointer`, in bytes, names a place of this pattern, where it goes on to something inside.
    pub fn ancestor_in(&self, pointer: &str) -> Option<usize> {
        let mut rest = pointer;
        for segment in &self.pointer.segments {
            let inner = rest.strip_prefix('/')?;
            let end = inner.find('/').unwrap_or(inner.len());
            let found = &inner[..end];
            if segment != "*" && !names(found, segment) {
                return None;
            }
            rest = &inner[end..];
        }
        (!rest.is_empty()).then(|| pointer.len() - rest.len())
    }

    /// Visits each value that is there, to change it. An array where the pattern names an object's member stands for its
    /// elements: what a mask is to hide may have come in a list.
    pub fn visit_mut(&self, value: &mut Value, visit: &mut dyn FnMut(&mut Value)) {
        descend_mut(value, &self.pointer.segments, visit);
    }
}

impl From<Pointer> for Pattern {
    fn from(pointer: Pointer) -> Self {
        Self { pointer }
    }
}

/// Whether a visitor has seen enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Visit {
    Continue,
    Stop,
}

fn descend<'v>(
    value: Option<&'v Value>,
    at: &mut Pointer,
    rest: &[String],
    visit: &mut dyn FnMut(&Pointer, Option<&'v Value>) -> Visit,
) -> Visit {
    let Some((segment, rest)) = rest.split_first() else { return visit(at, value) };
    if let (Some(Value::Array(elements)), "*") = (value, segment.as_str()) {
        for (index, element) in elements.iter().enumerate() {
            at.segments.push(index.to_string());
            let seen = descend(Some(element), at, rest, visit);
            at.segments.pop();
            if seen == Visit::Stop {
                return Visit::Stop;
            }
        }
        return Visit::Continue;
    }
    at.segments.push(segment.clone());
    let seen = descend(value.and_then(|value| step(value, segment)), at, rest, visit);
    at.segments.pop();
    seen
}

fn descend_mut(value: &mut Value, whole: &[String], visit: &mut dyn FnMut(&mut Value)) {
    let Some((segment, rest)) = whole.split_first() else { return visit(value) };
    match value {
        Value::Array(elements) if segment == "*" => elements.iter_mut().for_each(|e| descend_mut(e, rest, visit)),
        // A list where one object was expected.
        Value::Array(elements) if index(segment).is_none() => {
            elements.iter_mut().for_each(|e| descend_mut(e, whole, visit));
        }
        _ => {
            if let Some(value) = step_mut(value, segment) {
                descend_mut(value, rest, visit);
            }
        }
    }
}

/// Whether the escaped segment stands for this name.
fn names(segment: &str, name: &str) -> bool {
    match segment.contains('~') {
        true => segment.replace("~1", "/").replace("~0", "~") == *name,
        false => segment == name,
    }
}

fn step<'v>(value: &'v Value, segment: &str) -> Option<&'v Value> {
    match value {
        Value::Object(object) => object.get(segment),
        Value::Array(array) => array.get(index(segment)?),
        _ => None,
    }
}

fn step_mut<'v>(value: &'v mut Value, segment: &str) -> Option<&'v mut Value> {
    match value {
        Value::Object(object) => object.get_mut(segment),
        Value::Array(array) => array.get_mut(index(segment)?),
        _ => None,
    }
}

/// RFC 6901 section 4: `0`, or digits without a leading zero.
fn index(segment: &str) -> Option<usize> {
    let canonical = segment == "0" || segment.starts_with(|c: char| matches!(c, '1'..='9'));
    (canonical && segment.bytes().all(|b| b.is_ascii_digit())).then(|| segment.parse().ok())?
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.segments.iter().try_for_each(|s| write!(f, "/{}", s.replace('~', "~0").replace('/', "~1")))
    }
}

impl FromStr for Pointer {
    type Err = PointerFault;

    fn from_str(text: &str) -> Result<Self, PointerFault> {
        Self::parse(text)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.pointer.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    /// RFC 6901 section 5, all of its examples.
    #[test]
    fn the_rfcs_examples_resolve() {
        let document = json!({
            "foo": ["bar", "baz"], "": 0, "a/b": 1, "c%d": 2, "e^f": 3, "g|h": 4, "i\\j": 5, "k\"l": 6, " ": 7, "m~n": 8
        });
        let cases = [
            ("", document.clone()),
            ("/foo", json!(["bar", "baz"])),
            ("/foo/0", json!("bar")),
            ("/", json!(0)),
            ("/a~1b", json!(1)),
            ("/c%d", json!(2)),
            ("/e^f", json!(3)),
            ("/g|h", json!(4)),
            ("/i\\j", json!(5)),
            ("/k\"l", json!(6)),
            ("/ ", json!(7)),
            ("/m~0n", json!(8)),
        ];
        for (text, expected) in cases {
            let pointer = Pointer::parse(text).unwrap();
            assert_eq!(pointer.resolve(&document), Some(&expected), "{text}");
            assert_eq!(pointer.to_string(), text);
        }
        for absent in ["/foo/2", "/foo/00", "/foo/-", "/foo/+1", "/foo/0/x", "/nope"] {
            assert_eq!(Pointer::parse(absent).unwrap().resolve(&document), None, "{absent}");
        }
    }

    #[test]
    fn faults_say_what_to_write() {
        let message = |text| Pointer::parse(text).unwrap_err().to_string();
        assert_eq!(message("email"), r#"a JSON Pointer is empty or begins with "/"; write "/email""#);
        assert_eq!(message("this.address.zip"), r#"a JSON Pointer is empty or begins with "/"; write "/address/zip""#);
        assert!(message("/a~2").starts_with("\"~\" at byte 2"));
    }

    fn places(pattern: &str, document: &Value) -> Vec<(String, bool)> {
        let mut places = Vec::new();
        Pattern::parse(pattern).unwrap().visit(document, &mut |pointer, value| {
            places.push((pointer.to_string(), value.is_some()));
            Visit::Continue
        });
        places
    }

    #[test]
    fn a_star_visits_each_element() {
        let document = json!({"lines": [{"sku": "a"}, {}, {"sku": null}], "none": [], "map": {"*": 1}});
        let seen = places("/lines/*/sku", &document);
        let expected = [("/lines/0/sku", true), ("/lines/1/sku", false), ("/lines/2/sku", true)];
        assert_eq!(seen, expected.map(|(p, there)| (p.to_owned(), there)));
        assert_eq!(places("/none/*/sku", &document), []);
        assert_eq!(places("/map/*", &document), [("/map/*".to_owned(), true)]);
        assert_eq!(places("/absent/*/sku", &document), [("/absent/*/sku".to_owned(), false)]);
    }

    #[test]
    fn what_lies_inside_a_place_is_told_by_the_place() {
        let ancestor = |pattern: &str, pointer| Pattern::parse(pattern).unwrap().ancestor_in(pointer);
        assert_eq!(ancestor("/a~1b/*", "/a~1b/0/x/y"), Some("/a~1b/0".len()));
        for outside in ["/a~1b/0", "/a~1b", "", "/a/0/x"] {
            assert_eq!(ancestor("/a~1b/*", outside), None, "{outside}");
        }
        assert_eq!(ancestor("", "/x"), Some(0));
    }

    proptest! {
        #[test]
        fn display_and_parse_are_inverse(segments in prop::collection::vec("[a~/*0 ]{0,4}", 0..5)) {
            let pointer = segments.into_iter().fold(Pointer::root(), |p, s| p.child(s));
            prop_assert_eq!(Pointer::parse(&pointer.to_string()), Ok(pointer));
        }

        #[test]
        fn no_text_panics(text in "\\PC{0,12}") {
            if let Ok(pointer) = Pointer::parse(&text) {
                let mut document = json!({"a": [1]});
                prop_assert_eq!(pointer.resolve(&document).cloned(), pointer.resolve_mut(&mut document).cloned());
            }
        }
    }
}
