"""Where meaning is lost between picture and music: seen to told, told to heard, heard against the true music.

    python bench/meaning_chain.py RESULTS CLIPS KEPT [--systems ours symbolic fitted]

RESULTS holds a folder of FLAC files for each system and `reference`, the true music, as `openvmas eval run` leaves
them; CLIPS the videos of the same names; KEPT is a folder for what has been computed. Told is what the plan asks
for, by axes; heard is what a linear listener says of the music. The listener is learned from the audio prompts that
ship with mini: ridge regression from YAMNet's mean embedding to their axes. "Own nearer": the share of other clips
whose place (told or true) lies farther from the piece than its own, by the cosine of standardised axes, mean over
clips ± standard error; chance is .5. Needs `python tools/fetch_eval_weights.py`.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
from audio_prompts import embed

import openvmas
from openvmas.codec.stream import CodecStream
from openvmas.condition import AXES
from openvmas.files import write_npz
from openvmas.generate.audio_prompts import PromptBank
from openvmas.hub.taggers import Yamnet
from openvmas.media.audio import read_audio
from openvmas.vision.analysis import VideoAnalysis

PENALTY = 3000.0


def kept(path: Path, compute: Callable[[], np.ndarray]) -> np.ndarray:
    """An array that is computed once."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_npz(path, {"x": compute()})
    with np.load(path) as data:
        return data["x"]


class Listener:
    """Axes of music by YAMNet and ridge regression. folder: for the embeddings of the prompts."""

    def __init__(self, folder: Path) -> None:
        self.ear = Yamnet()
        model = openvmas.load("mini")
        bank, engine = PromptBank(model.weights.file("prompts")), model.composer.engine

        def hear_all() -> np.ndarray:
            waves = (CodecStream(engine).push(bank[i].codes.astype(np.int64), True) for i in range(len(bank)))
            return np.stack([self.mean(wave, engine.sample_rate) for wave in waves])

        x = kept(folder / "prompts.npz", hear_all)
        self.centre, self.scale = x.mean(0), x.std(0) + 1e-6
        z = (x - self.centre) / self.scale
        self.weights = np.linalg.solve(z.T @ z + PENALTY * np.eye(z.shape[1]), z.T @ (bank.axes - bank.axes.mean(0)))

    def mean(self, wave: np.ndarray, sample_rate: int) -> np.ndarray:
        """YAMNet's embedding of a wave [L], mean over its patches."""
        return np.nanmean(embed(wave, sample_rate, self.ear), axis=0)

    def axes(self, embedding: np.ndarray) -> np.ndarray:
        return ((embedding - self.centre) / self.scale) @ self.weights


def told_axes(clip: Path, folder: Path) -> np.ndarray:
    """Axes that the plan of a clip asks for, its sections weighted by their length: [len(AXES)]."""
    path = folder / f"{clip.stem}.analysis.npz"
    if not path.exists():
        openvmas.analyze(clip).save(path)
    plan = openvmas.plan(VideoAnalysis.load(path), seed=0)
    told = np.zeros(len(AXES))
    for section in plan.sections:
        for axis, value in plan.semantics(section).items():
            told[AXES.index(axis)] += value * (section.end - section.start) / float(plan.duration)
    return told


def own_nearer(places: np.ndarray, pieces: np.ndarray) -> str:
    """Share of other pieces that lie farther from a place than its own, mean ± standard error."""
    units = []
    for rows in (places, pieces):
        z = (rows - rows.mean(0)) / (rows.std(0) + 1e-6)
        units.append(z / np.linalg.norm(z, axis=1, keepdims=True))
    likeness = units[0] @ units[1].T
    others = ~np.eye(len(places), dtype=bool)
    shares = np.array([(likeness[i, i] > likeness[i, others[i]]).mean() for i in range(len(places))])
    return f"{shares.mean():.2f} ± {shares.std() / np.sqrt(len(shares)):.2f}"


def moods(first: np.ndarray, second: np.ndarray) -> str:
    """Correlations of valence and arousal."""
    return " | ".join(f"{np.corrcoef(first[:, k], second[:, k])[0, 1]:.2f}" for k in (0, 1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path)
    parser.add_argument("clips", type=Path)
    parser.add_argument("kept", type=Path)
    parser.add_argument("--systems", nargs="+", default=["ours", "symbolic", "fitted"])
    given = parser.parse_args()
    listener = Listener(given.kept)
    names = sorted(
        p.stem for p in (given.results / "reference").glob("*.flac") if (given.clips / f"{p.stem}.mp4").exists()
    )
    told = np.stack([told_axes(given.clips / f"{name}.mp4", given.kept) for name in names])

    def heard(system: str) -> np.ndarray:
        def listen(name: str) -> np.ndarray:
            sound = read_audio(given.results / system / f"{name}.flac")
            return listener.mean(sound.wave.mean(axis=0), sound.sample_rate)

        return np.stack([listener.axes(kept(given.kept / system / f"{n}.npz", lambda n=n: listen(n))) for n in names])

    true = heard("reference")
    print(f"{len(names)} clips\n| from | to | own nearer | valence r | arousal r |\n|---|---|---|---|---|")
    print(f"| told | true music | {own_nearer(told, true)} | {moods(told, true)} |")
    for system in given.systems:
        music = heard(system)
        print(f"| told | {system} | {own_nearer(told, music)} | {moods(told, music)} |")
        print(f"| {system} | true music | {own_nearer(true, music)} | {moods(true, music)} |", flush=True)


if __name__ == "__main__":
    main()
