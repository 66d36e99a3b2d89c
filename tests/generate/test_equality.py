"""ONNX and PyTorch are one model: the same logits and the same codes in fp32, and 8-bit weights cost little."""

import numpy as np
import onnx
import pytest
import torch
from int8_weights import expand, negative_log_likelihood

from openvmas.generate.batch_decoder import Engine
from openvmas.generate.pattern import undelay
from openvmas.model.decoder import Decoder
from openvmas.pretrained import find_weights
from openvmas.train.export.export_model import ExportOptions, export
from tests.generate.made import make_condition, make_models

STEPS = 120


def train_a_little(decoder: Decoder) -> Decoder:
    """A decoder with weights as training leaves them: it learns a few melodies by heart."""
    torch.manual_seed(1)
    tokens = torch.randint(0, 64, (4, 4, 60))
    optimizer = torch.optim.Adam(decoder.parameters(), 3e-3)
    for _ in range(60):
        logits = decoder(tokens, torch.zeros(4, 60, decoder.config.width))
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 2), tokens.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 3.5  # log(64) is 4.16
    return decoder


@pytest.fixture(scope="module", params=["random", "trained"])
def pair(request, tmp_path_factory) -> tuple[Decoder, Engine]:
    codec, decoder = make_models()
    if request.param == "trained":
        decoder = train_a_little(Decoder(decoder.config)).eval()
    folder = tmp_path_factory.mktemp(request.param)
    export(codec, decoder, folder, ExportOptions("debug", "0", 32))
    return decoder, Engine(find_weights(folder))


def condition_of(engine: Engine) -> np.ndarray:
    return np.concatenate(list(engine.encode_condition(make_condition(STEPS), True, True)))


def test_the_same_logits(pair):
    decoder, engine = pair
    condition = condition_of(engine)
    tokens = torch.randint(0, 64, (1, 4, STEPS), generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        expected = decoder(tokens, torch.from_numpy(condition[None])).numpy()
    state, last = engine.start(2), np.full((2, 4), 64)
    for step in range(STEPS):  # longer than the widest window: the rings go round
        logits = engine.step(state, last, condition[[step, step]])
        assert np.abs(logits - expected[:, :, step]).max() < 2e-5 * np.abs(expected).max()
        last = np.repeat(tokens[:, :, step].numpy(), 2, axis=0)


def test_the_same_codes_when_the_likeliest_is_taken(pair):
    decoder, engine = pair
    condition = condition_of(engine)
    state, last = engine.start(1), np.full((1, 4), 64)
    tokens = torch.full((1, 4, STEPS), 64)
    written = []
    for step in range(STEPS):
        last = engine.step(state, last, condition[step : step + 1]).argmax(-1)
        written.append(last)
        with torch.no_grad():  # PyTorch goes on from its own choices
            logits = decoder(tokens[..., : step + 1], torch.from_numpy(condition[None, : step + 1]))
        tokens[..., step] = logits[:, :, step].argmax(-1)
    assert np.array_equal(undelay(np.stack(written, axis=2)), undelay(tokens.numpy()))


def test_8_bit_weights_cost_at_most_a_hundredth_of_the_likelihood(tmp_path):
    codec, decoder = make_models()
    decoder = train_a_little(Decoder(decoder.config)).eval()
    engines = []
    for bits in (32, 8):
        export(codec, decoder, tmp_path / str(bits), ExportOptions("debug", "0", bits))
        engines.append(Engine(find_weights(tmp_path / str(bits))))
    condition = np.zeros((60, decoder.config.width), np.float32)
    torch.manual_seed(1)
    codes = undelay(torch.randint(0, 64, (4, 4, 60))[0].numpy())  # one of the learned melodies
    exact, rounded = (negative_log_likelihood(engine, codes, condition) for engine in engines)
    assert exact < 3.6 and abs(rounded / exact - 1) < 0.01


def test_expanded_weights_are_those_of_the_blocks(tmp_path):
    codec, decoder = make_models()
    export(codec, decoder, tmp_path / "a", ExportOptions("debug", "0"))
    wide = expand(onnx.load(str(tmp_path / "a" / "decoder.onnx")))
    values = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in wide.graph.initializer}
    weight = next(value for name, value in values.items() if name.startswith("heads"))
    expected = decoder.heads.weight.detach().numpy().T
    assert weight.shape == expected.shape
    assert np.abs(weight - expected).max() < 0.01 * np.abs(expected).max()
    assert not any(node.op_type == "MatMulNBits" for node in wide.graph.node)
