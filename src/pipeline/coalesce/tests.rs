use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use fastrand::Rng;
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use super::*;
use crate::model::Timestamp;

const LIMITS: CallLimits = CallLimits { entries: 20, bytes: 4_000 };
const PATIENCE: Duration = Duration::from_secs(20);

/// What a script does with a call: how long it takes, and whether it fails, panics or answers too little.
#[derive(Clone, Copy, PartialEq)]
enum End {
    Answers,
    Fails,
    Panics,
    IsShort,
}

/// A sink that keeps its calls, checks their bounds, and answers a record with its own data: placed, or as a message.
struct Scripted {
    rng: Mutex<Option<Rng>>,
    calls: Mutex<Vec<Vec<String>>>,
    /// Calls wait for a permit each, where there are not plenty.
    gate: Semaphore,
    open: AtomicUsize,
    ordered: bool,
    keys: Mutex<HashSet<String>>,
}

impl Scripted {
    fn new(rng: Option<Rng>, permits: usize, ordered: bool) -> Arc<Self> {
        Arc::new(Self {
            rng: Mutex::new(rng),
            calls: Mutex::default(),
            gate: Semaphore::new(permits),
            open: AtomicUsize::new(0),
            ordered,
            keys: Mutex::default(),
        })
    }

    fn calls(&self) -> Vec<Vec<String>> {
        self.calls.lock().unwrap().clone()
    }

    fn plan(&self) -> (Duration, End, u64) {
        let mut rng = self.rng.lock().unwrap();
        let Some(rng) = rng.as_mut() else { return (Duration::ZERO, End::Answers, 0) };
        let end = match rng.u8(..20) {
            0 => End::Fails,
            1 => End::Panics,
            2 => End::IsShort,
            _ => End::Answers,
        };
        (Duration::from_micros(rng.u64(..3_000)), end, rng.u64(..))
    }

    /// Notes which keys come and go, and that none is under way twice.
    fn keys(&self, records: &[&Record], come: bool) {
        let mut under_way = self.keys.lock().unwrap();
        for key in records.iter().filter_map(|record| record.partition_key.clone()).filter(|_| self.ordered) {
            assert!(if come { under_way.insert(key) } else { under_way.remove(&key) }, "a key twice");
        }
    }
}

fn failure(text: &str) -> Unsettled {
    Unsettled { trouble: Trouble::Unavailable, message: text.into() }
}

impl MeshSink for Scripted {
    fn call_limits(&self) -> CallLimits {
        LIMITS
    }

    fn gains_by_sharing(&self) -> bool {
        true
    }

