"""How much more of random events a fitted grid meets than chance, and how fast it is found.

Events at random times are the hardest case: a picture that was cut to music has a grid to find. Run:
    python bench/grid_fit.py [seeds]
"""

from __future__ import annotations

import sys
import time

import numpy as np

from openvmas.planning.beat_grid import TempoConstraints, distance_to, fit_grid, lay_grid, measure_fit

CASES = [(15, 2.0), (30, 2.0), (60, 4.0), (60, 2.0), (60, 1.0), (180, 2.0), (600, 2.0), (3600, 3.0)]  # s, s per event


def main() -> None:
    seeds = int(sys.argv[1]) if len(sys.argv) > 1 else 8
    print("| duration, s | s per event | on beat (chance) | on eighth (chance) | on downbeat (chance) | marks | "
          "spread of tempo, % | off by, ms | CPU, s |")  # fmt: skip
    print("|---|---|---|---|---|---|---|---|---|")
    for duration, gap in CASES:
        rows = []
        for seed in range(seeds if duration < 600 else 2):
            rng = np.random.default_rng(seed)
            n = round(duration / gap)
            times, strengths = np.sort(rng.uniform(0, duration, n)), rng.uniform(0.2, 1, n)
            borders = tuple(times[np.searchsorted(times, np.arange(15.0, duration - 10, 15.0))])
            before = time.process_time()
            marks, metre = fit_grid(times, strengths, duration, TempoConstraints(borders=borders))
            spent = time.process_time() - before
            grid = lay_grid(marks, metre, -8, duration + 8)
            fit = measure_fit(times, strengths, grid, duration)
            off = np.abs(distance_to(times, grid.beats))
            tempos = [mark.tempo for mark in marks]
            spread = 100 * (max(tempos) / min(tempos) - 1)
            rows.append((fit.on_beat, fit.on_beat_chance, fit.on_eighth, fit.on_eighth_chance, fit.on_downbeat,
                         fit.on_downbeat_chance, len(marks), spread, 1000 * off[off < 0.05].mean(), spent))  # fmt: skip
        m = np.mean(rows, axis=0)
        print(f"| {duration} | {gap:g} | {m[0]:.2f} ({m[1]:.2f}) | {m[2]:.2f} ({m[3]:.2f}) | {m[4]:.2f} ({m[5]:.2f}) | "
              f"{m[6]:.1f} | {m[7]:.1f} | {m[8]:.0f} | {m[9]:.2f} |")  # fmt: skip


if __name__ == "__main__":
    main()
