//! The paths of a payload, one after the other, and what may be told of each.

use std::collections::BTreeSet;

use super::node::{KEYS_MAX, Kind, Node, Range};
use super::private::{self, EMAIL, LOOKS, Suspicion};
use super::text::EVIDENCE_MIN;
use super::thousands;
use crate::rule::pointer::Pointer;

/// The longest integer part, in bytes, of a number that is taken for an amount: milliseconds since 1970 have 13 digits, and
/// numbers with more are mostly ids.
const AMOUNT_BYTES_MAX: usize = 14;

/// Whether what stands at a path may be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Privacy {
    Open,
    /// It is to be masked.
    Suspected(Suspicion, Ground),
    /// It stands in what is masked as a whole.
    Inside,
}

/// Why it is suspected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ground {
    Name,
    /// So many of its values look like it.
    Values(u64),
    /// Keys, or what stands below them: a mask cannot name these.
    Keys,
}

impl Privacy {
    /// Of what stands under `key`, or in an array without one. `above` is that of the array or object it stands in.
    pub fn of(node: &Node, key: Option<&str>, above: Self) -> Self {
        if above != Self::Open {
            return Self::Inside;
        }
        if let Some(suspicion) = named(node, key) {
            return Self::Suspected(suspicion, Ground::Name);
        }
        if let Some((suspicion, count)) = looking(node) {
            return Self::Suspected(suspicion, Ground::Values(count));
        }
        let of_keys = LOOKS.iter().zip(node.members.key_looks).find(|(_, count)| *count > 0);
        let below_keys = || node.members.rest.as_deref().and_then(anywhere);
        of_keys
            .map(|((_, suspicion), _)| *suspicion)
            .or_else(below_keys)
            .map_or(Self::Open, |suspicion| Self::Suspected(suspicion, Ground::Keys))
    }

    pub fn is_open(self) -> bool {
        self == Self::Open
    }
}

/// What the field's name says. Flags are not private, whatever they are of: `emailVerified` says little, `email` true less.
fn named(node: &Node, key: Option<&str>) -> Option<Suspicion> {
    let is_flag = node.types().iter().all(|kind| matches!(kind, Kind::Boolean | Kind::Null));
    key.filter(|_| !is_flag).and_then(private::by_name)
}

/// What its values look like, and how many of them. Of sentences, one is enough. Codes pass a check by chance: one number in
/// ten that of cards, so that of numbers most must; of other codes, one in a hundred.
fn looking(node: &Node) -> Option<(Suspicion, u64)> {
    let most = LOOKS.iter().zip(node.looks).max_by_key(|(_, count)| *count);
    let ((_, suspicion), count) = most.filter(|(_, count)| *count > 0)?;
    let share = match node.texts.as_deref() {
        None => 2,
        Some(texts) if texts.are_digits() => 2,
        Some(texts) if texts.has_spaces || *suspicion == EMAIL => u64::MAX,
        Some(_) => 100,
    };
    (count.saturating_mul(share) >= node.count).then_some((*suspicion, count))
}

fn anywhere(node: &Node) -> Option<Suspicion> {
    if let Privacy::Suspected(suspicion, _) = Privacy::of(node, None, Privacy::Open) {
        return Some(suspicion);
    }
    let mut members: Vec<_> = node.members.named(node.of_kind(Kind::Object)).collect();
    // Of several, the one that is told does not depend on which event came first.
    members.sort_unstable_by_key(|(key, _)| *key);
    let in_members = |(key, member): (&str, &Node)| named(member, Some(key)).or_else(|| anywhere(member));
    members.into_iter().find_map(in_members).or_else(|| node.items.as_deref().and_then(anywhere))
}

/// One path of a payload.
#[derive(Debug, Clone)]
pub(super) struct Field<'n> {
    /// A JSON Pointer with `*` for the elements of arrays.
    pub path: Pointer,
    /// The path leads through a key that is a value; no mask can name it.
    pub is_below_keys: bool,
    /// It stands in each event, or would if its own object had it: neither in an array nor in an object that may be missing.
    pub is_reachable: bool,
    pub node: &'n Node,
    /// How many objects it could stand in, and what they are called.
    pub of: u64,
    pub of_what: &'static str,
    pub privacy: Privacy,
}

/// All paths of a payload, each before those below it; first the payload itself, with an empty path.
pub(super) fn fields(root: &Node) -> Vec<Field<'_>> {
    let mut fields = Vec::new();
    let first = Field {
        path: Pointer::root(),
        is_below_keys: false,
        is_reachable: true,
        node: root,
        of: root.count,
        of_what: "events",
        privacy: Privacy::of(root, None, Privacy::Open),
    };
    walk(first, root.count, &mut fields);
    fields
}

