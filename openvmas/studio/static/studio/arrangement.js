// The arrangement of a recording as arithmetic: which moment of it is heard when, and what moving a join means.
// Parts are {start, end, source_start, source_end, rate}: spans of the recording in the order in which they are heard.
import { clamp } from "./units.js";

const APART = 0.5; // s between two joins at least

/** The part that is heard at a time of the picture; the last one behind the end. */
export const partAt = (parts, time) => parts.findLast((part) => part.start <= time + 1e-6) ?? parts[0];

/** Where the recording is at a time of the picture, s; null in the silence behind its end. */
export function sourceAt(parts, time) {
  const part = partAt(parts, time);
  return !part || time > part.end + 0.05 ? null : part.source_start + (time - part.start) * part.rate;
}

/** The first time of the picture at which a moment of the recording is heard, s; null where it never is. */
export function heardAt(parts, source) {
  const part = parts.find((one) => one.source_start <= source && source < one.source_end);
  return part ? part.start + (source - part.source_start) / part.rate : null;
}

/** Number of the bar line that is nearest to a moment of the recording. */
export function nearest(marks, source) {
  let best = 0;
  marks.forEach((mark, i) => Math.abs(mark - source) < Math.abs(marks[best] - source) && (best = i));
  return best;
}

/** Runs of parts without a join between them, each {start, end, source_start, source_end}: what the lanes show. */
export function stretches(parts) {
  const found = [];
  for (const part of parts) {
    const last = found.at(-1);
    if (last && Math.abs(last.source_end - part.source_start) < 0.002) Object.assign(last, { end: part.end, source_end: part.source_end });
    else found.push({ ...part });
  }
  return found;
}

export const isMade = (join) => join.state !== "refused";

/** The times between which a join may be moved, s: from the one before it to the one after it. */
export function range(joins, join, duration) {
  const made = joins.filter(isMade);
  const index = made.indexOf(join);
  return [(made[index - 1]?.time ?? 0) + APART, (made[index + 1]?.time ?? duration) - APART];
}

/**
 * A join some bar lines later or earlier: the music stays where it is on both sides, only the leap moves. Null where
 * there is no bar line for it.
 */
export function roll({ parts, joins }, { marks, duration: length }, duration, join, steps) {
  const leaves = nearest(marks, join.source_from) + steps;
  const enters = nearest(marks, join.source_to) + steps;
  if (Math.min(leaves, enters) < 0 || Math.max(leaves, enters) >= marks.length) return null;
  const before = parts.findLast((part) => part.start < join.time - 0.01) ?? parts[0];
  const time = join.time + (marks[leaves] - join.source_from) / before.rate;
  const [low, high] = range(joins, join, duration);
  if (time < low || time > high || marks[leaves] > length) return null;
  return { time: rounded(time), source_from: marks[leaves], source_to: marks[enters], state: "locked" };
}

/** The join some bar lines away whose time is nearest to a time of the picture; the join itself where none is nearer. */
export function rollTo(arrangement, recording, duration, join, time) {
  let best = join;
  for (const direction of [-1, 1])
    for (let steps = direction; ; steps += direction) {
      const moved = roll(arrangement, recording, duration, join, steps);
      if (!moved || Math.abs(moved.time - time) >= Math.abs(best.time - time)) break;
      best = moved;
    }
  return best;
}

/** The same leap at another time: the music before and after it is stretched to that. */
export function retime({ joins }, duration, join, time) {
  const [low, high] = range(joins, join, duration);
  return { ...join, time: rounded(clamp(time, low, high)), state: "locked" };
}

/** A span from bar line to bar line, {start, end}, around two moments of the recording; at least one bar. */
export function spanOf(marks, from, to) {
  let [first, last] = [nearest(marks, Math.min(from, to)), nearest(marks, Math.max(from, to))];
  if (first === last) marks[first] > Math.min(from, to) && first > 0 ? first-- : last++;
  if (last >= marks.length) [first, last] = [first - 1, marks.length - 1];
  return { start: marks[first], end: marks[last] };
}

const rounded = (time) => Number(time.toFixed(4));
