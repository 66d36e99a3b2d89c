"""A folder of recordings: what is known of each, kept beside the folder, and which of them fits a picture best.

The index is brought up to date by content, so that a file that was moved or renamed is not heard again.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from openvmas.condition import AXES
from openvmas.errors import InputError, OpenVMASError
from openvmas.files import cache_folder, write_npz
from openvmas.fitting.arrangement import ENERGY_SPAN, ORDINARY_ENERGY, accents, arrange
from openvmas.fitting.licence import read_credits
from openvmas.fitting.mood import axes_of
from openvmas.fitting.track import VERSION, Track, digest, listen
from openvmas.fitting.wishes import Wishes
from openvmas.music.sync import sync_z
from openvmas.planning.lexicon import parse_text
from openvmas.planning.schema import ScorePlan
from openvmas.processes.threads import ThreadPool

INDEX = ".openvmas-music.npz"
INDEX_VERSION = f"{VERSION}-2"  # of what is kept there; a change makes the index forget
FREE = Path(__file__).parent / "free"  # the recordings that come with the package: tools/build_starter_library.py
HEARD = "heard"  # folder in FREE with what was heard in them
SOUND_SUFFIXES = {".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".m4a", ".aac", ".aif", ".aiff", ".wma"}
CURVE_RATE = 50  # values per second of the accent curve
CURVE_SCALE = 25.0  # of its values as whole numbers: 5 standard deviations are 125
ENERGY_RATE = 2
RATES = (0.96, 0.98, 1.0, 1.02, 1.04)
PLACE_WEIGHT, MOOD_WEIGHT, ENERGY_WEIGHT = 1.0, 1.2, 1.0  # in standard deviations of the place
N_TRIED = 6  # recordings that are arranged before one is chosen
SYNC_WEIGHT, BEST_SYNC = 0.75, 5.0  # of a standard deviation of sync, above BEST_SYNC of none
SHORT_COST, TEMPO_COST, USED_COST = 0.6, 0.5, 1.5  # per octave of length, of tempo; of the recording used last
REMEMBERED = 12  # recordings that were used last
SAY = 0.35  # from which share of the greatest reason a reason is said


@dataclass(frozen=True)
class Entry:
    """A recording as the index knows it.

    name: its path in the folder. stamp: size and time of the file, by which changes are noticed. curve: [n] int8
    accents at CURVE_RATE, energy: [m] LU at ENERGY_RATE. axes: [len(AXES)], NaN where nothing is known.
    """

    name: str
    stamp: str
    sha256: str
    duration: float
    tempo: float
    key: str
    has_ending: bool
    curve: np.ndarray
    energy: np.ndarray
    axes: np.ndarray


@dataclass(frozen=True)
class Choice:
    """A recording and how well it fits. place: z of its accents at the best place; mood, energy: in [-1, 1].

    reasons: words for the user. value: all of it, by which choices are ordered. sync: z of the onsets of its
    arrangement at the moments asked, where it was arranged.
    """

    entry: Entry
    value: float
    place: float
    mood: float
    energy: float
    reasons: tuple[str, ...]
    sync: float | None = None


@dataclass
class Library:
    """The recordings of a folder. skipped: name → why a file was left out. used: hashes of those used, newest first."""

    folder: Path
    entries: list[Entry] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    used: list[str] = field(default_factory=list)

    @classmethod
    def open(cls, folder: str | Path, progress: Callable[[float], None] | None = None) -> Library:
        """The library of a folder, brought up to date. Raises InputError where there is no music in it."""
        library = cls(Path(folder))
        library._load()
        library._update(progress or (lambda done: None))
        if not library.entries:
            first = next(iter(library.skipped.values()), "")
            raise InputError(
                f"{folder} holds no music that can be read{f' ({first})' if first else ''}; "
                "give a folder with files such as flac, ogg or mp3."
            )
        return library

    def path(self, entry: Entry) -> Path:
        """The file of an entry."""
        return self.folder / entry.name

    @property
    def cache(self) -> Path | None:
        """Where what was heard of its recordings is kept; None for the user's cache."""
        return FREE / HEARD if self.folder == FREE else None

    def remember(self, entry: Entry) -> None:
        """Note that a recording was used, so that others have their turn."""
        self.used = [entry.sha256, *(sha for sha in self.used if sha != entry.sha256)][:REMEMBERED]
        self._save()

    def _places(self) -> tuple[Path, ...]:
        """Where the index lies: beside the music, or in the user's cache where the folder cannot be written."""
        name = f"{hash_text(str(self.folder.resolve())):016x}.npz"
        places = self.folder / INDEX, cache_folder() / "libraries" / name
        return places[1:] if self.folder == FREE else places  # an installed package is not written to

    def _load(self) -> None:
        for place in self._places():
            with contextlib.suppress(OSError, ValueError, KeyError, EOFError), np.load(place) as data:
                if str(data["version"]) != INDEX_VERSION:
                    continue
                facts = json.loads(str(data["facts"]))
                curves = np.split(data["curves"], np.cumsum(data["curve_lengths"])[:-1])
                energies = np.split(data["energies"].astype(np.float32), np.cumsum(data["energy_lengths"])[:-1])
                self.entries = [
                    Entry(**fact, curve=curve, energy=energy, axes=axes)
                    for fact, curve, energy, axes in zip(facts, curves, energies, data["axes"], strict=True)
                ]
                self.used = [str(sha) for sha in data["used"]]
                return

    def _save(self) -> None:
        names = ("name", "stamp", "sha256", "duration", "tempo", "key", "has_ending")
        entries = self.entries
        arrays = {
            "version": np.array(INDEX_VERSION),
            "facts": np.array(json.dumps([{name: getattr(entry, name) for name in names} for entry in entries])),
            "curves": np.concatenate([entry.curve for entry in entries] or [np.zeros(0, np.int8)]),
            "curve_lengths": np.array([len(entry.curve) for entry in entries], int),
            "energies": np.concatenate([entry.energy for entry in entries] or [np.zeros(0)]).astype(np.float16),
            "energy_lengths": np.array([len(entry.energy) for entry in entries], int),
            "axes": np.array([entry.axes for entry in entries], np.float32),
            "used": np.array(self.used, dtype=np.str_),
        }
        for place in self._places():
            with contextlib.suppress(OSError):
                place.parent.mkdir(parents=True, exist_ok=True)
                write_npz(place, arrays, is_compressed=False)
                return

    def _update(self, progress: Callable[[float], None]) -> None:
        """Hear what is new or changed and forget what is gone."""
        files = sound_files(self.folder)
        known = {entry.name: entry for entry in self.entries}
        by_content = {entry.sha256: entry for entry in self.entries}
        kept: dict[str, Entry] = {}
        fresh: list[tuple[str, Path, str]] = []
        for path in files:
            name = path.relative_to(self.folder).as_posix()
            stamp = stamp_of(path)
            if name in known and known[name].stamp == stamp:
                kept[name] = known[name]
            else:
                fresh.append((name, path, stamp))
        done = 0

        def hear_one(job: tuple[str, Path, str]) -> Entry | str:
            nonlocal done
            name, path, stamp = job
            try:
                sha = digest(path)
                old = by_content.get(sha)
                found = replace(old, name=name, stamp=stamp) if old else describe(name, path, stamp, sha, self.cache)
            except OpenVMASError as error:
                found = str(error)
            done += 1
            progress(done / len(fresh))
            return found

        for (name, _, _), found in zip(fresh, _in_batches(hear_one, fresh, self, kept), strict=True):
            if isinstance(found, str):
                self.skipped[name] = found
            else:
                kept[name] = found
        changed = bool(fresh) or len(kept) != len(self.entries)
        self.entries = [kept[name] for name in sorted(kept)]
        if changed:
            self._save()


