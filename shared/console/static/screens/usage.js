// Usage: tokens, cost, turns, errors and latency by day, and by owner, model and other labels.

import { get, getText } from "../api.js";
import {
  count,
  DataTable,
  download,
  EmptyState,
  Heading,
  html,
  money,
  ProblemBox,
  useLoad,
  useMemo,
  useState,
} from "../ui.js";
import { MAX_SERIES, Plot } from "./plot.js";

const DAY_MS = 86_400_000;
const RANGES = [7, 30, 90, 365];
const BOM = "\ufeff";

const GROUPS = {
  "": "day only",
  model: "model",
  department: "department",
  user_id: "user",
  domain: "domain",
  key: "client key",
  face: "what was called",
  owner: "owner",
};

/** What can be plotted. Counts are 0 on a day without turns; a latency is unknown. */
const MEASURES = {
  total_tokens: { label: "Tokens", format: count, none: 0 },
  cost: { label: "Cost", format: (n) => money(n), none: 0 },
  requests: { label: "Turns", format: count, none: 0 },
  failed_requests: { label: "Failed turns", format: count, none: 0 },
  p95_latency: { label: "Latency (95th percentile, s)", format: seconds, none: null },
  average_latency: { label: "Latency (average, s)", format: seconds, none: null },
};

function seconds(n) {
  return n === null ? "–" : n.toFixed(2);
}

export default function Usage({ me }) {
  const [days, setDays] = useState(30);
  const [by, setBy] = useState("");
  const [measure, setMeasure] = useState("total_tokens");
  const [everyone, setEveryone] = useState(false);
  const [failure, setFailure] = useState(null);
  const asked = () => ({ ...periodOf(days), all_owners: everyone || undefined });
  const daily = by ? `day,${by}` : "day";
  const load = async (signal) => {
    const query = asked();
    const grouped = by && get("/usage", { ...query, by }, signal);
    const [series, table] = await Promise.all([
      get("/usage", { ...query, by: daily }, signal),
      grouped,
    ]);
    return { by, series, groups: table ? table.groups : series.groups, total: series.total };
  };
  const { data, error, loading, reload } = useLoad(load, [days, by, everyone]);
  const save = async () => {
    try {
      const query = asked();
      const { text } = await getText("/usage", { ...query, by: daily }, "text/csv");
      download(`usage-${query.from}-${query.to}.csv`, BOM + text, "text/csv;charset=utf-8");
      setFailure(null);
    } catch (caught) {
      setFailure(caught);
    }
  };
  return html`<${Heading} title="Usage">
      <button type="button" onClick=${reload}>Refresh</button>
      <button type="button" onClick=${save}>Download CSV</button>
    <//>
    <div class="filters">
      <${Select} label="Days" value=${days} onChange=${(text) => setDays(Number(text))}
        choices=${RANGES.map((each) => [each, `last ${each}`])} />
      <${Select} label="By" value=${by} onChange=${setBy} choices=${Object.entries(GROUPS)} />
      <${Select} label="Plot" value=${measure} onChange=${setMeasure}
        choices=${Object.entries(MEASURES).map(([name, each]) => [name, each.label])} />
      ${
        me.roles.includes("Agents.Admin") &&
        html`<label class="inline">
          <input
            type="checkbox"
            checked=${everyone}
            onChange=${(event) => setEveryone(event.target.checked)}
          />
          All owners
        </label>`
      }
    </div>
    <${ProblemBox} error=${error ?? failure} />
    ${data && html`<${Report} data=${data} measure=${measure} />`}
    ${!data && loading && html`<p class="loading" role="status">Loading …</p>`}`;
}

function Select({ label, value, choices, onChange }) {
  const id = `usage-${label.toLowerCase()}`;
  return html`<div>
    <label for=${id}>${label}</label>
    <select id=${id} value=${value} onChange=${(event) => onChange(event.target.value)}>
      ${choices.map(([each, text]) => html`<option value=${each}>${text}</option>`)}
    </select>
  </div>`;
}

