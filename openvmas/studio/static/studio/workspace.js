// What is open: project, plan, analysis, takes, jobs, selection; every change of it is told as an event of that name.
// "jobs" is any news of a job, "states" only that a job or take has come to another state.
// Edits are shown at once and saved by themselves; the server keeps the history.
import * as api from "./api.js";
import { announce, notify } from "./elements.js";

const SETTLE = 350; // ms in which edits of one kind become one step of the history

const stateOf = (job) => `${job.state} ${job.takes.map((take) => take.state)}`;

export class Workspace extends EventTarget {
  session = null;
  address = null; // id of the project that is open or being opened
  project = null;
  plan = null;
  analysis = null;
  watched = null; // of the analysis what is known while the picture is still being watched, up to `until`
  selection = null; // {kind: "section" | "hit", index}
  jobs = new Map();
  reports = new Map(); // take id → Take with its report
  saved = "saved"; // "saving", "unsaved"
  #pending = null;
  #line = Promise.resolve();
  #followed = new Map();
  #asked = 0; // for the project, and the latest question that was answered
  #answered = 0;

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
    return [...this.jobs.values()].find((job) => job.kind !== "analyze" && !api.isFinal(job));
  }

  async open(id) {
    this.close();
    this.address = id;
    await this.refresh();
  }

  close() {
    this.flush();
    this.#followed.forEach((stop) => stop());
    this.#followed.clear();
    this.jobs.clear();
    this.reports.clear();
    Object.assign(this, { address: null, project: null, plan: null, analysis: null, watched: null, selection: null });
    this.tell("project", "plan", "analysis", "selection");
  }

  /** Read the project again: its takes, jobs, filmstrip; fetch what has become ready since. */
  async refresh() {
    const { address } = this;
    const asked = ++this.#asked;
    const project = await api.get(`/projects/${address}`);
    if (this.address !== address || asked < this.#answered) return; // answers may overtake each other
    this.#answered = asked;
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
    if (!this.plan) {
      const plan = await api.get(`/projects/${project.id}/plan`);
      if (this.id === project.id && !this.plan) this.#show(plan);
    }
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
      if (now.state === "done" && now.kind !== "analyze") announce("The music is finished.");
      if (isOver || isDue) {
        seen = performance.now();
        this.refresh().catch((error) => notify(error.message, "fault"));
      }
    };
    this.#followed.set(job.id, api.follow(job.id, tell, show));
  }

  async startJob(body) {
    await this.flush();
    const job = await api.post(`/projects/${this.id}/jobs`, body);
    this.followJob(job);
    await this.refresh();
    return job;
  }

  async report(id) {
    const known = this.reports.get(id);
    if (known?.report) return known;
    const take = await api.get(`/takes/${id}`);
    this.reports.set(id, take);
    return take;
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
    const { plan, id } = this;
    this.#line = this.#line.then(() => this.#save(id, plan));
    return this.#line;
  }

  async #save(id, plan) {
    try {
      const kept = await api.put(`/projects/${id}/plan`, plan);
      if (this.id === id && !this.#pending && this.plan === plan) this.#show(kept);
      if (!this.#pending) this.#setSaved("saved");
    } catch (error) {
      notify(error.message, "fault");
      if (this.id !== id) return;
      if (error.status === 0) {
        this.#setSaved("unsaved");
        this.#pending ??= { kind: "again", timer: setTimeout(() => this.flush(), 3000) };
      } else {
        this.#show(await api.get(`/projects/${id}/plan`));
        this.#setSaved("saved");
      }
    }
  }

  /** undo, redo, suggest, restore: what the server makes of the plan. */
  async ask(verb, body) {
    await this.flush();
    try {
      const plan = await api.post(`/projects/${this.id}/plan/${verb}`, body);
      this.selection = null; // its number may be another section's or hit's now
      this.#show(plan);
      this.tell("selection");
      return true;
    } catch (error) {
      notify(error.message, error.status === 409 ? "news" : "fault");
      return false;
    }
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
