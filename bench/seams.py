"""Can the borders of a part that was written again be heard? Their changes ranked among all others of the piece.

    python bench/seams.py VIDEO [--pieces 4] [--model mini]

For each piece two parts are written again (5 s and 3 s long). The same places are ranked in the piece as it was, and
with the part simply replaced by another stretch of the same piece: where no border is heard, the first two agree and
the third stands out. `worst` is the greatest rank of three kinds of change; by chance it is above 0.95 at most 0.15 of
the times. `click` ranks the greatest bend of the wave within 20 ms of the border.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from openvmas.generate.composer import ModelComposer
from openvmas.music.seams import find_seams
from openvmas.planning.conditioning import build_condition
from openvmas.planning.planner import make_plan
from openvmas.pretrained import find_weights
from openvmas.settings import GenerateOptions, PlanOptions
from openvmas.vision.analysis import analyze

TEXTS = ("calm piano, hopeful", "epic orchestral drums", "electronic upbeat", "sad strings")
KINDS = ("spectrum", "timbre", "level", "worst")
CLICK = 0.02  # s to each side of a border in which a click would lie


def click_ranks(wave: np.ndarray, rate: int, times: list[float]) -> list[float]:
    """Rank of the greatest second difference of the samples [L] around each time (s) among all other such windows."""
    bends = np.abs(np.diff(wave, 2))
    width = round(2 * CLICK * rate)
    windows = bends[: len(bends) // width * width].reshape(-1, width).max(axis=1)
    middles = (np.arange(len(windows)) + 0.5) * width / rate
    others = windows[np.all([np.abs(middles - time) > 0.5 for time in times], axis=0)]
    around = [bends[max(0, round((time - CLICK) * rate)) :][:width].max() for time in times]
    return [float(np.mean(others < value)) for value in around]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", type=Path)
    parser.add_argument("--pieces", type=int, default=4)
    parser.add_argument("--model", default="mini")
    arguments = parser.parse_args()
    composer, analysis = ModelComposer(find_weights(arguments.model)), analyze(arguments.video)
    rate = int(composer.engine.sizes["sample_rate"])
    found: dict[str, list[list[float]]] = {"written again": [], "as it was": [], "replaced": []}
    for seed in range(arguments.pieces):
        condition = build_condition(make_plan(analysis, PlanOptions(text=TEXTS[seed % len(TEXTS)]), seed), analysis)
        options = GenerateOptions(candidates=1, seed=seed)
        codes = np.concatenate([segment.codes for segment in composer.write(condition, options)], axis=1)
        n_steps = codes.shape[1]
        for start, length in ((n_steps // 3, 250), (n_steps // 2, 150)):
            end = min(start + length, n_steps - 50)
            new = composer.inpaint(codes, start, end, condition, None, GenerateOptions(seed=seed + 100)).codes
            other = codes.copy()
            other[:, start:end] = np.roll(codes, 173, axis=1)[:, start:end]
            times = [start / float(condition.rate), end / float(condition.rate)]
            for name, piece in zip(found, (new, codes, other), strict=True):
                wave = composer.judge.decode(piece)
                seams, clicks = find_seams(wave, rate, times), click_ranks(wave, rate, times)
                ranks = [[getattr(seam, kind) for kind in KINDS] for seam in seams]
                found[name] += [[click, *rank] for click, rank in zip(clicks, ranks, strict=True)]
    heads = ["borders", "n", "click", *KINDS, "worst above 0.95", "click above 0.95"]
    print("| " + " | ".join(heads) + " |\n" + "|---" * len(heads) + "|")
    for name, ranks in found.items():
        table = np.array(ranks)
        high = [round(float(np.mean(table[:, column] > 0.95)), 2) for column in (-1, 0)]
        cells = [name, len(table), *table.mean(axis=0).round(2), *high]
        print("|", *(f"{cell} |" for cell in cells))


if __name__ == "__main__":
    main()
