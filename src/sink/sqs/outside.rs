//! What a message says of its letter outside its body: attributes to filter by, and its group.

use std::borrow::Cow;

use crate::model::DeadLetter;

/// Of a message group's name, characters (API reference, `SendMessage`).
const GROUP_MAX: usize = 128;

/// Name, type and value.
type Attribute<'a> = (&'static str, &'static str, Cow<'a, str>);

/// What describes a letter. SQS takes no empty values: those are left out. At most ten are allowed, and nine of one's own beside
/// `ExtendedPayloadSize`, by which the Extended Client Libraries know a pointer: the size of what it leads to, bytes.
pub fn attributes(letter: &DeadLetter) -> impl Iterator<Item = Attribute<'_>> {
    let texts = [
        ("domain", &*letter.domain),
        ("contract", &*letter.contract),
        ("rule", &*letter.rule),
        ("kind", letter.kind),
        ("id", letter.id.as_str()),
    ];
    let texts = texts.into_iter().filter(|(_, value)| !value.is_empty());
    let size = letter.document_bytes.map(|bytes| ("ExtendedPayloadSize", "Number", Cow::from(bytes.to_string())));
    texts.map(|(name, value)| (name, "String", Cow::from(value))).chain(size)
}

/// The body and, of each attribute, its name, type and value.
pub fn size_of(letter: &DeadLetter) -> usize {
    letter.body.len()
        + attributes(letter).map(|(name, kind, value)| name.len() + kind.len() + value.len()).sum::<usize>()
}

/// The message's group. In a FIFO queue, what keeps its order: the letters of a domain's partition key, or those of the domain
/// without one. Elsewhere the tenant of a fair queue: the domain, so that a storm of one does not keep others' letters waiting.
pub fn group(letter: &DeadLetter, is_fifo: bool) -> String {
    let hash = letter.key_hash.as_deref().filter(|_| is_fifo);
    let room = GROUP_MAX - hash.map_or(0, |hash| hash.len() + 1);
    // A group takes ASCII without white space. A name that lost something may share its group with another, which only costs speed.
    let mut group: String =
        letter.domain.chars().take(room).map(|c| if c.is_ascii_graphic() { c } else { '_' }).collect();
    if let Some(hash) = hash {
        group.push('.');
        group.push_str(hash);
    }
    if group.is_empty() { "unknown".into() } else { group }
}

#[cfg(test)]
mod tests {
    use super::super::tests::letter;
    use super::*;

    #[test]
    fn a_letter_counts_its_body_and_its_attributes_but_no_empty_ones() {
        let attributes = ["domain", "String", "sales", "rule", "String", "qty_positive", "kind", "String", "rule"];
        let expected = 2 + attributes.concat().len() + "idString0193-7".len();
        assert_eq!(size_of(&letter("{}")), expected);
        let pointer = DeadLetter { document_bytes: Some(1_234_567), ..letter("{}") };
        assert_eq!(size_of(&pointer), expected + "ExtendedPayloadSizeNumber1234567".len());
        assert!(super::attributes(&pointer).count() <= 10);
    }

    #[test]
    fn a_fifo_queue_keeps_the_order_of_a_key_and_any_other_is_fair_to_domains() {
        let keyed = DeadLetter { key_hash: Some("0123456789abcdef".into()), ..letter("{}") };
        assert_eq!((group(&keyed, true), group(&keyed, false)), ("sales.0123456789abcdef".into(), "sales".into()));
        assert_eq!(group(&letter("{}"), true), "sales");
    }

    #[test]
    fn a_group_is_of_characters_that_sqs_takes_and_not_too_long() {
        let long = DeadLetter { domain: "é d".repeat(100).into(), key_hash: Some("0".repeat(16)), ..letter("{}") };
        for group in [group(&long, true), group(&long, false)] {
            assert!(group.len() == 128 && group.starts_with("__d__d"), "{group}");
        }
        assert!(group(&long, true).ends_with(".0000000000000000"));
        assert_eq!(group(&DeadLetter { domain: "".into(), ..letter("{}") }, false), "unknown");
    }
}
