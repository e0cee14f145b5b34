//! `format` as an assertion: what most values are is accepted at sight, the rest asks the `jsonschema` crate.

use jsonschema::{Draft, Validator};
use serde_json::{Value, json};

#[derive(Debug)]
pub(super) struct Format {
    /// Accepts only what the exact check accepts.
    at_sight: fn(&str) -> bool,
    exact: Validator,
}

impl Format {
    /// `None` when the crate does not take the name.
    pub(super) fn compile(name: &str, draft: Draft) -> Option<Self> {
        let schema = json!({"format": name});
        let exact = jsonschema::options().with_draft(draft).should_validate_formats(true).build(&schema).ok()?;
        let at_sight = match name {
            "date-time" => is_plain_date_time,
            "date" => |text: &str| is_plain_date(text.as_bytes()),
            "email" => is_plain_email,
            "uri" => |text: &str| is_plain_web_address(text, false),
            "uri-template" => |text: &str| is_plain_web_address(text, true),
            "uuid" => is_uuid,
            _ => |_: &str| false,
        };
        Some(Self { at_sight, exact })
    }

    pub(super) fn holds(&self, text: &str) -> bool {
        (self.at_sight)(text) || self.exact.is_valid(&Value::from(text))
    }
}

fn digits(bytes: &[u8]) -> Option<u32> {
    bytes.iter().try_fold(0, |number, byte| match byte {
        b'0'..=b'9' => Some(number * 10 + u32::from(byte - b'0')),
        _ => None,
    })
}

fn in_range(bytes: &[u8], from: u32, to: u32) -> bool {
    digits(bytes).is_some_and(|number| (from..=to).contains(&number))
}

/// A day that every month has.
fn is_plain_date(bytes: &[u8]) -> bool {
    let [year @ .., b'-', m1, m2, b'-', d1, d2] = bytes else { return false };
    year.len() == 4 && digits(year).is_some() && in_range(&[*m1, *m2], 1, 12) && in_range(&[*d1, *d2], 1, 28)
}

/// RFC 3339 without leap seconds: `2026-11-22T10:00:05.123Z`, `…+01:00`.
fn is_plain_date_time(text: &str) -> bool {
    let Some((date, [b'T', h1, h2, b':', m1, m2, b':', s1, s2, rest @ ..])) = text.as_bytes().split_at_checked(10)
    else {
        return false;
    };
    let rest = match rest {
        [b'.', fraction @ ..] => match fraction.iter().take_while(|byte| byte.is_ascii_digit()).count() {
            0 => return false,
            digits => &fraction[digits..],
        },
        _ => rest,
    };
    let zone = match rest {
        [b'Z'] => true,
        [b'+' | b'-', h1, h2, b':', m1, m2] => in_range(&[*h1, *h2], 0, 23) && in_range(&[*m1, *m2], 0, 59),
        _ => false,
    };
    zone && is_plain_date(date)
        && in_range(&[*h1, *h2], 0, 23)
        && in_range(&[*m1, *m2], 0, 59)
        && in_range(&[*s1, *s2], 0, 59)
}

fn is_uuid(text: &str) -> bool {
    let is_right = |(at, byte): (usize, &u8)| match at {
        8 | 13 | 18 | 23 => *byte == b'-',
        _ => byte.is_ascii_hexdigit(),
    };
    text.len() == 36 && text.as_bytes().iter().enumerate().all(is_right)
}

/// Letters, digits and single dots, dashes or underscores between them, at a domain of at least two such labels.
fn is_plain_email(text: &str) -> bool {
    let Some((local, domain)) = text.split_once('@') else { return false };
    let is_plain = |part: &str, between: &[u8]| {
        let mut was_alphanumeric = false;
        let good = part.bytes().all(|byte| {
            let is_alphanumeric = byte.is_ascii_alphanumeric();
            let good = is_alphanumeric || was_alphanumeric && between.contains(&byte);
            was_alphanumeric = is_alphanumeric;
            good
        });
        good && was_alphanumeric
    };
    (1..=64).contains(&local.len())
        && domain.len() <= 63
        && domain.contains('.')
        && is_plain(local, b"._-+")
        && is_plain(domain, b".-")
}

