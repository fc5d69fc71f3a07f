// Chat: one thread, streamed, with the tools that run on the way.

import { ApiError, get, send, stream } from "../api.js";
import {
  Badge,
  CopyButton,
  count,
  EmptyState,
  Heading,
  html,
  ProblemBox,
  useEffect,
  useLoad,
  useRef,
  useState,
} from "../ui.js";
import { Composer } from "./chat-composer.js";

const PAGE = 50;
const TITLE_CHARS = 80;
const WAIT_SECONDS = 60;
/** How long a message waits for a turn that still runs on the thread. */

export default function Chat({ route }) {
  const chat = useChat(route);
  const options = useLoad(loadOptions, []);
  return html`<${Heading} title="Chat">
      ${chat.threadId &&
      html`<${CopyButton} text=${location.href} label="Copy link" />
        <a class="button" href="#/chat">New chat</a>`}
    <//>
    <${ProblemBox} error=${chat.loadError ?? options.error} />
    ${chat.older &&
    html`<p class="pager">
      <button type="button" onClick=${chat.loadOlder}>Show earlier messages</button>
    </p>`}
    <div class="conversation">
      ${chat.entries.length === 0 && html`<${EmptyState}>${emptyText(chat)}<//>`}
      ${chat.entries.map((entry) => html`<${Entry} key=${entry.key} entry=${entry} chat=${chat} />`)}
    </div>
    <p class="hidden" role="status" aria-live="polite">${chat.announcement}</p>
    <${Composer}
      options=${options.data}
      threadId=${chat.threadId}
      isRunning=${chat.isRunning}
      onSend=${chat.ask}
      onStop=${chat.stop}
    />`;
}

function emptyText(chat) {
  return chat.isLoading ? "Loading …" : "Send a message to begin.";
}

async function loadOptions(signal) {
  const [models, tools] = await Promise.all([
    get("/models", {}, signal),
    get("/tools", {}, signal),
  ]);
  return { models, tools };
}

/** The conversation on the screen, and what can be done with it. */
function useChat(route) {
  const [state, setState] = useState(() => nothing(route.segments[1] ?? null));
  const [announcement, announce] = useState("");
  const thread = useRef(state.threadId);
  const running = useRef(null);
  const change = (changes) => setState((now) => ({ ...now, ...changes(now) }));

  useEffect(() => {
    const asked = route.segments[1] ?? null;
    if (asked !== thread.current) {
      running.current?.abort();
      running.current = null;
      thread.current = asked;
      setState(nothing(asked));
    } else if (!asked || state.entries.length > 0) {
      return undefined;
    }
    if (!asked) return undefined;
    const control = new AbortController();
    load(asked, undefined, control.signal);
    return () => control.abort();
  }, [route]);
  useEffect(() => () => running.current?.abort(), []);

  async function load(threadId, cursor, signal) {
    try {
      const page = await get(`/threads/${encodeURIComponent(threadId)}/messages`, { limit: PAGE, cursor }, signal);
      if (thread.current !== threadId) return;
      const entries = page.data.map(storedEntry).reverse();
      change((now) => ({
        entries: cursor ? [...entries, ...now.entries] : entries,
        older: page.next_cursor,
        isLoading: false,
        loadError: null,
      }));
    } catch (loadError) {
      if (loadError.name !== "AbortError") change(() => ({ loadError, isLoading: false }));
    }
  }

  /** The thread of the conversation; creates it before the first message. */
  async function ensureThread(title) {
    if (thread.current) return thread.current;
    const metadata = title ? { title } : {};
    const { body } = await send("POST", "/threads", { metadata }, { idempotencyKey: newKey() });
    thread.current = body.thread_id;
    history.replaceState(null, "", `#/chat/${body.thread_id}`);
    change(() => ({ threadId: body.thread_id }));
    return body.thread_id;
  }

  async function ask(body) {
    const control = new AbortController();
    running.current = control;
    const answer = { key: newKey(), role: "assistant", text: "", tools: [], isRunning: true };
    const update = (changes) =>
      change(({ entries }) => ({ entries: entries.map((each) => (each.key === answer.key ? Object.assign(answer, changes) && { ...answer } : each)) }));
    const question = body.message && { key: newKey(), role: "user", text: body.message, images: body.images };
    change(({ entries }) => ({
      entries: [...entries.map(settled), ...(question ? [question] : []), answer],
      isRunning: true,
    }));
    announce("");
    try {
      const threadId = await ensureThread((body.message ?? "").slice(0, TITLE_CHARS));
      await run(threadId, body, control.signal, answer, update);
      announce(answer.text ? `Answer: ${answer.text}` : "The turn has ended.");
    } catch (error) {
      const isStopped = error.name === "AbortError";
      update({ isRunning: false, isStopped, error: isStopped ? null : error });
      if (isStopped) announce("Stopped. The turn goes on.");
    } finally {
      if (running.current === control) {
        running.current = null;
        change(() => ({ isRunning: false }));
      }
    }
  }

  return {
    ...state,
    announcement,
    ask,
    stop: () => running.current?.abort(),
    loadOlder: () => load(thread.current, state.older),
    reload: () => load(thread.current),
  };
}

function nothing(threadId) {
  return {
    threadId,
    entries: [],
    older: null,
    isLoading: threadId !== null,
    isRunning: false,
    loadError: null,
  };
}

async function run(threadId, body, signal, answer, update) {
  const path = `/threads/${encodeURIComponent(threadId)}/messages`;
  const headers = { "Idempotency-Key": newKey() };
  for await (const { event, data } of stream(path, body, signal, headers, { wait: WAIT_SECONDS })) {
    if (event === "message.delta") update({ text: answer.text + data.text });
    else if (event === "tool.started") update({ tools: [...answer.tools, { ...data }] });
    else if (event === "tool.finished") update({ tools: finished(answer.tools, data) });
    else if (event === "turn.completed") update(completed(data));
  }
  if (answer.isRunning) {
    const detail = "The answer was cut before its end.";
    throw new ApiError({ status: 0, code: "cut", detail });
  }
}

