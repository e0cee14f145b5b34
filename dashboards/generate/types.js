// Writes a TypeScript program that compiles only if the dashboards are what Grafana's types say: `node types.js DASHBOARD.json… > types.ts`.
//
// The builders check what they are given; this checks what came out and is checked in, key by key, without them.

const { readFileSync } = require("fs");

// A value of type T as JSON has it: the text or number of an enumeration's member instead of the member.
const head = `
import type * as bargauge from "@grafana/grafana-foundation-sdk/bargauge";
import type * as dashboard from "@grafana/grafana-foundation-sdk/dashboard";
import type * as prometheus from "@grafana/grafana-foundation-sdk/prometheus";
import type * as stat from "@grafana/grafana-foundation-sdk/stat";
import type * as statetimeline from "@grafana/grafana-foundation-sdk/statetimeline";
import type * as table from "@grafana/grafana-foundation-sdk/table";
import type * as timeseries from "@grafana/grafana-foundation-sdk/timeseries";

type Json<T> =
  0 extends 1 & T ? any
  : T extends string ? \`\${T}\`
  : T extends number ? (\`\${T}\` extends \`\${infer N extends number}\` ? N : number)
  : T extends (infer Item)[] ? Json<Item>[]
  : T extends object ? { [Key in keyof T]: Json<T[Key]> }
  : T;

type Dashboard = Json<Omit<dashboard.Dashboard, "panels" | "annotations">>;
type Panel = Json<Omit<dashboard.Panel, "targets" | "options" | "fieldConfig">>;
type Defaults = Json<Omit<dashboard.FieldConfig, "custom">>;
type Override = Json<dashboard.FieldConfigSource["overrides"][number]>;
type Query = Json<Omit<prometheus.dataquery, "_implementsDataqueryVariant">>;
// With what Grafana's Prometheus data source reads of an annotation beside it.
type Annotation = Json<dashboard.AnnotationQuery>
  & { titleFormat: string, textFormat: string, tagKeys: string, step: string, useValueForTime: boolean };
`;

/** Kinds of panels with settings of their own for fields. */
const custom = ["timeseries", "table", "statetimeline"];
const moduleOf = { "state-timeline": "statetimeline" };

const lines = [head];
const is = (type, value) => lines.push(`({ value: ${JSON.stringify(value)} }) satisfies { value: ${type} };`);

for (const file of process.argv.slice(2)) {
  const { panels, annotations, ...dashboard } = JSON.parse(readFileSync(file, "utf8"));
  is("Dashboard", dashboard);
  annotations.list.forEach((annotation) => is("Annotation", annotation));
  for (const panel of panels) {
    if (panel.type === "row") {
      is("Json<dashboard.RowPanel>", panel);
      continue;
    }
    const { targets, options, fieldConfig, ...rest } = panel;
    const { custom: own, ...defaults } = fieldConfig.defaults;
    const kind = moduleOf[panel.type] ?? panel.type;
    is("Panel", rest);
    is(`Json<${kind}.Options>`, options);
    is("Defaults", defaults);
    if (own !== undefined) is(custom.includes(kind) ? `Json<Partial<${kind}.FieldConfig>>` : "never", own);
    fieldConfig.overrides.forEach((override) => is("Override", override));
    targets.forEach((target) => is("Query", target));
  }
}
process.stdout.write(`${lines.join("\n")}\n`);
