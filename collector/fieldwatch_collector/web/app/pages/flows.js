// Who speaks to whom, and how much: top talkers over time, then the flows themselves.
import { useState } from "preact/hooks";
import { html } from "../html.js";
import { exportAddress, get } from "../api.js";
import { bytes, millis } from "../format.js";
import { useData, useNow, useStill, useTitle } from "../hooks.js";
import { Save } from "../icons.js";
import { Choice } from "../parts/choice.js";
import { FlowGrid } from "../parts/flow-grid.js";
import { Empty, Problem } from "../parts/notice.js";
import { SiteChoice, useSites } from "../parts/sites.js";
import { StackedChart } from "../parts/stacked-chart.js";
import { TopTable } from "../parts/top-table.js";
import { setParams } from "../route.js";

const ALL = "all"; // since the oldest flow that is held: a replayed capture lives in its own time
const RANGES = [["15m", "15 min"], ["1h", "1 hour"], ["24h", "24 hours"], [ALL, "All"]];
const SPANS = { "15m": "in the last 15 minutes", "1h": "in the last hour", "24h": "in the last 24 hours", [ALL]: "in all" };
const KINDS = [["device", "Devices"], ["application", "Applications"], ["pair", "Pairs"], ["port", "Ports"]];
const ONE = { device: "Device", application: "Application", pair: "Pair", port: "Port" };
const REFRESH_MS = { "15m": 10_000, "1h": 20_000, "24h": 60_000, [ALL]: 60_000 };
const SERIES = 7;
const TOP_ROWS = 10;
const PROTOCOLS = ["tcp", "udp", "icmp", "ipv6-icmp", "sctp"];

// What the chart draws: the start of each step in seconds, and octets per step as bit/s.
function chartOf({ start, step_s: step, series }) {
  const first = millis(start) / 1000;
  const steps = series[0]?.values.length || 0;
  return {
    times: Array.from({ length: steps }, (_, place) => first + place * step),
    series: series.map((one) => ({ key: one.key, label: one.label || one.key, values: one.values.map((octets) => (8 * octets) / step) })),
  };
}

function Filters({ filter, onFilter }) {
  const change = (name) => (event) => onFilter({ ...filter, [name]: event.currentTarget.value.trim() });
  return html`<div class="filters" role="search" aria-label="Filter flows">
    <label class="field-inline"><span>Address</span><input size="16" value=${filter.ip} onInput=${change("ip")} placeholder="192.168.1.10" spellcheck=${false} /></label>
    <label class="field-inline"><span>Port</span><input size="6" inputmode="numeric" pattern="[0-9]*" value=${filter.port} onInput=${change("port")} placeholder="443" /></label>
    <label class="field-inline"><span>Protocol</span>
      <select value=${filter.protocol} onChange=${change("protocol")}>
        <option value="">any</option>
        ${PROTOCOLS.map((name) => html`<option key=${name} value=${name}>${name}</option>`)}
      </select>
    </label>
    <label class="field-inline"><span>Application</span><input size="10" value=${filter.application} onInput=${change("application")} placeholder="https" spellcheck=${false} /></label>
  </div>`;
}

export function FlowsPage({ params }) {
  useTitle("Flows");
  const now = useNow(2000);
  const range = params.range || "1h";
  const by = params.by || "device";
  const site = params.site || "";
  const device = params.device || "";
  const sites = useSites();
  const [filter, setFilter] = useState({ ip: params.ip || "", port: params.port || "", protocol: "", application: "" });
  const [sort, setSort] = useState("-last_seen");
  const still = useStill(filter, 300);

  const { data, error, at, reload } = useData(
    async (signal) => {
      const question = { by, since: range === ALL ? "" : range, site };
      const [top, series] = await Promise.all([
        get("flows/top", { ...question, limit: TOP_ROWS }, signal),
        get("flows/series", { ...question, limit: SERIES }, signal),
      ]);
      return { by, top, ...chartOf(series) };
    },
    [by, range, site],
    REFRESH_MS[range],
  );
  const quiet = data && !data.top.results.length;
  const question = { since: range === ALL ? "" : range, site, device, ...still };

  return html`<div class="page">
    <div class="toolbar">
      <h1>Flows</h1>
      ${data && !quiet && html`<p class="summary"><strong>${bytes(data.top.total_bytes)}</strong> <span class="muted">${SPANS[range] || `in the last ${range}`}</span></p>`}
      <div class="tools">
        <${SiteChoice} sites=${sites} value=${site} onChange=${(value) => setParams({ site: value })} />
        <${Choice} label="Top talkers by" options=${KINDS} value=${by} onChange=${(value) => setParams({ by: value })} />
        <${Choice} label="Time range" options=${RANGES} value=${range} onChange=${(value) => setParams({ range: value })} />
      </div>
    </div>
    <${Problem} error=${error} at=${at} retry=${reload} />
    ${quiet
      ? html`<${Empty} title="No traffic in this time">
          <p>Flows are written when they end, or after the agent's active timeout.</p>
          ${range !== ALL && html`<p><button type="button" onClick=${() => setParams({ range: ALL })}>Show all that is held</button></p>`}
        </${Empty}>`
      : html`<section class="talkers">
          <div class="panel">
            <h2>Traffic over time</h2>
            ${data && html`<${StackedChart} label=${`Traffic over time by ${ONE[data.by].toLowerCase()}, bit/s`} times=${data.times} series=${data.series} />`}
          </div>
          <div class="panel">
            <h2>Top talkers${by === "device" && html` <span class="muted small">a flow counts for both its ends</span>`}</h2>
            ${data && html`<${TopTable} title=${ONE[data.by]} by=${data.by} rows=${data.top.results} total=${data.top.total_bytes} />`}
          </div>
        </section>`}
    <section class="flow-list">
      <div class="toolbar">
        <h2>Flows${device && html` of one device <a class="button quiet" href="#/flows">all devices</a>`}</h2>
        <div class="tools">
          <${Filters} filter=${filter} onFilter=${setFilter} />
          <a class="button quiet" href=${exportAddress("flows", question, "csv")} download="flows.csv"><${Save} /> CSV</a>
        </div>
      </div>
      <${FlowGrid} filter=${question} sort=${sort} onSort=${setSort} now=${now} />
    </section>
  </div>`;
}
