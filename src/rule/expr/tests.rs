use std::time::{Duration, Instant};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::model::Timestamp;
use crate::rule::RecordFacts;
use crate::rule::pointer::Pointer;

fn parse_json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn facts() -> RecordFacts<'static> {
    RecordFacts {
        stream: "orders-raw",
        partition_key: Some("k1"),
        explicit_hash_key: None,
        arrived: Timestamp::parse_rfc3339("2026-11-22T10:00:00Z").unwrap(),
        size: 433,
    }
}

fn scope<'a>(this: &'a Value, event: &'a Value) -> Scope<'a> {
    Scope { this, event, record: facts(), now: Timestamp::parse_rfc3339("2026-11-22T10:00:05Z").unwrap() }
}

fn test_on(source: &str, this: &Value) -> Result<bool, EvaluationError> {
    let expression = Expression::compile(source, Yields::Bool).unwrap_or_else(|fault| panic!("{source}: {fault:?}"));
    let event = json!({"id": "e1", "data": this});
    let bindings = Bindings::new(&scope(this, &event));
    let result = expression.test(&bindings);
    assert_eq!(result, expression.test(&bindings), "{source} gives the same twice");
    result
}

fn holds(source: &str, this: &Value) {
    assert_eq!(test_on(source, this), Ok(true), "{source} on {this}");
}

fn order() -> Value {
    parse_json(
        r#"{"id": "o1", "qty": 3, "price": 5, "rate": 1.5, "whole": 5.0, "note": null, "paid": true,
            "createdAt": "2026-11-22T10:00:00Z", "email": "a@example.com",
            "lines": [{"sku": "A-1", "amount": 10.5}, {"sku": "B-2", "amount": 4}],
            "totals": [1, 2.5, 3], "tags": ["x", "y"], "address": {"zip": "8000"},
            "big": 12345678901234567890, "huge": 123456789012345678901234567890, "exact": 9007199254740993}"#,
    )
}

#[test]
fn what_rules_say_works() {
    let order = order();
    for source in [
        "this.qty + 1 == 4",
        "this.price * 2.0 == 10.0",
        "2.0 * this.price == 10.0",
        "this.rate * this.qty == 4.5",
        "this.price > 4.5 && this.price <= 5.0 && this.price == 5.0 && 5.0 == this.price",
        "this.whole == 5 && 5 == this.whole",
        "timestamp(this.createdAt) <= now + duration('5m')",
        "now - timestamp(this.createdAt) == duration('5s')",
        "has(this.note) && this.note == null && !has(this.absent)",
        "this.lines.all(l, l.amount > 0)",
        "this.lines.exists(l, l.sku == 'B-2') && this.lines.map(l, l.sku) == ['A-1', 'B-2']",
        "sum(this.lines.map(l, l.amount)) == 14.5 && this.totals.sum() == 6.5 && sum([]) == 0 && sum([1, 2]) == 3",
        "this.lines[1].amount == 4 && this.lines[0]['sku'] == 'A-1'",
        "this.lines.all(a, this.lines.exists_one(b, a.sku == b.sku))",
        "size(this.lines) == 2 && this.tags.size() == 2 && size(this.address) == 1",
        "'zip' in this.address && 'x' in this.tags && !('z' in this.tags) && 5 in [1, 5.0]",
        "this.address == {'zip': '8000'} && {'zip': '8000'} == this.address && this.address != {'zip': '8001'}",
        "this.tags == ['x', 'y'] && ['x', 'y'] == this.tags && this.tags + ['z'] == ['x', 'y', 'z']",
        "this.email.matches('^[^@]+@example[.]com$') && matches(this.email, '@')",
        "this.email.lowerAscii().endsWith('.com') && this.tags.join('-') == 'x-y' && this.tags.join() == 'xy'",
        "this.email.replace('example', 'x') == 'a@x.com' && 'aaa'.replace('a', 'b', 2) == 'bba'",
        "this.email.split('@')[1] == 'example.com'",
        "record.stream == 'orders-raw' && record.partitionKey == 'k1' && record.size == 433",
        "!has(record.explicitHashKey) && record.arrivedAt < now",
        "record.map(k, k) == ['stream', 'partitionKey', 'arrivedAt', 'size'] && record == record && size(record) == 4",
        "event.id == 'e1' && event.data == this && event.data.qty == this.qty",
        "type(this.qty) == int && type(this.rate) == double && type(now) == google.protobuf.Timestamp",
        "int(this.rate) == 1 && double(this.qty) == 3.0 && string(this.qty) == '3'",
        "this.paid ? this.qty > 0 : this.qty == 0",
        "this.?absent.orValue(7) == 7 && this.?qty.orValue(7) == 3",
        "math.greatest(this.qty, this.price) == 5",
        "this.address.all(k, this.address[k] == '8000')",
        "this.qty % 2 == 1 && this.qty / 2 == 1 && -this.qty == -3",
        "['a', 'b'].filter(x, x in this.tags) == []",
    ] {
        holds(source, &order);
    }
}

