// Settings that an agent gets from here: what is set, by which selector, what is in force, and how that fares.
import { useState } from "preact/hooks";
import { html } from "../html.js";
import { patch } from "../api.js";
import { Cross } from "../icons.js";
import { mayNot } from "../roles.js";
import { useSession } from "../session.js";
import { ConfigState } from "./agent-parts.js";
import { Problem } from "./notice.js";
import { SettingForm } from "./setting-form.js";
import { Table } from "./table.js";

const text = (value) => (typeof value === "string" ? value : JSON.stringify(value));

function Effective({ effective, row }) {
  const value = effective[row.section]?.[row.key];
  return value === undefined ? html`<span class="muted">not told</span>` : html`<span class="mono">${text(value)}</span>`;
}

export function AgentSettings({ agent, config, changed }) {
  const { principal } = useSession();
  const [error, setError] = useState(null);
  const refused = mayNot(principal, "admin") || (agent.state === "revoked" ? "the agent was revoked" : "");
  const own = `agent=${agent.id}`;
  const unset = (row) =>
    patch("agents/config", { agents: [agent.id], unset: [`${row.section}.${row.key}`] }).then(() => {
      setError(null);
      changed();
    }, setError);

  const columns = [
    { key: "setting", title: "Setting", cell: (row) => html`<span class="mono">${row.section}.${row.key}</span>` },
    { key: "value", title: "Set", wide: true, cell: (row) => html`<span class="mono">${text(row.value)}</span>` },
    { key: "in-force", title: "In force", cell: (row) => html`<${Effective} effective=${config.effective} row=${row} />` },
    { key: "selector", title: "For", cell: (row) => (row.selector === own ? "this agent" : row.selector === "*" ? "all agents" : html`<span class="tag">${row.selector}</span>`) },
    {
      key: "forget",
      title: "",
      cell: (row) =>
        row.selector === own &&
        html`<button type="button" class="quiet" disabled=${Boolean(refused)} title=${refused} onClick=${() => unset(row)}>
          <${Cross} /> Unset
        </button>`,
    },
  ];
  return html`<section class="settings">
    <h2>Settings from here <span class="small"><${ConfigState} ...${config} /></span></h2>
    ${config.settings.length > 0
      ? html`<${Table} caption="Settings" hideCaption columns=${columns} rows=${config.settings} rowKey=${(row) => `${row.section}.${row.key}`} />`
      : html`<p class="muted">Nothing is set from here: the agent's own file and the defaults hold.</p>`}
    <${SettingForm} label="Set for this agent" meant=${{ agents: [agent.id] }} refused=${refused} changed=${changed} />
    <${Problem} error=${error} />
  </section>`;
}
