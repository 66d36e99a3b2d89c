"""Stages that keep fingerprints beside a record, from which near-duplicates are found over the whole set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from openvmas.data.curation.record import Drop, Record
from openvmas.data.curation.record_media import SAMPLE_RATE, Media
from openvmas.data.duplicates.picture_print import FRAME_SIDE, hash_frames, new_looks
from openvmas.data.duplicates.sound_print import find_peaks
from openvmas.vision.motion import luma


@dataclass(frozen=True)
class SoundPrint:
    """Keeps the spectral peaks of the sound as array `sound_print`: [N] uint32, about 50 bytes a second."""

    name: ClassVar[str] = "sound_print"
    cost: ClassVar[int] = 9

    def __call__(self, record: Record, media: Media) -> Record | Drop:
        """Refuses nothing: a record without sound is given back as it is."""
        if record.kind == "image" or not media.probe().has_audio:
            return record
        peaks = find_peaks(media.audio(), SAMPLE_RATE)
        media.arrays[self.name] = peaks
        return record.with_facts(self.name, peaks=len(peaks))


@dataclass(frozen=True)
class PicturePrint:
    """Keeps words of the picture as array `picture_print`: [F, 12] uint64, two a second, 192 bytes a second."""

    name: ClassVar[str] = "picture_print"
    cost: ClassVar[int] = 9

    def __call__(self, record: Record, media: Media) -> Record | Drop:
        """Refuses nothing: a record without picture is given back as it is."""
        if record.kind == "audio" or (record.kind == "video" and media.probe().picture is None):
            return record
        words = hash_frames(still_frame(media) if record.kind == "image" else media.small_frames()[1])
        media.arrays[self.name] = words
        return record.with_facts(self.name, looks=len(new_looks(words[:, 0])))


def still_frame(media: Media) -> np.ndarray:
    """An image as one grey frame: [1, 64, 64] uint8. Raises InputError."""
    grey = luma(media.picture(512).astype(np.float32))
    rows, columns = (np.linspace(0, size, FRAME_SIDE + 1).astype(int) for size in grey.shape)
    rows, columns = (np.minimum(edges, size - 1) for edges, size in zip((rows, columns), grey.shape, strict=True))
    sums = np.add.reduceat(np.add.reduceat(grey, rows[:-1], axis=0), columns[:-1], axis=1)
    ones = np.ones_like(grey)
    areas = np.add.reduceat(np.add.reduceat(ones, rows[:-1], axis=0), columns[:-1], axis=1)
    return np.clip(sums / areas, 0, 255).astype(np.uint8)[None]
