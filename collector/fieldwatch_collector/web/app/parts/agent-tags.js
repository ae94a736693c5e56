// The tags of an agent, by which selectors choose it.
import { useState } from "preact/hooks";
import { html } from "../html.js";
import { patch } from "../api.js";
import { Cross } from "../icons.js";
import { mayNot } from "../roles.js";
import { useSession } from "../session.js";
import { Tags } from "./agent-parts.js";
import { Problem } from "./notice.js";

export function AgentTags({ agent, changed }) {
  const { principal } = useSession();
  const [open, setOpen] = useState(false);
  const [error, setError] = useState(null);
  const change = (tags) =>
    patch(`agents/${encodeURIComponent(agent.id)}`, { tags }).then(() => {
      setError(null);
      changed();
      return true;
    }, setError);
  const submit = async (event) => {
    event.preventDefault();
    const form = event.currentTarget;
    const [key, value] = new FormData(form).get("tag").split("=", 2);
    if (await change({ [key.trim()]: (value || "").trim() })) form.reset();
  };

  if (mayNot(principal, "admin")) return html`<p class="tag-line"><${Tags} tags=${agent.tags} /></p>`;
  if (!open)
    return html`<p class="tag-line"><${Tags} tags=${agent.tags} /> <button type="button" class="quiet" onClick=${() => setOpen(true)}>${Object.keys(agent.tags).length ? "Change tags" : "Add tags"}</button></p>`;
  return html`<div class="tag-line">
    ${Object.entries(agent.tags).map(
      ([key, value]) => html`<span key=${key} class="tag">${key}=${value} <button type="button" class="quiet" aria-label=${`Remove tag ${key}`} onClick=${() => change({ [key]: null })}><${Cross} /></button></span>`,
    )}
    <form class="strip" aria-label="Tags" onSubmit=${submit}>
      <label><span class="sr-only">New tag</span> <input name="tag" placeholder="role=edge" pattern="[^=]+=[^=]+" title="KEY=VALUE" required autofocus autocapitalize="off" spellcheck=${false} /></label>
      <span class="actions"><button>Add</button> <button type="button" class="quiet" onClick=${() => setOpen(false)}>Done</button></span>
    </form>
    <${Problem} error=${error} />
  </div>`;
}
