// The OpenAI SDK over Responses.

import { NOTHING, Person, QUESTION, RESULT, Empty, Weather, collect, equal, fits, sdk, want } from "./checks.mjs";
import { run as errors } from "./vendor_errors.mjs";

const { OpenAI } = sdk("openai");
const { zodResponsesFunction, zodTextFormat } = sdk("openai/helpers/zod");

const ASKED = [{ role: "user", content: QUESTION }];
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
    const body = { model: session.model, input: ASKED, store: false, ...more };
    return streaming ? client.responses.stream(body).finalResponse() : client.responses.parse(body);
  };
  const text = async (streaming) => {
    const answer = await ask(streaming);
    session.said(answer.output_text);
    equal(answer.status, "completed", "status");
    equal(answer.usage.total_tokens, answer.usage.input_tokens + answer.usage.output_tokens, "total_tokens");
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
    want(reasoning.encrypted_content, "no encrypted content");
    await tools(streaming, ["weather"], REASONED);
  };
  await session.both({
    text,
    tools: (streaming) => tools(streaming, ["weather"]),
    parallel: (streaming) => tools(streaming, ["weather", "nothing"]),
    schema: structured,
    thinking,
  });
  await errors(session, OpenAI, async (model, stream, maxRetries) => {
    const answer = await client.responses.create({ model, input: ASKED, stream }, { maxRetries });
    if (!stream) return answer;
    const events = await collect(answer);
    const last = events.at(-1);
    // To this SDK neither a failed answer nor an error is an exception, where it comes as an event.
    const error = last.type === "error" ? last : last.response?.error;
    if (error) throw new OpenAI.APIError(undefined, undefined, error.message);
    return events;
  });
}
