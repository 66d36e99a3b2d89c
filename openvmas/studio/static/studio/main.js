// The page: makes its parts, connects them, and follows the address (#project=ID).
import * as api from "./api.js";
import { Arrival } from "./arrival.js";
import { Delivery } from "./delivery.js";
import { ask, closeButton, confirm } from "./dialogs.js";
import { announce, button, byId, fill, make, notify } from "./elements.js";
import { Hints } from "./hints.js";
import { Inspector } from "./inspector.js";
import { Joins } from "./joins.js";
import { Keys } from "./keys.js";
import { Lanes } from "./lanes.js";
import { Library } from "./library.js";
import { List } from "./list.js";
import { Listening } from "./listening.js";
import { Part } from "./part.js";
import * as plans from "./plan.js";
import { Player } from "./player.js";
import { Report } from "./report.js";
import { Scoring } from "./scoring.js";
import { Settings } from "./settings.js";
import { Sounds } from "./sounds.js";
import { Stage } from "./stage.js";
import { Styles } from "./styles.js";
import { Takes } from "./takes.js";
import { makeTabs } from "./tabs.js";
import { applyTheme, nextTheme } from "./theme.js";
import { Timeline } from "./timeline.js";
import { clockText } from "./units.js";
import { Wishes } from "./wishes.js";
import { Volume } from "./volume.js";
import * as words from "./words.js";
import { say, tell } from "./words.js";
import { Workspace } from "./workspace.js";

applyTheme(); // before anything is painted in its colours
const workspace = new Workspace();
const stage = new Stage(workspace, byId("stage"));
const player = new Player(stage.video, byId("player"));
stage.player = player;
const arrival = new Arrival(workspace, stage.arrival);
const library = new Library(
  workspace,
  (files) => arrival.takeAll(files),
  (file, section) => sounds.drop(file, section),
);
const listening = new Listening(workspace, player, byId("transport"));
const tabs = makeTabs(byId("panel"), ["Plan", "Sound", "Takes"]);
const settings = new Settings(workspace, tabs.Sound, player);
listening.settings = settings;
const scoring = new Scoring(workspace, player, settings, tabs.foot);
const takes = new Takes(workspace, listening, scoring, tabs.Takes);
const sounds = new Sounds(workspace, settings, scoring, takes);
const styles = new Styles(workspace, player, scoring);
const inspector = new Inspector(workspace, player, takes, tabs.Plan, styles);
const delivery = new Delivery(workspace, listening, scoring, settings, tabs.done);
takes.delivery = delivery;
takes.settings = settings;
new Wishes(workspace, player, scoring, takes, tabs.wishes);

const selected = (kind) => (workspace.selection?.kind === kind ? workspace.selection.index : -1);
const section = () => (selected("section") >= 0 ? selected("section") : plans.sectionAt(workspace.plan, player.time));
const withPlan = (act) => () => workspace.plan && act();

