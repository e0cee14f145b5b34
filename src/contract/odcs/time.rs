//! How ODCS writes dates and times: patterns of the JDK's DateTimeFormatter, as regular expressions.

use std::iter::Peekable;
use std::str::Chars;

/// A time of day, with or without an offset: what JSON Schema's `time` would refuse without one.
pub(super) const TIME: &str = r"^([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]+)?(Z|[+-][0-9]{2}:[0-9]{2})?$";
/// A date and time without an offset.
pub(super) const LOCAL: &str = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]+)?$";

/// What a pattern asks of a text.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// A format of JSON Schema.
    Format(&'static str),
    /// A regular expression.
    Pattern(String),
}

/// `None` for a pattern with letters that are not known here (names of months, eras, weeks, zones by name).
pub(super) fn form(pattern: &str) -> Option<Form> {
    match pattern {
        "yyyy-MM-dd" | "uuuu-MM-dd" | "YYYY-MM-DD" => return Some(Form::Format("date")),
        // The standard's own way to write a time with an offset.
        "yyyy-MM-ddTHH:mm:ssZ" | "yyyy-MM-dd'T'HH:mm:ssXXX" | "YYYY-MM-DDTHH:mm:ss.SSSZ" => {
            return Some(Form::Format("date-time"));
        }
        _ => {}
    }
    let mut regex = String::from("^");
    let mut rest = pattern.chars().peekable();
    while let Some(c) = rest.next() {
        if c == '\'' {
            if rest.next_if_eq(&'\'').is_some() {
                regex.push('\'');
                continue;
            }
            regex += &regex::escape(&quoted(&mut rest)?);
        } else if c.is_ascii_alphabetic() {
            let mut count = 1;
            while rest.next_if_eq(&c).is_some() {
                count += 1;
            }
            regex += &letters(c, count)?;
        } else {
            let mut buffer = [0; 4];
            regex += &regex::escape(c.encode_utf8(&mut buffer));
        }
    }
    regex.push('$');
    Some(Form::Pattern(regex))
}

/// The text up to the quote that ends it. Two quotes are one.
fn quoted(rest: &mut Peekable<Chars<'_>>) -> Option<String> {
    let mut text = String::new();
    loop {
        match rest.next()? {
            '\'' if rest.next_if_eq(&'\'').is_none() => return Some(text),
            c => text.push(c),
        }
    }
}

/// What a run of one letter stands for.
fn letters(letter: char, count: usize) -> Option<String> {
    match (letter, count) {
        ('y' | 'u', 4) => Some("[0-9]{4}".to_owned()),
        ('y' | 'u', 2) => Some("[0-9]{2}".to_owned()),
        ('M', 2) => Some("(0[1-9]|1[0-2])".to_owned()),
        ('M', 1) => Some("([1-9]|1[0-2])".to_owned()),
        ('d', 2) => Some("(0[1-9]|[12][0-9]|3[01])".to_owned()),
        ('d', 1) => Some("([1-9]|[12][0-9]|3[01])".to_owned()),
        ('H', 2) => Some("([01][0-9]|2[0-3])".to_owned()),
        ('h', 2) => Some("(0[1-9]|1[0-2])".to_owned()),
        ('m' | 's', 2) => Some("[0-5][0-9]".to_owned()),
        ('H' | 'h' | 'm' | 's', 1) => Some("[0-9]{1,2}".to_owned()),
        ('S', 1..=9) => Some(format!("[0-9]{{{count}}}")),
        ('a', 1) => Some("(AM|PM)".to_owned()),
        // Not quoted, as the standard's examples have it.
        ('T', 1) => Some("T".to_owned()),
        ('X', 1) => Some("(Z|[+-][0-9]{2}([0-9]{2})?)".to_owned()),
        ('X', 2) => Some("(Z|[+-][0-9]{4})".to_owned()),
        ('X', 3) => Some("(Z|[+-][0-9]{2}:[0-9]{2})".to_owned()),
        ('Z', 1) => Some("(Z|[+-][0-9]{2}:?[0-9]{2})".to_owned()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use regex::Regex;

    use super::*;

    #[test]
    fn patterns_take_what_they_show() {
        for (pattern, good, bad) in [
            ("HH:mm:ss", "08:30:00", "8:30:00"),
            ("yyyy-MM-dd HH:mm:ss", "2024-03-10 14:22:35", "2024-13-10 14:22:35"),
            ("yyyy-MM-dd'T'HH:mm:ss.SSSX", "2024-03-10T14:22:35.123Z", "2024-03-10T14:22:35Z"),
            ("dd.MM.yyyy", "31.12.2024", "31x12x2024"),
            ("yyyyMMdd", "20240310", "2024-03-10"),
            ("h 'o''clock' a", "7 o'clock AM", "7 o''clock AM"),
        ] {
            let Some(Form::Pattern(regex)) = form(pattern) else { panic!("{pattern}") };
            let regex = Regex::new(&regex).unwrap();
            assert!(regex.is_match(good) && !regex.is_match(bad), "{pattern}: {regex}");
        }
        assert_eq!(form("yyyy-MM-dd"), Some(Form::Format("date")));
        assert_eq!(form("yyyy-MM-ddTHH:mm:ssZ"), Some(Form::Format("date-time")));
        for unknown in ["MMM dd", "yyyy-'W'ww", "HH:mm z", "'open"] {
            assert_eq!(form(unknown), None, "{unknown}");
        }
    }
}
