import numpy as np
import pytest
import torch

from openvmas.generate.pattern import delay, undelay
from openvmas.model.decoder import DECODER_PRESETS, CachedDecoder, Decoder, attend, load_decoder, save_decoder


@pytest.fixture
def decoder() -> Decoder:
    torch.manual_seed(0)
    decoder = Decoder(DECODER_PRESETS["debug"]).eval()
    for parameter in decoder.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return decoder


def told(decoder: Decoder, n_steps: int, events: float = 1.0, meaning: float = 1.0) -> torch.Tensor:
    torch.manual_seed(1)
    config = decoder.config
    curves, semantics = torch.randn(2, n_steps, config.n_curves), torch.randn(2, n_steps, 2 * config.n_axes)
    return decoder.condition(curves, semantics, torch.full((2,), events), torch.full((2,), meaning))


def test_delay_pattern_round_trip():
    codes = np.arange(24).reshape(3, 8)
    tokens = delay(codes, empty=99)
    assert tokens.shape == (3, 10)
    assert tokens[:, 0].tolist() == [0, 99, 99] and tokens[:, -1].tolist() == [99, 99, 23]
    assert np.array_equal(undelay(tokens), codes)


@pytest.mark.parametrize("length", [5, 16, 37])
def test_blockwise_attention_equals_masked_attention(length):
    torch.manual_seed(0)
    q, k, v = (torch.randn(2, 3, length, 8) for _ in range(3))
    window = 8
    age = torch.arange(length)[:, None] - torch.arange(length)
    scores = (q @ k.transpose(-1, -2) / 8**0.5).masked_fill((age < 0) | (age >= window), -torch.inf)
    assert torch.allclose(attend(q, k, v, window), scores.softmax(-1) @ v, atol=1e-6)


def test_logits_do_not_see_the_present_or_the_future(decoder):
    tokens = torch.randint(0, 64, (2, 4, 30))
    condition = told(decoder, 30)
    changed = tokens.clone()
    changed[:, :, 20:] = 0
    a, b = decoder(tokens, condition), decoder(changed, condition)
    assert torch.equal(a[:, :, :21], b[:, :, :21])
    assert not torch.equal(a[:, :, 21:], b[:, :, 21:])


def test_one_step_at_a_time_with_ring_cache_equals_the_whole(decoder):
    config = decoder.config
    n_steps = 3 * config.wide  # the rings go round
    tokens = torch.randint(0, 64, (2, 4, n_steps))
    condition = told(decoder, n_steps)
    whole = decoder(tokens, condition)
    cached, last = CachedDecoder(decoder, 2), torch.full((2, 4), config.codebook_size)
    for step in range(n_steps):
        assert torch.allclose(cached.step(last, condition[:, step]), whole[:, :, step], atol=1e-4)
        last = tokens[:, :, step]


def test_dropped_parts_of_the_condition_have_no_influence(decoder):
    config = decoder.config
    curves, semantics = torch.randn(1, 50, config.n_curves), torch.randn(1, 50, 2 * config.n_axes)
    off, on = torch.zeros(1), torch.ones(1)
    is_event = decoder.condition.is_event
    other = curves + is_event  # only events differ
    assert torch.equal(decoder.condition(curves, semantics, off, on), decoder.condition(other, semantics, off, on))
    assert not torch.equal(decoder.condition(curves, semantics, on, on), decoder.condition(other, semantics, on, on))
    assert torch.equal(decoder.condition(curves, semantics, on, off), decoder.condition(curves, semantics + 1, on, off))


def test_checkpoint_carries_its_sizes(decoder, tmp_path):
    save_decoder(decoder, str(tmp_path / "decoder.pt"))
    again = load_decoder(str(tmp_path / "decoder.pt"))
    tokens = torch.randint(0, 64, (2, 4, 12))
    assert torch.equal(again(tokens, told(again, 12)), decoder(tokens, told(decoder, 12)))
