// The music's volume over time, as the option `envelope` has it: points of a time and a gain, straight lines in amplitude
// between them. Nothing here knows the page.
import { clamp } from "./units.js";

export const HIGHEST = 6; // dB, at the top of the lane
const LOWEST = -40; // dB; what is drawn lower is off
const STEP = 0.02; // s, the least distance of two points

export const toGain = (db) => (db === null ? 0 : 10 ** (db / 20));
const toDb = (gain) => (gain <= toGain(LOWEST) ? null : 20 * Math.log10(gain));

/** ["12.5=-6", "20=off"] → [{time, gain}], in order. */
export function parse(texts) {
  const points = (texts ?? []).map((text) => {
    const [time, level] = text.split("=");
    const seconds = time.split(":").reduce((sum, part) => sum * 60 + Number(part), 0);
    return { time: seconds, gain: level.trim().toLowerCase() === "off" ? 0 : toGain(parseFloat(level)) };
  });
  return points.sort((a, b) => a.time - b.time);
}

export const format = (points) =>
  points.map(({ time, gain }) => {
    const db = toDb(gain);
    return `${Number(time.toFixed(3))}=${db === null ? "off" : Number(db.toFixed(2))}`;
  });

/** The gain at a time; 1 where nothing is said. */
export function gainAt(points, time) {
  if (!points.length) return 1;
  const after = points.findIndex((point) => point.time > time);
  if (after === 0) return points[0].gain;
  if (after < 0) return points.at(-1).gain;
  const [a, b] = [points[after - 1], points[after]];
  return a.gain + ((b.gain - a.gain) * (time - a.time)) / (b.time - a.time);
}

export const textOf = (gain) => {
  const db = toDb(gain);
  return db === null ? "off" : `${db >= 0 ? "+" : "−"}${Math.abs(db).toFixed(1)} dB`;
};

/** Height in the lane, 0 to 1, and back. */
export const toHeight = (gain) => clamp(Math.sqrt(gain / toGain(HIGHEST)), 0, 1);
export const fromHeight = (height) => clamp(height, 0, 1) ** 2 * toGain(HIGHEST);

const sorted = (points) => [...points].sort((a, b) => a.time - b.time);

export const addPoint = (points, time, gain) =>
  sorted([...points.filter((point) => Math.abs(point.time - time) > STEP), { time, gain }]);

/** A point moved, but not past its neighbours. */
export function movePoint(points, index, time, gain, duration) {
  const low = index ? points[index - 1].time + STEP : 0;
  const high = index + 1 < points.length ? points[index + 1].time - STEP : duration;
  const moved = { time: clamp(time, low, Math.max(low, high)), gain: clamp(gain, 0, toGain(HIGHEST)) };
  return points.map((point, i) => (i === index ? moved : point));
}

export const removePoint = (points, index) => points.filter((_, i) => i !== index);

/** Length of the fade at the beginning or end, s; 0 where there is none. */
export function fadeLength(points, isEnd, duration) {
  const [edge, inner] = isEnd ? [points.at(-1), points.at(-2)] : [points[0], points[1]];
  if (!inner || edge.gain > 0 || Math.abs(edge.time - (isEnd ? duration : 0)) > STEP) return 0;
  return Math.abs(inner.time - edge.time);
}

/** The same with a fade of that length at the beginning or end; 0 takes it away. */
export function setFade(points, isEnd, length, duration) {
  const old = fadeLength(points, isEnd, duration);
  let rest = points;
  if (old) rest = isEnd ? points.slice(0, -2) : points.slice(2);
  if (length < 0.05) return rest;
  const inner = isEnd ? Math.max(duration - length, 0) : Math.min(length, duration);
  const gain = gainAt(rest, inner);
  const outside = (point) => (isEnd ? point.time < inner - STEP : point.time > inner + STEP);
  const fade = [{ time: inner, gain }, { time: isEnd ? duration : 0, gain: 0 }];
  return sorted([...rest.filter(outside), ...fade]);
}

const RAMP = 0.4; // s over which the music goes and comes where there is to be none

export const isSilent = (points, start, end) => gainAt(points, (start + end) / 2) === 0 && gainAt(points, start + 0.1) === 0;

/** No music in a span, or music again. */
export function setSilence(points, start, end, isOn, duration) {
  const [from, to] = [Math.max(start - RAMP, 0), Math.min(end + RAMP, duration)];
  const [before, after] = [gainAt(points, from) || 1, gainAt(points, to) || 1];
  const rest = points.filter((point) => point.time < from - STEP || point.time > to + STEP);
  if (!isOn) return rest.every((point) => point.gain === 1) ? [] : rest;
  const edge = (time, gain) => ({ time, gain });
  const left = start > 0 ? [edge(from, before), edge(start, 0)] : [edge(0, 0)];
  const right = end < duration - STEP ? [edge(end, 0), edge(to, after)] : [edge(duration, 0)];
  return sorted([...rest, ...left, ...right]);
}
