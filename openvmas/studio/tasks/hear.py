"""In the sandbox: a recording that a user sent becomes a WAV file, with what its tags say of maker and licence."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from openvmas.errors import InputError
from openvmas.files import write_text
from openvmas.fitting.licence import read_credits
from openvmas.media.audio import read_audio_blocks, write_wav
from openvmas.settings import SAMPLE_RATE_OUT
from openvmas.studio.storage.sounds import FACTS, SoundFolder
from openvmas.studio.storage.take_sound import peaks_of, thin_peaks

SHORTEST = 2.0  # s
PEAKS = 300  # of the small waveform that is shown


def limited(blocks: Iterable[np.ndarray], name: str, minutes: float) -> Iterator[np.ndarray]:
    """Pass blocks on. Raises InputError where nothing can be read, or more than so many minutes."""
    n, source = 0, iter(blocks)
    while True:
        try:
            block = next(source)
        except StopIteration:
            return
        except InputError as error:
            raise InputError(
                f"{name} holds no sound that can be read; give a file such as mp3, wav, flac, ogg or m4a."
            ) from error
        n += block.shape[1]
        if n > minutes * 60 * SAMPLE_RATE_OUT:
            raise InputError(f"{name} is longer than the {minutes:g} minutes allowed here; cut the part that you want.")
        yield block


def hear(request: dict[str, Any], tell: Any) -> dict[str, Any]:
    """Decode the recording and note what it is. Returns the facts that are kept of it."""
    folder, name = SoundFolder(Path(request["folder"])), request["name"]
    source, target = Path(request["source"]), SoundFolder(Path(request["folder"])).wave(name)
    blocks = read_audio_blocks(source, SAMPLE_RATE_OUT, 2)
    mono: list[np.ndarray] = []

    def noting() -> Iterator[np.ndarray]:
        for block in limited(blocks, name, request["max_minutes"]):
            mono.append(peaks_of(block.mean(axis=0)))
            yield block

    n_samples = write_wav(target, noting(), SAMPLE_RATE_OUT)
    if n_samples < SHORTEST * SAMPLE_RATE_OUT:
        raise InputError(f"{name} has less than {SHORTEST:g} s of sound; give a longer recording.")
    credits = read_credits(source)
    licence = {"title": credits.title, "artist": credits.artist, "licence": credits.licence, "source": credits.source}
    if any(licence.values()):
        write_text(target.with_suffix(".license.json"), json.dumps(licence))
    duration = n_samples / SAMPLE_RATE_OUT
    _, high = thin_peaks(np.concatenate(mono), max(1, min(100, round(PEAKS / duration))))
    facts = {
        "id": folder.path.name, "filename": name, "duration": round(duration, 3), **licence,
        "attribution": credits.attribution, "peaks": high,
    }  # fmt: skip
    write_text(folder.path / FACTS, json.dumps(facts))
    return facts
