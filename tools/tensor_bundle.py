"""Read a TensorFlow checkpoint (a "tensor bundle": .index and .data files) with NumPy alone.

The index is a table in LevelDB's format: blocks of key-value pairs whose keys share prefixes, and a footer that points
to the block of blocks. Each value is a BundleEntryProto: data type, shape, offset and size in the data file, CRC-32C.
Formats: tensorflow/core/util/tensor_bundle and protobuf/tensor_bundle.proto; google/leveldb, doc/table_format.md.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

MAGIC = 0xDB4775248B80FB57  # the last eight bytes of a LevelDB table
FOOTER = 48  # bytes
FLOAT = 1  # DT_FLOAT
CASTAGNOLI = 0x82F63B78  # CRC-32C, reflected


@dataclass
class Entry:
    """Place of one tensor. shape: sizes; offset, size: bytes; checksum: masked CRC-32C."""

    dtype: int = 0
    shape: list[int] = field(default_factory=list)
    offset: int = 0
    size: int = 0
    checksum: int = 0


def read_bundle(index: bytes, data: bytes, leave_out: tuple[str, ...] = ("/Adam", "_power")) -> dict[str, np.ndarray]:
    """Read all float32 tensors of a one-shard checkpoint by name, except those whose names hold a part of `leave_out`.

    Raises ValueError if the files are not such a checkpoint or a tensor's checksum is wrong.
    """
    if len(index) < FOOTER or struct.unpack("<Q", index[-8:])[0] != MAGIC:
        raise ValueError("this is not the index of a TensorFlow checkpoint")
    _, position = read_varint(index, len(index) - FOOTER)  # the metaindex handle comes first
    _, position = read_varint(index, position)
    root = read_block(index, position)
    tensors: dict[str, np.ndarray] = {}
    for _, handle in root:
        for key, value in read_block(index, 0, handle):
            name = key.decode()
            if not name or any(part in name for part in leave_out):
                continue  # the empty key is the header
            entry = read_entry(value)
            if entry.dtype != FLOAT:
                continue
            raw = data[entry.offset : entry.offset + entry.size]
            if len(raw) != entry.size or mask(crc32c(raw)) != entry.checksum:
                raise ValueError(f"tensor {name} of the checkpoint is damaged")
            tensors[name] = np.frombuffer(raw, "<f4").reshape(entry.shape)
    return tensors


def read_varint(data: bytes, position: int) -> tuple[int, int]:
    """A base-128 number and the position behind it."""
    value = shift = 0
    while True:
        byte = data[position]
        position += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, position
        shift += 7


def read_block(table: bytes, position: int, handle: bytes | None = None) -> list[tuple[bytes, bytes]]:
    """Keys and values of the block whose handle stands at `position` of the table, or is given."""
    source, position = (table, position) if handle is None else (handle, 0)
    offset, position = read_varint(source, position)
    size, _ = read_varint(source, position)
    if table[offset + size] != 0:
        raise ValueError("the checkpoint's index is compressed; only plain ones can be read")
    block = table[offset : offset + size]
    end = len(block) - 4 * (struct.unpack("<I", block[-4:])[0] + 1)  # restart points and their count
    pairs, key, position = [], b"", 0
    while position < end:
        shared, position = read_varint(block, position)
        fresh, position = read_varint(block, position)
        length, position = read_varint(block, position)
        key = key[:shared] + block[position : position + fresh]
        position += fresh
        pairs.append((key, block[position : position + length]))
        position += length
    return pairs


def read_fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Numbers and values of a protocol buffer's fields."""
    position = 0
    while position < len(message):
        tag, position = read_varint(message, position)
        number, kind = tag >> 3, tag & 7
        if kind == 0:
            value, position = read_varint(message, position)
            yield number, value
            continue
        if kind == 2:
            size, position = read_varint(message, position)
        else:
            size = {1: 8, 5: 4}[kind]
        yield number, message[position : position + size]
        position += size


def read_entry(message: bytes) -> Entry:
    """A BundleEntryProto."""
    entry = Entry()
    for number, value in read_fields(message):
        if isinstance(value, bytes):
            if number == 2:  # TensorShapeProto: repeated dim = 2, each with size = 1
                dims = [
                    dict(read_fields(dim)) for kind, dim in read_fields(value) if kind == 2 and isinstance(dim, bytes)
                ]
                entry.shape = [int(dim.get(1, 0)) for dim in dims]
            elif number == 6:
                entry.checksum = struct.unpack("<I", value)[0]
        elif number == 1:
            entry.dtype = value
        elif number == 3 and value:
            raise ValueError("the checkpoint has several data files; only one can be read")
        elif number == 4:
            entry.offset = value
        elif number == 5:
            entry.size = value
    return entry


def crc_table() -> list[int]:
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = (byte >> 1) ^ (CASTAGNOLI if byte & 1 else 0)
        table.append(byte)
    return table


TABLE = crc_table()


def crc32c(data: bytes) -> int:
    """CRC-32C (Castagnoli); 10 MB take about a second."""
    value = 0xFFFFFFFF
    for byte in data:
        value = TABLE[(value ^ byte) & 255] ^ (value >> 8)
    return value ^ 0xFFFFFFFF


def mask(crc: int) -> int:
    """The form in which TensorFlow and LevelDB store checksums."""
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
