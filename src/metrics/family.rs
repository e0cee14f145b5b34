//! What a metric is, and the table in which all of them are defined.

use prometheus::core::Collector;
use prometheus::{
    GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
};

/// A metric as it is defined: a name, and a series for each set of its labels' values.
#[derive(Debug, Clone, Copy)]
pub struct Family {
    /// What it is about: a heading of `docs/metrics.md`.
    pub section: &'static str,
    pub name: &'static str,
    /// Prometheus' type: `counter`, `gauge` or `histogram`.
    pub kind: &'static str,
    pub labels: &'static [&'static str],
    /// Upper bounds of a histogram's buckets, in the unit of its name.
    pub buckets: &'static [f64],
    /// What it counts, on one line. Names the values of labels that are a fixed list.
    pub help: &'static str,
}

impl Family {
    fn opts(&self) -> Opts {
        Opts::new(self.name, self.help)
    }

    fn histogram_opts(&self) -> HistogramOpts {
        HistogramOpts::new(self.name, self.help).buckets(self.buckets.to_vec())
    }
}

/// A type of the Prometheus client that a [`Family`] is made of.
pub(super) trait Collected: Collector + Clone + 'static {
    const KIND: &'static str;

    /// # Errors
    /// The definition is none that Prometheus takes.
    fn of(family: &Family) -> prometheus::Result<Self>;
}

macro_rules! collected {
    ($($type:ty: $kind:literal, |$family:ident| $made:expr;)+) => {$(
        impl Collected for $type {
            const KIND: &'static str = $kind;

            fn of($family: &Family) -> prometheus::Result<Self> {
                $made
            }
        }
    )+};
}

collected! {
    IntCounter: "counter", |family| IntCounter::with_opts(family.opts());
    IntCounterVec: "counter", |family| IntCounterVec::new(family.opts(), family.labels);
    IntGauge: "gauge", |family| IntGauge::with_opts(family.opts());
    IntGaugeVec: "gauge", |family| IntGaugeVec::new(family.opts(), family.labels);
    GaugeVec: "gauge", |family| GaugeVec::new(family.opts(), family.labels);
    Histogram: "histogram", |family| Histogram::with_opts(family.histogram_opts());
    HistogramVec: "histogram", |family| HistogramVec::new(family.histogram_opts(), family.labels);
}

/// Makes the metric, and has the registry show it.
pub(super) fn registered<C: Collected>(registry: &Registry, family: &Family) -> C {
    let collector = C::of(family).expect("a definition that a test has made before");
    registry.register(Box::new(collector.clone())).expect("each name is defined once");
    collector
}

/// Defines a struct of metrics, with what is kept beside them, and that begins empty. Section by section: the field, its type of the Prometheus client, the metric's name, its labels, a histogram's
/// buckets, and what it counts.
macro_rules! metrics {
    ($(#[$attribute:meta])* pub struct $Metrics:ident { $($(#[$note:meta])* pub $beside:ident: $default:ty,)* } $(
        $section:literal {$(
            $visibility:vis $field:ident: $type:ty = $name:literal [$($label:ident),*] $(in $buckets:ident)?, $help:literal;
        )+}
    )+) => {
        $(#[$attribute])*
        pub struct $Metrics {
            registry: Registry,
            $($(#[$note])* pub $beside: $default,)*
            $($(
                #[doc = concat!("`", $name, "`: ", $help)]
                $visibility $field: $type,
            )+)+
        }

        /// All of them, in the order of the catalogue. The process' own come on top, as Prometheus' clients name them.
        pub const FAMILIES: &[Family] = &[$($(
            Family {
                section: $section,
                name: $name,
                kind: <$type as Collected>::KIND,
                labels: &[$(stringify!($label)),*],
                // The first of them: its own, else none.
                buckets: [$($buckets,)? &[] as &[f64]][0],
                help: $help,
            },
        )+)+];

        impl $Metrics {
            fn registered(registry: Registry) -> Self {
                let mut families = FAMILIES.iter();
                let mut next = || families.next().expect("a family for each field");
                // Fields are evaluated in the order in which they are written, which is that of the families.
                Self {
                    $($($field: registered::<$type>(&registry, next()),)+)+
                    $($beside: Default::default(),)*
                    registry,
                }
            }
        }
    };
}

pub(super) use metrics;
