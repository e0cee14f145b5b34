use std::fs;

use clap::Parser;
use expect_test::{Expect, expect};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::*;
use crate::model::{Record, Timestamp};
use crate::port::DeadLetterSink as _;
use crate::sink::local::{LocalOptions, Store};

#[derive(Parser)]
#[command(args_override_self = true)]
struct Cli {
    #[command(flatten)]
    args: DiffArgs,
}

const DOMAIN: &str = "apiVersion: meshgate/v1\nkind: Domain\nmetadata: {name: shop, owner: {team: t}}\n";
const SOLD: &str = "apiVersion: meshgate/v1\nkind: EventContract
metadata: {domain: shop, name: sold, version: 1.0.0, status: active}
match: {stream: shop-*, type: sold}
payload: {pointer: /data, schema: schemas/sold.json}
rules:
  - {id: paid, expression: this.paid, message: not paid}
";
const RETURNED: &str = "apiVersion: meshgate/v1\nkind: EventContract
metadata: {domain: shop, name: returned, version: 1.0.0, status: active}
match: {type: returned}
rules: [{id: why, expression: has(this.data.why)}]
";
const SCHEMA: &str = r#"{"type": "object", "properties": {"paid": {"type": "boolean"}, "code": {"type": "string"}, "qty": {"type": "number"}}}"#;
const STRICT: &str = r#"{"type": "object", "required": ["qty"], "properties": {"paid": {"type": "boolean"}, "code": {"type": "string", "pattern": "^[A-Z]+$"}, "qty": {"type": "integer"}}}"#;
const EVENTS: &str = r#"{"type":"sold","data":{"paid":true,"qty":1,"code":"secret"}}
{"type":"sold","data":{"paid":true,"qty":1.5}}

{"type":"sold","data":{"paid":false,"qty":1}}
{"type":"sold","data":{"paid":true,"qty":2}}
"#;

/// Two directories of rules in a directory of their own.
struct Home {
    dir: TempDir,
}

impl Home {
    fn new() -> Self {
        let home = Self { dir: TempDir::new().unwrap() };
        for side in ["old", "new"] {
            home.write(&format!("{side}/shop/domain.yaml"), DOMAIN);
            home.write(&format!("{side}/shop/sold.yaml"), SOLD);
            home.write(&format!("{side}/shop/schemas/sold.json"), SCHEMA);
        }
        home.write("old/shop/returned.yaml", RETURNED);
        home.write("new/shop/returned.yaml", RETURNED);
        home
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().unwrap().to_owned()
    }

