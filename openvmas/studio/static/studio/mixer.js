// The mixer: faders for music, original and the whole, heard at once; mute and solo are for listening alone.
import { make } from "./elements.js";
import { sliderField } from "./fields.js";
import { signed } from "./units.js";

const db = (value) => signed(value, "dB");

export class Mixer {
  constructor(settings, player) {
    Object.assign(this, { settings, player });
  }

  /** Whether something is muted, so that a finished mix is not what is to be heard. */
  get hasMutes() {
    return this.player.muted.music || this.player.muted.original;
  }

  /** hasSound: the video has sound of its own; options: by name, with ranges and help. */
  draw(options, hasSound) {
    const isAlone = this.settings.value("replace_audio");
    const fader = (name, label, show, extra, disabled = false) => {
      const { min, max, help } = options[name];
      return make(
        "div",
        { class: "strip" },
        sliderField(label, this.settings.value(name), (value) => this.settings.set({ [name]: value }), {
          key: name,
          min: Math.max(min, name === "loudness" ? -30 : -40),
          max,
          step: 0.5,
          show,
          help: null,
          title: help,
          disabled,
          live: (value) => this.settings.hold(name, value),
        }),
        extra,
      );
    };
    return [
      fader("music_gain", hasSound ? "Music against original sound" : "Music", db, hasSound && !isAlone ? this.#switches("music") : null, !hasSound || isAlone),
      hasSound ? fader("original_gain", "Original sound", db, isAlone ? null : this.#switches("original"), isAlone) : null,
      hasSound ? fader("duck", "Music under speech", (value) => (value === 0 ? "not lowered" : db(value)), null, isAlone) : null,
    ];
  }

  #switches(name) {
    const other = name === "music" ? "original" : "music";
    const { muted } = this.player;
    const toggle = (what) => {
      muted[what] = !muted[what];
      this.settings.draw();
      this.settings.workspace.tell("levels");
    };
    const one = (letter, what, isOn, label, title) =>
      make(
        "button",
        {
          type: "button",
          class: "chip square",
          "data-key": `${letter}-${name}`,
          "aria-pressed": String(isOn),
          "aria-label": label,
          title,
          onclick: () => toggle(what),
        },
        letter,
      );
    return make(
      "div",
      { class: "row" },
      one("M", name, muted[name], `Mute ${name}`, "Not heard here; the finished video keeps it"),
      one("S", other, muted[other], `Solo ${name}`, "Heard alone here; the finished video keeps both"),
    );
  }
}
