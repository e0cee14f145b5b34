//! Third-party conformance suites, through the code that judges events.
//!
//! * JSON Schema Test Suite (MIT): every case of drafts 4 to 2020-12, required, optional and format, through `rule::schema`
//!   and through `plan`, with the share of cases the plan leaves to the former.
//! * JSONTestSuite (MIT): every parser case through `decode::json` and through `plan`.
//! * cel-spec's simple tests (Apache-2.0): through `rule::expr`, beside the bare `cel` crate.
//!
//! The suites are not part of the repository. They are looked for in `../shared/suites` beside it, or under the directory
//! the environment variable MESHGATE_SHARED names; where they are missing, each test says that it was skipped.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use meshgate::decode::json;
use meshgate::plan::{Outcome, Plan};
use meshgate::rule::capture::{Captures, Reads};
use meshgate::rule::expr::conformance;
use meshgate::rule::pointer::Pointer;
use meshgate::rule::schema::Schema;
use serde_json::Value;

/// The suite's directory, or `None` after saying that it is skipped.
fn suite(name: &str) -> Option<PathBuf> {
    let shared = std::env::var_os("MESHGATE_SHARED")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared"), PathBuf::from);
    let path = shared.join("suites").join(name);
    if path.is_dir() {
        return Some(path);
    }
    eprintln!("skipped: {name} not found in {}", shared.join("suites").display());
    None
}

/// All files with this extension below `dir`, sorted.
fn files(dir: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() {
            found.extend(files(&entry, extension));
        } else if entry.extension().is_some_and(|e| e == extension) {
            found.push(entry);
        }
    }
    found.sort();
    found
}

fn read_json(path: &Path) -> Value {
    json::parse(&std::fs::read(path).unwrap()).unwrap_or_else(|malformed| panic!("{}: {malformed}", path.display()))
}

fn relative(path: &Path, to: &Path) -> String {
    path.strip_prefix(to).unwrap().to_string_lossy().replace('\\', "/")
}

mod json_schema {
    use super::*;

    const DRAFTS: [(&str, &str); 5] = [
        ("draft4", "http://json-schema.org/draft-04/schema#"),
        ("draft6", "http://json-schema.org/draft-06/schema#"),
        ("draft7", "http://json-schema.org/draft-07/schema#"),
        ("draft2019-09", "https://json-schema.org/draft/2019-09/schema"),
        ("draft2020-12", "https://json-schema.org/draft/2020-12/schema"),
    ];

    /// References by `$id` and anchor, `unevaluated*` and numbers beyond 15 digits are many in the suite.
    const LEFT_PERCENT_MAX: f64 = 25.0;

    struct Judged {
        cases: usize,
        /// By the plan.
        undecided: usize,
        /// Whether the plan leaves out a part of the schema.
        is_partial: bool,
    }

    #[test]
    fn every_case_is_judged_as_the_suite_says() {
        let Some(root) = suite("json-schema-test-suite") else { return };
        let remotes: BTreeMap<String, Value> = files(&root.join("remotes"), "json")
            .into_iter()
            .map(|path| (format!("http://localhost:1234/{}", relative(&path, &root.join("remotes"))), read_json(&path)))
            .collect();
        let (mut passed, mut failures) = (0, Vec::new());
        for (draft, dialect) in DRAFTS {
            let before = passed;
            let (mut left, mut schemas, mut partial) = (0, 0_u32, 0_u32);
            for path in files(&root.join("tests").join(draft), "json") {
                let file = relative(&path, &root.join("tests"));
                for group in read_json(&path).as_array().unwrap() {
                    match judge_group(&file, dialect, group, &remotes) {
                        Ok(Judged { cases, undecided, is_partial }) => {
                            passed += cases;
                            left += undecided;
                            schemas += 1;
                            partial += u32::from(is_partial);
                        }
                        Err(mut wrong) => failures.append(&mut wrong),
                    }
                }
            }
            let cases = passed - before;
            let share = 100.0 * left as f64 / cases as f64;
            let part = 100.0 * f64::from(partial) / f64::from(schemas);
            eprintln!(
                "JSON Schema Test Suite: {draft}: {cases} cases pass; the plan leaves {left} ({share:.1} %) to jsonschema, \
                 and parts of {partial} of {schemas} schemas ({part:.1} %)"
            );
            assert!(share < LEFT_PERCENT_MAX, "the plan used to decide more of {draft}");
        }
        eprintln!("JSON Schema Test Suite: {passed} cases pass");
        assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
        assert!(passed > 8_000, "the suite has more than 8,000 cases; only {passed} ran");
    }

