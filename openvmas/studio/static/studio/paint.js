// The lanes of the timeline that are drawn: ruler, filmstrip, what the picture does, beats, waveform. A view is
// {context, width, left, scale}: pixels wide, and pixels scrolled at `scale` pixels per second.
import { gainAt, toHeight } from "./envelope.js";
import { clamp, clockText } from "./units.js";
import { say } from "./words.js";

// The music comes first, because it is what is made here.
export const LANES = {
  ruler: { top: 0, height: 24 },
  wave: { top: 26, height: 116 },
  film: { top: 146, height: 34 },
  voice: { top: 182, height: 28 },
  sections: { top: 214, height: 76 },
  hits: { top: 292, height: 24 },
  picture: { top: 318, height: 36 },
};
export const HEIGHT = 356;
export const HEAD = 38; // px of a section for its words; its energy is drawn and dragged below them

const toX = (view, time) => time * view.scale - view.left;
const seen = (view) => [view.left / view.scale, (view.left + view.width) / view.scale];

/** The index of the first time that is not before `time`; times increase. */
function firstAt(times, time) {
  let [low, high] = [0, times.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (times[middle] < time) low = middle + 1;
    else high = middle;
  }
  return low;
}

function* within(view, times) {
  const [from, to] = seen(view);
  for (let i = firstAt(times, from); i < times.length && times[i] <= to; i++) yield i;
}

export function paintGround(view, colours) {
  const { context, width } = view;
  context.clearRect(0, 0, width, HEIGHT);
  for (const name of ["film", "wave", "voice", "picture"]) {
    context.fillStyle = colours.lane;
    context.fillRect(0, LANES[name].top, width, LANES[name].height);
  }
}

const STEPS = [0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600];

export function paintRuler(view, colours) {
  const { context } = view;
  const step = STEPS.find((seconds) => seconds * view.scale >= 72) ?? 3600;
  const [from, to] = seen(view);
  context.font = "11px system-ui, sans-serif";
  context.textBaseline = "middle";
  for (let i = Math.floor(from / step); i * step <= to; i++) {
    const x = Math.round(toX(view, i * step)) + 0.5;
    line(context, x, 14, x, LANES.ruler.height, colours.quiet);
    for (let part = 1; part < 5; part++) {
      const between = Math.round(x + (part * step * view.scale) / 5);
      line(context, between + 0.5, 20, between + 0.5, LANES.ruler.height, colours.faint);
    }
    context.fillStyle = colours.muted;
    context.fillText(clockText(i * step, step < 1 ? 1 : 0), x + 4, 12);
  }
}

function line(context, x1, y1, x2, y2, colour, width = 1) {
  context.strokeStyle = colour;
  context.lineWidth = width;
  context.beginPath();
  context.moveTo(x1, y1);
  context.lineTo(x2, y2);
  context.stroke();
}

/** strip: {image, n, ready, columns, width, height}; frame i shows time (i + 0.5) · duration / n. */
export function paintFilm(view, strip, duration) {
  if (!strip?.image || !duration) return;
  const { context } = view;
  const { top, height } = LANES.film;
  const wide = Math.max((height * strip.width) / strip.height, 8);
  context.imageSmoothingQuality = "high";
  for (let x = -(view.left % wide); x < Math.min(view.width, toX(view, duration)); x += wide) {
    const time = (x + wide / 2 + view.left) / view.scale;
    const index = clamp(Math.floor((time / duration) * strip.n), 0, strip.n - 1);
    if (index >= strip.ready) break;
    const [column, row] = [index % strip.columns, Math.floor(index / strip.columns)];
    const room = Math.min(wide, toX(view, duration) - x);
    const source = [column * strip.width, row * strip.height, (strip.width * room) / wide, strip.height];
    context.drawImage(strip.image, ...source, x, top, Math.ceil(room), height);
  }
}

