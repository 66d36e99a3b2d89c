"""The joint model: decoder, video encoder and the heads that align them; its losses and gradients over a batch.

The pass through the networks (`forward`) and the contrastive loss of its embeddings (`contrastive`) are apart, so that
a batch may go through at once, in parts one after the other, and over several processes (`add_gradients`). In parts,
embeddings are computed first without gradients, their contrastive loss is that of the whole batch, and its gradients go
back part by part in a second pass (GradCache, Gao et al. 2021): the number of negatives is that of the batch while the
memory is that of a part. Over processes the same holds by `model.alignment.gather`. Losses and gradients are those of
the whole batch in one process, up to rounding.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from openvmas.errors import InputError
from openvmas.hub.musicgen import MusicGenDecoder
from openvmas.model import alignment
from openvmas.model.decoder import DECODER_PRESETS, Decoder
from openvmas.model.video_encoder import KINDS, VIDEO_PRESETS, Encoded, VideoEncoder, VideoEncoderConfig
from openvmas.settings import option
from openvmas.train.distributed import World
from openvmas.train.joint.pairs import PairBatch
from openvmas.train.loop import SequenceRecipe


@dataclass(frozen=True)
class JointRecipe(SequenceRecipe):
    """Settings of a joint run."""

    video: str = option("encoder", "Kind of the video encoder, or none.", choices=(*KINDS, "none"))
    freeze_decoder: bool = option(False, "Keep the decoder as it is, and train only what stands around it.")
    gated: bool = option(False, "Let what the video encoder adds begin at zero, with a learned gain for every channel.")
    features_alone: bool = option(False, "Let the video encoder see features of frames alone, and no motion or cuts.")
    picture_events: float = option(
        0.5, "Share of the pairs whose events are the picture's, as a plan has them; the others' are the music's.",
        min=0, max=1,
    )  # fmt: skip
    fps: float = option(2.0, "Frames per second that the video encoder is given.", min=0.1, max=60)
    events_fps: float = option(
        0.0, "Pictures per second that the event curves are computed from; 0: as analysed (needs --pools).",
        min=0, max=60,
    )  # fmt: skip
    batch: int = option(12, "Clips in a batch, over all processes.", min=1)
    accumulate: int = option(1, "Parts in which a process computes its batch: the same gradients, less memory.", min=1)
    share_music: float = option(0.5, "Share of the batch: music without a picture.", min=0)
    share_montage: float = option(0.5, "Share of the batch: music with montages that were cut to it.", min=0)
    share_real: float = option(0.0, "Share of the batch: videos with their own music (needs --shards).", min=0)
    share_weak: float = option(0.0, "Share of the batch: music with pictures that fit its tags (needs --bank).", min=0)
    contrastive_weight: float = option(0.2, "Weight of InfoNCE between global embeddings, for meaning.", min=0)
    timed_weight: float = option(0.1, "Weight of InfoNCE between timed embeddings, for timing.", min=0)
    reading_weight: float = option(1.0, "Weight of reading onsets off all music, for its timed embeddings.", min=0)
    stand_in_weight: float = option(
        0.0, "Weight of InfoNCE between music and the curves that stand in for a picture.", min=0
    )
    hardness: float = option(
        0.3, "Concentration of InfoNCE on similar negatives (0: all count the same).", min=0, max=5
    )
    queue: int = option(512, "Past pairs that serve as negatives.", min=1)
    beat_weighting: float = option(1.0, "Extra weight of the likelihood where picture and music agree.", min=0, max=100)
    onset_weight: float = option(0.1, "Weight of the head that reads onsets off the decoder's states.", min=0)
    uncond_weight: float = option(0.25, "Weight of the unconditional likelihood; the conditional has 1.", min=0, max=10)
    learning_rate: float = option(1e-3, "Peak learning rate.", min=0, max=1)
    warmup: int = option(100, "Steps over which the learning rate rises.", min=1)
    drop_picture: float = option(0.12, "Share of the clips without conditioning on the picture.", min=0, max=1)
    drop_all: float = option(0.1, "Share of the clips without any conditioning.", min=0, max=1)
    only_picture: float = option(0.4, "Share of the pairs that are conditioned on the picture alone.", min=0, max=1)
    test_pairs: int = option(64, "Held-out pairs that are measured on.", min=1)
    save_every: int = option(200, "Steps between measurements and checkpoints.", min=1)
    precision: str = option("auto", "auto: bf16 on a GPU, fp32 on a CPU.", choices=("auto", "bf16", "fp32"))


EVERYTHING = JointRecipe(stand_in_weight=1.0)  # to measure with: no side is left out


@dataclass(frozen=True)
class Losses:
    """Losses of a batch, nats. codebooks [K]: conditional likelihood, unweighted; total: with all weights.

    contrastive, onset and reading are 0 where the recipe leaves them out.
    """

    total: Tensor
    codebooks: Tensor
    contrastive: Tensor
    onset: Tensor
    reading: Tensor


class PairEmbeddings(NamedTuple):
    """Embeddings [n, E] of length 1 of n clips, pairs first, and inverse temperatures.

    The timed ones are of the pairs only. None where the recipe has no use for them.
    """

    video: Tensor | None = None
    music: Tensor | None = None
    timed_video: Tensor | None = None
    timed_music: Tensor | None = None
    scale: Tensor | None = None
    timed_scale: Tensor | None = None


class PassOutput(NamedTuple):
    """Results of one pass. likelihood: weighted sum; onset, reading: means over the clips.

    codebooks [2, K]: sums of the conditional likelihood, unweighted, and the number of tokens in each.
    """

    likelihood: Tensor
    codebooks: Tensor
    onset: Tensor
    reading: Tensor
    embeddings: PairEmbeddings


class LossWeights(NamedTuple):
    """Weights of the likelihood of every token [n cond + n uncond, K, S], and of every step [n, S]."""

    tokens: Tensor
    beats: Tensor


def video_sizes(recipe: JointRecipe, out_width: int, feature_width: int | None) -> VideoEncoderConfig:
    """Sizes of a new video encoder. out_width: of the decoder; feature_width: that of the preset where None."""
    sizes = VIDEO_PRESETS[recipe.preset]
    return replace(
        sizes, kind=recipe.video, fps=recipe.fps, out_width=out_width, is_gated=recipe.gated,
        feature_width=feature_width or sizes.feature_width,
    )  # fmt: skip


class JointModel(nn.Module):
    """Decoder, video encoder and alignment heads. video is None where the recipe says so."""

    def __init__(
        self, recipe: JointRecipe, decoder: Decoder | MusicGenDecoder | None = None, feature_width: int | None = None,
        video: VideoEncoder | None = None,
    ) -> None:  # fmt: skip
        """video: the encoder to go on with, in place of a new one of the preset's sizes."""
        super().__init__()
        if recipe.video not in (*KINDS, "none"):
            raise InputError(f"--video is {', '.join(KINDS)} or none, not {recipe.video}.")
        self.decoder: Any = decoder or Decoder(DECODER_PRESETS[recipe.preset])
        width = self.decoder.config.width
        if video is not None or recipe.video == "none":
            self.video = video
        else:
            self.video = VideoEncoder(video_sizes(recipe, width, feature_width))
        sizes = VIDEO_PRESETS[recipe.preset] if self.video is None else self.video.config
        if recipe.freeze_decoder:
            self.decoder.requires_grad_(False)
        if self.video is not None and recipe.features_alone:
            self.video.shut_out_motion()
        self.music = alignment.MusicEmbedding(width, sizes.embedding)
        self.onsets = alignment.OnsetHead(width)
        self.video_timed, self.music_timed = alignment.TimedEmbedding(sizes.motion_width), alignment.TimedMusic(width)
        self.temperature, self.timed_temperature = alignment.Temperature(), alignment.Temperature()
        self.queue = alignment.EmbeddingQueue(recipe.queue, sizes.embedding)

    @property
    def learned_layers(self) -> list[nn.Module]:
        """Lists of layers whose matrices Muon optimises."""
        return [self.decoder.layers, *([self.video.layers] if self.video is not None else [])]

    def cond(self, batch: PairBatch, keep: Tensor) -> tuple[Tensor, Encoded | None]:
        """The decoder's condition [B, S, D] and the output of the video encoder.

        keep [3, B] of 0 or 1: whether events, meaning and picture are in the condition.
        """
        condition = self.decoder.condition(batch.curves, batch.semantics, keep[0], keep[1])
        if self.video is None:
            return condition, None
        seen = self.video(batch.features, batch.picture, has_features=batch.has_features)
        return condition + keep[2][:, None, None] * seen.steps, seen

    def likelihood(self, tokens: Tensor, hidden: Tensor) -> Tensor:
        """Negative log-likelihood of every token, nats: [B, K, S]; 0 where the token is empty."""
        logits = self.decoder.predict(hidden).float().flatten(0, 2)
        empty = self.decoder.config.codebook_size
        losses = F.cross_entropy(logits, tokens.flatten(), ignore_index=empty, reduction="none")
        return losses.view_as(tokens)

    def n_uncond(self, n: int, recipe: JointRecipe) -> int:
        """Number of clips, all n or none, that go through unconditionally too: the embeddings need their states."""
        is_aligned = recipe.contrastive_weight or recipe.timed_weight or recipe.stand_in_weight
        return n if self.video is not None and is_aligned else 0

    def loss_weights(self, batch: PairBatch, n_uncond: int, recipe: JointRecipe) -> LossWeights:
        """The weights of tokens and steps; those of tokens are not scaled to any sum."""
        n_codebooks, n_steps = batch.tokens.shape[1:]
        tokens = torch.cat([batch.tokens, batch.tokens[:n_uncond]])
        is_there = (tokens != self.decoder.config.codebook_size).float()
        beats = alignment.agreement_weights(batch.picture[..., 0], batch.onsets, recipe.beat_weighting)
        shares = torch.linspace(recipe.first_weight, 2 - recipe.first_weight, n_codebooks).to(is_there)
        cond = alignment.delayed(beats, n_codebooks, n_steps)
        uncond = torch.full_like(cond[:n_uncond], recipe.uncond_weight)
        return LossWeights(is_there * shares[:, None] * torch.cat([cond, uncond]), beats)

    def forward(
        self, batch: PairBatch, keep: Tensor, recipe: JointRecipe, weights: LossWeights | None, n_pairs: int,
        n_uncond: int,
    ) -> PassOutput:  # fmt: skip
        """One pass over the batch; its first n_uncond clips go through again without a condition, in the same call.

        weights None: only the embeddings are wanted, and nothing goes through with a condition.
        """
        nothing = batch.picture.new_zeros(())
        if weights is None:
            assert self.video is not None
            seen = self.video(batch.features, batch.picture, has_features=batch.has_features)
            hidden = alignment.unconditioned_hidden(self.decoder, batch.tokens[:n_uncond])
            return PassOutput(
                nothing, nothing, nothing, nothing, self.embeddings(seen, hidden, batch.chance, n_pairs, recipe)
            )
        condition, seen = self.cond(batch, keep)
        n = len(batch.tokens)
        tokens = torch.cat([batch.tokens, batch.tokens[:n_uncond]])
        hidden = self.states(batch.tokens, condition, n_uncond, recipe.freeze_decoder)
        every = self.likelihood(tokens, hidden)
        is_there = batch.tokens != self.decoder.config.codebook_size
        codebooks = torch.stack([every[:n].sum((0, 2)), is_there.sum((0, 2))]).detach()
        onset = nothing
        if recipe.onset_weight:
            onset = alignment.onset_loss(self.onsets(hidden[:n]), (batch.onsets > 0).float(), weights.beats)
        embeddings, reading = PairEmbeddings(), nothing
        if seen is not None and n_uncond:
            embeddings = self.embeddings(seen, hidden[n:], batch.chance, n_pairs, recipe)
            if recipe.timed_weight:
                is_onset = (batch.onsets[:n_uncond] > 0).float()
                reading = alignment.onset_loss(self.music_timed.read(hidden[n:]), is_onset, torch.ones_like(is_onset))
        return PassOutput((every * weights.tokens).sum(), codebooks, onset, reading, embeddings)

    def states(self, tokens: Tensor, condition: Tensor, n_uncond: int, is_frozen: bool) -> Tensor:
        """Hidden states [B + n_uncond, S, D]: of all clips, then of the first n_uncond without a condition.

        Nothing goes back through the latter where the decoder is frozen: they depend on nothing that is learned.
        """
        if is_frozen:
            with torch.no_grad():
                uncond = alignment.unconditioned_hidden(self.decoder, tokens[:n_uncond])
            return torch.cat([self.decoder.hidden(tokens, condition), uncond])
        uncond = alignment.unconditioned(self.decoder, n_uncond, tokens.shape[-1])
        return self.decoder.hidden(
            torch.cat([tokens, tokens[:n_uncond]]), torch.cat([condition, uncond.to(condition.dtype)])
        )

    def embeddings(
        self, seen: Encoded, hidden: Tensor, chance: Tensor, n_pairs: int, recipe: JointRecipe
    ) -> PairEmbeddings:
        """Embeddings of both sides. seen, chance (seeds [B]): of all clips.

        hidden [n, S, D]: unconditional states of the first n clips, as their music may not know their picture.
        """
        found = PairEmbeddings()
        if (recipe.contrastive_weight and n_pairs) or recipe.stand_in_weight:
            video = seen.embedding[: len(hidden)].clone()  # FSDP2 wants no views out of a forward pass
            music = self.music(hidden, chance=chance[: len(hidden)])
            found = found._replace(video=video, music=music, scale=self.temperature())
        if recipe.timed_weight and n_pairs:
            video, music = self.video_timed(seen.motion[:n_pairs]), self.music_timed(hidden[:n_pairs])
            found = found._replace(timed_video=video, timed_music=music, timed_scale=self.timed_temperature())
        return found

    def contrastive(self, embeddings: PairEmbeddings, pieces: Tensor, n_pairs: int, recipe: JointRecipe) -> Tensor:
        """Weighted InfoNCE of pairs, and of music with its stand-ins; over all processes. pieces [B].

        The two kinds are never negatives of each other: to distinguish a picture from a stand-in takes no meaning.
        """
        total = self.queue.video.new_zeros(())
        if embeddings.video is not None and embeddings.music is not None and embeddings.scale is not None:
            rows = embeddings.video, embeddings.music, pieces[: len(embeddings.video)]
            video, music, labels = (x[:n_pairs] for x in rows)
            if recipe.contrastive_weight and n_pairs:
                loss = alignment.contrastive_loss(video, music, embeddings.scale, labels, self.queue, recipe.hardness)
                total = total + recipe.contrastive_weight * loss
                if self.training:
                    self.queue.push(video, music, labels)
            video, music, labels = (x[n_pairs:] for x in rows)
            if recipe.stand_in_weight and len(video) > 1:
                loss = alignment.contrastive_loss(video, music, embeddings.scale, labels, hardness=recipe.hardness)
                total = total + recipe.stand_in_weight * loss
        video, music, scale = embeddings.timed_video, embeddings.timed_music, embeddings.timed_scale
        if video is not None and music is not None and scale is not None:
            # Another span of the same piece is a wrong answer here: no labels.
            loss = alignment.timed_loss(video, music, scale, self.video_timed.read.out_channels)
            total = total + recipe.timed_weight * loss
        return total


