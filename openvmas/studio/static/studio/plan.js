// Changes of a plan, each a new plan; nothing here knows the page. What cannot be done throws an Error whose message
// is the sentence for the user.
import { clamp, clockText, onFrame } from "./units.js";
import { say, tell } from "./words.js";

export const MIN_LENGTH = 0.5; // s, the shortest section that the timeline makes; shorter ones cannot be grasped

const replaced = (list, index, ...items) => [...list.slice(0, index), ...items, ...list.slice(index + 1)];

export const sectionAt = (plan, time) =>
  Math.max(
    0,
    plan.sections.findIndex((section, index) => time < section.end || index === plan.sections.length - 1),
  );

function mustBeOpen(plan, ...indices) {
  const locked = indices.find((index) => plan.sections[index].locked);
  if (locked !== undefined) throw new Error(tell("Section {0} is locked; unlock it first.", locked + 1));
}

export function setSection(plan, index, changes) {
  if (!("locked" in changes)) mustBeOpen(plan, index);
  return { ...plan, sections: replaced(plan.sections, index, { ...plan.sections[index], ...changes }) };
}

/** How far the border after section `index` may go: [low, high] s. */
export function borderRange(plan, index) {
  const [left, right] = [plan.sections[index], plan.sections[index + 1]];
  return [Math.min(left.start + MIN_LENGTH, left.end), Math.max(right.end - MIN_LENGTH, left.end)];
}

export function moveBorder(plan, index, time, fps) {
  mustBeOpen(plan, index, index + 1);
  const [left, right] = [plan.sections[index], plan.sections[index + 1]];
  const border = clamp(onFrame(time, fps), ...borderRange(plan, index));
  const sections = replaced(plan.sections, index, { ...left, end: border });
  return { ...plan, sections: replaced(sections, index + 1, { ...right, start: border }) };
}

export function split(plan, time, fps) {
  const index = sectionAt(plan, time);
  mustBeOpen(plan, index);
  const section = plan.sections[index];
  const border = onFrame(time, fps);
  if (border - section.start < MIN_LENGTH || section.end - border < MIN_LENGTH) {
    throw new Error(
      tell("A section lasts at least {0} s; move the playhead away from the border and split there.", MIN_LENGTH),
    );
  }
  const halves = [
    { ...section, end: border },
    { ...section, start: border },
  ];
  return { ...plan, sections: replaced(plan.sections, index, ...halves) };
}

/** Join a section with the next one; the character of the first stays, its energy becomes the mean over time. */
export function merge(plan, index) {
  if (index + 1 >= plan.sections.length)
    throw new Error("This is the last section; choose the one before it to join the two.");
  mustBeOpen(plan, index, index + 1);
  const [left, right] = [plan.sections[index], plan.sections[index + 1]];
  const [a, b] = [left.end - left.start, right.end - right.start];
  const energy = Number(((left.energy * a + right.energy * b) / (a + b)).toFixed(3));
  const sections = replaced(plan.sections, index, { ...left, end: right.end, energy });
  return { ...plan, sections: sections.filter((section) => section !== right) };
}

const inOrder = (hits) => [...hits].sort((a, b) => a.time - b.time);

export function addHit(plan, time, fps) {
  const moment = clamp(onFrame(time, fps), 0, plan.duration - 1 / fps);
  const near = plan.hits.findIndex((hit) => Math.abs(hit.time - moment) < 0.5 / fps);
  const hit = { time: moment, strength: 1, source: "user" };
  if (near < 0) return { ...plan, hits: inOrder([...plan.hits, hit]) };
  if (plan.hits[near].source === "user")
    throw new Error(tell("There is an accent at {0} already; move to another frame.", clockText(moment)));
  return { ...plan, hits: replaced(plan.hits, near, hit) };
}

/** A hit that is moved is the user's own from then on: those are answered exactly. */
export function moveHit(plan, index, time, fps) {
  const moment = clamp(onFrame(time, fps), 0, plan.duration - 1 / fps);
  return { ...plan, hits: inOrder(replaced(plan.hits, index, { ...plan.hits[index], time: moment, source: "user" })) };
}

export const setHit = (plan, index, changes) => ({
  ...plan,
  hits: inOrder(replaced(plan.hits, index, { ...plan.hits[index], ...changes })),
});

export const removeHit = (plan, index) => ({ ...plan, hits: replaced(plan.hits, index) });

// Words that the lexicon of openvmas/planning/lexicon.py knows, for one press each.
export const MOODS = [
  "calm",
  "tender",
  "hopeful",
  "happy",
  "playful",
  "exciting",
  "epic",
  "mysterious",
  "tense",
  "dark",
  "sad",
];

const parts = (text) =>
  (text ?? "")
    .split(",")
    .map((part) => part.trim())
    .filter(Boolean);

export const hasWord = (text, word) => parts(text).some((part) => part.toLowerCase() === word);

/** The words of a section with one word more, or without it. */
export function toggleWord(text, word) {
  const words = parts(text);
  const rest = words.filter((part) => part.toLowerCase() !== word);
  return (rest.length < words.length ? rest : [...words, word]).join(", ") || null;
}

/**
 * What a section is to sound like in a few words: the user's for it, else the user's for the whole, else the picture's
 * strongest.
 */
export function character(section, plan) {
  if (section.text) return section.text;
  const own = strongest(section.mood ?? {}) || [understood(plan), plan.mood].filter(Boolean).join(", ");
  return own || strongest(section.picture ?? {}) || say("as the picture");
}

/** The words for the whole without those that nobody understood. */
function understood({ text, unknown_words: unknown = [] }) {
  const isKnown = (word) => !unknown.includes(word.toLowerCase().replace(/[^\p{L}\p{N}'-]/gu, ""));
  return (text ?? "").split(/\s+/).filter(isKnown).join(" ");
}

const OPPOSITES = {
  valence: ["bright mood", "dark mood"],
  arousal: ["lively", "calm"],
  brightness: ["bright sound", "dark sound"],
  density: ["dense", "sparse"],
  danceability: ["danceable", "flowing"],
  acousticness: ["acoustic", "synthetic"],
};

function strongest(axes) {
  const told = Object.entries(axes).filter(
    ([axis, value]) => Math.abs(value) >= 0.25 && (value > 0 || axis in OPPOSITES),
  );
  told.sort((a, b) => Math.abs(b[1]) - Math.abs(a[1]));
  const words = told.slice(0, 2).map(([axis, value]) => OPPOSITES[axis]?.[value > 0 ? 0 : 1] ?? axis.replace("_", " "));
  return words.map(say).join(", ");
}
