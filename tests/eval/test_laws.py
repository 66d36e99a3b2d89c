"""Sanity laws: every metric moves the right way under planted damage, and the order of known systems is kept.

The material is made here. `DAMAGES` is the table: a damage, its strengths, the metrics that must see it and which way
they go. A metric goes strictly that way from strength to strength, the first of which is no damage.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pytest
import scipy.signal
import soxr
from codec_measures import chroma, chroma_correlation, find_onsets
from synthetic_pieces import DRUMS, KICK, Note, Piece, synthesise, write_piece

from openvmas.codec.runtime import CodecRunner
from openvmas.eval.metrics import diversity, retrieval, signal_quality, timing
from openvmas.eval.metrics.distances import coverage_measures, frechet, tag_divergence
from openvmas.eval.metrics.distances import evaluate as compare
from openvmas.files import cache_folder
from openvmas.hub.taggers import Yamnet, log_mel
from openvmas.media.loudness import integrated_loudness, true_peak
from openvmas.music.analysis import analyze_music
from openvmas.music.onsets import COMPRESSION, band_flux, moving_max, take_spectrogram
from openvmas.music.sync import sync_of_wave
from openvmas.pretrained import find_weights

pytestmark = pytest.mark.slow

RATE = 24_000
DURATION = 24.0  # s, of the picture
CUTS = 1.0 + np.cumsum(np.random.default_rng(1).uniform(2.3, 2.9, 8))  # s, the picture
OTHER_CUTS = 0.6 + np.cumsum(np.random.default_rng(2).uniform(2.3, 2.9, 8))  # of another picture
STYLES = ("ballad", "waltz", "bossa", "chiptune")
Measured = dict[str, float]


def music_at(moments: np.ndarray) -> np.ndarray:
    """A drum and a short chord at each moment, as long as the picture: [L]."""
    rng = np.random.default_rng(0)
    notes = [Note(t, t + 0.2, KICK, 120, DRUMS) for t in moments]
    for start, root in zip(moments, rng.integers(48, 60, len(moments)), strict=True):
        notes += [Note(start, start + 0.5, int(root) + step, 90, 0) for step in (0, 4, 7)]
    wave = synthesise(Piece("at", tuple(notes), moments, moments[:1], 4), RATE)
    n = round(DURATION * RATE)
    return np.pad(wave, (0, max(0, n - len(wave))))[:n]


def clicks(period: float = 0.11) -> np.ndarray:
    """A burst of noise every `period` s: [L]."""
    rng, n = np.random.default_rng(0), 240
    burst = 0.7 * rng.normal(size=n) * np.exp(-np.arange(n) / 60)
    wave = np.zeros(round(DURATION * RATE), np.float32)
    for start in np.rint(np.arange(0.01, DURATION - 0.05, period) * RATE).astype(int):
        wave[start : start + n] += burst
    return wave


@functools.cache
def true_music() -> np.ndarray:
    return music_at(CUTS)


@functools.cache
def song(style: str = "waltz", seed: int = 0) -> np.ndarray:
    return synthesise(write_piece(style, 120, 8, seed), RATE)


def texture(wave: np.ndarray) -> np.ndarray:
    """A plain embedding that needs no weights: mean and deviation of each mel band in pieces of 0.96 s, [P, 128]."""
    frames = log_mel(soxr.resample(wave.astype(np.float32), RATE, 16_000))
    parts = frames[: len(frames) // 96 * 96].reshape(-1, 96, 64)
    return np.concatenate([parts.mean(axis=1), parts.std(axis=1)], axis=1)


@functools.cache
def real_cloud() -> np.ndarray:
    return np.concatenate([texture(song(style, 0)) for style in STYLES])


# What is done to a wave [L], by strength; 0 is nothing.


def delay(wave: np.ndarray, seconds: float) -> np.ndarray:
    return np.roll(wave, round(seconds * RATE))


def low_pass(wave: np.ndarray, octaves: float) -> np.ndarray:
    if octaves == 0:
        return wave
    filters = scipy.signal.butter(6, 8000 / 2**octaves, fs=RATE, output="sos")
    return scipy.signal.sosfiltfilt(filters, wave).astype(np.float32)


def clip(wave: np.ndarray, overdrive_db: float) -> np.ndarray:
    top = float(np.abs(wave).max()) * 10 ** (-overdrive_db / 20)
    return 0.7 * np.clip(wave, -top, top) / top


def add_noise(wave: np.ndarray, level: float) -> np.ndarray:
    return wave + np.random.default_rng(0).normal(0, level, len(wave)).astype(np.float32)


def shift_pitch(wave: np.ndarray, semitones: float) -> np.ndarray:
    return soxr.resample(wave, RATE, RATE * 2 ** (-semitones / 12)) if semitones else wave


def loop_second(wave: np.ndarray, n_times: float) -> np.ndarray:
    start = 3 * RATE
    again = np.tile(wave[start : start + RATE], round(n_times))
    return np.concatenate([wave[: start + RATE], again, wave[start + RATE :]])


def cut_seams(wave: np.ndarray, depth_db: float) -> np.ndarray:
    wave, gain = wave.copy(), 10 ** (-depth_db / 20)
    for start in range(round(1.3 * RATE), len(wave) - 500, round(1.3 * RATE)):
        wave[start : start + 480] *= gain  # 20 ms
    return wave


def silence(wave: np.ndarray, share: float) -> np.ndarray:
    return np.concatenate([wave[: round((1 - share) * len(wave))], np.zeros(round(share * len(wave)), np.float32)])


# What is measured.


def timed(wave: np.ndarray, cuts: np.ndarray = CUTS) -> Measured:
    onsets = find_onsets(wave, RATE).times
    errors, hits = timing.cut_errors(cuts, onsets), timing.visual_hits(cuts, onsets)
    return {
        "sync_z": sync_of_wave(wave, RATE, cuts).z,
        "cut_error_ms": errors.median_ms,
        "cuts_within": errors.within,
        "visual_beats_met": hits.met,
        "beat_alignment": timing.beat_alignment(cuts, onsets),
        "beat_hit": timing.beat_scores(cuts, onsets, DURATION).hit,
    }


def crafted(wave: np.ndarray) -> Measured:
    """Without the slow ones."""
    return {
        "loudness_lufs": integrated_loudness(wave[None], RATE),
        "true_peak_db": true_peak(wave[None]),
        "clipped_share": signal_quality.clipped_share(wave),
        "silent_share": signal_quality.silent_share(wave, RATE),
        "bandwidth": signal_quality.bandwidth(wave, RATE),
    }


def distant(change: Callable[[np.ndarray], np.ndarray]) -> Measured:
    made = np.concatenate([texture(change(song(style, 1))) for style in STYLES])
    return compare(real_cloud(), made, n_axes=12, has_infinity=False)


def shifted_chroma(semitones: float) -> Measured:
    piece = write_piece("ballad", 120, 8)
    notes = tuple(replace(n, pitch=n.pitch + semitones) for n in piece.notes)  # type: ignore[arg-type]
    made = synthesise(replace(piece, notes=notes), RATE)
    return {"chroma_r": chroma_correlation(chroma(song("ballad"), RATE), chroma(made, RATE))}


def swapped_picture(share: float) -> Measured:
    n = round(share * len(CUTS))
    return timed(true_music(), np.sort(np.concatenate([OTHER_CUTS[:n], CUTS[n:]])))


def swapped_meaning(share: float) -> Measured:
    """24 pictures and pieces that stand for the same thing; a share of the pieces goes to the next picture."""
    rng = np.random.default_rng(0)
    music = rng.dirichlet(np.full(12, 0.4), 24)
    n = round(share * 24)
    written = np.concatenate([np.roll(music[:n], 1, axis=0), music[n:]])
    pictures = music + rng.normal(0, 0.02, music.shape)
    found = retrieval.evaluate_tags(music, written) | retrieval.evaluate(retrieval.cosines(pictures, written))
    return {name: float(x.mean()) for name, x in found.items()}


def drifting_sound(share: float) -> Measured:
    """A band whose tempo grows evenly by a share over 30 s, as the tracker hears it."""
    piece = write_piece("rock", 120, 30)
    moved = [replace(n, start=warp(n.start, share), end=warp(n.end, share)) for n in piece.notes]
    wave = synthesise(replace(piece, notes=tuple(moved)), RATE)[None]
    return timing.evaluate_sound(analyze_music(wave, RATE), wave, RATE)


def warp(time: float, share: float) -> float:
    """Where a moment of 30 s goes when the tempo grows evenly by a share."""
    return 30 * np.log1p(share * time / 30) / share if share else time


def drifting_tempo(share: float) -> Measured:
    """120 BPM that grow evenly by a share over 40 s."""
    beats = np.arange(80) / 2
    beats = beats / (1 + share * beats / (2 * 40))
    jitter = np.random.default_rng(0).normal(0, 0.004, 80)  # as of a tracker
    return {"tempo_drift": timing.tempo_drift(beats + jitter)}


def swaying_tempo(share: float) -> Measured:
    return {"tempo_stability": timing.tempo_stability(write_piece("waltz", 120, 40, drift=share).beats)}


def one_texture(share: float) -> Measured:
    """30 pieces of ten styles; a share of them is replaced by a vague texture that could be anything."""
    rows = 0.05 / 10 + 0.95 * np.eye(10)[np.arange(30) % 10]
    made = np.concatenate([np.full((round(share * 30), 10), 0.1), rows[round(share * 30) :]])
    spread = diversity.dispersion(made[:, None] - 0.1 + 1e-6)
    return diversity.evaluate(rows, made) | {"vendi": spread.videos_vendi}


def one_style(share: float) -> Measured:
    """Style measures of pieces with a texture of one clear style."""
    rows = 0.05 / 10 + 0.95 * np.eye(10)[np.arange(30) % 10]
    n = round(share * 30)
    return diversity.evaluate(rows, np.concatenate([np.repeat(rows[:1], n, axis=0), rows[n:]]))


@dataclass(frozen=True)
class Damage:
    """strengths: from none to much. metrics: name to +1 where it must grow, -1 where it must fall."""

    measure: Callable[[float], Measured]
    strengths: tuple[float, ...]
    metrics: dict[str, int]


DAMAGES: dict[str, Damage] = {
    "delay": Damage(
        lambda s: timed(delay(true_music(), s)), (0, 0.02, 0.1), {"cut_error_ms": +1, "beat_alignment": -1}
    ),
    "long delay": Damage(
        lambda s: timed(delay(true_music(), s)),
        (0, 0.3, 1.0),
        {"cut_error_ms": +1, "beat_hit": -1},
    ),
    "swapped picture": Damage(
        swapped_picture, (0, 0.4, 1.0), {"sync_z": -1, "cuts_within": -1, "visual_beats_met": -1}
    ),
    "swapped meaning": Damage(
        swapped_meaning,
        (0, 0.3, 0.6, 1.0),
        {"retrieval_r1": -1, "own_similarity": -1, "tags_cosine": -1, "tags_r": -1, "tags_own": -1},
    ),
    "low-pass": Damage(lambda s: crafted(low_pass(song(), s)), (0, 1, 2, 3), {"bandwidth": -1}),
    "low-pass of all": Damage(
        lambda s: distant(lambda w: low_pass(w, s)),
        (0, 1, 2.5),
        {"frechet": +1, "kernel_distance": +1, "kernel_audio_distance": +1},
    ),
    "clipping": Damage(lambda s: crafted(clip(song(), s)), (0, 3, 6, 12), {"clipped_share": +1, "loudness_lufs": +1}),
    "clipping of all": Damage(
        lambda s: distant(lambda w: clip(w, s)),
        (0, 8, 20),
        {"frechet": +1, "kernel_distance": +1, "kernel_audio_distance": +1},
    ),
    "noise on all": Damage(
        lambda s: distant(lambda w: add_noise(w, s)),
        (0, 0.01, 0.1),
        {"frechet": +1, "kernel_distance": +1, "kernel_audio_distance": +1},
    ),
    "pitch of all": Damage(
        lambda s: distant(lambda w: shift_pitch(w, s)),
        (0, 4, 12),
        {"frechet": +1, "kernel_distance": +1, "kernel_audio_distance": +1},
    ),
    "pitch": Damage(shifted_chroma, (0, 0.2, 0.5, 1.0), {"chroma_r": -1}),
    "looped second": Damage(
        lambda s: {"loop_seconds": signal_quality.stuck_loop(loop_second(song("bossa"), s), RATE).seconds},
        (0, 2, 5),
        {"loop_seconds": +1},
    ),
    "seams": Damage(
        lambda s: {"seam_z": signal_quality.seam_z(cut_seams(song(), s), RATE, 1.3)}, (0, 6, 40), {"seam_z": +1}
    ),
    "silence": Damage(lambda s: crafted(silence(song(), s)), (0, 0.25, 0.5), {"silent_share": +1}),
    "gain": Damage(lambda s: crafted(song() * 10 ** (-s / 20)), (0, 6, 20), {"loudness_lufs": -1, "true_peak_db": -1}),
    "tempo drift": Damage(drifting_tempo, (0, 0.03, 0.1), {"tempo_drift": +1}),
    "tempo drift of sound": Damage(drifting_sound, (0, 0.1, 0.25), {"tempo_drift": +1}),
    "tempo sway": Damage(swaying_tempo, (0, 0.03, 0.1), {"tempo_stability": -1}),
    "one texture": Damage(one_texture, (0, 0.4, 1.0), {"style_contrast": -1, "vendi": -1}),
    "one style": Damage(
        one_style,
        (0, 0.4, 1.0),
        {"styles_used": -1, "style_coverage": -1, "style_contrast": -1, "style_overlap": -1},
    ),
}


def check_law(damage: Damage) -> None:
    """Each metric goes strictly its way from strength to strength."""
    found = [damage.measure(strength) for strength in damage.strengths]
    for metric, direction in damage.metrics.items():
        values = [one[metric] for one in found]
        assert (np.diff(values) * direction > 0).all(), f"{metric}: {values} at {damage.strengths}"
    if "coverage" in found[0]:
        assert found[0]["coverage"] > found[-1]["coverage"]


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_moves_the_metric_the_right_way(name: str) -> None:
    check_law(DAMAGES[name])


def test_every_delay_costs_the_sync() -> None:
    there = timed(true_music())
    # What is up to 60 ms late is heard as one with the picture: sync z does not see 20 ms, cut errors do.
    assert timed(delay(true_music(), 0.02))["sync_z"] == pytest.approx(there["sync_z"], rel=0.1)
    for seconds in (0.1, 0.3, 1.0, 2.0):
        found = timed(delay(true_music(), seconds))
        assert found["sync_z"] < 0.4 * there["sync_z"] and found["cuts_within"] < 0.2, (seconds, found)


def test_gain_moves_level_by_as_much_and_nothing_else() -> None:
    loud, soft = crafted(song()), crafted(song() * 10 ** (-12 / 20))
    for name in ("loudness_lufs", "true_peak_db"):
        assert loud[name] - soft[name] == pytest.approx(12, abs=0.05)
    assert loud["bandwidth"] == pytest.approx(soft["bandwidth"], rel=0.01)
    assert sync_of_wave(0.25 * true_music(), RATE, CUTS).z == pytest.approx(timed(true_music())["sync_z"], rel=0.01)


def strength_at(wave: np.ndarray, moments: np.ndarray) -> float:
    """Mean rise of the log spectrum within 60 ms of the moments: onset strength without gain and local mean."""
    spectrum = take_spectrogram(wave, RATE)
    flux = moving_max(band_flux(np.log1p(COMPRESSION * spectrum.mel)).mean(axis=1), 6, 6)
    return float(flux[np.rint(moments * float(spectrum.rate)).astype(int)].mean())


def test_a_dense_click_track_wins_raw_strength_and_not_sync_z() -> None:
    # True music as it is: most cuts have an accent, and there are accents elsewhere.
    true = music_at(np.sort(np.concatenate([np.delete(CUTS, [1, 5]), [2.2, 7.3, 12.1, 17.4]])))
    raw, z = strength_at(true, CUTS), timed(true)["sync_z"]
    trap_raw, trap = strength_at(clicks(), CUTS), timed(clicks())
    assert trap_raw > 1.2 * raw, (trap_raw, raw)
    assert trap["visual_beats_met"] == 1 > timed(true)["visual_beats_met"]
    assert z > 3 > abs(trap["sync_z"]), (z, trap["sync_z"])


def test_each_metric_against_itself_is_perfect() -> None:
    cloud, rng = real_cloud(), np.random.default_rng(0)
    assert frechet(cloud, cloud) == pytest.approx(0, abs=1e-6 * float(cloud.var(axis=0).sum()))
    assert [getattr(coverage_measures(cloud, cloud), x) for x in ("precision", "recall", "coverage")] == [1, 1, 1]
    itself = compare(cloud, cloud, n_axes=12, has_infinity=False)
    assert itself["kernel_distance"] <= 0 and itself["kernel_audio_distance"] <= 0  # unbiased: at most 0
    shares = rng.dirichlet(np.ones(8), 20)
    assert tag_divergence(shares, shares) == 0
    assert list(vars(diversity.style_coverage(shares, shares)).values()) == pytest.approx([1, 1, 1])
    tags = retrieval.tag_agreement(shares, shares)
    for values in vars(tags).values():
        assert values == pytest.approx(np.ones(20))
    ranked = retrieval.evaluate(retrieval.cosines(shares, shares))
    assert [float(np.mean(values)) for values in ranked.values()] == [1, 1, 1, 1]
    assert vars(timing.beat_scores(CUTS, CUTS, DURATION)) == dict.fromkeys(("coverage", "hit", "precision", "f1"), 1.0)
    assert timing.beat_alignment(CUTS, CUTS) == 1 and vars(timing.visual_hits(CUTS, CUTS)) == {"density": 1, "met": 1}
    assert vars(timing.cut_errors(CUTS, CUTS)) == {"median_ms": 0, "within": 1}
    curve = rng.uniform(size=1000).cumsum()
    assert timing.motion_correlation(curve, curve, 50) == pytest.approx(1, abs=0.01)
    assert timing.tempo_drift(np.arange(20) / 2) == pytest.approx(0, abs=1e-9)


def heard_by_yamnet(wave: np.ndarray) -> np.ndarray:
    return Yamnet().embed(wave.astype(np.float32), RATE).embeddings


def has_yamnet() -> bool:
    return (cache_folder() / Yamnet.file_name).is_file()


@pytest.mark.parametrize(
    "embed",
    [
        texture,
        pytest.param(heard_by_yamnet, marks=pytest.mark.skipif(not has_yamnet(), reason="no weights of YAMNet")),
    ],
)
def test_reference_beats_codec_beats_damage_beats_noise(embed: Callable[[np.ndarray], np.ndarray]) -> None:
    originals = [song(style, 1)[: 6 * RATE] for style in STYLES]
    real = np.concatenate([embed(song(style, 0)) for style in STYLES] + [embed(wave) for wave in originals])
    rng = np.random.default_rng(0)
    systems = {
        "reference": originals,
        "codec": through_codec(),
        "damaged": [low_pass(clip(wave, 15), 3.5) for wave in originals],
        "noise": [rng.normal(0, 0.2, 6 * RATE) for _ in originals],
    }
    clouds = {name: np.concatenate([embed(wave) for wave in waves]) for name, waves in systems.items()}
    values = {name: compare(real, cloud, n_axes=12, has_infinity=False)["frechet"] for name, cloud in clouds.items()}
    assert list(values) == sorted(values, key=lambda name: values[name]), values


@functools.cache
def through_codec() -> list[np.ndarray]:
    runner = CodecRunner(find_weights("mini"), threads=1)
    found = []
    for style in STYLES:
        wave = soxr.resample(song(style, 1)[: 6 * RATE], RATE, runner.sample_rate)
        found.append(soxr.resample(runner.decode(runner.encode(wave)), runner.sample_rate, RATE))
    return found
