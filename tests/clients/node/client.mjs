#!/usr/bin/env node
// Drives a server with one of the Node SDKs and says what came of it, a line of JSON a scenario.
//
//   client.mjs --client vendor|ai --dialect messages --base-url http://127.0.0.1:8080 --model default/claude \
//       --abilities text,tools
//
// `vendor` is the provider's own SDK, `ai` is Vercel's with the provider's package. `--simulated` says that the
// provider simulator is behind the server, whose answers are known. `--plan` reads what to ask from standard input in place
// of the flags: a line of JSON an upstream. Exits 1 if any failed.

import { readFileSync } from "node:fs";
import { parseArgs } from "node:util";

import { ABILITIES, Session } from "./checks.mjs";

const PROGRAMS = {
  "vendor chat": ["openai-node chat", "./openai_chat.mjs"],
  "vendor responses": ["openai-node responses", "./openai_responses.mjs"],
  "vendor messages": ["anthropic-node", "./anthropic_messages.mjs"],
  "ai chat": ["ai-sdk openai chat", "./ai.mjs"],
  "ai responses": ["ai-sdk openai responses", "./ai.mjs"],
  "ai messages": ["ai-sdk anthropic", "./ai.mjs"],
  "ai generate": ["ai-sdk google", "./ai.mjs"],
};

const text = { type: "string" };
const { values } = parseArgs({
  options: {
    client: text,
    dialect: text,
    "base-url": text,
    plan: { type: "boolean", default: false },
    model: text,
    abilities: text,
    faults: { type: "string", default: "{}" },
    simulated: { type: "boolean", default: false },
    "api-key": { type: "string", default: "weighbridge-test" },
    timeout: { type: "string", default: "120" },
  },
});
const program = PROGRAMS[`${values.client} ${values.dialect}`];
if (!program) throw new Error(`no such client: there are ${Object.keys(PROGRAMS).join(", ")}`);
if (!values["base-url"]) throw new Error("--base-url is needed");
const planned = () => readFileSync(0, "utf8").trim().split("\n").map((line) => JSON.parse(line));
const named = () => {
  const { model, abilities, faults, simulated } = values;
  if (!model || !abilities) throw new Error("give --model and --abilities, or --plan");
  return [{ name: model, model, abilities: abilities.split(","), faults, simulated }];
};
const upstreams = values.plan ? planned() : named();
for (const ability of upstreams.flatMap((upstream) => upstream.abilities)) {
  if (!ABILITIES.includes(ability)) throw new Error(`unknown ability ${ability}: there are ${ABILITIES.join(", ")}`);
}
const [client, file] = program;
const { run } = await import(file);
for (const upstream of upstreams) {
  const session = new Session(client, upstream);
  await run(session, values);
  if (session.failed) process.exitCode = 1;
}
