// Budgets: what is used, what is left, and when it resets; and the limits of this instance.

import { get } from "../api.js";
import {
  count,
  DataTable,
  EmptyState,
  Heading,
  html,
  money,
  ProblemBox,
  Time,
  useLoad,
} from "../ui.js";

const MONEY = "money";
const LIMITS = {
  requests: "Requests at once",
  waits: "Requests that wait",
  new_threads: "Threads started within a minute",
};

export default function Budgets() {
  const load = async (signal) => {
    const me = await get("/me", {}, signal);
    const isPriced = me.budgets.some((budget) => budget.of === MONEY);
    const currency = isPriced ? (await get("/models", {}, signal)).currency : "";
    return { me, currency };
  };
  const { data, error, loading, reload } = useLoad(load, []);
  return html`<${Heading} title="Budgets">
      <button type="button" onClick=${reload}>Refresh</button>
    <//>
    <${ProblemBox} error=${error} />
    ${data && html`<${Report} me=${data.me} currency=${data.currency} />`}
    ${!data && loading && html`<p class="loading" role="status">Loading …</p>`}`;
}

function Report({ me, currency }) {
  return html`${me.budgets.length
      ? html`<${DataTable}
          caption="Budgets of ${me.owner}"
          columns=${columnsOf(currency)}
          rows=${me.budgets}
        />`
      : html`<${EmptyState}>No budget applies to ${me.owner}.<//>`}
    <h2>Limits of the instance that answers</h2>
    <${DataTable} caption="Limits of ${me.owner}" columns=${LIMIT_COLUMNS} rows=${limitsOf(me)} />`;
}

function columnsOf(currency) {
  const amount = (name) => (budget) =>
    budget.of === MONEY ? money(budget[name], currency) : count(budget[name]);
  return [
    { label: "Of", key: "subject" },
    {
      label: "Budget",
      render: ({ of, per }) => (per ? `${of} per ${per}` : `${of} turns`),
    },
    { label: "Limit", numeric: true, render: amount("limit") },
    { label: "Used", numeric: true, render: amount("used") },
    { label: "Reserved", numeric: true, render: amount("reserved") },
    { label: "Left", numeric: true, render: amount("left") },
    { label: "In use", render: (budget) => html`<${Share} budget=${budget} />` },
    { label: "Resets", render: (budget) => html`<${Time} at=${budget.resets_at} />` },
  ];
}

function Share({ budget }) {
  const taken = Math.max(budget.limit - budget.left, 0);
  const percent = budget.limit ? Math.round((100 * taken) / budget.limit) : 100;
  const label = `${budget.of} of ${budget.subject} in use`;
  return html`<meter min="0" max="100" high="80" value=${percent} aria-label=${label}></meter>${" "}
    ${percent} %`;
}

const LIMIT_COLUMNS = [
  { label: "Limit of", key: "label" },
  { label: "Limit", numeric: true, render: (each) => count(each.limit) },
  { label: "Used", numeric: true, render: (each) => count(each.used) },
  { label: "Left", numeric: true, render: (each) => count(each.left) },
];

function limitsOf({ limits }) {
  return Object.entries(LIMITS).map(([name, label]) => ({ label, ...limits[name] }));
}
