// Calls the HTTP API of this app: the key of the session, problems, and streams of events.

const KEY = "console.key";
const OWNER = "console.owner";
const API = "/api";

/** The credentials of this browser tab. They never stand in an address. */
export const session = {
  /** A function key, a client key or a token; empty with the cookie of App Service. */
  get key() {
    return sessionStorage.getItem(KEY) ?? "";
  },
  set key(key) {
    store(KEY, key);
  },
  /** The owner for whom an admin acts; empty for the caller itself. */
  get actFor() {
    return sessionStorage.getItem(OWNER) ?? "";
  },
  set actFor(owner) {
    store(OWNER, owner);
  },
  clear() {
    sessionStorage.removeItem(KEY);
    sessionStorage.removeItem(OWNER);
  },
};

function store(name, text) {
  if (text) sessionStorage.setItem(name, text);
  else sessionStorage.removeItem(name);
}

/** An answer of the API that is a problem, or a request that got no answer (status 0). */
export class ApiError extends Error {
  constructor({ status, code, detail, requestId = "", errors = [], retryAfter = null, problem }) {
    super(detail);
    Object.assign(this, { status, code, detail, requestId, errors, retryAfter, problem });
  }

  /** The error of a problem document, of an answer or of an event. */
  static of(problem, status = problem.status) {
    return new ApiError({
      status,
      code: problem.code ?? "",
      detail: problem.detail ?? problem.title ?? `The answer is ${status}.`,
      requestId: problem.request_id ?? "",
      errors: problem.errors ?? [],
      retryAfter: problem.retry_after ?? null,
      problem,
    });
  }
}

const signedOut = new Set();

/** Calls `listener` when an answer says that the caller is not signed in; returns the undoing. */
export function onSignedOut(listener) {
  signedOut.add(listener);
  return () => signedOut.delete(listener);
}

/** The headers that identify the caller. */
export function credentials(key = session.key) {
  if (!key) return {};
  const isBearer = key.startsWith("aos_") || /^eyJ[\w-]*\.[\w-]+\./.test(key);
  return isBearer ? { Authorization: `Bearer ${key}` } : { "x-functions-key": key };
}

function address(path, params = {}) {
  const query = new URLSearchParams();
  const named = session.actFor ? { owner: session.actFor, ...params } : params;
  for (const [name, value] of Object.entries(named)) {
    if (value !== undefined && value !== null && value !== "") query.append(name, value);
  }
  const text = query.toString();
  return API + path + (text ? `?${text}` : "");
}

async function request(url, options) {
  let answer;
  try {
    answer = await fetch(url, {
      ...options,
      headers: { ...credentials(), "X-AOS-Console": "1", ...options.headers },
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError({ status: 0, code: "unreachable", detail: "The app cannot be reached." });
  }
  if (answer.ok) return answer;
  const error = await failure(answer);
  if (error.status === 401) signedOut.forEach((listener) => listener(error));
  throw error;
}

async function failure(answer) {
  const requestId = answer.headers.get("x-request-id") ?? "";
  let problem = {};
  try {
    problem = await answer.json();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    // the platform, a gateway or a proxy answers without a problem document
  }
  return ApiError.of({ request_id: requestId, ...problem }, answer.status);
}

/** The JSON document at a path, with query parameters; `signal` ends the request. */
export async function get(path, params, signal) {
  const answer = await request(address(path, params), {
    headers: { Accept: "application/json" },
    signal,
  });
  return answer.json();
}

/** The text at a path in another media type, such as text/csv. */
export async function getText(path, params, accept) {
  const answer = await request(address(path, params), { headers: { Accept: accept } });
  return { headers: answer.headers, text: await answer.text() };
}

/** Sends a request that changes something; returns its status, headers and JSON body. */
export async function send(method, path, body, { idempotencyKey, headers, params } = {}) {
  const keyed = idempotencyKey ? { "Idempotency-Key": idempotencyKey } : {};
  const json = body === undefined ? {} : { "Content-Type": "application/json" };
  const answer = await request(address(path, params), {
    method,
    headers: { Accept: "application/json", ...json, ...keyed, ...headers },
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  const text = await answer.text();
  return { status: answer.status, headers: answer.headers, body: text ? JSON.parse(text) : null };
}

/** The events of a POST, each as `{event, data}`; an event `error` is thrown as an ApiError. */
export async function* stream(path, body, signal, headers = {}, params = {}) {
  const answer = await request(address(path, params), {
    method: "POST",
    headers: { Accept: "text/event-stream", "Content-Type": "application/json", ...headers },
    body: JSON.stringify(body),
    signal,
  });
  for await (const each of events(answer.body)) {
    if (each.event === "error") throw ApiError.of(each.data);
    yield each;
  }
}

async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let received = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      received += value;
      for (let end; (end = received.indexOf("\n\n")) >= 0;) {
        const event = parsed(received.slice(0, end));
        received = received.slice(end + 2);
        if (event) yield event;
      }
    }
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError({ status: 0, code: "cut", detail: "The connection to the app was cut." });
  } finally {
    reader.cancel().catch(() => {});
  }
}

function parsed(block) {
  let event = "message";
  const data = [];
  for (const line of block.split("\n")) {
    if (line.startsWith("event:")) event = line.slice(6).trim();
    else if (line.startsWith("data:")) data.push(line.slice(5).trimStart());
  }
  return data.length ? { event, data: JSON.parse(data.join("\n")) } : null;
}
