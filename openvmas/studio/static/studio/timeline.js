// The timeline: zoom, scroll, playhead, scrubbing; its drawn lanes come from paint.js, its handles from lanes.js.
import { button, byId, fill, make } from "./elements.js";
import * as paint from "./paint.js";
import { clamp, clockText } from "./units.js";
import { say, tell } from "./words.js";

const MAX_SCALE = 400; // px per second: a frame of 25 fps is 16 px wide
const COLOURS = [
  "lane",
  "muted",
  "quiet",
  "faint",
  "shot",
  "speech",
  "energy",
  "cut",
  "visual",
  "wave",
  "onset",
  "hit",
  "anew",
  "ahead",
  "duck",
  "line",
];
const NAMES = {
  wave: "Music",
  film: "Film",
  voice: "Original",
  sections: "Sections",
  hits: "Accents",
  picture: "Picture",
};

export class Timeline {
  scale = 10; // px per second
  isFitted = true;
  strip = null;
  take = null; // id of the one whose music is shown: the one that is heard, or was heard last
  peaks = null; // of its music

  constructor(workspace, player, tools) {
    Object.assign(this, { workspace, player });
    this.canvas = make("canvas", { class: "paint", "aria-hidden": "true" });
    this.sections = make("div", { class: "lane sections", role: "group", "aria-label": "Sections" });
    this.hits = make("div", { class: "lane hits", role: "group", "aria-label": "Accents" });
    this.playhead = make("div", { class: "playhead", "aria-hidden": "true" });
    this.spread = make("div", { class: "spread" }, this.canvas, this.sections, this.hits, this.playhead);
    const label = "Timeline; the same can be edited in the list below it";
    this.scroll = make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": label }, this.spread);
    this.tools = make("div", { class: "group wrap" }, tools);
    const names = make(
      "div",
      { class: "names", "aria-hidden": "true" },
      Object.keys(NAMES).map((lane) => make("span", { class: lane }, NAMES[lane])),
    );
    fill(
      byId("timeline"),
      make("div", { class: "tools", role: "toolbar", "aria-label": "Timeline tools" }, this.tools, this.#zoomTools()),
      make("div", { class: "tracks" }, names, this.scroll),
      legend(),
    );
    this.#place();
    this.scroll.addEventListener("scroll", () => this.draw());
    this.scroll.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
    new ResizeObserver(() => this.resize()).observe(this.scroll);
    this.#scrub();
    player.addEventListener("time", () => this.#movePlayhead());
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.restyle());
    workspace.on("project analysis plan preview", () => this.resize());
    workspace.on("watched", () => this.draw());
    this.restyle();
  }

  #zoomTools() {
    return make(
      "div",
      { class: "group end" },
      button("Zoom out (−)", { shape: "minus", bare: true, onclick: () => this.zoom(0.5) }),
      button("Whole video (0)", { shape: "fit", bare: true, onclick: () => this.fit() }),
      button("Zoom in (+)", { shape: "plus", bare: true, onclick: () => this.zoom(2) }),
    );
  }

