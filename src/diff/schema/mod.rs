//! Whether everything that one schema accepts is accepted by another, and if not, why: for certain, or not at all.
//!
//! ```text
//! implies(places of the one, place of the other)
//!   the one:   every place that binds the value, laid side by side ($ref, allOf) ─▶ Binding: kinds, values, keywords
//!   the other: each keyword of each part must follow from the Binding, or is an Obstacle
//! ```
//!
//! What is not understood of the implying side binds nothing; what is not understood of the implied side is an obstacle of
//! which it is not certain whether it is one. So "accepts all" is only ever said when it is certain. Keywords that are not
//! compared (`not`, `oneOf`, `if`, …) follow from themselves alone: the same keyword, with references to the same.

mod binding;
mod bound;
mod keywords;
mod members;
mod place;

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use self::binding::Binding;
use self::bound::Kinds;
use self::place::{Flat, Part, Side};
use crate::rule::number_types::SchemaAt;

/// The most comparisons of one place with another. Beyond, schemas are not compared further.
const STEPS_MAX: usize = 10_000;

/// The most obstacles told in one direction.
pub const OBSTACLES_MAX: usize = 100;

/// The most alternatives of one `anyOf` or `oneOf` that are looked at one by one.
const ALTERNATIVES_MAX: usize = 32;

/// One schema, with all that belongs to it.
#[derive(Debug, Clone, Copy)]
pub struct SchemaSource<'a> {
    /// Its path, a key of `documents`.
    pub path: &'a str,
    /// The documents its references may lead to, by path, itself among them.
    pub documents: &'a BTreeMap<String, Value>,
    /// Whether `format` is asserted.
    pub formats: bool,
}

/// Whether one side accepts all that the other does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Holds {
    Yes,
    /// Something is not accepted, as far as the keywords tell.
    No,
    /// Some keywords cannot be compared.
    Unknown,
}

impl Holds {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Yes => "yes",
            Self::No => "no",
            Self::Unknown => "unknown",
        }
    }
}

/// A keyword that may refuse what the other schema accepts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Obstacle {
    /// Where in the payload, a JSON Pointer; `*` stands for every element.
    pub at: String,
    pub keyword: String,
    /// What the keyword said in the old schema, and in the new one.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub was: String,
    /// Alone, where the keyword cannot be understood: why.
    pub is: String,
    /// `false`: the two cannot be compared.
    pub certain: bool,
    /// Where the refusing keyword stands: file, `#`, JSON Pointer. In the new schema where old events are concerned, in the
    /// old one where new events are.
    pub schema: String,
}

/// What is known of one direction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Direction {
    pub holds: Holds,
    /// Why not. At most [`OBSTACLES_MAX`], certain ones first.
    pub obstacles: Vec<Obstacle>,
}

impl Direction {
    /// It holds: nothing stands against it.
    pub fn yes() -> Self {
        Self { holds: Holds::Yes, obstacles: Vec::new() }
    }

    /// It does not, for one reason that is not the schema's.
    pub(super) fn no(obstacle: Obstacle) -> Self {
        Self::of(vec![obstacle])
    }

    /// One more reason why it may not hold.
    pub(super) fn add(&mut self, obstacle: Obstacle) {
        let mut obstacles = std::mem::take(&mut self.obstacles);
        obstacles.push(obstacle);
        *self = Self::of(obstacles);
    }

    fn of(mut obstacles: Vec<Obstacle>) -> Self {
        obstacles.sort_by(|a, b| b.certain.cmp(&a.certain).then_with(|| a.cmp(b)));
        obstacles.dedup();
        obstacles.truncate(OBSTACLES_MAX);
        let holds = match obstacles.first() {
            None => Holds::Yes,
            Some(obstacle) if obstacle.certain => Holds::No,
            Some(_) => Holds::Unknown,
        };
        Self { holds, obstacles }
    }
}

/// Whether `new` accepts all that `old` does (backward), and the other way round (forward). No schema accepts anything.
pub fn compare(old: Option<SchemaSource<'_>>, new: Option<SchemaSource<'_>>) -> (Direction, Direction) {
    (direction(old, new, true), direction(new, old, false))
}

