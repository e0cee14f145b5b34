// What the dashboards have in common: units, thresholds, variables, and how a panel of each kind looks.
//
// The builders are those of Grafana's foundation SDK for Grafana 11.6; a test has TypeScript check all of it against their types.

const common = require("@grafana/grafana-foundation-sdk/common");
const dashboard = require("@grafana/grafana-foundation-sdk/dashboard");
const bargauge = require("@grafana/grafana-foundation-sdk/bargauge");
const prometheus = require("@grafana/grafana-foundation-sdk/prometheus");
const stat = require("@grafana/grafana-foundation-sdk/stat");
const statetimeline = require("@grafana/grafana-foundation-sdk/statetimeline");
const table = require("@grafana/grafana-foundation-sdk/table");
const timeseries = require("@grafana/grafana-foundation-sdk/timeseries");

/** Grafana's names of units. */
const unit = {
  share: "percentunit",
  count: "short",
  perSecond: "cps",
  events: "eps",
  records: "recps",
  requests: "reqps",
  bytes: "bytes",
  bytesPerSecond: "Bps",
  seconds: "s",
  milliseconds: "ms",
  cores: "none",
  state: "none",
  times: "none",
  /** A moment, in milliseconds since 1970, as how long ago it was. */
  ago: "dateTimeFromNow",
};

/** What a query is asked of: the values chosen at the top. */
const of = {
  contract: 'domain=~"$domain", contract=~"$contract", instance=~"$instance"',
  domain: 'domain=~"$domain", instance=~"$instance"',
  gate: 'instance=~"$instance"',
};

const source = { type: "prometheus", uid: "${datasource}" };

/**
 * Colours from a value on: `[["green", null], ["red", 1]]`. The first is from the least value on.
 * @typedef {[string, number | null][]} Steps
 */

/** @type {{[name: string]: Steps}} */
const thresholds = {
  none: [["blue", null]],
  /** Of shares that should be 1. */
  good: [["red", null], ["orange", 0.95], ["green", 0.99]],
  /** Of shares of a limit. */
  full: [["green", null], ["orange", 0.7], ["red", 0.9]],
  /** Of what should not be at all. */
  zero: [["green", null], ["red", 0.000001]],
  /** Of what is worth a look. */
  few: [["green", null], ["orange", 1]],
  /** Of states in which 1 is bad. */
  flag: [["green", null], ["red", 1]],
  /** Of what is left of an error budget. */
  budget: [["red", null], ["orange", 0], ["green", 0.25]],
  /** Of burn rates: those of the alerts (SRE workbook, chapter 5). */
  burn: [["green", null], ["orange", 1], ["red", 6], ["dark-red", 14.4]],
  /** Seconds that a producer waits. */
  latency: [["green", null], ["orange", 0.25], ["red", 1]],
  /** Seconds that events wait. */
  waiting: [["green", null], ["orange", 300], ["red", 900]],
  ready: [["orange", null], ["green", 1]],
};

/**
 * @typedef {object} Query
 * @property {string} expr
 * @property {string} [legend]
 * @property {boolean} [now] its value at the end of the range, rather than its course
 */

/**
 * The course of a query over the range shown.
 * @param {string} expr
 * @param {string} legend
 * @returns {Query}
 */
const course = (expr, legend) => ({ expr: oneLine(expr), legend });

/**
 * What a query comes to at the end of the range shown.
 * @param {string} expr
 * @param {string} [legend]
 * @returns {Query}
 */
const now = (expr, legend) => ({ expr: oneLine(expr), legend, now: true });

/** @param {string} text */
const oneLine = (text) => text.trim().replace(/\s+/g, " ");

/**
 * The median and the 99th percentile of a histogram in seconds.
 * @param {string} histogram its name, without `_bucket`
 * @param {string} labels those that series are kept apart by; may be empty
 * @param {string} selector
 */
const quantiles = (histogram, labels, selector) =>
  [["0.5", "p50"], ["0.99", "p99"]].map(([q, name]) => course(
    `histogram_quantile(${q}, sum by (le${labels && `, ${labels}`}) (rate(${histogram}_bucket{${selector}}[$__rate_interval])))`,
    `${labels.split(", ").filter(Boolean).map((label) => `{{${label}}} `).join("")}${name}`,
  ));

/**
 * @typedef {object} Spec
 * @property {string} title
 * @property {string} description what it shows, and what to do
 * @property {number} width of 24
 * @property {number} [height]
 * @property {string} unit
 * @property {Query[]} queries
 * @property {Steps} [steps] thresholds
 * @property {string} [none] what is shown where there is nothing: say what that means
 * @property {number} [min]
 * @property {number} [max]
 * @property {number} [decimals]
 */

/**
 * What panels of all kinds have.
 * @template {timeseries.PanelBuilder | stat.PanelBuilder | bargauge.PanelBuilder | table.PanelBuilder | statetimeline.PanelBuilder} Builder
 * @param {Builder} builder
 * @param {Spec} spec
 * @param {prometheus.PromQueryFormat} [format]
 * @returns {Builder}
 */
