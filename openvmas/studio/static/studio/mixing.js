// The levels at which a take is heard: the same rules as openvmas/media/mix.py. Before it is finished, the loudness of
// what is written so far stands for that of the whole; afterwards the power of music and original in every 25 ms
// (`levels.json`) gives the loudness of their sum at any setting, so that what is heard is what is mixed.
import { gainAt, parse, toGain } from "./envelope.js";
import { clamp } from "./units.js";

const SILENT = -60; // LUFS of an original that is left out
const QUIETEST = -30; // LUFS; music is not set below a quiet original by more than this allows
const USUAL = -20; // LUFS of music of which nothing is known yet
const MAX_GAIN = 40; // dB
const LEAD = { lead: 0.1, attack: 0.3, hold: 0.35, release: 1.2 }; // s, of ducking: openvmas/media/loudness.py
const [OFFSET, ABSOLUTE_GATE, RELATIVE_GATE] = [-0.691, -70, -10]; // dB, LUFS, LU: ITU-R BS.1770-4
const PER_SECOND = 40; // hops of levels.json
const [HOPS, STEP] = [16, 4]; // in a block of 400 ms, and from one block to the next

export { toGain };

const power = (lufs) => 10 ** (lufs / 10);

/** Share of its depth by which music is lowered at a time. spans: [start, end] of speech, s. */
export function duckShare(spans, time) {
  let share = 0;
  for (const [start, end] of spans ?? []) {
    const rise = clamp((time - (start - LEAD.lead - LEAD.attack)) / LEAD.attack, 0, 1);
    const fall = clamp((end + LEAD.hold + LEAD.release - time) / LEAD.release, 0, 1);
    share = Math.max(share, 0.5 - 0.5 * Math.cos(Math.PI * Math.min(rise, fall)));
  }
  return share;
}

/** Integrated loudness of the powers of hops, LUFS; −∞ for silence. */
export function loudnessOf(hops) {
  const blocks = [];
  for (let i = 0; i + HOPS <= hops.length; i += STEP) {
    let sum = 0;
    for (let hop = i; hop < i + HOPS; hop++) sum += hops[hop];
    blocks.push(sum / HOPS);
  }
  const loud = blocks.filter((block) => block > 10 ** ((ABSOLUTE_GATE - OFFSET) / 10));
  if (!loud.length) return -Infinity;
  const mean = (list) => list.reduce((sum, value) => sum + value, 0) / list.length;
  const gate = mean(loud) * 10 ** (RELATIVE_GATE / 10);
  return OFFSET + 10 * Math.log10(mean(loud.filter((block) => block > gate)));
}

/**
 * Gains in dB: of the music, of the original (null: not heard), and of the music under speech in addition; and the
 * points of the music's volume curve. music, original: LUFS, null where unknown or none. settings: options of the mix by
 * name. spans: of speech; powers: of a finished take, else null.
 */
export function levels({ music, original, hasOriginal, settings, spans = [], powers = null }) {
  const points = parse(settings.envelope);
  const tune = powers ? loudnessOf(powers.music) : (music ?? USUAL);
  const heard = powers && hasOriginal ? loudnessOf(powers.original) : (original ?? USUAL);
  const isKept = hasOriginal && !settings.replace_audio && heard >= SILENT;
  const set = isKept ? Math.max(heard, QUIETEST) + settings.music_gain - tune : 0;
  const own = settings.original_gain ?? 0;
  const duck = isKept ? settings.duck : 0;
  let sum;
  if (powers) {
    const [m, o] = [toGain(set), isKept ? toGain(own) : 0];
    const hops = powers.music.map((_, i) => {
      const time = (i + 0.5) / PER_SECOND;
      const g = m * gainAt(points, time) * (duck ? toGain(duck * duckShare(spans, time)) : 1);
      return g * g * powers.music[i] + 2 * g * o * powers.cross[i] + o * o * powers.original[i];
    });
    sum = loudnessOf(hops);
  } else sum = isKept ? 10 * Math.log10(power(heard + own) + power(tune + set)) : tune;
  const master = Number.isFinite(sum) ? Math.min(settings.loudness - sum, MAX_GAIN) : 0;
  return { music: set + master, original: isKept ? master + own : null, duck, points };
}
