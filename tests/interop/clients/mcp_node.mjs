// The official `@modelcontextprotocol/client` package: every tool in both kinds of revisions, as a
// stream and as JSON.
import assert from 'node:assert';
import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';
import { BASE_URL, KEY, NAME, POOR_KEY, RECALL, WORDS } from './asked.mjs';

const URL_OF_APP = new URL(BASE_URL.replace('/v1', '/mcp'));
const MODES = { '2026-07-28': { pin: '2026-07-28' }, '2025-11-25': 'legacy' };
const LATER = '2100-01-01T00:00:00Z';

// A connected client, and what went over its connection.
async function connected(revision, key, streams = true) {
  const seen = { progress: [], mediaTypes: new Set() };
  const passOn = async (url, init) => {
    const headers = new Headers(init.headers);
    if (!streams) headers.set('accept', 'application/json');
    const answer = await fetch(url, { ...init, headers });
    const type = answer.headers.get('content-type');
    if (type && answer.status === 200) seen.mediaTypes.add(type.split(';')[0]);
    return answer;
  };
  const transport = new StreamableHTTPClientTransport(URL_OF_APP, {
    fetch: passOn, requestInit: { headers: { Authorization: `Bearer ${key}` } },
  });
  const mode = MODES[revision];
  const client = new Client({ name: 'test', version: '1' }, { versionNegotiation: { mode } });
  await client.connect(transport);
  const send = (name, args) => client.callTool(
    { name, arguments: args }, { onprogress: (each) => seen.progress.push(each) },
  );
  // The structured content, which the client has checked by the schema of the tool.
  const call = async (name, args = {}) => {
    const result = await send(name, args);
    assert(!result.isError, JSON.stringify(result));
    assert.deepStrictEqual(JSON.parse(result.content[0].text), result.structuredContent);
    return result.structuredContent;
  };
  return { client, send, call, seen };
}

async function used(revision, streams) {
  const { client, send, call, seen } = await connected(revision, KEY, streams);
  const { tools } = await client.listTools();
  const { thread_id } = await call('start_thread', { metadata: { a: 'b' } });
  await call('ask_agent', { message: NAME, thread_id });
  const recalled = await call('ask_agent', { message: RECALL, thread_id });
  const keyed = { message: WORDS, idempotency_key: `${thread_id} ${streams}` };
  const turns = [await call('ask_agent', keyed), await call('ask_agent', keyed)];
  const history = await call('get_messages', { thread_id });
  const threads = await call('list_threads', { metadata: { a: 'b' } });
  const { job_id } = await call('submit_job', { message: WORDS });
  let ended = await call('get_job', { job_id });
  while (!ended.finished_at) ended = await call('get_job', { job_id, wait: 10 });
  const later = await call('submit_job', { message: WORDS, not_before: LATER });
  const cancelled = await call('cancel_job', { job_id: later.job_id });
  const jobs = await call('list_jobs', { status: 'succeeded' });
  const usage = await call('usage', { by: ['model'] });
  const refused = await send('get_job', { job_id: `job_${'0'.repeat(26)}` });
  const report = {
    revision: client.getNegotiatedProtocolVersion(),
    tools: tools.map((tool) => tool.name),
    content: recalled.content,
    turns_of_a_key: new Set(turns.map((turn) => turn.turn_id)).size,
    messages: history.data.length,
    thread_is_listed: threads.data.some((each) => each.thread_id === thread_id),
    job: ended.status,
    job_is_listed: jobs.data.some((each) => each.job_id === job_id),
    cancelled: cancelled.status,
    has_used: usage.total.requests > 0,
    refusal: refused.isError ? JSON.parse(refused.content[0].text).code : null,
    progress: seen.progress.length > 0,
    media_types: [...seen.mediaTypes].sort(),
  };
  await client.close();
  return report;
}

async function refusals(revision) {
  const poor = await connected(revision, POOR_KEY);
  const refused = await poor.send('ask_agent', { message: NAME });
  await poor.client.close();
  const wrong = await connected(revision, 'aos_0000000000000000_wrong').then(
    () => 'no error', (error) => String(error),
  );
  return { full_budget: refused.content[0].text, wrong_key: wrong };
}

const report = {};
for (const revision of process.argv.slice(2)) {
  report[revision] = {
    stream: await used(revision, true),
    json: await used(revision, false),
    refusals: await refusals(revision),
  };
}
console.log(JSON.stringify(report));
