// The plan as two tables of fields: the same as the timeline, for keyboards, screen readers and exact numbers.
import { announce, button, byId, make, notify, refill } from "./elements.js";
import * as plans from "./plan.js";
import { clockText, readClock } from "./units.js";
import { say, tell } from "./words.js";

export class List {
  constructor(workspace, player) {
    Object.assign(this, { workspace, player });
    this.details = byId("list");
    this.body = this.details.lastElementChild;
    // Made once: what is typed here is no part of the plan, so a new plan must not take it away.
    this.add = make("input", {
      type: "text",
      "aria-label": "Time of a new accent",
      size: 8,
      "data-key": "add-hit-time",
      autocomplete: "off",
    });
    this.details.addEventListener("toggle", () => this.draw());
    workspace.on("plan", () => this.draw());
  }

  draw() {
    const { plan } = this.workspace;
    this.details.hidden = !plan;
    if (!plan || !this.details.open) return;
    refill(this.body, this.#sections(plan), this.#hits(plan));
  }

  /** A field in a cell; `change(text)` may throw the sentence why it cannot. */
  #cell(key, label, value, change, attributes = {}) {
    const input = make("input", {
      type: "text",
      value,
      "aria-label": label,
      "data-key": key,
      autocomplete: "off",
      ...attributes,
    });
    input.addEventListener("change", () => {
      try {
        change(input.value.trim());
      } catch (error) {
        notify(error.message, "fault");
        input.value = value;
      }
    });
    return make("td", {}, input);
  }