    fn put<'a>(&'a self, _: &'a str, records: &'a [&'a Record]) -> BoxFuture<'a, Answers> {
        Box::pin(async move {
            assert!(records.len() <= LIMITS.entries);
            assert!(records.iter().map(|record| record.size()).sum::<usize>() <= LIMITS.bytes);
            assert!(self.open.fetch_add(1, SeqCst) < CALLS_OPEN_MAX);
            self.keys(records, true);
            let texts: Vec<String> = records.iter().map(|r| String::from_utf8_lossy(&r.data).into_owned()).collect();
            self.calls.lock().unwrap().push(texts.clone());
            self.gate.acquire().await.unwrap().forget();
            let (time, end, mut bits) = self.plan();
            sleep(time).await;
            self.keys(records, false);
            self.open.fetch_sub(1, SeqCst);
            assert!(end != End::Panics, "scripted to panic");
            let short = usize::from(end == End::IsShort);
            let answer = |text: String| {
                bits = bits.rotate_left(1);
                if end == End::Fails || bits & 7 == 7 {
                    return Err(failure(&text));
                }
                Ok(Placement { shard_id: "s".into(), sequence_number: text })
            };
            texts.into_iter().skip(short).map(answer).collect()
        })
    }
}

fn record(text: &str, key: &str) -> Record {
    Record { partition_key: Some(key.into()), ..Record::new(text.to_owned(), "s".into(), Timestamp::default()) }
}

async fn put(coalescer: &Coalescer, ordering: Ordering, records: &[Record]) -> Answers {
    let borrowed: Vec<&Record> = records.iter().collect();
    coalescer.ordered_by(ordering).put("orders", &borrowed).await
}

/// Many requests at once, some of which go away, over a sink that fails in every way.
async fn storm(seed: u64, ordering: Ordering) {
    let mut rng = Rng::with_seed(seed);
    let sink = Scripted::new(Some(rng.fork()), 1_000_000, ordering == Ordering::Key);
    let coalescer = Arc::new(Coalescer::new(Arc::clone(&sink) as _));
    let mut requests = JoinSet::new();
    for number in 0..600 {
        let key = |part: u32, rng: &mut Rng| format!("{part}-{}", rng.u8(..40));
        let records: Vec<Record> =
            (0..rng.u32(1..4)).map(|part| record(&format!("{number}/{part}"), &key(part, &mut rng))).collect();
        let (start, patience) = (rng.u64(..20_000), if rng.u8(..5) == 0 { rng.u64(..4_000) } else { 60_000_000 });
        let coalescer = Arc::clone(&coalescer);
        requests.spawn(async move {
            sleep(Duration::from_micros(start)).await;
            let answers = timeout(Duration::from_micros(patience), put(&coalescer, ordering, &records)).await;
            (records, answers.ok())
        });
    }
    let mut heard = 0;
    let mut placed = HashSet::new();
    while let Some(ended) = timeout(PATIENCE, requests.join_next()).await.expect("no request waits for ever") {
        let (records, Some(answers)) = ended.unwrap() else { continue };
        assert_eq!(answers.len(), records.len());
        for (record, answer) in records.iter().zip(answers) {
            match answer {
                Ok(placement) => {
                    assert_eq!(placement.sequence_number, record.data, "another's answer (seed {seed})");
                    placed.insert(placement.sequence_number);
                }
                Err(told) => {
                    assert!(told == lost() || told.message.as_bytes() == record.data, "{told:?} (seed {seed})")
                }
            }
            heard += 1;
        }
    }
    let sent: Vec<String> = sink.calls().concat();
    let distinct: HashSet<&String> = sent.iter().collect();
    assert_eq!(sent.len(), distinct.len(), "a record was sent twice (seed {seed})");
    assert!(placed.iter().all(|text| distinct.contains(text)));
    assert!(heard > 500 && sink.calls().len() < sent.len(), "{heard} heard in {} calls", sink.calls().len());
    timeout(PATIENCE, async {
        while !coalescer.shared.lanes().is_empty() {
            sleep(LINGER).await;
        }
    })
    .await
    .expect("a lane is forgotten when nothing is under way");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_request_hears_of_its_own_records() {
    for seed in 0..6 {
        storm(seed, Ordering::None).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_is_never_under_way_twice_where_order_is_kept() {
    for seed in 0..6 {
        storm(seed, Ordering::Key).await;
    }
}

#[tokio::test]
async fn alone_a_record_goes_at_once_and_those_behind_it_share_a_call() {
    let sink = Scripted::new(None, 0, false);
    let coalescer = Arc::new(Coalescer::new(Arc::clone(&sink) as _));
    let mut requests = JoinSet::new();
    for number in 0..12 {
        let coalescer = Arc::clone(&coalescer);
        requests.spawn(async move { put(&coalescer, Ordering::None, &[record(&number.to_string(), "k")]).await });
        // Later ones come while the first is under way.
        while sink.calls().is_empty() {
            tokio::task::yield_now().await;
        }
    }
    assert_eq!(sink.calls(), [["0"]]);
    timeout(PATIENCE, async {
        while sink.calls().len() < 2 {
            sleep(LINGER).await;
        }
    })
    .await
    .expect("nobody waits longer than the linger");
    assert_eq!(sink.calls()[1].len(), 11);
    sink.gate.add_permits(2);
    while let Some(answers) = requests.join_next().await {
        assert!(answers.unwrap()[0].is_ok());
    }
}

#[tokio::test]
async fn what_a_request_left_waiting_is_not_sent_and_others_are() {
    let sink = Scripted::new(None, 0, false);
    let coalescer = Coalescer::new(Arc::clone(&sink) as _);
    let (first, gone, stays) = ([record("first", "k")], [record("gone", "k")], [record("stays", "k")]);
    // The one under way is held up; the others have to wait for it, as they share its key.
    let mut first = Box::pin(put(&coalescer, Ordering::Key, &first));
    let mut gone = Box::pin(put(&coalescer, Ordering::Key, &gone));
    let stays = put(&coalescer, Ordering::Key, &stays);
    for future in [&mut first, &mut gone] {
        assert!(timeout(3 * LINGER, future).await.is_err());
    }
    drop((first, gone));
    sink.gate.add_permits(2);
    assert!(timeout(PATIENCE, stays).await.unwrap()[0].is_ok());
    assert_eq!(sink.calls(), [["first"], ["stays"]]);
}

#[tokio::test]
async fn what_waits_is_bounded() {
    let sink = Scripted::new(None, 0, false);
    let coalescer = Arc::new(Coalescer::new(Arc::clone(&sink) as _));
    let mut requests = JoinSet::new();
    let all = CALLS_OPEN_MAX * LIMITS.entries + WAITING_RECORDS_MAX + 100;
    for number in 0..all {
        let coalescer = Arc::clone(&coalescer);
        requests.spawn(async move { put(&coalescer, Ordering::None, &[record(&number.to_string(), "k")]).await });
    }
    let refused = timeout(PATIENCE, requests.join_next()).await.unwrap().unwrap().unwrap();
    assert_eq!(refused, [Err(full())]);
    sink.gate.add_permits(all);
    let mut told: HashMap<bool, usize> = HashMap::new();
    while let Some(answers) = timeout(PATIENCE, requests.join_next()).await.unwrap() {
        *told.entry(answers.unwrap()[0].is_ok()).or_default() += 1;
    }
    assert!(told[&true] >= WAITING_RECORDS_MAX && told[&true] + told.get(&false).unwrap_or(&0) == all - 1, "{told:?}");
}

#[tokio::test]
async fn large_batches_and_ordered_records_go_by_themselves() {
    let sink = Scripted::new(None, 1_000, false);
    let coalescer = Coalescer::new(Arc::clone(&sink) as _);
    let numbered = Record { sequence_for_ordering: Some("49".into()), ..record("numbered", "k") };
    let large = record(&"x".repeat(SHARED_BYTES_MAX + 1), "k");
    let many: Vec<Record> = (0..=SHARED_RECORDS_MAX).map(|number| record(&number.to_string(), "k")).collect();
    let is_shared = |records: &[Record]| coalescer.is_shared(&records.iter().collect::<Vec<_>>());
    assert!(!is_shared(&[numbered]) && !is_shared(&[large]) && !is_shared(&many));
    assert!(is_shared(&many[1..]));
}
