"""Semantic labels against constructed evidence and sounds with known onsets and brightness."""

from dataclasses import replace

import numpy as np
import pytest
from music_tags import (
    CLASSES,
    FITTED_AXES,
    RawWindows,
    Ridge,
    Tagger,
    cross_validate,
    evidence_directions,
    fit_ridge,
    fit_tagger,
    measure,
    unit,
)

from openvmas.condition import AXES
from openvmas.hub.taggers import SAMPLE_RATE, Embeddings, log_mel

NAMES = tuple(sorted({name for names in CLASSES.values() for name in names} - {"Scary music"}))
ALL_CLASSES = ("Speech", "Music", *NAMES, "Scary music", "Wind")


class MeanEmbedder:
    """Stands for YAMNet: the mean spectrum of a patch."""

    classes = ALL_CLASSES

    def embed_log_mel(self, frames):
        starts = np.arange(0, len(frames) - 95, 48)
        means = np.stack([frames[s : s + 96].mean(0) for s in starts])
        return Embeddings(means, np.resize(means, (len(starts), len(ALL_CLASSES))), 0.4875 + starts / 100)


def bursts(times, duration, frequency=1000.0):
    """Short decaying tones at known times on faint noise."""
    wave = np.random.default_rng(0).normal(0, 1e-4, int(duration * SAMPLE_RATE))
    length = int(0.4 * SAMPLE_RATE)
    t = np.arange(length) / SAMPLE_RATE
    tone = 0.5 * np.sin(2 * np.pi * frequency * t) * np.exp(-t * 30)
    for time in times:
        start = int(time * SAMPLE_RATE)
        wave[start : start + length] += tone
    return wave.astype(np.float32)


def windows(logits, embeddings=None):
    n = len(logits)
    embeddings = np.zeros((n, 4)) if embeddings is None else embeddings
    return RawWindows(np.arange(n) * 5.0 + 5, embeddings, logits, np.full(n, 10.0), np.full(n, 2.0), np.full(n, -20.0))


def test_every_axis_has_exactly_one_source():
    measured = {"brightness", "density"}
    assert set(CLASSES) | set(FITTED_AXES) | measured == set(AXES)
    assert not set(CLASSES) & set(FITTED_AXES)


def test_density_is_onsets_per_second():
    found = measure(bursts(np.arange(0.5, 29.5, 0.5), 30), MeanEmbedder(), log_mel)
    np.testing.assert_allclose(found.times, [5, 10, 15, 20, 25])
    np.testing.assert_allclose(found.density[1:-1], 2.0, atol=0.11)


def test_brightness_follows_pitch():
    times = np.arange(0.5, 11.5, 0.25)
    low, high = (measure(bursts(times, 12, f), MeanEmbedder(), log_mel).brightness[0] for f in (300.0, 3000.0))
    assert high - low > 1.5  # octaves; the faint noise pulls both to the middle


def test_evidence_ignores_what_all_classes_share():
    # A linear classifier whose classes all have a large common part, as YAMNet's do.
    rng = np.random.default_rng(0)
    embeddings = rng.exponential(1.0, size=(600, 40)) * rng.exponential(1.0, size=(600, 1))
    own = rng.normal(size=(40, len(ALL_CLASSES)))
    shared = rng.normal(size=(40, 1)) * 6
    logits = embeddings @ (own + shared) - 4
    directions = evidence_directions(embeddings, logits, ALL_CLASSES)
    assert directions.shape == (40, len(CLASSES))
    values = unit(embeddings) @ directions
    mixed = np.abs(np.corrcoef(values.T) - np.eye(len(CLASSES)))
    plain = np.abs(np.corrcoef((unit(embeddings) @ (own + shared)).T) - np.eye(len(ALL_CLASSES)))
    assert np.median(plain) > 0.9 and np.median(mixed) < 0.3
    # What is left of an axis of one class is that class's own part.
    axis = list(CLASSES).index("metal")
    inputs = unit(embeddings)
    truth = inputs @ own[:, ALL_CLASSES.index("Heavy metal")]
    assert np.corrcoef(values[:, axis], truth)[0, 1] > 0.8


def test_ridge_recovers_a_line_and_validation_sees_albums():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 6))
    weights = rng.normal(size=(6, 2))
    y = x @ weights + 3
    fitted = fit_ridge(x, y, n_components=6, penalty=1e-9)
    np.testing.assert_allclose(fitted.predict(x), y, atol=1e-6)
    assert np.all(cross_validate(x, y, np.arange(200) % 20) > 0.99)
    # A label that belongs to the album alone cannot be predicted for another album.
    albums = np.repeat(np.arange(20), 10)
    marks = rng.normal(size=(20, 6))[albums] * 5 + x
    label = rng.normal(size=20)[albums][:, None]
    assert abs(cross_validate(marks, label, albums)[0]) < 0.6
    assert np.corrcoef(fit_ridge(marks, label, penalty=0.1).predict(marks)[:, 0], label[:, 0])[0, 1] > 0.3


def test_axes_are_standardised_and_survive_the_disk(tmp_path):
    rng = np.random.default_rng(0)
    tracks = [
        RawWindows(
            np.arange(40.0),
            rng.normal(size=(40, 4)),
            rng.normal(size=(40, len(ALL_CLASSES))),
            rng.normal(10, 1, 40),
            rng.normal(3, 2, 40),
            np.full(40, -20.0),
        )
        for _ in range(3)
    ]
    ridge = Ridge(np.zeros(4), rng.normal(size=(4, 4)), np.ones(4))
    tagger = fit_tagger(tracks, ridge, ALL_CLASSES)
    axes = np.concatenate([tagger.axes(track) for track in tracks])
    assert axes.shape == (120, len(AXES))
    np.testing.assert_allclose(axes.mean(0), 0, atol=1e-4)
    np.testing.assert_allclose(axes.std(0), 1, atol=1e-3)
    tagger.save(tmp_path)
    again = Tagger.load(tmp_path)
    np.testing.assert_allclose(again.axes(tracks[0]), tagger.axes(tracks[0]), atol=1e-3)
    tracks[0].save(tmp_path / "raw.npz")
    np.testing.assert_allclose(RawWindows.load(tmp_path / "raw.npz").logits, tracks[0].logits, atol=2e-3)


def test_silence_does_not_count_in_the_means():
    ridge = Ridge(np.zeros(4), np.zeros((4, 4)), np.zeros(4))
    rng = np.random.default_rng(0)
    loud = windows(rng.normal(size=(30, len(ALL_CLASSES))), rng.normal(size=(30, 4)))
    silent = replace(loud, brightness=loud.brightness - 9, level_db=loud.level_db - 90)
    with_silence, without = (fit_tagger(tracks, ridge, ALL_CLASSES) for tracks in ([loud, silent], [loud]))
    assert with_silence.means == pytest.approx(without.means)
