// The handles on the timeline: sections, the borders between them, their energy, and hits. Each is dragged by mouse,
// pen or finger and moved with the arrow keys; each tells its value to screen readers as a slider.
import { draggable } from "./drag.js";
import { make } from "./elements.js";
import { HEAD } from "./paint.js";
import * as plans from "./plan.js";
import { clamp, clockText, spokenTime } from "./units.js";
import { say, tell } from "./words.js";

const LIT = 0.35; // s that an accent stays lit
const SNAP = 7; // px from a cut within which a border or hit is drawn to it; Alt switches that off

/** Keep exactly `n` elements in a lane; the rest of a lane's drawing only changes them, so focus and drags survive. */
function keep(lane, selector, n, makeOne) {
  const list = [...lane.querySelectorAll(`:scope > ${selector}`)];
  while (list.length > n) list.pop().remove();
  while (list.length < n) {
    list.push(makeOne(list.length));
    lane.append(list.at(-1));
  }
  return list;
}

export class Lanes {
  constructor(timeline, workspace, player) {
    Object.assign(this, { timeline, workspace, player });
    workspace.on("selection", () => this.draw());
    player.addEventListener("time", () => this.#light());
    player.addEventListener("change", () => this.#light());
  }

  /** Accents light up as they are met. */
  #light() {
    const { player } = this;
    const hits = this.workspace.plan?.hits ?? [];
    const time = player.isPlaying ? player.time : -1;
    const lit = time < 0 ? -1 : hits.findLastIndex((hit) => hit.time <= time && hit.time > time - LIT);
    if (lit === this.lit) return;
    const elements = this.timeline.hits.children;
    elements[this.lit]?.classList.remove("lit");
    elements[lit]?.classList.add("lit");
    this.lit = lit;
  }

  draw() {
    const { plan } = this.workspace;
    this.#drawSections(plan?.sections ?? []);
    this.#drawBorders(plan?.sections ?? []);
    this.#drawHits(plan?.hits ?? []);
  }

  #isSelected(kind, index) {
    const { selection } = this.workspace;
    return selection?.kind === kind && selection.index === index;
  }

  #drawSections(sections) {
    const elements = keep(this.timeline.sections, ".section", sections.length, (index) => this.#makeSection(index));
    elements.forEach((element, index) => {
      const section = sections[index];
      const [left, right] = [this.timeline.toX(section.start), this.timeline.toX(section.end)];
      element.style.left = `${left}px`;
      element.style.width = `${Math.max(right - left - 1, 1)}px`;
      element.style.setProperty("--energy", section.energy);
      element.classList.toggle("selected", this.#isSelected("section", index));
      element.classList.toggle("locked", section.locked);
      const words = plans.character(section, this.workspace.plan);
      const [choose, level] = element.children;
      const percent = Math.round(section.energy * 100);
      const tempo = section.tempo ? `${Math.round(section.tempo)} BPM` : "";
      const [title, detail] = choose.children;
      title.textContent = `${index + 1} ${words}`;
      detail.textContent = [section.locked ? say("locked") : "", tempo, tell("energy {0} %", percent)].filter(Boolean).join(" · ");
      choose.setAttribute("aria-pressed", this.#isSelected("section", index));
      choose.setAttribute(
        "aria-label",
        tell("Section {0}, {1} to {2}, {3}, {4}", index + 1, spokenTime(section.start), spokenTime(section.end), words, detail.textContent),
      );
      level.setAttribute("aria-valuenow", percent);
      level.setAttribute("aria-valuetext", tell("{0} percent", percent));
      level.setAttribute("aria-label", tell("Energy of section {0}", index + 1));
      level.setAttribute("aria-disabled", section.locked);
    });
  }

  #makeSection(index) {
    const choose = make(
      "button",
      { type: "button", class: "choose", onclick: () => this.workspace.select({ kind: "section", index }) },
      make("span", { class: "words" }),
      make("span", { class: "detail" }),
    );
    const level = make("div", {
      class: "level",
      role: "slider",
      tabindex: "0",
      "aria-valuemin": "0",
      "aria-valuemax": "100",
      "aria-orientation": "vertical",
    });
    const set = (value, isLast) => {
      const energy = Number(clamp(value, 0, 1).toFixed(2));
      this.#apply((plan) => plans.setSection(plan, index, { energy }), isLast, `energy ${index}`);
    };
    draggable(this.timeline, level, {
      ...this.#holding(),
      grab: () => (this.#hold(), this.workspace.select({ kind: "section", index }), this.workspace.plan.sections[index].energy),
      move: (from, event, start, isLast) =>
        set(from - (event.clientY - start.clientY) / (level.parentElement.clientHeight - HEAD), isLast),
    });
    this.#keys(level, (steps) => set(this.workspace.plan.sections[index].energy + steps * 0.05, true), { far: 2 });
    return make("div", { class: "section" }, choose, level);
  }

  #drawBorders(sections) {
    const elements = keep(this.timeline.sections, ".border", Math.max(sections.length - 1, 0), (index) =>
      this.#makeBorder(index),
    );
    elements.forEach((element, index) => {
      const time = sections[index].end;
      const [low, high] = plans.borderRange({ sections }, index);
      element.style.left = `${this.timeline.toX(time)}px`;
      this.#describe(element, tell("Border between sections {0} and {1}", index + 1, index + 2), time, low, high);
      element.setAttribute("aria-disabled", sections[index].locked || sections[index + 1].locked);
    });
  }

  #makeBorder(index) {
    const element = make("div", { class: "border", role: "slider", tabindex: "0" });
    const set = (time, isLast) =>
      this.#apply((plan) => plans.moveBorder(plan, index, time, this.workspace.fps), isLast, `border ${index}`);
    draggable(this.timeline, element, {
      ...this.#holding(),
      grab: () => (this.#hold(), this.workspace.plan.sections[index].end),
      move: (from, event, start, isLast) => set(this.#snapped(from, event, start), isLast),
    });
    this.#keys(element, (steps) => set(this.workspace.plan.sections[index].end + steps / this.workspace.fps, true), {
      far: 10,
    });
    return element;
  }

