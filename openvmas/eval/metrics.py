"""Everything that `eval run` measures, in two lists: of one system's music under one clip, and of all its music.

A new measure is a function here and its name in `eval.tables.MEASURES`; run, tests between systems, tables and JSON
take it from there. Raise VERSION when a number changes: what was kept is then measured again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from openvmas.eval import craft, timing
from openvmas.eval.folder import MeasuredFolder, compare, variety
from openvmas.eval.statistics import Interval
from openvmas.music.analysis import MusicAnalysis
from openvmas.vision.analysis import VideoAnalysis

VERSION = 1


@dataclass(frozen=True)
class Heard:
    """One system's music under one clip.

    wave: [C, L] at sample_rate, as it came; music: what is heard in it. picture: of the clip. reference: what is heard
    in the true music, None where there is none.
    """

    wave: np.ndarray
    sample_rate: int
    music: MusicAnalysis
    picture: VideoAnalysis
    reference: MusicAnalysis | None


def with_picture(heard: Heard) -> dict[str, float]:
    """Does the music answer its picture in time?"""
    return timing.evaluate(heard.picture, heard.music, heard.wave, heard.sample_rate)


def with_reference(heard: Heard) -> dict[str, float]:
    """Are its beats where those of the true music are?"""
    if heard.reference is None:
        return {}
    return timing.evaluate_pair(heard.reference, heard.music, float(heard.picture.duration))


def alone(heard: Heard) -> dict[str, float]:
    """Tempo, ending and craft."""
    return timing.evaluate_sound(heard.music, heard.wave, heard.sample_rate) | craft.evaluate(
        heard.wave, heard.sample_rate
    )


def distances(reference: MeasuredFolder | None, estimated: MeasuredFolder) -> dict[str, Interval]:
    """How far all music of a system lies from the true music of the suite."""
    return compare(reference, estimated) if reference is not None else {}


def diversity(reference: MeasuredFolder | None, estimated: MeasuredFolder) -> dict[str, Interval]:
    """How unlike the music for different clips is."""
    return variety(estimated)


CLIP_METRICS: tuple[Callable[[Heard], dict[str, float]], ...] = (with_picture, with_reference, alone)
SET_METRICS: tuple[Callable[[MeasuredFolder | None, MeasuredFolder], dict[str, Interval]], ...] = (distances, diversity)


def measure(heard: Heard) -> dict[str, float]:
    """All measures of one clip, by name."""
    found = {"duration": heard.wave.shape[1] / heard.sample_rate}
    for metric in CLIP_METRICS:
        found |= metric(heard)
    return found
