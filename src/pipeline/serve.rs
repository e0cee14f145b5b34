//! Starts the gate's parts in order, and stops them in order: the data port first, its sinks last.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use super::gate::in_place;
use super::gated;
use super::keeper::Keeper;
use super::notices::{NoticeOptions, Notices};
use super::objects::Objects;
use super::pulse::Pulsing;
use super::rules::Rules;
use super::spooling::Spooling;
use super::watch::{CandidateWatch, Watch, watch as keep_watch};
use super::{Gate, GateOptions, depth, drain};
use crate::aws::{AwsError, AwsOptions, Clients, is_self};
use crate::config::{Backend, Config, LetterBucket};
use crate::metrics::Metrics;
use crate::port::{Catalog, DeadLetterBox, DeadLetterSink, MeshSink, NoticeSink};
use crate::sink::kinesis::KinesisSink;
use crate::sink::local::{LocalBox, LocalOptions, Store};
use crate::sink::s3::{self, S3Sink};
use crate::sink::sns::SnsTopics;
use crate::sink::spool::{Spool, SpoolError};
use crate::sink::sqs::{SqsBox, SqsSink};
use crate::source::Service;
use crate::source::listener::{self, Drained};
use crate::trace::{Exporting, Tracer};

/// Why the gate did not start. Nothing was taken in.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(
        "cannot listen on {address}: {error}; another process may hold the port, or choose one with --listen or --admin"
    )]
    Bind { address: SocketAddr, error: std::io::Error },
    #[error(
        "{key} is {url:?}, which is this gate's own data port: it would forward to itself for ever; name the real upstream"
    )]
    OwnUpstream { key: &'static str, url: String },
    #[error(transparent)]
    Aws(#[from] AwsError),
    #[error("cannot open the store: {0}")]
    Store(String),
    #[error(transparent)]
    Spool(#[from] SpoolError),
}

/// Where good and bad events go, behind the ports.
pub struct Sinks {
    pub mesh: Arc<dyn MeshSink>,
    pub letters: Arc<dyn DeadLetterSink>,
    pub objects: Option<Objects>,
    pub catalog: Arc<dyn Catalog>,
    pub backend: &'static str,
    /// Where notices of quarantine go beside the log.
    pub topics: Option<Arc<dyn NoticeSink>>,
    /// Where the backend is AWS.
    clients: Option<Clients>,
}

impl Sinks {
    fn local(store: &Arc<Store>) -> Self {
        Self {
            mesh: Arc::clone(store) as _,
            letters: Arc::clone(store) as _,
            objects: None,
            catalog: Arc::clone(store) as _,
            backend: "local",
            topics: None,
            clients: None,
        }
    }
}

/// Opens the backend for a command that looks through dead letters, beside a gate that may be running: the queue of that name, by default
/// the configured one, and of a store all there are.
///
/// # Errors
/// Where the backend cannot be opened.
pub async fn open_letters(config: &Config, queue: Option<&str>) -> Result<(Sinks, Arc<dyn DeadLetterBox>), StartError> {
    if let Backend::Local { shards, streams_max } = &config.backend {
        let options = LocalOptions { shards_per_stream: *shards, streams_max: *streams_max, ..Default::default() };
        let store = Store::open_beside(&config.data, options).map_err(|error| StartError::Store(error.to_string()))?;
        let store = Arc::new(store);
        let letters = Arc::new(LocalBox::new(Arc::clone(&store), queue.map(str::to_owned)));
        return Ok((Sinks::local(&store), letters));
    }
    let instance = format!("{:016x}", fastrand::u64(..));
    let sinks = open_sinks(config, Vec::new(), &instance, &Tracer::default()).await?;
    let clients = sinks.clients.as_ref().ok_or(StartError::Store("the backend has no clients".into()))?;
    let sink = Arc::new(SqsSink::new(clients.sqs.clone(), clients.region.clone()));
    let objects = s3::Objects::new(clients.s3.clone());
    let letters = Arc::new(SqsBox::new(sink, objects, queue.unwrap_or(&config.dlq)));
    Ok((sinks, letters))
}

/// Opens the backend. `own` are the addresses this gate listens on, so that it is not made its own upstream.
pub async fn open_sinks(
    config: &Config,
    own: Vec<SocketAddr>,
    instance: &str,
    tracer: &Tracer,
) -> Result<Sinks, StartError> {
    match &config.backend {
        Backend::Local { shards, streams_max } => {
            let options = LocalOptions { shards_per_stream: *shards, streams_max: *streams_max, ..Default::default() };
            let store = Store::open(&config.data, options).map_err(|error| StartError::Store(error.to_string()))?;
            Ok(Sinks::local(&Arc::new(store)))
        }
        Backend::Aws { region, kinesis_endpoint, sqs_endpoint, sns_endpoint, dynamodb_endpoint, s3_endpoint } => {
            for (key, url) in [
                ("aws.kinesis_endpoint", kinesis_endpoint),
                ("aws.sqs_endpoint", sqs_endpoint),
                ("aws.sns_endpoint", sns_endpoint),
                ("aws.dynamodb_endpoint", dynamodb_endpoint),
                ("aws.s3_endpoint", s3_endpoint),
            ] {
                if let Some(url) = url.as_ref().filter(|url| is_self(url, &own)) {
                    return Err(StartError::OwnUpstream { key, url: url.clone() });
                }
            }
            let clients = Clients::load(&AwsOptions {
                region: region.clone(),
                kinesis_endpoint: kinesis_endpoint.clone(),
                sqs_endpoint: sqs_endpoint.clone(),
                sns_endpoint: sns_endpoint.clone(),
                dynamodb_endpoint: dynamodb_endpoint.clone(),
                s3_endpoint: s3_endpoint.clone(),
                own_addresses: own,
                ..AwsOptions::new(instance)
            })
            .await?;
            let mesh = Arc::new(KinesisSink::new(clients.kinesis.clone()).traced_by(tracer.clone()));
            Ok(Sinks {
                mesh: Arc::clone(&mesh) as _,
                letters: Arc::new(SqsSink::new(clients.sqs.clone(), clients.region.clone()).traced_by(tracer.clone())),
                objects: config.letter_bucket.as_ref().map(|bucket| objects(bucket, &clients, tracer)),
                catalog: mesh,
                backend: "aws",
                topics: Some(Arc::new(SnsTopics::new(clients.sns.clone()))),
                clients: Some(clients),
            })
        }
    }
}

fn objects(bucket: &LetterBucket, clients: &Clients, tracer: &Tracer) -> Objects {
    Objects {
        store: Arc::new(S3Sink::new(clients.s3.clone(), bucket.name.clone()).traced_by(tracer.clone())),
        prefix: bucket.prefix.as_str().into(),
        archive: bucket.archive,
    }
}

/// Binds a port, with the address in the error.
pub async fn bind(address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).await.map_err(|error| StartError::Bind { address, error })
}

/// The gate that a data port serves.
pub fn gate(config: &Config, rules: Arc<Rules>, sinks: &Sinks, metrics: Arc<Metrics>) -> Gate {
    Gate::new(GateOptions {
        rules,
        routes: config.routes.clone(),
        dlq: Arc::clone(&config.dlq),
        mesh: Arc::clone(&sinks.mesh),
        letters: Arc::clone(&sinks.letters),
        objects: sinks.objects.clone(),
        catalog: Arc::clone(&sinks.catalog),
        retry: config.retry,
        records_in_flight_max: i64::try_from(config.records_in_flight_max).unwrap_or(i64::MAX),
        inflated_bytes_max: config.inflated_bytes_max,
        metrics,
        clock: super::now,
    })
}

/// Tells people of quarantine, where the settings ask for it. `gate` is what this process is called.
pub fn notices(
    config: &Config,
    rules: &Arc<Rules>,
    sinks: &Sinks,
    metrics: &Arc<Metrics>,
    gate: String,
) -> Option<Notices> {
    let settings = config.notices.clone()?;
    let (rules, metrics, sink) = (Arc::clone(rules), Arc::clone(metrics), sinks.topics.clone());
    Some(Notices::start(NoticeOptions { settings, rules, sink, metrics, gate, clock: super::now }))
}

/// Has spans exported, where the settings or OpenTelemetry's variables say where to. `gate` is what this process is called.
pub fn tracing(config: &Config, gate: &str, metrics: &Metrics) -> (Tracer, Option<Exporting>) {
    for warning in &config.tracing.warnings {
        tracing::warn!("{warning}");
    }
    let Some(settings) = config.tracing.settings.clone() else { return (Tracer::default(), None) };
    tracing::info!(url = settings.url, share = settings.sampler.share, "spans of requests are exported");
    let (tracer, exporting) = Tracer::start(settings, gate, metrics);
    (tracer, Some(exporting))
}

/// The queues that letters may go to, as the rules are at present.
fn queues(config: &Config, rules: &Arc<Rules>) -> impl Fn() -> BTreeSet<Arc<str>> + use<> {
    let configured: BTreeSet<_> = config.routes.queues().cloned().chain([Arc::clone(&config.dlq)]).collect();
    let rules = Arc::clone(rules);
    move || {
        let set = rules.current();
        configured.iter().cloned().chain(set.domains().filter_map(|domain| domain.dlq.clone())).collect()
    }
}

/// Looks now and then how full the queues are.
fn depths(
    config: &Config,
    rules: &Arc<Rules>,
    sinks: &Sinks,
    metrics: &Arc<Metrics>,
) -> impl Future<Output = ()> + use<> {
    let every = match config.backend {
        Backend::Local { .. } => depth::LOCAL_EVERY,
        Backend::Aws { .. } => depth::AWS_EVERY,
    };
    let (letters, queues) = (Arc::clone(&sinks.letters), queues(config, rules));
    depth::watch(depth::Depths { letters, queues, metrics: Arc::clone(metrics), every, clock: super::now })
}

/// Opens the spool where one is configured. What it holds from before is told.
fn open_spool(config: &Config, metrics: &Arc<Metrics>) -> Result<Option<Arc<Spooling>>, StartError> {
    let Some(settings) = &config.spool else {
        in_place(|| tell_of_abandoned(&config.data.with_extension("spool")));
        return Ok(None);
    };
    let spooling = Spooling::new(in_place(|| Spool::open(&settings.path, settings.bytes_max))?, Arc::clone(metrics));
    let entries = spooling.waiting();
    tracing::info!(path = %settings.path.display(), entries, "the spool is open; what it holds is delivered now, or when its far end is back");
    Ok(Some(Arc::new(spooling)))
}

/// A spool that is no longer configured may hold what was acknowledged, and nobody would deliver it.
fn tell_of_abandoned(path: &Path) {
    if !path.exists() {
        return;
    }
    // One that another gate has is not abandoned.
    let held = match Spool::open(path, 0) {
        Ok(spool) => spool.state().lanes.values().map(|held| held.entries + held.aside).sum(),
        Err(SpoolError::InUse { .. }) => 0,
        Err(error) => {
            return tracing::warn!(path = %path.display(), %error, "a spool that is not configured is there, and cannot be opened");
        }
    };
    if held > 0 {
        tracing::error!(
            path = %path.display(), entries = held,
            "a spool that is not configured holds records that were acknowledged; nobody delivers them: put `spool` back into the \
             settings until it is drained"
        );
    }
}

/// Reloads the rules at each SIGHUP, for as long as the future lives.
pub async fn reload_on_hangup(rules: Arc<Rules>) {
    let Ok(mut hangups) = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup()) else { return };
    while hangups.recv().await.is_some() {
        let rules = Arc::clone(&rules);
        // Its outcome is logged and counted where it happens.
        let _ = tokio::task::spawn_blocking(move || rules.reload().map(drop)).await;
    }
}

