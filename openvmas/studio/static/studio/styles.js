// Style cards: what this very video could sound like, heard for a few seconds at its strongest moment, and kept by a press.
import * as api from "./api.js";
import { announce, icon, make, notify, refill } from "./elements.js";
import { say, tell } from "./words.js";

export class Styles {
  list = [];
  start = 0;
  heard = null; // index of the card that sounds
  audio = new Audio();

  constructor(workspace, player, scoring) {
    Object.assign(this, { workspace, player, scoring });
    this.element = make("section", { class: "styles", "aria-label": "Styles for this video", hidden: true });
    workspace.on("project", () => this.#follow());
    workspace.on("states jobs", () => this.#look());
    workspace.on("plan", () => this.draw());
    player.addEventListener("change", () => player.isPlaying && this.stop());
    this.audio.addEventListener("ended", () => this.stop());
  }

  /** The job that writes the sketches. */
  get #job() {
    return [...this.workspace.jobs.values()].find((job) => job.kind === "sketch" && !api.isFinal(job));
  }

  async #follow() {
    const { id, project } = this.workspace;
    if (this.of !== id) {
      this.stop();
      Object.assign(this, { of: id, list: [], isAsked: false, seen: "" });
      this.draw();
    }
    if (!id || project.state !== "ready" || this.isAsked) return;
    this.isAsked = true;
    try {
      await this.#load();
      // Written while nobody waits for anything else; whoever scores goes first.
      if (this.of === id && (!this.list.length || this.list.some((style) => !style.is_ready)) && !this.#job)
        this.workspace.followJob(await api.post(`/projects/${id}/jobs`, { kind: "sketch" }));
    } catch (error) {
      if (error.status !== 429) notify(error.message, "fault");
    }
  }

  /** Look for new sketches whenever the job has come farther. */
  #look() {
    const job = [...this.workspace.jobs.values()].findLast((one) => one.kind === "sketch");
    const seen = job ? `${job.id} ${job.state} ${job.progress}` : "";
    if (!job || seen === this.seen || this.of !== this.workspace.id) return;
    this.seen = seen;
    this.#load().catch(() => null); // the next progress tells again
  }

  async #load() {
    const { id } = this.workspace;
    const { styles, start } = await api.get(`/projects/${id}/styles`);
    if (this.workspace.id !== id) return;
    Object.assign(this, { list: styles, start });
    this.draw();
  }

  draw() {
    const { plan, takes } = this.workspace;
    this.element.hidden = !plan || !this.list.length;
    if (this.element.hidden) return;
    const cards = (fits) =>
      this.list.map((style, index) => (style.fits === fits ? this.#card(style, index, plan) : null)).filter(Boolean);
    const isOpen = this.element.querySelector("details")?.open ?? !takes.length;
    const body = [
      make("p", { class: "help" }, "Press one to hear it with your video, written for it just now."),
      make("div", { class: "cards", role: "group", "aria-label": "These fit the picture" }, cards(true)),
      make("p", { class: "help" }, "Or something else"),
      make("div", { class: "cards", role: "group", "aria-label": "Something else" }, cards(false)),
    ];
    refill(
      this.element,
      make("details", { open: isOpen }, make("summary", {}, "Pick a sound"), make("div", { class: "stack" }, body)),
    );
  }

  #card({ name, words, is_ready: isReady }, index, plan) {
    const isHeard = this.heard === index;
    const isKept = plan.text === words;
    return make(
      "div",
      { class: `card-style ${isHeard ? "sounding" : ""} ${isKept ? "kept" : ""}` },
      make(
        "button",
        {
          type: "button",
          class: "hear",
          "data-key": `style-${index}`,
          disabled: !isReady,
          "aria-pressed": String(isHeard),
          "aria-label": isReady ? tell("Hear {0}", say(name)) : tell("{0}, being written", say(name)),
          title: isReady ? words : "Being written in the background",
          onclick: () => (isHeard ? this.stop() : this.hear(index)),
        },
        isReady ? icon(isHeard ? "pause" : "play") : make("span", { class: "pulse", "aria-hidden": "true" }),
        make("span", {}, name),
      ),
      isHeard || isKept
        ? make(
            "button",
            {
              type: "button",
              class: "button primary small",
              "data-key": `keep-${index}`,
              disabled: Boolean(this.workspace.scoring),
              onclick: () => this.keep(index),
            },
            isKept ? "Again" : "Use it",
          )
        : null,
    );
  }

  /** Hear a card with the picture, from where it was written for on. */
  async hear(index) {
    const { player } = this;
    player.pause();
    this.heard = index;
    this.audio.src = `/api/projects/${this.workspace.id}/styles/${index}/audio`;
    player.seek(this.start);
    this.draw();
    try {
      await this.audio.play();
      if (this.heard !== index || !player.hasPicture) return;
      player.video.muted = true;
      player.video.currentTime = this.start + this.audio.currentTime;
      await player.video.play();
    } catch (error) {
      if (error.name !== "AbortError") notify(error.message, "fault");
    }
  }

  stop() {
    if (this.heard === null) return;
    this.heard = null;
    this.audio.pause();
    if (!this.player.isPlaying) this.player.video.pause();
    this.player.level();
    this.draw();
  }

  /** Make its words those for the whole, and have all of the music written. */
  async keep(index) {
    const { words, name } = this.list[index];
    this.stop();
    this.workspace.edit((plan) => ({ ...plan, text: words, mood: null }));
    announce(say(name));
    await this.scoring.score();
  }
}
