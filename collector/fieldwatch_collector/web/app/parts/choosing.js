// Several agents at once: which ones, what they are to do or to have set, and what became of it, agent by agent.
import { useState } from "preact/hooks";
import { html } from "../html.js";
import { get } from "../api.js";
import { plural } from "../format.js";
import { mayNot } from "../roles.js";
import { useSession } from "../session.js";
import { CommandForms } from "./command-forms.js";
import { Problem } from "./notice.js";
import { Results } from "./results.js";
import { SettingForm } from "./setting-form.js";

const NAMED = 8; // that are told by name

// {ids, select, has, toggle, take, clear}. `select` is the selector that gave the ids, until one is changed by hand.
export function useChoice() {
  const [chosen, setChosen] = useState({ ids: [], select: "" });
  const has = (id) => chosen.ids.includes(id);
  return {
    ...chosen,
    has,
    toggle: (id) => setChosen({ ids: has(id) ? chosen.ids.filter((one) => one !== id) : [...chosen.ids, id], select: "" }),
    take: (select, ids) => setChosen({ ids, select }),
    clear: () => setChosen({ ids: [], select: "" }),
  };
}

function terms(agents) {
  const found = agents.flatMap(({ site, tags }) => [`site=${site}`, ...Object.entries(tags).map(([key, value]) => `${key}=${value}`)]);
  return [...new Set(found)].sort();
}

function Selector({ agents, choice, setError }) {
  const take = async (select) => {
    try {
      const found = await get("agents", { select });
      choice.take(select, found.results.filter((agent) => agent.state !== "revoked").map((agent) => agent.id));
      setError(null);
    } catch (problem) {
      setError(problem);
    }
  };
  const submit = (event) => {
    event.preventDefault();
    take(new FormData(event.currentTarget).get("select").trim());
  };
  return html`<form class="strip" aria-label="Choose agents" onSubmit=${submit}>
    <label>By site or tag
      <input name="select" placeholder="site=hq,role=edge" title="terms that must all hold: site=NAME or TAG=VALUE" required list="agent-terms" autocomplete="off" autocapitalize="off" spellcheck=${false} />
      <datalist id="agent-terms">${terms(agents).map((term) => html`<option key=${term} value=${term} />`)}</datalist>
    </label>
    <span class="actions">
      <button>Choose</button>
      <button type="button" onClick=${() => take("*")}>All</button>
      <button type="button" disabled=${!choice.ids.length && !choice.select} onClick=${choice.clear}>None</button>
    </span>
  </form>`;
}

function Sum({ chosen, select }) {
  if (!chosen.length && !select) return html`<p class="muted">Tick agents below, or choose them by a site or a tag.</p>`;
  const names = chosen.slice(0, NAMED).map((agent) => agent.name).join(", ");
  const more = chosen.length > NAMED ? ` and ${chosen.length - NAMED} more` : "";
  const by = select === "*" ? "every one" : select;
  return html`<p>
    <strong>${plural(chosen.length, "agent")}</strong>${chosen.length > 0 && `: ${names}${more}`}${select &&
    html` <span class="muted">(${by}; a setting also holds for agents to come)</span>`}
  </p>`;
}

export function Choosing({ agents, choice, now, changed }) {
  const { principal } = useSession();
  const [error, setError] = useState(null);
  const [order, setOrder] = useState(null);
  const chosen = agents.filter((agent) => choice.has(agent.id) && agent.state !== "revoked");
  const meant = choice.select ? { select: choice.select } : { agents: chosen.map((agent) => agent.id) };
  const commanded = (reply) => {
    setOrder({ commands: reply.results });
    changed();
  };
  const set = (reply, what) => {
    setOrder({ what, results: reply.results });
    changed();
  };

  return html`<section class="choosing" aria-label="Several agents">
    <${Selector} agents=${agents} choice=${choice} setError=${setError} />
    <${Problem} error=${error} />
    <${Sum} chosen=${chosen} select=${choice.select} />
    ${chosen.length > 0 && html`<${CommandForms} agents=${chosen} meant=${meant} changed=${commanded} />`}
    ${(chosen.length > 0 || choice.select) && html`<${SettingForm} label="Set for these agents" meant=${meant} refused=${mayNot(principal, "admin")} changed=${set} />`}
    ${order && html`<${Results} order=${order} agents=${agents} now=${now} close=${() => setOrder(null)} />`}
  </section>`;
}
