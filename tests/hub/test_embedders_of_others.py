"""VGGish, PANNs, PaSST and ImageBind: known sizes at full size, tiny random weights against other implementations."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from openvmas.errors import ModelError, OptionError
from openvmas.eval.benchmark import folder_measures as measures
from openvmas.eval.benchmark.set_measures import compare, variety
from openvmas.eval.embedders.registry import check_name, open_embedder, weights_key
from openvmas.eval.reports.folder_tables import page
from openvmas.eval.suites.cache import Cache
from openvmas.hub import imagebind, panns, passt, vggish
from openvmas.hub.audio_transformer import Block, kaldi_fbank, kaldi_mel_bank
from openvmas.hub.taggers import slaney_matrix
from openvmas.media.audio import write_wav

transformers = pytest.importorskip("transformers")


def shaken(network: nn.Module, scale: float = 0.1) -> nn.Module:
    """Random weights, large enough that every part matters; norms keep positive variances."""
    generator = torch.Generator().manual_seed(8)
    with torch.no_grad():
        for name, value in network.state_dict().items():
            if value.is_floating_point():
                noise = torch.randn(value.shape, generator=generator) * scale
                value.add_(noise.abs() if "running_var" in name else noise)
    return network.eval()


def sound(rate: int, seconds: float) -> np.ndarray:
    times = np.arange(round(rate * seconds)) / rate
    noise = np.random.default_rng(2).normal(0, 0.05, len(times))
    return (0.3 * np.sin(2 * np.pi * (200 + 300 * times) * times) + noise).astype(np.float32)


def count(network: nn.Module, without: str = "-") -> int:
    return sum(p.numel() for name, p in network.named_parameters() if without not in name)


def test_full_sizes_are_the_published_ones():
    with torch.device("meta"):
        assert count(vggish.VggishNetwork()) == 72_141_184
        cnn = panns.Cnn14()
        assert count(cnn) == pytest.approx(80.8e6 + 2 * 513 * 1024 + 513 * 64, rel=2e-3)
        small = passt.PasstNetwork(passt.PasstSizes())
        assert count(small) == pytest.approx(86.2e6, rel=5e-3)
        network = imagebind.ImageBindNetwork(imagebind.ImageBindSizes())
    vision = count(network.modality_trunks["vision"]) + count(network.modality_preprocessors["vision"])
    # ViT-H/14 has 632 M with 257 places; ImageBind looks at two frames and has a norm in front.
    assert vision + count(network.modality_heads["vision"]) == pytest.approx(632e6, rel=3e-3)
    assert count(network.modality_trunks["audio"]) == pytest.approx(85.1e6, rel=2e-3)
    names = set(network.state_dict())
    assert {
        "modality_preprocessors.vision.rgbt_stem.proj.1.weight",
        "modality_preprocessors.audio.rgbt_stem.norm_layer.bias",
        "modality_preprocessors.audio.pos_embedding_helper.pos_embed",
        "modality_trunks.vision.pre_transformer_layer.0.weight",
        "modality_trunks.audio.blocks.11.attn.bias_k",
        "modality_trunks.vision.blocks.31.attn.in_proj_weight",
        "modality_heads.audio.2.weight",
    } <= names
    assert network.state_dict()["modality_preprocessors.audio.pos_embedding_helper.pos_embed"].shape == (1, 229, 768)


@pytest.mark.filterwarnings("ignore:At least one mel filter")  # so it is, for 128 bands of 257 bins
def test_kaldi_spectra_are_those_of_the_ast_extractor():
    """The extractor of AST writes Kaldi's fbank a second time, in NumPy (where torchaudio is not there)."""
    extractor = transformers.ASTFeatureExtractor(max_length=198, do_normalize=False)
    wave = sound(16_000, 2.0)
    # It takes waves of 16 bits' size; a factor adds a constant to log powers.
    expected = extractor(wave, sampling_rate=16_000, return_tensors="np")["input_values"][0]
    bank = kaldi_mel_bank(512, 16_000, 128, 20.0, 8000.0)
    found = kaldi_fbank(torch.from_numpy(wave)[None], bank)[0].numpy()
    assert found.shape == expected.shape == (198, 128)
    difference = found - expected
    np.testing.assert_allclose(difference - np.median(difference), 0, atol=2e-3)


