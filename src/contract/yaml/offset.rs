//! From a place in a scalar's text to the place in the file it came from: an expression's fault is shown where its author
//! wrote it, whatever YAML style was chosen.

use saphyr_parser::ScalarStyle;

/// The byte of `source` that byte `offset` of `text` came from; the scalar's span begins at `start`.
///
/// Follows both texts side by side, undoing YAML 1.2.2's quoting (sections 7.3.1, 7.3.2), folding (6.5) and block
/// indentation (8.1). Where folding leaves several candidates, any of them is on the right line.
pub(super) fn in_source(source: &str, start: usize, style: ScalarStyle, text: &str, offset: usize) -> usize {
    let mut wanted = text.get(..offset).unwrap_or(text);
    let mut at = start;
    let mut indent = None;
    if matches!(style, ScalarStyle::Literal | ScalarStyle::Folded) {
        // The span begins at the first line with content, after its indentation; empty lines before it are in the text.
        wanted = wanted.trim_start_matches('\n');
        indent = Some(start - source[..start].rfind('\n').map_or(0, |n| n + 1));
    } else if source[at..].starts_with(['"', '\'']) {
        at += 1;
    }
    for c in wanted.chars() {
        at = match (style, c) {
            (ScalarStyle::DoubleQuoted, _) if source[at..].starts_with('\\') => escape(source, at),
            (ScalarStyle::SingleQuoted, '\'') if source[at..].starts_with("''") => at + 2,
            (ScalarStyle::Literal, '\n') => skip_fold(source, at, indent),
            (_, ' ' | '\n') if at_line_end(source, at) => skip_fold(source, at, None),
            // One more of several empty lines, which the first of them has passed.
            (_, '\n') => at,
            _ => at + source[at..].chars().next().map_or(0, char::len_utf8),
        };
        // An escaped line break adds nothing to the text.
        while style == ScalarStyle::DoubleQuoted
            && (source[at..].starts_with("\\\n") || source[at..].starts_with("\\\r"))
        {
            at = skip_fold(source, at + 1, None);
        }
    }
    at
}

fn skip_indent(raw: &str, at: usize, indent: usize) -> usize {
    at + raw[at..].bytes().take(indent).take_while(|b| *b == b' ').count()
}

/// The start of the line after the one `at` is on.
fn line_end(raw: &str, at: usize) -> usize {
    raw[at..].find('\n').map_or(raw.len(), |n| at + n + 1)
}

/// Whether only white space follows on this line, so that a space or line break of the text is a fold of the source.
fn at_line_end(raw: &str, at: usize) -> bool {
    raw[at..].trim_start_matches([' ', '\t', '\r']).starts_with('\n')
}

/// Past a fold: the line's end, empty lines, and the next line's indentation.
fn skip_fold(raw: &str, at: usize, indent: Option<usize>) -> usize {
    let blank = raw[at..].len() - raw[at..].trim_start_matches([' ', '\t', '\r', '\n']).len();
    match indent {
        None => at + blank,
        Some(indent) => skip_indent(raw, line_end(raw, at), indent),
    }
}

/// Past one escape sequence of a double-quoted scalar.
fn escape(raw: &str, at: usize) -> usize {
    let length = match raw.as_bytes().get(at + 1) {
        Some(b'x') => 4,
        Some(b'u') => 6,
        Some(b'U') => 10,
        _ => 1 + raw[at + 1..].chars().next().map_or(0, char::len_utf8),
    };
    let end = at + length;
    if raw.is_char_boundary(end) { end } else { raw.len() }
}

#[cfg(test)]
mod tests {
    use super::super::parse;
    use crate::rule::pointer::Pointer;

    /// The mark `@` in the decoded text must be found at the mark in the source.
    #[test]
    fn every_style_maps_back() {
        let cases = [
            "e: this.a == @b",
            "e: this.a\n   == 1 && @b\n",
            "e: 'it''s @here'",
            "e: \"a\\\"b\\u00e9\\x41 @c\"",
            "e: \"a \\\n   b @c\"",
            "e: \"a\n\n   b @c\"",
            "e: |\n  this.a &&\n    this.b &&\n  @c\n",
            "e: |-\n\n  x\n  @c",
            "e: >\n  this.a\n  && this.b\n\n  && @c\n",
            "e: >-\n  größe ✓ @c",
            "- {e: größe @c}",
            "e: |\r\n  a &&\r\n  @c\r\n",
        ];
        for source in cases {
            let document = parse(source.as_bytes()).unwrap();
            let pointer = Pointer::parse(if source.starts_with('-') { "/0/e" } else { "/e" }).unwrap();
            let text = pointer.resolve(&document.value).unwrap().as_str().unwrap();
            let at = document.offset_in(source, &pointer, text.find('@').unwrap());
            assert_eq!(Some(at), source.find('@'), "{source:?} {text:?}");
        }
    }

    #[test]
    fn an_offset_past_the_end_stays_inside_the_file() {
        for source in ["e: abc", "e: |\n  abc\n", "e: \"a\\n\""] {
            let document = parse(source.as_bytes()).unwrap();
            let at = document.offset_in(source, &Pointer::parse("/e").unwrap(), 1000);
            assert!(at <= source.len());
        }
    }
}
