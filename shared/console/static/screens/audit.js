// The audit trail: filtered, followed, and saved as JSON lines.

import { get, getText } from "../api.js";
import {
  Badge,
  DataTable,
  download,
  EmptyState,
  Heading,
  html,
  navigate,
  Pager,
  ProblemBox,
  Time,
  useEffect,
  useLoad,
  useState,
} from "../ui.js";
import { usePolling } from "../polling.js";

const JSON_LINES = "application/x-ndjson";
const EXPORT_ROWS = 1_000;
const MAX_EXPORT_PAGES = 100;

const ACTIONS = [
  "send",
  "tool_call",
  "thread_create",
  "thread_read",
  "thread_change",
  "thread_delete",
  "response_read",
  "response_delete",
  "job_submit",
  "job_read",
  "job_cancel",
  "usage_read",
  "audit_read",
  "key_create",
  "key_read",
  "key_revoke",
  "data_erase",
  "data_erased",
  "mcp_request",
];
const OWNER = "owner";
const READING = "audit_read";
const OUTCOMES = { succeeded: "good", failed: "bad", refused: "bad" };
const FILTERS = ["from", "to", "action", "outcome", "thread_id", "job_id", "all_owners"];

export default function Audit({ route, me }) {
  const given = FILTERS.map((name) => [name, route.query.get(name)]).filter(([, value]) => value);
  const filters = Object.fromEntries(given);
  const address = JSON.stringify(filters);
  const [follows, setFollows] = useState(false);
  const [failure, setFailure] = useState(null);
  const [more, setMore] = useState(null);
  const load = (signal) => get("/audit", filters, signal);
  const { data, error, loading, reload } = useLoad(load, [address]);
  useEffect(() => setMore(null), [address, follows]);
  const first = (data?.data ?? []).filter((each) => !follows || each.action !== READING);
  usePolling(reload, `${error?.code} ${first[0]?.at}`, follows);
  const guarded = (act) => async () => {
    try {
      setFailure(null);
      await act();
    } catch (caught) {
      setFailure(caught);
    }
  };
  const next = more ? more.next : data?.next_cursor;
  const loadMore = guarded(async () => {
    const page = await get("/audit", { ...filters, cursor: next });
    setMore({ rows: [...(more?.rows ?? []), ...page.data], next: page.next_cursor });
  });
  return html`<${Heading} title="Audit">
      <button type="button" aria-pressed=${follows} onClick=${() => setFollows(!follows)}>
        ${follows ? "Stop following" : "Follow"}
      </button>
      <button type="button" onClick=${guarded(() => save(filters))}>Export NDJSON</button>
    <//>
    <${Filters} key=${address} filters=${filters} me=${me} />
    <${ProblemBox} error=${error ?? failure} />
    ${follows &&
    html`<p class="quiet">New records appear here. Those of reading the audit trail are left out.</p>`}
    ${data && html`<${Records}
      rows=${[...first, ...(more?.rows ?? [])]}
      showsOwner=${Boolean(filters.all_owners)}
    />`}
    ${!data && loading && html`<p class="loading" role="status">Loading …</p>`}
    ${!follows && html`<${Pager} next=${next} onNext=${loadMore} />`}`;
}

function Filters({ filters, me }) {
  const apply = (event) => {
    event.preventDefault();
    const given = [...new FormData(event.target)].filter(([, value]) => value);
    navigate(`#/audit?${new URLSearchParams(given)}`);
  };
  const field = (name, label, type = "text") =>
    html`<div>
      <label for="audit-${name}">${label}</label>
      <input id="audit-${name}" name=${name} type=${type} defaultValue=${filters[name]} />
    </div>`;
  const choice = (name, label, values) =>
    html`<div>
      <label for="audit-${name}">${label}</label>
      <select id="audit-${name}" name=${name}>
        <option value="">any</option>
        ${values.map(
          (each) => html`<option value=${each} selected=${filters[name] === each}>${each}</option>`,
        )}
      </select>
    </div>`;
  return html`<form class="filters" onSubmit=${apply}>
    ${field("from", "From", "date")} ${field("to", "To", "date")}
    ${choice("action", "Action", ACTIONS)}
    ${choice("outcome", "Outcome", Object.keys(OUTCOMES))}
    ${field("thread_id", "Thread")} ${field("job_id", "Job")}
    ${
      me.roles.includes("Agents.Admin") &&
      html`<label class="inline">
        <input
          type="checkbox"
          name="all_owners"
          value="true"
          defaultChecked=${filters.all_owners === "true"}
        />
        All owners
      </label>`
    }
    <button>Apply</button>
  </form>`;
}

function Records({ rows, showsOwner }) {
  if (!rows.length) return html`<${EmptyState}>No records in these days.<//>`;
  const columns = COLUMNS.filter((each) => showsOwner || each.key !== OWNER);
  return html`<${DataTable} caption="Records, newest first" columns=${columns} rows=${rows} />`;
}

const COLUMNS = [
  { label: "Time", render: (each) => html`<${Time} at=${each.at} />` },
  { label: "Action", render: (each) => html`<code>${each.action}</code>` },
  {
    label: "Outcome",
    render: (each) => html`<${Badge} kind=${OUTCOMES[each.outcome]}>${each.outcome}<//>
      ${each.code && html` <code>${each.code}</code>`}`,
  },
  {
    label: "Who",
    render: (each) => html`${each.actor}<br /><span class="quiet">${each.subject}</span>`,
  },
  { label: "Owner", key: OWNER },
  { label: "What", render: (each) => html`<${What} record=${each} />` },
  { label: "Tokens", numeric: true, key: "total_tokens" },
  { label: "Request", render: (each) => each.request_id && html`<code>${each.request_id}</code>` },
];

function What({ record }) {
  const { thread_id: thread, job_id: job } = record;
  return html`${job && html`<a href="#/jobs/${encodeURIComponent(job)}">${job}</a>${" "}`}
  ${thread && html`<a href="#/chat/${encodeURIComponent(thread)}">${thread}</a>${" "}`}
  ${[record.tool, record.model, record.key_id].filter(Boolean).join(", ")}`;
}

/** Saves all records that fit the filters, page by page. */
async function save(filters) {
  const lines = [];
  let cursor;
  for (let page = 0; page < MAX_EXPORT_PAGES; page += 1) {
    const query = { ...filters, limit: EXPORT_ROWS, cursor };
    const { headers, text } = await getText("/audit", query, JSON_LINES);
    lines.push(text);
    cursor = nextCursor(headers.get("link"));
    if (!cursor) break;
  }
  download("audit.ndjson", lines.join(""), JSON_LINES);
}

/** The cursor in a `Link` header (RFC 8288) with the address of the next page. */
function nextCursor(link) {
  const address = /<([^>]+)>; rel="next"/.exec(link ?? "")?.[1];
  return address && new URL(address, location.href).searchParams.get("cursor");
}
