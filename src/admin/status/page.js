
"use strict";
// Asks for status.json every two seconds, and shows it. Whatever comes from there is put in as text, never as markup.
(() => {
  const EVERY = 2000;
  const PATIENCE = 5000;
  const SCHEMA = "meshgate.status/v1";
  const REFUSALS_FIRST = 8;
  const VIOLATIONS_MAX = 12;
  const SVG = "http://www.w3.org/2000/svg";
  const id = (name) => document.getElementById(name);
  const whole = new Intl.NumberFormat("en");

  // Control characters, and those that reorder the text around them (Unicode UAX #9), would let a name look like another.
  const plain = (text) =>
    String(text).replace(/[\u0000-\u001f\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069]/g, (c) => "\\u" + c.charCodeAt(0).toString(16).padStart(4, "0"));

  // An element: its name, perhaps a class, and what is in it.
  const make = (name, kind, ...inside) => {
    const element = document.createElement(name);
    if (kind) element.className = kind;
    element.append(...inside.filter((part) => part !== null).map((part) => (part instanceof Node ? part : document.createTextNode(plain(part)))));
    return element;
  };
  const say = (element, text) => {
    const shown = plain(text);
    if (element.textContent !== shown) element.textContent = shown;
  };
  const badge = (kind, text) => make("span", "badge " + kind, text);
  const small = (...inside) => make("small", "", ...inside);

  // Where to reach somebody: a link to pages and mail only, so that no text that a team writes can be a program.
  const contact = (text) => {
    const clean = text && !/[\s<>"'`\\\u0000-\u001f]/.test(text);
    const web = clean && /^(https?:\/\/|mailto:)/i.test(text);
    const mail = clean && /^[\w.+-]+@[\w.-]+\.[\w-]+$/.test(text);
    if (!web && !mail) return make("span", "", text);
    const link = make("a", "", text);
    link.href = web ? text : "mailto:" + text;
    return link;
  };

  // Never rounded up to all, nor down to none.
  const percent = (share) => {
    const digits = (share > 0.99 && share < 1) || (share > 0 && share < 0.01) ? 2 : 1;
    const factor = 10 ** (digits + 2);
    const shown = ((share > 0.5 ? Math.floor(share * factor + 1e-6) : Math.ceil(share * factor - 1e-6)) / factor) * 100;
    return shown.toFixed(digits).replace(/\.?0*$/, "") + "\u00a0%";
  };
  const rate = (perSecond) => (perSecond >= 100 ? whole.format(Math.round(perSecond)) : String(Math.round(perSecond * 10) / 10));
  const seconds = (n) => (n < 120 ? Math.floor(n) + " s" : n < 7200 ? Math.floor(n / 60) + " min" : n < 172800 ? Math.floor(n / 3600) + " h" : Math.floor(n / 86400) + " days");
  const bytes = (n) => (n < 1048576 ? Math.ceil(n / 1024) + " KiB" : (n / 1048576).toFixed(n < 10485760 ? 1 : 0) + " MiB");
  const count = (n, one, more) => whole.format(n) + " " + (n === 1 ? one : more || one + "s");

  // By the gate's clock, not by this machine's.
  let now = 0;
  const age = (at) => seconds(Math.max(0, (now - Date.parse(at)) / 1000));
  const ago = (at) => {
    const time = make("time", "", age(at) + " ago");
    time.dateTime = at;
    time.title = at;
    return time;
  };

  // Bars of what became of events: each slot a bar, from below what was forwarded, refused, not settled.
  const bars = (series, height, name, words) => {
    const slots = series.forwarded.map((forwarded, i) => [forwarded, series.refused[i], series.unsettled[i]]);
    const most = Math.max(1, ...slots.map((slot) => slot[0] + slot[1] + slot[2]));
    const paths = ["", "", ""];
    slots.forEach((slot, i) => {
      let from = height;
      // What is bad comes first, and is never too small to be seen.
      for (const part of [1, 2, 0]) {
        if (slot[part] === 0) continue;
        const tall = Math.min(from, Math.max(part === 0 ? 0.7 : 2, (slot[part] / most) * height));
        from -= tall;
        paths[part] += `M${i * 3} ${from.toFixed(2)}h2.4v${tall.toFixed(2)}h-2.4z`;
      }
    });
    const svg = document.createElementNS(SVG, "svg");
    svg.setAttribute("viewBox", `0 0 ${slots.length * 3} ${height}`);
    svg.setAttribute("preserveAspectRatio", "none");
    svg.setAttribute("role", "img");
    svg.setAttribute("aria-label", plain(words));
    if (name) svg.setAttribute("class", name);
    const path = (kind, d) => {
      const drawn = document.createElementNS(SVG, "path");
      drawn.setAttribute("class", kind);
      drawn.setAttribute("d", d);
      svg.append(drawn);
    };
    path("base", `M0 ${height - 0.25}h${slots.length * 3}`);
    ["forwarded", "refused", "unsettled"].forEach((kind, part) => paths[part] && path(kind, paths[part]));
    return svg;
  };
  const total = (numbers) => numbers.reduce((sum, n) => sum + n, 0);
  const trend = (series, unit) => {
    const judged = series.forwarded.map((n, i) => n + series.refused[i]);
    if (total(judged) + total(series.unsettled) === 0) return `No events in the last 60 ${unit}s.`;
    let worst = -1;
    judged.forEach((n, i) => {
      const share = n ? series.forwarded[i] / n : 1;
      if (n && share < 1 && (worst < 0 || share < series.forwarded[worst] / judged[worst])) worst = i;
    });
    const told = worst < 0 ? "all passed" : `worst ${judged.length - 1 - worst} ${unit}s ago, when ${percent(series.forwarded[worst] / judged[worst])} passed`;
    return `${count(total(judged), "event")} settled in the last 60 ${unit}s; ${told}.`;
  };

  // Rows are kept by their key and cells by what they show, so that neither focus nor a selection is lost at each look.
  const fill = (name, items, key, columns) => {
    const table = id(name);
    table.hidden = items.length === 0;
    const none = id(name + "-none");
    if (none) none.hidden = items.length > 0;
    const body = table.tBodies[0];
    const labels = [...table.tHead.rows[0].cells].map((cell) => cell.textContent);
    const rows = new Map([...body.rows].map((row) => [row.key, row]));
    items.forEach((item, index) => {
      let row = rows.get(key(item));
      if (row) rows.delete(row.key);
      else {
        row = make("tr");
        row.key = key(item);
        row.setAttribute("role", "row");
        columns.forEach((_, i) => {
          const cell = make(i === 0 ? "th" : "td", table.tHead.rows[0].cells[i].className);
          cell.setAttribute("role", i === 0 ? "rowheader" : "cell");
          if (i === 0) cell.scope = "row";
          else cell.dataset.label = labels[i];
          row.append(cell);
        });
      }
      columns.forEach((draw, i) => {
        const drawn = draw(item).filter((part) => part !== null);
        const shown = make("div", "", ...drawn);
        if (row.cells[i].shown !== shown.innerHTML) {
          row.cells[i].shown = shown.innerHTML;
          row.cells[i].replaceChildren(...shown.childNodes);
        }
      });
      if (body.rows[index] !== row) body.insertBefore(row, body.rows[index] || null);
    });
    rows.forEach((row) => row.remove());
  };
  const none = () => make("span", "note", "–");

  const passed = (counts, slo) => {
    const settled = counts.forwarded + counts.quarantined + counts.dropped;
    const wrong = counts.passRate !== null && slo !== null && counts.passRate < slo;
    const share = counts.passRate === null ? none() : make("span", wrong ? "rate bad" : "rate", percent(counts.passRate));
    const parts = [count(settled, "event")];
    if (counts.quarantined) parts.push(whole.format(counts.quarantined) + " refused");
    if (counts.dropped) parts.push(whole.format(counts.dropped) + " dropped");
    if (counts.unsettled) parts.push(whole.format(counts.unsettled) + " not settled");
    return settled + counts.unsettled === 0 ? [none()] : [share, small(parts.join(", "))];
  };

  const showContracts = (status) => {
    const slo = (c) => (c.rules ? c.rules.slo : null);
    fill("contracts", status.contracts, (c) => c.domain + "\u0000" + c.contract, [
      (c) => {
        const rules = c.rules;
        const about = rules ? "v" + rules.version.replace(/^v/, "") : c.contract === "unknown" ? "events that no contract took" : "not in force any more";
        return [
          make("span", "", c.domain + " / " + c.contract),
          small(about, rules && rules.mode !== "enforce" ? " " : null, rules && rules.mode !== "enforce" ? badge("mode", rules.mode) : null,
            rules && rules.status !== "active" ? " " : null, rules && rules.status !== "active" ? badge("", rules.status) : null),
        ];
      },
      (c) => passed(c.lastMinute, slo(c)),
      (c) => passed(c.lastHour, slo(c)),
      (c) => [bars(c.byMinute, 20, "spark", `${c.domain}/${c.contract}: ${trend(c.byMinute, "minute")}`)],
      (c) => {
        const parts = [];
        if (slo(c) !== null) {
          const rate = c.lastHour.passRate;
          const [kind, words] = rate === null ? ["", ""] : rate >= slo(c) ? ["good", "above "] : ["error", "below "];
          parts.push(badge(kind, words + percent(slo(c))));
        }
        if (c.breaker) {
          const kind = c.breaker.state === "closed" ? "" : c.breaker.action === "alert" ? "warning" : "error";
          parts.push(small("breaker ", badge(kind, c.breaker.state.replace("_", " "))));
        }
        return parts.length ? parts : [none()];
      },
      (c) => (c.rules ? [make("span", "", c.rules.owner.team), small(make("code", "", short(c.rules.revision)))] : [none()]),
    ]);
    const more = id("contracts-more");
    more.hidden = status.contractsLeftOut === 0;
    say(more, `${count(status.contractsLeftOut, "contract")} with less to tell ${status.contractsLeftOut === 1 ? "is" : "are"} left out; GET /contracts lists all.`);
  };

  // A commit, as git shortens it.
  const short = (revision) => (/^[0-9a-f]{40,64}$/.test(revision) ? revision.slice(0, 12) : revision);
  const severity = (word) => badge(word === "error" ? "error" : word === "warning" ? "warning" : "", word);

  const showViolations = (violations) =>
    fill("violations", violations.slice(0, VIOLATIONS_MAX), (v) => [v.domain, v.contract, v.rule, v.kind, v.severity, v.mode].join("\u0000"), [
      (v) => [v.kind === null ? make("span", "", "other rules") : make("code", "", v.rule)],
      (v) => [v.domain + " / " + v.contract],
      (v) => (v.kind === null ? [none()] : [v.kind.replaceAll("_", " ") + " ", severity(v.severity), v.mode === "shadow" ? " " : null, v.mode === "shadow" ? badge("mode", "shadow") : null]),
      (v) => [whole.format(v.times)],
      (v) => [v.last === null ? none() : ago(v.last)],
    ]);

  let all = false;
  const showRefusals = (refusals) => {
    id("refusals-none").hidden = refusals.length > 0;
    const list = id("refusals");
    list.hidden = refusals.length === 0;
    const told = refusals.slice(0, all ? refusals.length : REFUSALS_FIRST);
    id("refusals-more").hidden = refusals.length <= REFUSALS_FIRST;
    say(id("more"), all ? "Show fewer" : `Show all ${refusals.length}`);
    const entries = new Map([...list.children].map((entry) => [entry.key, entry]));
    told.forEach((refusal, index) => {
      let entry = entries.get(refusal.deadLetter);
      if (entry) entries.delete(entry.key);
      else {
        const reasons = refusal.reasons.map((reason) =>
          make("li", "", make("code", "", reason.rule), reason.pointer ? " at " : null, reason.pointer ? make("code", "", reason.pointer) : null, ": " + reason.message));
        if (refusal.more) reasons.push(make("li", "note", `and ${refusal.more} more`));
        entry = make("li", "",
          make("div", "head", make("span", "what", refusal.domain + " / " + refusal.contract), make("span", "note age")),
          make("ul", "", ...reasons),
          make("div", "note", "dead letter ", make("code", "", refusal.deadLetter)));
        entry.key = refusal.deadLetter;
      }
      const when = entry.querySelector(".age");
      if (when.textContent !== age(refusal.at) + " ago") when.replaceChildren(ago(refusal.at));
      if (list.children[index] !== entry) list.insertBefore(entry, list.children[index] || null);
    });
    entries.forEach((entry) => entry.remove());
  };

  const KINDS = { mesh: "mesh stream", dlq: "dead-letter queue", letter: "objects of large letters", archive: "archive of letters" };
  const showFarEnds = (status) => {
    fill("ends", status.farEnds, (f) => f.sink + "\u0000" + f.name, [
      (f) => [make("span", "", f.name), small(KINDS[f.sink] || f.sink)],
      (f) => [f.state === "takes" ? badge("good", "takes events") : f.state === "fails" ? badge("error", "failing for " + age(f.failingSince)) : badge("warning", "failed when last called")],
      (f) => [f.lastSuccess === null ? make("span", "note", "never") : ago(f.lastSuccess)],
      (f) => (f.lastFailure === null ? [none()] : [f.lastFailure.trouble + ", ", ago(f.lastFailure.at), small(f.lastFailure.message)]),
      (f) => [[f.calls, f.failures, f.retries].map((n) => whole.format(n)).join(", ")],
    ]);
    fill("queues", status.deadLetters, (q) => q.queue, [
      (q) => [q.queue],
      (q) => [whole.format(q.letters)],
      (q) => [q.letters === 0 || q.oldestSeconds === null ? none() : seconds(q.oldestSeconds)],
    ]);
    const spool = status.spool;
    fill("lanes", spool ? spool.lanes : [], (l) => l.sink + "\u0000" + l.name, [
      (l) => [make("span", "", l.name), small(KINDS[l.sink] || l.sink)],
      (l) => [whole.format(l.entries) + ", " + whole.format(l.aside)],
      (l) => [l.oldestSeconds === null ? none() : seconds(l.oldestSeconds)],
      (l) => [l.away === null ? badge("good", "drains") : make("span", "", l.away)],
    ]);
    id("spool").hidden = spool === null;
    if (spool) say(id("spool"), `The spool ${spool.lanes.length ? "takes" : "is empty: it takes"} ${bytes(spool.bytes)} of ${bytes(spool.bytesMax)}.`);
    const shards = status.streams.flatMap((stream) => stream.shards.map((shard) => ({ stream: stream.stream, ...shard })));
    fill("shards", shards, (s) => s.stream + "\u0000" + s.shard, [
      (s) => [make("span", "", s.stream), small(s.shard)],
      (s) => [seconds(s.lagMilliseconds / 1000)],
      (s) => [whole.format(s.inFlight)],
      (s) => [s.stalledSeconds === 0 ? badge("good", "moves") : badge("error", "stands still for " + seconds(s.stalledSeconds))],
    ]);
  };

  const showRules = (rules) => {
    const { kind, place, reference, fetched, error } = rules.source;
    const where = kind === "directory" ? ["The directory ", make("code", "", place)] : ["The ref ", make("code", "", reference), " of ", make("code", "", place)];
    if (fetched !== null) where.push(", asked ", ago(fetched));
    where.push("; revision ", make("code", "", short(rules.revision)), ".");
    if (error !== null) where.push(" ", badge("error", "cannot be had"), " " + error);
    const shown = make("p", "", ...where);
    if (id("source").innerHTML !== shown.innerHTML) id("source").replaceChildren(...shown.childNodes);
    fill("domains", rules.domains, (d) => d.domain, [
      (d) => [d.domain],
      (d) => [make("span", "", d.owner.team), d.owner.contact === null ? null : small(contact(d.owner.contact))],
      (d) => [whole.format(d.contracts)],
      (d) => [make("code", "", short(d.revision)), d.since === null ? null : small("for ", age(d.since))],
      (d) => (d.stale ? [badge("warning", "stale"), small("the newest files do not compile")] : [badge("good", "newest")]),
    ]);
  };

  const showRates = (status) => {
    const { perSecond, bySecond } = status.rates;
    const limit = status.inFlight.limit;
    const tiles = [
      ["Forwarded", rate(perSecond.forwarded), "a second", false],
      ["Refused", rate(perSecond.quarantined), "a second", perSecond.quarantined > 0],
      ["Dropped", rate(perSecond.dropped), "a second", false],
      ["Not settled", rate(perSecond.unsettled), "a second", perSecond.unsettled > 0],
      ["In flight", whole.format(status.inFlight.records), limit === null ? "records" : "of " + whole.format(limit), false],
      ["Connections", whole.format(status.inFlight.connections), "open", false],
    ];
    id("tiles").replaceChildren(...tiles.map(([name, value, unit, bad]) =>
      make("div", "", make("dt", "", name), make("dd", bad ? "bad" : "", value + " ", small(unit)))));
    id("seconds").replaceChildren(bars(bySecond, 40, "", trend(bySecond, "second")));
  };

  const show = (status) => {
    now = Date.parse(status.at);
    const { gate, health } = status;
    say(id("about"), `${gate.version}, backend ${gate.backend}, up for ${age(gate.started)}, ${gate.phase}`);
    id("health").className = health.state;
    say(id("sentence"), health.sentence);
    const concerns = health.concerns.map((concern) => concern.text.replace(/\d{4}-\d\d-\d\dT[\d:.]+Z/g, (at) => age(at) + " ago"));
    id("concerns").hidden = concerns.length === 0;
    id("concerns").replaceChildren(...concerns.map((text) => make("li", "", text)));
    document.title = health.state === "good" ? "Meshgate" : `Meshgate (${concerns.length} to look at)`;
    showRates(status);
    showContracts(status);
    showViolations(status.violations);
    showRefusals(status.refusals);
    showFarEnds(status);
    showRules(status.rules);
    id("all").hidden = false;
  };

  let last = null;
  let lostAt = null;
  let paused = false;
  let timer = 0;
  const clock = (date) => date.toTimeString().slice(0, 8);
  const lost = (why) => {
    lostAt = lostAt || new Date();
    document.body.classList.add("lost");
    const left = last === null ? "" : " What is below is as it was then.";
    say(id("lost"), `The gate cannot be reached since ${clock(lostAt)}${why}.${left} It is asked again every ${EVERY / 1000} seconds.`);
    id("lost").hidden = false;
    if (last === null) say(id("sentence"), "Nothing is known of the gate yet.");
  };
  const look = async () => {
    clearTimeout(timer);
    try {
      const answer = await fetch("status.json", { cache: "no-store", signal: AbortSignal.timeout(PATIENCE) });
      if (!answer.ok) throw new Error(`, which answers ${answer.status}`);
      const status = await answer.json();
      if (status.schema !== SCHEMA) throw new Error(" by this page, which is older than it: load it again");
      show(status);
      last = status;
      lostAt = null;
      document.body.classList.remove("lost");
      id("lost").hidden = true;
      say(id("seen"), "as of " + clock(new Date()));
    } catch (error) {
      lost(error instanceof Error && error.message.startsWith(",") ? error.message : error.message.startsWith(" by") ? error.message : "");
    }
    if (!paused && !document.hidden) timer = setTimeout(look, EVERY);
  };

  id("pause").hidden = false;
  id("pause").addEventListener("click", () => {
    paused = !paused;
    id("pause").setAttribute("aria-pressed", String(paused));
    if (paused) clearTimeout(timer);
    else look();
  });
  id("more").addEventListener("click", () => {
    all = !all;
    id("more").setAttribute("aria-expanded", String(all));
    if (last !== null) showRefusals(last.refusals);
  });
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) clearTimeout(timer);
    else if (!paused) look();
  });
  look();
})();
