// What the list of agents and the page of one share: words for its state, and its figures.
import { html } from "../html.js";
import { bytes, count, duration, percent, plural } from "../format.js";
import { Check, Cross, Dot, Half, Ring, Warning } from "../icons.js";
import { Time } from "./time.js";

const STATES = {
  online: [Dot, "ok", "Online"],
  offline: [Ring, "bad", "Offline"],
  revoked: [Cross, "muted", "Revoked"],
  never: [Half, "waiting", "Not yet connected"],
};

const LEVELS = {
  ok: [Check, "ok", "Healthy"],
  degraded: [Half, "waiting", "Degraded"],
  failed: [Warning, "bad", "Failed"],
};

const CONFIG = {
  waiting: [Half, "waiting", "waiting for the agent"],
  applied: [Half, "waiting", "on trial"],
  confirmed: [Check, "ok", "confirmed"],
  reverted: [Warning, "bad", "reverted"],
  rejected: [Cross, "bad", "rejected"],
};

function word(table, key) {
  const [icon, className, text] = table[key] || [Ring, "muted", key];
  return html`<span class=${`state ${className}`}><${icon} /> ${text}</span>`;
}

export const State = ({ state }) => word(STATES, state);
export const Level = ({ level }) => word(LEVELS, level);

// The worst of its parts. What an absent agent said last is told as such.
export function Health({ agent }) {
  if (!agent.health) return null;
  const stale = agent.state === "online" ? "" : "last heard: ";
  return html`<span class="health">
    ${stale && html`<span class="muted">${stale}</span>`}<${Level} level=${agent.health} />${agent.health_reason && html` <span>${agent.health_reason}</span>`}
  </span>`;
}

export function Tags({ tags }) {
  const keys = Object.keys(tags).sort();
  return keys.length > 0 && html`<span class="tags">${keys.map((key) => html`<span key=${key} class="tag">${key}=${tags[key]}</span> `)}</span>`;
}

export function ConfigState({ version, state, problem, drifted }) {
  if (!version) return html`<span class="muted">none set from here</span>`;
  return html`<span>
    version ${version} ${word(CONFIG, state)}${problem && html` <span class="note">${problem}</span>`}${drifted &&
    html` <span class="note state waiting"><${Warning} /> changed on the device since</span>`}
  </span>`;
}

// A number that ought to be zero.
function Loss({ value, text, title }) {
  return value > 0 ? html`<span class="state bad" title=${title}><${Warning} /> ${text}</span>` : html`<span>0</span>`;
}

function Figure({ title, children, note }) {
  return html`<div><dt>${title}</dt><dd>${children}${note && html`<span class="note">${note}</span>`}</dd></div>`;
}

const SMALL_OFFSET_NS = 100e6;
const MOST_YEARS = 100; // told of a disk: beyond it the figure says nothing

function offset(ns) {
  if (!ns) return "–";
  if (Math.abs(ns) < 1e6) return "in step";
  const seconds = Math.abs(ns) / 1e9;
  const text = seconds < 1 ? `${Math.round(1000 * seconds)}\u202fms` : seconds < 10 ? `${seconds.toFixed(1)}\u202fs` : duration(seconds);
  return `${text} ${ns > 0 ? "behind" : "ahead"}`;
}

const CLOCKS = {
  synced: "kept by a time service",
  unsynced: "kept by no time service",
  corrected: "times of its records are corrected",
};

function Clock({ ns }) {
  return Math.abs(ns) < SMALL_OFFSET_NS ? html`<span>${offset(ns)}</span>` : html`<span class="state waiting"><${Warning} /> ${offset(ns)}</span>`;
}

// When the oldest record came that waits, marked where the agent's clock made that time and was wrong or may be.
function Oldest({ agent, now }) {
  return html`oldest <${Time} at=${agent.spool_oldest} now=${now} />${agent.spool_oldest_clock && ` (${agent.spool_oldest_clock})`}`;
}

// Octets that the storage takes a day, against the budget where there is one, and how long it lasts at that rate.
function Writes({ agent }) {
  const { written_bytes_day: day, write_budget_bytes_day: budget } = agent;
  if (!day) return html`–`;
  return budget && day > budget ? html`<span class="state bad"><${Warning} /> ${bytes(day)}</span>` : html`${bytes(day)}`;
}

