// What agents can be told to do: a button each, and a form for what has arguments. The kinds come from the collector.
import { useState } from "preact/hooks";
import { html } from "../html.js";
import { get, post } from "../api.js";
import { useData } from "../hooks.js";
import { mayNot } from "../roles.js";
import { useSession } from "../session.js";
import { Problem } from "./notice.js";

const WORDS = { reload: "Reload", diagnostics: "Diagnostics", log_level: "Log level", capture: "Capture packets" };
const word = (kind) => WORDS[kind.name] || kind.name;

// Agents whose own configuration says that they refuse it; one that tells nothing may know it.
const unwilling = (kind, agents) => agents.filter(({ allowed_commands: allowed }) => allowed.length && !allowed.includes(kind.name));

// Why a button cannot be pressed; empty = it can.
function hindrance(kind, agents, principal) {
  if (agents.every((agent) => agent.state === "revoked")) return "the agent was revoked";
  const refused = mayNot(principal, kind.role);
  if (refused) return refused;
  if (unwilling(kind, agents).length < agents.length) return "";
  return `${agents.length > 1 ? "no agent allows" : "the agent does not allow"} it: name "${kind.name}" in [remote] allow of its own configuration`;
}

function title(kind, agents, why) {
  if (why) return `${kind.summary}. Not now: ${why}`;
  const count = unwilling(kind, agents).length;
  return count ? `${kind.summary}. ${count} of ${agents.length} agents do not allow it, and will refuse` : kind.summary;
}

// What is said beside the buttons of agents that are not connected.
function absence(agents) {
  const away = agents.filter((agent) => agent.state !== "online" && agent.state !== "revoked").length;
  if (!away) return "";
  const who = agents.length > 1 ? `${away} of ${agents.length} agents are not here` : "The agent is not here";
  return `${who}; what is ordered now waits for ${away > 1 ? "them" : "it"} for a while.`;
}

function Argument({ argument, interfaces }) {
  const { name, help, choices, integer, low, high, required } = argument;
  const label = name.replace(/_/g, " ");
  if (choices.length)
    return html`<label title=${help}>${label}
      <select name=${name} required=${required}>${choices.map((choice) => html`<option key=${choice}>${choice}</option>`)}</select>
    </label>`;
  const list = name === "interface" ? "agent-interfaces" : undefined;
  return html`<label title=${help}>${label}
    <input name=${name} type=${integer ? "number" : "text"} min=${integer ? low : undefined} max=${integer ? high : undefined}
      maxlength=${integer ? undefined : high || undefined} value=${argument.default} required=${required || integer}
      list=${list} autocomplete="off" autocapitalize="off" spellcheck=${false} />
    ${list && html`<datalist id=${list}>${interfaces.map((name) => html`<option key=${name} value=${name} />`)}</datalist>`}
  </label>`;
}

function Form({ kind, agents, busy, run, close }) {
  const interfaces = [...new Set(agents.flatMap((agent) => agent.interfaces.map((one) => one.name)))];
  const submit = (event) => {
    event.preventDefault();
    const given = new FormData(event.currentTarget);
    run(kind, Object.fromEntries(kind.arguments.map(({ name, integer }) => [name, integer ? Number(given.get(name)) : given.get(name)])));
  };
  return html`<form class="strip" aria-label=${word(kind)} onSubmit=${submit}>
    ${kind.arguments.map((argument) => html`<${Argument} key=${argument.name} argument=${argument} interfaces=${interfaces} />`)}
    <span class="actions">
      <button class="primary" disabled=${busy}>${word(kind)}</button>
      <button type="button" class="quiet" onClick=${close}>Never mind</button>
    </span>
  </form>`;
}

// `meant`: {agents: [ids]} or {select}; `agents`: those that it means now. `changed(reply)`: a list of commands.
export function CommandForms({ agents, meant, changed }) {
  const { principal } = useSession();
  const { data } = useData((signal) => get("agents/command-kinds", {}, signal), []);
  const [open, setOpen] = useState("");
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState(null);

  const run = async (kind, given) => {
    setBusy(true);
    try {
      const reply = await post("agents/commands", { ...meant, name: kind.name, arguments: given });
      setError(null);
      setOpen("");
      changed(reply);
    } catch (problem) {
      setError(problem);
    }
    setBusy(false);
  };

  const kinds = data?.results || [];
  const absent = absence(agents);
  const shown = kinds.find((kind) => kind.name === open);
  return html`<div class="orders">
    <div class="buttons">
      ${kinds.map((kind) => {
        const why = hindrance(kind, agents, principal);
        const turn = () => (kind.arguments.length ? setOpen(open === kind.name ? "" : kind.name) : run(kind, {}));
        return html`<button
          key=${kind.name}
          type="button"
          disabled=${busy || Boolean(why)}
          title=${title(kind, agents, why)}
          aria-expanded=${kind.arguments.length ? String(open === kind.name) : undefined}
          onClick=${turn}
        >
          ${word(kind)}${kind.arguments.length > 0 && " …"}
        </button>`;
      })}
    </div>
    ${absent && html`<p class="muted small">${absent}</p>`}
    ${shown && html`<${Form} key=${shown.name} kind=${shown} agents=${agents} busy=${busy} run=${run} close=${() => setOpen("")} />`}
    <${Problem} error=${error} />
  </div>`;
}
