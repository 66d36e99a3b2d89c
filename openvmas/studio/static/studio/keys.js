// Every key, once: what it does, and its line in the help.
import { make } from "./elements.js";
import { ask, closeButton } from "./dialogs.js";

const SWITCH = "studio.single-keys"; // off for those whose voice input or switch device would press letters by accident

/** keys: [{keys: [names], text, act}]; a name is like "h", "shift+l", "mod+z", "ArrowLeft", " ". */
export class Keys {
  constructor(entries) {
    this.entries = entries;
    addEventListener("keydown", (event) => this.#press(event));
  }

  get isSingleOn() {
    return localStorage.getItem(SWITCH) !== "off";
  }

  #press(event) {
    if (event.defaultPrevented || document.querySelector("dialog[open]") || event.altKey) return;
    const isText = event.target.closest?.("input:not([type=range],[type=checkbox],[type=file]), textarea, select");
    const mod = event.ctrlKey || event.metaKey;
    if (isText && !(mod && event.key === "Enter")) return;
    const ownKeys = event.target.closest?.("button, a, summary, input");
    if (ownKeys && !mod && [" ", "Enter"].includes(event.key)) return;
    if (event.target.matches?.("input[type=range]") && /^(Arrow|Page|Home|End)/.test(event.key)) return;
    if (!mod && !this.isSingleOn && event.key.length === 1 && event.key !== "?") return;
    const isShifted = event.shiftKey && (event.key.length > 1 || /[a-z]/i.test(event.key));
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    const name = `${mod ? "mod+" : ""}${isShifted ? "shift+" : ""}${key}`;
    const entry = this.entries.find(({ keys }) => keys.includes(name));
    if (!entry) return;
    event.preventDefault();
    if (isText) tellTyped(event.target);
    entry.act();
  }

  help() {
    const rows = this.entries.map(({ keys, text }) =>
      make(
        "div",
        {},
        make(
          "dt",
          {},
          keys.map((name) => make("kbd", {}, spell(name))),
        ),
        make("dd", {}, text),
      ),
    );
    const single = make("input", { type: "checkbox" });
    single.checked = this.isSingleOn;
    single.addEventListener("change", () => localStorage.setItem(SWITCH, single.checked ? "on" : "off"));
    return ask(
      "Keys",
      make("dl", { class: "keys" }, rows),
      make(
        "p",
        { class: "help" },
        "On a border, an energy line or an accent the arrow keys move it: by a frame or 5 %, with Shift by ten frames. Ctrl and the wheel zoom at the pointer; Alt switches off that borders are drawn to cuts.",
      ),
      make("label", { class: "tick" }, single, make("span", {}, "Keys without Ctrl are on")),
      closeButton(),
    );
  }
}

/** A field tells what was typed when it is left; a key that acts on it must not come before that. */
function tellTyped(field) {
  const { key } = field.dataset;
  field.blur();
  const again = field.isConnected ? field : key && document.querySelector(`[data-key="${CSS.escape(key)}"]`);
  if (again) again.focus({ preventScroll: true });
}

const SIGNS = { " ": "Space", ArrowLeft: "←", ArrowRight: "→", Delete: "Del", Backspace: "⌫" };

function spell(name) {
  const mac = /Mac/.test(navigator.platform);
  const words = name
    .split(/\+(?=.)/)
    .map((part) =>
      part === "mod"
        ? mac
          ? "⌘"
          : "Ctrl"
        : part === "shift"
          ? "Shift"
          : (SIGNS[part] ?? (part.length === 1 ? part.toUpperCase() : part)),
    );
  return words.join(" ");
}
