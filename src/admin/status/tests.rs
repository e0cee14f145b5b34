use expect_test::expect;

use super::*;

fn headers(accept: &[&str]) -> HeaderMap {
    accept.iter().map(|value| (ACCEPT, HeaderValue::from_str(value).unwrap())).collect()
}

#[test]
fn browsers_get_the_page_and_others_the_list() {
    for (accept, is_page) in [
        (&["text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"][..], true),
        (&["application/json", "Text/HTML;q=0.5"], true),
        (&["*/*"], false),
        (&["application/json"], false),
        (&[], false),
    ] {
        assert_eq!(is_browser(&headers(accept)), is_page, "{accept:?}");
    }
}

#[test]
fn the_page_stands_alone_under_a_policy_that_fits_it() {
    let response = page();
    let header = |name: HeaderName| response.headers()[name].to_str().unwrap().to_owned();
    assert_eq!((header(CACHE_CONTROL), header(X_CONTENT_TYPE_OPTIONS)), ("no-store".into(), "nosniff".into()));
    let policy = header(CONTENT_SECURITY_POLICY);
    assert!(policy.starts_with("default-src 'none'; ") && !policy.contains("unsafe"), "{policy}");
    let page = String::from_utf8(PAGE.0.to_vec()).unwrap();
    for (open, close) in [("<style>", "</style>"), ("<script>", "</script>")] {
        let inside = page.split_once(open).unwrap().1.split_once(close).unwrap().0;
        let hash = BASE64.encode(Sha256::digest(inside));
        assert!(policy.contains(&hash), "{open} is not what the policy allows");
    }
    // Names of namespaces lead nowhere.
    let page = page.replace("http://www.w3.org/2000/svg", "");
    for outside in ["src=\"", "http://", "https://fonts", "@import", "url(", "innerHTML ="] {
        assert!(!page.contains(outside), "{outside}");
    }
    assert!(!page.contains(" style=\"") && !page.contains(" onclick"), "the policy would not have it");
}

const FIXED: &str = include_str!("testdata/status.json");

fn fixed() -> document::Status {
    serde_json::from_str(FIXED).unwrap()
}

/// The form that programs rely on: a member that is renamed or lost shows here.
#[test]
fn the_document_keeps_its_form() {
    let written: serde_json::Value = serde_json::from_str(FIXED).unwrap();
    let read = serde_json::to_value(fixed()).unwrap();
    assert_eq!(format!("{read:#}"), format!("{written:#}"));
    assert_eq!(fixed().schema, document::SCHEMA);
}

#[test]
fn what_is_wrong_is_told_in_words_the_worst_first() {
    let told = |health: document::Health| {
        let concerns = health.concerns.into_iter().map(|concern| format!("{:?}: {}\n", concern.state, concern.text));
        format!("{:?}: {}\n{}", health.state, health.sentence, concerns.collect::<String>())
    };
    let mut status = fixed();
    status.gate.phase = "draining".to_owned();
    status.in_flight.records = 16_000;
    status.rules.source.error = Some("the remote is down".to_owned());
    status.spool.as_mut().unwrap().bytes = 900 << 20;
    expect![[r#"
        Error: The gate is in trouble: 13 things to look at.
        Error: The dead-letter queue orders-dlq takes nothing since 2026-11-28T11:58:00.000Z (unavailable).
        Error: The spool is 87 % full: what it cannot take stays with its producers.
        Error: orders-raw/shardId-000000000001 stands still for 75 s: its first record cannot be settled.
        Warning: The gate drains: it answers the requests in progress and takes no new ones.
        Warning: 6 events were not settled in the last minute: their producers have them, and were told to send them again.
        Warning: 16000 records are in flight, of 20000 at most: producers are about to be told to slow down.
        Warning: The spool holds 270 entries for far ends that are away, or were until now.
        Warning: The spool keeps 1 entry aside that cannot be delivered as they are: GET /spool says why.
        Warning: The breaker of orders/order.placed is half open since 2026-11-28T11:57:00.000Z: its events go on being judged.
        Warning: orders/order.placed passed 97.4 % of the last hour's events; its objective is 99.5 %.
        Warning: The newest rules of orders do not compile: revision 9f2c0d7be3a14f6c8a5b0e1d2c3f4a5b6c7d8e9f judges.
        Warning: The newest rules cannot be had: the last good ones stay in force.
        Warning: No gate reads 1 of the shards of orders-raw.
    "#]]
    .assert_eq(&told(health::assess(&status)));
    (status.far_ends, status.contracts, status.spool, status.streams) = (vec![], vec![], None, vec![]);
    status.gate.phase = "ready".to_owned();
    status.rules.source.error = None;
    status.rules.domains.clear();
    (status.in_flight.records, status.rates.last_minute.unsettled) = (1, 0);
    expect![[r#"
        Good: All is well. Every event of the last minute was settled.
    "#]]
    .assert_eq(&told(health::assess(&status)));
    status.rates.last_minute = document::Counts::default();
    expect![[r#"
        Good: All is well. No event came in the last minute.
    "#]]
    .assert_eq(&told(health::assess(&status)));
}

#[test]
fn too_few_events_say_nothing_of_an_objective() {
    let mut status = fixed();
    let placed = status.contracts.iter_mut().find(|contract| contract.contract == "order.placed").unwrap();
    placed.breaker = None;
    placed.last_hour = document::Counts { forwarded: 9, quarantined: 10, pass_rate: Some(0.47), ..Default::default() };
    let told = health::assess(&status).concerns;
    assert!(told.iter().all(|concern| !concern.text.contains("objective")), "{told:?}");
}

#[test]
fn a_failure_of_long_ago_is_no_trouble_of_now() {
    let mut status = fixed();
    status.far_ends[0].state = document::FAILED.to_owned();
    let told = health::assess(&status).concerns;
    let of_queue = told.iter().find(|concern| concern.text.contains("dead-letter queue")).unwrap();
    assert_eq!(of_queue.state, document::State::Warning);
    let words = "The dead-letter queue orders-dlq took nothing when it was last called, 2026-11-28T11:59:59.000Z (unavailable).";
    assert_eq!(of_queue.text, words);
}
