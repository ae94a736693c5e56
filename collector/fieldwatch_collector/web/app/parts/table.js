// A plain table. On a narrow screen each row stands as a block, each cell with its column's name in front.
import { html } from "../html.js";

// columns: [{key, title, cell(row), number?, wide?}]; rows are told apart by `rowKey(row)`.
export function Table({ caption, columns, rows, rowKey, hideCaption }) {
  return html`<div class="table-box">
    <table class="plain">
      <caption class=${hideCaption ? "sr-only" : ""}>${caption}</caption>
      <thead>
        <tr>
          ${columns.map((column) => html`<th key=${column.key} scope="col" class=${column.number ? "number" : ""}>${column.title}</th>`)}
        </tr>
      </thead>
      <tbody>
        ${rows.map(
          (row, place) => html`<tr key=${rowKey ? rowKey(row) : place}>
            ${columns.map(
              (column) =>
                html`<td key=${column.key} data-label=${column.title} class=${`${column.number ? "number" : ""} ${column.wide ? "wide" : ""}`}>
                  ${column.cell(row)}
                </td>`,
            )}
          </tr>`,
        )}
      </tbody>
    </table>
  </div>`;
}
