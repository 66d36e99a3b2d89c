// The picture: the video itself, or, where this browser cannot play it, the nearest frame of the filmstrip; and the
// filmstrip, peaks and report that are fetched as they appear.
import * as api from "./api.js";
import { byId, make, notify } from "./elements.js";
import { clamp } from "./units.js";
import { tell } from "./words.js";

export class Stage {
  constructor(workspace, element) {
    Object.assign(this, { workspace, element });
    this.video = make("video", { playsinline: true, preload: "auto", "aria-label": "The video" });
    this.still = make("canvas", { class: "still", hidden: true, role: "img", "aria-label": "Frame of the filmstrip" });
    this.arrival = make("div", { class: "arrival", hidden: true });
    element.append(this.video, this.still, this.arrival);
    this.video.addEventListener("click", () => this.player.toggle());
  }

  /** The picture on all of the screen, or back. */
  toggleFull() {
    if (document.fullscreenElement) return document.exitFullscreen();
    return this.element.requestFullscreen?.().catch(() => notify("This browser does not allow full screen here."));
  }

  connect(timeline, report, listening) {
    Object.assign(this, { timeline, report, listening });
    const { workspace, player } = this;
    workspace.on("project", () => (this.#load(), this.#loadStrip(), listening.keepUp(), this.#loadTake()));
    workspace.on("jobs", () => this.#loadTake());
    player.addEventListener("change", () => this.#loadTake());
    player.addEventListener("unplayable", () => this.#showStill());
    player.addEventListener("fault", (event) => notify(event.detail.message, "fault"));
    player.addEventListener("time", () => this.#drawStill());
  }

  #load() {
    const { project } = this.workspace;
    const { video, player } = this;
    const info = ["analyzing", "ready"].includes(project?.state) ? project.video : null;
    if (this.shown === (info && project.id)) return;
    this.shown = info && project.id;
    this.still.hidden = true;
    video.hidden = !info;
    player.duration = info?.duration ?? 0;
    player.frame = info ? info.frame_interval || 1 / info.fps : 1 / 25;
    player.dispatchEvent(new Event("time"));
    // A project that is opened again gets its filmstrip again.
    this.timeline.strip = this.timeline.peaks = this.strip = null;
    const isVertical = Boolean(info && info.height > info.width);
    byId("workspace").classList.toggle("vertical", isVertical);
    byId("workspace").style.setProperty("--ratio", isVertical ? info.width / info.height : 1);
    this.element.style.setProperty("--aspect", info ? `${info.width} / ${info.height}` : "16 / 9");
    if (info) video.src = `/api/projects/${project.id}/video`;
    else video.removeAttribute("src");
    video.load();
  }

  #showStill() {
    if (!this.shown || !this.video.hasAttribute("src")) return;
    const { codec } = this.workspace.project.video;
    notify(
      tell("This browser cannot play {0} video, so frames of the filmstrip stand in for it; music and downloads are not touched by that.", codec),
    );
    this.video.hidden = true;
    this.still.hidden = false;
    this.drawn = null;
    this.#drawStill();
  }

  #drawStill() {
    if (this.still.hidden) return;
    const { strip, duration } = this.timeline;
    if (!strip?.image || !duration) return;
    const index = clamp(Math.floor((this.player.time / duration) * strip.n), 0, Math.max(strip.ready - 1, 0));
    if (index === this.drawn) return;
    this.drawn = index;
    Object.assign(this.still, { width: strip.width, height: strip.height });
    const place = [(index % strip.columns) * strip.width, Math.floor(index / strip.columns) * strip.height];
    this.still
      .getContext("2d")
      .drawImage(strip.image, ...place, strip.width, strip.height, 0, 0, strip.width, strip.height);
  }

  #loadStrip() {
    const { project } = this.workspace;
    const strip = project?.video?.filmstrip;
    const key = strip?.ready ? `${project.id}/${strip.ready}` : null;
    if (!key || this.strip === key) return;
    this.strip = key;
    const image = new Image();
    image.onload = () => {
      if (this.workspace.id !== project.id) return;
      this.timeline.strip = { ...strip, image };
      this.drawn = null;
      this.timeline.draw();
      this.#drawStill();
    };
    image.src = `/api/projects/${project.id}/filmstrip?ready=${strip.ready}`;
  }

  /** Waveform and report of the take that is heard, as far as they are there. */
  async #loadTake() {
    const { player, timeline, workspace } = this;
    const heard = player.track && workspace.take(player.track.take.id);
    // While the original is heard the music is shown that was heard last.
    const take = heard || (workspace.take(timeline.take) ?? workspace.takes.findLast((one) => one.n_blocks > 0));
    const key = take ? `${take.id}/${take.state}/${Boolean(heard)}/${Math.ceil(take.n_blocks / 2)}` : "";
    if (this.key === key) return;
    if (timeline.take !== take?.id) timeline.peaks = null;
    timeline.take = take?.id ?? null;
    if (heard?.state !== "done") this.report.draw(null);
    this.key = key;
    try {
      const perSecond = clamp(Math.floor(20000 / timeline.duration), 1, 50);
      const peaks = take ? await api.get(`/takes/${take.id}/peaks?per_second=${perSecond}`) : null;
      const full = take?.state === "done" ? await workspace.report(take.id) : null;
      if (this.key !== key) return;
      if (peaks) peaks.highest = peaks.max.reduce((most, value, i) => Math.max(most, value, -peaks.min[i]), 0);
      if (peaks) peaks.shade = spreadOut(peaks.shade);
      timeline.peaks = peaks;
      if (heard) this.report.draw(full);
      timeline.draw();
    } catch (error) {
      // A take that is just being cancelled or deleted has no waveform any more.
      if (![404, 409, 410].includes(error.status)) notify(error.message, "fault");
    }
  }
}

/** Shades of one piece over the whole scale of colours: what is deep and what is bright is so beside the rest of it. */
function spreadOut(shades) {
  if (!shades?.length) return [];
  const sorted = [...shades].sort((a, b) => a - b);
  const [low, high] = [sorted[Math.floor(0.05 * sorted.length)], sorted[Math.floor(0.95 * (sorted.length - 1))]];
  return shades.map((shade) => clamp((shade - low) / Math.max(high - low, 0.1), 0, 1));
}
