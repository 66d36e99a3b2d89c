// The tab "Sound": how strongly the music follows, how it is mixed, how loud it is delivered. Names, defaults, ranges
// and help come from the server (openvmas/settings.py); what differs from the defaults is kept in the project.
import * as api from "./api.js";
import { byId, make, notify, refill } from "./elements.js";
import { choiceField, numberField, sliderField, tickField } from "./fields.js";
import { Mixer } from "./mixer.js";
import { PLATFORMS, platformOf } from "./platforms.js";
import { signed } from "./units.js";
import { say, tell } from "./words.js";

const times = (value) => (value === 0 ? "off" : value === 1 ? "1 (plain)" : `× ${value}`);
const SLIDERS = {
  guidance: { label: "Follow meaning", step: 0.25, show: times },
  event_guidance: { label: "Follow cuts and moves", step: 0.25, show: times },
  loudness: { label: "Loudness", step: 0.5, show: (value) => signed(value, "LUFS") },
  true_peak: { label: "Highest true peak", step: 0.1, show: (value) => signed(value, "dBTP") },
  temperature: { label: "Daring", step: 0.05, show: (value) => value.toFixed(2) },
  candidates: { label: "Continuations tried", step: 1, show: (value) => `${value}` },
  top_k: { label: "Choose among", step: 1, show: (value) => (value ? tell("{0} codes", value) : "all codes") },
  sweeten_gain: { label: "Level of the added accents", step: 0.5, show: (value) => signed(value, "dB") },
  top_p: { label: "Choose within probability", step: 0.01, show: (value) => value.toFixed(2) },
};
const SOUND = [
  "guidance",
  "event_guidance",
  "music_gain",
  "duck",
  "loudness",
  "true_peak",
  "temperature",
  "candidates",
  "top_k",
  "top_p",
  "seed",
  "replace_audio",
  "sweeten",
  "sweeten_gain",
  "original_gain",
  "envelope",
];
const NAMED = ["model", "music", "like"]; // a model, and recordings by their id

export class Settings {
  #held = {};

  constructor(workspace, element, player) {
    Object.assign(this, { workspace, element, mixer: new Mixer(this, player) });
    workspace.on("project session", () => this.draw());
    this.draw();
  }

