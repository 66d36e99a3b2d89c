// Numbers as people read them, and the frames of the picture. Times are seconds.
import { say, tell } from "./words.js";

export const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

/** The nearest frame of the picture, s: hits and borders lie on frames, because that is what an editor sees. */
export const onFrame = (time, fps) => Math.round(time * fps) / fps;

/** 75.25 → "1:15.25"; from one hour on "1:02:03.00". */
export function clockText(time, digits = 2) {
  const whole = Math.max(time, 0);
  const hours = Math.floor(whole / 3600);
  const minutes = Math.floor(whole / 60) % 60;
  const seconds = (whole % 60).toFixed(digits).padStart(digits ? digits + 3 : 2, "0");
  if (seconds.startsWith("60")) return clockText(Math.ceil(whole), digits);
  return hours ? `${hours}:${String(minutes).padStart(2, "0")}:${seconds}` : `${minutes}:${seconds}`;
}

/** "1:15.25", "75.25" or "75,25" → 75.25; NaN where it is no time. */
export function readClock(text) {
  const parts = String(text).trim().replace(",", ".").split(":");
  if (!parts.length || parts.length > 3 || parts.some((part) => !/^\d+(\.\d+)?$/.test(part))) return NaN;
  return parts.reduce((sum, part) => sum * 60 + Number(part), 0);
}

/** For screen readers: "1 minute 15.2 seconds". */
export function spokenTime(time) {
  const minutes = Math.floor(time / 60);
  const seconds = tell("{0} second|{0} seconds", Number((time % 60).toFixed(2)));
  return minutes ? tell("{0} minute {1}|{0} minutes {1}", minutes, seconds) : seconds;
}

/** A wait, roughly: "about 20 s", "about 3 min". */
export function waitText(seconds) {
  if (seconds == null || !Number.isFinite(seconds)) return "";
  if (seconds < 2) return say("a moment left");
  if (seconds < 90) return tell("about {0} s left", seconds < 20 ? Math.ceil(seconds) : Math.ceil(seconds / 5) * 5);
  return tell("about {0} min left", Math.ceil(seconds / 60));
}

export function sizeText(bytes) {
  if (bytes >= 1e9) return `${(bytes / 1e9).toFixed(2)} GB`;
  return bytes >= 1e6 ? `${(bytes / 1e6).toFixed(1)} MB` : `${Math.ceil(bytes / 1e3)} kB`;
}

/** A number with sign and unit: "−6 dB", "+0.5"; a dash where there is none (the level of silence). */
export function signed(value, unit = "", digits = 1) {
  if (value == null) return "–";
  const rounded = Number(value.toFixed(digits));
  const text = `${rounded < 0 ? "−" : rounded > 0 ? "+" : ""}${Math.abs(rounded)}`;
  return unit ? `${text} ${unit}` : text;
}
