"""Make a study folder: stimuli under random names, the facts for the page (study.json), and who is who (key.json)."""

from __future__ import annotations

import itertools
import json
import shutil
import wave as wave_file
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from openvmas.errors import InputError, OptionError, OutputError
from openvmas.eval.reports.report_values import version_text
from openvmas.eval.suites.media_files import SOUND_SUFFIXES, VIDEO_SUFFIXES, clip_name, media_files
from openvmas.files import atomic_path, explain_write_errors
from openvmas.media.audio import read_audio_blocks
from openvmas.media.loudness import SILENCE, integrated_loudness, true_peak
from openvmas.media.probe import probe
from openvmas.settings import SAMPLE_RATE_OUT
from openvmas.study.session import KEY, MEDIA, PUBLIC, VERSION
from openvmas.study.stimuli import headphone_triplet, low_anchor, pink_noise, shifted, suffix_for, write_stimulus
from openvmas.study.study_settings import StudyPlan, StudySettings
from openvmas.study.texts import texts_of

REFERENCE, LOW_ANCHOR, FIT_ANCHOR = "reference", "anchor: low-passed", "anchor: shifted"
MAX_TRUE_PEAK = -1.5  # dBTP before encoding, which may raise a peak by some tenths
LEAST_SECONDS = 2.0
MAX_SYSTEMS = 20
_FADE_IN, _FADE_OUT = 0.01, 0.4  # s; music that is cut off needs an end
_PADDING = 2048  # samples
_QUIET_CHECK = -6.0  # dB, of the noise in attention checks: it must not hurt

Log = Callable[[str], None]


@dataclass(frozen=True)
class StimulusClip:
    """A clip that every system scored.

    files: of every system, in the order of systems. picture: the file whose picture all show. duration: s.
    """

    name: str
    files: tuple[Path, ...]
    picture: Path | None
    duration: Fraction


@dataclass(frozen=True)
class MeasuredClip:
    """A clip's sounds before the study's common gain, its duration now that of the shortest.

    waves: [2, L] of every condition; gains_db: brings each to the loudness asked.
    """

    clip: StimulusClip
    waves: tuple[np.ndarray, ...]
    gains_db: tuple[float, ...]


def create(
    plan: StudyPlan, folder: str | Path, overwrite: bool = False, log: Log = lambda text: None
) -> dict[str, Any]:
    """Make the study in `folder`, which appears when all of it is there. Returns the content of study.json.

    Raises InputError, OptionError, OutputError.
    """
    folder = Path(folder)
    if folder.exists() and not (overwrite and (folder / PUBLIC).exists()):
        raise OutputError(f"{folder} exists already; give another name, or --overwrite to replace a study.")
    if not folder.parent.is_dir():
        raise OutputError(f"the folder {folder.parent} does not exist; create it first.")
    names = system_names(plan)
    clips = find_clips(plan, log)
    with explain_write_errors(folder.parent), atomic_path(folder) as hidden:
        (hidden / MEDIA).mkdir(parents=True)
        made = _Builder(plan, names, clips, hidden, log).run()
        if folder.exists():
            shutil.rmtree(folder)
    return made


def system_names(plan: StudyPlan) -> list[str]:
    """Names of the systems, the reference last. Raises OptionError."""
    names = list(plan.systems)
    for name in names:
        if name.startswith(("anchor:", REFERENCE)) or not name.strip():
            raise OptionError(
                f"a system cannot be called {name!r}; give the true music as reference, others another name."
            )
    names += [REFERENCE] if plan.reference else []
    if plan.settings.focus is not None and plan.settings.focus not in names:
        raise OptionError(f"focus {plan.settings.focus} is not among the systems; choose from {', '.join(names)}.")
    wants_pairs = plan.settings.picture_pairs or plan.settings.sound_pairs
    if not 1 + bool(wants_pairs) <= len(names) <= MAX_SYSTEMS:
        raise OptionError(f"{len(names)} systems cannot be compared; give 2 to {MAX_SYSTEMS} with --systems NAME=DIR.")
    return names


