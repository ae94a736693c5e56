// Light, dark, or as the system says; theme-boot.js applies a choice before the first paint.
import { useEffect, useState } from "preact/hooks";

const KEY = "fieldwatch-theme";
const NEXT = { auto: "light", light: "dark", dark: "auto" };

export function useTheme() {
  const [theme, setTheme] = useState(document.documentElement.dataset.theme || "auto");
  const turn = () => {
    const next = NEXT[theme];
    if (next === "auto") {
      localStorage.removeItem(KEY);
      delete document.documentElement.dataset.theme;
    } else {
      localStorage.setItem(KEY, next);
      document.documentElement.dataset.theme = next;
    }
    setTheme(next);
    dispatchEvent(new Event("themechange"));
  };
  return [theme, turn];
}

// A number that changes whenever colours do: what is drawn on a canvas draws itself anew.
export function useColours() {
  const [turn, setTurn] = useState(0);
  useEffect(() => {
    const bump = () => setTurn((old) => old + 1);
    const system = matchMedia("(prefers-color-scheme: dark)");
    system.addEventListener("change", bump);
    addEventListener("themechange", bump);
    return () => {
      system.removeEventListener("change", bump);
      removeEventListener("themechange", bump);
    };
  }, []);
  return turn;
}

// A colour of style.css as a canvas takes it: resolved for the theme in force.
export function colour(name) {
  const probe = document.createElement("span");
  probe.style.color = `var(--${name})`;
  document.body.append(probe);
  const resolved = getComputedStyle(probe).color;
  probe.remove();
  return resolved;
}
