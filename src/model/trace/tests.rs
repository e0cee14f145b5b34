use proptest::prelude::*;

use super::*;

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

fn parse(traceparent: &str) -> Option<SpanContext> {
    SpanContext::parse(traceparent, std::iter::empty())
}

fn state_of(headers: &[&str]) -> Option<String> {
    SpanContext::parse(PARENT, headers.iter().copied()).expect("a good parent").state.map(Into::into)
}

#[test]
fn the_specifications_example_is_read_and_written() {
    let context = parse(PARENT).unwrap();
    assert_eq!(context.trace_id.to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
    assert_eq!(context.span_id.to_string(), "00f067aa0ba902b7");
    assert!(context.is_sampled && !context.is_random);
    assert_eq!(context.traceparent(), PARENT);
    assert_eq!(context.trace_id.low(), 0xa3ce_929d_0e0e_4736);
}

/// Cases of W3C's own test suite (`trace-context/test/test.py`) and of the text.
#[test]
fn a_parent_of_another_form_counts_as_absent() {
    let (trace, span) = ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7");
    let zeros = "0".repeat(32);
    for bad in [
        String::new(),
        "00".into(),
        format!("00-{trace}-{span}"),
        format!("00-{trace}-{span}-1"),
        format!("00-{trace}-{span}-01-"),
        format!("00-{trace}-{span}-01-what"),
        format!("00-{trace}-{span}-01."),
        format!("00-{trace}-{span}-0x"),
        format!("ff-{trace}-{span}-01"),
        format!("0f0-{trace}-{span}-01"),
        format!("0-{trace}-{span}-01"),
        format!(".0-{trace}-{span}-01"),
        format!("00-{zeros}-{span}-01"),
        format!("00-{trace}-{}-01", &zeros[..16]),
        format!("00-{}-{span}-01", trace.to_uppercase()),
        format!("00-{trace}-{}-01", span.to_uppercase()),
        format!("00-{trace}-{span}-0A"),
        format!("00-{}-{span}-01", &trace[1..]),
        format!("00-{trace}0-{}-01", &span[1..]),
        format!("00_{trace}-{span}-01"),
        format!("cc-{trace}-{span}-01.what"),
        format!("cc-{trace}-{span}-0112"),
        format!("00-{trace}-é{}-01", &span[2..]),
    ] {
        assert_eq!(parse(&bad), None, "{bad:?}");
    }
    for good in [format!("cc-{trace}-{span}-01"), format!("cc-{trace}-{span}-01-what-the-future-brings")] {
        assert_eq!(parse(&good).unwrap().traceparent(), PARENT, "{good:?}");
    }
    let flags = |flags: &str| parse(&format!("00-{trace}-{span}-{flags}")).unwrap().traceparent();
    // What is not known of the flags is not passed on.
    assert!(flags("ff").ends_with("-03") && flags("fc").ends_with("-00") && flags("02").ends_with("-02"));
}

#[test]
fn a_state_is_passed_on_as_it_came_and_left_out_where_it_is_none() {
    assert_eq!(state_of(&[]), None);
    assert_eq!(state_of(&["", " , ,"]), None);
    assert_eq!(state_of(&["foo=1 , \tbar=a b"]).unwrap(), "foo=1,bar=a b");
    assert_eq!(state_of(&["foo=1", "bar=2"]).unwrap(), "foo=1,bar=2");
    assert_eq!(state_of(&["fw529a3039@dt=FfC-,0_a-z*/=!"]).unwrap(), "fw529a3039@dt=FfC-,0_a-z*/=!");
    let long = "x".repeat(257);
    let bad = ["foo", "foo=", "=1", "Foo=1", "foo=1=2", "foo =1", "foo=1,foo=1", "_a=1", "foo=é", "foo=\u{7f}"];
    for bad in bad.map(str::to_owned).into_iter().chain([format!("{long}=1"), format!("a={long}")]) {
        assert_eq!(state_of(&[&bad]), None, "{bad:?}");
    }
    let many = |count: usize| (0..count).map(|n| format!("k{n}=1")).collect::<Vec<_>>().join(",");
    assert_eq!(state_of(&[&many(32)]).unwrap(), many(32));
    assert_eq!(state_of(&[&many(33)]), None);
}

#[test]
fn a_state_that_is_too_long_loses_its_long_members_first_and_then_its_last() {
    let member = |key: &str, len: usize| format!("{key}={}", "v".repeat(len - key.len() - 1));
    let long = [member("a", 100), member("b", 200), member("c", 128), member("d", 200)].join(",");
    let kept = [member("a", 100), member("b", 200), member("c", 128)].join(",");
    assert_eq!(state_of(&[&long]).unwrap(), kept);
    let short: Vec<String> = (0..6).map(|n| member(&format!("k{n}"), 100)).collect();
    assert_eq!(state_of(&[&short.join(",")]).unwrap(), short[..5].join(","));
}

#[test]
fn x_rays_header_is_the_same_trace() {
    let header = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1";
    let context = SpanContext::parse_xray(header).unwrap();
    assert_eq!(context.traceparent(), "00-5759e988bd862e3fe1be46a994272793-53995c3f42cd8ad8-01");
    assert_eq!(context.xray(), header);
    let with_more =
        format!("Self=1-67891234-12456789abcdef012345678;{header}; Lineage=a87bd80c:0|68fd508a:5|c512fbe3:2");
    assert_eq!(SpanContext::parse_xray(&with_more).unwrap(), context);
    assert!(!SpanContext::parse_xray(&header.replace("Sampled=1", "Sampled=?")).unwrap().is_sampled);
    for bad in [
        "",
        "Root=1-5759e988-bd862e3fe1be46a994272793",
        "Root=2-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1",
        "Root=1-5759e98-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1",
        "Root=1-00000000-000000000000000000000000;Parent=53995c3f42cd8ad8;Sampled=1",
        "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=0000000000000000;Sampled=1",
        "Root=1-5759e988-bd862e3fe1be46a994272793;Parent;Sampled=1",
    ] {
        assert_eq!(SpanContext::parse_xray(bad), None, "{bad:?}");
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read_again(trace: u128, span: u64, is_sampled: bool, is_random: bool) {
        let (trace_id, span_id) = (TraceId::of_random(trace), SpanId::of_random(span));
        let context = SpanContext { trace_id, span_id, is_sampled, is_random, state: None };
        prop_assert_eq!(parse(&context.traceparent()), Some(context.clone()));
        let context = SpanContext { is_random: false, ..context };
        prop_assert_eq!(SpanContext::parse_xray(&context.xray()), Some(context));
    }

    #[test]
    fn nothing_that_comes_makes_it_fail_and_what_is_passed_on_is_bounded_and_plain(
        parent in prop_oneof![".{0,80}", "[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(-.{0,9})?"],
        states in proptest::collection::vec(prop_oneof![".{0,80}", "([a-z0-9][a-z@]{0,9}=[!-+]{1,200},?){0,9}"], 0..4),
        xray in prop_oneof![".{0,99}", "Root=1-[0-9a-f]{7,8}-[0-9a-f]{24};Parent=[0-9a-f]{16};Sampled=[01?]"],
    ) {
        let read = SpanContext::parse(&parent, states.iter().map(String::as_str));
        for context in read.into_iter().chain(SpanContext::parse_xray(&xray)) {
            prop_assert_eq!(context.traceparent().len(), 55);
            let again = SpanContext::parse(&context.traceparent(), context.state.as_deref().into_iter());
            prop_assert_eq!(again.as_ref(), Some(&context));
            if let Some(state) = &context.state {
                prop_assert!(state.len() <= 512 && state.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
            }
        }
    }
}