/** The first and the last day in UTC. */
function periodOf(days) {
  const day = (before) => new Date(Date.now() - before * DAY_MS).toISOString().slice(0, 10);
  return { from: day(days - 1), to: day(0) };
}

/** The days of a report. */
function daysOf({ from, to }) {
  const days = [];
  for (let at = Date.parse(from); at <= Date.parse(to); at += DAY_MS) {
    days.push(new Date(at).toISOString().slice(0, 10));
  }
  return days;
}

/** A series for each of the groups with most, by day. */
function seriesOf({ by, series, groups }, days, measure) {
  const { none, label } = MEASURES[measure];
  const named = by ? largest(groups, measure).map((group) => group[by]) : [label];
  const place = new Map(days.map((day, index) => [day, index]));
  const values = new Map(named.map((name) => [name, days.map(() => none)]));
  for (const row of series.groups) {
    const found = values.get(by ? row[by] : label);
    if (found) found[place.get(row.day)] = row[measure];
  }
  return named.map((name) => ({ name: nameOf(name), values: values.get(name) }));
}

function largest(groups, measure) {
  return [...groups].sort((a, b) => (b[measure] ?? 0) - (a[measure] ?? 0)).slice(0, MAX_SERIES);
}

function nameOf(label) {
  return label || "(none)";
}

function Report({ data, measure }) {
  const { label, format } = MEASURES[measure];
  const days = useMemo(() => daysOf(data.series), [data]);
  const series = useMemo(() => seriesOf(data, days, measure), [data, days, measure]);
  if (!data.total.requests) return html`<${EmptyState}>No turns in these days.<//>`;
  const title = data.by ? `${label} by day and ${GROUPS[data.by]}` : `${label} by day`;
  const more = data.groups.length > MAX_SERIES && data.by;
  return html`<${Totals} total=${data.total} />
    <${Plot} label=${title} days=${days} series=${series} format=${format} />
    ${more && html`<p class="quiet">The plot has the ${MAX_SERIES} with most; the table has all.</p>`}
    <${DataTable}
      caption=${data.by ? `Usage by ${GROUPS[data.by]}` : "Usage by day"}
      columns=${columnsOf(data.by || "day")}
      rows=${data.groups}
    />
    ${data.by && html`<${PlottedValues} title=${title} days=${days} series=${series} format=${format} />`}`;
}

function Totals({ total }) {
  const tiles = [
    [count(total.requests), "turns"],
    [count(total.failed_requests), "failed"],
    [count(total.total_tokens), "tokens"],
    [money(total.cost, total.currency), "cost"],
    [`${seconds(total.p95_latency)} s`, "95th percentile"],
  ];
  return html`<div class="tiles">
    ${tiles.map(([value, label]) => html`<p class="tile"><b>${value}</b> ${label}</p>`)}
  </div>`;
}

function columnsOf(by) {
  const number = (key, label, format = count) => ({
    label,
    numeric: true,
    render: (row) => format(row[key]),
  });
  return [
    { label: by === "day" ? "Day" : "Group", render: (row) => nameOf(row[by]) },
    number("requests", "Turns"),
    number("failed_requests", "Failed"),
    number("input_tokens", "Input tokens"),
    number("output_tokens", "Output tokens"),
    number("total_tokens", "Tokens"),
    { label: "Cost", numeric: true, render: (row) => money(row.cost, row.currency) },
    number("average_latency", "Average s", seconds),
    number("p95_latency", "95th s", seconds),
  ];
}

/** The plot's values, where the table of groups does not have them by day. */
function PlottedValues({ title, days, series, format }) {
  const rows = days
    .map((day, index) => ({ day, values: series.map((each) => each.values[index]) }))
    .filter((row) => row.values.some((value) => value));
  return html`<details>
    <summary>Values of the plot</summary>
    <${DataTable}
      caption=${title}
      rows=${rows}
      columns=${[
        { label: "Day", key: "day" },
        ...series.map((each, index) => ({
          label: each.name,
          numeric: true,
          render: (row) => format(row.values[index]),
        })),
      ]}
    />
  </details>`;
}
