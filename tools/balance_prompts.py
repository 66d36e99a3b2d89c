"""Measure what videos at large ask for, so that music sets a video apart and no prompt of a bank is chosen for all.

    python tools/balance_prompts.py BANK.npz 'CLIPS/montage-*.mp4' 'CLIPS/play-*.mp4' [--version 0.5.2]

CLIPS is a folder such as `openvmas eval clips` writes. Every pattern is a group of videos, and groups count alike; of
each group every second video is used, and the others are left for measuring. Two things are written: the mean of
`vision.mood.describe` (openvmas/vision/weights/typical_mood.json), and into the bank, as `popularity`, the mean
distance of every prompt from what the plans of these videos ask for. BANK's manifest is renewed.
"""

from __future__ import annotations

import argparse
import glob
import json
from pathlib import Path

import numpy as np
from build_prompts import register

import openvmas
from openvmas.condition import AXES
from openvmas.files import write_npz, write_text
from openvmas.generate.audio_prompts import PromptBank
from openvmas.vision.analysis import VideoAnalysis
from openvmas.vision.mood import TYPICAL, describe, read_typical


def mean_of_groups(groups: list[list[np.ndarray]]) -> np.ndarray:
    """The mean of the groups' means."""
    return np.mean([np.mean(group, axis=0) for group in groups], axis=0)


def asked_of(analysis: VideoAnalysis) -> np.ndarray:
    """All axes of a whole video, 0 where it says nothing: [len(AXES)]."""
    said = describe(analysis, 0.0, float(analysis.duration))
    return np.array([said.get(axis, 0.0) for axis in AXES])


def distances_of(analysis: VideoAnalysis, bank: PromptBank) -> np.ndarray:
    """Distances of all prompts from what a video's plan asks for, mean over its sections: [N]."""
    plan = openvmas.plan(analysis)
    found = [bank.picture_distances(plan.semantics(section), plan.tempo, section.energy) for section in plan.sections]
    return np.average(found, axis=0, weights=[section.end - section.start for section in plan.sections])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bank", type=Path)
    parser.add_argument("patterns", nargs="+")
    parser.add_argument("--version", help="of the model whose bank it is; as it was if left out")
    given = parser.parse_args()
    groups = [[openvmas.analyze(path) for path in sorted(glob.glob(pattern))[::2]] for pattern in given.patterns]
    typical = mean_of_groups([[asked_of(analysis) for analysis in group] for group in groups])
    write_text(TYPICAL, json.dumps(dict(zip(AXES, typical.round(3).tolist(), strict=True)), indent=1) + "\n")
    read_typical.cache_clear()
    bank = PromptBank(given.bank)
    popularity = mean_of_groups([[distances_of(analysis, bank) for analysis in group] for group in groups])
    with np.load(given.bank) as data:
        arrays = {name: data[name] for name in data.files}
    write_npz(given.bank, {**arrays, "popularity": popularity.astype(np.float16)})
    register(given.bank, given.version)
    print(f"{sum(map(len, groups))} videos; {TYPICAL}; {given.bank}")


if __name__ == "__main__":
    main()