/// Resolves at SIGTERM or SIGINT.
pub async fn told_to_stop() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

/// Where the gate is in its life, for `/ready`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    Ready,
    Draining,
}

/// A data port at work.
pub struct Serving {
    /// The address really bound, where port 0 was asked for.
    pub listen: SocketAddr,
    pub backend: &'static str,
    phase: watch::Sender<Phase>,
    stop: watch::Sender<bool>,
    task: JoinHandle<Drained>,
    /// End after `stop` is told.
    sources: JoinSet<()>,
    drain_time: Duration,
    reloads: JoinSet<()>,
    /// Ends when `stop` is told.
    keeper: JoinHandle<Option<Keeper>>,
    notices: Option<Notices>,
    exporting: Option<Exporting>,
    pub spooling: Option<Arc<Spooling>>,
    pub pulse: Arc<Pulsing>,
    /// Ends when `stop` is told, and the turns under way are over.
    drainer: JoinHandle<()>,
}

/// How serving ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stopped {
    /// Every request in progress was answered.
    Drained,
    /// The deadline passed first. What was cut off is unsettled: its producers were not answered.
    CutOff,
}

/// Opens the backend and serves the data port until [`Serving::drain`].
///
/// # Errors
/// The port or the store cannot be opened; nothing was taken in.
pub async fn start(config: &Config, rules: Arc<Rules>, metrics: Arc<Metrics>) -> Result<Serving, StartError> {
    let port = bind(config.listen).await?;
    let listen = port.local_addr().unwrap_or(config.listen);
    let instance = format!("{:016x}", fastrand::u64(..));
    let (tracer, exporting) = tracing(config, &worker_id(&instance), &metrics);
    let sinks = open_sinks(config, vec![listen], &instance, &tracer).await?;
    let notices = notices(config, &rules, &sinks, &metrics, worker_id(&instance));
    let spooling = open_spool(config, &metrics)?;
    let gate = gate(config, Arc::clone(&rules), &sinks, Arc::clone(&metrics));
    let pulse = Arc::new(Pulsing::default());
    let gate = gate.noted_by(notices.as_ref().map(Notices::noted)).with_pulse(Some(Arc::clone(&pulse)));
    let gate = Arc::new(match &spooling {
        Some(spooling) => gate.with_spool(Arc::clone(spooling)),
        None => gate,
    });
    let service_metrics = Arc::clone(&metrics);
    let service = Service {
        intake: Arc::clone(&gate) as _,
        catalog: Arc::clone(&sinks.catalog),
        metrics,
        instance: instance.clone(),
        clock: super::now,
        random: || fastrand::u128(..),
        tracer: tracer.clone(),
    };
    let stop = watch::Sender::new(false);
    let told = {
        let stop = stop.subscribe();
        move || {
            let mut told = stop.clone();
            async move { drop(told.wait_for(|stop| *stop).await) }
        }
    };
    let mut keeper = Keeper::new(Arc::clone(&rules), Arc::clone(&service_metrics), config.state.clone(), super::now);
    in_place(|| keeper.begin());
    // What the checks remember is marked as in use by now: nothing is settled before.
    let sources = match &sinks.clients {
        Some(clients) => {
            gated::start(config, (clients, &tracer), &gate, &service_metrics, &worker_id(&instance), told.clone())?
        }
        None => JoinSet::new(),
    };
    let task = tokio::spawn(listener::serve(port, Arc::new(service), config.limits.clone(), told()));
    let keeper = tokio::spawn(super::keeper::keep(keeper, config.snapshot_every, told()));
    let drainer = tokio::spawn(drain::drain(gate, told()));
    let mut reloads = JoinSet::new();
    reloads.spawn(reload_on_hangup(Arc::clone(&rules)));
    reloads.spawn(depths(config, &rules, &sinks, &service_metrics));
    if let Some(every) = config.rules_watch {
        reloads.spawn(keep_watch(Watch::new(Arc::clone(&rules)), every));
    }
    if let Some(every) = config.candidate_watch.filter(|_| config.candidate.is_some()) {
        reloads.spawn(keep_watch(CandidateWatch::new(rules), every));
    }
    let phase = watch::Sender::new(Phase::Ready);
    let drain_time = config.limits.drain_time;
    let backend = sinks.backend;
    Ok(Serving {
        listen,
        backend,
        phase,
        stop,
        task,
        sources,
        drain_time,
        reloads,
        keeper,
        notices,
        exporting,
        spooling,
        pulse,
        drainer,
    })
}

