"""Montages: cut where they say, same from same seed, pictures by mood, curves like those of a real video."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import picture_bank
import pytest
from montage_video import render, to_json
from video_editor import label_takes

from openvmas.condition import AXES
from openvmas.data.montage.bank import Bank
from openvmas.data.montage.curves import analyze_montage
from openvmas.data.montage.editor import NONE, STYLES, USUAL, Montage, Montages, find_events, place_cuts, plan_montage
from openvmas.data.montage.music_clips import MusicClip, axis_weights, match, tag_picture
from openvmas.errors import InputError, OutputError
from openvmas.music.analysis import MusicAnalysis
from openvmas.timeline import Events
from openvmas.vision.analysis import analyze

pytestmark = pytest.mark.slow

STYLE = {style.name: style for style in STYLES}
BEAT = 0.5


def song(duration: float = 40.0, mood: dict[str, float] | None = None) -> MusicClip:
    """A steady piece at 120 BPM with accents on every beat and a new part in its middle."""
    n = int(duration * 50)
    beats = np.arange(0, duration, BEAT)
    accents, novelty = np.zeros(n, np.float32), np.zeros(n, np.float32)
    accents[np.rint(beats * 50).astype(int)] = 0.6
    novelty[n // 2] = 1
    energy = np.full(n, 0.5, np.float32)
    heard = MusicAnalysis(
        Fraction(duration), Events(Fraction(50), accents, energy, novelty), beats, np.ones(len(beats)), beats,
        beats[::4], 120.0, 4, 0.9, -14.0,
    )  # fmt: skip
    axes = np.array([[(mood or {}).get(axis, 0.0) for axis in AXES]], np.float32)
    return MusicClip("test/song.ogg", heard, np.array([duration / 2]), axes)


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six textured pictures, three bright and warm, three dark and blue."""
    folder = tmp_path_factory.mktemp("media")
    rng = np.random.default_rng(5)
    for i in range(6):
        coarse = rng.uniform(0.2, 1.0, (9, 16, 3)) * ((1, 0.9, 0.6) if i < 3 else (0.1, 0.12, 0.25))
        picture = np.kron(coarse, np.ones((40, 40, 1))) * 255 + rng.normal(0, 6, (360, 640, 1))
        frame = av.VideoFrame.from_ndarray(np.clip(picture, 0, 255).astype(np.uint8), format="rgb24")
        with av.open(str(folder / f"{i}.png"), "w") as out:
            stream = out.add_stream("png", rate=1)
            stream.width, stream.height, stream.pix_fmt = 640, 360, "rgb24"
            out.mux(stream.encode(frame))
            out.mux(stream.encode(None))
    return folder


@pytest.fixture(scope="module")
def bank(media: Path) -> Bank:
    return picture_bank.build(media, [f"{i}.png" for i in range(6)])


def test_a_perfect_editor_cuts_on_what_he_means(bank: Bank) -> None:
    montage = plan_montage(song(), (0.0, 30.0), STYLE["bar"], bank, 3, NONE)
    meant = [p for p in montage.placed if p.kind == "cut" and p.anchor_kind == "downbeat"]
    assert len(meant) >= 5
    for placed in meant:
        assert abs(placed.time - placed.anchor) <= 0.5 / float(montage.fps) + 1e-9
        assert placed.anchor % (4 * BEAT) == pytest.approx(0)


def test_imperfection_moves_and_misses_as_much_as_it_says(bank: Bank) -> None:
    off, missed = [], 0
    for seed in range(12):
        montage = plan_montage(song(), (0.0, 40.0), STYLE["beat"], bank, seed, replace(USUAL, late_share=0.0))
        for placed in (p for p in montage.placed if p.kind == "cut" and p.anchor_kind != "none"):
            missed += placed.is_missed
            if not placed.is_missed:
                off.append(placed.time - placed.anchor)
    assert len(off) > 200
    assert np.mean(off) == pytest.approx(-USUAL.lead, abs=0.01)
    assert 0.6 * USUAL.jitter < np.std(off) < 2.5 * USUAL.jitter  # frames add to it
    assert missed / (len(off) + missed) == pytest.approx(USUAL.missed, abs=0.06)


