"""The features of a bank of pictures by another backbone, so that the joint trainer learns from it.

    python -m openvmas.data.montage.bank_features BANK MEDIA FOLDER OUT

BANK: made by tools/build_montage.py bank; MEDIA: the folder of its pictures; FOLDER: Hiera, CLIP or SigLIP as
`transformers` saves it. All else stays: views, classes, looks, motion.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from openvmas.data.montage.bank import Bank, view_of
from openvmas.data.montage.video_clips import Source
from openvmas.errors import InputError
from openvmas.hub.vision import HubBackbone


def with_features(bank: Bank, media: Path, see: Callable[[np.ndarray], np.ndarray]) -> Bank:
    """The bank with features [V, W] float16 from `see`, which takes pictures [F, 180, 320, 3] uint8.

    Raises InputError if a file of the bank is not below the media folder.
    """
    found = []
    for i, path in enumerate(bank.paths):
        if not (media / str(path)).is_file():
            raise InputError(f"{media / str(path)} of the bank is not there; give the folder its pictures came from.")
        source = Source(str(media / str(path)))
        views = bank.views[bank.first[i] : bank.first[i + 1]]
        found.append(see(np.stack([view_of(source, view) for view in views])).astype(np.float16))
    return replace(bank, features=np.concatenate(found))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("bank", "media", "folder", "out"):
        parser.add_argument(name, type=Path)
    arguments = parser.parse_args()
    backbone = HubBackbone(arguments.folder)
    made = with_features(Bank.load(arguments.bank), arguments.media, lambda pictures: backbone.see(pictures)[:, 0])
    made.save(arguments.out)


if __name__ == "__main__":
    main()
