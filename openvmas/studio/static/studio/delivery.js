// A finished take: that it is finished, what it is, for where it is to be mixed, and everything that can be taken away.
import { copyText, creditText } from "./credits.js";
import { ask, closeButton } from "./dialogs.js";
import { button, byId, make, notify, refill } from "./elements.js";
import { PRESETS, tooLong } from "./platforms.js";
import { sizeText, signed } from "./units.js";
import { tell } from "./words.js";

const FILES = [
  ["video?download=true", "Video", "The finished film"],
  ["editors.zip", "For editors (ZIP)", "Picture, original, music, stems; timelines for Resolve, Final Cut and Premiere"],
  ["music.wav", "Music (WAV)", "Alone, at the asked loudness"],
  ["music-ducked.wav", "Music as in the mix (WAV)", "To lay beside the untouched original"],
  ["stems", "Stems (ZIP)", "Each instrument alone", (take) => take.has_stems?.length],
  ["midi", "MIDI", "The notes", (take) => take.has_midi],
  ["plan.yaml", "Plan (YAML)", "For the command line"],
  ["report.json", "Report (JSON)", "All that was measured"],
  ["joins.otio", "Joins of the recording (OTIO)", "Its parts, for DaVinci Resolve and others", (take) => take.has_joins],
  ["joins.edl", "Joins of the recording (EDL)", "Its parts, to the frame", (take) => take.has_joins],
  ["markers.csv", "Markers (CSV)", "For spreadsheets"],
  ["markers.edl", "Markers (EDL)", "For DaVinci Resolve"],
  ["markers.otio", "Markers (OTIO)", "OpenTimelineIO"],
];

/** Links to the files of a take. */
export const fileList = (take) =>
  make(
    "ul",
    { class: "files" },
    FILES.filter(([, , , has]) => !has || has(take)).map(([path, text, about]) =>
      make("li", {}, make("a", { href: `/api/takes/${take.id}/${path}`, download: "", title: about }, text)),
    ),
  );

export class Delivery {
  constructor(workspace, listening, scoring, settings, element) {
    Object.assign(this, { workspace, listening, scoring, settings, element });
    workspace.on("project states levels", () => this.draw());
    listening.player.addEventListener("change", () => this.draw());
    this.draw();
  }

  /** The take that would be taken away: the one that is heard, else the newest. */
  get #take() {
    const { heard } = this.listening;
    const take = heard ?? this.workspace.takes.at(-1);
    return take?.state === "done" ? take : null;
  }

  draw() {
    const take = this.#take;
    this.element.hidden = !take || Boolean(this.workspace.scoring);
    if (this.element.hidden) return;
    const isFresh = this.settings.isMixedSo(take);
    refill(
      this.element,
      make(
        "p",
        { class: "grow" },
        make("b", {}, isFresh ? tell("{0} is finished", take.name) : tell("{0}, at other levels", take.name)),
        make("span", { class: "quiet" }, [sizeText(take.n_bytes ?? 0), signed(take.loudness_lufs, "LUFS")].join(" · ")),
      ),
      isFresh
        ? button("Take it away", { kind: "primary", "data-key": "deliver", onclick: () => this.open(take) })
        : button("Mix again", {
            kind: "primary",
            "data-key": "mix-now",
            title: "A take of the same music with the levels that you hear",
            onclick: () => this.scoring.mixAgain(take),
          }),
    );
  }

  async open(take) {
    let full = null;
    try {
      full = await this.workspace.report(take.id);
    } catch (error) {
      return notify(error.message, "fault");
    }
    const { loudness_lufs: loudness, true_peak: peak } = full.report;
    const credit = creditText(full);
    const facts = [
      ["Size", sizeText(take.n_bytes ?? 0)],
      ["Loudness", tell("{0}, true peak {1}", signed(loudness, "LUFS"), signed(peak, "dBTP"))],
      ["Licence", full.report.composer.track?.licence || full.report.model.licence],
    ];
    await ask(
      tell("{0} is finished", take.name),
      make(
        "dl",
        { class: "facts wide" },
        facts.map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, value))),
      ),
      this.#presets(take),
      make(
        "div",
        { class: "stack" },
        make("h3", {}, "For the description of your video"),
        make("p", { class: "credit" }, credit || "Nobody has to be named."),
        credit ? make("div", {}, button("Copy", { shape: "copy", kind: "secondary", onclick: () => copyText(credit) })) : null,
      ),
      make(
        "div",
        { class: "row wrap" },
        download(take, "video?download=true", "Download the video", "primary"),
        download(take, "editors.zip", "ZIP for editors", "secondary"),
      ),
      make("details", { class: "more" }, make("summary", {}, "All files"), fileList(take)),
      closeButton("secondary"),
    );
  }

  /** Where it goes: another target is another mix of the same music. */
  #presets(take) {
    const choose = async (preset) => {
      await this.settings.usePreset(preset);
      byId("dialog").close();
      const long = tooLong(preset, this.workspace.duration);
      if (long) notify(long);
      if (!this.settings.isMixedSo(take)) await this.scoring.mixAgain(take);
    };
    const isChosen = (preset) => ["loudness", "true_peak", "duck"].every((name) => this.settings.value(name) === preset[name]);
    return make(
      "div",
      { class: "stack" },
      make("h3", {}, "Mixed for"),
      make(
        "div",
        { class: "chips" },
        PRESETS.map((preset) =>
          make(
            "button",
            {
              type: "button",
              class: "chip",
              title: preset.source,
              "aria-pressed": String(isChosen(preset)),
              onclick: () => choose(preset),
            },
            preset.name,
          ),
        ),
      ),
    );
  }
}

const download = (take, path, text, kind) =>
  make("a", { class: `button ${kind}`, href: `/api/takes/${take.id}/${path}`, download: "" }, text);
