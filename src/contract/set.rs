//! The compiled domains, and which of their contracts judges an event.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::glob::StreamGlob;
use super::judged::Contract;
use super::typed::{Typed, fixed_type};
use super::written::{DlqPayload, Owner, UnknownType};
use crate::rule::pointer::Pointer;

/// A domain that compiled. Shared, so that a reload can keep it while another replaces its own.
#[derive(Debug)]
pub struct Domain {
    pub name: Arc<str>,
    pub owner: Owner,
    /// The domain's own dead-letter queue.
    pub dlq: Option<Arc<str>>,
    pub dlq_payload: DlqPayload,
    pub unknown_type: UnknownType,
    /// Where an event that is no CloudEvent names its type.
    pub type_pointer: Pointer,
    /// Of the rule files this domain was compiled from.
    pub revision: Arc<str>,
    /// By name, retired ones among them.
    pub contracts: BTreeMap<Arc<str>, Arc<Contract>>,
}

impl Domain {
    /// Whether any event of this domain holds what may not be shown.
    pub fn has_private_fields(&self) -> bool {
        self.contracts.values().any(|contract| !contract.private().is_empty())
    }
}

/// All domains, with an index from stream and type to contract. Immutable.
#[derive(Debug, Default)]
pub struct ContractSet {
    revision: Arc<str>,
    domains: BTreeMap<Arc<str>, Arc<Domain>>,
    /// Contracts that name a type, the most specific first.
    typed: HashMap<Arc<str>, Vec<Claim>>,
    /// Contracts that take every type on their streams, the most specific first.
    untyped: Vec<Claim>,
    /// Which domain's a stream is, the most specific first.
    covers: Vec<(StreamGlob, Arc<Domain>)>,
    /// Domains with a contract that takes its type on every stream, each once.
    anywhere: Vec<Arc<Domain>>,
    /// The domains' type pointers, each once.
    type_pointers: Vec<Pointer>,
}

/// One live contract's claim to events.
#[derive(Debug)]
struct Claim {
    /// Place among all claims, the most specific first.
    rank: usize,
    /// Index into [`ContractSet::type_pointers`].
    type_pointer: usize,
    stream: Option<StreamGlob>,
    contract: Arc<Contract>,
}

/// Which contract judges an event.
#[derive(Debug, Clone, Copy)]
pub enum Routed<'a> {
    Contract(&'a Arc<Contract>),
    /// No contract knows the event's type.
    Unknown {
        /// The strictest of the domains that cover the stream; `None` when none does.
        domain: Option<&'a Arc<Domain>>,
        action: UnknownType,
    },
}

impl ContractSet {
    pub(super) fn new(domains: impl IntoIterator<Item = Arc<Domain>>, revision: Arc<str>) -> Self {
        let mut set =
            Self { revision, domains: domains.into_iter().map(|d| (d.name.clone(), d)).collect(), ..Self::default() };
        let live = |domain: &Arc<Domain>| -> Vec<(Arc<Domain>, Arc<Contract>)> {
            let live = domain.contracts.values().filter(|c| c.is_live());
            live.map(|contract| (domain.clone(), contract.clone())).collect()
        };
        let mut live: Vec<_> = set.domains.values().flat_map(live).collect();
        // Stream and type, then type alone, then stream alone; among globs the most specific; then by name.
        live.sort_by(|(_, a), (_, b)| claim_order(a).cmp(&claim_order(b)));
        for (rank, (domain, contract)) in live.into_iter().enumerate() {
            match &contract.stream {
                Some(glob) => set.covers.push((glob.clone(), domain.clone())),
                None if set.anywhere.iter().all(|d| d.name != domain.name) => set.anywhere.push(domain.clone()),
                None => {}
            }
            let type_pointer = set.index_of(&domain.type_pointer);
            let claim = Claim { rank, type_pointer, stream: contract.stream.clone(), contract };
            match claim.contract.event_type.clone() {
                Some(event_type) => set.typed.entry(event_type).or_default().push(claim),
                None => set.untyped.push(claim),
            }
        }
        set.covers.sort_by(|(a, x), (b, y)| (a, &x.name).cmp(&(b, &y.name)));
        set.covers.dedup_by(|(a, x), (b, y)| a == b && x.name == y.name);
        set
    }

