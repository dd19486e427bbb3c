#!/usr/bin/env node
// Drives a server with one of the Node SDKs and says what came of it, a line of JSON a scenario.
//
//   client.mjs --client vendor|ai --dialect messages --base-url http://127.0.0.1:8080 --model default/claude \
//       --abilities text,tools
//
// `vendor` is the provider's own SDK, `ai` is Vercel's with the provider's package. `--simulated` says that the
// provider simulator is behind the server, whose answers are known. Exits 1 if any failed.

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
for (const needed of ["base-url", "model", "abilities"]) if (!values[needed]) throw new Error(`--${needed} is needed`);
for (const ability of values.abilities.split(",")) {
  if (!ABILITIES.includes(ability)) throw new Error(`unknown ability ${ability}: there are ${ABILITIES.join(", ")}`);
}
const [client, file] = program;
const session = new Session(client, values);
const { run } = await import(file);
await run(session, values);
process.exitCode = session.failed ? 1 : 0;
