//! HTML that cannot be broken into: names of elements and attributes are the program's, everything else is escaped.
//!
//! Elements are written by closures, so that each one that is opened is closed. Attributes are always quoted.

use std::fmt::Display;

/// An attribute: its name and its value.
pub(super) type Attribute<'a> = (&'static str, &'a str);

/// A piece of a page.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Html(String);

impl Html {
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// Text of anyone's.
    pub(super) fn text(&mut self, text: impl Display) -> &mut Self {
        escape(&text.to_string(), &mut self.0);
        self
    }

    /// Markup of ours.
    pub(super) fn markup(&mut self, markup: &'static str) -> &mut Self {
        self.0 += markup;
        self
    }

    pub(super) fn add(&mut self, piece: &Self) -> &mut Self {
        self.0 += &piece.0;
        self
    }

    /// An element with whatever the closure writes into it.
    pub(super) fn element(
        &mut self,
        name: &'static str,
        attributes: &[Attribute<'_>],
        inside: impl FnOnce(&mut Self),
    ) -> &mut Self {
        self.open(name, attributes);
        inside(self);
        self.0 += "</";
        self.0 += name;
        self.0 += ">";
        self
    }

    /// An element that stands in lines of its own.
    pub(super) fn block(
        &mut self,
        name: &'static str,
        attributes: &[Attribute<'_>],
        inside: impl FnOnce(&mut Self),
    ) -> &mut Self {
        self.element(name, attributes, inside).markup("\n")
    }

    /// An element that holds text only.
    pub(super) fn leaf(&mut self, name: &'static str, attributes: &[Attribute<'_>], text: impl Display) -> &mut Self {
        self.element(name, attributes, |h| {
            h.text(text);
        })
    }

    /// An element that cannot hold anything, or the opening of one that [`Html::markup`] closes.
    pub(super) fn open(&mut self, name: &'static str, attributes: &[Attribute<'_>]) -> &mut Self {
        self.0 += "<";
        self.0 += name;
        for (attribute, value) in attributes {
            self.0 += " ";
            self.0 += attribute;
            self.0 += "=\"";
            escape(value, &mut self.0);
            self.0 += "\"";
        }
        self.0 += ">";
        self
    }

    pub(super) fn code(&mut self, text: impl Display) -> &mut Self {
        self.leaf("code", &[], text)
    }

    /// A small word in a frame. The class is `badge` and the kind.
    pub(super) fn badge(&mut self, kind: &str, text: impl Display) -> &mut Self {
        self.text(" ").leaf("span", &[("class", &format!("badge {kind}"))], text)
    }

    pub(super) fn paragraph(&mut self, class: &str, text: impl Display) -> &mut Self {
        let class = [("class", class)];
        self.leaf("p", if class[0].1.is_empty() { &[] } else { &class }, text).markup("\n")
    }

    /// Where to reach somebody: a link where the text is an address that a page may lead to, else the text.
    pub(super) fn contact(&mut self, contact: &str) -> &mut Self {
        match address(contact) {
            Some(address) => self.leaf("a", &[("href", &address)], contact),
            None => self.text(contact),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn into_string(self) -> String {
        self.0
    }
}

/// The pieces, with a separator between each two.
pub(super) fn joined(pieces: &[Html], separator: &str) -> Html {
    let mut all = Html::new();
    for (index, piece) in pieces.iter().enumerate() {
        if index > 0 {
            all.text(separator);
        }
        all.add(piece);
    }
    all
}

/// A piece that one closure writes.
pub(super) fn piece(write: impl FnOnce(&mut Html)) -> Html {
    let mut html = Html::new();
    write(&mut html);
    html
}

/// The link for a contact: web pages and mail only, so that no text a team writes can be a program (`javascript:`).
fn address(contact: &str) -> Option<String> {
    if contact.is_empty() || contact.contains(|c: char| c.is_whitespace() || c.is_control() || "<>\"'`\\".contains(c)) {
        return None;
    }
    let lower = contact.to_ascii_lowercase();
    if lower.starts_with("https://") || lower.starts_with("http://") || lower.starts_with("mailto:") {
        return Some(contact.to_owned());
    }
    let (name, host) = contact.split_once('@')?;
    let plain = |text: &str| {
        !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'+' | b'-'))
    };
    (plain(name) && plain(host) && host.contains('.')).then(|| format!("mailto:{contact}"))
}

/// What HTML gives a meaning to, and what would be none of a page's characters: control characters, and those that reorder
/// the text around them (Unicode UAX #9), which would let a name look like another.
fn escape(text: &str, out: &mut String) {
    for c in text.chars() {
        match c {
            '&' => *out += "&amp;",
            '<' => *out += "&lt;",
            '>' => *out += "&gt;",
            '"' => *out += "&quot;",
            '\'' => *out += "&#39;",
            '\n' | '\t' => out.push(c),
            '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                *out += &format!("\\u{:04x}", u32::from(c));
            }
            c if c.is_control() => *out += &format!("\\u{:04x}", u32::from(c)),
            // Noncharacters are errors to a parser of HTML.
            '\u{fdd0}'..='\u{fdef}' => out.push('\u{fffd}'),
            c if u32::from(c) & 0xfffe == 0xfffe => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_attributes_cannot_break_out() {
        let html = piece(|h| {
            h.element("p", &[("title", "\"><script>&'")], |h| {
                h.text("<script>alert(1)</script> & \u{1b}[2J\u{202e}\r");
            });
        });
        assert_eq!(
            html.into_string(),
            "<p title=\"&quot;&gt;&lt;script&gt;&amp;&#39;\">&lt;script&gt;alert(1)&lt;/script&gt; &amp; \
             \\u001b[2J\\u202e\\u000d</p>"
        );
    }

    #[test]
    fn a_contact_is_a_link_only_to_pages_and_mail() {
        for (contact, link) in [
            ("https://chat.example.com/orders?a=1&b", Some("https://chat.example.com/orders?a=1&b")),
            ("HTTP://example.com", Some("HTTP://example.com")),
            ("team@example.com", Some("mailto:team@example.com")),
            ("mailto:team@example.com", Some("mailto:team@example.com")),
            ("#orders", None),
            ("javascript:alert(1)", None),
            ("JaVaScRiPt:alert(1)", None),
            (" javascript:alert(1)", None),
            ("java\nscript:alert(1)", None),
            ("data:text/html,x", None),
            ("//example.com", None),
            ("https://example.com/\" onclick=\"x", None),
            ("javascript:x@example.com", None),
            ("a@b", None),
            ("", None),
        ] {
            assert_eq!(address(contact).as_deref(), link, "{contact:?}");
        }
    }
}
