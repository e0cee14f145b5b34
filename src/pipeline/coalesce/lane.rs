//! What waits to be sent to one stream, and what is due when. No IO: time is passed in.

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use super::{Answers, LINGER, WAITING_BYTES_MAX, WAITING_RECORDS_MAX};
use crate::gate::delivery::Ordering;
use crate::model::Record;
use crate::port::CallLimits;

/// Records of one request that go together.
pub struct Group {
    pub records: Vec<Record>,
    bytes: usize,
    ordering: Ordering,
    since: Instant,
    /// Taken by the one answer.
    answer: Mutex<Option<oneshot::Sender<Answers>>>,
}

impl Group {
    pub fn new(records: &[&Record], ordering: Ordering, answer: oneshot::Sender<Answers>, since: Instant) -> Self {
        let records: Vec<Record> = records.iter().map(|record| own(record)).collect();
        let bytes = records.iter().map(Record::size).sum();
        Self { records, bytes, ordering, since, answer: Mutex::new(Some(answer)) }
    }

    /// Tells whoever waits; nobody may.
    pub fn tell(&self, answers: Answers) {
        let answer = self.answer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(answer) = answer {
            let _ = answer.send(answers);
        }
    }

    /// The request went away.
    fn is_forsaken(&self) -> bool {
        self.answer.lock().unwrap_or_else(PoisonError::into_inner).as_ref().is_none_or(oneshot::Sender::is_closed)
    }

    /// The keys whose order is to be kept.
    fn keys(&self) -> impl Iterator<Item = &str> {
        let ordered = self.ordering == Ordering::Key;
        self.records.iter().filter(move |_| ordered).filter_map(|record| record.partition_key.as_deref())
    }
}

/// The record with bytes of its own. It may outlive its request, and slices of a body would keep all of that: up to 16 MiB that
/// nobody counts any more.
fn own(record: &Record) -> Record {
    Record {
        data: Bytes::copy_from_slice(&record.data),
        encoded: record.encoded.as_deref().map(Bytes::copy_from_slice),
        part_of: None,
        ..record.clone()
    }
}

/// What to do for a lane.
pub enum Take {
    /// Send these together, now.
    Call(Vec<Group>),
    /// Nothing before this time, unless a call lands or news come.
    At(Instant),
    /// Nothing until a call lands or news come.
    Later,
}

/// The groups that wait for one stream, in the order they came.
#[derive(Default)]
pub struct Lane {
    waiting: VecDeque<Group>,
    records: usize,
    bytes: usize,
    /// Keys under way whose order is kept.
    keys: HashSet<String>,
    /// Told when a first group waits, and when there is enough for a call.
    pub news: Arc<Notify>,
}

impl Lane {
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Whether there is no room for this group, not even where requests went away.
    pub fn is_full(&mut self, group: &Group) -> bool {
        if !self.is_beyond(group) {
            return false;
        }
        self.waiting.retain(|waiting| !waiting.is_forsaken());
        self.records = self.waiting.iter().map(|waiting| waiting.records.len()).sum();
        self.bytes = self.waiting.iter().map(|waiting| waiting.bytes).sum();
        self.is_beyond(group)
    }

    fn is_beyond(&self, group: &Group) -> bool {
        self.records + group.records.len() > WAITING_RECORDS_MAX || self.bytes + group.bytes > WAITING_BYTES_MAX
    }

    pub fn push(&mut self, group: Group, limits: CallLimits) {
        let enough = self.is_enough(limits);
        self.records += group.records.len();
        self.bytes += group.bytes;
        self.waiting.push_back(group);
        if self.waiting.len() == 1 || (!enough && self.is_enough(limits)) {
            self.news.notify_one();
        }
    }

    fn is_enough(&self, limits: CallLimits) -> bool {
        self.records >= limits.entries || self.bytes >= limits.bytes
    }

    /// What is due. `at_once`: few calls are under way, or one has just landed, so that there is nothing to wait for.
    pub fn take(&mut self, limits: CallLimits, at_once: bool, now: Instant) -> Take {
        let Some(first) = self.waiting.front() else { return Take::Later };
        let due = first.since + LINGER;
        if !at_once && now < due && !self.is_enough(limits) {
            return Take::At(due);
        }
        let groups = self.compose(limits);
        // All that waits is held up by keys under way: their calls have to land.
        if groups.is_empty() { Take::Later } else { Take::Call(groups) }
    }

    /// The first groups that fit into a call, but for those whose key is under way, or waits before them.
    fn compose(&mut self, limits: CallLimits) -> Vec<Group> {
        let (mut taken, mut held) = (Vec::new(), VecDeque::new());
        let mut held_keys: HashSet<String> = HashSet::new();
        let (mut records, mut bytes) = (0, 0);
        while let Some(group) = self.waiting.pop_front() {
            if group.is_forsaken() {
                self.forget(&group);
                continue;
            }
            let fits = records + group.records.len() <= limits.entries && bytes + group.bytes <= limits.bytes;
            if !fits && !taken.is_empty() {
                held.push_back(group);
                break;
            }
            if group.keys().any(|key| self.keys.contains(key) || held_keys.contains(key)) {
                held_keys.extend(group.keys().map(str::to_owned));
                held.push_back(group);
                continue;
            }
            self.keys.extend(group.keys().map(str::to_owned));
            records += group.records.len();
            bytes += group.bytes;
            self.forget(&group);
            taken.push(group);
        }
        held.append(&mut self.waiting);
        self.waiting = held;
        taken
    }

    fn forget(&mut self, group: &Group) {
        self.records -= group.records.len();
        self.bytes -= group.bytes;
    }

    /// The calls of these groups have ended.
    pub fn free_keys(&mut self, groups: &[Group]) {
        for key in groups.iter().flat_map(Group::keys) {
            self.keys.remove(key);
        }
    }
}
