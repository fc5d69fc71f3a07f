// Client keys, for admins: list, create and revoke. A new key is shown once.

import { get, send } from "../api.js";
import {
  Badge,
  Confirm,
  CopyButton,
  DataTable,
  EmptyState,
  Heading,
  html,
  Pager,
  ProblemBox,
  Time,
  useEffect,
  useLoad,
  useRef,
  useState,
} from "../ui.js";

const PAGE_ROWS = 50;

export default function Keys() {
  const load = (signal) => get("/keys", { limit: PAGE_ROWS }, signal);
  const { data, error, loading, reload } = useLoad(load, []);
  const [more, setMore] = useState({ rows: [], next: null });
  const [created, setCreated] = useState(null);
  const [revoking, setRevoking] = useState(null);
  const [failure, setFailure] = useState(null);
  useEffect(() => setMore({ rows: [], next: data?.next_cursor ?? null }), [data]);
  const guarded = async (act) => {
    try {
      setFailure(null);
      await act();
    } catch (caught) {
      setFailure(caught);
    }
  };
  const loadMore = (cursor) =>
    guarded(async () => {
      const page = await get("/keys", { limit: PAGE_ROWS, cursor });
      setMore({ rows: [...more.rows, ...page.data], next: page.next_cursor });
    });
  const revoke = (confirmed) => {
    const key = revoking;
    setRevoking(null);
    if (!confirmed) return;
    guarded(async () => {
      await send("DELETE", `/keys/${encodeURIComponent(key.key_id)}`);
      reload();
    });
  };
  const done = (key) => {
    setCreated(key);
    reload();
  };
  return html`<${Heading} title="Keys">
      <button type="button" onClick=${reload}>Refresh</button>
    <//>
    ${created && html`<${NewKey} created=${created} onSeen=${() => setCreated(null)} />`}
    <${ProblemBox} error=${error ?? failure} />
    ${
      data &&
      html`<${KeyTable} rows=${[...data.data, ...more.rows]} onRevoke=${setRevoking} />
        <${Pager} next=${more.next} onNext=${loadMore} />
        <${CreateKey} onCreated=${done} />`
    }
    ${
      revoking &&
      html`<${Confirm}
        question="Revoke the key ${revoking.label} (${revoking.key_id}) for good?"
        action="Revoke key"
        onAnswer=${revoke}
      />`
    }`;
}

function NewKey({ created, onSeen }) {
  const box = useRef(null);
  useEffect(() => box.current?.focus(), [created]);
  if (!created.key) {
    return html`<p class="notice" role="status">
      The key ${created.key_id} was created before, and cannot be shown again: revoke it.
    </p>`;
  }
  return html`<div class="notice" role="status">
    <p>The key of <b>${created.label}</b>. It is shown only now: copy it.</p>
    <p class="actions">
      <input
        ref=${box}
        class="mono wide"
        aria-label="The new key"
        readonly
        value=${created.key}
        onFocus=${(event) => event.target.select()}
      />
      <${CopyButton} text=${created.key} label="Copy key" />
      <button type="button" onClick=${onSeen}>Hide it</button>
    </p>
  </div>`;
}

function stateOf(key) {
  if (key.revoked_at) return ["revoked", "bad"];
  if (key.expires_at && Date.parse(key.expires_at) <= Date.now()) return ["expired", "bad"];
  return ["valid", "good"];
}

function KeyTable({ rows, onRevoke }) {
  if (!rows.length) return html`<${EmptyState}>There is no client key.<//>`;
  const columns = [
    ...COLUMNS,
    {
      label: "Revoke",
      render: (key) =>
        key.revoked_at
          ? html`<${Time} at=${key.revoked_at} />`
          : html`<button
              type="button"
              class="danger small"
              aria-label="Revoke ${key.label}"
              onClick=${() => onRevoke(key)}
            >
              Revoke
            </button>`,
    },
  ];
  return html`<${DataTable}
    caption="Client keys"
    columns=${columns}
    rows=${rows}
    rowKey=${(key) => key.key_id}
  />`;
}

