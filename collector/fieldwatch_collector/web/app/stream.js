// The one WebSocket of the page. It connects again by itself and resumes after the last event it has seen.
import { useEffect, useState } from "preact/hooks";
import { get } from "./api.js";

const FIRST_RETRY_MS = 500;
const LAST_RETRY_MS = 5_000;
const PING_EVERY_MS = 20_000;
const SILENCE_MS = 45_000;
const CLOSE_UNAUTHORIZED = 4401;

class Stream {
  constructor() {
    this.state = "off"; // off, connecting, live, lost
    this.lostAt = null;
    this.sinceSeq = 0;
    this.retryMs = FIRST_RETRY_MS;
    this.listeners = new Set();
    this.watchers = new Set();
  }

  start() {
    if (this.state !== "off") return;
    this.connect();
  }

  stop() {
    clearTimeout(this.retryTimer);
    clearInterval(this.pingTimer);
    const socket = this.socket;
    this.socket = null;
    this.sinceSeq = 0;
    this.become("off");
    socket?.close();
  }

  // `callback(event)` for every envelope, transient update and gap; returns the function that ends it.
  listen(callback) {
    this.listeners.add(callback);
    return () => this.listeners.delete(callback);
  }

  watch(callback) {
    this.watchers.add(callback);
    return () => this.watchers.delete(callback);
  }

  become(state) {
    if (state === "lost" && this.state !== "lost") this.lostAt = Date.now();
    this.state = state;
    for (const watcher of this.watchers) watcher(state);
  }

  tell(event) {
    for (const listener of this.listeners) listener(event);
  }

  connect() {
    if (this.state !== "lost") this.become("connecting");
    const scheme = location.protocol === "https:" ? "wss:" : "ws:";
    const socket = new WebSocket(`${scheme}//${location.host}/api/v1/stream`);
    this.socket = socket;
    let heard = Date.now();

    socket.onopen = () => {
      const hello = { id: 1, type: "subscribe", filter: {} };
      if (this.sinceSeq) hello.since_seq = this.sinceSeq;
      socket.send(JSON.stringify(hello));
      let next = 2;
      clearInterval(this.pingTimer);
      this.pingTimer = setInterval(() => {
        if (Date.now() - heard > SILENCE_MS) socket.close();
        else if (socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify({ id: next++, type: "ping" }));
      }, PING_EVERY_MS);
    };

    socket.onmessage = ({ data }) => {
      heard = Date.now();
      const message = JSON.parse(data);
      if (message.type === "result" && message.success) {
        const resumed = this.lostAt !== null;
        this.retryMs = FIRST_RETRY_MS;
        this.lostAt = null;
        this.become("live");
        // Transient updates of the time without a connection are gone: whoever shows rows reads them again.
        if (resumed) this.tell({ type: "resumed", data: {} });
      } else if (message.type === "event") {
        if (message.event.seq) this.sinceSeq = message.event.seq;
        this.tell(message.event);
      }
    };

    socket.onclose = ({ code }) => {
      if (this.socket !== socket) return;
      clearInterval(this.pingTimer);
      this.become("lost");
      if (code === CLOSE_UNAUTHORIZED) get("status").catch(() => {}); // its 401 brings the login page
      this.retryTimer = setTimeout(() => this.connect(), this.retryMs * (0.6 + 0.4 * Math.random()));
      this.retryMs = Math.min(LAST_RETRY_MS, this.retryMs * 2);
    };
  }
}

export const stream = new Stream();

// `callback(event)` while the component is shown.
export function useStream(callback, dependencies) {
  useEffect(() => stream.listen(callback), dependencies);
}

export function useStreamState() {
  const [state, setState] = useState(stream.state);
  useEffect(() => stream.watch(setState), []);
  return state;
}
