"""From a listing of tracks to a model that composes, in a tiny size; and training that goes on after a stop."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
import torch

from openvmas.codec.autoencoder import load_codec
from openvmas.condition import AXES
from openvmas.generate.composer import ModelComposer
from openvmas.model.decoder import load_decoder
from openvmas.music.analysis import analyze_music
from openvmas.pretrained import find_weights
from openvmas.settings import GenerateOptions
from openvmas.train.codec import codec_trainer as codec_training
from openvmas.train.codec.codec_trainer import CodecOptions, CodecRecipe
from openvmas.train.codec.corpus import SAMPLE_RATE, Crops, build, is_held_out, read_index
from openvmas.train.decoder import decoder_trainer as model_training
from openvmas.train.decoder.decoder_trainer import DecoderRecipe
from openvmas.train.decoder.examples import (
    EncodeOptions,
    Examples,
    change_speed,
    condition_of,
    encode_all,
    listen_all,
    read_wave,
)
from openvmas.train.export.export_model import ExportOptions, export
from openvmas.train.loop import RunOptions
from tests.generate.made import make_condition

pytestmark = pytest.mark.slow

FOREVER = float("inf")  # a share of a finite time would move the first step's weights by a rounding
ALBUMS = ("first", "second", "xmoto-data")  # the last is held out by name


def make_track(seed: int) -> np.ndarray:
    """12 s at 44.1 kHz: a plucked note every half second, dying away at the end: [L, 2]."""
    rng = np.random.default_rng(seed)
    time = np.arange(12 * 44_100) / 44_100
    pitch = 220 * 2 ** (rng.integers(0, 12, 24) / 12)
    since = time % 0.5
    wave = 0.5 * np.sin(2 * np.pi * np.repeat(pitch, 22_050) * time) * np.exp(-6 * since)
    wave[-22_050:] *= 0.01
    return np.stack([wave, wave], axis=1)


@pytest.fixture(scope="module")
def waves(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    rows = ["track,singing_share,speech_share"]
    for i, album in enumerate(ALBUMS):
        (folder / "deb" / album / "music").mkdir(parents=True)
        soundfile.write(folder / "deb" / album / "music" / "song.wav", make_track(i), 44_100)
        rows.append(f"{album}/music/song.wav,0.0,0.0")
    rows.append("first/music/missing.wav,0.0,0.0")
    (folder / "listing.csv").write_text("\n".join(rows))
    build(folder / "listing.csv", folder / "deb", folder / "waves")
    return folder / "waves"


def test_corpus_holds_every_track_once_and_keeps_albums_apart(waves):
    tracks = read_index(waves)
    assert sorted(t.album for t in tracks) == sorted(ALBUMS)
    assert all(t.length == 12 * SAMPLE_RATE for t in tracks)
    build(waves.parent / "listing.csv", waves.parent / "deb", waves)  # again: nothing is added
    assert len(read_index(waves)) == 3
    assert [t.album for t in Crops(waves, held_out=True).tracks] == ["xmoto-data"]
    crop = Crops(waves).crop(np.random.default_rng(0), 3 * SAMPLE_RATE)
    assert crop.shape == (3 * SAMPLE_RATE,) and 0.1 < np.abs(crop).max() <= 1
    assert is_held_out("anything", "pushover-data")


def train_codec(waves: Path, run: Path, steps: int) -> list[dict]:
    recipe = CodecRecipe(
        preset="debug", batch=2, seconds=0.8, steps=steps, continuous_steps=2, warmup=2, precision="fp32"
    )
    codec_training.run_training(waves, run, recipe, CodecOptions(FOREVER))
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def run(waves, tmp_path_factory) -> Path:
    """A trained tiny codec with its examples."""
    run = tmp_path_factory.mktemp("runs")
    log = train_codec(waves, run / "codec", 45)
    assert log[-1]["step"] == 45 and log[-1]["mel"] < log[0]["mel"]
    listen_all(waves, run / "examples")
    encode_all(waves, run / "examples", str(run / "codec" / "codec.pt"), seconds=5)
    names = [t.name for t in read_index(waves)]
    values = np.random.default_rng(0).standard_normal((2 * len(names), len(AXES))).astype(np.float16)
    np.savez(
        run / "tags.npz",
        tracks=np.array(names),
        start=np.arange(0, 2 * len(names) + 1, 2),
        times=np.tile([3.0, 9.0], len(names)),
        axes=values,
    )
    return run


def test_codes_in_pieces_equal_codes_at_once(waves, run):
    codec = load_codec(str(run / "codec" / "codec.pt"))
    assert bool(codec.quantizer.is_ready)
    examples = Examples.collect(waves, run / "examples", run / "tags.npz")
    tracks = [track for track in read_index(waves) if not track.is_held_out]
    assert sorted(track.album for track in tracks) == ["first", "second"] and len(examples.examples) == 2
    example, track = examples.examples[0], tracks[0]
    assert example.codes.shape == (8, 600) and example.has_ending
    samples = np.memmap(waves / "waves.s16", "<i2", "r")[track.start : track.start + track.length]
    with torch.no_grad():
        whole = codec.encode(torch.from_numpy(samples[None].astype(np.float32) / 32768))[0]
    assert np.mean(whole.numpy() == example.codes) > 0.9  # encoded in bf16, so a few codes differ


def test_condition_of_a_crop_is_that_part_of_the_track(waves, run):
    example = Examples.collect(waves, run / "examples", run / "tags.npz").examples[0]
    whole, part = condition_of(example, 0, 600), condition_of(example, 200, 300)
    for a, b in ((whole.events.accents, part.events.accents), (whole.events.energy, part.events.energy)):
        assert np.array_equal(a[200:500], b)
    assert np.allclose(whole.semantics[200:500], part.semantics, atol=1e-6)
    assert np.allclose(whole.encode_curves()[200:500], part.encode_curves(), atol=1e-5)
    assert part.time_left[0] == pytest.approx(8.0) and part.time_since[0] == pytest.approx(4.0)
    assert whole.events.accents.sum() > 0


def test_a_faster_track_is_heard_faster(waves):
    track = read_index(waves)[0]
    wave = read_wave(waves, track)
    heard = analyze_music(wave, SAMPLE_RATE)
    faster = change_speed(heard, 2 ** (1 / 12))
    again = analyze_music(soxr.resample(wave, SAMPLE_RATE * 2 ** (1 / 12), SAMPLE_RATE), SAMPLE_RATE)
    assert abs(faster.events.n_steps - again.events.n_steps) <= 1
    n = min(faster.events.n_steps, again.events.n_steps)
    assert np.corrcoef(faster.events.energy[:n], again.events.energy[:n])[0, 1] > 0.9
    assert faster.tempo == pytest.approx(heard.tempo * 2 ** (1 / 12))
    assert faster.events.accents.max() == heard.events.accents.max()
    assert np.allclose(faster.beats * 2 ** (1 / 12), heard.beats)


def test_copies_played_higher_are_examples_too(waves, run):
    encode_all(waves, run / "examples", str(run / "codec" / "codec.pt"), EncodeOptions(1), seconds=5)
    higher = Examples.collect(waves, run / "examples", run / "tags.npz", semitones=1).examples
    plain = Examples.collect(waves, run / "examples", run / "tags.npz").examples
    assert [round(x.codes.shape[1] * 2 ** (1 / 12)) for x in higher] == pytest.approx(
        [x.codes.shape[1] for x in plain], abs=2
    )
    assert np.allclose(higher[0].axis_times * 2 ** (1 / 12), plain[0].axis_times)


def test_from_tracks_to_music(waves, run):
    recipe = DecoderRecipe(preset="debug", batch=2, steps_per_crop=64, steps=30, warmup=2, precision="fp32")
    examples = []
    for name, held_out in (("music", False), ("held-out", True)):
        Examples.collect(waves, run / "examples", run / "tags.npz", held_out).save(run / f"{name}.npz", 8)
        examples.append(Examples.load(run / f"{name}.npz"))
    model_training.train(examples[0], examples[1], run / "model", recipe, RunOptions(FOREVER))
    log = [json.loads(line) for line in (run / "model" / "log.jsonl").read_text().splitlines()]
    assert log[-1]["step"] == 30 and log[-1]["full"] < log[0]["full"] - 0.1
    codec, decoder = load_codec(str(run / "codec" / "codec.pt")), load_decoder(str(run / "model" / "decoder.pt"))
    export(codec, decoder, run / "export", ExportOptions("debug", "0"))
    composer = ModelComposer(find_weights(run / "export"))
    wave = np.concatenate(list(composer.compose(make_condition(150), None, GenerateOptions(candidates=2))), axis=1)
    assert wave.shape == (2, 3 * 48_000) and np.isfinite(wave).all() and np.abs(wave).max() > 1e-4


def test_training_goes_on_after_a_stop_as_if_there_had_been_none(waves, run, tmp_path, monkeypatch):
    straight = train_codec(waves, tmp_path / "straight", 30)

    class StopError(Exception):
        pass

    draw = codec_training.draw_batch

    def stop_at_28(crops, recipe, length, step):
        if step == 28:
            raise StopError
        return draw(crops, recipe, length, step)

    monkeypatch.setattr(codec_training, "draw_batch", stop_at_28)
    with pytest.raises(StopError):
        train_codec(waves, tmp_path / "stopped", 30)
    monkeypatch.setattr(codec_training, "draw_batch", draw)
    resumed = train_codec(waves, tmp_path / "stopped", 30)
    clean = [{k: v for k, v in record.items() if k != "seconds"} for record in (straight[-1], resumed[-1])]
    assert clean[0] == clean[1]
    weights = [torch.load(tmp_path / n / "last.pt", weights_only=True)["codec"] for n in ("straight", "stopped")]
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])
