// The Anthropic SDK over Messages.

import {
  Empty, IMAGE, IMAGE_TYPE, NOTHING, Person, QUESTION, RESULT, SEEN, SYSTEM, Weather, collect, equal, fails, fits, sdk, want,
} from "./checks.mjs";
import { badRequest, run as errors } from "./vendor_errors.mjs";

const { Anthropic } = sdk("@anthropic-ai/sdk");
const { zodOutputFormat } = sdk("@anthropic-ai/sdk/helpers/zod");
const { z } = sdk("zod");

const ASKED = [{ role: "user", content: QUESTION }];
const PICTURE = [
  { type: "text", text: QUESTION },
  { type: "image", source: { type: "base64", media_type: IMAGE_TYPE, data: IMAGE } },
];
const RESULTS = { weather: RESULT, nothing: NOTHING };
const THINKING = { thinking: { type: "enabled", budget_tokens: 1024 } };

/** All tokens of the prompt; the dialect leaves those of the cache out of the first. */
const read = ({ input_tokens, cache_read_input_tokens, cache_creation_input_tokens }) =>
  input_tokens + (cache_read_input_tokens ?? 0) + (cache_creation_input_tokens ?? 0);

export async function run(session, values) {
  const client = new Anthropic({
    baseURL: values["base-url"],
    apiKey: values["api-key"],
    timeout: values.timeout * 1000,
    maxRetries: 0,
    fetch: session.fetch,
  });
  const ask = async (streaming, more) => {
    const body = { model: session.model, max_tokens: 2048, messages: ASKED, ...session.greedy, ...more };
    return streaming ? client.messages.stream(body).finalMessage() : client.messages.parse(body);
  };
  const spoken = (answer) => answer.content.filter((block) => block.type === "text").map((block) => block.text).join("");
  const text = async (streaming) => {
    const answer = await ask(streaming, { system: SYSTEM });
    session.said(spoken(answer));
    equal(answer.stop_reason, "end_turn", "stop_reason");
    session.counted(read(answer.usage), answer.usage.output_tokens);
  };
  const image = async (streaming) => {
    equal(spoken(await ask(streaming, { messages: [{ role: "user", content: PICTURE }] })), SEEN, "what the model saw");
  };
  const cached = async (streaming) => {
    const plain = (await ask(streaming)).usage;
    const { usage } = await ask(streaming, { model: session.fault("cached") });
    session.cached(read(plain), read(usage), usage.cache_read_input_tokens);
  };
  const schemas = { weather: Weather, nothing: Empty };
  const offer = (names) => names.map((name) => (
    { name, description: name, input_schema: z.toJSONSchema(schemas[name]) }
  ));
  const results = (first) => first.content.filter((block) => block.type === "tool_use").toReversed().map((call) => (
    { type: "tool_result", tool_use_id: call.id, content: RESULTS[call.name] }
  ));
  const tools = async (streaming, names, more) => {
    const forced = names.length === 1 && !more && { tool_choice: { type: "any" } };
    const first = await ask(streaming, { tools: offer(names), ...forced, ...more });
    equal(first.stop_reason, "tool_use", "stop_reason");
    const calls = first.content.filter((block) => block.type === "tool_use");
    equal(calls.map((call) => call.name), names, "calls");
    for (const call of calls) fits(schemas[call.name], call.input, "input");
    const messages = [...ASKED, { role: "assistant", content: first.content }, { role: "user", content: results(first) }];
    const second = await ask(streaming, { tools: offer(names), messages, ...more });
    session.told(spoken(second), ...names.map((name) => RESULTS[name]));
  };
  const structured = async (streaming) => {
    const answer = await ask(streaming, { output_config: { format: zodOutputFormat(Person) } });
    fits(Person, JSON.parse(spoken(answer)), "JSON");
  };
  const thinking = async (streaming) => {
    const answer = await ask(streaming, THINKING);
    equal(answer.content.map((block) => block.type), ["thinking", "text"], "blocks");
    want(answer.content[0].thinking, "nothing is shown");
    want(answer.content[0].signature || !session.signed, "not signed");
    session.said(spoken(answer));
    await tools(streaming, ["weather"], THINKING);
  };
  const bad = badRequest(Anthropic);
  await session.both({
    text,
    image,
    cached,
    tools: (streaming) => tools(streaming, ["weather"]),
    parallel: (streaming) => tools(streaming, ["weather", "nothing"]),
    schema: structured,
    thinking,
  }, bad);
  await session.once({
    signature: async () => {
      const first = await ask(false, { tools: offer(["weather"]), ...THINKING });
      const [thought, ...rest] = first.content;
      const content = [{ ...thought, thinking: "Something else." }, ...rest];
      const messages = [...ASKED, { role: "assistant", content }, { role: "user", content: results(first) }];
      const call = () => ask(false, { tools: offer(["weather"]), messages, ...THINKING });
      await fails("BadRequestError", (error) => error instanceof Anthropic.BadRequestError, call);
    },
    count: async () => {
      const { input_tokens } = await client.messages.countTokens({ model: session.model, messages: ASKED });
      want(input_tokens > 0, "nothing was counted");
    },
    models: async () => {
      const names = (await collect(client.models.list())).map((model) => model.id);
      want(names.includes(session.model), `${session.model} is not listed: ${names}`);
      equal((await client.models.retrieve(session.model)).id, session.model, "the one model");
    },
  }, bad);
  await errors(session, Anthropic, async (model, stream, maxRetries, apiKey) => {
    const asked = apiKey ? client.withOptions({ apiKey }) : client;
    const answer = await asked.messages.create({ model, max_tokens: 100, messages: ASKED, stream }, { maxRetries });
    return stream ? collect(answer) : answer;
  });
}
