// The top talkers, each with a bar as long as its share.
import { html } from "../html.js";
import { bytes, count, percent } from "../format.js";

function Name({ by, row }) {
  if (by === "device") return html`<a href=${`#/devices/${encodeURIComponent(row.key)}`}>${row.label}</a>`;
  return html`${row.label || row.key}`;
}

export function TopTable({ title, by, rows, total }) {
  const most = rows[0]?.bytes || 1;
  return html`<div class="table-box">
    <table class="plain top-talkers">
      <caption class="sr-only">${title}</caption>
      <thead>
        <tr>
          <th scope="col">${title}</th>
          <th scope="col" class="number">Traffic</th>
          <th scope="col" class="number">Share</th>
          <th scope="col" class="number">Flows</th>
        </tr>
      </thead>
      <tbody>
        ${rows.map(
          (row) => html`<tr key=${row.key}>
            <td class="bar-cell" data-label=${title}>
              <span class="bar" style=${{ width: `${Math.max(0.5, (100 * row.bytes) / most)}%` }} aria-hidden="true"></span>
              <span class="bar-text" title=${row.label}><${Name} by=${by} row=${row} /></span>
            </td>
            <td class="number" data-label="Traffic">${bytes(row.bytes)}</td>
            <td class="number" data-label="Share">${percent(row.bytes, total)}</td>
            <td class="number" data-label="Flows">${count(row.flows)}</td>
          </tr>`,
        )}
      </tbody>
    </table>
  </div>`;
}
