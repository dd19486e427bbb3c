// What every client asks for, and how it says what came of it. The SDKs lie in the cache, not beside this file.

import { createRequire } from "node:module";
import { isDeepStrictEqual } from "node:util";

const modules = process.env.WEIGHBRIDGE_NODE_CLIENTS;
if (!modules) throw new Error("WEIGHBRIDGE_NODE_CLIENTS is not set: it is what `tests/clients/install.sh node` prints");
export const sdk = createRequire(`${modules}/package.json`);

const { z } = sdk("zod");

export const QUESTION = "Name three colours of the rainbow.";
export const SYSTEM = "Be brief.";
// A picture whose base64 has every letter in which the two alphabets differ, and padding.
export const IMAGE_TYPE = "image/png";
export const IMAGE = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAAFHRFWHRDb21tZW50APv/v/77/7/++/+//j+Hu0kAAAALSURBVHicY/gPBAAJ+wP9"
  + "+15rKwAAAABJRU5ErkJggg==";
export const SEEN = `I see ${IMAGE_TYPE} ${IMAGE}`;
export const SIMULATED = "Hello, wörld 😀!";
export const RESULT = "22.5 °C in “Zürich”";
export const NOTHING = "nothing at all";
export const ABILITIES = ("text completions image cached tools parallel schema thinking signature stored embeddings count models "
  + "keys errors retries").split(" ");
// Every server says how long to wait, and the simulator says seven seconds; of a time of day that may be eight.
const LONGEST_WAIT = 8;

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

/** In which forms a fault is asked for: what comes first in a stream comes nowhere else. */
export function formsOf(fault) {
  return fault === "error-first" ? [true] : [false, true];
}

/** Looks at how long an error says to wait. */
export function waits(seconds) {
  want(seconds >= 1 && seconds <= LONGEST_WAIT, `told to wait for ${seconds} s`);
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

/**
 * What one run of a client is asked to do, and its report. An upstream has the fields of `checks.Upstream` in Python's
 * programs.
 */
export class Session {
  attempts = [];
  failed = 0;

  constructor(client, upstream) {
    const none = { name: "", faults: "{}", simulated: false, signed: true, answer: null, tokens: null, refused: {}, statuses: null, broken: null };
    Object.assign(this, none, upstream, { client });
    // A model that is not simulated is asked for its likeliest words, so that they can be compared.
    this.greedy = this.answer === null ? {} : { temperature: 0 };
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

  /** Tokens that the older completions may have: the simulator has said all by then, and a model nothing yet. */
  few = 4;

  /** The older completions know no turns, and a model goes on from the question. */
  completed(text, reason) {
    want(text, "the answer is empty");
    if (this.simulated) equal(text, SIMULATED, "text");
    equal(reason, this.simulated ? "stop" : "length", "why it ended");
  }

  said(text) {
    want(text, "the answer is empty");
    const known = this.simulated ? SIMULATED : this.answer;
    if (known !== null) equal(text, known, "text");
  }

  /** Tokens, all that were read and all that were written. */
  counted(read, written) {
    want(read > 0 && written > 0, `tokens read ${read}, written ${written}`);
    if (this.tokens !== null) equal([read, written], this.tokens, "tokens read and written");
  }

  /** Of the same prompt at two models, of which one read half of it from its cache: tokens are in one place each. */
  cached(plain, read, cached) {
    equal(read, plain, "tokens of a prompt, cached or not");
    equal(cached, Math.ceil(plain / 2), "cached tokens");
  }

  told(text, ...results) {
    want(text, "the answer is empty");
    for (const result of this.simulated ? results : []) {
      want(text.includes(result), `the answer does not tell ${result}: ${text}`);
    }
  }

  async run(scenario, streaming, call, refused = "") {
    this.attempts = [];
    let detail = "";
    try {
      await call();
    } catch (error) {
      detail = error instanceof Failed ? error.message : `${error?.constructor?.name}: ${error?.stack?.slice(0, 800) ?? error}`;
      if (!detail) detail = "failed without a word";
    }
    this.failed += detail ? 1 : 0;
    const { client, name: upstream } = this;
    console.log(JSON.stringify({ client, upstream, scenario, streaming, ok: !detail, refused, detail }));
  }

  /**
   * Runs what an ability in `functions` is for, in each form. `bad(call)` runs what must be a bad request, and returns the
   * error's words.
   */
  async play(functions, forms, bad) {
    for (const [ability, call] of Object.entries(functions)) {
      if (!this.abilities.includes(ability)) continue;
      const scenario = ability === "schema" ? "structured" : ability;
      const refused = this.refused[scenario] ?? "";
      for (const streaming of forms) {
        const refuses = async () => {
          const words = await bad(() => call(streaming));
          want(words.includes(`\`${refused}\``), `\`${refused}\` is not named: ${words}`);
        };
        await this.run(scenario, streaming, refused ? refuses : () => call(streaming), refused);
      }
    }
  }

  /** Whole and streaming. */
  async both(functions, bad) {
    await this.play(functions, [false, true], bad);
  }

  async once(functions, bad) {
    await this.play(functions, [false], bad);
  }
}
