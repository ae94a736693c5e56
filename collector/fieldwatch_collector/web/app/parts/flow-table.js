// Flows in a plain table, as the device page shows them.
import { html } from "../html.js";
import { bytes, count, endpoint, micros } from "../format.js";
import { Table } from "./table.js";
import { Time } from "./time.js";

const WITH_PORTS = new Set(["tcp", "udp", "sctp", "dccp", "udplite"]); // of the others the two numbers are type and code

// Within the grid (without `here`) the arrow keys lead to a link; in a plain table Tab does.
export function FlowEnd({ flow, side, here }) {
  const [address, name, device] = [flow[side], flow[`${side}_name`], flow[`${side}_device`]];
  const port = WITH_PORTS.has(flow.protocol) ? flow[`${side}_port`] : 0;
  const shown = name || address;
  const title = endpoint(address, port);
  const tail = port ? html`<span class="port">:${port}</span>` : null;
  if (device && device !== here) return html`<span title=${title}><a href=${`#/devices/${device}`} tabindex=${here === undefined ? "-1" : "0"}>${shown}</a>${tail}</span>`;
  return html`<span title=${title} class=${device && device === here ? "here" : ""}>${shown}${tail}</span>`;
}

export const source = (flow, here) => html`<${FlowEnd} flow=${flow} side="src" here=${here} />`;
export const destination = (flow, here) => html`<${FlowEnd} flow=${flow} side="dst" here=${here} />`;

// Of the handshake, as the agent saw it; of one half alone the whole is longer. "–" where it is not known.
export function roundTrip({ server_rtt_us: server, client_rtt_us: client }) {
  if (!server && !client) return html`<span class="muted">–</span>`;
  const half = (name, time) => `${name} and back: ${time ? micros(time) : "not known"}`;
  const title = `${half("agent to server", server)}, ${half("agent to client", client)}`;
  return html`<span title=${title}>${server && client ? "" : "> "}${micros(server + client)}</span>`;
}

export function retransmits({ retransmits: sent, reply_retransmits: replied }) {
  if (!sent && !replied) return html`<span class="muted">–</span>`;
  return html`<span title=${`${count(sent)} sent, ${count(replied)} in reply`}>${count(sent + replied)}</span>`;
}

export function FlowTable({ caption, flows, now, here }) {
  const columns = [
    { key: "src", title: "From", cell: (flow) => source(flow, here) },
    { key: "dst", title: "To", cell: (flow) => destination(flow, here) },
    { key: "protocol", title: "Protocol", cell: (flow) => flow.protocol },
    { key: "application", title: "Application", cell: (flow) => flow.application || html`<span class="muted">–</span>` },
    { key: "state", title: "State", cell: (flow) => flow.state },
    { key: "packets", title: "Packets", number: true, cell: (flow) => count(flow.packets + flow.reply_packets) },
    { key: "retransmits", title: "Retransmits", number: true, cell: retransmits },
    { key: "rtt", title: "Round trip", number: true, cell: roundTrip },
    { key: "sent", title: "Sent", number: true, cell: (flow) => bytes(flow.bytes) },
    { key: "reply", title: "Reply", number: true, cell: (flow) => bytes(flow.reply_bytes) },
    { key: "last", title: "Last seen", cell: (flow) => html`<${Time} at=${flow.last_seen} now=${now} />` },
  ];
  return html`<${Table} caption=${caption} columns=${columns} rows=${flows} />`;
}
