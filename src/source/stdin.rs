//! NDJSON through a pipe: each line is an event. Good ones leave through the pipeline's mesh sink (`sink::pipe` on standard
//! output), and what was not simply forwarded is told in verdict lines, JSON too, on another stream.
//!
//! Nothing is acknowledged to a pipe, so its reader stops at the first batch that could not be settled: what comes after
//! must not overtake what was lost, and whoever wrote the pipe still has it.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use serde::Serialize;
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::timeout;

use crate::model::{
    Dimension, Judgement, Mode, Outcome, Position, Record, Settlement, Severity, Stamp, Timestamp, Unsettled, Verdict,
    Violation, ViolationKind,
};
use crate::port::{Intake, IntakeError};

/// The value of the `source` label.
pub const SOURCE: &str = "stdin";
/// The longest line taken in, in bytes, its newline left out.
pub const LINE_MAX: usize = 16 * 1024 * 1024;
/// Lines settled at a time.
const BATCH_LINES: usize = 500;
const BATCH_BYTES: usize = 4 * 1024 * 1024;
/// How long a batch waits for another line: a slow pipe (`tail -f`) is answered line by line, a fast one in full batches.
const LINGER: Duration = Duration::from_millis(5);

/// What became of the lines. Blank ones are not counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Report {
    pub forwarded: u64,
    /// Among them those longer than [`LINE_MAX`], of which only the verdict line tells.
    pub quarantined: u64,
    pub dropped: u64,
    pub unsettled: u64,
}

/// Why the run ended before its input did.
#[derive(Debug, thiserror::Error)]
pub enum StdinError {
    #[error("standard input could not be read after line {line}: {source}; the lines before were settled")]
    Read { line: u64, source: std::io::Error },
    #[error("the verdict on line {line} could not be written: {source}; its batch was settled, later lines were not")]
    Verdicts { line: u64, source: std::io::Error },
    #[error(
        "line {line} could not be settled (lines of its batch: {}): {message} Start again from line {line}",
        report.unsettled
    )]
    Unsettled { line: u64, message: String, report: Report },
    #[error("lines from {line} on were not taken: {source}")]
    Intake { line: u64, source: IntakeError },
}

/// A verdict line: one for each event that was not simply forwarded, or was forwarded with violations.
#[derive(Serialize)]
struct VerdictLine<'a> {
    line: u64,
    verdict: Verdict,
    #[serde(flatten)]
    stamp: &'a Stamp,
    violations: &'a [Violation],
    /// Why the event is neither forwarded nor kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    unsettled: Option<&'a str>,
}

/// Reads `reader` to its end and settles its lines, as written to `stream`, in order.
///
/// Holds at most one batch: 500 lines or 4 MiB, whichever comes first, or one longer line of up to 16 MiB. A line without its
/// `\n` is the event; a `\r` before it belongs to the event, for which it is white space.
///
/// # Errors
///
/// At the first line that could not be settled, or when reading or writing verdicts fails. Lines before it were settled.
pub async fn run<R, W>(
    reader: R,
    verdicts: W,
    intake: &dyn Intake,
    stream: &str,
    clock: fn() -> Timestamp,
) -> Result<Report, StdinError>
where
    R: AsyncBufRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let run =
        Run { intake, stream: stream.into(), clock, verdicts, report: Report::default(), batch: Vec::new(), bytes: 0 };
    run.finish(Lines::new(reader)).await
}

struct Run<'a, W> {
    intake: &'a dyn Intake,
    stream: Arc<str>,
    clock: fn() -> Timestamp,
    verdicts: W,
    report: Report,
    batch: Vec<(u64, Bytes)>,
    bytes: usize,
}

