// One job: what it was asked, what happened to it, and what can be done with it.

import { get, send } from "../api.js";
import {
  Confirm,
  CopyButton,
  Heading,
  html,
  navigate,
  ProblemBox,
  Time,
  useLoad,
  useRef,
  useState,
} from "../ui.js";
import { usePolling } from "../polling.js";
import { hasEnded, StatusBadge } from "./job-status.js";
import { Timeline } from "./job-timeline.js";

export function JobDetail({ id }) {
  const path = `/jobs/${encodeURIComponent(id)}`;
  const load = (signal) => get(path, { request: true }, signal);
  const { data: job, error, reload } = useLoad(load, [id]);
  const isSettled = job && hasEnded(job) && job.delivery !== "pending";
  usePolling(reload, JSON.stringify([error?.code, job]), !isSettled && error?.status !== 404);
  if (!job) {
    return html`<${Heading} title="Job" /><${ProblemBox} error=${error} />
      ${!error && html`<p class="loading" role="status">Loading …</p>`}`;
  }
  return html`<${Heading} title="Job">
      <span role="status"><${StatusBadge} status=${job.status} /></span>
      <${Actions} job=${job} path=${path} reload=${reload} />
    <//>
    <${ProblemBox} error=${error} />
    ${job.problem && html`<${ProblemBox} error=${shown(job.problem)} />`}
    <${Facts} job=${job} />
    <${Messages} job=${job} />
    <h2>What happened</h2>
    <${Timeline} job=${job} />
    <p class="actions">
      ${
        job.thread_id &&
        html`<a href="#/jobs?thread_id=${job.thread_id}">Jobs of this thread, in their lane</a>`
      }
      <a href="#/audit?job_id=${job.job_id}">Audit records of this job</a>
    </p>`;
}

/** A problem document in the form of an error of the API. */
function shown(problem) {
  return { ...problem, requestId: problem.request_id ?? "" };
}

function Actions({ job, path, reload }) {
  const [error, setError] = useState(null);
  const [asks, setAsks] = useState(false);
  const key = useRef(crypto.randomUUID());
  const attempt = async (act) => {
    setError(null);
    try {
      await act();
    } catch (caught) {
      setError(caught);
    }
  };
  const cancel = async (confirmed) => {
    setAsks(false);
    if (!confirmed) return;
    await attempt(() => send("POST", `${path}/cancel`));
    reload();
  };
  const repeat = () =>
    attempt(async () => {
      const { body } = await send("POST", "/jobs", job.request, { idempotencyKey: key.current });
      key.current = crypto.randomUUID();
      navigate(`#/jobs/${body.job_id}`);
    });
  return html`${!hasEnded(job) &&
    html`<button
      type="button"
      class="danger"
      disabled=${job.cancel_requested}
      onClick=${() => setAsks(true)}
    >
      ${job.cancel_requested ? "Will be cancelled" : "Cancel job"}
    </button>`}
    ${hasEnded(job) &&
    job.request &&
    html`<button type="button" class="primary" onClick=${repeat}>Run again</button>`}
    ${asks &&
    html`<${Confirm}
      question="Cancel this job? A message that is being answered is still answered."
      action="Cancel job"
      onAnswer=${cancel}
    />`}
    <${ProblemBox} error=${error} />`;
}

function Facts({ job }) {
  const time = (at) => at && html`<${Time} at=${at} />`;
  const facts = [
    ["Job", html`<code>${job.job_id}</code> <${CopyButton} text=${job.job_id} />`],
    ["Thread", job.thread_id && html`<a href="#/chat/${job.thread_id}">${job.thread_id}</a>`],
    ["Answered", `${job.progress.done} of ${job.progress.total} messages`],
    ["Failed attempts", String(job.attempts)],
    ["Submitted", time(job.created_at)],
    ["Not before", time(job.not_before)],
    ["Expires", hasEnded(job) ? null : time(job.expires_at)],
    ["Started", time(job.started_at)],
    ["Ended", time(job.finished_at)],
    ["Callback or reply", job.delivery],
    ["Callback", job.request?.callback_url],
    ["Reply queue", job.request?.reply_queue],
    ...Object.entries(job.metadata).map(([name, value]) => [`metadata.${name}`, value]),
  ];
  return html`<dl class="job-facts">
    ${facts
      .filter(([, value]) => value)
      .map(
        ([name, value]) =>
          html`<div>
            <dt>${name}</dt>
            <dd>${value}</dd>
          </div>`,
      )}
  </dl>`;
}

function Messages({ job }) {
  const asked = job.request?.messages ?? [];
  const numbers = [...Array(job.progress.total).keys()];
  return html`<h2>Messages</h2>
    ${!job.request && html`<p class="quiet">The texts of this job's messages are not available.</p>`}
    <ol class="messages">
      ${numbers.map(
        (number) =>
          html`<li>
            ${asked[number] !== undefined && html`<p class="plain asked">${asked[number]}</p>`}
            <${Answer} job=${job} result=${job.results[number]} number=${number} />
          </li>`,
      )}
    </ol>`;
}

function Answer({ job, result, number }) {
  if (!result) {
    const isNext = number === job.progress.done;
    if (hasEnded(job)) return html`<p class="quiet">Not answered.</p>`;
    return html`<p class="quiet">${isNext && job.status === "running" ? "Running …" : "Waiting."}</p>`;
  }
  const usage = result.usage?.total_tokens;
  return html`<p class="plain">${result.content ?? "The text of the answer is not recorded."}</p>
    ${result.truncated && html`<p class="quiet">The rest is in the thread's messages.</p>`}
    <p class="quiet">
      <code>${result.turn_id}</code>, ${result.model}${usage !== undefined && `, ${usage} tokens`}${result.tools_used.length > 0 &&
      `, tools: ${result.tools_used.join(", ")}`}
    </p>`;
}