function dressed(builder, spec, format) {
  builder
    .title(spec.title)
    .description(spec.description)
    .datasource(source)
    .span(spec.width)
    .height(spec.height ?? 8)
    .unit(spec.unit)
    .noValue(spec.none ?? "nothing")
    .thresholds(steps(spec.steps ?? thresholds.none));
  if (spec.min !== undefined) builder.min(spec.min);
  if (spec.max !== undefined) builder.max(spec.max);
  if (spec.decimals !== undefined) builder.decimals(spec.decimals);
  spec.queries.forEach((query, at) => {
    const target = new prometheus.DataqueryBuilder()
      .refId("ABCDEFGHIJKL"[at])
      .datasource(source)
      .editorMode(prometheus.QueryEditorMode.Code)
      .expr(query.expr)
      .legendFormat(query.legend ?? "__auto");
    if (format) target.format(format);
    builder.withTarget(query.now ? target.instant() : target.range());
  });
  return builder;
}

/** @param {Steps} steps */
const steps = (steps) => new dashboard.ThresholdsConfigBuilder()
  .mode(dashboard.ThresholdsMode.Absolute)
  .steps(steps.map(([color, value]) => ({ color, value })));

/** @param {dashboard.FieldColorModeId} mode */
const color = (mode) => new dashboard.FieldColorBuilder().mode(mode);

const lastValue = () => new common.ReduceDataOptionsBuilder().calcs(["lastNotNull"]).values(false).fields("");

/**
 * A number. With several series, one each.
 * @param {Spec} spec
 */
const number = (spec) => dressed(new stat.PanelBuilder(), { height: 4, ...spec })
  .colorScheme(color(dashboard.FieldColorModeId.Thresholds))
  .colorMode(common.BigValueColorMode.Value)
  .graphMode(common.BigValueGraphMode.None)
  .reduceOptions(lastValue());

/**
 * A bar for each series, worst or best first as the query has them.
 * @param {Spec} spec
 */
const bars = (spec) => dressed(new bargauge.PanelBuilder(), spec)
  .colorScheme(color(dashboard.FieldColorModeId.Thresholds))
  .displayMode(common.BarGaugeDisplayMode.Basic)
  .orientation(common.VizOrientation.Horizontal)
  .reduceOptions(lastValue());

/**
 * Lines over time.
 * @param {Spec & {stacked?: boolean, dashed?: string, lines?: boolean}} spec `dashed`: a regular expression of the legends of limits and targets;
 *   `lines`: whether thresholds are drawn as lines
 */
function graph(spec) {
  const panel = dressed(new timeseries.PanelBuilder(), { min: 0, ...spec })
    .colorScheme(color(dashboard.FieldColorModeId.PaletteClassic))
    .drawStyle(common.GraphDrawStyle.Line)
    .lineWidth(1)
    .fillOpacity(spec.stacked ? 30 : 8)
    .showPoints(common.VisibilityMode.Never)
    .stacking(new common.StackingConfigBuilder().mode(spec.stacked ? common.StackingMode.Normal : common.StackingMode.None).group("A"))
    .thresholdsStyle(new common.GraphThresholdsStyleConfigBuilder()
      .mode(spec.lines ? common.GraphThresholdsStyleMode.Dashed : common.GraphThresholdsStyleMode.Off))
    .legend(new common.VizLegendOptionsBuilder()
      .showLegend(true)
      .displayMode(common.LegendDisplayMode.Table)
      .placement(common.LegendPlacement.Bottom)
      .calcs(["lastNotNull", "max"]))
    .tooltip(new common.VizTooltipOptionsBuilder().mode(common.TooltipDisplayMode.Multi).sort(common.SortOrder.Descending));
  if (spec.dashed) {
    panel.overrideByRegexp(spec.dashed, [
      { id: "custom.lineStyle", value: { fill: "dash", dash: [8, 8] } },
      { id: "custom.fillOpacity", value: 0 },
    ]);
  }
  return panel;
}

/**
 * A state over time, a line for each series, in words and colours.
 * @param {Spec & {states: {[value: string]: [string, string]}}} spec `states`: the word and the colour of each value
 */
const states = (spec) => dressed(new statetimeline.PanelBuilder(), spec)
  .colorScheme(color(dashboard.FieldColorModeId.Thresholds))
  .mappings([{
    type: dashboard.MappingType.ValueToText,
    options: Object.fromEntries(Object.entries(spec.states).map(([value, [text, color]]) => [value, { text, color }])),
  }])
  .mergeValues(true)
  .showValue(common.VisibilityMode.Auto)
  .rowHeight(0.8)
  .legend(new common.VizLegendOptionsBuilder().showLegend(false))
  .tooltip(new common.VizTooltipOptionsBuilder().mode(common.TooltipDisplayMode.Single));

