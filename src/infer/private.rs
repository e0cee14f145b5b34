//! What may be private: values that look like it, and fields that are called so.
//!
//! Suspicion is cheap, since a person reads the draft: a field that is masked for nothing costs one line to take out, one
//! that is missed is shown to everyone who looks at the dead-letter queue.

use crate::rule::mask::MaskMethod;

/// What a private value is, or may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Suspicion {
    /// In a person's words, plural.
    pub what: &'static str,
    pub classification: &'static str,
    pub mask: MaskMethod,
}

const fn suspicion(what: &'static str, classification: &'static str, mask: MaskMethod) -> Suspicion {
    Suspicion { what, classification, mask }
}

/// Hashed, because equal addresses are what a steward looks for.
pub(super) const EMAIL: Suspicion = suspicion("e-mail addresses", "pii", MaskMethod::Hash);
/// The following are redacted: there are so few of them that a hash is found by trying.
const CARD: Suspicion = suspicion("payment-card numbers", "pci", MaskMethod::Redact);
const PHONE: Suspicion = suspicion("phone numbers", "pii", MaskMethod::Redact);
const ACCOUNT: Suspicion = suspicion("bank accounts", "pii", MaskMethod::Redact);
const BIRTH: Suspicion = suspicion("dates of birth", "pii", MaskMethod::Redact);
const PERSON: Suspicion = suspicion("names of people", "pii", MaskMethod::Redact);
const PLACE: Suspicion = suspicion("addresses", "pii", MaskMethod::Redact);
const NUMBER: Suspicion = suspicion("official numbers of people", "pii", MaskMethod::Redact);
const PAY: Suspicion = suspicion("what people earn", "pii", MaskMethod::Redact);
const SECRET: Suspicion = suspicion("secrets", "secret", MaskMethod::Redact);

/// How many kinds of value are known by their look: the length of [`LOOKS`].
pub(super) const LOOKS_COUNT: usize = 4;
type Look = (fn(&str) -> bool, Suspicion);
pub(super) const LOOKS: [Look; LOOKS_COUNT] =
    [(holds_email, EMAIL), (holds_card_number, CARD), (is_phone_number, PHONE), (is_iban, ACCOUNT)];

/// How much of a text is looked at, in bytes: a private value in a long text mostly stands in its beginning, too.
const LOOKED_AT_BYTES: usize = 4096;

/// Which of [`LOOKS`] the text has.
pub(super) fn looks(text: &str) -> [bool; LOOKS_COUNT] {
    // A character of several bytes may be cut here; its half is then no part of what is looked at.
    let end = (0..=text.len().min(LOOKED_AT_BYTES)).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    LOOKS.map(|(look, _)| look(&text[..end]))
}

fn holds_email(text: &str) -> bool {
    let is_address = |part: &str| {
        let Some((local, domain)) = part.rsplit_once('@') else { return false };
        let labels: Vec<&str> = domain.trim_end_matches('.').split('.').collect();
        let is_label = |label: &&str| {
            !label.is_empty() && label.chars().all(|c| c.is_alphanumeric() || c == '-') && !label.starts_with('-')
        };
        !local.is_empty() && labels.len() >= 2 && labels.iter().all(is_label)
    };
    let is_between = |c: char| c.is_whitespace() || "<>()[]{},;:\"'|=/".contains(c);
    text.contains('@') && text.split(is_between).any(is_address)
}

const CARD_DIGITS_MAX: usize = 19;

/// Thirteen to nineteen digits, single spaces or hyphens among them, that begin as cards do and pass the Luhn check (ISO/IEC
/// 7812-1).
fn holds_card_number(text: &str) -> bool {
    let is_within = |c: char| c.is_ascii_digit() || c == ' ' || c == '-';
    text.split(|c: char| !is_within(c)).any(|run| {
        // Words of digits: a card stands in one or several of them that follow each other.
        let words: Vec<&str> = run.split([' ', '-']).collect();
        (0..words.len()).any(|from| {
            let mut digits = String::new();
            for word in words[from..].iter().take_while(|word| !word.is_empty()) {
                digits.push_str(word);
                if digits.len() >= CARD_DIGITS_MAX {
                    break;
                }
                if is_card_number(&digits) {
                    return true;
                }
            }
            is_card_number(&digits)
        })
    })
}

fn is_card_number(digits: &str) -> bool {
    if !(13..=CARD_DIGITS_MAX).contains(&digits.len()) || !matches!(digits.as_bytes()[0], b'2'..=b'6') {
        return false;
    }
    let sum: u32 = digits
        .bytes()
        .rev()
        .enumerate()
        .map(|(at, byte)| match (u32::from(byte - b'0'), at % 2) {
            (digit, 0) => digit,
            (digit, _) if digit > 4 => digit * 2 - 9,
            (digit, _) => digit * 2,
        })
        .sum();
    sum.is_multiple_of(10)
}

