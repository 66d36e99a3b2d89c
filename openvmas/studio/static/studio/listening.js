// What is heard: the original, or one of two takes A and B at equal loudness, switched in one press at the same place.
import { announce, button, make, refill } from "./elements.js";
import { clockText, signed } from "./units.js";
import { say, tell } from "./words.js";

/** Arrow keys go from one radio to the next and choose it, as in every radio group. */
function goAlong(event) {
  const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
  if (!step || event.ctrlKey || event.metaKey || event.altKey) return;
  const all = [...event.currentTarget.children];
  const next = all[(all.indexOf(event.target) + step + all.length) % all.length];
  event.preventDefault();
  event.stopPropagation();
  next.focus();
  next.click();
}

export class Listening {
  pair = { a: null, b: null }; // take ids
  metered = 0; // ms, when the level was last shown

  constructor(workspace, player, element) {
    Object.assign(this, { workspace, player, element });
    this.monitor = make("div", { class: "monitor" });
    this.clock = make("span", { class: "clock", role: "timer", "aria-label": "Position" });
    this.playButton = button("Play (space)", {
      shape: "play",
      bare: true,
      kind: "round",
      onclick: () => player.toggle(),
    });
    this.level = make("meter", {
      class: "level-meter",
      min: -60,
      max: 0,
      high: -6,
      "aria-label": "Level of the sound, dBFS",
      value: -60,
    });
    this.loopButton = button("Play this section again and again (O)", {
      shape: "loop",
      bare: true,
      kind: "loop",
      "aria-pressed": "false",
      onclick: () => this.toggleLoop(),
    });
    const jump = (label, shape, act) => button(label, { shape, bare: true, onclick: act });
    element.append(
      jump("To the start (Home)", "start", () => player.seek(0)),
      jump("Back one frame (left arrow)", "back", () => player.step(-1)),
      this.playButton,
      jump("Forward one frame (right arrow)", "forward", () => player.step(1)),
      this.clock,
      this.level,
      this.loopButton,
      button("Full screen (F)", { shape: "full", bare: true, kind: "full", onclick: () => this.toggleFull() }),
      this.monitor,
    );
    workspace.on("project states", () => this.draw());
    player.addEventListener("change", () => this.draw());
    player.addEventListener("time", () => this.#tick());
    this.draw();
  }

  #tick() {
    const { player } = this;
    const now = performance.now();
    if (player.isPlaying && now - this.metered < 100) return;
    this.metered = now;
    const text = `${clockText(player.time)} / ${clockText(player.duration)}`;
    if (text !== this.clock.textContent) this.clock.textContent = text;
    this.level.value = player.music.state === "playing" ? Math.max(player.music.peakDb, -60) : -60;
  }

  draw() {
    const { player, workspace } = this;
    this.#choosePair();
    const isPlaying = player.isPlaying;
    if (!isPlaying) this.level.value = -60;
    if (this.wasPlaying !== isPlaying) {
      const next = button(isPlaying ? "Pause (space)" : "Play (space)", {
        shape: isPlaying ? "pause" : "play",
        bare: true,
      });
      this.playButton.replaceChildren(...next.childNodes);
      this.playButton.setAttribute("aria-label", next.getAttribute("aria-label"));
      this.playButton.title = next.title;
      this.wasPlaying = isPlaying;
    }
    this.loopButton.setAttribute("aria-pressed", String(Boolean(player.loop)));
    const current = player.track?.take.id ?? null;
    const option = (letter, id, text, title) =>
      make(
        "button",
        {
          type: "button",
          role: "radio",
          "aria-checked": String(current === id),
          tabindex: current === id ? "0" : "-1",
          "data-key": `hear-${letter}`,
          title,
          onclick: () => this.hear(id),
        },
        text,
      );
    const takes = ["a", "b"].map(
      (letter) =>
        workspace.take(this.pair[letter]) &&
        option(
          letter,
          this.pair[letter],
          `${letter.toUpperCase()} ${workspace.take(this.pair[letter]).name}`,
          "Switch A and B with X",
        ),
    );
    const heard = workspace.take(current);
    const others =
      current && !Object.values(this.pair).includes(current) ? option("other", current, heard?.name ?? "Take") : null;
    refill(
      this.monitor,
      make(
        "div",
        { class: "segments", role: "radiogroup", "aria-label": "Listen to", onkeydown: goAlong },
        option("original", null, "Original", "The video's own sound"),
        takes,
        others,
      ),
      this.#state(heard),
    );
  }