  #sections(plan) {
    const { workspace } = this;
    const { fps } = workspace;
    const row = (section, index) => {
      const name = tell("section {0}", index + 1);
      const disabled = section.locked;
      const isLast = index + 1 === plan.sections.length;
      const set = (changes) => workspace.edit((now) => plans.setSection(now, index, changes));
      const number = (text, low, high, what) => (text === "" ? null : readNumber(text, low, high, what));
      const end = (text) => {
        const time = readTime(text, section.end);
        workspace.edit((now) => plans.moveBorder(now, index, time, fps));
      };
      return make(
        "tr",
        {},
        rowHead(`go-${index}`, index, () => this.#go(index, section.start)),
        make("td", {}, clockText(section.start)),
        isLast
          ? make("td", {}, clockText(section.end))
          : this.#cell(`end-${index}`, tell("End of {0}", name), clockText(section.end), end, {
              size: 8,
              disabled: disabled || plan.sections[index + 1].locked,
            }),
        this.#cell(`text-${index}`, tell("Words for {0}", name), section.text ?? "", (text) => set({ text: text || null }), {
          size: 24,
          disabled,
          placeholder: plans.character({ ...section, text: null }, plan),
        }),
        this.#cell(
          `energy-${index}`,
          tell("Energy of {0}, percent", name),
          Math.round(section.energy * 100),
          (text) => set({ energy: (number(text, 0, 100, "Energy") ?? 70) / 100 }),
          { size: 4, disabled, inputmode: "decimal" },
        ),
        this.#cell(
          `tempo-${index}`,
          tell("Tempo of {0}, beats per minute", name),
          section.tempo ?? "",
          (text) => set({ tempo: number(text, 40, 220, "Tempo") }),
          { size: 5, disabled, inputmode: "decimal", placeholder: "auto" },
        ),
        make(
          "td",
          { class: "row" },
          button(tell(section.locked ? "Unlock {0}" : "Lock {0}", name), {
            shape: section.locked ? "lock" : "unlock",
            bare: true,
            "data-key": `lock-${index}`,
            "aria-pressed": String(section.locked),
            onclick: () => set({ locked: !section.locked }),
          }),
          button(tell("Split {0} in the middle", name), {
            shape: "split",
            bare: true,
            disabled,
            "data-key": `split-${index}`,
            onclick: () => workspace.edit((now) => plans.split(now, (section.start + section.end) / 2, fps)),
          }),
          isLast
            ? null
            : button(tell("Merge {0} with the next", name), {
                shape: "merge",
                bare: true,
                disabled,
                "data-key": `merge-${index}`,
                onclick: () => workspace.edit((now) => plans.merge(now, index)),
              }),
        ),
      );
    };
    return table(
      "Sections",
      ["Section", "Start", "End", "Words", "Energy, %", "Tempo, BPM", "Change"],
      plan.sections.map(row),
    );
  }

  #hits(plan) {
    const { workspace } = this;
    const row = (hit, index) => {
      const name = tell("accent {0}", index + 1);
      const move = (text) => {
        const time = readTime(text, hit.time);
        workspace.edit((now) => plans.moveHit(now, index, time, workspace.fps));
      };
      const strength = (text) => {
        const value = readNumber(text, 1, 100, "Strength", " %");
        workspace.edit((now) => plans.setHit(now, index, { strength: value / 100 }));
      };
      return make(
        "tr",
        {},
        rowHead(`go-hit-${index}`, index, () => this.player.seek(hit.time + 0.002)),
        this.#cell(`hit-${index}`, tell("Time of {0}", name), clockText(hit.time), move, { size: 8 }),
        this.#cell(`strength-${index}`, tell("Strength of {0}, percent", name), Math.round(hit.strength * 100), strength, {
          size: 4,
          inputmode: "decimal",
        }),
        make("td", {}, hit.source === "user" ? "yours" : "from the picture"),
        make(
          "td",
          {},
          button(tell("Delete {0} at {1}", name, clockText(hit.time)), {
            shape: "bin",
            bare: true,
            "data-key": `bin-hit-${index}`,
            onclick: () => workspace.edit((now) => plans.removeHit(now, index)),
          }),
        ),
      );
    };
    const { add } = this;
    add.placeholder = clockText(this.player.frameTime);
    const put = () => {
      const time = add.value ? readClock(add.value) : this.player.frameTime;
      if (Number.isNaN(time)) return notify(tell("“{0}” is not a time; write it like {1}.", add.value, "0:12.40"), "fault");
      if (workspace.edit((now) => plans.addHit(now, time, workspace.fps))) announce(tell("Accent at {0}.", clockText(time)));
      add.value = "";
    };
    return [
      table("Accents", ["Accent", "Time", "Strength, %", "Whose", "Change"], plan.hits.map(row)),
      make(
        "div",
        { class: "row adding" },
        add,
        button("Add an accent", { shape: "hit", kind: "secondary", "data-key": "add-hit", onclick: put }),
      ),
    ];
  }

  #go(index, start) {
    this.workspace.select({ kind: "section", index });
    this.player.seek(start + 0.002);
  }
}

/** The time that was typed, s; throws the sentence why it is none. now: the time as it is. */
function readTime(text, now) {
  const time = readClock(text);
  if (Number.isNaN(time)) throw new Error(tell("“{0}” is not a time; write it like {1}.", text, clockText(now)));
  return time;
}

/** The number that was typed, with a point or a comma; throws the sentence why it cannot be. */
function readNumber(text, low, high, what, unit = "") {
  const value = Number(text.replace(",", "."));
  if (!(value >= low && value <= high))
    throw new Error(tell("{0} goes from {1} to {2}{3}; write a number between.", say(what), low, high, unit));
  return value;
}

/** The first cell of a row: a button with its number that goes there. */
function rowHead(key, index, onclick) {
  const attributes = { type: "button", class: "chip", "data-key": key, onclick };
  return make("th", { scope: "row" }, make("button", attributes, `${index + 1}`));
}

function table(caption, heads, rows) {
  return make(
    "div",
    { class: "scroller", tabindex: "0", role: "region", "aria-label": caption },
    make(
      "table",
      {},
      make("caption", {}, caption),
      make(
        "thead",
        {},
        make(
          "tr",
          {},
          heads.map((head) => make("th", { scope: "col" }, head)),
        ),
      ),
      make("tbody", {}, rows),
    ),
  );
}
