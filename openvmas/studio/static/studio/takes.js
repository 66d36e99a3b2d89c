// The tab "Takes": every variation and every section written again, what can be done with it, and its downloads.
import * as api from "./api.js";
import { announce, button, make, notify, refill } from "./elements.js";
import { credits } from "./credits.js";
import { fileList } from "./delivery.js";
import { confirm } from "./dialogs.js";
import { timing } from "./report.js";
import { clockText, signed } from "./units.js";
import { say, tell } from "./words.js";

const STATES = {
  waiting: "waits",
  writing: "being written",
  finishing: "being finished",
  failed: "failed",
  cancelled: "cancelled",
};
export class Takes {
  constructor(workspace, listening, scoring, element) {
    Object.assign(this, { workspace, listening, scoring, element });
    workspace.on("project states plan selection", () => this.draw());
    listening.player.addEventListener("change", () => this.draw());
    element.redraw = () => this.draw();
    this.draw();
  }

  draw() {
    const { takes } = this.workspace;
    if (!takes.length)
      return refill(
        this.element,
        make(
          "p",
          { class: "quiet" },
          "No music yet. Every press of Score makes a take; takes are kept until you delete them, so you can compare them here.",
        ),
      );
    const open = new Set([...this.element.querySelectorAll("details[open]")].map((one) => one.dataset.take));
    refill(
      this.element,
      make(
        "ol",
        { class: "takes" },
        [...takes].reverse().sort((a, b) => Number(b.favourite) - Number(a.favourite)).map((take) => this.#take(take, open)),
      ),
    );
  }

  #take(take, open) {
    const { listening, workspace } = this;
    const isHeard = listening.player.track?.take.id === take.id;
    const isDone = take.state === "done";
    const pick = (letter) =>
      button(letter.toUpperCase(), {
        kind: "chip",
        "data-key": `${letter}-${take.id}`,
        "aria-label": tell("Compare {0} as {1}", take.name, letter.toUpperCase()),
        "aria-pressed": String(listening.pair[letter] === take.id),
        onclick: () => listening.assign(letter, take.id),
      });
    const spans = take.part?.spans?.length ? take.part.spans : take.part ? [[take.part.start, take.part.end]] : [];
    const part = spans.length
      ? tell("{0} written again", spans.map((span) => tell("{0} to {1}", ...span.map((time) => clockText(time, 1)))).join(", "))
      : tell("seed {0}", take.seed);
    const parent = workspace.take(take.parent);
    return make(
      "li",
      { class: isHeard ? "take heard" : "take" },
      make(
        "div",
        { class: "row" },
        button(take.favourite ? tell("{0} is a favourite", take.name) : tell("Make {0} a favourite", take.name), {
          shape: "heart",
          bare: true,
          kind: take.favourite ? "heart on" : "heart",
          "data-key": `heart-${take.id}`,
          "aria-pressed": String(take.favourite),
          onclick: () => this.#ask(() => api.patch(`/takes/${take.id}`, { favourite: !take.favourite })),
        }),
        make("b", { class: "ellipsis" }, take.name),
        isDone ? null : make("span", { class: "badge" }, STATES[take.state] ?? take.state),
        button(tell("Rename {0}", take.name), {
          shape: "pen",
          bare: true,
          "data-key": `name-${take.id}`,
          onclick: () => this.#rename(take),
        }),
        button(tell("Delete {0}", take.name), {
          shape: "bin",
          bare: true,
          "data-key": `bin-${take.id}`,
          onclick: () => this.#remove(take),
        }),
        make("span", { class: "grow" }),
        pick("a"),
        pick("b"),
      ),
      isDone ? this.#shape(take) : null,
      take.text ? make("p", { class: "words" }, `“${take.text}”`) : null,
      take.voice ? make("p", { class: "help", "data-key": `voice-${take.id}` }, voiceText(take.voice)) : null,
      make(
        "p",
        { class: "help" },
        [
          take.voice ? "" : take.model,
          take.tempo ? `${Math.round(take.tempo)} BPM` : "",
          part,
          parent ? tell("from {0}", parent.name) : "",
          isDone && take.loudness_lufs != null ? signed(take.loudness_lufs, "LUFS") : "",
        ]
          .filter(Boolean)
          .join(" · "),
        isDone && take.sync_z != null ? make("span", { title: timing(take.sync_z).about }, ` · ${timing(take.sync_z).text}`) : null,
      ),
      make(
        "div",
        { class: "row wrap" },
        button("Listen", {
          kind: "secondary",
          "data-key": `hear-${take.id}`,
          "aria-label": tell("Listen to {0}", take.name),
          "aria-pressed": String(isHeard),
          onclick: () => listening.hear(take.id),
        }),
        isDone
          ? make(
              "a",
              {
                class: "button secondary",
                href: `/api/takes/${take.id}/video?download=true`,
                download: "",
                "data-key": `get-${take.id}`,
                "aria-label": tell("Download the video of {0}", take.name),
              },
              "Download",
            )
          : null,
        isDone
          ? button("Use these settings", {
              kind: "plain",
              "data-key": `use-${take.id}`,
              title: "Plan, voice and levels as this take was made with them",
              onclick: () => this.#useSettings(take),
            })
          : null,
        isDone
          ? button("Mix again", {
              kind: "secondary",
              "data-key": `mix-${take.id}`,
              title: "The same music with the levels that are set under Sound, as a new take",
              disabled: Boolean(workspace.scoring),
              onclick: () => this.scoring.mixAgain(take),
            })
          : null,
      ),
      isDone ? this.#note(take) : null,
      isDone ? this.#files(take, open.has(take.id)) : null,
      isDone ? this.#credits(take, open.has(`credit-${take.id}`)) : null,
    );
  }

