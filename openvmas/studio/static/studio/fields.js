// Fields with label, unit and help, as every panel uses them. `change(value)` is called when the user is done.
import { make } from "./elements.js";
import { say } from "./words.js";

let count = 0;
const nextId = () => `field-${++count}`;

function labelled(label, control, { help, unit, key, extra }) {
  const id = nextId();
  control.id = id;
  if (key) control.dataset.key = key;
  const note = help ? make("p", { class: "help", id: `${id}-help` }, help) : null;
  if (help) control.setAttribute("aria-describedby", `${id}-help`);
  return make(
    "div",
    { class: "field" },
    make("label", { for: id }, label, unit ? make("span", { class: "unit" }, ` ${unit}`) : null),
    extra ? make("div", { class: "row" }, control, extra) : control,
    note,
  );
}

export function textField(label, value, change, options = {}) {
  const { placeholder, disabled, list, maxlength = 500 } = options;
  const input = make("input", {
    type: "text",
    value: value ?? "",
    placeholder,
    disabled,
    maxlength,
    autocomplete: "off",
    list,
  });
  input.addEventListener("change", () => change(input.value.trim() || null));
  const field = labelled(label, input, options);
  if (options.suggestions) {
    const list = make("datalist", { id: `${input.id}-list` }, options.suggestions.map((value) => make("option", { value })));
    input.setAttribute("list", list.id);
    field.append(list);
  }
  return field;
}

/** A number that may be left empty (null). */
export function numberField(label, value, change, options = {}) {
  const { min, max, step = "any", placeholder, disabled } = options;
  const input = make("input", {
    type: "number",
    value: value ?? "",
    min,
    max,
    step,
    placeholder,
    disabled,
    inputmode: "decimal",
  });
  input.addEventListener("change", () => {
    if (!input.checkValidity()) return input.reportValidity();
    change(input.value === "" ? null : Number(input.value));
  });
  return labelled(label, input, options);
}

/** A slider whose number is written beside it: `show(value)` → text. live(value): called while it is being moved. */
export function sliderField(label, value, change, options = {}) {
  const { min, max, step, disabled, show = String, live, title } = options;
  const input = make("input", { type: "range", min, max, step, disabled, title });
  input.value = value;
  const output = make("output", { class: "figure" }, show(Number(input.value)));
  const tell = () => {
    output.textContent = say(show(Number(input.value)));
    input.setAttribute("aria-valuetext", output.textContent);
  };
  tell();
  input.addEventListener("input", () => (tell(), live?.(Number(input.value))));
  input.addEventListener("change", () => change(Number(input.value)));
  const field = labelled(label, input, { ...options, extra: output });
  output.setAttribute("for", input.id);
  return field;
}

/** entries: [value, text] pairs. */
export function choiceField(label, value, entries, change, options = {}) {
  const select = make(
    "select",
    { disabled: options.disabled },
    entries.map(([key, text]) => make("option", { value: key }, text)),
  );
  select.value = value;
  select.addEventListener("change", () => change(select.value));
  return labelled(label, select, options);
}

export function tickField(label, value, change, options = {}) {
  const input = make("input", { type: "checkbox", disabled: options.disabled });
  input.checked = value;
  if (options.key) input.dataset.key = options.key;
  input.addEventListener("change", () => change(input.checked));
  return make(
    "div",
    { class: "field" },
    make("label", { class: "tick" }, input, make("span", {}, label)),
    options.help ? make("p", { class: "help" }, options.help) : null,
  );
}
