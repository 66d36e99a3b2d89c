"""Stages: what one record goes through. Each can be tested alone and has its thresholds as its fields."""

from __future__ import annotations

from openvmas.data.stages.cut import Cut
from openvmas.data.stages.features import Features, PicturePrint, SoundPrint, Tags
from openvmas.data.stages.files import Decode, Probe, Size
from openvmas.data.stages.fit import Fit
from openvmas.data.stages.picture import Glance, MovingPicture, Picture, Shots
from openvmas.data.stages.sound import MusicPresent, NoSpeech, Quality, Singing

# From cheap to dear: the order in which a recipe runs them unless it says otherwise.
_ALL = (
    Probe, Size, Decode, Picture, Quality, Glance, MusicPresent, NoSpeech, Singing, Shots, MovingPicture, Fit, Cut,
    Features, Tags, SoundPrint, PicturePrint,
)  # fmt: skip
STAGES: dict[str, type] = {stage.name: stage for stage in _ALL}
