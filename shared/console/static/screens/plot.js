// A plot of values by day. Its values also stand in a table, for those who cannot see it.

import { html, useEffect, useRef, useState } from "../ui.js";

const SCRIPT = new URL("../vendor/uplot-1.6.32.js", import.meta.url);
const STYLE = new URL("../vendor/uplot-1.6.32.css", import.meta.url);
const HEIGHT = 260;
const DARK = matchMedia("(prefers-color-scheme: dark)");

/** How many series have a colour of their own. */
export const MAX_SERIES = 5;

let library;

/** The library, which is loaded with the first plot; its script is no module. */
function loaded() {
  library ??= new Promise((resolve, reject) => {
    const style = document.createElement("link");
    style.rel = "stylesheet";
    style.href = STYLE;
    const script = document.createElement("script");
    script.src = SCRIPT;
    script.addEventListener("load", () => resolve(globalThis.uPlot));
    script.addEventListener("error", () => {
      library = undefined;
      reject(new Error("The plot cannot be loaded; the table has its values."));
    });
    document.head.append(style, script);
  });
  return library;
}

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

/** What uPlot is asked for: one line a series, over days in UTC. */
function options(uPlot, width, names, format) {
  const axis = { stroke: colour("--quiet"), grid: { stroke: colour("--line"), width: 1 } };
  return {
    width,
    height: HEIGHT,
    legend: { show: false },
    cursor: { show: false },
    tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), "Etc/UTC"),
    scales: { y: { range: (_, __, most) => [0, most > 0 ? most * 1.1 : 1] } },
    axes: [axis, { ...axis, size: 70, values: (_, ticks) => ticks.map(format) }],
    series: [
      {},
      ...names.map((label, index) => ({
        label,
        stroke: colour(`--series-${index + 1}`),
        width: 2,
        points: { show: true, size: 5 },
      })),
    ],
  };
}

/** `days` are ISO days, `series` are `{name, values}` with a value or null for each day. */
export function Plot({ label, days, series, format }) {
  const place = useRef(null);
  const [error, setError] = useState(null);
  useEffect(() => {
    let plot;
    let isGone = false;
    const seconds = days.map((day) => Date.parse(`${day}T00:00:00Z`) / 1000);
    const data = [seconds, ...series.map((each) => each.values)];
    const draw = (uPlot) => {
      plot?.destroy();
      const names = series.map((each) => each.name);
      const width = place.current.clientWidth;
      plot = new uPlot(options(uPlot, width, names, format), data, place.current);
    };
    const again = () => plot && draw(globalThis.uPlot);
    const resized = new ResizeObserver(() => {
      plot?.setSize({ width: place.current.clientWidth, height: HEIGHT });
    });
    loaded().then(
      (uPlot) => {
        if (isGone) return;
        draw(uPlot);
        resized.observe(place.current);
        DARK.addEventListener("change", again);
      },
      (caught) => isGone || setError(caught),
    );
    return () => {
      isGone = true;
      resized.disconnect();
      DARK.removeEventListener("change", again);
      plot?.destroy();
    };
  }, [days, series, format]);
  return html`<figure class="plot">
    <figcaption>${label}</figcaption>
    <div ref=${place} role="img" aria-label="${label}. The table has the values."></div>
    ${error && html`<p class="quiet">${error.message}</p>`}
    <ul class="legend">
      ${series.map((each, index) => html`<li class="series-${index + 1}">${each.name}</li>`)}
    </ul>
  </figure>`;
}