/// `http://` or `https://`, a name, and then only characters that need no percent-encoding. In a template, also simple
/// expressions such as `{/owner}`.
fn is_plain_web_address(text: &str, template: bool) -> bool {
    let Some(rest) = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")) else { return false };
    let host = rest.bytes().take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-')).count();
    let mut rest = &rest.as_bytes()[host..];
    if host == 0 || rest.first().is_some_and(|byte| *byte != b'/') {
        return false;
    }
    loop {
        rest = &rest[plain_bytes(rest)..];
        match rest {
            [] => return true,
            [b'{', expression @ ..] if template => {
                let operator = usize::from(matches!(expression.first(), Some(b'/' | b'?' | b'&' | b'+')));
                let name = &expression[operator..];
                let length = name.iter().take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'_').count();
                if length == 0 || name.get(length) != Some(&b'}') {
                    return false;
                }
                rest = &name[length + 1..];
            }
            _ => return false,
        }
    }
}

/// How many bytes come before one that would have to be looked at more closely.
fn plain_bytes(bytes: &[u8]) -> usize {
    let (blocks, rest) = bytes.as_chunks();
    let plain = blocks.iter().take_while(|block| is_plain_block(block)).count() * BLOCK;
    // Most addresses are plain to the end. The last block may overlap the one before it.
    if plain + rest.len() == bytes.len() && bytes.last_chunk().is_some_and(is_plain_block) {
        return bytes.len();
    }
    plain + bytes[plain..].iter().take_while(|byte| is_plain(**byte)).count()
}

/// How many bytes are looked at together.
const BLOCK: usize = 16;

/// Without a branch, so that the compiler compares all bytes together: addresses are long, and some events hold little else.
#[inline]
fn is_plain_block(block: &[u8; BLOCK]) -> bool {
    block.iter().fold(0, |others, byte| others | u8::from(!is_plain(*byte))) == 0
}

/// Letters, digits and `& + , - . / : ; = ? @ _ ~`, as ranges of ASCII.
#[inline]
fn is_plain(byte: u8) -> bool {
    let within = |from: u8, to: u8| byte.wrapping_sub(from) <= to - from;
    within(b'+', b';')
        | within(b'?', b'Z')
        | within(b'a', b'z')
        | (byte == b'&')
        | (byte == b'=')
        | (byte == b'_')
        | (byte == b'~')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const COMMON: [(&str, &str); 9] = [
        ("date-time", "2026-11-22T10:00:05Z"),
        ("date-time", "2026-11-22T10:00:05.123456+01:00"),
        ("date", "2026-02-28"),
        ("email", "ada.000001@example.com"),
        ("email", "a-b_c+d@sub-1.example.org"),
        ("uri", "https://api.example.com/repos/a/b?x=1&y=2"),
        ("uri-template", "https://api.example.com/repos/a/b/keys{/key_id}"),
        ("uri-template", "https://api.example.com/users/a/starred{/owner}{/repo}"),
        ("uuid", "7b5a0b04-3c2f-4d6e-9f58-0a1b2c3d4e5F"),
    ];

    #[test]
    fn common_values_are_accepted_at_sight() {
        for (name, value) in COMMON {
            let format = Format::compile(name, Draft::Draft202012).unwrap();
            assert!((format.at_sight)(value), "{name} {value}");
            assert!(format.exact.is_valid(&Value::from(value)), "{name} {value}");
        }
    }

    #[test]
    fn plain_bytes_of_addresses_are_these() {
        let plain: String = (0..=255).filter(|byte| is_plain(*byte)).map(char::from).collect();
        let letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz~";
        assert_eq!(plain, format!("&+,-./0123456789:;=?@{letters}"));
        for length in 0..40 {
            let text = "a".repeat(length);
            assert_eq!(plain_bytes(text.as_bytes()), length);
            assert_eq!(plain_bytes(format!("{text}%{text}").as_bytes()), length);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]

        /// What is accepted at sight is accepted exactly, close to good values and far from them.
        #[test]
        fn sight_is_never_more_lenient(
            common in 0..COMMON.len(), at in any::<prop::sample::Index>(), remove in 0_usize..3, insert in "[-a-zA-Z0-9.:@/{}+_?#%é ]{0,2}",
            other in "[-TZ0-9:.+]{0,25}|[a-z@.-]{0,10}|https?://[a-z{}/.]{0,9}"
        ) {
            let (name, value) = COMMON[common];
            let format = Format::compile(name, Draft::Draft202012).unwrap();
            let at = at.index(value.len());
            let near = format!("{}{insert}{}", &value[..at], &value[(at + remove).min(value.len())..]);
            for text in [near, other] {
                prop_assert!(!(format.at_sight)(&text) || format.exact.is_valid(&Value::from(text.as_str())), "{} {:?}", name, text);
            }
        }
    }
}
