// Chat: one thread, streamed, with the tools that run on the way.

import { get } from "../api.js";
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
import { useChat } from "./chat-conversation.js";

/** The view follows the conversation if its end is within so many pixels. */
const NEAR_END = 160;

export default function Chat({ route }) {
  const chat = useChat(route);
  const options = useLoad(loadOptions, []);
  const conversation = useRef(null);
  useFollowing(conversation);
  return html`<${Heading} title="Chat">
      ${
        chat.threadId &&
        html`<${CopyButton} text=${location.href} label="Copy link" />
          <a class="button" href="#/chat">New chat</a>`
      }
    <//>
    <${ProblemBox} error=${chat.loadError ?? options.error} />
    ${
      chat.older &&
      html`<p class="pager">
        <button type="button" onClick=${chat.loadOlder}>Show earlier messages</button>
      </p>`
    }
    <div class="conversation" ref=${conversation}>
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

/** Keeps the end of the conversation in view while it grows, unless the person scrolled away. */
function useFollowing(conversation) {
  useEffect(() => {
    const page = document.documentElement;
    let isFollowing = true;
    const scrolled = () => {
      isFollowing = page.scrollHeight - page.clientHeight - page.scrollTop < NEAR_END;
    };
    const grown = new ResizeObserver(() => isFollowing && page.scrollTo(0, page.scrollHeight));
    grown.observe(conversation.current);
    addEventListener("scroll", scrolled, { passive: true });
    return () => {
      grown.disconnect();
      removeEventListener("scroll", scrolled);
    };
  }, []);
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

const NAMES = { user: "You", assistant: "Agent" };

function Entry({ entry, chat }) {
  const isAnswer = entry.role !== "user";
  return html`<article class="entry ${isAnswer ? "answer" : "question"}">
    <h2>${NAMES[entry.role] ?? entry.role}</h2>
    ${entry.images?.map((image) => html`<img class="picture" src=${image} alt="The picture you sent" />`)}
    <${ToolSteps} tools=${entry.tools ?? []} />
    ${
      isAnswer && !entry.isRunning && !entry.isStopped && !entry.error
        ? html`<${Markdown} text=${entry.text} />`
        : html`<div class="text">${entry.text}</div>`
    }
    ${entry.isRunning && html`<p class="quiet">${entry.text ? "Writing …" : "Thinking …"}</p>`}
    ${entry.isStopped && !entry.isSent && html`<p class="quiet">Stopped before it was sent.</p>`}
    ${
      entry.isStopped &&
      entry.isSent &&
      html`<p class="quiet">
        You stopped reading here. The turn goes on, and its answer is stored. ${" "}<button
          type="button"
          class="small"
          onClick=${chat.reload}
        >
          Show the stored answer
        </button>
      </p>`
    }
    ${
      entry.requests?.length > 0 &&
      html`<${Requests} requests=${entry.requests} onAnswer=${chat.ask} />`
    }
    <${ProblemBox} error=${entry.error} />
    ${
      entry.error &&
      html`<button
        type="button"
        disabled=${chat.isRunning}
        onClick=${() => chat.ask(entry.body, entry.again)}
      >
        Try again
      </button>`
    }
    ${isAnswer && entry.text && !entry.isRunning && html`<${Facts} entry=${entry} />`}
  </article>`;
}

function Facts({ entry }) {
  const turn = entry.turn;
  return html`<p class="quiet facts">
    <${CopyButton} text=${entry.text} />
    ${turn && html`<span>${turn.agent_id ?? turn.model}</span>`}
    ${
      turn?.usage.total_tokens !== undefined &&
      html`<span>${count(turn.usage.total_tokens)} tokens</span>`
    }
    ${turn?.finish_reason === "length" && html`<span>cut at the most tokens allowed</span>`}
    ${turn && html`<code>${turn.turn_id}</code>`}
  </p>`;
}

function ToolSteps({ tools }) {
  if (tools.length === 0) return null;
  return html`<ul class="steps" aria-label="Tools that were called">
    ${tools.map(
      (each) =>
        html`<li key=${each.call_id}>
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
      (each) =>
        html`<div key=${each.id}>
          <p><code>${each.tool}</code> of <code>${each.server}</code> wants to run with</p>
          <pre tabindex="0">${each.arguments ?? "(arguments are not recorded)"}</pre>
          <p class="actions">
            <button
              type="button"
              disabled=${each.id in decided}
              onClick=${() => decide(each.id, true)}
            >
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
      (each) =>
        html`<p key=${each.id}>
          <code>${each.server}</code> needs your consent:${" "} <${SafeLink} href=${each.link} />.
          Then send your message again.
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
