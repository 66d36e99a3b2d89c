"""Train the meaning half of an alignment: a music side that is taught a tagger's axes, and pictures with stated axes.

    openvmas train meaning PACKED PICTURES.npz alignment OUT
    openvmas train export - - FOLDER --joint OUT --name alignment

First two convolutions learn the axes of music from codes and states (distillation); then both sides learn from pairs.
A pair is a clip with pictures that fit it: by what was told of them, or by the stated rules, drawn anew in every step
as `data.montage.editor` draws a palette. Timing, and the decoder whose states are read, stay as they are.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from openvmas.codec.stream import read_codebooks
from openvmas.condition import AXES
from openvmas.data.montage.editor import MATCH_SHARPNESS
from openvmas.data.montage.music_clips import axis_weights
from openvmas.errors import InputError
from openvmas.generate.pattern import delay
from openvmas.model.alignment import Temperature, contrastive_loss, ranks_of, unconditioned_hidden
from openvmas.model.decoder import Decoder, save_decoder
from openvmas.model.meaning import HeardEmbedding, StatedEmbedding
from openvmas.model.video_encoder import VideoEncoder, save_video_encoder
from openvmas.pretrained import find_alignment, find_weights
from openvmas.settings import option
from openvmas.train.decoder.examples import Examples, read_packed
from openvmas.train.export.import_onnx import import_alignment
from openvmas.train.joint.pairs import TEST_ROUND, song_of

CLIPS, CHUNK = 25, 16  # clips of one piece at most; clips that go through the decoder at once
PALETTE, SHOTS = 8, 6  # pictures that a clip may show, and of how many shots its pictures are at most
ROUNDS = 10  # of TEST_ROUND held-out pieces


@dataclass(frozen=True)
class MeaningOptions:
    """Settings of training the meaning half of an alignment."""

    steps: int = option(800, "Optimiser steps on pairs.", min=1)
    batch: int = option(128, "Pairs in a batch, each of another piece.", min=2)
    epochs: int = option(9, "Passes over the music in which the axes are taught.", min=0)
    told: float = option(
        0.5, "Share of the steps whose pictures are chosen by labels; the others' by rules.", min=0, max=1
    )
    embedding: int = option(64, "Numbers in an embedding.", min=1)
    learning_rate: float = option(3e-3, "Peak learning rate.", min=0, max=1)
    seed: int = option(0, "Seed of weights, batches and pictures.", min=0)
    threads: int = option(1, "CPU threads.", min=1, max=1024)


@dataclass(frozen=True)
class LabelledPictures:
    """P pictures of tools/label_bank.py. first [P + 1]: the views of each; features [V, W] and stated [V, A] of views;
    told and rules [P, len(AXES)]; is_train and is_held_out [P]; paths [P]."""

    paths: np.ndarray
    first: np.ndarray
    features: np.ndarray
    stated: np.ndarray
    told: np.ndarray
    rules: np.ndarray
    is_train: np.ndarray
    is_held_out: np.ndarray

    @classmethod
    def load(cls, path: Path) -> LabelledPictures:
        """Read the file. Raises InputError for anything else."""
        try:
            with np.load(path) as data:
                return cls(**{name: data[name] for name in cls.__dataclass_fields__})
        except (OSError, ValueError, KeyError) as error:
            raise InputError(f"{path} holds no labelled pictures; make them with tools/label_bank.py.") from error


@dataclass(frozen=True)
class Clips:
    """N clips: frames [N, width + latent, n] float16 (`HeardEmbedding.frames`), axes [N, A], and the piece of each."""

    frames: Tensor
    axes: Tensor
    pieces: np.ndarray

    @classmethod
    def listen(cls, examples: Examples, decoder: Decoder, heard: HeardEmbedding, span: int) -> Clips:
        """Clips of `span` steps of every tagged piece, at most CLIPS of each, evenly."""
        frames: list[Tensor] = []
        axes: list[np.ndarray] = []
        pieces: list[int] = []
        config = decoder.config
        for i, example in enumerate(examples.examples):
            n_steps, song = example.codes.shape[1], song_of(example, str(i))
            if not len(example.axes) or n_steps < span:
                continue
            starts = np.arange(0, n_steps - span + 1, span)
            starts = starts[np.unique(np.linspace(0, len(starts) - 1, CLIPS).astype(int))]
            codes = [example.codes[: config.n_codebooks, s : s + span].astype(np.int64) for s in starts]
            # As long as its tokens: the last codebooks lack their last codes.
            tokens = torch.from_numpy(np.stack([delay(c, config.codebook_size)[:, :span] for c in codes]))
            with torch.no_grad():
                for part in tokens.split(CHUNK):
                    frames.append(heard.frames(part, unconditioned_hidden(decoder, part)).half())
            axes += [song.axes_at(s / 50, (s + span) / 50) for s in starts]
            pieces += [i % examples.n_pieces] * len(starts)
        if not frames:
            raise InputError(f"no tagged piece lasts {span / 50:.1f} s; tag the music with tools/tag_music.py.")
        return cls(torch.cat(frames), torch.from_numpy(np.array(axes, np.float32)), np.array(pieces))


def teach(heard: HeardEmbedding, clips: Clips, epochs: int, batch: int = 32) -> None:
    """Teach the convolutions a tagger's axes of the clips, by a linear layer that is then left out."""
    out = nn.Sequential(nn.Dropout(0.4), nn.Linear(heard.read.inputs.centre.numel(), len(AXES)))
    weights = [*heard.first.parameters(), *heard.second.parameters(), *out.parameters()]
    n = len(clips.frames) // batch
    if not epochs or not n:
        return
    optimizer = torch.optim.AdamW(weights, 3e-3, weight_decay=0.2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, epochs * n, pct_start=0.15)
    length = clips.frames.shape[2] * 4 // 5
    for _ in range(epochs):
        for rows in torch.randperm(len(clips.frames))[: n * batch].split(batch):
            begin = int(torch.randint(clips.frames.shape[2] - length + 1, ()))
            seen = F.dropout1d(clips.frames[rows, :, begin : begin + length].float(), 0.15)
            loss = F.mse_loss(out(heard.gather(seen)), clips.axes[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()


def chances(tags: Tensor, axes: Tensor) -> Tensor:
    """Chance [B, P] of each picture under music with these axes [B, A], as `Montages` has it. tags [P, A]."""
    weights = torch.from_numpy(axis_weights()).float()
    centred, wanted = (tags - tags.mean(0)) * weights, axes.nan_to_num() * weights
    lengths = wanted.norm(dim=1)[:, None] * centred.norm(dim=1)
    return (wanted @ centred.T / lengths.clamp_min(1e-9) / MATCH_SHARPNESS).softmax(1)


def show(chance: Tensor, shots: int) -> Tensor:
    """Pictures [B, shots] of a palette that is drawn without repetition, by chance [B, P]."""
    palette = torch.multinomial(chance + 1e-12, min(PALETTE, chance.shape[1]))
    return palette.gather(1, torch.randint(palette.shape[1], (len(chance), shots)))


class Sides:
    """Both sides on what was gathered once: pictures [P, V', N] (views, repeated where there are fewer) and clips."""

    def __init__(self, stated: StatedEmbedding, heard: HeardEmbedding, pictures: LabelledPictures) -> None:
        self.stated, self.heard = stated, heard
        with torch.no_grad():
            features = torch.from_numpy(pictures.features.astype(np.float32))
            views = stated.gather(features, torch.from_numpy(pictures.stated.astype(np.float32)))
        self.views, self.first = views, torch.from_numpy(pictures.first.astype(np.int64))

    def see(self, shown: Tensor) -> Tensor:
        """Embeddings [B, E] of clips that show these pictures [B, shots], a view of each at random."""
        count = self.first[shown + 1] - self.first[shown]
        rows = self.first[shown] + (torch.rand(shown.shape) * count).long()
        return self.stated.read(self.views[rows].mean(1))

    def hear(self, gathered: Tensor) -> Tensor:
        """Embeddings [B, E] of clips by what `HeardEmbedding.gather` found in them."""
        return self.heard.read(gathered)


@torch.no_grad()
def measure(sides: Sides, clips: Clips, gathered: Tensor, tags: Tensor, kept: Tensor, seed: int = 99) -> str:
    """A line on how often pictures find their music among at most TEST_ROUND pieces, by clips of two spans."""
    generator, ranks, size = np.random.default_rng(seed), [], 0
    torch.manual_seed(seed)
    starts = np.flatnonzero(clips.pieces[:-1] == clips.pieces[1:])
    for _ in range(ROUNDS):
        order = generator.permutation(starts)
        _, one = np.unique(clips.pieces[order], return_index=True)
        rows = torch.from_numpy(order[generator.permutation(one)[:TEST_ROUND]])
        axes = (clips.axes[rows] + clips.axes[rows + 1]) / 2
        shown = kept[show(chances(tags[kept], axes), SHOTS)]
        music = sides.hear(gathered[rows]) + sides.hear(gathered[rows + 1])
        ranks.append(ranks_of(sides.see(shown) @ music.T))
        size = len(rows)
    every = torch.cat(ranks)
    first, less = (every < 0.5).float().mean().item(), 1 - every.mean().item() / max(size - 1, 1)
    return f"{first * size:.1f} times chance among {size}, share less alike {less:.3f}"


def learn_pairs(
    sides: Sides, clips: Clips, gathered: Tensor, pictures: LabelledPictures, options: MeaningOptions
) -> Temperature:
    """Contrastive learning on pairs that are drawn in every step, with the music's axes beside it."""
    scale, axes_of = Temperature(5.0), nn.Linear(options.embedding, len(AXES))
    weights = [
        w for m in (sides.stated.read, sides.heard.read, scale, axes_of) for w in m.parameters() if w.requires_grad
    ]
    optimizer = torch.optim.AdamW(weights, options.learning_rate, weight_decay=0.1)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, options.learning_rate, options.steps, pct_start=0.1)
    kept = torch.from_numpy(np.flatnonzero(pictures.is_train))
    tags = [torch.from_numpy(x).float()[kept] for x in (pictures.told, pictures.rules)]
    names, generator = np.unique(clips.pieces), np.random.default_rng(options.seed)
    rows_of = {name: np.flatnonzero(clips.pieces == name) for name in names}
    for _ in range(options.steps):
        chosen = generator.permutation(names)[: options.batch]
        rows = torch.tensor([generator.choice(rows_of[name]) for name in chosen])
        by = tags[0] if generator.random() < options.told else tags[1]
        shown = kept[show(chances(by, clips.axes[rows]), int(generator.integers(2, SHOTS + 1)))]
        video, music = sides.see(shown), sides.hear(gathered[rows])
        taught = F.mse_loss(axes_of(music * music.shape[1] ** 0.5), clips.axes[rows])
        loss = contrastive_loss(video, music, scale()) + taught
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return scale


def train_meaning(packed: Path, pictures: Path, model: Path, folder: Path, options: MeaningOptions) -> Iterator[str]:
    """Train on a folder of `train examples pack` and labelled pictures; yields lines about what is held out."""
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    weights, bank = find_alignment(str(model)), LabelledPictures.load(pictures)
    parts, books = import_alignment(weights), read_codebooks(find_weights("mini"))
    decoder, video = parts["decoder"].eval(), parts["video"]
    config = decoder.config
    heard = HeardEmbedding(config.width, options.embedding, config.n_codebooks, config.codebook_size, books.shape[2])
    heard.set_books(torch.from_numpy(np.asarray(books, np.float32)))
    music, held_out = (Clips.listen(x, decoder, heard, weights.sizes["video"]["span"]) for x in read_packed(packed))
    yield f"{len(music.frames)} clips of {len(np.unique(music.pieces))} pieces, {bank.is_train.sum()} pictures"
    teach(heard, music, options.epochs)
    encoder = VideoEncoder(replace(video.config, n_axes=bank.stated.shape[1], embedding=options.embedding))
    encoder.load_state_dict({n: x for n, x in video.state_dict().items() if n in encoder.state_dict()}, strict=False)
    shorten(encoder.stated, bank)
    with torch.no_grad():
        gathered, apart = (torch.cat([heard.gather(x.float()) for x in c.frames.split(64)]) for c in (music, held_out))
    sides = Sides(encoder.stated, heard, bank)
    learned = torch.from_numpy(np.repeat(bank.is_train, np.diff(bank.first)))
    heard.read.inputs.measure(gathered)
    encoder.stated.read.inputs.measure(sides.views[learned])
    scale = learn_pairs(sides, music, gathered, bank, options)
    for module in (heard, encoder):
        module.eval()
    kept = torch.from_numpy(np.flatnonzero(bank.is_held_out))
    for name in ("told", "rules"):
        tags = torch.from_numpy(getattr(bank, name)).float()
        yield f"held out, by {name}: {measure(sides, held_out, apart, tags, kept)}"
    folder.mkdir(parents=True, exist_ok=True)
    save_decoder(decoder, str(folder / "decoder.pt"))
    save_video_encoder(encoder, str(folder / "video_encoder.pt"))
    states = {n: parts[n].state_dict() for n in ("video_timed", "music_timed", "timed_temperature")}
    states |= {"music": heard.state_dict(), "temperature": scale.state_dict()}
    torch.save({"config": heard.sizes, **states}, folder / "alignment.pt")
    yield str(folder)


def shorten(stated: StatedEmbedding, pictures: LabelledPictures) -> None:
    """Take principal directions of the training views' features, each brought to a variance of 1, as `short`."""
    rows = np.repeat(pictures.is_train, np.diff(pictures.first))
    features = torch.from_numpy(pictures.features[rows].astype(np.float32)).clamp_min(0).sqrt()
    values, vectors = torch.linalg.eigh(torch.cov(features.T))
    n = len(stated.short.weight)
    with torch.no_grad():
        stated.short.weight.copy_((vectors[:, -n:] / values[-n:].clamp_min(1e-9).sqrt()).T)
