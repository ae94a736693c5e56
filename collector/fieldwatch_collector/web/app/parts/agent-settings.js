// Settings that an agent gets from here: what is set, by which selector, what is in force, and how that fares.
import { useState } from "preact/hooks";
import { html } from "../html.js";
import { patch } from "../api.js";
import { Cross } from "../icons.js";
import { mayNot } from "../roles.js";
import { useSession } from "../session.js";
import { ConfigState } from "./agent-parts.js";
import { Problem } from "./notice.js";
import { Table } from "./table.js";

const text = (value) => (typeof value === "string" ? value : JSON.stringify(value));

// A number, true, false or a list as JSON has it; anything else is a text.
function parsed(word) {
  try {
    const value = JSON.parse(word);
    return value === null || (typeof value === "object" && !Array.isArray(value)) ? word : value;
  } catch {
    return word;
  }
}

function Effective({ effective, row }) {
  const value = effective[row.section]?.[row.key];
  return value === undefined ? html`<span class="muted">not told</span>` : html`<span class="mono">${text(value)}</span>`;
}

export function AgentSettings({ agent, config, changed }) {
  const { principal } = useSession();
  const [error, setError] = useState(null);
  const refused = mayNot(principal, "admin") || (agent.state === "revoked" ? "the agent was revoked" : "");
  const own = `agent=${agent.id}`;
  const change = (what) =>
    patch("agents/config", { select: own, ...what }).then(() => {
      setError(null);
      changed();
      return true;
    }, setError);

  const submit = async (event) => {
    event.preventDefault();
    const form = event.currentTarget;
    const given = new FormData(form);
    const [section, key] = given.get("setting").split(".");
    if (await change({ settings: { [section]: { [key || ""]: parsed(given.get("value")) } } })) form.reset();
  };

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
        html`<button type="button" class="quiet" disabled=${Boolean(refused)} title=${refused} onClick=${() => change({ unset: [`${row.section}.${row.key}`] })}>
          <${Cross} /> Unset
        </button>`,
    },
  ];
  return html`<section class="settings">
    <h2>Settings from here <span class="small"><${ConfigState} ...${config} /></span></h2>
    ${config.settings.length > 0
      ? html`<${Table} caption="Settings" hideCaption columns=${columns} rows=${config.settings} rowKey=${(row) => `${row.section}.${row.key}`} />`
      : html`<p class="muted">Nothing is set from here: the agent's own file and the defaults hold.</p>`}
    <form class="strip" aria-label="Set for this agent" onSubmit=${submit}>
      <label>Setting <input name="setting" placeholder="flows.idle" pattern="[a-z][a-z0-9_]*\\.[a-z][a-z0-9_]*" title="section.key, as in the agent's file" required disabled=${Boolean(refused)} autocapitalize="off" spellcheck=${false} /></label>
      <label>Value <input name="value" placeholder="30 s" required disabled=${Boolean(refused)} autocapitalize="off" spellcheck=${false} /></label>
      <span class="actions"><button disabled=${Boolean(refused)} title=${refused}>Set for this agent</button></span>
    </form>
    <${Problem} error=${error} />
  </section>`;
}
