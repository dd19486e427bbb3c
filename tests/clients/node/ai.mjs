// Vercel's AI SDK over every dialect. It reads each frame with a strict schema of its own.

import {
  Empty, IMAGE, IMAGE_TYPE, NOTHING, Person, QUESTION, RESULT, SEEN, SYSTEM, Weather, equal, fails, fits, formsOf, sdk,
  waits, want,
} from "./checks.mjs";

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
const PICTURE = [{ role: "user", content: [
  { type: "text", text: QUESTION },
  { type: "image", image: `data:${IMAGE_TYPE};base64,${IMAGE}` },
] }];
const STATUSES = {
  "status-400": 400, "bad-key": 401, "status-403": 403, "status-404": 404, "limited-retry-after": 429, "status-500": 500, "status-503": 503,
};

export async function run(session, values) {
  const base = values["base-url"];
  const { dialect } = values;
  const connect = (apiKey) => {
    const options = { apiKey, fetch: session.fetch, baseURL: `${base}/v1` };
    return {
      chat: () => createOpenAI(options),
      responses: () => createOpenAI(options),
      messages: () => createAnthropic(options),
      generate: () => createGoogleGenerativeAI({ ...options, baseURL: `${base}/v1beta` }),
    }[dialect]();
  };
  const models = (provider) => ({ chat: provider.chat, responses: provider.responses }[dialect] ?? provider);
  const provider = connect(values["api-key"]);
  const named = models(provider);
  // Nothing is stored behind a gateway, and where nobody says so this SDK refers to items by their ids.
  const stateless = dialect === "responses" && session.refused.stored ? { store: false } : null;

  // Everything that came of a request, whole or put together.
  const ask = async (streaming, { model = session.model, named: by = named, ...more } = {}) => {
    const request = { model: by(model), prompt: QUESTION, maxRetries: 0, maxOutputTokens: 2048, ...session.greedy, ...more };
    if (stateless) request.providerOptions = { openai: { ...stateless, ...more.providerOptions?.openai } };
    if (!streaming) return generateText(request);
    const answer = streamText({ ...request, onError: () => {} });
    for await (const part of answer.fullStream) if (part.type === "error") throw part.error;
    const said = {};
    for (const name of ["text", "reasoningText", "finishReason", "usage", "steps"]) said[name] = await answer[name];
    if (more.output) said.output = await answer.output;
    return said;
  };
  const text = async (streaming) => {
    const answer = await ask(streaming, { system: SYSTEM });
    session.said(answer.text);
    equal(answer.finishReason, "stop", "finishReason");
    session.counted(answer.usage.inputTokens, answer.usage.outputTokens);
  };
  const completions = async (streaming) => {
    const answer = await ask(streaming, { named: provider.completion, maxOutputTokens: session.few });
    session.completed(answer.text, answer.finishReason);
    equal(answer.usage.outputTokens, session.few, "tokens written");
  };
  const image = async (streaming) => {
    const answer = await ask(streaming, { messages: PICTURE, prompt: undefined });
    equal(answer.text, SEEN, "what the model saw");
  };
  // It counts in one convention, whatever the provider's.
  const cached = async (streaming) => {
    const plain = (await ask(streaming)).usage;
    const { usage } = await ask(streaming, { model: session.fault("cached") });
    session.cached(plain.inputTokens, usage.inputTokens, usage.inputTokenDetails.cacheReadTokens);
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
  const failing = (status, call) => fails(`APICallError ${status}`,
    (error) => APICallError.isInstance(error) && error.statusCode === status, call);
  const bad = async (call) => (await failing(400, call)).message;
  await session.both({
    text,
    ...(dialect === "chat" && { completions }),
    image,
    cached,
    tools: (streaming) => tools(streaming, ["weather"]),
    parallel: (streaming) => tools(streaming, ["weather", "nothing"]),
    schema: structured,
    thinking,
  }, bad);
  if (dialect !== "messages") {
    await session.once({ embeddings: async () => {
      const answer = await embedMany({ model: provider.embeddingModel(session.model), values: ["one", "two"], maxRetries: 0 });
      equal(answer.embeddings.length, 2, "embeddings");
    } }, bad);
  }
  if (session.abilities.includes("keys")) {
    await session.run("keys", false, async () => {
      const other = models(connect("wb-another"));
      for (const streaming of [false, true]) await failing(401, () => ask(streaming, { named: other }));
      // Whether there is such a model or not: the key is of another namespace.
      await failing(403, () => ask(false, { model: dialect === "generate" ? "models/elsewhere/model" : "elsewhere/model" }));
    });
  }
  if (session.abilities.includes("errors")) {
    // Google says of a wrong key that the request is bad.
    const statuses = dialect === "generate" ? { ...STATUSES, "bad-key": 400 } : STATUSES;
    for (const [fault, status] of Object.entries(session.statuses ?? statuses)) {
      for (const streaming of formsOf(fault)) {
        await session.run(`error ${fault}`, streaming, async () => {
          const error = await failing(status, () => ask(streaming, { model: session.fault(fault) }));
          if (fault.startsWith("limited-")) waits(Number(error.responseHeaders["retry-after"]));
        });
      }
    }
    for (const fault of Object.keys(session.broken ?? { "error-in-stream": null })) {
      const call = () => ask(true, { model: session.fault(fault) });
      await session.run(`error ${fault}`, true, async () => {
        if (dialect !== "generate") return fails("an error", () => true, call);
        // Google says it on plain lines, which this SDK skips: it knows no more than that there was no end.
        equal((await call()).finishReason, "other", "finishReason");
      });
    }
  }
  if (session.abilities.includes("retries")) {
    await session.run("retries until it works", false, async () => {
      await ask(false, { model: session.fault("once-limited-retry-after-ms"), maxRetries: 1 });
      equal(session.attempts, [429, 200], "statuses");
    });
  }
}
