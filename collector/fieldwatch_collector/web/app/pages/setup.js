// First run: make the first account, then wait for the first agent and see the first devices come.
import { useState } from "preact/hooks";
import { html } from "../html.js";
import { get, post } from "../api.js";
import { plural } from "../format.js";
import { useData, useNow, useThrottled, useTitle } from "../hooks.js";
import { Check, Half } from "../icons.js";
import { useDevices, order } from "../devices-data.js";
import { Command } from "../parts/copy.js";
import { DeviceGrid } from "../parts/device-grid.js";
import { Problem } from "../parts/notice.js";
import { useSession } from "../session.js";
import { useStream } from "../stream.js";

const MIN_PASSWORD = 8;
const LOOPBACK = ["127.0.0.1", "localhost", "[::1]"];

function AccountForm({ secret, done }) {
  const { setPrincipal } = useSession();
  const [error, setError] = useState(null);
  const [busy, setBusy] = useState(false);

  const submit = async (event) => {
    event.preventDefault();
    const form = new FormData(event.currentTarget);
    if (form.get("password") !== form.get("again")) {
      setError(new Error("The two passwords differ."));
      return;
    }
    setBusy(true);
    try {
      const principal = await post("setup", { secret, name: form.get("name"), password: form.get("password") });
      done();
      setPrincipal(principal);
    } catch (problem) {
      setError(problem);
      setBusy(false);
    }
  };

  return html`<section class="sheet narrow">
    <h1>Welcome to Fieldwatch</h1>
    <p class="muted">Make the first account. It may do everything; more accounts: <code>fieldwatch-collector user add</code>.</p>
    <form onSubmit=${submit}>
      <label>Name <input name="name" autocomplete="username" autocapitalize="off" spellcheck=${false} required autofocus /></label>
      <label>Password <input name="password" type="password" autocomplete="new-password" minlength=${MIN_PASSWORD} required /></label>
      <label>The password again <input name="again" type="password" autocomplete="new-password" required /></label>
      <${Problem} error=${error} />
      <button class="primary" disabled=${busy}>Make the account</button>
    </form>
  </section>`;
}

export function EnrolSteps() {
  const { data: status } = useData((signal) => get("status", {}, signal), []);
  const port = status?.public_grpc_port || 7444;
  return html`<ol class="steps">
    <li>Here, on the collector, make a join token:<${Command} text="fieldwatch-collector token create > join-token" /></li>
    <li>
      On the device that listens (copy the file <code>join-token</code> there):<${Command}
        text=${`sudo fieldwatch-agent enrol --token-file join-token --collector ${location.hostname}:${port}`}
      /><${Command} text="sudo fieldwatch-agent run" />
      ${LOOPBACK.includes(location.hostname) &&
      html`<p class="muted">On another device than the collector, its name or address stands in place of ${location.hostname}.</p>`}
    </li>
  </ol>`;
}

function FirstAgent() {
  const now = useNow();
  const { data, reload } = useData((signal) => get("agents", {}, signal), [], 3000);
  const soon = useThrottled(reload, 500);
  useStream((event) => event.type.startsWith("agent.") && soon(), []);
  const devices = useDevices("", "");
  const [sort, setSort] = useState("-first_seen");
  const agents = data?.results || [];
  const rows = order(devices.devices, sort);

  return html`<section class="first-run">
    <div class="sheet">
      ${agents.length === 0
        ? html`<h1><span class="state waiting"><${Half} /></span> Waiting for the first agent</h1>
            <p>An agent listens on a network and reports here. Two steps make one:</p>
            <${EnrolSteps} />`
        : html`<h1><span class="state ok"><${Check} /></span> ${agents.length === 1 ? `Agent ${agents[0].name} is here` : plural(agents.length, "agent") + " are here"}</h1>
            <p>
              ${rows.length
                ? html`${plural(devices.total, "device")} so far. <a class="button primary" href="#/devices">Go to Devices</a>`
                : "The first devices show below as soon as they are heard."}
            </p>`}
    </div>
    ${rows.length > 0 && html`<${DeviceGrid} devices=${rows} total=${devices.total} now=${now} sort=${sort} onSort=${setSort} />`}
  </section>`;
}

export function SetupPage({ secret }) {
  useTitle("Set-up");
  const { principal } = useSession();
  const [made, setMade] = useState(false);
  if (made || principal) return html`<${FirstAgent} />`;
  return html`<${AccountForm} secret=${secret} done=${() => setMade(true)} />`;
}
