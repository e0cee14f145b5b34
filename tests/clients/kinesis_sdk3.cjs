// An ordinary producer on the AWS SDK for JavaScript v3 with its defaults: HTTP/2 with prior knowledge, no fallback.
// Writes to and reads from the stream named on the command line; AWS_ENDPOINT_URL_KINESIS names the endpoint.
const assert = require('node:assert/strict');
const {
  KinesisClient, PutRecordCommand, PutRecordsCommand, ListShardsCommand, DescribeStreamSummaryCommand,
  GetShardIteratorCommand, GetRecordsCommand, ResourceNotFoundException,
} = require('@aws-sdk/client-kinesis');

const stream = process.argv[2];
const kinesis = new KinesisClient({ maxAttempts: 1 });
const good = (n) => Buffer.from(`{ "type":"parcel.sent",  "id": "sdk3-${n}", "data":{"weight": 1.50, "recipient":"Ada"} }`);
const bad = (n) => Buffer.from(`{"type":"parcel.sent","id":"sdk3-bad-${n}","data":{"recipient":"","weight":1}}`);

async function main() {
  const one = await kinesis.send(new PutRecordCommand({ StreamName: stream, PartitionKey: 'js', Data: good(0) }));
  assert.match(one.ShardId, /^shardId-/);

  const records = [good(1), bad(1), good(2)].map((Data, i) => ({ Data, PartitionKey: `js-${i}` }));
  const batch = await kinesis.send(new PutRecordsCommand({ StreamName: stream, Records: records }));
  assert.equal(batch.FailedRecordCount, 0);
  assert.equal(batch.Records.length, 3);

  // Many streams of one HTTP/2 connection at a time.
  await Promise.all(Array.from({ length: 20 }, (_, i) =>
    kinesis.send(new PutRecordCommand({ StreamName: stream, PartitionKey: `js-${i}`, Data: good(100 + i) }))));

  const summary = await kinesis.send(new DescribeStreamSummaryCommand({ StreamName: stream }));
  assert.equal(summary.StreamDescriptionSummary.StreamStatus, 'ACTIVE');
  assert.ok(summary.StreamDescriptionSummary.StreamCreationTimestamp instanceof Date);

  const read = [];
  const { Shards: shards } = await kinesis.send(new ListShardsCommand({ StreamName: stream }));
  for (const { ShardId } of shards) {
    let { ShardIterator } = await kinesis.send(new GetShardIteratorCommand({
      StreamName: stream, ShardId, ShardIteratorType: 'TRIM_HORIZON' }));
    for (;;) {
      const answer = await kinesis.send(new GetRecordsCommand({ ShardIterator }));
      for (const record of answer.Records) read.push(Buffer.from(record.Data).toString());
      if (answer.Records.length === 0 && !answer.MillisBehindLatest) break;
      ShardIterator = answer.NextShardIterator;
    }
  }
  const expected = [0, 1, 2, ...Array.from({ length: 20 }, (_, i) => 100 + i)].map((n) => good(n).toString());
  assert.deepEqual(read.filter((text) => text.includes('sdk3-')).sort(), expected.sort());

  await assert.rejects(
    kinesis.send(new PutRecordCommand({ StreamName: 'no-such-stream', PartitionKey: 'k', Data: good(0) })),
    (error) => error instanceof ResourceNotFoundException && error.$metadata.httpStatusCode === 400);
  console.log(JSON.stringify({ read: read.length, shards: shards.length }));
}

main().then(() => process.exit(0), (error) => { console.error(error); process.exit(1); });
