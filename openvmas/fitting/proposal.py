"""An arrangement as it is proposed to the user: its parts, its joins, and the part of a plan that keeps them.

`propose` is all that an editor needs: it takes what the user decided so far and gives the arrangement to it, or with
another number the next best one. Nothing is played.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from openvmas.errors import OpenVMASError, OptionError, PlanError
from openvmas.fitting.anchoring import Answer, anchor
from openvmas.fitting.arrangement import Arrangement, Limits, Run, WantedJoin, arrange
from openvmas.fitting.track import Track
from openvmas.fitting.wishes import Wishes
from openvmas.planning.music_edit import MusicEdit, MusicJoin

LOCKED_WORTH = 40.0  # of a locked join, standard deviations: more than any piece is worth
FREE_WORTH = 0.4  # of one that was made before, beyond what it costs: small changes elsewhere leave it alone
HELD_WORTH = 5.0  # of one that is held while something else is edited: more than what usually speaks against it
HELD_REACH = 40  # frames: the user's hits may have moved it that far from where it was laid at first
NEAR = 0.6  # s from a bar line, beyond which a join cannot be moved to it
SAME_JOIN = 0.05  # s


@dataclass(frozen=True)
class Proposal:
    """An arrangement with the answers to the user's hits, for a target of `duration` s.

    edit: what the user decided, with the joins that were made. missed: locked joins that could not be made.
    """

    arrangement: Arrangement
    answers: tuple[Answer, ...]
    duration: float
    edit: MusicEdit
    missed: tuple[MusicJoin, ...] = ()

    @property
    def parts(self) -> tuple[Run, ...]:
        """Spans of the recording in the order in which they are heard."""
        return self.arrangement.runs

    def describe(self) -> dict[str, Any]:
        """Parts, joins and answers in types that JSON has, for reports and editors.

        A part is a span of the recording at one tempo; a join leads from the end of one part to the start of another.
        """
        return {
            "value": round(self.arrangement.value, 3),
            "parts": [
                {
                    "start": round(run.start, 4), "end": round(min(run.end, self.duration), 4),
                    "source_start": round(run.source_start, 4),
                    "source_end": round(run.source_end - max(run.end - self.duration, 0.0) * run.rate, 4),
                    "rate": round(run.rate, 5),
                }
                for run in self.parts
            ],
            "joins": [dataclasses.asdict(join) for join in self.edit.made],
            "hits": [dataclasses.asdict(answer) for answer in self.answers],
            "missed": [dataclasses.asdict(join) for join in self.missed],
        }  # fmt: skip


def propose(
    track: Track, wishes: Wishes, edit: MusicEdit, number: int = 0, held_begin: float | None = None
) -> Proposal:
    """The best arrangement of a recording within what the user decided; number: the next best ones, from 1 on.

    Joins of `edit` that are locked are made at exactly their times; free ones are kept where nothing speaks against
    them, and forgotten for a number above 0. held_begin: the arrangement that begins there, s of the recording, and
    has the joins of `edit` is changed as little as can be, for an editor in which one thing moves at a time. Raises
    PlanError where a join or span cannot be.
    """
    limits = limits_of(edit, track, number)
    if held_begin is not None:
        limits = hold(limits, held_begin)
    arrangement = arrange(track, wishes, limits)
    locked = [join for join in limits.wanted if join.worth == LOCKED_WORTH]
    arrangement, answers = anchor(track, arrangement, wishes.user_hits, locked)
    made = joins_of(arrangement)
    kept = [join for join in edit.joins if join.state == "locked"]
    missed = [join for join in kept if not _has(made, join, track)]
    states = [
        dataclasses.replace(join, state="locked" if any(_has([join], other, track) for other in kept) else "free")
        for join in made
    ]
    refused = [join for join in edit.joins if join.state == "refused"]
    joins = tuple(sorted([*states, *refused], key=lambda join: join.time))
    return Proposal(
        arrangement, tuple(answers), float(wishes.duration), dataclasses.replace(edit, joins=joins), tuple(missed)
    )


def joins_of(arrangement: Arrangement) -> list[MusicJoin]:
    """The joins of an arrangement, in order."""
    return [
        MusicJoin(round(run.start, 4), round(before.source_end, 4), round(run.source_start, 4))
        for before, run in zip(arrangement.runs, arrangement.runs[1:], strict=False)
        if run.is_joined
    ]


def limits_of(edit: MusicEdit, track: Track, number: int = 0) -> Limits:
    """The limits that a part of a plan sets; joins go to the bar lines nearest to them. Raises PlanError."""
    for name in ("kept", "forbidden"):
        check_spans(getattr(edit, name), track, f"plan, music.{name}:", PlanError)
    forbidden, wanted = set(), []
    for index, join in enumerate(edit.joins):
        leaves, enters = (
            _bar_line(track, time, f"music.joins[{index}].{name}")
            for name, time in (("source_from", join.source_from), ("source_to", join.source_to))
        )
        if join.state == "refused":
            forbidden.add((leaves, enters))
        elif join.state == "locked":
            wanted.append(WantedJoin(join.time, leaves, enters, LOCKED_WORTH))
        elif not number:
            wanted.append(WantedJoin(join.time, leaves, enters, FREE_WORTH))
    return Limits(edit.kept, edit.forbidden, frozenset(forbidden), tuple(wanted), edit.begin, seed=number)


def hold(limits: Limits, begin: float) -> Limits:
    """The limits under which free joins, and a beginning that is not set, stay unless something strong is against them.

    begin: s of the recording at the target's beginning.
    """
    wanted = tuple(
        join if join.worth == LOCKED_WORTH else dataclasses.replace(join, worth=HELD_WORTH, reach=HELD_REACH)
        for join in limits.wanted
    )
    return dataclasses.replace(limits, wanted=wanted, begin=begin if limits.begin is None else limits.begin)


def _bar_line(track: Track, time: float, field: str) -> int:
    nearest = int(np.abs(track.marks - time).argmin())
    if abs(float(track.marks[nearest]) - time) > max(NEAR, 30 / max(track.tempo, 30.0) * track.beats_per_bar):
        raise PlanError(
            f"plan, {field}: {time:g} s lies outside the recording, which lasts {track.duration:.1f} s; "
            "give a moment inside it."
        )
    return nearest


def check_spans(
    spans: Sequence[tuple[float, float]], track: Track, where: str, error: type[OpenVMASError] = OptionError
) -> None:
    """Raises an error for a span that the recording does not have. where: names the option or field."""
    for start, end in spans:
        if end > track.duration + 0.5:
            raise error(
                f"{where} {start:g}-{end:g} ends after the recording, which lasts {track.duration:.1f} s; "
                "give an earlier span."
            )


def _has(made: Sequence[MusicJoin], wanted: MusicJoin, track: Track) -> bool:
    """Whether a join that is wanted was made, at its time and between the bar lines nearest to its places."""
    enters = float(track.marks[np.abs(track.marks - wanted.source_to).argmin()])
    return any(abs(join.time - wanted.time) < SAME_JOIN and abs(join.source_to - enters) < SAME_JOIN for join in made)
