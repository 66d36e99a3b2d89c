// Whose music a take is: the model and its licence, what it heard as an example, what the file says of itself, and a line
// to copy for the video's description.
import { announce, button, make } from "./elements.js";

/** Elements about a finished take; take: with its report. */
export function credits(take) {
  const { model, composer, generated_by: maker } = take.report;
  const prompts = distinct(composer.audio_prompts ?? []);
  const line = creditLine(maker, model, prompts);
  const rows = [
    ["Written by", `${model.name} ${model.version}, licence of the model: ${model.licence}`],
    ...prompts.map(({ source, licence }) => ["Heard as an example", `${source}, ${licence || "licence unknown"}`]),
    ["The file says", `in its comment: ${maker}, model, seed and options; nothing of you or your computer`],
  ];
  const copy = async () => {
    await navigator.clipboard?.writeText(line).catch(() => null);
    announce("The line is copied.");
  };
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
    button("Copy for the description", { kind: "secondary", "data-key": `credit-${take.id}`, onclick: copy }),
  ];
}

const distinct = (prompts) => [...new Map(prompts.map((prompt) => [prompt.source, prompt])).values()];

function creditLine(maker, model, prompts) {
  const after = prompts.map(({ source, licence }) => `${source.split("/").at(-1)} (${licence || "licence unknown"})`);
  return `Music: ${maker}, model ${model.name} ${model.version} (${model.licence})${after.length ? `, after ${after.join("; ")}` : ""}.`;
}