function writesNote(agent) {
  if (!agent.written_bytes_day) return null;
  const budget = agent.write_budget_bytes_day ? `of ${bytes(agent.write_budget_bytes_day)}` : "no budget";
  if (!agent.card_life_years) return budget;
  return `${budget}; storage lasts ${life(agent.card_life_years)}`;
}

function life(years) {
  if (years < 1) return plural(Math.max(1, Math.round(365 * years)), "day");
  return years > MOST_YEARS ? `over ${MOST_YEARS} years` : plural(Math.round(years), "year");
}

function lostText(agent) {
  const parts = [[agent.records_lost, "record"], [agent.frames_lost, "frame"]].filter(([value]) => value);
  return parts.map(([value, one]) => plural(value, one)).join(", ");
}

const SKEWED = { older: "older than the collector", newer: "newer than the collector" };

function Version({ agent }) {
  if (!agent.version_skew) return html`${agent.version || "–"}`;
  return html`<span class="state waiting"><${Warning} /> ${agent.version}</span><span class="note">${SKEWED[agent.version_skew]}</span>`;
}

export function Figures({ agent, now }) {
  const all = agent.frames_seen + agent.frames_dropped;
  const lost = agent.records_lost + agent.frames_lost;
  return html`<dl class="figures">
    <${Figure} title="Last contact"><${Time} at=${agent.last_contact} now=${now} /></${Figure}>
    <${Figure} title="Frames seen" note="since it started">${count(agent.frames_seen)}</${Figure}>
    <${Figure} title="Dropped by the kernel" note="since it started"><${Loss} value=${agent.frames_dropped} text=${`${count(agent.frames_dropped)} (${percent(agent.frames_dropped, all)})`} title="Frames that came faster than they were read" /></${Figure}>
    <${Figure} title="Rejected" note="not decodable, since it started">${count(agent.frames_rejected)}</${Figure}>
    <${Figure} title="Waiting in the spool" note=${agent.spool_records ? html`${bytes(agent.spool_bytes)}, <${Oldest} agent=${agent} now=${now} />` : null}>
      ${agent.spool_records ? plural(agent.spool_records, "record") : "nothing"}
    </${Figure}>
    <${Figure} title="Stored here" note="since it was enrolled">${plural(agent.records_stored, "record")}</${Figure}>
    <${Figure} title="Declared lost" note="since it was enrolled"><${Loss} value=${lost} text=${lostText(agent)} title="The agent says so: evicted, damaged, or an unclean stop" /></${Figure}>
    <${Figure} title="Written to disk, a day" note=${writesNote(agent)}><${Writes} agent=${agent} /></${Figure}>
    <${Figure} title="Clock" note=${CLOCKS[agent.clock] || "against the collector's"}><${Clock} ns=${agent.clock_offset_ns} /></${Figure}>
    <${Figure} title="CPU" note="of a core, since it started">${agent.cpu_share ? percent(agent.cpu_share, 1) : "–"}</${Figure}>
    <${Figure} title="Memory">${agent.rss_bytes ? bytes(agent.rss_bytes) : "–"}</${Figure}>
    <${Figure} title="Up for">${agent.state === "online" && agent.uptime_s ? duration(agent.uptime_s) : "–"}</${Figure}>
    <${Figure} title="Version"><${Version} agent=${agent} /></${Figure}>
    <${Figure} title="Settings from here"><${ConfigState} version=${agent.config_version} state=${agent.config_state} problem=${agent.config_problem} drifted=${agent.config_drifted} /></${Figure}>
  </dl>`;
}

export function Interfaces({ interfaces }) {
  if (!interfaces.length) return null;
  return html`<table class="plain small">
    <caption class="sr-only">Interfaces</caption>
    <thead>
      <tr><th scope="col">Interface</th><th scope="col">Link</th><th scope="col" class="number">Frames</th><th scope="col" class="number">Dropped</th></tr>
    </thead>
    <tbody>
      ${interfaces.map(
        (one) => html`<tr key=${one.name}>
          <td class="mono" data-label="Interface">${one.name}</td>
          <td data-label="Link">${one.up ? html`<span class="state ok"><${Dot} /> up</span>` : html`<span class="state bad"><${Ring} /> down</span>`}</td>
          <td class="number" data-label="Frames">${count(one.frames)}</td>
          <td class="number" data-label="Dropped"><${Loss} value=${one.dropped} text=${count(one.dropped)} title="The kernel had no room for them" /></td>
        </tr>`,
      )}
    </tbody>
  </table>`;
}
