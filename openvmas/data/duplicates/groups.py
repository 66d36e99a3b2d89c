"""Near-duplicates over a whole set: fingerprints share keys, candidates are verified, groups grow together."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from openvmas.data.curation.catalogue import Catalogue, walk
from openvmas.data.duplicates import picture_print, sound_print
from openvmas.data.duplicates.neighbours import ArrayFile, Groups, KeyTable
from openvmas.errors import OptionError
from openvmas.settings import option

SOUND, PICTURE = "sound_print", "picture_print"


@dataclass(frozen=True)
class Duplicates:
    """Finds records with the same sound or picture; keeps the best of those that have the same of both."""

    one_in: int = option(4, "One of so many keys of a sound is looked up; 1 finds the most.", min=1)
    min_shared: int = option(3, "Keys that two records must share before they are compared.", min=1)
    reach: int = option(8, "Records with the same key that each is paired with.", min=1)
    min_share: float = option(0.5, "Share of the shorter one that both must have.", min=0, max=1)
    min_seconds: float = option(4.0, "Length of sound that both must have, s.", min=0)
    min_agreement: float = option(0.45, "Share of spectral peaks in it that agree.", min=0, max=1)
    above_chance: float = option(0.2, "By how much more they agree than the same peaks at wrong places.", min=0, max=1)
    min_looks: int = option(3, "Different pictures that both must show, in the same order.", min=1)
    alike: str = option("both", "Whether a copy shares both sound and picture, or any of them.")
    name: ClassVar[str] = "duplicates"

    def __post_init__(self) -> None:
        if self.alike not in ("both", "any"):
            raise OptionError(f"alike cannot be {self.alike!r}; give both or any.")

    def __call__(self, catalogue: Catalogue, work: Path, scratch: Path) -> Catalogue:
        """Fill `cluster` (records that belong together) and `copy_of` of a catalogue of the records in `work`."""
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(parents=True)
        sounds, pictures = self._find(catalogue, work, scratch)
        shutil.rmtree(scratch)
        together = Groups(len(catalogue))
        together.join_equal(catalogue.ids)
        for groups in (sounds, pictures):
            together.join_equal(groups.roots() + 1)
        together.join_equal(catalogue.sha256)
        return catalogue.with_columns(cluster=together.roots(), copy_of=self._copies(catalogue, sounds, pictures))

    def is_same_sound(self, a: np.ndarray, b: np.ndarray) -> bool:
        """Whether two sets of peaks belong to one recording."""
        found = sound_print.align(a, b)
        return (
            found.share >= self.min_share
            and found.seconds >= self.min_seconds
            and found.agreement >= max(self.min_agreement, found.chance + self.above_chance)
        )

    def is_same_picture(self, a: np.ndarray, b: np.ndarray) -> bool:
        """Whether two sets of words [F, V] belong to one picture. Stills are compared with stills only."""
        found = picture_print.match(a, b)
        if (len(a) == 1) != (len(b) == 1):
            return False
        return found.share >= self.min_share and found.looks >= (1 if len(a) == 1 else self.min_looks)

    def _find(self, catalogue: Catalogue, work: Path, scratch: Path) -> tuple[Groups, Groups]:
        """Groups of the same sound and of the same picture."""
        keys = {name: KeyTable(scratch / name) for name in (SOUND, PICTURE)}
        prints = {
            SOUND: ArrayFile(scratch / "sounds", np.dtype("<u4")),
            PICTURE: ArrayFile(scratch / "pictures", np.dtype("<u8"), len(picture_print.CROPS)),
        }
        for number, (record, arrays) in enumerate(walk(work)):
            if SOUND in record.arrays:
                peaks = arrays(SOUND)
                keys[SOUND].add(number, sound_print.sampled_keys(peaks, self.one_in))
                prints[SOUND].add(number, peaks)
            if PICTURE in record.arrays:
                words = arrays(PICTURE)
                keys[PICTURE].add(number, picture_print.picture_keys(words))
                prints[PICTURE].add(number, words)
        return (
            self._group(catalogue, keys[SOUND], prints[SOUND], self.is_same_sound),
            self._group(catalogue, keys[PICTURE], prints[PICTURE], self.is_same_picture),
        )

    def _group(
        self,
        catalogue: Catalogue,
        keys: KeyTable,
        prints: ArrayFile,
        is_same: Callable[[np.ndarray, np.ndarray], bool],
    ) -> Groups:
        prints.finish()
        groups = Groups(len(catalogue))
        last, first = -1, np.zeros(0)
        for a, b in keys.pairs(self.min_shared, self.reach).tolist():
            if catalogue.parent[a] == catalogue.parent[b] or groups.find(a) == groups.find(b):
                continue  # parts of one file belong together anyway
            if a != last:
                last, first = a, prints.get(a)
            if is_same(first, prints.get(b)):
                groups.join(a, b)
        return groups

    def _copies(self, catalogue: Catalogue, sounds: Groups, pictures: Groups) -> np.ndarray:
        """Number of the record that each repeats, -1 for those that stay: [N] int64."""
        same = Groups(len(catalogue))
        same.join_equal(catalogue.content)
        if self.alike == "any":
            same.join_equal(sounds.roots() + 1)
            same.join_equal(pictures.roots() + 1)
        else:
            # Where a record has no sound, its picture decides alone, and the other way round.
            sound = np.where(catalogue.has_sound, sounds.roots(), -1)
            picture = np.where(catalogue.has_picture, pictures.roots(), -1)
            is_known = catalogue.has_sound | catalogue.has_picture
            own = np.where(is_known, 0, np.arange(len(catalogue)) + 1)
            for pair in _equal_rows(catalogue.kind, sound, picture, own):
                same.join(*pair)
        copies = _best_of(same.roots(), catalogue)
        first = catalogue.copy_of  # of records that are listed twice
        return np.where(first < 0, copies, np.where(copies[first] < 0, first, copies[first]))


def _equal_rows(*columns: np.ndarray) -> list[tuple[int, int]]:
    """Pairs of neighbours in sorted order whose columns are all equal."""
    order = np.lexsort(columns)
    same = np.ones(max(len(order) - 1, 0), bool)
    for column in columns:
        same &= column[order][1:] == column[order][:-1]
    return list(zip(order[:-1][same].tolist(), order[1:][same].tolist(), strict=True))


def _best_of(roots: np.ndarray, catalogue: Catalogue) -> np.ndarray:
    """For each record the one that stands for it: [N], -1 for those that stay.

    In each group the record of best quality stays, and with it others from the same file.
    """
    order = np.lexsort((catalogue.ids, catalogue.parent, -catalogue.seconds, -catalogue.quality, roots))
    first = np.searchsorted(roots[order], roots, side="left")
    best = order[first]
    stays = catalogue.parent == catalogue.parent[best]
    return np.where(stays, -1, best)
