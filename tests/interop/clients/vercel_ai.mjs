// The Vercel AI SDK: its OpenAI provider on responses and on chat completions.
import { createOpenAI } from '@ai-sdk/openai';
import { createOpenAICompatible } from '@ai-sdk/openai-compatible';
import { generateText, stepCountIs, streamText, tool } from 'ai';
import { z } from 'zod';
import { BASE_URL, CALL, KEY, MODEL, NAME, RECALL, WORDS, show, weather } from './asked.mjs';

const provider = (apiKey) => createOpenAI({ baseURL: BASE_URL, apiKey });
const tools = {
  weather: tool({
    description: 'The weather in a city.',
    inputSchema: z.object({ city: z.string() }),
    execute: weather,
  }),
};

async function used(model) {
  const streamed = [];
  for await (const piece of streamText({ model, prompt: WORDS }).textStream) streamed.push(piece);
  const called = await generateText({ model, tools, prompt: CALL, stopWhen: stepCountIs(3) });
  const messages = [{ role: 'user', content: NAME }];
  messages.push(...(await generateText({ model, messages })).response.messages);
  messages.push({ role: 'user', content: RECALL });
  const recalled = await generateText({ model, messages });
  return { streamed, tool: called.text, conversation: recalled.text };
}

const refused = (key, model) =>
  generateText({ model: provider(key).chat(model), prompt: NAME, maxRetries: 0 });

const compatible = createOpenAICompatible({ name: 'app', baseURL: BASE_URL, apiKey: KEY });
await show(refused, {
  chat: () => used(provider(KEY).chat(MODEL)),
  compatible: () => used(compatible(MODEL)),
  responses: () => used(provider(KEY)(MODEL)),
});
