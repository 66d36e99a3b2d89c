"""A joint run's video encoder and alignment, exported: the numbers of PyTorch, and the public similarity."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import openvmas
from openvmas.codec.runtime import CodecRunner
from openvmas.condition import Picture
from openvmas.errors import InputError, ModelError
from openvmas.generate.batch_decoder import Engine
from openvmas.generate.composer import ModelComposer
from openvmas.generate.picture_encoder import PictureEncoder
from openvmas.generate.similarity import Aligner, spans
from openvmas.media.audio import Audio
from openvmas.model.alignment import MusicEmbedding, Temperature, TimedEmbedding, TimedMusic, unconditioned_hidden
from openvmas.model.decoder import Decoder, save_decoder
from openvmas.model.video_encoder import VIDEO_PRESETS, VideoEncoder, save_video_encoder
from openvmas.pretrained import Weights, find_alignment, find_weights
from openvmas.settings import GenerateOptions
from openvmas.train.export.export_model import CODEC_FILES, DECODER_FILES, ExportOptions, export
from tests.generate.made import export_debug, make_condition, make_models

pytestmark = pytest.mark.slow

SPAN = 120


def make_run(folder: Path, decoder: Decoder) -> dict[str, torch.nn.Module]:
    """What `openvmas.train.joint.joint_trainer` leaves, with random weights."""
    torch.manual_seed(5)
    width = decoder.config.width
    parts: dict[str, torch.nn.Module] = {
        "music": MusicEmbedding(width, 16), "video_timed": TimedEmbedding(VIDEO_PRESETS["debug"].motion_width),
        "music_timed": TimedMusic(width),
        "temperature": Temperature(), "timed_temperature": Temperature(5.0),
    }  # fmt: skip
    encoder = VideoEncoder(VIDEO_PRESETS["debug"]).eval()
    for parameter in encoder.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    save_decoder(decoder, str(folder / "decoder.pt"))
    save_video_encoder(encoder, str(folder / "video_encoder.pt"))
    states = {name: part.state_dict() for name, part in parts.items()}
    torch.save({"config": {"width": width, "embedding": 16, "n_queries": 4}, **states}, folder / "alignment.pt")
    return {name: part.eval() for name, part in {**parts, "encoder": encoder, "decoder": decoder}.items()}


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> tuple[Path, dict[str, torch.nn.Module]]:
    folder = tmp_path_factory.mktemp("run")
    return folder, make_run(folder, make_models()[1])


@pytest.fixture(scope="module")
def joined(tmp_path_factory, run) -> Weights:
    """A model with everything, in fp32."""
    folder = tmp_path_factory.mktemp("joint")
    codec, decoder = make_models()
    export(codec, decoder, folder, ExportOptions("joint", "1", 32, str(run[0]), span=SPAN))
    return find_weights(folder)


def write_codes(weights, condition, options):
    return np.concatenate([segment.codes for segment in ModelComposer(weights).write(condition, options)], axis=1)


def test_a_decoder_is_replaced_beside_a_codec_that_stays(tmp_path, run, joined):
    """With a joint run its video encoder comes along, and goes with the next one."""
    codec, decoder = make_models()
    export(codec, decoder, tmp_path, ExportOptions("m", "1", 32, str(run[0]), span=SPAN, licence="CC0-1.0"))
    codec_files = {name: (tmp_path / name).read_bytes() for name in CODEC_FILES.values()}
    export(None, decoder, tmp_path, ExportOptions(version="2", bits=32, joint=str(run[0]), span=SPAN))
    weights = find_weights(tmp_path)
    assert (weights.name, weights.version, weights.licence) == ("m", "2", "CC0-1.0")
    assert weights.files.keys() == joined.files.keys() - {"music_embedding"}
    assert weights.sizes == {name: value for name, value in joined.sizes.items() if name != "alignment"}
    assert codec_files == {name: (tmp_path / name).read_bytes() for name in CODEC_FILES.values()}
    condition = replace(make_condition(60), picture=make_picture(60))
    found, expected = (write_codes(w, condition, GenerateOptions(candidates=1)) for w in (weights, joined))
    assert np.array_equal(found, expected)
    export(None, decoder, tmp_path, ExportOptions(bits=32))
    assert find_weights(tmp_path).files.keys() == {*DECODER_FILES, *CODEC_FILES}
    assert not (tmp_path / "video_encoder.onnx").exists()
    other = Decoder(replace(decoder.config, n_codebooks=2))
    with pytest.raises(ModelError, match="n_codebooks 4, but this decoder was trained for 2"):
        export(None, other, tmp_path, ExportOptions())


def make_picture(n_steps: int, seed: int = 0) -> Picture:
    rng = np.random.default_rng(seed)
    times = np.arange(max(1, round(n_steps / 25))) / 2
    features = rng.standard_normal((len(times), 16)).astype(np.float16)
    return Picture(features, times, rng.uniform(0, 1, (n_steps, 4)).astype(np.float32))


@pytest.mark.parametrize("n_steps", [51, 60, 97, 120, 333])
def test_the_exported_sides_are_those_of_pytorch_at_any_length(joined, run, n_steps):
    parts, picture = run[1], make_picture(n_steps)
    seen = PictureEncoder(joined).encode(picture, 0, n_steps)
    n_frames = int(np.ceil(n_steps / 25))
    features = picture.features[np.minimum(np.arange(n_frames), len(picture.features) - 1)].astype(np.float32)
    with torch.no_grad():
        expected = parts["encoder"](torch.from_numpy(features[None]), torch.from_numpy(picture.curves[None]))
        video_timed = parts["video_timed"](expected.motion)[0].numpy()
    assert np.abs(seen.steps - expected.steps[0].numpy()).max() < 1e-4 * expected.steps.abs().max()
    assert np.abs(seen.embedding - expected.embedding[0].numpy()).max() < 1e-4
    codes = np.random.default_rng(1).integers(0, 64, (4, n_steps))
    aligner = Aligner(joined, CodecRunner(joined))
    tokens = np.full((1, 4, n_steps), 64)
    for k in range(4):
        tokens[0, k, k:] = codes[k, : n_steps - k]
    with torch.no_grad():
        hidden = unconditioned_hidden(parts["decoder"], torch.from_numpy(tokens))
        music = parts["music"](hidden)[0].numpy()
        music_timed = parts["music_timed"](hidden)[0].numpy()
    if n_steps <= SPAN:  # one span: the same as in training
        found = aligner.compare(picture, codes)
        assert found.meaning == pytest.approx(float(seen.embedding @ music), abs=1e-4)
        assert found.timing == pytest.approx(float(video_timed @ music_timed), abs=1e-4)
        total = 1 / 0.07 * found.meaning + 5 * found.timing
        assert found.combined == pytest.approx(total / (1 / 0.07 + 5), abs=1e-4)


def test_the_picture_is_added_to_the_condition_as_in_training(joined, run):
    engine, condition = Engine(joined), replace(make_condition(100), picture=make_picture(100))
    seen = np.concatenate(list(engine.encode_picture(condition)))
    assert np.array_equal(seen, PictureEncoder(joined).encode(make_picture(100), 0, 100).steps)
    assert list(engine.encode_picture(make_condition(100))) == []
    plain, told = (
        np.concatenate(
            [s.codes for s in ModelComposer(joined).write(c, GenerateOptions(candidates=1, event_guidance=g))], axis=1
        )
        for c, g in ((make_condition(100), 2.0), (condition, 2.0))
    )
    assert not np.array_equal(plain, told)
    # Events are ignored, so the picture is, too.
    deaf = [
        np.concatenate(
            [s.codes for s in ModelComposer(joined).write(c, GenerateOptions(candidates=1, event_guidance=0))], axis=1
        )
        for c in (make_condition(100), condition)
    ]
    assert np.array_equal(deaf[0], deaf[1])


@pytest.mark.parametrize("begin", [0, 1, 59, 60, 61, 150, 289])
def test_long_pictures_are_read_in_spans_that_fade(joined, begin):
    encoder, picture = PictureEncoder(joined), make_picture(290)
    whole = np.concatenate(list(encoder.steps(picture, 290)))
    assert whole.shape == (290, 32)
    assert np.allclose(np.concatenate(list(encoder.steps(picture, 290, begin))), whole[begin:], atol=1e-5)
    first, second = (encoder.encode(picture, start, 120).steps for start in (0, 60))
    assert np.allclose(whole[:60], first[:60], atol=1e-5)
    assert np.allclose(whole[90], 0.5 * (first[90] + second[30]), atol=0.02 * np.abs(first).max())


def test_similarity_takes_waves_codes_and_pictures(joined, run, tmp_path):
    rng = np.random.default_rng(2)
    rate, picture = joined.sizes["sample_rate"], make_picture(150)
    wave = rng.standard_normal((2, 3 * rate)).astype(np.float32) * 0.1
    found = openvmas.similarity(picture, Audio(wave, rate), joined.folder)
    codes = CodecRunner(joined).encode(wave.mean(axis=0), 4)
    assert openvmas.similarity(picture, codes, joined.folder) == found
    assert all(-1 <= value <= 1 for value in (found.meaning, found.timing, found.combined))
    assert openvmas.similarity(make_picture(150, seed=9), codes, joined.folder) != found
    with pytest.raises(InputError, match="no second in common"):
        openvmas.similarity(picture, codes[:, :30], joined.folder)
    wrong = replace(picture, features=picture.features[:, :8])
    with pytest.raises(ModelError, match="16 numbers a frame"):
        openvmas.similarity(wrong, codes, joined.folder)


def test_an_alignment_is_a_folder_of_its_own_and_knows_whose_codes_it_reads(run, tmp_path, monkeypatch):
    model = find_weights(export_debug(tmp_path / "model"))
    monkeypatch.setattr("openvmas.pretrained.PRESETS_FOLDER", tmp_path / "presets")
    with pytest.raises(ModelError, match="no alignment part"):
        find_alignment(model.folder)
    options = ExportOptions("alignment", "0.1", joint=str(run[0]), codes_of=str(model.folder), span=SPAN)
    export(None, None, model.folder / "alignment", options)
    alone = find_alignment(model.folder)
    assert set(alone.files) == {"video_encoder", "music_embedding"} and alone.name == "alignment"
    codes, picture = np.random.default_rng(1).integers(0, 64, (4, 100)), make_picture(100)
    found = openvmas.similarity(picture, codes, model.folder)
    exact = Aligner(alone, CodecRunner(model)).compare(picture, codes)
    assert found == exact
    other = replace(alone, sizes={"video": alone.sizes["video"], "alignment": {**alone.sizes["alignment"]}})
    other.sizes["alignment"]["codebooks_sha256"] = "0"
    with pytest.raises(ModelError, match="codes of another codec"):
        Aligner(other, CodecRunner(model))


def test_a_run_without_alignment_is_refused(tmp_path):
    with pytest.raises(ModelError, match=r"has no decoder\.pt"):
        export(None, None, tmp_path / "out", ExportOptions("a", "1", joint=str(tmp_path)))


def test_spans_leave_no_short_rest():
    assert list(spans(250, 100)) == [(0, 100), (100, 200), (200, 250)]
    assert list(spans(249, 100)) == [(0, 100), (100, 200)]
    assert list(spans(60, 200)) == [(0, 60)] and list(spans(49, 200)) == []
