//! Every event that was seen passes the contract that was drafted of it; and a draft, as a person would read it.

use std::fmt::Write as _;

use expect_test::{expect, expect_file};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::*;
use crate::contract::{self, Compiled, RuleFiles, yaml};
use crate::gate::judge::{Terms, judge};
use crate::model::{Record, Timestamp, Verdict};

const NAMES: Names<'static> = Names { domain: Some("shop"), untyped: "events", stream: None };

fn settings() -> Settings {
    Settings { event_type: None, type_pointer: Settings::default_type_pointer() }
}

fn sampled(events: &[String], settings: Settings) -> Sample {
    let mut sample = Sample::new(settings);
    for event in events {
        sample.add(event.as_bytes()).unwrap_or_else(|malformed| panic!("{malformed}: {event}"));
    }
    sample
}

fn texts(events: &[Value]) -> Vec<String> {
    events.iter().map(Value::to_string).collect()
}

fn drafted(events: &[Value]) -> Draft {
    sampled(&texts(events), settings()).draft(NAMES).unwrap()
}

fn compiled(draft: &Draft) -> Compiled {
    let files = RuleFiles::from([
        ("shop/domain.yaml".to_owned(), draft.domain.clone().unwrap().into_bytes()),
        (format!("shop/{}.yaml", draft.name), draft.contract.clone().into_bytes()),
        (format!("shop/schemas/{}.json", draft.name), draft.schema.clone().into_bytes()),
    ]);
    contract::compile(&files, "r")
}

/// The contract compiles without a word, notes included, and each event of its type passes it.
fn holds(draft: &Draft, events: &[String]) -> Result<u64, String> {
    let type_pointer =
        if draft.domain.as_deref().is_some_and(|domain| domain.contains("typePointer")) { "" } else { "/type" };
    let compiled = compiled(draft);
    if let Some(diagnostic) = compiled.diagnostics.first() {
        return Err(format!("{}: {:?}\n{}\n{}", diagnostic.message, diagnostic.place, draft.contract, draft.schema));
    }
    let contract = compiled.set.contract("shop", &draft.name).ok_or("no contract")?;
    let mut judged = 0;
    let of_type =
        |event: &Value| event["type"].as_str().filter(|text| (1..=256).contains(&text.len())).map(str::to_owned);
    for event in events {
        // A contract of events without a type takes the others, too, where they have none.
        if type_pointer == "/type" && of_type(&serde_json::from_str(event).unwrap()) != draft.event_type {
            continue;
        }
        let record = Record::new(event.clone(), "shop-events".into(), Timestamp::from_millis(0));
        let terms = Terms::new(usize::MAX);
        let judgement = judge(&compiled.set, &record, terms, Timestamp::from_millis(0)).judgement;
        if judgement.stamp.contract != contract.name {
            return Err(format!("{event} is not taken\n{}", draft.contract));
        }
        judged += 1;
        if !judgement.violations.is_empty() || judgement.verdict != Verdict::Forward {
            return Err(format!("{event}\n{:#?}\n{}", judgement.violations, draft.schema));
        }
    }
    Ok(judged)
}

/// Strings of all the kinds that are looked for, and the values that almost are.
fn string() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => "(web|app|store)",
        2 => "O-[0-9]{1,6}",
        1 => "[A-Z]{3}",
        1 => "2026-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])(T[0-2][0-9]:[0-5][0-9]:[0-6][0-9](\\.[0-9]{1,3})?(Z|[+-][0-9]{2}:[0-9]{2}))?",
        1 => "[a-z]{1,4}@[a-z]{1,4}\\.[a-z]{2}",
        1 => "(https?://|urn:)[a-z/?#\\[%]{0,8}",
        1 => "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
        1 => "[4-5][0-9]{15}",
        2 => ".{0,6}",
    ]
}

fn key() -> impl Strategy<Value = String> {
    prop_oneof![8 => "[a-f]", 2 => "(email|name|phone|iban|id|in|\\*|data|type|a/b|~|\\$ref|<key>|properties)", 1 => "[A-Z]-[0-9]{4}", 1 => ".{0,3}"]
}

