//! Diagnostics for a terminal.

use annotate_snippets::{AnnotationKind, Level as Snip, Origin, Renderer, Snippet, normalize_untrusted_str};

use super::{Diagnostic, Level};
use crate::contract::RuleFiles;

/// All diagnostics, each with its source line and a caret. `prefix` is put before each file's name: the rules directory
/// as its reader knows it.
pub fn text(diagnostics: &[Diagnostic], files: &RuleFiles, prefix: &str, colour: bool) -> String {
    let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
    diagnostics.iter().map(|d| renderer.render(&[group(d, files, prefix)]) + "\n\n").collect()
}

fn group<'a>(d: &'a Diagnostic, files: &'a RuleFiles, prefix: &str) -> annotate_snippets::Group<'a> {
    let path = format!("{prefix}{}", d.place.file);
    let level = match d.level {
        Level::Error => Snip::ERROR,
        Level::Warning => Snip::WARNING,
        Level::Note => Snip::NOTE,
    };
    let title = level.primary_title(normalize_untrusted_str(&d.message)).id(d.code.as_str());
    let source = files.get(&d.place.file).and_then(|bytes| std::str::from_utf8(bytes).ok());
    // Only the line itself is handed over: the renderer need not walk a long file for each of many faults.
    let line = source.and_then(|s| s.lines().nth(d.place.line - 1)).filter(|line| !line.is_empty());
    let group = match (source, line) {
        (Some(source), Some(line)) => {
            let start = source[..d.place.span.0].rfind('\n').map_or(0, |n| n + 1);
            let span = d.place.span.0 - start..d.place.span.1 - start;
            let annotation = AnnotationKind::Primary.span(span);
            title.element(Snippet::source(line).line_start(d.place.line).path(path).annotation(annotation))
        }
        (Some(_), None) => title.element(Origin::path(path).line(d.place.line).char_column(d.place.column)),
        (None, _) if d.place.line == 1 && d.place.column == 1 => title.element(Origin::path(path)),
        // A file that is not UTF-8 is not shown, but its place is known.
        (None, _) => title.element(Origin::path(path).line(d.place.line).char_column(d.place.column)),
    };
    match &d.hint {
        Some(hint) => group.element(Snip::HELP.message(normalize_untrusted_str(hint))),
        None => group,
    }
}
