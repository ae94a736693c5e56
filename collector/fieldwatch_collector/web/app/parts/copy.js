// A command to copy.
import { useState } from "preact/hooks";
import { html } from "../html.js";
import { Check, Copy } from "../icons.js";

export function Command({ text }) {
  const [done, setDone] = useState(false);
  const copy = async (event) => {
    const code = event.currentTarget.previousElementSibling;
    try {
      await navigator.clipboard.writeText(text);
      setDone(true);
      setTimeout(() => setDone(false), 2000);
    } catch {
      getSelection().selectAllChildren(code); // no right to the clipboard: the text is selected for Ctrl+C
    }
  };
  return html`<div class="command">
    <code>${text}</code>
    <button type="button" class="quiet" onClick=${copy}>${done ? html`<${Check} /> Copied` : html`<${Copy} /> Copy`}</button>
  </div>`;
}
