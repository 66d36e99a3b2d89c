// Picture and sound in step. With a take the music's clock leads and the picture follows; without one the video plays
// alone. For tests and the curious the element #player tells on data attributes what is going on, five times a second:
// data-state (stopped, waiting, playing), data-source (original or a take's id), data-clock (s of music heard),
// data-peak-db (level of the music now), data-underruns, data-drift-ms (picture − music), data-first-sound-ms (from
// pressing Score to the first sample), data-music-db and data-original-db (gains at which both are heard).
import { levels, toGain } from "./mixing.js";
import { Music, Track } from "./music.js";
import { clamp } from "./units.js";

const FAR = 0.3; // s of drift from which the picture jumps
const DRAW = [30, 60]; // ms between two drawings of what moves, at least and at most
const NEAR = 0.015; // s of drift that nobody sees (less than a frame)

export class Player extends EventTarget {
  constructor(video, element) {
    super();
    Object.assign(this, { video, element, music: new Music(), track: null, isPlaying: false });
    this.mixing = () => ({ settings: null }); // the levels that are set and what is known of the original; by the page
    this.music.mixing = () => this.#levels();
    this.music.ducking = () => this.mixing().spans;
    this.muted = { music: false, original: false }; // for listening alone
    this.loop = null; // {start, end} s
    this.frame = 1 / 25;
    this.duration = 0;
    this.pixelsPerSecond = 20; // of the timeline
    video.preservesPitch = false; // it runs faster or slower by what nobody hears, and stretching sound costs
    this.silentClock = 0; // the position where there is no picture that this browser can play
    video.addEventListener("ended", () => !this.track && this.pause());
    video.addEventListener("error", () => this.dispatchEvent(new Event("unplayable")));
    this.music.addEventListener("playing", (event) => this.#musicBegins(event.detail.lead));
    this.music.addEventListener("waiting", () => this.video.pause());
    this.music.addEventListener("ended", () => (this.pause(), this.#goTo(this.duration)));
    this.music.addEventListener("fault", (event) => {
      this.pause();
      this.dispatchEvent(new CustomEvent("fault", { detail: event.detail }));
    });
    setInterval(() => this.#tell(), 200);
    // Only what moves is drawn; a page at rest costs nothing.
    for (const name of ["seeked", "loadeddata", "timeupdate"]) video.addEventListener(name, () => this.#time());
  }

  #time() {
    this.dispatchEvent(new Event("time"));
  }

  #run() {
    if (this.isRunning) return;
    this.isRunning = true;
    const draw = () => {
      if (!document.hidden) this.#time();
      this.isRunning = this.isPlaying;
      // The playhead moves by about a pixel a step: more would only cost, and so would asking for every frame.
      if (this.isRunning) setTimeout(draw, clamp(1000 / this.pixelsPerSecond, ...DRAW));
    };
    draw();
  }

  get hasPicture() {
    return this.video.readyState > 0 && !this.video.error;
  }

  /** Where we are, s. */
  get time() {
    if (this.track && this.isPlaying) return this.music.position;
    return this.hasPicture ? Math.min(this.video.currentTime, this.duration) : this.silentClock;
  }

  /** The start of the frame that is shown, s. */
  get frameTime() {
    return Math.min(Math.floor(this.time / this.frame + 0.05) * this.frame, Math.max(this.duration - this.frame, 0));
  }

  play() {
    if (this.isPlaying) return;
    if (this.time >= this.duration - this.frame) this.#goTo(0);
    const from = this.time;
    this.unlock();
    this.isPlaying = true;
    if (this.track) this.music.play(this.track, from);
    else this.#playPicture();
    this.#changed();
  }

  pause() {
    const time = this.time;
    this.isPlaying = false;
    this.music.stop();
    this.video.pause();
    this.video.playbackRate = 1;
    this.silentClock = time;
    this.#changed();
  }

  toggle() {
    return this.isPlaying ? this.pause() : this.play();
  }

  seek(time) {
    const target = clamp(time, 0, this.duration);
    this.#goTo(target);
    if (this.isPlaying && this.track) this.music.play(this.track, Math.min(target, this.duration - 0.05));
  }

  /** Show the frame n frames from here; a little inside it, so that rounding does not show its neighbour. */
  step(n) {
    if (this.isPlaying) this.pause();
    const index = Math.round(this.frameTime / this.frame) + n;
    this.seek(clamp(index * this.frame, 0, Math.max(this.duration - this.frame, 0)) + this.frame * 0.2);
  }

  /** Listen to the original (null) or to a take; when it plays, it plays on from the same place. */
  listen(take, of = "music", gainDb = 0) {
    if (take && this.track?.take.id === take.id && this.track.of === of && this.track.gainDb === gainDb) return;
    const before = this.track;
    const time = this.time;
    this.track = take ? new Track(take, of, gainDb) : null;
    if (this.track && before?.take.id === take.id) this.track.lufs = before.lufs;
    this.level();
    if (this.isPlaying) {
      if (this.track && before)
        this.music.change(this.track).catch((error) => this.dispatchEvent(new CustomEvent("fault", { detail: error })));
      else if (this.track) this.music.play(this.track, time);
      else {
        this.music.stop();
        this.video.playbackRate = 1;
        this.#playPicture();
      }
    }
    before?.aborter.abort();
    this.#changed();
  }

  /** Play a take that is about to be written; `pressed` is performance.now() of the press. */
  playNew(take, pressed, from = 0) {
    this.pause();
    this.pressed = pressed;
    this.music.underruns = 0;
    delete this.element.dataset.firstSoundMs;
    this.listen(take, "music");
    this.#goTo(from);
    this.play();
  }

  /** Browsers allow sound only after a press; call this there. From then on the video's sound goes through the mixer. */
  async unlock() {
    await this.music.unlock();
    const { context, outputs } = this.music;
    if (this.original || context.state !== "running") return;
    this.original = { plain: new GainNode(context, { gain: 0 }), limited: new GainNode(context, { gain: 0 }) };
    const source = context.createMediaElementSource(this.video);
    for (const [name, gain] of Object.entries(this.original)) source.connect(gain).connect(outputs[name]);
    this.level();
  }

  #levels() {
    const { settings, ...known } = this.mixing(this.track?.take);
    if (!settings) return null;
    const found = levels({ music: this.track?.lufs ?? null, settings, ...known });
    return {
      ...found,
      music: this.muted.music ? -Infinity : found.music,
      original: this.muted.original ? null : found.original,
    };
  }

  /** Let both be heard at the levels that are set; isSlow: where only the music's own loudness has moved. */
  level(isSlow = false) {
    const isPreview = this.track?.of === "music";
    const found = isPreview ? this.#levels() : null;
    const db = !this.track ? 0 : (found?.original ?? null);
    this.element.dataset.musicDb = isPreview ? (found?.music ?? 0).toFixed(2) : (this.track?.gainDb ?? "");
    this.element.dataset.originalDb = db === null ? "-Infinity" : db.toFixed(2);
    if (this.original) {
      this.video.volume = 1;
      const at = this.music.context.currentTime;
      for (const [name, node] of Object.entries(this.original)) {
        const gain = (name === "plain") === !this.track ? toGain(db) : 0;
        node.gain.setTargetAtTime(gain, at, isSlow ? 0.7 : 0.01);
      }
    } else this.video.volume = clamp(toGain(db), 0, 1);
    this.video.muted = db === null;
    this.music.setLevels(isSlow);
  }

  #goTo(time) {
    this.silentClock = time;
    this.#time();
    if (this.hasPicture) this.video.currentTime = time;
  }

  #playPicture() {
    this.video.play().catch((error) => {
      // Pausing right after playing is no fault; a video that cannot be played is told by its own event.
      if (error.name !== "AbortError" && !this.track) this.pause();
    });
  }

