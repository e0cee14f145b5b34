//! What a message says of an event: texts joined together.

use super::scope::{Rows, SlotScope, Stop};
use super::term::Term;
use super::tree::Message;

impl Message {
    /// Writes the text to the end of `to`.
    pub(super) fn write(&self, to: &mut String, scope: &SlotScope<'_>, rows: &Rows) -> Result<(), Stop> {
        match self {
            Self::Text(value) => {
                let text = value.text(scope, rows)?;
                scope.spend_text(text)?;
                to.push_str(text);
            }
            Self::Shown(value) => match value.term(scope, rows)? {
                Term::Text(text) => to.push_str(text),
                Term::Int(int) => to.push_str(&int.to_string()),
                Term::Double(double) => to.push_str(&double.to_string()),
                Term::Bool(bool) => to.push_str(if bool { "true" } else { "false" }),
                _ => return Err(Stop::UNSURE),
            },
            Self::Joined(parts) => {
                for part in parts {
                    part.write(to, scope, rows)?;
                    // Each sign of addition reads what was joined so far.
                    scope.spend_text(to)?;
                }
            }
            Self::If(parts) => {
                let branch = if parts.0.holds(scope, rows)? { &parts.1 } else { &parts.2 };
                branch.write(to, scope, rows)?;
            }
        }
        Ok(())
    }
}