#[test]
fn numbers_are_never_rounded() {
    let order = order();
    for source in [
        "this.big > 9223372036854775807 && this.big == this.big && this.big < this.huge && this.huge > 1.5",
        "this.big != 12345678901234567000.0 && this.big > 12345678901234567000.0 && !(this.big == 0)",
        "this.exact > 9007199254740992.0 && 9007199254740992.0 < this.exact && this.exact != 9007199254740992.0",
        "this.exact + 1 == 9007199254740994",
        "12345678901234567890u != 0u && !(this.huge in [1, 2])",
    ] {
        holds(source, &order);
    }
    for source in ["this.big + 1 > 0", "this.exact * 2.0 > 0.0", "this.huge - 1 < 0", "sum([this.exact, 0.5]) > 0.0"] {
        assert_eq!(test_on(source, &order), Err(EvaluationError::Inexact), "{source}");
    }
}

#[test]
fn the_schema_says_what_a_number_is() {
    let schema = json!({"properties": {
        "amount": {"type": "number"}, "count": {"type": "integer"}, "list": {"items": {"type": "number"}}
    }});
    let schema = crate::rule::schema::Schema::compile(&schema, "a.json", &Default::default(), true).unwrap();
    let within = schema.number_types().within(&Pointer::parse("/data").unwrap());
    for text in [r#"{"amount": 5, "count": 7.0, "list": [1, 2]}"#, r#"{"amount": 5.0, "count": 7, "list": [1.0, 2e0]}"#]
    {
        let this = parse_json(text);
        let event = json!({ "data": &this });
        let bindings = Bindings::typed(&scope(&this, &event), schema.number_types(), &within);
        for source in [
            "this.amount / 2 == 2.5 && event.data.amount / 2 == 2.5",
            "this.count / 2 == 3 && this.count % 2 == 1",
            "this.list.map(x, x / 2) == [0.5, 1.0]",
            "type(this.amount) == double && type(this.count) == int",
        ] {
            assert_eq!(
                Expression::compile(source, Yields::Bool).unwrap().test(&bindings),
                Ok(true),
                "{source} on {text}"
            );
        }
    }
    let this = parse_json(r#"{"amount": 9007199254740993, "count": 7.5}"#);
    let bindings = Bindings::typed(&scope(&this, &this), schema.number_types(), schema.number_types());
    let test = |source| Expression::compile(source, Yields::Bool).unwrap().test(&bindings);
    assert_eq!(test("type(this.amount) == int && this.amount == 9007199254740993"), Ok(true), "no digit is lost");
    assert_eq!(test("type(this.count) == double"), Ok(true));
}

#[test]
fn errors_are_typed_and_carry_no_values() {
    let this =
        json!({"a": 1, "s": "secret", "list": [1], "o": {}, "key": "secret", "n": 0, "i": i64::MAX, "nil": null});
    let cases = [
        "this.absent == 1",
        "this.o.deep.deeper == 1",
        "has(this.absent.deeper)",
        "this.o[this.key] == 1",
        "this.o['literal'] == 1",
        "this.list[7] == 1",
        "this.list['a'] == 1",
        "this.s + 1 == 2",
        "this.s < 1",
        "this.a && true",
        "this.nil.x == 1",
        "this.a / this.n == 1",
        "this.i + 1 > 0",
        "timestamp(this.s) < now",
        "duration(this.s) < duration('1s')",
        "int(this.s) == 1",
        "this.a.startsWith('x')",
        "!this.s.matches('x') && this.a.matches('x')",
        "this.list.all(x, x.y == 1)",
        "this.a.all(x, x == 1)",
        "sum(this.s) == 1",
        "sum(['a']) == 1",
        "this.s",
        "this.s.substring(99) == ''",
        "[this.s][this.a] == ''",
        "{this.s: 1, this.key: 2}.size() == 1",
        "this.list.map(x, this.list.map(y, this.s)).exists(z, z == this.a) || this.absent",
    ];
    let mut told = String::new();
    for source in cases {
        let message = test_on(source, &this).expect_err(source).to_string();
        assert!(!message.contains("secret"), "{message}");
        told.push_str(&format!("{source}\n    {message}\n"));
    }
    expect_test::expect_file!["testdata/errors.txt"].assert_eq(&told);
}

#[test]
fn faults_name_their_place_and_what_to_do() {
    let long = format!("this.a in [{}]", "'x', ".repeat(1000));
    let deep = format!("{}1{} == 1", "(".repeat(33), ")".repeat(33));
    let chain = format!("{}0 == 1", "1 + ".repeat(70));
    let cases = [
        "",
        "this.a ==",
        "this.a = 1",
        "this.a == 1 and this.b == 2",
        "this.a === 1",
        "'é' == this.a && thsi.b == 1",
        "email == ''",
        "this.a.startWith('x')",
        "startsWith(this.a, 'x')",
        "this.a.sum(1) == 1",
        "timestamp() < now",
        "frobnicate(this.a)",
        "record.partitonKey == 'x'",
        "this.list.all(x)",
        "has(this)",
        "this.a.matches(this.b)",
        "this.a.matches('(?=x)')",
        "this.a.matches('[')",
        "this.a.matches('(a{1000}){90}')",
        "this.a.all(x, this.b.all(y, this.c.all(z, x == y + z)))",
        "{'a': 1}.all(k, k in this.a)",
        "Foo{a: 1} == 1",
        "this.a + 1 - 2",
        "'text'",
        "this.a == 'unclosed",
        "size(this.a",
        "this.a[0",
        "this.a[",
        "this.",
        "this.a ?",
        "this.list.all(x,",
        "this.a >\n  ",
        "(this.a > 1 this.b)",
        "this..a",
        "this.a <> 1",
        "this.a is null",
        "if this.a then 1",
        "len(this.a) > 0",
        "this.a.toLowerCase() == 'x'",
        "now() > this.a",
        "round(this.a) == 1.0",
        &long,
        &deep,
        &chain,
    ];
    let mut told = String::new();
    for source in cases {
        let fault = Expression::compile(source, Yields::Bool).expect_err(source);
        let shown: String = source.chars().take(60).collect();
        told.push_str(&format!("{shown}\n    {}: {}\n", fault.offset, fault.message));
        fault.hint.iter().for_each(|hint| told.push_str(&format!("    hint: {hint}\n")));
    }
    expect_test::expect_file!["testdata/faults.txt"].assert_eq(&told);
    let text = Expression::compile("size(this.a) > 1", Yields::Text).unwrap_err();
    assert_eq!(text.message, "the expression gives bool, where string is needed");
}

/// Contracts are shared by threads.
#[test]
fn expressions_are_shared_by_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<Expression>();
    shared::<crate::rule::schema::Schema>();
    shared::<crate::rule::field::FieldCheck>();
}

#[test]
fn messages_are_text() {
    let this = json!({"qty": 3, "name": "x"});
    let bindings = Bindings::new(&scope(&this, &this));
    let text = |source| Expression::compile(source, Yields::Text).unwrap().text(&bindings);
    assert_eq!(text("'qty is ' + string(this.qty)"), Ok("qty is 3".to_owned()));
    assert_eq!(text("'%s has %d'.format([this.name, this.qty])"), Ok("x has 3".to_owned()));
    assert_eq!(text("this.name"), Ok("x".to_owned()));
    let long = json!({"name": "é".repeat(5_000)});
    let bindings_long = Bindings::new(&scope(&long, &long));
    let name = Expression::compile("this.name", Yields::Text).unwrap().text(&bindings_long).unwrap();
    assert_eq!(name.chars().count(), MESSAGE_MAX);
    assert_eq!(text("this.qty").unwrap_err().to_string(), "the result is int, not string");
}

/// Every way of being expensive that the grammar leaves: each is refused when loaded, or ends with an error in bounded
/// time.
#[test]
fn no_expression_stalls_the_gate() {
    let this = json!({"n": vec![1; 3_000], "m": vec![1; 300_000], "s": "a".repeat(1_000_000)});
    let bindings = Bindings::new(&scope(&this, &this));
    for source in [
        "this.n.all(x, this.n.all(y, x == y))",
        "this.n.map(x, this.n.map(y, y)).size() == 0",
        "this.n.all(x, !this.s.contains('b' + string(x)))",
        "this.n.all(x, !this.s.matches('(a|b)*c'))",
        "this.n.all(x, this.n == this.n)",
        "this.n.all(x, !(2 in this.n))",
        "this.s.replace('', this.s) == ''",
        "this.n.map(x, this.s).join(this.s) == ''",
        "this.m.map(x, x).map(x, x).map(x, x).all(x, x + x + x + x + x + x + x + x > 0)",
        "'%s%s%s'.format([this.n, this.n, this.m]).size() == 0",
    ] {
        let expression = Expression::compile(source, Yields::Bool).unwrap();
        let start = Instant::now();
        assert_eq!(expression.test(&bindings), Err(EvaluationError::TooCostly), "{source}");
        assert!(start.elapsed() < Duration::from_secs(60), "{source} took {:?}", start.elapsed());
    }
    holds("this.m.all(x, x > 0)", &json!({"m": vec![1; 90_000]}));
}

/// The parser and the evaluator recurse; the bounds keep both within the small stack of a runtime's worker, also in a
/// debug build.
#[test]
fn the_deepest_expressions_fit_a_workers_stack() {
    let brackets = [
        ("(", ")"),
        ("[", "]"),
        ("{1:", "}"),
        ("size([", "])"),
        ("!(", ")"),
        ("-(", ")"),
        ("has(this.a) ? (", ") : 1"),
    ];
    let worker = std::thread::Builder::new().stack_size(2 * 1024 * 1024).spawn(move || {
        let this = json!({"a": 1});
        let bindings = Bindings::new(&scope(&this, &this));
        for depth in [1, 10, 20, 31, 32, 33, 100, 10_000] {
            for (open, close) in brackets {
                let source = format!("{}this.a{}", open.repeat(depth), close.repeat(depth));
                if let Ok(expression) = Expression::compile(&source, Yields::Bool) {
                    let _ = expression.test(&bindings);
                }
                let _ = Expression::compile(&open.repeat(depth), Yields::Bool);
            }
            for part in [
                "!",
                "-",
                "a ? ",
                "1 + ",
                "this.a.",
                "this.a == 1 && ",
                "true ? 1 : ",
                "a[",
                "f(",
                "x.all(x, ",
                "\"",
                "'''",
                "//",
            ] {
                let source = format!("{}1", part.repeat(depth));
                if let Ok(expression) = Expression::compile(&source, Yields::Bool) {
                    let _ = expression.test(&bindings);
                }
            }
        }
    });
    worker.unwrap().join().expect("no stack overflows");
}

#[test]
fn compiling_takes_bounded_time() {
    for part in ["(", "a?", "a||", "a.b(", "[a,", "{a:", "!", "a+", "\"", "a ", "a<", "é", "a.all(x,", "1.0e"] {
        let source = part.repeat(SOURCE_MAX / part.len());
        let start = Instant::now();
        let _ = Expression::compile(&source, Yields::Bool);
        assert!(start.elapsed() < Duration::from_secs(60), "{part} took {:?}", start.elapsed());
    }
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "-?(0|[1-9][0-9]{0,25})(\\.[0-9]{1,3})?([eE][+-]?[0-9]{1,3})?".prop_map(|text| parse_json(&text)),
        "[a-c0-9:.TZ+-]{0,10}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::hash_map("[a-d]", inner, 0..4).prop_map(|m| m.into_iter().collect()),
        ]
    })
}

