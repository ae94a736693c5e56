// The page's start: who is logged in, and which page the address names.
import { render } from "preact";
import { useEffect, useState } from "preact/hooks";
import { get, whenSignedOut } from "./api.js";
import { html } from "./html.js";
import { Shell } from "./parts/shell.js";
import { Problem } from "./parts/notice.js";
import { AgentPage } from "./pages/agent.js";
import { AgentsPage } from "./pages/agents.js";
import { DevicePage } from "./pages/device.js";
import { DevicesPage } from "./pages/devices.js";
import { FlowsPage } from "./pages/flows.js";
import { LinkPage } from "./pages/link.js";
import { LoginPage } from "./pages/login.js";
import { SetupPage } from "./pages/setup.js";
import { useRoute } from "./route.js";
import { Session } from "./session.js";
import { stream } from "./stream.js";

function Page({ route }) {
  const [place, id] = route.path;
  if (place === "devices" && id) return html`<${DevicePage} key=${id} id=${id} />`;
  if (place === "flows") return html`<${FlowsPage} params=${route.params} />`;
  if (place === "agents" && id) return html`<${AgentPage} key=${id} id=${id} />`;
  if (place === "agents") return html`<${AgentsPage} />`;
  return html`<${DevicesPage} params=${route.params} />`;
}

function App() {
  const route = useRoute();
  const [principal, setPrincipal] = useState(undefined);
  const [error, setError] = useState(null);

  const ask = () =>
    get("session").then(
      (found) => {
        setError(null);
        setPrincipal((known) => known ?? found); // a link may have logged in meanwhile
      },
      setError,
    );
  useEffect(() => {
    whenSignedOut(() => setPrincipal(null));
    ask();
  }, []);
  useEffect(() => {
    if (principal) stream.start();
    else stream.stop();
  }, [principal]);

  const [place, secret] = route.path;
  let content;
  if (place === "setup" && secret) content = html`<${SetupPage} secret=${secret} />`;
  else if (place === "login" && secret) content = html`<${LinkPage} secret=${secret} />`;
  else if (error) content = html`<${Problem} error=${error} retry=${ask} />`;
  else if (principal === undefined) content = null;
  else content = principal ? html`<${Page} route=${route} />` : html`<${LoginPage} />`;

  return html`<${Session.Provider} value=${{ principal, setPrincipal }}>
    <${Shell} place=${place || "devices"}>${content}</${Shell}>
  </${Session.Provider}>`;
}

render(html`<${App} />`, document.getElementById("app"));