const acts = {
  hit: withPlan(() => {
    const time = player.frameTime;
    if (!workspace.edit((plan) => plans.addHit(plan, time, workspace.fps))) return;
    const index = workspace.plan.hits.findIndex(
      (hit) => hit.source === "user" && Math.abs(hit.time - time) < 0.5 / workspace.fps,
    );
    workspace.select({ kind: "hit", index });
    announce(tell("Accent at {0}.", clockText(time)));
  }),
  split: withPlan(
    () => workspace.edit((plan) => plans.split(plan, player.frameTime, workspace.fps)) && announce("Split."),
  ),
  merge: withPlan(
    () => workspace.edit((plan) => plans.merge(plan, section())) && announce("Merged with the next section."),
  ),
  lock: withPlan(() => {
    const index = section();
    const locked = !workspace.plan.sections[index].locked;
    if (workspace.edit((plan) => plans.setSection(plan, index, { locked })))
      announce(tell(locked ? "Section {0} is locked." : "Section {0} is open.", index + 1));
  }),
  remove: withPlan(() => {
    const index = selected("hit");
    if (index >= 0) workspace.edit((plan) => plans.removeHit(plan, index)) && announce("Accent deleted.");
    else notify("Choose an accent first; Delete removes it. Sections are merged instead (M).");
  }),
  undo: () =>
    workspace.plan?.can_undo !== undefined && workspace.ask("undo").then((done) => done && announce("Undone.")),
  redo: () => workspace.plan && workspace.ask("redo").then((done) => done && announce("Done again.")),
  again: withPlan(() => (workspace.span ? part.redo() : takes.redo(section()))),
  chooseSection: (step) => () => {
    if (!workspace.plan) return;
    const index = Math.min(Math.max(section() + step, 0), workspace.plan.sections.length - 1);
    workspace.select({ kind: "section", index });
    player.seek(workspace.plan.sections[index].start + 0.002);
    announce(tell("Section {0}: {1}", index + 1, plans.character(workspace.plan.sections[index], workspace.plan)));
  },
  chooseHit: (step) => () => {
    const { hits } = workspace.plan ?? { hits: [] };
    const later = hits.findIndex((hit) => hit.time > player.time + 0.01);
    const earlier = hits.findLastIndex((hit) => hit.time < player.time - 0.01);
    const index = step > 0 ? later : earlier;
    if (index >= 0) lanes.choose(index);
  },
};

const tool = (label, shape, act, extra = {}) => button(label, { shape, bare: true, onclick: act, ...extra });
const timeline = new Timeline(workspace, player, [
  button("Accent (H)", { shape: "hit", kind: "secondary", title: "An accent of your own on this frame (H)", onclick: acts.hit }),
  button("Split (S)", { shape: "split", kind: "secondary", title: "Split the section at the playhead (S)", onclick: acts.split }),
  button("Merge (M)", { shape: "merge", kind: "secondary", title: "Merge the section with the next (M)", onclick: acts.merge }),
  button("Lock", {
    shape: "lock",
    kind: "secondary",
    title: "Lock or unlock the section (Shift L)",
    onclick: acts.lock,
  }),
  tool("Delete the chosen accent (Del)", "bin", acts.remove),
]);
const lanes = new Lanes(timeline, workspace, player);
const volume = new Volume(timeline, workspace, player, settings);
const part = new Part(timeline, workspace, player, takes);
timeline.tools.append(part.button, volume.button);
workspace.on("span", () => part.draw());
inspector.volume = volume;
const joins = new Joins(workspace, timeline, listening, scoring);
timeline.onlayout = () => (lanes.draw(), volume.draw(), part.draw(), joins.draw());
new List(workspace, player);
new Hints(workspace);
const report = new Report(workspace, player, timeline);
stage.connect(timeline, report, listening);
scoring.base = () => takes.kept;
workspace.on("levels", () => (listening.tryLevels(), player.level(), timeline.draw()));
player.mixing = (take) => {
  const { analysis, project } = workspace;
  return {
    settings: workspace.session ? settings.levels : null,
    hasOriginal: Boolean(project?.video?.has_audio),
    original: analysis?.original_lufs ?? null,
    spans: analysis?.speech_spans ?? [],
    powers: workspace.powers.get(take?.id) ?? null,
  };
};

function toggleLoop() {
  if (!workspace.plan) return;
  const { start, end } = workspace.span ?? workspace.plan.sections[section()];
  player.loop = player.loop ? null : { start, end };
  const what = workspace.span ? say("The marked part plays again and again.") : tell("Section {0} plays again and again.", section() + 1);
  announce(player.loop ? what : say("Plays on."));
  listening.draw();
  timeline.draw();
}
listening.toggleLoop = toggleLoop;
listening.toggleFull = () => stage.toggleFull();

