// Light, dark, or as the system: kept in this browser.
const KEY = "studio.theme";
const THEMES = ["system", "light", "dark"];

const current = () => localStorage.getItem(KEY) ?? "system";

export function applyTheme() {
  document.documentElement.dataset.theme = current();
}

export function nextTheme() {
  const next = THEMES[(THEMES.indexOf(current()) + 1) % THEMES.length];
  localStorage.setItem(KEY, next);
  applyTheme();
  return next;
}
