"""Music videos made as an editor makes them: pictures whose mood fits the track, cut and moved on its events.

`plan_montage` decides everything from a track's analysis and a seed: cuts on bars, beats and accents, moves and flashes
inside shots, new pictures where the music changes. People do not hit every beat, so `Imperfection` moves and misses
some; what was meant and what was done are both kept. `Montages` gives such videos without end.
"""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import numpy as np

from openvmas.data.montage.bank import Bank, Take
from openvmas.data.montage.music_clips import MusicClip, match
from openvmas.settings import read_toml

Anchor = Literal["section", "downbeat", "beat", "onset", "none"]
ANCHORS: tuple[Anchor, ...] = ("downbeat", "beat", "onset", "none")
EASES = ("even", "out", "punch", "hold")
SHORTEST_SHOT, LONGEST_SHOT = 0.3, 14.0  # s
LEAST_GAP = 0.16  # s between two cuts, after all imperfection
GRID_CONFIDENCE = 0.35  # below it a beat grid is a guess and only onsets are used
MIN_SECTION, SECTION_NOVELTY = 6.0, 0.4  # s; of MusicAnalysis.events.novelty
RATES = (Fraction(24), Fraction(25), Fraction(30), Fraction(24000, 1001), Fraction(30000, 1001))
MATCH_SHARPNESS = 0.2  # temperature of the choice of pictures by mood


@dataclass(frozen=True)
class Style:
    """One way of editing.

    shot_beats: median length of a shot at middling energy, in beats; length_sd: standard deviation of its logarithm;
    response: octaves by which shots get shorter from rest to full energy. anchors: how often a cut is meant for a
    downbeat, a beat, an onset or nothing. dissolve, fade: shares of cuts; eases: of "even", "out", "punch", "hold";
    reach: of camera moves. kick, flash: share of accents inside a shot that get one; footage: share of shots that move
    by themselves; palette: pictures a section.
    """

    name: str
    shot_beats: float
    anchors: tuple[float, float, float, float]
    length_sd: float = 0.35
    response: float = 1.0
    dissolve: float = 0.0
    fade: float = 0.0
    eases: tuple[float, float, float, float] = (0.5, 0.2, 0.2, 0.1)
    reach: float = 0.2
    kick: float = 0.0
    flash: float = 0.0
    footage: float = 0.35
    palette: int = 8
    grain: float = 0.0
    shake: float = 0.0


def _style(name: str, table: dict[str, Any]) -> Style:
    values: dict[str, Any] = {key: tuple(item) if isinstance(item, list) else item for key, item in table.items()}
    return Style(name, **values)


STYLES = tuple(_style(*item) for item in read_toml(Path(__file__).with_name("styles.toml")).items())


@dataclass(frozen=True)
class Imperfection:
    """Deviation of cuts from where they were meant: our estimate of what editors do, not a measurement of them.

    jitter, lead: standard deviation and mean earliness, s. late_share of events come up to `late` s after their place.
    missed: share of events placed without regard to the music. unanswered: share of accents that get nothing.
    """

    jitter: float = 0.02
    lead: float = 0.01
    late_share: float = 0.1
    late: float = 0.15
    missed: float = 0.12
    unanswered: float = 0.2


