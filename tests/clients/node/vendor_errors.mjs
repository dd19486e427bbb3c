// What the OpenAI and Anthropic SDKs make of errors: both are made from one mould.

import { equal, fails, formsOf, waits } from "./checks.mjs";

const STATUSES = {
  "status-400": 400,
  "bad-key": 401,
  "status-403": 403,
  "status-404": 404,
  "limited-retry-after": 429,
  "status-500": 500,
  "status-503": 503,
  "no-such-behaviour": 404,
};
const BROKEN = { "error-first": null, "error-in-stream": null };
const KINDS = {
  400: "BadRequestError",
  401: "AuthenticationError",
  402: "PaymentRequiredError",
  403: "PermissionDeniedError",
  404: "NotFoundError",
  429: "RateLimitError",
};

/** How the SDK whose classes are in `errors` fails with a status. */
export function failure(errors) {
  return (status, call) => {
    const name = KINDS[status] ?? "InternalServerError";
    return fails(`${name} ${status}`, (error) => error instanceof errors[name] && error.status === status, call);
  };
}

/** What a bad request is told. */
export function badRequest(errors) {
  return async (call) => (await failure(errors)(400, call)).message;
}

/**
 * `failing(model, streaming, maxRetries, apiKey)` asks a model that may misbehave; `errors` holds the SDK's classes.
 */
export async function run(session, errors, failing) {
  const raises = failure(errors);
  if (session.abilities.includes("keys")) {
    await session.run("keys", false, async () => {
      for (const streaming of [false, true]) await raises(401, () => failing(session.model, streaming, 0, "wb-another"));
      // Whether there is such a model or not: the key is of another namespace.
      await raises(403, () => failing("elsewhere/model", false, 0));
    });
  }
  if (session.abilities.includes("errors")) {
    for (const [fault, status] of Object.entries(session.statuses ?? STATUSES)) {
      for (const streaming of formsOf(fault)) {
        await session.run(`error ${fault}`, streaming, async () => {
          const error = await raises(status, () => failing(session.fault(fault), streaming, 0));
          // Who is to come again is told when.
          if (fault.startsWith("limited-")) waits(Number(error.headers.get("retry-after")));
        });
      }
    }
    for (const fault of Object.keys(session.broken ?? BROKEN)) {
      const breaks = () => fails("an error in the stream", (error) => error instanceof errors.APIError && !(error.status >= 400),
        () => failing(session.fault(fault), true, 0));
      await session.run(`error ${fault}`, true, breaks);
    }
  }
  if (session.abilities.includes("retries")) {
    await session.run("retries until it works", false, async () => {
      await failing(session.fault("once-limited-retry-after-ms"), false, 1);
      equal(session.attempts, [429, 200], "statuses");
    });
    await session.run("retries and gives up", false, async () => {
      await raises(429, () => failing(session.fault("limited-retry-after-ms"), false, 2));
      equal(session.attempts, [429, 429, 429], "statuses");
    });
    await session.run("no retry of a bad request", false, async () => {
      await raises(400, () => failing(session.fault("status-400"), false, 2));
      equal(session.attempts.length, 1, "attempts");
    });
  }
}
