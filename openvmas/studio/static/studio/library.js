// The first page: drop a video or choose one, and the projects that are there.
import * as api from "./api.js";
import { announce, button, byId, make, notify, refill } from "./elements.js";
import { confirm } from "./dialogs.js";
import { isSound, sectionUnder } from "./sounds.js";
import { clockText, sizeText } from "./units.js";

const STATES = {
  empty: "waits for its video",
  uploading: "upload not finished",
  analyzing: "being watched",
  refused: "cannot be used",
  ready: "",
};

export class Library {
  /** take(files): what to do with videos that were dropped or chosen; hear(file, section): with a recording. */
  constructor(workspace, take, hear) {
    Object.assign(this, { workspace, take, hear, element: byId("library") });
    workspace.on("session", () => this.#isShown && this.draw());
    workspace.on("uploaded", () => this.#isShown && this.show());
    this.#acceptDrops();
  }

  get #isShown() {
    return !this.element.hidden;
  }

  async show() {
    this.element.hidden = false;
    this.draw();
    try {
      this.projects = (await api.get("/projects")).projects;
      this.draw();
    } catch (error) {
      if (error.status !== 401) notify(error.message, "fault");
    }
  }

  hide() {
    this.element.hidden = true;
  }

  draw() {
    refill(
      this.element,
      make("h1", {}, "Music for your video"),
      make(
        "p",
        { class: "lead" },
        "Drop a video in. It is watched, a plan of the music appears on a timeline, and you hear the music while it is written. Nothing goes to anybody else.",
      ),
      chooser("Choose a video", this.take, this.workspace.session?.limits),
      this.#projects(),
    );
  }

  #projects() {
    const list = this.projects;
    if (!list) return null;
    if (!list.length)
      return make("p", { class: "quiet" }, "Your projects will be listed here; they save themselves as you work.");
    return [
      make("h2", {}, "Projects"),
      make(
        "ul",
        { class: "projects" },
        list.map((project) => this.#project(project)),
      ),
    ];
  }

  #project(project) {
    const { video } = project;
    const facts = [
      video ? clockText(video.duration, 0) : "",
      STATES[project.state],
      `used ${new Date(project.used * 1000).toLocaleDateString(undefined, { day: "numeric", month: "short" })}`,
    ];
    const remove = async () => {
      const isSure = await confirm(`Delete ${project.name}?`, {
        text: "The video's copy, the plan and all takes are deleted from the studio. Your own file stays where it is.",
        yes: "Delete",
      });
      if (!isSure) return;
      await api.remove(`/projects/${project.id}`).catch((error) => notify(error.message, "fault"));
      announce(`${project.name} is deleted.`);
      this.show();
    };
    const strip = video?.filmstrip;
    const picture = strip?.ready ? thumbnail(project, strip) : make("span", { class: "thumb" });
    return make(
      "li",
      {},
      make(
        "a",
        { class: "card", href: `#project=${project.id}`, "data-key": project.id },
        picture,
        make("b", {}, project.name),
        make("span", { class: "quiet" }, facts.filter(Boolean).join(" · ")),
      ),
      button(`Delete ${project.name}`, { shape: "bin", bare: true, "data-key": `bin-${project.id}`, onclick: remove }),
    );
  }

  #acceptDrops() {
    const hasFiles = (event) => event.dataTransfer?.types.includes("Files");
    const mark = (isOver) => document.body.classList.toggle("dropping", isOver);
    addEventListener("dragover", (event) => {
      if (!hasFiles(event)) return;
      event.preventDefault();
      mark(true);
    });
    addEventListener("dragleave", (event) => !event.relatedTarget && mark(false));
    addEventListener("drop", (event) => {
      if (!hasFiles(event)) return;
      event.preventDefault();
      mark(false);
      const files = [...event.dataTransfer.files];
      const sounds = files.filter(isSound);
      const videos = files.filter((file) => !sounds.includes(file));
      if (sounds.length) this.hear(sounds[0], sectionUnder(event));
      if (videos.length) this.take(videos);
    });
  }
}

/** A frame from the filmstrip, drawn so that nothing else has to be fetched. */
function thumbnail(project, strip) {
  const canvas = make("canvas", { class: "thumb", width: strip.width, height: strip.height, "aria-hidden": "true" });
  const image = new Image();
  const index = Math.floor(strip.ready / 3);
  const place = [(index % strip.columns) * strip.width, Math.floor(index / strip.columns) * strip.height];
  image.onload = () =>
    canvas.getContext("2d").drawImage(image, ...place, strip.width, strip.height, 0, 0, strip.width, strip.height);
  image.src = `/api/projects/${project.id}/filmstrip?ready=${strip.ready}`;
  return canvas;
}

/** The field into which a video is dropped. */
export function chooser(label, take, limits, note = null) {
  const input = make("input", {
    type: "file",
    class: "unseen",
    id: "file",
    accept: "video/*,.mkv,.avi,.mov,.webm,.mp4",
    multiple: true,
    "data-key": "file",
  });
  input.addEventListener("change", () => input.files.length && take([...input.files]));
  const bounds = limits
    ? `mp4, mov, mkv, webm or avi; up to ${sizeText(limits.max_bytes)} and ${Math.round(limits.max_minutes)} minutes`
    : "mp4, mov, mkv, webm or avi";
  return make(
    "div",
    { class: "drop" },
    make("p", { class: "big" }, note ?? "Drop a video here"),
    make("div", {}, input, make("label", { class: "button primary", for: "file" }, label)),
    make("p", { class: "help" }, bounds),
  );
}