impl<W: AsyncWrite + Unpin> Run<'_, W> {
    async fn finish<R: AsyncBufRead + Unpin>(mut self, mut lines: Lines<R>) -> Result<Report, StdinError> {
        loop {
            let next = if self.batch.is_empty() {
                lines.next().await
            } else {
                match timeout(LINGER, lines.next()).await {
                    Ok(next) => next,
                    Err(_) => {
                        self.settle().await?;
                        continue;
                    }
                }
            };
            match next.map_err(|source| StdinError::Read { line: lines.number, source })? {
                Some(Line { number, text: LineText::Whole(data) }) => {
                    if self.batch.len() == BATCH_LINES || self.bytes + data.len() > BATCH_BYTES {
                        self.settle().await?;
                    }
                    self.bytes += data.len();
                    self.batch.push((number, data));
                }
                Some(Line { number, text: LineText::TooLong(len) }) => {
                    self.settle().await?;
                    self.refuse(number, len).await?;
                }
                None => {
                    self.settle().await?;
                    return Ok(self.report);
                }
            }
        }
    }

    /// Settles the batch and tells its verdicts.
    async fn settle(&mut self) -> Result<(), StdinError> {
        let batch = std::mem::take(&mut self.batch);
        self.bytes = 0;
        let Some(&(first, _)) = batch.first() else { return Ok(()) };
        let numbers: Vec<u64> = batch.iter().map(|(number, _)| *number).collect();
        let arrived = (self.clock)();
        let record = |(number, data): (u64, Bytes)| Record {
            position: Position::Line(number),
            ..Record::new(data, Arc::clone(&self.stream), arrived)
        };
        let records = batch.into_iter().map(record).collect();
        let outcomes = self.intake.settle(&self.stream, records).await;
        let outcomes = outcomes.map_err(|source| StdinError::Intake { line: first, source })?;
        let mut unsettled = None;
        for (&line, outcome) in numbers.iter().zip(&outcomes) {
            self.tell(line, outcome).await?;
            if let Settlement::Unsettled(Unsettled { message, .. }) = &outcome.settlement {
                unsettled.get_or_insert_with(|| (line, message.clone()));
            }
        }
        self.flush(numbers.last().copied().unwrap_or(first)).await?;
        match unsettled {
            Some((line, message)) => Err(StdinError::Unsettled { line, message, report: self.report }),
            None => Ok(()),
        }
    }

    async fn tell(&mut self, line: u64, outcome: &Outcome) -> Result<(), StdinError> {
        let (count, unsettled) = match &outcome.settlement {
            Settlement::Forwarded(_) => (&mut self.report.forwarded, None),
            Settlement::Quarantined { .. } => (&mut self.report.quarantined, None),
            Settlement::Dropped(_) => (&mut self.report.dropped, None),
            Settlement::Unsettled(unsettled) => (&mut self.report.unsettled, Some(unsettled.message.as_str())),
        };
        *count += 1;
        let Judgement { verdict, violations, stamp, .. } = &outcome.judgement;
        if unsettled.is_none() && *verdict == Verdict::Forward && violations.is_empty() {
            return Ok(());
        }
        self.write(VerdictLine { line, verdict: *verdict, stamp, violations, unsettled }).await
    }

    /// Tells of a line that was too long to be taken in.
    async fn refuse(&mut self, line: u64, len: u64) -> Result<(), StdinError> {
        self.report.quarantined += 1;
        let unknown: Arc<str> = "unknown".into();
        let stamp =
            Stamp { domain: Arc::clone(&unknown), contract: Arc::clone(&unknown), version: None, revision: unknown };
        let violations = [Violation {
            rule: ViolationKind::TooLarge.as_str().into(),
            kind: ViolationKind::TooLarge,
            pointer: String::new(),
            dimension: Some(Dimension::Conformity),
            severity: Severity::Error,
            mode: Mode::Enforce,
            message: format!("the line has {len} bytes, more than the {LINE_MAX} that are taken in; it was not kept"),
        }];
        self.write(VerdictLine {
            line,
            verdict: Verdict::Quarantine,
            stamp: &stamp,
            violations: &violations,
            unsettled: None,
        })
        .await?;
        self.flush(line).await
    }

    async fn write(&mut self, verdict: VerdictLine<'_>) -> Result<(), StdinError> {
        let failed = |source| StdinError::Verdicts { line: verdict.line, source };
        let mut text = serde_json::to_vec(&verdict).map_err(|error| failed(error.into()))?;
        text.push(b'\n');
        self.verdicts.write_all(&text).await.map_err(failed)
    }

    async fn flush(&mut self, line: u64) -> Result<(), StdinError> {
        self.verdicts.flush().await.map_err(|source| StdinError::Verdicts { line, source })
    }
}

struct Line {
    /// 1-based; blank lines count.
    number: u64,
    text: LineText,
}

enum LineText {
    Whole(Bytes),
    /// Too long to be kept: how many bytes it had.
    TooLong(u64),
}

/// Lines with bounded memory. [`Lines::next`] may be dropped at any await and called again: what was read is kept.
struct Lines<R> {
    reader: R,
    /// What has come of the line that is being read.
    partial: BytesMut,
    /// The bytes that have come of a line that is too long to be kept.
    overlong: Option<u64>,
    /// Lines read so far.
    number: u64,
}

