// A table of any length: only the rows in sight are in the document, and the reader is told how many there are.
//
// Keyboard: one row is in the tab order; arrows, Page Up/Down, Home and End move, Enter opens. The active row is kept by
// its key, so rows that arrive above it do not move the reader.
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { html } from "../html.js";
import { Down, Up } from "../icons.js";

const OVERSCAN_ROWS = 8;
const END_IN_SIGHT_ROWS = 40;

function useWindow(box, rowCount) {
  const [view, setView] = useState({ top: 0, height: 800, row: 37 });
  useLayoutEffect(() => {
    const element = box.current;
    const measure = () => {
      const row = parseFloat(getComputedStyle(element).getPropertyValue("--row-height")) || 37;
      setView((old) =>
        old.top === element.scrollTop && old.height === element.clientHeight && old.row === row
          ? old
          : { top: element.scrollTop, height: element.clientHeight, row },
      );
    };
    measure();
    element.addEventListener("scroll", measure, { passive: true });
    const observer = new ResizeObserver(measure);
    observer.observe(element);
    return () => {
      element.removeEventListener("scroll", measure);
      observer.disconnect();
    };
  }, []);
  const first = Math.max(0, Math.floor(view.top / view.row) - OVERSCAN_ROWS);
  const last = Math.min(rowCount, Math.ceil((view.top + view.height) / view.row) + OVERSCAN_ROWS);
  return { first: Math.min(first, last), last, row: view.row, page: Math.max(1, Math.floor(view.height / view.row) - 2) };
}

function Heading({ column, sort, onSort }) {
  const [key, descending] = sort.startsWith("-") ? [sort.slice(1), true] : [sort, false];
  const active = key === column.key;
  const order = active ? (descending ? "descending" : "ascending") : undefined;
  const turn = () => onSort(active ? (descending ? column.key : `-${column.key}`) : column.first || column.key);
  return html`<th scope="col" role="columnheader" aria-sort=${order} class=${`c-${column.key} ${column.number ? "number" : ""}`}>
    ${column.sortable
      ? html`<button type="button" class=${active ? "active" : ""} onClick=${turn}>
          ${column.title}<span class="arrow">${active && (descending ? html`<${Down} />` : html`<${Up} />`)}</span>
        </button>`
      : column.title}
  </th>`;
}

// columns: [{key, title, cell(row), sortable?, first? (sort of the first click), number?}]
export function Grid({ label, columns, rows, total, rowKey, rowClass, sort, onSort, onOpen, onEndInSight, name }) {
  const box = useRef(null);
  const [activeKey, setActiveKey] = useState(null);
  const wantsFocus = useRef(false);
  const hasFocus = useRef(false);
  const { first, last, row: rowHeight, page } = useWindow(box, rows.length);
  const active = activeKey === null ? -1 : rows.findIndex((row) => rowKey(row) === activeKey);
  const tabStop = active >= first && active < last ? active : first;

  const go = (place) => {
    const next = Math.max(0, Math.min(rows.length - 1, place));
    const element = box.current;
    const header = element.querySelector("thead").offsetHeight;
    const top = next * rowHeight;
    if (top < element.scrollTop) element.scrollTop = top;
    else if (top + rowHeight > element.scrollTop + element.clientHeight - header)
      element.scrollTop = top + rowHeight - element.clientHeight + header;
    wantsFocus.current = true;
    setActiveKey(rowKey(rows[next]));
  };

  // The focused row may have left the window because others moved: the focus follows it instead of getting lost.
  useLayoutEffect(() => {
    if (hasFocus.current && document.activeElement === document.body && rows.length) go(Math.max(active, 0));
  });
  const onFocusOut = ({ target }) => queueMicrotask(() => target.isConnected && (hasFocus.current = false));

  useEffect(() => {
    if (!wantsFocus.current) return;
    const element = box.current.querySelector('tr[tabindex="0"][data-active]');
    if (element) {
      wantsFocus.current = false;
      element.focus({ preventScroll: true });
    }
  });

  useEffect(() => {
    if (onEndInSight && last > rows.length - END_IN_SIGHT_ROWS) onEndInSight();
  }, [last, rows.length, onEndInSight]);

  const onKeyDown = (event) => {
    const place = Number(event.target.closest("tr")?.dataset.place);
    if (event.target.tagName !== "TR" || Number.isNaN(place)) return;
    const to = {
      ArrowDown: place + 1,
      ArrowUp: place - 1,
      PageDown: place + page,
      PageUp: place - page,
      Home: 0,
      End: rows.length - 1,
    }[event.key];
    if (to !== undefined) {
      event.preventDefault();
      go(to);
    } else if (event.key === "Enter" && onOpen) {
      event.preventDefault();
      onOpen(rows[place]);
    }
  };

  const onClick = (event) => {
    if (!onOpen || event.target.closest("a, button") || getSelection().toString()) return;
    const place = event.target.closest("tbody tr")?.dataset.place;
    if (place !== undefined) onOpen(rows[Number(place)]);
  };

  const shown = [];
  for (let place = first; place < last; place += 1) {
    const row = rows[place];
    const key = rowKey(row);
    shown.push(html`<tr
      key=${key}
      role="row"
      aria-rowindex=${place + 2}
      data-place=${place}
      data-active=${key === activeKey ? "" : undefined}
      tabindex=${place === tabStop ? 0 : -1}
      class=${(rowClass && rowClass(row)) || undefined}
      onFocus=${() => {
        hasFocus.current = true;
        if (key !== activeKey) setActiveKey(key);
      }}
    >
      ${columns.map(
        (column) =>
          html`<td key=${column.key} role="gridcell" class=${`c-${column.key} ${column.number ? "number" : ""}`}>${column.cell(row)}</td>`,
      )}
    </tr>`);
  }

  return html`<div class=${`grid-box ${name}`} ref=${box}>
    <table
      class=${`grid ${onOpen ? "opens" : ""}`}
      role="grid"
      aria-label=${label}
      aria-rowcount=${Math.max(total || 0, rows.length) + 1}
      aria-colcount=${columns.length}
      onKeyDown=${onKeyDown}
      onFocusOut=${onFocusOut}
      onClick=${onClick}
    >
      <thead>
        <tr role="row" aria-rowindex="1">
          ${columns.map((column) => html`<${Heading} key=${column.key} column=${column} sort=${sort} onSort=${onSort} />`)}
        </tr>
      </thead>
      <tbody>
        ${first > 0 && html`<tr key="before" class="space" aria-hidden="true"><td style=${{ height: `${first * rowHeight}px` }}></td></tr>`}
        ${shown}
        ${last < rows.length &&
        html`<tr key="after" class="space" aria-hidden="true"><td style=${{ height: `${(rows.length - last) * rowHeight}px` }}></td></tr>`}
      </tbody>
    </table>
  </div>`;
}