    /// What passes, or what fails.
    fn judge_group(
        file: &str,
        dialect: &str,
        group: &Value,
        remotes: &BTreeMap<String, Value>,
    ) -> Result<Judged, Vec<String>> {
        let mut document = group["schema"].clone();
        if let Some(object) = document.as_object_mut() {
            object.entry("$schema").or_insert_with(|| dialect.into());
        }
        // Only the tests of formats as assertions want them to be such.
        let formats = file.contains("/format/") || file.ends_with("format-assertion.json");
        let none = BTreeMap::new();
        let others = if document.to_string().contains("localhost:1234") { remotes } else { &none };
        let name = |case: &str| format!("{file}: {}: {case}", group["description"]);
        let schema = Schema::compile(&document, "suite.json", others, formats)
            .map_err(|fault| vec![name(&format!("refused at {:?}: {fault}", fault.pointer))])?;
        let plan = Plan::compile(&document, "suite.json", others, formats, &Pointer::root(), Reads::default());
        let (mut undecided, mut wrong) = (0, Vec::new());
        let cases = group["tests"].as_array().unwrap();
        for case in cases {
            let findings = schema.find(&case["data"], &Pointer::root(), 100);
            if findings.is_empty() != case["valid"] {
                wrong.push(name(&format!("{} is not judged {}", case["description"], case["valid"])));
            }
            match plan.judge(&case["data"].to_string(), &mut Captures::default(), 100) {
                Outcome::Undecided => undecided += 1,
                Outcome::Passes(_) if findings.is_empty() => {}
                Outcome::Fails(_, told) if told == findings => {}
                Outcome::Fails(_, told) if !findings.is_empty() => {
                    wrong.push(name(&format!("{} in other words: {told:#?} {findings:#?}", case["description"])));
                }
                outcome => wrong.push(name(&format!("{} in one pass: {outcome:?}", case["description"]))),
            }
        }
        let is_partial = !plan.left_out().is_empty();
        if wrong.is_empty() { Ok(Judged { cases: cases.len(), undecided, is_partial }) } else { Err(wrong) }
    }
}

mod json_parsing {
    use super::json_parsing_in_one_pass::assert_plan_agrees;
    use super::*;

    /// Well-formed by RFC 8259, refused on purpose: readers disagree about which of two equal keys counts.
    const DUPLICATE_KEYS: [&str; 2] = ["y_object_duplicated_key.json", "y_object_duplicated_key_and_value.json"];

    #[test]
    fn every_text_is_taken_or_refused_as_the_suite_says() {
        let Some(root) = suite("json-test-suite") else { return };
        let mut counts = BTreeMap::<char, (usize, usize)>::new();
        for path in files(&root.join("test_parsing"), "json") {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            let bytes = std::fs::read(&path).unwrap();
            let result = json::parse(&bytes);
            assert_eq!(json::check(&bytes).err(), result.as_ref().err().copied(), "{name}");
            assert_plan_agrees(&name, &bytes, result.is_ok());
            let expectation = name.chars().next().unwrap();
            match expectation {
                'y' if DUPLICATE_KEYS.contains(&name.as_str()) => {
                    assert_eq!(result.as_ref().unwrap_err().fault, json::Fault::DuplicateKey, "{name}");
                }
                'y' => assert!(result.is_ok(), "{name}: {result:?}"),
                'n' => assert!(result.is_err(), "{name} is taken"),
                _ => {}
            }
            let (taken, refused) = counts.entry(expectation).or_default();
            *(if result.is_ok() { taken } else { refused }) += 1;
        }
        eprintln!("JSONTestSuite: (taken, refused) by expectation: {counts:?}");
        assert!(counts[&'y'].0 > 90 && counts[&'n'].1 > 180, "the suite is larger than what ran");
    }
}

mod json_parsing_in_one_pass {
    use super::*;

