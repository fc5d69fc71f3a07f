// The form that submits a job.

import { send } from "../api.js";
import { Heading, html, navigate, ProblemBox, useRef, useState } from "../ui.js";

const MAX_MESSAGES = 50;

/** The body of `POST /jobs`, given the fields of the form. */
function bodyOf(fields, messages) {
  const text = (name) => fields.get(name).trim() || undefined;
  const notBefore = text("not_before");
  return {
    messages,
    thread_id: text("thread_id"),
    new_thread: fields.get("new_thread") ? true : undefined,
    not_before: notBefore && new Date(notBefore).toISOString(),
    expires_in: text("expires_in") && 60 * Number(text("expires_in")),
    max_attempts: text("max_attempts") && Number(text("max_attempts")),
    callback_url: text("callback_url"),
    reply_queue: text("reply_queue"),
  };
}

export function NewJob({ threadId }) {
  const [messages, setMessages] = useState([""]);
  const [error, setError] = useState(null);
  const [sending, setSending] = useState(false);
  const attempt = useRef({ body: "", key: "" });
  const submit = async (event) => {
    event.preventDefault();
    const body = bodyOf(new FormData(event.target), messages);
    const text = JSON.stringify(body);
    if (attempt.current.body !== text) attempt.current = { body: text, key: crypto.randomUUID() };
    setError(null);
    setSending(true);
    try {
      const answer = await send("POST", "/jobs", body, { idempotencyKey: attempt.current.key });
      navigate(`#/jobs/${answer.body.job_id}`);
    } catch (caught) {
      setError(caught);
      setSending(false);
    }
  };
  return html`<${Heading} title="New job"><a href="#/jobs">All jobs</a><//>
    <form class="form" onSubmit=${submit}>
      <${MessageFields} messages=${messages} onChange=${setMessages} />
      <fieldset>
        <legend>Thread</legend>
        <${Field} name="thread_id" label="Continue the thread" defaultValue=${threadId} />
        <label class="inline">
          <input type="checkbox" name="new_thread" /> Start a thread (several messages always do)
        </label>
      </fieldset>
      <fieldset>
        <legend>When</legend>
        <${Field} name="not_before" label="Not before (your time)" type="datetime-local" />
        <${Field} name="expires_in" label="Expires after minutes" type="number" min="1" max="43200" />
        <${Field} name="max_attempts" label="Attempts for a message" type="number" min="1" max="20" />
      </fieldset>
      <fieldset>
        <legend>Result</legend>
        <${Field} name="callback_url" label="Callback address" type="url" />
        <${Field} name="reply_queue" label="Reply queue" />
      </fieldset>
      <${ProblemBox} error=${error} />
      <button class="primary" disabled=${sending}>Submit job</button>
    </form>`;
}

function Field({ name, label, ...rest }) {
  return html`<label for="job-${name}">${label}</label>
    <input id="job-${name}" name=${name} autocomplete="off" ...${rest} />`;
}

function MessageFields({ messages, onChange }) {
  const change = (number, text) =>
    onChange(messages.map((each, index) => (index === number ? text : each)));
  return html`<fieldset>
    <legend>Messages, sent in this order</legend>
    ${messages.map(
      (message, number) =>
        html`<label for="message-${number}">Message ${number + 1}</label>
          <textarea
            id="message-${number}"
            rows="3"
            required
            value=${message}
            onInput=${(event) => change(number, event.target.value)}
          ></textarea>`,
    )}
    <p class="actions">
      <button
        type="button"
        disabled=${messages.length >= MAX_MESSAGES}
        onClick=${() => onChange([...messages, ""])}
      >
        Add a message
      </button>
      ${messages.length > 1 &&
      html`<button type="button" onClick=${() => onChange(messages.slice(0, -1))}>
        Remove the last
      </button>`}
    </p>
  </fieldset>`;
}
