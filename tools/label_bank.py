"""Pictures of banks with what is told of them (tools/pictures) and what the head states, for `openvmas train meaning`.

    python tools/label_bank.py BANK.npz [BANK.npz ...] OUT.npz [--look MEDIA]

BANK: of tools/build_montage.py bank; the last one is made first, where it is not there, from all labelled stills in the
folder of --look (`tools/build_picture_mood.py look` fetches them) but those of the open suite. What the shipped head
says of a picture that it has learned is nearer to the label than what it says of any other. So of those pictures five
heads are asked, each of which has learned none of the same source. Pictures whose label is not for training, and that
alignment 0.2 did not learn from either, are held out. Footage, pictures without a label and those that ask for no music
are left out.
"""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path

import numpy as np
import picture_bank
from build_montage import read_pictures
from build_open_suite import read_plans
from build_picture_mood import DEVIATION, LEAST, SURE
from picture_labels import FOLDER, LEARNED_AXES, Labels, Linear, Seen, correlation, fit, folds, read_labels

from openvmas.condition import AXES
from openvmas.data.montage.bank import Bank
from openvmas.files import write_npz
from openvmas.vision.mood import look_terms, read_head
from openvmas.vision.stated_axes import state_pictures

EVERY = 5  # of the pictures of docs/montage-pictures.csv, every fifth was held out before


def labelled(banks: list[Bank], labels: Labels) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Views of the stills that are labelled (paths, first, features, looks, classes, rules), and the row of each."""
    rows = {path: i for i, path in enumerate(labels.paths) if np.isnan(labels.spans[i, 0]) and not labels.no_music[i]}
    parts: dict[str, list[np.ndarray]] = {n: [] for n in ("paths", "features", "looks", "classes", "rules")}
    for bank in banks:
        tags = bank.tags()
        for i, path in enumerate(bank.paths):
            if str(path) in rows and not bank.is_footage(i):
                views = slice(int(bank.first[i]), int(bank.first[i + 1]))
                parts["paths"].append(np.array([path]))
                parts["rules"].append(tags[i : i + 1])
                for name in ("features", "looks", "classes"):
                    parts[name].append(getattr(bank, name)[views])
    counts = np.cumsum([0, *map(len, parts["features"])])
    found = {name: np.concatenate(values) for name, values in parts.items()} | {"first": counts}
    return found, np.array([rows[str(path)] for path in found["paths"]])


def cross_fitted(views: dict[str, np.ndarray], rows: np.ndarray, labels: Labels) -> np.ndarray:
    """The axes that the head states of every view [V, A], by heads that have not learned from its source."""
    first, head = views["first"], read_head()
    of_view = np.repeat(np.arange(len(rows)), np.diff(first))
    ways = [[views["features"][a:b].astype(np.float32).mean(0) for a, b in itertools.pairwise(first)]]
    ways += [[views["features"][a + k] for a in first[:-1]] for k in (0, 1)]
    nothing = np.zeros(len(rows))
    looks = np.stack([views["looks"][a:b].mean(0) for a, b in itertools.pairwise(first)])
    seen = Seen(np.array(ways, np.float32), np.zeros((len(rows), 1)), looks, nothing, nothing)
    targets, is_train = labels.targets[rows], labels.is_train[rows]
    number = folds(labels.sources[rows])
    inputs = np.concatenate(
        [np.sqrt(np.maximum(views["features"].astype(np.float32), 0)), look_terms(views["looks"])], 1
    )
    said = np.zeros((len(of_view), len(LEARNED_AXES)), np.float32)
    for fold in range(number.max() + 1):
        judge: Linear = fit(seen, targets, is_train & (number != fold))
        apart = number[of_view] == fold
        said[apart] = judge(inputs[apart])
    stated = head.judge(views["features"].astype(np.float32), views["looks"])
    for k, name in enumerate(head.axes):
        column = LEARNED_AXES.index(name)
        axis = LEARNED_AXES[column]
        pictures = np.array([said[of_view == i, column].mean() for i in range(len(rows))])
        r = max(correlation(pictures[is_train], targets[is_train, column]), LEAST)
        gain = DEVIATION[axis] * min(r / SURE, 1.0) / pictures[is_train].std()
        learned = is_train[of_view]
        stated[learned, k] = gain * said[learned, column]
    return stated


def look(media: Path, labels: Labels) -> Bank:
    """See the labelled stills that are in a folder, without those that the open suite shows."""
    shown = {take["path"] for plan in read_plans() for take in plan["takes"]}
    stills = [path for path, span in zip(labels.paths, labels.spans, strict=True) if np.isnan(span[0])]
    return picture_bank.build(media, [p for p in dict.fromkeys(stills) if p not in shown and (media / p).is_file()])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("banks", type=Path, nargs="+")
    parser.add_argument("out", type=Path)
    parser.add_argument("--look", type=Path, metavar="MEDIA")
    given = parser.parse_args()
    labels = read_labels(FOLDER / "labels.csv")
    if given.look and not given.banks[-1].exists():
        look(given.look, labels).save(given.banks[-1])
    views, rows = labelled([Bank.load(path) for path in given.banks], labels)
    stated = state_pictures(views["features"], views["looks"], views["classes"].astype(np.float32))
    learned = cross_fitted(views, rows, labels)
    stated[:, : learned.shape[1]] = learned
    scale = labels.targets[labels.is_train]
    told = np.zeros((len(rows), len(AXES)), np.float32)
    told[:, [AXES.index(axis) for axis in LEARNED_AXES]] = (labels.targets[rows] - scale.mean(0)) / (
        scale.std(0) + 1e-6
    )
    before = read_pictures()
    known = set(before) - set(before[EVERY - 1 :: EVERY])
    is_held_out = ~labels.is_train[rows] & np.array([str(path) not in known for path in views["paths"]])
    is_train = labels.is_train[rows]
    arrays = {name: views[name] for name in ("paths", "first", "features", "rules")}
    write_npz(given.out, arrays | {"stated": stated, "told": told, "is_train": is_train, "is_held_out": is_held_out})
    print(f"{given.out}: {is_train.sum()} pictures to learn from, {is_held_out.sum()} held out")


if __name__ == "__main__":
    main()
