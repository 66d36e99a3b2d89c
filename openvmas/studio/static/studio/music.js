// The music of takes, second by second, on the clock of WebAudio: finished takes and takes that are still being written
// are played the same way. Blocks are fetched a few seconds ahead and scheduled to the sample, so joins are not heard.
import { fetchBlock } from "./api.js";
import { gainAt } from "./envelope.js";
import { duckShare, toGain } from "./mixing.js";

const RATE = 48000; // Hz, of every block
const AHEAD = 6; // s that are fetched before they are needed
const SCHEDULED = 3; // s that are handed to the audio clock; browsers slow the timers of hidden pages down to 1 a second
const KEPT = 90; // blocks of a track in memory, 384 kB each
const FADE = 0.03; // s, at switches and seeks
const DRIFT = 0.7; // s, time constant with which levels follow the loudness of what is written
const LIMIT = { threshold: -3, knee: 0, ratio: 20, attack: 0.001, release: 0.1 };
// A compressor of WebAudio raises what it lets through by 0.6 of what it takes from full scale (its specification).
const MAKEUP = 0.6 * -LIMIT.threshold * (1 - 1 / LIMIT.ratio); // dB
const CURVE_RATE = 100; // points a second of ducking and of the volume curve
const MUTE = 5; // s that a browser may take to start its sound
const LEAD = 0.05; // s between the decision to start and the first sample
const BURST = 2.5; // s of music that may come at once: a choice among the first continuations falls every 1 to 2 s
const SAME_BURST = 250; // ms between blocks that came at once

/**
 * The sound of one take. of: "music" (as it is composed, also while it is written; its level is set while it is heard)
 * or "mix" (the finished sound).
 */
export class Track {
  constructor(take, of, gainDb = 0) {
    this.take = take;
    this.of = of;
    this.gainDb = gainDb;
    this.duration = take.duration;
    this.nBlocks = Math.ceil(take.duration - 1e-6);
    this.blocks = new Map();
    this.aborter = new AbortController();
    this.lufs = null; // of all that is written, as far as it is known
    this.first = this.latest = null; // {n, at: ms}: the last block of the first burst, and the one that came last
  }

  /** Block n came at a time, ms. */
  note(n, at) {
    this.latest = { n, at };
    if (!this.first || at - this.first.at < SAME_BURST) this.first = this.latest;
  }

  /** Blocks to have before it begins, so that it need not stop: as many as play while the next burst is written. */
  get needed() {
    if (this.take.state === "done") return 1;
    const seconds = (this.latest?.at - this.first?.at) / 1000;
    // Nothing is known of the pace before the second burst: it may be real time.
    const pace = seconds > 0 ? (this.latest.n - this.first.n) / seconds : 1;
    return Math.ceil(BURST / Math.max(pace, 1));
  }

  /** Fetch from block `from` on, one after the other, while `isWanted(n)`. */
  async fetchFrom(from, context, isWanted, tell = () => {}) {
    for (let n = from; n < this.nBlocks && isWanted(n);) {
      if (!this.blocks.has(n)) {
        const block = await fetchBlock(this.take.id, n, { of: this.of, wait: 10, signal: this.aborter.signal });
        if (block === null) continue;
        this.note(n, performance.now());
        this.lufs = block.lufs ?? this.lufs;
        this.blocks.set(n, toBuffer(context, block.wav));
        tell();
        const far = [...this.blocks.keys()].filter((key) => key < n - KEPT || key > n + KEPT);
        far.forEach((key) => this.blocks.delete(key));
      }
      n++;
    }
  }

  readyFrom(n) {
    let end = n;
    while (this.blocks.has(end)) end++;
    return end - n;
  }
}

/** A WAV of stereo floats as an AudioBuffer; decodeAudioData would resample and cost a turn of the event loop. */
function toBuffer(context, bytes) {
  const view = new DataView(bytes);
  let at = 12;
  while (view.getUint32(at, false) !== 0x64617461) at += 8 + view.getUint32(at + 4, true); // "data"
  const nChannels = view.getUint16(22, true);
  const samples = new Float32Array(bytes.slice(at + 8, at + 8 + 4 * Math.floor((bytes.byteLength - at - 8) / 4)));
  const length = Math.floor(samples.length / nChannels);
  const buffer = context.createBuffer(nChannels, Math.max(length, 1), RATE);
  for (let channel = 0; channel < nChannels; channel++) {
    const wave = buffer.getChannelData(channel);
    for (let i = 0; i < length; i++) wave[i] = samples[i * nChannels + channel];
  }
  return buffer;
}

/** Holds what is louder than full scale below it, with a gain of one for the rest: {input, output}. */
export function makeLimiter(context) {
  const input = new DynamicsCompressorNode(context, LIMIT);
  const output = new GainNode(context, { gain: toGain(-MAKEUP) });
  input.connect(output);
  return { input, output };
}

