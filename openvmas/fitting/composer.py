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
from openvmas.errors import OptionError, PlanError
from openvmas.fitting.library import FREE, HEARD, Choice, Entry, Library, choose
from openvmas.fitting.licence import Credits, read_credits
from openvmas.fitting.proposal import Proposal, check_spans, propose
from openvmas.fitting.rendering import Join, Renderer
from openvmas.fitting.sound import Sound
from openvmas.fitting.track import Track, digest, listen
from openvmas.fitting.wishes import Wishes
from openvmas.generate.piece import Composer, Piece
from openvmas.planning.music_edit import MusicEdit
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

    def edit(self, kept: tuple[tuple[float, float], ...] = ()) -> MusicEdit:
        """The part of a plan that names it, with spans that are played whole."""
        return MusicEdit(self.name, self.sha256, kept=kept)

    @property
    def name(self) -> str:
        """Its path, or free/NAME of one that comes with the package, wherever that is installed."""
        return f"{FREE_NAME}/{self.path.name}" if self.path.parent == FREE else str(self.path)


class FittingComposer(Composer):
    """Plays one recording; another seed gives another arrangement of it."""

    plays_recordings = True

    def __init__(self, recording: Recording, options: MusicOptions) -> None:
        self.recording = recording
        self.kept = read_spans(options.music_keep, "--music-keep")
        check_spans(self.kept, recording.track, "--music-keep")
        licence = read_credits(recording.path).licence or "not stated; the rights are the user's to clear"
        self.weights = Weights(recording.path.name, "1", licence, recording.path.parent, {}, recording.sha256)

    def compose(self, condition: Condition, plan: ScorePlan | None, options: GenerateOptions) -> Piece:
        """The recording, arranged for a plan or, without one, for a condition."""
        wishes = Wishes.of_condition(condition) if plan is None else Wishes.of_plan(plan, condition.speech)
        return fit(self.recording, wishes, self.edit_of(plan), options.seed)

    def rearrange(self, condition: Condition, plan: ScorePlan, number: int, held_begin: float | None) -> Piece:
        """The recording as an editor's proposal arranges it; see `proposal.propose`. plan: with its `music:`."""
        wishes = Wishes.of_plan(plan, condition.speech)
        return fit(self.recording, wishes, self.edit_of(plan), number, held_begin)

    def edit_of(self, plan: ScorePlan | None) -> MusicEdit:
        """Take what a plan says of the recording, else the options. Raises PlanError where it means another one."""
        if plan is None or plan.music is None:
            return self.recording.edit(self.kept)
        if plan.music.sha256 not in ("", self.recording.sha256):
            raise PlanError(
                f"plan, music.sha256: {self.recording.path} is not the recording that this plan was made with; "
                "put that one in its place, or empty sha256 to use this one."
            )
        return dataclasses.replace(plan.music, file=self.recording.name, sha256=self.recording.sha256)

    def arranged(self, plan: ScorePlan, number: int = 0) -> ScorePlan:
        """The plan with its `music:`: what is played, and the joins."""
        edit = propose(self.recording.track, Wishes.of_plan(plan), self.edit_of(plan), number).edit
        return dataclasses.replace(plan, music=edit)


class LibraryComposer(Composer):
    """Plays the recording of a folder that fits best; another seed takes the next best one.

    What was used lately stands back, in other runs too. has_memory: remember what is used.
    """

    plays_recordings = True

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
        choices = self._choose(wishes, plan, options.seed)
        chosen = choices[0].entry
        if self.has_memory:
            self.library.remember(chosen)
        piece = fit(Recording.open(self.library.path(chosen), self.library.cache), wishes)
        piece.report["choices"] = [
            {
                "file": choice.entry.name, "value": round(choice.value, 2), "place": round(choice.place, 2),
                "sync": None if choice.sync is None else round(choice.sync, 2),
                "mood": round(choice.mood, 2), "energy": round(choice.energy, 2), "reasons": list(choice.reasons),
            }
            for choice in choices[:N_SHOWN]
        ]  # fmt: skip
        return piece

    def _choose(self, wishes: Wishes, plan: ScorePlan | None, seed: int) -> list[Choice]:
        """All recordings, the best first; those that other seeds took stand back."""
        others = [sha for other, sha in self._taken.items() if other != seed]
        choices = choose(self.library, wishes, plan, others)
        self._taken[seed] = choices[0].entry.sha256
        self._describe(choices[0].entry)
        return choices

    def arranged(self, plan: ScorePlan, number: int = 0) -> ScorePlan:
        """The plan with its `music:`, of the recording that fits best or, by number, of the next best ones."""
        wishes = Wishes.of_plan(plan)
        recording = Recording.open(self.library.path(self._choose(wishes, plan, number)[0].entry), self.library.cache)
        return dataclasses.replace(plan, music=propose(recording.track, wishes, recording.edit()).edit)


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
    if path.parts[:1] == (FREE_NAME,) and not path.exists():
        return FittingComposer(Recording.open(FREE / path.name, FREE / HEARD), options)
    return FittingComposer(Recording.open(path), options)


