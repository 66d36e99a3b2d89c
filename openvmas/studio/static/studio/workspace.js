// What is open: project, plan, analysis, takes, jobs, selection; every change of it is told as an event of that name.
// "jobs" is any news of a job, "states" only that a job or take has come to another state.
// Edits are shown at once and saved by themselves; the server keeps the history.
import * as api from "./api.js";
import { announce, forgive, notify } from "./elements.js";
import { sayName } from "./words.js";

const CHANNEL = "openvmas studio"; // on which the tabs of a browser tell each other what they have changed
const SETTLE = 350; // ms in which edits of one kind become one step of the history

/** Whether changes of one plan, which name sections and hits by number, mean the same in another. */
const isSameShape = (one, other) =>
  ["sections", "hits"].every((list) => one[list].length === other[list].length) &&
  one.sections.every((section, index) => section.start === other.sections[index].start);

const isSame = (one, other) =>
  ["text", "mood", "sections", "hits"].every((name) => JSON.stringify(one[name]) === JSON.stringify(other[name]));

const stateOf = (job) => `${job.state} ${job.takes.map((take) => take.state)}`;

export class Workspace extends EventTarget {
  session = null;
  address = null; // id of the project that is open or being opened
  project = null;
  plan = null;
  analysis = null;
  watched = null; // of the analysis what is known while the picture is still being watched, up to `until`
  selection = null; // {kind: "section" | "hit", index}
  span = null; // {start, end} s, a part of the music that is marked
  jobs = new Map();
  reports = new Map(); // take id → Take with its report
  powers = new Map(); // id of a finished take → power of its music and of the original over time (mixing.js)
  isCut = false; // the line on which jobs tell how far they are is broken
  left = null; // a promise of the last project's end, where it was of no use
  saved = "saved"; // "saving", "unsaved"
  #pending = null;
  #unsaved = []; // changes of the plan that no save has taken up yet: what it would take to make them again
  #queue = []; // saves that wait for their turn: {id, plan, changes}
  #version = 0; // of the plan that the server has kept
  #saving = 0;
  #channel = new BroadcastChannel(CHANNEL);
  #line = Promise.resolve();
  #followed = new Map();
  #asked = 0; // for the project, and the latest question that was answered
  #answered = 0;

  constructor() {
    super();
    // Another tab has changed this project; other browsers and machines are noticed when one comes back to this page.
    this.#channel.addEventListener("message", (event) => event.data === this.address && this.catchUp());
    document.addEventListener("visibilitychange", () => !document.hidden && this.catchUp());
    addEventListener("focus", () => this.catchUp());
  }

  /** Read what others may have changed; a fault of the line is told by whatever the user does next. */
  catchUp() {
    if (this.project) this.refresh().catch(() => null);
  }

  /** Tell other tabs that something of this project is another now. */
  spread() {
    this.#channel.postMessage(this.address);
  }

  tell(...topics) {
    for (const topic of topics) this.dispatchEvent(new Event(topic));
  }

  on(topics, react) {
    for (const topic of topics.split(" ")) this.addEventListener(topic, react);
  }

  get id() {
    return this.project?.id;
  }

  get fps() {
    return this.analysis?.fps || this.project?.video?.fps || 25;
  }

  get duration() {
    return this.plan?.duration ?? this.project?.video?.duration ?? 0;
  }

  get takes() {
    return this.project?.takes ?? [];
  }

  take(id) {
    return this.takes.find((take) => take.id === id);
  }

  /** The job that writes music now, or waits to. */
  get scoring() {
    return [...this.jobs.values()].find((job) => !["analyze", "sketch"].includes(job.kind) && !api.isFinal(job));
  }

  async open(id) {
    this.close();
    this.address = id;
    await this.refresh();
  }

  close() {
    const { project } = this;
    // A file that was no video leaves nothing behind; whoever chooses another one does it before.
    if (project?.state === "refused" && !project.upload)
      this.left = api.remove(`/projects/${project.id}`).catch(() => null);
    this.flush();
    this.#unsaved = [];
    this.#followed.forEach((stop) => stop());
    this.#followed.clear();
    this.jobs.clear();
    this.reports.clear();
    this.powers.clear();
    Object.assign(this, { address: null, project: null, plan: null, analysis: null, watched: null, selection: null, span: null });
    this.tell("project", "plan", "analysis", "selection");
  }