  #musicBegins(lead) {
    if (this.pressed) this.element.dataset.firstSoundMs = Math.round(performance.now() - this.pressed + lead * 1000);
    this.pressed = null;
    if (!this.hasPicture) return;
    if (Math.abs(this.video.currentTime - this.music.from) > 0.02) this.video.currentTime = this.music.from;
    this.#playPicture();
  }

  /** Keep the picture beside the music: far away it jumps, nearby it runs a little faster or slower. */
  #follow() {
    const drift = this.video.currentTime - this.music.position;
    this.element.dataset.driftMs = Math.round(drift * 1000);
    if (this.video.seeking || this.video.ended) return;
    if (this.video.paused) this.#playPicture();
    if (Math.abs(drift) > FAR) this.video.currentTime = this.music.position;
    else this.video.playbackRate = Math.abs(drift) > NEAR ? clamp(1 - drift, 0.9, 1.1) : 1;
  }

  #tell() {
    const { dataset } = this.element;
    if (this.isPlaying && this.track?.of === "music" && this.track.take.state !== "done") this.level(true);
    if (this.isPlaying && this.loop && (this.time >= this.loop.end - 0.05 || this.time < this.loop.start - 0.5)) this.seek(this.loop.start);
    if (this.isPlaying && this.music.state === "playing" && this.hasPicture) this.#follow();
    const { state, position, peakDb, underruns } = this.music;
    const said = {
      state: !this.isPlaying ? "stopped" : this.track ? state : "playing",
      source: this.track?.take.id ?? "original",
      clock: this.track ? position.toFixed(3) : "",
      peakDb: state === "playing" ? peakDb.toFixed(1) : "-Infinity",
      underruns: String(underruns),
    };
    // Writing what is there already makes the browser look at the page's styles again.
    for (const [name, value] of Object.entries(said)) if (dataset[name] !== value) dataset[name] = value;
    if (dataset.state !== this.told) this.#changed();
    this.told = dataset.state;
  }

  #changed() {
    if (this.isPlaying) this.#run();
    else this.#time();
    this.dispatchEvent(new Event("change"));
  }
}
