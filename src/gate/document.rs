//! The dead-letter document as people see it.

/// The document cannot be shown: it is not one that a gate wrote.
#[derive(Debug, thiserror::Error)]
#[error("the document is not one that a gate of this version wrote: {0}")]
pub struct DisplayFault(#[from] serde_json::Error);

/// The document, indented, for a person to read.
pub fn for_display(body: &str) -> Result<String, DisplayFault> {
    Ok(serde_json::to_string_pretty(&serde_json::from_str::<serde_json::Value>(body)?)?)
}
