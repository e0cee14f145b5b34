//! Reference lists: the known values of a code set, kept as CSV beside the contracts that use them.

use std::collections::HashSet;

/// The largest list file, in bytes.
pub const BYTES_MAX: usize = 10 * 1024 * 1024;

/// The most rows of a list, its header not counted.
pub const ROWS_MAX: usize = 1_000_000;

/// The values of one column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReferenceList {
    values: HashSet<Box<str>>,
}

/// Why a file is no reference list.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceFault {
    #[error("the list has {size} bytes; at most {BYTES_MAX} are taken")]
    TooLarge { size: usize },
    #[error("the list has more than {ROWS_MAX} rows")]
    TooManyRows,
    #[error("the list has no header row; its first line names the columns")]
    NoHeader,
    #[error("the list has no column {column:?}; its columns are {columns}")]
    NoColumn { column: String, columns: String, hint: Option<String> },
    #[error("the list's header names column {column:?} twice")]
    AmbiguousColumn { column: String },
    #[error("line {line} of the list is not CSV as in RFC 4180: {reason}")]
    Unreadable { line: u64, reason: &'static str },
    #[error("the list has no values in column {column:?}, so every event would fail")]
    NoValues { column: String },
}

impl ReferenceFault {
    /// The 1-based line of the file the fault is on.
    pub fn line(&self) -> u64 {
        match self {
            Self::Unreadable { line, .. } => *line,
            _ => 1,
        }
    }

    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::NoColumn { hint, .. } => hint.as_deref(),
            _ => None,
        }
    }
}

impl ReferenceList {
    /// Reads the column named in the header row. Values are taken as written, with no space trimmed and duplicates
    /// counted once; empty cells are no values. A byte order mark, which spreadsheets write, is skipped.
    ///
    /// # Errors
    ///
    /// When the file is not UTF-8 CSV with that column, is beyond [`BYTES_MAX`] or [`ROWS_MAX`], or holds no value.
    pub fn parse(csv: &[u8], column: &str) -> Result<Self, ReferenceFault> {
        if csv.len() > BYTES_MAX {
            return Err(ReferenceFault::TooLarge { size: csv.len() });
        }
        let mut reader = csv::ReaderBuilder::new().from_reader(csv.strip_prefix(b"\xef\xbb\xbf").unwrap_or(csv));
        let headers = reader.headers().map_err(|e| unreadable(&e))?.clone();
        let index = find(&headers, column)?;
        let mut values = HashSet::new();
        let mut row = csv::StringRecord::new();
        let mut rows = 0;
        while reader.read_record(&mut row).map_err(|e| unreadable(&e))? {
            rows += 1;
            if rows > ROWS_MAX {
                return Err(ReferenceFault::TooManyRows);
            }
            match row.get(index) {
                Some(value) if !value.is_empty() && !values.contains(value) => {
                    values.insert(value.into());
                }
                _ => {}
            }
        }
        if values.is_empty() {
            return Err(ReferenceFault::NoValues { column: column.to_owned() });
        }
        Ok(Self { values })
    }

    /// The values, in no order.
    pub fn values(&self) -> impl Iterator<Item = &str> {
        self.values.iter().map(|value| &**value)
    }

    pub fn contains(&self, value: &str) -> bool {
        self.values.contains(value)
    }

    /// How many distinct values there are; at least one.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.values.len()
    }
}

fn find(headers: &csv::StringRecord, column: &str) -> Result<usize, ReferenceFault> {
    if headers.iter().all(str::is_empty) {
        return Err(ReferenceFault::NoHeader);
    }
    let mut found = headers.iter().enumerate().filter(|(_, name)| *name == column).map(|(index, _)| index);
    match (found.next(), found.next()) {
        (Some(index), None) => Ok(index),
        (Some(_), Some(_)) => Err(ReferenceFault::AmbiguousColumn { column: column.to_owned() }),
        (None, _) => Err(ReferenceFault::NoColumn {
            column: column.to_owned(),
            columns: headers.iter().map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", "),
            hint: super::did_you_mean(column, headers.iter()),
        }),
    }
}

fn unreadable(error: &csv::Error) -> ReferenceFault {
    let line = error.position().map_or(1, csv::Position::line);
    let reason = match error.kind() {
        csv::ErrorKind::Utf8 { .. } => "it is not UTF-8",
        csv::ErrorKind::UnequalLengths { .. } => "it has not as many cells as the header",
        _ => "it cannot be read",
    };
    ReferenceFault::Unreadable { line, reason }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_column_is_read_with_quotes_duplicates_and_byte_order_mark() {
        let csv = "\u{feff}alpha2,name\r\nCH,Switzerland\nDE,\"Germany, Federal Republic of\"\nCH,again\n,empty\n";
        let list = ReferenceList::parse(csv.as_bytes(), "alpha2").unwrap();
        assert_eq!(list.len(), 2);
        assert!(list.contains("CH") && list.contains("DE"));
        assert!(!list.contains("ch") && !list.contains("") && !list.contains("FR"));
        assert!(ReferenceList::parse(csv.as_bytes(), "name").unwrap().contains("Germany, Federal Republic of"));
    }

    #[test]
    fn faults_say_what_is_there() {
        let fault = |csv: &[u8], column| ReferenceList::parse(csv, column).unwrap_err();
        let missing = fault(b"alpha2,name\nCH,x\n", "alpha3");
        assert_eq!(missing.to_string(), r#"the list has no column "alpha3"; its columns are "alpha2", "name""#);
        assert_eq!(missing.hint(), Some("did you mean \"alpha2\"?"));
        assert_eq!(fault(b"", "a"), ReferenceFault::NoHeader);
        assert_eq!(fault(b"a,a\n1,2\n", "a"), ReferenceFault::AmbiguousColumn { column: "a".into() });
        assert_eq!(fault(b"a\n", "a"), ReferenceFault::NoValues { column: "a".into() });
        assert_eq!(fault(b"a,b\n1,2\n3\n", "a").line(), 3);
        assert_eq!(fault(b"a\n\xff\n", "a").line(), 2);
        assert_eq!(fault(&vec![b'a'; BYTES_MAX + 1], "a"), ReferenceFault::TooLarge { size: BYTES_MAX + 1 });
        assert_eq!(fault("a\n1\n".repeat(ROWS_MAX).as_bytes(), "a"), ReferenceFault::TooManyRows);
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = ReferenceList::parse(&bytes, "a");
        }
    }
}
