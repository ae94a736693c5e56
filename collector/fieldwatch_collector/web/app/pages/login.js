// Name and password.
import { useState } from "preact/hooks";
import { html } from "../html.js";
import { get, post } from "../api.js";
import { useData, useTitle } from "../hooks.js";
import { Problem } from "../parts/notice.js";
import { useSession } from "../session.js";

export function LoginPage() {
  useTitle("Log in");
  const { setPrincipal } = useSession();
  const [error, setError] = useState(null);
  const [busy, setBusy] = useState(false);
  const { data: setup } = useData((signal) => get("setup", {}, signal), []);

  const submit = async (event) => {
    event.preventDefault();
    const form = new FormData(event.currentTarget);
    setBusy(true);
    try {
      setPrincipal(await post("session", { name: form.get("name"), password: form.get("password") }));
    } catch (problem) {
      setError(problem);
      setBusy(false);
    }
  };

  return html`<section class="sheet narrow">
    <h1>Log in</h1>
    <form onSubmit=${submit}>
      <label>Name <input name="name" autocomplete="username" autocapitalize="off" spellcheck=${false} required autofocus /></label>
      <label>Password <input name="password" type="password" autocomplete="current-password" required /></label>
      <${Problem} error=${error} />
      <button class="primary" disabled=${busy}>Log in</button>
    </form>
    ${setup?.needed
      ? html`<p>
          <strong>This collector has no account yet.</strong> On the collector:${" "}
          <code>fieldwatch-collector user add NAME --role admin</code>. Or open the set-up link that
          <code>fieldwatch-collector serve</code> prints on a terminal when it starts; it works for 30 minutes.
        </p>`
      : html`<p class="muted small">No account? On the collector: <code>fieldwatch-collector user add NAME</code></p>`}
  </section>`;
}
