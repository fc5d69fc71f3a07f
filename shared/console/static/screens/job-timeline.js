// What happened to a job, in order of time: each failed attempt, each answer, and its end.

import { Badge, html, Time } from "../ui.js";
import { hasEnded } from "./job-status.js";

const ULID_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const TIME_CHARACTERS = 10;

/** When an id was made: its first ten characters after the prefix are milliseconds. */
export function timeOf(id) {
  const text = id.slice(id.indexOf("_") + 1);
  let milliseconds = 0;
  for (const character of text.slice(0, TIME_CHARACTERS)) {
    milliseconds = milliseconds * 32 + ULID_ALPHABET.indexOf(character);
  }
  return milliseconds;
}

/** The events of a job, each `{at, label, kind?, detail?, code?}`, oldest first. */
export function eventsOf(job) {
  const events = [
    { at: job.created_at, label: "Submitted" },
    job.started_at && { at: job.started_at, label: "Started" },
    ...job.failures.map((failure) => ({
      at: failure.at,
      label: `Attempt at message ${failure.message + 1} failed`,
      kind: "bad",
      code: failure.code,
      detail: failure.detail,
    })),
    ...job.results.map((result, number) => ({
      at: answeredAt(result, job),
      label: `Message ${number + 1} answered`,
      kind: "good",
      detail: result.execution_time && `in ${result.execution_time.toFixed(1)} s`,
    })),
    hasEnded(job) && { at: job.finished_at, label: `Ended: ${job.status}` },
  ].filter(Boolean);
  return events
    .map((event, order) => ({ ...event, order }))
    .sort((a, b) => Date.parse(a.at) - Date.parse(b.at) || a.order - b.order);
}

/** When the answer was there: a turn's id is made when it begins, by the clock of its worker. The
 * job's times are those of the storage service. */
function answeredAt(result, job) {
  const at = timeOf(result.turn_id) + 1000 * (result.execution_time ?? 0);
  const first = Date.parse(job.started_at ?? job.created_at);
  const last = job.finished_at ? Date.parse(job.finished_at) : Infinity;
  return new Date(Math.min(Math.max(at, first), last)).toISOString();
}

export function Timeline({ job }) {
  const isCut = job.attempts > job.failures.length;
  return html`${isCut &&
    html`<p class="quiet">The latest ${job.failures.length} of ${job.attempts} failed attempts.</p>`}
    <ol class="timeline">
      ${eventsOf(job).map(
        (event) =>
          html`<li class=${event.kind ?? ""}>
            <${Time} at=${event.at} />${" "}
            <b>${event.label}</b>${" "}
            ${event.code && html`<${Badge} kind="bad">${event.code}<//>`}
            ${event.detail && html`<p class="plain">${event.detail}</p>`}
          </li>`,
      )}
    </ol>`;
}
