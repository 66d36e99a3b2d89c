// How a recording was cut to the picture, and how it is cut otherwise: joins are moved, locked or refused, spans of the
// recording kept or left out, the next best arrangement is shown. Every change is worked out by the server at once and
// shown; it is heard once a take is made of it.
import * as api from "./api.js";
import { isMade, retime, roll } from "./arrangement.js";
import { announce, button, byId, make, notify, refill } from "./elements.js";
import { JoinLanes } from "./joinlanes.js";
import { clockText } from "./units.js";
import { say, tell } from "./words.js";

const N_ARRANGEMENTS = 12; // that the fitter offers of one recording; then they begin again

/** What is kept of a take while its joins are edited: `steps` of {arrangement, limits}, the last one is shown. */
class Draft {
  constructor(found) {
    this.recording = found.recording;
    this.number = found.number;
    this.steps = [{ arrangement: found, limits: null }];
  }

  get last() {
    return this.steps.at(-1);
  }
}

export class Joins {
  #drafts = new Map(); // take id → Draft
  #line = Promise.resolve(); // changes are worked out one after the other
  isAsking = false;
  draft = null;
  take = null;

  constructor(workspace, timeline, listening, scoring) {
    Object.assign(this, { workspace, timeline, listening, scoring });
    this.lanes = new JoinLanes(this, timeline, listening.player);
    this.element = make("section", { class: "joins", "aria-label": "Joins of the recording", hidden: true }, this.#head(), this.lanes.element, this.#foot());
    byId("timeline").querySelector(".legend").before(this.element);
    workspace.on("project states", () => this.follow());
    listening.player.addEventListener("change", () => this.follow());
  }

  get now() {
    return this.draft?.last.arrangement ?? null;
  }

  get recording() {
    return this.draft?.recording ?? null;
  }

  get duration() {
    return this.workspace.duration;
  }

  /** Whether something can be changed now, or as soon as what is asked is answered. */
  get isFree() {
    return Boolean(this.draft) && !this.workspace.scoring && this.take?.state === "done";
  }

  #head() {
    const act = (label, shape, onclick, title = null) => button(label, { shape, kind: "secondary", onclick, title });
    this.title = make("b", { class: "ellipsis" });
    this.state = make("span", { class: "quiet", role: "status" });
    this.buttons = {
      earlier: button("Join a bar earlier", { shape: "back", bare: true, onclick: () => this.step(-1) }),
      later: button("Join a bar later", { shape: "forward", bare: true, onclick: () => this.step(1) }),
      lock: act("Lock the join", "lock", () => this.lock(), "It stays as it is (Enter)"),
      refuse: act("Refuse the join", "close", () => this.refuse(), "It is never made again (Del)"),
      span: act("Choose a span", "fit", () => this.lanes.startSpan(), "Keep a span of the recording whole, or leave it out"),
      next: act("Next best arrangement", "loop", () => this.next()),
      back: button("One change back", { shape: "undo", bare: true, onclick: () => this.back() }),
      make: button("Make this take", { kind: "primary", onclick: () => this.makeTake() }),
    };
    const { make: last, ...tools } = this.buttons;
    return make(
      "div",
      { class: "joins-head" },
      make("p", { class: "joins-name" }, this.title, this.state),
      make("div", { class: "group wrap", role: "toolbar", "aria-label": "Change the joins" }, Object.values(tools), last),
    );
  }

