//! What streams and shards there are: `ListStreams`, `DescribeStream`, `DescribeStreamSummary`, `ListShards`.
//!
//! A client names the stream it writes to, and is told of the mesh stream behind it under the name it used, ARN included, so
//! that what it goes on with is again a name it may write to. A name that no route or contract covers is looked up as a
//! mesh stream, for those who read back.

use std::sync::Arc;

use bytes::Bytes;
use serde::Deserialize;

use crate::model::{Shard, StreamDescription, Timestamp};

use super::answers::{
    DescribeStreamAnswer, DescribeStreamSummaryAnswer, DescriptionAnswer, ListShardsAnswer, ListStreamsAnswer,
    ShardAnswer, StreamSummary, SummaryAnswer,
};
use super::fault::Fault;
use super::token::{self, ShardPage, TokenFault};
use super::wire::EpochMillis;
use super::{Call, name};

/// Page sizes where the request names none, and the largest it may name. Source: API reference.
const SHARDS_DEFAULT: usize = 1000;
const DESCRIBE_DEFAULT: usize = 100;
const STREAMS_DEFAULT: usize = 100;
const PAGE_MAX: i64 = 10_000;

#[derive(Deserialize)]
struct DescribeStream {
    #[serde(rename = "StreamName")]
    stream_name: Option<String>,
    #[serde(rename = "StreamARN")]
    stream_arn: Option<String>,
    #[serde(rename = "Limit")]
    limit: Option<i64>,
    #[serde(rename = "ExclusiveStartShardId")]
    exclusive_start_shard_id: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ListStreams {
    limit: Option<i64>,
    exclusive_start_stream_name: Option<String>,
    next_token: Option<String>,
}

#[derive(Deserialize)]
struct ListShards {
    #[serde(rename = "StreamName")]
    stream_name: Option<String>,
    #[serde(rename = "StreamARN")]
    stream_arn: Option<String>,
    #[serde(rename = "NextToken")]
    next_token: Option<String>,
    #[serde(rename = "ExclusiveStartShardId")]
    exclusive_start_shard_id: Option<String>,
    #[serde(rename = "MaxResults")]
    max_results: Option<i64>,
    #[serde(rename = "ShardFilter")]
    shard_filter: Option<ShardFilter>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ShardFilter {
    r#type: Option<String>,
    shard_id: Option<String>,
    timestamp: Option<EpochMillis>,
}

/// The mesh stream that `name` stands for.
pub fn mesh_name(call: &Call<'_>, name: &str) -> Arc<str> {
    call.service.intake.mesh_stream(name).unwrap_or_else(|| name.into())
}

/// Describes the stream behind `name` under that name.
async fn describe(call: &Call<'_>, name: &str) -> Result<StreamDescription, Fault> {
    let covered = call.service.intake.mesh_stream(name);
    let mesh = covered.as_deref().unwrap_or(name);
    let catalog = &call.service.catalog;
    // A producer may describe a stream, or wait for it, before anything is put on it.
    let mut stream = if covered.is_some() { catalog.ensure(mesh).await } else { catalog.describe(mesh).await }?;
    if mesh != name {
        if let Some(prefix) = stream.arn.strip_suffix(mesh).filter(|prefix| prefix.ends_with('/')) {
            stream.arn = format!("{prefix}{name}");
        }
        stream.name = name.to_owned();
    }
    stream.shards.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(stream)
}

pub async fn describe_stream_summary(call: &Call<'_>) -> Result<Bytes, Fault> {
    let request: DescribeStream = call.encoding.parse(call.body)?;
    let name = name::stream_of(request.stream_name.as_deref(), request.stream_arn.as_deref())?;
    let stream = describe(call, &name).await?;
    call.encoding.write(&DescribeStreamSummaryAnswer { stream_description_summary: SummaryAnswer::of(&stream) })
}

pub async fn describe_stream(call: &Call<'_>) -> Result<Bytes, Fault> {
    let request: DescribeStream = call.encoding.parse(call.body)?;
    let name = name::stream_of(request.stream_name.as_deref(), request.stream_arn.as_deref())?;
    let limit = page_size("limit", request.limit, DESCRIBE_DEFAULT)?;
    let stream = describe(call, &name).await?;
    let (page, more) = page_after(&stream.shards, request.exclusive_start_shard_id.as_deref(), limit);
    let stream_description = DescriptionAnswer::of(&stream, page, more);
    call.encoding.write(&DescribeStreamAnswer { stream_description })
}

pub async fn list_streams(call: &Call<'_>) -> Result<Bytes, Fault> {
    let request: ListStreams = call.encoding.parse(call.body)?;
    let limit = page_size("limit", request.limit, STREAMS_DEFAULT)?;
    let after = match (&request.next_token, request.exclusive_start_stream_name) {
        (Some(token), _) => Some(token::open_stream_page(token, call.now).map_err(page_fault)?),
        (None, start) => start,
    };
    // Every name that can be described here: those to write to, and those to read.
    let mut names = call.service.intake.source_streams().await?;
    names.extend(call.service.catalog.list_streams().await?);
    names.sort_unstable();
    names.dedup();

    let start = after.map_or(0, |after| names.partition_point(|name| *name <= after));
    let end = names.len().min(start.saturating_add(limit));
    let page = &names[start..end];
    let has_more_streams = end < names.len();
    let next_token = page.last().filter(|_| has_more_streams).map(|last| token::seal_stream_page(last, call.now));
    let stream_summaries = summaries(call, page).await;
    call.encoding.write(&ListStreamsAnswer { stream_names: page, has_more_streams, next_token, stream_summaries })
}

/// All summaries of a page, or none: the names are the answer, and a backend that throttles must not spoil it. None on AWS
/// (where nothing is read back), where each would cost a call of a quota that the whole account shares.
async fn summaries(call: &Call<'_>, names: &[String]) -> Option<Vec<StreamSummary>> {
    call.service.catalog.reader()?;
    let mut summaries = Vec::with_capacity(names.len());
    for name in names {
        summaries.push(StreamSummary::of(describe(call, name).await.ok()?));
    }
    Some(summaries)
}

pub async fn list_shards(call: &Call<'_>) -> Result<Bytes, Fault> {
    let request: ListShards = call.encoding.parse(call.body)?;
    let limit = page_size("maxResults", request.max_results, SHARDS_DEFAULT)?;
    let (name, filter, after) = match &request.next_token {
        Some(token) => {
            let first_page_only = request.stream_name.is_some()
                || request.stream_arn.is_some()
                || request.exclusive_start_shard_id.is_some()
                || request.shard_filter.is_some();
            if first_page_only {
                return Err(Fault::invalid("NextToken stands for the whole request; give only MaxResults beside it."));
            }
            let page = ShardPage::open(token, call.now).map_err(page_fault)?;
            (page.stream, Filter::parse(&page.filter).ok_or_else(bad_token)?, Some(page.after))
        }
        None => {
            let name = name::stream_of(request.stream_name.as_deref(), request.stream_arn.as_deref())?;
            (name, Filter::of(request.shard_filter)?, request.exclusive_start_shard_id)
        }
    };
    let mut stream = describe(call, &name).await?;
    let (shards, created) = (std::mem::take(&mut stream.shards), stream.created);
    let shards = filter.keep(shards, created);
    let (page, more) = page_after(&shards, after.as_deref(), limit);
    let next_token = page
        .last()
        .filter(|_| more)
        .map(|last| ShardPage { stream: name, after: last.id.to_string(), filter: filter.to_text() }.seal(call.now));
    call.encoding.write(&ListShardsAnswer { shards: page.iter().map(ShardAnswer::of).collect(), next_token })
}

/// Which shards a list has.
///
/// The catalog says which shards are closed but not when they were. Where nothing was ever split or merged, as on the
/// embedded backend, each of these is exact; else `FROM_TIMESTAMP` may list shards that closed before it, whose readers
/// find nothing there, and `AT_TIMESTAMP` is exact for the ends of the retention period.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Filter {
    All,
    After(String),
    /// Open at the oldest record: no parent of theirs is listed any more.
    Oldest,
    Open,
    At(Timestamp),
}

impl Filter {
    fn of(filter: Option<ShardFilter>) -> Result<Self, Fault> {
        let Some(ShardFilter { r#type, shard_id, timestamp }) = filter else { return Ok(Self::All) };
        let kind = r#type.ok_or_else(|| Fault::constraint("shardFilter.type", "Member must not be null"))?;
        let needs = |what: &str| Fault::invalid(format!("A ShardFilter of this Type needs {what}."));
        match kind.as_str() {
            "AFTER_SHARD_ID" => {
                let shard = shard_id.ok_or_else(|| needs("ShardId"))?;
                name::check_name("shardFilter.shardId", &shard)?;
                Ok(Self::After(shard))
            }
            "AT_TRIM_HORIZON" => Ok(Self::Oldest),
            "FROM_TRIM_HORIZON" => Ok(Self::All),
            "AT_LATEST" => Ok(Self::Open),
            "AT_TIMESTAMP" => Ok(Self::At(timestamp.ok_or_else(|| needs("Timestamp"))?.0)),
            "FROM_TIMESTAMP" => timestamp.map(|_| Self::All).ok_or_else(|| needs("Timestamp")),
            _ => Err(Fault::constraint(
                "shardFilter.type",
                "Member must satisfy enum value set: [AFTER_SHARD_ID, AT_TRIM_HORIZON, FROM_TRIM_HORIZON, AT_LATEST, \
                 AT_TIMESTAMP, FROM_TIMESTAMP]",
            )),
        }
    }

    fn keep(&self, shards: Vec<Shard>, created: Timestamp) -> Vec<Shard> {
        match self {
            Self::All => shards,
            Self::After(id) => shards.into_iter().filter(|s| *s.id > **id).collect(),
            Self::Open => shards.into_iter().filter(|s| s.ending_sequence_number.is_none()).collect(),
            Self::At(at) if *at > created => Self::Open.keep(shards, created),
            Self::At(_) | Self::Oldest => {
                let listed: std::collections::BTreeSet<Arc<str>> = shards.iter().map(|s| Arc::clone(&s.id)).collect();
                let is_listed = |parent: &Option<String>| parent.as_deref().is_some_and(|id| listed.contains(id));
                shards.into_iter().filter(|s| !is_listed(&s.parent) && !is_listed(&s.adjacent_parent)).collect()
            }
        }
    }

    fn to_text(&self) -> String {
        match self {
            Self::All => String::new(),
            Self::After(id) => format!("after:{id}"),
            Self::Oldest => "oldest".into(),
            Self::Open => "open".into(),
            Self::At(at) => format!("at:{}", at.millis()),
        }
    }

    fn parse(text: &str) -> Option<Self> {
        match text.split_once(':') {
            Some(("after", id)) => Some(Self::After(id.into())),
            Some(("at", millis)) => Some(Self::At(Timestamp::from_millis(millis.parse().ok()?))),
            Some(_) => None,
            None => match text {
                "" => Some(Self::All),
                "oldest" => Some(Self::Oldest),
                "open" => Some(Self::Open),
                _ => None,
            },
        }
    }
}

/// At most `limit` of the shards, sorted by id, whose id is greater than `after`; and whether there are more.
fn page_after<'a>(shards: &'a [Shard], after: Option<&str>, limit: usize) -> (&'a [Shard], bool) {
    let start = after.map_or(0, |after| shards.partition_point(|s| *s.id <= *after));
    let end = shards.len().min(start.saturating_add(limit));
    (&shards[start..end], end < shards.len())
}

fn page_size(member: &str, asked: Option<i64>, default: usize) -> Result<usize, Fault> {
    match asked {
        None => Ok(default),
        Some(size) if size < 1 => Err(Fault::constraint(member, "Member must have value greater than or equal to 1")),
        Some(size) if size > PAGE_MAX => {
            Err(Fault::constraint(member, "Member must have value less than or equal to 10000"))
        }
        Some(size) => Ok(usize::try_from(size).unwrap_or(default)),
    }
}

fn bad_token() -> Fault {
    Fault::invalid("NextToken is not one of this gate's. Start the list again.")
}

fn page_fault(fault: TokenFault) -> Fault {
    match fault {
        TokenFault::Invalid => bad_token(),
        TokenFault::Expired => {
            Fault::new("ExpiredNextTokenException", "NextToken expired: it lives 300 seconds. Start the list again.")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::HashKeyRange;

    /// `shardId-0` was split into 1 and 2.
    fn shards() -> Vec<Shard> {
        let halves: Vec<_> = HashKeyRange::divide(2).collect();
        let shard = |id: &str, parent: Option<&str>, range, closed: bool| Shard {
            id: id.into(),
            parent: parent.map(str::to_owned),
            adjacent_parent: None,
            range,
            starting_sequence_number: "1".into(),
            ending_sequence_number: closed.then(|| "9".into()),
        };
        vec![
            shard("shardId-0", None, HashKeyRange::divide(1).next().unwrap(), true),
            shard("shardId-1", Some("shardId-0"), halves[0], false),
            shard("shardId-2", Some("shardId-0"), halves[1], false),
        ]
    }

    fn kept(filter: &Filter) -> Vec<String> {
        filter.keep(shards(), Timestamp::from_millis(1000)).iter().map(|s| s.id[8..].to_owned()).collect()
    }

    #[test]
    fn filters_keep_what_the_api_reference_says() {
        assert_eq!(kept(&Filter::All), ["0", "1", "2"]);
        assert_eq!(kept(&Filter::After("shardId-1".into())), ["2"]);
        assert_eq!(kept(&Filter::Oldest), ["0"]);
        assert_eq!(kept(&Filter::Open), ["1", "2"]);
        assert_eq!(kept(&Filter::At(Timestamp::from_millis(2000))), ["1", "2"]);
        assert_eq!(kept(&Filter::At(Timestamp::from_millis(1000))), ["0"]);
    }

    #[test]
    fn a_filter_survives_its_page_token() {
        for filter in [
            Filter::All,
            Filter::After("a:b".into()),
            Filter::Oldest,
            Filter::Open,
            Filter::At(Timestamp::from_millis(-5)),
        ] {
            assert_eq!(Filter::parse(&filter.to_text()), Some(filter));
        }
        assert_eq!(Filter::parse("nonsense"), None);
        assert_eq!(Filter::parse("at:x"), None);
    }

    #[test]
    fn pages_join_without_gap() {
        let shards = shards();
        let (first, more) = page_after(&shards, None, 2);
        assert_eq!((first.len(), more), (2, true));
        let (second, more) = page_after(&shards, Some(&first[1].id), 2);
        assert_eq!((&*second[0].id, second.len(), more), ("shardId-2", 1, false));
        assert!(page_after(&shards, Some("shardId-9"), 2).0.is_empty());
        assert!(page_size("limit", Some(0), 1).is_err() && page_size("limit", Some(10_001), 1).is_err());
    }
}