USUAL = Imperfection()
NONE = Imperfection(0.0, 0.0, 0.0, 0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Placed:
    """One event of the picture: "cut", "dissolve", "fade", "flash", "kick" or "move", at `time`, meant for `anchor`
    (s from the start, NaN where it was meant for nothing) of a kind; is_missed: placed without regard to the music."""

    kind: str
    time: float
    anchor: float
    anchor_kind: Anchor
    is_missed: bool = False


@dataclass(frozen=True)
class Montage:
    """A planned video for `music` from `start` to `end` (s of the track).

    takes: their paths are the bank's; files: their numbers in the bank. placed: its events and
    what they were meant for; match: mean agreement of the pictures with the music, in [-1, 1].
    """

    music: str
    start: float
    end: float
    style: str
    fps: Fraction
    takes: tuple[Take, ...]
    files: tuple[int, ...]
    placed: tuple[Placed, ...]
    match: float


@dataclass
class _Music:
    """A track's events inside a span, s from the span's start."""

    duration: float
    times: dict[Anchor, np.ndarray]
    beat: float
    energy: np.ndarray
    sections: list[float]
    accents: np.ndarray

    def energy_at(self, t: float) -> float:
        return float(self.energy[min(int(t * len(self.energy) / self.duration), len(self.energy) - 1)])


def find_events(clip: MusicClip, start: float, end: float) -> _Music:
    """Events of a track between two moments (s)."""
    music = clip.analysis
    rate = float(music.events.rate)
    low, high = round(start * rate), min(round(end * rate), music.events.n_steps)
    curve = music.events.accents[low:high]
    accents = np.flatnonzero(curve > 0) / rate
    has_grid = music.confidence >= GRID_CONFIDENCE and len(music.beats) > 8
    inside: dict[Anchor, np.ndarray] = {"onset": accents, "beat": accents, "downbeat": accents[::4]}
    if has_grid:
        inside["beat"], inside["downbeat"] = (
            times[(times >= start) & (times < end)] - start for times in (music.beats, music.downbeats)
        )
    beat = float(np.median(np.diff(music.beats))) if has_grid else 0.6
    novelty = music.events.novelty[low:high]
    sections: list[float] = []
    for step in np.argsort(-novelty):
        if novelty[step] < SECTION_NOVELTY:
            break
        place = nearest(inside["downbeat"], step / rate, step / rate)
        if 2 < place < end - start - 2 and all(abs(place - s) >= MIN_SECTION for s in sections):
            sections.append(place)
    return _Music(end - start, inside, beat, music.events.energy[low:high], sorted(sections), accents)


def nearest(times: np.ndarray, target: float, default: float) -> float:
    """The element of increasing times that is nearest to a target; the default where there is none."""
    if len(times) == 0:
        return default
    right = min(int(np.searchsorted(times, target)), len(times) - 1)
    left = max(right - 1, 0)
    return float(times[left] if abs(times[left] - target) <= abs(times[right] - target) else times[right])


def place_cuts(music: _Music, style: Style, rng: np.random.Generator) -> list[tuple[float, Anchor]]:
    """Moments of cuts as they are meant, without faults: (time, anchor), in order."""
    cuts: list[tuple[float, Anchor]] = []
    t = 0.0
    weights = np.array(style.anchors) / sum(style.anchors)
    borders = [*music.sections, music.duration]
    while True:
        length = music.beat * style.shot_beats * float(rng.lognormal(0, style.length_sd))
        length *= 2 ** (-style.response * (music.energy_at(t) - 0.5))
        target = t + float(np.clip(length, SHORTEST_SHOT, LONGEST_SHOT if style.name != "oner" else 60))
        kind = ANCHORS[int(rng.choice(4, p=weights))]
        if kind != "none":
            times = music.times[kind]
            later = times[bisect.bisect_left(times, t + SHORTEST_SHOT) :]
            place = nearest(later, target, target)
            target, kind = (place, kind) if abs(place - target) < 2 * length else (target, "none")
        border = borders[bisect.bisect_right(borders, t + SHORTEST_SHOT)] if t + SHORTEST_SHOT < borders[-1] else None
        if border is not None and border < target + 0.4 * length and border < music.duration:
            target, kind = border, "section"
        if target > music.duration - SHORTEST_SHOT:
            return cuts
        cuts.append((target, kind))
        t = target


def disturb(time: float, beat: float, faults: Imperfection, rng: np.random.Generator) -> tuple[float, bool]:
    """The moment of an event that was meant for `time`, and whether the music was missed altogether."""
    normal, late, miss, where = rng.normal(), rng.random(2), rng.random(), rng.random()
    if miss < faults.missed:
        away = np.clip(0.1 + 0.4 * where, 0.1, None) * max(beat, 0.3)
        return time + float(away) * (1 if late[0] < 0.5 else -1), True
    moved = time + faults.jitter * normal - faults.lead
    return (moved + faults.late * late[1] if late[0] < faults.late_share else moved), False


class _Cutter:
    """Turns meant cuts into takes, one montage at a time."""

    def __init__(self, music: _Music, style: Style, faults: Imperfection, bank: Bank, fits: np.ndarray, seed: int):
        self.music, self.style, self.faults, self.bank, self.fits = music, style, faults, bank, fits
        self.rng = np.random.default_rng(seed)
        self.placed: list[Placed] = []
        self.palette: list[int] = []
        moving = np.array([bank.is_footage(i) for i in range(len(bank))])
        self.pools = {True: np.flatnonzero(moving), False: np.flatnonzero(~moving)}

    def new_palette(self, section: int) -> None:
        """Pictures for a section, drawn by how well they go with it; a third of the last ones stay."""
        chance = np.exp((self.fits[section] - self.fits[section].max()) / MATCH_SHARPNESS)
        kept = self.palette[: self.style.palette // 3]
        for is_footage, pool in self.pools.items():
            share = self.style.footage if is_footage else 1 - self.style.footage
            n = min(round(self.style.palette * share), len(pool))
            if n:
                drawn = self.rng.choice(pool, n, replace=False, p=chance[pool] / chance[pool].sum())
                kept = kept + [int(i) for i in drawn]
        self.palette = list(dict.fromkeys(kept)) or [int(np.argmax(self.fits[section]))]

    def choose(self, last: int) -> int:
        """A file of the palette that was not shown just now."""
        others = [i for i in self.palette if i != last] or self.palette
        wants = self.rng.random() < self.style.footage
        fitting = [i for i in others if self.bank.is_footage(i) == wants] or others
        return fitting[int(self.rng.integers(len(fitting)))]

    def answers(self, begin: float, duration: float, share: float, kind: str, gap: float) -> list[float]:
        """Accents inside a shot that are answered, as seconds from its start; written down as placed."""
        found: list[float] = []
        for accent in self.music.accents[
            (self.music.accents > begin + 0.35) & (self.music.accents < begin + duration - 0.35)
        ]:
            wanted, given = self.rng.random() < share, self.rng.random() >= self.faults.unanswered
            time, is_missed = disturb(float(accent), self.music.beat, self.faults, self.rng)
            since = time - begin
            if wanted and given and 0.3 < since < duration - 0.3 and (not found or since - found[-1] >= gap):
                found.append(since)
                self.placed.append(Placed(kind, time, float(accent), "onset", is_missed))
        return found

    def take(self, file: int, begin: float, duration: float, dissolve: float, is_fade: bool) -> Take:
        """One shot of a file with its moves."""
        style, rng, is_footage = self.style, self.rng, self.bank.is_footage(file)
        ease = EASES[int(rng.choice(4, p=np.array(style.eases) / sum(style.eases)))]
        if ease == "punch" and (dissolve or duration < 0.6):
            ease = "out"
        zoom = rng.uniform(1.0, 1.3, 2) if is_footage else rng.uniform(1.05, 1.6, 2)
        centre = rng.uniform(0.35, 0.65, 2)
        away = rng.normal(0, style.reach, 2) * min(duration, 3) / 2
        moving = (1 / 3, 2 / 3)
        if ease == "hold":
            stops = self.answers(begin, duration, 0.5, "move", 0.6)[:2]
            self.placed = [p for p in self.placed if p.kind != "move" or p.time < begin or p.time - begin in stops]
            ease = "hold" if stops else "even"
            if stops:
                moving = stops[0] / duration, (stops[1] / duration if len(stops) > 1 else 1.0)
        kicks = self.answers(begin, duration, style.kick, "kick", 0.35) if style.kick else []
        flashes = self.answers(begin, duration, style.flash, "flash", 0.6) if style.flash else []
        return Take(
            str(self.bank.paths[file]),
            duration,
            zoom=(float(zoom[0]), float(zoom[1] * (1.4 if ease == "punch" else 1))),
            centre=((float(centre[0]), float(centre[1])), (float(centre[0] + away[0]), float(centre[1] + away[1]))),
            ease=ease,
            source_start=float(rng.uniform(0, 3)),
            speed=float(rng.choice([0.5, 1, 1, 1.5])),
            dissolve=dissolve,
            is_fade=is_fade,
            flashes=tuple(flashes),
            kicks=tuple(kicks),
            moving=moving,
            grain=style.grain,
            shake=style.shake if is_footage else 0.0,
        )


def plan_montage(
    clip: MusicClip, span: tuple[float, float], style: Style, bank: Bank, seed: int,
    faults: Imperfection = USUAL, fps: Fraction = Fraction(25), tags: np.ndarray | None = None,
) -> Montage:  # fmt: skip
    """Plan a montage of a span (s) of a clip of music. The same arguments give the same plan.

    tags: [P, A] of the bank's files (`bank.tags()`, to be had once for many montages). The meant cuts depend on the
    seed only, so plans with other faults can be compared.
    """
    music = find_events(clip, *span)
    tags = bank.tags() if tags is None else tags
    meant = place_cuts(music, style, np.random.default_rng([seed, 1]))
    borders = [0.0, *music.sections, music.duration]
    fits = np.stack([match(tags, clip.axes_at(span[0] + a, span[0] + b)) for a, b in itertools.pairwise(borders)])
    cutter = _Cutter(music, style, faults, bank, fits, seed)
    rng = np.random.default_rng([seed, 2])
    starts, gradual = [0.0], [(0.0, False)]
    for place, kind in meant:
        time, is_missed = (place, False) if kind == "none" else disturb(place, music.beat, faults, rng)
        dice = rng.random(2)
        room = min(place - starts[-1], 2.0)
        dissolve = float(0.3 + 0.5 * dice[1]) * room if dice[0] < style.dissolve + style.fade and room > 0.9 else 0.0
        is_fade = dissolve > 0 and dice[0] < style.fade
        time = round(max(time - dissolve / 2, starts[-1] + LEAST_GAP) * fps) / float(fps)
        if time > music.duration - LEAST_GAP:
            continue
        starts.append(time)
        gradual.append((dissolve, is_fade))
        name = "fade" if is_fade else "dissolve" if dissolve else "cut"
        anchor = float("nan") if kind == "none" else place
        cutter.placed.append(Placed(name, time + dissolve / 2, anchor, kind, is_missed))
    takes, files, section = [], [], -1
    for begin, end, (dissolve, is_fade) in zip(starts, [*starts[1:], music.duration], gradual, strict=True):
        now = bisect.bisect_right(music.sections, begin + 0.3)
        if now != section:
            section = now
            cutter.new_palette(section)
        files.append(cutter.choose(files[-1] if files else -1))
        takes.append(cutter.take(files[-1], begin, end - begin, min(dissolve, end - begin), is_fade))
    placed = tuple(sorted(cutter.placed, key=lambda p: p.time))
    goodness = float(np.mean([fits.mean(axis=0)[f] for f in files]))
    return Montage(clip.name, *span, style.name, fps, tuple(takes), tuple(files), placed, goodness)


@dataclass
class Montages:
    """Montages without end, each decided by (seed, index) alone, so that any worker can make any of them.

    lengths: shortest and longest span, s. Clips shorter than the shortest are left out.
    """

    clips: Sequence[MusicClip]
    bank: Bank
    seed: int = 0
    lengths: tuple[float, float] = (20.0, 40.0)
    faults: Imperfection = USUAL
    styles: Sequence[Style] = STYLES
    tags: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.clips = [clip for clip in self.clips if float(clip.analysis.duration) >= self.lengths[0]]
        if not self.clips:
            raise ValueError(f"no song lasts {self.lengths[0]:g} s; give longer ones or a smaller length")
        self.tags = self.bank.tags()

    def make(self, index: int) -> Montage:
        """Montage number `index`."""
        rng = np.random.default_rng([self.seed, index])
        ends = np.cumsum([float(clip.analysis.duration) for clip in self.clips])
        clip = self.clips[int(np.searchsorted(ends, rng.uniform(0, ends[-1])))]
        length = min(float(rng.uniform(*self.lengths)), float(clip.analysis.duration))
        fps = RATES[int(rng.integers(len(RATES)))]
        length = int(length * fps) / float(fps)
        start = round(float(rng.uniform(0, float(clip.analysis.duration) - length)), 3)
        style = self.styles[int(rng.integers(len(self.styles)))]
        # No two editors of a school are alike.
        style = replace(style, shot_beats=style.shot_beats * float(rng.lognormal(0, 0.2)))
        faults = replace(self.faults, missed=self.faults.missed * float(rng.uniform(0, 2)))
        seed = int(rng.integers(2**31))
        return plan_montage(clip, (start, start + length), style, self.bank, seed, faults, fps, self.tags)

    def __iter__(self) -> Iterator[Montage]:
        index = 0
        while True:
            yield self.make(index)
            index += 1
