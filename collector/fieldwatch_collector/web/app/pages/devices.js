// Every device that was heard, live.
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { html } from "../html.js";
import { exportAddress } from "../api.js";
import { ago, count, plural } from "../format.js";
import { useNow, useStill, useTitle } from "../hooks.js";
import { Save, Search } from "../icons.js";
import { matcher, order, useDevices } from "../devices-data.js";
import { DeviceGrid } from "../parts/device-grid.js";
import { Empty, Problem } from "../parts/notice.js";
import { SiteChoice, useSites } from "../parts/sites.js";
import { EnrolSteps } from "./setup.js";
import { setParams } from "../route.js";

const SETTLE_MS = 5000;

// Rows keep their places while a reader points at them; a row that changes changes where it stands.
function useOrdered(devices, membership, sort, query) {
  const holding = useRef(false);
  const [turn, setTurn] = useState(0);
  useEffect(() => {
    const timer = setInterval(() => holding.current || setTurn((old) => old + 1), SETTLE_MS);
    return () => clearInterval(timer);
  }, []);
  const places = useMemo(() => order(devices.filter(matcher(query)), sort).map((device) => device.id), [membership, turn, sort, query]);
  const byId = useMemo(() => new Map(devices.map((device) => [device.id, device])), [devices]);
  const rows = useMemo(() => places.map((id) => byId.get(id)).filter(Boolean), [places, byId]);
  return [rows, holding];
}

function Summary({ devices, total, shown, query, now }) {
  const newest = useMemo(() => devices.reduce((latest, device) => (device.last_seen > latest ? device.last_seen : latest), ""), [devices]);
  return html`<p class="summary">
    ${query ? html`<strong>${count(shown)}</strong> of ${plural(total, "device")}` : html`<strong>${count(total)}</strong> ${total === 1 ? "device" : "devices"}`}
    ${newest && html`<span class="muted">, newest sighting ${ago(newest, now)}</span>`}
  </p>`;
}

export function DevicesPage({ params }) {
  useTitle("Devices");
  const now = useNow();
  const [query, setQuery] = useState(params.q || "");
  const still = useStill(query, 60);
  const sort = params.sort || "-first_seen";
  const site = params.site || "";
  const sites = useSites();
  const { devices, total, membership, error, at, loaded, reload } = useDevices(site, still);
  const [rows, holding] = useOrdered(devices, membership, sort, still);
  const searchBox = useRef(null);

  useEffect(() => {
    if ((params.q || "") !== still) setParams({ q: still });
  }, [still]);
  useEffect(() => {
    const slash = (event) => {
      if (event.key !== "/" || /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName)) return;
      event.preventDefault();
      searchBox.current.focus();
    };
    addEventListener("keydown", slash);
    return () => removeEventListener("keydown", slash);
  }, []);

  const hold = (value) => () => {
    holding.current = value;
  };
  return html`<div class="page fill">
    <div class="toolbar">
      <h1>Devices</h1>
      <${Summary} devices=${devices} total=${total} shown=${rows.length} query=${still} now=${now} />
      <div class="tools">
        <${SiteChoice} sites=${sites} value=${site} onChange=${(value) => setParams({ site: value })} />
        <label class="search">
          <${Search} /><span class="sr-only">Search devices</span>
          <input
            ref=${searchBox}
            type="search"
            placeholder="Name, address, MAC, vendor"
            title="Press / to search"
            value=${query}
            onInput=${(event) => setQuery(event.currentTarget.value)}
          />
        </label>
        <a class="button quiet" href=${exportAddress("devices", { site, q: still }, "csv")} download="devices.csv"><${Save} /> CSV</a>
      </div>
    </div>
    <${Problem} error=${error} at=${at} retry=${reload} />
    ${rows.length > 0 || !loaded
      ? html`<div class="fill" onPointerEnter=${hold(true)} onPointerLeave=${hold(false)} onFocusIn=${hold(true)} onFocusOut=${hold(false)}>
          <${DeviceGrid} devices=${rows} total=${still ? rows.length : total} now=${now} sort=${sort} sites=${sites.length} onSort=${(value) => setParams({ sort: value })} />
        </div>`
      : devices.length > 0 || still
        ? html`<${Empty} title="Nothing matches">
            <p>No device has “${still}” in its name, addresses, MAC or vendor.</p>
            <p><button type="button" onClick=${() => setQuery("")}>Clear the search</button></p>
          </${Empty}>`
        : html`<${Empty} title="No devices yet">
            <p>Devices show here as soon as an agent hears them. To add an agent:</p>
            <${EnrolSteps} />
          </${Empty}>`}
  </div>`;
}
