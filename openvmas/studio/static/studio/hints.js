// Three hints the first time that a plan is seen, each beside what it is about; gone for ever when they have been read.
import { button, byId, make } from "./elements.js";
import { tell } from "./words.js";

const READ = "studio.hints";
const HINTS = [
  ["panel", "Pick a sound", "Press a card to hear what your video could sound like, or say it in your own words below."],
  ["timeline", "The music meets the picture", "Yellow marks are moments of the picture that get an accent. Press H to set one of your own where you are."],
  ["panel", "Then Score", "You hear the music while it is written. Every press is another take; nothing is lost."],
];

export class Hints {
  constructor(workspace) {
    this.workspace = workspace;
    this.index = 0;
    workspace.on("plan project", () => this.#look());
  }

  #look() {
    const { plan, takes } = this.workspace;
    const isDue = innerHeight > 760 && plan && !takes.length && localStorage.getItem(READ) === null && this.index < HINTS.length;
    if (!isDue) return this.#close();
    if (!this.element) this.#show();
  }

  #close() {
    this.element?.remove();
    this.element = null;
  }

  #show() {
    this.#close();
    const [place, title, text] = HINTS[this.index];
    const isLast = this.index === HINTS.length - 1;
    const next = () => {
      this.index++;
      if (isLast) localStorage.setItem(READ, "read");
      this.#look();
      if (!isLast) this.#show();
    };
    const skip = () => (localStorage.setItem(READ, "read"), this.#close());
    this.element = make(
      "aside",
      { class: "hint-card", "aria-label": tell("Hint {0} of {1}", this.index + 1, HINTS.length) },
      make("b", {}, title),
      make("p", {}, text),
      make(
        "div",
        { class: "row end" },
        make("span", { class: "quiet grow" }, tell("{0} of {1}", this.index + 1, HINTS.length)),
        isLast ? null : button("Skip", { kind: "plain", onclick: skip }),
        button(isLast ? "Begin" : "Next", { kind: "secondary", "data-key": "hint-next", onclick: next }),
      ),
    );
    byId(place).prepend(this.element);
  }
}
