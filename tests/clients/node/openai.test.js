// openai-node against the server that scripts/test_clients has started. PENDING names what the server cannot do yet.
import assert from "node:assert/strict";
import { test } from "node:test";
import OpenAI from "openai";

const { SERVER_URL, PENDING = "" } = process.env;
const pending = new Set(PENDING.split(","));
const model = "jaxpaged-demo";
const messages = [{ role: "user", content: "Add 12 and 30." }];
const answer = "12 + 30 = 42";
const asked = { model, messages, temperature: 0, max_tokens: 60 };
const tool = {
  type: "function",
  function: { name: "add", parameters: { type: "object", properties: { a: { type: "integer" } } } },
};
const client = new OpenAI({ baseURL: `${SERVER_URL}/v1`, apiKey: "key", maxRetries: 0 });

/** A test that must fail as long as one of `needs` is pending. */
function capable(name, needs, body) {
  const waits = needs.some((need) => pending.has(need));
  test(name + (waits ? " (pending)" : ""), async () => {
    if (waits) await assert.rejects(body, undefined, `${name} passes: delete its line in capabilities.py`);
    else await body();
  });
}

test("a chat", async () => {
  const chat = await client.chat.completions.create({ ...asked, logprobs: true, top_logprobs: 2, user: "u" });
  assert.equal(chat.choices[0].message.content, answer);
  assert.equal(chat.choices[0].finish_reason, "stop");
  assert.equal(chat.choices[0].logprobs.content.length, chat.usage.completion_tokens);
});

test("a stream", async () => {
  const stream = await client.chat.completions.create({ ...asked, stream: true, stream_options: { include_usage: true } });
  let text = "", usage = null;
  for await (const chunk of stream) {
    text += chunk.choices[0]?.delta?.content ?? "";
    usage = chunk.usage ?? usage;
  }
  assert.equal(text, answer);
  assert.ok(usage.completion_tokens > 0);
});

test("the accumulating helper", async () => {
  const runner = client.chat.completions.stream(asked);
  let text = "";
  runner.on("content", (delta) => (text += delta));
  assert.equal(await runner.finalContent(), answer);
  assert.equal(text, answer);
});

test("leaving a stream", async () => {
  const stream = await client.completions.create({ model, prompt: "one two", max_tokens: 400, stream: true });
  for await (const _ of stream) break;
  assert.ok(stream.controller.signal.aborted);
});

test("completions", async () => {
  const completion = await client.completions.create({ model, prompt: ["a", "b"], max_tokens: 4, temperature: 0, echo: true });
  assert.deepEqual(completion.choices.map((choice) => choice.index), [0, 1]);
  assert.ok(completion.choices[1].text.startsWith("b"));
});

test("models", async () => {
  const names = [];
  for await (const card of client.models.list()) names.push(card.id);
  assert.deepEqual(names, [model]);
  assert.equal((await client.models.retrieve(model)).owned_by, "jaxpaged");
});

test("errors", async () => {
  const failing = { ...asked, temperature: 3 };
  await assert.rejects(client.chat.completions.create(failing), (error) => {
    assert.ok(error instanceof OpenAI.BadRequestError);
    return error.param === "temperature" && error.type === "invalid_request_error";
  });
  await assert.rejects(client.models.retrieve("other"), OpenAI.NotFoundError);
  const wrong = new OpenAI({ baseURL: `${SERVER_URL}/v1`, apiKey: "wrong", maxRetries: 0 });
  await assert.rejects(wrong.chat.completions.create(asked), OpenAI.AuthenticationError);
});

capable("a schema", ["structured"], async () => {
  const schema = { type: "object", properties: { sum: { type: "integer" } }, required: ["sum"], additionalProperties: false };
  const response_format = { type: "json_schema", json_schema: { name: "sum", schema, strict: true } };
  const chat = await client.chat.completions.create({ ...asked, response_format });
  assert.equal(typeof JSON.parse(chat.choices[0].message.content).sum, "number");
});

capable("a tool, streamed", ["tools", "structured"], async () => {
  const tool_choice = { type: "function", function: { name: "add" } };
  const chat = await client.chat.completions.stream({ ...asked, tools: [tool], tool_choice }).finalChatCompletion();
  assert.equal(chat.choices[0].message.tool_calls[0].function.name, "add");
});

capable("responses", ["responses"], async () => {
  const response = await client.responses.create({ model, input: "Add 12 and 30.", temperature: 0 });
  assert.equal(response.output_text, answer);
});

capable("embeddings name what they need", ["pooling"], async () => {
  await assert.rejects(client.embeddings.create({ model, input: "a" }), (error) => {
    assert.equal(error.status, 400);
    return /pooling|embedding/.test(error.message);
  });
});
