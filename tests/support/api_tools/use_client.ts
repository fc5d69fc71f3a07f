// Uses a client that was generated from the API document; prints what came of it.
import { client } from "./client/client.gen";
import { createThread, getJob, sendThreadMessage, submitJob } from "./client/sdk.gen";
import type { Job, Problem } from "./client/types.gen";

declare const process: { argv: string[] };

async function main(url: string): Promise<void> {
  client.setConfig({ baseUrl: url });
  const thread = (await createThread({ throwOnError: true })).data;
  const path = { thread_id: thread.thread_id };
  const send = () =>
    sendThreadMessage({
      path,
      body: { message: "My name is Ada." },
      headers: { "Idempotency-Key": "the-first-of-ts" },
      throwOnError: true,
    });
  const first = (await send()).data;
  if (!("content" in first)) throw new Error("a turn was expected, not a job");
  const again = await send();
  const body = { message: "What is my name?", ...path };
  let job: Job = (await submitJob({ body, throwOnError: true })).data;
  while (job.status === "queued" || job.status === "running") {
    const found = await getJob({ path: { job_id: job.job_id }, query: { wait: 10 }, throwOnError: true });
    job = found.data;
  }
  const unknown = await getJob({ path: { job_id: "job_01HZZZZZZZZZZZZZZZZZZZZZZZ" } });
  const problem: Problem | undefined = unknown.error;
  console.log(
    JSON.stringify({
      first: first.content,
      replayed: again.response.headers.get("idempotency-replayed"),
      job: job.result?.content,
      unknown: [problem?.code, problem?.status],
    }),
  );
}

void main(process.argv[2]);
