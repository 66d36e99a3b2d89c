"""Write the audio prompts that ship with a model: excerpts of its training music, chosen to be unlike one another.

    python tools/build_prompts.py LISTING.csv PACKAGES OUT.npz TABLE.csv [--count 700] [--version 0.5]

LISTING is as for tools/tag_music.py, PACKAGES holds one unpacked package per folder. From each training track a few
places are tried: an excerpt ends on a downbeat and is neither silent nor sung. Those that are kept cover the axes:
after the extremes of every axis, always the one that is farthest from all that were taken (Gonzalez 1985). OUT.npz is
the bank, TABLE.csv names track, author and licence of each; a model in whose folder OUT lies gets it into its manifest.
Needs the extra `eval` and `python tools/fetch_eval_weights.py`. What was tried is kept in a folder, so that a second
run goes on.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import io
import json
import re
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr
from music_tags import FITTED_AXES, RawWindows, Tagger, fit_ridge, fit_tagger, measure, unit

from openvmas.codec.runtime import CodecRunner
from openvmas.codec.stream import CodecStream
from openvmas.data.sources.free_music import FreeTrack, check_track, read_copyright
from openvmas.files import write_npz, write_text
from openvmas.generate.audio_prompts import STEPS, AudioPrompt, condition_of
from openvmas.generate.recordings import pack
from openvmas.hub.taggers import SAMPLE_RATE as TAG_RATE
from openvmas.hub.taggers import Yamnet, log_mel
from openvmas.music.analysis import analyze_music
from openvmas.music.beats import take_chroma
from openvmas.music.onsets import take_spectrogram
from openvmas.pretrained import MANIFEST, find_weights, write_manifest
from openvmas.timeline import Events
from openvmas.train.codec.corpus import find_files, is_held_out
from openvmas.train.decoder.examples import EXCLUDED_ALBUMS, MAX_SINGING, MAX_SPEECH

PLACES = (0.3, 0.65)  # of a track, where excerpts are tried
BEFORE, AFTER = 16.0, 8.0  # s around the end of an excerpt that are analysed with it
QUIETEST = -45.0  # dB below full scale, RMS
PENALTY = 30.0  # of the mood regression
CONFIDENT = 0.35  # of the beat grid
VOICES = ("Singing", "Rapping", "Speech", "Child singing", "Male singing", "Female singing")  # YAMNet's classes
MAX_VOICE = 0.15  # probability of any of them
# Excerpts are passed on themselves, so only of tracks under a licence made for works of art, not under the GPL alone.
FREE = re.compile(r"CC-BY(?!-NC|-ND|-SA-NC)|CC0|public-domain|Expat")
EXTREMES = 2  # prompts at each end of every axis


def candidates_of(path: Path, runner: CodecRunner, embedder: Yamnet) -> list[dict[str, np.ndarray]]:
    """Excerpts of one track as arrays."""
    found = []
    with soundfile.SoundFile(path) as file:
        for place in PLACES:
            start = max(0.0, place * file.frames / file.samplerate - BEFORE)
            file.seek(int(start * file.samplerate))
            wave = file.read(int((BEFORE + AFTER) * file.samplerate), dtype="float32", always_2d=True).mean(axis=1)
            wave = soxr.resample(wave, file.samplerate, runner.sample_rate)
            if len(wave) >= (STEPS + 100) * runner.hop_length:
                found.extend(candidate_of(wave, start, runner, embedder))
    return found


def candidate_of(wave: np.ndarray, start: float, runner: CodecRunner, embedder: Yamnet) -> list[dict[str, np.ndarray]]:
    """At most one excerpt of a wave [L] that begins at `start` s of its track."""
    hop, rate = runner.hop_length, runner.sample_rate
    analysis = analyze_music(wave, rate)
    last = len(wave) / rate - 1.0
    ends = analysis.downbeats[(analysis.downbeats >= STEPS / 50 + 0.1) & (analysis.downbeats <= last)]
    end = round(50 * float(ends[np.argmin(abs(ends - BEFORE))] if len(ends) else min(BEFORE, last)))
    begin = end - STEPS
    part = wave[begin * hop : end * hop]
    if 10 * np.log10(np.mean(part.astype(np.float64) ** 2) + 1e-10) < QUIETEST:
        return []
    codes = runner.encode(wave[: len(wave) // hop * hop])[:4, begin:end]
    tags = measure(soxr.resample(part, rate, TAG_RATE), embedder, log_mel)
    voices = [embedder.classes.index(name) for name in VOICES if name in embedder.classes]
    if tags.logits[0, voices].max() > np.log(MAX_VOICE / (1 - MAX_VOICE)):
        return []
    events = analysis.events
    return [
        {
            "codes": codes.astype(np.uint16),
            "start": np.array(start + begin / 50),
            "beats": analysis.beats - begin / 50,
            "downbeats": analysis.downbeats - begin / 50,
            "tempo": np.array(analysis.tempo if analysis.confidence >= CONFIDENT else 0.0),
            **{name: getattr(events, name)[begin:end] for name in ("accents", "energy", "novelty")},
            **{f"tags_{name}": getattr(tags, name)[:1] for name in RawWindows.__dataclass_fields__},
        }
    ]


def collect(rows: list, folder: Path, model: str) -> list[tuple[dict, Path, dict[str, np.ndarray]]]:
    """Candidates of all tracks, each track's kept in a file."""
    runner, embedder = CodecRunner(find_weights(model), threads=1), Yamnet()
    folder.mkdir(parents=True, exist_ok=True)
    found = []
    for row, path in rows:
        kept = folder / (hashlib.sha256(row["track"].encode()).hexdigest()[:16] + ".npz")
        if not kept.exists():
            try:
                parts = candidates_of(path, runner, embedder)
            except (soundfile.LibsndfileError, ValueError) as error:
                print(f"left out {row['track']}: {error}", flush=True)
                continue
            write_npz(kept, {f"{i}/{name}": array for i, part in enumerate(parts) for name, array in part.items()})
        with np.load(kept) as data:
            for i in sorted({name.split("/")[0] for name in data.files}):
                found.append((row, path, {n.split("/")[1]: data[n] for n in data.files if n.split("/")[0] == i}))
    return found


