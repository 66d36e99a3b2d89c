// The levels at which a take is heard before its mix is finished, or while its levels are being changed: the same rules as
// openvmas/media/mix.py, with the loudness of what is written so far in place of the whole music's.

const SILENT = -60; // LUFS of an original that is left out
const QUIETEST = -30; // LUFS; music is not set below a quiet original by more than this allows
const USUAL = -20; // LUFS of music of which nothing is known yet
const MAX_GAIN = 40; // dB

const power = (lufs) => 10 ** (lufs / 10);

/**
 * Gains in dB: of the music, of the original (null: not heard), and of the music under speech in addition.
 * music, original: LUFS, null where unknown or none. settings: options of the mix by name.
 */
export function levels({ music, original, hasOriginal, settings }) {
  const tune = music ?? USUAL;
  const kept = hasOriginal && !settings.replace_audio && (original ?? USUAL) >= SILENT ? (original ?? USUAL) : null;
  const set = kept === null ? 0 : Math.max(kept, QUIETEST) + settings.music_gain - tune;
  const sum = kept === null ? tune : 10 * Math.log10(power(kept) + power(tune + set));
  const master = Math.min(settings.loudness - sum, MAX_GAIN);
  return { music: set + master, original: kept === null ? null : master, duck: kept === null ? 0 : settings.duck };
}

export const toGain = (db) => (db === null ? 0 : 10 ** (db / 20));
