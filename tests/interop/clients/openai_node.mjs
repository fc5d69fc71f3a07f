// The official `openai` package for Node.js: chat completions, responses and conversations.
import assert from 'node:assert';
import OpenAI from 'openai';
import { BASE_URL, CALL, KEY, MODEL, NAME, PARAMETERS, RECALL, WORDS, show, weather } from './asked.mjs';

const client = new OpenAI({ baseURL: BASE_URL, apiKey: KEY });
const said = (content) => ({ role: 'user', content });

async function chat() {
  const ask = async (messages, more) =>
    (await client.chat.completions.create({ model: MODEL, messages, ...more })).choices[0].message;
  const stream = await client.chat.completions.create({
    model: MODEL, messages: [said(WORDS)], stream: true,
  });
  const streamed = [];
  for await (const chunk of stream) streamed.push(chunk.choices[0].delta.content ?? '');
  const tools = [{ type: 'function', function: { name: 'weather', parameters: PARAMETERS } }];
  const first = await ask([said(CALL)], { tools });
  const [call] = first.tool_calls;
  const content = weather(JSON.parse(call.function.arguments));
  const second = await ask(
    [said(CALL), first, { role: 'tool', tool_call_id: call.id, content }], { tools },
  );
  const named = await ask([said(NAME)]);
  const recalled = await ask([said(NAME), named, said(RECALL)]);
  return { streamed, tool: second.content, conversation: recalled.content };
}

async function responses() {
  const streamed = [];
  const stream = await client.responses.create({ model: MODEL, input: WORDS, stream: true });
  for await (const event of stream) {
    if (event.type === 'response.output_text.delta') streamed.push(event.delta);
  }
  const tools = [{ type: 'function', name: 'weather', parameters: PARAMETERS, strict: true }];
  const first = await client.responses.create({ model: MODEL, input: CALL, tools });
  const call = first.output.find((item) => item.type === 'function_call');
  const output = weather(JSON.parse(call.arguments));
  const second = await client.responses.create({
    model: MODEL,
    input: [{ type: 'function_call_output', call_id: call.call_id, output }],
    previous_response_id: first.id,
    tools,
  });
  const conversation = (await client.conversations.create({})).id;
  await client.responses.create({ model: MODEL, input: NAME, conversation });
  const recalled = await client.responses.create({ model: MODEL, input: RECALL, conversation });
  return { streamed, tool: second.output_text, conversation: recalled.output_text };
}

const refused = (key, model) => {
  const other = client.withOptions({ apiKey: key });
  return other.chat.completions.create({ model, messages: [said(NAME)] });
};

const listed = await client.models.list();
assert(listed.data.some((each) => each.id === MODEL));
await show(refused, { chat, responses });
