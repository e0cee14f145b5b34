// Writes the dashboards: `NODE_PATH=target/tools/node_modules node dashboards/generate/main.js [DIRECTORY]`, by default into dashboards/.
//
// `tests/tools/install` brings the one package it needs, Grafana's foundation SDK.

const { writeFileSync } = require("fs");
const { join } = require("path");

const directory = process.argv[2] ?? join(__dirname, "..");
for (const name of ["domain-quality", "gate-health", "fleet"]) {
  writeFileSync(join(directory, `${name}.json`), `${JSON.stringify(require(`./${name}`), null, 2)}\n`);
}
