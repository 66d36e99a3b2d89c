"""Alignment of picture and music: in meaning, by a contrastive objective, and in time, by their beats.

Meaning: the video encoder's embedding against `MusicEmbedding` of the decoder's own hidden states, InfoNCE in both
directions (van den Oord et al. 2018; CLIP, Radford et al. 2021), with a queue of past embeddings where a batch is small
(XBM, Wang et al. 2020) and hard negatives weighted up (Robinson et al. 2021). Time: the likelihood counts more where
visual and musical beats agree, and `OnsetHead` reads onsets off the decoder's states (loss of Beat This!, Foscarin et
al. 2024). VMAS names both strategies; how they are done here is our own design.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from openvmas.model.decoder import Decoder, normalize

FIRST_SCALE, MAX_SCALE = 1 / 0.07, 100.0  # inverse temperature: of CLIP
REACH = 3  # steps: 60 ms at 50 Hz, as in music.sync: an onset so near a visual beat is perceived as simultaneous
EVERY = 4  # steps that one part of a timed embedding stands for: 80 ms, about what is felt as simultaneous
BEFORE, AFTER = 1, 5  # steps around an agreed beat whose codes decide how its onset sounds


class MusicEmbedding(nn.Module):
    """Hidden states of the decoder over a clip [B, S, D] → one embedding [B, E] of length 1, by attention over steps.

    The states must come from `unconditioned_hidden`. States that saw the picture's condition, or curves made from the
    picture, would carry the picture itself, and the contrastive task would be solved without listening.
    """

    def __init__(self, width: int, embedding: int = 128, n_queries: int = 4) -> None:
        super().__init__()
        self.sizes = {"width": width, "embedding": embedding, "n_queries": n_queries}
        self.to_keys = nn.Linear(width, width)
        self.queries = nn.Parameter(torch.randn(n_queries, width) * width**-0.5)
        self.dropout = nn.Dropout(0.3)
        self.to_embedding = nn.Linear(n_queries * width, embedding)

    def forward(self, hidden: Tensor, n_steps: Tensor | None = None, chance: Tensor | None = None) -> Tensor:
        """hidden [B, S, D]; n_steps [B]: how many steps are valid (default all).

        chance [B]: seed of each clip's dropout in training; if left out PyTorch's own generator draws.
        """
        x = normalize(hidden)
        scores = torch.tanh(self.to_keys(x)) @ self.queries.T
        if n_steps is not None:
            past_end = torch.arange(hidden.shape[1], device=hidden.device) >= n_steps[:, None]
            scores = scores.masked_fill(past_end[..., None], -1e9)
        pooled = scores.softmax(1).to(x.dtype).transpose(1, 2) @ x
        kept = pooled.flatten(1)
        if chance is None:
            kept = self.dropout(kept)
        elif self.training:
            share = self.dropout.p
            kept = kept * (uniform(chance, kept.shape[1]) >= share) / (1 - share)
        return F.normalize(self.to_embedding(kept).float(), dim=-1)


def uniform(seeds: Tensor, n: int) -> Tensor:
    """Numbers in [0, 1) by seed and place alone: seeds [B] int64 → [B, n] float64.

    A generator's numbers depend on which other clips a process has; these do not, so that any number of processes drops
    the same. The mixing is that of SplitMix64 (Steele et al. 2014); integers wrap around.
    """
    x = seeds[:, None] * 0x5851F42D4C957F2D + torch.arange(1, n + 1, device=seeds.device) * -0x61C8864680B583EB
    for shift, factor in ((30, -0x40A7B892E31B1A47), (27, -0x6B2FB644ECCEEE15)):
        x = (x ^ (x >> shift & (1 << 64 - shift) - 1)) * factor
    return (x >> 11 & (1 << 53) - 1).double() / (1 << 53)


class TimedEmbedding(nn.Module):
    """States [B, S, D] → a short vector for every EVERY steps, joined into one [B, embedding * S // EVERY] of length 1.

    The product of two is how much both sides agree moment by moment: a contrastive loss on it asks when things happen,
    one on global embeddings asks what they are. What stays the same over the clip is taken away. Both sides need the
    same S. (Late interaction as in ColBERT, Khattab and Zaharia 2020, but with the pairing given by the clock.)
    """

    def __init__(self, width: int, embedding: int = 16) -> None:
        super().__init__()
        self.read = nn.Conv1d(width, embedding, 2 * EVERY, EVERY, padding=EVERY // 2)

    def forward(self, states: Tensor) -> Tensor:
        moments = self.read(states.transpose(1, 2)).float()
        return F.normalize((moments - moments.mean(-1, keepdim=True)).flatten(1), dim=-1)


class TimedMusic(nn.Module):
    """Hidden states of the decoder [B, S, D], from `unconditioned_hidden` → a timed embedding of the music's onsets.

    `read` finds onsets in the states and learns it from all music, with a picture or without; the embedding is made
    of those onsets alone. Made of the states themselves it memorises its training pieces within 300 steps
    and finds no others.
    """

    def __init__(self, width: int, embedding: int = 16, inner: int = 48, kernel: int = 9) -> None:
        super().__init__()
        self.first = nn.Conv1d(width, inner, kernel, padding=kernel // 2)
        self.second = nn.Conv1d(inner, inner, kernel, padding=kernel // 2)
        self.to_logit = nn.Linear(inner, 1)
        self.embed = TimedEmbedding(1, embedding)

    def read(self, hidden: Tensor) -> Tensor:
        """Logits [B, S] of an onset in the music at each step; unlike `OnsetHead` this sees the music that follows."""
        x = F.gelu(self.first(normalize(hidden).transpose(1, 2)))
        return self.to_logit((x + F.gelu(self.second(x))).transpose(1, 2))[..., 0]

    def forward(self, hidden: Tensor) -> Tensor:
        with torch.no_grad():
            onsets = self.read(hidden).sigmoid()
        return self.embed(onsets[..., None])


def timed_loss(video: Tensor, music: Tensor, scale: Tensor, embedding: int, least_shift: int = 4) -> Tensor:
    """InfoNCE of timed embeddings [B, embedding * N], nats, mean over this rank's rows.

    Negatives are the other clips, in both directions, and the clip's own music turned around in time by at least
    least_shift moments (a third of a second): these differ in time alone, by nothing that stays the same over a
    clip. Shifted pairs as negatives: Korbar et al. 2018; here all shifts at once, by their correlation.
    """
    total = contrastive_loss(video, music, scale)
    v, m = (torch.fft.rfft(x.unflatten(1, (embedding, -1)).float(), dim=-1) for x in (video, music))
    n_moments = video.shape[1] // embedding
    turned = scale * torch.fft.irfft((v.conj() * m).sum(1), n=n_moments, dim=-1)
    if n_moments <= 2 * least_shift:
        return total
    logits = torch.cat([turned[:, :1], turned[:, least_shift : n_moments - least_shift + 1]], dim=1)
    return (total + F.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.long, device=logits.device))) / 2


def unconditioned(decoder: Decoder, batch: int, n_steps: int) -> Tensor:
    """The null condition of the decoder [B, S, D], made of learned vectors alone."""
    config, weight = decoder.config, decoder.condition.mix.weight
    curves = weight.new_zeros(batch, n_steps, config.n_curves)
    semantics = weight.new_zeros(batch, n_steps, 2 * config.n_axes)
    nothing = weight.new_zeros(batch)
    return decoder.condition(curves, semantics, nothing, nothing)


def unconditioned_hidden(decoder: Decoder, tokens: Tensor) -> Tensor:
    """Unconditional states [B, S, D] of tokens [B, K, S]: the input of `MusicEmbedding`.

    State s has seen the tokens before s. Pooled over a clip they know all of its music but the last step.
    """
    return decoder.hidden(tokens, unconditioned(decoder, tokens.shape[0], tokens.shape[-1]))


class Temperature(nn.Module):
    """The learned inverse temperature of InfoNCE, between 1 and MAX_SCALE."""

    def __init__(self, first: float = FIRST_SCALE) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor(math.log(first)))

    def forward(self) -> Tensor:
        return self.log_scale.clamp(0, math.log(MAX_SCALE)).exp()


class EmbeddingQueue(nn.Module):
    """The last `size` pairs of embeddings, as further negatives (XBM, Wang et al. 2020: embeddings drift slowly)."""

    def __init__(self, size: int, embedding: int) -> None:
        super().__init__()
        self.video: Tensor
        self.music: Tensor
        self.labels: Tensor
        self.count: Tensor
        self.register_buffer("video", torch.zeros(size, embedding))
        self.register_buffer("music", torch.zeros(size, embedding))
        self.register_buffer("labels", torch.full((size,), -1))
        self.register_buffer("count", torch.zeros((), dtype=torch.long))

    @property
    def n_filled(self) -> int:
        return min(int(self.count), len(self.video))

    @torch.no_grad()
    def push(self, video: Tensor, music: Tensor, labels: Tensor) -> None:
        """Keep embeddings [B, E] and labels [B] in place of the oldest; of all ranks, so that queues stay the same."""
        video, music, labels = gather(video.detach()), gather(music.detach()), gather(labels)
        size = len(self.video)
        places = (self.count + torch.arange(len(video), device=video.device))[-size:] % size
        self.video[places], self.music[places] = video[-size:].to(self.video), music[-size:].to(self.music)
        self.labels[places] = labels[-size:]
        self.count += len(video)


def is_distributed() -> bool:
    """Whether there are several processes."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


class _Gather(torch.autograd.Function):
    """All ranks' rows, in order of rank; the gradient of a row is the sum of what all ranks have for it."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.length = len(x)
        parts = [torch.empty_like(x) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, x.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].contiguous().clone()
        dist.all_reduce(total)
        return total.narrow(0, dist.get_rank() * ctx.length, ctx.length)


def gather(x: Tensor) -> Tensor:
    """x [B, ...] of every rank [ranks * B, ...] with gradients, or x itself where there is one process.

    Every rank must have as many rows.
    """
    return _Gather.apply(x) if is_distributed() else x


def contrastive_loss(
    video: Tensor, music: Tensor, scale: Tensor, labels: Tensor | None = None, queue: EmbeddingQueue | None = None,
    hardness: float = 0.0,
) -> Tensor:  # fmt: skip
    """Symmetric InfoNCE, nats, mean over this rank's rows; averaged over ranks (as DDP does) it is that of all rows.

    video, music [B, E] of length 1, row by row of one clip; scale: inverse temperature. labels [B]: rows with equal
    ones (the same piece) are no negatives of each other. queue: negatives beside those of the batch. hardness: how
    much harder negatives count, in proportion to exp(hardness * logit) with a mean weight of 1 (0: all the same).
    """
    own = torch.arange(len(video), device=video.device)
    if is_distributed():
        own = own + dist.get_rank() * len(video)
    labels = own if labels is None else labels
    all_video, all_music, all_labels = gather(video), gather(music), gather(labels)
    if queue is not None:
        n = queue.n_filled
        all_video, all_music = (torch.cat([a, b[:n]]) for a, b in ((all_video, queue.video), (all_music, queue.music)))
        all_labels = torch.cat([all_labels, queue.labels[:n]])
    is_same = labels[:, None] == all_labels
    is_same.scatter_(1, own[:, None], False)
    total = video.new_zeros(())
    for rows, columns in ((video, all_music), (music, all_video)):
        logits = (scale * rows @ columns.T).masked_fill(is_same, -torch.inf)
        total = total + F.cross_entropy(_harden(logits, own, hardness) if hardness else logits, own) / 2
    return total


def _harden(logits: Tensor, own: Tensor, hardness: float) -> Tensor:
    """Logits [B, N] with the logarithm of each negative's weight added (Robinson et al. 2021, held constant)."""
    given = logits.detach()
    is_negative = torch.isfinite(given).scatter(1, own[:, None], False)
    wanted = (hardness * given).masked_fill(~is_negative, -torch.inf)
    mean = wanted.logsumexp(1, keepdim=True) - is_negative.sum(1, keepdim=True).clamp_min(1).log()
    return logits + torch.where(is_negative, wanted - mean, 0)


def retrieval_ranks(video: Tensor, music: Tensor) -> Tensor:
    """Number of other pieces that are nearer to a picture than its own: [B], 0 where it is found.

    A piece that is just as near counts half, so that embeddings which are all the same find nothing.
    """
    return ranks_of(video.float() @ music.float().T)


def ranks_of(similarity: Tensor) -> Tensor:
    """Ranks as in `retrieval_ranks`, from similarities [B, B] whose diagonal belongs together."""
    own = similarity.diagonal()[:, None]
    return (similarity > own).sum(1) + ((similarity == own).sum(1) - 1) / 2


def max_pool_time(curve: Tensor, before: int, after: int) -> Tensor:
    """The greatest value of curve [B, T] between `before` steps earlier and `after` later: [B, T]."""
    return F.max_pool1d(F.pad(curve[:, None], (before, after), value=-torch.inf), before + after + 1, 1)[:, 0]


def agreement(visual: Tensor, musical: Tensor) -> Tensor:
    """Agreement of picture and music at each musical beat: [B, T] in [0, 1], 0 between musical beats.

    visual, musical: [B, T], strengths in [0, 1] at the steps of beats, 0 elsewhere. The geometric mean of both where a
    visual beat is within REACH.
    """
    return (max_pool_time(visual, REACH, REACH) * musical).clamp_min(0).sqrt()


def agreement_weights(visual: Tensor, musical: Tensor, gain: float = 2.0) -> Tensor:
    """Loss weights [B, T], raised by up to `gain` from BEFORE to AFTER steps around beats on which both agree.

    visual, musical: as in `agreement`. The mean of each row is 1: the weights move the loss and do not scale it.
    """
    weights = 1 + gain * max_pool_time(agreement(visual, musical), AFTER, BEFORE)
    return weights / weights.mean(1, keepdim=True)


def delayed(weights: Tensor, n_codebooks: int, n_steps: int) -> Tensor:
    """Weights of codec steps [B, T] as those of tokens after the delay pattern: [B, K, n_steps], ends held."""
    places = torch.arange(n_steps, device=weights.device) - torch.arange(n_codebooks, device=weights.device)[:, None]
    return weights[:, places.clamp(0, weights.shape[1] - 1)]


class OnsetHead(nn.Module):
    """Hidden states [B, S, D] → logits [B, S] of an onset at each step.

    State s knows the music before step s and the condition, so this asks for the decision to place an onset here.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.to_logit = nn.Linear(width, 1)

    def forward(self, hidden: Tensor) -> Tensor:
        return self.to_logit(normalize(hidden))[..., 0]


def onset_loss(logits: Tensor, onsets: Tensor, weights: Tensor, tolerance: int = 2, positive: float = 4.0) -> Tensor:
    """Binary cross-entropy that forgives `tolerance` steps, nats per step (Beat This!, Foscarin et al. 2024).

    logits, onsets (0 or 1), weights (of each step's loss): [B, T]. An onset is met by the best logit within the
    tolerance; steps that could meet one (twice as far) are not asked to be silent. positive: weight of onsets.
    """
    near = max_pool_time(onsets, 2 * tolerance, 2 * tolerance)
    met = F.logsigmoid(max_pool_time(logits.float(), tolerance, tolerance))
    silent = F.logsigmoid(-logits.float())
    return -(weights * (positive * onsets * met + (1 - near) * silent)).mean()
