// Chat: one conversation, streamed.

import { EmptyState, Heading, html } from "../ui.js";

export default function Chat() {
  return html`<${Heading} title="Chat" /><${EmptyState}>No conversation yet.<//>`;
}