/** Energy as an area, shots as bands, cuts as lines, visual beats as rising ticks. */
export function paintPicture(view, analysis, colours) {
  const { context } = view;
  const { top, height } = LANES.picture;
  const bottom = top + height;
  analysis.shots.forEach((shot, index) => {
    const [a, b] = [toX(view, shot.start), toX(view, shot.end)];
    if (b < 0 || a > view.width || index % 2) return;
    context.fillStyle = colours.shot;
    context.fillRect(a, top, b - a, height);
  });
  area(
    view,
    [...analysis.energy, analysis.energy.at(-1) ?? 0],
    analysis.curves_rate,
    bottom,
    height - 6,
    colours.energy,
  );
  for (const i of within(view, analysis.cuts)) {
    const x = Math.round(toX(view, analysis.cuts[i])) + 0.5;
    line(context, x, top, x, bottom, colours.cut);
  }
  for (const i of within(view, analysis.visual_beats)) {
    const x = Math.round(toX(view, analysis.visual_beats[i])) + 0.5;
    line(context, x, bottom, x, bottom - 6 - 16 * analysis.visual_beat_strengths[i], colours.visual, 2);
  }
}

function area(view, curve, rate, bottom, height, colour) {
  const { context } = view;
  const [from, to] = seen(view);
  const step = Math.max(1, Math.floor(rate / view.scale));
  const first = clamp(Math.floor(from * rate) - 1, 0, curve.length - 1);
  const last = Math.min(Math.ceil(to * rate) + 1, curve.length - 1);
  context.beginPath();
  context.moveTo(toX(view, first / rate), bottom);
  for (let i = first; i <= last; i += step)
    context.lineTo(toX(view, i / rate), bottom - clamp(curve[i], 0, 1) * height);
  context.lineTo(toX(view, last / rate), bottom);
  context.fillStyle = colour;
  context.fill();
}

/** The beat grid behind the sections, as far as it can be told apart. */
export function paintGrid(view, plan, colours) {
  const { top, height } = LANES.sections;
  const [from, to] = seen(view);
  const spacing = plan.tempo ? (60 / plan.tempo) * view.scale : Infinity;
  const marks = spacing >= 10 ? plan.beats : spacing * plan.beats_per_bar >= 10 ? plan.downbeats : [];
  for (let i = firstAt(marks ?? [], from); i < (marks?.length ?? 0) && marks[i] <= to; i++) {
    const x = Math.round(toX(view, marks[i])) + 0.5;
    line(view.context, x, top + height - 5, x, top + height, colours.quiet);
  }
}

/** The video's own sound, and behind it where somebody speaks. */
export function paintOriginal(view, analysis, duration, colours, depth = 0) {
  const { original_peaks: peaks, speech, curves_rate: rate } = analysis;
  if (!peaks) return paintNote(view, "voice", "This video has no sound of its own.", colours);
  const { context } = view;
  const { top, height } = LANES.voice;
  context.fillStyle = colours.speech;
  const spoken = (i) => (speech?.[i] ?? 0) >= 0.5;
  for (let i = 0, start = 0; i <= (speech?.length ?? 0); i++) {
    if (spoken(i) && !spoken(i - 1)) start = i;
    if (!spoken(i) && spoken(i - 1))
      context.fillRect(toX(view, start / rate), top, ((i - start) / rate) * view.scale, height);
  }
  const loudest = Math.max(0.1, ...peaks.filter((_, i) => i % Math.ceil(peaks.length / 5000) === 0));
  const right = Math.min(view.width, toX(view, duration));
  context.fillStyle = colours.quiet;
  for (let x = 0; x < right; x++) {
    const peak = peaks[Math.floor(((x + view.left) / view.scale) * rate)] ?? 0;
    const reach = Math.max((Math.min(peak / loudest, 1) * (height - 6)) / 2, 0.5);
    context.fillRect(x, top + height / 2 - reach, 1, 2 * reach);
  }
  // How far the music goes down under speech.
  if (!depth || !analysis.ducking) return;
  const lowest = Math.min(1, -depth / 24) * (height - 6);
  context.beginPath();
  analysis.ducking.forEach((share, i) => context.lineTo(toX(view, i / rate), top + 3 + share * lowest));
  context.strokeStyle = colours.duck;
  context.lineWidth = 1.5;
  context.stroke();
}