/// Whether the two are the same, word for word, with all that their references lead to. Two that cannot be followed are not.
pub fn is_same(old: Option<SchemaSource<'_>>, new: Option<SchemaSource<'_>>) -> bool {
    let (Some(old), Some(new)) = (old, new) else { return old.is_none() && new.is_none() };
    // Nothing that a reference may lead to differs.
    if (old.path, old.formats) == (new.path, new.formats) && old.documents == new.documents {
        return true;
    }
    let (Some(a), Some(b)) =
        (Side::new(old.path, old.documents, old.formats), Side::new(new.path, new.documents, new.formats))
    else {
        return false;
    };
    match (old.documents.get(old.path), new.documents.get(new.path)) {
        (Some(x), Some(y)) => place::same(&a, ("", x), &b, ("", y)),
        _ => false,
    }
}

/// Whether `implied` accepts all that `implying` does. `implied_is_new` only chooses what is told as before and after.
fn direction(implying: Option<SchemaSource<'_>>, implied: Option<SchemaSource<'_>>, implied_is_new: bool) -> Direction {
    let Some(implied) = implied else { return Direction::yes() };
    let Some(implied) = Side::new(implied.path, implied.documents, implied.formats) else {
        return Direction { holds: Holds::Unknown, obstacles: Vec::new() };
    };
    // What is not there accepts anything, and so implies least.
    let anything = BTreeMap::from([(String::new(), Value::Bool(true))]);
    let implying = implying.and_then(|s| Side::new(s.path, s.documents, s.formats));
    let Some(implying) = implying.or_else(|| Side::new("", &anything, true)) else { return Direction::yes() };
    let root = (String::new(), String::new());
    let mut comparison =
        Comparison { one: &implying, other: &implied, other_is_new: implied_is_new, open: BTreeMap::new(), steps: 0 };
    let goal = Goal { from: vec![root.clone()], within: Kinds::ANY, to: root, at: String::new(), depth: 0 };
    Direction::of(comparison.implies(&goal, &[]))
}

/// That every value which the places `from` accept, of the kinds `within`, is accepted by the place `to`.
struct Goal {
    from: Vec<SchemaAt>,
    within: Kinds,
    to: SchemaAt,
    /// Where in the payload.
    at: String,
    /// How many members and elements were gone into.
    depth: usize,
}

impl Goal {
    fn below(&self, segment: &str, from: Vec<SchemaAt>, to: SchemaAt) -> Self {
        let segment = segment.replace('~', "~0").replace('/', "~1");
        Self { from, within: Kinds::ANY, to, at: format!("{}/{segment}", self.at), depth: self.depth + 1 }
    }

    /// The same place of the payload, another goal.
    fn beside(&self, from: Vec<SchemaAt>, within: Kinds, to: SchemaAt) -> Self {
        Self { from, within, to, at: self.at.clone(), depth: self.depth }
    }
}

/// The goals that are being looked into, and how deep each stands.
type Open = BTreeMap<(Vec<SchemaAt>, Kinds, Vec<SchemaAt>), usize>;

struct Comparison<'s, 'a> {
    /// The side that is to imply the other.
    one: &'s Side<'a>,
    other: &'s Side<'a>,
    other_is_new: bool,
    open: Open,
    steps: usize,
}