@pytest.mark.parametrize("has_bias_kv", [False, True])
def test_block_by_plain_arithmetic(has_bias_kv):
    torch.manual_seed(0)
    block = shaken(Block(8, 2, has_bias_kv), 0.3)
    assert isinstance(block, Block)
    x = torch.randn(1, 5, 8)
    y = nn.functional.layer_norm(x, (8,), block.norm_1.weight, block.norm_1.bias, 1e-6)
    q, k, v = (y[0] @ block.attn.in_proj_weight.T + block.attn.in_proj_bias).chunk(3, -1)
    if has_bias_kv:
        k, v = torch.cat([k, block.attn.bias_k[0]]), torch.cat([v, block.attn.bias_v[0]])
    heads = [(q[:, i : i + 4] @ k[:, i : i + 4].T / 2).softmax(-1) @ v[:, i : i + 4] for i in (0, 4)]
    z = x + torch.cat(heads, -1) @ block.attn.out_proj.weight.T + block.attn.out_proj.bias
    w = nn.functional.layer_norm(z, (8,), block.norm_2.weight, block.norm_2.bias, 1e-6)
    hidden = w @ block.mlp.fc1.weight.T + block.mlp.fc1.bias
    gelu = hidden * (1 + torch.erf(hidden / 2**0.5)) / 2
    expected = z + gelu @ block.mlp.fc2.weight.T + block.mlp.fc2.bias
    torch.testing.assert_close(block(x), expected, atol=1e-5, rtol=1e-5)


def test_vggish_patches_follow_the_spectrum_of_the_whole():
    network = shaken(vggish.VggishNetwork((2, 0, 3, 0, 0, 0), hidden=5, n_out=4))
    wave = sound(16_000, 3.5)
    found = vggish.Vggish(network).embed(wave, 16_000)
    frames = vggish.log_mel(wave, 0.01)
    patches = torch.from_numpy(np.stack([frames[i : i + 96] for i in (0, 96, 192)]))[:, None]
    np.testing.assert_allclose(found.embeddings, network(patches).detach().numpy(), atol=1e-5)
    np.testing.assert_allclose(np.diff(found.times), 0.96)
    assert found.logits.shape == (3, 0) and (found.embeddings >= 0).all()
    # Flattened with channels last, as TensorFlow's dense layers expect: time, then band, then channel.
    features = network.features(patches)
    flat = features.permute(0, 2, 3, 1).reshape(3, -1)
    assert flat[0, 1] == features[0, 1, 0, 0] and flat[0, 3] == features[0, 0, 0, 1]
    torch.testing.assert_close(network.embeddings(flat), network(patches))


def dft() -> dict[str, Tensor]:
    """What PANNs' file holds in place of a Fourier transform, and librosa's mel filters."""
    angle = 2 * np.pi * np.outer(np.arange(513), np.arange(1024)) / 1024
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(1024) / 1024)
    parts = {"real": np.cos(angle) * window, "imag": -np.sin(angle) * window}
    found = {
        f"spectrogram_extractor.stft.conv_{part}.weight": torch.from_numpy(matrix.astype(np.float32))[:, None]
        for part, matrix in parts.items()
    }
    bank = np.repeat(slaney_matrix(), 2, axis=0)[:513, :64]  # any matrix would do
    return found | {"logmel_extractor.melW": torch.from_numpy(np.ascontiguousarray(bank))}


