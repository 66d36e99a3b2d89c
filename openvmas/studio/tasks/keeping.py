"""A new piece in which the locked sections of an earlier take sound on, whichever voice wrote either."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from openvmas.generate.piece import Piece
from openvmas.media.loudness import LoudnessMeter
from openvmas.settings import SAMPLE_RATE_OUT
from openvmas.studio.storage.folders import TakeFolder
from openvmas.studio.storage.take_sound import n_written, read_loudness, read_wave

JOIN = SAMPLE_RATE_OUT // 20  # samples over which one goes over into the other


def keep_locked(piece: Piece, earlier: TakeFolder, kept: Sequence[tuple[float, float]], scratch: Path) -> Piece:
    """The piece at the loudness of the earlier take, whose own samples stand in the kept spans, s.

    Voices write at levels of their own, so the new music is written to `scratch` before its loudness is known and
    any of it is heard. It has no codes any more.
    """

    def blocks() -> Iterator[np.ndarray]:
        meter = LoudnessMeter(SAMPLE_RATE_OUT, 2)
        with scratch.open("wb") as file:
            for block in piece:
                stereo = np.repeat(block, 2, axis=0) if len(block) == 1 else block
                meter.add(stereo)
                file.write(np.ascontiguousarray(stereo.T, "<f4").tobytes())
        old, new = read_loudness(earlier.loudness), meter.integrated()
        gain = 10 ** ((old - new) / 20) if old is not None and np.isfinite(new) else 1.0
        try:
            n_samples = n_written(earlier.wave)
            for start in range(0, n_samples, SAMPLE_RATE_OUT):
                stop = min(start + SAMPLE_RATE_OUT, n_samples)
                share = kept_share(kept, start, stop)
                wave = np.zeros((2, stop - start), np.float32)
                found = read_wave(scratch, start, stop)
                wave[:, : found.shape[1]] = found
                before = read_wave(earlier.wave, start, stop)
                yield np.where(share == 1, before, share * before + (1 - share) * np.float32(gain) * wave)
        finally:
            scratch.unlink(missing_ok=True)

    return Piece(blocks(), piece.report)


def kept_share(kept: Sequence[tuple[float, float]], start: int, stop: int) -> np.ndarray:
    """Share of the earlier take that sounds at samples start .. stop-1: 1 in its spans, going to 0 around them."""
    places = np.arange(start, stop)
    share = np.zeros(stop - start)
    for first, last in kept:
        low, high = round(first * SAMPLE_RATE_OUT), round(last * SAMPLE_RATE_OUT)
        rise, fall = (places - (low - JOIN)) / JOIN, (high + JOIN - 1 - places) / JOIN
        share = np.maximum(share, np.clip(np.minimum(rise, fall), 0, 1))
    return share.astype(np.float32)
