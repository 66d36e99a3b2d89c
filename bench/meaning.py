"""Is the music written for sad pictures sadder, and that for exciting ones more exciting? Heard by taggers.

    python tools/make_meaning_clips.py MEDIA CLIPS
    python bench/meaning.py CLIPS [--model symbolic] [--ways head rules truth] [--seeds 1]

CLIPS are sixty clips of pictures that the head has not learned from, labelled by looking (tools/pictures/clips.csv).
Three ways of telling the music what is seen: by the head and the rules (as `score` does), by the rules alone, and the
labels themselves ("truth"). For each the area under the ROC curve (chance 0.5) with a 95 % bootstrap interval: told
(do the axes in the plan tell the two groups apart?) and heard (do YAMNet and musicnn, which no training used?). Needs
`python tools/fetch_eval_weights.py`.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

import openvmas
from openvmas.files import atomic_path
from openvmas.hub.taggers import Musicnn, Yamnet
from openvmas.planning.plan_yaml import write_plan
from openvmas.planning.schema import ScorePlan, Section
from openvmas.settings import SAMPLE_RATE_OUT
from openvmas.vision.analysis import VideoAnalysis
from openvmas.vision.explanation import describe_by_rules

LABELS = Path(__file__).resolve().parent.parent / "tools" / "pictures" / "clips.csv"
# Question: column, at most this for one group, at least this for the other.
QUESTIONS = {"sad from happy": ("valence", -0.2, 0.3), "calm from exciting": ("arousal", -0.2, 0.2)}
# Tags that speak for the second group, and for the first.
YAMNET_TAGS = {
    "sad from happy": (("Happy music",), ("Sad music", "Scary music")),
    "calm from exciting": (("Exciting music", "Angry music"), ("Tender music", "Sad music")),
}
MUSICNN_TAGS = {
    "sad from happy": (("happy", "party"), ("sad",)),
    "calm from exciting": (("party", "dance", "rock", "metal"), ("chillout", "Mellow", "chill", "ambient")),
}
TRUTH_SPREAD = 0.28  # of the labels, one standard deviation


def told_by_rules(section: Section, analysis: VideoAnalysis, row: dict[str, str]) -> dict[str, float]:
    return describe_by_rules(analysis, section.start, section.end)


def told_the_truth(section: Section, analysis: VideoAnalysis, row: dict[str, str]) -> dict[str, float]:
    axes = {name: float(np.clip(float(row[name]) / TRUTH_SPREAD, -2, 2)) for name in ("valence", "arousal")}
    axes |= dict(zip(row["styles"].split(), (1.5, 1.2, 0.9), strict=True))
    axes |= dict.fromkeys(row["fits"].split(), 1.2) | dict.fromkeys(row["wrong"].split(), -1.2)
    return axes


WAYS: dict[str, Callable[[Section, VideoAnalysis, dict[str, str]], dict[str, float]] | None] = {
    "head": None,
    "rules": told_by_rules,
    "truth": told_the_truth,
}


def plan_clip(analysis: VideoAnalysis, row: dict[str, str], way: str, seed: int) -> ScorePlan:
    """The plan of a clip with what the picture says told in one way."""
    made = openvmas.plan(analysis, seed=seed)
    tell = WAYS[way]
    if tell is None:
        return made
    return replace(made, sections=tuple(replace(s, picture=tell(s, analysis, row)) for s in made.sections))


class Ears:
    """What two taggers say of a piece: question → (YAMNet's, musicnn's) difference of logits."""

    def __init__(self) -> None:
        self.ears = ((Yamnet(), YAMNET_TAGS), (Musicnn(), MUSICNN_TAGS))

    def hear(self, wave: np.ndarray) -> dict[str, list[float]]:
        found: dict[str, list[float]] = {question: [] for question in QUESTIONS}
        for ear, tags in self.ears:
            logits = ear.embed(wave, SAMPLE_RATE_OUT).logits.mean(axis=0)
            for question, (more, less) in tags.items():
                high, low = (np.mean([logits[ear.classes.index(tag)] for tag in group]) for group in (more, less))
                found[question].append(float(high - low))
        return found


def area(values: np.ndarray, is_high: np.ndarray) -> float:
    """How often a clip of the second group has the greater value; ties count half."""
    gap = values[is_high][:, None] - values[~is_high]
    return float((gap > 0).mean() + 0.5 * (gap == 0).mean())


def area_interval(values: np.ndarray, is_high: np.ndarray) -> str:
    rng = np.random.default_rng(0)
    high, low = np.flatnonzero(is_high), np.flatnonzero(~is_high)
    drawn = []
    for _ in range(1000):
        rows = np.concatenate([rng.choice(high, len(high)), rng.choice(low, len(low))])
        drawn.append(area(values[rows], is_high[rows]))
    return f"{area(values, is_high):.2f} [{np.percentile(drawn, 2.5):.2f}, {np.percentile(drawn, 97.5):.2f}]"


def read_analysis(path: Path) -> VideoAnalysis:
    """The analysis of a clip, kept beside it."""
    kept = path.with_suffix(".npz")
    if not kept.exists():
        openvmas.analyze(path).save(kept)
    return VideoAnalysis.load(kept)


def hear_clip(
    scorer: openvmas.Scorer, ears: Ears, plan: ScorePlan, analysis: VideoAnalysis, seed: int, kept: Path
) -> dict[str, list[float]]:
    """What the taggers say of the music for a plan; kept in a folder by plan and seed, so that a long run goes on."""
    name = hashlib.sha256(f"{scorer.weights.describe()} {seed} {write_plan(plan)}".encode()).hexdigest()[:16]
    path = kept / f"{name}.heard.json"
    if not path.exists():
        blocks = scorer.compose(plan, analysis, seed=seed, candidates=1)
        heard = ears.hear(np.concatenate(list(blocks), axis=1).mean(axis=0))
        with atomic_path(path) as hidden:
            hidden.write_text(json.dumps(heard), encoding="utf-8")
    found: dict[str, list[float]] = json.loads(path.read_text(encoding="utf-8"))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", type=Path)
    parser.add_argument("--model", default="symbolic", help='or "none": only what is told')
    parser.add_argument("--ways", nargs="+", choices=tuple(WAYS), default=list(WAYS))
    parser.add_argument("--seeds", type=int, default=1, help="pieces a clip")
    given = parser.parse_args()
    with LABELS.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    analyses = [read_analysis(given.clips / row["clip"]) for row in rows]
    scorer, ears = (None, None) if given.model == "none" else (openvmas.load(given.model), Ears())
    print("| told by | question | n | told | heard | YAMNet | musicnn |\n|---|---|---|---|---|---|---|")
    for way in given.ways:
        told: dict[str, list[float]] = {column: [] for column, _, _ in QUESTIONS.values()}
        heard: list[dict[str, list[float]]] = []
        for number, (row, analysis) in enumerate(zip(rows, analyses, strict=True)):
            plan = plan_clip(analysis, row, way, number)
            lengths = [s.end - s.start for s in plan.sections]
            for column, values in told.items():
                values.append(float(np.average([s.picture.get(column, 0) for s in plan.sections], weights=lengths)))
            if scorer is None or ears is None:
                continue
            seeds = [100 * seed + number for seed in range(given.seeds)]
            pieces = [hear_clip(scorer, ears, plan, analysis, seed, given.clips) for seed in seeds]
            heard.append({q: np.mean([piece[q] for piece in pieces], axis=0).tolist() for q in QUESTIONS})
        for question, (column, low, high) in QUESTIONS.items():
            label = np.array([float(row[column]) for row in rows])
            asked = (label <= low) | (label >= high)
            is_high = (label >= high)[asked]
            cells = [area_interval(np.array(told[column])[asked], is_high)]
            if heard:
                said = np.array([h[question] for h in heard])
                both = ((said - said.mean(axis=0)) / said.std(axis=0)).mean(axis=1)
                cells += [area_interval(values[asked], is_high) for values in (both, *said.T)]
            print(f"| {way} | {question} | {(~is_high).sum()} + {is_high.sum()} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
