// The music's volume over time, on the music's lane: a line with points to drag, and a fade at each end.
import { draggable } from "./drag.js";
import { announce, button, make } from "./elements.js";
import * as envelope from "./envelope.js";
import { LANES } from "./paint.js";
import { clamp, clockText, spokenTime } from "./units.js";
import { say, tell } from "./words.js";

export class Volume {
  isOn = false; // whether points can be set

  constructor(timeline, workspace, player, settings) {
    Object.assign(this, { timeline, workspace, player, settings });
    this.lane = make("div", { class: "lane volume", role: "group", "aria-label": "Volume of the music" });
    Object.assign(this.lane.style, { top: `${LANES.wave.top}px`, height: `${LANES.wave.height}px` });
    timeline.spread.insertBefore(this.lane, timeline.playhead);
    this.button = button("Volume (V)", {
      shape: "volume",
      kind: "secondary",
      title: "Draw the music's volume over time: press on the music to set a point, drag it, Delete removes it (V)",
      "aria-pressed": "false",
      onclick: () => this.toggle(),
    });
    this.lane.addEventListener("click", (event) => this.#put(event));
    this.fades = [false, true].map((isEnd) => this.#makeFade(isEnd));
    workspace.on("levels project plan", () => this.draw());
    timeline.volume = this;
  }

  get points() {
    return this.workspace.session ? envelope.parse(this.settings.value("envelope")) : [];
  }

  toggle() {
    if (!this.workspace.plan) return;
    this.isOn = !this.isOn;
    this.button.setAttribute("aria-pressed", String(this.isOn));
    announce(this.isOn ? "Press on the music's lane to set points of its volume." : "Volume is set.");
    this.draw();
    this.timeline.draw();
  }

  /** Hear it at once; isLast: keep it. */
  change(points, isLast) {
    const texts = envelope.format(points);
    if (isLast) this.settings.set({ envelope: texts });
    else this.settings.hold("envelope", texts);
  }

  /** No music in a section, or music again. */
  silence(section, isOn) {
    this.change(envelope.setSilence(this.points, section.start, section.end, isOn, this.timeline.duration), true);
  }

  isSilent = (section) => envelope.isSilent(this.points, section.start, section.end);

  #heightAt(event) {
    const box = this.lane.getBoundingClientRect();
    return 1 - (event.clientY - box.top) / box.height;
  }

  #put(event) {
    if (!this.isOn || event.target !== this.lane) return;
    const gain = envelope.fromHeight(this.#heightAt(event));
    let { points } = this;
    // The first point leaves the rest as it is: the line bends at it and not before.
    if (!points.length) points = [{ time: 0, gain: 1 }, { time: this.timeline.duration, gain: 1 }];
    this.change(envelope.addPoint(points, this.timeline.timeAt(event), gain), true);
  }

  draw() {
    const { timeline, points } = this;
    this.lane.classList.toggle("on", this.isOn);
    this.lane.hidden = !this.workspace.plan;
    const shown = this.isOn ? points : [];
    const dots = [...this.lane.querySelectorAll(".point")];
    while (dots.length > shown.length) dots.pop().remove();
    while (dots.length < shown.length) dots.push(this.#makePoint(dots.length));
    dots.forEach((dot, index) => {
      const { time, gain } = shown[index];
      dot.style.left = `${timeline.toX(time)}px`;
      dot.style.top = `${100 * (1 - envelope.toHeight(gain))}%`;
      dot.setAttribute("aria-label", tell("Volume at {0}", spokenTime(time)));
      dot.setAttribute("aria-valuenow", gain.toFixed(3));
      dot.setAttribute("aria-valuetext", envelope.textOf(gain));
      dot.title = `${clockText(time)}: ${envelope.textOf(gain)}`;
    });
    this.fades.forEach((handle, isEnd) => {
      const length = envelope.fadeLength(points, Boolean(isEnd), timeline.duration);
      handle.style.left = `${timeline.toX(isEnd ? timeline.duration - length : length)}px`;
      handle.setAttribute("aria-valuenow", length.toFixed(2));
      handle.setAttribute("aria-valuemax", (timeline.duration / 2).toFixed(2));
      handle.setAttribute("aria-valuetext", length ? spokenTime(Number(length.toFixed(1))) : say("none"));
      handle.title = tell(isEnd ? "Fade out: {0}" : "Fade in: {0}", length ? `${length.toFixed(1)} s` : say("drag inwards"));
    });
  }

  #makePoint(index) {
    const dot = make("div", { class: "point", role: "slider", tabindex: "0", "aria-valuemin": "0", "aria-valuemax": "2" });
    const move = (time, gain, isLast) =>
      this.change(envelope.movePoint(this.points, index, time, gain, this.timeline.duration), isLast);
    draggable(this.timeline, dot, {
      grab: () => this.points[index],
      move: (from, event, start, isLast) => {
        const time = from.time + (event.clientX - start.clientX) / this.timeline.scale;
        const height = envelope.toHeight(from.gain) - (event.clientY - start.clientY) / LANES.wave.height;
        move(time, envelope.fromHeight(height), isLast);
      },
    });
    dot.addEventListener("keydown", (event) => {
      const { time, gain } = this.points[index];
      const far = event.shiftKey ? 10 : 1;
      const louder = { ArrowUp: 0.02, ArrowDown: -0.02 }[event.key];
      const later = { ArrowRight: 0.1, ArrowLeft: -0.1 }[event.key];
      if (event.key === "Delete" || event.key === "Backspace") this.change(envelope.removePoint(this.points, index), true);
      else if (louder) move(time, envelope.fromHeight(envelope.toHeight(gain) + louder * far), true);
      else if (later) move(time + later * far, gain, true);
      else return;
      event.preventDefault();
      event.stopPropagation();
    });
    dot.addEventListener("dblclick", () => this.change(envelope.removePoint(this.points, index), true));
    this.lane.append(dot);
    return dot;
  }

  #makeFade(isEnd) {
    const label = isEnd ? "Fade out at the end" : "Fade in at the beginning";
    const handle = make("div", { class: "fade", role: "slider", tabindex: "0", "aria-label": label, "aria-valuemin": "0" });
    const now = () => envelope.fadeLength(this.points, isEnd, this.timeline.duration);
    const set = (length, isLast) => {
      const { duration } = this.timeline;
      this.change(envelope.setFade(this.points, isEnd, clamp(length, 0, duration / 2), duration), isLast);
    };
    draggable(this.timeline, handle, {
      grab: now,
      move: (from, event, start, isLast) =>
        set(from + ((isEnd ? -1 : 1) * (event.clientX - start.clientX)) / this.timeline.scale, isLast),
    });
    handle.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1, ArrowUp: 1, ArrowDown: -1 }[event.key];
      if (!step) return;
      set(now() + step * (isEnd && event.key.length > 9 ? -0.25 : 0.25), true);
      event.preventDefault();
      event.stopPropagation();
    });
    this.lane.append(handle);
    return handle;
  }
}
