// The server's API. A refusal becomes a Refusal whose message is the server's one sentence.
import { tell } from "./words.js";

export class Refusal extends Error {
  constructor(message, status, headers) {
    super(message);
    this.status = status;
    this.headers = headers;
  }
}

const UNREACHABLE = "The studio's server does not answer; see whether `openvmas studio` still runs, then go on here.";

let isAway = false; // the last request found no server

async function request(method, path, { body, headers = {}, signal } = {}) {
  const isRaw = body instanceof Blob;
  const settings = { method, headers: { ...headers }, signal, credentials: "same-origin" };
  if (body !== undefined) {
    settings.body = isRaw ? body : JSON.stringify(body);
    settings.headers["Content-Type"] ??= isRaw ? "application/offset+octet-stream" : "application/json";
    // What is saved while the page is being left arrives all the same, if it is small.
    settings.keepalive = method === "PUT" && settings.body.length < 60_000;
  }
  let response;
  try {
    response = await fetch(`/api${path}`, settings);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    isAway = true;
    throw new Refusal(UNREACHABLE, 0, new Headers());
  }
  if (isAway) document.dispatchEvent(new CustomEvent("studio:reached", { detail: UNREACHABLE }));
  isAway = false;
  if (response.ok) return response;
  const told = await response.json().catch(() => null);
  const sentence = told?.error ?? tell("The server answered {0}; try again.", response.status);
  if (response.status === 401) document.dispatchEvent(new CustomEvent("studio:signed-out"));
  throw new Refusal(sentence, response.status, response.headers);
}

const json = async (...call) => {
  const response = await request(...call);
  return response.status === 204 ? null : response.json();
};

export const get = (path, options) => json("GET", path, options);
export const post = (path, body, options) => json("POST", path, { body, ...options });
export const put = (path, body, headers) => json("PUT", path, { body, headers });
export const patch = (path, body) => json("PATCH", path, { body });
export const remove = (path) => json("DELETE", path);

/** One piece of an upload; returns where the next one begins. */
export async function sendPiece(project, offset, piece, signal) {
  const headers = { "Upload-Offset": String(offset) };
  const response = await request("PATCH", `/projects/${project}/upload`, { body: piece, headers, signal });
  return Number(response.headers.get("Upload-Offset"));
}

/** Put a recording into a project; returns what is known of it. */
export async function sendSound(project, file) {
  const query = new URLSearchParams({ filename: file.name.slice(0, 120) });
  const response = await request("POST", `/projects/${project}/sounds?${query}`, { body: file, headers: { "Content-Type": "application/offset+octet-stream" } });
  return response.json();
}

/**
 * Second n of a take, or null while it is not written; waits up to `wait` s for it: {wav: an ArrayBuffer, lufs: the
 * loudness of all music that is written by then, null where that is not known}.
 */
export async function fetchBlock(take, index, { of = "music", wait = 0, signal } = {}) {
  const query = new URLSearchParams({ of, wait });
  const response = await request("GET", `/takes/${take}/blocks/${index}?${query}`, { signal });
  if (response.status === 204) return null;
  const told = response.headers.get("Music-Loudness");
  return { wav: await response.arrayBuffer(), lufs: told === null ? null : Number(told) };
}

const FINAL = new Set(["done", "failed", "cancelled", "interrupted"]);
export const isFinal = (job) => FINAL.has(job.state);

/**
 * Follow a job: `tell(job)` at once and at every change until its end, and `show(analysis)` as far as the picture has
 * been watched; `lost(whether)` when the line breaks and when it is back. Returns a function that stops following.
 * EventSource takes up a broken line by itself, and its first event says everything again; where it gives up, because
 * the server was started anew, we begin again.
 */
export function follow(id, tell, show, lost = () => {}) {
  let source = null;
  let timer = null;
  const stop = () => (clearTimeout(timer), source.close());
  const open = () => {
    source = new EventSource(`/api/jobs/${id}/events`);
    source.addEventListener("job", (event) => {
      lost(false);
      const job = JSON.parse(event.data);
      if (isFinal(job)) stop();
      tell(job);
    });
    source.addEventListener("analysis", (event) => show(JSON.parse(event.data)));
    source.addEventListener("error", () => {
      lost(true);
      if (source.readyState === EventSource.CLOSED) timer = setTimeout(open, 2000);
    });
  };
  open();
  return stop;
}
