// The tab "Plan": words for the whole, the section or hit that is chosen, and how the plan fits the picture.
import { confirm } from "./dialogs.js";
import { announce, button, make, refill } from "./elements.js";
import { numberField, sliderField, textField } from "./fields.js";
import * as plans from "./plan.js";
import { clockText } from "./units.js";
import { listed, say, tell } from "./words.js";

export class Inspector {
  constructor(workspace, player, takes, element, styles) {
    Object.assign(this, { workspace, player, takes, element, styles });
    this.wish = {};
    workspace.on("plan selection project states", () => this.draw());
    this.draw();
  }

  draw() {
    const { plan, project } = this.workspace;
    if (!plan) {
      const text =
        project?.state === "refused"
          ? project.error
          : "The plan appears here when the picture has been watched: sections, tempo and moments, all yours to change.";
      return refill(this.element, make("p", { class: "quiet" }, text));
    }
    const { selection } = this.workspace;
    const chosen =
      selection?.kind === "hit"
        ? this.#hit(plan, selection.index)
        : this.#section(plan, selection?.index ?? plans.sectionAt(plan, this.player.time));
    refill(this.element, cutOff(project?.video), this.styles.element, this.#whole(plan), chosen, this.#fit(plan));
  }

  #whole(plan) {
    const { workspace } = this;
    const moods = workspace.session?.moods ?? plans.MOODS;
    const isAutomatic = !this.wish.tempo;
    return make(
      "fieldset",
      {},
      make("legend", {}, "The whole video"),
      textField("Words", plan.text, (text) => workspace.edit((now) => ({ ...now, text })), {
        key: "whole-text",
        placeholder: "calm piano, hopeful",
        help: heardWords(plan),
      }),
      textField("Mood", plan.mood, (mood) => workspace.edit((now) => ({ ...now, mood })), {
        key: "whole-mood",
        placeholder: "as the words and the picture say",
        suggestions: moods,
        help: "One word; type a letter or two to see what is known, such as hopeful, eerie or triumphant.",
      }),
      make(
        "div",
        { class: "pair" },
        numberField("Tempo", this.wish.tempo ?? null, (tempo) => ((this.wish = { tempo }), this.draw()), {
          key: "whole-tempo",
          unit: "BPM",
          min: 40,
          max: 220,
          placeholder: tell("{0} fitted", Math.round(plan.tempo)),
        }),
        button("Plan again", { kind: "secondary", "data-key": "suggest", onclick: () => this.#suggest() }),
      ),
      make(
        "p",
        { class: "help" },
        isAutomatic
          ? "Plans anew with the tempo that fits the picture best; locked sections and your own accents stay."
          : tell("Plans anew at {0} BPM; locked sections and your own accents stay.", this.wish.tempo),
      ),
    );
  }

  async #suggest() {
    const { plan } = this.workspace;
    const own = plan.own_sections.map((index) => index + 1);
    const made = {
      one: "Section {0} is as you made it: words, energy, tempo and borders are made anew there. Lock what is to stay; Undo brings everything back.",
      more: "Sections {0} are as you made them: words, energy, tempo and borders are made anew there. Lock what is to stay; Undo brings everything back.",
    };
    const isSure =
      !own.length ||
      (await confirm("Plan again?", {
        text: tell(own.length > 1 ? made.more : made.one, listed(own)),
        yes: "Plan again",
      }));
    if (!isSure) return;
    const body = {
      keep: true,
      ...(plan.text ? { text: plan.text } : {}),
      ...(plan.mood ? { mood: plan.mood } : {}),
      ...this.wish,
    };
    if (await this.workspace.ask("suggest", body))
      announce(tell("Planned again: {0} section.|Planned again: {0} sections.", this.workspace.plan.sections.length));
  }

  #section(plan, index) {
    const { workspace } = this;
    const section = plan.sections[index];
    const set = (changes, kind) => workspace.edit((now) => plans.setSection(now, index, changes), kind);
    const disabled = section.locked;
    const word = (mood) =>
      make(
        "button",
        {
          type: "button",
          class: "chip",
          disabled,
          "data-key": `mood-${mood}`,
          "aria-pressed": String(plans.hasWord(section.text, mood)),
          onclick: () => set({ text: plans.toggleWord(section.text, mood) }),
        },
        mood,
      );
    return make(
      "fieldset",
      { class: "chosen" },
      make(
        "legend",
        {},
        tell("Section {0} of {1} ", index + 1, plan.sections.length),
        make("span", { class: "quiet" }, tell("{0} to {1}", clockText(section.start), clockText(section.end))),
      ),
      textField("Words for this section", section.text, (text) => set({ text }), {
        key: "section-text",
        disabled,
        placeholder: plans.character({ ...section, text: null }, plan),
      }),
      make("div", { class: "chips", role: "group", "aria-label": "Mood words" }, plans.MOODS.map(word)),
      sliderField("Energy", Math.round(section.energy * 100), (value) => set({ energy: value / 100 }), {
        key: "section-energy",
        min: 0,
        max: 100,
        step: 1,
        disabled,
        show: (value) => `${value} %`,
      }),
      numberField("Tempo", section.tempo, (tempo) => set({ tempo }), {
        key: "section-tempo",
        unit: "BPM",
        min: 40,
        max: 220,
        disabled,
        placeholder: tell("{0} as the whole", Math.round(plan.tempo)),
      }),
      this.#sectionTools(section, index),
    );
  }

