//! `gate::delivery` under properties: a simulated sink that throttles, fails in part or as a whole, refuses, stores and
//! then loses its answer, and answers open calls in any order. Each case is one seed; proptest shrinks it.

use std::collections::{HashMap, HashSet};

use meshgate::gate::delivery::{Call, Delivery, Entry, Limits, RetryPolicy, Step};
use meshgate::model::{Trouble, Unsettled};
use proptest::prelude::*;

/// One batch and the bounds it is delivered within.
#[derive(Debug, Clone)]
struct Case {
    entries: Vec<(usize, Option<u8>)>,
    limits: Limits,
    policy: RetryPolicy,
    /// Out of 256: how likely an entry is throttled, fails, is refused; a whole call fails; an answer is
    /// lost; an answer leaves an entry out.
    odds: [u8; 6],
    seed: u64,
}

fn cases() -> impl Strategy<Value = Case> {
    let entries = prop::collection::vec((0usize..60, prop::option::weighted(0.7, 0u8..5)), 0..80);
    let limits = (1usize..12, 1usize..150, 1usize..5);
    let policy = (1u32..6, 0u64..200, 0u64..2_000, 0u64..3_000, 0u64..20_000);
    (entries, limits, policy, prop::array::uniform6(0u8..90), any::<u64>()).prop_map(
        |(
            entries,
            (per_call, bytes, open),
            (attempts_max, base_ms, throttled_base_ms, cap_ms, deadline_ms),
            odds,
            seed,
        )| {
            Case {
                entries,
                limits: Limits { entries: per_call, bytes, open },
                policy: RetryPolicy { attempts_max, base_ms, throttled_base_ms, cap_ms, deadline_ms },
                odds,
                seed,
            }
        },
    )
}

/// The far end, with all it was ever sent.
struct Sink {
    random: fastrand::Rng,
    odds: [u8; 6],
    /// Entries in the order they were stored, repetitions included.
    stored: Vec<usize>,
    /// Entries that were told they are refused.
    refused: HashSet<usize>,
}

impl Sink {
    fn chance(&mut self, which: usize) -> bool {
        self.random.u8(..) < self.odds[which]
    }

    fn answer(&mut self, entries: &[usize]) -> Vec<Result<usize, Unsettled>> {
        if self.chance(3) {
            return entries.iter().map(|_| failed(Trouble::Unavailable)).collect();
        }
        let answers: Vec<_> = entries.iter().map(|&entry| self.answer_one(entry)).collect();
        if self.chance(4) {
            // Stored, and nobody hears of it.
            return entries.iter().map(|_| failed(Trouble::Unavailable)).collect();
        }
        if self.chance(5) {
            return answers.into_iter().skip(1).collect();
        }
        for (&entry, answer) in entries.iter().zip(&answers) {
            if answer.as_ref().is_err_and(|e| e.trouble == Trouble::Rejected) {
                self.refused.insert(entry);
            }
        }
        answers
    }

    fn answer_one(&mut self, entry: usize) -> Result<usize, Unsettled> {
        for (which, trouble) in [Trouble::Throttled, Trouble::Unavailable, Trouble::Rejected].into_iter().enumerate() {
            if self.chance(which) {
                return failed(trouble);
            }
        }
        self.stored.push(entry);
        Ok(entry)
    }
}

fn failed(trouble: Trouble) -> Result<usize, Unsettled> {
    Err(Unsettled { trouble, message: "simulated".into() })
}

/// What happened, to be judged when it is over.
struct Story {
    results: Vec<Result<usize, Unsettled>>,
    sent: Vec<u32>,
    sink: Sink,
    lasted_ms: u64,
}

/// Plays a case to its end on a virtual clock, and holds on the way what must hold at every step.
fn play(case: &Case) -> Result<Story, TestCaseError> {
    let keys: Vec<Option<String>> = case.entries.iter().map(|(_, key)| key.map(|k| k.to_string())).collect();
    let entries = case.entries.iter().zip(&keys).map(|(&(bytes, _), key)| Entry { bytes, key: key.as_deref() });
    let start_ms = 1_000;
    let mut now_ms: u64 = start_ms;
    let mut delivery: Delivery<usize> = Delivery::new(entries, case.limits, case.policy, now_ms);
    let random = fastrand::Rng::with_seed(case.seed);
    let mut sink = Sink { random, odds: case.odds, stored: Vec::new(), refused: HashSet::new() };
    let mut sent = vec![0u32; case.entries.len()];
    let mut open: Vec<Call> = Vec::new();
    // Each entry is sent at most `attempts_max` times, and each step sends, answers or waits for one of these.
    let steps_max = 10 + 6 * case.entries.len() * case.policy.attempts_max as usize;
    for _ in 0..steps_max {
        match delivery.next(now_ms) {
            Step::Done => {
                prop_assert!(open.is_empty(), "done while a call is open");
                return Ok(Story { results: delivery.into_results(), sent, sink, lasted_ms: now_ms - start_ms });
            }
            Step::Call(call) => {
                prop_assert!(now_ms - start_ms < case.policy.deadline_ms, "no call starts at or after the deadline");
                check_call(case, &call, &open, &sent)?;
                call.entries.iter().for_each(|&entry| sent[entry] += 1);
                open.push(call);
            }
            Step::Wait(until_ms) => {
                prop_assert!(until_ms.is_some() || !open.is_empty(), "waits for nothing");
                let wait_first = open.is_empty() || sink.random.bool();
                if let (true, Some(until_ms)) = (wait_first, until_ms) {
                    prop_assert!(until_ms > now_ms, "asks to wait for the past");
                    now_ms = until_ms;
                } else {
                    now_ms += sink.random.u64(..1_500);
                    let call = open.swap_remove(sink.random.usize(..open.len()));
                    let answers = sink.answer(&call.entries);
                    delivery.answer(now_ms, call.id, answers, sink.random.f64());
                }
            }
        }
    }
    Err(TestCaseError::fail(format!("not done after {steps_max} steps")))
}