  #files(take, isOpen) {
    return make(
      "details",
      { class: "more", "data-take": take.id, open: isOpen },
      make("summary", {}, "All files"),
      fileList(take),
    );
  }

  /** The shape of its music, drawn when it is there. */
  #shape(take) {
    const canvas = make("canvas", { class: "shape", width: 560, height: 56, "aria-hidden": "true" });
    const draw = ({ max }) => {
      const context = canvas.getContext("2d");
      context.fillStyle = getComputedStyle(canvas).color;
      const highest = Math.max(...max, 0.01);
      const wide = canvas.width / max.length;
      max.forEach((value, i) => {
        const reach = Math.max((value / highest) * 26, 1);
        context.fillRect(i * wide, 28 - reach, Math.max(wide - 1.5, 1), 2 * reach);
      });
    };
    const perSecond = Math.max(1, Math.min(20, Math.floor(120 / take.duration)));
    this.shapes ??= new Map();
    if (!this.shapes.has(take.id))
      this.shapes.set(take.id, api.get(`/takes/${take.id}/peaks?per_second=${perSecond}`).catch(() => ({ max: [] })));
    this.shapes.get(take.id).then((peaks) => peaks.max.length && draw(peaks));
    return canvas;
  }

  #note(take) {
    const input = make("input", {
      type: "text",
      value: take.note,
      maxlength: 500,
      placeholder: "A note",
      "aria-label": tell("Note on {0}", take.name),
      "data-key": `note-${take.id}`,
      autocomplete: "off",
    });
    input.addEventListener("change", () =>
      this.#ask(() => api.patch(`/takes/${take.id}`, { note: input.value.trim() })),
    );
    return input;
  }

  /** Plan, voice and levels as this take was made with them. */
  async #useSettings(take) {
    const names = ["model", "music", "like", ...this.settings.names];
    const given = take.model === "recording" ? take.options : { ...take.options, model: take.voice ? null : take.model };
    await this.settings.set(Object.fromEntries(names.map((name) => [name, name === "seed" ? null : (given[name] ?? null)])));
    if (take.plan_version !== this.workspace.plan.version)
      await this.workspace.ask("restore", { version: take.plan_version });
    notify(tell("Plan, voice and levels are those of {0}.", take.name));
  }

  /** Fetched when it is opened. */
  #credits(take, isOpen) {
    const body = make("div", { class: "credits" });
    const show = async () => {
      if (!details.open || body.firstChild) return;
      try {
        body.replaceChildren(...credits(await this.workspace.report(take.id)));
      } catch (error) {
        notify(error.message, "fault");
      }
    };
    const summary = make("summary", {}, "Licence and credit");
    const details = make(
      "details",
      { class: "more", "data-take": `credit-${take.id}`, open: isOpen, ontoggle: show },
      summary,
      body,
    );
    if (isOpen) show();
    return details;
  }

  async #rename(take) {
    const name = await confirm(tell("Rename {0}", take.name), { field: take.name, yes: "Rename" });
    if (name && name !== take.name) this.#ask(() => api.patch(`/takes/${take.id}`, { name }));
  }

  async #remove(take) {
    const isSure = await confirm(tell("Delete {0}?", take.name), {
      text: "Its music and video are deleted from this computer. This cannot be undone.",
      yes: "Delete",
    });
    if (isSure) this.#ask(() => api.remove(`/takes/${take.id}`), tell("{0} is deleted.", take.name));
  }

  async #ask(call, said) {
    try {
      await call();
      this.workspace.spread();
      if (said) announce(said);
    } catch (error) {
      notify(error.message, "fault");
    }
    await this.workspace.refresh();
  }

  /** The take that a section is written again in: the one that is heard, else, with the original, the newest that can. */
  get base() {
    const heard = this.listening.heard;
    return heard ? (canRedo(heard) ? heard : null) : (this.workspace.takes.filter(canRedo).at(-1) ?? null);
  }

  /** The take whose music locked sections keep: the one that is heard, else the newest that is finished. */
  get kept() {
    const { heard } = this.listening;
    return heard?.state === "done" ? heard : (this.workspace.takes.findLast((take) => take.state === "done") ?? null);
  }

  /** Write a part again in the take that is heard; start, end: s. */
  redoSpan(start, end) {
    const { base, listening } = this;
    if (!base) return notify(whyNot(listening.heard), "fault");
    return this.scoring.start({ kind: "redo", take: base.id, start, end }, Math.max(start - 2, 0));
  }

  /** Write a section again in the take that is heard; options: beside those of that take. */
  redo(index, options = {}) {
    const { base, workspace, listening } = this;
    const section = workspace.plan.sections[index];
    if (section.locked)
      return notify(tell("Section {0} is locked, so its music stays; unlock it first (Shift L).", index + 1), "fault");
    if (!base) return notify(whyNot(listening.heard), "fault");
    const from = Math.max(section.start - 2, 0);
    return this.scoring.start({ kind: "redo", take: base.id, section: index, options }, from);
  }
}

/** Which voice was chosen, and why. */
function voiceText({ model, reasons }) {
  const said = reasons.map((reason) => {
    const [, words] = /^it is better heard as (.*)$/.exec(reason) ?? [];
    return words ? tell("it is better heard as {0}", words) : say(reason);
  });
  return tell("Written by {0}: {1}.", model, said.join(", ") || say("nothing speaks for another voice"));
}

const canRedo = (take) => take?.state === "done" && take.can_redo;

function whyNot(heard) {
  if (!heard) return "Score the video first; then any section can be written again by itself.";
  return heard.state === "done"
    ? tell("{0} was written by {1}, which cannot change a part alone; listen to another take, or score again.", heard.name, heard.model)
    : tell("{0} is not finished; wait for it, or listen to the take that you mean.", heard.name);
}