  #drawHits(hits) {
    const elements = keep(this.timeline.hits, ".hit", hits.length, (index) => this.#makeHit(index));
    const chosen = hits.findIndex((_, index) => this.#isSelected("hit", index));
    elements.forEach((element, index) => {
      const hit = hits[index];
      element.style.left = `${this.timeline.toX(hit.time)}px`;
      element.style.setProperty("--strength", hit.strength);
      element.classList.toggle("own", hit.source === "user");
      element.classList.toggle("selected", index === chosen);
      // One stop for the tab key; up and down go from hit to hit.
      element.tabIndex = index === Math.max(chosen, 0) ? 0 : -1;
      const whose = hit.source === "user" ? "Your accent {0} of {1}" : "Accent from the picture {0} of {1}";
      this.#describe(element, tell(whose, index + 1, hits.length), hit.time, 0, this.workspace.duration);
    });
  }

  #makeHit(index) {
    const element = make("div", { class: "hit", role: "slider" });
    element.addEventListener(
      "focus",
      () => this.#isSelected("hit", index) || this.workspace.select({ kind: "hit", index }),
    );
    const set = (time, isLast) => {
      const { fps } = this.workspace;
      let moved = index;
      this.#apply(
        (plan) => {
          const next = plans.moveHit(plan, index, time, fps);
          moved = next.hits.findIndex((hit) => !plan.hits.includes(hit));
          return next;
        },
        isLast,
        `hit ${index}`,
      );
      return moved;
    };
    draggable(this.timeline, element, {
      ...this.#holding(),
      grab: () => (this.#hold(), this.choose(index, false), this.workspace.plan.hits[index].time),
      move: (from, event, start, isLast) => set(this.#snapped(from, event, start), isLast),
    });
    this.#keys(
      element,
      (steps) => this.choose(set(this.workspace.plan.hits[index].time + steps / this.workspace.fps, true)),
      {
        far: 10,
        isSideways: true,
        other: (step) => this.choose(clamp(index + step, 0, this.workspace.plan.hits.length - 1)),
      },
    );
    return element;
  }

  /** Select a hit, give it the keyboard and show its frame. */
  choose(index, isShown = true) {
    this.workspace.select({ kind: "hit", index });
    const { time } = this.workspace.plan.hits[index];
    this.timeline.hits.querySelectorAll(".hit")[index]?.focus({ preventScroll: true });
    if (!isShown) return;
    if (!this.player.isPlaying) this.player.seek(time + 0.002);
    this.timeline.reveal(time);
  }

  #describe(element, label, time, low, high) {
    element.setAttribute("aria-label", label);
    element.setAttribute("aria-valuemin", low.toFixed(3));
    element.setAttribute("aria-valuemax", high.toFixed(3));
    element.setAttribute("aria-valuenow", time.toFixed(3));
    element.setAttribute("aria-valuetext", spokenTime(time));
    element.title = clockText(time);
  }

  #snapped(from, event, start) {
    const time =
      from + (event.clientX - start.clientX + this.timeline.scroll.scrollLeft - start.scrollLeft) / this.timeline.scale;
    const { analysis } = this.workspace;
    if (event.altKey || !analysis) return time;
    const marks = [...analysis.cuts, this.player.time];
    const nearest = marks.reduce(
      (best, mark) => (Math.abs(mark - time) < Math.abs(best - time) ? mark : best),
      Infinity,
    );
    return Math.abs(nearest - time) * this.timeline.scale < SNAP ? nearest : time;
  }

  #apply(change, isLast, kind) {
    if (isLast) return this.workspace.edit(change, kind);
    try {
      this.workspace.preview(change(this.held));
    } catch {
      // What cannot be done is said once, when it is let go.
    }
  }

  /** The plan as it is when something is grabbed; what is dragged is shown on top of it. */
  #hold() {
    this.held = this.workspace.plan;
  }

  #holding() {
    return { cancel: () => this.workspace.preview(this.held) };
  }

  #keys(element, shift, { far, isSideways = false, other = null }) {
    element.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      const ahead = {
        ArrowRight: 1,
        ArrowLeft: -1,
        PageUp: far,
        PageDown: -far,
        ...(isSideways ? {} : { ArrowUp: 1, ArrowDown: -1 }),
      };
      const step = ahead[event.key] * (event.shiftKey ? far : 1);
      if (step) shift(step);
      else if (other && (event.key === "ArrowUp" || event.key === "ArrowDown")) other(event.key === "ArrowUp" ? -1 : 1);
      else return;
      event.preventDefault();
      event.stopPropagation();
    });
  }
}
