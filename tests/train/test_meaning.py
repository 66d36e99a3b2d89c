"""The meaning half of an alignment: what reads axes and latents, how it is trained, exported and imported again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import openvmas
from openvmas.cli.main import main
from openvmas.codec.runtime import CodecRunner
from openvmas.condition import AXES, Picture
from openvmas.data.montage.music_clips import match, tag_picture
from openvmas.errors import InputError
from openvmas.generate.pattern import delay
from openvmas.generate.similarity import Aligner
from openvmas.model.meaning import HeardEmbedding, StatedEmbedding
from openvmas.pretrained import find_weights
from openvmas.settings import CONTROL_RATE
from openvmas.timeline import Events
from openvmas.train.decoder.examples import Example, Examples
from openvmas.train.export.export_model import ExportOptions, export, load_sides
from openvmas.train.export.import_onnx import import_alignment
from openvmas.train.joint.meaning_trainer import LabelledPictures, chances, show
from openvmas.vision.mood import read_head
from openvmas.vision.stated_axes import state_pictures

N_STATED = 62


def test_frames_of_one_picture_are_stated_as_the_picture_is() -> None:
    rng = np.random.default_rng(0)
    features, looks = rng.random((3, 1280)).astype(np.float32), np.array([[0.8, 0.4, 0.2, 0.5]] * 3)
    classes = np.zeros((3, 1000), np.float32)
    found = state_pictures(features, looks, classes)
    n = len(read_head().axes)
    assert found.shape == (3, n + len(AXES)) and n + len(AXES) == N_STATED
    np.testing.assert_allclose(found[:, :n], read_head().judge(features, looks), atol=1e-5)
    for row in found[:, n:]:
        np.testing.assert_allclose(row, tag_picture(looks, classes), atol=1e-6)
    dark = state_pictures(features[:1], np.array([[0.05, 0.1, -0.2, 0.3]]), classes[:1])
    assert np.abs(dark - found[:1]).max() > 0.3


def test_latents_are_sums_of_the_codebooks_entries_and_end_where_codes_do() -> None:
    heard, rng = HeardEmbedding(8, 4, 3, 16, 5, 6), np.random.default_rng(0)
    books = torch.randn(4, 16, 5)
    heard.set_books(books)
    codes = rng.integers(0, 16, (3, 10))
    found = heard.latents(torch.from_numpy(delay(codes, 16)[None]))[0]
    wanted = sum(books[k, codes[k]] for k in range(3))
    scale = books[:3].var(1).sum(0).mean().sqrt()
    assert found.shape == (10, 5)
    torch.testing.assert_close(found, wanted / scale)


def test_frames_that_are_not_there_do_not_count() -> None:
    stated = StatedEmbedding(12, 5, 4).eval()
    features, axes = torch.rand(1, 6, 12), torch.randn(1, 6, 5)
    valid = torch.tensor([[True] * 4 + [False] * 2])
    whole = stated(features[:, :4], axes[:, :4], valid[:, :4])
    torch.testing.assert_close(stated(features, axes, valid), whole)


def test_pictures_are_chosen_as_montages_choose_them() -> None:
    rng = np.random.default_rng(1)
    tags, axes = rng.normal(size=(9, len(AXES))).astype(np.float32), rng.normal(size=len(AXES)).astype(np.float32)
    fit = np.exp(match(tags, axes) / 0.2)
    found = chances(torch.from_numpy(tags), torch.from_numpy(axes[None]))[0]
    np.testing.assert_allclose(found.numpy(), fit / fit.sum(), rtol=1e-4)
    shown = show(torch.tensor([[0.0, 1.0, 0.0]] * 5), 6)
    assert shown.shape == (5, 6)


def make_material(folder: Path) -> None:
    """Ten pieces and twelve pictures, a third of both held out."""
    rng = np.random.default_rng(0)

    def piece() -> Example:
        curves = rng.random((3, 700)).astype(np.float32)
        axes = rng.normal(size=(3, len(AXES))).astype(np.float32)
        codes = rng.integers(0, 1024, (4, 700)).astype(np.uint16)
        times = np.array([2.0, 6.0, 11.0])
        return Example(codes, Events(CONTROL_RATE, *curves), np.zeros(0), np.zeros(0), times, axes, False)

    Examples([piece() for _ in range(6)]).save(folder / "music.npz", 4)
    Examples([piece() for _ in range(4)]).save(folder / "held-out.npz", 4)
    is_train = np.arange(12) < 8
    np.savez(
        folder / "pictures.npz", paths=np.array([f"{i}.png" for i in range(12)]), first=np.arange(13) * 2,
        features=rng.random((24, 1280)).astype(np.float16), stated=rng.normal(size=(24, N_STATED)),
        told=rng.normal(size=(12, len(AXES))), rules=rng.normal(size=(12, len(AXES))), is_train=is_train,
        is_held_out=~is_train,
    )  # fmt: skip


def test_a_meaning_half_is_trained_exported_and_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Timing stays what it was; what was exported is what was trained; a picture without axes is refused."""
    make_material(tmp_path)
    out, made = tmp_path / "out", tmp_path / "alignment"
    command = ["train", "meaning", str(tmp_path), str(tmp_path / "pictures.npz"), "alignment", str(out)]
    assert main([*command, "--steps", "3", "--batch", "4", "--epochs", "1"]) == 0
    assert "held out, by told" in capsys.readouterr().out
    before = find_weights("alignment")
    export(None, None, made, ExportOptions("alignment", "0.9", joint=str(out), span=before.sizes["video"]["span"]))
    weights = find_weights(made)
    assert weights.sizes["video"]["n_axes"] == N_STATED
    aligner, old = (Aligner(w, CodecRunner(find_weights("mini"))) for w in (weights, before))
    rng = np.random.default_rng(3)
    codes, curves = rng.integers(0, 1024, (4, 400)), rng.random((400, 4)).astype(np.float32)
    axes = rng.normal(size=(16, N_STATED))
    picture = Picture(rng.random((16, 1280)).astype(np.float16), np.arange(16) / 2, curves, axes)
    was = old.compare(picture, codes)
    found = aligner.compare(picture, codes)
    assert found.timing == pytest.approx(was.timing, abs=5e-3)
    assert aligner.compare(replace(picture, axes=-axes), codes).meaning != found.meaning
    with pytest.raises(InputError, match="give the video, or its analysis"):
        aligner.compare(replace(picture, axes=None), codes)
    parts, sides = import_alignment(weights), load_sides(out)
    for name, module in (("video", sides[0].encoder), ("music", sides[1].music), ("decoder", sides[1].decoder)):
        learned = dict(parts[name].named_parameters())
        for key, value in module.named_parameters():
            if not key.startswith(("heads", "pool")):  # no part of what is compared
                assert (learned[key] - value).abs().max() <= 0.02 * value.abs().max() + 1e-6, (name, key)


def test_pictures_of_another_kind_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    with pytest.raises(InputError, match=r"tools/label_bank\.py"):
        LabelledPictures.load(tmp_path / "other.npz")


def test_the_shipped_alignment_reads_a_video_as_it_is() -> None:
    """`similarity` states the axes of a video by itself."""
    rng = np.random.default_rng(0)
    found = openvmas.similarity("examples/city.mp4", rng.integers(0, 1024, (4, 300)))
    assert -1 <= found.meaning <= 1