/**
 * A table with a column for each label and query.
 * @param {Spec & {columns: {[field: string]: string}, by?: string, units?: {[column: string]: string}, marked?: {[column: string]: Steps}}} spec
 *   `columns`: the fields that are shown, in this order, and their headings; `by`: the label that several queries are joined by;
 *   `units`, `marked`: of columns, by heading
 */
function list(spec) {
  const several = spec.by !== undefined;
  const panel = dressed(new table.PanelBuilder(), spec, prometheus.PromQueryFormat.Table)
    .showHeader(true)
    .cellHeight(common.TableCellHeight.Sm);
  if (several) panel.withTransformation({ id: "joinByField", options: { byField: spec.by, mode: "outer" } });
  // Grafana drops what is not in the list, and keeps its order.
  panel.withTransformation({ id: "filterFieldsByName", options: { include: { names: Object.keys(spec.columns) } } });
  panel.withTransformation({
    id: "organize",
    options: {
      indexByName: Object.fromEntries(Object.keys(spec.columns).map((field, at) => [field, at])),
      renameByName: spec.columns,
      excludeByName: {},
    },
  });
  for (const [column, id] of Object.entries(spec.units ?? {})) panel.overrideByName(column, [{ id: "unit", value: id }]);
  for (const [column, marks] of Object.entries(spec.marked ?? {})) {
    panel.overrideByName(column, [
      { id: "thresholds", value: steps(marks).build() },
      { id: "custom.cellOptions", value: { type: common.TableCellDisplayMode.ColorText } },
    ]);
  }
  return panel;
}

/**
 * A variable of all values of a label.
 * @param {string} name
 * @param {string} label
 * @param {string} values
 * @param {string} [all] what "All" stands for; without it, whatever is offered
 */
function choice(name, label, values, all) {
  const variable = new dashboard.QueryVariableBuilder(name)
    .label(label)
    .datasource(source)
    .query({ query: values, refId: name })
    .refresh(dashboard.VariableRefresh.OnTimeRangeChanged)
    .sort(dashboard.VariableSort.AlphabeticalAsc)
    .multi(true)
    .includeAll(true)
    .current({ text: ["All"], value: ["$__all"] });
  return all ? variable.allValue(all) : variable;
}

/**
 * A dashboard: rows of panels, the variables that all of them share, and the moments at which rules changed.
 * @param {{uid: string, title: string, description: string, tags: string[], from: string,
 *   rows: [string, {build: () => dashboard.Panel}[]][]}} spec
 */
function board(spec) {
  const made = new dashboard.DashboardBuilder(spec.title)
    .uid(spec.uid)
    .description(spec.description)
    .tags(["meshgate", ...spec.tags])
    .editable()
    .tooltip(dashboard.DashboardCursorSync.Crosshair)
    .refresh("30s")
    .timezone("browser")
    .time({ from: spec.from, to: "now" })
    .withVariable(new dashboard.DatasourceVariableBuilder("datasource").label("Data source").type("prometheus"))
    .withVariable(choice("domain", "Domain", "label_values(meshgate_events_total, domain)", ".*"))
    .withVariable(choice("contract", "Contract", 'label_values(meshgate_events_total{domain=~"$domain"}, contract)', ".*"))
    // Without a value for "All", the gates are those of the domain and contract chosen, for panels too that know of neither.
    .withVariable(choice("instance", "Gate",
      'label_values(meshgate_events_total{domain=~"$domain", contract=~"$contract"}, instance)'))
    .link(new dashboard.DashboardLinkBuilder("Meshgate")
      .type(dashboard.DashboardLinkType.Dashboards)
      .tags(["meshgate"])
      .includeVars(true)
      .keepTime(true)
      .asDropdown(false));
  for (const [title, panels] of spec.rows) {
    made.withRow(new dashboard.RowBuilder(title));
    panels.forEach((panel) => made.withPanel(panel));
  }
  const built = made.build();
  (built.panels ?? []).forEach((panel, at) => { panel.id = at + 1; });
  built.annotations = { list: [revisions()] };
  // The oldest that Grafana 11 has: newer ones bring it up to date themselves.
  built.schemaVersion = 39;
  return built;
}

/**
 * The moments at which rules came into force, first of all gates. Grafana takes the value of a series for a time in milliseconds.
 * `useValueForTime` and its kin are keys of the Prometheus data source, which the SDK's type does not have.
 */
function revisions() {
  const query = new dashboard.AnnotationQueryBuilder()
    .name("Rules")
    .datasource(source)
    .enable(true)
    .iconColor("purple")
    .expr('1000 * min by (domain, revision) (meshgate_rules_applied_timestamp_seconds{domain=~"$domain"})')
    .build();
  return Object.assign(query, {
    titleFormat: "Rules of {{domain}}",
    textFormat: "revision {{revision}} in force",
    tagKeys: "domain",
    step: "60s",
    useValueForTime: true,
  });
}

module.exports = { unit, of, thresholds, course, now, quantiles, number, bars, graph, states, list, board };
