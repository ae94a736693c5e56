// Commands: how each stands, and what it made. `named`: they are of several agents.
import { html } from "../html.js";
import { post } from "../api.js";
import { bytes } from "../format.js";
import { useState } from "preact/hooks";
import { Check, Cross, Half, Ring, Save, Warning } from "../icons.js";
import { mayNot } from "../roles.js";
import { build } from "../route.js";
import { useSession } from "../session.js";
import { Problem } from "./notice.js";
import { Table } from "./table.js";
import { Time } from "./time.js";

const STATES = {
  waiting: [Ring, "waiting", "waits for the agent"],
  sent: [Half, "waiting", "sent"],
  accepted: [Half, "waiting", "accepted"],
  running: [Half, "waiting", "running"],
  done: [Check, "ok", "done"],
  failed: [Warning, "bad", "failed"],
  refused: [Cross, "bad", "refused"],
  cancelled: [Cross, "muted", "cancelled"],
  expired: [Warning, "bad", "out of time"],
};
// By the role that the command needs; only a collector newer than this page has others.
const ROLE = { capture: "admin", config: "admin" };

function CommandState({ command }) {
  const [icon, className, text] = STATES[command.state] || [Ring, "muted", command.state];
  const stopping = command.cancel_asked && !command.ended;
  return html`<span class=${`state ${className}`}><${icon} /> ${stopping ? "stopping" : text}</span>${command.state === "running" &&
  html` <progress max="100" value=${command.percent} aria-label="Progress">${command.percent}</progress>`}`;
}

function words(given) {
  return Object.entries(given)
    .filter(([, value]) => value !== "")
    .map(([key, value]) => `${key} ${value}`)
    .join(", ");
}

function Made({ command, principal, cancel }) {
  const refused = mayNot(principal, ROLE[command.name] || "operator");
  if (!command.ended)
    return html`<button type="button" class="quiet" disabled=${Boolean(refused || command.cancel_asked)} title=${refused} onClick=${() => cancel(command)}>
      <${Cross} /> Cancel
    </button>`;
  if (!command.file_name) return null;
  if (command.file_gone) return html`<span class="muted">file deleted</span>`;
  if (refused) return html`<span class="muted" title=${refused}>${command.file_name}, ${bytes(command.file_bytes)}</span>`;
  return html`<a class="button" href=${`/api/v1/agents/commands/${command.id}/file`} download=${command.file_name} title=${command.file_name} aria-label=${`Download ${command.file_name}, ${bytes(command.file_bytes)}`}>
    <${Save} /> ${bytes(command.file_bytes)}
  </a>`;
}

export function CommandTable({ commands, named, now, changed }) {
  const { principal } = useSession();
  const [error, setError] = useState(null);
  const cancel = (command) => post(`agents/commands/${command.id}/cancel`, {}).then(changed, setError);
  if (!commands.length) return html`<p class="muted">Nothing was asked of this agent yet.</p>`;
  const columns = [
    ...(named ? [{ key: "agent", title: "Agent", cell: (row) => html`<a href=${build(["agents", row.agent])}>${row.agent_name}</a>` }] : []),
    { key: "name", title: "Command", cell: (row) => html`<span class="value">${row.name.replace(/_/g, " ")}</span> <span class="muted small">${words(row.arguments)}</span>`, wide: true },
    { key: "state", title: "State", cell: (row) => html`<${CommandState} command=${row} />` },
    { key: "text", title: "Says", wide: true, cell: (row) => row.text || html`<span class="muted">–</span>` },
    { key: "actor", title: "By", cell: (row) => html`<span class="muted">${row.actor}</span>` },
    { key: "created", title: "Asked", cell: (row) => html`<${Time} at=${row.created} now=${now} />` },
    { key: "made", title: "", cell: (row) => html`<${Made} command=${row} principal=${principal} cancel=${cancel} />` },
  ];
  return html`<${Problem} error=${error} />
    <${Table} caption="Commands" hideCaption columns=${columns} rows=${commands} rowKey=${(row) => row.id} />`;
}
