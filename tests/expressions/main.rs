//! Proof of equality: compiled expressions and field checks against the `cel` crate and the tree, on mutated events.
//!
//! Expressions are those of the sample contracts, of `src/rule/expr/tests.rs`, and generated ones, well and badly typed. Where
//! the compiled form is sure, it must say what the crate says, errors included. Each run is the same: all randomness comes from
//! a seed. MESHGATE_MUTANTS sets how many mutants a test judges, MESHGATE_SEED the seed:
//!
//!     MESHGATE_MUTANTS=1000000 MESHGATE_SEED=7 cargo test --test expressions -- --nocapture

mod generate;
#[path = "../plan/mutate.rs"]
mod mutate;
mod samples;
mod subject;

use fastrand::Rng;
use meshgate::rule::expr::Yields;

use crate::mutate::mutate;
use crate::samples::EVERYTHING;
use crate::subject::{Case, Subject, Tally};

fn setting(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().expect("a number"))
}

fn mutants(otherwise: u64) -> u64 {
    setting("MESHGATE_MUTANTS", otherwise)
}

fn rng() -> Rng {
    Rng::with_seed(setting("MESHGATE_SEED", 2026))
}

/// Compares both ways on the subject's events and mutants of them, and panics at the first disagreement.
fn assert_equal_on_mutants(subject: &Subject, mutants: u64, rng: &mut Rng) -> Tally {
    let mut tally = Tally::default();
    let compare =
        |bytes: &[u8], tally: &mut Tally| subject.compare(bytes, tally).unwrap_or_else(|told| panic!("{told}"));
    subject.events.iter().for_each(|event| compare(event, &mut tally));
    for _ in 0..mutants {
        let event = rng.usize(..subject.events.len());
        compare(&mutate(rng, &subject.events[event]), &mut tally);
    }
    tally
}

#[test]
fn the_sample_rules_are_judged_alike() {
    let (mut rng, mut all) = (rng(), Tally::default());
    let subjects = samples::contracts();
    assert!(subjects.len() >= 4, "the samples have four contracts");
    for subject in &subjects {
        for case in &subject.cases {
            // What a person is told of an order names no private field; so all is covered.
            assert!(case.expression.has_slots(), "{} is covered", case.source);
        }
        assert!(subject.fields.iter().all(|field| field.has_slots()));
        let tally = assert_equal_on_mutants(subject, mutants(10_000) / subjects.len() as u64, &mut rng);
        eprintln!("{}: {tally:?}", subject.name);
        all += tally;
    }
    assert!(all.sure * 10 > (all.sure + all.unsure) * 9, "nine of ten are sure: {all:?}");
    assert!(all.missing > 100 && all.found > 100, "errors and findings are among them: {all:?}");
}

#[test]
fn what_rules_say_is_judged_alike() {
    let subject = samples::everything(&samples::SAYINGS);
    let tally = assert_equal_on_mutants(&subject, mutants(2_000), &mut rng());
    eprintln!("sayings: {} of {} covered, {tally:?}", subject.cases.len(), samples::SAYINGS.len());
    assert!(subject.cases.len() * 2 > samples::SAYINGS.len());
}

#[test]
fn generated_expressions_are_judged_alike() {
    let (mut rng, mut all) = (rng(), Tally::default());
    let (mut judged, mut written, mut covered) = (0, 0, 0);
    while judged < mutants(10_000) {
        let sources: Vec<String> = (0..20).map(|_| generate::source(&mut rng)).collect();
        let subject = samples::everything(&sources.iter().map(String::as_str).collect::<Vec<_>>());
        written += sources.len();
        covered += subject.cases.len();
        all += assert_equal_on_mutants(&subject, 50, &mut rng);
        judged += 50;
    }
    eprintln!("generated: {covered} of {written} covered, {judged} mutants, {all:?}");
    assert!(covered * 2 > written && all.sure > all.unsure, "{covered} of {written}, {all:?}");
    assert!(all.yes > 100 && all.no > 100 && all.missing > 100, "{all:?}");
}

#[test]
fn single_values_are_read_alike() {
    let subject = samples::scalars();
    assert!(subject.cases.len() > 20, "{} are covered", subject.cases.len());
    let tally = assert_equal_on_mutants(&subject, mutants(5_000), &mut rng());
    assert!(tally.scalar > 1000 && tally.missing > 100, "{tally:?}");
}

/// The test can fail: an expression that differs in one operator, name or constant is found out.
#[test]
fn an_expression_that_errs_is_found_out() {
    let sabotages = [
        ("this.i < 10000", "this.i <= 10000"),
        ("this.l.all(x, x.i > 0)", "this.l.exists(x, x.i > 0)"),
        ("this.l.map(x, x.i).sum() == 6", "this.l.map(x, x.n).sum() == 6"),
        ("this.i == 2 && this.b", "this.b && this.i == 2"),
        ("this.i + 1 > 2", "this.i - 1 > 2"),
        ("this.s in ['ab', 'a']", "this.s in ['ab', 'b']"),
        ("this.s.startsWith('a')", "this.s.endsWith('a')"),
        ("this.o.s == 'ab'", "this.s == 'ab'"),
        ("has(this.o.i)", "has(this.o.n)"),
        ("this.n / 2 == 1.25", "this.i / 2 == 1"),
        ("timestamp(this.t) < now", "timestamp(this.t) <= now"),
        ("this.q.exists_one(x, x == 'x')", "this.q.exists(x, x == 'x')"),
    ];
    for (written, instead) in sabotages {
        let mut subject = samples::everything(&[written]);
        let [case] = subject.cases.as_mut_slice() else { panic!("{written} is covered") };
        case.sabotage(Case::new(instead, Yields::Bool).expect("an expression"));
        subject.read_slots();
        let (mut rng, mut tally) = (rng(), Tally::default());
        let mut differs = || subject.compare(&mutate(&mut rng, EVERYTHING.as_bytes()), &mut tally).is_err();
        assert!((0..40_000).any(|_| differs()), "{written} as {instead} is not found out");
    }
}

/// What the compiled rules and fields of one order cost, its captures made: by the clock, or under `valgrind --tool=callgrind`
/// with MESHGATE_MEASURE naming a part, as the difference of two MESHGATE_TURNS.
///
///     cargo test --release --test expressions -- --ignored --nocapture order_costs
#[test]
#[ignore = "a measurement"]
fn an_order_costs() {
    let subjects = samples::contracts();
    let order = subjects.iter().find(|subject| subject.name == "order.placed").expect("a sample");
    let event = include_str!("../../benches/order.json").trim_end().replace("{number}", "20001");
    let turns = setting("MESHGATE_TURNS", 200_000);
    order.measure(&event, turns);
}
