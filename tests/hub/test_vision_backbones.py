"""Hiera, CLIP and SigLIP from folders of tiny random weights: the numbers of `transformers` itself."""

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

from openvmas.errors import ModelError
from openvmas.hub.vision import HubBackbone
from openvmas.media.video import FrameRequest, read_frames
from openvmas.model.video_encoder import VideoEncoder, VideoEncoderConfig
from tests.clips import write_clip

transformers = pytest.importorskip("transformers")
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil  # noqa: E402
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil  # noqa: E402
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil  # noqa: E402

SIZE = 64
TINY = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}


def save(kind: str, folder: Path) -> tuple:
    """A tiny random model of a kind and its own processor, saved in a folder."""
    torch.manual_seed(1)
    if kind == "hiera":
        config = transformers.HieraConfig(
            embed_dim=8, image_size=[SIZE, SIZE], depths=[1, 1, 1, 1], num_heads=[1, 1, 1, 2], num_query_pool=2
        )
        model, processor = transformers.HieraModel(config), ViTImageProcessorPil(size={"height": SIZE, "width": SIZE})
    elif kind == "siglip":
        config = transformers.SiglipVisionConfig(**TINY, image_size=SIZE, patch_size=16)
        model = transformers.SiglipVisionModel(config)
        processor = SiglipImageProcessorPil(size={"height": SIZE, "width": SIZE})
    else:
        config = transformers.CLIPVisionConfig(**TINY, image_size=SIZE, patch_size=16)
        model = transformers.CLIPVisionModel(config)
        processor = CLIPImageProcessorPil(size={"shortest_edge": SIZE}, crop_size=SIZE)
    for parameter in model.parameters():  # the initial weights are so small that pictures hardly matter
        torch.nn.init.normal_(parameter, std=0.5)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return model.eval(), processor


def pictures(n: int, height: int, width: int) -> np.ndarray:
    """Smooth random pictures."""
    coarse = torch.rand(n, 3, 5, 6, generator=torch.Generator().manual_seed(2))
    smooth = torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic", align_corners=False)
    return (smooth.clamp(0, 1) * 255).byte().permute(0, 2, 3, 1).numpy()


@pytest.mark.parametrize("kind", ["hiera", "clip", "siglip"])
@pytest.mark.parametrize("size", [(SIZE, SIZE), (90, 131), (80, 200)])
def test_numbers_are_those_of_transformers(kind, size, tmp_path):
    model, processor = save(kind, tmp_path)
    seen = pictures(3, *size)
    pixels = processor(list(seen), return_tensors="pt")["pixel_values"]
    backbone = HubBackbone(tmp_path)
    own = backbone.prepare(torch.from_numpy(seen).permute(0, 3, 1, 2))
    # The same but for values on the edge of rounding: here and there a level or two of 255
    # (more where Pillow, from version 13 on, resizes down before across).
    level = 2.001 / 255 / min(processor.image_std)
    off = (own - pixels).abs()
    assert off.max() < (level if off.max() > 1e-5 else 1e-5) and (off > 1e-5).float().mean() < 0.05
    with torch.no_grad():
        expected = model(pixels).pooler_output.numpy()
    found = backbone.see(seen, batch=2)
    assert found.shape == (3, 1, backbone.width) and found.dtype == np.float32
    gap = np.abs(expected[1:] - expected[:-1]).max()  # between pictures
    np.testing.assert_allclose(found[:, 0], expected, atol=max(0.02 * gap, 1e-5) if off.max() > 1e-5 else 1e-5)
    assert gap > 0.01


@pytest.mark.parametrize("kind", ["hiera", "clip", "siglip"])
def test_pooled_tokens_are_means_of_fields_of_the_picture(kind, tmp_path):
    model, processor = save(kind, tmp_path)
    seen = pictures(2, SIZE, SIZE)
    pixels = processor(list(seen), return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        if kind == "hiera":
            grid = model(pixels, output_hidden_states=True).reshaped_hidden_states[-1]
        else:
            grid = model(pixels).last_hidden_state[:, kind == "clip" :].unflatten(1, (4, 4))
    expected = grid.unflatten(1, (2, -1)).unflatten(3, (2, -1)).mean((2, 4)).flatten(1, 2)
    found = HubBackbone(tmp_path, n_pooled=4).see(seen)
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-5)


