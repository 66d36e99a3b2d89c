"""Stages of the tests' own, named in recipes as `tests.data.stage_kit:CLASS`: cheap ones, and ones that do harm."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from openvmas.data.curation.record import Drop, Record, make_id
from openvmas.data.curation.record_media import Media
from openvmas.settings import option


@dataclass(frozen=True)
class Bytes:
    """Looks at the file's bytes only; refuses files that say so, keeps their histogram."""

    refuse: str = option("BAD", "What a refused file begins with.")
    seconds: float = option(0.0, "How long to work on each, s.", min=0)
    name: ClassVar[str] = "bytes"

    def __call__(self, record: Record, media: Media) -> Record | Drop:
        data = media.path.read_bytes()
        time.sleep(self.seconds)
        if data.startswith(self.refuse.encode()):
            return Drop(record, self.name, "says so", f"{len(data)} bytes")
        media.arrays["histogram"] = np.bincount(np.frombuffer(data, np.uint8), minlength=256)
        return record.with_facts(self.name, size=len(data))


@dataclass(frozen=True)
class Halves:
    """Cuts every record into two of a second each."""

    name: ClassVar[str] = "halves"

    def __call__(self, record: Record, media: Media) -> list[Record]:
        spans = [(record.start, record.start + 1.0), (record.start + 1.0, record.start + 2.0)]
        uri, source = record.origin.uri, record.origin.source
        facts = record.facts
        return [Record(make_id(source, uri, *span), record.kind, record.origin, *span, facts=facts) for span in spans]


@dataclass(frozen=True)
class Harm:
    """Does what the file's first word asks for."""

    name: ClassVar[str] = "harm"

    def __call__(self, record: Record, media: Media) -> Record:
        word = media.path.read_bytes()[:64].split(b" ")[0].decode()
        if word == "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        if word == "raise":
            raise KeyError(f"a fault with {media.path}")
        if word == "exit":
            os._exit(0)
        if word == "eat":
            kept = []
            while True:
                kept.append(np.empty(4_000_000))
        if word == "spin":
            while True:
                pass
        if word == "sleep":
            time.sleep(10_000)
        if word == "print":
            print("not an answer")
        if word == "once" and not (mark := media.path.with_suffix(".mark")).exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGABRT)
        return record.with_facts(self.name, word=word)
