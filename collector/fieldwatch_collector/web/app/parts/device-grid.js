// The table of devices, as the Devices page and the first run show it.
import { html } from "../html.js";
import { bytes, count, deviceName, vendorless } from "../format.js";
import { isNew } from "../devices-data.js";
import { Grid } from "./grid.js";
import { Time } from "./time.js";

function List({ values, className }) {
  if (!values.length) return html`<span class="muted">–</span>`;
  const more = values.length - 1;
  return html`<span class=${className} title=${values.join("\n")}>${values[0]}</span>${more > 0 &&
  html`<span class="more" title=${values.join("\n")}> +${more}</span>`}`;
}

export function deviceColumns({ now, sites }) {
  const columns = [
    {
      key: "name",
      title: "Name",
      sortable: true,
      cell: (device) => html`<span class="named"><a href=${`#/devices/${device.id}`} tabindex="-1" class=${device.name ? "" : "unnamed"} title=${device.name_source ? `by ${device.name_source}` : "no name heard yet"}>${deviceName(device)}</a>${isNew(device, now) && html`<span class="badge new">new</span>`}</span>`,
    },
    { key: "ips", title: "IP addresses", sortable: true, cell: (device) => html`<${List} values=${device.ips} className="mono" />` },
    {
      key: "macs",
      title: "MAC",
      sortable: true,
      cell: (device) => (device.macs.length ? html`<${List} values=${device.macs} className="mono" />` : html`<span class="muted" title="Seen only behind a router">routed</span>`),
    },
    { key: "vendor", title: "Vendor", sortable: true, cell: (device) => html`<span title=${device.vendor || vendorless(device)}>${device.vendor || html`<span class="muted">${vendorless(device)}</span>`}</span>` },
    { key: "sources", title: "Heard by", sortable: true, cell: (device) => html`<span title=${device.sources.join(", ")}>${device.sources.join(" ")}</span>` },
    { key: "first_seen", title: "First seen", sortable: true, first: "-first_seen", cell: (device) => html`<${Time} at=${device.first_seen} now=${now} />` },
    { key: "last_seen", title: "Last seen", sortable: true, first: "-last_seen", cell: (device) => html`<${Time} at=${device.last_seen} now=${now} />` },
    { key: "flows", title: "Flows", sortable: true, first: "-flows", number: true, cell: (device) => count(device.flows) },
    { key: "bytes", title: "Traffic", sortable: true, first: "-bytes", number: true, cell: (device) => bytes(device.bytes) },
  ];
  if (sites > 1) columns.splice(5, 0, { key: "site", title: "Site", sortable: true, cell: (device) => device.site });
  return columns;
}

export function DeviceGrid({ devices, total, now, sort, onSort, sites = 1 }) {
  return html`<${Grid}
    name="devices"
    label="Devices"
    columns=${deviceColumns({ now, sites })}
    rows=${devices}
    total=${total}
    rowKey=${(device) => device.id}
    rowClass=${(device) => (isNew(device, now) ? "new" : "")}
    sort=${sort}
    onSort=${onSort}
    onOpen=${(device) => {
      location.hash = `#/devices/${device.id}`;
    }}
  />`;
}