/// Expressions that mostly compile, over fields that mostly exist.
fn source() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("this".to_owned()),
        "this\\.[a-d]",
        "this\\.[a-d]\\.[a-d]",
        "[0-9]{1,20}u?",
        "[0-9]{1,3}\\.[0-9]e[0-9]{1,3}",
        "'[a-c0-9:.TZ+-]{0,10}'",
        "x",
        "now|null|true|false|event|record\\.size|int|9223372036854775807|-9223372036854775808",
    ];
    leaf.prop_recursive(4, 24, 3, |inner| {
        let two = (inner.clone(), inner.clone());
        prop_oneof![
            (
                two.clone(),
                prop::sample::select(vec!["+", "-", "*", "/", "%", "<", "<=", "==", "!=", "in", "&&", "||", ">"])
            )
                .prop_map(|((a, b), op)| format!("({a} {op} {b})")),
            (
                two.clone(),
                prop::sample::select(vec![
                    "contains",
                    "startsWith",
                    "indexOf",
                    "lastIndexOf",
                    "charAt",
                    "split",
                    "substring",
                    "join",
                    "format",
                    "getHours",
                    "orValue",
                ])
            )
                .prop_map(|((a, b), f)| format!("{a}.{f}({b})")),
            (
                inner.clone(),
                prop::sample::select(vec![
                    "size",
                    "int",
                    "uint",
                    "double",
                    "string",
                    "bytes",
                    "timestamp",
                    "duration",
                    "bool",
                    "type",
                    "sum",
                    "math.abs",
                    "math.ceil",
                    "math.sqrt",
                    "math.sign",
                    "math.bitNot",
                    "base64.decode",
                    "strings.quote",
                    "-",
                    "!",
                    "dyn",
                    "optional.of",
                    "optional.ofNonZeroValue",
                ])
            )
                .prop_map(|(a, f)| format!("{f}({a})")),
            (
                inner.clone(),
                prop::sample::select(vec![
                    "trim()",
                    "reverse()",
                    "lowerAscii()",
                    "getFullYear()",
                    "getMilliseconds()",
                    "getDayOfWeek('UTC')",
                    "matches('a+')",
                    "value()",
                    "hasValue()",
                    "size()",
                    "sum()",
                    "join()",
                    "replace('a', 'bb')",
                    "substring(1, 2)",
                    "split(',', 2)",
                ])
            )
                .prop_map(|(a, f)| format!("{a}.{f}")),
            (two.clone(), prop::sample::select(vec!["all", "exists", "exists_one", "filter", "map"]))
                .prop_map(|((a, b), m)| format!("{a}.{m}(x, {b})")),
            two.clone().prop_map(|(a, b)| format!("{a}[{b}]")),
            two.clone().prop_map(|(a, b)| format!("[{a}, {b}]")),
            two.clone().prop_map(|(a, b)| format!("{{{a}: {b}}}")),
            (two, inner).prop_map(|((a, b), c)| format!("({a} ? {b} : {c})")),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3_000))]

    #[test]
    fn nothing_panics_and_the_same_gives_the_same(source in source(), this in value()) {
        let bindings = Bindings::new(&scope(&this, &this));
        for yields in [Yields::Bool, Yields::Text] {
            let Ok(expression) = Expression::compile(&source, yields) else { continue };
            match yields {
                Yields::Bool => {
                    let first = expression.test(&bindings);
                    prop_assert_eq!(&first, &expression.test(&Bindings::new(&scope(&this, &this))));
                    if let Err(error) = first {
                        let _ = error.to_string();
                    }
                }
                Yields::Text => prop_assert_eq!(expression.text(&bindings), expression.text(&bindings)),
                Yields::Scalar => {}
            }
        }
    }

    #[test]
    fn no_source_panics(source in "[this.ab()\\[\\]{}'\"+*/%<>=!&|?:,0-9é@`ruxXbB\\\\\\n -]{0,40}") {
        if let Err(fault) = Expression::compile(&source, Yields::Bool) {
            prop_assert!(source.is_char_boundary(fault.offset), "{} in {}", fault.offset, source);
        }
    }

    #[test]
    fn comparisons_agree_with_exact_decimals(a in value(), b in value()) {
        let (Value::Number(x), Value::Number(y)) = (&a, &b) else { return Ok(()) };
        let this = json!({"a": &a, "b": &b});
        let exact = |n: &serde_json::Number| match n.as_str().contains(['.', 'e', 'E']) {
            true => n.as_str().parse::<f64>().ok().and_then(crate::rule::number::Decimal::of_double),
            false => None,
        }.unwrap_or_else(|| crate::rule::number::Decimal::of(n));
        prop_assert_eq!(test_on("this.a < this.b", &this), Ok(exact(x) < exact(y)));
        prop_assert_eq!(test_on("this.a == this.b", &this), Ok(exact(x) == exact(y)));
        prop_assert_eq!(test_on("this.a >= this.b", &this), Ok(exact(x) >= exact(y)));
    }
}
