// Light, dark, or as the system: kept in this browser.
const KEY = "studio.theme";

const current = () => localStorage.getItem(KEY) ?? "system";

export function applyTheme() {
  document.documentElement.dataset.theme = current();
}

/** The other one than is shown, then the first again, then as the system: every press but the last changes what is seen. */
export function nextTheme() {
  const system = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
  const other = system === "dark" ? "light" : "dark";
  const next = { system: other, [other]: system, [system]: "system" }[current()];
  localStorage.setItem(KEY, next);
  applyTheme();
  return next === "system" ? "as the system" : next;
}
