// What an agent can be told to do: a button each, and a form for what has arguments. The kinds come from the collector.
import { useState } from "preact/hooks";
import { html } from "../html.js";
import { get, post } from "../api.js";
import { useData } from "../hooks.js";
import { mayNot } from "../roles.js";
import { useSession } from "../session.js";
import { Problem } from "./notice.js";

const WORDS = { reload: "Reload", diagnostics: "Diagnostics", log_level: "Log level", capture: "Capture packets" };
const word = (kind) => WORDS[kind.name] || kind.name;

// Why a button cannot be pressed; empty = it can.
function hindrance(kind, agent, principal) {
  if (agent.state === "revoked") return "the agent was revoked";
  const refused = mayNot(principal, kind.role);
  if (refused) return refused;
  if (agent.allowed_commands.length && !agent.allowed_commands.includes(kind.name))
    return `the agent does not allow it: name "${kind.name}" in [remote] allow of its own configuration`;
  return "";
}

function Argument({ argument, agent }) {
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
    ${list && html`<datalist id=${list}>${agent.interfaces.map((one) => html`<option key=${one.name} value=${one.name} />`)}</datalist>`}
  </label>`;
}

function Form({ kind, agent, busy, run, close }) {
  const submit = (event) => {
    event.preventDefault();
    const given = new FormData(event.currentTarget);
    run(kind, Object.fromEntries(kind.arguments.map(({ name, integer }) => [name, integer ? Number(given.get(name)) : given.get(name)])));
  };
  return html`<form class="strip" aria-label=${word(kind)} onSubmit=${submit}>
    ${kind.arguments.map((argument) => html`<${Argument} key=${argument.name} argument=${argument} agent=${agent} />`)}
    <span class="actions">
      <button class="primary" disabled=${busy}>${word(kind)}</button>
      <button type="button" class="quiet" onClick=${close}>Never mind</button>
    </span>
  </form>`;
}

export function CommandForms({ agent, changed }) {
  const { principal } = useSession();
  const { data } = useData((signal) => get("agents/command-kinds", {}, signal), []);
  const [open, setOpen] = useState("");
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState(null);

  const run = async (kind, given) => {
    setBusy(true);
    try {
      await post(`agents/${encodeURIComponent(agent.id)}/commands`, { name: kind.name, arguments: given });
      setError(null);
      setOpen("");
      changed();
    } catch (problem) {
      setError(problem);
    }
    setBusy(false);
  };

  const kinds = data?.results || [];
  const shown = kinds.find((kind) => kind.name === open);
  return html`<div class="orders">
    <div class="buttons">
      ${kinds.map((kind) => {
        const why = hindrance(kind, agent, principal);
        const turn = () => (kind.arguments.length ? setOpen(open === kind.name ? "" : kind.name) : run(kind, {}));
        return html`<button
          key=${kind.name}
          type="button"
          disabled=${busy || Boolean(why)}
          title=${why ? `${kind.summary}. Not now: ${why}` : kind.summary}
          aria-expanded=${kind.arguments.length ? String(open === kind.name) : undefined}
          onClick=${turn}
        >
          ${word(kind)}${kind.arguments.length > 0 && " …"}
        </button>`;
      })}
    </div>
    ${agent.state !== "online" && agent.state !== "revoked" && html`<p class="muted small">The agent is not here; what is ordered now waits for it for a while.</p>`}
    ${shown && html`<${Form} key=${shown.name} kind=${shown} agent=${agent} busy=${busy} run=${run} close=${() => setOpen("")} />`}
    <${Problem} error=${error} />
  </div>`;
}
