// Objects of the Prometheus operator against the schemas of its CRDs: a JSON array on standard input; prints what is wrong.
const { readFileSync } = require("node:fs");
const { join } = require("node:path");
const { pathToFileURL } = require("node:url");

const root = process.env.NODE_PATH;

async function main() {
  for (const object of JSON.parse(readFileSync(0, "utf8"))) {
    const file = join(root, "@kubernetes-models/prometheus-operator", object.apiVersion, `${object.kind}.js`);
    const module = await import(pathToFileURL(file));
    try {
      new module[object.kind](object).validate();
    } catch (error) {
      console.log(`${object.kind} ${object.metadata.name}: ${error.message}`);
      process.exitCode = 1;
    }
  }
}

main();