def fit(found: list[tuple[dict, Path, dict[str, np.ndarray]]], classes: tuple[str, ...]) -> tuple[Tagger, np.ndarray]:
    """A tagger that knows this music, and the axes of every candidate: [N, len(AXES)]."""
    windows = [
        RawWindows(**{name: part[f"tags_{name}"].astype(np.float32) for name in RawWindows.__dataclass_fields__})
        for _, _, part in found
    ]
    labelled = [i for i, (row, _, _) in enumerate(found) if all(row.get(c) for c in FITTED_AXES.values())]
    x = np.concatenate([unit(windows[i].embeddings) for i in labelled])
    y = np.array([[float(found[i][0][column]) for column in FITTED_AXES.values()] for i in labelled])
    tagger = fit_tagger(windows, fit_ridge(x, y, penalty=PENALTY), classes)
    return tagger, np.concatenate([tagger.axes(w) for w in windows])


def cover(axes: np.ndarray, count: int) -> list[int]:
    """Rows [N, A] that cover the space: the ends of every axis, then always the one farthest from those taken."""
    taken: dict[int, None] = {}
    for values in axes.T:
        order = np.argsort(values, kind="stable")
        for i in (*order[:EXTREMES], *order[len(order) - EXTREMES :]):
            taken.setdefault(int(i))
    chosen = list(taken)[:count]
    distance = np.min([((axes - axes[i]) ** 2).sum(1) for i in chosen], axis=0)
    while len(chosen) < min(count, len(axes)):
        chosen.append(int(np.argmax(distance)))
        distance = np.minimum(distance, ((axes - axes[chosen[-1]]) ** 2).sum(1))
    return chosen


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("listing", type=Path)
    parser.add_argument("packages", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("table", type=Path)
    parser.add_argument("--model", default="mini")
    parser.add_argument("--count", type=int, default=700)
    parser.add_argument("--candidates", type=Path, default=Path("prompt-candidates"), help="folder of what was tried")
    parser.add_argument("--version", help="of the model from now on")
    given = parser.parse_args()
    rows = [
        (row, path)
        for row, path in find_files(given.listing, given.packages)
        if not is_held_out(row["track"], row["track"].split("/")[0])
        and row["track"].split("/")[0] not in EXCLUDED_ALBUMS
        and float(row["singing_share"]) <= MAX_SINGING
        and float(row["speech_share"]) <= MAX_SPEECH
    ]
    found = collect(rows, given.candidates, given.model)
    tagger, axes = fit(found, Yamnet().classes)
    tagger.save(given.candidates)
    tracks = {path: track_of(row["track"], path, given.packages) for row, path, _ in found}
    free = [i for i, (_, path, _) in enumerate(found) if FREE.search(tracks[path].licence)]
    chosen = [free[i] for i in cover(np.clip(axes[free], -3, 3), given.count)]
    codec = CodecRunner(find_weights(given.model), threads=1)
    prompts, entries, table = [], [], [["prompt", "track", "start_s", "author", "title", "licence"]]
    for i in sorted(chosen):
        row, path, part = found[i]
        chroma = chroma_of(part["codes"], codec)
        prompt, entry, line = as_prompt(row["track"], tracks[path], part, axes[i], chroma)
        prompts.append(prompt)
        entries.append(entry)
        table.append(line)
    write_npz(given.out, pack(prompts, entries))
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(table)
    write_text(given.table, text.getvalue())
    register(given.out, given.version)
    size = given.out.stat().st_size / 1e6
    print(f"{len(found)} candidates of {len(rows)} tracks, {len(chosen)} prompts, {size:.2f} MB")


def chroma_of(codes: np.ndarray, runner: CodecRunner) -> np.ndarray:
    """Strength of the 12 pitch classes in codes [4, n]: [12], of unit length, or zeros."""
    wave = CodecStream(runner, len(codes)).push(codes.astype(np.int64), is_last=True)
    total = take_chroma(take_spectrogram(wave, runner.sample_rate)).sum(0)
    return total / max(float(np.linalg.norm(total)), 1e-9)


def register(bank: Path, version: str | None) -> None:
    """Name the bank in the manifest of the model whose folder it lies in, if it lies in one."""
    path = bank.parent / MANIFEST
    if path.exists():
        old = json.loads(path.read_text())
        files = {role: entry["file"] for role, entry in old["files"].items()} | {"prompts": bank.name}
        write_manifest(
            bank.parent, name=old["name"], version=version or old["version"], licence=old["licence"], files=files,
            sizes=old["sizes"],
        )  # fmt: skip


def track_of(name: str, path: Path, packages: Path) -> FreeTrack:
    """Author, title and licence of a track."""
    package = name.split("/")[0]
    text = (packages / package / f"usr/share/doc/{package}/copyright").read_text("utf-8", "replace")
    return check_track(path, packages, package, read_copyright(text)) or FreeTrack(name, package, 0.0, "", "", "", "")


def as_prompt(
    name: str, track: FreeTrack, part: dict[str, np.ndarray], axes: np.ndarray, chroma: np.ndarray
) -> tuple[AudioPrompt, dict[str, Any], list[str]]:
    """A candidate as a prompt, as an entry of the bank, and as a line of the table."""
    start, n, tempo = float(part["start"]), STEPS / 50, float(part["tempo"])
    beats, downbeats = ([round(float(b), 3) for b in part[k] if -2 <= b <= n + 2] for k in ("beats", "downbeats"))
    key = hashlib.sha256(f"{name} {start:.2f}".encode()).hexdigest()[:8]
    entry = {"name": key, "track": name, "start": round(start, 2), "licence": track.licence}
    entry |= {"tempo": round(tempo, 2), "beats": beats, "downbeats": downbeats}
    events = Events(Fraction(50), *(part[k].astype(np.float32) for k in ("accents", "energy", "novelty")))
    condition = condition_of(events, np.array(beats), np.array(downbeats), axes)
    energy = float(events.energy.mean())
    prompt = AudioPrompt(key, part["codes"], condition, tempo, axes, energy, name, track.licence, chroma)
    return prompt, entry, [key, name, f"{start:.2f}", track.author, track.title, track.licence]


if __name__ == "__main__":
    main()
