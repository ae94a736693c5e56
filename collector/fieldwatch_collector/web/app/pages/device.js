// One device: what is claimed about it and why, where it was seen, and with whom it spoke.
import { html } from "../html.js";
import { get } from "../api.js";
import { LOCAL_MAC, ago, bytes, count, deviceName, exact, plural, vendorless } from "../format.js";
import { useData, useNow, useThrottled, useTitle } from "../hooks.js";
import { Empty, Problem } from "../parts/notice.js";
import { ClaimTable } from "../parts/claim-table.js";
import { FlowTable } from "../parts/flow-table.js";
import { Table } from "../parts/table.js";
import { Time } from "../parts/time.js";
import { useStream } from "../stream.js";

const REFRESH_MS = 4000;

function Claims({ claims, agents, now }) {
  if (!claims.length)
    return html`<section>
      <h2>Identity</h2>
      <p class="muted">The device has said nothing about itself yet: no name, system, program or service of its own was heard.</p>
    </section>`;
  return html`<section>
    <${ClaimTable} caption="Identity: every claim, and why it is believed" claims=${claims} agents=${agents} now=${now} />
  </section>`;
}

function Interfaces({ interfaces, now }) {
  if (!interfaces.length) return html`<section><h2>Interfaces</h2><p class="muted">Seen only behind a router: its MAC cannot be known from here.</p></section>`;
  const columns = [
    { key: "mac", title: "MAC", cell: (row) => html`<span class="mono">${row.mac}</span>` },
    { key: "vendor", title: "Vendor", wide: true, cell: (row) => (row.locally_administered ? html`<span class="muted">${LOCAL_MAC}</span>` : row.vendor || "–") },
    { key: "vlans", title: "VLANs", cell: (row) => row.vlans.join(", ") || html`<span class="muted">untagged</span>` },
    { key: "frames", title: "Frames", number: true, cell: (row) => count(row.frames) },
    { key: "first", title: "First", cell: (row) => html`<${Time} at=${row.first_seen} now=${now} />` },
    { key: "last", title: "Last", cell: (row) => html`<${Time} at=${row.last_seen} now=${now} />` },
  ];
  return html`<section><${Table} caption="Interfaces" columns=${columns} rows=${interfaces} rowKey=${(row) => row.mac} /></section>`;
}

function Addresses({ addresses, now }) {
  if (!addresses.length) return html`<section><h2>Addresses</h2><p class="muted">No address was bound to it by ARP, NDP or DHCP yet.</p></section>`;
  const columns = [
    { key: "ip", title: "Address", wide: true, cell: (row) => html`<span class="mono">${row.ip}</span>` },
    { key: "mac", title: "On MAC", cell: (row) => html`<span class="mono">${row.mac || "–"}</span>` },
    { key: "source", title: "Source", cell: (row) => html`<span class="tag">${row.source}</span>` },
    { key: "frames", title: "Frames", number: true, cell: (row) => count(row.frames) },
    { key: "first", title: "First", cell: (row) => html`<${Time} at=${row.first_seen} now=${now} />` },
    { key: "last", title: "Last", cell: (row) => html`<${Time} at=${row.last_seen} now=${now} />` },
  ];
  return html`<section><${Table} caption="Addresses" columns=${columns} rows=${addresses} rowKey=${(row) => `${row.ip} ${row.mac} ${row.source}`} /></section>`;
}

function Heading({ device, now }) {
  const heard = device.sources.length ? ` by ${device.sources.join(", ")}` : "";
  return html`<header class="device-head">
    <p class="crumbs"><a href="#/devices">Devices</a> / <span class="muted">${device.site}</span></p>
    <h1>${deviceName(device)}</h1>
    <p>
      <span title=${exact(device.last_seen)}>Last heard ${ago(device.last_seen, now)}</span>${heard}${device.name_source && html`<span class="muted"> · named by ${device.name_source}</span>`}
    </p>
    <dl class="figures">
      <div><dt>IP addresses</dt><dd class="mono">${device.ips.length ? device.ips.slice(0, 3).join(" ") : "–"}${device.ips.length > 3 ? ` +${device.ips.length - 3}` : ""}</dd></div>
      <div><dt>MAC</dt><dd class="mono">${device.macs.join(" ") || "behind a router"}</dd></div>
      <div><dt>Vendor</dt><dd>${device.vendor || vendorless(device)}</dd></div>
      <div><dt>First seen</dt><dd><${Time} at=${device.first_seen} now=${now} /></dd></div>
      <div><dt>Flows</dt><dd>${count(device.flows)}</dd></div>
      <div><dt>Traffic</dt><dd>${bytes(device.bytes)}</dd></div>
    </dl>
  </header>`;
}

export function DevicePage({ id }) {
  const now = useNow();
  const { data, error, at, reload } = useData((signal) => get(`devices/${encodeURIComponent(id)}`, {}, signal), [id], 30_000);
  const fleet = useData((signal) => get("agents", {}, signal), []);
  const agents = new Map((fleet.data?.results || []).map((agent) => [agent.id, agent.name]));
  const soon = useThrottled(reload, REFRESH_MS);
  useStream(
    (event) => {
      const about = event.type === "device.updated" ? event.data.id : event.subject?.id;
      if (about === id || event.type === "resumed" || event.type === "gap") soon();
    },
    [id],
  );
  useTitle(data ? deviceName(data.device) : "Device");

  if (!data && error?.status === 404)
    return html`<${Empty} title="No such device">
      <p>It was merged into another one, or its records ran out.</p>
      <p><a href="#/devices">See all devices</a></p>
    </${Empty}>`;
  if (!data) return html`<${Problem} error=${error} retry=${reload} />`;
  return html`<div class="page">
    <${Problem} error=${error} at=${at} retry=${reload} />
    <${Heading} device=${data.device} now=${now} />
    <${Claims} claims=${data.claims} agents=${agents} now=${now} />
    <div class="columns">
      <${Interfaces} interfaces=${data.interfaces} now=${now} />
      <${Addresses} addresses=${data.addresses} now=${now} />
    </div>
    <section>
      ${data.recent_flows.length
        ? html`<${FlowTable} caption=${`Recent flows (${plural(data.recent_flows.length, "newest", "newest")})`} flows=${data.recent_flows} now=${now} here=${id} />
            <p><a href=${`#/flows?device=${encodeURIComponent(id)}`}>All flows of this device</a></p>`
        : html`<h2>Recent flows</h2><p class="muted">None. Flows are written when they end or after the agent's active timeout.</p>`}
    </section>
  </div>`;
}