fn check_call(case: &Case, call: &Call, open: &[Call], sent: &[u32]) -> Result<(), TestCaseError> {
    let limits = case.limits;
    prop_assert!(!call.entries.is_empty());
    prop_assert!(call.entries.len() <= limits.entries);
    prop_assert!(call.entries.iter().map(|&e| case.entries[e].0).sum::<usize>() <= limits.bytes);
    prop_assert!(open.len() < limits.open);
    prop_assert_eq!(call.repeats, call.entries.iter().any(|&e| sent[e] > 0));
    let mut keys_in_flight = HashSet::new();
    let mut entries_in_flight = HashSet::new();
    for &entry in open.iter().flat_map(|other| &other.entries).chain(&call.entries) {
        prop_assert!(entries_in_flight.insert(entry), "entry {} is in flight twice", entry);
        if let Some(key) = case.entries[entry].1 {
            prop_assert!(keys_in_flight.insert(key), "key {} is in flight twice", key);
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_entry_ends_with_its_one_true_result(case in cases()) {
        let story = play(&case)?;
        prop_assert_eq!(story.results.len(), case.entries.len());
        for (entry, result) in story.results.iter().enumerate() {
            let (bytes, _) = case.entries[entry];
            let sent = story.sent[entry];
            prop_assert!(sent <= case.policy.attempts_max);
            match result {
                Ok(stored) => {
                    prop_assert_eq!(*stored, entry, "the answer of another entry");
                    prop_assert!(story.sink.stored.contains(&entry));
                }
                Err(failure) if bytes > case.limits.bytes => {
                    prop_assert_eq!(sent, 0);
                    prop_assert!(failure.message.contains("not sent"));
                }
                Err(failure) if story.sink.refused.contains(&entry) => {
                    prop_assert_eq!(failure.trouble, Trouble::Rejected);
                }
                Err(failure) => {
                    // Never sent, and said so; or sent, and out of attempts or of time.
                    prop_assert!(failure.trouble.is_retryable());
                    prop_assert_eq!(sent == 0, failure.message.contains("not sent"), "{}", failure.message);
                    if sent > 0 && sent < case.policy.attempts_max {
                        let spare_ms = case.policy.deadline_ms.saturating_sub(story.lasted_ms);
                        prop_assert!(spare_ms <= case.policy.cap_ms, "gave up with {} ms to spare", spare_ms);
                    }
                }
            }
        }
    }

    #[test]
    fn order_within_a_key_holds(case in cases()) {
        let story = play(&case)?;
        let mut last_stored: HashMap<u8, usize> = HashMap::new();
        for &entry in &story.sink.stored {
            if let Some(key) = case.entries[entry].1 {
                let last = last_stored.insert(key, entry);
                prop_assert!(last.is_none_or(|last| last <= entry), "{} was stored after {:?}", entry, last);
            }
        }
        // Once one of a key has failed, nothing of that key after it was even sent.
        let mut failed_keys = HashSet::new();
        for (entry, result) in story.results.iter().enumerate() {
            if let Some(key) = case.entries[entry].1 {
                if failed_keys.contains(&key) {
                    prop_assert!(result.is_err());
                    prop_assert_eq!(story.sent[entry], 0);
                }
                if result.is_err() {
                    failed_keys.insert(key);
                }
            }
        }
    }

    #[test]
    fn a_healthy_sink_gets_everything_once(case in cases()) {
        let mut case = Case { odds: [0; 6], ..case };
        case.policy.deadline_ms = u64::MAX;
        case.entries.retain(|(bytes, _)| *bytes <= case.limits.bytes);
        let story = play(&case)?;
        prop_assert!(story.results.iter().all(Result::is_ok));
        prop_assert!(story.sent.iter().all(|times| *times == 1));
        prop_assert_eq!(story.sink.stored.len(), case.entries.len());
    }
}
