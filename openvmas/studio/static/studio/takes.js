// The tab "Takes": every variation and every section written again, what can be done with it, and its downloads.
import * as api from "./api.js";
import { announce, button, make, notify, refill } from "./elements.js";
import { credits } from "./credits.js";
import { confirm } from "./dialogs.js";
import { clockText, signed } from "./units.js";

const STATES = {
  waiting: "waits",
  writing: "being written",
  finishing: "being finished",
  failed: "failed",
  cancelled: "cancelled",
};
const FILES = [
  ["video?download=true", "Video"],
  ["music.wav", "Music (WAV)"],
  ["music-ducked.wav", "Music as in the mix (WAV)"],
  ["stems", "Stems (ZIP)", (take) => take.has_stems?.length],
  ["midi", "MIDI", (take) => take.has_midi],
  ["plan.yaml", "Plan (YAML)"],
  ["report.json", "Report (JSON)"],
  ["markers.csv", "Markers (CSV)"],
  ["markers.edl", "Markers (EDL)"],
  ["markers.otio", "Markers (OTIO)"],
];

export class Takes {
  constructor(workspace, listening, scoring, element) {
    Object.assign(this, { workspace, listening, scoring, element });
    workspace.on("project states plan selection", () => this.draw());
    listening.player.addEventListener("change", () => this.draw());
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
        [...takes].reverse().map((take) => this.#take(take, open)),
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
        "aria-label": `Compare ${take.name} as ${letter.toUpperCase()}`,
        "aria-pressed": String(listening.pair[letter] === take.id),
        onclick: () => listening.assign(letter, take.id),
      });
    const spans = take.part?.spans?.length ? take.part.spans : take.part ? [[take.part.start, take.part.end]] : [];
    const part = spans.length
      ? `${spans.map((span) => span.map((time) => clockText(time, 1)).join(" to ")).join(", ")} written again`
      : `seed ${take.seed}`;
    const parent = workspace.take(take.parent);
    return make(
      "li",
      { class: isHeard ? "take heard" : "take" },
      make(
        "div",
        { class: "row" },
        make("b", {}, take.name),
        isDone ? null : make("span", { class: "badge" }, STATES[take.state] ?? take.state),
        button(`Rename ${take.name}`, {
          shape: "pen",
          bare: true,
          "data-key": `name-${take.id}`,
          onclick: () => this.#rename(take),
        }),
        button(`Delete ${take.name}`, {
          shape: "bin",
          bare: true,
          "data-key": `bin-${take.id}`,
          onclick: () => this.#remove(take),
        }),
        make("span", { class: "grow" }),
        pick("a"),
        pick("b"),
      ),
      make(
        "p",
        { class: "help" },
        [
          take.model,
          part,
          parent ? `from ${parent.name}` : "",
          isDone && take.sync_z != null ? `sync z ${signed(take.sync_z)}` : "",
          isDone && take.loudness_lufs != null ? signed(take.loudness_lufs, "LUFS") : "",
        ]
          .filter(Boolean)
          .join(" · "),
      ),
      make(
        "div",
        { class: "row wrap" },
        button("Listen", {
          kind: "secondary",
          "data-key": `hear-${take.id}`,
          "aria-label": `Listen to ${take.name}`,
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
                "aria-label": `Download the video of ${take.name}`,
              },
              "Download",
            )
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
      isDone ? this.#files(take, open.has(take.id)) : null,
      isDone ? this.#credits(take, open.has(`credit-${take.id}`)) : null,
    );
  }

  #files(take, isOpen) {
    const links = FILES.filter(([, , has]) => !has || has(take)).map(([path, text]) =>
      make("li", {}, make("a", { href: `/api/takes/${take.id}/${path}`, download: "" }, text)),
    );
    return make(
      "details",
      { class: "more", "data-take": take.id, open: isOpen },
      make("summary", {}, "All files"),
      make("ul", { class: "files" }, links),
    );
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
    const name = await confirm(`Rename ${take.name}`, { field: take.name, yes: "Rename" });
    if (name) this.#ask(() => api.patch(`/takes/${take.id}`, { name }));
  }

  async #remove(take) {
    const isSure = await confirm(`Delete ${take.name}?`, {
      text: "Its music and video are deleted from this computer. This cannot be undone.",
      yes: "Delete",
    });
    if (isSure) this.#ask(() => api.remove(`/takes/${take.id}`), `${take.name} is deleted.`);
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

  /** Write a section again in the take that is heard; options: beside those of that take. */
  redo(index, options = {}) {
    const { base, workspace, listening } = this;
    const section = workspace.plan.sections[index];
    if (section.locked)
      return notify(`Section ${index + 1} is locked, so its music stays; unlock it first (Shift L).`, "fault");
    if (!base) return notify(whyNot(listening.heard), "fault");
    const from = Math.max(section.start - 2, 0);
    return this.scoring.start({ kind: "redo", take: base.id, section: index, options }, from);
  }
}

const canRedo = (take) => take?.state === "done" && take.can_redo;

function whyNot(heard) {
  if (!heard) return "Score the video first; then any section can be written again by itself.";
  return heard.state === "done"
    ? `${heard.name} was written by ${heard.model}, which cannot change a part alone; listen to another take, or score again.`
    : `${heard.name} is not finished; wait for it, or listen to the take that you mean.`;
}