  #place() {
    this.spread.style.height = this.canvas.style.height = `${paint.HEIGHT}px`;
    for (const [name, element] of [
      ["sections", this.sections],
      ["hits", this.hits],
    ]) {
      element.style.top = `${paint.LANES[name].top}px`;
      element.style.height = `${paint.LANES[name].height}px`;
    }
    for (const name of byId("timeline").querySelectorAll(".names span")) {
      name.style.top = `${paint.LANES[name.className].top}px`;
      name.style.height = `${paint.LANES[name.className].height}px`;
    }
  }

  get duration() {
    return this.workspace.duration;
  }

  get #minScale() {
    return this.duration ? this.scroll.clientWidth / this.duration : 10;
  }

  toX(time) {
    return time * this.scale;
  }

  /** The time under a pointer. */
  timeAt(event) {
    const box = this.spread.getBoundingClientRect();
    return clamp((event.clientX - box.left) / this.scale, 0, this.duration);
  }

  fit() {
    this.isFitted = true;
    this.resize();
  }

  /** Zoom by a factor and keep what is under `anchor` (px in the view; the playhead or the middle) in its place. */
  zoom(factor, anchor) {
    const playhead = this.toX(this.player.time) - this.scroll.scrollLeft;
    const still =
      anchor ?? (playhead >= 0 && playhead <= this.scroll.clientWidth ? playhead : this.scroll.clientWidth / 2);
    const time = (this.scroll.scrollLeft + still) / this.scale;
    const low = this.#minScale;
    this.scale = clamp(this.scale * factor, low, Math.max(MAX_SCALE, low));
    this.isFitted = this.scale <= low * 1.001;
    this.resize();
    this.scroll.scrollLeft = time * this.scale - still;
  }

  #wheel(event) {
    if (!event.ctrlKey && !event.metaKey) return;
    event.preventDefault();
    this.zoom(Math.exp(-event.deltaY / 200), event.clientX - this.scroll.getBoundingClientRect().left);
  }

  resize() {
    const low = this.#minScale;
    this.scale = this.isFitted ? low : Math.max(this.scale, low);
    this.spread.style.width = `${this.isFitted ? this.scroll.clientWidth : Math.ceil(this.duration * this.scale)}px`;
    this.player.pixelsPerSecond = this.scale;
    const width = this.scroll.clientWidth;
    const density = devicePixelRatio || 1;
    if (this.canvas.width !== Math.round(width * density)) {
      this.canvas.width = Math.round(width * density);
      this.canvas.height = Math.round(paint.HEIGHT * density);
      this.canvas.style.width = `${width}px`;
    }
    this.onlayout?.();
    this.#movePlayhead();
    this.draw();
  }

  /** Read the colours of the theme; a probe resolves what a custom property only names. */
  restyle() {
    const probe = make("span", { hidden: true });
    document.body.append(probe);
    const resolve = (name) => ((probe.style.color = `var(--paint-${name})`), getComputedStyle(probe).color);
    this.colours = Object.fromEntries(COLOURS.map((name) => [name, resolve(name)]));
    // From deep to bright, as a spectrum goes.
    const mixed = (i) => {
      const [from, to, share] = i < 8 ? ["low", "middle", i / 8] : ["middle", "high", (i - 8) / 8];
      probe.style.color = `color-mix(in oklch, var(--paint-${to}) ${share * 100}%, var(--paint-${from}))`;
      return getComputedStyle(probe).color;
    };
    this.colours.shades = Array.from({ length: 17 }, (_, i) => mixed(i));
    probe.remove();
    this.draw();
  }

  draw() {
    if (this.isDue) return;
    this.isDue = true;
    requestAnimationFrame(() => {
      this.isDue = false;
      this.#paint();
    });
  }

  #paint() {
    const { workspace, colours, duration } = this;
    const context = this.canvas.getContext("2d");
    const density = this.canvas.width / Math.max(this.scroll.clientWidth, 1);
    context.setTransform(density, 0, 0, density, 0, 0);
    const view = { context, width: this.scroll.clientWidth, left: this.scroll.scrollLeft, scale: this.scale };
    paint.paintGround(view, colours);
    if (!duration) return;
    paint.paintRuler(view, colours);
    paint.paintFilm(view, this.strip, duration);
    const { analysis, watched } = workspace;
    if (watched) paint.paintSpan(view, watched.until, duration, colours.ahead, "picture");
    if (analysis || watched) paint.paintPicture(view, analysis ?? watched, colours);
    else
      paint.paintNote(
        view,
        "picture",
        "Shots, beats of the picture and energy appear here once it has been watched.",
        colours,
      );
    if (analysis) {
      const mix = this.volume?.settings.levels ?? {};
      paint.paintOriginal(view, analysis, duration, colours, mix.replace_audio ? 0 : (mix.duck ?? 0));
    }
    if (workspace.plan) paint.paintGrid(view, workspace.plan, colours);
    this.#paintTake(view);
    const { loop } = this.player;
    if (loop) paint.paintLoop(view, loop, colours);
  }

  #paintTake(view) {
    const { workspace, colours, duration } = this;
    const take = workspace.take(this.take);
    if (!take)
      return workspace.plan && paint.paintNote(view, "wave", say("No music yet. Press Score to have it written."), colours);
    const isHeard = this.player.track?.take.id === take.id;
    const { part } = take;
    for (const [start, end] of part?.spans?.length ? part.spans : part ? [[part.start, part.end]] : [])
      paint.paintSpan(view, start, end, colours.anew);
    view.context.globalAlpha = isHeard ? 1 : 0.45;
    if (take.state !== "done") paint.paintSpan(view, Math.min(take.n_blocks, duration), duration, colours.ahead);
    paint.paintWave(view, this.peaks, duration, colours);
    if (this.volume) paint.paintEnvelope(view, this.volume.points, duration, colours, this.volume.isOn);
    const report = workspace.reports.get(take.id)?.report;
    if (report) paint.paintFit(view, report, colours);
    view.context.globalAlpha = 1;
    if (!isHeard) paint.paintNote(view, "wave", tell("{0}; you hear the original.", take.name), colours, true);
  }

  #movePlayhead() {
    const x = this.toX(this.player.time);
    this.playhead.style.transform = `translateX(${x}px)`;
    if (!this.player.isPlaying || this.isHeld) return;
    const inView = x - this.scroll.scrollLeft;
    // Turning the page is calmer than a picture that runs under a fixed line.
    if (inView > this.scroll.clientWidth * 0.96 || inView < 0)
      this.scroll.scrollLeft = x - this.scroll.clientWidth * 0.04;
  }

  #scrub() {
    const seek = (event) => this.player.seek(this.timeAt(event));
    let from = null; // s, where a press on the music began
    const isOnMusic = (event) => {
      const y = event.clientY - this.spread.getBoundingClientRect().top - paint.LANES.wave.top;
      return y >= 0 && y < paint.LANES.wave.height;
    };
    this.spread.addEventListener("pointerdown", (event) => {
      if (event.button !== 0 || event.target.closest(".section, .border, .hit, .point, .fade, .volume.on, .edge, .part-tools")) return;
      this.isHeld = true;
      // A finger that moves scrolls; only a mouse or pen scrubs.
      if (event.pointerType !== "touch") this.spread.setPointerCapture(event.pointerId);
      from = event.pointerType !== "touch" && isOnMusic(event) ? this.timeAt(event) : null;
      seek(event);
    });
    // On the music a press that moves marks a part; elsewhere it takes the playhead along.
    this.spread.addEventListener("pointermove", (event) => {
      if (!this.isHeld || event.pointerType === "touch") return;
      if (from === null) seek(event);
      else this.mark?.(from, this.timeAt(event), event, false);
    });
    for (const name of ["pointerup", "pointercancel"])
      this.spread.addEventListener(name, (event) => {
        if (this.isHeld && from !== null) this.mark?.(from, this.timeAt(event), event, true);
        this.isHeld = false;
        from = null;
      });
    this.spread.addEventListener(
      "pointermove",
      (event) =>
        (this.spread.title =
          event.target === this.spread || event.target === this.canvas ? clockText(this.timeAt(event)) : ""),
    );
  }

  /** Scroll so that a time can be seen. */
  reveal(time) {
    const x = this.toX(time) - this.scroll.scrollLeft;
    if (x < 0 || x > this.scroll.clientWidth) this.scroll.scrollLeft = this.toX(time) - this.scroll.clientWidth / 2;
  }
}

function legend() {
  const entry = (kind, text) => make("span", {}, make("i", { class: `key ${kind}` }), text);
  return make(
    "p",
    { class: "legend" },
    entry("energy", "energy of the picture"),
    entry("cut", "cut"),
    entry("visual", "beat of the picture"),
    entry("hit", "accent"),
    entry("onset", "onset of the music"),
    entry("speech", "speech"),
    entry("fits", "both together"),
  );
}
