// Whose music a take is: the model and its licence, what it heard as an example, what the file says of itself, and a line
// to copy for the video's description.
import { announce, button, make } from "./elements.js";
import { say, tell } from "./words.js";

/** Elements about a finished take; take: with its report. */
export function credits(take) {
  if (take.report.composer.track) return recordingCredits(take);
  const { model, composer, generated_by: maker } = take.report;
  const prompts = distinct(composer.audio_prompts ?? []);
  const line = creditLine(maker, model, prompts);
  const rows = [
    ["Written by", tell("{0} {1}, licence of the model: {2}", model.name, model.version, model.licence)],
    ...prompts.map(({ source, licence }) => ["Heard as an example", `${source}, ${licence || say("licence unknown")}`]),
    ["The file says", tell("in its comment: {0}, model, seed and options; nothing of you or your computer", maker)],
  ];
  return [
    make(
      "dl",
      { class: "facts wide stacked" },
      rows.map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, value))),
    ),
    make(
      "p",
      { class: "help" },
      "The music was made for your video; we know of nobody else with rights in it. Whether music inherits the terms of a model or an example is not settled, so the careful way is to name them:",
    ),
    make("p", { class: "credit" }, line),
    copyButton(take, line),
  ];
}

export async function copyText(line) {
  await navigator.clipboard?.writeText(line).catch(() => null);
  announce("The line is copied.");
}

const copyButton = (take, line) =>
  button("Copy for the description", {
    kind: "secondary",
    "data-key": `credit-${take.id}`,
    onclick: () => copyText(line),
  });

/** Of a take that plays a recording: its maker and licence, as far as the file says. */
function recordingCredits(take) {
  const { track } = take.report.composer;
  const rows = [
    ["Recording", [track.title || track.file, track.artist].filter(Boolean).join(", ")],
    ["Licence", track.licence || "the file does not say"],
    ...(track.source ? [["From", track.source]] : []),
  ];
  return [
    make(
      "dl",
      { class: "facts wide stacked" },
      rows.map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, value))),
    ),
    make("p", { class: "help" }, track.rights),
    ...(track.attribution ? [make("p", { class: "credit" }, track.attribution), copyButton(take, track.attribution)] : []),
  ];
}

/** The line to copy below a video, "" where there is nothing to say. */
export function creditText(take) {
  const { model, composer, generated_by: maker } = take.report;
  if (composer.track) return composer.track.attribution;
  return creditLine(maker, model, distinct(composer.audio_prompts ?? []));
}

const distinct = (prompts) => [...new Map(prompts.map((prompt) => [prompt.source, prompt])).values()];

function creditLine(maker, model, prompts) {
  const after = prompts.map(({ source, licence }) => `${source.split("/").at(-1)} (${licence || "licence unknown"})`);
  return `Music: ${maker}, model ${model.name} ${model.version} (${model.licence})${after.length ? `, after ${after.join("; ")}` : ""}.`;
}
