// The .tf files of a directory, merged, as HashiCorp's parser reads them: JSON on standard output.
const { readFileSync, readdirSync } = require("node:fs");
const { join } = require("node:path");
const { parse } = require("@cdktf/hcl2json");

async function main() {
  const merged = {};
  for (const name of readdirSync(process.argv[2]).filter((name) => name.endsWith(".tf")).sort()) {
    const parsed = await parse(name, readFileSync(join(process.argv[2], name), "utf8"));
    for (const [block, bodies] of Object.entries(parsed)) {
      // locals and terraform are lists, variables and outputs lists by name, resources lists by kind and name.
      if (Array.isArray(bodies)) merged[block] = [...(merged[block] ?? []), ...bodies];
      for (const [name, body] of Array.isArray(bodies) ? [] : Object.entries(bodies)) {
        const before = merged[block]?.[name];
        merged[block] = { ...merged[block], [name]: Array.isArray(body) ? body : { ...before, ...body } };
      }
    }
  }
  console.log(JSON.stringify(merged));
}

main();
