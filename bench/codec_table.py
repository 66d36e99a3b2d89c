"""From measures of clips to a table, bars that are met or missed, and words about the worst clips."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from codec_clips import Clip
from codec_entropy import Predictability
from codec_measures import BANDS, CodeUse
from codec_stream import Exported
from codec_systems import Measured
from reference_cloud import Reference

BAND_NAMES = tuple(f"{low / 1000:g}-{high / 1000:g} kHz" for low, high in BANDS)
PATCHES, DRAWS = 400, 10  # of embeddings per Fréchet distance, as bench/fad.py
MOST_REFERENCE = 4000  # embeddings of training music
Summary = dict[str, float]


def mean(values: Sequence[float] | np.ndarray) -> float:
    """Mean of what is a number."""
    return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")


def summarise(clips: list[Measured], cents: np.ndarray) -> Summary:
    """One number per measure over all clips of a system."""
    n_strong, n_kept, n_heard, n_added = np.sum([clip["onsets"] for clip in clips], axis=0)
    level = np.array([float(clip["level"]) for clip in clips])
    result = {
        "kbps": mean([float(clip["kbps"]) for clip in clips]),
        "mel": mean([float(clip["mel"].mean()) for clip in clips]),
        "snr": mean([float(clip["snr"]) for clip in clips]),
        "level": float(np.nanmedian(level)),
        "level_within": float(np.mean(np.abs(level[np.isfinite(level)] - 1) <= 0.1)),
        "chroma": mean([float(clip["chroma"]) for clip in clips]),
        "onsets_kept": float(n_kept / max(n_strong, 1)),
        "onsets_added": float(n_added / max(n_heard, 1)),
        "onset_shift": float(np.median(np.concatenate([clip["shifts"] for clip in clips] or [np.zeros(0)])) * 1000),
        "cents_median": float(np.median(np.abs(cents))),
        "cents_95": float(np.percentile(np.abs(cents), 95)),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a band that is empty in every clip
        for kind in ("fine", "audible"):
            for i, value in enumerate(np.nanmean([clip[kind] for clip in clips], axis=0)):
                result[f"{kind}_{i}"] = float(value)
    return result


def distances(
    real: list[Measured], training: list[Measured], systems: dict[str, list[Measured]], network: str
) -> dict[str, Summary]:
    """By system, "real" too: Fréchet distance to training music, and to the clips themselves.

    Every figure is the mean of ten draws of equally many embeddings.
    """

    def cloud(clips: list[Measured]) -> np.ndarray:
        return np.concatenate([clip[network] for clip in clips]).astype(np.float32)

    generator = np.random.default_rng(0)
    music, own = cloud(training), cloud(real)
    if len(music) > MOST_REFERENCE:
        music = music[generator.choice(len(music), MOST_REFERENCE, replace=False)]
    clouds = {"real": own, **{name: cloud(clips) for name, clips in systems.items()}}
    n = min(PATCHES, *(len(points) for points in clouds.values()))
    n_axes = min(64, n // 4)
    to_music, to_own = Reference(music, n_axes), Reference(own, n_axes)
    found = {}
    for name, points in clouds.items():
        draws = [points[generator.choice(len(points), n, replace=False)] for _ in range(DRAWS)]
        fad = [to_music.frechet(draw) for draw in draws]
        found[name] = {
            f"{network}": float(np.mean(fad)),
            f"{network}_std": float(np.std(fad)),
            f"{network}_own": float(np.mean([to_own.frechet(draw) for draw in draws])),
            f"{network}_patches": n,
        }
    return found


ROWS: tuple[tuple[str, str, str], ...] = (
    ("bit rate, kbps", "kbps", ".1f"),
    ("mel distance", "mel", ".3f"),
    ("Fréchet, YAMNet", "yamnet", ".2f"),
    ("Fréchet, musicnn", "musicnn", ".2f"),
    ("Fréchet to the same clips, YAMNet", "yamnet_own", ".2f"),
    ("Fréchet to the same clips, musicnn", "musicnn_own", ".2f"),
    ("level ratio, median", "level", ".2f"),
    ("clips within 10 % of level", "level_within", ".0%"),
    ("SNR, dB", "snr", ".1f"),
    *((f"fine spectrum (80 dB), {name}", f"fine_{i}", ".2f") for i, name in enumerate(BAND_NAMES)),
    *((f"audible spectrum (50 dB), {name}", f"audible_{i}", ".2f") for i, name in enumerate(BAND_NAMES)),
    ("chroma correlation", "chroma", ".3f"),
    ("strong onsets within 10 ms", "onsets_kept", ".0%"),
    ("strong onsets added", "onsets_added", ".0%"),
    ("onset shift, median ms", "onset_shift", ".1f"),
    ("pitch error, median cents", "cents_median", ".2f"),
    ("pitch error, 95 % cents", "cents_95", ".1f"),
)


@dataclass(frozen=True)
class Bar:
    """One thing to reach. is_met: None where nothing was asked or nothing measured."""

    name: str
    goal: str
    value: str
    is_met: bool | None

    @property
    def verdict(self) -> str:
        return "" if self.is_met is None else "met" if self.is_met else "MISSED"


@dataclass(frozen=True)
class Extras:
    """What is measured of the codec alone. entropy, exported: None if left out."""

    use: list[CodeUse]
    fewer: list[list[float]]  # codebooks, mel, SNR; all of them last
    extremes: dict[str, dict[str, float]]
    entropy: Predictability | None = None
    exported: Exported | None = None
    worst: list[tuple[str, float, str]] = field(default_factory=list)


def judge(codec: Summary, rival: Summary, rival_name: str, lowest_kbps: float, extras: Extras) -> list[Bar]:
    """Every bar of the codec. Where there is no absolute goal it has to be no worse than the rival, an Opus."""
    bars = [Bar("bit rate", f"<= {lowest_kbps:g} kbps", f"{codec['kbps']:.2f} kbps", codec["kbps"] <= lowest_kbps)]

    def against(label: str, key: str, form: str, higher: bool) -> None:
        sign = ">=" if higher else "<="
        is_met = codec[key] >= rival[key] if higher else codec[key] <= rival[key]
        goal = f"{sign} {format(rival[key], form)} ({rival_name})"
        bars.append(Bar(label, goal, format(codec[key], form), None if np.isnan(rival[key]) else bool(is_met)))

    for label, key, form in ROWS:
        if key in ("mel", "yamnet", "musicnn"):
            against(label, key, form, False)
        elif key.startswith(("fine", "audible")) or key == "chroma":
            against(label, key, form, True)
        elif key == "level":
            share = f"{codec['level_within']:.0%} of clips within"
            bars.append(Bar(label, "0.90 to 1.10", f"{codec[key]:.3f}; {share}", bool(abs(codec[key] - 1) <= 0.1)))
        elif key == "onsets_kept":
            bars.append(Bar(label, ">= 90%", f"{codec[key]:.0%}; {codec['onsets_added']:.0%} added", codec[key] >= 0.9))
        elif key == "onset_shift":
            bars.append(Bar(label, "<= 10 ms", f"{codec[key]:.1f} ms", codec[key] <= 10))
    pitch = f"{codec['cents_median']:.2f} median, {codec['cents_95']:.1f} at 95 %"
    bars.append(Bar("pitch of solo notes, cents", "95 % within 10", pitch, codec["cents_95"] <= 10))
    return [*bars, *judge_signals(extras), *judge_codes(extras), *judge_export(extras.exported)]


def judge_signals(extras: Extras) -> list[Bar]:
    bars = []
    for name, found in extras.extremes.items():
        value = f"peak {found['peak_dbfs']:+.1f} dBFS"
        if "silence" in name:
            bars.append(Bar(name, "<= -60 dBFS", value, found["peak_dbfs"] <= -60))
        else:
            value += f", level {found['level_db']:+.1f} dB, {found['over']:.1%} over full scale"
            goal = "finite, peak <= +3 dBFS, level +-1 dB"
            is_met = found["finite"] == 1 and found["peak_dbfs"] <= 3 and abs(found["level_db"]) <= 1
            bars.append(Bar(name, goal, value, bool(is_met)))
    return bars


def judge_codes(extras: Extras) -> list[Bar]:
    bars = []
    for level, use in enumerate(extras.use):
        value = f"{use.entries} entries ({use.entries_share:.0%}), perplexity {use.perplexity:.0f}"
        share = use.perplexity_share
        bars.append(Bar(f"codebook {level}", "perplexity >= 60 %", f"{value} ({share:.0%})", share >= 0.6))
    mels = [row[1] for row in extras.fewer]
    text = "; ".join(f"{n:.0f}: mel {mel:.3f}, SNR {snr:.1f} dB" for n, mel, snr in extras.fewer)
    falls = all(a > b for a, b in itertools.pairwise(mels))
    bars.append(Bar("fewer codebooks", "each pair lowers mel", text, falls))
    if entropy := extras.entropy:
        nats = " ".join(f"{value:.2f}" for value in entropy.nats)
        nominal = len(entropy.nats) * np.log2(entropy.size) * entropy.frame_rate
        bits = f"{entropy.bits_per_second:.0f} of {nominal:.0f} bits/s"
        bars.append(Bar("predictability, nats by level", "none set", f"{nats}; {bits}", None))
    return bars


def judge_export(exported: Exported | None) -> list[Bar]:
    if exported is None:
        return [Bar("seams, speed, size", "none set", "not measured: give --onnx FOLDER", None)]
    chunk, seam = max(exported.seams.items(), key=lambda item: item[1])
    flux = max(exported.flux.values(), key=lambda value: abs(value - 1))
    one, two = exported.speed[1], exported.speed[2]
    return [
        Bar("seam, largest difference", "<= 1e-4", f"{seam:.1e} (chunks of {chunk} steps)", seam <= 1e-4),
        Bar("flux at borders / one-shot", "0.95 to 1.05", f"{flux:.4f}", abs(flux - 1) <= 0.05),
        Bar("export against PyTorch, SNR", ">= 20 dB", f"{exported.snr_db:.1f} dB", exported.snr_db >= 20),
        Bar("decoding, x real time", ">= 20 on 1 thread", f"{one:.0f} on 1, {two:.0f} on 2 threads", one >= 20),
        Bar(
            "start-up to first second",
            "<= 1 s",
            f"{exported.start_seconds:.2f} s of a core",
            exported.start_seconds <= 1,
        ),
        Bar("size", "none set", f"decoder {exported.codec_mb:.1f} MB, all files {exported.folder_mb:.1f} MB", None),
    ]


# What may be wrong with a clip: value (larger is worse), least spread that counts, words.
Fault = tuple[str, Callable[[Measured], float], float, Callable[[Measured], str]]


def faults() -> list[Fault]:
    """All that a clip is compared in with the median clip."""

    def decibels(clip: Measured) -> float:
        return 20 * float(np.log10(max(float(clip["level"]), 1e-6)))

    found: list[Fault] = [
        ("level", lambda c: abs(decibels(c)), 0.5, lambda c: f"level {decibels(c):+.1f} dB"),
        ("chroma", lambda c: 1 - float(c["chroma"]), 0.03, lambda c: f"chroma correlation {float(c['chroma']):.2f}"),
        ("onsets lost", lambda c: 1 - c["onsets"][1] / c["onsets"][0] if c["onsets"][0] else np.nan, 0.05,
         lambda c: f"onsets lost {1 - c['onsets'][1] / c['onsets'][0]:.0%} of {c['onsets'][0]}"),
        ("onsets added", lambda c: c["onsets"][3] / c["onsets"][2] if c["onsets"][2] else 0.0, 0.05,
         lambda c: f"onsets added {c['onsets'][3] / c['onsets'][2]:.0%}"),
    ]  # fmt: skip
    for i, name in enumerate(BAND_NAMES):
        found.append(
            (name, lambda c, i=i: 1 - float(c["fine"][i]), 0.03,
             lambda c, i=i, name=name: f"{name} correlation {float(c['fine'][i]):.2f}")
        )  # fmt: skip
        found.append(
            (name, lambda c, i=i: abs(float(c["gains"][i])), 1.0,
             lambda c, i=i, name=name: f"{name} level {float(c['gains'][i]):+.1f} dB")
        )  # fmt: skip
    return found


def worst_clips(clips: list[Clip], measured: list[Measured], n: int = 10) -> list[tuple[str, float, str]]:
    """The clips with the largest mel distance: track with its time, distance, and in what it is worse than the median.

    Three faults at most, those that lie most median deviations above the median clip.
    """
    kinds = faults()
    values = np.array([[value(clip) for _, value, _, _ in kinds] for clip in measured], dtype=float)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        middle = np.nanmedian(values, axis=0)
        spread = 1.4826 * np.nanmedian(np.abs(values - middle), axis=0)
    excess = (values - middle) / np.maximum(spread, [least for _, _, least, _ in kinds])
    order = np.argsort([-clip["mel"].mean() for clip in measured])[:n]
    result = []
    for i in order:
        ranked = sorted((k for k in range(len(kinds)) if excess[i, k] > 1), key=lambda k: -excess[i, k])[:3]
        words = ", ".join(kinds[k][3](measured[i]) for k in ranked) or "nothing stands out"
        name = f"{clips[i].track} at {clips[i].second:.0f} s"
        result.append((name, float(measured[i]["mel"].mean()), words))
    return result


def table_lines(summaries: dict[str, Summary], separator: str) -> list[str]:
    """Rows of measures by system, as text or (separator "|") as Markdown."""
    names = list(summaries)
    rows = [["", *names]]
    for label, key, form in ROWS:
        cells = [format(s[key], form) if key in s and np.isfinite(s[key]) else "" for s in summaries.values()]
        rows.append([label, *cells])
    if separator == "|":
        rows.insert(1, ["---"] * len(rows[0]))
        return [f"| {' | '.join(row)} |" for row in rows]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return ["  ".join(c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True)))
            for row in rows]  # fmt: skip


def report(summaries: dict[str, Summary], bars: list[Bar], extras: Extras, markdown: bool) -> str:
    """The whole result as text or Markdown."""
    lines = table_lines(summaries, "|" if markdown else " ")
    counts = [f"{s['yamnet_patches']:.0f} (YAMNet) and {s['musicnn_patches']:.0f} (musicnn)"
              for s in summaries.values() if "musicnn_patches" in s]  # fmt: skip
    if counts:
        lines += [
            "",
            f"Fréchet distances: mean of {DRAWS} draws of {counts[0]} embeddings; real: the clips themselves.",
        ]
    judged = [bar for bar in bars if bar.is_met is not None]
    met = f"{sum(bool(bar.is_met) for bar in judged)} of {len(judged)} bars met"
    if markdown:
        lines += ["", f"{met}.", "", "| bar | goal | value | |", "|---|---|---|---|"]
        lines += [f"| {bar.name} | {bar.goal} | {bar.value} | {bar.verdict} |" for bar in bars]
        lines += ["", "Worst clips by mel distance:", "", "| clip | mel | what is wrong |", "|---|---|---|"]
        lines += [f"| {name} | {mel:.3f} | {words} |" for name, mel, words in extras.worst]
    else:
        lines += ["", met]
        lines += [f"{bar.verdict:6}  {bar.name:36}  {bar.goal:38}  {bar.value}" for bar in bars]
        lines += ["", "Worst clips by mel distance"]
        lines += [f"{mel:.3f}  {name}: {words}" for name, mel, words in extras.worst]
    return "\n".join(lines) + "\n"
