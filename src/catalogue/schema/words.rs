//! What a schema's keywords demand of one value, in words.

use serde_json::{Map, Value};

use crate::catalogue::html::{Html, joined, piece};
use crate::catalogue::words::{list, value};

/// The most values of one `enum` that are told.
const VALUES_MAX: usize = 40;

/// The names of types in a keyword `type`, in its order.
pub(super) fn types(keywords: &Map<String, Value>) -> Vec<String> {
    match keywords.get("type") {
        Some(Value::String(name)) => vec![name.clone()],
        Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        _ => Vec::new(),
    }
}

/// The types of the only values a schema allows, each once.
pub(super) fn types_of_values(keywords: &Map<String, Value>) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    let listed = keywords.get("enum").and_then(Value::as_array).into_iter().flatten();
    for value in listed.chain(keywords.get("const")) {
        let name = match value {
            Value::Null => "null",
            Value::Bool(_) => "boolean",
            Value::Number(number) if number.is_i64() || number.is_u64() => "integer",
            Value::Number(_) => "number",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
        };
        if !names.iter().any(|other| other == name) {
            names.push(name.to_owned());
        }
    }
    names
}

/// What the keywords that look at one value alone demand.
pub(super) fn demands(keywords: &Map<String, Value>, formats: bool) -> Vec<Html> {
    let mut told = Vec::new();
    if let Some(only) = keywords.get("const") {
        told.push(piece(|h| {
            h.text("is ").add(&value(only));
        }));
    }
    if let Some(Value::Array(values)) = keywords.get("enum") {
        let word = if values.len() == 1 { "is " } else { "one of " };
        told.push(piece(|h| {
            h.text(word).add(&list(values, VALUES_MAX));
        }));
    }
    if let Some(format) = keywords.get("format").and_then(Value::as_str) {
        told.push(format_words(format, formats));
    }
    if let Some(pattern) = keywords.get("pattern").and_then(Value::as_str) {
        told.push(piece(|h| {
            h.text("matches ").code(pattern);
        }));
    }
    told.extend(range(keywords));
    for (least, most, one, many) in [
        ("minLength", "maxLength", "character", "characters"),
        ("minItems", "maxItems", "element", "elements"),
        ("minProperties", "maxProperties", "member", "members"),
    ] {
        told.extend(count(keywords.get(least), keywords.get(most), one, many));
    }
    if let Some(of) = keywords.get("multipleOf") {
        told.push(plain(format!("a multiple of {of}")));
    }
    if keywords.get("uniqueItems") == Some(&Value::Bool(true)) {
        told.push(plain("no element twice"));
    }
    for (keyword, words) in [("contentEncoding", "encoded as "), ("contentMediaType", "content of type ")] {
        if let Some(name) = keywords.get(keyword).and_then(Value::as_str) {
            told.push(piece(|h| {
                h.text(words).code(name);
            }));
        }
    }
    told
}

/// What is only said of a value, and not demanded. Not for private fields: samples of them are not for pages.
pub(super) fn remarks(keywords: &Map<String, Value>) -> Vec<Html> {
    let mut told = Vec::new();
    if let Some(default) = keywords.get("default") {
        told.push(piece(|h| {
            h.text("default ").add(&value(default));
        }));
    }
    if let Some(Value::Array(samples)) = keywords.get("examples")
        && !samples.is_empty()
    {
        told.push(piece(|h| {
            h.text("for example ").add(&list(samples, 3));
        }));
    }
    told
}

fn plain(words: impl std::fmt::Display) -> Html {
    piece(|h| {
        h.text(words);
    })
}

fn format_words(format: &str, asserted: bool) -> Html {
    let words = match format {
        "date-time" => "date and time (RFC 3339)",
        "date" => "date (RFC 3339)",
        "time" => "time of day (RFC 3339)",
        "duration" => "duration (ISO 8601)",
        "email" | "idn-email" => "e-mail address",
        "hostname" | "idn-hostname" => "host name",
        "ipv4" => "IPv4 address",
        "ipv6" => "IPv6 address",
        "uri" | "iri" => "URI",
        "uri-reference" | "iri-reference" => "URI reference",
        "uuid" => "UUID",
        "json-pointer" => "JSON Pointer",
        "regex" => "regular expression",
        _ => "",
    };
    piece(|h| {
        if words.is_empty() {
            h.text("of format ").code(format);
        } else {
            h.text(words);
        }
        if !asserted {
            h.text(" (not checked)");
        }
    })
}