impl<R: AsyncBufRead + Unpin> Lines<R> {
    fn new(reader: R) -> Self {
        Self { reader, partial: BytesMut::new(), overlong: None, number: 0 }
    }

    /// The next line that is not blank; `None` at the end.
    async fn next(&mut self) -> std::io::Result<Option<Line>> {
        loop {
            let available = self.reader.fill_buf().await?;
            let at_end = available.is_empty();
            let newline = memchr::memchr(b'\n', available);
            let part = &available[..newline.unwrap_or(available.len())];
            let len = self.partial.len() + part.len();
            match &mut self.overlong {
                Some(bytes) => *bytes += part.len() as u64,
                None if len > LINE_MAX => {
                    self.overlong = Some(len as u64);
                    self.partial = BytesMut::new();
                }
                None => self.partial.extend_from_slice(part),
            }
            let consumed = part.len() + usize::from(newline.is_some());
            self.reader.consume(consumed);
            if newline.is_some() || at_end {
                let line = self.complete();
                if line.is_some() || at_end {
                    return Ok(line);
                }
            }
        }
    }

    /// What has come is a line; `None` when it is blank.
    fn complete(&mut self) -> Option<Line> {
        self.number += 1;
        let text = match self.overlong.take() {
            Some(len) => LineText::TooLong(len),
            None => LineText::Whole(self.partial.split().freeze()),
        };
        let blank = matches!(&text, LineText::Whole(data) if data.iter().all(u8::is_ascii_whitespace));
        (!blank).then_some(Line { number: self.number, text })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use tokio::io::BufReader;

    use super::*;
    use crate::model::{Placement, Trouble};
    use crate::port::{BoxFuture, CatalogError};

    /// The position and data of each record of a batch.
    type Batch = Vec<(String, Vec<u8>)>;

    /// Forwards what contains `good`, quarantines `bad`, drops `drop`, and fails to settle `lost`.
    #[derive(Default)]
    struct Scripted {
        batches: Mutex<Vec<Batch>>,
    }

    fn judgement(verdict: Verdict) -> Judgement {
        Judgement {
            verdict,
            violations: Vec::new(),
            stamp: Stamp { domain: "d".into(), contract: "c".into(), version: None, revision: "r".into() }.into(),
            refuse: false,
        }
    }

    fn outcome(data: &[u8]) -> Outcome {
        let text = String::from_utf8_lossy(data);
        let placement = Placement { shard_id: "shardId-0".into(), sequence_number: "1".into() };
        let (verdict, settlement) = if text.contains("good") {
            (Verdict::Forward, Settlement::Forwarded(placement))
        } else if text.contains("drop") {
            (Verdict::Drop, Settlement::Dropped(placement))
        } else if text.contains("lost") {
            let message = "the pipe is gone.".into();
            (Verdict::Forward, Settlement::Unsettled(Unsettled { trouble: Trouble::Rejected, message }))
        } else {
            let settlement = Settlement::Quarantined { placement, dead_letter: "dl".into(), refuse: false };
            (Verdict::Quarantine, settlement)
        };
        Outcome { judgement: judgement(verdict), settlement }
    }

    impl Intake for Scripted {
        fn unfold(&self, _: &str, record: Record) -> Result<Vec<Record>, IntakeError> {
            Ok(vec![record])
        }

        fn settle<'a>(&'a self, _: &'a str, records: Vec<Record>) -> BoxFuture<'a, Result<Vec<Outcome>, IntakeError>> {
            Box::pin(async move {
                let outcomes = records.iter().map(|r| outcome(&r.data)).collect();
                let batch = records.into_iter().map(|r| (r.position.to_string(), r.data.to_vec())).collect();
                self.batches.lock().unwrap().push(batch);
                Ok(outcomes)
            })
        }

        fn judge(&self, _: &str, _: &str, _: &[Bytes], _: Timestamp) -> Result<Vec<Judgement>, IntakeError> {
            Err(IntakeError::Overloaded)
        }

        fn mesh_stream(&self, stream: &str) -> Option<Arc<str>> {
            Some(stream.into())
        }

        fn source_streams<'a>(&'a self) -> BoxFuture<'a, Result<Vec<String>, CatalogError>> {
            Box::pin(async { Ok(Vec::new()) })
        }
    }

    async fn run_on(input: &[u8]) -> (Result<Report, StdinError>, String, Vec<Batch>) {
        let intake = Scripted::default();
        let mut verdicts = Vec::new();
        let reader = BufReader::with_capacity(7, input);
        let result = run(reader, &mut verdicts, &intake, "events", || Timestamp::from_millis(0)).await;
        (result, String::from_utf8(verdicts).unwrap(), intake.batches.into_inner().unwrap())
    }

    #[tokio::test]
    async fn lines_are_settled_in_order_and_only_the_others_are_told() {
        let (report, verdicts, batches) = run_on(b"good 1\r\n\n  \nbad 2\ndrop 3\ngood 4").await;
        let expected = Report { forwarded: 2, quarantined: 1, dropped: 1, unsettled: 0 };
        assert_eq!(report.unwrap(), expected);
        let lines: Vec<_> =
            batches.concat().into_iter().map(|(p, d)| format!("{p}: {:?}", String::from_utf8(d).unwrap())).collect();
        assert_eq!(
            lines,
            [r#"line 1: "good 1\r""#, r#"line 4: "bad 2""#, r#"line 5: "drop 3""#, r#"line 6: "good 4""#]
        );
        expect_test::expect![[r#"
            {"line":4,"verdict":"quarantine","domain":"d","contract":"c","revision":"r","violations":[]}
            {"line":5,"verdict":"drop","domain":"d","contract":"c","revision":"r","violations":[]}
        "#]]
        .assert_eq(&verdicts);
    }

    #[tokio::test]
    async fn the_first_line_that_is_not_settled_ends_the_run() {
        let input = [&b"good\n".repeat(499)[..], b"lost\n", &b"good\n".repeat(500)].concat();
        let (result, verdicts, batches) = run_on(&input).await;
        let error = result.unwrap_err();
        expect_test::expect![[
            "line 500 could not be settled (lines of its batch: 1): the pipe is gone. Start again from line 500"
        ]]
        .assert_eq(&error.to_string());
        assert!(verdicts.contains(r#""unsettled":"the pipe is gone.""#), "{verdicts}");
        assert_eq!(batches.iter().map(Vec::len).sum::<usize>(), 500);
    }

    #[tokio::test]
    async fn a_line_too_long_is_told_and_not_kept() {
        let input = [b"good 1\n", &vec![b'x'; LINE_MAX + 1][..], b"\ngood 3\n", &vec![b'y'; LINE_MAX][..]].concat();
        let intake = Scripted::default();
        let mut verdicts = Vec::new();
        let report = run(&input[..], &mut verdicts, &intake, "events", || Timestamp::from_millis(0)).await.unwrap();
        assert_eq!(report, Report { forwarded: 2, quarantined: 2, dropped: 0, unsettled: 0 });
        let verdicts = String::from_utf8(verdicts).unwrap();
        assert!(verdicts.starts_with(r#"{"line":2,"verdict":"quarantine""#), "{verdicts}");
        assert!(verdicts.contains("the line has 16777217 bytes"), "{verdicts}");
        assert_eq!(
            intake.batches.lock().unwrap().iter().flatten().map(|(p, _)| &**p).collect::<Vec<_>>(),
            ["line 1", "line 3", "line 4"]
        );
    }

    #[tokio::test]
    async fn a_slow_pipe_is_answered_without_waiting_for_a_full_batch() {
        let (mut writer, reader) = tokio::io::duplex(64);
        let intake = Arc::new(Scripted::default());
        let seen = Arc::clone(&intake);
        let running = tokio::spawn(async move {
            run(BufReader::new(reader), tokio::io::sink(), &*seen, "events", || Timestamp::from_millis(0)).await
        });
        writer.write_all(b"good\ngo").await.unwrap();
        let mut waited = 0;
        while intake.batches.lock().unwrap().is_empty() {
            waited += 1;
            assert!(waited < 1000, "the first line was never settled");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        writer.write_all(b"od\n").await.unwrap();
        drop(writer);
        assert_eq!(running.await.unwrap().unwrap().forwarded, 2);
    }

    #[tokio::test]
    async fn verdicts_that_cannot_be_written_end_the_run() {
        let (writer, reader) = tokio::io::duplex(1);
        drop(reader);
        let result = run(&b"bad\n"[..], writer, &Scripted::default(), "events", || Timestamp::from_millis(0)).await;
        assert!(matches!(result, Err(StdinError::Verdicts { line: 1, .. })), "{result:?}");
    }
}
