"""The .ovc file: codes of a sound, packed in as few bits as they need, with what is needed to decode them.

Numbers are little-endian:

    8 bytes    magic: 89 4F 56 43 0D 0A 1A 0A (as PNG's, so that a transfer as text is noticed)
    4 bytes    length of the header, bytes
    8 bytes    length of the codes, bytes
    header     JSON in UTF-8, see CodesFile; "format" is 1
    codes      step by step, in each step codebook by codebook; every code takes ceil(log2(codebook_size)) bits, highest
               first; zero bits fill the last byte
    4 bytes    CRC-32 (as zlib's) of everything before it
"""

from __future__ import annotations

import dataclasses
import json
import os
import struct
import zlib
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from openvmas.errors import InputError

MAGIC = b"\x89OVC\r\n\x1a\n"
FORMAT = 1
EXTENSION = ".ovc"
_PREFIX = struct.Struct("<8sIQ")
_CRC = struct.Struct("<I")
_MAX_HEADER = 1 << 16  # bytes
_MAX_CODEBOOKS, _MAX_CODEBOOK_SIZE = 256, 1 << 20
_MAX_RATE = 1 << 24  # Hz
_MAX_NAME = 200  # characters


@dataclass(frozen=True)
class CodesFile:
    """Content of an .ovc file. codes: [K, T] int64 in 0 .. codebook_size - 1, T = ceil(length / hop_length).

    model: name of the model that encoded it; codebooks_sha256: of its codebooks, which give the codes their meaning.
    length: samples at sample_rate. original_length: samples of the source, at original_sample_rate.
    """

    codes: np.ndarray
    model: str
    codebooks_sha256: str
    sample_rate: int
    hop_length: int
    codebook_size: int
    length: int
    original_sample_rate: int
    original_length: int

    @property
    def n_codebooks(self) -> int:
        return len(self.codes)

    @property
    def duration(self) -> Fraction:
        """Length of the source, s."""
        return Fraction(self.original_length, self.original_sample_rate)

    @property
    def bits_per_second(self) -> Fraction:
        """Rate of the codes, without header."""
        return self.n_codebooks * bits_of(self.codebook_size) * Fraction(self.sample_rate, self.hop_length)


def bits_of(codebook_size: int) -> int:
    """Bits that an index into so many entries takes; at least one."""
    return max(1, (codebook_size - 1).bit_length())


def pack(codes: np.ndarray, codebook_size: int) -> bytes:
    """Codes [K, T] in as few bits as they need, step by step."""
    flat, n_bits = codes.T.reshape(-1), bits_of(codebook_size)
    bits = np.empty((len(flat), n_bits), np.uint8)
    for i in range(n_bits):
        bits[:, i] = (flat >> (n_bits - 1 - i)) & 1
    return np.packbits(bits).tobytes()


def unpack(data: bytes, n_codebooks: int, n_steps: int, codebook_size: int) -> np.ndarray:
    """Codes [K, T] int64 that `pack` packed."""
    n_bits, count = bits_of(codebook_size), n_codebooks * n_steps
    bits = np.unpackbits(np.frombuffer(data, np.uint8), count=count * n_bits).reshape(count, n_bits)
    codes = np.zeros(count, np.int64)
    for column in bits.T:
        codes = codes << 1 | column
    return np.ascontiguousarray(codes.reshape(n_steps, n_codebooks).T)


def packed_size(n_codebooks: int, n_steps: int, codebook_size: int) -> int:
    """Bytes that `pack` gives."""
    return (n_codebooks * n_steps * bits_of(codebook_size) + 7) // 8


def to_bytes(file: CodesFile) -> bytes:
    """The whole file."""
    fields = {f.name: getattr(file, f.name) for f in dataclasses.fields(file) if f.name != "codes"}
    header = json.dumps({"format": FORMAT, **fields, "n_codebooks": file.n_codebooks}).encode()
    codes = pack(file.codes, file.codebook_size)
    body = _PREFIX.pack(MAGIC, len(header), len(codes)) + header + codes
    return body + _CRC.pack(zlib.crc32(body))


