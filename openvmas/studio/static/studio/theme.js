// Dark, light, or as the system: kept in this browser. Dark is the usual, because pictures are judged here.
const KEY = "studio.theme";
const NEXT = { dark: "light", light: "system", system: "dark" };

const current = () => localStorage.getItem(KEY) ?? "dark";

export function applyTheme() {
  document.documentElement.dataset.theme = current();
}

/** The next one of the three; one that looks as the one before is passed over. */
export function nextTheme() {
  const system = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
  const looks = (name) => (name === "system" ? system : name);
  let next = NEXT[current()];
  if (looks(next) === looks(current())) next = NEXT[next];
  localStorage.setItem(KEY, next);
  applyTheme();
  return next === "system" ? "as the system" : next;
}
