//! Markdown as GitHub renders it (GitHub Flavored Markdown): text stays text, whatever it looks like.

use std::fmt::Write as _;

use super::super::output::printable;

/// The most characters of one cell or paragraph.
const TEXT_CHARS_MAX: usize = 500;

/// A text that grows.
#[derive(Debug, Default)]
pub struct Markdown(String);

impl Markdown {
    /// A heading of the third level, below the page's own.
    pub fn heading(&mut self, text: &str) {
        let _ = write!(self.0, "### {}\n\n", escaped(text));
    }

    pub fn paragraph(&mut self, text: &str) {
        let _ = write!(self.0, "{}\n\n", escaped(text));
    }

    /// A table; nothing where there are no rows.
    pub fn table<const COLUMNS: usize>(&mut self, headers: [&str; COLUMNS], rows: Vec<[String; COLUMNS]>) {
        if rows.is_empty() {
            return;
        }
        let _ = writeln!(self.0, "| {} |\n|{}", headers.join(" | "), " --- |".repeat(COLUMNS));
        for row in rows {
            let _ = writeln!(self.0, "| {} |", row.map(|cell| escaped(&cell)).join(" | "));
        }
        self.0.push('\n');
    }

    /// The text, cut at the end of a line where it is longer than `bytes_max`.
    pub fn within(&self, bytes_max: usize) -> String {
        if self.0.len() <= bytes_max {
            return self.0.clone();
        }
        let mut end = bytes_max;
        while !self.0.is_char_boundary(end) {
            end -= 1;
        }
        let whole_lines = self.0[..end].rfind('\n').map_or(0, |at| at + 1);
        format!("{}\nThe rest is left out here, and in the log.\n\n", &self.0[..whole_lines])
    }
}

/// On one line, without markup. A backslash makes a character of any sign (CommonMark 0.31, section 2.4); `$` begins a formula
/// on GitHub, and `@` calls a person.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    let mut chars = text.chars();
    for c in chars.by_ref().take(TEXT_CHARS_MAX) {
        match c {
            '\n' => safe += "<br>",
            '\\' | '`' | '*' | '_' | '{' | '}' | '[' | ']' | '<' | '>' | '#' | '|' | '~' | '&' | '!' | '$' | '@' => {
                safe.push('\\');
                safe.push(c);
            }
            _ => safe += &printable(c.encode_utf8(&mut [0; 4])).replace('\\', "\\\\"),
        }
    }
    if chars.next().is_some() {
        safe.push('…');
    }
    safe
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn text_stays_text() {
        let mut page = Markdown::default();
        page.heading("check: <b>1</b> error");
        page.table(["Where", "What"], vec![["a|b.yaml:1".to_owned(), "`x`\n[y](z) @all $1\u{1b}[2J".to_owned()]]);
        page.table(["Nothing"], vec![]);
        expect![[r#"
            ### check: \<b\>1\</b\> error

            | Where | What |
            | --- | --- |
            | a\|b.yaml:1 | \`x\`<br>\[y\](z) \@all \$1\\u001b\[2J |

        "#]]
        .assert_eq(&page.within(1000));
    }

    #[test]
    fn what_is_too_long_ends_with_a_line() {
        let mut page = Markdown::default();
        page.table(["A"], (0..100).map(|n| [format!("größe {n}")]).collect());
        for bytes_max in 1..600 {
            let cut = page.within(bytes_max);
            let body = cut.split("\nThe rest is left out here").next().unwrap();
            assert!(page.0.starts_with(body) && (body.is_empty() || body.ends_with('\n')), "{bytes_max}: {body:?}");
        }
    }

    proptest! {
        #[test]
        fn a_cell_stays_in_its_row(text in any::<String>()) {
            let escaped = escaped(&text);
            prop_assert!(!escaped.contains(['\n', '\r']));
            // Each sign that means something has an odd number of backslashes before it.
            let chars: Vec<char> = escaped.replace("<br>", "").chars().collect();
            for (at, c) in chars.iter().enumerate().filter(|(_, c)| "|`<[".contains(**c)) {
                let slashes = chars[..at].iter().rev().take_while(|c| **c == '\\').count();
                prop_assert!(slashes % 2 == 1, "{c} in {escaped}");
            }
        }
    }
}