    /// Schemas that let the plan walk a text in each of its ways: skipped; object by object, array by array; twice.
    pub(super) fn assert_plan_agrees(name: &str, bytes: &[u8], well_formed: bool) {
        let schemas = [
            "{}",
            r##"{"properties": {"a": {"$ref": "#"}}, "additionalProperties": {"$ref": "#"}, "items": {"$ref": "#"}}"##,
            r#"{"allOf": [{"minProperties": 0, "minItems": 0, "minLength": 0, "type": ["number", "string", "array", "object", "boolean", "null"]}, {}]}"#,
        ];
        for schema in schemas {
            let schema = json::parse(schema.as_bytes()).unwrap();
            let (none, root) = (BTreeMap::new(), Pointer::root());
            let plan = Plan::compile(&schema, "suite.json", &none, true, &root, Reads::default());
            let expected = if well_formed { "Passes" } else { "Malformed" };
            let Ok(text) = json::text(bytes) else { continue };
            let outcome = format!("{:?}", plan.judge(text, &mut Captures::default(), 1));
            assert!(outcome.starts_with(expected), "{name}: {outcome} by {schema}");
        }
    }
}

mod cel_spec {
    use super::*;

    /// Cases the bare crate passes and we do not, on purpose. The specification's tests compare an int with a double after
    /// rounding the int to one; a verdict is never reached by rounding, so here 2^63 - 1 is less than 2^63.
    const DIFFERENT: [&str; 4] = [
        "comparisons/lt_literal/not_lt_dyn_int_big_lossy_double",
        "comparisons/gt_literal/not_gt_dyn_big_double_int",
        "comparisons/lte_literal/lte_dyn_big_double_int",
        "comparisons/gte_literal/gte_dyn_int_big_lossy_double",
    ];

    /// The least share of the cases that pass, in per mille. The rest needs what the crate has not: two-variable macros,
    /// `cel.bind`, quoted field names.
    const FLOOR_PER_MILLE: usize = 963;

    #[test]
    fn expressions_evaluate_as_the_specification_says() {
        let Some(root) = suite("cel-spec") else { return };
        let text = std::fs::read_to_string(root.join("tests.jsonl")).unwrap();
        let (mut total, mut ours, mut theirs) = (0, 0, 0);
        let (mut lost, mut neither) = (Vec::new(), Vec::new());
        for case in text.lines().map(|line| json::parse(line.as_bytes()).unwrap()) {
            let name = format!("{}/{}/{}", text_of(&case["file"]), text_of(&case["section"]), text_of(&case["name"]));
            let source = text_of(&case["expr"]);
            let container = text_of(&case["container"]);
            let we = meets(&case, conformance::evaluate(source, container, bindings(&case)));
            let they = meets(&case, bare(source, container, bindings(&case)));
            total += 1;
            ours += usize::from(we.is_ok());
            theirs += usize::from(they.is_ok());
            match (we, they) {
                (Err(got), Ok(())) => lost.push((name, source.to_owned(), got)),
                (Err(got), Err(_)) => neither.push(format!("{name}: {source}: {got}")),
                _ => {}
            }
        }
        eprintln!("cel-spec: {ours} of {total} cases pass; {theirs} with the bare crate");
        for case in &neither {
            eprintln!("cel-spec: passes in neither: {case}");
        }
        let unlisted: Vec<_> = lost.iter().filter(|(name, ..)| !DIFFERENT.contains(&name.as_str())).collect();
        assert!(unlisted.is_empty(), "{} cases the bare crate passes:\n{unlisted:#?}", unlisted.len());
        assert_eq!(lost.len(), DIFFERENT.len(), "a case listed as different is not");
        assert!(ours * 1000 >= total * FLOOR_PER_MILLE, "only {ours} of {total} pass");
    }

    fn text_of(value: &Value) -> &str {
        value.as_str().unwrap_or_default()
    }

    /// The crate as it comes, with the extensions we use.
    fn bare(source: &str, container: &str, variables: BTreeMap<String, cel::Value>) -> Result<cel::Value, String> {
        let mut env = cel::Env::stdlib();
        for extension in [cel::extensions::strings, cel::extensions::math, cel::extensions::encoders] {
            env.add_extension(extension).unwrap();
        }
        env.set_container(container).map_err(|e| e.to_string())?;
        let program = env.compile(source).map_err(|e| e.to_string())?;
        let mut context = cel::Context::with_env(Arc::new(env));
        for (name, value) in variables {
            context.add_variable_from_value(name, value);
        }
        program.execute(&context).map_err(|e| e.to_string())
    }

