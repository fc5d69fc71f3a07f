// The conversation of the chat: its messages, sending, stopping and trying again.

import { ApiError, get, send, stream } from "../api.js";
import { useEffect, useRef, useState } from "../ui.js";

const PAGE = 50;
const TITLE_CHARS = 80;
/** How long a message waits for a turn that still runs on the thread. */
const WAIT_SECONDS = 60;

/** The conversation on the screen, and what can be done with it. */
export function useChat(route) {
  const [state, setState] = useState(() => nothing(route.segments[1] ?? null));
  const [announcement, announce] = useState("");
  const thread = useRef(state.threadId);
  const running = useRef(null);
  const creation = useRef(newKey());
  const loaded = useRef(null);
  const change = (changes) => setState((now) => ({ ...now, ...changes(now) }));

  useEffect(() => {
    const asked = route.segments[1] ?? null;
    if (asked !== thread.current) {
      running.current?.abort();
      running.current = null;
      thread.current = asked;
      creation.current = newKey();
      setState(nothing(asked));
    } else if (!asked || state.entries.length > 0) {
      return undefined;
    }
    if (!asked) return undefined;
    const control = new AbortController();
    loaded.current = load(asked, undefined, control.signal);
    return () => control.abort();
  }, [route]);
  useEffect(() => () => running.current?.abort(), []);

  async function load(threadId, cursor, signal) {
    try {
      const page = await get(
        `/threads/${encodeURIComponent(threadId)}/messages`,
        { limit: PAGE, cursor },
        signal,
      );
      if (thread.current !== threadId) return;
      const entries = page.data.map(storedEntry).reverse();
      change((now) => ({
        entries: [...entries, ...now.entries],
        older: page.next_cursor,
        isLoading: false,
        loadError: null,
      }));
    } catch (loadError) {
      if (loadError.name !== "AbortError") change(() => ({ loadError, isLoading: false }));
    }
  }

  /** The thread of the conversation; creates it before the first message. */
  async function ensureThread(title, signal) {
    if (thread.current) return thread.current;
    const metadata = title ? { title } : {};
    const { body } = await send(
      "POST",
      "/threads",
      { metadata },
      { idempotencyKey: creation.current },
    );
    signal.throwIfAborted(); // the person went to another thread, or stopped
    thread.current = body.thread_id;
    history.replaceState(null, "", `#/chat/${body.thread_id}`);
    change(() => ({ threadId: body.thread_id }));
    return body.thread_id;
  }

  /** Sends a message, or one that failed once more: `again` has its id and its key. */
  async function ask(body, again = { id: newKey(), key: newKey() }) {
    const { id, key } = again;
    const control = new AbortController();
    running.current = control;
    const answer = {
      key: newKey(),
      id,
      body,
      role: "assistant",
      text: "",
      tools: [],
      isRunning: true,
    };
    const update = (changes) => {
      Object.assign(answer, changes);
      const replaced = (each) => (each.key === answer.key ? { ...answer } : each);
      change(({ entries }) => ({ entries: entries.map(replaced) }));
    };
    const questions = body.message
      ? [{ key: newKey(), role: "user", text: body.message, images: body.images, id }]
      : [];
    change(({ entries }) => ({
      entries: [...entries.filter((each) => each.id !== id).map(settled), ...questions, answer],
      isRunning: true,
    }));
    announce("");
    try {
      await loaded.current; // what is read later would have this message, too
      const title = (body.message ?? "").slice(0, TITLE_CHARS);
      const threadId = await ensureThread(title, control.signal);
      update({ isSent: true });
      await run({ threadId, body, key, signal: control.signal }, answer, update);
      announce(answer.text ? `Answer: ${answer.text}` : "The turn has ended.");
    } catch (error) {
      const isStopped = error.name === "AbortError";
      update({
        isRunning: false,
        isStopped,
        ...(!isStopped && { error, again: { id, key: nextKey(error, key) } }),
      });
      if (isStopped) announce(answer.isSent ? "Stopped. The turn goes on." : "Stopped.");
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
    reload: () => {
      change(({ entries, isRunning }) => ({ entries: isRunning ? entries : [] }));
      return load(thread.current);
    },
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

async function run({ threadId, body, key, signal }, answer, update) {
  const path = `/threads/${encodeURIComponent(threadId)}/messages`;
  const headers = { "Idempotency-Key": key };
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

/** The key for trying again: the same if the turn may have run, so that it runs once. */
function nextKey({ status }, key) {
  const mayHaveRun = status === 0 || status === 409 || status === 429 || status >= 500;
  return mayHaveRun ? key : newKey();
}

function newKey() {
  return crypto.randomUUID?.() ?? `${Date.now()}-${Math.random()}`;
}
