//! What is wrong with a rule file, where, and what to do about it; and how people and their tools are told.
//!
//! | format | for |
//! | --- | --- |
//! | text | a terminal: the source line, a caret, a hint |
//! | JSON lines | scripts |
//! | SARIF 2.1.0 (OASIS) | code scanning services |

mod format;
mod text;

use std::fmt;
use std::ops::Range;

use serde::Serialize;

pub use format::{json, sarif};
pub use text::text;

/// One fault of one rule file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    pub place: Place,
    pub code: Code,
    pub level: Level,
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

/// A place in a rule file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Path relative to the rules directory, `/`-separated.
    pub file: String,
    /// 1-based, in characters. Of a span over several lines only the first is kept.
    pub line: usize,
    pub column: usize,
    /// Exclusive, on the same line.
    pub end_column: usize,
    /// The same place in bytes of the file.
    pub span: (usize, usize),
}

/// How bad a fault is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// The domain cannot be used as written.
    Error,
    /// The domain works, but probably not as its team means it.
    Warning,
    /// The domain works as written. Worth knowing all the same.
    Note,
}

impl Level {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
        }
    }
}

/// Declares [`Code`] with its stable name and what it means, in one place.
macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal,)+) => {
        /// What kind of mistake was made. The names are stable: scripts and suppressions may rely on them.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl Code {
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// One sentence on the mistake.
            pub fn meaning(self) -> &'static str {
                match self { $(Self::$variant => concat!($($doc,)+).trim_ascii(),)+ }
            }
        }
    };
}

codes! {
    /// The file is not well-formed YAML, JSON or UTF-8.
    Syntax = "syntax",
    /// A mapping names one key twice.
    DuplicateKey = "duplicate-key",
    /// YAML that is more than plain data.
    NotData = "not-data",
    /// A file or a list passes its bound.
    TooLarge = "too-large",
    /// A key the format does not know.
    UnknownKey = "unknown-key",
    /// A key the format asks for is absent.
    MissingKey = "missing-key",
    /// A value of another type than the format asks for.
    WrongType = "wrong-type",
    /// A value the format does not take.
    InvalidValue = "invalid-value",
    /// Not a JSON Pointer (RFC 6901).
    BadPointer = "bad-pointer",
    /// A stream pattern that does not compile.
    BadGlob = "bad-glob",
    /// A CEL expression that does not compile.
    BadExpression = "bad-expression",
    /// A regular expression that does not compile, or would not run in linear time.
    BadRegex = "bad-regex",
    /// A JSON Schema that does not compile.
    BadSchema = "bad-schema",
    /// A field metric whose arguments make no sense.
    BadField = "bad-field",
    /// A check that remembers whose parts make no sense together.
    BadStream = "bad-stream",
    /// A reference list that cannot be used.
    BadReference = "bad-reference",
    /// A path that leaves the domain's directory.
    BadPath = "bad-path",
    /// A file that is named but not there.
    MissingFile = "missing-file",
    /// A rule file that does not stand directly in its domain's directory.
    MisplacedFile = "misplaced-file",
    /// The domain a file names is not its directory's.
    WrongDomain = "wrong-domain",
    /// Two rules of a contract, two contracts of a domain, or two examples share a name.
    DuplicateId = "duplicate-id",
    /// A name the gate uses itself.
    ReservedId = "reserved-id",
    /// Two contracts claim the same events.
    TypeClash = "type-clash",
    /// An example expects a rule the contract does not have.
    UnknownRule = "unknown-rule",
    /// An example's verdict or violations are not those it expects.
    ExampleFails = "example-fails",
    /// A part of a schema, or a rule, that needs more than one pass over an event's bytes.
    Slow = "slow",
    /// A contract that lets every event pass.
    NothingJudged = "nothing-judged",
    /// Something is declared and never used.
    Unused = "unused",
    /// A rule that says the same of every event.
    Unreachable = "unreachable",
    /// Which contracts a policy applies to, or that it fits one of them badly.
    Policy = "policy",
    /// Part of an ODCS contract that has no effect here: what would judge (a warning), or what is for people (a note).
    NotJudged = "not-judged",
}

impl Place {
    /// The place at `span`, in bytes of `source`; a span that is no part of it is moved to its nearest end.
    pub fn new(file: &str, source: &str, span: Range<usize>) -> Self {
        let start = floor(source, span.start);
        let line_start = source[..start].rfind('\n').map_or(0, |n| n + 1);
        let line_end = source[start..].find('\n').map_or(source.len(), |n| start + n);
        let line_end = start + source[start..line_end].trim_end_matches('\r').len();
        let end = floor(source, span.end).clamp(start, line_end);
        let column = 1 + source[line_start..start].chars().count();
        Self {
            file: file.to_owned(),
            line: 1 + source[..line_start].matches('\n').count(),
            column,
            end_column: column + source[start..end].chars().count(),
            span: (start, end),
        }
    }

    /// A file as a whole, there or not.
    pub fn of_file(file: &str) -> Self {
        Self::new(file, "", 0..0)
    }
}

impl Diagnostic {
    /// An error.
    pub fn new(place: Place, code: Code, message: impl Into<String>) -> Self {
        Self { place, code, level: Level::Error, message: message.into(), hint: None }
    }

    pub fn with_hint(mut self, hint: impl Into<Option<String>>) -> Self {
        self.hint = hint.into();
        self
    }

    pub fn as_warning(mut self) -> Self {
        self.level = Level::Warning;
        self
    }

    pub fn as_note(mut self) -> Self {
        self.level = Level::Note;
        self
    }

    /// The message, and the hint on a line of its own.
    pub fn in_full(&self) -> String {
        self.hint.as_ref().map_or_else(|| self.message.clone(), |hint| format!("{}\n{hint}", self.message))
    }

    pub fn is_error(&self) -> bool {
        self.level == Level::Error
    }
}

/// One line: place, code, message, hint.
impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Place { file, line, column, .. } = &self.place;
        write!(f, "{file}:{line}:{column}: {}[{}]: {}", self.level.as_str(), self.code.as_str(), self.message)?;
        self.hint.as_ref().map_or(Ok(()), |hint| write!(f, " ({hint})"))
    }
}

/// The nearest character boundary at or before `at`.
fn floor(source: &str, at: usize) -> usize {
    (0..=at.min(source.len())).rev().find(|at| source.is_char_boundary(*at)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn columns_count_characters_and_a_span_stays_on_its_line() {
        let source = "ä: 1\r\nb: größe x\nc: 2\n";
        let at = source.find("größe").unwrap();
        let d = Place::new("f", source, at..source.len());
        assert_eq!((d.line, d.column, d.end_column), (2, 4, 11));
        let d = Place::new("f", source, 0..100);
        assert_eq!((d.line, d.column, d.end_column), (1, 1, 5));
    }

    #[test]
    fn names_are_distinct_and_say_something() {
        let mut names: Vec<_> = Code::ALL.iter().map(|c| c.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Code::ALL.len());
        assert!(Code::ALL.iter().all(|c| c.meaning().ends_with('.')));
    }

    proptest! {
        #[test]
        fn no_span_panics(source in "[a\u{e9}\n\r]{0,12}", start in 0..20_usize, end in 0..20_usize) {
            let d = Place::new("f", &source, start..end);
            prop_assert!(source.get(d.span.0..d.span.1).is_some());
        }
    }
}