def arrange_plan(plan: ScorePlan, options: MusicOptions, earlier: str | None, target: Path) -> ScorePlan:
    """The plan with its `music:` arranged: what --music names, or else what it has already.

    earlier: file of the plan from which its recording was taken; target: of this plan. Raises InputError, OptionError,
    PlanError.
    """
    if options.music is not None:
        plan = dataclasses.replace(plan, music=None)
    elif plan.music is not None:
        if options.music_keep:
            raise OptionError("--music-keep goes with --music; edit `kept` in the plan instead.")
        options = dataclasses.replace(options, music=str(plan.music.find(Path(earlier or target).parent)))
    composer = open_music(options)
    assert isinstance(composer, FittingComposer | LibraryComposer)
    made = composer.arranged(plan, plan.seed)
    assert made.music is not None
    return dataclasses.replace(made, music=made.music.seen_from(target.parent))


def fit(
    recording: Recording, wishes: Wishes, edit: MusicEdit | None = None, number: int = 0,
    held_begin: float | None = None,
) -> Piece:  # fmt: skip
    """A piece of stereo blocks, to the sample as long as what is asked.

    edit: what the user decided on the recording. number, held_begin: of the arrangement, as for `proposal.propose`.
    """
    piece = Piece()
    piece.blocks = _play(piece, recording, wishes, edit or recording.edit(), number, held_begin)
    return piece


def _play(
    piece: Piece, recording: Recording, wishes: Wishes, edit: MusicEdit, number: int, held_begin: float | None
) -> Iterator[np.ndarray]:
    proposal = propose(recording.track, wishes, edit, number, held_begin)
    n_samples = Clock(Fraction(SAMPLE_RATE_OUT)).count(wishes.duration)
    first_hit = float(wishes.hits.min(initial=np.inf))
    renderer = Renderer(recording.sound, recording.track, proposal.arrangement, n_samples, first_hit)
    yield from renderer.blocks()
    piece.music = proposal.edit
    piece.report |= describe(recording, proposal, renderer.joins)


def describe(recording: Recording, proposal: Proposal, joins: Sequence[Join]) -> dict[str, Any]:
    """The entry of a piece in the report."""
    track, credits = recording.track, read_credits(recording.path)
    last = proposal.arrangement.target_times(np.array([track.last]))
    is_whole = bool(len(last)) and float(last[-1]) <= proposal.duration
    stretch = max((abs(run.rate - 1) for run in proposal.parts), default=0.0)
    return {
        "summary": summarize(recording, credits, joins),
        "track": {
            "file": recording.path.name, "sha256": recording.sha256, "duration": round(track.duration, 3),
            "tempo": round(track.tempo, 2) if not track.is_free else None, "key": track.key, **credits.describe(),
            "rights": "OpenVMAS does not clear rights: that you may use this recording is for you to make sure.",
        },
        "has_beat": not track.is_free,
        "ending": (
            "faded where the recording's own long fade begins" if track.fades_out and not track.has_ending
            else "faded, since the recording has none of its own" if not track.has_ending
            else "the recording's own" if is_whole else "cut"
        ),
        "last_beat": round(float(last[-1]), 3) if is_whole else None,
        "greatest_stretch": round(stretch, 4),
        **proposal.describe(),
        "joins": [dataclasses.asdict(join) for join in joins],
        "reason": explain(track, proposal, joins, stretch),
    }  # fmt: skip


def summarize(recording: Recording, credits: Credits, joins: Sequence[Join]) -> str:
    """The few words of the line that is printed."""
    name = f"{recording.path.name}" + (f" ({credits})" if str(credits) else "")
    return f"{name}, {len(joins)} join{'s' * (len(joins) != 1)}"


def explain(track: Track, proposal: Proposal, joins: Sequence[Join], stretch: float) -> str:
    """Say in a sentence or two how the recording was fitted."""
    how = "no join" if not joins else "one join" if len(joins) == 1 else f"{len(joins)} joins"
    tempo = f"{100 * stretch:.1f} % off its own tempo at most" if stretch > 5e-4 else "at its own tempo"
    words = [f"It was laid where its accents are wanted, {tempo}, with {how}."]
    if track.is_free:
        words.append("It has no steady beat, so it was joined at onsets only.")
    answers = proposal.answers
    missed = [answer for answer in answers if answer.kind == "nothing"]
    if missed:
        times = ", ".join(f"{answer.hit:g}" for answer in missed)
        words.append(f"Nothing in reach answers the hits at {times} s.")
    hurried = [answer for answer in answers if answer.stretch > 0.0405]
    if hurried:
        times = ", ".join(f"{answer.hit:g}" for answer in hurried)
        words.append(f"The hits at {times} s needed more than 4 % of stretch.")
    if proposal.missed:
        times = ", ".join(f"{join.time:g}" for join in proposal.missed)
        words.append(f"The locked joins at {times} s cannot be made together with the rest.")
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
