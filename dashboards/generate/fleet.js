// For a platform with many gates: which are there, which are behind, which are worst.

const { unit, of, thresholds, course, now, number, bars, graph, states, list, board } = require("./common");

const g = of.gate;
/** Only gates: a process' metrics have the same names elsewhere. */
const gates = "and on (job, instance) meshgate_build_info";
const p99 = `histogram_quantile(0.99, sum by (le, instance) (rate(meshgate_request_seconds_bucket{${g}}[$__rate_interval])))`;
const unsettled = `sum by (instance) (rate(meshgate_records_total{${g}, settlement="unsettled"}[$__rate_interval]))`;
const full = `meshgate_records_in_flight{${g}} / on (job, instance) meshgate_records_in_flight_limit{${g}}`;
const rate = `sum by (instance) (rate(meshgate_events_total{${of.contract}}[$__rate_interval]))`;

module.exports = board({
  uid: "meshgate-fleet",
  title: "Meshgate: fleet",
  description: "Many gates: how many are up, on which version and which rules, and which of them are worst off.",
  tags: ["operations"],
  from: "now-6h",
  rows: [
    ["The fleet", [
      number({
        title: "Gates",
        description: "Gates that Prometheus reaches. Fewer than you run: see MeshgateGateDown, or the scrape configuration.",
        width: 4, unit: unit.count, steps: thresholds.none, none: "0",
        queries: [now(`count(meshgate_build_info{${g}})`)],
      }),
      number({
        title: "Ready",
        description: "Gates that take records. The others drain, and end soon.",
        width: 4, unit: unit.count, steps: thresholds.none,
        queries: [now(`sum(meshgate_ready{${g}})`)],
      }),
      number({
        title: "Versions",
        description: "Versions of the binary in use. More than one for long: a roll-out that stopped.",
        width: 4, unit: unit.count, steps: [["green", null], ["orange", 2]],
        queries: [now(`count(count by (version) (meshgate_build_info{${g}}))`)],
      }),
      number({
        title: "Revisions of one domain's rules, at most",
        description: "More than one for long: some gates judge by older rules than others, and the same event fares differently. Below: which gates.",
        width: 4, unit: unit.count, steps: [["green", null], ["orange", 2]],
        queries: [now(`max(count by (domain) (count by (domain, revision) (meshgate_rules_info{${of.domain}})))`)],
      }),
      number({
        title: "Gates on old rules",
        description: "Gates on which some domain's newest rule files do not compile, so that its last good ones judge.",
        width: 4, unit: unit.count, steps: thresholds.flag,
        queries: [now(`sum(max by (instance) (meshgate_rules_stale{${of.domain}}))`)],
      }),
      number({
        title: "Restarts",
        description: "Starts of gates in the time shown, beside the first. Without a deployment: look at memory limits and last words.",
        width: 4, unit: unit.count, steps: thresholds.few, decimals: 0,
        queries: [now(`sum(changes(process_start_time_seconds{${g}}[$__range]) ${gates})`)],
      }),
      list({
        title: "Gates one by one",
        description: "What each gate does at present. Sort by a column to find the worst; open Gate health with the gate chosen to see why.",
        width: 24, height: 10, unit: unit.count, by: "instance",
        queries: [
          now(`max by (instance, version) (meshgate_build_info{${g}})`),
          now(`max by (instance) (meshgate_ready{${g}})`),
          now(rate),
          now(p99),
          now(unsettled),
          now(`max by (instance) (${full})`),
          now(`max by (instance) (process_resident_memory_bytes{${g}} ${gates})`),
          now(`max by (instance) (time() - process_start_time_seconds{${g}} ${gates})`),
        ],
        columns: {
          instance: "Gate", version: "Version", "Value #B": "Ready", "Value #C": "Events/s", "Value #D": "Request p99", "Value #E": "Unsettled/s",
          "Value #F": "In flight, of the limit", "Value #G": "Memory", "Value #H": "Up for",
        },
        units: {
          "Events/s": unit.events, "Request p99": unit.seconds, "Unsettled/s": unit.records, "In flight, of the limit": unit.share,
          Memory: unit.bytes, "Up for": unit.seconds,
        },
        marked: {
          Ready: thresholds.ready, "Request p99": thresholds.latency, "Unsettled/s": thresholds.zero, "In flight, of the limit": thresholds.full,
        },
      }),
    ]],
    ["Versions and rules", [
      graph({
        title: "Gates by version",
        description: "A roll-out is one line falling while another climbs.",
        width: 8, unit: unit.count, stacked: true,
        queries: [course(`count by (version) (meshgate_build_info{${g}})`, "{{version}}")],
      }),
      graph({
        title: "Gates by revision of the rules",
        description: "By domain. A line that does not fall to 0 after a change: gates that do not get new rules.",
        width: 8, unit: unit.count, stacked: true,
        queries: [course(`count by (domain, revision) (meshgate_rules_info{${of.domain}})`, "{{domain}} {{revision}}")],
      }),
      list({
        title: "Who is behind",
        description: "Which gate judges which domain by which revision, and since when. Gates with another revision than most are behind, or ahead.",
        width: 8, unit: unit.ago,
        queries: [now(`1000 * max by (domain, instance, revision) (meshgate_rules_applied_timestamp_seconds{${of.domain}})`)],
        columns: { domain: "Domain", instance: "Gate", revision: "Revision", Value: "In force" },
      }),
      list({
        title: "Gates with old rules",
        description: "The domain's newest rule files do not compile there. The log of the gate and POST /reload have every fault.",
        width: 8, height: 6, unit: unit.count, none: "none",
        queries: [now(`max by (domain, instance) (meshgate_rules_stale{${of.domain}}) == 1`)],
        columns: { domain: "Domain", instance: "Gate" },
      }),
      states({
        title: "Ready",
        description: "Gates that drain now or did, at most twenty. One that drains for minutes does not end: it may be killed.",
        width: 16, height: 6, unit: unit.state, steps: thresholds.ready,
        states: { 0: ["draining", "orange"], 1: ["ready", "green"] },
        queries: [course(`bottomk(20, meshgate_ready{${g}})`, "{{instance}}")],
      }),
    ]],
    ["The worst", [
      graph({
        title: "Slowest gates",
        description: "99th percentile of the request time, the ten worst. All of them: the mesh stream is slow. One: its machine, or its producer's batches.",
        width: 8, unit: unit.seconds, steps: thresholds.latency,
        queries: [course(`topk(10, ${p99})`, "{{instance}}")],
      }),
      graph({
        title: "Gates that cannot settle",
        description: "Unsettled records per second, the ten worst. All of them: a far end. One: its network or its role.",
        width: 8, unit: unit.records, steps: thresholds.zero,
        queries: [course(`topk(10, ${unsettled})`, "{{instance}}")],
      }),
      graph({
        title: "Fullest gates",
        description: "Records in flight of the limit, the ten worst. At 100 % their producers are throttled.",
        width: 8, unit: unit.share, steps: thresholds.full, max: 1,
        queries: [course(`topk(10, ${full})`, "{{instance}}")],
      }),
      graph({
        title: "Busiest gates",
        description: "Events judged per second, the ten highest. Uneven: producers of different size, or shards with uneven keys.",
        width: 8, unit: unit.events,
        queries: [course(`topk(10, ${rate})`, "{{instance}}")],
      }),
      graph({
        title: "Memory",
        description: "Resident memory, the ten highest. One that climbs without an end is a fault: please report it.",
        width: 8, unit: unit.bytes,
        queries: [course(`topk(10, process_resident_memory_bytes{${g}} ${gates})`, "{{instance}}")],
      }),
      graph({
        title: "CPU",
        description: "Cores in use, the ten highest. Near the container's limit, all times climb.",
        width: 8, unit: unit.cores, decimals: 2,
        queries: [course(`topk(10, rate(process_cpu_seconds_total{${g}}[$__rate_interval]) ${gates})`, "{{instance}}")],
      }),
      graph({
        title: "Restarts by gate",
        description: "Starts within an hour, the ten highest. Again and again: exit code 2 is settings or rules, 137 the memory limit.",
        width: 8, unit: unit.count,
        queries: [course(`topk(10, changes(process_start_time_seconds{${g}}[1h]) ${gates})`, "{{instance}}")],
      }),
      bars({
        title: "Shards held",
        description: "By gate and stream. Even within one, where no leases.shards_max holds a gate back.",
        width: 8, unit: unit.count, none: "no stream is read",
        queries: [now(`sort_desc(sum by (stream, instance) (meshgate_shards_held{${g}}))`, "{{stream}} {{instance}}")],
      }),
      graph({
        title: "Shards that nobody reads",
        description: "As all gates see it. Above 0 for longer than a hand-over: more gates, a higher leases.shards_max, or the lease table is away.",
        width: 8, unit: unit.count, steps: thresholds.flag, none: "no stream is read",
        queries: [course(`min by (stream) (meshgate_shards_unread{${g}})`, "{{stream}}")],
      }),
    ]],
  ],
});