def read_codes(path: str | Path) -> CodesFile:
    """Read an .ovc file. Raises InputError, with the reason, for what is not one or is not whole."""
    path = Path(path)
    if path.is_dir():
        raise InputError(f"{path} is a folder; give a file that `openvmas codec encode` wrote.")
    if not path.exists():
        raise InputError(f"{path} does not exist; check the path.")
    if not path.is_file():
        raise InputError(f"{path} is not a regular file; give a file that `openvmas codec encode` wrote.")
    try:
        with path.open("rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            prefix = stream.read(_PREFIX.size)
            check_prefix(path, prefix, size)
            data = prefix + stream.read()
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); check its permissions and the disk.") from error
    return from_bytes(data, str(path))


def check_prefix(path: Path, prefix: bytes, size: int) -> None:
    """Refuse by the first bytes what is foreign or not as long as it says. size: of the file. Raises InputError."""
    if size == 0:
        raise InputError(f"{path} is empty (0 bytes); encode or copy it again.")
    if prefix[: len(MAGIC)] != MAGIC[: len(prefix)]:
        raise InputError(f"{path} is not an {EXTENSION} file; give one that `openvmas codec encode` wrote.")
    if len(prefix) < _PREFIX.size:
        raise InputError(f"{path} is cut short ({size} bytes); copy or encode it again.")
    _, n_header, n_codes = _PREFIX.unpack(prefix)
    expected = _PREFIX.size + n_header + n_codes + _CRC.size
    if n_header > _MAX_HEADER or size > expected:
        raise InputError(f"{path} is damaged (its lengths do not fit); copy or encode it again.")
    if size < expected:
        raise InputError(f"{path} is cut short or damaged ({size} of {expected} bytes); copy or encode it again.")


def from_bytes(data: bytes, name: str) -> CodesFile:
    """The file in memory. name: for messages. Raises InputError where it is damaged or of a later format."""
    check_prefix(Path(name), data[: _PREFIX.size], len(data))
    _, n_header, _ = _PREFIX.unpack(data[: _PREFIX.size])
    if zlib.crc32(data[: -_CRC.size]) != _CRC.unpack(data[-_CRC.size :])[0]:
        raise InputError(f"{name} is damaged (its checksum is wrong); copy or encode it again.")
    body = data[_PREFIX.size + n_header : -_CRC.size]
    try:
        header = json.loads(data[_PREFIX.size : _PREFIX.size + n_header])
        version = header["format"]
        if version != FORMAT:
            raise InputError(
                f"{name} has format {version}, but this version reads {FORMAT}; install the openvmas that wrote it."
            )
        return _parse(header, body)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(f"{name} has a header that makes no sense ({error}); encode it again.") from error


def _parse(header: dict[str, Any], body: bytes) -> CodesFile:
    """Checked header and codes; raises ValueError, KeyError or TypeError."""
    limits = {
        "n_codebooks": _MAX_CODEBOOKS, "codebook_size": _MAX_CODEBOOK_SIZE, "sample_rate": _MAX_RATE,
        "hop_length": _MAX_RATE, "original_sample_rate": _MAX_RATE,
    }  # fmt: skip
    sizes = {name: _whole(header, name, 1, most) for name, most in limits.items()}
    lengths = {name: _whole(header, name, 0, 1 << 48) for name in ("length", "original_length")}
    model, codebooks_sha256 = _text(header, "model"), _text(header, "codebooks_sha256")
    n_codebooks = sizes.pop("n_codebooks")
    n_steps = -(-lengths["length"] // sizes["hop_length"])
    if len(body) != packed_size(n_codebooks, n_steps, sizes["codebook_size"]):
        raise ValueError(f"{n_steps} steps do not take {len(body)} bytes")
    codes = unpack(body, n_codebooks, n_steps, sizes["codebook_size"])
    if codes.size and codes.max() >= sizes["codebook_size"]:
        raise ValueError(f"code {codes.max()} of {sizes['codebook_size']}")
    return CodesFile(codes, model, codebooks_sha256, **sizes, **lengths)


def _text(header: dict[str, Any], name: str) -> str:
    value = header[name]
    if not isinstance(value, str) or not value.isprintable() or len(value) > _MAX_NAME:
        raise TypeError(f"{name} is not a short text")
    return value


def _whole(header: dict[str, Any], name: str, least: int, most: int) -> int:
    value = header[name]
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise ValueError(f"{name} is {value!r:.40}")
    return value