def _in_batches(
    hear_one: Callable[[tuple[str, Path, str]], Entry | str],
    jobs: Sequence[tuple[str, Path, str]],
    library: Library,
    kept: dict[str, Entry],
) -> list[Entry | str]:
    """Answers to all jobs in order; the index is saved on the way, so that an interrupted run goes on where it was."""
    found: list[Entry | str] = []
    pool = ThreadPool()
    for first in range(0, len(jobs), 8 * pool.n):
        for index in range(first, min(first + 8 * pool.n, len(jobs)), pool.n):
            found += pool.map(hear_one, jobs[index : index + pool.n])
        so_far = {entry.name: entry for entry in (*kept.values(), *(e for e in found if isinstance(e, Entry)))}
        library.entries = [so_far[name] for name in sorted(so_far)]
        library._save()
    return found


def hash_text(text: str) -> int:
    """A number for a text, the same in every process."""
    import hashlib

    return int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()[:8], "big")


def sound_files(folder: Path) -> list[Path]:
    """The recordings anywhere below a folder, by name. Raises InputError."""
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder; give a recording or a folder of recordings.")
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in SOUND_SUFFIXES and path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )  # fmt: skip


def stamp_of(path: Path) -> str:
    """Size and time of a file."""
    found = os.stat(path)
    return f"{found.st_size}-{found.st_mtime_ns}"


