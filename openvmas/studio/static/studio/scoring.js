// The bar under the panel: Score, and what is going on while music is written.
import * as api from "./api.js";
import { announce, button, make, notify, refill } from "./elements.js";
import { waitText } from "./units.js";
import { say, tell } from "./words.js";

const STAGES = {
  "": "Starting",
  queued: "Waiting its turn",
  watch: "Watching the picture",
  listen: "Listening for speech",
  plan: "Planning",
  compose: "Writing music",
  finish: "Mixing and measuring",
};

export class Scoring {
  variations = 1;
  base = () => null; // the take whose music stays where sections are locked; set by the page

  constructor(workspace, player, settings, element) {
    Object.assign(this, { workspace, player, settings, element });
    workspace.on("project plan jobs states", () => this.draw());
    this.draw();
  }

  draw() {
    const { workspace } = this;
    const job = workspace.scoring ?? [...workspace.jobs.values()].find((one) => one.kind !== "sketch" && !api.isFinal(one));
    if (job) return this.#progress(job);
    this.told = null;
    const number = make(
      "select",
      { "aria-label": "How many variations", "data-key": "variations", disabled: !workspace.plan },
      [1, 2, 3, 4].map((n) => make("option", { value: n }, tell("{0} variation|{0} variations", n))),
    );
    number.value = this.variations;
    number.addEventListener("change", () => (this.variations = Number(number.value)));
    refill(
      this.element,
      number,
      button("Score", {
        // Where a take is finished, the next step is to take it away.
        kind: workspace.takes.at(-1)?.state === "done" ? "secondary strong" : "primary",
        "data-key": "score",
        disabled: !workspace.plan,
        title: "Write the music and hear it while it is written",
        onclick: () => this.score(),
      }),
    );
  }

  #progress(job) {
    const stage = STAGES[job.state === "queued" ? "queued" : job.stage] ?? job.stage ?? "";
    const writing = job.takes.findIndex((take) => take.state === "writing");
    const which = job.takes.length > 1 && writing >= 0 ? tell(", {0} of {1}", writing + 1, job.takes.length) : "";
    const percent = Math.round(100 * job.progress);
    const place = job.state === "queued" && job.place ? tell("{0} before it", job.place) : waitText(job.time_left);
    if (this.told !== stage + which) announce(stage + which);
    this.told = stage + which;
    if (this.shown !== job.id || !this.bar?.isConnected) this.#build(job);
    if (this.workspace.isCut) {
      this.bar.removeAttribute("value"); // moves without saying how far
      this.text.textContent = say("Reconnecting…");
      this.left.textContent = say("the work goes on");
      return;
    }
    this.bar.value = percent;
    this.bar.textContent = `${percent} %`;
    this.text.textContent = `${say(stage)}${which}`;
    this.left.textContent = [`${percent} %`, place].filter(Boolean).join(", ");
  }

  #build(job) {
    this.shown = job.id;
    this.bar = make("progress", { max: 100, value: 0, "aria-label": "Progress" });
    this.text = make("span", {});
    this.left = make("span", { class: "quiet" });
    const cancel =
      job.kind === "analyze"
        ? null
        : button("Cancel", { kind: "secondary", "data-key": "cancel", onclick: () => this.cancel(job) });
    refill(this.element, make("div", { class: "progress" }, make("p", {}, this.text, this.left), this.bar), cancel);
  }

  async cancel(job) {
    try {
      await api.post(`/jobs/${job.id}/cancel`, {});
      if (job.takes.some((take) => take.id === this.player.track?.take.id)) {
        this.player.pause();
        this.player.listen(null);
      }
      announce("Cancelled.");
    } catch (error) {
      notify(error.message, "fault");
    }
  }

  score() {
    const { plan } = this.workspace;
    const options = this.settings.chosen;
    const body = { kind: "score", options, variations: this.variations };
    if (plan?.sections.some((section) => section.locked)) {
      const base = this.base();
      if (base) {
        body.take = base.id;
        notify(tell("Locked sections keep the music of {0}.", base.name));
      }
    }
    return this.start(body);
  }

  /** The same music with the levels that are set now; it is quick, so one hears it when it is done. */
  mixAgain(take) {
    return this.start({ kind: "mix", take: take.id, options: this.settings.levels }, null);
  }

  /** Begin a job and hear its first take from `from` s on while it is written; null: do not. */
  async start(body, from = 0) {
    if (this.workspace.scoring || !this.workspace.plan) return;
    const pressed = performance.now();
    this.player.unlock();
    try {
      const job = await this.workspace.startJob(body);
      const take = this.workspace.take(job.takes[0]?.id);
      if (take && from !== null) this.player.playNew(take, pressed, from);
    } catch (error) {
      notify(error.message, "fault");
    }
  }
}
