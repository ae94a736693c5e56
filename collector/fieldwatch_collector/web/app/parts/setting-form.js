// One setting for the agents that are meant: `meant` is {agents: [ids]}, or {select}, which holds for agents to come too.
import { useState } from "preact/hooks";
import { html } from "../html.js";
import { patch } from "../api.js";
import { Problem } from "./notice.js";

// A number, true, false or a list as JSON has it; anything else is a text.
function parsed(word) {
  try {
    const value = JSON.parse(word);
    return value === null || (typeof value === "object" && !Array.isArray(value)) ? word : value;
  } catch {
    return word;
  }
}

// `changed(reply, what)` is told what was set, in words.
export function SettingForm({ label, meant, refused, changed }) {
  const [error, setError] = useState(null);
  const [busy, setBusy] = useState(false);

  const submit = async (event) => {
    event.preventDefault();
    const form = event.currentTarget;
    const given = new FormData(form);
    const [section, key] = given.get("setting").split(".");
    setBusy(true);
    try {
      const reply = await patch("agents/config", { ...meant, settings: { [section]: { [key]: parsed(given.get("value")) } } });
      setError(null);
      form.reset();
      changed(reply, `${given.get("setting")} = ${given.get("value")}`);
    } catch (problem) {
      setError(problem);
    }
    setBusy(false);
  };

  const off = Boolean(refused);
  return html`<form class="strip" aria-label=${label} onSubmit=${submit}>
      <label>Setting <input name="setting" placeholder="flows.idle" pattern="[a-z][a-z0-9_]*\\.[a-z][a-z0-9_]*" title="section.key, as in the agent's file" required disabled=${off} autocomplete="off" autocapitalize="off" spellcheck=${false} /></label>
      <label>Value <input name="value" placeholder="30 s" required disabled=${off} autocomplete="off" autocapitalize="off" spellcheck=${false} /></label>
      <span class="actions"><button disabled=${off || busy} title=${refused}>${label}</button></span>
    </form>
    <${Problem} error=${error} />`;
}
