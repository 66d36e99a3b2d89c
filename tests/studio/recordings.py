"""Recordings that tests put into a project."""

from __future__ import annotations

from pathlib import Path

import httpx
import numpy as np

from openvmas.media.audio import write_wav
from openvmas.settings import SAMPLE_RATE_OUT
from tests.studio.kit import UPLOAD


def beats(path: Path, duration: float = 14.0, tempo: float = 120.0) -> bytes:
    """A recording with a clear beat."""
    times = np.arange(round(duration * SAMPLE_RATE_OUT)) / SAMPLE_RATE_OUT
    since = times % (60 / tempo)
    hat = np.random.default_rng(3).standard_normal(len(times)) * np.exp(-60 * since)
    wave = 0.4 * np.sin(2 * np.pi * 110 * times) * np.exp(-8 * since) + 0.1 * hat
    write_wav(path, np.repeat(wave[None], 2, axis=0).astype(np.float32), SAMPLE_RATE_OUT)
    return path.read_bytes()


def put(client: httpx.Client, project: str, data: bytes, name: str) -> httpx.Response:
    return client.post(f"/projects/{project}/sounds", params={"filename": name}, content=data, headers=UPLOAD)
