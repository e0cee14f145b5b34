//! Which trace a request belongs to, as it stands in headers: W3C Trace Context, and AWS X-Ray's own header.
//!
//! Sources: W3C Trace Context Level 1 (Recommendation) and Level 2 (its grammar of `tracestate` keys, the flag `random`); AWS X-Ray
//! developer guide, "Tracing header". Whatever is not of their form counts as absent: a trace is never a reason to refuse a record.

use std::collections::HashSet;
use std::fmt;

/// Characters of `tracestate` that are passed on: what the specification asks for at least.
const STATE_CHARS_MAX: usize = 512;
/// Members of `tracestate`; more make it invalid.
const STATE_MEMBERS_MAX: usize = 32;
/// Members longer than this go first where it is too long.
const STATE_MEMBER_LONG: usize = 128;
/// Characters of a member's key, and of its value.
const STATE_PART_MAX: usize = 256;
/// Bytes of an X-Ray header that are looked at: AWS's own have a third of it.
const XRAY_LEN_MAX: usize = 1_024;

const SAMPLED: u8 = 1;
const RANDOM: u8 = 2;

/// A trace's id: 16 bytes, not all zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceId([u8; 16]);

/// A span's id within its trace: 8 bytes, not all zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SpanId([u8; 8]);

/// A span as others refer to it: what a header carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpanContext {
    pub trace_id: TraceId,
    pub span_id: SpanId,
    /// Somebody before decided to record this trace.
    pub is_sampled: bool,
    /// At least seven bytes of the trace's id are random (Level 2).
    pub is_random: bool,
    /// `tracestate`: what vendors note beside it, passed on as it came. At most 512 characters.
    pub state: Option<Box<str>>,
}

impl TraceId {
    /// Of random bits; a trace of zeros is none, and becomes 1.
    pub fn of_random(bits: u128) -> Self {
        Self(bits.max(1).to_be_bytes())
    }

    /// The last eight bytes as a number, by which a share of traces is chosen.
    pub fn low(self) -> u64 {
        u64::from_be_bytes(self.0[8..].try_into().unwrap_or_default())
    }
}

impl SpanId {
    /// Of random bits; a span of zeros is none, and becomes 1.
    pub fn of_random(bits: u64) -> Self {
        Self(bits.max(1).to_be_bytes())
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", u64::from_be_bytes(self.0))
    }
}

impl SpanContext {
    /// Of the values of `traceparent` and `tracestate`. A state of another form is left out; without a good parent there is neither.
    pub fn parse<'a>(traceparent: &str, tracestate: impl Iterator<Item = &'a str>) -> Option<Self> {
        let (version, rest) = (traceparent.get(..2)?, traceparent.get(2..)?);
        let version = hex::<1>(version)?[0];
        let fields = rest.strip_prefix('-')?;
        // Later versions may add fields behind.
        let is_whole = match fields.as_bytes().get(52) {
            None => fields.len() == 52,
            Some(next) => version > 0 && *next == b'-',
        };
        if version == 0xff || !is_whole {
            return None;
        }
        let mut fields = fields.get(..52)?.split('-');
        let (trace_id, span_id) = (hex::<16>(fields.next()?)?, hex::<8>(fields.next()?)?);
        let flags = hex::<1>(fields.next()?)?[0];
        if fields.next().is_some() {
            return None;
        }
        Some(Self {
            trace_id: TraceId(nonzero(trace_id)?),
            span_id: SpanId(nonzero(span_id)?),
            is_sampled: flags & SAMPLED != 0,
            is_random: flags & RANDOM != 0,
            state: state(tracestate),
        })
    }

    /// Of the value of `X-Amzn-Trace-Id`: `Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1`. The root's two
    /// numbers together are the trace's id, as in OpenTelemetry's propagator for X-Ray. Without a parent (a load balancer's) it is none.
    pub fn parse_xray(header: &str) -> Option<Self> {
        let (mut root, mut parent, mut is_sampled) = (None, None, false);
        for field in Some(header).filter(|header| header.len() <= XRAY_LEN_MAX)?.split(';') {
            match field.trim().split_once('=')? {
                ("Root", value) => root = Some(value),
                ("Parent", value) => parent = Some(value),
                ("Sampled", value) => is_sampled = value == "1",
                _ => {}
            }
        }
        let (time, random) = root?.strip_prefix("1-")?.split_once('-')?;
        let (time, random) = (hex::<4>(time)?, hex::<12>(random)?);
        let mut trace_id = [0; 16];
        trace_id[..4].copy_from_slice(&time);
        trace_id[4..].copy_from_slice(&random);
        Some(Self {
            trace_id: TraceId(nonzero(trace_id)?),
            span_id: SpanId(nonzero(hex::<8>(parent?)?)?),
            is_sampled,
            is_random: false,
            state: None,
        })
    }

    /// The value of `traceparent`, in version 00.
    pub fn traceparent(&self) -> String {
        let flags = if self.is_sampled { SAMPLED } else { 0 } | if self.is_random { RANDOM } else { 0 };
        format!("00-{}-{}-{flags:02x}", self.trace_id, self.span_id)
    }

    /// The value of `X-Amzn-Trace-Id`, and of the message system attribute `AWSTraceHeader`.
    pub fn xray(&self) -> String {
        let trace_id = self.trace_id.to_string();
        let (time, random) = trace_id.split_at(8);
        format!("Root=1-{time}-{random};Parent={};Sampled={}", self.span_id, u8::from(self.is_sampled))
    }
}

/// Exactly `N` bytes in lower-case hexadecimal, as both specifications have them.
fn hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    if digits.len() != 2 * N {
        return None;
    }
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

fn nonzero<const N: usize>(bytes: [u8; N]) -> Option<[u8; N]> {
    bytes.iter().any(|byte| *byte != 0).then_some(bytes)
}

/// All `tracestate` headers as one, without the white space between its members. One bad member, or a key twice, and there is none.
/// What is too long loses whole members: the long ones first, then the last ones.
fn state<'a>(headers: impl Iterator<Item = &'a str>) -> Option<Box<str>> {
    let (mut members, mut keys) = (Vec::new(), HashSet::new());
    for member in headers.flat_map(|header| header.split(',')) {
        let member = member.trim_matches([' ', '\t']);
        if member.is_empty() {
            continue;
        }
        let (key, value) = member.split_once('=')?;
        if members.len() == STATE_MEMBERS_MAX || !is_key(key) || !is_value(value) || !keys.insert(key) {
            return None;
        }
        members.push(member);
    }
    let length = |members: &[&str]| members.iter().map(|member| member.len() + 1).sum::<usize>().saturating_sub(1);
    while length(&members) > STATE_CHARS_MAX {
        let long = members.iter().rposition(|member| member.len() > STATE_MEMBER_LONG);
        members.remove(long.unwrap_or(members.len() - 1));
    }
    (!members.is_empty()).then(|| members.join(",").into())
}

fn is_key(key: &str) -> bool {
    let is_first = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    key.len() <= STATE_PART_MAX
        && key.bytes().next().is_some_and(is_first)
        && key.bytes().all(|byte| is_first(byte) || b"_-*/@".contains(&byte))
}

fn is_value(value: &str) -> bool {
    value.len() <= STATE_PART_MAX
        && value.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b',' && byte != b'=')
        && value.bytes().last().is_some_and(|byte| byte != b' ')
}

#[cfg(test)]
mod tests;