const keys = new Keys([
  { keys: [" ", "k"], text: "Play and pause", act: () => player.toggle() },
  { keys: ["j"], text: "Back one second", act: () => player.seek(player.time - 1) },
  { keys: ["l"], text: "Forward one second", act: () => player.seek(player.time + 1) },
  { keys: ["ArrowLeft"], text: "Back one frame", act: () => player.step(-1) },
  { keys: ["ArrowRight"], text: "Forward one frame", act: () => player.step(1) },
  { keys: ["Home"], text: "To the start", act: () => player.seek(0) },
  { keys: ["End"], text: "To the end", act: () => player.seek(player.duration) },
  { keys: ["h"], text: "Accent on this frame", act: acts.hit },
  { keys: ["s"], text: "Split the section here", act: acts.split },
  { keys: ["m"], text: "Merge the section with the next", act: acts.merge },
  { keys: ["shift+l"], text: "Lock or unlock the section", act: acts.lock },
  { keys: ["Delete", "Backspace"], text: "Delete the chosen accent", act: acts.remove },
  { keys: ["["], text: "The section before", act: acts.chooseSection(-1) },
  { keys: ["]"], text: "The next section", act: acts.chooseSection(1) },
  { keys: [","], text: "The accent before", act: acts.chooseHit(-1) },
  { keys: ["."], text: "The next accent", act: acts.chooseHit(1) },
  { keys: ["v"], text: "Change the music's volume over time", act: () => volume.toggle() },
  { keys: ["i"], text: "Mark a part from here on, or take the mark away", act: () => part.toggle() },
  { keys: ["Escape"], text: "Take the mark away", act: () => part.clear() },
  { keys: ["o"], text: "Play this section or the marked part again and again", act: () => toggleLoop() },
  { keys: ["f"], text: "Full screen", act: () => stage.toggleFull() },
  { keys: ["x"], text: "Switch A and B", act: () => listening.switch() },
  { keys: ["r"], text: "Write this section or the marked part again", act: acts.again },
  { keys: ["mod+Enter"], text: "Score", act: () => scoring.score() },
  { keys: ["mod+z"], text: "Undo", act: acts.undo },
  { keys: ["mod+shift+z", "mod+y"], text: "Redo", act: acts.redo },
  { keys: ["+", "="], text: "Zoom in", act: () => timeline.zoom(2) },
  { keys: ["-"], text: "Zoom out", act: () => timeline.zoom(0.5) },
  { keys: ["0"], text: "The whole video", act: () => timeline.fit() },
  { keys: ["?"], text: "This help", act: () => keys.help() },
]);

function drawHeader() {
  const { project, plan, saved } = workspace;
  fill(
    byId("actions"),
    project ? tool("Undo (Ctrl Z)", "undo", acts.undo, { disabled: !plan?.can_undo }) : null,
    project ? tool("Redo (Ctrl Shift Z)", "redo", acts.redo, { disabled: !plan?.can_redo }) : null,
    project ? button("History", { kind: "plain", disabled: !plan, onclick: showHistory }) : null,
    languageField(),
    button("Theme", {
      kind: "plain",
      title: "Light, dark, or as the system",
      onclick: () => (announce(tell("Theme: {0}.", say(nextTheme()))), timeline.restyle()),
    }),
    button("Keys", { kind: "plain keys-help", title: "All keys (?)", onclick: () => keys.help() }),
  );
  byId("saved").textContent = !plan
    ? ""
    : words.say({ saved: "Saved", saving: "Saving…", unsaved: "Not saved yet; trying again" }[saved]);
}

function languageField() {
  const options = Object.entries(words.LANGUAGES).map(([name, text]) => make("option", { value: name, lang: name }, text));
  const field = make("select", { class: "language", "aria-label": "Language", title: "Language" }, options);
  field.value = words.language();
  field.addEventListener("change", () => words.choose(field.value));
  return field;
}

