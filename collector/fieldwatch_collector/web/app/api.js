// REST calls. Every failure is an ApiError with a sentence for the reader; 401 is told to whoever keeps the session.

export class ApiError extends Error {
  constructor(status, title, detail) {
    super(detail || title);
    this.status = status;
    this.title = title;
  }
}

let onSignedOut = () => {};

export function whenSignedOut(callback) {
  onSignedOut = callback;
}

function address(path, params) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(params || {})) {
    if (value !== undefined && value !== null && value !== "") query.set(name, value);
  }
  const text = query.toString();
  return `/api/v1/${path}${text ? `?${text}` : ""}`;
}

async function call(method, url, body, signal) {
  const options = { method, signal, headers: { Accept: "application/json" } };
  if (body !== undefined) {
    options.headers["Content-Type"] = "application/json";
    options.body = JSON.stringify(body);
  }
  let response;
  try {
    response = await fetch(url, options);
  } catch (problem) {
    if (problem.name === "AbortError") throw problem;
    throw new ApiError(0, "No answer", "The collector does not answer. Is fieldwatch-collector running?");
  }
  if (response.status === 204) return null;
  const answer = await response.json().catch(() => null);
  if (!response.ok) {
    const problem = answer || {};
    if (response.status === 401 && method === "GET") onSignedOut();
    throw new ApiError(response.status, problem.title || `HTTP ${response.status}`, problem.detail);
  }
  return answer;
}

export const get = (path, params, signal) => call("GET", address(path, params), undefined, signal);
export const post = (path, body) => call("POST", address(path), body);
export const patch = (path, body) => call("PATCH", address(path), body);
export const remove = (path) => call("DELETE", address(path));

// The next page of a list, by the URL that the list gave; its host is this one, whatever a proxy made of it.
export function follow(url, changes, signal) {
  const { pathname, searchParams } = new URL(url, location.href);
  for (const [name, value] of Object.entries(changes)) searchParams.set(name, value);
  return call("GET", `${pathname}?${searchParams}`, undefined, signal);
}

export const exportAddress = (path, params, format) => address(path, { ...params, format });
