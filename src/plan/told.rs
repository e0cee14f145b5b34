//! What does not hold: noted in passing, and put into words at the end, for the events that need it.

use std::borrow::Cow;
use std::ops::Range;

use super::node::{Keyword, Node, NodeId};
use super::walk::{Step, Stop, Walker};
use crate::decode::json::strings::escaped_char;
use crate::decode::json::token;
use crate::rule::Finding;
use crate::rule::schema::reason::{Kind, Reason, arranged, escaped};
use crate::rule::schema::words;

/// The most that is told of one event, what alternatives say among it.
const TOLD_MAX: usize = 1000;

/// A keyword that does not hold.
#[derive(Debug)]
pub(super) struct Told {
    /// The node whose keyword it is.
    schema: NodeId,
    keyword: Keyword,
    /// What else the keyword needs to be told: see [`Keyword`].
    detail: u32,
    /// The way to the value, among the [`Telling::steps`].
    path: Range<usize>,
    /// What is wrong with each alternative, or with a property's name.
    inside: Vec<Vec<Told>>,
}

/// What each keyword of each node says when it does not hold; of [`Keyword::Required`], by property.
#[derive(Debug, Default)]
pub(super) struct Words(Vec<Vec<Said>>);

#[derive(Debug)]
struct Said {
    keyword: Keyword,
    detail: u32,
    kind: Kind,
    words: Box<str>,
}

impl Words {
    pub(super) fn insert(&mut self, node: NodeId, keyword: Keyword, detail: u32, kind: Kind, words: Box<str>) {
        self.0.resize_with(self.0.len().max(node + 1), Vec::new);
        self.0[node].push(Said { keyword, detail, kind, words });
    }

    fn of(&self, told: &Told) -> Option<&Said> {
        let node = self.0.get(told.schema)?;
        node.iter().find(|said| said.keyword == told.keyword && said.detail == told.detail)
    }
}

impl<'s> Walker<'_, 's> {
    /// The value that was read, or begins here, does not hold to a keyword.
    #[cold]
    pub(super) fn fails(&mut self, node: &'s Node, keyword: Keyword) -> Result<(), Stop> {
        self.tell(node, keyword, 0, self.depth(), Vec::new)
    }

    /// The object that was read lacks a property.
    #[cold]
    pub(super) fn lacks(&mut self, node: &'s Node, property: usize) -> Result<(), Stop> {
        self.tell(node, Keyword::Required, property as u32, self.scan.depth(), Vec::new)
    }

    /// The object being read has a property whose key, at this byte, is not allowed.
    #[cold]
    pub(super) fn unexpected(&mut self, node: &'s Node, key: usize) -> Result<(), Stop> {
        self.tell(node, Keyword::Unexpected, key as u32, self.scan.depth() - 1, Vec::new)
    }

    /// The object being read has a property whose name does not hold to a schema.
    #[cold]
    pub(super) fn misnamed(&mut self, node: &'s Node, told: Told) -> Result<(), Stop> {
        self.tell(node, Keyword::Name, 0, self.scan.depth() - 1, || vec![vec![told]])
    }

    /// The value that begins here holds to none of several schemas, for these reasons.
    #[cold]
    pub(super) fn fails_all(&mut self, node: &'s Node, keyword: Keyword, told: Vec<Vec<Told>>) -> Result<(), Stop> {
        self.tell(node, keyword, 0, self.depth(), || told)
    }

    /// How deep the value stands. A property's name stands where its object does.
    fn depth(&self) -> usize {
        self.scan.depth() - usize::from(self.is_in_name)
    }

    fn tell(
        &mut self,
        node: &Node,
        keyword: Keyword,
        detail: u32,
        depth: usize,
        inside: impl FnOnce() -> Vec<Vec<Told>>,
    ) -> Result<(), Stop> {
        if self.attempts > 0 {
            return Err(Stop::Fails);
        }
        if self.buffers.told.len() < TOLD_MAX {
            let first = self.buffers.steps.len();
            self.buffers.steps.extend_from_slice(&self.buffers.path.0[..depth]);
            let path = first..self.buffers.steps.len();
            self.buffers.told.push(Told { schema: node.schema, keyword, detail, path, inside: inside() });
        }
        Ok(())
    }
}

/// What is needed to put what was told of a text into words.
pub(super) struct Telling<'t> {
    pub(super) words: &'t Words,
    pub(super) text: &'t str,
    /// Of all paths.
    pub(super) steps: &'t [Step],
}