/** The music's volume over time; isOn: it can be changed. */
export function paintEnvelope(view, points, duration, colours, isOn) {
  if (!isOn && points.every((point) => point.gain === 1)) return;
  const { context } = view;
  const { top, height } = LANES.wave;
  const y = (gain) => top + (1 - toHeight(gain)) * height;
  const ends = [{ time: 0, gain: gainAt(points, 0) }, ...points, { time: duration, gain: gainAt(points, duration) }];
  context.beginPath();
  ends.forEach(({ time, gain }, index) => {
    const before = ends[index - 1];
    // Straight in amplitude is bent on this scale.
    for (let part = 1; before && part < 12; part++) {
      const t = before.time + ((time - before.time) * part) / 12;
      context.lineTo(toX(view, t), y(before.gain + ((gain - before.gain) * part) / 12));
    }
    context.lineTo(toX(view, time), y(gain));
  });
  context.strokeStyle = colours.line;
  context.lineWidth = isOn ? 2 : 1.5;
  context.stroke();
}

/** The span that is played again and again. */
export function paintLoop(view, { start, end }, colours) {
  const { context } = view;
  context.fillStyle = colours.line;
  context.fillRect(toX(view, start), 0, (end - start) * view.scale, 4);
}

/**
 * peaks: {per_second, min, max, shade, highest} of the music as far as it is written; drawn as high as the lane allows, in
 * the colour of its sound, from low to bright.
 */
export function paintWave(view, peaks, duration, colours) {
  if (!peaks) return;
  const { context } = view;
  const { top, height } = LANES.wave;
  const middle = top + height / 2;
  const n = peaks.max.length;
  const right = Math.min(view.width, toX(view, duration));
  const shades = peaks.shade?.length ? colours.shades : null;
  if (!shades) context.fillStyle = colours.wave;
  let last = -1;
  for (let x = 0; x < right; x++) {
    const a = Math.floor(((x + view.left) / view.scale) * peaks.per_second);
    const b = Math.max(a + 1, Math.floor(((x + 1 + view.left) / view.scale) * peaks.per_second));
    if (a >= n) break;
    let [low, high] = [0, 0];
    for (let i = a; i < Math.min(b, n); i++) [low, high] = [Math.min(low, peaks.min[i]), Math.max(high, peaks.max[i])];
    const reach = (height / 2 - 6) / Math.max(peaks.highest, 0.05);
    if (shades) {
      const shade = Math.min(Math.floor((peaks.shade[a] ?? 0.5) * shades.length), shades.length - 1);
      if (shade !== last) context.fillStyle = shades[(last = shade)];
    }
    context.fillRect(x, middle - high * reach, 1, Math.max((high - low) * reach, 1));
  }
}

/** Onsets of the music below, moments of the picture above; a line joins those that fall together. */
export function paintFit(view, report, colours) {
  const { context } = view;
  const { top, height } = LANES.wave;
  const bottom = top + height;
  for (const i of within(view, report.onsets)) {
    const x = Math.round(toX(view, report.onsets[i])) + 0.5;
    line(context, x, bottom, x, bottom - 4 - 8 * clamp(report.onset_strengths[i] ?? 0.5, 0, 1), colours.onset, 2);
  }
  const times = report.moments.map((moment) => moment.time);
  for (const i of within(view, times)) {
    const { kind, fits } = report.moments[i];
    const x = Math.round(toX(view, times[i])) + 0.5;
    const colour = kind === "hit" ? colours.hit : colours.visual;
    context.setLineDash(fits ? [] : [2, 3]);
    context.globalAlpha = fits ? 0.55 : 1;
    line(context, x, top, x, fits ? bottom : top + 14, colour);
    context.globalAlpha = 1;
    context.setLineDash([]);
    if (fits) {
      context.fillStyle = colour;
      context.fillRect(x - 2.5, top, 5, 5);
    }
  }
}

/** What part of a take was written anew, or what is still to be written or watched. */
export function paintSpan(view, start, end, colour, lane = "wave") {
  const { top, height } = LANES[lane];
  view.context.fillStyle = colour;
  view.context.fillRect(toX(view, start), top, (end - start) * view.scale, height);
}

export function paintNote(view, lane, text, colours, isAbove = false) {
  const { top, height } = LANES[lane];
  view.context.font = "12px system-ui, sans-serif";
  view.context.textBaseline = "middle";
  view.context.fillStyle = colours.muted;
  view.context.fillText(say(text), Math.max(12, 12 - view.left), isAbove ? top + 12 : top + height / 2);
}
