// For the owner of a domain, and for whoever uses its events: is the data good, what broke, since when, by whose change.

const { unit, of, thresholds, course, now, number, bars, graph, states, list, board } = require("./common");

const byContract = "sum by (domain, contract)";
const name = "{{domain}}/{{contract}}";

/** @param {string} window */
const events = (window) => `${byContract} (rate(meshgate_events_total{${of.contract}}[${window}]))`;

/**
 * The share of each contract's events that were not forwarded; no series where there were none.
 * @param {string} window
 */
const failed = (window) => `(
  (${byContract} (rate(meshgate_events_total{${of.contract}, verdict!="forward"}[${window}])) or 0 * ${events(window)})
  / (${events(window)} > 0)
)`;

const target = `min by (domain, contract) (meshgate_slo_target_ratio{${of.contract}})`;

/** @param {string} window */
const burn = (window) => `${failed(window)} / on (domain, contract) (${target} > 0)`;

const budgetLeft = `1 - ${burn("$__range")}`;

module.exports = board({
  uid: "meshgate-domain-quality",
  title: "Meshgate: domain quality",
  description: "How good the data is, what is refused and by which rule, since when, and under which revision of the rules.",
  tags: ["data-quality"],
  from: "now-24h",
  rows: [
    ["Can it be trusted?", [
      number({
        title: "Score",
        description: "Share of the events that were forwarded, over the time shown. Below what you promise: look at the rules that fail most.",
        width: 4, unit: unit.share, steps: thresholds.good, decimals: 2, none: "no events",
        queries: [now(`
          sum(increase(meshgate_events_total{${of.contract}, verdict="forward"}[$__range]))
            / sum(increase(meshgate_events_total{${of.contract}}[$__range]))`)],
      }),
      number({
        title: "Contracts within their SLO",
        description: "Of the contracts that have an SLO and events, the share whose failed events stay within it over the time shown.",
        width: 4, unit: unit.share, steps: thresholds.good, none: "no SLO",
        queries: [now(`avg(${failed("$__range")} <= bool on (domain, contract) ${target})`)],
      }),
      number({
        title: "Error budget left, worst contract",
        description: "Of the failed events that the SLO allows in the time shown; below 0 it is missed. Set the time to the window of the SLO.",
        width: 4, unit: unit.share, steps: thresholds.budget, decimals: 1, none: "no SLO",
        queries: [now(`min(${budgetLeft})`)],
      }),
      number({
        title: "Burn rate, worst contract",
        description: "Failed events of the last hour over those that the SLO allows. At 1 the budget lasts just as long as its window; at 14.4, two days of 30.",
        width: 4, unit: unit.times, steps: thresholds.burn, decimals: 1, none: "no SLO",
        queries: [now(`max(${burn("1h")})`)],
      }),
      number({
        title: "Longest silence",
        description: "Since the last event of the contract that has been silent for longest. Below, Time since the last event says which one it is.",
        width: 4, unit: unit.seconds, steps: thresholds.none, none: "no events",
        queries: [now(`max(time() - max by (domain, contract) (meshgate_last_event_timestamp_seconds{${of.contract}}))`)],
      }),
      number({
        title: "Breakers open",
        description: "Contracts whose events are held, or all forwarded, since too many would be quarantined. GET /breakers on the admin port says why.",
        width: 4, unit: unit.count, steps: thresholds.flag, none: "no breakers",
        queries: [now(`sum(max by (domain, contract) (meshgate_breaker_state{${of.contract}}) == bool 2)`)],
      }),
    ]],
    ["Score and SLO", [
      graph({
        title: "Score by contract",
        description: "Share of each contract's events that were forwarded. The purple marks are revisions of rules: a step at one of them is the rules' doing.",
        width: 12, unit: unit.share, max: 1, steps: thresholds.good,
        queries: [course(`1 - ${failed("$__rate_interval")}`, name)],
      }),
      graph({
        title: "Score by dimension",
        description: "Share of events without an enforced violation of the dimension, warnings included. What fell says what kind of problem it is.",
        width: 12, unit: unit.share, max: 1, steps: thresholds.good,
        queries: [course(`
          1 - sum by (domain, contract, dimension) (rate(meshgate_events_failing_total{${of.contract}}[$__rate_interval]))
            / on (domain, contract) group_left () (${events("$__rate_interval")} > 0)`, `${name} {{dimension}}`)],
      }),
      graph({
        title: "Failed events against the SLO",
        description: "Share of each contract's events that were not forwarded, and the share that its SLO allows (dashed).",
        width: 12, unit: unit.share, dashed: ".* allowed",
        queries: [course(failed("$__rate_interval"), name), course(target, `${name} allowed`)],
      }),
      graph({
        title: "Burn rate",
        description: "How many times as many events fail as the SLO allows, over an hour. The lines are those of the alerts: 1 asks for a ticket, 6 and 14.4 page.",
        width: 12, unit: unit.times, steps: thresholds.burn, lines: true, decimals: 1,
        queries: [course(burn("1h"), name)],
      }),
      bars({
        title: "Error budget left",
        description: "Of each contract with an SLO, over the time shown; below 0 it is missed. Set the time to the window of the SLO, often 30 days.",
        width: 8, unit: unit.share, steps: thresholds.budget, max: 1, none: "no SLO",
        queries: [now(`sort(${budgetLeft})`, name)],
      }),
      graph({
        title: "Failed events by revision of the rules",
        description: "Share not forwarded by the gates that judge by a revision. Two lines at different heights: the new rules refuse more, or less, than the old.",
        width: 16, unit: unit.share,
        queries: [course(`
          sum by (domain, revision) (
            sum by (job, instance, domain) (rate(meshgate_events_total{${of.contract}, verdict!="forward"}[$__rate_interval]))
              * on (job, instance, domain) group_left (revision) meshgate_rules_info
          ) / sum by (domain, revision) (
            sum by (job, instance, domain) (rate(meshgate_events_total{${of.contract}}[$__rate_interval]))
              * on (job, instance, domain) group_left (revision) meshgate_rules_info
          )`, "{{domain}} {{revision}}")],
      }),
    ]],
    ["What fails", [
      list({
        title: "Rules that failed most",
        description: "Violations of enforced rules over the time shown. `meshgate dlq ls --rule RULE` lists the events; the contract's owner knows what the rule is for.",
        width: 12, unit: unit.count, none: "nothing failed",
        queries: [now(`
          topk(20, sum by (domain, contract, rule, dimension, severity) (
            increase(meshgate_violations_total{${of.contract}, mode="enforce"}[$__range])
          ) > 0)`)],
        columns: { domain: "Domain", contract: "Contract", rule: "Rule", dimension: "Dimension", severity: "Severity", Value: "Violations" },
      }),
      graph({
        title: "Violations by rule",
        description: "Violations of enforced rules per second, the ten most frequent. A line that begins at a purple mark began with those rules; others with a producer.",
        width: 12, unit: unit.perSecond,
        queries: [course(`
          topk(10, sum by (domain, contract, rule) (rate(meshgate_violations_total{${of.contract}, mode="enforce"}[$__rate_interval])))`,
          `${name} {{rule}}`)],
      }),
      graph({
        title: "Violations by kind",
        description: "schema: the shape; rule, missing and their kin: the content; malformed and unknown_type: no contract could even look at it.",
        width: 8, unit: unit.perSecond, stacked: true,
        queries: [course(`sum by (kind) (rate(meshgate_violations_total{${of.contract}, mode="enforce"}[$__rate_interval]))`, "{{kind}}")],
      }),
      graph({
        title: "Failing events by dimension",
        description: "Events per second with an enforced violation of the dimension, by the worst severity. Warnings are forwarded all the same.",
        width: 8, unit: unit.events, stacked: true,
        queries: [course(`
          sum by (dimension, severity) (rate(meshgate_events_failing_total{${of.contract}}[$__rate_interval]))`, "{{dimension}} {{severity}}")],
      }),
      graph({
        title: "Verdicts",
        description: "Events per second that were forwarded, quarantined or dropped. Contract `unknown` is what no contract took.",
        width: 8, unit: unit.events, stacked: true,
        queries: [course(`sum by (verdict) (rate(meshgate_events_total{${of.contract}}[$__rate_interval]))`, "{{verdict}}")],
      }),
    ]],
    ["Volume and freshness", [
      graph({
        title: "Events by contract",
        description: "Events judged per second. A line at 0 with a producer that writes means that it writes past the gate.",
        width: 8, unit: unit.events,
        queries: [course(events("$__rate_interval"), name)],
      }),
      graph({
        title: "Time since the last event",
        description: "Of each contract. A line that climbs is silence: of the producer, or on the way to the gate.",
        width: 8, unit: unit.seconds,
        queries: [course(`time() - max by (domain, contract) (meshgate_last_event_timestamp_seconds{${of.contract}})`, name)],
      }),
      list({
        title: "Contracts",
        description: "What is in force, and whose it is: who is to be asked. More than one version of a contract: gates are between two revisions.",
        width: 8, unit: unit.count,
        queries: [now(`count by (domain, contract, version, owner, mode) (meshgate_contract_info{${of.contract}})`)],
        columns: { domain: "Domain", contract: "Contract", version: "Version", owner: "Owner", mode: "Mode", Value: "Gates" },
      }),
      states({
        title: "Checks of windows",
        description: "Volume, freshness, shares and drift of what was forwarded. Failing: the last window was out of bounds; GET /checks has the values.",
        width: 12, unit: unit.state, steps: thresholds.flag, none: "no such checks",
        states: { 0: ["holds", "green"], 1: ["fails", "red"] },
        queries: [course(`max by (domain, contract, rule) (meshgate_stream_check_failing{${of.contract}})`, `${name} {{rule}}`)],
      }),
      graph({
        title: "What windows came to",
        description: "What each check of windows measured last: events, keys, shares, milliseconds of latency (freshness), or the index of drift, by its bound.",
        width: 12, unit: unit.count, none: "no such checks",
        queries: [course(`max by (domain, contract, rule, bound) (meshgate_stream_check_value{${of.contract}})`, `${name} {{rule}} {{bound}}`)],
      }),
    ]],
    ["Breakers, dead letters, notices", [
      states({
        title: "Breakers",
        description: "Open: the contract's events are held, or all forwarded, as its action says. Half open: probes are let through. Close: POST /breakers/DOMAIN/CONTRACT/close.",
        width: 8, unit: unit.state, none: "no breakers",
        steps: [["green", null], ["orange", 1], ["red", 2]],
        states: { 0: ["closed", "green"], 1: ["half open", "orange"], 2: ["open", "red"] },
        queries: [course(`max by (domain, contract) (meshgate_breaker_state{${of.contract}})`, name)],
      }),
      graph({
        title: "Events that open breakers decided",
        description: "Held ones are with their producers still. Forwarded ones are on the mesh whatever was wrong with them: tell those who use them.",
        width: 8, unit: unit.events, none: "none",
        queries: [course(`sum by (domain, contract, outcome) (rate(meshgate_breaker_events_total{${of.contract}}[$__rate_interval]))`, `${name} {{outcome}}`)],
      }),
      list({
        title: "Breakers that opened",
        description: "How often in the time shown. One that opens again and again has a bound that is too tight, or a producer that nobody mends.",
        width: 8, unit: unit.count, none: "none",
        queries: [now(`sum by (domain, contract) (increase(meshgate_breaker_opened_total{${of.contract}}[$__range]))`)],
        columns: { domain: "Domain", contract: "Contract", Value: "Times" },
      }),
      graph({
        title: "Letters in the dead-letter queues",
        description: "About how many wait, of all domains that share a queue. Growing: nobody mends and replays, and SQS deletes after 14 days at most.",
        width: 8, unit: unit.count,
        queries: [course(`max by (queue) (meshgate_dlq_letters{${of.gate}})`, "{{queue}}")],
      }),
      graph({
        title: "Notices",
        description: "Notices to the domain's team that quarantine started, exceeded or ended. failed and dropped ones did not reach their topic: see the log.",
        width: 8, unit: unit.count, none: "none",
        queries: [course(`sum by (domain, event, outcome) (meshgate_notices_total{${of.domain}})`, "{{domain}} {{event}} {{outcome}}")],
      }),
      graph({
        title: "Replayed letters",
        description: "What became of letters that `meshgate dlq replay --metrics FILE` looked at, as a node exporter shows its file. Empty where that is not set up.",
        width: 8, unit: unit.count, none: "no replay is scraped",
        queries: [course('sum by (domain, contract, outcome) (meshgate_replayed_total{domain=~"$domain", contract=~"$contract"})', `${name} {{outcome}}`)],
      }),
    ]],
    ["Rules being tried", [
      graph({
        title: "Shadow rules",
        description: "Violations per second of rules that are counted and decide nothing yet. At 0 for long enough, one can be enforced.",
        width: 8, unit: unit.perSecond, none: "no violations",
        queries: [course(`sum by (domain, contract, rule) (rate(meshgate_violations_total{${of.contract}, mode="shadow"}[$__rate_interval]))`, `${name} {{rule}}`)],
      }),
      graph({
        title: "What the candidate rules would change",
        description: "Events per second whose verdict the candidate rules would change, by the rule that is why. GET /candidate shows examples of both.",
        width: 8, unit: unit.events, none: "no change",
        queries: [course(`
          sum by (domain, contract, rule, change) (rate(meshgate_candidate_changes_total{${of.contract}}[$__rate_interval]))`, `${name} {{rule}} {{change}}`)],
      }),
      graph({
        title: "Share that the candidate rules would change",
        description: "Of the events that both have judged. An event that breaks several rules counts for each. Near 0: the candidate can be put in force.",
        width: 8, unit: unit.share, none: "no candidate",
        queries: [course(`
          sum by (domain, contract, change) (rate(meshgate_candidate_changes_total{${of.contract}}[$__rate_interval]))
            / on (domain, contract) group_left () (${byContract} (rate(meshgate_candidate_events_total{${of.contract}}[$__rate_interval])) > 0)`,
          `${name} {{change}}`)],
      }),
      list({
        title: "Candidate revisions",
        description: "Which candidate rules are judged beside those in force, and by how many gates.",
        width: 8, height: 6, unit: unit.count, none: "no candidate",
        queries: [now(`count by (revision) (meshgate_candidate_info{${of.gate}})`)],
        columns: { revision: "Revision", Value: "Gates" },
      }),
      list({
        title: "Rules in force",
        description: "The revision of each domain's rules, and since when gates judge by it: the first of them.",
        width: 16, height: 6, unit: unit.ago,
        queries: [now(`1000 * min by (domain, revision) (meshgate_rules_applied_timestamp_seconds{${of.domain}})`)],
        columns: { domain: "Domain", revision: "Revision", Value: "In force" },
      }),
    ]],
  ],
});
