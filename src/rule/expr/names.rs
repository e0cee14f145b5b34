//! What an expression may refer to: variables, their fields, types and functions.

use super::ExpressionFault;
use crate::rule::did_you_mean;

/// What every expression is evaluated over.
pub(super) const VARIABLES: [&str; 4] = ["this", "event", "record", "now"];

/// The fields of `record`.
pub(super) const RECORD_FIELDS: [&str; 5] = ["stream", "partitionKey", "explicitHashKey", "arrivedAt", "size"];

/// Type names, as `type(x) == int` uses them.
pub(super) const TYPES: [&str; 13] = [
    "bool",
    "bytes",
    "double",
    "int",
    "list",
    "map",
    "null_type",
    "string",
    "type",
    "uint",
    "optional_type",
    "google.protobuf.Duration",
    "google.protobuf.Timestamp",
];

/// Qualifiers of functions: `math.abs(x)` is a call of `math.abs`, not of `abs` on a variable.
pub(super) const NAMESPACES: [&str; 4] = ["base64", "math", "optional", "strings"];

/// A function and the numbers of arguments it takes, a target not counted.
type Signature = (&'static str, &'static [usize]);

/// Functions called as `f(x)`.
const GLOBAL: [Signature; 36] = [
    ("base64.decode", &[1]),
    ("base64.encode", &[1]),
    ("bool", &[1]),
    ("bytes", &[1]),
    ("double", &[1]),
    ("duration", &[1]),
    ("dyn", &[1]),
    ("int", &[1]),
    ("matches", &[2]),
    ("math.abs", &[1]),
    ("math.bitAnd", &[2]),
    ("math.bitNot", &[1]),
    ("math.bitOr", &[2]),
    ("math.bitShiftLeft", &[2]),
    ("math.bitShiftRight", &[2]),
    ("math.bitXor", &[2]),
    ("math.ceil", &[1]),
    ("math.floor", &[1]),
    ("math.isFinite", &[1]),
    ("math.isInf", &[1]),
    ("math.isNaN", &[1]),
    ("math.@max", &[1, 2]),
    ("math.@min", &[1, 2]),
    ("math.round", &[1]),
    ("math.sign", &[1]),
    ("math.sqrt", &[1]),
    ("math.trunc", &[1]),
    ("optional.none", &[0]),
    ("optional.of", &[1]),
    ("optional.ofNonZeroValue", &[1]),
    ("size", &[1]),
    ("string", &[1]),
    ("strings.quote", &[1]),
    ("sum", &[1]),
    ("timestamp", &[1]),
    ("type", &[1]),
];

/// `uint` stands apart so that the table above stays one of what rules usually need.
const GLOBAL_RARE: [Signature; 1] = [("uint", &[1])];

/// Functions called as `x.f(y)`.
const MEMBER: [Signature; 34] = [
    ("charAt", &[1]),
    ("contains", &[1]),
    ("endsWith", &[1]),
    ("format", &[1]),
    ("getDate", &[0, 1]),
    ("getDayOfMonth", &[0, 1]),
    ("getDayOfWeek", &[0, 1]),
    ("getDayOfYear", &[0, 1]),
    ("getFullYear", &[0, 1]),
    ("getHours", &[0, 1]),
    ("getMilliseconds", &[0, 1]),
    ("getMinutes", &[0, 1]),
    ("getMonth", &[0, 1]),
    ("getSeconds", &[0, 1]),
    ("hasValue", &[0]),
    ("indexOf", &[1, 2]),
    ("join", &[0, 1]),
    ("lastIndexOf", &[1, 2]),
    ("lowerAscii", &[0]),
    ("matches", &[1]),
    ("or", &[1]),
    ("orValue", &[1]),
    ("replace", &[2, 3]),
    ("reverse", &[0]),
    ("size", &[0]),
    ("split", &[1, 2]),
    ("startsWith", &[1]),
    ("substring", &[1, 2]),
    ("sum", &[0]),
    ("trim", &[0]),
    ("upperAscii", &[0]),
    ("value", &[0]),
    // Macros, here to be suggested: a call that reaches this table was not written as the macro wants it.
    ("optMap", &[]),
    ("optFlatMap", &[]),
];

/// Macros that are written like member functions.
const MACROS: [&str; 6] = ["all", "exists", "exists_one", "existsOne", "filter", "map"];

