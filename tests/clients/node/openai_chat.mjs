// The OpenAI SDK over chat completions.

import {
  Empty, IMAGE, IMAGE_TYPE, NOTHING, Person, QUESTION, RESULT, SEEN, SYSTEM, Weather, collect, equal, fits, sdk, want,
} from "./checks.mjs";
import { badRequest, run as errors } from "./vendor_errors.mjs";

const { OpenAI } = sdk("openai");
const { zodFunction, zodResponseFormat } = sdk("openai/helpers/zod");

const ASKED = [{ role: "user", content: QUESTION }];
const PICTURE = [
  { type: "text", text: QUESTION },
  { type: "image_url", image_url: { url: `data:${IMAGE_TYPE};base64,${IMAGE}` } },
];
const RESULTS = { weather: RESULT, nothing: NOTHING };

export async function run(session, values) {
  const client = new OpenAI({
    baseURL: `${values["base-url"]}/v1`,
    apiKey: values["api-key"],
    timeout: values.timeout * 1000,
    maxRetries: 0,
    fetch: session.fetch,
  });
  const ask = async (streaming, more) => {
    const body = { model: session.model, messages: ASKED, ...session.greedy, ...more };
    if (!streaming) return client.chat.completions.parse(body);
    const stream = client.chat.completions.stream({ ...body, stream_options: { include_usage: true } });
    return stream.finalChatCompletion();
  };
  const text = async (streaming) => {
    const answer = await ask(streaming, { messages: [{ role: "system", content: SYSTEM }, ...ASKED] });
    session.said(answer.choices[0].message.content);
    equal(answer.choices[0].finish_reason, "stop", "finish_reason");
    session.counted(answer.usage.prompt_tokens, answer.usage.completion_tokens);
    equal(answer.usage.total_tokens, answer.usage.prompt_tokens + answer.usage.completion_tokens, "total_tokens");
  };
  const completions = async (streaming) => {
    const body = { model: session.model, prompt: QUESTION, max_tokens: session.few, ...session.greedy };
    const streamed = () => client.completions.create({ ...body, stream: true, stream_options: { include_usage: true } });
    const answers = streaming ? await collect(await streamed()) : [await client.completions.create(body)];
    const choices = answers.flatMap((answer) => answer.choices);
    session.completed(choices.map((choice) => choice.text).join(""), choices.at(-1).finish_reason);
    const { usage } = answers.at(-1);
    equal(usage.total_tokens, usage.prompt_tokens + usage.completion_tokens, "total_tokens");
    want(usage.completion_tokens === session.few, `tokens written ${usage.completion_tokens}`);
  };
  const image = async (streaming) => {
    const answer = await ask(streaming, { messages: [{ role: "user", content: PICTURE }] });
    equal(answer.choices[0].message.content, SEEN, "what the model saw");
  };
  const cached = async (streaming) => {
    const plain = (await ask(streaming)).usage;
    const { usage } = await ask(streaming, { model: session.fault("cached") });
    session.cached(plain.prompt_tokens, usage.prompt_tokens, usage.prompt_tokens_details.cached_tokens);
  };
  const tools = async (streaming, names, more) => {
    const schemas = { weather: Weather, nothing: Empty };
    const tools = names.map((name) => zodFunction({ name, parameters: schemas[name] }));
    const forced = names.length === 1 && !more && { tool_choice: "required" };
    const first = await ask(streaming, { tools, ...forced, ...more });
    const { message, finish_reason } = first.choices[0];
    equal(finish_reason, "tool_calls", "finish_reason");
    equal(message.tool_calls.map((call) => call.function.name), names, "calls");
    for (const call of message.tool_calls) fits(schemas[call.function.name], JSON.parse(call.function.arguments), "arguments");
    const said = message.tool_calls.toReversed().map((call) => (
      { role: "tool", tool_call_id: call.id, content: RESULTS[call.function.name] }
    ));
    const spoken = { role: "assistant", content: message.content, tool_calls: message.tool_calls.map(
      ({ id, type, function: { name, arguments: given } }) => ({ id, type, function: { name, arguments: given } })) };
    const second = await ask(streaming, { tools, messages: [...ASKED, spoken, ...said], ...more });
    session.told(second.choices[0].message.content, ...names.map((name) => RESULTS[name]));
  };
  const structured = async (streaming) => {
    const answer = await ask(streaming, { response_format: zodResponseFormat(Person, "person") });
    fits(Person, answer.choices[0].message.parsed, "parsed");
  };
  const thinking = async (streaming) => {
    const answer = await ask(streaming, { reasoning_effort: "low" });
    session.said(answer.choices[0].message.content);
    want(answer.usage.completion_tokens_details.reasoning_tokens > 0, "no reasoning was counted");
    await tools(streaming, ["weather"], { reasoning_effort: "low" });
  };
  const bad = badRequest(OpenAI);
  await session.both({
    text,
    completions,
    image,
    cached,
    tools: (streaming) => tools(streaming, ["weather"]),
    parallel: (streaming) => tools(streaming, ["weather", "nothing"]),
    schema: structured,
    thinking,
  }, bad);
  await session.once({
    embeddings: async () => {
      const answer = await client.embeddings.create({ model: session.model, input: ["one", "two"] });
      equal(answer.data.map((item) => item.index), [0, 1], "indexes");
      want(answer.data[0].embedding.every(Number.isFinite), "no numbers");
    },
    models: async () => {
      const names = (await collect(client.models.list())).map((model) => model.id);
      want(names.includes(session.model), `${session.model} is not listed: ${names}`);
      equal((await client.models.retrieve(session.model)).id, session.model, "the one model");
    },
  }, bad);
  await errors(session, OpenAI, async (model, stream, maxRetries, apiKey) => {
    const asked = apiKey ? client.withOptions({ apiKey }) : client;
    const answer = await asked.chat.completions.create({ model, messages: ASKED, stream }, { maxRetries });
    return stream ? collect(answer) : answer;
  });
}
