// A part of the music that is marked on its lane, wherever it begins and ends: to be written again, or heard again and
// again. Marked by dragging over the music, or with I and the arrow keys; its ends are dragged like borders.
import { draggable } from "./drag.js";
import { announce, button, make } from "./elements.js";
import { LANES } from "./paint.js";
import { clamp, clockText, onFrame, spokenTime } from "./units.js";
import { say, tell } from "./words.js";

const USUAL = 4; // s of a part that is marked by a key
const SHORTEST = 0.5; // s, as the server wants it
const SNAP = 7; // px from a cut or border within which an end is drawn to it; Alt switches that off
const FAR = 4; // px that a press must move before it marks

export class Part {
  constructor(timeline, workspace, player, takes) {
    Object.assign(this, { timeline, workspace, player, takes });
    this.edges = ["start", "end"].map((name) => this.#makeEdge(name));
    this.again = button("", { kind: "primary small", shape: "redo", "data-key": "again-part", onclick: () => this.redo() });
    this.close = button("Take the mark away (Esc)", { shape: "close", bare: true, "data-key": "unmark", onclick: () => this.clear() });
    this.tools = make("div", { class: "part-tools", role: "group", "aria-label": "Marked part" }, this.again, this.close);
    this.element = make("div", { class: "part", hidden: true }, this.edges);
    Object.assign(this.element.style, { top: `${LANES.wave.top}px`, height: `${LANES.wave.height}px` });
    this.element.append(this.tools);
    timeline.spread.insertBefore(this.element, timeline.playhead);
    this.button = button("Mark (I)", {
      shape: "mark",
      kind: "secondary",
      title: "Mark a part of the music to write it again: drag over the music, or press I and move the ends (I)",
      "aria-pressed": "false",
      onclick: () => this.toggle(),
    });
    timeline.mark = (from, to, event, isLast) => this.#drag(from, to, event, isLast);
    workspace.on("project plan", () => this.draw());
    workspace.on("states", () => this.draw());
    player.addEventListener("change", () => this.draw());
  }

  get span() {
    return this.workspace.span;
  }

  /** Mark from the playhead on, or take the mark away. */
  toggle() {
    if (!this.workspace.plan) return;
    if (this.span) return this.clear();
    const { duration } = this.workspace;
    const start = clamp(this.player.frameTime, 0, Math.max(duration - USUAL, 0));
    this.set(start, start + USUAL, true);
    this.timeline.reveal(this.span.end);
    this.edges[1].focus({ preventScroll: true });
  }

  clear() {
    if (!this.span) return;
    const hadFocus = this.element.contains(document.activeElement);
    this.workspace.mark(null);
    if (hadFocus) this.timeline.scroll.focus({ preventScroll: true });
    announce(say("The mark is gone."));
  }

  /** Ends on frames, in order, and far enough from each other. isLast: it is told. */
  set(start, end, isLast = false) {
    const { fps, duration } = this.workspace;
    const [low, high] = [Math.min(start, end), Math.max(start, end)];
    const first = clamp(onFrame(low, fps), 0, Math.max(duration - SHORTEST, 0));
    this.workspace.mark({ start: first, end: clamp(onFrame(high, fps), first + SHORTEST, duration) });
    if (isLast) announce(tell("Marked from {0} to {1}.", ...this.#texts(spokenTime)));
  }

  #texts(text) {
    return [this.span.start, this.span.end].map((time) => text(time, 1));
  }

  #snapped(time, event) {
    const { analysis, plan } = this.workspace;
    if (event.altKey) return time;
    const marks = [...(analysis?.cuts ?? []), ...plan.sections.map((section) => section.end), 0];
    const nearest = marks.reduce((best, mark) => (Math.abs(mark - time) < Math.abs(best - time) ? mark : best), Infinity);
    return Math.abs(nearest - time) * this.timeline.scale < SNAP ? nearest : time;
  }

  /** A press on the music that moves marks; returns whether it does. */
  #drag(from, to, event, isLast) {
    if (!this.workspace.plan || (Math.abs(to - from) * this.timeline.scale < FAR && !this.isMarking)) return false;
    this.isMarking = !isLast;
    this.set(this.#snapped(from, event), this.#snapped(to, event), isLast);
    return true;
  }

  /** Write the marked part again in the take that is heard. */
  redo() {
    const { start, end } = this.span;
    this.takes.redoSpan(start, end);
  }

  draw() {
    const { span, timeline } = this;
    this.element.hidden = !span || !this.workspace.plan;
    this.button.setAttribute("aria-pressed", String(!this.element.hidden));
    if (this.element.hidden) return;
    const wide = (span.end - span.start) * timeline.scale;
    this.element.style.left = `${timeline.toX(span.start)}px`;
    this.element.style.width = `${wide}px`;
    const [from, to] = this.#texts(clockText);
    this.again.lastChild.textContent = tell("Redo {0} to {1}", from, to);
    this.again.disabled = Boolean(this.workspace.scoring) || !this.takes.base;
    this.again.title = this.takes.base ? tell("In {0}, the rest stays as it is (R)", this.takes.base.name) : say("Score the video first; then any part can be written again.");
    // Whole on the timeline, wherever the part lies.
    const left = timeline.toX(span.start);
    const room = timeline.spread.clientWidth - this.tools.offsetWidth - 6;
    this.tools.style.left = `${Math.max(Math.min(left + 10, room), 6) - left}px`;
    this.edges.forEach((edge, index) => {
      const time = index ? span.end : span.start;
      edge.setAttribute("aria-valuemin", (index ? span.start + SHORTEST : 0).toFixed(3));
      edge.setAttribute("aria-valuemax", (index ? this.workspace.duration : span.end - SHORTEST).toFixed(3));
      edge.setAttribute("aria-valuenow", time.toFixed(3));
      edge.setAttribute("aria-valuetext", spokenTime(time));
      edge.title = clockText(time);
    });
  }

  #makeEdge(name) {
    const label = name === "start" ? "Beginning of the marked part" : "End of the marked part";
    const edge = make("div", { class: `edge ${name}`, role: "slider", tabindex: "0", "aria-label": label });
    const move = (time, isLast) => {
      const { start, end } = this.span;
      const limit = name === "start" ? Math.min(time, end - SHORTEST) : Math.max(time, start + SHORTEST);
      this.set(name === "start" ? limit : start, name === "start" ? end : limit, isLast);
    };
    draggable(this.timeline, edge, {
      grab: () => this.span[name],
      move: (from, event, start, isLast) => {
        const passed = event.clientX - start.clientX + this.timeline.scroll.scrollLeft - start.scrollLeft;
        move(this.#snapped(from + passed / this.timeline.scale, event), isLast);
      },
    });
    edge.addEventListener("keydown", (event) => {
      const frames = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1 }[event.key];
      const seconds = { PageUp: 1, PageDown: -1 }[event.key];
      if (event.ctrlKey || event.metaKey || event.altKey || !(frames || seconds)) return;
      move(this.span[name] + (seconds ?? (frames * (event.shiftKey ? 10 : 1)) / this.workspace.fps), false);
      event.preventDefault();
      event.stopPropagation();
    });
    return edge;
  }
}
