"""Alignment: no leak from picture to music, InfoNCE by closed form, queue, ranks, beats and onsets."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
import torch.nn.functional as F

from openvmas.model.alignment import (
    EVERY,
    MAX_SCALE,
    EmbeddingQueue,
    MusicEmbedding,
    OnsetHead,
    Temperature,
    TimedEmbedding,
    agreement_weights,
    contrastive_loss,
    delayed,
    gather,
    max_pool_time,
    onset_loss,
    retrieval_ranks,
    timed_loss,
    unconditioned_hidden,
    uniform,
)
from openvmas.model.decoder import DECODER_PRESETS, Decoder

pytestmark = pytest.mark.slow


def units(n: int, seed: int, width: int = 8) -> torch.Tensor:
    return F.normalize(torch.randn(n, width, generator=torch.Generator().manual_seed(seed)), dim=-1)


@pytest.fixture
def decoder() -> Decoder:
    torch.manual_seed(0)
    decoder = Decoder(DECODER_PRESETS["debug"]).eval()
    for parameter in decoder.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return decoder


def test_music_side_knows_the_tokens_and_nothing_else(decoder):
    """The trap: pooled from states that saw the condition, music would carry its picture."""
    pool = MusicEmbedding(decoder.config.width, 16).eval()
    tokens = torch.randint(0, 64, (3, 4, 30))
    conditions = [torch.randn(3, 30, decoder.config.width) for _ in range(2)]
    leaking = [pool(decoder.hidden(tokens, condition)) for condition in conditions]
    assert not torch.allclose(*leaking, atol=1e-2)  # what would be wrong, shows
    heard = pool(unconditioned_hidden(decoder, tokens))
    with torch.no_grad():  # all that a condition is computed from
        for layer in (decoder.condition.events_in, decoder.condition.meaning_in, decoder.condition.form_in):
            layer.weight.normal_()
            layer.bias.normal_()
    assert torch.equal(heard, pool(unconditioned_hidden(decoder, tokens)))
    assert not torch.allclose(heard, pool(unconditioned_hidden(decoder, tokens.flip(-1))), atol=1e-3)
    assert torch.allclose(heard.norm(dim=-1), torch.ones(3), atol=1e-5)


def test_hidden_states_give_the_logits(decoder):
    tokens, condition = torch.randint(0, 64, (2, 4, 20)), torch.randn(2, 20, decoder.config.width)
    assert torch.equal(decoder.predict(decoder.hidden(tokens, condition)), decoder(tokens, condition))


def test_steps_past_the_end_are_not_pooled():
    torch.manual_seed(0)
    pool = MusicEmbedding(12, 6).eval()
    hidden = torch.randn(2, 9, 12)
    cut = pool(hidden[:, :5])
    noisy = hidden.clone()
    noisy[:, 5:] = 50
    assert torch.allclose(pool(noisy, torch.tensor([5, 5])), cut, atol=1e-6)


def test_timed_embeddings_ask_when_and_not_what():
    torch.manual_seed(0)
    side, states = TimedEmbedding(12, 4), torch.randn(1, 200, 12)
    own = side(states)
    assert own.shape == (1, 200 // EVERY * 4) and own.norm().item() == pytest.approx(1, abs=1e-5)
    assert abs(own @ side(states.roll(50, 1)).T) < 0.4  # the same things a second later
    steady = torch.randn(1, 1, 12).expand(1, 200, 12)
    with torch.no_grad():
        moments = side.read(steady.transpose(1, 2))
    assert torch.allclose(moments[..., 2:-2], moments[..., 2:3], atol=1e-5)  # nothing happens: only the ends are left
    shifted = side(states.roll(EVERY, 1)).view(4, -1)
    assert F.cosine_similarity(shifted[:, 3:-2].flatten(), own.view(4, -1)[:, 2:-3].flatten(), dim=0) > 0.99


def test_infonce_closed_forms():
    scale = torch.tensor(10.0)
    one_hot = torch.eye(4)
    perfect = math.log(1 + 3 * math.exp(-10.0))
    assert contrastive_loss(one_hot, one_hot, scale).item() == pytest.approx(perfect, rel=1e-3)
    same = torch.ones(4, 4) / 2
    assert contrastive_loss(same, same, scale).item() == pytest.approx(math.log(4))  # nothing known
    video, music = units(5, 1), units(5, 2)
    logits = 10 * video.double() @ music.double().T
    by_hand = -(logits.log_softmax(1).diagonal().mean() + logits.log_softmax(0).diagonal().mean()) / 2
    assert contrastive_loss(video, music, scale).item() == pytest.approx(by_hand.item(), rel=1e-5)


def test_pieces_are_no_negatives_of_themselves():
    video, music = units(4, 1), units(4, 2)
    labels = torch.tensor([7, 7, 8, 9])
    logits = (10 * video @ music.T).double()
    total = 0.0
    for table in (logits, logits.T):
        for i in range(4):
            negatives = [table[i, j] for j in range(4) if labels[j] != labels[i]]
            total += torch.logsumexp(torch.stack([table[i, i], *negatives]), 0) - table[i, i]
    found = contrastive_loss(video, music, torch.tensor(10.0), labels)
    assert found.item() == pytest.approx(float(total) / 8, rel=1e-5)


def test_hard_negatives_weigh_more_by_closed_form():
    video, music, scale = units(6, 1), units(6, 2), torch.tensor(5.0)
    total = 0.0
    for table in (5 * video @ music.T, 5 * music @ video.T):
        for i in range(6):
            negatives = torch.stack([table[i, j] for j in range(6) if j != i]).double()
            weights = (0.7 * negatives).exp()
            weights = weights / weights.mean()
            total += torch.log(1 + (weights * (negatives - table[i, i]).exp()).sum()).item()
    assert contrastive_loss(video, music, scale, hardness=0.7).item() == pytest.approx(total / 12, rel=1e-5)
    assert contrastive_loss(video, music, scale, hardness=0.7) > contrastive_loss(video, music, scale)
    lonely = contrastive_loss(video[:1], music[:1], scale, hardness=0.7)  # no negative at all
    assert lonely.item() == 0


def test_queue_gives_the_loss_of_a_larger_batch():
    video, music, scale = units(6, 1), units(6, 2), torch.tensor(10.0)
    queue = EmbeddingQueue(16, 8)
    queue.push(video[:4], music[:4], torch.arange(4))
    found = contrastive_loss(video[4:], music[4:], scale, torch.tensor([4, 5]), queue)
    own = torch.tensor([4, 5])
    expected = (F.cross_entropy(10 * video[4:] @ music.T, own) + F.cross_entropy(10 * music[4:] @ video.T, own)) / 2
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)


def test_queue_keeps_the_newest():
    queue = EmbeddingQueue(4, 8)
    rows = units(11, 3)
    for i in range(0, 9, 3):
        queue.push(rows[i : i + 3], -rows[i : i + 3], torch.arange(i, i + 3))
    assert queue.n_filled == 4 and sorted(queue.labels.tolist()) == [5, 6, 7, 8]
    assert torch.equal(queue.video[queue.labels == 7], rows[7:8])
    queue.push(rows[:6], rows[:6], torch.arange(20, 26))  # more than it holds
    assert sorted(queue.labels.tolist()) == [22, 23, 24, 25]
    again = EmbeddingQueue(4, 8)
    again.load_state_dict(queue.state_dict())
    assert torch.equal(again.music, queue.music) and again.n_filled == 4


def test_temperature_is_learned_and_bounded():
    temperature = Temperature()
    assert temperature().item() == pytest.approx(1 / 0.07, rel=1e-5)
    contrastive_loss(units(4, 1), units(4, 1), temperature()).backward()
    assert temperature.log_scale.grad is not None and temperature.log_scale.grad < 0  # alike: sharper is better
    with torch.no_grad():
        temperature.log_scale.fill_(20)
    assert temperature().item() == pytest.approx(MAX_SCALE)


def two_linear(batch: int) -> tuple[torch.nn.Linear, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    return torch.nn.Linear(8, 8), torch.randn(batch, 8), torch.randn(batch, 8)


def loss_of(layer: torch.nn.Linear, video: torch.Tensor, music: torch.Tensor) -> torch.Tensor:
    seen, heard = F.normalize(layer(video), dim=-1), F.normalize(layer(music), dim=-1)
    return contrastive_loss(seen, heard, torch.tensor(10.0), hardness=0.5)


def one_rank(rank: int, folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    layer, video, music = two_linear(6)
    own = slice(3 * rank, 3 * rank + 3)
    loss = loss_of(layer, video[own], music[own])
    loss.backward()
    for parameter in layer.parameters():  # what DDP does
        assert parameter.grad is not None
        dist.all_reduce(parameter.grad)
        parameter.grad /= 2
    dist.all_reduce(loss.detach_())
    queue = EmbeddingQueue(8, 8)
    queue.push(video[own], music[own], torch.arange(6)[own])
    if rank == 0:
        found = {"loss": loss / 2, "weight": layer.weight.grad, "queue": queue.video[:6]}
        torch.save(found, f"{folder}/found.pt")
    dist.destroy_process_group()


def test_two_processes_are_as_one(tmp_path: Path):
    mp.spawn(one_rank, (str(tmp_path),), nprocs=2)
    found = torch.load(tmp_path / "found.pt", weights_only=True)
    layer, video, music = two_linear(6)
    loss = loss_of(layer, video, music)
    loss.backward()
    assert layer.weight.grad is not None
    assert found["loss"].item() == pytest.approx(loss.item(), rel=1e-5)
    assert torch.allclose(found["weight"], layer.weight.grad, atol=1e-6)
    assert torch.equal(found["queue"], video)


def test_one_process_gathers_nothing():
    x = units(3, 1)
    assert gather(x) is x


def test_ranks_of_retrieval():
    video = torch.eye(3)
    music = torch.tensor([[1.0, 0, 0], [0, 0.5, 0], [0, 0.9, 0.1]])
    assert retrieval_ranks(video, music).tolist() == [0, 1, 0]


def test_spread_reaches_as_far_as_it_says():
    curve = torch.zeros(1, 12)
    curve[0, 5] = 0.8
    assert max_pool_time(curve, 1, 3)[0].nonzero().flatten().tolist() == [2, 3, 4, 5, 6]


def test_weights_rise_only_where_both_agree():
    visual, musical = torch.zeros(2, 100), torch.zeros(2, 100)
    visual[:, [20, 60]] = 1
    musical[0, [22, 40]] = 1  # 22 answers 20; 40 and 60 stand alone
    weights = agreement_weights(visual, musical, gain=2.0)
    raised = (weights[0] > weights[0].min()).nonzero().flatten().tolist()
    assert raised == list(range(21, 28))
    assert (weights[0, 22] / weights[0, 0]).item() == pytest.approx(3)
    assert torch.allclose(weights.mean(1), torch.ones(2)) and torch.equal(weights[1], torch.ones(100))
    assert torch.equal(agreement_weights(visual, musical, 0.0), torch.ones(2, 100))


def test_weights_follow_the_delay_pattern():
    weights = torch.arange(5.0)[None]
    assert delayed(weights, 3, 7)[0].tolist() == [
        [0, 1, 2, 3, 4, 4, 4], [0, 0, 1, 2, 3, 4, 4], [0, 0, 0, 1, 2, 3, 4]
    ]  # fmt: skip


def test_onset_loss_forgives_what_is_near_and_nothing_else():
    onsets, even = torch.zeros(1, 60), torch.ones(1, 60)
    onsets[0, [20, 40]] = 1

    def loss(places: list[int]) -> float:
        logits = torch.full((1, 60), -9.0)
        logits[0, places] = 9
        return onset_loss(logits, onsets, even, tolerance=2).item()

    assert loss([20, 40]) == pytest.approx(loss([22, 38]), abs=1e-6) and loss([20, 40]) < 1e-3
    assert loss([20, 46]) > 0.5  # one missed, one false
    assert loss([20]) == pytest.approx(4 * 9 / 60, abs=0.01)  # a miss costs `positive`
    flat = onset_loss(torch.zeros(1, 60), onsets, even, tolerance=0).item()
    assert flat == pytest.approx((4 * 2 + 58) * math.log(2) / 60, rel=1e-5)


def test_onset_head_learns_from_states():
    torch.manual_seed(0)
    head, hidden = OnsetHead(8), torch.randn(4, 50, 8)
    onsets = (hidden[..., 0] > 1.5).float()
    optimizer = torch.optim.Adam(head.parameters(), lr=0.1)
    for _ in range(60):
        optimizer.zero_grad()
        loss = onset_loss(head(hidden), onsets, torch.ones(4, 50), tolerance=0)
        loss.backward()
        optimizer.step()
    found = head(hidden) > 0
    assert (found == (onsets > 0)).float().mean() > 0.95


def test_timed_loss_tells_when_even_with_one_clip() -> None:
    generator = torch.Generator().manual_seed(0)
    moments = torch.randn(1, 3, 40, generator=generator)
    same, late = (F.normalize(x.flatten(1), dim=-1) for x in (moments, moments.roll(10, dims=-1)))
    scale = torch.tensor(20.0)
    assert timed_loss(same, same, scale, 3) < 0.01 < 5 < timed_loss(same, late, scale, 3)
    # Every shift by hand.
    turned = [(same.unflatten(1, (3, 40)) * moments_at(late, s)).sum() for s in [0, *range(4, 37)]]
    expected = F.cross_entropy(20 * torch.stack(turned)[None], torch.zeros(1, dtype=torch.long)) / 2
    torch.testing.assert_close(timed_loss(same, late, scale, 3), expected)


def moments_at(embedded: torch.Tensor, shift: int) -> torch.Tensor:
    return embedded.unflatten(1, (3, 40)).roll(-shift, dims=-1)


def test_dropout_by_the_seed_of_a_clip_does_not_know_its_neighbours() -> None:
    """The masks of several processes together are those of one."""
    seeds = torch.tensor([3, -5, 2**62 - 1, 3])
    found = uniform(seeds, 4000)
    assert torch.equal(found[0], found[3]) and torch.equal(found[1:2], uniform(seeds[1:2], 4000))
    assert found.min() >= 0 and found.max() < 1
    assert abs(found.mean() - 0.5) < 0.02 and abs(found.var() - 1 / 12) < 0.005
    assert abs(torch.corrcoef(found[:3]) - torch.eye(3)).max() < 0.06
    pool, hidden = MusicEmbedding(12, 6).train(), torch.randn(4, 20, 12)
    torch.testing.assert_close(pool(hidden, chance=seeds)[2:], pool(hidden[2:], chance=seeds[2:]))
    assert not torch.allclose(pool(hidden[:1], chance=seeds[:1]), pool(hidden[:1], chance=seeds[1:2]))
    torch.testing.assert_close(pool.eval()(hidden, chance=seeds), pool(hidden))
