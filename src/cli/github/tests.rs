use std::collections::BTreeMap;

use expect_test::expect;
use proptest::prelude::*;

use super::*;

/// What the runner makes of a line: actions/runner, `ActionCommand.TryParseV2` and `TryParse`, but for what a command is called:
/// here any name is one.
#[derive(Debug, PartialEq)]
struct Command {
    name: String,
    properties: BTreeMap<String, String>,
    data: String,
}

fn parse(line: &str) -> Option<Command> {
    let v2 = || {
        let (info, data) = line.trim_start().strip_prefix("::")?.split_once("::")?;
        let (name, properties) = info.split_once(' ').unwrap_or((info, ""));
        let properties = properties.trim().split(',').filter_map(|property| property.split_once('='));
        let unescape = |text: &str| text.replace("%0D", "\r").replace("%0A", "\n");
        Some(Command {
            name: name.to_owned(),
            properties: properties
                .map(|(key, value)| {
                    let value = unescape(value).replace("%3A", ":").replace("%2C", ",").replace("%25", "%");
                    (key.to_owned(), value)
                })
                .collect(),
            data: unescape(data).replace("%25", "%"),
        })
    };
    let v1 = || {
        let (name, data) = line.split_once("##[")?.1.split_once(']')?;
        Some(Command { name: name.to_owned(), properties: BTreeMap::new(), data: data.to_owned() })
    };
    v2().or_else(v1)
}

/// As .NET's `ReadLine` takes lines.
fn commands(output: &str) -> Vec<Command> {
    output.split(['\n', '\r']).filter_map(parse).collect()
}

fn annotation(level: Level, file: &str, message: &str) -> Annotation {
    let place = Place { file: file.to_owned(), line: 3, column: 2, end_column: 5, span: (0, 0) };
    Annotation { level, place: Some(place), title: "meshgate, 1:2".to_owned(), message: message.to_owned() }
}

fn written(log: &str, annotations: Vec<Annotation>) -> String {
    let mut out = Vec::new();
    write(&Told { log: log.to_owned(), annotations, summary: Markdown::default() }, "rules/", &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn commands_escape_what_would_end_them() {
    let annotations = vec![
        annotation(Level::Error, "a b,c.yaml", "100%: x\n::stop-commands::y"),
        Annotation { place: None, ..annotation(Level::Note, "", "of all") },
    ];
    expect![[r#"
        two lines
        ::error file=rules/a b%2Cc.yaml,line=3,endLine=3,col=2,endColumn=5,title=meshgate%2C 1%3A2::100%25: x%0A::stop-commands::y
        ::notice title=meshgate%2C 1%3A2::of all
    "#]]
    .assert_eq(&written("two lines\n", annotations));
}

#[test]
fn what_github_would_not_show_is_counted() {
    let of = |level, n| vec![annotation(level, "a", "m"); n];
    let annotations = [of(Level::Note, 12), of(Level::Error, 13), of(Level::Warning, 10)].concat();
    let output = written("", annotations);
    let commands = commands(&output);
    let named = |name: &str| commands.iter().filter(|command| command.name == name).count();
    assert_eq!((named("error"), named("warning"), named("notice")), (10, 10, 10));
    expect!["3 more errors, 3 more notes: see the log of this step. GitHub shows 10 of a kind for each step"]
        .assert_eq(&commands.last().unwrap().data);
    let output = written("", vec![annotation(Level::Note, "a", "m"); 10]);
    assert_eq!(super::tests::commands(&output).len(), 10, "what fits needs no word");
}

#[test]
fn the_words_of_rule_files_are_no_commands() {
    let log = "::error::forged\n  ::stop-commands::x\nfine ##[add-mask]e\n\u{a0}::error::a\n\u{200b}::error::b\nrun\r::debug::c\n: d\n";
    let shown = written(log, Vec::new());
    assert_eq!(commands(&shown), []);
    expect![[r#"
        | ::error::forged
        |   ::stop-commands::x
        fine # #[add-mask]e
        | (nbsp)::error::a
        | (zwsp)::error::b
        run\u000d::debug::c
        | : d
    "#]]
    .assert_eq(&shown.replace('\u{a0}', "(nbsp)").replace('\u{200b}', "(zwsp)"));
}

#[test]
fn files_are_named_from_the_top_of_their_repository() {
    let home = tempfile::TempDir::new().unwrap();
    let dir = home.path().join("a/rules");
    std::fs::create_dir_all(&dir).unwrap();
    let outside = prefix(&dir);
    assert!(outside.ends_with("a/rules/") && Path::new(&outside).is_absolute(), "{outside}");
    std::fs::create_dir(home.path().join(".git")).unwrap();
    assert_eq!(prefix(&dir), "a/rules/");
    assert_eq!(prefix(home.path()), "");
}

const PARTS: [&str; 15] =
    ["::", "##[", "]", "%0A", "%25", "\n", "\r", " ", "error", "stop-commands", ",", "=", ":", "\u{feff}", "é"];

/// Text that looks like what the runner looks for.
fn text() -> impl Strategy<Value = String> {
    let part = prop_oneof![prop::sample::select(&PARTS[..]).prop_map(str::to_owned), any::<String>()];
    prop::collection::vec(part, 0..8).prop_map(|parts| parts.concat())
}

proptest! {
    #[test]
    fn what_is_escaped_is_read_as_it_was(text in text(), file in text()) {
        let line = format!("::error file={},line=1::{}", property(&file), data(&text));
        prop_assert!(!line.contains(['\n', '\r']));
        let command = parse(&line).unwrap();
        prop_assert_eq!(&command.name, "error");
        prop_assert_eq!(command.properties.get("file").map_or("", |file| &file[..]), &file[..]);
        prop_assert_eq!(command.properties.get("line").map(|line| &line[..]), Some("1"));
        prop_assert_eq!(command.data, text);
    }

    #[test]
    fn no_text_becomes_a_command(log in text(), file in text(), message in text()) {
        let annotations = vec![annotation(Level::Error, &file, &message)];
        let output = written(&(log + "\n"), annotations);
        let commands = commands(&output);
        prop_assert_eq!(commands.len(), 1, "{}", output);
        prop_assert_eq!(&commands[0].name, "error");
        prop_assert_eq!(&commands[0].properties["line"], "3");
        prop_assert!(!output.contains("##[") || commands[0].data.contains("##[") || file.contains("##["));
    }
}
