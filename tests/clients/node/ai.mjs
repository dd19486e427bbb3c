// Vercel's AI SDK over every dialect. It reads each frame with a strict schema of its own.

import { NOTHING, Person, QUESTION, RESULT, Empty, Weather, equal, fails, fits, sdk, want } from "./checks.mjs";

const { APICallError, Output, embedMany, generateText, stepCountIs, streamText, tool } = sdk("ai");
const { createOpenAI } = sdk("@ai-sdk/openai");
const { createAnthropic } = sdk("@ai-sdk/anthropic");
const { createGoogleGenerativeAI } = sdk("@ai-sdk/google");

// What a provider's package doubts is of no interest here, and standard output is for the report.
globalThis.AI_SDK_LOG_WARNINGS = false;

const THINKING = {
  chat: { openai: { reasoningEffort: "low", forceReasoning: true } },
  responses: { openai: { reasoningEffort: "low", reasoningSummary: "auto", forceReasoning: true } },
  messages: { anthropic: { thinking: { type: "enabled", budgetTokens: 1024 } } },
  generate: { google: { thinkingConfig: { includeThoughts: true, thinkingBudget: 1024 } } },
};
const STATUSES = {
  "status-400": 400, "bad-key": 401, "status-403": 403, "status-404": 404, "limited-retry-after": 429, "status-500": 500, "status-503": 503,
};

export async function run(session, values) {
  const options = { apiKey: values["api-key"], fetch: session.fetch };
  const base = values["base-url"];
  const providers = {
    chat: () => createOpenAI({ ...options, baseURL: `${base}/v1` }).chat,
    responses: () => createOpenAI({ ...options, baseURL: `${base}/v1` }).responses,
    messages: () => createAnthropic({ ...options, baseURL: `${base}/v1` }),
    generate: () => createGoogleGenerativeAI({ ...options, baseURL: `${base}/v1beta` }),
  };
  const { dialect } = values;
  const named = providers[dialect]();

  // Everything that came of a request, whole or put together.
  const ask = async (streaming, { model = session.model, ...more } = {}) => {
    const request = { model: named(model), prompt: QUESTION, maxRetries: 0, maxOutputTokens: 2048, ...more };
    if (!streaming) return generateText(request);
    const answer = streamText({ ...request, onError: () => {} });
    for await (const part of answer.fullStream) if (part.type === "error") throw part.error;
    const said = {};
    for (const name of ["text", "reasoningText", "finishReason", "usage", "steps"]) said[name] = await answer[name];
    if (more.output) said.output = await answer.output;
    return said;
  };
  const text = async (streaming) => {
    const answer = await ask(streaming, { system: "Be brief." });
    session.said(answer.text);
    equal(answer.finishReason, "stop", "finishReason");
    want(answer.usage.inputTokens > 0 && answer.usage.outputTokens > 0, "nothing was counted");
  };
  const tools = async (streaming, names, more) => {
    const given = {};
    const say = (name, result) => async (input) => {
      given[name] = input;
      return result;
    };
    const all = {
      weather: tool({ description: "weather", inputSchema: Weather, execute: say("weather", RESULT) }),
      nothing: tool({ description: "nothing", inputSchema: Empty, execute: say("nothing", NOTHING) }),
    };
    const offered = Object.fromEntries(names.map((name) => [name, all[name]]));
    // Its own loop: it sends back what it was sent, in its own words.
    const answer = await ask(streaming, { tools: offered, stopWhen: stepCountIs(2), ...more });
    equal(answer.steps.map((step) => step.finishReason), ["tool-calls", "stop"], "steps");
    equal(Object.keys(given).toSorted(), names.toSorted(), "called tools");
    fits(Weather, given.weather, "input");
    session.told(answer.text, ...names.map((name) => ({ weather: RESULT, nothing: NOTHING })[name]));
  };
  const structured = async (streaming) => {
    const answer = await ask(streaming, { output: Output.object({ schema: Person }) });
    fits(Person, answer.output, "object");
  };
  const thinking = async (streaming) => {
    const providerOptions = THINKING[dialect];
    const answer = await ask(streaming, { providerOptions });
    session.said(answer.text);
    // Chat counts what was thought, and shows none of it. Anthropic's package does not say the count.
    if (dialect !== "chat") want(answer.reasoningText, "no reasoning is shown");
    if (dialect !== "messages") want(answer.usage.outputTokenDetails.reasoningTokens > 0, "no reasoning was counted");
    await tools(streaming, ["weather"], { providerOptions });
  };
  await session.both({
    text,
    tools: (streaming) => tools(streaming, ["weather"]),
    parallel: (streaming) => tools(streaming, ["weather", "nothing"]),
    schema: structured,
    thinking,
  });
  if (session.abilities.includes("embeddings") && dialect !== "messages") {
    await session.run("embeddings", false, async () => {
      const provider = dialect === "generate"
        ? createGoogleGenerativeAI({ ...options, baseURL: `${base}/v1beta` })
        : createOpenAI({ ...options, baseURL: `${base}/v1` });
      const answer = await embedMany({ model: provider.embeddingModel(session.model), values: ["one", "two"], maxRetries: 0 });
      equal(answer.embeddings.length, 2, "embeddings");
    });
  }
  if (session.abilities.includes("errors")) {
    for (const [fault, usual] of Object.entries(STATUSES)) {
      // Google says of a wrong key that the request is bad.
      const status = fault === "bad-key" && dialect === "generate" ? 400 : usual;
      for (const streaming of [false, true]) {
        const is = (error) => APICallError.isInstance(error) && error.statusCode === status;
        const call = () => ask(streaming, { model: session.fault(fault) });
        await session.run(`error ${fault}`, streaming, () => fails(`APICallError ${status}`, is, call));
      }
    }
    const call = () => ask(true, { model: session.fault("error-in-stream") });
    await session.run("error error-in-stream", true, async () => {
      if (dialect !== "generate") return fails("an error", () => true, call);
      // Google says it on plain lines, which this SDK skips: it knows no more than that there was no end.
      equal((await call()).finishReason, "other", "finishReason");
    });
  }
  if (session.abilities.includes("retries")) {
    await session.run("retries until it works", false, async () => {
      await ask(false, { model: session.fault("once-limited-retry-after-ms"), maxRetries: 1 });
      equal(session.attempts, [429, 200], "statuses");
    });
  }
}
