// What the OpenAI and Anthropic SDKs make of errors: both are made from one mould.

import { equal, fails } from "./checks.mjs";

const EXPECTED = {
  "status-400": ["BadRequestError", 400],
  "bad-key": ["AuthenticationError", 401],
  "status-403": ["PermissionDeniedError", 403],
  "status-404": ["NotFoundError", 404],
  "limited-retry-after": ["RateLimitError", 429],
  "status-500": ["InternalServerError", 500],
  "status-503": ["InternalServerError", 503],
  "no-such-behaviour": ["NotFoundError", 404],
};

/** `failing(model, streaming, maxRetries)` asks a model that misbehaves; `errors` holds the SDK's classes. */
export async function run(session, errors, failing) {
  const raises = (name, status, call) =>
    fails(`${name} ${status}`, (error) => error instanceof errors[name] && (status === null || error.status === status), call);
  if (session.abilities.includes("errors")) {
    for (const [fault, [name, status]] of Object.entries(EXPECTED)) {
      for (const streaming of [false, true]) {
        await session.run(`error ${fault}`, streaming, () =>
          raises(name, status, () => failing(session.fault(fault), streaming, 0)));
      }
    }
    for (const fault of ["error-first", "error-in-stream"]) {
      await session.run(`error ${fault}`, true, () => raises("APIError", null, () => failing(session.fault(fault), true, 0)));
    }
  }
  if (session.abilities.includes("retries")) {
    await session.run("retries until it works", false, async () => {
      await failing(session.fault("once-limited-retry-after-ms"), false, 1);
      equal(session.attempts, [429, 200], "statuses");
    });
    await session.run("retries and gives up", false, async () => {
      await raises("RateLimitError", 429, () => failing(session.fault("limited-retry-after-ms"), false, 2));
      equal(session.attempts, [429, 429, 429], "statuses");
    });
    await session.run("no retry of a bad request", false, async () => {
      await raises("BadRequestError", 400, () => failing(session.fault("status-400"), false, 2));
      equal(session.attempts.length, 1, "attempts");
    });
  }
}