impl Telling<'_> {
    /// What was told as findings, at most `limit`. Most are worded when the schema is compiled.
    pub(super) fn findings(&self, told: &[Told], limit: usize) -> Vec<Finding> {
        let mut findings = Vec::with_capacity(told.len());
        for one in told {
            match one.keyword {
                Keyword::Unexpected => {
                    let mut pointer = self.pointer(one);
                    self.push_key(one.detail as usize, &mut pointer);
                    findings.push(Finding { pointer, message: words::UNEXPECTED.to_owned() });
                }
                Keyword::AnyOf | Keyword::OneOf | Keyword::Name => self.reason(one).findings("", &mut findings),
                _ => {
                    let message = self.words.of(one).map(|said| &*said.words).unwrap_or_default().to_owned();
                    findings.push(Finding { pointer: self.pointer(one), message });
                }
            }
        }
        arranged(findings, limit)
    }

    /// The same as reasons, of what is wrong with an alternative. Properties that one keyword does not allow are one reason.
    fn reasons(&self, told: &[Told]) -> Vec<Reason> {
        let mut reasons: Vec<Reason> = Vec::with_capacity(told.len());
        let mut unexpected: Vec<(&Told, usize)> = Vec::new();
        for one in told {
            if one.keyword == Keyword::Unexpected {
                let key = key_at(self.text, one.detail as usize).into_owned();
                let way = |told: &Told| &self.steps[told.path.clone()];
                let same = |(known, _): &&(&Told, usize)| known.schema == one.schema && way(known) == way(one);
                if let Some((_, index)) = unexpected.iter().rev().find(same)
                    && let Kind::Unexpected(names) = &mut reasons[*index].kind
                    // One that is told already is told of the same schema, applied again.
                    && !names.contains(&key)
                {
                    names.push(key);
                    continue;
                }
                unexpected.push((one, reasons.len()));
            }
            reasons.push(self.reason(one));
        }
        reasons
    }

    fn reason(&self, told: &Told) -> Reason {
        let inside = || told.inside.iter().map(|branch| self.reasons(branch)).collect::<Vec<_>>();
        let kind = match told.keyword {
            Keyword::Unexpected => Kind::Unexpected(vec![key_at(self.text, told.detail as usize).into_owned()]),
            Keyword::AnyOf => Kind::NoneOf(inside()),
            Keyword::OneOf => Kind::NotOneOf(inside()),
            Keyword::Name => {
                let kinds = inside().into_iter().flatten().map(|reason| reason.kind);
                Kind::Name(Box::new(kinds.into_iter().next().unwrap_or(Kind::Nothing)))
            }
            _ => self.words.of(told).map_or(Kind::Nothing, |said| said.kind.clone()),
        };
        Reason { pointer: self.pointer(told), kind }
    }

    fn pointer(&self, told: &Told) -> String {
        let path = &self.steps[told.path.clone()];
        let mut pointer = String::with_capacity(16 * (path.len() + 1));
        for step in path {
            match step.read() {
                Ok(index) => pointer.extend(["/", &index.to_string()]),
                Err(offset) => self.push_key(offset, &mut pointer),
            }
        }
        pointer
    }

    fn push_key(&self, offset: usize, pointer: &mut String) {
        pointer.push('/');
        pointer.push_str(&escaped(&key_at(self.text, offset)));
    }
}

/// The key whose opening quote stands here, without escapes.
fn key_at(text: &str, offset: usize) -> Cow<'_, str> {
    if let Some(end) = token::plain_string(text.as_bytes(), offset) {
        return Cow::Borrowed(&text[offset + 1..end - 1]);
    }
    let rest = &text[offset + 1..];
    let end = rest.bytes().position(|byte| matches!(byte, b'"' | b'\\')).unwrap_or(rest.len());
    let mut key = Cow::Borrowed(&rest[..end]);
    let mut rest = &rest[end..];
    while rest.starts_with('\\')
        && let Some((character, length)) = escaped_char(rest.as_bytes())
    {
        rest = &rest[length..];
        let end = rest.bytes().position(|byte| matches!(byte, b'"' | b'\\')).unwrap_or(rest.len());
        let key = key.to_mut();
        key.push(character);
        key.push_str(&rest[..end]);
        rest = &rest[end..];
    }
    key
}
