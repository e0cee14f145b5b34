//! Diagnostics for tools.

use serde_json::{Value, json};

use super::{Code, Diagnostic};

/// One JSON object a line: `file`, `line`, `column`, `endColumn` (exclusive), `code`, `severity`, `message`, `hint`.
pub fn json(diagnostics: &[Diagnostic], prefix: &str) -> String {
    let line = |d: &Diagnostic| {
        let mut object = json!({
            "file": format!("{prefix}{}", d.place.file),
            "line": d.place.line,
            "column": d.place.column,
            "endColumn": d.place.end_column,
            "code": d.code.as_str(),
            "severity": d.level.as_str(),
            "message": d.message,
        });
        if let Some(hint) = &d.hint {
            object["hint"] = Value::from(hint.as_str());
        }
        object.to_string() + "\n"
    };
    diagnostics.iter().map(line).collect()
}

/// A SARIF 2.1.0 log with one run. Columns are Unicode code points (`columnKind`, section 3.14.17).
pub fn sarif(diagnostics: &[Diagnostic], prefix: &str) -> String {
    let rules: Vec<Value> = Code::ALL
        .iter()
        .map(|code| json!({"id": code.as_str(), "shortDescription": {"text": code.meaning()}}))
        .collect();
    let results: Vec<Value> = diagnostics.iter().map(|d| result(d, prefix)).collect();
    let log = json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {
                "name": "meshgate",
                "version": env!("CARGO_PKG_VERSION"),
                "rules": rules,
            }},
            "columnKind": "unicodeCodePoints",
            "results": results,
        }],
    });
    format!("{log:#}\n")
}

fn result(d: &Diagnostic, prefix: &str) -> Value {
    let rule_index = Code::ALL.iter().position(|code| *code == d.code);
    json!({
        "ruleId": d.code.as_str(),
        "ruleIndex": rule_index,
        "level": d.level.as_str(),
        "message": {"text": d.in_full()},
        "locations": [{"physicalLocation": {
            "artifactLocation": {"uri": uri(&format!("{prefix}{}", d.place.file))},
            "region": {"startLine": d.place.line, "startColumn": d.place.column, "endColumn": d.place.end_column},
        }}],
    })
}

/// A relative URI reference (RFC 3986): what a path segment may not hold is percent-encoded.
fn uri(path: &str) -> String {
    let safe = |b: u8| b.is_ascii_alphanumeric() || b"-._~/!$&'()*+,;=@".contains(&b);
    path.strip_prefix("./")
        .unwrap_or(path)
        .bytes()
        .map(|b| if safe(b) { char::from(b).to_string() } else { format!("%{b:02X}") })
        .collect()
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::super::{Level, Place};
    use super::*;

    fn sample() -> Vec<Diagnostic> {
        let source = "kind: EventContract\nsevrity: warning\n";
        vec![
            Diagnostic::new(
                Place::new("orders/a b,c.yaml", source, 20..27),
                Code::UnknownKey,
                "unknown key `sevrity`, 100%",
            )
            .with_hint("did you mean `severity`?".to_owned()),
            Diagnostic::new(Place::of_file("orders/domain.yaml"), Code::MissingFile, "absent").as_warning(),
        ]
    }

    #[test]
    fn json_lines() {
        expect![[r#"
            {"file":"rules/orders/a b,c.yaml","line":2,"column":1,"endColumn":8,"code":"unknown-key","severity":"error","message":"unknown key `sevrity`, 100%","hint":"did you mean `severity`?"}
            {"file":"rules/orders/domain.yaml","line":1,"column":1,"endColumn":1,"code":"missing-file","severity":"warning","message":"absent"}
        "#]]
        .assert_eq(&json(&sample(), "rules/"));
    }

    #[test]
    fn sarif_names_every_code_and_every_place() {
        let log: Value = serde_json::from_str(&sarif(&sample(), "./rules/")).unwrap();
        let run = &log["runs"][0];
        for (result, diagnostic) in run["results"].as_array().unwrap().iter().zip(sample()) {
            let index = usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap();
            assert_eq!(run["tool"]["driver"]["rules"][index]["id"], diagnostic.code.as_str());
            assert_eq!(diagnostic.level == Level::Error, result["level"] == "error");
        }
        expect![[r#"{"ruleId":"unknown-key","ruleIndex":4,"level":"error","message":{"text":"unknown key `sevrity`, 100%\ndid you mean `severity`?"},"locations":[{"physicalLocation":{"artifactLocation":{"uri":"rules/orders/a%20b,c.yaml"},"region":{"startLine":2,"startColumn":1,"endColumn":8}}}]}"#]]
        .assert_eq(&run["results"][0].to_string());
    }
}
