use serde_json::json;

use crate::contract::{ContractSet, Routed, RuleFiles, UnknownType, compile};
use crate::rule::pointer::Pointer;

fn domain(name: &str, defaults: &str) -> (String, Vec<u8>) {
    let text = format!(
        "apiVersion: meshgate/v1\nkind: Domain\nmetadata: {{name: {name}, owner: {{team: t}}}}\ndefaults: {{{defaults}}}\n"
    );
    (format!("{name}/domain.yaml"), text.into())
}

fn contract(domain: &str, name: &str, claim: &str) -> (String, Vec<u8>) {
    contract_of(domain, name, claim, "active", "[{id: r, expression: 'true'}]")
}

fn contract_of(domain: &str, name: &str, claim: &str, status: &str, rules: &str) -> (String, Vec<u8>) {
    let text = format!(
        "apiVersion: meshgate/v1\nkind: EventContract\nmatch: {{{claim}}}\nrules: {rules}\n\
         metadata: {{domain: {domain}, name: {name}, version: 1.0.0, status: {status}}}\n"
    );
    (format!("{domain}/{name}.yaml"), text.into())
}

fn set(files: impl IntoIterator<Item = (String, Vec<u8>)>, revision: &str) -> ContractSet {
    let compiled = compile(&files.into_iter().collect(), revision);
    assert!(compiled.is_good(), "{:#?}", compiled.diagnostics);
    compiled.set
}

/// Where an event of this type goes: `domain/contract`, or `unknown domain action`.
fn route(set: &ContractSet, stream: &str, event: serde_json::Value) -> String {
    told(set.route(stream, &event, None))
}

fn told(routed: Routed<'_>) -> String {
    match routed {
        Routed::Contract(contract) => format!("{}/{}", contract.domain, contract.name),
        Routed::Unknown { domain, action } => format!("unknown {:?} {action:?}", domain.map(|d| &*d.name)),
    }
}

#[test]
fn the_most_specific_claim_takes_an_event() {
    let set = set(
        [
            domain("a", ""),
            contract("a", "all", "stream: a-*"),
            contract("a", "eu", "stream: a-eu"),
            contract("a", "sold-anywhere", "type: sold"),
            contract("a", "sold", "stream: a-*, type: sold"),
            contract("a", "sold-eu", "stream: a-e*, type: sold"),
            contract_of("a", "old", "stream: a-eu, type: old", "retired", "[]"),
        ],
        "r1",
    );
    let sold = || json!({"type": "sold"});
    assert_eq!(route(&set, "a-eu", sold()), "a/sold-eu");
    assert_eq!(route(&set, "a-us", sold()), "a/sold");
    assert_eq!(route(&set, "b", sold()), "a/sold-anywhere");
    assert_eq!(route(&set, "a-us", json!({"type": "other"})), "a/all");
    assert_eq!(route(&set, "a-eu", json!({"type": "old"})), "a/eu");
    assert_eq!(route(&set, "a-eu", json!(["no type"])), "a/eu");
    assert_eq!(route(&set, "b", json!({"type": 1})), "unknown None Quarantine");
    assert_eq!(set.covers("a-eu"), Some("a-eu"));
    assert_eq!(set.covers("a-us"), Some("a-*"));
    assert_eq!(set.covers("b"), None);
    assert_eq!(set.domain_of("a-us").map(|d| d.name.to_string()), Some("a".to_owned()));
}

#[test]
fn the_type_is_the_cloud_events_then_the_routes_then_the_domains() {
    let set = set(
        [
            domain("a", "typePointer: /kind"),
            contract("a", "x", "type: x"),
            domain("b", "typePointer: /detail/type"),
            contract("b", "y", "type: y"),
        ],
        "r1",
    );
    assert_eq!(route(&set, "s", json!({"kind": "x"})), "a/x");
    assert_eq!(route(&set, "s", json!({"detail": {"type": "y"}})), "b/y");
    assert_eq!(route(&set, "s", json!({"kind": "x", "detail": {"type": "y"}})), "a/x");
    assert_eq!(route(&set, "s", json!({"kind": "y"})), "unknown None Quarantine", "b reads another pointer");
    let cloudevent = json!({"specversion": "1.0", "id": "1", "source": "/", "type": "y", "kind": "x"});
    assert_eq!(route(&set, "s", cloudevent), "b/y");
    let pointer = Pointer::parse("/t").unwrap();
    assert_eq!(told(set.route("s", &json!({"t": "y", "kind": "x"}), Some(&pointer))), "b/y");
}

