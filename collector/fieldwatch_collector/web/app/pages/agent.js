// One agent: how its parts are, what it is to do and what became of that, which settings it gets from here.
import { useState } from "preact/hooks";
import { html } from "../html.js";
import { get } from "../api.js";
import { exact } from "../format.js";
import { useData, useNow, useThrottled, useTitle } from "../hooks.js";
import { Figures, Health, Interfaces, Level, State } from "../parts/agent-parts.js";
import { AgentSettings } from "../parts/agent-settings.js";
import { AgentTags } from "../parts/agent-tags.js";
import { CommandForms } from "../parts/command-forms.js";
import { CommandTable } from "../parts/command-table.js";
import { Empty, Problem } from "../parts/notice.js";
import { Table } from "../parts/table.js";
import { useStream } from "../stream.js";

const REFRESH_MS = 5000;
const COMMANDS = 20;

function Heading({ agent, now, changed }) {
  return html`<header class="device-head">
    <p class="crumbs"><a href="#/agents">Agents</a> / <span class="muted">${agent.site}</span></p>
    <h1>${agent.name}</h1>
    <p class="agent-line"><${State} state=${agent.state} /> <${Health} agent=${agent} /></p>
    <${AgentTags} agent=${agent} changed=${changed} />
    <${Figures} agent=${agent} now=${now} />
    <p class="muted small">
      <span class="mono">${agent.id}</span>${agent.hostname && agent.hostname !== agent.name && ` · calls itself ${agent.hostname}`}
      ${agent.certificate_expires && ` · certificate until ${exact(agent.certificate_expires)}`}
    </p>
  </header>`;
}

function Parts({ health }) {
  if (!health.length) return html`<section><h2>Parts</h2><p class="muted">This agent tells nothing of its parts; a newer version does.</p></section>`;
  const columns = [
    { key: "component", title: "Part", cell: (row) => html`<span class=${`depth-${Math.min(3, row.component.split("/").length - 1)}`}>${row.component.split("/").pop()}</span>` },
    { key: "level", title: "Health", cell: (row) => html`<${Level} level=${row.level} />` },
    { key: "reason", title: "Why", wide: true, cell: (row) => row.reason || html`<span class="muted">–</span>` },
  ];
  return html`<section><${Table} caption="Parts" columns=${columns} rows=${health} rowKey=${(row) => row.component} /></section>`;
}

// Progress comes more often than the list is read: it is laid over it.
function useProgress(id) {
  const [progress, setProgress] = useState({});
  useStream(
    ({ type, data }) => type === "agent.command.progress" && data.agent === id && setProgress((old) => ({ ...old, [data.id]: data })),
    [id],
  );
  return progress;
}

function laidOver(command, progress) {
  const newer = progress[command.id];
  return newer && !command.ended && newer.percent >= command.percent ? { ...command, state: newer.state, percent: newer.percent, text: newer.text } : command;
}

export function AgentPage({ id }) {
  const now = useNow();
  const place = `agents/${encodeURIComponent(id)}`;
  const { data, error, at, reload } = useData((signal) => get(place, {}, signal), [id], REFRESH_MS);
  const listed = useData((signal) => get(`${place}/commands`, { limit: COMMANDS }, signal), [id], 30_000);
  const uuid = data?.agent.id || id; // the address may name an agent by its name
  const progress = useProgress(uuid);
  const changed = () => {
    reload();
    listed.reload();
  };
  const soon = useThrottled(changed, 300);
  useStream(
    (event) => {
      const about = event.subject?.id === uuid && event.type !== "agent.command.progress";
      if (about || event.type === "resumed" || event.type === "gap") soon();
    },
    [uuid],
  );
  useTitle(data ? data.agent.name : "Agent");

  if (!data && error?.status === 404)
    return html`<${Empty} title="No such agent"><p><a href="#/agents">See all agents</a></p></${Empty}>`;
  if (!data) return html`<${Problem} error=${error} retry=${reload} />`;
  const commands = (listed.data?.results || []).map((command) => laidOver(command, progress));
  return html`<div class="page">
    <${Problem} error=${error} at=${at} retry=${reload} />
    <${Heading} agent=${data.agent} now=${now} changed=${changed} />
    <section>
      <h2>Commands</h2>
      <${CommandForms} agents=${[data.agent]} meant=${{ agents: [data.agent.id] }} changed=${changed} />
      <${CommandTable} commands=${commands} now=${now} changed=${changed} />
    </section>
    <div class="columns">
      <${Parts} health=${data.health} />
      <${AgentSettings} agent=${data.agent} config=${data.config} now=${now} changed=${changed} />
    </div>
    ${data.agent.interfaces.length > 0 && html`<section><h2>Interfaces</h2><div class="table-box"><${Interfaces} interfaces=${data.agent.interfaces} /></div></section>`}
  </div>`;
}
