// The first page: drop a video or choose one, and the projects that are there.
import * as api from "./api.js";
import { announce, button, byId, make, notify, refill } from "./elements.js";
import { confirm } from "./dialogs.js";
import { isSound, sectionUnder } from "./sounds.js";
import { clockText, sizeText } from "./units.js";
import { locale, tell } from "./words.js";

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
      this.examples ??= (await api.get("/examples")).examples;
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
      this.#examples(),
      this.#projects(),
    );
  }

  #examples() {
    if (!this.examples?.length) return null;
    const start = async ({ name, title }) => {
      try {
        const project = await api.post("/projects", { name: title });
        await api.post(`/projects/${project.id}/example`, { name });
        location.hash = `project=${project.id}`;
      } catch (error) {
        notify(error.message, "fault");
      }
    };
    const card = (example) =>
      make(
        "button",
        { type: "button", class: "choice", "data-key": `example-${example.name}`, onclick: () => start(example) },
        make("b", {}, tell("Try it with “{0}”", example.title)),
        make("span", { class: "quiet" }, example.about),
      );
    return make("div", { class: "examples", role: "group", "aria-label": "Example films" }, this.examples.map(card));
  }

  #projects() {
    if (!this.projects) return null;
    const words = (this.sought ?? "").toLowerCase().split(/\s+/).filter(Boolean);
    const list = this.projects.filter(({ name, video }) =>
      words.every((word) => `${name} ${video?.filename ?? ""}`.toLowerCase().includes(word)),
    );
    const search = make("input", {
      type: "text",
      value: this.sought ?? "",
      placeholder: "Search projects",
      "aria-label": "Search projects",
      "data-key": "search",
      autocomplete: "off",
    });
    search.addEventListener("input", () => {
      this.sought = search.value;
      search.given = search.value; // it is taken up at every letter
      this.draw();
    });
    if (this.projects.length && !list.length)
      return [make("h2", {}, "Projects"), search, make("p", { class: "quiet" }, "No project has these words in its name.")];
    if (!list.length)
      return make("p", { class: "quiet" }, "Your projects will be listed here; they save themselves as you work.");
    return [
      make("div", { class: "row" }, make("h2", { class: "grow" }, "Projects"), this.projects.length > 4 ? search : null),
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
      tell("used {0}", new Date(project.used * 1000).toLocaleDateString(locale(), { day: "numeric", month: "short" })),
    ];
    const remove = async () => {
      const isSure = await confirm(tell("Delete {0}?", project.name), {
        text: "The video's copy, the plan and all takes are deleted from the studio. Your own file stays where it is.",
        yes: "Delete",
      });
      if (!isSure) return;
      await api.remove(`/projects/${project.id}`).catch((error) => notify(error.message, "fault"));
      announce(tell("{0} is deleted.", project.name));
      this.show();
    };
    const copy = async () => {
      await api.post(`/projects/${project.id}/copy`).catch((error) => notify(error.message, "fault"));
      announce(tell("{0} is duplicated.", project.name));
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
      make(
        "div",
        { class: "card-tools" },
        project.state === "ready"
          ? button(tell("Duplicate {0}", project.name), { shape: "copy", bare: true, "data-key": `copy-${project.id}`, onclick: copy })
          : null,
        button(tell("Delete {0}", project.name), { shape: "bin", bare: true, "data-key": `bin-${project.id}`, onclick: remove }),
      ),
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
    ? tell("mp4, mov, mkv, webm or avi; up to {0} and {1} minute|mp4, mov, mkv, webm or avi; up to {0} and {1} minutes", sizeText(limits.max_bytes), Math.round(limits.max_minutes))
    : "mp4, mov, mkv, webm or avi";
  return make(
    "div",
    { class: "drop" },
    make("p", { class: "big" }, note ?? "Drop a video here"),
    make("div", {}, input, make("label", { class: "button primary", for: "file" }, label)),
    make("p", { class: "help" }, bounds),
  );
}
