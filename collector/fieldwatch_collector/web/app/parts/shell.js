// What stands around every page: name, places to go, state of the connection, theme, who is logged in.
import { html } from "../html.js";
import { remove } from "../api.js";
import { clock } from "../format.js";
import { Auto, Dot, Half, Moon, Ring, Sun } from "../icons.js";
import { useSession } from "../session.js";
import { stream, useStreamState } from "../stream.js";
import { useTheme } from "../theme.js";

const PLACES = [
  ["devices", "Devices"],
  ["flows", "Flows"],
  ["agents", "Agents"],
];

const THEMES = { auto: [Auto, "System colours"], light: [Sun, "Light"], dark: [Moon, "Dark"] };

function Connection() {
  const state = useStreamState();
  const [icon, word, title] = {
    live: [Dot, "Live", "Connected: changes show at once"],
    connecting: [Half, "Connecting", "Opening the stream of changes"],
    lost: [Ring, "Offline", `No connection${stream.lostAt ? ` since ${clock(stream.lostAt)}` : ""}; trying again. What you see is from then.`],
    off: [Ring, "Off", "Not connected"],
  }[state];
  return html`<span class=${`connection ${state}`} role="status" title=${title}><${icon} /> ${word}</span>`;
}

function ThemeButton() {
  const [theme, turn] = useTheme();
  const [icon, word] = THEMES[theme];
  return html`<button type="button" class="quiet icon-only" onClick=${turn} title=${`Colours: ${word}`} aria-label=${`Colours: ${word}. Change`}>
    <${icon} />
  </button>`;
}

export function Shell({ place, children }) {
  const { principal, setPrincipal } = useSession();
  const logOut = async () => {
    await remove("session").catch(() => null);
    setPrincipal(null);
  };
  return html`<a class="skip" href="#content" onClick=${(event) => {
      event.preventDefault();
      document.getElementById("content").focus();
    }}>Skip to content</a>
    <header class="top">
      <a class="brand" href="#/devices"><img src="app/icon.svg" alt="" width="22" height="22" /> <span>Fieldwatch</span></a>
      ${principal &&
      html`<nav aria-label="Pages">
        ${PLACES.map(
          ([key, word]) => html`<a key=${key} href=${`#/${key}`} aria-current=${place === key ? "page" : undefined}>${word}</a>`,
        )}
      </nav>`}
      <div class="end">
        ${principal && html`<${Connection} />`}
        <${ThemeButton} />
        ${principal &&
        html`<button type="button" class="quiet who" onClick=${logOut} title=${`Logged in as ${principal.name} (${principal.role})`}>
          Log out
        </button>`}
      </div>
    </header>
    <main id="content" tabindex="0">${children}</main>`;
}