impl<'a> Comparison<'_, 'a> {
    /// What stands against the goal; nothing when it certainly holds. `split`: places whose alternatives are looked at one by
    /// one already.
    fn implies(&mut self, goal: &Goal, split: &[SchemaAt]) -> Vec<Obstacle> {
        self.steps += 1;
        if self.steps > STEPS_MAX {
            return vec![self.unknown(goal, &goal.to, "schema", "too large to be compared further")];
        }
        let (from, to) = (self.one.flatten(&goal.from), self.other.flatten(std::slice::from_ref(&goal.to)));
        let key = (from.key(), goal.within, to.key());
        match self.open.get(&key) {
            // Values end: that it holds for what is deeper inside may be taken as given while it is shown for what is around.
            Some(depth) if *depth < goal.depth => return Vec::new(),
            Some(_) => return vec![self.unknown(goal, &goal.to, "$ref", "refers to itself")],
            None => {}
        }
        self.open.insert(key.clone(), goal.depth);
        let obstacles = self.look_into(goal, from, &to, split);
        self.open.remove(&key);
        obstacles
    }

    fn look_into(&mut self, goal: &Goal, from: Flat<'a>, to: &Flat<'a>, split: &[SchemaAt]) -> Vec<Obstacle> {
        let binding = Binding::of(from, goal.within);
        if binding.never {
            return Vec::new();
        }
        let mut obstacles = Vec::new();
        for place in &to.never {
            obstacles.push(self.certain(goal, place, "false", "allowed", "not allowed"));
        }
        for (place, why) in &to.lost {
            let keyword = if place.1.ends_with("/$ref") { "$ref" } else { "schema" };
            obstacles.push(self.unknown(goal, place, keyword, why));
        }
        for part in &to.parts {
            for (keyword, value) in part.keywords {
                self.keyword(goal, &binding, part, (keyword, value), &mut obstacles);
            }
        }
        match self.choice(&binding, split) {
            Some((part, keyword)) if !obstacles.is_empty() => {
                self.by_alternatives(goal, part, keyword, split, &obstacles)
            }
            _ => obstacles,
        }
    }

    /// The first choice that the implying side has and that is not looked into yet.
    fn choice<'b>(&self, binding: &'b Binding<'a>, split: &[SchemaAt]) -> Option<(&'b Part<'a>, &'static str)> {
        let choices = binding.parts.iter().flat_map(|part| ["anyOf", "oneOf"].map(|keyword| (part, keyword)));
        let mut choices = choices.filter(|(part, keyword)| {
            (2..=ALTERNATIVES_MAX).contains(&part.array(keyword).len()) && !split.contains(&part.below(&[keyword]))
        });
        choices.next()
    }

    /// The obstacles of each alternative of a choice: each binds more than the choice does. `without`: those found when the
    /// choice binds nothing.
    fn by_alternatives(
        &mut self,
        goal: &Goal,
        part: &Part<'a>,
        keyword: &str,
        split: &[SchemaAt],
        without: &[Obstacle],
    ) -> Vec<Obstacle> {
        let split = [split, &[part.below(&[keyword])]].concat();
        let mut obstacles = Vec::new();
        for index in 0..part.array(keyword).len() {
            let alternative = part.below(&[keyword, &index.to_string()]);
            if self.one.flatten(std::slice::from_ref(&alternative)).is_empty() {
                return without.to_vec();
            }
            let from = goal.from.iter().cloned().chain([alternative]).collect();
            obstacles.extend(self.implies(&goal.beside(from, goal.within, goal.to.clone()), &split));
        }
        obstacles.sort();
        obstacles.dedup();
        obstacles
    }

    /// An obstacle that is one. `one` and `other`: what the implying side says, and what the implied one.
    fn certain(&self, goal: &Goal, place: &SchemaAt, keyword: &str, one: &str, other: &str) -> Obstacle {
        let (was, is) = if self.other_is_new { (one, other) } else { (other, one) };
        let (keyword, schema) = (keyword.to_owned(), self.other.shown(place));
        Obstacle { at: goal.at.clone(), keyword, was: was.to_owned(), is: is.to_owned(), certain: true, schema }
    }

    /// An obstacle that may be none.
    fn unknown(&self, goal: &Goal, place: &SchemaAt, keyword: &str, why: &str) -> Obstacle {
        let told = self.certain(goal, place, keyword, "", "");
        Obstacle { is: why.to_owned(), certain: false, ..told }
    }

    fn unsure(&self, goal: &Goal, part: &Part<'_>, keyword: &str, one: &str, other: &str) -> Obstacle {
        let told = self.certain(goal, &part.below(&[keyword]), keyword, one, other);
        Obstacle { certain: false, ..told }
    }
}

#[cfg(test)]
mod tests;
