"""The composer that plays a recording that the user gives, re-arranged to the picture."""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from openvmas.condition import Condition
from openvmas.errors import OptionError
from openvmas.fitting.anchoring import Answer, anchor
from openvmas.fitting.arrangement import Arrangement, Limits, arrange
from openvmas.fitting.library import FREE, Entry, Library, rank
from openvmas.fitting.licence import Credits, read_credits
from openvmas.fitting.rendering import Join, Renderer
from openvmas.fitting.sound import Sound
from openvmas.fitting.track import Track, digest, listen
from openvmas.fitting.wishes import Wishes
from openvmas.generate.piece import Composer, Piece
from openvmas.planning.schema import ScorePlan
from openvmas.pretrained import Weights
from openvmas.settings import SAMPLE_RATE_OUT, GenerateOptions, MusicOptions
from openvmas.timeline import Clock

FREE_NAME = "free"  # of the recordings that come with the package
N_SHOWN = 3  # recordings of a folder that reports tell the reasons of
SPAN = re.compile(r"\s*([\d:.]+)\s*-\s*([\d:.]+)\s*")


@dataclass(frozen=True)
class Recording:
    """A file, what was heard in it, and its sound, which is decoded once for hearing and playing."""

    path: Path
    track: Track
    sha256: str
    sound: Sound

    @classmethod
    def open(cls, path: str | Path, cache: Path | None = None) -> Recording:
        """cache: as for `track.listen`. Raises InputError."""
        sha256, sound = digest(path), Sound(path)
        return cls(Path(path), listen(path, cache, sha256, sound), sha256, sound)


class FittingComposer(Composer):
    """Plays one recording; another seed gives another arrangement of it."""

    def __init__(self, recording: Recording, options: MusicOptions) -> None:
        self.recording = recording
        self.kept = read_spans(options.music_keep, "--music-keep")
        check_spans(self.kept, recording.track, "--music-keep")
        licence = read_credits(recording.path).licence or "not stated; the rights are the user's to clear"
        self.weights = Weights(recording.path.name, "1", licence, recording.path.parent, {}, recording.sha256)

    def compose(self, condition: Condition, plan: ScorePlan | None, options: GenerateOptions) -> Piece:
        """The recording, arranged for a plan or, without one, for a condition."""
        wishes = Wishes.of_condition(condition) if plan is None else Wishes.of_plan(plan, condition.speech)
        return fit(self.recording, wishes, Limits(kept=self.kept, seed=options.seed))


class LibraryComposer(Composer):
    """Plays the recording of a folder that fits best; another seed takes the next best one.

    What was used lately stands back, in other runs too. has_memory: remember what is used.
    """

    def __init__(self, library: Library, options: MusicOptions, has_memory: bool = True) -> None:
        if options.music_keep:
            raise OptionError("--music-keep is for one recording; give its file with --music instead of a folder.")
        self.library, self.has_memory = library, has_memory
        self._taken: dict[int, str] = {}
        self._describe(None)

    def _describe(self, entry: Entry | None) -> None:
        folder = self.library.folder
        path = self.library.path(entry) if entry else folder
        licence = (read_credits(path).licence if entry else "") or "not stated; the rights are the user's to clear"
        sha256 = entry.sha256 if entry else hashlib.sha256(
            "".join(sorted(one.sha256 for one in self.library.entries)).encode()
        ).hexdigest()  # fmt: skip
        self.weights = Weights(path.name, "1", licence, folder, {}, sha256)

    def compose(self, condition: Condition, plan: ScorePlan | None, options: GenerateOptions) -> Piece:
        """The best recording, arranged; seeds of one composer give different recordings while there are any."""
        wishes = Wishes.of_condition(condition) if plan is None else Wishes.of_plan(plan, condition.speech)
        others = [sha for seed, sha in self._taken.items() if seed != options.seed]
        choices = rank(self.library, wishes, plan, others)
        chosen = choices[0].entry
        self._taken[options.seed] = chosen.sha256
        self._describe(chosen)
        if self.has_memory:
            self.library.remember(chosen)
        piece = fit(Recording.open(self.library.path(chosen), self.library.cache), wishes)
        piece.report["choices"] = [
            {
                "file": choice.entry.name, "value": round(choice.value, 2), "place": round(choice.place, 2),
                "mood": round(choice.mood, 2), "energy": round(choice.energy, 2), "reasons": list(choice.reasons),
            }
            for choice in choices[:N_SHOWN]
        ]  # fmt: skip
        return piece


def open_music(options: MusicOptions, progress: Callable[[float], None] | None = None) -> Composer:
    """The composer for what the options name. Raises InputError, OptionError."""
    if options.music_from is not None:
        if options.music is not None:
            raise OptionError("--music takes a recording and --music-from has one written; give one of the two.")
        from openvmas.fitting.generators import open_contract  # it builds on this module

        return open_contract(options.music_from)
    path = Path(str(options.music))
    if str(options.music) == FREE_NAME and not path.exists():
        return LibraryComposer(Library.open(FREE, progress), options)
    if path.is_dir():
        return LibraryComposer(Library.open(path, progress), options)
    return FittingComposer(Recording.open(path), options)


