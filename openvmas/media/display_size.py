"""The display size in a finished Matroska or WebM file, which FFmpeg's muxer takes from a field that PyAV cannot set.

Elements and their meaning: RFC 9559 (Matroska), RFC 8794 (EBML).
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

_SEGMENT, _CLUSTER, _SEEK_HEAD, _TRACKS, _VOID, _CRC = 0x18538067, 0x1F43B675, 0x114D9B74, 0x1654AE6B, 0xEC, 0xBF
_ENTRY, _NUMBER, _VIDEO, _WIDTH, _HEIGHT = 0xAE, 0xD7, 0xE0, 0xB0, 0xBA
_DISPLAY = {0x54B0, 0x54BA, 0x54B2}  # width, height, unit
_SEEK_ID, _SEEK_POSITION = 0x53AB, 0x53AC
PADDING = 4096  # bytes beyond those of the codecs' headers that the muxer must leave free behind the track list


def display_size(width: int, height: int, aspect: Fraction) -> tuple[int, int]:
    """Whole pixels in the shape of a picture whose pixels have this aspect, near to its own size."""
    shape = width * aspect / height
    times = round(height / shape.denominator)
    if times:
        return shape.numerator * times, shape.denominator * times
    return max(1, round(width * aspect)), height


def write_display_size(path: Path, number: int, aspect: Fraction) -> None:
    """Set the pixel aspect of a track (by number) in a finished file with free room before its first cluster.

    The track list is written into that room and its old place becomes void, so that nothing else moves.
    """
    with path.open("r+b") as file:
        segment, elements = _head(file)
        tracks = next(element for element in elements if element[0] == _TRACKS)
        room = next(element for element in reversed(elements) if element[0] == _VOID)
        seek = next((element for element in elements if element[0] == _SEEK_HEAD), None)
        new = _element(_TRACKS, _summed(_changed(_payload(file, tracks), number, aspect)))
        left = room[3] - room[1] - len(new)
        if left < 2:
            raise OSError("no room for the track list")
        _put(file, room[1], new + _void(left))
        _put(file, tracks[1], _void(tracks[3] - tracks[1]))
        if seek is not None:
            follower = next((e for e in elements if e[0] == _VOID and e[1] == seek[3]), None)
            end = follower[3] if follower is not None else seek[3]
            listed = _element(_SEEK_HEAD, _summed(_pointed(_payload(file, seek), room[1] - segment)))
            if end - seek[1] - len(listed) >= 2:
                listed += _void(end - seek[1] - len(listed))
            if len(listed) == end - seek[1]:
                _put(file, seek[1], listed)


Element = tuple[int, int, int, int]  # id, start, start of the payload, end


def _head(file: BinaryIO) -> tuple[int, list[Element]]:
    """Where the segment's payload starts, and its elements before the first cluster."""
    elements: list[Element] = []
    position, segment = 0, 0
    while True:
        file.seek(position)
        identity, start, length = _header(file.read(16))
        start += position
        if identity == _SEGMENT:
            segment = position = start
            continue
        if identity == _CLUSTER:
            return segment, elements
        if segment:
            elements.append((identity, position, start, start + length))
        position = start + length


def _header(data: bytes) -> tuple[int, int, int]:
    """(id, bytes of the header, bytes of the payload)."""
    if len(data) < 2 or not data[0]:
        raise OSError("not an EBML element")
    n_id = 9 - data[0].bit_length()
    n_size = 9 - data[n_id].bit_length()
    size = int.from_bytes(data[n_id : n_id + n_size], "big") & ((1 << 7 * n_size) - 1)
    return int.from_bytes(data[:n_id], "big"), n_id + n_size, size


def _children(payload: bytes) -> Iterator[tuple[int, bytes]]:
    """(id, payload) of the elements inside one, without its checksum."""
    while payload:
        identity, head, size = _header(payload)
        if identity != _CRC:
            yield identity, payload[head : head + size]
        payload = payload[head + size :]


def _element(identity: int, payload: bytes) -> bytes:
    n_size = next(n for n in range(1, 9) if len(payload) < (1 << 7 * n) - 1)
    size = (len(payload) | 1 << 7 * n_size).to_bytes(n_size, "big")
    return identity.to_bytes((identity.bit_length() + 7) // 8, "big") + size + payload


def _number(value: int) -> bytes:
    return value.to_bytes(max(1, (value.bit_length() + 7) // 8), "big")


def _summed(payload: bytes) -> bytes:
    """The payload behind its checksum."""
    return _element(_CRC, zlib.crc32(payload).to_bytes(4, "little")) + payload


def _void(size: int) -> bytes:
    if size < 10:
        return bytes([_VOID, 0x80 | size - 2]) + bytes(size - 2)
    return bytes([_VOID]) + (size - 9 | 1 << 56).to_bytes(8, "big") + bytes(size - 9)


def _changed(tracks: bytes, number: int, aspect: Fraction) -> bytes:
    entries = []
    for identity, payload in _children(tracks):
        parts = list(_children(payload)) if identity == _ENTRY else []
        if any(name == _NUMBER and int.from_bytes(value, "big") == number for name, value in parts):
            payload = b"".join(
                _element(name, _shaped(value, aspect) if name == _VIDEO else value) for name, value in parts
            )
        entries.append(_element(identity, payload))
    return b"".join(entries)


def _shaped(video: bytes, aspect: Fraction) -> bytes:
    parts = [(name, value) for name, value in _children(video) if name not in _DISPLAY]
    stored = {name: int.from_bytes(value, "big") for name, value in parts if name in (_WIDTH, _HEIGHT)}
    width, height = display_size(stored[_WIDTH], stored[_HEIGHT], aspect)
    parts += [(0x54B0, _number(width)), (0x54BA, _number(height))]
    return b"".join(_element(name, value) for name, value in parts)


def _pointed(seek_head: bytes, position: int) -> bytes:
    """The list of places with the track list at another one."""
    entries = []
    for identity, payload in _children(seek_head):
        parts = list(_children(payload))
        if (_SEEK_ID, _TRACKS.to_bytes(4, "big")) in parts:
            parts = [(name, _number(position) if name == _SEEK_POSITION else value) for name, value in parts]
        entries.append(_element(identity, b"".join(_element(name, value) for name, value in parts)))
    return b"".join(entries)


def _payload(file: BinaryIO, element: Element) -> bytes:
    file.seek(element[2])
    return file.read(element[3] - element[2])


def _put(file: BinaryIO, position: int, data: bytes) -> None:
    file.seek(position)
    file.write(data)
