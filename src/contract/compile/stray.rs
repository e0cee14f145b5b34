//! What a contract asks of a payload that no payload of its schema can answer: paths to fields that are not there, values of a kind
//! that does not fit.

use super::file::RuleFile;
use crate::contract::diagnostic::Code;
use crate::rule::expr::{Expression, Shape, Yields};
use crate::rule::pointer::Pointer;

/// The first segment of `path` that no payload has, with what may be meant. `None` where the schema leaves it open, and below arrays.
fn stray<'p>(path: &'p Pointer, shape: Shape<'_>) -> Option<(&'p str, Option<String>)> {
    let mut place = shape.kinds.root()?;
    for segment in path.segments() {
        if let Some(names) = place.all_names().filter(|names| !names.contains(&**segment)) {
            return Some((segment, crate::rule::did_you_mean(segment, names.iter().map(String::as_str))));
        }
        place = place.property(segment)?;
    }
    None
}

/// Refuses a check of a field that no payload has: of every event it would say the same.
pub(super) fn refuse_path(file: &RuleFile<'_>, at: &Pointer, path: &str, shape: Option<Shape<'_>>) {
    // What is no pointer is told by the check itself.
    let (Some(shape), Ok(path)) = (shape, Pointer::parse(path)) else { return };
    if let Some((segment, hint)) = stray(&path, shape) {
        let hint =
            hint.unwrap_or_else(|| "the schema closes the object; add the field to it, or mend the path".to_owned());
        file.fault(at, Code::BadField, format!("the schema has no field {segment:?} here"), Some(hint));
    }
}

/// Warns of a private field that no payload has, where another is meant. To mask what the schema forbids is prudent: such events go to
/// the DLQ.
pub(super) fn warn_of_mask(file: &RuleFile<'_>, at: &Pointer, path: &str, shape: Option<Shape<'_>>) {
    let (Some(shape), Ok(path)) = (shape, Pointer::parse(path)) else { return };
    if let Some((segment, Some(hint))) = stray(&path, shape) {
        let message = format!("the schema has no field {segment:?} here, so that nothing is masked");
        file.note(file.at(at, Code::BadField, message).with_hint(hint).as_warning());
    }
}

/// Whether `source`, which compiles, is certain to be of another kind than `probe` needs, an expression in which it stands at `{}`.
pub(super) fn clashes(source: &str, probe: &str, shape: Option<Shape<'_>>) -> bool {
    Expression::compile_for(&probe.replace("{}", source), Yields::Bool, shape).is_err()
}
