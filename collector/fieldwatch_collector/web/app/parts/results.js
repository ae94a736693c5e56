// What became of an order to several agents: a row for each, kept up to date by the stream.
import { useEffect, useState } from "preact/hooks";
import { html } from "../html.js";
import { get } from "../api.js";
import { build } from "../route.js";
import { useStream } from "../stream.js";
import { ConfigState } from "./agent-parts.js";
import { CommandTable } from "./command-table.js";
import { Table } from "./table.js";

const MOST = 1000; // commands of one order, and of one page of their list

// The commands as they stand now. What ended is read anew: the event does not tell what it made.
function useFollowed(given) {
  const [commands, setCommands] = useState(given);
  const put = (found) => {
    const news = new Map(found.map((command) => [command.id, command]));
    setCommands((old) => old.map((command) => (command.ended ? command : { ...command, ...news.get(command.id) })));
  };
  const again = () => get("agents/commands", { limit: MOST }).then((page) => put(page.results), () => {});
  useEffect(() => {
    setCommands(given);
    again(); // what was told of them before their list came
  }, [given]);
  useStream(
    ({ type, data }) => {
      if (type === "resumed" || type === "gap") again();
      const id = type === "agent.command" ? data.command : type === "agent.command.progress" ? data.id : "";
      if (!id || !given.some((command) => command.id === id)) return;
      put([{ id, state: data.state, percent: data.percent, text: data.text }]);
      if (!["waiting", "sent", "accepted", "running"].includes(data.state)) get(`agents/commands/${id}`).then((one) => put([one]), () => {});
    },
    [given],
  );
  return [commands, again];
}

function Commands({ given, now }) {
  const [commands, again] = useFollowed(given);
  return html`<${CommandTable} commands=${commands} named now=${now} changed=${again} />`;
}

function Settings({ what, results, agents }) {
  const now = new Map(agents.map((agent) => [agent.id, agent]));
  const columns = [
    { key: "agent", title: "Agent", cell: (row) => html`<a href=${build(["agents", row.agent])}>${row.agent_name}</a>` },
    { key: "what", title: "Set", cell: () => html`<span class="mono">${what}</span>` },
    {
      key: "state",
      title: "State",
      wide: true,
      cell: (row) => {
        const { config_version: version, config_state: state, config_problem: problem, config_drifted: drifted } = now.get(row.agent) || {};
        return version >= row.version
          ? html`<${ConfigState} ...${{ version, state, problem, drifted }} />`
          : html`<${ConfigState} version=${row.version} state="waiting" />`;
      },
    },
  ];
  if (!results.length) return html`<p class="muted">${what} is kept: no agent is meant now, those to come get it.</p>`;
  return html`<${Table} caption="Settings" hideCaption columns=${columns} rows=${results} rowKey=${(row) => row.agent} />`;
}

export function Results({ order, agents, now, close }) {
  return html`<section class="results">
    <h2>What became of it <button type="button" class="quiet" onClick=${close}>Close</button></h2>
    ${order.commands ? html`<${Commands} given=${order.commands} now=${now} />` : html`<${Settings} what=${order.what} results=${order.results} agents=${agents} />`}
  </section>`;
}
