"""Damaged videos by the thousand: `python -m tests.media.fuzz [--minutes 10] [--seed N]`.

Bytes of ten small files are flipped, cut out and doubled, and a command runs on each damaged file in a process of its
own. Demanded are exit code 0 or 2, one sentence on standard error, no hidden file, no run over 60 s. The seed of a run
says everything about it; seeds that failed are printed, kept in build/fuzz.txt, and repeated by `--seed N --runs 1`.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import resource
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from openvmas.cli.main import main as openvmas
from openvmas.errors import OpenVMASError
from openvmas.generate import scorer
from tests import run_cli
from tests.media.clips import make_clip, tone
from tests.media.odd_clips import PLAIN, clicks, many_channels, remux, with_edits

PATIENCE = 60.0  # s that a run may take
MOST_MEMORY = 4 << 30  # bytes that a run may hold
KEPT = Path("build/fuzz.txt")
# Reading, decoding and writing without the analysis is ten times as fast, so most runs do only that.
COMMANDS = ("media",) * 8 + ("score",) * 3 + ("report", "analyze", "plan", "codec encode", "codec report")

Build = Callable[[Path], Path]
NUMBERS = (0, 1, 7, 0xFF, 0xFFFF, 1 << 24, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF)
SOUND = clicks(1.2, 0.3, 0.9) + 0.05 * tone(57_600, 330)


def _plain(folder: Path, kind: str = "mp4", **how: object) -> Path:
    return make_clip(folder / f"clip.{kind}", **{"n_frames": 30, "sound": SOUND, **how})  # type: ignore[arg-type]


def _joined(folder: Path) -> Path:
    part = _plain(folder, "ts", options=PLAIN, base=Fraction(1, 90_000))
    return _written(folder / "twice.ts", part.read_bytes() * 2)


def _written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def _rich(folder: Path) -> Path:
    chapters = [{"id": 1, "start": 0, "end": 900, "time_base": Fraction(1, 1000), "metadata": {"title": "One"}}]
    return _plain(folder, cover=True, subtitles="mov_text", chapters=chapters, metadata={"title": "T", "make": "M"})


FILES: dict[str, Build] = {
    "mp4": lambda folder: _plain(folder, options=PLAIN),
    "rich": _rich,
    "edits": lambda folder: with_edits(_plain(folder, options=PLAIN), folder / "edits.mp4", (400, 0), (400, 0.7)),
    "fragments": lambda folder: _plain(folder, muxer={"movflags": "frag_keyframe+empty_moov"}, options={"g": "10"}),
    "channels": lambda folder: many_channels(folder / "many.mp4", "aac", "hexadecagonal", 16),
    "joined": _joined,
    "mkv": lambda folder: _plain(folder, "mkv", codec="libvpx-vp9", sound_codec="libopus", subtitles="subrip"),
    "avi": lambda folder: _plain(folder, "avi", codec="mpeg4", options={"bf": "1"}, sound_codec="libmp3lame"),
    "prores": lambda folder: _plain(folder, "mov", codec="prores_ks", pix_fmt="yuv422p10le", sound_codec="pcm_s16le"),
    "flv": lambda folder: remux(_plain(folder, options=PLAIN), folder / "clip.flv"),
}


def mutate(data: bytearray, draw: random.Random) -> None:
    """One to twenty bytes or numbers changed, spans cut out or doubled, headers and indexes more often."""
    for _ in range(draw.randint(1, 20)):
        place, kind = draw.randrange(len(data)), draw.random()
        if draw.random() < 0.5:
            near = draw.randint(0, min(4000, len(data) - 1))
            place = near if draw.random() < 0.5 else len(data) - 1 - near
        if kind < 0.2:  # sizes, counts and times
            data[place : place + 4] = draw.choice(NUMBERS).to_bytes(4, "big")
        elif kind < 0.6:
            data[place] = draw.randrange(256)
        elif kind < 0.8 and len(data) > 1000:
            del data[place : place + draw.randint(1, 400)]
        else:
            data[place:place] = data[place : place + draw.randint(1, 400)]


def run_media(clip: Path) -> int:
    """Everything that reads and writes media, without analysis and music."""
    import math

    from openvmas.media.audio import read_audio_blocks, write_wav
    from openvmas.media.containers import choose_extension
    from openvmas.media.mux import mux
    from openvmas.media.probe import probe
    from openvmas.media.video import FrameRequest, read_frames

    try:
        info = probe(clip)
        output = clip.with_name(f"out{choose_extension(info)[0]}")
        for _ in read_frames(clip, [FrameRequest(None, 64, True)], info):
            pass
        if info.has_audio:
            with contextlib.suppress(OpenVMASError):  # the sound alone may be beyond hope
                for _ in read_audio_blocks(clip, 48_000, 2, 48_000, info):
                    pass
        sound = clip.with_name("sound.wav")
        write_wav(sound, np.zeros((2, min(math.ceil(info.duration * 48_000), 48_000 * 600)), np.float32), 48_000)
        mux(clip, info, sound, output, overwrite=True)
    except OpenVMASError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def run_command(command: str, clip: Path) -> int:
    if command == "media":
        return run_media(clip)
    return openvmas([*command.split(), str(clip), "--quiet"])


def attempt(command: str, clip: Path, log: Path) -> tuple[int, float, int]:
    """Run a command in a child process: its wait status, s of wall clock, bytes of memory."""
    begin = time.monotonic()
    child = os.fork()
    if not child:
        code = 3
        try:
            with log.open("wb") as file:
                os.dup2(file.fileno(), 1)
                os.dup2(file.fileno(), 2)
            code = run_command(command, clip)
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    status, usage = 0, None
    while usage is None:
        done, status, found = os.wait4(child, os.WNOHANG)
        if done:
            usage = found
        elif time.monotonic() - begin > 2 * PATIENCE:
            os.kill(child, signal.SIGKILL)
        else:
            time.sleep(0.005)
    return status, time.monotonic() - begin, usage.ru_maxrss * 1024


def faults(status: int, seconds: float, memory: int, log: str, hidden: Iterable[str]) -> list[str]:
    """What is wrong with how a run ended, in words."""
    found = []
    if os.WIFSIGNALED(status):
        found.append(f"signal {os.WTERMSIG(status)}")
    elif os.WEXITSTATUS(status) not in (0, 2):
        found.append(f"exit code {os.WEXITSTATUS(status)}")
    elif os.WEXITSTATUS(status) == 2 and log.count("error: ") != 1:
        found.append("not one sentence")
    if "Traceback" in log or "Warning" in log:
        found.append("a traceback or a warning")
    if seconds > PATIENCE:
        found.append(f"{seconds:.0f} s")
    if memory > MOST_MEMORY:
        found.append(f"{memory >> 20} MB")
    return found + [f"hidden {name}" for name in hidden]


def fuzz(seeds: Iterable[int], until: float, names: Iterable[str] | None = None) -> tuple[int, list[str]]:
    """Number of runs, and a line for each that failed."""
    av.logging.set_level(None)
    warnings.simplefilter("ignore", DeprecationWarning)  # of forks of processes with threads
    scorer.load = run_cli.load
    lines: list[str] = []
    n_runs = 0
    with tempfile.TemporaryDirectory(prefix="fuzz-") as name:
        folder = Path(name)
        originals: dict[str, Path] = {}
        for kind in names or FILES:
            (folder / kind).mkdir()
            originals[kind] = FILES[kind](folder / kind)
        work = folder / "work"
        for seed in seeds:
            if time.monotonic() > until:
                break
            n_runs += 1
            draw = random.Random(seed)
            kind, command = draw.choice(list(originals)), draw.choice(COMMANDS)
            data = bytearray(originals[kind].read_bytes())
            mutate(data, draw)
            work.mkdir()
            clip = _written(work / f"clip{originals[kind].suffix}", bytes(data))
            log = folder / "log"
            status, seconds, memory = attempt(command, clip, log)
            text = log.read_text(encoding="utf-8", errors="replace")
            hidden = [item for item in os.listdir(work) if item.startswith(".") and not os.WIFSIGNALED(status)]
            for fault in faults(status, seconds, memory, text, hidden):
                lines.append(f"seed {seed}: {command} on damaged {kind}: {fault}")
                print(lines[-1], "\n", text[-1500:], flush=True)
            for item in work.iterdir():
                item.unlink()
            work.rmdir()
    return n_runs, lines


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="wall-clock time")
    parser.add_argument("--seed", type=int, default=None, help="the first seed; from the clock if left out")
    parser.add_argument("--runs", type=int, default=10**9)
    chosen = parser.parse_args()
    first = int(time.time()) * 1000 if chosen.seed is None else chosen.seed
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    print(f"seeds from {first}", flush=True)
    n_runs, lines = fuzz(range(first, first + chosen.runs), time.monotonic() + 60 * chosen.minutes)
    print(f"{n_runs} runs, {len(lines)} faults")
    if lines:
        KEPT.parent.mkdir(exist_ok=True)
        with KEPT.open("a", encoding="utf-8") as file:
            file.write("".join(f"{line}\n" for line in lines))
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
