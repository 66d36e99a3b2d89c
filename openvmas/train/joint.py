"""Train decoder, video encoder and their alignment together, from music alone and from pairs of picture and music.

    python -m openvmas.train.joint EXAMPLES RUN --bank BANK.npz --time-limit 3600

Every step is one batch mixed from the sources by their shares. Each part can be left out to see what it is for:
`--contrastive-weight 0`, `--timed-weight 0`, `--beat-weighting 0`, `--onset-weight 0`, `--fps 1`,
`--video mean|linear|joint|none`.
Time-boxed, resumable (`RUN/last.pt`), the same on CPU and GPU.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from openvmas.data.bank import Bank
from openvmas.errors import InputError
from openvmas.model.alignment import (
    EmbeddingQueue,
    MusicEmbedding,
    OnsetHead,
    Temperature,
    TimedEmbedding,
    agreement_weights,
    contrastive_loss,
    delayed,
    onset_loss,
    retrieval_ranks,
    unconditioned,
)
from openvmas.model.decoder import DECODER_PRESETS, Decoder, load_decoder, save_decoder
from openvmas.model.video_encoder import KINDS, VIDEO_PRESETS, Encoded, VideoEncoder, save_video_encoder
from openvmas.train.crops import draw_ahead
from openvmas.train.examples import Examples, read_packed
from openvmas.train.loop import Run, add_recipe, follow, make_optimizers, rate_at, take_recipe
from openvmas.train.pairs import (
    MontagePairs,
    Music,
    PairBatch,
    Source,
    collate,
    counts_of,
    draw_distinct,
    draw_mixed,
    split_bank,
)


@dataclass(frozen=True)
class JointRecipe:
    """Settings of a joint run."""

    preset: str = "mini"  # of the decoder and the video encoder
    video: str = "encoder"  # or mean, linear, joint (model.video_encoder.KINDS), or none
    fps: float = 2.0  # frames per second that the video encoder is given
    batch: int = 12
    share_music: float = 0.5  # of the batch: music without a picture
    share_montage: float = 0.5  # tracks with the videos an editor would make
    steps_per_crop: int = 576  # after the delay pattern
    first_weight: float = 1.6  # of the first codebook's loss; the last has 2 - first_weight
    contrastive_weight: float = 0.2  # between global embeddings: what is seen and heard
    timed_weight: float = 0.1  # between embeddings of every moment: when it happens
    stand_in_weight: float = 0.0  # of the contrastive loss between music and the curves that stand in for a picture
    hardness: float = 0.3  # how much more similar negatives count
    queue: int = 512  # past pairs that serve as negatives
    beat_weighting: float = 1.0  # by how much the likelihood counts more where picture and music agree
    onset_weight: float = 0.1
    untold_weight: float = 0.25  # of the likelihood of music when nothing is told, beside 1 when it is
    steps: int = 4000
    learning_rate: float = 1e-3
    warmup: int = 100
    weight_decay: float = 0.05
    drop_events: float = 0.12
    drop_meaning: float = 0.12
    drop_picture: float = 0.12
    only_picture: float = 0.4  # of the pairs: nothing but the video encoder tells the decoder anything
    test_pairs: int = 64
    save_every: int = 200  # steps between measurements and checkpoints
    seed: int = 0
    precision: str = "bf16"  # on a GPU; a CPU computes in fp32


@dataclass(frozen=True)
class Losses:
    """nats. codebooks [K] of what is told, unweighted; total with all weights; contrastive and onset are 0 if off."""

    total: Tensor
    codebooks: Tensor
    contrastive: Tensor
    onset: Tensor


class JointModel(nn.Module):
    """All that is trained together. video is None where the recipe says so."""

    def __init__(self, recipe: JointRecipe, decoder: Decoder | None = None, feature_width: int | None = None) -> None:
        super().__init__()
        if recipe.video not in (*KINDS, "none"):
            raise InputError(f"--video is {', '.join(KINDS)} or none, not {recipe.video}.")
        self.decoder = decoder or Decoder(DECODER_PRESETS[recipe.preset])
        width, sizes = self.decoder.config.width, VIDEO_PRESETS[recipe.preset]
        sizes = replace(sizes, fps=recipe.fps, out_width=width, feature_width=feature_width or sizes.feature_width)
        self.video = None if recipe.video == "none" else VideoEncoder(replace(sizes, kind=recipe.video))
        self.music = MusicEmbedding(width, sizes.embedding)
        self.onsets = OnsetHead(width)
        self.video_timed, self.music_timed = TimedEmbedding(width), TimedEmbedding(width)
        self.temperature, self.timed_temperature = Temperature(), Temperature()
        self.queue = EmbeddingQueue(recipe.queue, sizes.embedding)

    @property
    def learned_layers(self) -> list[nn.Module]:
        """Whose matrices Muon learns."""
        return [self.decoder.layers, *([self.video.layers] if self.video is not None else [])]

    def told(self, batch: PairBatch, keep: Tensor) -> tuple[Tensor, Encoded | None]:
        """The decoder's condition [B, S, D] and what the video encoder gave; keep: [3, B] of 0 or 1, whether events,
        meaning and picture are told."""
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

    def losses(self, batch: PairBatch, keep: Tensor, recipe: JointRecipe) -> Losses:
        """One pass over the batch, told; rows with an embedding go through again untold, in the same call."""
        condition, seen = self.told(batch, keep)
        n, n_pairs, n_steps = len(batch.tokens), batch.n_pairs, batch.tokens.shape[-1]
        n_untold = 0
        if seen is not None and (recipe.contrastive_weight or recipe.timed_weight or recipe.stand_in_weight):
            n_untold = n if recipe.stand_in_weight else n_pairs
        untold = unconditioned(self.decoder, n_untold, n_steps).to(condition.dtype)
        tokens = torch.cat([batch.tokens, batch.tokens[:n_untold]])
        hidden = self.decoder.hidden(tokens, torch.cat([condition, untold]))
        every = self.likelihood(tokens, hidden)
        is_there = (tokens != self.decoder.config.codebook_size).float()
        codebooks = every[:n].sum((0, 2)) / is_there[:n].sum((0, 2))
        beats = agreement_weights(batch.picture[..., 0], batch.onsets, recipe.beat_weighting)
        n_codebooks = len(codebooks)
        weights = (
            is_there * torch.linspace(recipe.first_weight, 2 - recipe.first_weight, n_codebooks).to(every)[:, None]
        )
        weights = torch.cat([weights[:n] * delayed(beats, n_codebooks, n_steps), weights[n:] * recipe.untold_weight])
        total = (every * weights).sum() / weights.sum()
        zero = total.new_zeros(())
        onset = zero
        if recipe.onset_weight:
            onset = onset_loss(self.onsets(hidden[:n]), (batch.onsets > 0).float(), beats)
        contrastive = zero
        if seen is not None and n_untold:
            contrastive = self.contrast(seen, hidden[n:], batch.pieces, n_pairs, recipe)
        total = total + contrastive + recipe.onset_weight * onset
        return Losses(total, codebooks.detach(), contrastive.detach(), onset.detach())

    def contrast(self, seen: Encoded, hidden: Tensor, pieces: Tensor, n_pairs: int, recipe: JointRecipe) -> Tensor:
        """Weighted InfoNCE of pairs, and of music with its stand-ins. The two kinds are never negatives of each other:
        telling a picture from a stand-in takes no meaning. hidden: untold, of as many rows as wanted."""
        total, scale, embedding = hidden.new_zeros(()), self.temperature(), seen.embedding
        if recipe.contrastive_weight and n_pairs:
            video, music, labels = embedding[:n_pairs], self.music(hidden[:n_pairs]), pieces[:n_pairs]
            loss = contrastive_loss(video, music, scale, labels, self.queue, recipe.hardness)
            total = total + recipe.contrastive_weight * loss
            if self.training:
                self.queue.push(video, music, labels)
        if recipe.timed_weight and n_pairs:
            # Another span of the same piece is a wrong answer here: no labels.
            moments = self.video_timed(seen.steps[:n_pairs]), self.music_timed(hidden[:n_pairs])
            total = total + recipe.timed_weight * contrastive_loss(*moments, self.timed_temperature())
        if recipe.stand_in_weight and len(hidden) > n_pairs + 1:
            rows = embedding[n_pairs:], self.music(hidden[n_pairs:]), scale, pieces[n_pairs:]
            total = total + recipe.stand_in_weight * contrastive_loss(*rows, hardness=recipe.hardness)
        return total


@torch.no_grad()
def evaluate(model: JointModel, batches: Sequence[PairBatch]) -> dict[str, float]:
    """On held-out pairs: likelihood when all is told, when only the picture, another picture or nothing is; how often
    a picture finds its own music among all against chance, and the median rank (0 is best), by the global
    embeddings and (in_time) by the timed ones."""
    model.eval()
    sums: dict[str, list[float]] = {}
    seen: dict[str, list[Tensor]] = {"": [], "_in_time": []}
    heard: dict[str, list[Tensor]] = {"": [], "_in_time": []}
    for batch in batches:
        n = len(batch.tokens)
        others = replace(batch, picture=batch.picture.roll(1, 0), features=batch.features.roll(1, 0))
        cases = {"full": (batch, 1.0, 1.0), "picture": (batch, 0.0, 1.0), "shuffled": (others, 0.0, 1.0)}
        for name, (told, rest, picture) in (cases | {"nothing": (batch, 0.0, 0.0)}).items():
            keep = torch.tensor([[rest], [rest], [picture]], device=batch.tokens.device).expand(3, n)
            condition, encoded = model.told(told, keep)
            hidden = model.decoder.hidden(batch.tokens, condition)
            is_there = batch.tokens != model.decoder.config.codebook_size
            sums.setdefault(name, []).append((model.likelihood(batch.tokens, hidden).sum() / is_there.sum()).item())
            if name == "full" and encoded is not None:
                seen[""].append(encoded.embedding)
                seen["_in_time"].append(model.video_timed(encoded.steps))
        untold = unconditioned(model.decoder, n, batch.tokens.shape[-1])
        hidden = model.decoder.hidden(batch.tokens, untold)
        heard[""].append(model.music(hidden))
        heard["_in_time"].append(model.music_timed(hidden))
    model.train()
    result = {name: round(float(np.mean(values)), 4) for name, values in sums.items()}
    for name in seen if model.video is not None else ():
        ranks = retrieval_ranks(torch.cat(seen[name]), torch.cat(heard[name])).float()
        found = (ranks == 0).float().mean().item()
        measures = {"found": round(found, 4), "times_chance": round(found * len(ranks), 2)}
        result |= {key + name: value for key, value in (measures | {"median_rank": ranks.median().item()}).items()}
    return result


def draw_keep(generator: np.random.Generator, recipe: JointRecipe, n: int, n_pairs: int) -> Tensor:
    """Which clips keep their events, meaning and picture: [3, B] of 0 or 1; pairs are the first rows."""
    shares = np.array([[recipe.drop_events], [recipe.drop_meaning], [recipe.drop_picture]])
    keep = generator.random((3, n)) >= shares
    is_alone = (np.arange(n) < n_pairs) & (generator.random(n) < recipe.only_picture) & (recipe.video != "none")
    keep[:2, is_alone], keep[2, is_alone] = False, True
    return torch.from_numpy(keep.astype(np.float32))


def save_parts(model: JointModel, folder: Path) -> None:
    """`decoder.pt`, `video_encoder.pt` and `alignment.pt` (embeddings and temperature), each with its sizes."""
    save_decoder(model.decoder, str(folder / "decoder.pt"))
    if model.video is not None:
        save_video_encoder(model.video, str(folder / "video_encoder.pt"))
    names = ("music", "temperature", "video_timed", "music_timed", "timed_temperature")
    parts = {name: getattr(model, name).state_dict() for name in names}
    torch.save({"config": model.music.sizes, **parts}, folder / "alignment.pt")


def train(
    examples: Examples, held_out: Examples, banks: tuple[Bank, Bank], run_folder: Path, recipe: JointRecipe,
    time_limit: float, start_from: str | None = None, loaders: int = 1, n_pieces: int | None = None,
) -> None:  # fmt: skip
    """Train until the steps or the time run out; the learning rate follows whichever comes first.

    banks: pictures to train on, and held out. start_from: a decoder whose weights are a beginning. loaders: processes
    that draw batches (1: a thread). n_pieces: of the examples, if copies at other pitches come after the first.
    """
    torch.manual_seed(recipe.seed)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    decoder = load_decoder(start_from).train() if start_from else None
    model = JointModel(recipe, decoder, banks[0].features.shape[1]).to(device)
    averaged = copy.deepcopy(model)
    muon, adam = make_optimizers(model, model.learned_layers, recipe.learning_rate, recipe.weight_decay)
    run = Run(run_folder, recipe.steps, time_limit, device, model=model, averaged=averaged, muon=muon, adam=adam)
    n_steps, is_mixed = recipe.steps_per_crop, recipe.precision == "bf16" and device == "cuda"
    music: Source = Music(examples, n_pieces)
    pairs = MontagePairs(examples, banks[0], n_steps, recipe.fps, recipe.seed, n_pieces=n_pieces)
    counts = counts_of([recipe.share_music, recipe.share_montage], recipe.batch)
    sources: list[tuple[Source, int]] = list(zip((music, pairs), counts, strict=True))
    sizes = model.decoder.config, recipe.fps, banks[0].features.shape[1]
    test_source = MontagePairs(held_out, banks[1], n_steps, recipe.fps, 99, picture_events=1.0)
    found = draw_distinct(test_source, recipe.test_pairs, n_steps, model.decoder.config, 99)
    chunks = [found[i : i + recipe.batch] for i in range(0, len(found), recipe.batch)]
    tests = [collate(chunk, *sizes).to(device) for chunk in chunks]

    def draw(step: int) -> tuple[PairBatch, Tensor]:
        """A batch and what its clips are told; by seed and step alone."""
        generator = np.random.default_rng((recipe.seed, step))
        batch = draw_mixed(sources, generator, n_steps, *sizes)
        return batch, draw_keep(generator, recipe, recipe.batch, batch.n_pairs)

    batches = draw_ahead(draw, run.step, loaders)
    while True:
        progress = run.progress
        if run.step % recipe.save_every == 0 or progress >= 1:
            run.save(evaluate(averaged, tests))
            save_parts(averaged, run_folder)
        if progress >= 1:
            return
        for group in (*muon.param_groups, *adam.param_groups):
            group["lr"] = recipe.learning_rate * rate_at(run.step, progress, recipe.warmup)
        batch, keep = next(batches)
        with torch.autocast(device, torch.bfloat16, enabled=is_mixed):
            losses = model.losses(batch.to(device), keep.to(device), recipe)
        for optimizer in (muon, adam):
            optimizer.zero_grad(set_to_none=True)
        losses.total.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in (muon, adam):
            optimizer.step()
        run.step += 1
        follow(averaged, model, min(0.995, 1 - 1 / (run.step / 4 + 1)))
        if run.step % 20 == 0:
            parts = f"contrastive {losses.contrastive.item():.3f} onset {losses.onset.item():.3f}"
            print(f"{run.step} {run.spent:.0f}s {losses.codebooks.mean().item():.3f} {parts}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("examples", type=Path, help="folder of python -m openvmas.train.examples pack")
    parser.add_argument("run", type=Path)
    parser.add_argument("--bank", type=Path, required=True, help="pictures, from scripts/build_montage.py bank")
    parser.add_argument("--time-limit", type=float, default=3600, help="seconds")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--start-from", help="begin with the weights of this decoder.pt")
    parser.add_argument("--loaders", type=int, default=1, help="processes that draw batches; 1: a thread")
    add_recipe(parser, JointRecipe)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    recipe = take_recipe(arguments, JointRecipe)
    found, banks = read_packed(arguments.examples), split_bank(Bank.load(arguments.bank))
    limits = arguments.time_limit, arguments.start_from, arguments.loaders, found.n_pieces
    train(found.music, found.held_out, banks, arguments.run, recipe, *limits)


if __name__ == "__main__":
    main()