fn walk<'n>(field: Field<'n>, events: u64, fields: &mut Vec<Field<'n>>) {
    fields.push(field.clone());
    let node = field.node;
    let objects = node.of_kind(Kind::Object);
    let is_always_object = objects == node.count && node.count == field.of;
    let below = |key: &str, node: &'n Node, name: Option<&str>| Field {
        path: field.path.child(key),
        node,
        privacy: Privacy::of(node, name, field.privacy),
        of: objects,
        of_what: if field.is_reachable && objects == events { "events" } else { "objects" },
        is_reachable: field.is_reachable && is_always_object,
        is_below_keys: field.is_below_keys,
    };
    for (key, member) in node.members.named(objects) {
        walk(below(key, member, Some(key)), events, fields);
    }
    if let Some(rest) = node.members.of_map() {
        let rest = Field { is_below_keys: true, is_reachable: false, of: rest.count, ..below("<key>", rest, None) };
        walk(Field { of_what: "members", ..rest }, events, fields);
    }
    if let Some(items) = node.items.as_deref() {
        let items = Field { of: items.count, of_what: "elements", is_reachable: false, ..below("*", items, None) };
        walk(items, events, fields);
    }
}

impl Field<'_> {
    /// `in all 1,204 events`.
    pub fn presence(&self) -> String {
        let (count, of) = (self.node.count, self.of);
        if count == of {
            format!("in all {} {}", thousands(of), self.of_what)
        } else {
            format!("in {} of {} {}", thousands(count), thousands(of), self.of_what)
        }
    }

    /// What its values have in common, in a few words and without private values.
    pub fn shape(&self) -> Option<String> {
        let node = self.node;
        let texts = node.texts.as_deref();
        if let Some(format) = texts.and_then(|texts| texts.format()) {
            return Some(format.to_owned());
        }
        if !self.privacy.is_open() {
            return None;
        }
        if let Some(few) = self.enumeration() {
            return Some(format!("one of {}", few.len()));
        }
        if let Some(pattern) = texts.and_then(|texts| texts.pattern(node.distinct.count())) {
            return Some(pattern);
        }
        match (texts.map(|texts| texts.lengths), self.range(), &node.members) {
            (Some((0, 0)), _, _) => Some("empty".to_owned()),
            (Some((1, 1)), _, _) => Some("1 character".to_owned()),
            (Some((least, most)), _, _) if least == most => Some(format!("{least} characters")),
            (Some((least, most)), _, _) => Some(format!("{least} to {most} characters")),
            (None, Some(range), _) => Some(format!("{} to {}", range.least(), range.most())),
            (None, None, members) if members.is_crowded => Some(format!("more than {KEYS_MAX} keys")),
            (None, None, members) if members.of_map().is_some() => Some("keys are values".to_owned()),
            (None, None, _) => None,
        }
    }

    /// All its strings, where they are few, come often, are nothing private and no ids, and stand for all its values.
    pub fn enumeration(&self) -> Option<&BTreeSet<Box<str>>> {
        let is_of_texts = self.node.only_type() == Some(Kind::String);
        let texts =
            self.node.texts.as_deref().filter(|_| is_of_texts && self.privacy.is_open() && !self.is_called_id())?;
        texts.enumeration()
    }

    /// The range of its numbers, where they are amounts and nothing private: the ends of the range of ids are ids.
    pub fn range(&self) -> Option<&Range> {
        let is_amount = |text: &str| text.bytes().take_while(|byte| *byte != b'.').count() <= AMOUNT_BYTES_MAX;
        let range = self.node.range().filter(|_| self.privacy.is_open() && !self.is_called_id())?;
        (is_amount(range.least()) && is_amount(range.most())).then_some(range)
    }

    /// Whether a text or a number, if one at all, identifies the event: it is in each, and nothing that is different by
    /// nature, as a time is.
    pub fn is_key(&self) -> bool {
        self.may_be_key() && self.node.distinct.is_unique()
    }

    /// As [`Self::is_key`], but there were too many values to compare all.
    pub fn is_key_as_far_as_known(&self) -> bool {
        self.may_be_key() && self.node.distinct.was_unique_as_far_as_known()
    }

    /// Whether its name says that it identifies something.
    pub fn is_called_id(&self) -> bool {
        self.path.segments().last().is_some_and(|key| is_called_id(key))
    }

    fn may_be_key(&self) -> bool {
        let node = self.node;
        let is_code = match (&node.types()[..], node.texts.as_deref()) {
            ([Kind::String], Some(texts)) => {
                let is_id = texts.format().is_none_or(|format| format == "uuid");
                is_id && !texts.has_spaces && texts.lengths.0 > 0
            }
            ([Kind::Integer], None) => self.is_called_id(),
            _ => false,
        };
        is_code && self.privacy.is_open() && self.is_reachable && node.count == self.of && node.count >= EVIDENCE_MIN
    }
}