#[test]
fn the_strictest_domain_on_a_stream_says_what_becomes_of_unknown_types() {
    let set = set(
        [
            domain("a", "unknownType: forward"),
            contract("a", "x", "stream: shared-eu, type: x"),
            domain("b", "unknownType: refuse"),
            contract("b", "y", "stream: shared-*, type: y"),
            domain("c", ""),
            contract("c", "z", "stream: other, type: z"),
        ],
        "r1",
    );
    assert_eq!(route(&set, "shared-eu", json!({"type": "?"})), r#"unknown Some("b") Refuse"#);
    assert_eq!(route(&set, "other", json!({"type": "?"})), r#"unknown Some("c") Quarantine"#);
    assert_eq!(set.domain_of("shared-eu").map(|d| d.unknown_type), Some(UnknownType::Forward));
}

#[test]
fn a_fault_stays_in_its_domain_and_the_last_good_version_in_force() {
    let good_a = [domain("a", ""), contract("a", "x", "type: x")];
    let first = set(good_a.clone().into_iter().chain([domain("b", ""), contract("b", "y", "type: y")]), "r1");

    let mut files: RuleFiles = good_a.into_iter().chain([domain("b", ""), contract("b", "y2", "type: y2")]).collect();
    files.insert("a/x.yaml".to_owned(), b"kind: [".to_vec());
    files.insert("new/x.yaml".to_owned(), b"kind: EventContract".to_vec());
    let second = compile(&files, "r2");
    assert_eq!(second.failed, ["a", "new"]);
    assert_eq!(second.set.domains().map(|d| d.name.to_string()).collect::<Vec<_>>(), ["b"]);

    let kept = second.set.keeping(&second.failed, &first);
    assert_eq!(kept.domains().map(|d| format!("{} {}", d.name, d.revision)).collect::<Vec<_>>(), ["a r1", "b r2"]);
    assert_eq!(&*kept.contract("a", "x").unwrap().revision, "r1");
    assert_eq!(route(&kept, "s", json!({"type": "x"})), "a/x");
    assert_eq!(route(&kept, "s", json!({"type": "y2"})), "b/y2");
    assert!(kept.contract("b", "y").is_none() && kept.contract("new", "x").is_none());
    assert_eq!(&**kept.revision(), "r2");
}

#[test]
fn a_domain_cannot_take_anothers_events_over() {
    let compiled = compile(
        &[
            domain("a", ""),
            contract("a", "x", "type: t"),
            domain("b", ""),
            contract("b", "x", "type: t"),
            domain("c", ""),
        ]
        .into_iter()
        .collect(),
        "r1",
    );
    assert_eq!(compiled.failed, ["a", "b"]);
    assert_eq!(compiled.set.domains().count(), 1);
}

#[test]
fn what_a_contract_leaves_out_is_its_domains() {
    let set = set([domain("a", "mode: shadow"), contract("a", "x", "type: t")], "r1");
    let contract = set.contract("a", "x").unwrap();
    assert_eq!((contract.mode, &*contract.owner.team), (crate::model::Mode::Shadow, "t"));
}

#[test]
fn directories_without_rule_files_are_no_domains() {
    let files = [("notes/x.json".to_owned(), b"{".to_vec()), ("contract.schema.json".to_owned(), b"{}".to_vec())];
    let compiled = compile(&files.into_iter().collect(), "r1");
    assert!(compiled.is_good() && compiled.failed.is_empty());
    assert_eq!(compiled.set.domains().count(), 0);
}

#[test]
fn an_slo_is_a_share_of_events() {
    let with = |slo: &str| {
        let (name, mut text) = contract("a", "x", "type: t");
        text.extend(format!("slo: [{slo}]\n").bytes());
        compile(&[domain("a", ""), (name, text)].into_iter().collect(), "r1")
    };
    let good = with("{property: errorRate, value: 0.5, unit: percent, window: 30d}");
    assert_eq!(good.set.contract("a", "x").unwrap().slo_error_ratio, Some(0.005));
    assert!(!with("{property: errorRate, value: 2, unit: ratio, window: 30d}").is_good());
}
