// The address behind the "#": "#/devices?q=nas" is {path: ["devices"], params: {q: "nas"}}.
import { useEffect, useState } from "preact/hooks";

export function parse(hash) {
  const [path, query] = hash.replace(/^#?\/?/, "").split("?");
  return {
    path: path.split("/").filter(Boolean).map(decodeURIComponent),
    params: Object.fromEntries(new URLSearchParams(query || "")),
  };
}

export function build(path, params = {}) {
  const query = new URLSearchParams(Object.entries(params).filter(([, value]) => value)).toString();
  return `#/${path.map(encodeURIComponent).join("/")}${query ? `?${query}` : ""}`;
}

// Changes the parameters of this page without a new entry in the history.
export function setParams(changes) {
  const { path, params } = parse(location.hash);
  history.replaceState(null, "", build(path, { ...params, ...changes }));
  dispatchEvent(new HashChangeEvent("hashchange"));
}

export function useRoute() {
  const [route, setRoute] = useState(() => parse(location.hash));
  useEffect(() => {
    const changed = () => setRoute(parse(location.hash));
    addEventListener("hashchange", changed);
    return () => removeEventListener("hashchange", changed);
  }, []);
  return route;
}