/// `from 1 to 10`. Draft 4's `exclusiveMinimum: true` belongs to its `minimum`.
fn range(keywords: &Map<String, Value>) -> Option<Html> {
    let number = |key: &str| keywords.get(key).filter(|value| value.is_number());
    let is_open = |key: &str| keywords.get(key) == Some(&Value::Bool(true));
    let bound = |limit: &str, open: &str| match (number(open), number(limit)) {
        (Some(limit), _) => Some((limit, true)),
        (None, Some(limit)) => Some((limit, is_open(open))),
        (None, None) => None,
    };
    let told = match (bound("minimum", "exclusiveMinimum"), bound("maximum", "exclusiveMaximum")) {
        (None, None) => return None,
        (Some((low, false)), Some((high, false))) if low == high => format!("is {low}"),
        (Some((low, false)), Some((high, false))) => format!("{low} to {high}"),
        (low, high) => {
            let low = low.map(|(low, open)| format!("{} {low}", if open { "more than" } else { "at least" }));
            let high = high.map(|(high, open)| format!("{} {high}", if open { "less than" } else { "at most" }));
            low.into_iter().chain(high).collect::<Vec<_>>().join(" and ")
        }
    };
    Some(plain(told))
}

/// `1 to 200 characters`.
fn count(least: Option<&Value>, most: Option<&Value>, one: &str, many: &str) -> Option<Html> {
    let noun = |count: &Value| if count.as_u64() == Some(1) { one } else { many };
    let told = match (least.filter(|least| least.as_u64() != Some(0)), most) {
        (None, None) => return None,
        (Some(least), Some(most)) if least == most => format!("{least} {}", noun(least)),
        (Some(least), Some(most)) => format!("{least} to {most} {many}"),
        (Some(least), None) => format!("at least {least} {}", noun(least)),
        (None, Some(most)) => format!("at most {most} {}", noun(most)),
    };
    Some(plain(told))
}

/// The names of types as one text: `string or null`.
pub(super) fn type_words(names: &[String]) -> Html {
    if names.is_empty() {
        return plain("any");
    }
    let names: Vec<Html> = names.iter().map(plain).collect();
    joined(&names, " or ")
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use serde_json::json;

    use super::*;

    #[test]
    fn keywords_are_told_in_words() {
        let told = |schema: Value| {
            let keywords = schema.as_object().unwrap();
            let all: Vec<Html> = demands(keywords, true).into_iter().chain(remarks(keywords)).collect();
            joined(&all, "; ").into_string()
        };
        let schemas = [
            json!({"enum": ["a", "", 3, null, " b"]}),
            json!({"enum": ["a"]}),
            json!({"const": {"a": 1}}),
            json!({"format": "date-time", "minLength": 1}),
            json!({"format": "isin", "pattern": "^<.*>$"}),
            json!({"minLength": 2, "maxLength": 2, "default": "<b>"}),
            json!({"minLength": 0, "maxLength": 1}),
            json!({"minimum": 0, "maximum": 100_000_000_000_u64, "multipleOf": 5}),
            json!({"exclusiveMinimum": 0, "maximum": 1}),
            json!({"minimum": 0, "exclusiveMinimum": true}),
            json!({"minItems": 1, "uniqueItems": true, "examples": [["x"], 1]}),
            json!({"minProperties": 1, "maxProperties": 3}),
            json!({"contentEncoding": "base64", "contentMediaType": "image/png"}),
            json!({"enum": (0..50).collect::<Vec<_>>()}),
        ];
        let all = schemas.map(|schema| told(schema) + "\n").concat();
        expect![[r#"
            one of <code>a</code>, <code>&quot;&quot;</code>, <code>3</code>, <code>null</code>, <code>&quot; b&quot;</code>
            is <code>a</code>
            is <code>{&quot;a&quot;:1}</code>
            date and time (RFC 3339); at least 1 character
            of format <code>isin</code>; matches <code>^&lt;.*&gt;$</code>
            2 characters; default <code>&lt;b&gt;</code>
            at most 1 character
            0 to 100000000000; a multiple of 5
            more than 0 and at most 1
            more than 0
            at least 1 element; no element twice; for example <code>[&quot;x&quot;]</code>, <code>1</code>
            1 to 3 members
            encoded as <code>base64</code>; content of type <code>image/png</code>
            one of <code>0</code>, <code>1</code>, <code>2</code>, <code>3</code>, <code>4</code>, <code>5</code>, <code>6</code>, <code>7</code>, <code>8</code>, <code>9</code>, <code>10</code>, <code>11</code>, <code>12</code>, <code>13</code>, <code>14</code>, <code>15</code>, <code>16</code>, <code>17</code>, <code>18</code>, <code>19</code>, <code>20</code>, <code>21</code>, <code>22</code>, <code>23</code>, <code>24</code>, <code>25</code>, <code>26</code>, <code>27</code>, <code>28</code>, <code>29</code>, <code>30</code>, <code>31</code>, <code>32</code>, <code>33</code>, <code>34</code>, <code>35</code>, <code>36</code>, <code>37</code>, <code>38</code>, <code>39</code> and 10 more
        "#]]
        .assert_eq(&all);
    }
}
