"""Codes say whose they are: every door where a decoder meets codes of another codec refuses them in a sentence."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from openvmas.codec.autoencoder import CODEC_PRESETS, Codec, save_codec
from openvmas.codec.runtime import CodecRunner
from openvmas.errors import InputError, ModelError
from openvmas.hub.musicgen import MusicGenDecoder, open_decoder
from openvmas.model.decoder import DECODER_PRESETS, Decoder, load_decoder, save_decoder
from openvmas.pretrained import find_weights
from openvmas.train.codec.corpus import SAMPLE_RATE, Track, append_waves
from openvmas.train.codec.identity import CodecIdentity, identify, read_identity
from openvmas.train.decoder.examples import Examples, encode_all, read_packed
from openvmas.train.export.export_model import check_language, open_own
from openvmas.train.joint.joint_trainer import JointOptions, begin_decoder, train
from openvmas.train.joint.material import PackedMaterial
from tests.train.made import TINY, make_bank, make_examples

pytestmark = pytest.mark.slow

OTHER = CodecIdentity("other 1.0", "0" * 64, 8, 64)


@pytest.fixture(scope="module")
def musicgen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of MusicGen with its EnCodec, tiny and random."""
    pytest.importorskip("transformers")
    from tests.hub.test_encodec import save_musicgen

    folder = tmp_path_factory.mktemp("musicgen")
    save_musicgen(folder, n_layers=2)
    return folder / "whole"


@pytest.fixture
def waves(tmp_path: Path) -> Path:
    with append_waves(tmp_path / "waves") as append:
        for i in range(2):
            wave = np.random.default_rng(i).normal(0, 0.1, 6 * SAMPLE_RATE).astype(np.float32)
            append(Track(f"album/{i}.ogg", "album", 0, 0, False, 0.0, 0.0), wave)
    return tmp_path / "waves"


def with_codec(codec: CodecIdentity | None) -> Examples:
    return Examples(make_examples().examples, codec=codec)


def test_a_checkpoint_and_its_export_are_one_codec(tmp_path: Path) -> None:
    shipped = identify("mini")
    assert shipped.sha256 == CodecRunner(find_weights("mini")).codebooks_sha256
    assert (shipped.n_codebooks, shipped.codebook_size) == (8, 1024) and shipped.name.startswith("mini ")
    codec = Codec(CODEC_PRESETS["debug"])
    save_codec(codec, str(tmp_path / "codec.pt"))
    found = identify(tmp_path / "codec.pt")
    books = codec.quantizer.codebooks.detach().numpy().astype(np.float16)
    np.savez(tmp_path / "codebooks.npz", codebooks=books)  # as train.export writes them
    import hashlib

    assert found.sha256 == hashlib.sha256((tmp_path / "codebooks.npz").read_bytes()).hexdigest()
    assert found.codebook_size == 64


def test_codes_of_two_codecs_do_not_come_into_one_folder(waves: Path, tmp_path: Path) -> None:
    save_codec(Codec(CODEC_PRESETS["debug"]), str(tmp_path / "codec.pt"))
    encode_all(waves, tmp_path / "examples", tmp_path / "codec.pt")
    assert read_identity(tmp_path / "examples" / "codes") == identify(tmp_path / "codec.pt")
    with pytest.raises(InputError, match="give another folder"):
        encode_all(waves, tmp_path / "examples", "mini")


def test_packed_music_keeps_its_codec(tmp_path: Path) -> None:
    for name, codec in (("music", OTHER), ("held-out", OTHER)):
        with_codec(codec).save(tmp_path / f"{name}.npz", 4)
    music, held_out = read_packed(tmp_path)
    assert music.codec == held_out.codec == OTHER
    with_codec(replace(OTHER, sha256="1" * 64)).save(tmp_path / "held-out.npz", 4)
    with pytest.raises(InputError, match="pack all of them again"):
        read_packed(tmp_path)


def test_a_decoder_takes_the_sizes_of_its_codes_and_refuses_others(tmp_path: Path) -> None:
    large = CodecIdentity("large 1.0", "2" * 64, 8, 1024)
    examples = with_codec(large)
    material = PackedMaterial(examples, examples, (make_bank(), make_bank()))
    decoder = begin_decoder(TINY, None, material)
    assert decoder.config.codebook_size == 1024 and CodecIdentity.read(decoder.codec) == large
    save_decoder(Decoder(DECODER_PRESETS["debug"]), str(tmp_path / "small.pt"))
    with pytest.raises(InputError, match="reads 4 codebooks of 64 entries, but the codes are of large"):
        begin_decoder(TINY, str(tmp_path / "small.pt"), material)
    unknown = with_codec(None)  # packed before codecs were recorded: at least the sizes are compared
    unknown.examples[0].codes[0, 0] = 64
    with pytest.raises(InputError, match="entries up to 64"):
        begin_decoder(TINY, None, PackedMaterial(unknown, unknown, (make_bank(), make_bank())))


def test_export_refuses_another_codec_than_the_decoder_learned(tmp_path: Path) -> None:
    decoder = Decoder(DECODER_PRESETS["debug"])
    decoder.codec = OTHER.as_dict()
    save_decoder(decoder, str(tmp_path / "decoder.pt"))
    kept = load_decoder(str(tmp_path / "decoder.pt"))
    assert kept.codec == OTHER.as_dict()
    with pytest.raises(ModelError, match="learned codes of the codec other"):
        check_language(find_weights("mini"), kept)
    with pytest.raises(ModelError, match="learned codes of the codec other"):
        check_language(Codec(CODEC_PRESETS["debug"]), kept)
    kept.codec = None
    check_language(find_weights("mini"), kept)


def test_musicgen_is_trained_on_its_own_codes(waves: Path, musicgen: Path, tmp_path: Path) -> None:
    own = identify(musicgen)
    encode_all(waves, tmp_path / "examples", musicgen)
    assert read_identity(tmp_path / "examples" / "codes") == own and own.codebook_size == 64
    codes = [np.load(path) for path in sorted((tmp_path / "examples" / "codes").glob("*.npy"))]
    assert [x.shape for x in codes] == [(own.n_codebooks, 300)] * 2 and len(np.unique(codes[0])) > 20
    made = make_examples().examples
    packed = Examples(
        [replace(e, codes=codes[i % 2][:4]) for i, e in enumerate(made)], codec=own
    )  # curves and beats do not matter here
    options = JointOptions(float("inf"), start_from=str(musicgen))
    bank = make_bank()
    recipe = replace(TINY, steps=1, save_every=1)
    train(PackedMaterial(packed, packed, (bank, bank)), tmp_path / "run", recipe, options)
    trained = open_decoder(tmp_path / "run" / "decoder.pt")
    assert isinstance(trained, MusicGenDecoder) and CodecIdentity.read(trained.codec) == own
    with pytest.raises(InputError, match="train examples encode WAVES EXAMPLES"):
        begin_decoder(TINY, str(musicgen), PackedMaterial(with_codec(OTHER), with_codec(OTHER), (bank, bank)))
    with pytest.raises(ModelError, match="scoring runs our own decoder"):
        open_own(tmp_path / "run" / "decoder.pt")
    with pytest.raises(ModelError, match="holds the weights of another program"):
        find_weights(musicgen)
    assert torch.isfinite(torch.cat([p.flatten() for p in trained.parameters()])).all()
