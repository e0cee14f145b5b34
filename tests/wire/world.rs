//! A gate without a pipeline: scripted ports behind the real listener, on a free port of 127.0.0.1.
//!
//! What becomes of a record is what its data asks for: `quarantine`, `refuse`, `drop`, `throttle`, `unavailable` or `reject`
//! somewhere in it; anything else is forwarded. Streams named `busy`, `draining`, `slow` and `nope` do as they say; what is read
//! from one named `wide` is as much as one answer may hold.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use meshgate::metrics::Metrics;
use meshgate::model::{
    Distribution, HashKeyRange, Judgement, Mode, Outcome, Placement, Record, Settlement, Severity, Shard, Stamp,
    StreamDescription, StreamMode, Timestamp, Trouble, Unsettled, Verdict, Violation, ViolationKind,
};
use meshgate::port::{
    BoxFuture, Catalog, CatalogError, Intake, IntakeError, ReadBatch, ReadFrom, StoredRecord, StreamReader,
};
use meshgate::source::{Drained, Limits, Service, serve};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinHandle;

/// 2026-11-22T12:51:40Z, when the captures were made.
pub const NOW: i64 = 1_795_351_900_123;
pub const REAL_SEQUENCE: &str = "49680459905836975591833837308859375022985717564049457154";

pub struct Script {
    /// Every call of a port, in order.
    calls: Mutex<Vec<String>>,
    /// What requests to `slow` wait for, each for one permit.
    pub gate: Semaphore,
    /// How many requests have come to `slow`.
    pub waiting: AtomicUsize,
    /// Whether records can be read back.
    readable: bool,
}

impl Script {
    fn note(&self, call: String) {
        self.calls.lock().unwrap().push(call);
    }

    pub fn take_calls(&self) -> Vec<String> {
        std::mem::take(&mut self.calls.lock().unwrap())
    }
}

fn judgement(verdict: Verdict) -> Judgement {
    let violation = |rule: &str, pointer: &str, message: &str| Violation {
        rule: rule.into(),
        kind: ViolationKind::Rule,
        pointer: pointer.into(),
        dimension: None,
        severity: Severity::Error,
        mode: Mode::Enforce,
        message: message.into(),
    };
    let violations = match verdict {
        Verdict::Quarantine => vec![
            violation("qty_positive", "/data/qty", "qty is not positive"),
            violation("has_customer", "", "the order names no customer"),
        ],
        Verdict::Forward | Verdict::Drop => Vec::new(),
    };
    let stamp = Stamp {
        domain: "orders".into(),
        contract: "order.placed".into(),
        version: Some("1.2.0".into()),
        revision: "abc1234".into(),
    };
    Judgement { verdict, violations, stamp: stamp.into(), refuse: false }
}

fn outcome(index: usize, record: &Record) -> Outcome {
    let text = String::from_utf8_lossy(&record.data);
    let real = Placement { shard_id: "shardId-000000000001".into(), sequence_number: REAL_SEQUENCE.into() };
    let synthetic = Placement { shard_id: "shardId-000000000000".into(), sequence_number: format!("7{index:039}") };
    let quarantined =
        |refuse| Settlement::Quarantined { placement: synthetic.clone(), dead_letter: format!("dl-{index}"), refuse };
    let unsettled = |trouble, message: &str| Settlement::Unsettled(Unsettled { trouble, message: message.into() });
    let (verdict, settlement) = if text.contains("quarantine") {
        (Verdict::Quarantine, quarantined(false))
    } else if text.contains("refuse") {
        (Verdict::Quarantine, quarantined(true))
    } else if text.contains("drop") {
        (Verdict::Drop, Settlement::Dropped(synthetic.clone()))
    } else if text.contains("throttle") {
        (Verdict::Forward, unsettled(Trouble::Throttled, "The mesh stream is over its rate."))
    } else if text.contains("unavailable") {
        (Verdict::Forward, unsettled(Trouble::Unavailable, "The mesh stream did not answer."))
    } else if text.contains("reject") {
        (Verdict::Forward, unsettled(Trouble::Rejected, "The gate may not write to the mesh stream."))
    } else {
        (Verdict::Forward, Settlement::Forwarded(real))
    };
    Outcome { judgement: judgement(verdict), settlement }
}

impl Intake for Script {
    fn unfold(&self, _: &str, record: Record) -> Result<Vec<Record>, IntakeError> {
        Ok(vec![record])
    }

    fn settle<'a>(&'a self, stream: &'a str, records: Vec<Record>) -> BoxFuture<'a, Result<Vec<Outcome>, IntakeError>> {
        Box::pin(async move {
            match stream {
                "nope" => return Err(IntakeError::UnknownStream { stream: stream.into() }),
                "busy" => return Err(IntakeError::Overloaded),
                "slow" => {
                    self.waiting.fetch_add(1, Ordering::SeqCst);
                    self.gate.acquire().await.expect("the gate is never closed").forget();
                }
                _ => {}
            }
            for record in &records {
                assert_eq!(&*record.stream, stream);
                assert_eq!(record.arrived, Timestamp::from_millis(NOW));
                self.note(format!(
                    "settle {stream} {} key={:?} hash={:?} after={:?} data={:?}",
                    record.position,
                    record.partition_key.as_deref().unwrap_or("none"),
                    record.explicit_hash_key.as_deref().unwrap_or("none"),
                    record.sequence_for_ordering.as_deref().unwrap_or("none"),
                    String::from_utf8_lossy(&record.data),
                ));
            }
            Ok(records.iter().enumerate().map(|(index, record)| outcome(index, record)).collect())
        })
    }