  /** Read the project again: its takes, jobs, filmstrip; fetch what has become ready since. */
  async refresh() {
    const { address } = this;
    const asked = ++this.#asked;
    const project = await api.get(`/projects/${address}`);
    if (this.address !== address || asked < this.#answered) return; // answers may overtake each other
    this.#answered = asked;
    for (const take of project.takes) take.name = sayName(take.name);
    this.project = project;
    this.tell("project");
    await this.#takeUp();
  }

  async #takeUp() {
    const { project } = this;
    for (const job of [...project.jobs, project.analysis_job].filter((job) => job && typeof job === "object")) {
      this.jobs.set(job.id, job);
      if (!api.isFinal(job) && !this.#followed.has(job.id)) this.followJob(job);
    }
    this.tell("jobs", "states");
    if (project.state !== "ready") return;
    if (!this.analysis) {
      const analysis = await api.get(`/projects/${project.id}/analysis`);
      if (this.id !== project.id) return;
      Object.assign(this, { analysis, watched: null });
      this.tell("analysis");
    }
    if (!this.plan || (project.plan_version !== this.#version && this.#isSettled)) {
      const plan = await api.get(`/projects/${project.id}/plan`);
      if (this.id === project.id && (!this.plan || this.#isSettled)) this.#take(plan);
    }
  }

  /** Nothing is being saved, typed or dragged that a plan from the server would take away. */
  get #isSettled() {
    return !this.#pending && !this.#unsaved.length && !this.#queue.length && !this.#saving;
  }

  followJob(job) {
    const project = this.id;
    let seen = 0;
    this.jobs.set(job.id, job);
    const show = (watched) => {
      if (this.id !== project || this.analysis) return;
      this.watched = watched;
      this.tell("watched");
    };
    const tell = (now) => {
      if (this.id !== project) return;
      const before = stateOf(this.jobs.get(now.id));
      this.jobs.set(now.id, now);
      for (const part of now.takes)
        Object.assign(this.take(part.id) ?? {}, { state: part.state, n_blocks: part.n_blocks });
      this.tell("jobs");
      if (stateOf(now) !== before) this.tell("states");
      const isOver = api.isFinal(now);
      const isDue = now.kind === "analyze" && performance.now() - seen > 800;
      if (isOver) this.#followed.delete(now.id);
      if (isOver && now.error) notify(now.error, "fault");
      if (now.state === "done" && !["analyze", "sketch"].includes(now.kind)) announce("The music is finished.");
      if (isOver || isDue) {
        seen = performance.now();
        this.refresh().catch((error) => notify(error.message, "fault"));
      }
    };
    const lost = (isLost) => {
      if (this.isCut === isLost) return;
      this.isCut = isLost;
      this.tell("jobs");
    };
    this.#followed.set(job.id, api.follow(job.id, tell, show, lost));
  }

  async startJob(body) {
    await this.flush();
    const job = await api.post(`/projects/${this.id}/jobs`, body);
    forgive();
    this.followJob(job);
    this.spread();
    await this.refresh();
    return job;
  }

  async report(id) {
    const known = this.reports.get(id);
    if (known?.report) return known;
    const take = await api.get(`/takes/${id}`);
    this.reports.set(id, take);
    if (take.report) this.powers.set(id, await api.get(`/takes/${id}/levels.json`).catch(() => null));
    return take;
  }

  mark(span) {
    this.span = span;
    this.tell("span");
  }

  select(selection) {
    this.selection = selection;
    this.tell("selection");
  }

  /**
   * Change the plan: `change(plan)` gives the new one, or throws the sentence why it cannot. Edits of the same `kind`
   * that follow each other closely become one step of the history. Returns whether it was done.
   */
  edit(change, kind = "") {
    try {
      const next = change(this.plan);
      if (this.#pending && (kind === "" || this.#pending.kind !== kind)) this.flush();
      this.#unsaved.push({ change, from: this.plan });
      forgive();
      this.#show(next);
      clearTimeout(this.#pending?.timer);
      this.#pending = { kind, timer: setTimeout(() => this.flush(), SETTLE) };
      this.#setSaved("saving");
      return true;
    } catch (error) {
      notify(error.message, "fault");
      return false;
    }
  }

  /** Show a plan without saving it, while something is dragged. */
  preview(plan) {
    this.plan = plan;
    this.tell("preview");
  }

  /** Save what is not saved yet; resolves when the server has it. */
  flush() {
    if (!this.#pending) return this.#line;
    clearTimeout(this.#pending.timer);
    this.#pending = null;
    this.#queue.push({ id: this.id, plan: this.plan, changes: this.#unsaved });
    this.#unsaved = [];
    this.#line = this.#line.then(() => this.#save());
    return this.#line;
  }

  async #save() {
    const next = this.#queue.shift();
    if (!next) return; // it was made again with another one
    const { id, plan, changes } = next;
    this.#saving++;
    try {
      await this.#put(id, plan, this.id === id);
    } catch (error) {
      if (this.id !== id) return notify(error.message, "fault");
      if (error.status === 409) return await this.#saveAgain(next);
      notify(error.message, "fault");
      if (error.status === 0) {
        this.#unsaved = [...changes, ...this.#queue.flatMap((later) => later.changes), ...this.#unsaved];
        this.#queue = [];
        this.#setSaved("unsaved");
        this.#pending ??= { kind: "again", timer: setTimeout(() => this.flush(), 3000) };
      } else {
        this.#take(await api.get(`/projects/${id}/plan`));
        this.#setSaved("saved");
      }
    } finally {
      this.#saving--;
    }
  }

  async #put(id, plan, isOpen) {
    const kept = await api.put(`/projects/${id}/plan`, plan, isOpen ? { "If-Match": `"${this.#version}"` } : {});
    if (this.id !== id) return;
    this.#version = kept.version;
    this.spread();
    if (!this.#pending && this.plan === plan) this.#take(kept);
    if (!this.#pending) this.#setSaved("saved");
  }

  /** Somebody else's edit came first: make ours again on top of it, where it still fits. */
  async #saveAgain({ id, plan, changes }) {
    const theirs = await api.get(`/projects/${id}/plan`);
    if (this.id !== id) return;
    this.#version = theirs.version;
    const all = [...changes, ...this.#queue.flatMap((later) => later.changes), ...this.#unsaved];
    this.#unsaved = [];
    this.#queue = [];
    clearTimeout(this.#pending?.timer);
    this.#pending = null;
    let mine = theirs;
    try {
      // Where only the answer was lost, the edit is there already.
      if (!isSame(plan, theirs)) {
        if (!isSameShape(all[0].from, theirs)) throw new Error("other sections or hits");
        for (const { change } of all) mine = change(mine);
      }
    } catch {
      this.#take(theirs);
      this.#setSaved("saved");
      return notify(
        "The plan was changed in another window meanwhile and is shown as it is now; your last change was not kept, make it again.",
        "fault",
      );
    }
    this.#take(theirs);
    if (mine === theirs) return this.#setSaved("saved");
    this.#queue = [{ id, plan: mine, changes: all.map((one) => ({ ...one, from: theirs })) }];
    this.#show(mine);
    announce("The plan was changed in another window too; both changes are kept.");
    await this.#save();
  }

  /** undo, redo, suggest, restore: what the server makes of the plan. */
  async ask(verb, body) {
    await this.flush();
    try {
      const plan = await api.post(`/projects/${this.id}/plan/${verb}`, body);
      forgive();
      this.selection = null; // its number may be another section's or hit's now
      this.#take(plan);
      this.spread();
      this.tell("selection");
      return true;
    } catch (error) {
      notify(error.message, error.status === 409 ? "news" : "fault");
      return false;
    }
  }

  /** Show a plan as the server has it. */
  #take(plan) {
    this.#version = plan.version;
    this.#show(plan);
  }

  #show(plan) {
    this.plan = plan;
    const list = this.selection && plan?.[`${this.selection.kind}s`];
    if (this.selection && !list?.[this.selection.index]) this.selection = null;
    this.tell("plan");
  }

  #setSaved(saved) {
    this.saved = saved;
    this.tell("saved");
  }
}
