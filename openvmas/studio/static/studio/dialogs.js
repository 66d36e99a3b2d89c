// The one dialog of the page: help, history, sign-in, and questions before something is lost.
import { button, byId, fill, make } from "./elements.js";

/** Show a dialog; resolves with what its form was closed with ("" when it was dismissed). */
export function ask(title, ...content) {
  const dialog = byId("dialog");
  dialog.onclose = null;
  if (dialog.open) dialog.close();
  fill(dialog, make("form", { method: "dialog" }, make("h2", { id: "dialog-title" }, title), content));
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => (dialog.onclose = () => resolve(dialog.returnValue)));
}

/** A question with Yes and No; with a `field` it resolves to the text, else to true; null or false where it is No. */
export async function confirm(title, { text, fault, field, yes, label = "Name", kind = "text" }) {
  const input =
    field === undefined
      ? null
      : make("input", {
          type: kind,
          value: field,
          required: true,
          maxlength: 120,
          "aria-label": label,
          autocomplete: "off",
        });
  const answer = ask(
    title,
    fault ? make("p", { class: "fault", role: "alert" }, fault) : null,
    text ? make("p", {}, text) : null,
    input,
    make(
      "div",
      { class: "row end" },
      make("button", { class: "button secondary", value: "", formnovalidate: true }, "Cancel"),
      make("button", { class: "button primary", value: "yes" }, yes),
    ),
  );
  (input ?? byId("dialog").querySelector("button")).focus();
  // The enter key must mean Yes, though No comes first.
  input?.addEventListener("keydown", (event) => {
    if (event.key !== "Enter") return;
    event.preventDefault();
    if (input.checkValidity()) byId("dialog").close("yes");
  });
  const isYes = (await answer) === "yes";
  return input ? (isYes ? input.value.trim() : null) : isYes;
}

export const closeButton = (kind = "primary") =>
  make("div", { class: "row end" }, button("Close", { kind, onclick: () => byId("dialog").close() }));
