//! Keeps what checks remember: lets time pass for it, shows it in metrics and in the log, and writes it to disk, so that a deploy
//! does not forget.
//!
//! A snapshot is one file, written beside the one before it and renamed. The one taken after the last request is *clean*: nothing came
//! after it. After a crash the last one is some seconds old, and checks that rest on having seen everything say less until they have
//! again (`crate::memory`). A snapshot that cannot be read is told, and the gate starts with nothing.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::rules::{InForce, Rules};
use crate::contract::StreamCheck;
use crate::gate::breaker::{Phase, Shown};
use crate::memory::{Memory, Standing, State};
use crate::metrics::Metrics;
use crate::model::Timestamp;

/// Between two looks at windows and breakers.
const BEAT: Duration = Duration::from_secs(1);

/// The largest snapshot that is read, in bytes: what all checks of a gate may remember, and room.
const SNAPSHOT_BYTES_MAX: u64 = 4 * 1024 * 1024 * 1024;

/// Reads what was remembered when the gate last ran. Never fails: what cannot be read is told, and forgotten.
pub fn restore(path: &Path) -> Memory {
    let mut memory = Memory::default();
    let read = match fs::metadata(path) {
        Ok(metadata) if metadata.len() > SNAPSHOT_BYTES_MAX => Err(io::Error::other("it is too large")),
        Ok(_) => fs::read(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return memory,
        Err(error) => Err(error),
    };
    let restored = read
        .map_err(|error| error.to_string())
        .and_then(|bytes| memory.restore(&bytes).map_err(|error| error.to_string()));
    match restored {
        Ok(restored) => tracing::info!(
            path = %path.display(), taken = %restored.taken, states = restored.states, clean = restored.is_clean,
            "what checks remember was read back"
        ),
        Err(error) => tracing::error!(
            path = %path.display(), error,
            "what checks remember could not be read back, and they start with nothing: duplicates of earlier events will pass"
        ),
    }
    memory
}

/// Shows and saves what the rules in force remember.
pub struct Keeper {
    rules: Arc<Rules>,
    metrics: Arc<Metrics>,
    path: PathBuf,
    clock: fn() -> Timestamp,
    /// What was shown last, by domain, contract and rule.
    checks: BTreeMap<[Arc<str>; 3], Seen>,
    breakers: BTreeMap<[String; 2], Phase>,
    /// Whether the last snapshot failed, so that it is told once.
    is_failing: bool,
}

#[derive(Debug)]
struct Seen {
    standing: Standing,
    /// What its standing is labelled with.
    dimension: &'static str,
    evicted: u64,
    bounds: Vec<&'static str>,
}

impl Seen {
    /// Takes the series of its standing away.
    fn forget_standing(&self, [domain, contract, rule]: &[&str; 3], metrics: &Metrics) {
        let _ = metrics.stream_failing.remove_label_values(&[domain, contract, rule, self.dimension]);
    }
}

impl Keeper {
    pub fn new(rules: Arc<Rules>, metrics: Arc<Metrics>, path: PathBuf, clock: fn() -> Timestamp) -> Self {
        let (checks, breakers) = Default::default();
        Self { rules, metrics, path, clock, checks, breakers, is_failing: false }
    }

    /// Before anything is taken in: what the last run left on disk is not the last word any more. A crash must not find it clean, or
    /// keys that came after it would be taken for keys that never came.
    pub fn begin(&mut self) {
        if self.path.exists() {
            self.snapshot(false);
            if self.is_failing {
                let _ = fs::remove_file(&self.path);
            }
        }
    }

    /// Lets time pass, and shows what has changed.
    pub fn beat(&mut self) {
        let now = (self.clock)();
        let in_force = self.rules.current();
        self.rules.memory().advance(now);
        if let Some(candidate) = &in_force.candidate {
            candidate.advance(now);
        }
        self.show_checks(&in_force);
        self.show_breakers(&in_force, now);
    }

    fn show_checks(&mut self, in_force: &InForce) {
        let mut before = std::mem::take(&mut self.checks);
        for contract in in_force.domains().flat_map(|domain| domain.contracts.values()) {
            for (check, state) in in_force.states.of(contract).into_iter().flat_map(|states| states.of(contract)) {
                let name = [&contract.domain, &contract.name, &check.id].map(Arc::clone);
                let seen = self.show_check(&name, check, state, before.remove(&name));
                self.checks.insert(name, seen);
            }
        }
        for (name, seen) in before {
            let labels = [&*name[0], &*name[1], &*name[2]];
            self.metrics.forget_check(&labels);
            seen.forget_standing(&labels, &self.metrics);
            for bound in seen.bounds {
                let _ = self.metrics.stream_value.remove_label_values(&[labels[0], labels[1], labels[2], bound]);
            }
        }
    }

    fn show_check(&self, name: &[Arc<str>; 3], check: &StreamCheck, state: &State, before: Option<Seen>) -> Seen {
        let labels = [&*name[0], &*name[1], &*name[2]];
        let dimension = check.dimension.map_or("none", |dimension| dimension.as_str());
        let before = before.unwrap_or(Seen { standing: Standing::Unknown, dimension, evicted: 0, bounds: Vec::new() });
        if before.dimension != dimension {
            before.forget_standing(&labels, &self.metrics);
        }
        let (usage, metrics) = (state.usage(), &self.metrics);
        metrics.state_bytes.with_label_values(&labels).set(usage.bytes as i64);
        if usage.limit > 0 {
            metrics.state_entries.with_label_values(&labels).set(usage.entries as i64);
            metrics.state_limit.with_label_values(&labels).set(usage.limit as i64);
            // A state that was read back brings what it had evicted before; one that began anew begins anew.
            let evicted = usage.evicted.saturating_sub(before.evicted);
            metrics.state_evicted.with_label_values(&labels).inc_by(evicted);
        }
        let shown = state.windows(|windows| {
            let bounds: Vec<&'static str> = windows.terms().bounds.iter().map(|bound| bound.name).collect();
            for (bound, value) in bounds.iter().zip(windows.last().map_or(&[][..], |last| &last.values)) {
                let gauge = metrics.stream_value.with_label_values(&[labels[0], labels[1], labels[2], bound]);
                gauge.set(value.unwrap_or(f64::NAN));
            }
            (windows.standing(), bounds)
        });
        let Some((standing, bounds)) = shown else { return Seen { dimension, evicted: usage.evicted, ..before } };
        let failing = metrics.stream_failing.with_label_values(&[labels[0], labels[1], labels[2], dimension]);
        failing.set((standing == Standing::Fails).into());
        if standing != before.standing {
            tell(labels, check, standing);
        }
        Seen { standing, dimension, evicted: usage.evicted, bounds }
    }

    fn show_breakers(&mut self, in_force: &InForce, now: Timestamp) {
        let mut before = std::mem::take(&mut self.breakers);
        for (domain, contract, shown) in in_force.breakers.show(now) {
            let name = [domain.to_owned(), contract.to_owned()];
            let last = before.remove(&name).unwrap_or(Phase::Closed);
            let level = match shown.phase {
                Phase::Closed => 0,
                Phase::HalfOpen => 1,
                Phase::Open => 2,
            };
            self.metrics.breaker_state.with_label_values(&[domain, contract]).set(level);
            if shown.phase != last {
                self.tell_breaker(domain, contract, &shown);
            }
            self.breakers.insert(name, shown.phase);
        }
        for [domain, contract] in before.into_keys() {
            let _ = self.metrics.breaker_state.remove_label_values(&[&*domain, &*contract]);
        }
    }

    fn tell_breaker(&self, domain: &str, contract: &str, shown: &Shown) {
        let Shown { events, would_be_quarantined, .. } = *shown;
        let action = shown.action.as_str();
        match shown.phase {
            Phase::Open => {
                self.metrics.breaker_opened.with_label_values(&[domain, contract]).inc();
                tracing::error!(
                    domain,
                    contract,
                    action,
                    events,
                    would_be_quarantined,
                    "a breaker opened: too many events would be quarantined; see what changed, the rules or their producers"
                );
            }
            Phase::HalfOpen => tracing::warn!(domain, contract, "a breaker lets some events through to see"),
            Phase::Closed => tracing::info!(domain, contract, "a breaker closed: events are judged as ever"),
        }
    }

    /// Writes what is remembered to disk. `is_clean`: nothing comes after it. A failure is told once, and counted. Blocks on the file.
    pub fn snapshot(&mut self, is_clean: bool) {
        let in_force = self.rules.current();
        let remembers = in_force.domains().flat_map(|domain| domain.contracts.values()).any(|c| c.remembers());
        if !remembers && !self.path.exists() {
            return;
        }
        let bytes = self.rules.memory().snapshot((self.clock)(), is_clean);
        let written = write_whole(&self.path, &bytes);
        let outcome = if written.is_ok() { "written" } else { "failed" };
        self.metrics.state_snapshots.with_label_values(&[outcome]).inc();
        if let Err(error) = &written
            && !self.is_failing
        {
            tracing::error!(
                path = %self.path.display(), %error,
                "what checks remember could not be saved; a restart will forget it (see `state.path` in the settings)"
            );
        }
        self.is_failing = written.is_err();
    }
}

/// Says that a window's check holds no more, or holds again.
fn tell([domain, contract, rule]: [&str; 3], check: &StreamCheck, standing: Standing) {
    let (kind, severity, mode) = (check.kind, check.severity.as_str(), check.mode.as_str());
    match standing {
        Standing::Fails => tracing::warn!(
            domain,
            contract,
            rule,
            kind,
            severity,
            mode,
            "the last window fails; GET /checks on the admin port has what it came to"
        ),
        Standing::Holds => tracing::info!(domain, contract, rule, kind, "the last window holds"),
        Standing::Unknown => tracing::info!(domain, contract, rule, kind, "the last window says nothing"),
    }
}

/// Beside the old file, and then in its place: whoever reads it reads one or the other. Keys are hashed, but who knows how they are made
/// can find short ones by trying: the file is its owner's alone.
fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(parent)?;
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let written = write_private(Path::new(&beside), bytes).and_then(|()| fs::rename(&beside, path));
    if written.is_err() {
        // On a full disk, half a file is in the way of others.
        let _ = fs::remove_file(&beside);
    }
    // After a loss of power, the old one is not to come back: it may have been clean.
    written.and_then(|()| File::open(parent)?.sync_all())
}

fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    // One that was left behind keeps the mode it was made with.
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut options = File::options();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Keeps until `told` resolves, and gives the keeper back for a last snapshot.
pub async fn keep(mut keeper: Keeper, every: Option<Duration>, told: impl Future<Output = ()>) -> Option<Keeper> {
    tokio::pin!(told);
    let mut saved = Instant::now();
    loop {
        tokio::select! {
            () = &mut told => return Some(keeper),
            () = tokio::time::sleep(BEAT) => {}
        }
        let is_due = every.is_some_and(|every| saved.elapsed() >= every);
        let beat = move || {
            keeper.beat();
            if is_due {
                keeper.snapshot(false);
            }
            keeper
        };
        match tokio::task::spawn_blocking(beat).await {
            Ok(same) => keeper = same,
            Err(error) => {
                tracing::error!(%error, "what checks remember is shown and saved no longer (a fault of the gate); they go on");
                return None;
            }
        }
        if is_due {
            saved = Instant::now();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::RuleSource;
    use crate::pipeline::rules::RuleOptions;

    /// A keeper of rules that remember something, on an empty directory.
    fn keeper(home: &Path) -> Keeper {
        let shop = home.join("rules/shop");
        fs::create_dir_all(&shop).unwrap();
        let domain = "apiVersion: meshgate/v1\nkind: Domain\nmetadata: {name: shop, owner: {team: shop}}\n";
        let contract = "apiVersion: meshgate/v1\nkind: EventContract\nmatch: {stream: shop}\n\
                        metadata: {domain: shop, name: sold, version: 1.0.0, status: active}\n\
                        stream: [{id: unique, type: duplicateValues, key: [this.id], window: 24h}]\n";
        fs::write(shop.join("domain.yaml"), domain).unwrap();
        fs::write(shop.join("sold.yaml"), contract).unwrap();
        let metrics = Arc::new(Metrics::new());
        let source = RuleSource::from(home.join("rules").as_path());
        let (rules, loaded) = Rules::load(RuleOptions::new(source, Arc::clone(&metrics))).unwrap();
        assert!(loaded.is_good, "{:?}", loaded.diagnostics);
        Keeper::new(Arc::new(rules), metrics, home.join("data/gate.new"), crate::pipeline::now)
    }

    fn is_clean(path: &Path) -> bool {
        Memory::default().restore(&fs::read(path).unwrap()).unwrap().is_clean
    }

    #[test]
    fn a_snapshot_is_clean_until_the_next_run_begins() {
        let home = tempfile::tempdir().unwrap();
        let mut keeper = keeper(home.path());
        keeper.begin();
        assert!(!keeper.path.exists(), "nothing was there to be marked");
        keeper.snapshot(true);
        assert!(is_clean(&keeper.path));
        keeper.begin();
        assert!(!is_clean(&keeper.path));
    }

    #[cfg(unix)]
    #[test]
    fn a_snapshot_is_its_owners_alone_and_leaves_nothing_beside_it() {
        use std::os::unix::fs::PermissionsExt;
        let home = tempfile::tempdir().unwrap();
        let mut keeper = keeper(home.path());
        let data = home.path().join("data");
        fs::create_dir(&data).unwrap();
        fs::write(data.join("gate.new.new"), "left by a crash").unwrap();
        fs::set_permissions(data.join("gate.new.new"), fs::Permissions::from_mode(0o644)).unwrap();
        keeper.snapshot(false);
        assert_eq!(fs::metadata(&keeper.path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::remove_file(&keeper.path).unwrap();
        fs::create_dir_all(keeper.path.join("in the way")).unwrap();
        keeper.snapshot(false);
        assert!(keeper.is_failing);
        assert_eq!(fs::read_dir(&data).unwrap().count(), 1);
    }
}
