"""The labels of pictures are whole, free and kept apart by source; the five folds and the ridge do what they say."""

import struct
import sys
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from openvmas.errors import InputError

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))

import build_picture_mood
import picture_labels
from picture_labels import FOLDER, LEARNED_AXES, Labels, Seen, five_fold, folds, read_labels

FREE = ("CC0", "CC-BY", "GPL", "LGPL", "AGPL", "BSD", "Expat", "Apache", "Zlib", "public")


@pytest.fixture(scope="module")
def labels() -> Labels:
    return read_labels(FOLDER / "labels.csv")


def test_labels_are_many_varied_and_in_range(labels):
    assert len(labels.paths) >= 1500 and len(set(labels.sources)) >= 50
    assert np.abs(labels.targets).max() <= 1 and (labels.targets[:, :2].std(axis=0) > 0.2).all()
    assert all(len(set(words)) == 3 for words in labels.words)
    assert len(set(zip(labels.paths, labels.spans[:, 0].tolist(), strict=True))) >= len(labels.paths) - 110
    assert (labels.spans[~np.isnan(labels.spans[:, 0])][:, 1] > labels.spans[~np.isnan(labels.spans[:, 0])][:, 0]).all()


def test_every_picture_is_free(labels):
    assert all(any(name in licence for name in FREE) for licence in labels.licences)
    assert not any(word in licence.lower() for licence in labels.licences for word in ("-nc", "-nd", "noncommercial"))


def test_what_is_kept_apart_is_apart_by_source(labels):
    sources = labels.sources
    assert not set(sources[labels.is_test]) & set(sources[labels.is_train])
    assert not (labels.is_test & labels.is_train).any()
    assert labels.is_test.sum() > 300


def test_second_labels_are_of_the_same_pictures(labels):
    second = read_labels(FOLDER / "second-labels.csv")
    assert len(second.paths) == 200 and set(second.paths) <= set(labels.paths)


def test_clips_are_labelled_from_unseen_pictures():
    lines = (FOLDER / "clips.csv").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 61 and lines[1].startswith("00.mp4,")


def test_unknown_word_is_named(tmp_path):
    text = (FOLDER / "second-labels.csv").read_text(encoding="utf-8").splitlines()
    columns = text[1].split(",")
    columns[7] = "ambient lovely folk"
    (tmp_path / "labels.csv").write_text("\n".join([text[0], ",".join(columns)]) + "\n", encoding="utf-8")
    with pytest.raises(InputError, match="line 2: 'lovely' is no axis"):
        read_labels(tmp_path / "labels.csv")


def test_folds_never_split_a_source():
    rng = np.random.default_rng(0)
    sources = np.array([f"package-{int(n)}" for n in rng.zipf(1.6, 400) % 40])
    fold = folds(sources)
    assert all(len(set(fold[sources == name])) == 1 for name in set(sources))
    assert len(set(fold)) == 5


def made_up(n: int, rng: np.random.Generator) -> tuple[Seen, Labels]:
    """Pictures whose valence is a plain function of one feature, and a source whose pictures share a constant."""
    features = np.abs(rng.normal(1, 0.5, (3, n, 1280))).astype(np.float16)
    features[1:] = features[0]
    targets = np.zeros((n, len(LEARNED_AXES)), np.float32)
    targets[:, 0] = np.sqrt(features[0, :, 7].astype(np.float32)) - 1
    targets[:, 1:] = rng.normal(0, 1, (n, len(LEARNED_AXES) - 1))
    seen = Seen(features, np.zeros((n, 1000)), rng.uniform(0, 1, (n, 4)), np.full(n, np.nan), np.full(n, np.nan))
    paths = tuple(f"package-{i % 17}/{i}.png" for i in range(n))
    words = (("ambient", "folk", "jazz"),) * n
    nothing = np.zeros(n, bool)
    return seen, Labels(paths, np.full((n, 2), np.nan), ("CC0",) * n, targets, words, nothing, ~nothing, nothing)


def test_five_folds_find_what_can_be_known_and_nothing_else():
    seen, labels = made_up(2000, np.random.default_rng(1))
    said = five_fold(seen, labels)
    assert picture_labels.correlation(said[:, 0], labels.targets[:, 0]) > 0.6
    assert abs(picture_labels.correlation(said[:, 1], labels.targets[:, 1])) < 0.1


def test_a_row_is_judged_without_its_own_label():
    seen, labels = made_up(300, np.random.default_rng(2))
    said = five_fold(seen, labels)
    apart = folds(labels.sources) == folds(labels.sources)[0]
    changed = labels.targets.copy()
    changed[apart] += 5
    again = five_fold(seen, replace(labels, targets=changed))
    assert np.allclose(said[apart], again[apart], atol=1e-4)


def test_qt_resources_are_unpacked(tmp_path):
    plain, packed = b"a picture", zlib.compress(b"another")
    bodies = [plain, struct.pack(">I", len(b"another")) + packed]
    content = b"".join(struct.pack(">I", len(body)) + body for body in bodies)
    names, at = b"", {}
    for name in ("folder", "a.jpg", "b.png"):
        at[name] = len(names)
        names += struct.pack(">HI", len(name), 0) + name.encode("utf-16-be")
    tree = struct.pack(">IHII", 0, 2, 1, 1)  # the root holds node 1, which holds 2 and 3
    tree += struct.pack(">IHII", at["folder"], 2, 2, 2)
    tree += struct.pack(">IHHHI", at["a.jpg"], 0, 0, 0, 0)
    tree += struct.pack(">IHHHI", at["b.png"], 1, 0, 0, 4 + len(plain))
    places = (20, 20 + len(tree), 20 + len(tree) + len(content))
    (tmp_path / "x.rcc").write_bytes(b"qres" + struct.pack(">IIII", 1, *places) + tree + content + names)
    build_picture_mood.unpack_resources(tmp_path / "x.rcc", tmp_path / "out")
    assert (tmp_path / "out/folder/a.jpg").read_bytes() == plain
    assert (tmp_path / "out/folder/b.png").read_bytes() == b"another"
