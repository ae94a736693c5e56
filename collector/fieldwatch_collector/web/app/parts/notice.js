// What stands where rows would stand, and what went wrong: always with the next thing to do.
import { html } from "../html.js";
import { Warning } from "../icons.js";
import { clock } from "../format.js";

export function Empty({ title, children }) {
  return html`<div class="empty"><h2>${title}</h2>${children}</div>`;
}

// Stale rows stay on the page; this line says that they are stale, and why.
export function Problem({ error, at, retry }) {
  if (!error) return null;
  return html`<p class="problem" role="alert">
    <${Warning} /> <span>${error.message}${at ? ` What you see is from ${clock(at)}.` : ""}</span>
    ${retry && html`<button type="button" class="quiet" onClick=${retry}>Try again</button>`}
  </p>`;
}