def test_patches_are_in_the_order_of_the_picture(tmp_path):
    """A change in one corner changes the token of that corner most: masked-unit order would show here."""
    _, _ = save("hiera", tmp_path)
    backbone = HubBackbone(tmp_path, n_pooled=4)
    plain = np.full((1, SIZE, SIZE, 3), 90, np.uint8)
    for corner, (top, left) in enumerate([(0, 0), (0, 1), (1, 0), (1, 1)]):
        marked = plain.copy()
        marked[:, top * 32 : top * 32 + 32, left * 32 : left * 32 + 32] = pictures(1, 32, 32)
        change = np.abs(backbone.see(marked) - backbone.see(plain)).mean((0, 2))
        assert change.argmax() == corner


def test_a_video_is_watched_at_the_rate_asked(tmp_path):
    save("clip", tmp_path)
    clip = write_clip(tmp_path / "clip.mp4", 2.0)
    backbone = HubBackbone(tmp_path, n_pooled=4)
    times, features = backbone.watch(clip, Fraction(5))
    assert features.shape == (10, 4, backbone.width)
    np.testing.assert_allclose(times, np.arange(10) / 5, atol=0.021)
    size = backbone.prepare.resized(96, 160)
    frames = np.concatenate([c.frames for c in read_frames(clip, [FrameRequest(Fraction(5), (size[1], size[0]))])])
    np.testing.assert_allclose(features, backbone.see(frames), atol=1e-5)
    encoder = VideoEncoder(
        VideoEncoderConfig(feature_width=backbone.width, n_pooled=4, fps=5, width=16, n_layers=1, n_heads=2, hidden=16)
    )
    assert encoder(torch.from_numpy(features)[None], torch.zeros(1, 100, 4)).steps.shape == (1, 100, 448)


def test_old_checkpoints_of_both_towers_load(tmp_path):
    """CLIP is published with both towers, and with names that transformers has since changed."""
    model, _ = save("clip", tmp_path)
    from safetensors.torch import save_file

    state = {f"vision_model.{key.removeprefix('vision_model.')}": v for key, v in model.state_dict().items()}
    save_file(state | {"text_projection.weight": torch.zeros(2, 2)}, tmp_path / "model.safetensors", {"format": "pt"})
    vision = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "clip", "vision_config": vision}))
    seen = pictures(1, SIZE, SIZE)
    with torch.no_grad():
        expected = model(HubBackbone(tmp_path).prepare(torch.from_numpy(seen).permute(0, 3, 1, 2))).pooler_output
    np.testing.assert_allclose(HubBackbone(tmp_path).see(seen)[:, 0], expected.numpy(), atol=1e-5)


def test_wrong_folders_are_named_with_the_remedy(tmp_path):
    with pytest.raises(ModelError, match="is not a folder"):
        HubBackbone(tmp_path / "none")
    with pytest.raises(ModelError, match=r"config\.json cannot be read"):
        HubBackbone(tmp_path)
    save("clip", tmp_path)
    with pytest.raises(ValueError, match="n_pooled"):
        HubBackbone(tmp_path, n_pooled=3)
    weights = (tmp_path / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(weights[:1000])
    with pytest.raises(ModelError, match=r"cannot be read .* download them again"):
        HubBackbone(tmp_path)
    from safetensors.torch import load, save_file

    part = {key: value for key, value in load(weights).items() if "layers.1" not in key}
    save_file(part, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match="tensors are missing"):
        HubBackbone(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text("{}")
    with pytest.raises(ModelError, match="how to prepare pictures"):
        HubBackbone(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(ModelError, match="type bert; give a folder with hiera or clip"):
        HubBackbone(tmp_path)
