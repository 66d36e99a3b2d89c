"""Pairs from pools, shards and tags: the same clips as drawn directly, arrays that survive packing, meaning alone."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from openvmas.condition import AXES
from openvmas.data.curation.set_splits import Split, make_set
from openvmas.data.montage.bank import Bank
from openvmas.data.shards.loader import Clips
from openvmas.data.shards.tar_shards import write_shards
from openvmas.data.stages.packed import pack_codes, pack_curve, pack_events, pack_features, pack_unit
from openvmas.errors import InputError
from openvmas.settings import CONTROL_RATE
from openvmas.timeline import Events
from openvmas.train.codec.identity import CodecIdentity
from openvmas.train.decoder.examples import Example, Examples
from openvmas.train.joint.curated_pairs import CuratedMusic, CuratedPairs
from openvmas.train.joint.pairs import MontagePairs, PairPool, PooledPairs, WeakPairs, coarsen
from tests.data.made_sets import make_record, write_work
from tests.train import made as made_up

STEPS = 103
N_VIEWS = 3


def make_bank() -> Bank:
    """Ten dark, cold pictures and ten bright, warm ones; their features say which."""
    rng = np.random.default_rng(3)
    n = 20 * N_VIEWS
    is_bright = np.repeat(np.arange(20) >= 10, N_VIEWS)
    features = rng.uniform(0, 0.1, (n, 16))
    features[:, 0] = is_bright
    looks = np.where(is_bright[:, None], [0.9, 0.8, 0.8, 0.7], [0.1, 0.1, -0.6, 0.2])
    return Bank(
        paths=np.array([f"{i}.png" for i in range(20)]), sizes=np.tile([640, 360], (20, 1)),
        first=np.arange(21) * N_VIEWS, views=np.array(20 * [(z, 0.5, 0.5, 0.0) for z in (1.0, 1.45, 2.0)]),
        features=features.astype(np.float16), classes=np.full((n, 1000), 1e-3, np.float16),
        looks=looks.astype(np.float32), thumbs=rng.integers(0, 255, (n, 12, 20)).astype(np.uint8),
        motion_first=np.zeros(21, int), motion=np.zeros((0, 7)),
    )  # fmt: skip


def make_examples() -> Examples:
    """Six pieces, happy and sad in turn, none with an ending."""
    made = []
    for i, example in enumerate(made_up.make_examples().examples):
        axes = np.full((2, len(AXES)), np.nan, np.float32)
        axes[:, AXES.index("valence")] = 3.0 if i % 2 else -3.0
        made.append(replace(example, axes=axes, has_ending=False))
    return Examples(made)


def test_a_pool_gives_what_was_looked_at(tmp_path: Path) -> None:
    examples = make_examples()
    source = MontagePairs(examples, make_bank(), STEPS, fps=8.0, seed=1)
    pool = PairPool.build(source, 5, STEPS, seed=4)
    pool.save(tmp_path / "pool.npz")
    pool = PairPool.load(tmp_path / "pool.npz")
    generator = np.random.default_rng(4)
    for row in range(5):
        seen, kept = source.draw_picture(generator, STEPS), PooledPairs(examples, pool, 8.0).row(row)
        assert (kept.index, kept.start) == (seen.index, seen.start)
        np.testing.assert_allclose(kept.curves, seen.curves, atol=1e-3)
        np.testing.assert_allclose(kept.features, seen.features, atol=1e-3)
    slower = PooledPairs(examples, pool, 2.0).row(0).features
    np.testing.assert_array_equal(slower, PooledPairs(examples, pool, 8.0).row(0).features[::4])
    clip = PooledPairs(examples, pool, 2.0).draw(np.random.default_rng(0), STEPS, 100)
    assert clip.codes.shape == (4, 100) and clip.curves.shape == (STEPS, 4)


def test_rounds_of_a_pool_have_each_piece_once() -> None:
    pool = PairPool.build(MontagePairs(make_examples(), make_bank(), STEPS), 12, STEPS, seed=0, distinct=6)
    assert sorted(pool.index[:6]) == sorted(pool.index[6:]) == list(range(6))
    with pytest.raises(InputError, match="only 6 of 7"):
        PairPool.build(MontagePairs(make_examples(), make_bank(), STEPS), 7, STEPS, seed=0, distinct=7)
    with pytest.raises(InputError, match="openvmas train pairs"):
        PairPool.load(Path("nowhere.npz"))


def test_few_pictures_a_second_only_know_between_which_of_them() -> None:
    curves = np.random.default_rng(0).uniform(0, 1, (150, 4)).astype(np.float32)
    curves[:, 0] = 0
    curves[[20, 40, 110], 0] = 0.5, 0.9, 0.3
    coarse = coarsen(curves, 1.0)
    assert np.flatnonzero(coarse[:, 0]).tolist() == [25, 125] and coarse[[25, 125], 0] == pytest.approx([0.9, 0.3])
    np.testing.assert_allclose(coarse[:50, 1], curves[:50, 1].mean(), rtol=1e-5)
    np.testing.assert_array_equal(coarsen(curves, 50.0), curves)


def make_shards(folder: Path) -> tuple[Path, Events, np.ndarray, np.ndarray]:
    """A set with one video of 6 s; returns it, what its picture does, its codes and its features."""
    rng = np.random.default_rng(5)
    seen = rng.uniform(0, 1, (3, 300)).astype(np.float32)
    seen[0] = 0
    seen[0, [30, 90, 200]] = 0.2, 0.6, 1.0
    codes, features = rng.integers(0, 1024, (8, 300)), rng.uniform(0, 6, (6, 16))
    made: list[tuple[Any, dict[str, np.ndarray]]] = []
    events = Events(CONTROL_RATE, *seen)
    arrays = {
        "codes": pack_codes(codes, 1024), "features": pack_features(features),
        "feature_times": np.arange(6, dtype=np.float32), "motion": pack_curve(seen[1]),
        "beats": np.arange(0, 6, 0.5, np.float32), "downbeats": np.arange(0, 6, 2, np.float32),
        "cuts": np.zeros(0, np.float32), "visual_beat_strengths": pack_unit(np.zeros(0)),
        **pack_events(events, "seen"), **pack_events(Events(CONTROL_RATE, *seen[:, ::-1]), "heard"),
    }  # fmt: skip
    record = make_record(0).with_facts(
        "features",
        n_steps=300,
        duration=6.0,
        confidence=0.9,
        codebook_size=1024,
        codec="mini 0.3",
        codec_sha256="abc",
        n_codebooks=8,
    )
    made.append((type(record)(**{**vars(record), "arrays": tuple(sorted(arrays))}), arrays))
    work = write_work(folder / "work", made)
    make_set(work, folder, (Split(valid=0.0, test=0.0),))
    write_shards(folder, work)
    return folder, events, codes, features


def test_real_pairs_come_out_of_shards_as_they_went_in(tmp_path: Path) -> None:
    folder, events, codes, features = make_shards(tmp_path)
    source = CuratedPairs(folder, fps=1.0)
    assert source.codec == CodecIdentity("mini 0.3", "abc", 8, 1024) and source.feature_width == 16
    for seed in range(5):
        clip = source.draw(np.random.default_rng(seed), STEPS, 100)
        start = next(i for i in range(201) if np.array_equal(codes[:, i : i + 100], clip.codes))
        inside = events.accents[start : start + STEPS]
        np.testing.assert_allclose(clip.curves[: len(inside), 0], inside, atol=1 / 255)
        np.testing.assert_allclose(
            clip.onsets[: len(inside)], events.accents[::-1][start : start + STEPS], atol=1 / 255
        )
        nearest = features[np.abs(start / 50 + np.arange(3)[:, None] - np.arange(6)).argmin(1)]
        assert clip.features is not None
        np.testing.assert_allclose(clip.features, nearest, atol=0.4)  # kept in four bits
    with pytest.raises(InputError, match="are of the codec mini"):
        CuratedPairs(folder, CodecIdentity("other", "def", 4, 1024))
    music = CuratedMusic(folder).draw(np.random.default_rng(3), STEPS, 100)
    start = next(i for i in range(201) if np.array_equal(codes[:, i : i + 100], music.codes))
    assert music.features is None and music.condition.n_steps == STEPS and start >= 0
    with pytest.raises(InputError, match="no records in valid"):
        CuratedPairs(folder, split="valid")
    with pytest.raises(InputError, match="shorter crops"):
        source.draw(np.random.default_rng(0), 500, 497)


def test_weak_pairs_mean_the_same_and_say_nothing_of_when() -> None:
    source = WeakPairs(make_examples(), make_bank(), fps=2.0)
    bright: dict[bool, list[float]] = {True: [], False: []}
    for seed in range(60):
        clip = source.draw(np.random.default_rng(seed), STEPS, 100)
        assert not clip.curves.any() and clip.features is not None
        bright[clip.piece % 2 == 1].append(float(clip.features[:, 0].mean()))
    assert np.mean(bright[True]) > 0.7 > 0.3 > np.mean(bright[False])  # happy music gets bright pictures
    bare = Examples([Example(e.codes, e.events, e.beats, e.downbeats, np.zeros(0), np.zeros((0, 0)), False)
                     for e in make_examples().examples])  # fmt: skip
    with pytest.raises(InputError, match="no track has tags"):
        WeakPairs(bare, make_bank())


def test_the_reader_of_the_documentation_reads_a_set_with_plain_webdataset(tmp_path: Path) -> None:
    folder, _, codes, features = make_shards(tmp_path)
    page = (Path(__file__).resolve().parents[2] / "docs" / "data" / "sets.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", page, flags=re.S)
    paths = [str(path) for path in sorted((folder / "shards").glob("*.tar"))]
    done = subprocess.run([sys.executable, "-c", code, *paths], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split(maxsplit=1)[1].strip() == "(8, 300) (6, 16)"
    head: dict[str, Any] = {}
    exec(code[: code.index("for sample")].replace("import webdataset", ""), head)
    found = Clips(folder)[0]
    sample = {"json": json.loads(found["record"].to_json()), **{f"{name}.npy": found[name] for name in found}}
    assert np.array_equal(head["codes_of"](sample), codes)
    np.testing.assert_allclose(head["features_of"](sample), features, atol=0.4)
