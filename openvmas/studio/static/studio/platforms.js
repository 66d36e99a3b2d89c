// Where a video goes and how loud it should be there. Integrated loudness by ITU-R BS.1770, true peak in dBTP.
// "published" is what the platform or standard itself states; the others publish nothing and are measured by many.
import { tell } from "./words.js";

export const PLATFORMS = [
  {
    id: "youtube",
    name: "YouTube",
    loudness: -14,
    true_peak: -1,
    source:
      "Measured: YouTube turns louder sound down to −14 LUFS (“content loudness” in its Stats for nerds) and publishes no target.",
  },
  {
    id: "tiktok",
    name: "TikTok, Instagram, Shorts",
    loudness: -14,
    true_peak: -1,
    source: "No target is published; −14 LUFS is what most creators deliver.",
  },
  {
    id: "spotify",
    name: "Spotify (video podcasts)",
    loudness: -14,
    true_peak: -1,
    source: "Published: Spotify for Artists, loudness normalization, −14 LUFS and at most −1 dBTP.",
  },
  {
    id: "apple",
    name: "Apple Podcasts, Apple Music",
    loudness: -16,
    true_peak: -1,
    source: "Published: Apple Podcasts audio requirements, about −16 LKFS ± 1 dB and at most −1 dBTP.",
  },
  {
    id: "ebu",
    name: "Broadcast, Europe (EBU R 128)",
    loudness: -23,
    true_peak: -1,
    source: "Published: EBU R 128, −23 LUFS ± 0.5 and at most −1 dBTP.",
  },
  {
    id: "atsc",
    name: "Broadcast, America (ATSC A/85)",
    loudness: -24,
    true_peak: -2,
    source: "Published: ATSC A/85, −24 LKFS ± 2 and at most −2 dBTP.",
  },
];

export const platformOf = (loudness, truePeak) =>
  PLATFORMS.find((platform) => platform.loudness === loudness && platform.true_peak === truePeak);

const named = (id) => PLATFORMS.find((platform) => platform.id === id);

/** One press each: loudness and peak as the place wants them, and how far music goes down under speech there. */
export const PRESETS = [
  { ...named("youtube"), name: "YouTube", duck: -12 },
  { ...named("tiktok"), name: "Reels, Shorts, TikTok", duck: -12, longest: 180 },
  { ...named("apple"), name: "Podcast", duck: -18 },
  { ...named("ebu"), name: "Broadcast −23", duck: -15 },
];

/** A sentence where a video is longer than a place takes, else null. */
export const tooLong = ({ name, longest }, duration) =>
  longest && duration > longest
    ? tell("{0} take videos of up to {1} minutes, and this one is longer; cut it before you upload it.", name, longest / 60)
    : null;
