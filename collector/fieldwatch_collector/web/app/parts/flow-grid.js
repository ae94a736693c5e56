// All flows that match, page after page as the reader comes to them.
import { useCallback, useEffect, useRef, useState } from "preact/hooks";
import { html } from "../html.js";
import { follow, get } from "../api.js";
import { bytes, count } from "../format.js";
import { Empty, Problem } from "./notice.js";
import { destination, retransmits, roundTrip, source } from "./flow-table.js";
import { Grid } from "./grid.js";
import { Time } from "./time.js";

const PAGE_ROWS = 200;
const REFRESH_MS = 10_000;

function useFlows(filter) {
  const [state, setState] = useState({ rows: [], next: null, error: null, loaded: false });
  const running = useRef(null);
  const key = JSON.stringify(filter);

  const run = (request, add) => {
    const controller = new AbortController();
    running.current = controller;
    return request(controller.signal).then(
      (page) => {
        running.current = null;
        setState((old) => ({ rows: add ? [...old.rows, ...page.results] : page.results, next: page.next, error: null, loaded: true }));
      },
      (error) => {
        if (error.name === "AbortError") return;
        running.current = null;
        setState((old) => ({ ...old, error, loaded: true }));
      },
    );
  };

  const reload = useCallback(() => {
    running.current?.abort();
    run((signal) => get("flows", { ...filter, limit: PAGE_ROWS }, signal), false);
  }, [key]);
  useEffect(() => {
    reload();
    return () => running.current?.abort();
  }, [reload]);

  // The newest flows come in as long as the reader has not gone on to older pages.
  const onFirstPage = state.rows.length <= PAGE_ROWS;
  useEffect(() => {
    if (!onFirstPage) return undefined;
    const timer = setInterval(() => document.hidden || running.current || reload(), REFRESH_MS);
    return () => clearInterval(timer);
  }, [reload, onFirstPage]);

  const more = useCallback(() => {
    if (running.current || !state.next) return;
    run((signal) => follow(state.next, {}, signal), true);
  }, [state.next]);
  return { ...state, more, reload };
}

const COLUMNS = (now) => [
  { key: "src", title: "From", cell: (flow) => source(flow) },
  { key: "dst", title: "To", cell: (flow) => destination(flow) },
  { key: "protocol", title: "Protocol", cell: (flow) => flow.protocol },
  { key: "application", title: "Application", cell: (flow) => flow.application || html`<span class="muted">–</span>` },
  { key: "state", title: "State", cell: (flow) => flow.state },
  { key: "rtt", title: "Round trip", number: true, cell: roundTrip },
  { key: "retransmits", title: "Retransmits", number: true, sortable: true, first: "-retransmits", cell: retransmits },
  { key: "packets", title: "Packets", number: true, sortable: true, first: "-packets", cell: (flow) => count(flow.packets + flow.reply_packets) },
  { key: "bytes", title: "Traffic", number: true, sortable: true, first: "-bytes", cell: (flow) => html`<span title=${`${bytes(flow.bytes)} sent, ${bytes(flow.reply_bytes)} in reply`}>${bytes(flow.bytes + flow.reply_bytes)}</span>` },
  { key: "last_seen", title: "Last seen", sortable: true, first: "-last_seen", cell: (flow) => html`<${Time} at=${flow.last_seen} now=${now} />` },
];

export function FlowGrid({ filter, sort, onSort, now }) {
  const { rows, next, error, loaded, more, reload } = useFlows({ ...filter, ordering: sort });
  if (loaded && !rows.length && !error)
    return html`<${Empty} title="No flows match"><p>Take a longer time, or another filter. Flows are written when they end, or after the agent's active timeout.</p></${Empty}>`;
  return html`<${Problem} error=${error} retry=${reload} />
    <${Grid}
      name="flows"
      label="Flows"
      columns=${COLUMNS(now)}
      rows=${rows}
      total=${next ? rows.length + 1 : rows.length}
      rowKey=${(flow) => `${flow.agent} ${flow.protocol} ${flow.src} ${flow.src_port} ${flow.dst} ${flow.dst_port} ${flow.vlans} ${flow.first_seen} ${flow.last_seen} ${flow.interface} ${flow.tunnels}`}
      sort=${sort}
      onSort=${onSort}
      onEndInSight=${more}
    />`;
}
