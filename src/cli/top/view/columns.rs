//! Lines of styled text, cut at a width, and tables of them. `comfy-table` counts the escapes of colours as text.

use crate::cli::output::printable;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    Plain,
    Strong,
    Quiet,
    Good,
    Warning,
    Error,
}

impl Style {
    /// Select Graphic Rendition (ECMA-48, 8.3.117).
    const fn code(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Strong => "1",
            Self::Quiet => "2",
            Self::Good => "32",
            Self::Warning => "33",
            Self::Error => "31",
        }
    }
}

/// A line, or a cell of a table: pieces of text, which cannot harm a terminal.
#[derive(Debug, Clone, Default)]
pub(super) struct Line(Vec<(Style, String)>);

/// A cell of one style.
pub(super) fn cell(style: Style, text: &str) -> Line {
    Line::of(style, text.to_owned())
}

impl Line {
    pub(super) fn of(style: Style, text: String) -> Self {
        let mut line = Self::default();
        line.add(style, text);
        line
    }

    pub(super) fn add(&mut self, style: Style, text: String) {
        self.0.push((style, printable(&text).into_owned()));
    }

    fn width(&self) -> usize {
        self.0.iter().map(|(_, text)| text.chars().count()).sum()
    }

    /// What fits into so many columns.
    pub(super) fn written(&self, columns: usize, colours: bool) -> String {
        let mut left = columns;
        let mut out = String::new();
        for (style, text) in &self.0 {
            let shown: String = text.chars().take(left).collect();
            left -= shown.chars().count();
            match style.code() {
                code if colours && !code.is_empty() && !shown.is_empty() => {
                    out += &format!("\x1b[{code}m{shown}\x1b[0m")
                }
                _ => out += &shown,
            }
        }
        if colours { out } else { out.trim_end().to_owned() }
    }
}

/// Rows below their headers, each column as wide as its widest cell. The last one may be of any width.
pub(super) fn table(headers: &[&str], rows: Vec<Vec<Line>>) -> Vec<Line> {
    let heads = headers.iter().map(|header| cell(Style::Quiet, header)).collect();
    let all: Vec<Vec<Line>> = std::iter::once(heads).chain(rows).collect();
    let width = |column: usize| all.iter().filter_map(|row| row.get(column)).map(Line::width).max().unwrap_or(0);
    let widths: Vec<usize> = (0..headers.len()).map(width).collect();
    let line = |row: Vec<Line>| {
        let mut line = Line::default();
        let last = row.len().saturating_sub(1);
        for (column, cell) in row.into_iter().enumerate() {
            let padding = widths[column] + 2 - cell.width();
            line.0.extend(cell.0);
            if column < last {
                line.add(Style::Plain, " ".repeat(padding));
            }
        }
        line
    };
    all.into_iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_cut_between_its_pieces_and_within_them() {
        let mut line = Line::of(Style::Error, "ab\u{1b}[2J".to_owned());
        line.add(Style::Plain, "cd".to_owned());
        assert_eq!(line.written(usize::MAX, false), "ab\\u001b[2Jcd");
        assert_eq!(line.written(2, true), "\x1b[31mab\x1b[0m");
        assert_eq!(line.written(12, true), "\x1b[31mab\\u001b[2J\x1b[0mc");
        assert_eq!(line.written(0, true), "");
    }
}