/**
 * One track being heard. anchor: the context's time at which the track's position 0 lies, on a whole sample.
 * levels: what `levels` of mixing.js says of the music, or null where the track's own gain is all.
 */
export class Voice {
  constructor(context, outputs, track, anchor, position, levels, ducking) {
    Object.assign(this, { context, track, anchor, ducking, next: Math.floor(position), nodes: [] });
    this.gain = context.createGain();
    this.level = new GainNode(context, { gain: levels?.music === -Infinity ? 0 : toGain(levels ? levels.music : track.gainDb) });
    this.duck = context.createGain();
    this.duckDb = levels?.duck ?? 0;
    this.points = levels?.points ?? [];
    // A finished mix is not limited again, unless it is made louder here.
    const output = levels || track.gainDb > 0 ? outputs.limited : outputs.plain;
    this.gain.connect(this.level).connect(this.duck).connect(output);
    const now = context.currentTime;
    const start = Math.max(anchor + position, now);
    this.gain.gain.setValueAtTime(0, now);
    this.gain.gain.setValueAtTime(0, start);
    this.gain.gain.linearRampToValueAtTime(1, start + FADE);
    this.position = position;
    this.#lower(Math.max(position, 0), this.next);
  }

  /** Other levels at once, or slowly where they follow the music's own loudness. */
  setLevels({ music, duck, points }, isSlow) {
    const { currentTime } = this.context;
    this.level.gain.setTargetAtTime(music === -Infinity ? 0 : toGain(music), currentTime, isSlow ? DRIFT : FADE / 3);
    if (duck === this.duckDb && JSON.stringify(points) === JSON.stringify(this.points)) return;
    Object.assign(this, { duckDb: duck, points });
    this.duck.gain.cancelScheduledValues(currentTime);
    this.#lower(currentTime - this.anchor, this.next);
  }

  /** The gain that speech and the volume curve leave of the music at a time. */
  #curve(time) {
    const under = this.duckDb ? toGain(this.duckDb * duckShare(this.ducking, time)) : 1;
    return under * gainAt(this.points, time);
  }

  /** Lay ducking and the volume curve over seconds from .. to; where nothing moves nothing is laid. */
  #lower(from, to) {
    const { gain } = this.duck;
    const at = (time) => Math.max(this.anchor + time, this.context.currentTime);
    let last = this.#curve(from);
    gain.setValueAtTime(last, at(from));
    if (!this.duckDb && !this.points.length) return;
    for (let i = Math.floor(from * CURVE_RATE) + 1; i <= to * CURVE_RATE; i++) {
      const value = this.#curve(i / CURVE_RATE);
      if (value !== last) {
        // The line begins where the last value ended.
        gain.setValueAtTime(last, at((i - 1) / CURVE_RATE));
        gain.linearRampToValueAtTime(value, at(i / CURVE_RATE));
      }
      last = value;
    }
  }

  get end() {
    return this.anchor + this.next;
  }

  schedule() {
    while (this.track.blocks.has(this.next) && this.end < this.context.currentTime + SCHEDULED) {
      const node = new AudioBufferSourceNode(this.context, { buffer: this.track.blocks.get(this.next) });
      node.connect(this.gain);
      const due = this.anchor + Math.max(this.next, this.position);
      const start = Math.max(due, this.context.currentTime);
      const offset = Math.max(start - this.anchor - this.next, 0); // rounding may leave −1e-16
      if (offset < node.buffer.duration) node.start(start, offset);
      this.nodes = [...this.nodes.slice(-8), node];
      this.#lower(this.next, this.next + 1);
      this.next++;
    }
  }

  stop() {
    const now = this.context.currentTime;
    this.gain.gain.cancelScheduledValues(now);
    this.gain.gain.setTargetAtTime(0, now, FADE / 3);
    this.nodes.forEach((node) => node.stop(now + 2 * FADE));
    setTimeout(() => this.gain.disconnect(), 500);
  }
}

/** Plays tracks. Events: "playing" when sound begins, "waiting" when it must wait for music, "ended", "fault". */
export class Music extends EventTarget {
  state = "stopped"; // "waiting", "playing"
  track = null;
  underruns = 0;
  mixing = () => null; // levels of the track that is heard, as `levels` of mixing.js gives them; set by the player
  ducking = () => null; // spans of speech, [start, end] s

  /** Browsers allow sound only after a press of a button or key; call this there. */
  unlock() {
    if (!this.context) {
      this.context = new AudioContext({ sampleRate: RATE, latencyHint: "interactive" });
      this.meter = new AnalyserNode(this.context, { fftSize: 2048 });
      this.meter.connect(this.context.destination);
      const limiter = makeLimiter(this.context);
      limiter.output.connect(this.meter);
      this.outputs = { limited: limiter.input, plain: this.meter };
    }
    return this.context.resume();
  }

