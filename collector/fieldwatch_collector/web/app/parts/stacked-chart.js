// Areas stacked over time on a canvas, with a legend and a table of the same numbers.
//
// times: seconds since the epoch, one per step; series: [{key, label, values}], the largest first (drawn at the bottom).
import { useEffect, useRef, useState } from "preact/hooks";
import { html } from "../html.js";
import { bitRate, clock, day } from "../format.js";
import { colour, useColours } from "../theme.js";

const HEIGHT_PX = 260;
const COLOURS = 8; // --series-1 .. --series-8 in style.css
const TABLE_ROWS = 24;
const DAY_S = 86_400;

let library = null;

// uPlot is fetched with the first chart, so that the other pages do not wait for it.
function load() {
  library ??= new Promise((resolve, reject) => {
    const sheet = document.createElement("link");
    sheet.rel = "stylesheet";
    sheet.href = "vendor/uplot.css";
    sheet.onload = () => import("../../vendor/uplot.js").then((module) => resolve(module.default), reject);
    sheet.onerror = reject;
    document.head.append(sheet);
  });
  return library;
}

function stack(series, length) {
  const sum = new Array(length).fill(0);
  return series.map(({ values }) => values.map((value, place) => (sum[place] += value)));
}

function options(width, series, hover) {
  const ink = colour("muted");
  const grid = { stroke: colour("line"), width: 1 };
  const paints = series.map((_, place) => colour(`series-${(place % COLOURS) + 1}`));
  return {
    width,
    height: HEIGHT_PX,
    padding: [12, 8, 0, 0],
    legend: { show: false },
    cursor: { y: false, drag: { x: false, y: false }, points: { show: false } },
    scales: { y: { range: (_, low, high) => [0, high > 0 ? high * 1.05 : 1] } },
    axes: [
      {
        stroke: ink,
        grid: { show: false },
        ticks: grid,
        space: 64,
        size: 34,
        values: (_, ticks) => ticks.map((tick) => (ticks.length > 1 && ticks[1] - ticks[0] >= DAY_S ? day(tick * 1000) : clock(tick * 1000, false))),
      },
      { stroke: ink, grid, ticks: { show: false }, size: 84, space: 44, values: (_, ticks) => ticks.map((tick) => bitRate(tick)) },
    ],
    // Drawn from the top of the stack downwards: every area covers the lower part of the one before it.
    series: [
      {},
      ...series.map((one, place) => ({ label: one.label, stroke: paints[place], width: 1, fill: paints[place], points: { show: false } })).reverse(),
    ],
    hooks: { setCursor: [(plot) => hover(plot.cursor.idx ?? null)] },
  };
}

function Legend({ series, times, at }) {
  const place = at === null ? null : at;
  return html`<div class="legend">
    <span class="muted legend-time">${place === null ? "Average" : clock(times[place] * 1000)}</span>
    <ul>
      ${series.map((one, index) => {
        const value = place === null ? one.values.reduce((sum, each) => sum + each, 0) / (one.values.length || 1) : one.values[place];
        return html`<li key=${one.key}>
          <svg class="swatch" viewBox="0 0 10 10" aria-hidden="true"><rect width="10" height="10" rx="2" style=${{ fill: `var(--series-${(index % COLOURS) + 1})` }} /></svg>
          <span class="legend-name" title=${one.label}>${one.label}</span> <span class="legend-value">${bitRate(value)}</span>
        </li>`;
      })}
    </ul>
  </div>`;
}

function Twin({ caption, series, times }) {
  const every = Math.max(1, Math.ceil(times.length / TABLE_ROWS));
  const rows = [];
  for (let place = 0; place < times.length; place += every) rows.push(place);
  const mean = (values, place) => {
    const part = values.slice(place, place + every);
    return part.reduce((sum, value) => sum + value, 0) / part.length;
  };
  return html`<details class="twin">
    <summary>The chart as a table</summary>
    <div class="table-box">
      <table class="plain small">
        <caption class="sr-only">${caption}</caption>
        <thead>
          <tr><th scope="col">Time</th>${series.map((one) => html`<th key=${one.key} scope="col" class="number">${one.label}</th>`)}</tr>
        </thead>
        <tbody>
          ${rows.map(
            (place) => html`<tr key=${place}>
              <th scope="row">${clock(times[place] * 1000)}</th>
              ${series.map((one) => html`<td key=${one.key} data-label=${one.label} class="number">${bitRate(mean(one.values, place))}</td>`)}
            </tr>`,
          )}
        </tbody>
      </table>
    </div>
  </details>`;
}

export function StackedChart({ label, times, series }) {
  const box = useRef(null);
  const plot = useRef(null);
  const [UPlot, setUPlot] = useState(null);
  const [at, setAt] = useState(null);
  const colours = useColours();
  const shape = series.map((one) => one.key).join("\n");
  const data = [times, ...stack(series, times.length).reverse()];

  useEffect(() => {
    load().then((found) => setUPlot(() => found));
  }, []);

  useEffect(() => {
    if (!UPlot) return undefined;
    const element = box.current;
    plot.current = new UPlot(options(element.clientWidth, series, setAt), data, element);
    const observer = new ResizeObserver(() => plot.current.setSize({ width: element.clientWidth, height: HEIGHT_PX }));
    observer.observe(element);
    return () => {
      observer.disconnect();
      plot.current.destroy();
      plot.current = null;
    };
  }, [UPlot, shape, colours]);

  useEffect(() => {
    plot.current?.setData(data);
  }, [times, series]);

  return html`<figure class="chart">
    <div class="canvas" ref=${box} role="img" aria-label=${`${label}. The numbers are in the table below the chart.`}></div>
    <${Legend} series=${series} times=${times} at=${at !== null && at < times.length ? at : null} />
    <${Twin} caption=${label} series=${series} times=${times} />
  </figure>`;
}
