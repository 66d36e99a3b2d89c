"""Stages: what one record goes through. Each can be tested alone and has its thresholds as its fields."""

from __future__ import annotations

from openvmas.data.stages.cut import Cut
from openvmas.data.stages.features import Features, Tags
from openvmas.data.stages.files import Decode, Probe, Size
from openvmas.data.stages.fingerprints import PicturePrint, SoundPrint
from openvmas.data.stages.fit import Fit
from openvmas.data.stages.picture import Glance, MovingPicture, Picture, Shots
from openvmas.data.stages.sound import MusicPresent, NoSpeech, Quality, Singing

_ALL = (
    Probe, Size, Decode, Picture, Quality, Glance, MusicPresent, NoSpeech, Singing, Shots, MovingPicture, Fit, Cut,
    Features, Tags, SoundPrint, PicturePrint,
)  # fmt: skip
STAGES: dict[str, type] = {stage.name: stage for stage in sorted(_ALL, key=lambda stage: stage.cost)}
