// A time as its distance from now; the exact one as its title.
import { html } from "../html.js";
import { ago, exact } from "../format.js";

export function Time({ at, now }) {
  if (!at) return html`<span class="muted">never</span>`;
  return html`<time datetime=${at} title=${exact(at)}>${ago(at, now)}</time>`;
}
