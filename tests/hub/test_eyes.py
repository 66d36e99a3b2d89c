"""Zero-shot eyes: the numbers of `transformers`, axes in the stated form, and plans that tell what was seen."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import openvmas
from openvmas.cli.main import main
from openvmas.errors import ModelError
from openvmas.hub.eyes import (
    AXES,
    FEELINGS,
    GRAPH,
    INSTRUMENTS,
    SENTENCES,
    SIDES,
    STYLES,
    Eyes,
    axes_of,
    is_written,
    see_plan,
)
from openvmas.planning.plan_yaml import read_plan
from tests.clips import write_clip
from tests.hub.test_vision_backbones import pictures

transformers = pytest.importorskip("transformers")
from tokenizers import Tokenizer, models, pre_tokenizers  # noqa: E402
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil  # noqa: E402
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil  # noqa: E402

SIZE = 32
TINY = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}


def save(kind: str, folder: Path) -> tuple:
    """A tiny random model with a tokenizer of whole words: the model, its processor and the tokenizer."""
    torch.manual_seed(3)
    words = sorted({word for s in SENTENCES for word in s.replace(",", " ,").split()})
    vocabulary = {word: i for i, word in enumerate(["<pad>", "<unk>", "<end>", *words])}
    text = {**TINY, "vocab_size": len(vocabulary), "max_position_embeddings": 20, "pad_token_id": 0}
    text |= {"bos_token_id": 1, "eos_token_id": 2}
    vision = {**TINY, "image_size": SIZE, "patch_size": 16}
    if kind == "clip":
        config = transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=12)
        model, processor = (
            transformers.CLIPModel(config),
            CLIPImageProcessorPil(size={"shortest_edge": SIZE}, crop_size=SIZE),
        )
    else:
        config = transformers.SiglipConfig(text_config=text, vision_config=vision)
        model, processor = (
            transformers.SiglipModel(config),
            SiglipImageProcessorPil(size={"height": SIZE, "width": SIZE}),
        )
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", unk_token="<unk>")
    for part in (model, processor, fast):
        part.save_pretrained(folder)
    return model.eval(), processor, fast


@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_likeness_is_that_of_transformers(kind, tmp_path):
    model, processor, tokenizer = save(kind, tmp_path)
    seen = pictures(11, SIZE, SIZE)  # more than a batch, and of the size at which nothing is resized
    words = tokenizer(
        SENTENCES,
        padding="max_length" if kind == "siglip" else True,
        max_length=20,
        truncation=True,
        return_tensors="pt",
    )
    words = {name: words[name] for name in (("input_ids", "attention_mask") if kind == "clip" else ("input_ids",))}
    with torch.no_grad():
        pixels = processor(list(seen), return_tensors="pt")["pixel_values"]
        expected = model(pixel_values=pixels, **words).logits_per_image.numpy()
    found = Eyes(tmp_path).likeness(seen)
    assert found.shape == (11, len(SENTENCES)) and expected.std(axis=0).max() > 1e-3
    np.testing.assert_allclose(found, expected, atol=1e-4, rtol=1e-4)


def test_the_graph_is_written_once_and_again_for_other_weights(tmp_path):
    model, _, _ = save("clip", tmp_path)
    seen = pictures(2, SIZE, SIZE)
    first = Eyes(tmp_path).likeness(seen)
    written = (tmp_path / GRAPH).stat().st_mtime_ns
    assert np.array_equal(Eyes(tmp_path).likeness(seen), first)
    assert (tmp_path / GRAPH).stat().st_mtime_ns == written and is_written(tmp_path / GRAPH)
    model.half().save_pretrained(tmp_path)  # other files of the same names
    assert not is_written(tmp_path / GRAPH)
    np.testing.assert_allclose(Eyes(tmp_path).likeness(seen), first, atol=0.05)
    assert (tmp_path / GRAPH).stat().st_mtime_ns != written


def test_the_graph_alone_sees_without_pytorch(tmp_path):
    save("siglip", tmp_path)
    write_clip(tmp_path / "clip.mp4", 3.0)
    Eyes(tmp_path)
    for path in [*tmp_path.glob("*.safetensors"), *tmp_path.glob("token*"), *tmp_path.glob("*.json")]:
        path.unlink(missing_ok=True)
    code = (
        "import sys; sys.modules['torch'] = sys.modules['transformers'] = None\n"
        "from openvmas.hub.eyes import Eyes\n"
        f"times, axes = Eyes({str(tmp_path)!r}).watch({str(tmp_path / 'clip.mp4')!r})\n"
        "assert len(times) == 3 == len(axes)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_without_graph_and_pytorch_the_remedy_is_named(tmp_path, monkeypatch):
    save("clip", tmp_path)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ModelError, match=r"openvmas-eyes.onnx, and torch is missing .*pip install 'openvmas\[hub\]'"):
        Eyes(tmp_path)


def test_axes_follow_the_sentences():
    logits = np.zeros((3, len(SENTENCES)))
    logits[1, 0], logits[1, 3] = 9, 1.0  # like a happy picture; a little like a calm one
    logits[2, len(SIDES) * 2 + list(STYLES).index("jazz")] = 20
    said = axes_of(logits)
    assert said.shape == (3, len(AXES)) and np.allclose(said[0], 0, atol=1e-6)
    assert said[1, 0] == pytest.approx(2, abs=1e-3) and said[1, 1] == pytest.approx(-2 * np.tanh(0.5))
    jazz = AXES.index("jazz")
    assert said[2, jazz] == 2 and (np.delete(said[2, 2 : 2 + len(STYLES)], jazz - 2) == -2).all()
    assert len(AXES) == len(SIDES) + len(STYLES) + len(FEELINGS) + len(INSTRUMENTS)


def test_a_plan_tells_what_the_eyes_see_and_locked_sections_stay(tmp_path, monkeypatch):
    clip = tmp_path / "clip.mp4"
    write_clip(clip, 6.0)
    analysis = openvmas.analyze(clip)
    plan = openvmas.plan(analysis)
    eyes = Eyes.__new__(Eyes)
    axes = np.zeros((6, len(AXES)))
    axes[:, AXES.index("valence")], axes[:, AXES.index("bells")] = -1.5, 1.25
    monkeypatch.setattr(Eyes, "watch", lambda self, path: (np.arange(6) + 0.5, axes))
    seen = see_plan(plan, analysis, clip, eyes)
    assert all(s.picture["valence"] == -1.5 and s.picture["bells"] == 1.25 for s in seen.sections)
    locked = replace(plan, sections=tuple(replace(s, is_locked=True) for s in plan.sections))
    assert see_plan(locked, analysis, clip, eyes) == locked


def test_a_video_is_watched_from_beginning_to_end(tmp_path):
    save("clip", tmp_path)
    write_clip(tmp_path / "clip.mp4", 5.0)
    times, axes = Eyes(tmp_path).watch(tmp_path / "clip.mp4")
    assert len(times) == len(axes) == 5 and times[-1] >= 3.5 and (np.abs(axes) <= 2).all()


def test_a_folder_without_words_is_refused(tmp_path):
    save("clip", tmp_path)
    for path in tmp_path.glob("tokenizer*"):
        path.unlink()
    with pytest.raises(ModelError, match="holds no tokenizer"):
        Eyes(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{", encoding="utf-8")
    with pytest.raises(ModelError, match="cannot be read"):
        Eyes(tmp_path)


def test_plans_are_made_with_eyes_from_the_shell(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    save("siglip", tmp_path / "eyes")
    write_clip(tmp_path / "clip.mp4", 4.0)
    assert main(["plan", "clip.mp4", "--quiet"]) == 0
    assert main(["plan", "clip.mp4", "--eyes", "eyes", "--output", "seen.yaml", "--quiet"]) == 0
    usual, seen = (read_plan((tmp_path / name).read_text()) for name in ("clip.plan.yaml", "seen.yaml"))
    assert usual.sections[0].picture != seen.sections[0].picture
    assert len(usual.sections) == len(seen.sections)
    assert main(["plan", "clip.mp4", "--eyes", "nowhere", "--output", "no.yaml", "--quiet"]) == 2
    assert "nowhere is not a folder" in capsys.readouterr().err
    assert not (tmp_path / "no.yaml").exists()
