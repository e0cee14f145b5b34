//! `record`: what is known of the record that carried the event, as a CEL map.
//!
//! A map of its own because the crate's has no order, and a verdict must not depend on one that changes.

use cel::ExecutionError;
use cel::common::traits::{Indexer, Iterable, Iterator as ValIterator, Sizer};
use cel::common::types::{CelInt, CelString, CelTimestamp, MAP_TYPE, Type};
use cel::common::value::{CowVal, Val};

use super::budget::Budget;
use super::names::RECORD_FIELDS;
use super::numeric;
use crate::model::Timestamp;
use crate::rule::RecordFacts;

/// What a record has no key of is absent, for `has()`.
#[derive(Debug, Clone)]
pub(super) struct Record<'a> {
    facts: RecordFacts<'a>,
    /// Of the fields there are, in the order of [`RECORD_FIELDS`].
    keys: Vec<CelString<'static>>,
}

pub(super) fn timestamp(at: Timestamp) -> CelTimestamp {
    CelTimestamp::from(at.to_datetime().fixed_offset())
}

impl<'a> Record<'a> {
    pub(super) fn new(facts: RecordFacts<'a>) -> Self {
        let keys =
            RECORD_FIELDS.into_iter().filter(|name| field(&facts, name).is_some()).map(CelString::from).collect();
        Self { facts, keys }
    }
}

fn field<'v>(facts: &RecordFacts<'v>, name: &str) -> Option<Box<dyn Val + 'v>> {
    let text = |text: &'v str| Box::new(CelString::from(text)) as Box<dyn Val + 'v>;
    match name {
        "stream" => Some(text(facts.stream)),
        "partitionKey" => facts.partition_key.map(text),
        "explicitHashKey" => facts.explicit_hash_key.map(text),
        "arrivedAt" => Some(Box::new(timestamp(facts.arrived))),
        "size" => Some(Box::new(CelInt::from(i64::try_from(facts.size).unwrap_or(i64::MAX)))),
        _ => None,
    }
}

impl Val for Record<'_> {
    fn get_type(&self) -> &Type {
        &MAP_TYPE
    }

    fn cel_type() -> &'static Type {
        &MAP_TYPE
    }

    fn as_indexer<'b, 'w>(&'b self) -> Option<&'b (dyn Indexer + 'w)>
    where
        Self: 'w,
    {
        Some(self)
    }

    fn as_iterable<'b, 'w>(&'b self) -> Option<&'b (dyn Iterable + 'w)>
    where
        Self: 'w,
    {
        Some(self)
    }

    fn as_sizer(&self) -> Option<&dyn Sizer> {
        Some(self)
    }

    fn equals(&self, other: &dyn Val) -> bool {
        numeric::equal(self, other, &Budget::new()).unwrap_or(false)
    }

    fn clone_as_boxed<'w>(&self) -> Box<dyn Val + 'w>
    where
        Self: 'w,
    {
        Box::new(self.clone())
    }
}

impl Sizer for Record<'_> {
    fn size(&self) -> CelInt {
        CelInt::from(self.keys.len() as i64)
    }
}

impl Indexer for Record<'_> {
    fn get<'b, 'w>(&'b self, key: &dyn Val) -> Result<CowVal<'b, 'w>, ExecutionError>
    where
        Self: 'w,
    {
        let name = key.downcast_ref::<CelString>().map_or("", CelString::inner);
        field(&self.facts, name).map(CowVal::Owned).ok_or_else(|| ExecutionError::no_such_key(name))
    }

    fn steal<'w>(self: Box<Self>, key: &dyn Val) -> Result<Box<dyn Val + 'w>, ExecutionError>
    where
        Self: 'w,
    {
        self.get(key).map(CowVal::into_owned)
    }
}

impl Iterable for Record<'_> {
    fn iter<'b, 'w>(&'b self) -> Box<dyn ValIterator<'b, 'w> + 'b>
    where
        Self: 'w,
    {
        Box::new(Keys(self.keys.iter()))
    }
}

struct Keys<'b>(std::slice::Iter<'b, CelString<'static>>);

impl<'b, 'w> ValIterator<'b, 'w> for Keys<'b> {
    fn next(&mut self) -> Option<&'b (dyn Val + 'w)> {
        self.0.next().map(|key| key as &(dyn Val + 'w))
    }
}