    fn write(&self, name: &str, content: &str) {
        let path = self.dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// What is told and the exit code; `@` in a word stands for the directory.
    fn diff(&self, words: &[&str]) -> (u8, String) {
        let words = words.iter().map(|word| word.replace('@', &self.path("")));
        // Text is what it is outside a step of GitHub Actions.
        let line = ["diff".to_owned(), self.path("old"), self.path("new"), "--format=text".to_owned()];
        let args = Cli::try_parse_from(line.into_iter().chain(words)).unwrap_or_else(|e| panic!("{e}")).args;
        let outcome = match compare(&args) {
            Ok(outcome) => outcome,
            Err(told) => return (2, format!("error: {told}\n")),
        };
        let mut out = Vec::new();
        let code = outcome.write(&args, &mut out).unwrap();
        (code, String::from_utf8(out).unwrap())
    }

    fn check(&self, words: &[&str], code: u8, expected: Expect) {
        let (told_code, told) = self.diff(words);
        expected.assert_eq(&told);
        assert_eq!(told_code, code);
    }
}

#[test]
fn nothing_changed() {
    Home::new().check(&[], 0, expect![[r#"

        sha256:62bfb796e8ed to sha256:62bfb796e8ed: 0 contracts added, 0 removed, 0 changed, 2 unchanged; nothing to object to
    "#]]);
}

#[test]
fn an_incompatible_change_is_told_with_every_reason() {
    let home = Home::new();
    home.write("new/shop/schemas/sold.json", STRICT);
    home.write("new/shop/sold.yaml", &SOLD.replace("message: not paid", "message: unpaid, when: has(this.paid)"));
    fs::remove_file(home.dir.path().join("new/shop/returned.yaml")).unwrap();
    home.write("new/shop/lost.yaml", &RETURNED.replace("returned", "lost"));
    home.check(&[], 1, expect![[r#"
        shop/lost added
        shop/returned removed
          finding: shop/returned was in use and is gone: its events are of an unknown type now, or another contract's; `status: deprecated` announces an end
        shop/sold changed, 1.0.0
          backward: no
            /code: pattern was not set, is "^[A-Z]+$" (shop/schemas/sold.json#/properties/code/pattern)
            /qty: required was optional, is required (shop/schemas/sold.json#/required)
            /qty: type was number, is integer (shop/schemas/sold.json#/properties/qty/type)
          forward:  yes
          rule paid changed (message, when): may now quarantine, may no longer quarantine
          finding: not backward compatible: what was accepted may be refused
          finding: the version is 1.0.0; what changed asks for a major one, so write 2.0.0 or higher

        sha256:62bfb796e8ed to sha256:7fd048b179ed: 1 contract added, 1 removed, 1 changed, 0 unchanged; 3 findings
    "#]]);
    home.check(&["--format", "json"], 1, expect![[r#"
        {"kind":"contract","domain":"shop","contract":"lost","change":"added","file":"shop/lost.yaml","binding":true,"backward":{"holds":"yes","obstacles":[]},"forward":{"holds":"yes","obstacles":[]},"rules":[],"settings":[],"findings":[]}
        {"kind":"contract","domain":"shop","contract":"returned","change":"removed","file":"shop/returned.yaml","binding":true,"backward":{"holds":"no","obstacles":[{"at":"","keyword":"contract","was":"active","is":"removed","certain":true,"schema":"shop/returned.yaml"}]},"forward":{"holds":"yes","obstacles":[]},"rules":[],"settings":[],"findings":[{"kind":"removed","message":"shop/returned was in use and is gone: its events are of an unknown type now, or another contract's; `status: deprecated` announces an end"}]}
        {"kind":"contract","domain":"shop","contract":"sold","change":"changed","file":"shop/sold.yaml","binding":true,"backward":{"holds":"no","obstacles":[{"at":"/code","keyword":"pattern","was":"not set","is":"\"^[A-Z]+$\"","certain":true,"schema":"shop/schemas/sold.json#/properties/code/pattern"},{"at":"/qty","keyword":"required","was":"optional","is":"required","certain":true,"schema":"shop/schemas/sold.json#/required"},{"at":"/qty","keyword":"type","was":"number","is":"integer","certain":true,"schema":"shop/schemas/sold.json#/properties/qty/type"}]},"forward":{"holds":"yes","obstacles":[]},"rules":[{"id":"paid","kind":"rule","change":"changed","keys":["message","when"],"effects":["may now quarantine","may no longer quarantine"],"asks":"major"}],"settings":[],"version":{"was":"1.0.0","is":"1.0.0","asks":"major","at_least":"2.0.0","enough":false},"findings":[{"kind":"incompatible","message":"not backward compatible: what was accepted may be refused"},{"kind":"version","message":"the version is 1.0.0; what changed asks for a major one, so write 2.0.0 or higher"}]}
        {"kind":"summary","old":"sha256:62bfb796e8ed","new":"sha256:7fd048b179ed","added":1,"removed":1,"changed":1,"unchanged":0,"findings":3}
    "#]]);
}

/// What GitHub is told, and the job's summary. Lines of their own, so that places can be told apart.
fn on_github(home: &Home, words: &[&str]) -> String {
    let words = words.iter().map(|word| word.replace('@', &home.path("")));
    let line = ["diff".to_owned(), home.path("old"), home.path("new")];
    let args = Cli::try_parse_from(line.into_iter().chain(words)).unwrap_or_else(|e| panic!("{e}")).args;
    let told = annotated::told(&compare(&args).unwrap(), &args, "rules/").unwrap();
    let mut out = Vec::new();
    github::write(&told, "rules/", &mut out).unwrap();
    let out = String::from_utf8(out).unwrap();
    let commands: String = out.split_inclusive('\n').filter(|line| line.starts_with("::")).collect();
    format!("{commands}\n{}", told.summary.within(10_000))
}

#[test]
fn findings_and_effects_are_told_on_their_lines() {
    let home = Home::new();
    let pretty = STRICT.replace(", \"", ",\n\"").replace("{\"", "{\n\"");
    home.write("new/shop/schemas/sold.json", &pretty);
    let rules = "  - id: paid
    expression: this.paid
    message: not paid
    severity: warning
  - {id: named, expression: this.code != \"\"}
breaker: {maxQuarantineRatio: 0.5, action: hold}
";
    let at = SOLD.find("  - {id").unwrap();
    home.write("new/shop/sold.yaml", &format!("{}{rules}", &SOLD[..at]));
    home.write("new/shop/domain.yaml", &format!("{DOMAIN}defaults:\n  unknownType: forward\n"));
    fs::remove_file(home.dir.path().join("new/shop/returned.yaml")).unwrap();
    home.write("events.ndjson", EVENTS);
    expect![[r#"
        ::error file=rules/shop/returned.yaml,line=1,endLine=1,col=1,endColumn=1,title=meshgate diff::shop/returned was in use and is gone: its events are of an unknown type now, or another contract's; `status: deprecated` announces an end
        ::error file=rules/shop/schemas/sold.json,line=9,endLine=9,col=12,endColumn=22,title=meshgate diff::shop/sold: not backward compatible: what was accepted may be refused%0A/code: pattern was not set, is "^[A-Z]+$"
        ::error file=rules/shop/schemas/sold.json,line=3,endLine=3,col=14,endColumn=19,title=meshgate diff::shop/sold: not backward compatible: what was accepted may be refused%0A/qty: required was optional, is required
        ::error file=rules/shop/schemas/sold.json,line=11,endLine=11,col=9,endColumn=18,title=meshgate diff::shop/sold: not backward compatible: what was accepted may be refused%0A/qty: type was number, is integer
        ::error file=rules/shop/sold.yaml,line=3,endLine=3,col=38,endColumn=45,title=meshgate diff::shop/sold: the version is 1.0.0; what changed asks for a major one, so write 2.0.0 or higher
        ::warning file=rules/shop/sold.yaml,line=11,endLine=11,col=5,endColumn=45,title=meshgate diff::shop/sold: rule named added: may now quarantine
        ::warning file=rules/shop/sold.yaml,line=11,endLine=11,col=5,endColumn=45,title=meshgate diff::shop/sold: forward -> quarantine by named, 2 of the sample: line 2, line 5
        ::warning file=rules/shop/sold.yaml,line=5,endLine=5,col=27,endColumn=33,title=meshgate diff::shop/sold: forward -> quarantine by schema, 2 of the sample: line 1, line 2
        ::notice file=rules/shop/domain.yaml,line=5,endLine=5,col=3,endColumn=14,title=meshgate diff::domain shop: defaults.unknownType was quarantine, is forward
        ::notice file=rules/shop/sold.yaml,line=12,endLine=12,col=1,endColumn=8,title=meshgate diff::shop/sold: breaker was not set, is {"maxQuarantineRatio":0.5,"action":"hold"}
        ::notice file=rules/shop/sold.yaml,line=10,endLine=10,col=5,endColumn=13,title=meshgate diff::shop/sold: rule paid changed (severity): may now warn, no longer quarantines

        ### meshgate diff: findings

        sha256:62bfb796e8ed to sha256:1602613efdae: 0 contracts added, 1 removed, 1 changed, 0 unchanged

        | Where | Finding |
        | --- | --- |
        | rules/shop/returned.yaml:1 | shop/returned was in use and is gone: its events are of an unknown type now, or another contract's; \`status: deprecated\` announces an end |
        | rules/shop/schemas/sold.json:9 | shop/sold: not backward compatible: what was accepted may be refused<br>/code: pattern was not set, is "^\[A-Z\]+\$" |
        | rules/shop/schemas/sold.json:3 | shop/sold: not backward compatible: what was accepted may be refused<br>/qty: required was optional, is required |
        | rules/shop/schemas/sold.json:11 | shop/sold: not backward compatible: what was accepted may be refused<br>/qty: type was number, is integer |
        | rules/shop/sold.yaml:3 | shop/sold: the version is 1.0.0; what changed asks for a major one, so write 2.0.0 or higher |

        | Contract | Change | Version | Backward | Forward | Rules and settings |
        | --- | --- | --- | --- | --- | --- |
        | shop/returned | removed |  |  |  |  |
        | shop/sold | changed | 1.0.0 | no | yes | rule paid changed (severity): may now warn, no longer quarantines<br>rule named added: may now quarantine<br>breaker was not set, is \{"maxQuarantineRatio":0.5,"action":"hold"\} |

        | Domain | Change | Settings |
        | --- | --- | --- |
        | shop | changed | defaults.unknownType was quarantine, is forward |

        Events judged: 4; verdicts changed: 3

        | Events | Contract | Rule | Verdict | Such as |
        | --- | --- | --- | --- | --- |
        | 2 | shop/sold | named | forward -\> quarantine | line 2, line 5 |
        | 2 | shop/sold | schema | forward -\> quarantine | line 1, line 2 |

    "#]].assert_eq(&on_github(&home, &["--sample", "@/events.ndjson", "--stream", "shop-1"]));
    // Allowed, they warn; the version is asked for all the same.
    let told = on_github(&home, &["--allow", "none"]);
    let commands: String = told.split_inclusive('\n').take(3).collect();
    expect![[r#"
        ::error file=rules/shop/sold.yaml,line=3,endLine=3,col=38,endColumn=45,title=meshgate diff::shop/sold: the version is 1.0.0; what changed asks for a major one, so write 2.0.0 or higher
        ::warning file=rules/shop/schemas/sold.json,line=9,endLine=9,col=12,endColumn=22,title=meshgate diff::shop/sold: not backward compatible, which is allowed here%0A/code: pattern was not set, is "^[A-Z]+$"
        ::warning file=rules/shop/schemas/sold.json,line=3,endLine=3,col=14,endColumn=19,title=meshgate diff::shop/sold: not backward compatible, which is allowed here%0A/qty: required was optional, is required
    "#]].assert_eq(&commands);
}

#[test]
fn what_is_allowed_is_no_finding() {
    let home = Home::new();
    home.write("new/shop/schemas/sold.json", STRICT);
    home.write("new/shop/sold.yaml", &SOLD.replace("1.0.0", "2.0.0"));
    assert_eq!(home.diff(&[]).0, 1);
    assert_eq!(home.diff(&["--allow", "none"]).0, 0);
    assert_eq!(home.diff(&["--allow", "forward"]).0, 0);
    assert_eq!(home.diff(&["--allow", "full"]).0, 1);
}

#[test]
fn a_sample_tells_the_verdicts_that_change_and_no_values() {
    let home = Home::new();
    home.write("new/shop/schemas/sold.json", STRICT);
    home.write("new/shop/sold.yaml", &SOLD.replace("1.0.0", "2.0.0").replace("id: paid,", "id: paid, mode: shadow,"));
    home.write("events.ndjson", EVENTS);
    let array = EVENTS.lines().filter(|line| !line.is_empty()).collect::<Vec<_>>().join(",\n");
    home.write("events.json", &format!(" [{array}]\n"));
    let sample = ["--sample", "@/events.ndjson", "--stream", "shop-1", "--allow", "none"];
    home.check(&sample, 0, expect![[r#"
        shop/sold changed, 1.0.0 to 2.0.0
          backward: no
            /code: pattern was not set, is "^[A-Z]+$" (shop/schemas/sold.json#/properties/code/pattern)
            /qty: required was optional, is required (shop/schemas/sold.json#/required)
            /qty: type was number, is integer (shop/schemas/sold.json#/properties/qty/type)
          forward:  yes
          rule paid changed (mode): may now count as shadow, no longer quarantines

        4 events judged, the verdict on 3 changed
        COUNT  CONTRACT   RULE    VERDICT                SUCH AS
        2      shop/sold  schema  forward -> quarantine  line 1, line 2
        1      shop/sold  paid    quarantine -> forward  line 4

        sha256:62bfb796e8ed to sha256:4f99dbc0d75c: 0 contracts added, 0 removed, 1 changed, 1 unchanged; nothing to object to
    "#]]);
    assert_eq!(home.diff(&[&sample[..], &["--fail-on-verdicts"]].concat()).0, 1);
    let array = ["--sample", "@/events.json", "--contract", "shop/sold", "--allow", "none", "--format", "json"];
    let (_, told) = home.diff(&array);
    assert!(told.contains(r#""element 1""#) && told.contains(r#""events":4"#) && !told.contains("secret"), "{told}");
}

#[test]
fn a_sample_needs_a_place() {
    let home = Home::new();
    home.write("events.ndjson", EVENTS);
    let (code, told) = home.diff(&["--sample", "@/events.ndjson"]);
    assert!(code == 2 && told.contains("--stream") && told.contains("--contract"), "{told}");
    let (code, told) = home.diff(&["--sample", "@/events.ndjson", "--stream", "elsewhere"]);
    // `returned` takes its type on every stream, but claims none.
    assert!(code == 2 && told.contains("no contract covers"), "{told}");
    let (code, told) = home.diff(&["--sample", "@/events.ndjson", "--contract", "shop/nothing"]);
    assert!(code == 2 && told.contains("no contract \"shop/nothing\""), "{told}");
    let (code, told) = home.diff(&["--sample", "@/none.ndjson", "--stream", "shop-1"]);
    assert!(code == 2 && told.contains("cannot read"), "{told}");
}

#[test]
fn dead_letters_are_judged_again_by_their_ids() {
    let home = Home::new();
    home.write(
        "new/shop/sold.yaml",
        &SOLD.replace("this.paid,", "this.paid || this.qty == 0.0,").replace("1.0.0", "2.0.0"),
    );
    let set = contract::compile(&rules::read(Path::new(&home.path("old"))).unwrap(), "r1").set;
    let now = Timestamp::from_millis(1_795_341_600_000);
    let letters: Vec<_> = [("5f3a", 0), ("5f3b", 3)]
        .map(|(id, qty)| {
            let event = format!(r#"{{"type":"sold","data":{{"paid":false,"qty":{qty}}}}}"#);
            let record = Record::new(event.into_bytes(), "shop-1".into(), now);
            let terms = crate::gate::judge::Terms::new(1_000);
            crate::gate::judge::judge(&set, &record, terms, now).dead_letter(id.to_owned(), &record, now)
        })
        .into();
    let path = home.path("m.db");
    let store = Store::open(Path::new(&path), LocalOptions::default()).unwrap();
    let sent = Runtime::new().unwrap().block_on(async { store.send("dlq", &letters.iter().collect::<Vec<_>>()).await });
    assert!(sent.iter().all(Result::is_ok));
    home.check(&["--dlq", "--data", "@/m.db"], 0, expect![[r#"
        shop/sold changed, 1.0.0 to 2.0.0
          backward: yes
          forward:  yes
          rule paid changed (expression): may now quarantine, may no longer quarantine

        2 events judged, the verdict on 1 changed
        COUNT  CONTRACT   RULE  VERDICT                SUCH AS
        1      shop/sold  paid  quarantine -> forward  5f3a

        sha256:62bfb796e8ed to sha256:e4ef9bc2acf3: 0 contracts added, 0 removed, 1 changed, 1 unchanged; nothing to object to
    "#]]);
}

#[test]
fn rules_that_do_not_compile_are_no_comparison() {
    let home = Home::new();
    home.write("new/shop/sold.yaml", "kind: EventContract\n");
    let (code, told) = home.diff(&[]);
    assert!(code == 2 && told.contains("do not compile"), "{told}");
    // Those before may have been broken: a repair must not be held up.
    let home = Home::new();
    home.write("old/shop/sold.yaml", "kind: EventContract\n");
    let (code, told) = home.diff(&[]);
    assert!(code == 0 && told.contains("shop/sold added"), "{told}");
}

#[test]
fn colour_is_asked_for() {
    let home = Home::new();
    home.write("new/shop/schemas/sold.json", STRICT);
    let (_, told) = home.diff(&["--color", "always"]);
    assert!(told.contains("\u{1b}[31mno\u{1b}[0m"), "{told}");
}