function drawTitle() {
  const { project } = workspace;
  document.title = project ? `${project.name}, OpenVMAS Studio` : "OpenVMAS Studio";
  const title = byId("project-title");
  byId("heading").textContent = project ? tell("{0}: music for this video", project.name) : "";
  byId("heading").hidden = !project; // the first page has its own
  if (!project) return fill(title);
  if (title.firstChild) return document.activeElement !== title.firstChild && (title.firstChild.value = project.name);
  const input = make("input", {
    type: "text",
    value: project.name,
    "aria-label": "Name of the project",
    maxlength: 120,
    autocomplete: "off",
  });
  input.addEventListener("change", async () => {
    try {
      await api.patch(`/projects/${workspace.id}`, { name: input.value.trim() });
      workspace.spread();
      await workspace.refresh();
    } catch (error) {
      notify(error.message, "fault");
      input.value = workspace.project.name;
    }
  });
  fill(title, input);
}

async function showHistory() {
  await workspace.flush();
  const { versions, current } = await api.get(`/projects/${workspace.id}/plan/history`);
  const row = ({ version, made_at, note }) =>
    make(
      "li",
      { class: "row" },
      make(
        "span",
        { class: "grow" },
        note ? words.sayNote(note) : tell("Version {0}", version),
        make("span", { class: "quiet" }, ` ${new Date(made_at * 1000).toLocaleTimeString(words.locale())}`),
      ),
      version === current
        ? make("span", { class: "badge" }, "now")
        : button("Go back to this", {
            kind: "secondary",
            "aria-label": tell("Go back to {0} {1}", words.sayNote(note), version),
            onclick: () => (byId("dialog").close(), workspace.ask("restore", { version })),
          }),
    );
  await ask("History of the plan", make("ol", { class: "history" }, [...versions].reverse().map(row)), closeButton());
}

async function signIn() {
  const given = new URLSearchParams(location.hash.slice(1)).get("token");
  if (given) history.replaceState(null, "", location.pathname);
  workspace.session = await api.get("/session");
  let [token, fault] = [given, null];
  while (workspace.session.needs_token && !workspace.session.signed_in) {
    const text = "It stands in the terminal where `openvmas studio` was started.";
    token ??= await confirm("This studio needs its token", {
      text,
      fault,
      field: "",
      yes: "Go in",
      label: "Token",
      kind: "password",
    });
    fault = null;
    if (token) await api.post("/session", { token }).catch((error) => (fault = error.message));
    token = null;
    workspace.session = await api.get("/session");
  }
  workspace.tell("session");
}

async function followAddress() {
  const id = new URLSearchParams(location.hash.slice(1)).get("project");
  player.pause();
  player.listen(null);
  try {
    if (id) await workspace.open(id);
    else workspace.close();
  } catch (error) {
    notify(error.message, "fault");
    workspace.close();
  }
  byId("workspace").hidden = !workspace.project;
  if (workspace.project) library.hide();
  else await Promise.resolve(workspace.left).then(() => library.show());
  timeline.fit();
  lanes.draw();
}

workspace.on("project plan saved", drawHeader);
workspace.on("project", () => (drawTitle(), arrival.draw()));
addEventListener("hashchange", followAddress);
addEventListener("pagehide", () => (document.activeElement?.blur(), workspace.flush()));
// Space must play again after a button was pressed with the mouse, not press the button again.
addEventListener(
  "click",
  (event) => event.detail > 0 && document.activeElement.closest(".tools button, .transport button, .choose")?.blur(),
);
document.addEventListener("studio:signed-out", () => (workspace.session = { ...workspace.session, signed_in: false }));
document.documentElement.lang = words.language();
// What stands in the page itself.
for (const element of document.querySelectorAll("body [aria-label]")) element.setAttribute("aria-label", say(element.getAttribute("aria-label")));
for (const element of [document.querySelector(".skip"), byId("list").firstElementChild]) element.textContent = say(element.textContent);
drawHeader();
try {
  await signIn();
  await followAddress();
} catch (error) {
  notify(error.message, "fault");
  library.show();
}