def describe(name: str, path: Path, stamp: str, sha256: str, cache: Path | None = None) -> Entry:
    """Hear a recording for the index. Raises InputError."""
    track = listen(path, cache)
    axes = axes_of(track)
    credits = read_credits(path)
    said = [credits.tags.get(tag, "") for tag in ("title", "genre", "comment")]
    words = " ".join([*Path(name).with_suffix("").parts, *said, credits.words])
    for axis, value in parse_text(words.replace("_", " ").replace("-", " ")).axes.items():
        axes[AXES.index(axis)] = value
    return Entry(
        name, stamp, sha256, track.duration, 0.0 if track.is_free else track.tempo, track.key, track.has_ending,
        accent_curve(track), track.energy[:: 10 // ENERGY_RATE].astype(np.float32), axes,
    )  # fmt: skip


def accent_curve(track: Track) -> np.ndarray:
    """Accents as `arrangement` values them: [n] int8 at CURVE_RATE, in 1 / CURVE_SCALE standard deviations."""
    curve = accents(track)
    curve = curve[: len(curve) // 2 * 2].reshape(-1, 2).max(axis=1)
    return np.clip(np.rint(curve * CURVE_SCALE), -127, 127).astype(np.int8)


def rank(library: Library, wishes: Wishes, plan: ScorePlan | None, exclude: Sequence[str] = ()) -> list[Choice]:
    """All recordings, the best first. exclude: sha256 of some that are wanted last.

    A recording's value is the z of its accents at its best place and tempo, what its mood and its course of energy have
    in common with the plan's, less costs for being shorter than the picture and for having been used lately.
    """
    asked = asked_axes(plan)
    matcher = PlaceMatcher(wishes)
    choices = []
    for entry in library.entries:
        place, start = matcher.best(entry.curve)
        mood = mood_match(asked, entry.axes)
        energy = energy_match(wishes, entry, start)
        octaves = max(0.0, float(np.log2(float(wishes.duration) / max(entry.duration, 1.0))))
        value = PLACE_WEIGHT * place + MOOD_WEIGHT * mood + ENERGY_WEIGHT * energy - SHORT_COST * octaves
        tempo = 0.0
        if plan is not None and plan.tempo and entry.tempo:
            off = abs(float(np.log2(entry.tempo / plan.tempo)))
            tempo = min(off, abs(off - 1) + 0.2)
            value -= TEMPO_COST * min(tempo, 1.0)
        if entry.sha256 in library.used:
            value -= USED_COST * 0.8 ** library.used.index(entry.sha256)
        if entry.sha256 in exclude:
            value -= 100
        choices.append(Choice(entry, value, place, mood, energy, reasons(entry, place, mood, energy, octaves, tempo)))
    return sorted(choices, key=lambda choice: -choice.value)


def choose(library: Library, wishes: Wishes, plan: ScorePlan | None, exclude: Sequence[str] = ()) -> list[Choice]:
    """All recordings as `rank` has them, but the first N_TRIED ordered by what their arrangements come to.

    The best place in a recording is not where it is played in the end: its ending, joins and levels have a say too.
    """
    choices = rank(library, wishes, plan, exclude)
    if not len(wishes.hits):
        return choices
    tried = [_arranged(choice, library, wishes) for choice in choices[:N_TRIED]]
    return sorted(tried, key=lambda choice: -choice.value) + choices[N_TRIED:]


def _arranged(choice: Choice, library: Library, wishes: Wishes) -> Choice:
    """The choice with the sync of its arrangement in the place of its best place."""
    track = listen(library.path(choice.entry), library.cache, choice.entry.sha256)
    strength = arrange(track, wishes).strength(track, float(wishes.duration))
    sync = sync_z(strength, wishes.hits, wishes.duration).z
    value = choice.value - PLACE_WEIGHT * choice.place + SYNC_WEIGHT * min(sync, BEST_SYNC)
    return replace(choice, value=value, sync=sync)


def reasons(entry: Entry, place: float, mood: float, energy: float, octaves: float, tempo: float) -> tuple[str, ...]:
    """Reasons for a recording and against it, the strongest first."""
    found = [
        (PLACE_WEIGHT * abs(place - 2.0), f"its accents meet the picture's ({place:.1f} deviations above chance)"),
        (MOOD_WEIGHT * abs(mood), "its mood is the one asked for" if mood > 0 else "its mood is another"),
        (ENERGY_WEIGHT * abs(energy), "it is loud and quiet where the picture is" if energy > 0
         else "its loud and quiet parts lie elsewhere"),
        (SHORT_COST * octaves, f"it is short ({entry.duration:.0f} s) and parts of it are repeated"),
        (TEMPO_COST * tempo, f"its tempo is {entry.tempo:.0f} BPM"),
    ]  # fmt: skip
    greatest = max(weight for weight, _ in found)
    return tuple(words for weight, words in sorted(found, reverse=True) if weight >= SAY * max(greatest, 1e-9))


class PlaceMatcher:
    """The best place and tempo of recordings under one picture's moments: a correlation over all offsets by FFT."""

    def __init__(self, wishes: Wishes) -> None:
        self.length = float(wishes.duration)
        self.hits = wishes.hits
        weights = np.where(wishes.is_user, 2.0, wishes.weights)
        self.weights = weights / max(float(np.sqrt((weights**2).sum())), 1e-9)
        self._spectra: dict[int, np.ndarray] = {}

    def best(self, curve: np.ndarray) -> tuple[float, float]:
        """(value in standard deviations of chance, start in s) of the best place of an accent curve [n] int8."""
        if not len(self.hits) or not len(curve):
            return 0.0, 0.0
        span = round(self.length * max(RATES) * CURVE_RATE) + 1
        size = 1 << (len(curve) + span).bit_length()
        if size not in self._spectra:
            trains = np.zeros((len(RATES), size), np.float32)
            for row, rate in zip(trains, RATES, strict=True):
                np.add.at(row, np.rint(self.hits * rate * CURVE_RATE).astype(int), self.weights)
            self._spectra[size] = np.conj(np.fft.rfft(trains))
        padded = np.zeros(size, np.float32)
        padded[: len(curve)] = curve / CURVE_SCALE
        found = np.fft.irfft(np.fft.rfft(padded)[None] * self._spectra[size], size)
        # Shorter recordings are repeated; then any place is possible.
        last = max(1, len(curve) - round(self.length * CURVE_RATE)) if len(curve) > span else len(curve)
        best = int(found[:, :last].max(axis=0).argmax())
        return float(found[:, best].max()), best / CURVE_RATE


def asked_axes(plan: ScorePlan | None) -> np.ndarray:
    """Semantic axes that a plan asks for, its sections weighted by their length: [len(AXES)], 0 where nothing."""
    asked = np.zeros(len(AXES))
    if plan is None:
        return asked
    for section in plan.sections:
        share = (section.end - section.start) / float(plan.duration)
        for axis, value in plan.semantics(section).items():
            asked[AXES.index(axis)] += share * value
    return asked


def mood_match(asked: np.ndarray, have: np.ndarray) -> float:
    """Agreement of what is asked with what a recording is, over the axes that are known of it: in [-1, 1]."""
    known = np.isfinite(have) & (np.abs(asked) > 0.05)
    if not known.any():
        return 0.0
    products = asked[known] * np.clip(have[known], -2, 2)
    return float(np.tanh(products.sum() / max(float(np.abs(asked[known]).sum()), 0.5)))


def energy_match(wishes: Wishes, entry: Entry, start: float) -> float:
    """Correlation of the recording's loudness from `start` on with the course of energy that is asked: in [-1, 1]."""
    if wishes.energy is None:
        return 0.0
    n = max(2, round(float(wishes.duration) * ENERGY_RATE))
    times = np.arange(n) / ENERGY_RATE
    index = np.minimum(((start + times) * ENERGY_RATE).astype(int), len(entry.energy) - 1)
    have = np.clip(entry.energy[index], -16, 6)
    asked = np.clip((np.interp(times, *wishes.energy) - ORDINARY_ENERGY) * ENERGY_SPAN, -16, 6)
    if have.std() < 0.5 or asked.std() < 0.5:
        return 0.0
    return float(np.corrcoef(have, asked)[0, 1])