    fn judge(
        &self,
        domain: &str,
        contract: &str,
        events: &[Bytes],
        _: Timestamp,
    ) -> Result<Vec<Judgement>, IntakeError> {
        if contract != "order.placed" {
            return Err(IntakeError::UnknownContract { domain: domain.into(), contract: contract.into() });
        }
        self.note(format!("judge {domain}/{contract} events={}", events.len()));
        let verdict = |event: &Bytes| {
            let text = String::from_utf8_lossy(event);
            if text.contains("quarantine") { Verdict::Quarantine } else { Verdict::Forward }
        };
        Ok(events.iter().map(|event| judgement(verdict(event))).collect())
    }

    fn mesh_stream(&self, stream: &str) -> Option<Arc<str>> {
        match stream {
            "raw-orders" => Some("orders".into()),
            "nope" | "customers" => None,
            other => Some(other.into()),
        }
    }

    fn source_streams<'a>(&'a self) -> BoxFuture<'a, Result<Vec<String>, CatalogError>> {
        Box::pin(async { Ok(vec!["orders".into(), "raw-orders".into()]) })
    }
}

impl Catalog for Script {
    fn list_streams<'a>(&'a self) -> BoxFuture<'a, Result<Vec<String>, CatalogError>> {
        Box::pin(async { Ok(vec!["customers".into(), "orders".into()]) })
    }

    fn describe<'a>(&'a self, stream: &'a str) -> BoxFuture<'a, Result<StreamDescription, CatalogError>> {
        Box::pin(async move {
            self.note(format!("describe {stream}"));
            if !["orders", "customers"].contains(&stream) {
                return Err(CatalogError::StreamNotFound(stream.into()));
            }
            let shard = |(index, range): (usize, HashKeyRange)| Shard {
                id: format!("shardId-{index:012}").into(),
                parent: None,
                adjacent_parent: None,
                range,
                starting_sequence_number: REAL_SEQUENCE.into(),
                ending_sequence_number: None,
            };
            Ok(StreamDescription {
                name: stream.into(),
                arn: format!("arn:aws:kinesis:us-east-1:000000000000:stream/{stream}"),
                status: "ACTIVE".into(),
                mode: StreamMode::Provisioned,
                distribution: Distribution::Key,
                retention_hours: 24,
                created: Timestamp::from_millis(1_763_800_000_500),
                encryption: "NONE".into(),
                key_id: None,
                consumer_count: 0,
                max_record_size_kib: 1024,
                shards: HashKeyRange::divide(2).enumerate().map(shard).collect(),
            })
        })
    }

    fn reader(&self) -> Option<&dyn StreamReader> {
        self.readable.then_some(self as &dyn StreamReader)
    }
}

impl StreamReader for Script {
    fn start_of<'a>(
        &'a self,
        stream: &'a str,
        shard: &'a str,
        start: ReadFrom<'a>,
    ) -> BoxFuture<'a, Result<String, CatalogError>> {
        Box::pin(async move {
            self.note(format!("start_of {stream} {shard} {start:?}"));
            Ok(REAL_SEQUENCE.into())
        })
    }

    fn read<'a>(
        &'a self,
        stream: &'a str,
        shard: &'a str,
        from: &'a str,
        limit: usize,
    ) -> BoxFuture<'a, Result<ReadBatch, CatalogError>> {
        Box::pin(async move {
            self.note(format!("read {stream} {shard} {from} limit={limit}"));
            let record = StoredRecord {
                sequence_number: from.into(),
                data: match stream {
                    "wide" => vec![b'x'; 10 << 20].into(),
                    _ => Bytes::from_static(b"{\"a\":1}\xff"),
                },
                partition_key: "pk-1".into(),
                arrived: Timestamp::from_millis(NOW - 1000),
            };
            Ok(ReadBatch {
                records: vec![record],
                next: format!("{}5", &from[..from.len() - 1]),
                millis_behind_latest: 7,
            })
        })
    }
}

/// A running listener.
pub struct World {
    pub address: SocketAddr,
    pub script: Arc<Script>,
    pub metrics: Arc<Metrics>,
    stop: Option<oneshot::Sender<()>>,
    running: JoinHandle<Drained>,
}

impl World {
    pub async fn start() -> Self {
        Self::with(Limits::default()).await
    }

    pub async fn with(limits: Limits) -> Self {
        Self::build(limits, true).await
    }

    /// A gate whose streams are on AWS, so that nothing can be read back.
    pub async fn unreadable() -> Self {
        Self::build(Limits::default(), false).await
    }

    async fn build(limits: Limits, readable: bool) -> Self {
        let script = Arc::new(Script {
            calls: Mutex::default(),
            gate: Semaphore::new(0),
            waiting: AtomicUsize::new(0),
            readable,
        });
        let metrics = Arc::new(Metrics::new());
        let service = Arc::new(Service {
            intake: Arc::clone(&script) as Arc<dyn Intake>,
            catalog: Arc::clone(&script) as Arc<dyn Catalog>,
            metrics: Arc::clone(&metrics),
            instance: "gate-1".into(),
            clock: || Timestamp::from_millis(NOW),
            random: || 0x0123_4567_89ab_cdef_0123_4567_89ab_cdef,
            tracer: Default::default(),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let running = tokio::spawn(serve(listener, service, limits, async {
            let _ = stopped.await;
        }));
        Self { address, script, metrics, stop: Some(stop), running }
    }

    /// Orders the listener to stop; [`World::stopped`] waits for it.
    pub fn order_stop(&mut self) {
        drop(self.stop.take());
    }

    pub async fn stopped(mut self) -> Drained {
        self.order_stop();
        self.running.await.unwrap()
    }

    pub fn metric(&self, line_start: &str) -> Option<String> {
        let text = self.metrics.render();
        text.lines().find_map(|line| Some(line.strip_prefix(line_start)?.trim().to_owned()))
    }
}
