"""How different are the variations of one recording?

    python bench/variations.py [FOLDER] [--seconds 30] [--same-cost 5]

For every recording of a folder of music, by default those that come with OpenVMAS, the first three arrangements for a
picture of that length with one accent of the user at 7.3 s. Printed are the share of the picture at which two of them
play the same moment, joins and their mean cost, and how many keep the last beat. --same-cost: of playing the same
moments at the same times, in place of `arrangement.SAME_COST`.
"""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path

import numpy as np

from openvmas.fitting import arrangement
from openvmas.fitting.library import FREE, HEARD
from openvmas.fitting.proposal import propose
from openvmas.fitting.track import listen
from openvmas.fitting.wishes import Wishes
from openvmas.planning.music_edit import MusicEdit

N_VARIATIONS = 3
STEP = 0.1  # s between the moments that are compared, and within which two are the same
ALIKE = 0.8  # share from which two variations count as the same


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("folder", type=Path, nargs="?", default=FREE)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--same-cost", type=float, default=arrangement.SAME_COST)
    chosen = parser.parse_args()
    arrangement.SAME_COST = chosen.same_cost
    wishes, times = Wishes.of_user(chosen.seconds, (7.3,)), np.arange(0, chosen.seconds, STEP)
    same, n_joins, has_end = [], [], []
    costs: list[list[float]] = [[] for _ in range(N_VARIATIONS)]
    for path in sorted(chosen.folder.glob("*.*")):
        if path.suffix == ".json":
            continue
        track = listen(path, FREE / HEARD if path.parent == FREE else None)
        found = [propose(track, wishes, MusicEdit(path.name), number) for number in range(N_VARIATIONS)]
        places = [one.arrangement.source_times(times) for one in found]
        same += [float((np.abs(a - b) < STEP).mean()) for a, b in itertools.combinations(places, 2)]
        costs_of = arrangement.join_costs(track)
        for paid, one in zip(costs, found, strict=True):
            ends = [
                [int(np.abs(track.marks - place).argmin()) for place in (j.source_from, j.source_to)]
                for j in one.edit.made
            ]
            paid += [float(costs_of[leaves, enters]) for leaves, enters in ends]
        n_joins.append([len(one.edit.made) for one in found])
        has_end.append([len(one.arrangement.target_times(np.array([track.last]))) > 0 for one in found])
    print(f"{len(n_joins)} recordings, {chosen.seconds:g} s, {len(same)} pairs of variations")
    print(f"the same moment at the same time: mean {np.mean(same):.2f}, most {max(same):.2f} of the picture")
    print(f"pairs that are the same for more than {ALIKE:g}: {sum(share > ALIKE for share in same)}")
    print(f"joins: {', '.join(f'{mean:.2f}' for mean in np.mean(n_joins, axis=0))}")
    print(f"mean cost of a join: {', '.join(f'{np.mean(paid):.2f}' for paid in costs)}")
    print(f"with the last beat: {', '.join(str(n) for n in np.sum(has_end, axis=0))}")


if __name__ == "__main__":
    main()
