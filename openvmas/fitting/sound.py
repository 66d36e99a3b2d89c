"""The sound of a recording, decoded once for hearing it and for playing it."""

from __future__ import annotations

import contextlib
import tempfile
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np

from openvmas.files import cache_folder
from openvmas.media.audio import read_audio_blocks
from openvmas.settings import SAMPLE_RATE_OUT

LONGEST_KEPT = 1800.0  # s; 0.7 GB. What lies behind is decoded again where it is played
_FRAME_BYTES = 8  # of a stereo float sample


class Sound:
    """Blocks [2, n] float32 at 48 kHz, which may be taken any number of times and are decoded once.

    What was decoded lies in a file without a name in the user's cache, which is gone with this object; where that
    cannot be written, and behind LONGEST_KEPT, the recording is decoded again.
    """

    def __init__(self, path: str | Path, is_kept: bool = True) -> None:
        """is_kept: whether it will be read more than once."""
        self.path = Path(path)
        self._decoding: Iterator[np.ndarray] | None = None
        self._n_kept = 0
        self._file: IO[bytes] | None = None
        if is_kept:
            with contextlib.suppress(OSError):
                cache_folder().mkdir(parents=True, exist_ok=True)
                self._file = tempfile.TemporaryFile(dir=cache_folder(), buffering=0)  # noqa: SIM115
                weakref.finalize(self, self._file.close)

    def blocks(self) -> Iterator[np.ndarray]:
        """The sound from its beginning on. Raises InputError."""
        if self._file is None:
            yield from self._decode()
            return
        position = 0
        while True:
            if position < self._n_kept:
                block = self._read(position)
            else:
                if self._decoding is None:
                    self._decoding = self._decode()
                block = next(self._decoding, None)
                if block is None:
                    return
                if not self._keep(block):
                    rest, self._decoding, self._file = self._decoding, None, None
                    yield block
                    yield from rest
                    return
            position += block.shape[1]
            yield block

    def _decode(self) -> Iterator[np.ndarray]:
        for block in read_audio_blocks(self.path, SAMPLE_RATE_OUT, 2):
            yield np.nan_to_num(block, nan=0.0, posinf=0.0, neginf=0.0)

    def _keep(self, block: np.ndarray) -> bool:
        """Whether a block could be kept too."""
        if self._file is None or self._n_kept > LONGEST_KEPT * SAMPLE_RATE_OUT:
            return False
        data = np.ascontiguousarray(block.T).tobytes()
        try:
            self._file.seek(self._n_kept * _FRAME_BYTES)
            is_written = self._file.write(data) == len(data)
        except OSError:
            return False
        self._n_kept += block.shape[1] if is_written else 0
        return is_written

    def _read(self, position: int) -> np.ndarray:
        assert self._file is not None
        self._file.seek(position * _FRAME_BYTES)
        data = self._file.read(min(self._n_kept - position, SAMPLE_RATE_OUT) * _FRAME_BYTES)
        return np.frombuffer(data, np.float32).reshape(-1, 2).T