def test_meant_cuts_do_not_depend_on_faults_and_sections_get_one(bank: Bank) -> None:
    music = find_events(song(), 0.0, 40.0)
    assert music.sections == [20.0]
    cuts = place_cuts(music, STYLE["phrase"], np.random.default_rng([4, 1]))
    assert (20.0, "section") in cuts
    plans = [plan_montage(song(), (0.0, 40.0), STYLE["phrase"], bank, 4, faults) for faults in (NONE, USUAL)]
    anchors = [{p.anchor for p in plan.placed if p.anchor_kind == "section"} for plan in plans]
    assert anchors == [{20.0}, {20.0}]


def test_pictures_match_the_mood_of_the_music(bank: Bank) -> None:
    happy = song(mood={"valence": 1.5, "happy": 1.5, "brightness": 1})
    sad = song(mood={"valence": -1.5, "scary": 1, "sad": 1.5, "brightness": -1})

    small = replace(STYLE["beat"], palette=3)

    def bright_share(piece: MusicClip) -> float:
        made = [plan_montage(piece, (0.0, 40.0), small, bank, seed) for seed in range(4)]
        files = np.concatenate([m.files for m in made])
        return float(np.mean(files < 3))

    assert bright_share(happy) > 0.7 > 0.3 > bright_share(sad)
    assert plan_montage(happy, (0.0, 40.0), small, bank, 0).match > 0.2


def test_mapping_is_centred_and_knows_what_it_does_not_know() -> None:
    day = tag_picture(np.array([0.8, 0.4, 0.2, 0.5]), np.zeros(1000))
    night = tag_picture(np.array([0.08, 0.1, -0.1, 0.3]), np.zeros(1000))
    pool = np.stack([day, night])
    happy = np.array([1.0 if axis in ("valence", "happy") else 0.0 for axis in AXES])
    fits = match(pool, happy)
    assert fits[0] > 0.3 > -0.3 > fits[1]
    assert match(pool, np.full(len(AXES), np.nan)) == pytest.approx([0, 0])
    assert axis_weights()[AXES.index("drums")] == 0


def test_any_worker_makes_the_same_montage(bank: Bank) -> None:
    made = Montages([song(60.0)], bank, seed=9)
    again = Montages([song(60.0)], bank, seed=9)
    assert json.dumps(to_json(made.make(7))) == json.dumps(to_json(again.make(7)))
    first = [m for m, _ in zip(made, range(3), strict=False)]
    assert isinstance(first[2], Montage) and to_json(first[2]) == to_json(again.make(2))
    assert to_json(made.make(7)) != to_json(made.make(8))
    with pytest.raises(ValueError, match="no song lasts"):
        Montages([song(10.0)], bank)


def test_curves_are_those_of_the_rendered_video(bank: Bank, media: Path, tmp_path: Path) -> None:
    montage = plan_montage(song(), (0.0, 12.0), STYLE["beat"], bank, 1, fps=Fraction(25))
    path = tmp_path / "made.mp4"
    render(montage, media, np.zeros((1, 12 * 32_000), np.float32), 32_000, path, size=(320, 180))
    seen, known = analyze(path), analyze_montage(montage, bank)
    assert known.duration == seen.duration == 12
    truth = np.array(label_takes(montage.takes, montage.fps).cuts)
    near = np.abs(truth[:, None] - known.cuts).min(axis=1)
    assert (near < 1e-6).mean() >= 0.8  # cuts between pictures that look the same cannot be seen
    both = np.abs(known.cuts[:, None] - seen.cuts).min(axis=1)
    assert (both < 0.05).mean() >= 0.8
    assert len(known.features) == len(seen.features)
    a, b = known.features.astype(np.float32), seen.features.astype(np.float32)
    alike = (a * b).sum(axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    assert float(np.median(alike)) > 0.8
    assert float(np.median(np.abs(known.looks["brightness"] - seen.looks["brightness"]))) < 0.05
    assert json.loads(path.with_suffix(".truth.json").read_text())["song"] == "test/song.ogg"
    with pytest.raises(OutputError, match="exists already"):
        render(montage, media, np.zeros((1, 32_000), np.float32), 32_000, path)


def test_a_bank_comes_back_and_nonsense_is_refused(bank: Bank, tmp_path: Path) -> None:
    bank.save(tmp_path / "bank.npz")
    again = Bank.load(tmp_path / "bank.npz")
    assert list(again.paths) == [f"{i}.png" for i in range(6)]
    assert np.array_equal(again.features, bank.features)
    (tmp_path / "no.npz").write_bytes(b"not a bank")
    with pytest.raises(InputError, match="is no bank of pictures"):
        Bank.load(tmp_path / "no.npz")
    with pytest.raises(InputError, match="fetch the packages"):
        picture_bank.build(tmp_path, [])