function finished(tools, data) {
  return tools.map((each) => (each.call_id === data.call_id ? { ...each, ...data } : each));
}

function completed(turn) {
  return {
    isRunning: false,
    text: turn.content ?? "",
    turn,
    requests: turn.requests ?? [],
  };
}

/** An entry that a later message follows: what its tools asked can no longer be answered. */
function settled(entry) {
  return entry.requests?.length ? { ...entry, requests: [] } : entry;
}

function storedEntry(message) {
  return { key: message.id, role: message.role, text: message.content, tools: [] };
}

function newKey() {
  return crypto.randomUUID?.() ?? `${Date.now()}-${Math.random()}`;
}

const NAMES = { user: "You", assistant: "Agent" };

function Entry({ entry, chat }) {
  const isAnswer = entry.role !== "user";
  return html`<article class="entry ${isAnswer ? "answer" : "question"}">
    <h2>${NAMES[entry.role] ?? entry.role}</h2>
    ${entry.images?.map((image) => html`<img class="picture" src=${image} alt="The picture you sent" />`)}
    <${ToolSteps} tools=${entry.tools ?? []} />
    ${isAnswer && !entry.isRunning && !entry.isStopped && !entry.error
      ? html`<${Markdown} text=${entry.text} />`
      : html`<div class="text">${entry.text}</div>`}
    ${entry.isRunning && html`<p class="quiet">${entry.text ? "Writing …" : "Thinking …"}</p>`}
    ${entry.isStopped &&
    html`<p class="quiet">
      You stopped reading here. The turn goes on, and its answer is stored.
      ${" "}<button type="button" class="small" onClick=${chat.reload}>Show the stored answer</button>
    </p>`}
    ${entry.requests?.length > 0 &&
    html`<${Requests} requests=${entry.requests} onAnswer=${chat.ask} />`}
    <${ProblemBox} error=${entry.error} />
    ${isAnswer && entry.text && !entry.isRunning && html`<${Facts} entry=${entry} />`}
  </article>`;
}

function Facts({ entry }) {
  const turn = entry.turn;
  return html`<p class="quiet facts">
    <${CopyButton} text=${entry.text} />
    ${turn && html`<span>${turn.agent_id ?? turn.model}</span>`}
    ${turn?.usage.total_tokens !== undefined &&
    html`<span>${count(turn.usage.total_tokens)} tokens</span>`}
    ${turn?.finish_reason === "length" && html`<span>cut at the most tokens allowed</span>`}
    ${turn && html`<code>${turn.turn_id}</code>`}
  </p>`;
}

function ToolSteps({ tools }) {
  if (tools.length === 0) return null;
  return html`<ul class="steps" aria-label="Tools that were called">
    ${tools.map(
      (each) => html`<li key=${each.call_id}>
        <code>${each.name}</code>${" "}
        <${Badge} kind=${stepKind(each)}>${stepText(each)}<//>
      </li>`,
    )}
  </ul>`;
}

function stepKind({ succeeded }) {
  return succeeded === undefined ? "busy" : succeeded ? "good" : "bad";
}

function stepText({ succeeded }) {
  return succeeded === undefined ? "running" : succeeded ? "done" : "failed";
}

/** What tools of Foundry ask of the person: approvals and consents. */
function Requests({ requests, onAnswer }) {
  const [decided, setDecided] = useState({});
  const approvals = requests.filter((each) => each.kind === "approval");
  const consents = requests.filter((each) => each.kind === "consent");
  const decide = (id, approve) => {
    const all = { ...decided, [id]: approve };
    setDecided(all);
    if (approvals.every((each) => each.id in all)) {
      onAnswer({ approvals: approvals.map((each) => ({ id: each.id, approve: all[each.id] })) });
    }
  };
  return html`<div class="requests" role="group" aria-label="Requests of tools">
    ${approvals.map(
      (each) => html`<div key=${each.id}>
        <p><code>${each.tool}</code> of <code>${each.server}</code> wants to run with</p>
        <pre tabindex="0">${each.arguments ?? "(arguments are not recorded)"}</pre>
        <p class="actions">
          <button type="button" disabled=${each.id in decided} onClick=${() => decide(each.id, true)}>
            Approve
          </button>
          <button
            type="button"
            class="danger"
            disabled=${each.id in decided}
            onClick=${() => decide(each.id, false)}
          >
            Deny
          </button>
        </p>
      </div>`,
    )}
    ${consents.map(
      (each) => html`<p key=${each.id}>
        <code>${each.server}</code> needs your consent:${" "}
        <${SafeLink} href=${each.link} />. Then send your message again.
      </p>`,
    )}
  </div>`;
}

function SafeLink({ href }) {
  if (!/^https:\/\//i.test(href ?? "")) return html`<code>${href}</code>`;
  return html`<a href=${href} target="_blank" rel="noopener noreferrer">give it</a>`;
}

/** An answer's Markdown, or its plain text until the parser is loaded. */
function Markdown({ text }) {
  const place = useRef(null);
  useEffect(() => {
    let isCurrent = true;
    const plain = () => place.current?.replaceChildren(text);
    import("../markdown.js").then(({ nodesOf }) => {
      if (isCurrent) place.current?.replaceChildren(nodesOf(text));
    }, plain);
    plain();
    return () => {
      isCurrent = false;
    };
  }, [text]);
  return html`<div class="text markdown" ref=${place}></div>`;
}
