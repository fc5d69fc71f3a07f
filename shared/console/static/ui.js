// What all screens share: rendering, hooks, and small components without state of their own.

import {
  h,
  html,
  render,
  useCallback,
  useEffect,
  useMemo,
  useRef,
  useState,
} from "./vendor/htm-preact-3.1.1.js";

export { h, html, render, useCallback, useEffect, useMemo, useRef, useState };

/** Goes to a screen, such as `#/jobs/job_...`. */
export function navigate(hash) {
  location.hash = hash;
}

function currentRoute() {
  const [path, query = ""] = location.hash.replace(/^#\/?/, "").split("?");
  const segments = path.split("/").filter(Boolean).map(decoded);
  return { path, segments, query: new URLSearchParams(query) };
}

function decoded(segment) {
  try {
    return decodeURIComponent(segment);
  } catch {
    return segment;
  }
}

/** The screen that the address names: `{path, segments, query}`. */
export function useRoute() {
  const [route, setRoute] = useState(currentRoute);
  useEffect(() => {
    const changed = () => setRoute(currentRoute());
    addEventListener("hashchange", changed);
    return () => removeEventListener("hashchange", changed);
  }, []);
  return route;
}

/** Loads with `load(signal)` when `deps` change: `{data, error, loading, reload}`.
 * While it loads anew, `data` is what was loaded before. */
export function useLoad(load, deps) {
  const [state, setState] = useState({ data: null, error: null, loading: true });
  const [count, setCount] = useState(0);
  useEffect(() => {
    const control = new AbortController();
    setState((now) => ({ ...now, loading: true }));
    const done = (next) => {
      if (!control.signal.aborted) setState((now) => ({ ...now, loading: false, ...next }));
    };
    load(control.signal).then(
      (data) => done({ data, error: null }),
      (error) => done({ error }),
    );
    return () => control.abort();
  }, [...deps, count]);
  const reload = useCallback(() => setCount((n) => n + 1), []);
  return { ...state, reload };
}

const NOTHING = "–";

/** A number with separators; a dash for none. */
export function count(n) {
  return n === null || n === undefined ? NOTHING : new Intl.NumberFormat().format(n);
}

/** An amount of money; a dash for none. */
export function money(n, currency) {
  if (n === null || n === undefined) return NOTHING;
  const digits = Math.abs(n) < 1 && n !== 0 ? 4 : 2;
  const text = new Intl.NumberFormat(undefined, {
    minimumFractionDigits: 2,
    maximumFractionDigits: digits,
  }).format(n);
  return currency ? `${text} ${currency}` : text;
}

/** A time in the browser's time zone. */
export function Time({ at }) {
  if (!at) return NOTHING;
  const date = new Date(at);
  if (Number.isNaN(date.getTime())) return String(at);
  const text = date.toLocaleString(undefined, { dateStyle: "medium", timeStyle: "medium" });
  return html`<time datetime=${at} title=${at}>${text}</time>`;
}

/** A short word in a box; `kind` is good, bad, busy or empty. */
export function Badge({ kind = "", children }) {
  return html`<span class="badge ${kind}">${children}</span>`;
}

/** What a screen shows where there is nothing yet. */
export function EmptyState({ children }) {
  return html`<p class="empty">${children}</p>`;
}

/** A button that copies a text. */
export function CopyButton({ text, label = "Copy" }) {
  const [done, setDone] = useState(false);
  if (!navigator.clipboard) return null; // only pages of a secure address have one
  const copy = async () => {
    await navigator.clipboard.writeText(text);
    setDone(true);
    setTimeout(() => setDone(false), 1500);
  };
  return html`<button type="button" class="small" onClick=${copy}>
    ${done ? "Copied" : label}
  </button>`;
}

/** A problem: what went wrong, its code, and the request's id to quote. */
export function ProblemBox({ error }) {
  if (!error) return null;
  const fields = (error.errors ?? []).filter((each) => !error.detail?.includes(each.reason));
  return html`<div class="problem" role="alert">
    <p>${error.detail ?? "The console failed unexpectedly."}</p>
    ${
      fields.length > 0 &&
      html`<ul>
        ${fields.map((each) => html`<li><code>${each.field}</code>: ${each.reason}</li>`)}
      </ul>`
    }
    <p class="quiet">
      ${error.code && html`<code>${error.code}</code>${" "}`}
      ${
        error.requestId &&
        html`request <code>${error.requestId}</code>${" "}
          <${CopyButton} text=${error.requestId} label="Copy id" />`
      }
    </p>
  </div>`;
}

/** A table. A column is `{key, label, numeric?, render?(row)}`; `rowKey(row)` identifies a row. */
export function DataTable({ caption, columns, rows, rowKey }) {
  const cell = (column, row) => (column.render ? column.render(row) : row[column.key]);
  return html`<div class="table" role="region" aria-label=${caption} tabindex="0">
    <table>
      <caption>
        ${caption}
      </caption>
      <thead>
        <tr>
          ${columns.map(
            (each) =>
              html`<th scope="col" class=${each.numeric ? "number" : ""}>${each.label}</th>`,
          )}
        </tr>
      </thead>
      <tbody>
        ${rows.map(
          (row, index) =>
            html`<tr key=${rowKey ? rowKey(row) : index}>
              ${columns.map(
                (each) =>
                  html`<td class=${each.numeric ? "number" : ""}>
                    ${cell(each, row) ?? NOTHING}
                  </td>`,
              )}
            </tr>`,
        )}
      </tbody>
    </table>
  </div>`;
}

/** A button for the next page, if there is one. */
export function Pager({ next, onNext, loading = false }) {
  if (!next) return null;
  return html`<p class="pager">
    <button type="button" disabled=${loading} onClick=${() => onNext(next)}>Load more</button>
  </p>`;
}

/** The heading of a screen, with its actions beside. */
export function Heading({ title, children }) {
  return html`<header class="heading">
    <h1>${title}</h1>
    <div class="actions">${children}</div>
  </header>`;
}

/** A question in a dialog. `onAnswer(true)` if the person confirms, `onAnswer(false)` if not. */
export function Confirm({ question, action, onAnswer }) {
  const dialog = useRef(null);
  useEffect(() => dialog.current?.showModal(), []);
  const answer = (event, confirmed) => {
    event.preventDefault();
    onAnswer(confirmed);
  };
  return html`<dialog
    ref=${dialog}
    aria-labelledby="question"
    onCancel=${(event) => answer(event, false)}
  >
    <p id="question">${question}</p>
    <p class="actions">
      <button type="button" onClick=${(event) => answer(event, false)}>Cancel</button>
      <button type="button" class="danger" onClick=${(event) => answer(event, true)}>
        ${action}
      </button>
    </p>
  </dialog>`;
}

/** Saves a text as a file of the browser. */
export function download(name, text, type) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}
