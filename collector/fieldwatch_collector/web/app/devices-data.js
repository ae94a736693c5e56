// The devices of a site, all of them: read page by page, then kept current by the stream.
import { useCallback, useEffect, useRef, useState } from "preact/hooks";
import { follow, get } from "./api.js";
import { addressKey, deviceName, millis } from "./format.js";
import { useStream } from "./stream.js";

const FIRST_ROWS = 200; // on the screen soon
const PAGE_ROWS = 1000; // the rest in few questions
const MAX_ROWS = 20_000; // beyond it the search goes to the collector
const GATHER_MS = 250;
const NEW_FOR_MS = 5 * 60_000;

const text = (value) => value.toLowerCase();
const SORT_KEYS = {
  name: (device) => text(deviceName(device)),
  ips: (device) => addressKey(device.ips[0]),
  macs: (device) => device.macs[0] || "~",
  vendor: (device) => text(device.vendor || "~"),
  sources: (device) => device.sources.join(" "),
  site: (device) => device.site,
  first_seen: (device) => device.first_seen,
  last_seen: (device) => device.last_seen,
  flows: (device) => device.flows,
  bytes: (device) => device.bytes,
};

export function order(devices, sort) {
  const descending = sort.startsWith("-");
  const key = SORT_KEYS[descending ? sort.slice(1) : sort] || SORT_KEYS.first_seen;
  const keyed = devices.map((device) => [key(device), device]);
  const sign = descending ? -1 : 1;
  keyed.sort(([a, x], [b, y]) => (a < b ? -sign : a > b ? sign : x.id < y.id ? -1 : 1));
  return keyed.map(([, device]) => device);
}

// Every word of the query must be somewhere in the row.
export function matcher(query) {
  const words = text(query).split(/\s+/).filter(Boolean);
  return (device) => {
    const hay = text([device.name, device.ips.join(" "), device.macs.join(" "), device.vendor, device.sources.join(" "), device.site].join(" "));
    return words.every((word) => hay.includes(word));
  };
}

// Came over the stream a moment ago, or was first seen a moment ago.
export function isNew(device, nowMs) {
  const age = nowMs - millis(device.first_seen);
  return (device.arrived !== undefined && nowMs - device.arrived < NEW_FOR_MS) || (age >= 0 && age < NEW_FOR_MS);
}

// {devices, total, membership, error, at, loaded, reload}: `membership` changes when rows come or go, not when they change.
export function useDevices(site, query) {
  const known = useRef(new Map());
  const gathered = useRef(new Map());
  const timer = useRef(null);
  const running = useRef(null);
  const [state, setState] = useState({ devices: [], total: 0, membership: 0, error: null, at: null, loaded: false });
  const tooMany = state.total > MAX_ROWS;
  const serverQuery = tooMany ? query : "";

  const publish = (changes) =>
    setState((old) => ({ ...old, devices: [...known.current.values()], at: Date.now(), error: null, ...changes(old) }));

  const load = useCallback(async () => {
    running.current?.abort();
    const controller = new AbortController();
    running.current = controller;
    const { signal } = controller;
    try {
      const fresh = new Map();
      let page = await get("devices", { limit: FIRST_ROWS, ordering: "-last_seen", site, q: serverQuery }, signal);
      for (;;) {
        for (const device of page.results) {
          const old = known.current.get(device.id);
          fresh.set(device.id, old?.arrived === undefined ? device : { ...device, arrived: old.arrived });
        }
        const more = page.next && fresh.size < MAX_ROWS;
        // The first rows are shown at once; on a second reading the old ones stay until the new are whole.
        if (!more || known.current.size < fresh.size) known.current = new Map(fresh);
        const { count } = page;
        publish((old) => ({ total: serverQuery ? old.total : count, membership: old.membership + 1, loaded: true }));
        if (!more) return;
        page = await follow(page.next, { limit: PAGE_ROWS }, signal);
      }
    } catch (error) {
      if (error.name !== "AbortError") setState((old) => ({ ...old, error }));
    }
  }, [site, serverQuery]);

  useEffect(() => {
    known.current = new Map();
    load();
    return () => {
      running.current?.abort();
      clearTimeout(timer.current);
      timer.current = null;
    };
  }, [load]);

  const flush = () => {
    timer.current = null;
    let added = 0;
    for (const [id, device] of gathered.current) {
      const old = known.current.get(id);
      if (old) known.current.set(id, { ...old, ...device });
      else if (known.current.size < MAX_ROWS) {
        known.current.set(id, { ...device, arrived: Date.now() });
        added += 1;
      }
    }
    gathered.current.clear();
    publish((old) => ({ total: old.total + added, membership: old.membership + (added ? 1 : 0) }));
  };

  useStream(
    (event) => {
      if (event.type === "gap" || event.type === "resumed" || event.type === "device.merged") load();
      else if (event.type === "device.updated" && (!site || event.data.site === site)) {
        gathered.current.set(event.data.id, event.data);
        timer.current ??= setTimeout(flush, GATHER_MS);
      }
    },
    [load, site],
  );

  return { ...state, reload: load };
}
