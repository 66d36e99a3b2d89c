"""Does the music follow picture and plan? Sync beyond chance, energy, tempo and hits, over a folder of videos.

    python bench/follow.py VIDEOS --out DIR [--model mini] [--limit N] [--json out.json]

For every video music is written three times: with its events, with none, and with as many at shuffled times; all
three are measured against the same visual beats. Half of the videos are written twice more: with three hits at random
moments, and at an asked tempo. The waves stay in DIR/on, DIR/off, DIR/shuffled (for bench/fad.py), DIR/hits and
DIR/tempo; a wave that is there already is not written again, so --share 0/2 and --share 1/2 may fill DIR at the same
time. Use videos that nothing was tuned on: python tools/make_test_videos.py
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import soundfile

from openvmas.generate.piece import Composer
from openvmas.generate.scorer import load
from openvmas.music.analysis import analyze_music
from openvmas.music.sync import energy_correlation, hit_rate, sync_of_wave
from openvmas.planning.conditioning import build_condition
from openvmas.planning.planner import make_plan
from openvmas.settings import GenerateOptions, PlanOptions
from openvmas.vision.analysis import VideoAnalysis, analyze

VIDEO_SUFFIXES = {".mp4", ".mkv", ".mov", ".webm", ".avi"}
TEMPOS = (72.0, 84.0, 96.0, 108.0, 120.0, 132.0, 144.0)


def compose(composer: Composer, condition, options: GenerateOptions, path: Path) -> tuple[np.ndarray, int]:
    """The wave [2, L] of a condition, from the file if it is there."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        wave = np.concatenate(list(composer.compose(condition, None, options)), axis=1)
        soundfile.write(path, wave.T, 48_000, subtype="FLOAT")
    wave, rate = soundfile.read(path, dtype="float32", always_2d=True)
    return wave.T, rate


def octave_error(asked: float, heard: float) -> float:
    """Relative error of a tempo, where half, double and the like count as right (trackers often take another level)."""
    if heard <= 0:
        return 1.0
    return min(abs(heard * factor / asked - 1) for factor in (1 / 3, 0.5, 2 / 3, 1, 1.5, 2, 3))


def follow(path: Path, number: int, composer: Composer, out: Path, options: GenerateOptions) -> dict:
    """All measures of one video."""
    cached = out / "analysis" / f"{path.stem}.npz"
    if not cached.exists():
        cached.parent.mkdir(parents=True, exist_ok=True)
        analyze(path).save(cached)
    analysis = VideoAnalysis.load(cached)
    name = f"{path.stem}.wav"
    options = replace(options, seed=options.seed + number)
    row: dict = {"video": path.name, "duration": float(analysis.duration), "beats": len(analysis.visual_beats)}
    plan = make_plan(analysis, PlanOptions())
    for events in ("on", "off", "shuffled"):
        condition = build_condition(plan, analysis, events=events, seed=number)
        wave, rate = compose(composer, condition, options, out / events / name)
        row[f"z_{events}"] = sync_of_wave(wave, rate, analysis.visual_beats).z
        if events == "on":
            heard = analyze_music(wave, rate)
            row["energy"] = energy_correlation(condition.events.energy, heard.events.energy)
            row["grid_share"] = heard.confidence
            row["peak"] = float(np.abs(wave).max())
            row["level_db"] = float(10 * np.log10(np.mean(wave.astype(np.float64) ** 2) + 1e-12))
    if number % 4 >= 2:
        return row
    generator = np.random.default_rng(number)
    hits = np.sort(generator.uniform(1.0, max(1.5, row["duration"] - 2.0), 3))
    hits = hits[np.insert(np.diff(hits) > 0.4, 0, True)]
    with_hits = make_plan(analysis, PlanOptions(hit=tuple(float(h) for h in hits)))
    wave, rate = compose(composer, build_condition(with_hits, analysis), options, out / "hits" / name)
    onsets = analyze_music(wave, rate).onsets
    row["hits"], row["hit_rate"] = len(hits), hit_rate(hits, onsets)
    chance = [hit_rate((hits + s) % row["duration"], onsets) for s in generator.uniform(0.3, row["duration"] - 0.3, 50)]
    row["hit_chance"] = float(np.mean(chance))
    asked = TEMPOS[number % len(TEMPOS)]
    with_tempo = make_plan(analysis, PlanOptions(tempo=asked))
    wave, rate = compose(composer, build_condition(with_tempo, analysis), options, out / "tempo" / name)
    heard = analyze_music(wave, rate)
    row["tempo_asked"], row["tempo_heard"] = asked, heard.tempo
    row["tempo_error"] = octave_error(asked, heard.tempo)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--model", default="mini")
    parser.add_argument("--limit", type=int, default=100)
    parser.add_argument("--share", default="0/1", help="only every n-th video, beginning with this one")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--candidates", type=int, default=GenerateOptions().candidates)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    composer = load(arguments.model).composer
    options = GenerateOptions(seed=arguments.seed, candidates=arguments.candidates)
    videos = sorted(p for p in arguments.videos.iterdir() if p.suffix in VIDEO_SUFFIXES)[: arguments.limit]
    rows = []
    share, n_shares = map(int, arguments.share.split("/"))
    for number, path in enumerate(videos):
        if number % n_shares != share:
            continue
        rows.append(follow(path, number, composer, arguments.out, options))
        print(" ".join(f"{k}={v:.2f}" if isinstance(v, float) else f"{k}={v}" for k, v in rows[-1].items()), flush=True)
    moving = [row for row in rows if row["beats"] >= 3]
    print(f"\n{len(rows)} videos, {len(moving)} with at least three visual beats")
    for key in ("z_on", "z_off", "z_shuffled"):
        values = np.array([row[key] for row in moving])
        print(f"{key}: mean {values.mean():+.2f} ± {values.std(ddof=1) / np.sqrt(len(values)):.2f} (standard error)")
    print(f"energy asked against heard: mean r {np.mean([row['energy'] for row in rows]):.2f}")
    asked = [row for row in rows if "hits" in row]
    n_hits = sum(row["hits"] for row in asked)
    for key in ("hit_rate", "hit_chance"):
        print(f"{key}: {sum(row[key] * row['hits'] for row in asked) / n_hits:.2f} of {n_hits}, within 80 ms")
    near = np.array([row["tempo_error"] for row in asked])
    print(f"tempo within 2 % of the asked one or a simple multiple: {np.mean(near <= 0.02):.2f} of {len(near)}")
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
