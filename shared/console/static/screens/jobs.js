// Jobs: the list with its counts, and the way to one job or to a new one.

import { get } from "../api.js";
import { Badge, DataTable, EmptyState, Heading, html, ProblemBox, Time, useLoad } from "../ui.js";
import { usePolling } from "../polling.js";
import { JobDetail } from "./job.js";
import { NewJob } from "./job-form.js";
import { STATUSES, StatusBadge } from "./job-status.js";

const COUNTED = 1_000;
const PAGE_ROWS = 25;

export default function Jobs({ route }) {
  const [, id] = route.segments;
  if (id === "new") return html`<${NewJob} threadId=${route.query.get("thread") ?? ""} />`;
  if (id) return html`<${JobDetail} key=${id} id=${id} />`;
  const status = STATUSES.includes(route.query.get("status")) ? route.query.get("status") : "";
  const given = (name) => route.query.get(name) ?? "";
  return html`<${JobList} status=${status} after=${given("after")} threadId=${given("thread_id")} />`;
}

function JobList({ status, after, threadId }) {
  const filters = { status, thread_id: threadId };
  const query = { ...filters, counts: true, limit: PAGE_ROWS, cursor: after };
  const load = (signal) => get("/jobs", query, signal);
  const { data, error, loading, reload } = useLoad(load, [status, after, threadId]);
  usePolling(reload, JSON.stringify([error?.code, data?.counts, data?.data.map(changing)]));
  return html`<${Heading} title="Jobs">
      <button type="button" onClick=${reload}>Refresh</button>
      <a class="button primary" href="#/jobs/new">New job</a>
    <//>
    ${data && html`<${Counts} counts=${data.counts} filters=${filters} />`}
    ${
      threadId &&
      html`<p>
        Jobs of <a href="#/chat/${encodeURIComponent(threadId)}">${threadId}</a>: they run one after
        the other, the oldest first. <a href=${listAddress({ status })}>Jobs of all threads</a>
      </p>`
    }
    <${ProblemBox} error=${error} />
    ${data && html`<${Page} page=${data} filters=${filters} after=${after} />`}
    ${!data && loading && html`<p class="loading" role="status">Loading …</p>`}`;
}

/** What may change of a job while it is shown. */
function changing({ job_id, status, progress, attempts, delivery }) {
  return [job_id, status, progress.done, attempts, delivery];
}

function Counts({ counts, filters }) {
  const total = Object.values(counts).reduce((sum, n) => sum + n, 0);
  const all = [["", "all", total], ...STATUSES.map((each) => [each, each, counts[each]])];
  return html`<nav class="tiles" aria-label="Jobs by status">
      ${all.map(
        ([value, label, n]) =>
          html`<a
            class="tile"
            href=${listAddress({ ...filters, status: value })}
            aria-current=${value === filters.status ? "true" : undefined}
          >
            <b>${n}</b> ${label}
          </a>`,
      )}
    </nav>
    ${total === COUNTED && html`<p class="quiet">Counts of your latest 1,000 jobs.</p>`}`;
}

function listAddress(named) {
  const given = Object.entries(named).filter(([, value]) => value);
  const query = new URLSearchParams(given).toString();
  return query ? `#/jobs?${query}` : "#/jobs";
}

function Page({ page, filters, after }) {
  if (!page.data.length) {
    return html`<${EmptyState}>${after ? "No older jobs." : "No such jobs yet."}<//>`;
  }
  const { next_cursor: next } = page;
  return html`<${DataTable}
      caption="Jobs, newest first"
      rowKey=${(job) => job.job_id}
      columns=${COLUMNS}
      rows=${page.data}
    />
    <nav class="actions" aria-label="Pages of jobs">
      ${after && html`<a class="button" href=${listAddress(filters)}>Newest jobs</a>`}
      ${next && html`<a class="button" href=${listAddress({ ...filters, after: next })}>Older jobs</a>`}
    </nav>`;
}

const COLUMNS = [
  {
    label: "Job",
    render: (job) => html`<a class="mono" href="#/jobs/${job.job_id}">${job.job_id}</a>`,
  },
  { label: "Status", render: (job) => html`<${StatusBadge} status=${job.status} />` },
  {
    label: "Answered",
    numeric: true,
    render: ({ progress }) => `${progress.done} of ${progress.total}`,
  },
  { label: "Failed attempts", numeric: true, key: "attempts" },
  {
    label: "Reason",
    render: (job) => (job.problem ? html`<code>${job.problem.code}</code>` : null),
  },
  { label: "Submitted", render: (job) => html`<${Time} at=${job.created_at} />` },
  { label: "Ended", render: (job) => html`<${Time} at=${job.finished_at} />` },
  { label: "Delivery", render: (job) => job.delivery && html`<${Badge}>${job.delivery}<//>` },
];