    fn index_of(&mut self, pointer: &Pointer) -> usize {
        self.type_pointers.iter().position(|p| p == pointer).unwrap_or_else(|| {
            self.type_pointers.push(pointer.clone());
            self.type_pointers.len() - 1
        })
    }

    /// This set, with the last good version of each failed domain in its place. A failed domain that was never good is
    /// absent.
    #[must_use]
    pub fn keeping(self, failed: &[String], last: &Self) -> Self {
        let kept = failed.iter().filter_map(|name| last.domains.get(name.as_str()).cloned());
        let fresh = self.domains.into_values().filter(|d| !failed.iter().any(|name| **name == *d.name));
        Self::new(fresh.chain(kept), self.revision)
    }

    /// Of the newest rule files. A domain that kept its last good version has its own.
    pub fn revision(&self) -> &Arc<str> {
        &self.revision
    }

    /// The most specific glob that covers the stream, of those that live contracts name.
    pub fn covers(&self, stream: &str) -> Option<&str> {
        self.covering(stream).next().map(|(glob, _)| glob.as_str())
    }

    /// Whose a record on this stream is when nothing can be read from it: the most specific glob's domain.
    pub fn domain_of(&self, stream: &str) -> Option<&Arc<Domain>> {
        self.covering(stream).next().map(|(_, domain)| domain)
    }

    /// The domains whose events may be on this stream: those that cover it, and those whose types are taken anywhere. Some
    /// twice.
    pub fn may_be_of(&self, stream: &str) -> impl Iterator<Item = &Arc<Domain>> {
        self.covering(stream).map(|(_, domain)| domain).chain(&self.anywhere)
    }

    fn covering(&self, stream: &str) -> impl Iterator<Item = &(StreamGlob, Arc<Domain>)> {
        self.covers.iter().filter(move |(glob, _)| glob.matches(stream))
    }

    /// Which contract judges this event. Its type is the CloudEvents `type`, else what stands at the route's
    /// `type_pointer`, else at the domain's.
    pub fn route(&self, stream: &str, event: &impl Typed, type_pointer: Option<&Pointer>) -> Routed<'_> {
        let on_stream = |claim: &&Claim| claim.stream.as_ref().is_none_or(|glob| glob.matches(stream));
        let of_type = |event_type: &str| self.typed.get(event_type).into_iter().flatten().filter(on_stream);
        let typed = match fixed_type(event, type_pointer) {
            Some(event_type) => event_type.and_then(|event_type| of_type(event_type).next()),
            None => self
                .type_pointers
                .iter()
                .enumerate()
                .filter_map(|(index, pointer)| {
                    let event_type = event.at(pointer)?;
                    of_type(event_type).find(|claim| claim.type_pointer == index)
                })
                .min_by_key(|claim| claim.rank),
        };
        match typed.or_else(|| self.untyped.iter().find(on_stream)) {
            Some(claim) => Routed::Contract(&claim.contract),
            None => self.unknown(stream),
        }
    }

    fn unknown(&self, stream: &str) -> Routed<'_> {
        let mut strictest: Option<&Arc<Domain>> = None;
        for (_, domain) in self.covering(stream) {
            if strictest.is_none_or(|s| domain.unknown_type > s.unknown_type) {
                strictest = Some(domain);
            }
        }
        Routed::Unknown { domain: strictest, action: strictest.map_or_else(UnknownType::default, |d| d.unknown_type) }
    }

    /// A contract by its names, retired or not.
    pub fn contract(&self, domain: &str, name: &str) -> Option<&Arc<Contract>> {
        self.domains.get(domain)?.contracts.get(name)
    }

    pub fn domain(&self, name: &str) -> Option<&Arc<Domain>> {
        self.domains.get(name)
    }

    /// All domains, by name.
    pub fn domains(&self) -> impl Iterator<Item = &Arc<Domain>> {
        self.domains.values()
    }
}

/// Sorts the most specific claim first.
fn claim_order(c: &Contract) -> (u8, Option<&StreamGlob>, &str, &str) {
    let kind = match (&c.stream, &c.event_type) {
        (Some(_), Some(_)) => 0,
        (None, _) => 1,
        (Some(_), None) => 2,
    };
    (kind, c.stream.as_ref(), &c.domain, &c.name)
}
