//! Single values, as keys and measures are made of: what an expression gives for [`super::Yields::Scalar`].

use cel::common::types::{CelBool, CelDouble, CelInt, CelNull, CelString, CelTimestamp, CelUInt};
use cel::common::value::Val;

use super::numeric::EXACT_MAX;
use super::slots::{Moment, Term};

/// A value that is not made of others.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Scalar<'v> {
    Null,
    Bool(bool),
    Int(i64),
    Double(f64),
    Text(&'v str),
    /// Since the Unix epoch.
    Time {
        seconds: i64,
        nanos: u32,
    },
}

impl<'v> Scalar<'v> {
    /// What the crate gives. `None` for lists, maps, durations, bytes and numbers beyond 64 bits.
    pub(super) fn of_val(val: &'v dyn Val) -> Option<Self> {
        if let Some(text) = val.downcast_ref::<CelString>() {
            return Some(Self::Text(text.inner()));
        }
        if let Some(int) = val.downcast_ref::<CelInt>() {
            return Some(Self::Int(*int.inner()));
        }
        if let Some(double) = val.downcast_ref::<CelDouble>() {
            return Some(Self::number(*double.inner()));
        }
        if let Some(uint) = val.downcast_ref::<CelUInt>() {
            return i64::try_from(*uint.inner()).ok().map(Self::Int);
        }
        if let Some(bool) = val.downcast_ref::<CelBool>() {
            return Some(Self::Bool(*bool.inner()));
        }
        if let Some(time) = val.downcast_ref::<CelTimestamp>() {
            let time = time.inner();
            return Some(Self::Time { seconds: time.timestamp(), nanos: time.timestamp_subsec_nanos() });
        }
        val.downcast_ref::<CelNull>().map(|_| Self::Null)
    }

    /// The same of a compiled expression. `None` where the crate must say.
    pub(super) fn of_term(term: Term<'v>) -> Option<Self> {
        match term {
            Term::Null => Some(Self::Null),
            Term::Bool(bool) => Some(Self::Bool(bool)),
            Term::Int(int) => Some(Self::Int(int)),
            Term::Double(double) => Some(Self::number(double)),
            Term::Text(text) => Some(Self::Text(text)),
            Term::Moment(moment) => Some(Self::moment(moment)),
            Term::Span(_) | Term::List | Term::Object => None,
        }
    }

    fn moment(moment: Moment) -> Self {
        let (seconds, nanos) = moment.parts();
        Self::Time { seconds, nanos }
    }

    /// Numbers that are equal are one value, however they are written.
    fn number(double: f64) -> Self {
        let is_whole = double.fract() == 0.0 && double.abs() <= EXACT_MAX as f64;
        if is_whole { Self::Int(double as i64) } else { Self::Double(double) }
    }

    /// Gives `read` the value as lists and baselines write it. `None` for null and times.
    pub fn text<T>(&self, read: impl FnOnce(&str) -> T) -> Option<T> {
        Some(match self {
            Self::Text(text) => read(text),
            Self::Bool(bool) => read(if *bool { "true" } else { "false" }),
            Self::Int(int) => read(&int.to_string()),
            Self::Double(double) => read(&double.to_string()),
            Self::Null | Self::Time { .. } => return None,
        })
    }

    /// For messages: the type, never the value.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Double(_) => "double",
            Self::Text(_) => "string",
            Self::Time { .. } => "timestamp",
        }
    }
}
