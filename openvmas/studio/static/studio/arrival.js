// From a file to a project whose picture has been watched: upload with progress, going on after a break, refusals.
import * as api from "./api.js";
import { announce, button, make, notify, refill } from "./elements.js";
import { chooser } from "./library.js";
import { sizeText, waitText } from "./units.js";
import { upload } from "./upload.js";
import { tell } from "./words.js";

export class Arrival {
  constructor(workspace, element) {
    Object.assign(this, { workspace, element });
    this.running = null; // {project, controller, state}
    this.waiting = []; // files that follow
  }

  /** Take files: the first is shown, the others follow one after the other into projects of their own. */
  async takeAll(files) {
    const [first, ...others] = files;
    if (this.running) this.waiting.push(...files);
    else if (others.length) this.waiting.push(...others);
    if (files.length > 1 || this.running) {
      const n = this.waiting.length;
      notify(tell("{0} more video follows by itself, in a project of its own; see the list.|{0} more videos follow by themselves, each in a project of its own; see the list.", n));
    }
    if (this.running) return;
    await this.take(first);
    while (this.waiting.length) await this.take(this.waiting.shift(), true);
  }

  /** Take a file: into the open project where that waits for one, else into a new one. isLater: into a new one that is
   * not opened. */
  async take(file, isLater = false) {
    const { workspace } = this;
    const waits = !isLater && ["empty", "uploading", "refused"].includes(workspace.project?.state);
    try {
      if (!file.size) throw new Error(tell("{0} is empty (0 bytes); choose another file, or export it again.", file.name));
      const limits = workspace.session?.limits;
      if (limits && file.size > limits.max_bytes)
        throw new Error(
          tell("{0} has {1}; the studio takes up to {2} (`openvmas studio --max-upload`).", file.name, sizeText(file.size), sizeText(limits.max_bytes)),
        );
      const name = file.name.replace(/\.[^.]+$/, "").slice(0, 120) || "Video";
      const project = waits ? workspace.project : await api.post("/projects", { name });
      const controller = new AbortController();
      this.running = { project: project.id, controller, name: file.name, state: { offset: 0, size: file.size } };
      if (!waits && !isLater) location.hash = `project=${project.id}`;
      this.draw();
      const onProgress = (state) => (Object.assign(this.running, { state }), this.draw());
      await upload(project.id, file, { tell: onProgress, signal: controller.signal });
      announce(tell("{0} is here. It is being watched now.", file.name));
      if (workspace.address === project.id) await workspace.refresh();
      workspace.tell("uploaded");
      this.running = null;
    } catch (error) {
      this.running = null;
      if (error.name !== "AbortError") notify(error.message, "fault");
      if (workspace.id) await workspace.refresh().catch(() => null);
    }
    this.draw();
  }

  /** What the stage shows until there is a video; empty where there is one. */
  draw() {
    const { project, session } = this.workspace;
    const { running } = this;
    const isWaiting = project && ["empty", "uploading", "refused"].includes(project.state);
    this.element.hidden = !isWaiting;
    if (!isWaiting) return;
    if (running?.project === project.id) return this.#progress(running);
    this.built = false;
    const { upload: begun } = project;
    const percent = begun?.size ? Math.floor((100 * begun.offset) / begun.size) : 0;
    const note =
      project.state === "refused"
        ? project.error
        : project.state === "uploading" && begun
          ? tell("Choose {0} again; it goes on at {1} %.", begun.filename, percent)
          : "Drop the video of this project here";
    refill(
      this.element,
      chooser(
        project.state === "uploading" ? "Go on with the upload" : "Choose a video",
        (files) => this.takeAll(files),
        session?.limits,
        note,
      ),
    );
  }

  #progress({ state, name, controller }) {
    if (!this.built) {
      this.bar = make("progress", { max: 1, value: 0, "aria-label": tell("Upload of {0}", name) });
      this.text = make("p", { class: "big" });
      this.left = make("p", { class: "help" });
      refill(
        this.element,
        make(
          "div",
          { class: "drop" },
          this.text,
          this.bar,
          this.left,
          button("Cancel the upload", { kind: "secondary", onclick: () => controller.abort() }),
        ),
      );
      this.built = true;
    }
    const { offset, size, rate, isWaiting } = state;
    this.bar.value = size ? offset / size : 0;
    this.text.textContent = isWaiting
      ? "The connection is interrupted; the upload goes on by itself."
      : tell("Uploading {0}", name);
    this.left.textContent = [
      tell("{0} of {1}", sizeText(offset), sizeText(size)),
      rate && !isWaiting ? waitText((size - offset) / rate) : "",
    ]
      .filter(Boolean)
      .join(", ");
  }
}
