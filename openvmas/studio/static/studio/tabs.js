// Tabs as WAI-ARIA describes them: arrow keys go from tab to tab, the tab key goes into the panel.
import { make } from "./elements.js";

/** Build tabs into an element; returns the panels by name, `done`, `wishes` and `foot` below them, and `show(name)`. */
export function makeTabs(element, names) {
  const tabs = names.map((name) =>
    make("button", { type: "button", role: "tab", id: `tab-${name}`, "aria-controls": `panel-${name}` }, name),
  );
  const panels = names.map((name) =>
    make("div", { role: "tabpanel", id: `panel-${name}`, "aria-labelledby": `tab-${name}`, tabindex: "0" }),
  );
  const show = (name) =>
    names.forEach((other, index) => {
      const isShown = other === name;
      tabs[index].setAttribute("aria-selected", isShown);
      tabs[index].tabIndex = isShown ? 0 : -1;
      panels[index].hidden = !isShown;
    });
  tabs.forEach((tab, index) => {
    tab.addEventListener("click", () => show(names[index]));
    tab.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!step) return;
      event.preventDefault();
      event.stopPropagation();
      const next = (index + step + names.length) % names.length;
      show(names[next]);
      tabs[next].focus();
    });
  });
  const foot = make("div", { class: "foot" });
  const done = make("div", { class: "done", role: "group", "aria-label": "Finished", hidden: true });
  const wishes = make("div", { class: "wishes", role: "group", "aria-label": "Once more, but", hidden: true });
  element.append(make("div", { class: "tabs", role: "tablist", "aria-label": "Panel" }, tabs), ...panels, done, wishes, foot);
  show(names[0]);
  return { ...Object.fromEntries(names.map((name, index) => [name, panels[index]])), foot, done, wishes, show };
}