class BatchPart(NamedTuple):
    """Some clips of a batch, those with a picture first. rows: their rows in the batch."""

    batch: PairBatch
    keep: Tensor
    rows: Tensor
    n_pairs: int


def split_batch(batch: PairBatch, keep: Tensor, n_pairs: int, n_parts: int) -> Iterator[BatchPart]:
    """Parts of a batch with equal numbers of pairs and of music. keep [3, B]."""
    n, device = len(batch.tokens), batch.tokens.device
    n_music = n - n_pairs
    for i in range(n_parts):
        bounds = ((i * n_pairs // n_parts, (i + 1) * n_pairs // n_parts),
                  (n_pairs + i * n_music // n_parts, n_pairs + (i + 1) * n_music // n_parts))  # fmt: skip
        rows = torch.cat([torch.arange(*pair, device=device) for pair in bounds])
        part = PairBatch(**{name: value[rows] for name, value in vars(batch).items()})
        yield BatchPart(part, keep[:, rows], rows, bounds[0][1] - bounds[0][0])


def add_gradients(
    model: Any, whole: JointModel, batch: PairBatch, keep: Tensor, n_pairs: int, recipe: JointRecipe, world: World,
    autocast: AbstractContextManager[Any],
) -> Losses:  # fmt: skip
    """Add the gradients of this process's share of a batch to the parameters; returns the losses of the whole batch.

    model: a distributed wrapper of `whole`, or `whole` itself. Every process must have as many pairs and as much
    music. Chance (dropout) is by the seeds of the clips alone, so that a resumed run and another number of processes do
    the same.
    """
    n = len(batch.tokens)
    n_uncond = whole.n_uncond(n, recipe)
    weights = whole.loss_weights(batch, n_uncond, recipe)
    # Wrappers take the mean over processes, so each scales its sum up.
    scaled = weights.tokens * (world.size / world.sum(weights.tokens.sum()))
    parts = list(split_batch(batch, keep, n_pairs, recipe.accumulate))
    with autocast:
        given = contrast_parts(model, whole, parts, batch, n_pairs, recipe) if n_uncond and len(parts) > 1 else None
    likelihood = onset = reading = contrastive = torch.zeros((), device=batch.tokens.device)
    codebooks = torch.zeros(2, batch.tokens.shape[1], device=batch.tokens.device)
    for i, part in enumerate(parts):
        chosen = torch.cat([part.rows, n + part.rows]) if n_uncond else part.rows
        own = LossWeights(scaled[chosen], weights.beats[part.rows])
        share = len(part.rows) / n
        # DDP sums over processes once; sharded gradients are summed at once, as a whole one may not fit.
        waiting = model.no_sync() if hasattr(model, "no_sync") and i < len(parts) - 1 else nullcontext()
        with waiting:
            with autocast:
                passed: PassOutput = model(
                    part.batch, part.keep, recipe, own, part.n_pairs, n_uncond and len(part.rows)
                )
                if given is None:
                    contrastive = carried = whole.contrastive(passed.embeddings, batch.pieces, n_pairs, recipe)
                else:
                    contrastive, gradients = given
                    carried = surrogate_loss(passed.embeddings, gradients, part, len(parts))
            by_clip = recipe.onset_weight * passed.onset + recipe.reading_weight * passed.reading  # means over clips
            (passed.likelihood + share * by_clip + carried).backward()
        likelihood = likelihood + passed.likelihood.detach()
        onset, reading = onset + share * passed.onset.detach(), reading + share * passed.reading.detach()
        codebooks = codebooks + passed.codebooks
    means = torch.stack([likelihood, contrastive.detach(), onset, reading])
    likelihood, contrastive, onset, reading = world.sum(means) / world.size
    sums, counts = world.sum(codebooks)
    total = likelihood + contrastive + recipe.onset_weight * onset + recipe.reading_weight * reading
    return Losses(total, sums / counts, contrastive, onset, reading)


def contrast_parts(
    model: Any, whole: JointModel, parts: list[BatchPart], batch: PairBatch, n_pairs: int, recipe: JointRecipe
) -> tuple[Tensor, PairEmbeddings]:
    """The first pass: embeddings of all parts without gradients, put together; their loss and its gradients in them."""
    found: list[PairEmbeddings] = []
    with torch.no_grad():
        for part in parts:
            found.append(model(part.batch, part.keep, recipe, None, part.n_pairs, len(part.rows)).embeddings)
    order = torch.cat([part.rows for part in parts])
    leaves: dict[str, Tensor] = {}
    for name in PairEmbeddings._fields:
        pieces = [getattr(embeddings, name) for embeddings in found]
        if pieces[0] is None:
            continue
        if name.endswith("scale"):
            leaves[name] = pieces[0].detach().requires_grad_()
            continue
        stacked = torch.cat(pieces)
        places = order if len(stacked) == len(order) else order[order < n_pairs]  # the timed ones are of pairs only
        leaves[name] = torch.empty_like(stacked).index_copy_(0, places, stacked).requires_grad_()
    with torch.enable_grad():
        loss = whole.contrastive(PairEmbeddings(**leaves), batch.pieces, n_pairs, recipe)
    gradients = torch.autograd.grad(loss, list(leaves.values()))
    return loss.detach(), PairEmbeddings(**dict(zip(leaves, gradients, strict=True)))


def surrogate_loss(embeddings: PairEmbeddings, gradients: PairEmbeddings, part: BatchPart, n_parts: int) -> Tensor:
    """A scalar whose gradients in the embeddings of a part are those given."""
    total = torch.zeros((), device=part.rows.device)
    for name, value in embeddings._asdict().items():
        gradient = getattr(gradients, name)
        if value is None:
            continue
        if name.endswith("scale"):
            total = total + value * gradient / n_parts
        else:
            total = total + (value * gradient[part.rows[: len(value)]]).sum()  # the timed ones are of pairs only
    return total