  #state(take) {
    if (this.player.isPlaying && this.player.music.state === "waiting" && this.player.track)
      return make("span", { class: "quiet" }, "waiting for the music…");
    if (take?.state === "done" && this.player.track.of === "music")
      return make(
        "span",
        { class: "quiet matched", title: "The levels that are set under Sound; Mix again keeps them in a take" },
        "at the levels set now",
      );
    if (take?.state === "done" && Math.abs(take.match_gain_db) >= 0.05)
      return make(
        "span",
        { class: "quiet matched", title: "All takes are heard equally loud, as loud as is set under Sound" },
        tell("matched {0}", signed(take.match_gain_db, "dB")),
      );
    return null;
  }

  /** The take that is heard, null for the original. */
  get heard() {
    const { track } = this.player;
    return (track && this.workspace.take(track.take.id)) ?? null;
  }

  /**
   * A and B are the last two takes, or a take and the one it was made from, until the user chooses others; a take that
   * was made from another is always compared with that.
   */
  #choosePair() {
    const { takes, id } = this.workspace;
    const ids = takes.map((take) => take.id);
    if (this.project !== id) Object.assign(this, { project: id, newest: null, isChosen: false });
    for (const letter of ["a", "b"]) if (!ids.includes(this.pair[letter])) this.pair[letter] = null;
    const last = takes.at(-1);
    const isNew = last && last.id !== this.newest;
    const parent = last && ids.includes(last.parent) ? last.parent : null;
    this.newest = last?.id ?? null;
    const isFull = this.pair.a && this.pair.b;
    if (!last || (isFull && !(isNew && (parent || !this.isChosen)))) return;
    if (this.isChosen && !parent) {
      const free = ids.filter((one) => !Object.values(this.pair).includes(one));
      for (const letter of ["b", "a"]) this.pair[letter] ??= free.pop() ?? null;
      return;
    }
    const before = parent ?? ids.at(-2) ?? null;
    this.pair = before ? { a: before, b: last.id } : { a: last.id, b: null };
  }

  assign(letter, id) {
    const other = letter === "a" ? "b" : "a";
    if (this.pair[other] === id) this.pair[other] = this.pair[letter];
    this.pair[letter] = id;
    this.isChosen = true;
    this.hear(id);
    this.draw();
  }

  hear(id) {
    const take = id && this.workspace.take(id);
    const isDone = take?.state === "done";
    // Another loudness alone is a matter of gain; any other level is heard as it is set.
    const isMix = isDone && (!this.settings || this.settings.isMixedSo(take, ["loudness", "true_peak"]));
    this.player.listen(take || null, isMix ? "mix" : "music", isMix ? (take.match_gain_db ?? 0) : 0);
    announce(tell("You hear {0}.", take ? take.name : say("the original")));
  }

  switch() {
    const { a, b } = this.pair;
    const current = this.player.track?.take.id;
    if (a && b) this.hear(current === a ? b : a);
    else if (a || b) this.hear(current ? null : (a ?? b));
  }

  /** A take that has been finished while it was listened to is heard as it is in the video, if at the levels set now. */
  keepUp() {
    const { track } = this.player;
    const take = track && this.workspace.take(track.take.id);
    if (track && !take) this.player.listen(null);
    else if (take?.state === "done" && track.of === "music" && this.settings.isMixedSo(take)) this.hear(take.id);
  }

  /** Levels were changed: the take that is heard is heard at them, before anybody mixes it again. */
  tryLevels() {
    const { track } = this.player;
    const take = track && this.workspace.take(track.take.id);
    if (take?.state !== "done") return;
    if (!this.settings.isMixedSo(take)) this.player.listen(take, "music");
    else if (track.of === "music") this.hear(take.id);
  }
}
