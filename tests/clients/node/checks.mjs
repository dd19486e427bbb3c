// What every client asks for, and how it says what came of it. The SDKs lie in the cache, not beside this file.

import { createRequire } from "node:module";
import { isDeepStrictEqual } from "node:util";

const modules = process.env.WEIGHBRIDGE_NODE_CLIENTS;
if (!modules) throw new Error("WEIGHBRIDGE_NODE_CLIENTS is not set: it is what `tests/clients/install.sh node` prints");
export const sdk = createRequire(`${modules}/package.json`);

const { z } = sdk("zod");

export const QUESTION = "Name three colours of the rainbow.";
export const SIMULATED = "Hello, wörld 😀!";
export const RESULT = "22.5 °C in “Zürich”";
export const NOTHING = "nothing at all";
export const ABILITIES = "text tools parallel schema thinking signature stored embeddings count errors retries".split(" ");

export const Weather = z.strictObject({ city: z.string(), days: z.int() });
export const Empty = z.strictObject({});
export const Person = z.strictObject({ name: z.string(), age: z.int(), tags: z.array(z.enum(["kind", "tall"])) });

export class Failed extends Error {}

export function want(condition, message) {
  if (!condition) throw new Failed(message);
}

export function equal(got, expected, what) {
  want(isDeepStrictEqual(got, expected), `${what}: got ${JSON.stringify(got)}, expected ${JSON.stringify(expected)}`);
}

export function fits(schema, value, what) {
  const read = schema.safeParse(value);
  want(read.success, `${what}: ${JSON.stringify(value)}: ${read.error?.message}`);
}

/** Everything that a stream says. */
export async function collect(stream) {
  const all = [];
  for await (const one of stream) all.push(one);
  return all;
}

/** Runs `call`, which must fail with an error for which `is` holds. */
export async function fails(what, is, call) {
  let answer;
  try {
    answer = await call();
  } catch (error) {
    if (error instanceof Failed) throw error;
    want(is(error), `expected ${what}, got ${error?.constructor?.name} ${error?.status ?? error?.statusCode}: ${error?.message}`);
    return error;
  }
  throw new Failed(`no error was raised, expected ${what}; got ${JSON.stringify(answer)?.slice(0, 300)}`);
}

/** What one run of a client is asked to do, and its report. */
export class Session {
  attempts = [];
  failed = 0;

  constructor(client, { model, abilities, faults, simulated }) {
    Object.assign(this, { client, model, faults, simulated, abilities: abilities.split(",") });
  }

  /** Counts the attempts that an SDK makes. */
  fetch = async (url, init) => {
    const answer = await fetch(url, init);
    this.attempts.push(answer.status);
    return answer;
  };

  fault(name) {
    return this.faults.replace("{}", name);
  }

  said(text) {
    want(text, "the answer is empty");
    if (this.simulated) equal(text, SIMULATED, "text");
  }

  told(text, ...results) {
    want(text, "the answer is empty");
    for (const result of this.simulated ? results : []) {
      want(text.includes(result), `the answer does not tell ${result}: ${text}`);
    }
  }

  async run(scenario, streaming, call) {
    this.attempts = [];
    let detail = "";
    try {
      await call();
    } catch (error) {
      detail = error instanceof Failed ? error.message : `${error?.constructor?.name}: ${error?.stack?.slice(0, 800) ?? error}`;
      if (!detail) detail = "failed without a word";
    }
    this.failed += detail ? 1 : 0;
    console.log(JSON.stringify({ client: this.client, scenario, streaming, ok: !detail, detail }));
  }

  /** Runs whole and streaming what an ability in `functions` is for. */
  async both(functions) {
    for (const [ability, call] of Object.entries(functions)) {
      if (!this.abilities.includes(ability)) continue;
      const scenario = ability === "schema" ? "structured" : ability;
      for (const streaming of [false, true]) await this.run(scenario, streaming, () => call(streaming));
    }
  }
}