/// `id`, `orderId`, `order_id`, `orderID`, `order-no`.
fn is_called_id(key: &str) -> bool {
    let is_end = |end: &str| {
        let Some(before) = key.len().checked_sub(end.len()).and_then(|at| key.get(..at)) else { return false };
        let ends = key[before.len()..].eq_ignore_ascii_case(end);
        let begins_word = before.is_empty()
            || before.ends_with(['_', '-', '.'])
            || key[before.len()..].starts_with(|c: char| c.is_ascii_uppercase());
        ends && begins_word
    };
    ["id", "key", "no", "number", "uuid"].into_iter().any(is_end)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::node::Room;
    use super::*;

    fn told(values: &[Value]) -> Vec<String> {
        let (mut node, mut room) = (Node::default(), Room::new());
        values.iter().for_each(|value| node.observe(value, 0, &mut room));
        let tell = |field: &Field<'_>| {
            let privacy = match field.privacy {
                Privacy::Open => "",
                Privacy::Suspected(suspicion, _) => suspicion.what,
                Privacy::Inside => "inside",
            };
            format!("{} {} {privacy}", field.path, field.presence()).trim_end().to_owned()
        };
        fields(&node).iter().map(tell).collect()
    }

    #[test]
    fn presence_is_told_of_what_could_have_it() {
        let events = [json!({"a": {"b": 1}, "l": [{"c": 1}, {}]}), json!({"a": {}, "m": {"d": 1}})];
        let expected = [
            " in all 2 events",
            "/a in all 2 events",
            "/a/b in 1 of 2 events",
            "/l in 1 of 2 events",
            "/l/* in all 2 elements",
            "/l/*/c in 1 of 2 objects",
            "/m in 1 of 2 events",
            "/m/d in all 1 objects",
        ];
        assert_eq!(told(&events), expected);
    }

    #[test]
    fn what_no_mask_can_name_is_masked_with_what_it_stands_in() {
        let by_key = told(&[json!({"seen": {"ada@example.com": 1}, "people": {"C-1001": {"email": null}}})]);
        assert_eq!(by_key[1..3], ["/seen in all 1 events e-mail addresses", "/seen/<key> in all 1 members inside"]);
        let below = told(&[json!({"people": {"C-1001": {"phone": 12, "x": {"at": ["ada@example.com"]}}}})]);
        assert_eq!(below[1], "/people in all 1 events phone numbers");
        assert!(below[2..].iter().all(|line| line.ends_with("inside")), "{below:?}");
    }

    #[test]
    fn one_address_among_many_texts_is_enough_and_one_number_among_ids_is_not() {
        let notes: Vec<Value> = (0..50).map(|n| json!({"note": format!("text {n}")})).collect();
        let one = [notes.clone(), vec![json!({"note": "call ada@example.com"})]].concat();
        assert!(told(&one)[1].ends_with("e-mail addresses"));
        assert!(told(&notes)[1].ends_with("events"));
        // About one in ten of these passes the Luhn check.
        let ids: Vec<Value> = (0..50_u64).map(|n| json!({"ref": 4_000_000_000_000_000 + n * 7})).collect();
        assert!(told(&ids)[1].ends_with("events"));
        assert!(told(&[json!({"ref": 4_111_111_111_111_111_u64})])[1].ends_with("payment-card numbers"));
    }

    #[test]
    fn ranges_of_ids_are_not_told() {
        let values: Vec<Value> = [1, 2]
            .map(|n| json!({"id": n, "ref": 100_000_000_000_000_i64 * n, "qty": n, "age": -n, "salary": n}))
            .into();
        let (mut node, mut room) = (Node::default(), Room::new());
        values.iter().for_each(|value| node.observe(value, 0, &mut room));
        let shapes: Vec<_> = fields(&node).iter().map(Field::shape).collect();
        assert_eq!(shapes, [None, None, None, Some("1 to 2".to_owned()), Some("-2 to -1".to_owned()), None]);
    }

    #[test]
    fn ids_are_called_so() {
        assert!(["id", "orderId", "order_id", "orderID", "order-no", "ID"].into_iter().all(is_called_id));
        assert!(!["paid", "grid", "totalMinor", "", "é"].into_iter().any(is_called_id));
    }
}
