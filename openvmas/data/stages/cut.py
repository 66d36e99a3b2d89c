"""Long videos and tracks into clips at borders of shots and bars, with the training windows inside each."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from openvmas.data.curation.record import Drop, Record, make_id
from openvmas.data.curation.record_media import Media
from openvmas.data.stages.sound import Sounds, detect_sounds
from openvmas.settings import option

NEAR = 0.12  # s: a cut this near a downbeat is a border of both
SHOT_ONLY = 0.1  # what a cut away from any downbeat costs as a border, against 0 for both
BAR_ONLY = 0.2
NEITHER = 0.3  # places in material without cuts and bars
LENGTH_WEIGHT = 2.0  # of the squared relative deviation from the target, against those
LEAST_CONFIDENCE = 0.35  # of the beat grid: below it downbeats are a guess


@dataclass(frozen=True)
class Cut:
    """Cuts a record into clips and finds the windows of training in them.

    A clip is about `target` s long (DISCO-MV: 77 s on average) and begins and ends, where it can, with both a shot and
    a bar. Windows of `window` s lie inside the clip, begin at a shot or bar, may overlap by half and hold music and no
    talk. Clips without a window are left out.
    """

    target: float = option(77.0, "Length that clips should have, s.", min=1)
    min_length: float = option(20.0, "Shortest clip, s, but for files that are shorter themselves.", min=1)
    max_length: float = option(150.0, "Longest clip, s.", min=1)
    window: float = option(10.0, "Length of a training window, s.", min=1)
    min_music_share: float = option(0.7, "Share of a window with music.", min=0, max=1)
    max_speech_share: float = option(0.1, "Share of a window with talk.", min=0, max=1)
    name: ClassVar[str] = "cut"

    def __call__(self, record: Record, media: Media) -> Record | Drop | list[Record]:
        if record.kind == "image":
            return record
        if not self.window <= self.min_length <= self.target <= self.max_length:
            raise ValueError("window, min_length, target and max_length of [stages.cut] must grow in this order")
        music = media.music()
        cuts = media.video().cuts if record.kind == "video" else np.zeros(0)
        bars = music.downbeats if music.confidence >= LEAST_CONFIDENCE else np.zeros(0)
        times, costs = find_borders(cuts, bars, media.duration)
        chosen = choose_borders(times, costs, self.target, self.min_length, self.max_length)
        sounds = detect_sounds(media)
        clips: list[Record] = []
        for start, end in itertools.pairwise(chosen):
            windows = self.windows(times[(times >= start) & (times < end)], float(start), float(end), sounds)
            if not windows:
                continue
            first, last = round(record.start + float(start), 3), round(record.start + float(end), 3)
            part = replace(
                record, id=make_id(record.origin.source, record.origin.uri, first, last), start=first, end=last
            )
            shares = sounds.cut(float(start), float(end - start)).shares()
            relative = [round(w - float(start), 3) for w in windows]
            clips.append(part.with_facts(self.name, parent=record.id, windows=relative, window=self.window, **shares))
        if not clips:
            return Drop(record, self.name, "no window", f"no {self.window:g} s with music and without talk")
        return clips

    def windows(self, borders: np.ndarray, start: float, end: float, sounds: Sounds) -> list[float]:
        """Begins of windows, s, in order, at borders at least half a window apart."""
        found: list[float] = []
        begin = start
        while begin + self.window <= end + 1e-6:
            shares = sounds.cut(begin, self.window).shares()
            is_good = shares["music_share"] >= self.min_music_share and shares["speech_share"] <= self.max_speech_share
            if is_good:
                found.append(begin)
            later = borders[borders >= begin + (self.window / 2 if is_good else 0.5)]
            begin = float(later[0]) if len(later) else begin + self.window
        return found


def find_borders(cuts: np.ndarray, downbeats: np.ndarray, duration: float) -> tuple[np.ndarray, np.ndarray]:
    """Moments where a clip may begin or end, s, increasing, with 0 and the duration; and the cost of each: [N], [N].

    A cut near a downbeat stands for both, at the time of the cut: the picture must not flash up from the shot before.
    """
    found: dict[float, float] = {0.0: 0.0, float(duration): 0.0}
    for time in cuts:
        is_both = len(downbeats) > 0 and float(np.abs(downbeats - time).min()) <= NEAR
        found[float(time)] = 0.0 if is_both else SHOT_ONLY
    for time in downbeats:
        if len(cuts) == 0 or float(np.abs(cuts - time).min()) > NEAR:
            found[float(time)] = BAR_ONLY
    # Long takes of music without bars still must be cut somewhere.
    for time in np.arange(5.0, duration, 5.0):
        if all(abs(time - known) > 2.5 for known in found):
            found[float(time)] = NEITHER
    times = np.array(sorted(t for t in found if 0 <= t <= duration))
    return times, np.array([found[float(t)] for t in times])


def choose_borders(
    times: np.ndarray, costs: np.ndarray, target: float, min_length: float, max_length: float
) -> np.ndarray:
    """The borders that cost least together with the squared deviation of lengths from the target: [M] s.

    Exact, by dynamic programming. A file shorter than twice the least length stays whole unless it exceeds the most.
    """
    n = len(times)
    best = np.full(n, np.inf)
    before = np.full(n, -1)
    best[0] = 0.0
    for i in range(1, n):
        lengths = times[i] - times[:i]
        # The last resort: shorter or longer clips are possible, but dear.
        penalty = LENGTH_WEIGHT * ((lengths - target) / target) ** 2
        penalty = penalty + 100.0 * ((lengths < min_length) | (lengths > max_length))
        total = best[:i] + penalty + costs[i]
        before[i] = int(np.argmin(total))
        best[i] = total[before[i]]
    path = [n - 1]
    while path[-1] > 0:
        path.append(int(before[path[-1]]))
    return times[path[::-1]]
