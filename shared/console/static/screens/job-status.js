// The states of jobs.

import { Badge, html } from "../ui.js";

export const STATUSES = ["queued", "running", "succeeded", "failed", "cancelled", "expired"];

const KINDS = { running: "busy", succeeded: "good", failed: "bad", expired: "bad" };

export function hasEnded(job) {
  return !["queued", "running"].includes(job.status);
}

export function StatusBadge({ status }) {
  return html`<${Badge} kind=${KINDS[status] ?? ""}>${status}<//>`;
}
