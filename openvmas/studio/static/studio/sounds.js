// Recordings of the user's own: dropped in or chosen, they become the music, or what the music is to sound like.
import * as api from "./api.js";
import { ask } from "./dialogs.js";
import { announce, byId, button, make, notify } from "./elements.js";
import { say, tell } from "./words.js";

const SOUND = /\.(mp3|wav|flac|ogg|oga|opus|m4a|aac|aiff?|wma)$/i;

export const isSound = (file) => file.type.startsWith("audio/") || SOUND.test(file.name);

export class Sounds {
  list = [];

  /** settings: where a choice is kept; scoring: writes a section again. */
  constructor(workspace, settings, scoring, takes) {
    Object.assign(this, { workspace, settings, scoring, takes });
    settings.sounds = this;
    workspace.on("project", () => this.#load());
  }

  async #load() {
    const { id } = this.workspace;
    if (this.of === id) return;
    this.of = id;
    this.list = [];
    if (!id) return;
    await this.refresh();
  }

  async refresh() {
    const { id } = this.workspace;
    try {
      const { sounds } = await api.get(`/projects/${id}/sounds`);
      if (this.workspace.id !== id) return;
      this.list = sounds;
      this.settings.draw();
    } catch (error) {
      notify(error.message, "fault");
    }
  }

  named(id) {
    return this.list.find((sound) => sound.id === id);
  }

  /** Put a file in; returns what it has become, null where it is refused. */
  async add(file) {
    announce(tell("{0} is being read.", file.name));
    const note = notify(tell("Reading {0}…", file.name));
    try {
      const sound = await api.sendSound(this.workspace.id, file);
      this.list = [...this.list, sound];
      return sound;
    } catch (error) {
      notify(error.message, "fault");
      return null;
    } finally {
      note.remove();
    }
  }

  /** A file was dropped; section: the number of the one on which it fell, or null. */
  async drop(file, section = null) {
    if (!this.workspace.plan)
      return notify("Open a project whose video has been watched first; then drop the recording in.", "fault");
    const sound = await this.add(file);
    if (!sound) return;
    this.settings.draw();
    const use = section === null ? await this.#askUse(sound) : "section";
    if (use === "music") this.#useAs({ music: sound.id, like: null }, tell("{0} is the music now.", sound.filename));
    if (use === "like") this.#useAs({ like: sound.id, music: null }, tell("The music will sound like {0}.", sound.filename));
    if (use === "section") this.takes.redo(section, { like: sound.id });
  }

  #askUse({ filename, attribution }) {
    const choice = (value, title, text) =>
      make(
        "button",
        { class: "choice", value },
        make("b", {}, title),
        make("span", { class: "quiet" }, text),
      );
    return ask(
      filename,
      make(
        "div",
        { class: "choices" },
        choice("music", "Use it as the music", "It is cut and timed so that its accents meet the picture, and ends with the video."),
        choice("like", "Let the music sound like it", "New music is written with its sound and mood."),
      ),
      make(
        "p",
        { class: "help" },
        attribution ? `${attribution} ` : "",
        "Whether you may use it is for you to make sure. It stays on this computer.",
      ),
      make("div", { class: "row end" }, make("button", { class: "button secondary", value: "" }, "Cancel")),
    );
  }

  async #useAs(changes, news) {
    await this.settings.set(changes);
    notify(tell("{0} Press Score to hear it with the picture.", say(news)));
  }

  /** A field that takes a recording. */
  chooser() {
    const input = make("input", { type: "file", class: "unseen", id: "sound-file", accept: "audio/*", "data-key": "sound-file" });
    input.addEventListener("change", () => input.files.length && this.drop(input.files[0]));
    return make(
      "div",
      { class: "row" },
      input,
      make("label", { class: "button secondary", for: "sound-file" }, "Add a recording"),
      make("span", { class: "help" }, "or drop it anywhere; on a section, that section will sound like it"),
    );
  }

  /** Small players of what is there. */
  shelf() {
    const row = (sound) =>
      make(
        "li",
        { class: "row" },
        make("span", { class: "grow ellipsis", title: sound.attribution || sound.filename }, sound.filename),
        button(tell("Listen to {0}", sound.filename), {
          shape: "play",
          bare: true,
          "data-key": `sound-${sound.id}`,
          onclick: () => this.#listen(sound),
        }),
        button(tell("Remove {0}", sound.filename), {
          shape: "bin",
          bare: true,
          "data-key": `sound-bin-${sound.id}`,
          onclick: () => this.#remove(sound),
        }),
      );
    return this.list.length ? make("ul", { class: "shelf-list" }, this.list.map(row)) : null;
  }

  #listen(sound) {
    this.audio?.pause();
    if (this.heard === sound.id) return (this.heard = null);
    this.heard = sound.id;
    this.audio = new Audio(`/api/projects/${this.workspace.id}/sounds/${sound.id}/audio`);
    this.audio.addEventListener("ended", () => (this.heard = null));
    this.audio.play().catch((error) => notify(error.message, "fault"));
  }

  async #remove(sound) {
    this.audio?.pause();
    await api.remove(`/projects/${this.workspace.id}/sounds/${sound.id}`).catch((error) => notify(error.message, "fault"));
    const { settings } = this.workspace.project;
    const used = Object.fromEntries(["music", "like"].filter((name) => settings[name] === sound.id).map((name) => [name, null]));
    if (Object.keys(used).length) await this.settings.set(used);
    await this.refresh();
  }
}

/** The section under the pointer of a drop, or null. */
export function sectionUnder(event) {
  const hit = event.target.closest?.(".section");
  if (!hit) return null;
  return [...byId("timeline").querySelectorAll(".section")].indexOf(hit);
}
