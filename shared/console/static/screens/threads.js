// Threads: list, search by metadata, rename, delete.

import { get, send } from "../api.js";
import {
  Confirm,
  count,
  DataTable,
  EmptyState,
  Heading,
  html,
  Pager,
  ProblemBox,
  Time,
  useEffect,
  useRef,
  useState,
} from "../ui.js";

const PAGE = 25;

export default function Threads() {
  const list = useThreads();
  const [chosen, setChosen] = useState(null);
  const [error, setError] = useState(null);

  const act = async (action) => {
    setChosen(null);
    setError(null);
    try {
      await action();
    } catch (caught) {
      setError(caught);
    }
  };
  const remove = ({ thread_id }) =>
    act(async () => {
      await send("DELETE", `/threads/${thread_id}`);
      list.remove(thread_id);
    });
  const rename = ({ thread_id }, title) =>
    act(async () => {
      const metadata = { title: title || null };
      const changed = await send("PATCH", `/threads/${thread_id}`, { metadata });
      list.replace(changed.body);
    });

  return html`<${Heading} title="Threads">
      <a class="button primary" href="#/chat">New chat</a>
    <//>
    <${Search} onSearch=${list.search} />
    <${ProblemBox} error=${error ?? list.error} />
    ${
      list.rows?.length > 0 &&
      html`<${DataTable}
        caption="Your threads, newest first"
        columns=${columns(setChosen)}
        rows=${list.rows}
        rowKey=${(row) => row.thread_id}
      />`
    }
    ${list.rows?.length === 0 && html`<${EmptyState}>There are no such threads.<//>`}
    <p class="hidden" role="status">${list.rows && `${list.rows.length} threads are shown.`}</p>
    <${Pager} next=${list.next} loading=${list.loading} onNext=${list.more} />
    ${
      chosen?.action === "delete" &&
      html`<${Confirm}
        question=${`Delete “${titleOf(chosen.thread)}” with all its messages, here and in Foundry?`}
        action="Delete"
        onAnswer=${(confirmed) => (confirmed ? remove(chosen.thread) : setChosen(null))}
      />`
    }
    ${
      chosen?.action === "rename" &&
      html`<${Rename}
        thread=${chosen.thread}
        onTitle=${(title) => rename(chosen.thread, title)}
        onCancel=${() => setChosen(null)}
      />`
    }`;
}

function useThreads() {
  const [state, setState] = useState({ rows: null, next: null, error: null, loading: true });
  const [filter, setFilter] = useState({});
  const load = async (cursor, signal) => {
    setState((now) => ({ ...now, loading: true, error: null }));
    try {
      const page = await get("/threads", { ...filter, limit: PAGE, cursor }, signal);
      setState((now) => ({
        rows: [...(cursor ? now.rows : []), ...page.data],
        next: page.next_cursor,
        error: null,
        loading: false,
      }));
    } catch (error) {
      if (error.name !== "AbortError") setState((now) => ({ ...now, error, loading: false }));
    }
  };
  useEffect(() => {
    const control = new AbortController();
    load(undefined, control.signal);
    return () => control.abort();
  }, [filter]);
  const change = (rows) => setState((now) => ({ ...now, rows: rows(now.rows) }));
  return {
    ...state,
    search: setFilter,
    more: (cursor) => load(cursor),
    remove: (id) => change((rows) => rows.filter((each) => each.thread_id !== id)),
    replace: (thread) =>
      change((rows) => rows.map((each) => (each.thread_id === thread.thread_id ? thread : each))),
  };
}

function titleOf(thread) {
  return thread.metadata.title || thread.thread_id;
}

function columns(choose) {
  const other = ({ metadata }) => Object.entries(metadata).filter(([name]) => name !== "title");
  return [
    {
      label: "Thread",
      render: (row) => html`<a href=${`#/chat/${row.thread_id}`}>${titleOf(row)}</a>`,
    },
    {
      label: "Metadata",
      render: (row) =>
        other(row).map(([name, text]) => html`<div><code>${name}</code> ${text}</div>`),
    },
    { label: "Messages", numeric: true, render: (row) => count(row.message_count) },
    { label: "Tokens", numeric: true, render: (row) => count(row.total_tokens) },
    { label: "Last used", render: (row) => html`<${Time} at=${row.last_accessed} />` },
    { label: "Expires", render: (row) => html`<${Time} at=${row.expires_at} />` },
    {
      label: "Actions",
      render: (row) =>
        html`<span class="actions">
          <button
            type="button"
            class="small"
            aria-label=${`Rename ${titleOf(row)}`}
            onClick=${() => choose({ action: "rename", thread: row })}
          >
            Rename
          </button>
          <button
            type="button"
            class="small danger"
            aria-label=${`Delete ${titleOf(row)}`}
            onClick=${() => choose({ action: "delete", thread: row })}
          >
            Delete
          </button>
        </span>`,
    },
  ];
}

function Search({ onSearch }) {
  const search = (event) => {
    event.preventDefault();
    const form = new FormData(event.target);
    const name = form.get("name").trim();
    onSearch(name ? { [`metadata.${name}`]: form.get("text") } : {});
  };
  return html`<form class="filters" onSubmit=${search}>
    <div>
      <label for="metadata-name">Metadata</label>
      <input id="metadata-name" name="name" placeholder="title" />
    </div>
    <div>
      <label for="metadata-text">is exactly</label>
      <input id="metadata-text" name="text" />
    </div>
    <button>Search</button>
  </form>`;
}

function Rename({ thread, onTitle, onCancel }) {
  const dialog = useRef(null);
  useEffect(() => dialog.current?.showModal(), []);
  const submit = (event) => {
    event.preventDefault();
    onTitle(new FormData(event.target).get("title").trim());
  };
  const cancel = (event) => {
    event.preventDefault();
    onCancel();
  };
  return html`<dialog ref=${dialog} aria-labelledby="rename" onCancel=${cancel}>
    <form onSubmit=${submit}>
      <label id="rename" for="title">Title of the thread</label>
      <input id="title" name="title" maxlength="512" value=${thread.metadata.title ?? ""} />
      <p class="actions">
        <button type="button" onClick=${cancel}>Cancel</button>
        <button class="primary">Rename</button>
      </p>
    </form>
  </dialog>`;
}