  #sectionTools(section, index) {
    const { workspace, player } = this;
    return make(
      "div",
      { class: "row wrap" },
      this.takes.base
        ? button("Write its music again", {
            shape: "redo",
            kind: "secondary whole",
            "data-key": "again",
            disabled: Boolean(workspace.scoring) || section.locked,
            title: section.locked ? "Locked: its music stays" : tell("In {0}, the rest stays as it is (R)", this.takes.base.name),
            onclick: () => this.takes.redo(index),
          })
        : null,
      button(section.locked ? "Unlock" : "Lock", {
        shape: section.locked ? "unlock" : "lock",
        kind: "secondary",
        "data-key": "lock",
        "aria-pressed": String(section.locked),
        title: "A locked section keeps its plan when you plan again, and its music when you score again (Shift L)",
        onclick: () => workspace.edit((now) => plans.setSection(now, index, { locked: !section.locked })),
      }),
      button("Split at playhead", {
        shape: "split",
        kind: "secondary",
        "data-key": "split",
        onclick: () => workspace.edit((now) => plans.split(now, player.frameTime, workspace.fps)),
      }),
      button(this.volume.isSilent(section) ? "Music here again" : "No music here", {
        shape: "volume",
        kind: "secondary",
        "data-key": "no-music",
        title: "The music goes down before this section and comes back after it; it stays as it is written",
        onclick: () => (this.volume.silence(section, !this.volume.isSilent(section)), this.draw()),
      }),
      index + 1 < workspace.plan.sections.length
        ? button("Merge with next", {
            shape: "merge",
            kind: "secondary",
            "data-key": "merge",
            onclick: () => workspace.edit((now) => plans.merge(now, index)),
          })
        : null,
    );
  }

  #hit(plan, index) {
    const { workspace } = this;
    const hit = plan.hits[index];
    const isOwn = hit.source === "user";
    return make(
      "fieldset",
      { class: "chosen" },
      make(
        "legend",
        {},
        tell("Accent {0} of {1} ", index + 1, plan.hits.length),
        make("span", { class: "quiet" }, clockText(hit.time)),
      ),
      make(
        "p",
        { class: "help" },
        isOwn
          ? "Yours: the music answers it exactly at its frame."
          : "From the picture: may move to a beat within 0.04 s. Move it and it becomes yours.",
      ),
      sliderField(
        "Strength",
        Math.round(hit.strength * 100),
        (value) => workspace.edit((now) => plans.setHit(now, index, { strength: value / 100 }), `strength ${index}`),
        { key: "hit-strength", min: 1, max: 100, step: 1, show: (value) => `${value} %` },
      ),
      button("Delete this accent", {
        shape: "bin",
        kind: "secondary",
        "data-key": "hit-delete",
        onclick: () => workspace.edit((now) => plans.removeHit(now, index)),
      }),
    );
  }

  #fit(plan) {
    if (!plan.fit || !plan.beats?.length || !plan.hits.length) return null;
    const percent = (value) => `${Math.round(100 * value)} %`;
    const { on_beat, on_beat_chance, on_downbeat, on_downbeat_chance } = plan.fit;
    const own = plan.hits.filter((hit) => hit.source === "user").length;
    return make(
      "dl",
      { class: "facts" },
      make("div", {}, make("dt", {}, "Tempo"), make("dd", {}, `${plan.tempo.toFixed(1)} BPM`)),
      make("div", {}, make("dt", {}, "Accents"), make("dd", {}, tell("{0}, {1} yours", plan.hits.length, own))),
      make(
        "div",
        {},
        make("dt", {}, "Accents on a beat"),
        make("dd", {}, percent(on_beat), make("span", { class: "quiet" }, tell(" by chance {0}", percent(on_beat_chance)))),
      ),
      make(
        "div",
        {},
        make("dt", {}, "On a downbeat"),
        make(
          "dd",
          {},
          percent(on_downbeat),
          make("span", { class: "quiet" }, tell(" by chance {0}", percent(on_downbeat_chance))),
        ),
      ),
    );
  }
}

/** The file ends before it says it does. */
function cutOff(video) {
  if (!video?.missing) return null;
  const told = clockText(video.duration + video.missing, 0);
  const text = tell("{0} is cut off: it announces {1} but holds {2}. Music is written for what is there; copy or export the file again for the rest.", video.filename, told, clockText(video.duration, 0));
  return make("p", { class: "warning", role: "note" }, text);
}

/** What is understood of the words, and where it holds. */
function heardWords(plan) {
  if (!plan.text) return "In your own words: instruments, styles, feelings, tempo.";
  const heard = plan.heard ? tell("Heard as: {0}.", plan.heard) : "";
  return `${heard} ${say("In every section without words of its own; heard when you press Score.")}`.trim();
}