/// What is wrong with a variable's name, if anything.
pub(super) fn variable_fault(name: &str, offset: usize, in_scope: &[String]) -> Option<ExpressionFault> {
    if VARIABLES.contains(&name) || TYPES.contains(&name) || in_scope.iter().any(|known| known == name) {
        return None;
    }
    let known = VARIABLES.into_iter().chain(in_scope.iter().map(String::as_str).filter(|n| !n.starts_with('@')));
    let hint = did_you_mean(name, known).unwrap_or_else(|| {
        format!("a field of the payload is this.{name}; the variables are {}", VARIABLES.join(", "))
    });
    Some(ExpressionFault { offset, message: format!("no variable is called {name:?}"), hint: Some(hint) })
}

/// What is wrong with a field of `record`, if anything.
pub(super) fn record_field_fault(field: &str, offset: usize) -> Option<ExpressionFault> {
    if RECORD_FIELDS.contains(&field) {
        return None;
    }
    let hint =
        did_you_mean(field, RECORD_FIELDS).unwrap_or_else(|| format!("its fields are {}", RECORD_FIELDS.join(", ")));
    Some(ExpressionFault { offset, message: format!("record has no field {field:?}"), hint: Some(hint) })
}

/// What is wrong with a call, if anything. `member` is `x.f(…)`.
pub(super) fn call_fault(name: &str, arguments: usize, member: bool, offset: usize) -> Option<ExpressionFault> {
    let same: Vec<&Signature> =
        if member { MEMBER.iter().collect() } else { GLOBAL.iter().chain(&GLOBAL_RARE).collect() };
    let fault = |message, hint| Some(ExpressionFault { offset, message, hint });
    match same.iter().find(|(known, _)| *known == name) {
        Some((_, counts)) if counts.contains(&arguments) => None,
        Some((_, counts)) if !counts.is_empty() => {
            let counts: Vec<_> = counts.iter().map(usize::to_string).collect();
            fault(format!("{name}() takes {} arguments; here it has {arguments}", counts.join(" or ")), None)
        }
        _ if MACROS.contains(&name) || name.starts_with("opt") && member => {
            fault(format!("{name}() is not written this way"), Some(format!("as in list.{name}(x, x > 0)")))
        }
        _ if name == "has" => {
            fault("has() takes one field selection".to_owned(), Some("as in has(this.email)".to_owned()))
        }
        _ => {
            let other =
                if member { GLOBAL.iter().any(|(n, _)| *n == name) } else { MEMBER.iter().any(|(n, _)| *n == name) };
            let hint = match (other, member) {
                (true, true) => Some(format!("write {name}(x)")),
                (true, false) => Some(format!("write x.{name}(…)")),
                _ => elsewhere(name).map(|ours| format!("CEL writes {ours}")).or_else(|| {
                    did_you_mean(name, same.iter().map(|(known, _)| *known).filter(|n| !n.contains('@')).chain(MACROS))
                }),
            };
            fault(format!("no function is called {name:?}"), hint)
        }
    }
}

/// What CEL has for a function of other languages.
fn elsewhere(name: &str) -> Option<&'static str> {
    Some(match name.to_ascii_lowercase().as_str() {
        "len" | "length" | "count" => "size(x)",
        "lower" | "tolower" | "tolowercase" | "lowercase" => "x.lowerAscii()",
        "upper" | "toupper" | "touppercase" | "uppercase" => "x.upperAscii()",
        "includes" | "has_value" | "contain" => "x.contains('text') for a text, value in x for a list",
        "match" | "regex" | "regexp" | "test" | "like" => "x.matches('^pattern$')",
        "any" | "some" => "list.exists(x, x > 0)",
        "every" | "foreach" => "list.all(x, x > 0)",
        "defined" | "exist" | "isset" | "isdefined" | "hasfield" => "has(this.field)",
        "isempty" | "empty" | "isnull" => "size(x) == 0, or x == null",
        "date" | "datetime" | "parsedate" | "todate" => "timestamp(x)",
        "now" | "today" => "now, a variable and not a function",
        "abs" | "ceil" | "floor" | "round" | "sqrt" | "trunc" | "sign" => "math.abs(x), math.round(x) and so on",
        "max" | "greatest" => "math.greatest(x, y)",
        "min" | "least" => "math.least(x, y)",
        "number" | "parseint" | "parsefloat" | "float" => "double(x) or int(x)",
        "str" | "tostring" => "string(x)",
        _ => return None,
    })
}
