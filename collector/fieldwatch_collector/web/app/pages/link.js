// A one-time login link: used once, at once.
import { useEffect, useState } from "preact/hooks";
import { html } from "../html.js";
import { post } from "../api.js";
import { useTitle } from "../hooks.js";
import { useSession } from "../session.js";

export function LinkPage({ secret }) {
  useTitle("Log in");
  const { setPrincipal } = useSession();
  const [error, setError] = useState(null);
  useEffect(() => {
    history.replaceState(null, "", "#/"); // the secret does not stay in the address bar
    post("session/link", { secret }).then((principal) => {
      setPrincipal(principal);
      location.hash = "#/devices";
    }, setError);
  }, []);

  if (!error) return html`<p class="muted" role="status">Logging in …</p>`;
  return html`<section class="sheet narrow">
    <h1>This link does not work</h1>
    <p>${error.message}</p>
    <p><a href="#/devices">Go on to the page</a></p>
  </section>`;
}
