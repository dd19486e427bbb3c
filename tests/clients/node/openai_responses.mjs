// The OpenAI SDK over Responses.

import {
  Empty, IMAGE, IMAGE_TYPE, NOTHING, Person, QUESTION, RESULT, SEEN, SYSTEM, Weather, collect, equal, fits, sdk, want,
} from "./checks.mjs";
import { badRequest, run as errors } from "./vendor_errors.mjs";

const { OpenAI } = sdk("openai");
const { zodResponsesFunction, zodTextFormat } = sdk("openai/helpers/zod");

const ASKED = [{ role: "user", content: QUESTION }];
const PICTURE = [
  { type: "input_text", text: QUESTION },
  { type: "input_image", detail: "auto", image_url: `data:${IMAGE_TYPE};base64,${IMAGE}` },
];
const RESULTS = { weather: RESULT, nothing: NOTHING };
const REASONED = { reasoning: { effort: "low", summary: "auto" }, include: ["reasoning.encrypted_content"] };

export async function run(session, values) {
  const client = new OpenAI({
    baseURL: `${values["base-url"]}/v1`,
    apiKey: values["api-key"],
    timeout: values.timeout * 1000,
    maxRetries: 0,
    fetch: session.fetch,
  });
  const ask = async (streaming, more) => {
    const body = { model: session.model, input: ASKED, store: false, ...session.greedy, ...more };
    return streaming ? client.responses.stream(body).finalResponse() : client.responses.parse(body);
  };
  const text = async (streaming) => {
    const answer = await ask(streaming, { instructions: SYSTEM });
    session.said(answer.output_text);
    equal(answer.status, "completed", "status");
    session.counted(answer.usage.input_tokens, answer.usage.output_tokens);
    equal(answer.usage.total_tokens, answer.usage.input_tokens + answer.usage.output_tokens, "total_tokens");
  };
  const image = async (streaming) => {
    const answer = await ask(streaming, { input: [{ role: "user", content: PICTURE }] });
    equal(answer.output_text, SEEN, "what the model saw");
  };
  const cached = async (streaming) => {
    const plain = (await ask(streaming)).usage;
    const { usage } = await ask(streaming, { model: session.fault("cached") });
    session.cached(plain.input_tokens, usage.input_tokens, usage.input_tokens_details.cached_tokens);
  };
  const tools = async (streaming, names, more) => {
    const schemas = { weather: Weather, nothing: Empty };
    const tools = names.map((name) => zodResponsesFunction({ name, parameters: schemas[name] }));
    const forced = names.length === 1 && !more && { tool_choice: "required" };
    const first = await ask(streaming, { tools, ...forced, ...more });
    const calls = first.output.filter((item) => item.type === "function_call");
    equal(calls.map((call) => call.name), names, "calls");
    for (const call of calls) fits(schemas[call.name], JSON.parse(call.arguments), "arguments");
    const items = first.output.map(({ parsed_arguments: _, ...item }) => item);
    const said = calls.toReversed().map((call) => (
      { type: "function_call_output", call_id: call.call_id, output: RESULTS[call.name] }
    ));
    const second = await ask(streaming, { tools, input: [...ASKED, ...items, ...said], ...more });
    session.told(second.output_text, ...names.map((name) => RESULTS[name]));
  };
  const structured = async (streaming) => {
    const answer = await ask(streaming, { text: { format: zodTextFormat(Person, "person") } });
    fits(Person, answer.output_parsed, "parsed");
  };
  const thinking = async (streaming) => {
    const answer = await ask(streaming, REASONED);
    session.said(answer.output_text);
    const reasoning = answer.output.find((item) => item.type === "reasoning");
    want(reasoning?.summary?.[0]?.text, "no summary");
    want(reasoning.encrypted_content || !session.signed, "no encrypted content");
    await tools(streaming, ["weather"], REASONED);
  };
  const bad = badRequest(OpenAI);
  await session.both({
    text,
    image,
    cached,
    tools: (streaming) => tools(streaming, ["weather"]),
    parallel: (streaming) => tools(streaming, ["weather", "nothing"]),
    schema: structured,
    thinking,
  }, bad);
  await errors(session, OpenAI, async (model, stream, maxRetries, apiKey) => {
    const asked = apiKey ? client.withOptions({ apiKey }) : client;
    const answer = await asked.responses.create({ model, input: ASKED, stream }, { maxRetries });
    if (!stream) return answer;
    const events = await collect(answer);
    const last = events.at(-1);
    // To this SDK neither a failed answer nor an error is an exception, where it comes as an event.
    const error = last.type === "error" ? last : last.response?.error;
    if (error) throw new OpenAI.APIError(undefined, undefined, error.message);
    return events;
  });
}