def find_clips(plan: StudyPlan, log: Log) -> list[StimulusClip]:
    """The clips that every system has, by name. Raises InputError if there are none."""
    folders = [*plan.systems.values(), *([plan.reference] if plan.reference else [])]
    held = [{clip_name(path.name): path for path in reversed(media_files(folder))} for folder in folders]
    common = sorted(set.intersection(*(set(files) for files in held)))
    if not common:
        raise InputError(
            f"no clip is in all of {', '.join(map(str, folders))}; give files of one video the same name in each."
        )
    for name in sorted(set.union(*(set(files) for files in held)) - set(common)):
        log(f"left out: {name}, which not every system has")
    order = [len(folders) - 1, *range(len(folders) - 1)] if plan.reference else list(range(len(folders)))
    return [_clip(name, tuple(files[name] for files in held), order, plan.settings) for name in common]


def _clip(name: str, files: tuple[Path, ...], order: list[int], settings: StudySettings) -> StimulusClip:
    videos = [files[i] for i in order if files[i].suffix.lower() in VIDEO_SUFFIXES]
    lengths = [probe(path).duration for path in videos]
    duration = min([Fraction(settings.seconds).limit_denominator(1000), *lengths])
    return StimulusClip(name, files, videos[0] if videos else None, duration)


def prepare(clip: StimulusClip, n_systems: int, anchor_of: int, settings: StudySettings) -> MeasuredClip:
    """Read, cut to one length and measure the sounds of a clip; anchors are made from system `anchor_of`.

    Raises InputError for sound that is silent or too short.
    """
    limit = int(clip.duration * SAMPLE_RATE_OUT)
    waves = [_head(path, limit + 2 * _PADDING) for path in clip.files]
    n_samples = min(limit, *(wave.shape[1] for wave in waves))
    if n_samples < LEAST_SECONDS * SAMPLE_RATE_OUT:
        short = clip.files[int(np.argmin([wave.shape[1] for wave in waves]))]
        raise InputError(f"{short} holds only {n_samples / SAMPLE_RATE_OUT:.1f} s to be heard; leave this clip out.")
    # Sound longer by more than a codec's padding is cut off, and needs an end; a piece's own ending stays as it is.
    waves = [_faded(wave[:, :n_samples], wave.shape[1] > n_samples + _PADDING) for wave in waves]
    if settings.rounds:
        waves.append(low_anchor(waves[anchor_of]))
        if clip.picture is not None:
            waves.append(shifted(waves[anchor_of]))
    gains = []
    for i, wave in enumerate(waves):
        loudness = integrated_loudness(wave, SAMPLE_RATE_OUT)
        if loudness == SILENCE:
            raise InputError(f"{clip.files[min(i, n_systems - 1)]} is silent; leave this clip out of the study.")
        gains.append(settings.loudness - loudness)
    cut = replace(clip, duration=Fraction(n_samples, SAMPLE_RATE_OUT))
    return MeasuredClip(cut, tuple(waves), tuple(gains))


def _head(path: Path, n_samples: int) -> np.ndarray:
    """The first n_samples of a file's sound on the clock of its own picture: [2, n] float32, in [-8, 8]."""
    info = probe(path) if path.suffix.lower() not in SOUND_SUFFIXES else None
    blocks, n = [np.zeros((2, 0), dtype=np.float32)], 0
    for block in read_audio_blocks(path, SAMPLE_RATE_OUT, info=info):
        blocks.append(block)
        n += block.shape[1]
        if n >= n_samples:
            break
    return np.clip(np.nan_to_num(np.concatenate(blocks, axis=1)[:, :n_samples]), -8, 8)


def _faded(wave: np.ndarray, is_cut: bool) -> np.ndarray:
    wave = wave.copy()
    n_in, n_out = round(_FADE_IN * SAMPLE_RATE_OUT), round(_FADE_OUT * SAMPLE_RATE_OUT)
    wave[:, :n_in] *= np.linspace(0, 1, n_in, dtype=np.float32)
    if is_cut:
        wave[:, -n_out:] *= np.cos(np.linspace(0, np.pi / 2, n_out, dtype=np.float32)) ** 2
    return wave


