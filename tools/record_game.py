"""Record a free game with its own music on a virtual screen, for the corpus "play". Needs Linux, apt-get and root.

    python tools/record_game.py CORPUS --seconds 60

Fetches the game Ri-li (GPL-2 or GPL-3), Xvfb and what they need from Debian into CORPUS/games/root, runs both inside it
(chroot; nothing is installed), starts a round by mouse and writes CORPUS/films/ri-li.mp4. Pictures come from Xvfb's
frame buffer; sound from SDL's "disk" driver. Every frame is stamped with how much sound the game had written by then,
so sound and picture share one clock however slow the machine is. The game writes sound in blocks of 4,096 samples
(0.19 s), which is how far its effects can be from the picture.
"""

from __future__ import annotations

import argparse
import os
import shutil
import struct
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

WANTED = ("ri-li", "xvfb", "xdotool", "x11-xkb-utils", "xkb-data", "bash", "coreutils")
NEEDLESS = ("mesa", "llvm", "soundfont", "perl", "debconf", "dpkg", "dbus-", "fontconfig", "python", "gcc-12-base")
DISPLAY = ":77"
SIZE = (800, 600)
SOUND_RATE, SOUND_CHANNELS = 22_050, 2  # what the game opens; 16 bit
SOUND = "SDL_AUDIODRIVER=disk SDL_DISKAUDIODELAY=20 SDL_DISKAUDIOFILE=/tmp/sound.raw"
GAME = f"export HOME=/tmp {SOUND}; exec /usr/games/ri-li"
CLICKS = ((130, 135), (400, 228), (400, 228))  # English, Play, the first level
# Any key begins a round; arrows and space turn points and change speed. Nobody plays well here, but the train runs.
PLAYER = "while true; do for key in space Left Right Up Left; do xdotool key $key; sleep 1.3; done; done"
FPS = 12.5
LEAST_MOVING = 0.2  # share of frames that must differ from the last


def make_root(root: Path) -> None:
    """Unpack the game and all it needs; what is there already is kept."""
    if (root / "usr/games/ri-li").exists():
        return
    debs = root.parent / "deb"
    debs.mkdir(parents=True, exist_ok=True)
    flags = [f"--no-{what}" for what in ("recommends", "suggests", "conflicts", "breaks", "replaces", "enhances")]
    listing = subprocess.run(["apt-cache", "depends", "--recurse", *flags, *WANTED], capture_output=True, text=True)
    names = sorted({line for line in listing.stdout.splitlines() if line[:1].isalnum()})
    names = [name for name in names if not any(word in name for word in NEEDLESS)]
    subprocess.run(["apt-get", "download", *names], cwd=debs, check=True, capture_output=True)
    for deb in sorted(debs.glob("*.deb")):
        subprocess.run(["dpkg", "-x", str(deb), str(root)], check=True)


def prepare(root: Path) -> None:
    """A shell, two devices and a place for sockets."""
    shell = root / "bin/sh"
    if not shell.exists() and not shell.is_symlink():
        shell.symlink_to("bash")
    for name, minor, mode in (("null", 3, 0o666), ("urandom", 9, 0o444)):
        if not (root / "dev" / name).exists():
            os.mknod(root / "dev" / name, mode | 0o020000, os.makedev(1, minor))
    (root / "tmp/.X11-unix").mkdir(parents=True, exist_ok=True)
    for left in (root / "tmp").glob("*.raw"):
        left.unlink()


