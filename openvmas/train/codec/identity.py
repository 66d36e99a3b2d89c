"""The codec that codes were made by, by name and by its codebooks: what tells whether a decoder can read them.

It travels with the codes: `train examples encode` writes it beside them, packed examples and curated sets hold it, a
decoder's checkpoint names the codec whose codes it learned, and every door where two of them meet compares.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from openvmas.codec.runtime import CodecRunner
from openvmas.errors import InputError, ModelError
from openvmas.files import write_text
from openvmas.pretrained import find_weights

if TYPE_CHECKING:
    from openvmas.model.decoder import DecoderConfig

NAME = "codec.json"  # beside the codes of `train examples encode`
FOREIGN = ("encodec", "musicgen")  # model types of folders that hold an EnCodec


@dataclass(frozen=True)
class CodecIdentity:
    """name: for people. sha256: of the codebooks, which give codes their meaning. n_codebooks, codebook_size: K, V."""

    name: str
    sha256: str
    n_codebooks: int
    codebook_size: int

    @classmethod
    def read(cls, found: Mapping[str, Any] | None) -> CodecIdentity | None:
        """Back from `asdict`; None for nothing."""
        return cls(**found) if found else None

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for checkpoints and JSON."""
        return asdict(self)

    def fit(self, sizes: DecoderConfig) -> DecoderConfig:
        """A decoder's sizes for these codes: all entries of a codebook, and no more codebooks than there are."""
        n_codebooks = min(sizes.n_codebooks, self.n_codebooks) if self.n_codebooks else sizes.n_codebooks
        return replace(sizes, codebook_size=self.codebook_size, n_codebooks=n_codebooks)

    def check_decoder(self, decoder: Any, name: str) -> None:
        """Raises InputError if a decoder cannot read these codes."""
        sizes = decoder.config
        if sizes.codebook_size != self.codebook_size or sizes.n_codebooks > (self.n_codebooks or sizes.n_codebooks):
            raise InputError(
                f"{name} reads {sizes.n_codebooks} codebooks of {sizes.codebook_size} entries, but the codes are of "
                f"{self.name}, {self.n_codebooks} of {self.codebook_size}; encode the music with the codec that it was "
                "trained for, or begin without it."
            )

    def require(self, other: CodecIdentity | None, what: str, remedy: str) -> None:
        """Raises InputError where the codes of `what` are of another codec; nothing is said of an unknown one."""
        if other is not None and other.sha256 != self.sha256:
            raise InputError(
                f"the codes of {what} are of the codec {other.name} ({other.sha256[:8]}), not of {self.name} "
                f"({self.sha256[:8]}); {remedy}"
            )


def has_encodec(folder: str | Path) -> bool:
    """Whether a folder holds EnCodec, alone or inside MusicGen, as `transformers` saves it."""
    try:
        found = json.loads((Path(folder) / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(found, dict) and found.get("model_type") in FOREIGN


def identify(codec: str | Path) -> CodecIdentity:
    """The codec of a codec.pt, of a preset or folder of exported weights, or of a folder with EnCodec.

    A checkpoint and what is exported from it are one codec. Raises ModelError.
    """
    if str(codec).endswith(".pt"):
        from openvmas.codec.autoencoder import load_codec

        if not Path(codec).is_file():
            raise ModelError(f"there is no codec {codec}; give a codec.pt, a preset or a folder of weights.")
        network = load_codec(str(codec))
        config, books = network.config, network.quantizer.codebooks.detach().numpy()
        name = f"{Path(codec).absolute().parent.name}/{Path(codec).name}"
        return CodecIdentity(name, hash_codebooks(books), config.n_codebooks, config.codebook_size)
    if has_encodec(codec):
        from openvmas.hub.encodec import load_encodec

        foreign = load_encodec(codec)
        sizes = foreign.config
        books = np.stack([level.codebook.embed.numpy() for level in foreign.model.quantizer.layers])
        name = f"EnCodec of {Path(codec).absolute().name}"
        return CodecIdentity(name, hash_codebooks(books), sizes.n_codebooks, sizes.codebook_size)
    runner = CodecRunner(find_weights(codec), threads=1)
    name = f"{runner.weights.name} {runner.weights.version}"
    return CodecIdentity(name, runner.codebooks_sha256, runner.n_codebooks, runner.codebook_size)


def hash_codebooks(books: np.ndarray) -> str:
    """SHA-256 of the file of codebooks [K, V, D] that an export of them is."""
    file = io.BytesIO()
    np.savez(file, codebooks=books.astype(np.float16))
    return hashlib.sha256(file.getvalue()).hexdigest()


def keep_identity(folder: Path, codec: str | Path) -> None:
    """Record the codec beside the codes that are made by it. Raises InputError if those there are of another one."""
    mine, path = identify(codec), folder / NAME
    if path.is_file():
        mine.require(read_identity(folder), str(folder), "give another folder for these codes.")
    elif not any(folder.glob("*.npy")):  # of codes from before they were recorded nothing can be said
        write_text(path, json.dumps(mine.as_dict(), indent=1) + "\n")


def read_identity(folder: Path) -> CodecIdentity | None:
    """The codec of codes in a folder of `train examples encode`, None where it is not recorded."""
    path = folder / NAME
    return CodecIdentity.read(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else None