def fit(recording: Recording, wishes: Wishes, limits: Limits | None = None) -> Piece:
    """A piece of stereo blocks, to the sample as long as what is asked."""
    piece = Piece()
    piece.blocks = _play(piece, recording, wishes, limits or Limits())
    return piece


def _play(piece: Piece, recording: Recording, wishes: Wishes, limits: Limits) -> Iterator[np.ndarray]:
    track = recording.track
    arrangement = arrange(track, wishes, limits)
    arrangement, answers = anchor(track, arrangement, wishes.user_hits)
    n_samples = Clock(Fraction(SAMPLE_RATE_OUT)).count(wishes.duration)
    renderer = Renderer(recording.sound, track, arrangement, n_samples)
    yield from renderer.blocks()
    piece.report |= describe(recording, arrangement, answers, renderer.joins, float(wishes.duration))


def describe(
    recording: Recording, arrangement: Arrangement, answers: Sequence[Answer], joins: Sequence[Join], duration: float
) -> dict[str, Any]:
    """The entry of a piece in the report."""
    track, credits = recording.track, read_credits(recording.path)
    last = arrangement.target_times(np.array([track.last]))
    is_whole = bool(len(last)) and float(last[-1]) <= duration
    stretch = max((abs(run.rate - 1) for run in arrangement.runs), default=0.0)
    return {
        "summary": summarize(recording, credits, joins),
        "track": {
            "file": recording.path.name, "sha256": recording.sha256, "duration": round(track.duration, 3),
            "tempo": round(track.tempo, 2) if not track.is_free else None, "key": track.key, **credits.describe(),
            "rights": "OpenVMAS does not clear rights: that you may use this recording is for you to make sure.",
        },
        "value": round(arrangement.value, 3),
        "has_beat": not track.is_free,
        "ending": (
            "faded, since the recording has none of its own" if not track.has_ending
            else "the recording's own" if is_whole else "cut"
        ),
        "last_beat": round(float(last[-1]), 3) if is_whole else None,
        "greatest_stretch": round(stretch, 4),
        "parts": [{name: round(value, 4) for name, value in _part(run).items()} for run in arrangement.runs],
        "joins": [dataclasses.asdict(join) for join in joins],
        "hits": [dataclasses.asdict(answer) for answer in answers],
        "reason": explain(track, answers, joins, stretch),
    }  # fmt: skip


def _part(run: Any) -> dict[str, float]:
    return {
        "start": run.start, "end": run.end, "source_start": run.source_start, "source_end": run.source_end,
        "rate": run.rate,
    }  # fmt: skip


def summarize(recording: Recording, credits: Credits, joins: Sequence[Join]) -> str:
    """The few words of the line that is printed."""
    name = f"{recording.path.name}" + (f" ({credits})" if str(credits) else "")
    return f"{name}, {len(joins)} join{'s' * (len(joins) != 1)}"


def explain(track: Track, answers: Sequence[Answer], joins: Sequence[Join], stretch: float) -> str:
    """Say in a sentence or two how the recording was fitted."""
    how = "no join" if not joins else "one join" if len(joins) == 1 else f"{len(joins)} joins"
    tempo = f"{100 * stretch:.1f} % off its own tempo at most" if stretch > 5e-4 else "at its own tempo"
    words = [f"It was laid where its accents are wanted, {tempo}, with {how}."]
    if track.is_free:
        words.append("It has no steady beat, so it was joined at onsets only.")
    missed = [answer for answer in answers if answer.kind == "nothing"]
    if missed:
        times = ", ".join(f"{answer.hit:g}" for answer in missed)
        words.append(f"Nothing in reach answers the hits at {times} s.")
    hurried = [answer for answer in answers if answer.stretch > 0.0405]
    if hurried:
        times = ", ".join(f"{answer.hit:g}" for answer in hurried)
        words.append(f"The hits at {times} s needed more than 4 % of stretch.")
    return " ".join(words)


def read_spans(texts: Sequence[str], option: str) -> tuple[tuple[float, float], ...]:
    """(start, end) in s of spans such as 0:20-0:40 or 20-40.5. Raises OptionError."""
    found = []
    for text in texts:
        parts = SPAN.fullmatch(text)
        times = [read_time(part, option) for part in parts.groups()] if parts else []
        if len(times) != 2 or times[0] >= times[1]:
            raise OptionError(f"{option} cannot be {text!r}; give two times with a dash, as 0:20-0:40.")
        found.append((times[0], times[1]))
    return tuple(found)


def read_time(text: str, option: str) -> float:
    """Seconds of 73.5, 1:13.5 or 1:02:03. Raises OptionError."""
    try:
        parts = [float(part) for part in text.split(":")]
        if len(parts) > 3 or any(part < 0 for part in parts):
            raise ValueError
    except ValueError:
        raise OptionError(f"{option} cannot be {text!r}; give seconds, or minutes and seconds as 1:13.5.") from None
    return sum(part * 60**place for place, part in enumerate(reversed(parts)))


def check_spans(spans: Sequence[tuple[float, float]], track: Track, option: str) -> None:
    """Raises OptionError for a span that the recording does not have."""
    for start, end in spans:
        if end > track.duration + 0.5:
            raise OptionError(
                f"{option} {start:g}-{end:g} ends after the recording, which lasts {track.duration:.1f} s; "
                "give an earlier span."
            )
