// Parses an AsyncAPI document with the reference parser; anything it finds fails it: node tools/asyncapi.mjs FILE
import { readFileSync } from "node:fs";
import { Parser } from "@asyncapi/parser";

const LEVELS = ["error", "warning", "information", "hint"];
const [, , path] = process.argv;
const { document, diagnostics } = await new Parser().parse(readFileSync(path, "utf8"), { source: path });
for (const found of diagnostics) {
  console.error(`${path}: ${LEVELS[found.severity]}: ${found.path.join(".")}: ${found.message} (${found.code})`);
}
if (document === undefined || diagnostics.length > 0) {
  process.exit(1);
}
const counts = `${document.channels().length} channels, ${document.operations().length} operations`;
console.log(`${path}: AsyncAPI ${document.version()}, ${counts}`);
