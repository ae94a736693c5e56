// The agents: are they here, do they see everything, does it arrive.
import { html } from "../html.js";
import { get } from "../api.js";
import { bytes, count, duration, percent, plural } from "../format.js";
import { useData, useNow, useThrottled, useTitle } from "../hooks.js";
import { Cross, Dot, Half, Ring, Warning } from "../icons.js";
import { Empty, Problem } from "../parts/notice.js";
import { Time } from "../parts/time.js";
import { useStream } from "../stream.js";
import { EnrolSteps } from "./setup.js";

const STATES = {
  online: [Dot, "ok", "Online"],
  offline: [Ring, "bad", "Offline"],
  revoked: [Cross, "muted", "Revoked"],
  never: [Half, "waiting", "Not yet connected"],
};

function State({ state }) {
  const [icon, className, word] = STATES[state] || [Ring, "muted", state];
  return html`<span class=${`state ${className}`}><${icon} /> ${word}</span>`;
}

// A number that ought to be zero.
function Loss({ value, text, title }) {
  return value > 0 ? html`<span class="state bad" title=${title}><${Warning} /> ${text}</span>` : html`<span>0</span>`;
}

function Figure({ title, children, note }) {
  return html`<div><dt>${title}</dt><dd>${children}${note && html`<span class="note">${note}</span>`}</dd></div>`;
}

function Interfaces({ interfaces }) {
  if (!interfaces.length) return null;
  return html`<table class="plain small">
    <caption class="sr-only">Interfaces</caption>
    <thead>
      <tr><th scope="col">Interface</th><th scope="col">Link</th><th scope="col" class="number">Frames</th><th scope="col" class="number">Dropped</th></tr>
    </thead>
    <tbody>
      ${interfaces.map(
        (one) => html`<tr key=${one.name}>
          <td class="mono" data-label="Interface">${one.name}</td>
          <td data-label="Link">${one.up ? html`<span class="state ok"><${Dot} /> up</span>` : html`<span class="state bad"><${Ring} /> down</span>`}</td>
          <td class="number" data-label="Frames">${count(one.frames)}</td>
          <td class="number" data-label="Dropped"><${Loss} value=${one.dropped} text=${count(one.dropped)} title="The kernel had no room for them" /></td>
        </tr>`,
      )}
    </tbody>
  </table>`;
}

function Agent({ agent, now }) {
  const all = agent.frames_seen + agent.frames_dropped;
  const lost = agent.records_lost + agent.frames_lost;
  return html`<article class="agent" aria-label=${`Agent ${agent.name}`}>
    <header>
      <h2>${agent.name}</h2>
      <${State} state=${agent.state} />
      <span class="muted">${agent.site}</span>
    </header>
    <dl class="figures">
      <${Figure} title="Last contact"><${Time} at=${agent.last_contact} now=${now} /></${Figure}>
      <${Figure} title="Frames seen" note="since it started">${count(agent.frames_seen)}</${Figure}>
      <${Figure} title="Dropped by the kernel" note="since it started"><${Loss} value=${agent.frames_dropped} text=${`${count(agent.frames_dropped)} (${percent(agent.frames_dropped, all)})`} title="Frames that came faster than they were read" /></${Figure}>
      <${Figure} title="Rejected" note="not decodable, since it started">${count(agent.frames_rejected)}</${Figure}>
      <${Figure} title="Waiting in the spool" note=${agent.spool_records ? html`${bytes(agent.spool_bytes)}, oldest <${Time} at=${agent.spool_oldest} now=${now} />` : null}>
        ${agent.spool_records ? plural(agent.spool_records, "record") : "nothing"}
      </${Figure}>
      <${Figure} title="Stored here" note="since it was enrolled">${plural(agent.records_stored, "record")}</${Figure}>
      <${Figure} title="Declared lost" note="since it was enrolled"><${Loss} value=${lost} text=${`${plural(agent.records_lost, "record")}, ${plural(agent.frames_lost, "frame")}`} title="The agent says so: evicted, damaged, or an unclean stop" /></${Figure}>
      <${Figure} title="Memory">${agent.rss_bytes ? bytes(agent.rss_bytes) : "–"}</${Figure}>
      <${Figure} title="Up for">${agent.state === "online" && agent.uptime_s ? duration(agent.uptime_s) : "–"}</${Figure}>
      <${Figure} title="Version">${agent.version || "–"}</${Figure}>
    </dl>
    <${Interfaces} interfaces=${agent.interfaces} />
  </article>`;
}

export function AgentsPage() {
  useTitle("Agents");
  const now = useNow();
  const { data, error, at, reload } = useData((signal) => get("agents", {}, signal), [], 5000);
  const soon = useThrottled(reload, 500);
  useStream((event) => (event.type.startsWith("agent.") || event.type === "resumed") && soon(), []);

  const agents = data?.results || [];
  const online = agents.filter((agent) => agent.state === "online").length;
  return html`<div class="page">
    <div class="toolbar">
      <h1>Agents</h1>
      ${agents.length > 0 && html`<p class="summary"><strong>${online}</strong> of ${plural(agents.length, "agent")} online</p>`}
    </div>
    <${Problem} error=${error} at=${at} retry=${reload} />
    ${data && !agents.length
      ? html`<${Empty} title="No agents yet"><p>An agent listens on a network and reports here. Two steps make one:</p><${EnrolSteps} /></${Empty}>`
      : agents.map((agent) => html`<${Agent} key=${agent.id} agent=${agent} now=${now} />`)}
  </div>`;
}