def test_panns_by_plain_arithmetic():
    network = shaken(panns.Cnn14((4, 6), n_classes=3))
    assert isinstance(network, panns.Cnn14)
    network.load_state_dict(network.state_dict() | dft())
    wave = sound(32_000, 1.5)
    found = panns.Panns(network).embed(wave, 32_000)
    assert found.embeddings.shape == (1, 6) and found.logits.shape == (1, 3)
    padded = np.pad(wave, 512, mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(padded, 1024)[::320]
    power = np.abs(np.fft.rfft(frames * np.hanning(1025)[:-1])) ** 2
    mel = 10 * np.log10(np.maximum(power @ network.logmel_extractor.melW.detach().numpy(), 1e-10))
    x = torch.from_numpy(mel.astype(np.float32))[None, None]

    def norm(x: Tensor, bn: nn.BatchNorm2d, dim: int) -> Tensor:
        shape = [-1 if i == dim else 1 for i in range(4)]
        scale = bn.weight / (bn.running_var + 1e-5).sqrt()  # pyright: ignore
        return (x - bn.running_mean.view(shape)) * scale.view(shape) + bn.bias.view(shape)  # pyright: ignore

    x = norm(x, network.bn0, 3)
    for i in (1, 2):
        block = network.get_submodule(f"conv_block{i}")
        for k in (1, 2):
            conv, bn = block.get_submodule(f"conv{k}"), block.get_submodule(f"bn{k}")
            columns = nn.functional.unfold(x, 3, padding=1)
            x = (conv.weight.flatten(1) @ columns).unflatten(2, x.shape[2:])  # pyright: ignore
            x = norm(x, bn, 1).clamp_min(0)  # pyright: ignore
        if i == 1:
            x = x[:, :, : x.shape[2] // 2 * 2].unflatten(2, (-1, 2)).mean(3).unflatten(3, (-1, 2)).mean(4)
    pooled = x.mean(3)
    pooled = pooled.max(2).values + pooled.mean(2)
    expected = (pooled @ network.fc1.weight.T + network.fc1.bias).clamp_min(0)
    np.testing.assert_allclose(found.embeddings, expected.detach().numpy(), rtol=1e-3, atol=1e-3)
    logits = expected @ network.fc_audioset.weight.T + network.fc_audioset.bias
    np.testing.assert_allclose(found.logits, logits.detach().numpy(), rtol=1e-3, atol=1e-3)


def to_published(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """PaSST's names of a state with ours."""
    found = {}
    for key, value in state.items():
        key = key.replace(".norm_", ".norm").replace(".attn.out_proj.", ".attn.proj.")
        found[key.replace(".attn.in_proj_", ".attn.qkv.")] = value
    return found


def test_passt_is_an_ast_whose_places_are_sums(tmp_path):
    """AST of transformers with the same weights: the same tokens, blocks and mean of both first tokens."""
    sizes = passt.PasstSizes(width=16, n_layers=2, n_heads=2, n_times=12, n_classes=5)
    network = shaken(passt.PasstNetwork(sizes), 0.2)
    torch.save(to_published(network.state_dict()), tmp_path / "passt.pt")
    own = passt.Passt.open(tmp_path / "passt.pt", sizes)
    config = transformers.ASTConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64, patch_size=16,
        frequency_stride=10, time_stride=10, max_length=126, num_mel_bins=128, layer_norm_eps=1e-6,
    )  # fmt: skip
    ast = transformers.ASTModel(config).eval()
    state = {k.replace("audio_spectrogram_transformer.", ""): v for k, v in network.state_dict().items()}
    places = (state["freq_new_pos_embed"] + state["time_new_pos_embed"]).flatten(2).transpose(1, 2)
    with torch.no_grad():
        embeddings = ast.embeddings
        embeddings.cls_token.copy_(state["cls_token"])
        embeddings.distillation_token.copy_(state["dist_token"])
        embeddings.position_embeddings.copy_(torch.cat([state["new_pos_embed"], places], 1))
        embeddings.patch_embeddings.projection.weight.copy_(state["patch_embed.proj.weight"])
        embeddings.patch_embeddings.projection.bias.copy_(state["patch_embed.proj.bias"])
        copy_blocks(ast, state, "blocks.")
        ast.layernorm.weight.copy_(state["norm.weight"])
        ast.layernorm.bias.copy_(state["norm.bias"])
        spectra = torch.randn(3, 1, 128, 126)
        expected = ast(spectra[:, 0].transpose(1, 2)).pooler_output
        found, logits = own.network(spectra)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
    head = network.head
    normal = (found - found.mean(-1, keepdim=True)) / (found.var(-1, unbiased=False, keepdim=True) + 1e-5).sqrt()
    expected = (normal * head[0].weight + head[0].bias) @ head[1].weight.T + head[1].bias
    torch.testing.assert_close(logits, expected, atol=1e-5, rtol=1e-4)
    assert found.std() > 0.1


def copy_blocks(model: nn.Module, state: dict[str, Tensor], prefix: str) -> None:
    """Our blocks' weights into the layers of a ViT-like model of transformers, whatever its version calls them."""
    width = state[f"{prefix}0.norm_1.weight"].shape[0]
    parts = {
        "q": ("query", "q_proj"), "k": ("key", "k_proj"), "v": ("value", "v_proj"),
        "attn.out_proj": ("attention.output.dense", "o_proj", "out_proj"),
        "mlp.fc1": ("intermediate.dense", "fc1"), "mlp.fc2": ("output.dense", "fc2"),
        "norm_1": ("layernorm_before", "layer_norm1"), "norm_2": ("layernorm_after", "layer_norm2"),
    }  # fmt: skip
    n_layers = len({key.removeprefix(prefix).split(".")[0] for key in state if key.startswith(prefix)})
    used = set()
    for index in range(n_layers):
        targets = {
            name: p for name, p in model.named_parameters() if f"layers.{index}." in name or f"layer.{index}." in name
        }
        for part, names in parts.items():
            for kind in ("weight", "bias"):
                if len(part) == 1:
                    value = state[f"{prefix}{index}.attn.in_proj_{kind}"].split(width)["qkv".index(part)]
                else:
                    value = state[f"{prefix}{index}.{part}.{kind}"]
                ends = tuple(f".{name}.{kind}" for name in names)
                fit = [n for n in targets if n.endswith(ends) and n not in used and targets[n].shape == value.shape]
                name = min(fit, key=lambda n: next(i for i, end in enumerate(ends) if n.endswith(end)))
                targets[name].data.copy_(value)
                used.add(name)
        assert used >= set(targets)


def test_passt_hears_ten_seconds_and_less():
    torch.manual_seed(1)
    network = passt.PasstNetwork(passt.PasstSizes(width=8, n_layers=1, n_heads=2))
    own = passt.Passt(shaken(network))
    assert passt.passt_spectra(torch.zeros(1, 320_000)).shape == (1, 128, 1000)
    silence = passt.passt_spectra(torch.zeros(1, 3200))
    torch.testing.assert_close(silence, torch.full_like(silence, (np.log(1e-5) + 4.5) / 5))
    assert own.embed(sound(32_000, 2.0), 32_000).embeddings.shape == (1, 8)
    assert own.embed(sound(16_000, 0.2), 16_000).logits.shape == (1, 527)
    found = own.embed(sound(32_000, 12.0), 32_000)
    np.testing.assert_allclose(found.times, [5.0, 7.0])


TINY = imagebind.ImageBindSizes(out=6, vision=(16, 2, 2), audio=(8, 1, 2), picture=28)


def test_imagebinds_eyes_are_clips(tmp_path):
    """CLIP of transformers with the same weights, the two frames' kernels added up."""
    network = shaken(imagebind.ImageBindNetwork(TINY), 0.2)
    state = network.state_dict()
    others = {
        "modality_trunks.text.blocks.0.norm_1.weight": torch.zeros(3),
        "modality_postprocessors.audio.1.x": torch.ones(1),
    }
    torch.save(state | others, tmp_path / "imagebind_huge.pth")
    own = imagebind.ImageBind.open(tmp_path / "imagebind_huge.pth", TINY)
    config = transformers.CLIPVisionConfig(
        hidden_size=16, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2, image_size=28, patch_size=14,
        hidden_act="gelu", layer_norm_eps=1e-6, projection_dim=6,
    )  # fmt: skip
    clip = transformers.CLIPVisionModelWithProjection(config).eval()
    named = {name.split("vision_model.")[-1]: p for name, p in clip.named_parameters()}
    eye = "modality_preprocessors.vision."
    with torch.no_grad():
        named["embeddings.class_embedding"].copy_(state[f"{eye}cls_token"][0, 0])
        named["embeddings.patch_embedding.weight"].copy_(state[f"{eye}rgbt_stem.proj.1.weight"].sum(2))
        named["embeddings.position_embedding.weight"].copy_(state[f"{eye}pos_embedding_helper.pos_embed"][0])
        for kind in ("weight", "bias"):
            named[f"pre_layrnorm.{kind}"].copy_(state[f"modality_trunks.vision.pre_transformer_layer.0.{kind}"])
            named[f"post_layernorm.{kind}"].copy_(state[f"modality_heads.vision.0.{kind}"])
        named["visual_projection.weight"].copy_(state["modality_heads.vision.2.weight"])
        copy_blocks(clip, state, "modality_trunks.vision.blocks.")
        pictures = np.random.default_rng(3).integers(0, 256, (3, 28, 28, 3)).astype(np.uint8)
        mean, std = (torch.tensor(v)[:, None, None] for v in (imagebind.PICTURE_MEAN, imagebind.PICTURE_STD))
        pixels = (torch.from_numpy(pictures).permute(0, 3, 1, 2) / 255 - mean) / std
        expected = nn.functional.normalize(clip(pixels).image_embeds, dim=-1)
    np.testing.assert_allclose(own.embed_pictures(pictures), expected.numpy(), atol=1e-5)
    score = own.similarity(pictures, sound(16_000, 3.0), 16_000)
    heard = own.embed(sound(16_000, 3.0), 16_000).embeddings.mean(0)
    cosine = heard @ expected.numpy().mean(0) / np.linalg.norm(heard) / np.linalg.norm(expected.numpy().mean(0))
    assert score == pytest.approx(cosine, abs=1e-4) and abs(score) < 1


def test_imagebinds_ears():
    own = imagebind.ImageBind(shaken(imagebind.ImageBindNetwork(TINY), 0.2))
    wave = sound(16_000, 4.0)
    found = own.embed(wave, 16_000)
    np.testing.assert_allclose(found.times, [1, 2, 3])
    np.testing.assert_allclose(np.linalg.norm(found.embeddings, axis=1), 1, atol=1e-5)
    spectra = imagebind.imagebind_spectra(torch.from_numpy(wave[None, :32_000]))
    assert spectra.shape == (1, 1, 128, 204)
    # Frames that are not there are zeros before the scale: 198 of 204 fit into two seconds.
    torch.testing.assert_close(spectra[..., 198:], torch.full((1, 1, 128, 6), 4.268 / 9.138))
    loud = imagebind.imagebind_spectra(torch.from_numpy(wave[None, :32_000] * 2 + 0.1))
    shift = (loud - spectra)[..., :198] * 9.138
    audible = spectra[..., :198] * 9.138 - 4.268 > -12  # some narrow bands hold no bin, and sink to the floor
    assert audible.float().mean() > 0.9
    shift = shift[audible]
    torch.testing.assert_close(shift, torch.full_like(shift, 2 * np.log(2)), atol=1e-2, rtol=0)


@pytest.mark.parametrize("name", ["vggish", "panns", "passt", "imagebind"])
def test_wrong_files_are_named_with_the_remedy(name, tmp_path):
    path = tmp_path / "weights.pth"
    with pytest.raises(ModelError, match="there are no weights at"):
        open_embedder(f"{name}:{path}")
    path.write_bytes(b"<html>not found</html>")
    with pytest.raises(ModelError, match="cannot be read as weights; download it again"):
        open_embedder(f"{name}:{path}")
    torch.save({"model": {"other.weight": torch.zeros(2)}}, path)
    with pytest.raises(ModelError, match=r"is not .* tensors are missing, . do not fit .*download the published file"):
        open_embedder(f"{name}:{path}")
    torch.save([1, 2], path)
    with pytest.raises(ModelError, match="holds no table of weights"):
        open_embedder(f"{name}:{path}")


def test_a_checkpoint_with_the_state_of_its_sampler_loads(tmp_path, monkeypatch):
    """As PANNs' training script saves it: iteration, model, and NumPy arrays of the sampler."""
    network = panns.Cnn14((4, 6), n_classes=3)
    sampler = {"indexes": np.arange(5), "pointer": 2}
    torch.save({"iteration": 600_000, "model": network.state_dict(), "sampler": sampler}, tmp_path / "cnn.pth")
    monkeypatch.setattr(panns, "Cnn14", lambda: panns_tiny())
    assert open_embedder(f"panns:{tmp_path / 'cnn.pth'}").embed(sound(32_000, 1.0), 32_000).logits.shape == (1, 3)


def panns_tiny(make: type = panns.Cnn14) -> nn.Module:
    return make((4, 6), n_classes=3)


def test_names_say_what_is_wrong(tmp_path):
    with pytest.raises(OptionError, match="choose from yamnet, musicnn, clap:PATH"):
        check_name("ears")
    with pytest.raises(OptionError, match="write clap:PATH"):
        check_name("clap")
    check_name("yamnet")
    path = tmp_path / "a.pth"
    path.write_bytes(b"1")
    first = weights_key(f"vggish:{path}")
    path.write_bytes(b"22")
    assert weights_key("yamnet") == "yamnet" and first != weights_key(f"vggish:{path}")
    assert first.startswith("vggish-") and "/" not in first


def test_a_folder_is_measured_by_an_adapter(tmp_path, monkeypatch):
    """By an embedder that knows no classes: distances and variety are there, what needs classes is not."""
    torch.manual_seed(3)
    network = vggish.VggishNetwork((2, 0, 3, 0, 0, 0), hidden=5, n_out=4)
    torch.save(network.state_dict(), tmp_path / "vggish.pth")
    make = vggish.VggishNetwork
    monkeypatch.setattr(vggish, "VggishNetwork", lambda: make((2, 0, 3, 0, 0, 0), hidden=5, n_out=4))
    folder = tmp_path / "music"
    folder.mkdir()
    for i in range(2):
        write_wav(folder / f"{i}.wav", np.stack([sound(16_000, 4 + i)] * 2), 16_000)
    monkeypatch.setattr(measures, "measure_file", lambda *given: {"duration": 4.0})
    name = f"vggish:{tmp_path / 'vggish.pth'}"
    made = measures.measure_folder(folder, name, cache=Cache(tmp_path / "cache"))
    kept = sorted(p.name for p in Path(tmp_path / "cache").glob("*.npz"))
    assert len(kept) == 2 and all("vggish-" in name for name in kept)
    assert [file.sound.embeddings.shape for file in made.files if file.sound] == [(4, 4), (5, 4)]
    found = variety(made)
    assert "vendi" in found and "inception_score" not in found
    compared = compare(made, made)
    assert compared and not any(key.startswith("tag_") for key in compared)
    assert "vggish:" in page(made, embedder=name, summary=measures.summarise(made), variety=found)
