// Compiles JSON Schemas (2020-12) in Ajv's strict mode: node tools/ajv.mjs FILE...
import { readFileSync } from "node:fs";
import Ajv2020 from "ajv/dist/2020.js";
import addFormats from "ajv-formats";

let failed = 0;
const paths = process.argv.slice(2);
for (const path of paths) {
  const ajv = new Ajv2020({ strict: true, allErrors: true });
  addFormats(ajv);
  try {
    ajv.compile(JSON.parse(readFileSync(path, "utf8")));
  } catch (error) {
    console.error(`${path}: ${error.message}`);
    failed += 1;
  }
}
if (failed > 0 || paths.length === 0) {
  process.exit(1);
}
console.log(`${paths.length} JSON Schemas compile in Ajv's strict mode`);