fn value() -> impl Strategy<Value = Value> {
    let number = prop_oneof![
        any::<i64>().prop_map(|n| n.to_string()),
        (0..50_i32).prop_map(|n| n.to_string()),
        "-?(0|[1-9][0-9]{0,24})(\\.[0-9]{1,4})?(e[+-]?[0-9]{1,2})?",
    ];
    let leaf = prop_oneof![
        1 => Just(Value::Null),
        1 => any::<bool>().prop_map(Value::from),
        3 => number.prop_map(|text: String| serde_json::from_str(&text).expect("a number")),
        5 => string().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 30, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((key(), inner), 0..6)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

/// Events of one sample: many of few bodies, so that what is repeated is found, as CloudEvents, typed, or neither.
fn events() -> impl Strategy<Value = Vec<Value>> {
    let wrapped = |body: Value, form: u8, kind: &str| match form {
        0..=5 => json!({"specversion": "1.0", "type": kind, "id": "1", "data": body}),
        6 => json!({"specversion": "1.0", "type": kind, "data_base64": "AA=="}),
        7 | 8 => {
            let mut members = body.as_object().cloned().unwrap_or_default();
            members.insert("type".to_owned(), json!(kind));
            Value::Object(members)
        }
        _ => body,
    };
    let bodies = prop::collection::vec(value(), 1..8);
    (bodies, prop::collection::vec((any::<prop::sample::Index>(), 0_u8..11, "(a|b|b|C/d)"), 1..40), any::<bool>())
        .prop_map(move |(bodies, picks, is_uniform)| {
            let form = |form| if is_uniform { 0 } else { form };
            picks.iter().map(|(at, f, kind)| wrapped(at.get(&bodies).clone(), form(*f), kind)).collect()
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// The property of this module.
    #[test]
    fn every_event_passes_the_contract_drafted_of_it(events in events()) {
        let events = texts(&events);
        let draft = sampled(&events, settings()).draft(NAMES).unwrap();
        match holds(&draft, &events) {
            Ok(judged) => prop_assert_eq!(judged, draft.events),
            Err(message) => prop_assert!(false, "{}", message),
        }
        let suggested = Draft { contract: uncommented(&draft.contract), ..draft.clone() };
        let compiled = compiled(&suggested);
        prop_assert!(compiled.diagnostics.is_empty(), "{:?}\n{}", compiled.diagnostics, suggested.contract);
    }

    /// The same where all values of a field are of one kind, so that it has a pattern, a format, a length or an enumeration.
    #[test]
    fn fields_of_one_kind_keep_what_they_have(
        ids in prop::collection::vec("[A-Z]{0,3}[a-z]{0,1}[-_./:#]?[0-9]{1,3}", 10..40),
        codes in prop::collection::vec("[A-Z]{2}|[a-zé]{2}", 10..40),
        few in prop::collection::vec("(a|b|[A-Z]|é\n|\"\\\\)", 10..40),
        times in prop::collection::vec("2026-0[1-9]-2[0-9]T0[0-9]:[0-5][0-9]:[0-5][0-9]Z", 10..40),
        nulls in any::<bool>(),
    ) {
        let at = |texts: &[String], n: usize| if nulls && n == 7 { Value::Null } else { json!(texts[n % texts.len()]) };
        let event = |n| json!({"type": "t", "a": at(&ids, n), "b": at(&codes, n), "c": [at(&few, n), at(&few, n + 1)], "d": at(&times, n)});
        let events: Vec<Value> = (0..40).map(event).collect();
        prop_assert_eq!(holds(&drafted(&events), &texts(&events)), Ok(40));
    }

    /// What is drafted does not depend on which event came first, but for the order of what is listed.
    #[test]
    fn order_does_not_matter(events in prop::collection::vec(value(), 1..12)) {
        let sorted = |draft: &Draft| {
            let mut fields = draft.fields.clone();
            fields.sort_by(|a, b| a.path.cmp(&b.path));
            fields
        };
        let mut reversed = events.clone();
        reversed.reverse();
        let wrap = |events: &[Value]| -> Vec<Value> { events.iter().map(|v| json!({"type": "t", "v": v})).collect() };
        prop_assert_eq!(sorted(&drafted(&wrap(&events))), sorted(&drafted(&wrap(&reversed))));
    }

    /// A text that is in one event only is nowhere to be seen, whatever it is.
    #[test]
    fn values_do_not_leak(secret in "[a-z]{12}", email in "[a-z]{9}@[a-z]{7}\\.org", name in "[A-Z][a-z]{10}") {
        let events: Vec<Value> = (0..40)
            .map(|n| json!({"type": "t", "note": format!("{secret} {n}"), "to": email, "lastName": name, "seen": {&email: n},
                "firstName": if n % 2 == 0 { &name } else { &secret }, "only": secret}))
            .collect();
        let draft = drafted(&events);
        let told = serde_json::to_string(&draft).unwrap();
        for value in [&secret, &email, &name] {
            prop_assert!(!told.contains(value.as_str()), "{}", told);
        }
    }
}

/// The contract with the rules it suggests.
fn uncommented(contract: &str) -> String {
    let Some(at) = contract.find("\n# rules:\n") else { return contract.to_owned() };
    let (before, rules) = contract.split_at(at + 1);
    let rules: String =
        rules.lines().map(|line| line.strip_prefix("# ").unwrap_or(line)).fold(String::new(), |mut text, line| {
            let _ = writeln!(text, "{line}");
            text
        });
    format!("{before}{rules}")
}

/// The examples of a contract of the repository, as events.
fn examples(contract: &str) -> Vec<Value> {
    let contract = yaml::parse(contract.as_bytes()).unwrap().value;
    contract["examples"].as_array().unwrap().iter().map(|example| example["event"].clone()).collect()
}

/// Two months of orders: the repository's examples over and over, with ids, totals and channels of their own; then some
/// that are odd.
fn orders() -> Vec<Value> {
    let placed = examples(include_str!("../../rules/orders/order.placed.yaml"));
    let placed: Vec<Value> = placed.into_iter().filter(|event| event["type"] == "order.placed").collect();
    let mut orders: Vec<Value> = (0..60_usize)
        .map(|n| {
            let mut order = placed[n % placed.len()].clone();
            order["id"] = json!(format!("e{n}"));
            order["data"]["orderId"] = json!(format!("O-{}", 20_001 + n));
            order["data"]["customerId"] = json!(format!("C-{}", 1_001 + n % 7));
            order["data"]["totalMinor"] = json!(350 + 37 * n);
            order["data"]["placedAt"] = json!(format!("2026-11-{:02}T10:00:{:02}Z", 1 + n % 28, n % 60));
            order["data"]["traceId"] = json!(format!("{:08x}{:08x}", n * 2_654_435_761 % 4_294_967_296, n * 40_503));
            order
        })
        .collect();
    orders[3]["data"]["voucher"] = json!(null);
    orders[4]["data"]["voucher"] = json!(12.5);
    orders[5]["data"]["note"] = json!("please call +49 30 1234567 or write to grace@example.com");
    orders[6]["data"]["note"] = json!("");
    orders[7]["data"]["giftCards"] = json!({"4111111111111111": {"minor": 1000}, "5555555555554444": {"minor": 500}});
    orders[8]["data"]["tags"] = json!([]);
    orders[9]["data"]["tags"] = json!(["new", 7, null]);
    orders[10]["data"]["two words"] = json!(true);
    orders.extend(examples(include_str!("../../rules/orders/order.cancelled.yaml")));
    orders.push(json!({"hello": "world"}));
    orders
}

#[test]
fn a_draft_of_the_example_orders() {
    let orders = texts(&orders());
    let names = Names { domain: Some("orders"), ..NAMES };
    let draft = sampled(&orders, settings()).draft(names).unwrap();
    expect_file!["testdata/order.placed.yaml"].assert_eq(&draft.contract);
    expect_file!["testdata/order.placed.json"].assert_eq(&draft.schema);
    expect_file!["testdata/domain.yaml"].assert_eq(draft.domain.as_deref().unwrap());
    let fields = draft.fields.iter().fold(String::new(), |told, field| told + &json!(field).to_string() + "\n");
    expect_file!["testdata/fields.ndjson"].assert_eq(&fields);
    let others: Vec<String> =
        draft.others.iter().map(|seen| format!("{:?} {}", seen.event_type.as_deref(), seen.events)).collect();
    assert_eq!(others, ["Some(\"order.cancelled\") 4", "None 1"]);
    assert!(draft.bounds.is_empty(), "{:?}", draft.bounds);

    let draft = sampled(&orders, settings()).draft(NAMES).unwrap();
    assert_eq!(holds(&draft, &orders), Ok(60));
    let suggested = Draft { contract: uncommented(&draft.contract), ..draft };
    assert!(suggested.contract.contains("\nrules:\n"), "{}", suggested.contract);
    assert_eq!(holds(&suggested, &orders), Ok(60), "what is suggested is true of what was seen");
}

#[test]
fn a_type_can_be_chosen_and_one_that_is_not_there_is_told() {
    let orders = texts(&orders());
    let of = |event_type: &str| {
        sampled(&orders, Settings { event_type: Some(event_type.to_owned()), ..settings() }).draft(NAMES)
    };
    let cancelled = of("order.cancelled").unwrap();
    assert_eq!((cancelled.events, cancelled.payload, &*cancelled.name), (4, "/data", "order.cancelled"));
    assert_eq!(holds(&cancelled, &orders), Ok(4));
    let Err(Undrafted::NoSuchType(seen)) = of("order.lost") else { panic!("nothing is of that type") };
    assert_eq!((seen.len(), seen[0].events), (3, 60));
    assert_eq!(sampled(&[], settings()).draft(NAMES), Err(Undrafted::NoEvents));
}

#[test]
fn events_that_are_no_cloudevents_are_described_whole() {
    let draft = drafted(&[json!({"type": "a", "data": {"n": 1}}), json!({"type": "a"})]);
    assert_eq!(draft.payload, "");
    assert!(draft.fields.iter().any(|field| field.path == "/data/n"));
    // Of an event without data, there would be nothing to judge.
    let bare = json!({"specversion": "1.0", "type": "a"});
    let draft = drafted(&[bare, json!({"specversion": "1.0", "type": "a", "data": 1})]);
    assert_eq!(draft.payload, "");
    assert!(draft.contract.contains("not all of them have `data`"), "{}", draft.contract);
}

#[test]
fn the_type_may_stand_elsewhere() {
    let events = texts(&[json!({"detail-type": "a"}), json!({"detail-type": "a", "type": "b"})]);
    let settings = Settings { type_pointer: Pointer::parse("/detail-type").unwrap(), ..settings() };
    let draft = sampled(&events, settings).draft(NAMES).unwrap();
    assert_eq!(draft.event_type.as_deref(), Some("a"));
    assert_eq!(holds(&draft, &events), Ok(2), "domain.yaml says where");
}

#[test]
fn any_event_type_makes_a_name() {
    for (event_type, expected) in [
        ("order.placed", "order.placed"),
        ("com.example/order placed", "com.example-order-placed"),
        ("../../etc/passwd", "etc-passwd"),
        ("domain", "domain.event"),
        ("unknown", "unknown.event"),
        ("é", "events"),
    ] {
        assert_eq!(contract_name(Some(event_type), "events"), expected, "{event_type}");
        let event = json!({"type": event_type});
        assert_eq!(holds(&drafted(std::slice::from_ref(&event)), &texts(&[event])), Ok(1), "{event_type}");
    }
    let long = "x".repeat(300);
    let draft = drafted(&[json!({"type": long})]);
    assert_eq!((draft.event_type, &*draft.name), (None, "events"), "no contract can name it");
}

#[test]
fn a_sample_beyond_every_bound_is_drafted_and_told() {
    let mut deep = json!(1);
    (0..60).for_each(|n| deep = if n % 2 == 0 { json!([deep]) } else { json!({"a": deep}) });
    let wide = |seed: u64| -> Value {
        let keys = |of: u64| (0..70).map(move |n| format!("k{}{}", "x".repeat(of as usize % 40), "y".repeat(n)));
        let inner =
            |of: u64| Value::Object(keys(of).filter(|key| key.len() < 60).map(|key| (key, json!(of))).collect());
        Value::Object((0..60).map(|n| (format!("m{}", "z".repeat(n)), inner(seed + n as u64))).collect::<Map<_, _>>())
    };
    let mut events: Vec<Value> = (0..4).map(|seed| json!({"type": "a", "deep": deep, "wide": wide(seed)})).collect();
    events.extend((0..30).map(|n| json!({"type": format!("other.{n}")})));
    let draft = drafted(&events);
    assert_eq!(draft.bounds.len(), 3, "{:?}", draft.bounds);
    assert_eq!(draft.fields.len(), PATHS_OF_TYPE_MAX + 1, "the payload itself, and so many below it");
    assert_eq!(holds(&draft, &texts(&events)), Ok(4));
}

#[test]
fn types_beyond_the_first_are_counted_only() {
    let mut events: Vec<Value> = (0..25).map(|n| json!({"type": format!("t{n}")})).collect();
    events.extend((0..3).map(|_| json!({"type": "t24"})));
    let undrafted = sampled(&texts(&events), settings()).draft(NAMES).unwrap_err();
    assert!(matches!(&undrafted, Undrafted::NotLookedAt(seen) if seen[0].events == 4), "{undrafted:?}");
    let chosen = Settings { event_type: Some("t24".to_owned()), ..settings() };
    assert_eq!(sampled(&texts(&events), chosen).draft(NAMES).unwrap().events, 4);
}

#[test]
fn what_is_malformed_is_refused_without_its_content() {
    let mut sample = Sample::new(settings());
    let malformed = sample.add(br#"{"secret":1,"secret":2}"#).unwrap_err();
    expect!["duplicate key at byte 12"].assert_eq(&malformed.to_string());
    assert_eq!(sample.draft(NAMES), Err(Undrafted::NoEvents));
}

#[test]
fn numbers_are_told_in_thousands() {
    assert_eq!([0, 999, 1_000, 1_234_567].map(thousands), ["0", "999", "1,000", "1,234,567"]);
}