impl Serving {
    /// Follows the phase for as long as the gate lives.
    pub fn phase(&self) -> watch::Receiver<Phase> {
        self.phase.subscribe()
    }

    /// Takes no more connections, answers the requests in progress, within the configured deadline.
    pub async fn drain(mut self) -> Stopped {
        self.phase.send_replace(Phase::Draining);
        tracing::info!("told to stop; answering the requests in progress");
        let deadline = tokio::time::Instant::now() + self.drain_time;
        let _ = self.stop.send(true);
        self.reloads.abort_all();
        let stopped = match (&mut self.task).await {
            Ok(Drained { cut: 0 }) => {
                tracing::info!("drained; stopping");
                Stopped::Drained
            }
            Ok(Drained { cut }) => {
                tracing::error!(
                    connections = cut,
                    "the drain's deadline passed; these were cut and their producers send again"
                );
                Stopped::CutOff
            }
            Err(error) => {
                tracing::error!(%error, "the data port failed; its producers send again");
                Stopped::CutOff
            }
        };
        let stopped = if self.stop_sources(deadline).await { stopped } else { Stopped::CutOff };
        self.stop_draining(deadline).await;
        if let Ok(Some(mut keeper)) = self.keeper.await {
            let last = move || keeper.snapshot(stopped == Stopped::Drained);
            let _ = tokio::task::spawn_blocking(last).await;
        }
        if let Some(notices) = self.notices {
            notices.finish().await;
        }
        if let Some(exporting) = self.exporting {
            exporting.finish().await;
        }
        stopped
    }