const COLUMNS = [
  {
    label: "Key",
    render: (key) => html`${key.label}<br /><code class="quiet">${key.key_id}</code>`,
  },
  {
    label: "State",
    render: (key) => {
      const [state, kind] = stateOf(key);
      return html`<${Badge} kind=${kind}>${state}<//>`;
    },
  },
  { label: "Owner", key: "owner" },
  { label: "Roles", render: (key) => key.roles.join(", ") },
  { label: "Department", key: "department" },
  { label: "Models", render: (key) => key.models?.join(", ") ?? "all" },
  { label: "Tools", render: (key) => (key.tools ? key.tools.join(", ") || "none" : "all") },
  { label: "Budgets", render: (key) => key.budgets.map(budgetText).join(", ") || null },
  { label: "Created", render: (key) => html`<${Time} at=${key.created_at} />` },
  { label: "Expires", render: (key) => html`<${Time} at=${key.expires_at} />` },
];

/** A budget such as `{tokens: 1000, per: "day"}` in words. */
function budgetText({ per, ...amounts }) {
  const text = Object.entries(amounts)
    .map(([of, amount]) => `${amount} ${of}`)
    .join(" ");
  return per ? `${text} per ${per}` : text;
}

function listOf(text) {
  const names = text.split(",").map((each) => each.trim());
  return names.filter(Boolean);
}

/** The body of `POST /keys`, given the fields of the form. */
function bodyOf(fields) {
  const text = (name) => fields.get(name).trim() || undefined;
  const tokens = text("tokens");
  const expires = text("expires_at");
  const models = listOf(fields.get("models"));
  const tools = listOf(fields.get("tools"));
  return {
    label: fields.get("label").trim(),
    owner: text("key_owner"),
    department: text("department"),
    roles: fields.get("admin") ? ["Agents.Use", "Agents.Admin"] : undefined,
    expires_at: expires && new Date(expires).toISOString(),
    models: models.length ? models : undefined,
    tools: tools.length ? tools : undefined,
    budgets: tokens && [{ tokens: Number(tokens), per: "day" }],
  };
}

function CreateKey({ onCreated }) {
  const [error, setError] = useState(null);
  const [sending, setSending] = useState(false);
  const attempt = useRef({ body: "", key: "" });
  const submit = async (event) => {
    event.preventDefault();
    const form = event.target;
    const body = bodyOf(new FormData(form));
    const text = JSON.stringify(body);
    if (attempt.current.body !== text) attempt.current = { body: text, key: crypto.randomUUID() };
    setError(null);
    setSending(true);
    try {
      const answer = await send("POST", "/keys", body, { idempotencyKey: attempt.current.key });
      attempt.current = { body: "", key: "" };
      form.reset();
      onCreated(answer.body);
    } catch (caught) {
      setError(caught);
    }
    setSending(false);
  };
  const field = (name, label, rest = {}) =>
    html`<label>${label} <input name=${name} autocomplete="off" ...${rest} /></label>`;
  return html`<h2>New key</h2>
    <form class="filters" onSubmit=${submit}>
      ${field("label", "What it is for", { required: true, maxlength: 128 })}
      ${field("key_owner", "Owner", { placeholder: "the key itself" })}
      ${field("department", "Department")}
      ${field("expires_at", "Expires (your time)", { type: "datetime-local" })}
      ${field("models", "Models, comma-separated", { placeholder: "all" })}
      ${field("tools", "Tools, comma-separated", { placeholder: "all" })}
      ${field("tokens", "Tokens per day", { type: "number", min: 1 })}
      <label class="inline"><input type="checkbox" name="admin" /> Admin</label>
      <button class="primary" disabled=${sending}>Create key</button>
    </form>
    <${ProblemBox} error=${error} />`;
}
