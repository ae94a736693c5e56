// The agents: are they here, do they see everything, does it arrive.
import { useState } from "preact/hooks";
import { html } from "../html.js";
import { get } from "../api.js";
import { plural } from "../format.js";
import { useData, useNow, useThrottled, useTitle } from "../hooks.js";
import { Figures, Health, Interfaces, State, Tags } from "../parts/agent-parts.js";
import { Choosing, useChoice } from "../parts/choosing.js";
import { Empty, Problem } from "../parts/notice.js";
import { mayNot } from "../roles.js";
import { build } from "../route.js";
import { useSession } from "../session.js";
import { useStream } from "../stream.js";
import { EnrolSteps } from "./setup.js";

// `choice` null: nothing is to be chosen.
function Agent({ agent, now, choice }) {
  const tick = choice && html`<input type="checkbox" aria-label=${`Choose ${agent.name}`} checked=${choice.has(agent.id)} disabled=${agent.state === "revoked"} onChange=${() => choice.toggle(agent.id)} />`;
  return html`<article class="agent" aria-label=${`Agent ${agent.name}`}>
    <header>
      ${tick}
      <h2><a href=${build(["agents", agent.id])}>${agent.name}</a></h2>
      <${State} state=${agent.state} />
      <span class="muted">${agent.site}</span>
      <${Tags} tags=${agent.tags} />
      ${agent.open_commands > 0 && html`<span class="muted">${plural(agent.open_commands, "open command")}</span>`}
    </header>
    <${Health} agent=${agent} />
    <${Figures} agent=${agent} now=${now} />
    <${Interfaces} interfaces=${agent.interfaces} />
  </article>`;
}

export function AgentsPage() {
  useTitle("Agents");
  const { principal } = useSession();
  const [choosing, setChoosing] = useState(false);
  const choice = useChoice();
  const now = useNow();
  const { data, error, at, reload } = useData((signal) => get("agents", {}, signal), [], 5000);
  const soon = useThrottled(reload, 500);
  useStream((event) => (event.type.startsWith("agent.") || event.type === "resumed") && soon(), []);

  const agents = data?.results || [];
  const online = agents.filter((agent) => agent.state === "online").length;
  const unwell = agents.filter((agent) => agent.state === "online" && agent.health && agent.health !== "ok").length;
  const refused = mayNot(principal, "operator");
  return html`<div class="page">
    <div class="toolbar">
      <h1>Agents</h1>
      ${agents.length > 0 &&
      html`<p class="summary"><strong>${online}</strong> of ${plural(agents.length, "agent")} online${unwell > 0 && `, ${unwell} not well`}</p>`}
      ${agents.length > 0 && html`<span class="tools"><button type="button" aria-expanded=${String(choosing)} disabled=${Boolean(refused)} title=${refused} onClick=${() => setChoosing(!choosing)}>${choosing ? "Done" : "Choose several"}</button></span>`}
    </div>
    <${Problem} error=${error} at=${at} retry=${reload} />
    ${choosing && html`<${Choosing} agents=${agents} choice=${choice} now=${now} changed=${soon} />`}
    ${data && !agents.length
      ? html`<${Empty} title="No agents yet"><p>An agent listens on a network and reports here. Two steps make one:</p><${EnrolSteps} /></${Empty}>`
      : agents.map((agent) => html`<${Agent} key=${agent.id} agent=${agent} now=${now} choice=${choosing ? choice : null} />`)}
  </div>`;
}
