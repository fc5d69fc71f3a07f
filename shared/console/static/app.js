// The shell: signing in, the navigation, and the screen that the address names.

import { ApiError, get, onSignedOut, session } from "./api.js";
import { html, ProblemBox, render, useEffect, useRef, useRoute, useState } from "./ui.js";

const SCREENS = {
  chat: { title: "Chat", load: () => import("./screens/chat.js") },
  threads: { title: "Threads", load: () => import("./screens/threads.js") },
  jobs: { title: "Jobs", load: () => import("./screens/jobs.js") },
  usage: { title: "Usage", load: () => import("./screens/usage.js") },
  budgets: { title: "Budgets", load: () => import("./screens/budgets.js") },
  audit: { title: "Audit", load: () => import("./screens/audit.js") },
  status: { title: "Status", load: () => import("./screens/status.js") },
  keys: { title: "Keys", load: () => import("./screens/keys.js"), managesKeys: true },
};
const FIRST = "chat";
const ADMIN = "Agents.Admin";

const AUTH_MODE = document.documentElement.dataset.authMode;
const HAS_ENTRA = ["entra", "both"].includes(AUTH_MODE);
const TAKES_KEYS = AUTH_MODE !== "entra";

const LOGIN = "/.auth/login/aad?post_login_redirect_uri=/console";
const LOGOUT = "/.auth/logout?post_logout_redirect_uri=/console";
const RETURN_TO = "console.return";

function App() {
  const [me, setMe] = useState(null);
  const [error, setError] = useState(null);
  const load = async () => {
    setError(null);
    try {
      setMe(await get("/me"));
    } catch (caught) {
      setMe(null);
      setError(caught);
    }
  };
  useEffect(() => {
    load();
    return onSignedOut((caught) => {
      setMe(null);
      setError(caught);
    });
  }, []);
  if (me) return html`<${Shell} me=${me} reload=${load} />`;
  if (error) return html`<${SignIn} error=${error} onKey=${load} />`;
  return html`<p class="loading" role="status">Loading …</p>`;
}

function SignIn({ error, onKey }) {
  const [key, setKey] = useState("");
  const hadKey = session.key !== "";
  const submit = (event) => {
    event.preventDefault();
    session.key = key.trim();
    onKey();
  };
  const leave = () => sessionStorage.setItem(RETURN_TO, location.hash);
  const isRefused = error.status === 401 ? hadKey : true;
  return html`<main class="sign-in">
    <h1>Agent console</h1>
    ${isRefused && html`<${ProblemBox} error=${error} />`}
    ${
      TAKES_KEYS &&
      html`<form onSubmit=${submit}>
        <label for="key">Function key or client key</label>
        <input
          id="key"
          type="password"
          autocomplete="off"
          spellcheck="false"
          required
          value=${key}
          onInput=${(event) => setKey(event.target.value)}
        />
        <p class="quiet">It stays in this browser tab until you close it or sign out.</p>
        <button class="primary">Sign in</button>
      </form>`
    }
    ${
      HAS_ENTRA &&
      html`<p>
        <a class="button primary" href=${LOGIN} onClick=${leave}>Sign in with Microsoft</a>
      </p>`
    }
  </main>`;
}

function Shell({ me, reload }) {
  const route = useRoute();
  const name = route.segments[0] ?? FIRST;
  const main = useRef(null);
  const isAdmin = me.roles.includes(ADMIN);
  const managesKeys = isAdmin || AUTH_MODE === "function";
  const isFirst = useRef(true);
  useEffect(() => {
    document.title = `${SCREENS[name]?.title ?? "Not found"} · Agent console`;
    if (!isFirst.current) main.current?.focus();
    isFirst.current = false;
  }, [name]);
  const skip = (event) => {
    event.preventDefault();
    main.current?.focus();
  };
  return html`<a class="skip" href="#main" onClick=${skip}>Skip to content</a>
    <header class="bar">
      <nav aria-label="Screens">
        ${Object.entries(SCREENS)
          .filter(([, screen]) => managesKeys || !screen.managesKeys)
          .map(
            ([each, screen]) =>
              html`<a href="#/${each}" aria-current=${each === name ? "page" : undefined}>
                ${screen.title}
              </a>`,
          )}
      </nav>
      <${Account} me=${me} isAdmin=${isAdmin} reload=${reload} />
    </header>
    <main id="main" tabindex="-1" ref=${main}>
      <${Screen} key=${`${name} ${session.actFor}`} name=${name} route=${route} me=${me} />
    </main>`;
}

function Account({ me, isAdmin, reload }) {
  const actFor = (event) => {
    event.preventDefault();
    session.actFor = new FormData(event.target).get("owner").trim();
    reload();
  };
  const signOut = () => {
    session.clear();
    if (me.how === "entra") location.assign(LOGOUT);
    else location.reload();
  };
  return html`<details class="account">
    <summary>${session.actFor ? `Acting for ${me.owner}` : me.actor}</summary>
    <div class="panel">
      <dl>
        <dt>Owner</dt>
        <dd><code>${me.owner}</code></dd>
        <dt>Roles</dt>
        <dd>${me.roles.join(", ")}</dd>
      </dl>
      ${
        isAdmin &&
        html`<form onSubmit=${actFor}>
          <label for="owner">Act for the owner</label>
          <input id="owner" name="owner" placeholder="yourself" value=${session.actFor} />
          <button>Change</button>
        </form>`
      }
      <button type="button" onClick=${signOut}>Sign out</button>
    </div>
  </details>`;
}

function Screen({ name, route, me }) {
  const [state, setState] = useState({});
  useEffect(() => {
    let isCurrent = true;
    const set = (next) => isCurrent && setState(next);
    const screen = SCREENS[name];
    if (!screen) {
      const detail = "There is no such screen.";
      set({ error: new ApiError({ status: 404, code: "not_found", detail }) });
    } else {
      screen.load().then(
        (module) => set({ module }),
        () => set({ error: new Error("The screen cannot be loaded; reload the page.") }),
      );
    }
    return () => {
      isCurrent = false;
    };
  }, [name]);
  if (state.error) return html`<${ProblemBox} error=${state.error} />`;
  if (!state.module) return html`<p class="loading" role="status">Loading …</p>`;
  return html`<${state.module.default} route=${route} me=${me} />`;
}

const returnTo = sessionStorage.getItem(RETURN_TO);
if (returnTo) {
  sessionStorage.removeItem(RETURN_TO);
  if (!location.hash) location.replace(`#${returnTo.replace(/^#/, "")}`);
}
render(html`<${App} />`, document.getElementById("app"));
