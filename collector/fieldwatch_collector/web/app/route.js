// The address behind the "#": "#/devices?q=nas" is {path: ["devices"], params: {q: "nas"}}.
import { useEffect, useState } from "preact/hooks";

// A part that is no percent encoding stands for itself: an address typed by hand may be anything.
function decoded(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

export function parse(hash) {
  const [path, query] = hash.replace(/^#?\/?/, "").split("?");
  return {
    path: path.split("/").filter(Boolean).map(decoded),
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