    fn bindings(case: &Value) -> BTreeMap<String, cel::Value> {
        let pairs = case["bindings"].as_array().unwrap();
        pairs.iter().map(|pair| (text_of(&pair[0]).to_owned(), value(&pair[1]))).collect()
    }

    /// Whether the result is what the case expects, or what it is instead.
    fn meets(case: &Value, result: Result<cel::Value, String>) -> Result<(), String> {
        match (text_of(&case["m"]), result) {
            ("error", Err(_)) => Ok(()),
            ("value", Ok(got)) if same(&got, &case["exp"]) => Ok(()),
            (_, Ok(got)) => Err(format!("{got:?}")),
            (_, Err(error)) => Err(error),
        }
    }

    /// A value out of the suite's notation. Types and opaque values only occur as expectations: see [`same`].
    fn value(written: &Value) -> cel::Value {
        let v = &written["v"];
        match text_of(&written["t"]) {
            "bool" => cel::Value::Bool(v.as_bool().unwrap()),
            "int" => cel::Value::Int(text_of(v).parse().unwrap()),
            "uint" => cel::Value::UInt(text_of(v).parse().unwrap()),
            "double" => cel::Value::Float(double(v)),
            "string" => cel::Value::String(Arc::new(text_of(v).to_owned())),
            "bytes" => cel::Value::Bytes(Arc::new(bytes(v))),
            "list" => cel::Value::List(Arc::new(v.as_array().unwrap().iter().map(value).collect())),
            "map" => {
                let entries = v.as_array().unwrap().iter();
                let map: std::collections::HashMap<cel::objects::Key, cel::Value> =
                    entries.map(|entry| (key(&value(&entry[0])), value(&entry[1]))).collect();
                cel::Value::Map(map.into())
            }
            "duration" => {
                let seconds = chrono::TimeDelta::seconds(written["s"].as_i64().unwrap());
                cel::Value::Duration(seconds + chrono::TimeDelta::nanoseconds(written["n"].as_i64().unwrap()))
            }
            _ => cel::Value::Null,
        }
    }

    fn double(written: &Value) -> f64 {
        match text_of(written) {
            "Infinity" => f64::INFINITY,
            "-Infinity" => f64::NEG_INFINITY,
            "NaN" => f64::NAN,
            "" => written.as_f64().unwrap(),
            number => number.parse().unwrap(),
        }
    }

    fn bytes(written: &Value) -> Vec<u8> {
        use base64::Engine as _;
        base64::engine::general_purpose::STANDARD.decode(text_of(written)).unwrap()
    }

    fn key(value: &cel::Value) -> cel::objects::Key {
        match value {
            cel::Value::Bool(bool) => cel::objects::Key::Bool(*bool),
            cel::Value::Int(int) => cel::objects::Key::Int(*int),
            cel::Value::UInt(uint) => cel::objects::Key::Uint(*uint),
            cel::Value::String(text) => cel::objects::Key::String(Arc::clone(text)),
            other => panic!("no key: {other:?}"),
        }
    }

    fn same(got: &cel::Value, expected: &Value) -> bool {
        if text_of(&expected["t"]) == "type" {
            return format!("{got:?}").contains(text_of(&expected["v"]));
        }
        identical(got, &value(expected))
    }

    /// Equal in type too, and NaN to itself.
    fn identical(a: &cel::Value, b: &cel::Value) -> bool {
        match (a, b) {
            (cel::Value::Float(a), cel::Value::Float(b)) => a == b || a.is_nan() && b.is_nan(),
            (cel::Value::List(a), cel::Value::List(b)) => {
                a.len() == b.len() && a.iter().zip(b.iter()).all(|(a, b)| identical(a, b))
            }
            (cel::Value::Map(a), cel::Value::Map(b)) => {
                a.map.len() == b.map.len()
                    && a.map.iter().all(|(key, a)| b.map.get(key).is_some_and(|b| identical(a, b)))
            }
            (a, b) => std::mem::discriminant(a) == std::mem::discriminant(b) && a == b,
        }
    }
}
