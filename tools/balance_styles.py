"""Measure how well pictures at large agree with each style of the symbolic composer, so that none is chosen for all.

    python tools/balance_styles.py 'CLIPS/montage-*.mp4' 'CLIPS/play-*.mp4'

CLIPS is a folder such as `openvmas eval clips` writes. Every pattern is a group of videos, and groups count alike; of
each group every second video is used, and the others are left for measuring. Written is
openvmas/symbolic/usual_agreement.json: of each style the mean and the standard deviation of `styles.agreement` with
what the plans of these videos ask for. To be run again after a style's profile has changed or one was added.
"""

from __future__ import annotations

import argparse
import glob
import json

import numpy as np
from balance_prompts import mean_of_groups

import openvmas
from openvmas.files import write_text
from openvmas.symbolic.styles import USUAL, agreement, read_styles
from openvmas.vision.analysis import VideoAnalysis


def agreements_of(analysis: VideoAnalysis) -> np.ndarray:
    """Agreement of every style with what a video's plan asks for, mean over its sections."""
    plan = openvmas.plan(analysis)
    found = [[agreement(style, plan.semantics(section)) for style in read_styles().styles] for section in plan.sections]
    return np.average(found, axis=0, weights=[section.end - section.start for section in plan.sections])


def usual_of(groups: list[list[np.ndarray]]) -> dict[str, list[float]]:
    """Style → mean and standard deviation of the agreements [S] of videos in groups."""
    mean = mean_of_groups(groups)
    spread = np.sqrt(mean_of_groups([[(found - mean) ** 2 for found in group] for group in groups]))
    names = [style.name for style in read_styles().styles]
    return {name: [round(float(m), 3), round(float(s), 3)] for name, m, s in zip(names, mean, spread, strict=True)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("patterns", nargs="+")
    given = parser.parse_args()
    groups = [
        [agreements_of(openvmas.analyze(path)) for path in sorted(glob.glob(pattern))[::2]]
        for pattern in given.patterns
    ]
    write_text(USUAL, json.dumps(usual_of(groups), indent=1) + "\n")
    print(f"{sum(map(len, groups))} videos; {USUAL}")


if __name__ == "__main__":
    main()