  get #options() {
    return Object.fromEntries((this.workspace.session?.options ?? []).map((option) => [option.name, option]));
  }

  /** Names of all options that can be set here. */
  names = SOUND;

  /** What the user has set, as a job takes it. */
  get chosen() {
    const known = this.#options;
    return Object.fromEntries(
      Object.entries(this.workspace.project?.settings ?? {}).filter(
        ([name]) => NAMED.includes(name) || (SOUND.includes(name) && name in known),
      ),
    );
  }

  /** The name of the model that makes the next take. */
  get model() {
    return this.chosen.music ? "recording" : this.chosen.model ?? this.workspace.session?.default_model;
  }

  /** All options of the mix as they are set, defaults too: a take's own may differ from them. */
  get levels() {
    const mix = Object.values(this.#options).filter((option) => option.group === "mix" && SOUND.includes(option.name));
    return Object.fromEntries(mix.map(({ name }) => [name, this.value(name)]));
  }

  value(name) {
    return this.#held[name] ?? this.chosen[name] ?? this.#options[name]?.default;
  }

  /** Whether a finished take was mixed at the levels that are set now, but for some of them. */
  isMixedSo(take, except = []) {
    if (this.mixer.hasMutes) return false;
    return Object.entries(this.levels).every(
      ([name, value]) =>
        except.includes(name) ||
        JSON.stringify(take.options[name] ?? this.#options[name].default) === JSON.stringify(value),
    );
  }

  /** A level while its slider is being moved: it is heard at once and kept when it is let go. */
  hold(name, value) {
    this.#held = { [name]: value };
    this.workspace.tell("levels");
  }

  /** Loudness, peak and ducking as a place wants them. */
  usePreset({ loudness, true_peak, duck }) {
    return this.set({ loudness, true_peak, duck });
  }

  async set(changes) {
    const { workspace } = this;
    this.#held = {};
    const settings = { ...workspace.project.settings, ...changes };
    for (const [name, value] of Object.entries(settings)) {
      const usual = name === "model" ? workspace.session.default_model : this.#options[name]?.default;
      if (value === null || JSON.stringify(value) === JSON.stringify(usual)) delete settings[name];
    }
    workspace.project.settings = settings;
    this.draw();
    workspace.tell("levels");
    try {
      await api.patch(`/projects/${workspace.id}`, { settings });
      workspace.spread();
    } catch (error) {
      notify(error.message, "fault");
    }
  }

  draw() {
    const options = this.#options;
    const { project } = this.workspace;
    if (!project || !Object.keys(options).length) return;
    const hasSound = Boolean(project.video?.has_audio);
    const isAlone = this.value("replace_audio");
    const slider = (name, disabled = false) => {
      const { label, ...rest } = SLIDERS[name];
      const { min, max, help } = options[name];
      return sliderField(label, this.value(name), (value) => this.set({ [name]: value }), {
        key: name,
        min,
        max,
        help,
        disabled,
        live: options[name].group === "mix" ? (value) => this.hold(name, value) : null,
        ...rest,
      });
    };
    refill(
      this.element,
      this.#voice(slider),
      make("fieldset", {}, make("legend", {}, "How the music follows"), slider("guidance"), slider("event_guidance")),
      make(
        "fieldset",
        {},
        make("legend", {}, "Mix"),
        hasSound ? null : make("p", { class: "help" }, "This video has no sound of its own; the music is heard alone."),
        hasSound
          ? tickField("Drop the original sound", isAlone, (value) => this.set({ replace_audio: value }), {
              key: "replace_audio",
            })
          : null,
        this.mixer.draw(options, hasSound),
      ),
      this.#delivery(slider),
      make(
        "details",
        { class: "more", open: Boolean(byId("more-sound")?.open), id: "more-sound" },
        make("summary", {}, "More"),
        numberField("Seed", this.chosen.seed ?? null, (seed) => this.set({ seed }), {
          key: "seed",
          min: 0,
          max: 4294967295,
          step: 1,
          placeholder: "the plan's",
          help: options.seed?.help,
        }),
        ["candidates", "temperature", "top_k", "top_p"].filter((name) => name in options).map((name) => slider(name)),
      ),
    );
  }

  #voice(slider) {
    const { models } = this.workspace.session;
    const { music, like } = this.chosen;
    const list = this.sounds?.list ?? [];
    const chosen = models.find(({ name }) => name === this.model);
    const isFree = this.model === this.workspace.session.default_model;
    const gives = [
      chosen?.has_midi || chosen?.has_stems ? "Takes come with MIDI and stems." : "",
      chosen?.can_redo ? "Any section can be written again by itself." : "Sections cannot be written again by themselves.",
    ];
    const help = isFree ? ["Each take says which voice wrote it, and why that one."] : gives;
    const entries = [
      ...models.map(({ name, about }) => [name, name === this.workspace.session.default_model ? "The voice that fits this video best" : about ? `${name}: ${say(about)}` : name]),
      ...list.map(({ id, filename }) => [`music:${id}`, tell("Your recording: {0}", filename)]),
      ["music:free", "A free recording that comes with OpenVMAS"],
    ];
    const choose = (value) =>
      this.set(value.startsWith("music:") ? { music: value.slice(6) } : { music: null, model: value });
    const known = music === "free" || list.some(({ id }) => id === music);
    return make(
      "fieldset",
      {},
      make("legend", {}, "Music"),
      choiceField("Made by", music && known ? `music:${music}` : (this.chosen.model ?? this.model), entries, choose, {
        key: "model",
        help: music ? aboutRecording(music, list) : help.filter(Boolean).map(say).join(" "),
      }),
      music || !list.length
        ? null
        : choiceField(
            "Sounds like",
            like ?? "",
            [["", "no recording"], ...list.map(({ id, filename }) => [id, filename])],
            (id) => this.set({ like: id || null }),
            { key: "like", help: "What it is to sound like; the voice mini listens to it before it writes." },
          ),
      this.sounds?.shelf(),
      this.sounds?.chooser(),
      tickField("Add impacts, cymbals and risers at your accents", this.value("sweeten"), (sweeten) => this.set({ sweeten }), {
        key: "sweeten",
      }),
      this.value("sweeten") ? slider("sweeten_gain") : null,
    );
  }

  #delivery(slider) {
    const platform = platformOf(this.value("loudness"), this.value("true_peak"));
    const entries = [
      ...PLATFORMS.map(({ id, name, loudness }) => [id, `${say(name)}: ${signed(loudness, "LUFS")}`]),
      ["", "My own target"],
    ];
    const choose = (id) => {
      const chosen = PLATFORMS.find((entry) => entry.id === id);
      if (chosen) this.set({ loudness: chosen.loudness, true_peak: chosen.true_peak });
    };
    // YouTube's numbers are several platforms' numbers; what was chosen by name is shown by name.
    const shown =
      platform &&
      PLATFORMS.find(
        (entry) =>
          entry.id === this.platform && entry.loudness === platform.loudness && entry.true_peak === platform.true_peak,
      );
    const current = shown ?? platform;
    return make(
      "fieldset",
      {},
      make("legend", {}, "Delivered for"),
      choiceField("Platform", current?.id ?? "", entries, (id) => ((this.platform = id), choose(id), this.draw()), {
        key: "platform",
        help: current?.source ?? "ITU-R BS.1770, over the whole video.",
      }),
      slider("loudness"),
      slider("true_peak"),
    );
  }
}

/** Who has rights in a recording, as far as it is known. */
function aboutRecording(id, list) {
  if (id === "free")
    return "The one that fits best of two dozen under free licences is cut to the picture; each take names it and its maker under Licence and credit, to be copied below your video.";
  const { attribution, licence } = list.find((sound) => sound.id === id) ?? {};
  return attribution || licence || "Its file names no maker and no licence: that you may use it is for you to make sure.";
}
