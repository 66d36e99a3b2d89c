// Two lanes of a recording: the result, in the timeline's own seconds, and below it the whole recording with its bar
// lines, phrases, sung and kept spans; ribbons lead from each stretch that is heard to where it comes from.
import { isMade, nearest, range, retime, rollTo, sourceAt, heardAt, spanOf, stretches } from "./arrangement.js";
import { draggable, withoutFling } from "./drag.js";
import { make } from "./elements.js";
import { clamp, clockText, spokenTime } from "./units.js";
import { say, tell } from "./words.js";

const RESULT = { top: 4, height: 32 };
const SOURCE = { top: 78, height: 52 };
const PHRASE = 4; // bars
const COLOURS = 5; // of stretches, in joins.css
const SPACE = "http://www.w3.org/2000/svg";

const draw = (tag, attributes) => {
  const element = document.createElementNS(SPACE, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
};
const box = (kind, [x1, x2], { top, height }) =>
  draw("rect", { class: kind, x: x1.toFixed(1), y: top, width: Math.max(x2 - x1, 1).toFixed(1), height, rx: 3 });

export class JoinLanes {
  selected = 0; // number of the join among those that are made
  span = null; // {start, end} of the recording that is chosen
  dragged = null; // the arrangement as it looks while a join is dragged

  /** editor: tells what is shown and takes what is changed (joins.js). */
  constructor(editor, timeline, player) {
    Object.assign(this, { editor, timeline, player });
    this.picture = draw("svg", { class: "drawing", "aria-hidden": "true", focusable: "false" });
    this.result = make("div", { class: "lane result", role: "group", "aria-label": "Result" });
    this.source = make("div", { class: "lane recording", role: "group", "aria-label": "The recording" });
    this.heads = [RESULT, SOURCE].map(() => make("i", { class: "head" }));
    this.view = make("div", { class: "view" }, this.picture, this.result, this.source, this.heads);
    const name = (text, kind) => make("span", { class: kind }, text);
    const names = make("div", { class: "names", "aria-hidden": "true" }, name("Result", "result"), name("Source", "recording"));
    this.element = make("div", { class: "tracks" }, names, this.view);
    this.lines = make("div", { class: "lane join-lines", "aria-hidden": "true" });
    timeline.spread.append(this.lines);
    timeline.scroll.addEventListener("scroll", () => {
      this.isDue ||= requestAnimationFrame(() => ((this.isDue = 0), this.draw()));
    });
    player.addEventListener("time", () => this.#point());
    this.#choosing();
  }

  get #width() {
    return this.view.clientWidth;
  }

  #fromTime(time) {
    return this.timeline.toX(time) - this.timeline.scroll.scrollLeft;
  }

  #fromSource(source) {
    return (source / this.editor.recording.duration) * this.#width;
  }

  #toSource(event) {
    const { left } = this.view.getBoundingClientRect();
    return clamp((event.clientX - left) / this.#width, 0, 1) * this.editor.recording.duration;
  }

  /** Draw what the editor has, or what is dragged in its place: news of a take may come in the middle of that. */
  draw() {
    const { recording } = this.editor;
    const shown = this.dragged ?? this.editor.now;
    this.lines.hidden = !recording;
    if (!recording || !this.#width) return;
    this.picture.setAttribute("width", this.#width);
    this.picture.setAttribute("height", SOURCE.top + SOURCE.height + 6);
    const pieces = stretches(shown.parts);
    this.picture.replaceChildren(
      ...this.#ground(recording, shown),
      ...pieces.flatMap((piece, i) => this.#stretch(piece, i)),
      ...this.#details(recording, shown),
    );
    this.#drawJoins(shown);
    this.#drawSpan();
    this.#point();
  }

  #stretch(piece, index) {
    const kind = `of-${index % COLOURS}`;
    const heard = [piece.start, piece.end].map((time) => this.#fromTime(time));
    const from = [piece.source_start, piece.source_end].map((time) => this.#fromSource(time));
    const [top, bottom] = [RESULT.top + RESULT.height, SOURCE.top];
    const middle = (top + bottom) / 2;
    const ribbon = `M${heard[0]} ${top}C${heard[0]} ${middle} ${from[0]} ${middle} ${from[0]} ${bottom}L${from[1]} ${bottom}C${from[1]} ${middle} ${heard[1]} ${middle} ${heard[1]} ${top}Z`;
    const found = [draw("path", { class: `ribbon ${kind}`, d: ribbon }), box(`used ${kind}`, from, SOURCE), box(`part ${kind}`, [heard[0] + 0.5, heard[1] - 0.5], RESULT)];
    if (heard[1] - heard[0] > 96) {
      const left = Math.max(heard[0], 0) + (index ? 18 : 8);
      const text = draw("text", { class: "said", x: left, y: RESULT.top + RESULT.height / 2 });
      text.textContent = `${clockText(piece.source_start, 1)} – ${clockText(piece.source_end, 1)}`;
      found.push(text);
    }
    return found;
  }

  #ground(recording, { kept, forbidden }) {
    return [
      box("ground", [0, this.#width], SOURCE),
      box("ground", [0, this.#width], RESULT),
      ...forbidden.map((span) => box("forbidden", this.#ends(span), SOURCE)),
      ...kept.map((span) => box("kept", this.#ends(span), SOURCE)),
      ...recording.sung.map((span) => box("sung", this.#ends(span), { top: SOURCE.top + SOURCE.height - 4, height: 4 })),
    ];
  }

  #ends({ start, end }) {
    return [this.#fromSource(start), this.#fromSource(end)];
  }

  /** Loudness, bar lines with phrases longer, beats where there is room, and the bar lines of the result. */
  #details(recording, { parts }) {
    const { levels, marks, beats } = recording;
    const middle = SOURCE.top + SOURCE.height / 2;
    const at = (i) => ((i + 0.5) / levels.length) * this.#width;
    const edge = (sign) => levels.map((level, i) => `${at(i).toFixed(1)} ${(middle + sign * level * 20).toFixed(1)}`);
    const wave = `M${[...edge(-1), ...edge(1).reverse()].join("L")}Z`;
    const room = this.#width / Math.max(marks.length, 1);
    const shown = marks.map((mark, i) => [mark, i % PHRASE === 0]).filter(([, isPhrase]) => isPhrase || room > 5);
    const bars = shown.map(([mark, isPhrase]) => {
      const x = this.#fromSource(mark).toFixed(1);
      return `M${x} ${SOURCE.top}v${isPhrase ? 9 : 4}M${x} ${SOURCE.top + SOURCE.height}v${isPhrase ? -9 : -4}`;
    });
    if (this.#width > 5 * beats.length)
      bars.push(...beats.map((beat) => `M${this.#fromSource(beat).toFixed(1)} ${SOURCE.top + SOURCE.height}v-2`));
    const heard = marks.flatMap((mark) =>
      parts
        .filter((part) => part.source_start <= mark + 1e-3 && mark < part.source_end)
        .map((part) => this.#fromTime(part.start + (mark - part.source_start) / part.rate)),
    );
    const ticks = heard.filter((x) => x > 0 && x < this.#width).map((x) => `M${x.toFixed(1)} ${RESULT.top}v6`);
    return [draw("path", { class: "levels", d: wave }), draw("path", { class: "bars", d: [...bars, ...ticks].join("") })];
  }

  /** Handles on the result, and a line through the music above them. */
  #drawJoins(shown) {
    const made = shown.joins.filter(isMade);
    this.selected = clamp(this.selected, 0, Math.max(made.length - 1, 0));
    for (const [lane, makeOne] of [
      [this.result, (index) => this.#makeJoin(index)],
      [this.lines, () => make("i", {})],
    ]) {
      while (lane.children.length > made.length) lane.lastChild.remove();
      while (lane.children.length < made.length) lane.append(makeOne(lane.children.length));
    }
    made.forEach((join, index) => {
      const [handle, line] = [this.result.children[index], this.lines.children[index]];
      const x = this.#fromTime(join.time);
      handle.style.left = `${x}px`;
      handle.hidden = x < -1 || x > this.#width + 1;
      line.style.left = `${this.timeline.toX(join.time)}px`;
      handle.classList.toggle("locked", join.state === "locked");
      handle.classList.toggle("picked", index === this.selected);
      handle.tabIndex = index === this.selected ? 0 : -1;
      const [low, high] = range(shown.joins, join, this.editor.duration);
      const state = join.state === "locked" ? "locked" : "free";
      const name = tell("Join {0} of {1}", index + 1, made.length);
      handle.setAttribute("aria-label", name);
      handle.setAttribute("aria-valuemin", Math.min(low, join.time).toFixed(2));
      handle.setAttribute("aria-valuemax", Math.max(high, join.time).toFixed(2));
      handle.setAttribute("aria-valuenow", join.time.toFixed(2));
      handle.setAttribute(
        "aria-valuetext",
        tell("{0}, from {1} to {2} of the recording, {3}", spokenTime(join.time), spokenTime(join.source_from), spokenTime(join.source_to), say(state)),
      );
      handle.title = `${name}: ${clockText(join.time)}, ${clockText(join.source_from, 1)} → ${clockText(join.source_to, 1)} (${say(state)})`;
    });
  }

  /** The join that is chosen, null where there is none. */
  get join() {
    return this.editor.now?.joins.filter(isMade)[this.selected] ?? null;
  }

  #makeJoin(index) {
    const handle = make("div", {
      class: "join",
      role: "slider",
      "aria-keyshortcuts": "ArrowLeft ArrowRight Control+ArrowLeft Control+ArrowRight Enter Delete",
    });
    handle.addEventListener("focus", () => this.choose(index, false));
    const moved = (join, event, start) => {
      const { editor, timeline } = this;
      const shift = event.clientX - start.clientX + timeline.scroll.scrollLeft - start.scrollLeft;
      const time = join.time + shift / timeline.scale;
      return event.altKey
        ? retime(editor.now, editor.duration, join, time)
        : rollTo(editor.now, editor.recording, editor.duration, join, time);
    };
    draggable(this.timeline, handle, {
      grab: () => (this.choose(index, false), this.join),
      cancel: () => ((this.dragged = null), this.draw()),
      move: (join, event, start, isLast) => {
        if (!this.editor.isFree || this.editor.isAsking) return;
        const other = moved(join, event, start);
        if (isLast) return other !== join && this.editor.replace(join, other); // `cancel` has drawn what was before
        this.dragged = this.#moved(join, other);
        this.draw();
      },
    });
    handle.addEventListener("keydown", (event) => this.#key(event));
    return handle;
  }

  /** The arrangement as it looks while a join is dragged; what is let go is asked of the server. */
  #moved(join, other) {
    const { now } = this.editor;
    const parts = now.parts.map((part) => ({ ...part }));
    const after = parts.find((part) => Math.abs(part.start - join.time) < 0.02);
    const before = parts[parts.indexOf(after) - 1];
    if (before) {
      Object.assign(before, { end: other.time, source_end: other.source_from });
      Object.assign(after, { start: other.time, source_start: other.source_to });
    }
    return { ...now, parts, joins: now.joins.map((one) => (one === join ? other : one)) };
  }

  #key(event) {
    const { editor } = this;
    const step = { ArrowRight: 1, ArrowLeft: -1, PageUp: PHRASE, PageDown: -PHRASE }[event.key];
    if (event.altKey || event.metaKey) return;
    if (step && event.ctrlKey) editor.nudge(step);
    else if (step) editor.step(step * (event.shiftKey && Math.abs(step) === 1 ? PHRASE : 1));
    else if (event.key === "ArrowDown" || event.key === "ArrowUp") this.choose(this.selected + (event.key === "ArrowDown" ? 1 : -1));
    else if (event.key === "Enter") editor.lock();
    else if (event.key === "Delete" || event.key === "Backspace") editor.refuse();
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  /** Choose a join by its number; hasFocus: give it the keyboard. */
  choose(index, hasFocus = true) {
    const n = this.result.children.length;
    const next = clamp(index, 0, Math.max(n - 1, 0));
    const isOther = next !== this.selected;
    this.selected = next;
    if (isOther) this.draw();
    if (isOther) this.editor.tell();
    if (hasFocus) this.result.children[next]?.focus({ preventScroll: true });
  }

  /** Dragging over the recording chooses a span of it; a press goes to where that moment is heard. */
  #choosing() {
    let from = null;
    this.source.addEventListener("pointerdown", (event) => {
      if (event.button !== 0 || event.target.closest(".edge")) return;
      from = { x: event.clientX, source: this.#toSource(event), hasMoved: false };
      this.source.setPointerCapture(event.pointerId);
    });
    this.source.addEventListener("pointermove", (event) => {
      if (!from) return;
      from.hasMoved ||= Math.abs(event.clientX - from.x) > 4;
      if (from.hasMoved) this.chooseSpan(spanOf(this.editor.recording.marks, from.source, this.#toSource(event)));
    });
    this.source.addEventListener("pointerup", () => {
      const heard = from && !from.hasMoved ? heardAt(this.editor.now.parts, from.source) : null;
      if (heard !== null) this.player.seek(heard);
      from = null;
    });
    this.source.addEventListener("pointercancel", () => (from = null));
    withoutFling(this.source, () => from?.hasMoved);
  }

  chooseSpan(span) {
    this.span = span;
    this.#drawSpan();
    this.editor.tell();
  }

  /** A span to begin with: four bars from where the recording is now. */
  startSpan() {
    const { marks } = this.editor.recording;
    const now = sourceAt(this.editor.now.parts, this.player.time) ?? 0;
    const first = Math.min(nearest(marks, now), Math.max(marks.length - 1 - PHRASE, 0));
    this.chooseSpan({ start: marks[first], end: marks[Math.min(first + PHRASE, marks.length - 1)] });
    this.source.querySelector(".edge")?.focus({ preventScroll: true });
  }

  #drawSpan() {
    const { span } = this;
    if (!span) return this.source.replaceChildren();
    if (!this.source.children.length)
      this.source.append(make("div", { class: "chosen-span" }), this.#makeEdge("start"), this.#makeEdge("end"));
    const [mark, ...edges] = this.source.children;
    const [left, right] = this.#ends(span);
    mark.style.left = `${left}px`;
    mark.style.width = `${right - left}px`;
    const { duration } = this.editor.recording;
    edges.forEach((edge, index) => {
      const [time, low, high] = index ? [span.end, span.start, duration] : [span.start, 0, span.end];
      edge.style.left = `${index ? right : left}px`;
      edge.setAttribute("aria-valuemin", low.toFixed(2));
      edge.setAttribute("aria-valuemax", high.toFixed(2));
      edge.setAttribute("aria-valuenow", time.toFixed(2));
      edge.setAttribute("aria-valuetext", spokenTime(time));
    });
  }

  #makeEdge(name) {
    const label = name === "start" ? "Start of the span" : "End of the span";
    const edge = make("div", { class: "edge", role: "slider", tabindex: "0", "aria-label": label });
    const set = (source) => {
      const { marks } = this.editor.recording;
      const i = nearest(marks, source);
      const other = nearest(marks, name === "start" ? this.span.end : this.span.start);
      const value = marks[name === "start" ? Math.min(i, other - 1) : Math.max(i, other + 1)];
      if (value !== undefined) this.chooseSpan({ ...this.span, [name]: value });
    };
    draggable(this.timeline, edge, { grab: () => null, move: (from, event) => set(this.#toSource(event)) });
    edge.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1, PageUp: PHRASE, PageDown: -PHRASE }[event.key];
      if (!step && event.key !== "Escape") return;
      event.preventDefault();
      event.stopPropagation();
      const { marks } = this.editor.recording;
      if (!step) return this.editor.dropSpan();
      set(marks[clamp(nearest(marks, this.span[name]) + step, 0, marks.length - 1)]);
    });
    return edge;
  }

  /** Where we are, in both lanes. */
  #point() {
    const { recording, now } = this.editor;
    if (!recording || this.element.closest("[hidden]")) return;
    const source = sourceAt(now.parts, this.player.time);
    const places = [this.#fromTime(this.player.time), source === null ? -9 : this.#fromSource(source)];
    places.forEach((x, i) => (this.heads[i].style.transform = `translateX(${x.toFixed(1)}px)`));
  }
}
