"""One ZIP of a take for people who go on in a video editor: media, timelines that lay all of it on tracks, markers."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from openvmas.media.edit_list import edit_text
from openvmas.media.envelope import Envelope
from openvmas.media.loudness import Duck
from openvmas.settings import MixOptions
from openvmas.studio.storage.folders import TakeFolder
from openvmas.studio.storage.markers import Markers, SoundTrack, write_csv, write_edl, write_otio
from openvmas.studio.storage.take_sound import ducked_wav
from openvmas.studio.storage.timelines import write_fcpxml, write_xmeml

README = """{title}

picture and original sound  {original}
music as in the mix         {ducked}    beside the untouched original it sounds as mixed
music, not lowered          {dry}    the same without ducking and volume curve
{more}
timeline.otio               DaVinci Resolve, and whatever reads OpenTimelineIO
timeline.fcpxml             Final Cut Pro, DaVinci Resolve
timeline.premiere.xml       Premiere Pro (File > Import)
markers.resolve.edl         DaVinci Resolve: Timelines > Import > Timeline Markers from EDL
markers.csv                 spreadsheets

All files must lie in one folder, as they do here.

{credit}
"""


@dataclass(frozen=True)
class Mixed:
    """The mix of a take by its report: gain of the music, dB, spans of speech with the depth, and volume curve."""

    gain_db: float
    duck: Duck
    envelope: Envelope

    @classmethod
    def of(cls, report: dict[str, Any]) -> Mixed:
        """Where the original is dropped, the music's gain is that of the finished sound."""
        mix, options = report["mix"], report["options"]
        gain = mix["music_gain_db"] if mix["has_original"] else mix["master_gain_db"]
        spans = tuple((float(start), float(end)) for start, end in mix["ducked"])
        return cls(gain, Duck(spans, options.get("duck", MixOptions().duck)), Envelope(options.get("envelope", ())))

    def wav(self, files: TakeFolder, n_samples: int, is_dry: bool = False) -> Iterator[bytes]:
        """The music at its level in the mix as a WAV file, before the limiter; is_dry: always at the same level."""
        duck, envelope = (Duck((), 0.0), Envelope(())) if is_dry else (self.duck, self.envelope)
        return ducked_wav(files.wave, n_samples, self.gain_db, duck, envelope, files.accents)


def write_package(
    target: Path, files: TakeFolder, source: Path, markers: Markers, n_samples: int, credit: str,
    recording: Path | None = None,
) -> None:  # fmt: skip
    """Write the ZIP. source: the uploaded video; markers: of the take, with `clip` named as the video in the ZIP.

    recording: the one that the take plays, where it is there: it comes with an edit list of its parts.
    """
    report = json.loads(files.report.read_text(encoding="utf-8"))
    mixed = Mixed.of(report)
    stem = Path(markers.clip).stem
    ducked, dry = f"{stem}.music.wav", f"{stem}.music-dry.wav"
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        archive.write(source, markers.clip)
        for name, is_dry in ((ducked, False), (dry, True)):
            with archive.open(name, "w", force_zip64=True) as entry:
                for piece in mixed.wav(files, n_samples, is_dry):
                    entry.write(piece)
        others = [*add_stems(archive, files), *add_accents(archive, files, stem)]
        joins = add_joins(archive, recording, report["composer"]["parts"], markers.fps) if recording else ""
        sounds = [SoundTrack("Original", markers.clip, True, False)] if markers.clip_has_sound else []
        sounds += [SoundTrack("Music", ducked, True, True), SoundTrack("Music, not lowered", dry, False, True)]
        whole = replace(markers, sounds=tuple([*sounds, *others]))
        for name, text in (
            ("timeline.otio", write_otio(whole)), ("timeline.fcpxml", write_fcpxml(whole)),
            ("timeline.premiere.xml", write_xmeml(whole)), ("markers.resolve.edl", write_edl(whole)),
            ("markers.csv", write_csv(whole)),
        ):  # fmt: skip
            archive.writestr(name, text)
        more = "\n".join([*(f"{track.name:27} {track.file}" for track in others), *filter(None, [joins])])
        names = {"title": markers.title, "original": markers.clip, "ducked": ducked, "dry": dry, "more": more}
        archive.writestr("README.txt", README.format(**names, credit=credit))


def add_joins(archive: zipfile.ZipFile, recording: Path, parts: list[dict[str, float]], fps: float) -> str:
    """Add a recording and edit lists of what is heard of it; returns their lines of the README."""
    archive.write(recording, recording.name)
    for ending in (".otio", ".edl"):
        text = edit_text(ending, parts, recording.name, Fraction(fps).limit_denominator(1001))
        archive.writestr(f"joins{ending}", text)
    return (
        f"{'recording, uncut':27} {recording.name}\n"
        f"{'joins.otio, joins.edl':27} how it was cut: its parts in their places, to be joined otherwise"
    )


def add_stems(archive: zipfile.ZipFile, files: TakeFolder) -> list[SoundTrack]:
    """Copy the stems of a take, where it has them; returns their tracks, which are switched off."""
    if not files.stems.exists():
        return []
    with zipfile.ZipFile(files.stems) as stems:
        names = stems.namelist()
        for name in names:
            archive.writestr(f"stem-{name}", stems.read(name))
    return [SoundTrack(Path(name).stem, f"stem-{name}", False, True) for name in names]


def add_accents(archive: zipfile.ZipFile, files: TakeFolder, stem: str) -> list[SoundTrack]:
    """Copy what sweetening has added, where something was; it is in the music already, so its track is switched off."""
    if not files.accents.exists():
        return []
    archive.write(files.accents, f"{stem}.accents.wav")
    return [SoundTrack("Added accents", f"{stem}.accents.wav", False, True)]
