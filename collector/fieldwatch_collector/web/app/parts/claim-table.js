// What is claimed about a device, key by key; of a key with many values the best ones, until the reader asks for all.
import { useState } from "preact/hooks";
import { html } from "../html.js";
import { count, plural } from "../format.js";
import { Time } from "./time.js";

const SHOWN = 5; // values of one key

const COLUMNS = [
  { title: "What" },
  { title: "Value" },
  { title: "Source" },
  { title: "Confidence" },
  { title: "Evidence" },
  { title: "Times", number: true },
  { title: "Agent" },
  { title: "First" },
  { title: "Last" },
];

function Confidence({ value }) {
  return html`<span class="confidence" title=${`${value} of 100`}><meter min="0" max="100" value=${value} aria-label="Confidence"></meter> ${value}</span>`;
}

// [[key, claims]] in the order in which the claims came: by key, the most credible of each first.
function grouped(claims) {
  const groups = new Map();
  for (const claim of claims) {
    if (!groups.has(claim.key)) groups.set(claim.key, []);
    groups.get(claim.key).push(claim);
  }
  return [...groups];
}

function Claim({ claim, agents, now, children }) {
  return html`<tr>
    ${children}
    <td data-label="Value" class="wide"><span class="value">${claim.value}</span></td>
    <td data-label="Source"><span class="tag">${claim.source}</span></td>
    <td data-label="Confidence"><${Confidence} value=${claim.confidence} /></td>
    <td data-label="Evidence" class="wide"><span class="evidence">${claim.evidence || "–"}</span></td>
    <td data-label="Times" class="number">${count(claim.times)}</td>
    <td data-label="Agent"><span class="muted" title=${claim.agent}>${agents.get(claim.agent) || claim.agent || "–"}</span></td>
    <td data-label="First"><${Time} at=${claim.first_seen} now=${now} /></td>
    <td data-label="Last"><${Time} at=${claim.last_seen} now=${now} /></td>
  </tr>`;
}

function Group({ name, claims, agents, now, open, onTurn }) {
  const folds = claims.length > SHOWN + 1; // a button in place of one row saves nothing
  const shown = folds && !open ? claims.slice(0, SHOWN) : claims;
  return html`<tbody>
    ${shown.map(
      (claim, place) => html`<${Claim} key=${place} claim=${claim} agents=${agents} now=${now}>
        ${place === 0 &&
        html`<th scope="rowgroup" rowspan=${shown.length + (folds ? 1 : 0)}>
          ${name}${claims.length > 1 && html` <span class="muted">${count(claims.length)}</span>`}
        </th>`}
      </${Claim}>`,
    )}
    ${folds &&
    html`<tr class="fold">
      <td colspan=${COLUMNS.length - 1}>
        <button type="button" class="quiet" aria-expanded=${open} onClick=${onTurn}>
          ${open ? "Fewer" : `${plural(claims.length - SHOWN, "more value")} of ${name}`}
        </button>
      </td>
    </tr>`}
  </tbody>`;
}

export function ClaimTable({ caption, claims, agents, now }) {
  const [open, setOpen] = useState(new Set());
  const turn = (key) => {
    const next = new Set(open);
    if (!next.delete(key)) next.add(key);
    setOpen(next);
  };
  return html`<div class="table-box">
    <table class="plain claims">
      <caption>${caption}</caption>
      <thead>
        <tr>${COLUMNS.map((column) => html`<th key=${column.title} scope="col" class=${column.number ? "number" : ""}>${column.title}</th>`)}</tr>
      </thead>
      ${grouped(claims).map(
        ([key, held]) =>
          html`<${Group} key=${key} name=${key.replaceAll("_", " ")} claims=${held} agents=${agents} now=${now} open=${open.has(key)} onTurn=${() => turn(key)} />`,
      )}
    </table>
  </div>`;
}
