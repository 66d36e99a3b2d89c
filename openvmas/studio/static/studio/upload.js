// A file on its way to the server, piece by piece; after a broken connection it goes on where it stopped.
import * as api from "./api.js";

const PAUSES = [0.5, 1, 2, 4, 8]; // s between tries; the last one repeats
const FIRST_PIECE = 2 ** 17; // bytes; on a slow line progress is seen at once
const LARGEST_PIECE = 4 * 2 ** 20; // bytes; requests do not count any more
const PIECE_S = 1; // s that a piece should take

/**
 * Send a file to a project that waits for one. `tell({offset, size, rate, isWaiting})` as it goes on; rate in bytes/s.
 * Throws api.Refusal where the server will never take it, and AbortError when `signal` says stop.
 */
export async function upload(project, file, { tell, signal }) {
  let offset = 0;
  let began = null;
  const report = (isWaiting = false) => {
    began ??= { at: performance.now(), offset };
    const seconds = (performance.now() - began.at) / 1000;
    tell({ offset, size: file.size, rate: seconds > 0.3 ? (offset - began.offset) / seconds : null, isWaiting });
  };
  const persist = (call) => insist(call, () => report(true), signal);
  const asked = { filename: file.name, size: file.size };
  let state = await persist(() => api.post(`/projects/${project}/upload`, asked, { signal }));
  offset = state.offset;
  report();
  let length = FIRST_PIECE;
  while (offset < file.size) {
    const piece = file.slice(offset, offset + Math.min(length, state.chunk));
    const sentAt = performance.now();
    offset = await persist(async () => {
      try {
        return await api.sendPiece(project, offset, piece, signal);
      } catch (error) {
        if (error.status !== 409) throw error;
        // What arrived before the line broke is kept; the server knows how much.
        state = await api.get(`/projects/${project}/upload`, { signal });
        return state.offset;
      }
    });
    const bytesIn = (piece.size / Math.max(performance.now() - sentAt, 1)) * 1000 * PIECE_S;
    length = Math.min(Math.max(bytesIn, FIRST_PIECE / 4), 2 * length, LARGEST_PIECE);
    report();
  }
}

/** Call until it works, with growing pauses, as long as the fault is one that passes. */
async function insist(call, tellWaiting, signal) {
  for (let tries = 0; ; tries++) {
    try {
      return await call();
    } catch (error) {
      const isPassing =
        error instanceof api.Refusal && (error.status === 0 || error.status === 429 || error.status >= 500);
      if (!isPassing || signal?.aborted) throw error;
      tellWaiting();
      await pause(PAUSES[Math.min(tries, PAUSES.length - 1)], signal);
    }
  }
}

/** Wait some seconds, or until the line is back. */
function pause(seconds, signal) {
  return new Promise((resolve, reject) => {
    const done = () => (clearTimeout(timer), removeEventListener("online", done), resolve());
    const timer = setTimeout(done, seconds * 1000);
    addEventListener("online", done);
    signal?.addEventListener("abort", () => reject(new DOMException("Stopped.", "AbortError")), { once: true });
  });
}
