// Status: whether each dependency works and what to do if not, queues, models and their circuits.

import { get } from "../api.js";
import { usePolling } from "../polling.js";
import { Badge, count, DataTable, Heading, html, ProblemBox, Time, useLoad } from "../ui.js";

const NOT_READY = 503;
const STATUS_KINDS = { ok: "good", warning: "busy", failed: "bad" };
const CIRCUIT_KINDS = { closed: "good", half_open: "busy", open: "bad" };
const POISON = "-poison";

export default function Status() {
  const load = async (signal) => {
    const others = Promise.allSettled([get("/metrics", {}, signal), get("/models", {}, signal)]);
    const readiness = await ready(signal);
    const [metrics, models] = await others;
    return { readiness, metrics, models, at: new Date().toISOString() };
  };
  const { data, error, loading, reload } = useLoad(load, []);
  const statuses = data && Object.values(data.readiness.checks).map((check) => check.status);
  usePolling(reload, JSON.stringify([error?.code, statuses]));
  return html`<${Heading} title="Status">
      <button type="button" onClick=${reload}>Refresh</button>
    <//>
    <${ProblemBox} error=${error} />
    ${data && html`<${Report} ...${data} />`}
    ${!data && loading && html`<p class="loading" role="status">Loading …</p>`}`;
}

/** The checks, also if one fails: that answer is a problem with the checks in it. */
async function ready(signal) {
  try {
    return await get("/health/ready", {}, signal);
  } catch (error) {
    if (error.status === NOT_READY && error.problem?.checks) return error.problem;
    throw error;
  }
}

function Report({ readiness, metrics, models, at }) {
  const checks = Object.entries(readiness.checks).map(([name, check]) => ({ name, ...check }));
  const state = readiness.ready ? "ready" : "not ready";
  return html`<p role="status">
      <${Badge} kind=${readiness.ready ? "good" : "bad"}>${state}<//>${" "}
      <span class="quiet">at <${Time} at=${at} /></span>
    </p>
    <${DataTable} caption="Dependencies" columns=${CHECK_COLUMNS} rows=${checks} />
    <${Queues} checks=${readiness.checks} />
    <h2>Models</h2>
    <${Settled} result=${models} show=${modelTable} />
    <h2>Your last hour</h2>
    <${Settled} result=${metrics} show=${(value) => html`<${LastHour} metrics=${value} />`} />`;
}

/** What was loaded, or why it was not: storage may be what does not work. */
function Settled({ result, show }) {
  return result.status === "fulfilled"
    ? show(result.value)
    : html`<${ProblemBox} error=${result.reason} />`;
}

function modelTable(models) {
  const caption = "Models, on the instance that answers";
  return html`<${DataTable} caption=${caption} columns=${MODEL_COLUMNS} rows=${models.data} />`;
}

const CHECK_COLUMNS = [
  { label: "Dependency", key: "name" },
  {
    label: "Status",
    render: ({ status }) => html`<${Badge} kind=${STATUS_KINDS[status] ?? ""}>${status}<//>`,
  },
  { label: "What to do", render: ({ detail }) => detail && html`<span class="plain">${detail}</span>` },
  { label: "ms", numeric: true, render: ({ latency_ms }) => count(latency_ms) },
];

function Queues({ checks }) {
  const ages = checks.queues?.oldest_seconds;
  if (!ages) return null;
  const given = checks.poison?.messages ?? {};
  const rows = Object.entries(ages).map(([name, age]) => ({
    name,
    age,
    poison: given[name + POISON],
  }));
  return html`<h2>Queues</h2>
    <${DataTable} caption="Queues" columns=${QUEUE_COLUMNS} rows=${rows} />`;
}

const QUEUE_COLUMNS = [
  { label: "Queue", key: "name" },
  { label: "Oldest message waits (s)", numeric: true, render: ({ age }) => count(age) },
  { label: "Messages given up", numeric: true, render: ({ poison }) => count(poison) },
];

const MODEL_COLUMNS = [
  { label: "Type", key: "model_type" },
  {
    label: "Available",
    render: ({ is_available: available }) =>
      html`<${Badge} kind=${available ? "good" : ""}>${available ? "yes" : "no"}<//>`,
  },
  { label: "Models", render: ({ models }) => models.map((each) => each.name).join(", ") || null },
  {
    label: "Circuit",
    render: ({ breaker }) =>
      breaker &&
      html`<${Badge} kind=${CIRCUIT_KINDS[breaker.circuit] ?? ""}>${breaker.circuit}<//>
        ${breaker.retry_after && html` asked again in ${Math.ceil(breaker.retry_after)} s`}`,
  },
  { label: "Why not", key: "unavailable" },
];

function LastHour({ metrics }) {
  const { gauges } = metrics;
  const tiles = [
    [count(metrics.total_requests), "turns"],
    [count(metrics.failed_requests), "failed"],
    [`${metrics.p95_latency.toFixed(2)} s`, "95th percentile"],
    [count(metrics.in_flight), "running here"],
    [count(metrics.rate_limit_waits), "waits for quota"],
    gauges && [count(gauges.jobs_waiting), "jobs waiting"],
    gauges && [count(gauges.jobs_running), "jobs running"],
    gauges && [count(gauges.threads), "threads"],
  ].filter(Boolean);
  const codes = Object.entries(metrics.failures).map(([code, turns]) => ({ code, turns }));
  return html`<div class="tiles">
      ${tiles.map(([value, label]) => html`<p class="tile"><b>${value}</b> ${label}</p>`)}
    </div>
    ${codes.length > 0 &&
    html`<${DataTable} caption="Failed turns by code" columns=${FAILURE_COLUMNS} rows=${codes} />`}`;
}

const FAILURE_COLUMNS = [
  { label: "Code", render: ({ code }) => html`<code>${code}</code>` },
  { label: "Turns", numeric: true, render: ({ turns }) => count(turns) },
];
