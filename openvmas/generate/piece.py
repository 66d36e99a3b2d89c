"""A piece of music while it is being made, and the one interface of everything that makes them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from openvmas.condition import Condition
from openvmas.errors import InputError, OptionError
from openvmas.planning.schema import ScorePlan
from openvmas.pretrained import Weights
from openvmas.settings import GenerateOptions

if TYPE_CHECKING:
    from openvmas.planning.music_edit import MusicEdit


class Notes(Protocol):
    """The notes of a piece, for those who go on writing in another program."""

    def save(self, path: Path) -> None:
        """Write all that their composer needs to go on with them."""
        ...

    def save_midi(self, path: Path) -> None:
        """Write them as a Standard MIDI File."""
        ...

    def save_stems(self, folder: Path, span: tuple[int, int] | None = None) -> None:
        """Write every part as a WAV file into a folder that exists; their sum is the music.

        span: the samples first .. last-1 alone.
        """
        ...


class Piece(Iterator[np.ndarray]):
    """Music as blocks [C, n] float32 at 48 kHz (C is 1 or 2), each made when it is taken.

    report: how the piece was made, in types that JSON has; complete when the last block has been taken.
    notes: of a composer that writes notes, there when the first block has been taken; else None.
    music: of a recording that is played, its part of the plan, there when the last block has been taken; else None.
    """

    music: MusicEdit | None = None

    def __init__(
        self,
        blocks: Iterable[np.ndarray] = (),
        report: dict[str, Any] | None = None,
        notes: Notes | None = None,
        codes: np.ndarray | None = None,
    ) -> None:
        self.blocks, self.notes = iter(blocks), notes
        self.report: dict[str, Any] = report or {}
        self._codes = [] if codes is None else [codes.astype(np.uint16)]

    def __next__(self) -> np.ndarray:
        return next(self.blocks)

    @property
    def codes(self) -> np.ndarray | None:
        """Codes [K, T] uint16 written so far by a composer that writes codes, else None."""
        return np.concatenate(self._codes, axis=1) if self._codes else None

    def keep(self, codes: np.ndarray) -> None:
        """Remember codes [K, n] that come next."""
        self._codes.append(codes.astype(np.uint16))

    def keep_codes(self, chunks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Pass chunks [K, n] on, each remembered when it passes."""
        for chunk in chunks:
            self.keep(chunk)
            yield chunk


class Composer(ABC):
    """Base class of all composers; docs/composers.md has an example in 30 lines.

    weights: names the composer, its version and licence in reports.
    writes_notes: whether its pieces have notes, so that MIDI and stems can be asked for.
    plays_recordings: whether it plays what others made, so that joins and credits can be written.
    """

    weights: Weights
    writes_notes: bool = False
    plays_recordings: bool = False

    def prepare(self, options: GenerateOptions, plan: ScorePlan | None = None) -> None:
        """Check, before anything is composed, what options and plan name. Raises InputError, OptionError."""
        if options.like is not None or (plan is not None and any(section.like for section in plan.sections)):
            raise OptionError(
                f"model {self.weights.name} cannot sound like a recording; give --model mini with --like."
            )

    @abstractmethod
    def compose(self, condition: Condition, plan: ScorePlan | None, options: GenerateOptions) -> Piece:
        """A piece as long as the condition; the same arguments give the same piece.

        condition: what is asked at every step; plan: what the condition was made from, with exact times, if there is
        one.
        """

    def inpaint(
        self,
        codes: np.ndarray | None,
        start: int,
        end: int,
        condition: Condition,
        plan: ScorePlan | None,
        options: GenerateOptions,
        progress: Callable[[float], None] | None = None,
        notes: Notes | None = None,
    ) -> Piece:
        """A piece with other music in steps [start, end) and the rest as it was.

        codes: [K, T] of the piece as it is, None if its composer writes none; notes: its notes, if it writes those. A
        composer that cannot keep the rest writes the whole piece anew. progress: is given the share of the new part
        that is done, in [0, 1].
        """
        return self.compose(condition, plan, options)

    def open_notes(self, path: Path) -> Notes:
        """Read the notes that a piece of this composer saved. Raises InputError."""
        raise InputError(f"model {self.weights.name} writes no notes, so {path.name} cannot be read by it.")

    def render_part(self, piece: Piece, condition: Condition, start: int, end: int) -> tuple[int, np.ndarray] | None:
        """The sound around steps [start, end) of a piece that `inpaint` gave: its first sample at 48 kHz, and [2, n].

        It holds every sample that other music in those steps may change. None where only the whole can be played.
        """
        return None
