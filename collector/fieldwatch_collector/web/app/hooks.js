// Hooks shared by the pages: a ticking clock, data that is kept while its successor is fetched, debounced values.
import { useCallback, useEffect, useRef, useState } from "preact/hooks";

// Milliseconds since the epoch, anew every `everyMs`; still while the page is hidden.
export function useNow(everyMs = 1000) {
  const [now, setNow] = useState(Date.now);
  useEffect(() => {
    const timer = setInterval(() => document.hidden || setNow(Date.now()), everyMs);
    return () => clearInterval(timer);
  }, [everyMs]);
  return now;
}

// {data, error, at, reload}: `load(signal)` runs when a dependency changes, on reload(), and every `everyMs` if given.
// The last data stay while new ones are fetched and when fetching fails; `at` is when they came.
export function useData(load, dependencies, everyMs) {
  const [state, setState] = useState({ data: null, error: null, at: null });
  const running = useRef(null);

  const reload = useCallback(() => {
    running.current?.abort();
    const controller = new AbortController();
    running.current = controller;
    load(controller.signal).then(
      (data) => controller.signal.aborted || setState({ data, error: null, at: Date.now() }),
      (error) => controller.signal.aborted || setState((old) => ({ ...old, error })),
    );
  }, dependencies);

  useEffect(() => {
    reload();
    const timer = everyMs && setInterval(() => document.hidden || reload(), everyMs);
    return () => {
      clearInterval(timer);
      running.current?.abort();
    };
  }, [reload, everyMs]);
  return { ...state, reload };
}

// `value`, once it has been still for `ms`.
export function useStill(value, ms) {
  const [still, setStill] = useState(value);
  useEffect(() => {
    const timer = setTimeout(() => setStill(value), ms);
    return () => clearTimeout(timer);
  }, [value, ms]);
  return still;
}

// Calls at most once per `ms`; a call that came too early is made at the end of the interval.
export function useThrottled(callback, ms) {
  const latest = useRef(callback);
  latest.current = callback;
  const timer = useRef(null);
  const last = useRef(0);
  useEffect(() => () => clearTimeout(timer.current), []);
  return useCallback(() => {
    if (timer.current) return;
    const wait = Math.max(0, last.current + ms - Date.now());
    timer.current = setTimeout(() => {
      timer.current = null;
      last.current = Date.now();
      latest.current();
    }, wait);
  }, [ms]);
}

export function useTitle(text) {
  useEffect(() => {
    document.title = text ? `${text} · Fieldwatch` : "Fieldwatch";
  }, [text]);
}