/// The international form (ITU-T E.123): a plus sign and eight to fifteen digits. Others are known by the field's name only,
/// since too much else looks like them.
fn is_phone_number(text: &str) -> bool {
    let Some(rest) = text.trim().strip_prefix('+') else { return false };
    let digits = rest.bytes().filter(u8::is_ascii_digit).count();
    (8..=15).contains(&digits) && rest.bytes().all(|byte| byte.is_ascii_digit() || b" -.()/".contains(&byte))
}

/// The countries of the IBAN registry, each with how long its IBANs are.
const IBANS: &str = "AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DK18 DO28 EE20 EG29 \
    ES24 FI18 FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HR21 HU28 IE22 IL23 IQ23 IS26 IT27 JO30 KW30 KZ20 LB28 LC32 LI21 LT20 \
    LU20 LV21 LY25 MC27 MD24 ME22 MK19 MR27 MT31 MU30 NL18 NO15 PK24 PL28 PS29 PT25 QA29 RO24 RS22 SA24 SC31 SE24 SI19 \
    SK24 SM27 ST25 SV28 TL23 TN24 TR26 UA29 VA22 VG24 XK20";

/// ISO 13616: a country, two check digits, and as many letters and digits as it has, whose remainder by 97 is 1.
fn is_iban(text: &str) -> bool {
    let compact: Vec<u8> = text.bytes().filter(|byte| *byte != b' ').map(|byte| byte.to_ascii_uppercase()).collect();
    let [c1, c2, d1, d2, account @ ..] = &compact[..] else { return false };
    let is_of_country =
        |entry: &str| entry.as_bytes().starts_with(&[*c1, *c2]) && entry[2..].parse() == Ok(compact.len());
    let is_shaped = d1.is_ascii_digit()
        && d2.is_ascii_digit()
        && account.iter().all(u8::is_ascii_alphanumeric)
        && IBANS.split(' ').any(is_of_country);
    let remainder = |so_far: u32, byte: &u8| match byte {
        b'0'..=b'9' => (so_far * 10 + u32::from(byte - b'0')) % 97,
        _ => (so_far * 100 + u32::from(byte - b'A') + 10) % 97,
    };
    is_shaped && account.iter().chain([c1, c2, d1, d2]).fold(0, remainder) == 1
}

/// Names that end in these words; the longer come first.
const NAMES: &[(&[&str], Suspicion)] = &[
    (&["date", "of", "birth"], BIRTH),
    (&["birth", "date"], BIRTH),
    (&["birth", "day"], BIRTH),
    (&["birthdate"], BIRTH),
    (&["birthday"], BIRTH),
    (&["dob"], BIRTH),
    (&["e", "mail"], EMAIL),
    (&["email"], EMAIL),
    (&["email", "address"], EMAIL),
    (&["mail"], EMAIL),
    (&["phone"], PHONE),
    (&["telephone"], PHONE),
    (&["mobile"], PHONE),
    (&["msisdn"], PHONE),
    (&["fax"], PHONE),
    (&["iban"], ACCOUNT),
    (&["bank", "account"], ACCOUNT),
    (&["account", "number"], ACCOUNT),
    (&["card"], CARD),
    (&["pan"], CARD),
    (&["cvv"], CARD),
    (&["cvc"], CARD),
    (&["first", "name"], PERSON),
    (&["last", "name"], PERSON),
    (&["full", "name"], PERSON),
    (&["given", "name"], PERSON),
    (&["middle", "name"], PERSON),
    (&["family", "name"], PERSON),
    (&["maiden", "name"], PERSON),
    (&["nick", "name"], PERSON),
    (&["display", "name"], PERSON),
    (&["user", "name"], PERSON),
    (&["customer", "name"], PERSON),
    (&["contact", "name"], PERSON),
    (&["recipient", "name"], PERSON),
    (&["holder", "name"], PERSON),
    (&["firstname"], PERSON),
    (&["lastname"], PERSON),
    (&["surname"], PERSON),
    (&["username"], PERSON),
    (&["login"], PERSON),
    (&["recipient"], PERSON),
    (&["street"], PLACE),
    (&["address"], PLACE),
    (&["address", "line"], PLACE),
    (&["ip"], PLACE),
    (&["ssn"], NUMBER),
    (&["social", "security"], NUMBER),
    (&["passport"], NUMBER),
    (&["tax", "id"], NUMBER),
    (&["national", "id"], NUMBER),
    (&["salary"], PAY),
    (&["income"], PAY),
    (&["password"], SECRET),
    (&["passwd"], SECRET),
    (&["secret"], SECRET),
    (&["api", "key"], SECRET),
    (&["access", "token"], SECRET),
    (&["refresh", "token"], SECRET),
];

/// What follows the word that says what the field is: `phoneNumber`, `street2`.
const TAILS: [&str; 7] = ["number", "no", "nr", "num", "value", "text", "hash"];

