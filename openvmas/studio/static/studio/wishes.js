// One press each: the same again, livelier, calmer, darker, less busy; for all of the video or only from the playhead on.
import { make, notify, refill } from "./elements.js";
import { clamp } from "./units.js";

const STEP = 0.15; // of energy
const louder = (section) => ({ ...section, energy: Number(clamp(section.energy + STEP, 0, 1).toFixed(2)) });
const quieter = (section) => ({ ...section, energy: Number(clamp(section.energy - STEP, 0, 1).toFixed(2)) });
const withMood = (axes) => (section) => {
  const mood = { ...(section.mood ?? {}) };
  for (const [axis, step] of Object.entries(axes)) mood[axis] = clamp((mood[axis] ?? section.picture?.[axis] ?? 0) + step, -2, 2);
  return { ...section, mood };
};
const both = (one, other) => (section) => other(one(section));

/** What each wish does to a section. */
export const WISHES = [
  ["another", "Another take", (section) => section],
  ["more", "More energy", both(louder, withMood({ arousal: 0.8 }))],
  ["calmer", "Calmer", both(quieter, withMood({ arousal: -0.8 }))],
  ["darker", "Darker", withMood({ valence: -1, brightness: -0.8 })],
  ["sparser", "Less busy", both((section) => section, withMood({ density: -1.2, drums: -0.8 }))],
];

export class Wishes {
  isFromHere = false;

  constructor(workspace, player, scoring, takes, element) {
    Object.assign(this, { workspace, player, scoring, takes, element });
    workspace.on("project plan states", () => this.draw());
    player.addEventListener("change", () => this.draw());
    this.draw();
  }

  draw() {
    const { workspace } = this;
    this.element.hidden = !workspace.plan || !workspace.takes.length || Boolean(workspace.scoring);
    if (this.element.hidden) return;
    const canPart = Boolean(this.takes.base);
    const tick = make("input", { type: "checkbox", "data-key": "from-here", disabled: !canPart });
    tick.checked = this.isFromHere && canPart;
    tick.addEventListener("change", () => (this.isFromHere = tick.checked));
    refill(
      this.element,
      WISHES.map(([name, label, change]) =>
        make(
          "button",
          { type: "button", class: "chip", "data-key": `wish-${name}`, onclick: () => this.#wish(change) },
          label,
        ),
      ),
      make(
        "label",
        { class: "tick small", title: canPart ? "The music before the playhead stays" : "The voice of this take cannot change a part alone" },
        tick,
        make("span", {}, "only from here on"),
      ),
    );
  }

  #wish(change) {
    const { workspace, player, takes } = this;
    const from = this.isFromHere && takes.base ? player.time : 0;
    const wanted = (section) => !section.locked && section.end > from + 0.25;
    if (!workspace.plan.sections.some(wanted)) return notify("All sections there are locked; unlock one first.", "fault");
    const edited = (plan) => ({ ...plan, sections: plan.sections.map((section) => (wanted(section) ? change(section) : section)) });
    if (JSON.stringify(edited(workspace.plan)) !== JSON.stringify(workspace.plan)) workspace.edit(edited);
    if (!from) return this.scoring.score();
    const job = { kind: "redo", take: takes.base.id, start: from, end: workspace.duration };
    return this.scoring.start(job, Math.max(from - 2, 0));
  }
}
