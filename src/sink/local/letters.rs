//! Questions about the dead-letter queue of a store.

use rusqlite::{Row, params, params_from_iter};
use serde::Serialize;

use super::{Reader, StoreError};
use crate::model::Timestamp;

/// Which dead letters to list. What is `None` matches all.
#[derive(Default, Debug, Clone)]
pub struct LetterFilter {
    pub queue: Option<String>,
    pub domain: Option<String>,
    pub contract: Option<String>,
    pub version: Option<String>,
    /// It was put to.
    pub stream: Option<String>,
    /// Of the violation that decided first.
    pub rule: Option<String>,
    pub kind: Option<String>,
    /// Quarantined then or later.
    pub since: Option<Timestamp>,
    /// Quarantined before.
    pub until: Option<Timestamp>,
    /// At most so many.
    pub limit: usize,
    /// Only letters older than this one: the last of the page before.
    pub before: Option<i64>,
}

/// What describes a dead letter from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LetterSummary {
    /// Its place in the order of arrival; what [`LetterFilter::before`] takes.
    pub seq: i64,
    pub id: String,
    pub queue: String,
    pub quarantined: Timestamp,
    pub stream: String,
    pub domain: String,
    pub contract: String,
    pub rule: String,
    pub kind: String,
}

/// What an id, or the beginning of one, led to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LetterLookup {
    /// The DLQ document as it was stored: private fields are not masked yet.
    Found {
        id: String,
        body: String,
    },
    NotFound,
    /// Several ids begin so; the first few of them.
    Ambiguous(Vec<String>),
}

/// How many dead letters share a reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LetterCount {
    pub domain: String,
    pub contract: String,
    pub rule: String,
    pub kind: String,
    pub letters: u64,
}

/// How many candidates [`LetterLookup::Ambiguous`] names.
const CANDIDATES: i64 = 5;

impl Reader {
    /// The letters that match, newest first.
    pub fn letters(&self, filter: &LetterFilter) -> Result<Vec<LetterSummary>, StoreError> {
        let columns = [
            ("queue", &filter.queue),
            ("domain", &filter.domain),
            ("contract", &filter.contract),
            ("body ->> '$.version'", &filter.version),
            ("stream", &filter.stream),
            ("rule", &filter.rule),
            ("kind", &filter.kind),
        ];
        let mut sql = "SELECT seq, id, queue, quarantined, stream, domain, contract, rule, kind FROM letters \
                       WHERE seq < ?"
            .to_owned();
        let mut values: Vec<rusqlite::types::Value> = vec![filter.before.unwrap_or(i64::MAX).into()];
        for (column, value) in columns {
            if let Some(value) = value {
                sql.push_str(&format!(" AND {column} = ?"));
                values.push(value.clone().into());
            }
        }
        for (compares, time) in [(">=", filter.since), ("<", filter.until)] {
            if let Some(time) = time {
                sql.push_str(&format!(" AND quarantined {compares} ?"));
                values.push(time.millis().into());
            }
        }
        sql.push_str(" ORDER BY seq DESC LIMIT ?");
        values.push(i64::try_from(filter.limit).unwrap_or(i64::MAX).into());
        self.failing(|c| c.prepare_cached(&sql)?.query_map(params_from_iter(values), summary_of)?.collect())
    }

    /// The letters after place `after` of one queue, or of all, oldest first: their places and documents.
    pub fn letter_bodies(
        &self,
        queue: Option<&str>,
        after: i64,
        limit: usize,
    ) -> Result<Vec<(i64, String)>, StoreError> {
        self.failing(|c| {
            c.prepare_cached(
                "SELECT seq, body FROM letters WHERE seq > ?1 AND (?2 IS NULL OR queue = ?2) ORDER BY seq LIMIT ?3",
            )?
            .query_map(params![after, queue, i64::try_from(limit).unwrap_or(i64::MAX)], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })?
            .collect()
        })
    }

    /// How many letters a queue, or all of them, hold.
    pub fn letters_held(&self, queue: Option<&str>) -> Result<u64, StoreError> {
        self.failing(|c| {
            c.prepare_cached("SELECT count(*) FROM letters WHERE ?1 IS NULL OR queue = ?1")?
                .query_row([queue], |row| row.get::<_, i64>(0))
                .map(|count| u64::try_from(count).unwrap_or_default())
        })
    }

    /// How many letters a queue holds, and when the oldest of them was quarantined.
    pub fn queue_depth(&self, queue: &str) -> Result<(u64, Option<Timestamp>), StoreError> {
        self.failing(|c| {
            c.prepare_cached("SELECT count(*), min(quarantined) FROM letters WHERE queue = ?1")?.query_row(
                [queue],
                |row| {
                    let oldest = row.get::<_, Option<i64>>(1)?.map(Timestamp::from_millis);
                    Ok((u64::try_from(row.get::<_, i64>(0)?).unwrap_or_default(), oldest))
                },
            )
        })
    }

    /// The letter with this id, or the one whose id begins so.
    pub fn letter(&self, id: &str) -> Result<LetterLookup, StoreError> {
        let mut candidates: Vec<(String, i64)> = self.failing(|c| {
            // Ids that begin with a text are neighbours in the order of ids, and start at the text itself.
            c.prepare_cached("SELECT id, seq FROM letters WHERE id >= ?1 ORDER BY id LIMIT ?2")?
                .query_map(params![id, CANDIDATES], |row| Ok((row.get(0)?, row.get(1)?)))?
                .collect()
        })?;
        candidates.retain(|(candidate, _)| candidate.starts_with(id));
        match &candidates[..] {
            [] => Ok(LetterLookup::NotFound),
            [(exact, seq), ..] if exact == id => self.body(exact, *seq),
            [(only, seq)] => self.body(only, *seq),
            several => Ok(LetterLookup::Ambiguous(several.iter().map(|(id, _)| id.clone()).collect())),
        }
    }

    fn body(&self, id: &str, seq: i64) -> Result<LetterLookup, StoreError> {
        let body = self.failing(|c| {
            c.prepare_cached("SELECT body FROM letters WHERE seq = ?1")?.query_row([seq], |row| row.get(0))
        })?;
        Ok(LetterLookup::Found { id: id.to_owned(), body })
    }

    /// How many letters there are by domain, contract, rule and kind, sorted by these.
    pub fn letter_counts(&self) -> Result<Vec<LetterCount>, StoreError> {
        self.failing(|c| {
            c.prepare_cached(
                "SELECT domain, contract, rule, kind, count(*) FROM letters INDEXED BY letters_by_reason
                 GROUP BY domain, contract, rule, kind ORDER BY domain, contract, rule, kind",
            )?
            .query_map([], |row| {
                Ok(LetterCount {
                    domain: row.get(0)?,
                    contract: row.get(1)?,
                    rule: row.get(2)?,
                    kind: row.get(3)?,
                    letters: u64::try_from(row.get::<_, i64>(4)?).unwrap_or_default(),
                })
            })?
            .collect()
        })
    }
}

fn summary_of(row: &Row<'_>) -> rusqlite::Result<LetterSummary> {
    Ok(LetterSummary {
        seq: row.get(0)?,
        id: row.get(1)?,
        queue: row.get(2)?,
        quarantined: Timestamp::from_millis(row.get(3)?),
        stream: row.get(4)?,
        domain: row.get(5)?,
        contract: row.get(6)?,
        rule: row.get(7)?,
        kind: row.get(8)?,
    })
}
