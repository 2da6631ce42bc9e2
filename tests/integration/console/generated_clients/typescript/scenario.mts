// One whole scenario with openapi-fetch and the types that openapi-typescript makes: scenario.mjs URL TOKEN NAME
import createClient from "openapi-fetch";
import type { paths } from "./schema.js";

const [url, token, name] = process.argv.slice(2) as [string, string, string];
const client = createClient<paths>({ baseUrl: url, headers: { Authorization: `Bearer ${token}` } });
const path = { name };

function check(holds: unknown, found: unknown): asserts holds {
  if (!holds) throw new Error(`unexpected: ${JSON.stringify(found)}`);
}

const made = await client.POST("/api/v1/programs", {
  body: { name, source: { kind: "import" }, codes_max: 10 },
  params: { header: { "Idempotency-Key": `create-${name}` } },
});
check(made.data?.name === name, made.error);

const form = new FormData();
form.append("file", new Blob([`Code\n${name}-1\n${name}-2\n`], { type: "text/csv" }), "codes.csv");
form.append("column", "Code");
const begun = await client.POST("/api/v1/programs/{name}/imports", {
  params: { path },
  body: { file: "codes.csv", column: "Code" },
  bodySerializer: () => form,
});
check(begun.data, begun.error);
let seen = begun.data;
for (const giveUp = Date.now() + 30_000; seen.state === "running"; ) {
  check(Date.now() < giveUp, seen);
  await new Promise((resolve) => setTimeout(resolve, 100));
  const next = await client.GET("/api/v1/imports/{import_id}", { params: { path: { import_id: seen.id } } });
  check(next.data, next.error);
  seen = next.data;
}
check(seen.state === "done" && seen.imported === 2, seen);

const attached = await client.POST("/api/v1/programs/{name}/codes:attach", {
  params: { path, header: { "Idempotency-Key": `attach-${name}` } },
  body: { profile_id: "p-1" },
});
check(attached.data, attached.error);
const code = attached.data.code;
const found = await client.GET("/api/v1/programs/{name}/codes/{code}", { params: { path: { name, code } } });
check(found.data?.state === "attached" && found.data.profile_id === "p-1", found.error);

const activate = () => client.POST("/api/v1/programs/{name}/codes:activate", { params: { path }, body: { code } });
const activated = await activate();
check(activated.data?.state === "activated", activated.error);
const refused = await activate();
check(refused.error?.reason === "code_used" && refused.error.type === "/problems/code-used", refused);

const exported = await client.GET("/api/v1/programs/{name}/codes.csv", { params: { path }, parseAs: "text" });
check(exported.data?.includes(code) && exported.data.trimEnd().split("\n").length === 3, exported);

const removed = await client.DELETE("/api/v1/programs/{name}", { params: { path } });
check(removed.data?.name === name, removed.error);
console.log("passed:", refused.error.detail);
