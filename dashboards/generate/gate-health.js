// For whoever runs gates: are they healthy, and are they in anyone's way.

const { unit, of, thresholds, course, now, quantiles, number, graph, states, list, board } = require("./common");

const g = of.gate;
/** @type {{[value: string]: [string, string]}} */
const yesNo = { 0: ["no", "green"], 1: ["yes", "red"] };

module.exports = board({
  uid: "meshgate-gate-health",
  title: "Meshgate: gate health",
  description: "What gates cost their producers, how full they are, how their far ends, spools, shards and rules do.",
  tags: ["operations"],
  from: "now-3h",
  rows: [
    ["Is it in anyone's way?", [
      number({
        title: "Time added, p99",
        description: "99 of 100 requests to the data port are answered within this, the write to the mesh included. Above: see the time of upstream calls.",
        width: 4, unit: unit.seconds, steps: thresholds.latency, none: "no requests",
        queries: [now(`histogram_quantile(0.99, sum by (le) (rate(meshgate_request_seconds_bucket{${g}, operation!~"Get.*|List.*|Describe.*"}[$__rate_interval])))`)],
      }),
      number({
        title: "Unsettled records",
        description: "Per second: not durable yet, their producers were told to send them again. Above 0 a sink is in trouble, or a breaker holds.",
        width: 4, unit: unit.records, steps: thresholds.zero, none: "0",
        queries: [now(`sum(rate(meshgate_records_total{${g}, settlement="unsettled"}[$__rate_interval]))`)],
      }),
      number({
        title: "Records in flight, of the limit",
        description: "The fullest gate. At 100 % producers are throttled: a far end is slow, or another gate is needed.",
        width: 4, unit: unit.share, steps: thresholds.full,
        queries: [now(`max(meshgate_records_in_flight{${g}} / on (job, instance) meshgate_records_in_flight_limit{${g}})`)],
      }),
      number({
        title: "Connections, of the limit",
        description: "The fullest gate. At 100 % new ones are closed at once: clients that keep connections, or a higher limits.connections.",
        width: 4, unit: unit.share, steps: thresholds.full,
        queries: [now(`max(meshgate_connections{${g}} / on (job, instance) meshgate_connections_limit{${g}})`)],
      }),
      number({
        title: "Sinks in trouble",
        description: "Entries per second that sinks did not take in one attempt. Below, Sink failures says which sink and why.",
        width: 4, unit: unit.records, steps: thresholds.zero, none: "0",
        queries: [now(`sum(rate(meshgate_sink_failures_total{${g}}[$__rate_interval]))`)],
      }),
      number({
        title: "Domains on old rules",
        description: "Domains whose newest rule files do not compile, so that their last good version judges. meshgate check says why.",
        width: 4, unit: unit.count, steps: thresholds.flag,
        queries: [now(`sum(max by (domain) (meshgate_rules_stale{${of.domain}}))`)],
      }),
    ]],
    ["Requests and records", [
      graph({
        title: "Request time",
        description: "From the last byte of a request to its answer, the write to the mesh included: what producers wait.",
        width: 8, unit: unit.seconds, steps: thresholds.latency,
        queries: quantiles("meshgate_request_seconds", "operation", g),
      }),
      graph({
        title: "Judging time",
        description: "To judge one event. Climbs with rules that are evaluated over trees (`check` notes them), and where the CPU is short.",
        width: 8, unit: unit.seconds,
        queries: quantiles("meshgate_judge_seconds", "", g),
      }),
      graph({
        title: "Upstream call time",
        description: "One attempt at the mesh, the queue or S3, as each request that shares it sees it. What is left of the request time is the gate's own.",
        width: 8, unit: unit.seconds,
        queries: quantiles("meshgate_sink_call_seconds", "sink", g),
      }),
      graph({
        title: "Requests",
        description: "Per second, by what was asked and how it was answered. 4xx: the client's request is wrong, or it is told to slow down. 5xx: the gate's.",
        width: 8, unit: unit.requests,
        queries: [course(`sum by (source, operation, status) (rate(meshgate_requests_total{${g}}[$__rate_interval]))`, "{{source}} {{operation}} {{status}}")],
      }),
      graph({
        title: "Records by settlement",
        description: "Per second by what became of them. Unsettled ones are with their producers, or in their shard, still.",
        width: 8, unit: unit.records, stacked: true,
        queries: [course(`sum by (route, settlement) (rate(meshgate_records_total{${g}}[$__rate_interval]))`, "{{route}} {{settlement}}")],
      }),
      graph({
        title: "Bytes received",
        description: "Bytes of record data per second, by route. A shard of the mesh stream takes 1 MB/s.",
        width: 4, unit: unit.bytesPerSecond,
        queries: [course(`sum by (route) (rate(meshgate_received_bytes_total{${g}}[$__rate_interval]))`, "{{route}}")],
      }),
      graph({
        title: "Outbox changes ignored",
        description: "Change records of an outbox that mean no event, per second: modified, removed or expired items, as on_modify and on_remove say.",
        width: 4, unit: unit.records, none: "no outbox",
        queries: [course(`sum by (route, change) (rate(meshgate_changes_ignored_total{${g}}[$__rate_interval]))`, "{{route}} {{change}}")],
      }),
    ]],
    ["Saturation", [
      graph({
        title: "Records in flight",
        description: "Taken in and not settled, by gate, and the limit (dashed) at which producers are throttled.",
        width: 8, unit: unit.count, dashed: ".*limit",
        queries: [course(`meshgate_records_in_flight{${g}}`, "{{instance}}"), course(`min(meshgate_records_in_flight_limit{${g}})`, "limit")],
      }),
      graph({
        title: "Connections",
        description: "Open on the data port, by gate, and the limit (dashed) at which new ones are closed at once.",
        width: 8, unit: unit.count, dashed: ".*limit",
        queries: [course(`meshgate_connections{${g}}`, "{{instance}}"), course(`min(meshgate_connections_limit{${g}})`, "limit")],
      }),
      graph({
        title: "Connections refused",
        description: "Closed at once, per second. Above 0: limits.connections is reached, or clients open one for each request.",
        width: 8, unit: unit.perSecond, steps: thresholds.zero,
        queries: [course(`sum by (instance) (rate(meshgate_connections_refused_total{${g}}[$__rate_interval]))`, "{{instance}}")],
      }),
      graph({
        title: "CPU",
        description: "Cores in use, by gate. Near the container's limit, all times climb.",
        width: 6, unit: unit.cores, decimals: 2,
        queries: [course(`rate(process_cpu_seconds_total{${g}}[$__rate_interval]) and on (job, instance) meshgate_build_info`, "{{instance}}")],
      }),
      graph({
        title: "Memory",
        description: "Resident memory, by gate, and the address space of all (dashed). Grows with what checks remember and with bodies in flight; both are bounded.",
        width: 6, unit: unit.bytes, dashed: ".*address space",
        queries: [
          course(`process_resident_memory_bytes{${g}} and on (job, instance) meshgate_build_info`, "{{instance}}"),
          course(`max(process_virtual_memory_bytes{${g}} and on (job, instance) meshgate_build_info)`, "address space, largest"),
        ],
      }),
      graph({
        title: "Open files",
        description: "Of each gate: connections, the store and its log. The limit (dashed) is the system's for the process.",
        width: 6, unit: unit.count, dashed: ".*limit",
        queries: [
          course(`process_open_fds{${g}} and on (job, instance) meshgate_build_info`, "{{instance}}"),
          course(`min(process_max_fds{${g}} and on (job, instance) meshgate_build_info)`, "limit"),
        ],
      }),
      graph({
        title: "Threads",
        description: "Of each gate. A few more than cores; more while files are written.",
        width: 6, unit: unit.count,
        queries: [course(`process_threads{${g}} and on (job, instance) meshgate_build_info`, "{{instance}}")],
      }),
    ]],
    ["Far ends", [
      graph({
        title: "Sink failures",
        description: "Entries per second not taken in one attempt. throttled: add shards. unavailable: network or service. rejected: role, name or key, see the log.",
        width: 8, unit: unit.records,
        queries: [course(`sum by (sink, trouble) (rate(meshgate_sink_failures_total{${g}}[$__rate_interval]))`, "{{sink}} {{trouble}}")],
      }),
      graph({
        title: "Sink retries",
        description: "Calls per second that repeat entries of an earlier call. They cost their requests time, and end with retry.deadline_seconds.",
        width: 8, unit: unit.requests,
        queries: [course(`sum by (sink) (rate(meshgate_sink_retries_total{${g}}[$__rate_interval]))`, "{{sink}}")],
      }),
      graph({
        title: "Objects put to S3",
        description: "Letters too large for their queue, and the archive: bytes per second, and objects per second. Each object is a PUT that is paid for.",
        width: 8, unit: unit.bytesPerSecond, none: "no bucket",
        queries: [
          course(`sum by (kind) (rate(meshgate_object_bytes_total{${g}}[$__rate_interval]))`, "{{kind}} bytes"),
          course(`sum by (kind) (rate(meshgate_objects_total{${g}}[$__rate_interval]))`, "{{kind}} objects"),
        ],
      }),
      graph({
        title: "Letters in the dead-letter queues",
        description: "About how many wait. Growing: nobody mends and replays. `meshgate dlq stats` says what they are.",
        width: 8, unit: unit.count,
        queries: [course(`max by (queue) (meshgate_dlq_letters{${g}})`, "{{queue}}")],
      }),
      graph({
        title: "Oldest dead letter",
        description: "Of embedded stores. SQS tells no age: look at CloudWatch's ApproximateAgeOfOldestMessage.",
        width: 8, unit: unit.seconds, none: "no embedded store",
        queries: [course(`max by (queue) (meshgate_dlq_oldest_seconds{${g}})`, "{{queue}}")],
      }),
      states({
        title: "Dead-letter queues that answer",
        description: "Each queue is asked once a minute for its depth. One that does not answer will not take letters either: its name, the role, the network.",
        width: 8, unit: unit.state, steps: [["red", null], ["green", 1]],
        states: { 0: ["no answer", "red"], 1: ["answers", "green"] },
        queries: [course(`min by (queue) (meshgate_dlq_reachable{${g}})`, "{{queue}}")],
      }),
    ]],
    ["Spool", [
      graph({
        title: "Waiting in the spool",
        description: "Acknowledged, on disk, and not delivered, by far end. Drains by itself. aside: nobody takes these; GET /spool says why.",
        width: 6, unit: unit.count, none: "no spool",
        queries: [
          course(`sum by (sink) (meshgate_spool_entries{${g}})`, "{{sink}}"),
          course(`sum by (sink) (meshgate_spool_aside{${g}})`, "{{sink}} aside"),
        ],
      }),
      graph({
        title: "Oldest in the spool",
        description: "How much later consumers see these records. GET /spool names the far end that is away.",
        width: 6, unit: unit.seconds, steps: thresholds.waiting, none: "no spool",
        queries: [course(`max by (sink) (meshgate_spool_oldest_seconds{${g}})`, "{{sink}}")],
      }),
      graph({
        title: "Spool in use",
        description: "Of spool.size_mib, by gate. At 100 % records stay with their producers again.",
        width: 6, unit: unit.share, steps: thresholds.full, none: "no spool",
        queries: [course(`
          sum without (bound) (meshgate_spool_bytes{${g}, bound="used"}) / sum without (bound) (meshgate_spool_bytes{${g}, bound="limit"})`, "{{instance}}")],
      }),
      graph({
        title: "In and out of the spool",
        description: "Entries per second that were taken in, that left, and that were refused: full, or failed (its disk).",
        width: 6, unit: unit.perSecond, none: "no spool",
        queries: [
          course(`sum by (sink) (rate(meshgate_spool_spooled_total{${g}}[$__rate_interval]))`, "{{sink}} in"),
          course(`sum by (sink, outcome) (rate(meshgate_spool_drained_total{${g}}[$__rate_interval]))`, "{{sink}} {{outcome}}"),
          course(`sum by (sink, reason) (rate(meshgate_spool_refused_total{${g}}[$__rate_interval]))`, "{{sink}} refused, {{reason}}"),
        ],
      }),
    ]],
    ["Streams that are read", [
      graph({
        title: "Shard lag",
        description: "How far the last batch read is behind the tip, the ten worst shards. Grows: more gates, or a far end is slow. Beyond the retention, records are lost.",
        width: 8, unit: unit.milliseconds, none: "no stream is read",
        queries: [course(`topk(10, max by (stream, shard) (meshgate_shard_lag_milliseconds{${g}}))`, "{{stream}} {{shard}}")],
      }),
      graph({
        title: "Shards that stand still",
        description: "For how long a shard's first record could not be settled, the ten worst. Nothing is skipped; the log has the reason every 30 seconds.",
        width: 8, unit: unit.seconds, none: "no stream is read",
        queries: [course(`topk(10, max by (stream, shard) (meshgate_shard_stalled_seconds{${g}}))`, "{{stream}} {{shard}}")],
      }),
      graph({
        title: "Shard records in flight",
        description: "Read and not settled, the ten highest. Bounded by mib_in_flight and by records of a shard.",
        width: 8, unit: unit.count, none: "no stream is read",
        queries: [course(`topk(10, sum by (stream, shard) (meshgate_shard_records_in_flight{${g}}))`, "{{stream}} {{shard}}")],
      }),
      graph({
        title: "Shards held",
        description: "By gate. Even within one, where no leases.shards_max holds a gate back.",
        width: 12, unit: unit.count, none: "no stream is read",
        queries: [course(`sum by (stream, instance) (meshgate_shards_held{${g}})`, "{{stream}} {{instance}}")],
      }),
      graph({
        title: "Shards that nobody reads",
        description: "As all gates see it. Above 0 for longer than a hand-over: leases.shards_max of all gates together is too low, or the lease table is away.",
        width: 12, unit: unit.count, steps: thresholds.flag, none: "no stream is read",
        queries: [course(`min by (stream) (meshgate_shards_unread{${g}})`, "{{stream}}")],
      }),
    ]],
    ["Rules", [
      states({
        title: "Old rules in force",
        description: "Yes: the newest files of the domain do not compile, and its last good ones judge. The team mends them with meshgate check.",
        width: 6, unit: unit.state, steps: thresholds.flag, states: yesNo,
        queries: [course(`max by (domain) (meshgate_rules_stale{${of.domain}})`, "{{domain}}")],
      }),
      graph({
        title: "Reloads",
        description: "Since the start. partial: some domain kept its last good rules. failed: nothing could be read; see the log.",
        width: 6, unit: unit.count, none: "none yet",
        queries: [course(`sum by (outcome) (meshgate_reloads_total{${g}})`, "{{outcome}}")],
      }),
      graph({
        title: "Fetches of rules",
        description: "Fetches of the git remote in a minute. failed: rulesSource.error in GET /ready has git's words.",
        width: 6, unit: unit.count, none: "no git remote",
        queries: [course(`60 * sum by (set, outcome) (rate(meshgate_rules_fetches_total{${g}}[$__rate_interval]))`, "{{set}} {{outcome}}")],
      }),
      graph({
        title: "Age of the rules known",
        description: "Since the last fetch that did not fail, the gate that is furthest behind. Beyond some intervals, merged rules do not arrive.",
        width: 6, unit: unit.seconds, none: "no git remote",
        queries: [course(`time() - min by (set) (meshgate_rules_fetched_timestamp_seconds{${g}})`, "{{set}}")],
      }),
      list({
        title: "Contracts loaded",
        description: "Contracts of each domain on each gate. One that is missing somewhere is of unknown type there.",
        width: 12, unit: unit.count,
        queries: [now(`meshgate_contracts{${of.domain}}`)],
        columns: { domain: "Domain", instance: "Gate", Value: "Contracts" },
      }),
      states({
        title: "Ready",
        description: "Draining: told to stop, takes no records. Ends within drain_seconds; one that does not may be killed, nothing acknowledged is lost.",
        width: 6, unit: unit.state, steps: thresholds.ready,
        states: { 0: ["draining", "orange"], 1: ["ready", "green"] },
        queries: [course(`meshgate_ready{${g}}`, "{{instance}}")],
      }),
      graph({
        title: "Spans",
        description: "Spans of traces per second. failed or dropped: the collector is away or slow; no record waits for it. See docs/tracing.md.",
        width: 6, unit: unit.perSecond, none: "no collector is set (tracing.otlp)",
        queries: [course(`sum by (outcome) (rate(meshgate_spans_total{${g}}[$__rate_interval]))`, "{{outcome}}")],
      }),
    ]],
    ["What checks remember", [
      graph({
        title: "Keys remembered, of those that may be",
        description: "At 100 % the oldest are forgotten early: raise maxKeys of the check, or shorten its window.",
        width: 6, unit: unit.share, steps: thresholds.full, none: "no such checks",
        queries: [course(`
          max by (domain, contract, rule) (meshgate_state_entries{${of.contract}} / meshgate_state_entries_limit{${of.contract}})`, "{{domain}}/{{contract}} {{rule}}")],
      }),
      graph({
        title: "Keys forgotten early",
        description: "Per second. A duplicate of a forgotten key passes.",
        width: 6, unit: unit.perSecond, steps: thresholds.zero, none: "none",
        queries: [course(`sum by (domain, contract, rule) (rate(meshgate_state_evicted_total{${of.contract}}[$__rate_interval]))`, "{{domain}}/{{contract}} {{rule}}")],
      }),
      graph({
        title: "Memory of checks",
        description: "About how much memory what checks remember takes, by contract. Bounded by maxKeys.",
        width: 6, unit: unit.bytes, none: "no such checks",
        queries: [course(`sum by (domain, contract) (meshgate_state_bytes{${of.contract}})`, "{{domain}}/{{contract}}")],
      }),
      graph({
        title: "Snapshots",
        description: "Since the start. failed: what checks remember would be lost with a restart; see the log, and the disk.",
        width: 6, unit: unit.count, none: "none yet",
        queries: [course(`sum by (outcome) (meshgate_state_snapshots_total{${g}})`, "{{outcome}}")],
      }),
    ]],
  ],
});
