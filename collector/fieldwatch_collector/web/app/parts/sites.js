// The choice of a site; nothing where there is only one.
import { html } from "../html.js";
import { get } from "../api.js";
import { useData } from "../hooks.js";

export function useSites() {
  const { data } = useData((signal) => get("sites", {}, signal), [], 60_000);
  return data ? data.results.map((site) => site.name) : [];
}

export function SiteChoice({ sites, value, onChange }) {
  if (sites.length < 2) return null;
  return html`<label class="field-inline">
    <span>Site</span>
    <select value=${value} onChange=${(event) => onChange(event.currentTarget.value)}>
      <option value="">All sites</option>
      ${sites.map((site) => html`<option key=${site} value=${site}>${site}</option>`)}
    </select>
  </label>`;
}
