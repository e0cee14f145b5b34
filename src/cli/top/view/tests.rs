use expect_test::expect_file;

use super::*;

fn fixed() -> Status {
    serde_json::from_str(include_str!("../../../admin/status/testdata/status.json")).unwrap()
}

#[test]
fn a_report_for_a_pipe() {
    expect_file!["./testdata/report.txt"].assert_eq(&report(&fixed(), &Look::whole()));
}

#[test]
fn a_screen_is_never_exceeded() {
    for (columns, rows) in [(80, 24), (120, 40), (200, 60), (20, 5), (1, 1)] {
        let look = Look { columns, rows, colours: false, trouble: Some("no gate answers") };
        let text = report(&fixed(), &look);
        assert!(text.lines().count() <= rows, "{columns}x{rows}: {text}");
        assert!(text.lines().all(|line| line.chars().count() <= columns), "{columns}x{rows}: {text}");
    }
    let look = Look { columns: 100, rows: 30, colours: false, trouble: Some("no gate answers at 127.0.0.1:9570") };
    expect_file!["./testdata/screen.txt"].assert_eq(&report(&fixed(), &look));
}

#[test]
fn colours_are_all_that_colours_add() {
    let colours = report(&fixed(), &Look { colours: true, ..Look::whole() });
    let plain: String = colours
        .split("\x1b[")
        .enumerate()
        .map(|(index, part)| if index == 0 { part } else { part.split_once('m').unwrap().1 })
        .collect();
    let plain: String = plain.lines().map(|line| format!("{}\n", line.trim_end())).collect();
    assert_eq!(plain, report(&fixed(), &Look::whole()));
    assert!(!plain.contains('\x1b'));
}

#[test]
fn what_is_not_there_is_said_in_words() {
    let mut status = fixed();
    (status.contracts, status.violations, status.refusals) = (vec![], vec![], vec![]);
    (status.far_ends, status.dead_letters, status.spool, status.streams) = (vec![], vec![], None, vec![]);
    let text = report(&status, &Look::whole());
    for words in ["No contract is in force.", "No rule was violated in the last hour.", "No event was refused"] {
        assert!(text.contains(words), "{text}");
    }
    assert!(!text.contains("FAR END") && !text.contains("spool"), "{text}");
}

#[test]
fn numbers_are_grouped_and_times_short() {
    assert_eq!([0, 999, 1_000, 12_345_678].map(number), ["0", "999", "1,000", "12,345,678"]);
    assert_eq!([-5, 119, 120, 7_200, 172_800].map(span), ["0 s", "119 s", "2 min", "2 h", "2 days"]);
    assert_eq!([0.0, 0.25, 12.34, 99.96, 1234.5].map(per_second), ["0", "0.3", "12.3", "100", "1,235"]);
}