  #foot() {
    this.spans = make("div", { class: "row wrap span-tools" });
    this.chips = make("ul", { class: "chips decided", "aria-label": "What you have decided" });
    this.facts = make("p", { class: "help" });
    this.credit = make("p", { class: "help credit-line" });
    const keys = "Arrow keys move a join from bar line to bar line, with Ctrl by a frame; Enter locks it, Delete refuses it. Drag over the recording to choose a span.";
    return make("div", { class: "joins-foot" }, this.spans, this.chips, this.facts, make("p", { class: "help keys-line" }, keys), this.credit);
  }

  /** Show the take that is heard, or was heard last, where it plays a recording. */
  async follow() {
    const { workspace, timeline, listening } = this;
    const take = listening.heard ?? workspace.take(timeline.take) ?? workspace.takes.findLast((one) => one.state === "done") ?? null;
    const isOther = take?.id !== this.take?.id;
    this.take = take && { ...take };
    // While a take is made of what is shown, that stays on the screen.
    if (take?.kind === "arrange" && take.state !== "done" && this.draft) return this.draw();
    if (isOther) this.lanes.span = this.lanes.dragged = this.fault = null;
    const isShown = Boolean(take?.has_joins) && take.state === "done";
    this.draft = isShown ? (this.#drafts.get(take.id) ?? null) : null;
    if (isShown && !this.draft && !this.fault) await this.#load(take);
    this.draw();
  }

  async #load(take) {
    if (this.loading === take.id) return;
    this.loading = take.id;
    let [draft, fault] = [null, null];
    try {
      draft = new Draft(await api.get(`/takes/${take.id}/arrangement`));
      this.#drafts.set(take.id, draft);
      this.#drafts.delete(take.kind === "arrange" ? take.parent : null); // it has become this take
    } catch (error) {
      fault = error.message;
    }
    this.loading = null;
    if (this.take?.id === take.id) Object.assign(this, { draft, fault });
  }

  /** What can be done has changed, and what is chosen. */
  tell() {
    this.#drawTools();
  }

  draw() {
    this.element.hidden = !this.draft && !(this.take?.has_joins && this.fault);
    this.lanes.element.hidden = !this.draft;
    this.lanes.draw();
    if (!this.element.hidden) this.#drawTools();
  }

  get #said() {
    if (!this.draft) return this.fault;
    if (this.workspace.scoring) return say("A take is being made.");
    if (this.isAsking) return say("Working it out…");
    return this.draft.last.limits ? say("Shown, not heard yet: make a take of it to hear it.") : tell("As in {0}", this.take.name);
  }

  #drawTools() {
    const { draft, buttons, now } = this;
    this.title.textContent = this.recording?.title || this.recording?.filename || "";
    if (this.state.textContent !== this.#said) this.state.textContent = this.#said;
    this.element.setAttribute("aria-busy", String(this.isAsking));
    this.element.classList.toggle("draft", Boolean(draft?.last.limits));
    const { join } = this.lanes;
    const isLocked = join?.state === "locked";
    for (const [name, one] of Object.entries(buttons))
      one.disabled = !this.isFree || (["earlier", "later", "lock", "refuse"].includes(name) && !join) || (["back", "make"].includes(name) && !draft.last.limits);
    buttons.lock.lastChild.textContent = say(isLocked ? "Unlock the join" : "Lock the join");
    buttons.lock.setAttribute("aria-pressed", String(isLocked));
    for (const element of [this.spans, this.chips, this.facts, this.credit]) element.hidden = !draft;
    if (!draft) return;
    refill(this.spans, this.#spanTools());
    this.spans.hidden = !this.lanes.span;
    const chips = this.#chips(now);
    refill(this.chips, chips);
    this.chips.hidden = !chips.length;
    this.facts.textContent = facts(now);
    const { attribution, licence } = this.recording;
    this.credit.textContent = attribution || licence || say("Its file names no maker and no licence: that you may use it is for you to make sure.");
  }

  #spanTools() {
    const { span } = this.lanes;
    if (!span) return [];
    const act = (key, label, change) =>
      button(label, { kind: "secondary", "data-key": `span-${key}`, disabled: !this.isFree, onclick: () => (this.ask(() => change), this.dropSpan()) });
    const without = (list) => list.filter((one) => one.start >= span.end || one.end <= span.start);
    const { kept, forbidden } = this.now;
    return [
      make("span", {}, `${clockText(span.start, 1)} – ${clockText(span.end, 1)}`),
      act("keep", "Keep it whole", { kept: [...without(kept), span], forbidden: without(forbidden) }),
      act("leave", "Leave it out", { kept: without(kept), forbidden: [...without(forbidden), span] }),
      act("begin", "Begin here", { begin: span.start }),
      button("Choose nothing (Esc)", { shape: "close", bare: true, "data-key": "span-none", onclick: () => this.dropSpan() }),
    ];
  }

  dropSpan() {
    this.lanes.chooseSpan(null);
    this.buttons.span.focus({ preventScroll: true });
  }

  /** Everything that was decided, to be taken back. */
  #chips({ kept, forbidden, joins, begin, missed }) {
    const text = ({ start, end }) => `${clockText(start, 1)} – ${clockText(end, 1)}`;
    const leap = (join) => `${clockText(join.source_from, 1)} → ${clockText(join.source_to, 1)}`;
    const chip = (key, words, change) =>
      make(
        "li",
        {},
        make("span", {}, words),
        change && button(tell("Take back: {0}", words), { shape: "close", bare: true, "data-key": key, disabled: !this.isFree, onclick: () => this.ask(() => change) }),
      );
    const but = (list, one) => list.filter((other) => other !== one);
    return [
      ...(begin === null ? [] : [chip("begin", tell("Begins at {0}", clockText(begin, 1)), { begin: null })]),
      ...kept.map((one, i) => chip(`kept-${i}`, tell("Kept whole: {0}", text(one)), { kept: but(kept, one) })),
      ...forbidden.map((one, i) => chip(`forbidden-${i}`, tell("Left out: {0}", text(one)), { forbidden: but(forbidden, one) })),
      ...joins
        .filter((join) => !isMade(join))
        .map((join, i) => chip(`refused-${i}`, tell("Refused: {0}", leap(join)), { joins: but(joins, join) })),
      ...missed.map((join) => chip("", tell("Cannot be together with the rest: {0}", `${clockText(join.time, 1)}, ${leap(join)}`), null)),
    ];
  }

  /** Move the chosen join by bar lines. */
  step(steps) {
    return this.#change((join) => {
      const moved = roll(this.now, this.recording, this.duration, join, steps);
      return moved ?? (announce(say("There is no bar line for it there.")), join);
    });
  }

  /** Move the chosen join by frames, its leap the same. */
  nudge(frames) {
    return this.#change((join) => retime(this.now, this.duration, join, join.time + frames / this.workspace.fps));
  }

  lock() {
    return this.#change((join) => ({ ...join, state: join.state === "locked" ? "free" : "locked" }));
  }

  refuse() {
    return this.#change((join) => ({ ...join, state: "refused" }));
  }

  /** Put another join in the place of the one that is chosen. */
  #change(make) {
    return this.ask(() => {
      const { join } = this.lanes;
      const other = join && make(join);
      if (!join || JSON.stringify(join) === JSON.stringify(other)) return null;
      return { joins: this.now.joins.map((one) => (one === join ? other : one)) };
    });
  }

  /** The same for one that was dragged. */
  replace(join, other) {
    return this.ask(() => ({ joins: this.now.joins.map((one) => (one === join ? other : one)) }));
  }

  /** The next best arrangement within what was decided: locked joins stay, free ones are forgotten. */
  next() {
    return this.ask(() => {
      const { draft } = this;
      draft.number = (draft.number + 1) % N_ARRANGEMENTS;
      return { joins: this.now.joins.filter((join) => join.state !== "free"), number: draft.number };
    });
  }

  /** Have the server work out a change and show it; `change()` gives what is other in the limits, or null. */
  ask(change) {
    this.#line = this.#line.then(() => this.#work(change));
    return this.#line;
  }

  async #work(change) {
    const changed = this.isFree ? change() : null;
    if (!changed) return;
    const { draft, now, take } = this;
    const { kept, forbidden, joins, begin, parts } = now;
    const limits = { kept, forbidden, joins, begin, held_begin: Math.max(parts[0].source_start, 0), number: null, ...changed };
    this.isAsking = true;
    this.#drawTools();
    try {
      const arrangement = await api.post(`/takes/${take.id}/arrangement`, limits);
      draft.steps.push({ arrangement, limits });
      announce(facts(arrangement));
    } catch (error) {
      notify(error.message, "fault");
    } finally {
      this.isAsking = false;
      this.draw();
    }
  }

  back() {
    if (this.isAsking) return;
    if (this.draft.steps.length > 1) this.draft.steps.pop();
    this.draw();
    announce(this.#said);
    if (this.buttons.back.disabled) this.buttons.next.focus({ preventScroll: true });
  }

  /** A take of what is shown, which is heard while it is written. */
  async makeTake() {
    const { take, draft } = this;
    if (!this.isFree || this.isAsking || !draft.last.limits) return;
    const arrangement = draft.last.limits;
    await this.scoring.start({ kind: "arrange", take: take.id, arrangement, options: this.scoring.settings.levels });
  }
}

function facts({ joins, parts, n_hits: hits, n_met: met }) {
  const n = joins.filter(isMade).length;
  const stretch = Math.max(...parts.map((part) => Math.abs(part.rate - 1)));
  return [
    n === 1 ? say("1 join") : tell("{0} joins", n),
    tell("tempo changed by {0} % at most", (100 * stretch).toFixed(1)),
    hits ? tell("{0} of {1} of your accents met", met, hits) : "",
  ]
    .filter(Boolean)
    .join(" · ");
}
