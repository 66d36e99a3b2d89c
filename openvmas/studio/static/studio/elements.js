// Elements of the page made in one expression, and what is said to everybody at once.
import { say } from "./words.js";

/** An element. Attributes: on… are listeners; true is an empty attribute; false and null are left out. */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "value") element.given = element.value = value;
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value != null) element.setAttribute(name, SAID.has(name) ? say(value) : value);
  }
  element.append(...children.flat(2).filter((child) => child != null && child !== false).map(said));
  return element;
}

const SAID = new Set(["title", "placeholder", "aria-label"]); // attributes that are texts
const said = (child) => (typeof child === "string" ? say(child) : child);

export const byId = (id) => document.getElementById(id);

export function fill(parent, ...children) {
  parent.replaceChildren(...children.flat(2).filter((child) => child != null && child !== false).map(said));
}

let held = null; // what the pointer is pressed on
const late = new Map(); // parts that are to be rebuilt when the user's hands are off them → their new children
// A part that can draw itself does it anew: the press itself may have changed what it shows.
const settle = () =>
  setTimeout(() =>
    [...late].forEach(([parent, children]) => (parent.redraw ? parent.redraw() : refill(parent, ...children))),
  );
addEventListener("pointerdown", (event) => (held = event.target), { capture: true });
for (const name of ["pointerup", "pointercancel"]) {
  addEventListener(name, () => ((held = null), settle()), { capture: true });
}
addEventListener("focusout", settle);
// The list of a select takes the pointer's release for itself.
addEventListener("change", (event) => event.target === held && ((held = null), settle()), { capture: true });

const isTyping = (field) =>
  field.matches("input[type=text], input[type=number]") && field.value !== String(field.given ?? "");

/**
 * Rebuild a part of the page and keep the keyboard's place: the focus returns to the same `data-key`. While something
 * is typed or pressed there it waits: half a word would be lost, and a press would end on another button.
 */
export function refill(parent, ...children) {
  const active = parent.contains(document.activeElement) ? document.activeElement : null;
  if ((active && isTyping(active)) || parent.contains(held)) return void late.set(parent, children);
  late.delete(parent);
  const key = active?.closest("[data-key]")?.dataset.key;
  fill(parent, ...children);
  if (key) parent.querySelector(`[data-key="${CSS.escape(key)}"]`)?.focus({ preventScroll: true });
}

const SHAPES = {
  play: "M7 4.5v15l12-7.5z",
  pause: "M7 5h4v14H7zM13.5 5h4v14h-4z",
  start: "M4 5h2.5v14H4zM13.5 6v12l-6.5-6zM21 6v12l-6.5-6z",
  back: "M16 5v14L6 12zM4 5h2v14H4z",
  forward: "M8 5v14l10-7zM18 5h2v14h-2z",
  undo: "M9 5 4 10l5 5v-3.5h5a3.5 3.5 0 0 1 0 7h-4V21h4a6 6 0 0 0 0-12H9z",
  redo: "m15 5 5 5-5 5v-3.5h-5a3.5 3.5 0 0 0 0 7h4V21h-4a6 6 0 0 1 0-12h5z",
  split: "M11 3h2v18h-2zM3 8h6v8H3zM15 8h6v8h-6z",
  merge: "M3 8h18v8H3z",
  lock: "M7 10V8a5 5 0 0 1 10 0v2h1.5v10h-13V10zm2.2 0h5.6V8a2.8 2.8 0 0 0-5.6 0z",
  unlock: "M9.2 10h9.3v10h-13V10H7V7a5 5 0 0 1 9.6-2l-2 .9A2.8 2.8 0 0 0 9.2 7z",
  hit: "M12 3l2.6 6.2 6.7.6-5 4.4 1.5 6.5-5.8-3.5-5.8 3.5 1.5-6.5-5-4.4 6.7-.6z",
  plus: "M11 5h2v6h6v2h-6v6h-2v-6H5v-2h6z",
  minus: "M5 11h14v2H5z",
  fit: "M3 5h2v14H3zM19 5h2v14h-2zM10 8v3h4V8l4 4-4 4v-3h-4v3l-4-4z",
  bin: "M9 3h6l1 2h4v2H4V5h4zM6 9h12l-1 12H7z",
  pen: "M4 20v-4L15.5 4.5l4 4L8 20zM4 20h16v1.5H4z",
  loop: "M7 7h9V4l5 4.5L16 13v-3H9v3H6V8.5A1.5 1.5 0 0 1 7 7zm10 10H8v3l-5-4.500L8 11v3h7v-3h3v4.500a1.500 1.500 0 0 1-1 1.500z",
  full: "M4 4h6v2.200H6.200V10H4zM14 4h6v6h-2.200V6.200H14zM4 14h2.200v3.800H10V20H4zM17.800 14H20v6h-6v-2.200h3.800z",
  mark: "M4 4h5v2H6v12h3v2H4zM20 4h-5v2h3v12h-3v2h5zM10 11h4v2h-4z",
  volume: "M3 17 9 9l4 4 8-9v3.200l-8 9-4-4-4.800 6.400z",
  heart: "M12 20 4.500 12.500a4.700 4.700 0 0 1 6.600-6.700l.9.9.9-.9a4.700 4.700 0 0 1 6.600 6.700z",
  copy: "M8 3h11v14h-3v4H5V7h3zm2 4h6v8h1V5h-7z",
  close: "m6.4 5 5.6 5.6L17.6 5 19 6.4 13.4 12l5.6 5.6-1.4 1.4-5.6-5.6L6.4 19 5 17.6l5.6-5.6L5 6.4z",
};

export function icon(name) {
  const namespace = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(namespace, "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(namespace, "path");
  path.setAttribute("d", SHAPES[name]);
  svg.append(path);
  return svg;
}

/** A button with a picture and, unless it is `bare`, its words; the words are its name in any case. */
export function button(label, { shape, bare = false, kind = "", ...attributes } = {}) {
  return make(
    "button",
    {
      type: "button",
      class: `button ${kind} ${bare ? "bare" : ""}`,
      ...(bare ? { "aria-label": label, title: label } : {}),
      ...attributes,
    },
    shape ? icon(shape) : null,
    bare ? null : make("span", {}, label),
  );
}

/** Said by screen readers, seen by nobody. */
export function announce(text) {
  const region = byId("announcer");
  region.textContent = "";
  requestAnimationFrame(() => (region.textContent = say(text)));
}

/** Take faults away that are none any more: those with this text, or all after something has been done successfully. */
export function forgive(text = null) {
  for (const note of [...byId("faults").children])
    if (text === null || note.firstChild.textContent === say(text)) note.remove();
}
document.addEventListener("studio:reached", (event) => forgive(event.detail));

/** A sentence that stays until it is closed or its cause has gone (faults), or for some seconds (news). */
export function notify(text, kind = "news") {
  text = say(text);
  const note = make("div", { class: `note ${kind}` }, make("p", {}, text));
  note.append(button("Close this message", { shape: "close", bare: true, onclick: () => note.remove() }));
  const shelf = byId(kind === "fault" ? "faults" : "news");
  [...shelf.children].filter((other) => other.firstChild.textContent === text).forEach((other) => other.remove());
  shelf.append(note);
  if (kind !== "fault") setTimeout(() => note.remove(), 6000);
  return note;
}