/// What a field of this name may hold, by its last words. A bare `name` may be a person's; `productName` is not.
pub(super) fn by_name(key: &str) -> Option<Suspicion> {
    let mut words = words(key);
    loop {
        if let [only] = &words[..]
            && singular_is(only, "name")
        {
            return Some(PERSON);
        }
        let found = NAMES.iter().find(|(name, _)| ends_in(&words, name));
        if let Some((_, suspicion)) = found {
            return Some(*suspicion);
        }
        let is_tail = |word: &String| TAILS.contains(&word.as_str()) || word.bytes().all(|byte| byte.is_ascii_digit());
        if words.len() < 2 || !words.last().is_some_and(is_tail) {
            return None;
        }
        words.pop();
    }
}

fn ends_in(words: &[String], name: &[&str]) -> bool {
    let Some(from) = words.len().checked_sub(name.len()) else { return false };
    let last = name.len() - 1;
    words[from..].iter().zip(name).enumerate().all(
        |(at, (word, part))| {
            if at == last { singular_is(word, part) } else { word == part }
        },
    )
}

fn singular_is(word: &str, name: &str) -> bool {
    word.strip_prefix(name).is_some_and(|rest| matches!(rest, "" | "s" | "es"))
}

/// `shipToStreet2`, `ship_to_street2`, `SHIP-TO-STREET-2`: ship, to, street, 2.
fn words(key: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let characters: Vec<char> = key.chars().collect();
    for (at, c) in characters.iter().enumerate() {
        if !c.is_alphanumeric() {
            words.push(String::new());
            continue;
        }
        let before = at.checked_sub(1).map(|before| characters[before]);
        let is_next_lower = characters.get(at + 1).is_some_and(|next| next.is_lowercase());
        let begins = match before {
            None => true,
            Some(before) if c.is_uppercase() => before.is_lowercase() || before.is_uppercase() && is_next_lower,
            Some(before) => c.is_ascii_digit() != before.is_ascii_digit(),
        };
        if begins {
            words.push(String::new());
        }
        if let Some(word) = words.last_mut() {
            word.extend(c.to_lowercase());
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(text: &str) -> Option<&'static str> {
        let looks = looks(text);
        LOOKS.iter().zip(looks).find(|(_, has)| *has).map(|((_, suspicion), _)| suspicion.what)
    }

    #[test]
    fn private_values_are_known_by_their_look() {
        for text in ["ada@example.com", "Ada <ada.l+1@mail.example.org>", "write to a@b.co, please"] {
            assert_eq!(look(text), Some("e-mail addresses"), "{text}");
        }
        // Test numbers that card schemes publish.
        for text in
            ["4111111111111111", "5555 5555 5555 4444", "card 3782-822463-10005, exp. 12/30", "1 4111111111111111"]
        {
            assert_eq!(look(text), Some("payment-card numbers"), "{text}");
        }
        for text in ["+49 30 123456-78", "+1 (202) 555-0143"] {
            assert_eq!(look(text), Some("phone numbers"), "{text}");
        }
        // Examples of ISO 13616 registries.
        for text in [
            "DE89 3704 0044 0532 0130 00",
            "GB82WEST12345698765432",
            "fr1420041010050500013m02606",
            "NO93 8601 1117 947",
        ] {
            assert_eq!(look(text), Some("bank accounts"), "{text}");
        }
    }

    #[test]
    fn what_is_not_private_is_left_alone() {
        for text in [
            "",
            "web",
            "@type",
            "a@b",
            "4111111111111112",
            "O-20001",
            "1732269600000",
            "2026-11-22T10:00:00Z",
            "7b5a0b04-3c2f-4d6e-9f58-0a1b2c3d4e5f",
            "DE89370400440532013001",
            "+1",
            "https://example.com/a",
            "éééé",
        ] {
            assert_eq!(look(text), None, "{text}");
        }
    }

    #[test]
    fn names_of_fields_are_read_as_words() {
        let what = |key| by_name(key).map(|suspicion| suspicion.what);
        assert_eq!(words("shipToStreet2"), ["ship", "to", "street", "2"]);
        assert_eq!(words("customerIBANCode"), ["customer", "iban", "code"]);
        for (key, expected) in [
            ("email", "e-mail addresses"),
            ("customerEmailAddress", "e-mail addresses"),
            ("contact_emails", "e-mail addresses"),
            ("phoneNumber", "phone numbers"),
            ("MOBILE-NO", "phone numbers"),
            ("iban", "bank accounts"),
            ("birthDate", "dates of birth"),
            ("date_of_birth", "dates of birth"),
            ("name", "names of people"),
            ("lastName", "names of people"),
            ("street2", "addresses"),
            ("addresses", "addresses"),
            ("cardNumber", "payment-card numbers"),
            ("accessToken", "secrets"),
        ] {
            assert_eq!(what(key), Some(expected), "{key}");
        }
        for key in ["productName", "emailTemplateId", "shippingMinor", "japan", "tip", "nextToken", "", "-", "number"] {
            assert_eq!(what(key), None, "{key}");
        }
    }
}