  /** Where the sound that is heard now lies in the track, s. */
  get position() {
    if (this.state !== "playing") return this.from ?? 0;
    const heard = this.context.currentTime - (this.context.outputLatency || 0) - this.voice.anchor;
    return Math.min(Math.max(heard, this.from), this.track.duration);
  }

  /** Highest sample of the last 40 ms, dBFS. */
  get peakDb() {
    if (!this.meter) return -Infinity;
    const wave = new Float32Array(this.meter.fftSize);
    this.meter.getFloatTimeDomainData(wave);
    return 20 * Math.log10(wave.reduce((peak, value) => Math.max(peak, Math.abs(value)), 0));
  }

  play(track, from) {
    this.stop();
    this.track = track;
    this.from = from;
    this.least = 0;
    track.first = track.latest = null;
    this.#wait();
    this.timer = setInterval(() => this.#pump(), 50);
    this.#fetch(track);
  }

  stop() {
    clearInterval(this.timer);
    if (this.state === "playing") this.from = this.position;
    this.voice?.stop();
    this.voice = null;
    this.state = "stopped";
  }

  /** Another track at the same place without a gap: it takes over once its sound is here. */
  async change(track) {
    if (this.state !== "playing") return this.play(track, this.position);
    const from = Math.floor(this.position);
    await track.fetchFrom(from, this.context, (n) => n < Math.min(from + 2, track.nBlocks));
    if (this.state !== "playing") return this.play(track, this.position);
    const { anchor } = this.voice;
    const position = this.context.currentTime + LEAD - anchor;
    this.voice.stop();
    this.track = track;
    this.voice = this.#voice(anchor, position);
    this.voice.schedule();
    this.#fetch(track);
  }

  #voice(anchor, position) {
    const levels = this.track.of === "music" ? this.mixing() : null;
    return new Voice(this.context, this.outputs, this.track, anchor, position, levels, this.ducking());
  }

  /** Hear the levels as they are set now; isSlow: where nobody has changed them. */
  setLevels(isSlow) {
    if (this.voice && this.track.of === "music") this.voice.setLevels(this.mixing(), isSlow);
  }

  /** There is music, but the browser's sound does not start: without a sound device it never will. */
  #complain() {
    this.silentSince ??= performance.now();
    if (performance.now() - this.silentSince < MUTE * 1000) return;
    this.stop();
    const message = "The browser does not start its sound; see that a sound device is there and allowed for this page.";
    this.dispatchEvent(new CustomEvent("fault", { detail: new Error(message) }));
  }

  #wait() {
    this.state = "waiting";
    this.silentSince = null;
    this.dispatchEvent(new Event("waiting"));
  }

  async #fetch(track) {
    if (track.isFetching) return;
    track.isFetching = true;
    try {
      while (this.track === track && this.state !== "stopped") {
        const next = this.voice?.next ?? Math.floor(this.from);
        await track.fetchFrom(
          next,
          this.context,
          // As many as it waits for: fewer would never let it begin.
          (n) => this.track === track && n < next + Math.max(AHEAD, this.#enough) && this.state !== "stopped",
          () => this.track === track && this.state === "waiting" && this.#pump(),
        );
        await new Promise((resolve) => setTimeout(resolve, 100));
      }
    } catch (error) {
      if (error.name !== "AbortError" && this.track === track) {
        this.stop();
        this.dispatchEvent(new CustomEvent("fault", { detail: error }));
      }
    } finally {
      track.isFetching = false;
    }
  }

  /** Blocks that must be there before it begins. */
  get #enough() {
    return Math.max(this.least, this.track.needed);
  }

  #pump() {
    const { context, track } = this;
    if (this.state === "waiting") {
      const first = Math.floor(this.from);
      const enough = Math.min(this.#enough, track.nBlocks - first);
      if (track.readyFrom(first) < enough) return;
      if (context.state !== "running") return this.#complain();
      const anchor = Math.round((context.currentTime + LEAD - this.from) * RATE) / RATE;
      this.voice = this.#voice(anchor, this.from);
      this.state = "playing";
      this.voice.schedule();
      this.dispatchEvent(new CustomEvent("playing", { detail: { lead: LEAD + (context.outputLatency || 0) } }));
      return;
    }
    this.voice.schedule();
    if (this.voice.next >= track.nBlocks) {
      if (context.currentTime < this.voice.anchor + track.duration) return;
      this.stop();
      this.from = track.duration;
      this.dispatchEvent(new Event("ended"));
    } else if (this.voice.end < context.currentTime + 0.02) {
      // Generation is slower than real time here; stopping often is worse than stopping once for longer.
      this.underruns++;
      this.least = Math.min(4 * 2 ** (this.underruns - 1), 16);
      this.from = this.voice.next;
      this.voice.stop();
      this.voice = null;
      this.#wait();
    }
  }
}
