"""The .ovc file: what is written is read, and nothing else is."""

import dataclasses
import json
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openvmas.codec.ovc import (
    MAGIC,
    CodesFile,
    bits_of,
    from_bytes,
    pack,
    packed_size,
    read_codes,
    to_bytes,
    unpack,
)
from openvmas.errors import InputError


def make_file(n_codebooks: int = 3, n_steps: int = 7, codebook_size: int = 1024, seed: int = 0) -> CodesFile:
    codes = np.random.default_rng(seed).integers(0, codebook_size, (n_codebooks, n_steps))
    length = max(0, n_steps * 640 - 100)
    return CodesFile(codes, "mini", "ab" * 32, 32_000, 640, codebook_size, length, 44_100, length * 441 // 320)


def with_header(data: bytes, **changes: object) -> bytes:
    """The same file with another header and a right checksum."""
    n_header = struct.unpack_from("<I", data, 8)[0]
    header = {**json.loads(data[20 : 20 + n_header]), **changes}
    text = json.dumps({name: value for name, value in header.items() if value is not ...}).encode()
    codes = data[20 + n_header : -4]
    body = struct.pack("<8sIQ", MAGIC, len(text), len(codes)) + text + codes
    return body + struct.pack("<I", zlib.crc32(body))


@settings(max_examples=60, deadline=None)
@given(
    n_codebooks=st.integers(1, 9),
    n_steps=st.integers(0, 40),
    codebook_size=st.sampled_from([1, 2, 3, 64, 1000, 1024, 1025, 70_000]),
    seed=st.integers(0, 99),
)
def test_what_is_written_is_read(n_codebooks, n_steps, codebook_size, seed):
    file = make_file(n_codebooks, n_steps, codebook_size, seed)
    again = from_bytes(to_bytes(file), "a.ovc")
    assert np.array_equal(again.codes, file.codes) and again.codes.shape == (n_codebooks, n_steps)
    assert {**vars(again), "codes": None} == {**vars(file), "codes": None}


def test_bits_are_packed_step_by_step_highest_first():
    codes = np.array([[1, 2], [3, 0]])  # in bits of two: step 0 is 01 11, step 1 is 10 00
    assert pack(codes, 4) == bytes([0b01111000])
    assert unpack(pack(codes, 4), 2, 2, 4).tolist() == codes.tolist()
    assert [bits_of(size) for size in (1, 2, 3, 64, 65, 1024, 1025)] == [1, 1, 2, 6, 7, 10, 11]
    assert packed_size(8, 50, 1024) == 500 and packed_size(1, 3, 4) == 1


def test_bit_rate_and_duration():
    file = make_file(8, 50)
    assert file.bits_per_second == 4000
    assert dataclasses.replace(file, original_length=22_050).duration == 0.5


def test_every_cut_is_noticed():
    data = to_bytes(make_file())
    for n in range(len(data)):
        with pytest.raises(InputError, match=r"a\.ovc is (empty|cut short)"):
            from_bytes(data[:n], "a.ovc")
    with pytest.raises(InputError, match="damaged"):
        from_bytes(data + b"\0", "a.ovc")


def test_every_changed_byte_is_noticed():
    data = to_bytes(make_file())
    for i in range(len(data)):
        for flip in (1, 0x80, 0xFF):
            changed = bytearray(data)
            changed[i] ^= flip
            with pytest.raises(InputError, match=r"damaged|cut short|not an \.ovc file"):
                from_bytes(bytes(changed), "a.ovc")


def test_a_later_format_is_named():
    with pytest.raises(InputError, match="format 2, but this version reads 1; install the openvmas that wrote it"):
        from_bytes(with_header(to_bytes(make_file()), format=2), "a.ovc")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("length", -1), ("length", 10**9), ("length", 1.5), ("length", ...), ("hop_length", 0), ("hop_length", True),
        ("sample_rate", "32000"), ("n_codebooks", 4), ("n_codebooks", 0), ("codebook_size", 2**60), ("model", 3),
        ("model", "a\nb"), ("model", "x" * 500), ("codebook_size", 513), ("format", ...), ("codebooks_sha256", None),
    ],
)  # fmt: skip
def test_a_header_that_makes_no_sense_is_refused(name, value):
    data = to_bytes(make_file(n_steps=200))
    with pytest.raises(InputError, match="header that makes no sense") as raised:
        from_bytes(with_header(data, **{name: value}), "a.ovc")
    assert len(str(raised.value)) < 200 and "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"RIFF" + bytes(100), "is not an .ovc file"),
        (b"\x89", "is cut short"),
        (MAGIC.replace(b"\r\n", b"\n") + bytes(40), "is not an .ovc file"),
        (MAGIC + struct.pack("<IQ", 2**32 - 1, 0) + bytes(40), "is damaged"),
        (MAGIC + struct.pack("<IQ", 10, 2**63) + bytes(40), "is cut short or damaged"),
    ],
)
def test_foreign_files_are_refused(tmp_path: Path, content, message):
    (tmp_path / "a.ovc").write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_codes(tmp_path / "a.ovc")


def test_what_is_no_file_is_refused(tmp_path: Path):
    with pytest.raises(InputError, match="is a folder"):
        read_codes(tmp_path)
    with pytest.raises(InputError, match="does not exist"):
        read_codes(tmp_path / "gone.ovc")
    (tmp_path / "a.ovc").write_bytes(to_bytes(make_file()))
    assert read_codes(tmp_path / "a.ovc").n_codebooks == 3