def at_loudness(wave: np.ndarray, loudness: float) -> np.ndarray:
    """wave [2, L] at a loudness, LUFS."""
    return wave * np.float32(10 ** ((loudness - integrated_loudness(wave, SAMPLE_RATE_OUT)) / 20))


def headroom(item: MeasuredClip) -> float:
    """dB between the highest peak of a clip at the loudness asked and the highest allowed; negative: over it."""
    waves = zip(item.waves, item.gains_db, strict=True)
    return min(MAX_TRUE_PEAK - true_peak(wave) - gain_db for wave, gain_db in waves)


class _Builder:
    """Writes the stimuli and the two manifests into a folder."""

    def __init__(self, plan: StudyPlan, names: list[str], clips: list[StimulusClip], folder: Path, log: Log) -> None:
        self._settings, self._names, self._clips, self._folder, self._log = plan.settings, names, clips, folder, log
        self._questions = plan.questions
        self._generator = np.random.default_rng(plan.settings.seed)
        self._files: dict[str, str] = {}
        self._key: dict[str, dict[str, Any]] = {}
        self._gain_db = 0.0  # of the whole study, so that no peak clips

    def run(self) -> dict[str, Any]:
        """Write everything; returns the content of study.json."""
        settings, names = self._settings, self._names
        anchor_of = names.index(REFERENCE) if REFERENCE in names else 0
        # Twice over the sounds, so that only one clip is in memory at a time.
        clips = []
        for clip in self._clips:
            item = prepare(clip, len(names), anchor_of, settings)
            clips.append(item.clip)
            self._gain_db = min(self._gain_db, headroom(item))
        if self._gain_db < 0:
            self._log(f"note: loudness is {self._loudness:.1f} LUFS, so that no peak clips")
        has_picture = all(clip.picture is not None for clip in clips)
        anchors = [LOW_ANCHOR, FIT_ANCHOR] if has_picture else [LOW_ANCHOR]
        conditions = names + (anchors if settings.rounds else [])
        picture, sound = [], []
        for clip in clips:
            self._log(f"{clip.name}: {float(clip.duration):.1f} s")
            rows = self._write(prepare(clip, len(names), anchor_of, settings), conditions, has_picture)
            picture.append(rows[0])
            sound.append(rows[1])
        made = self._manifest(conditions, picture if has_picture else None, sound, clips)
        key = {
            "made_by": f"OpenVMAS {version_text()}",
            "study": made["id"],
            "systems": names,
            "conditions": conditions,
            "clips": [clip.name for clip in self._clips],
            "loudness_lufs": self._loudness,
            "settings": asdict(settings),
            "stimuli": self._key,
        }
        for name, content in ((PUBLIC, made), (KEY, key)):
            (self._folder / name).write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        return made

    @property
    def _loudness(self) -> float:
        """Loudness of all stimuli, LUFS."""
        return self._settings.loudness + self._gain_db

    def _write(self, item: MeasuredClip, conditions: list[str], has_picture: bool) -> tuple[list[str], list[str]]:
        """Every condition of a clip with picture and without: their names."""
        picture, sound = [], []
        for condition, wave, gain_db in zip(conditions, item.waves, item.gains_db, strict=False):
            level = wave * np.float32(10 ** ((gain_db + self._gain_db) / 20))
            if has_picture:
                picture.append(self._stimulus(level, item.clip, condition, with_picture=True))
            sound.append(self._stimulus(level, item.clip, condition, with_picture=False))
        return picture, sound

    def _stimulus(self, wave: np.ndarray, clip: StimulusClip, condition: str, with_picture: bool) -> str:
        shown, mode = (clip.picture, "picture") if with_picture else (None, "sound")
        facts = {"clip": clip.name, "condition": condition, "mode": mode, "seconds": wave.shape[1] / SAMPLE_RATE_OUT}
        name = self._name(suffix_for(shown), facts)
        write_stimulus(self._folder / MEDIA / self._files[name], wave, shown, clip.duration)
        return name

    def _name(self, suffix: str, facts: dict[str, Any]) -> str:
        name = self._generator.bytes(12).hex()
        self._files[name] = name + suffix
        self._key[name] = facts
        return name

    def _plain(self, wave: np.ndarray, facts: dict[str, Any]) -> str:
        """A sound whose phase or level no codec may touch, as WAV of 16 bits, which every browser plays."""
        name = self._name(".wav", facts)
        with wave_file.open(str(self._folder / MEDIA / self._files[name]), "wb") as file:
            file.setnchannels(2)
            file.setsampwidth(2)
            file.setframerate(SAMPLE_RATE_OUT)
            file.writeframes(np.round(np.clip(wave, -1, 1).T * 32767).astype("<i2").tobytes())
        return name

    def _manifest(
        self, conditions: list[str], picture: list[list[str]] | None, sound: list[list[str]], clips: list[StimulusClip]
    ) -> dict[str, Any]:
        settings, generator = self._settings, self._generator
        noise = self._checks(clips, picture is not None)
        triplets = list(itertools.permutations(range(3), 2))
        headphones = []
        for i in generator.permutation(len(triplets)) if settings.headphones != "off" else []:
            quiet, antiphase = triplets[i]
            name = self._plain(headphone_triplet(quiet, antiphase), {"condition": "headphone check"})
            headphones.append({"media": name, "right": str(quiet + 1)})
        calibration = at_loudness(pink_noise(10 * SAMPLE_RATE_OUT, settings.seed), self._loudness)
        focus = None if settings.focus is None else self._names.index(settings.focus)
        pairs = [p for p in itertools.combinations(range(len(self._names)), 2) if focus is None or focus in p]
        made: dict[str, Any] = {
            "version": VERSION,
            "id": generator.bytes(6).hex(),
            "title": settings.title,
            "headphones_policy": settings.headphones,
            "language": settings.language,
            "questions": [asdict(question) for question in self._questions],
            "completion_code": settings.completion_code,
            "return_link": settings.return_link,
            "seed": settings.seed,
            "longest": max(float(clip.duration) for clip in clips),
            "n_conditions": len(conditions),
            "pairs": pairs,
            "picture_pairs": settings.picture_pairs if picture else 0,
            "sound_pairs": settings.sound_pairs,
            "rounds": settings.rounds,
            "n_checks": settings.checks,
            "picture": picture,
            "sound": sound,
            "noise": noise,
            "headphones": headphones,
            "calibration": self._plain(calibration, {"condition": "calibration"}),
            "files": self._files,
        }
        made["minutes"] = minutes(made)
        texts = texts_of(settings.language)
        asked = settings.contact or texts["ask_giver"]
        consent = settings.consent or texts["consent"]
        made["consent"] = consent.replace("{minutes}", str(made["minutes"])).replace("{contact}", asked)
        return made

    def _checks(self, clips: list[StimulusClip], has_picture: bool) -> list[dict[str, str]]:
        """Noise as long as a clip: beside music, anybody who listens takes the music. One for each clip and mode."""
        made = []
        for i, clip in enumerate(clips if self._settings.checks else ()):
            wave = pink_noise(int(clip.duration * SAMPLE_RATE_OUT), self._settings.seed + i + 1)
            wave = at_loudness(wave, self._loudness + _QUIET_CHECK)
            row = {"sound": self._stimulus(wave, clip, "noise", with_picture=False)}
            if has_picture:
                row["picture"] = self._stimulus(wave, clip, "noise", with_picture=True)
            made.append(row)
        return made


def minutes(study: dict[str, Any]) -> int:
    """About how long a session takes: every stimulus once, 8 s to answer, and three minutes for the beginning."""
    n_parts = bool(study["picture_pairs"]) + bool(study["sound_pairs"]) + bool(study["rounds"])
    n_pairs = study["picture_pairs"] + study["sound_pairs"]
    n_ratings = study["rounds"] * study["n_conditions"]
    n_asked = n_pairs + n_ratings + n_parts + len(study["questions"])
    seconds = (2 * n_pairs + n_ratings + 2 * n_parts * (1 + study["n_checks"])) * study["longest"]
    return round((seconds + 8 * n_asked) / 60 + 3)
