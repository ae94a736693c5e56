// One of a few, as a row of buttons (a radio group for screen readers and the arrow keys).
import { html } from "../html.js";

export function Choice({ label, options, value, onChange }) {
  const keys = options.map(([key]) => key);
  const move = (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const place = (keys.indexOf(value) + step + keys.length) % keys.length;
    event.currentTarget.children[place].focus();
    onChange(keys[place]);
  };
  return html`<div class="choice" role="radiogroup" aria-label=${label} onKeyDown=${move}>
    ${options.map(
      ([key, word]) => html`<button
        key=${key}
        type="button"
        role="radio"
        aria-checked=${key === value ? "true" : "false"}
        tabindex=${key === value ? 0 : -1}
        onClick=${() => onChange(key)}
      >
        ${word}
      </button>`,
    )}
  </div>`;
}