    /// Lets the spool's turns under way come to their end. What waits, waits for the next start.
    async fn stop_draining(&mut self, deadline: tokio::time::Instant) {
        if tokio::time::timeout_at(deadline, &mut self.drainer).await.is_err() {
            self.drainer.abort();
        }
        match self.spooling.as_deref().map_or(0, Spooling::waiting) {
            0 => {}
            entries => tracing::warn!(
                entries,
                "the spool is not empty: what waits there is acknowledged and on disk, and is delivered after the next start on this file"
            ),
        }
    }

    /// Lets the sources settle what is under way and give up their leases. `false` where that takes longer: others take them over when they
    /// expire, and read what was not checkpointed again.
    async fn stop_sources(&mut self, deadline: tokio::time::Instant) -> bool {
        let all = async { while self.sources.join_next().await.is_some() {} };
        let in_time = tokio::time::timeout_at(deadline, all).await.is_ok();
        if !in_time {
            tracing::error!(
                streams = self.sources.len(),
                "the drain's deadline passed before all shards were given up; what was not checkpointed is read again"
            );
        }
        in_time
    }
}

/// What a gate's leases and notices call it: of this process alone, and for people.
pub(super) fn worker_id(instance: &str) -> String {
    let host = std::env::var("HOSTNAME").ok().filter(|host| !host.is_empty());
    format!("{}-{instance}", host.as_deref().unwrap_or("meshgate"))
}