def inside(root: Path, command: str) -> subprocess.Popen[bytes]:
    """A shell command in the unpacked system, on the virtual screen."""
    environment = {"DISPLAY": DISPLAY, "PATH": "/usr/bin:/bin:/usr/games"}
    return subprocess.Popen(
        [shutil.which("chroot") or "/usr/sbin/chroot", str(root), "/bin/bash", "-c", f"cd /tmp; {command}"],
        env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip


def read_screen(path: Path) -> np.ndarray:
    """Xvfb's frame buffer, an XWD file: [h, w, 3] uint8."""
    data = path.read_bytes()
    header = struct.unpack(">25I", data[:100])
    width, height, row = header[4], header[5], header[12]
    offset = header[0] + header[19] * 12
    pixels = np.frombuffer(data, np.uint8, row * height, offset).reshape(height, row // 4, 4)
    return np.ascontiguousarray(pixels[:, :width, 2::-1])


class Film:
    """Frames on the sound's clock, encoded as they come."""

    def __init__(self, path: Path) -> None:
        self.container = av.open(str(path), "w", format="mp4")
        self.stream = self.container.add_stream(
            "libx264", rate=Fraction(25), options={"crf": "24", "preset": "veryfast"}
        )
        self.stream.width, self.stream.height, self.stream.pix_fmt = *SIZE, "yuv420p"
        self.stream.time_base = self.stream.codec_context.time_base = Fraction(1, SOUND_RATE)
        self.sound = self.container.add_stream("aac", rate=SOUND_RATE, layout="stereo")
        self.last = -1

    def add(self, picture: np.ndarray, at: int) -> None:
        """A picture at a sample of the sound; one for every moment at most."""
        if at > self.last:
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base, self.last = at, Fraction(1, SOUND_RATE), at
            self.container.mux(self.stream.encode(frame))

    def finish(self, sound: np.ndarray) -> None:
        self.container.mux(self.stream.encode(None))
        block = av.AudioFrame.from_ndarray(np.ascontiguousarray(sound.T), format="fltp", layout="stereo")
        block.sample_rate = SOUND_RATE
        self.container.mux(self.sound.encode(block))
        self.container.mux(self.sound.encode(None))
        self.container.close()


def record(root: Path, seconds: float, path: Path) -> float:
    """Play and film for so many seconds of sound; returns seconds of sound per second of the clock."""
    screen, sound = root / "tmp/Xvfb_screen0", root / "tmp/sound.raw"
    server = f"exec /usr/bin/Xvfb {DISPLAY} -screen 0 {SIZE[0]}x{SIZE[1]}x24 -fbdir /tmp -nolisten tcp -ac -noreset"
    running = [inside(root, server)]
    try:
        time.sleep(4)
        running.append(inside(root, GAME))
        wait_for(sound, 20)
        for x, y in CLICKS:
            time.sleep(4)
            inside(root, f"xdotool mousemove {x} {y} click 1").wait()
        time.sleep(4)
        running.append(inside(root, PLAYER))
        first, began = samples(sound), time.monotonic()
        film = Film(path)
        step, n_moved, last = 0, 0, read_screen(screen)
        while (now := samples(sound) - first) < seconds * SOUND_RATE:
            if running[1].poll() is not None or time.monotonic() - began > 20 * seconds:
                raise RuntimeError("the game ended or stood still before the film was long enough")
            picture = read_screen(screen)
            film.add(picture, now)
            n_moved += bool((picture[::4, ::4] != last[::4, ::4]).any())
            step, last = step + 1, picture
            time.sleep(max(began + step / FPS - time.monotonic(), 0))
        pace = seconds / (time.monotonic() - began)
        if n_moved < LEAST_MOVING * step:
            raise RuntimeError(f"the game stood still: {n_moved} of {step} pictures moved; look at PLAYER and CLICKS")
        raw = np.fromfile(sound, "<i2").reshape(-1, SOUND_CHANNELS)[first : first + round(seconds * SOUND_RATE)]
        film.finish(raw.astype(np.float32) / 32768)
        return pace
    finally:
        for process in reversed(running):
            process.terminate()
            process.wait()


def samples(sound: Path) -> int:
    """Number of samples of sound that the game has written."""
    return sound.stat().st_size // (2 * SOUND_CHANNELS)


def wait_for(path: Path, limit: float) -> None:
    until = time.monotonic() + limit
    while not path.exists():
        if time.monotonic() > until:
            raise RuntimeError("the game did not start; run it by hand inside CORPUS/games/root to see why")
        time.sleep(0.2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--seconds", type=float, default=60.0)
    options = parser.parse_args()
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        sys.exit("error: recording needs Linux with apt-get and root (for chroot); run it in a container as root.")
    root, path = options.corpus / "games/root", options.corpus / "films/ri-li.mp4"
    if path.exists():
        sys.exit(f"error: {path} exists already; remove it to record again.")
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    try:
        make_root(root)
        prepare(root)
        pace = record(root, options.seconds, part)
    except (RuntimeError, subprocess.CalledProcessError) as error:
        part.unlink(missing_ok=True)
        sys.exit(f"error: {error}")
    part.replace(path)
    print(f"{path}: {options.seconds:.0f} s, {pace:.2f} s of sound per second of the clock")


if __name__ == "__main__":
    main()
