//! What does not hold: noted in passing, and put into words at the end, for the events that need it.

use std::borrow::Cow;
use std::collections::HashMap;

use super::node::{Keyword, Node, NodeId};
use super::walk::{Step, Stop, Walker};
use crate::decode::json::strings::escaped_char;
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
    /// The way to the value.
    path: Box<[Step]>,
    /// What is wrong with each alternative, or with a property's name.
    inside: Vec<Vec<Told>>,
}

/// What each keyword of each node says when it does not hold; of [`Keyword::Required`], by property.
pub(super) type Words = HashMap<(NodeId, Keyword, u32), (Kind, Box<str>)>;

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
            let path = self.buffers.path.0[..depth].into();
            self.buffers.told.push(Told { schema: node.schema, keyword, detail, path, inside: inside() });
        }
        Ok(())
    }
}

/// Puts what was told of a text into findings. Most are worded when the schema is compiled.
pub(super) fn findings(told: &[Told], words: &Words, text: &str, limit: usize) -> Vec<Finding> {
    let mut findings = Vec::with_capacity(told.len());
    for one in told {
        match one.keyword {
            Keyword::Unexpected => findings.push(Finding {
                pointer: format!("{}/{}", pointer(&one.path, text), escaped(&key_at(text, one.detail as usize))),
                message: words::UNEXPECTED.to_owned(),
            }),
            Keyword::AnyOf | Keyword::OneOf | Keyword::Name => reason(one, words, text).findings("", &mut findings),
            keyword => findings.push(Finding {
                pointer: pointer(&one.path, text),
                message: words
                    .get(&(one.schema, keyword, one.detail))
                    .map(|(_, said)| &**said)
                    .unwrap_or_default()
                    .to_owned(),
            }),
        }
    }
    arranged(findings, limit)
}

/// The same as reasons, of what is wrong with an alternative. Properties that one keyword does not allow are one reason.
fn reasons(told: &[Told], words: &Words, text: &str) -> Vec<Reason> {
    let mut reasons: Vec<Reason> = Vec::with_capacity(told.len());
    let mut unexpected: Vec<(&Told, usize)> = Vec::new();
    for one in told {
        if one.keyword == Keyword::Unexpected {
            let key = key_at(text, one.detail as usize).into_owned();
            let same = |(known, _): &&(&Told, usize)| known.schema == one.schema && known.path == one.path;
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
        reasons.push(reason(one, words, text));
    }
    reasons
}

fn reason(told: &Told, words: &Words, text: &str) -> Reason {
    let inside = || told.inside.iter().map(|branch| reasons(branch, words, text)).collect::<Vec<_>>();
    let kind = match told.keyword {
        Keyword::Unexpected => Kind::Unexpected(vec![key_at(text, told.detail as usize).into_owned()]),
        Keyword::AnyOf => Kind::NoneOf(inside()),
        Keyword::OneOf => Kind::NotOneOf(inside()),
        Keyword::Name => {
            let kinds = inside().into_iter().flatten().map(|reason| reason.kind);
            Kind::Name(Box::new(kinds.into_iter().next().unwrap_or(Kind::Nothing)))
        }
        keyword => words.get(&(told.schema, keyword, told.detail)).map_or(Kind::Nothing, |(kind, _)| kind.clone()),
    };
    Reason { pointer: pointer(&told.path, text), kind }
}

fn pointer(path: &[Step], text: &str) -> String {
    let mut pointer = String::with_capacity(16 * path.len());
    for step in path {
        pointer.push('/');
        match step.read() {
            Ok(index) => pointer.push_str(&index.to_string()),
            Err(offset) => pointer.push_str(&escaped(&key_at(text, offset))),
        }
    }
    pointer
}

/// The key whose opening quote stands here, without escapes.
fn key_at(text: &str, offset: usize) -> Cow<'_, str> {
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
