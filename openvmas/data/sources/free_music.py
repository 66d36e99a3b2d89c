"""Freely licensed recorded music in Debian packages: fetched by name, unpacked, checked, with author and licence.

`apt-get` fetches where it is there; elsewhere a mirror's package list does, and checksums are compared. Archives are
read in plain Python. Nothing is installed.
"""

from __future__ import annotations

import fnmatch
import hashlib
import io
import lzma
import shutil
import subprocess
import tarfile
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from openvmas.errors import InputError
from openvmas.settings import SAMPLE_RATE_OUT

MIRROR = "https://deb.debian.org/debian"
RELEASE = "bookworm"
PACKAGES = (
    "0ad-data", "amoebax-data", "ardentryst", "asc-music", "berusky2-data", "colobot-common-sounds", "davegnukem-data",
    "extremetuxracer-data", "fillets-ng-data", "flare-game", "freecol", "freedroidrpg-data", "freeorion-data",
    "fretsonfire-songs-muldjord", "fretsonfire-songs-sectoid", "hedgewars-data", "hyperrogue-music",
    "lincity-ng-data", "marsshooter-data", "megaglest-data", "naev-data", "neverball-common", "nexuiz-music",
    "openclonk-data", "planetblupi-music-ogg", "plee-the-bear-data", "pushover-data", "redeclipse-data",
    "singularity-music", "starfighter-data", "supertux-data", "supertuxkart-data", "ufoai-music", "unknown-horizons",
    "vonsh", "warzone2100-music", "wesnoth-1.16-music", "widelands-data", "xmoto-data",
)  # fmt: skip
LEFT_OUT = {
    "drascula-music": "a licence of its own with limits",
    "trackballs-data": "a licence of its own with limits",
    "warmux-data": "a non-commercial clause in its copyright file",
    "cube2-data": "a licence of its own",
}
# Packages whose copyright file is in free words, as docs/data-card.md reads them; the others' tracks say nothing.
IN_WORDS = {"wesnoth-1.16-music": "GPL-2+", "nexuiz-music": "GPL-2+"}
AUDIO = (".ogg", ".oga", ".opus", ".flac", ".mp3", ".wav")
NESTED = (".zip", ".pk3")
SHORTEST = 20.0  # s
SILENCE_DB = -60.0  # level of the middle of a track below which it is called silent
MAX_MEMBER = 1 << 30  # bytes of one file inside a zip


@dataclass(frozen=True)
class FreeTrack:
    """A checked track. path: below the folder of packages. licence: what the package says of this file, or the file
    itself; problem: why it is left out, "" if it is not."""

    path: str
    package: str
    seconds: float
    title: str
    author: str
    licence: str
    problem: str


def fetch_package(name: str, folder: Path, mirror: str = MIRROR) -> Path:
    """Download and unpack one package into FOLDER/NAME; what is there already is kept. Raises InputError.

    An archive that was fetched before an interruption is used again (apt-get compares its checksum).
    """
    target = folder / name
    if target.is_dir():
        return target
    fetched, part = folder / f".{name}.deb", folder / f".{name}.part"
    shutil.rmtree(part, ignore_errors=True)
    for place in (fetched, part):
        place.mkdir(parents=True, exist_ok=True)
    try:
        archive = _apt_download(name, fetched) if mirror == MIRROR and shutil.which("apt-get") else None
        archive = archive or _mirror_download(name, fetched, mirror)
        unpack_deb(archive, part)
        unpack_nested(part)
        part.replace(target)
    finally:
        shutil.rmtree(part, ignore_errors=True)
        if target.is_dir() or not any(fetched.iterdir()):
            shutil.rmtree(fetched)
    return target


def _apt_download(name: str, folder: Path) -> Path | None:
    """By apt-get, or None where this machine's package lists do not have it."""
    done = subprocess.run(["apt-get", "download", name], cwd=folder, capture_output=True, text=True)
    return next(folder.glob("*.deb"), None) if done.returncode == 0 else None


def _mirror_download(name: str, folder: Path, mirror: str) -> Path:
    listing = f"{mirror}/dists/{RELEASE}/main/binary-amd64/Packages.xz"
    try:
        with urllib.request.urlopen(listing, timeout=60) as answer:
            text = lzma.decompress(answer.read()).decode()
        found = find_package(name, text)
        with urllib.request.urlopen(f"{mirror}/{found['Filename']}", timeout=60) as answer:
            data = answer.read()
    except (urllib.error.URLError, lzma.LZMAError, TimeoutError) as error:
        raise InputError(
            f"{name} cannot be fetched from {mirror} ({error}); check the network and try again."
        ) from error
    if hashlib.sha256(data).hexdigest() != found["SHA256"]:
        raise InputError(f"{name} came damaged from {mirror}; try again.")
    path = folder / PurePosixPath(found["Filename"]).name
    path.write_bytes(data)
    return path


def find_package(name: str, listing: str) -> dict[str, str]:
    """The fields of a package in a mirror's list. Raises InputError if it is not there."""
    for paragraph in listing.split("\n\n"):
        if paragraph.startswith(f"Package: {name}\n"):
            pairs = (line.split(": ", 1) for line in paragraph.splitlines() if ": " in line and line[0] != " ")
            return {key: value for key, value in pairs}
    raise InputError(f"the mirror has no package {name}; it may have been renamed since Debian {RELEASE}.")


def unpack_deb(archive: Path, folder: Path) -> None:
    """The files of a Debian package (an ar archive with a tar in it), without dpkg. Raises InputError."""
    with archive.open("rb") as file:  # read as it goes: packages have more than a gigabyte
        is_archive = file.read(8) == b"!<arch>\n"
        while is_archive and len(header := file.read(60)) == 60:
            name = header[:16].decode("ascii", "replace").strip().rstrip("/")
            if name in ("data.tar.xz", "data.tar.gz", "data.tar.bz2", "data.tar"):
                with tarfile.open(fileobj=file, mode="r|*") as tar:
                    tar.extractall(folder, filter=_inside_only)
                return
            size = int(header[48:58])
            file.seek(size + size % 2, io.SEEK_CUR)
    raise InputError(f"{archive.name} is no Debian package that can be read; fetch it again or unpack it with dpkg -x.")


def _inside_only(member: tarfile.TarInfo, folder: str) -> tarfile.TarInfo | None:
    """Links that lead out of a package (to other packages) are of no use and left out."""
    try:
        return tarfile.data_filter(member, folder)
    except tarfile.FilterError:
        return None


def unpack_nested(folder: Path) -> None:
    """Sound files in zips and .pk3 files go into FOLDER/ex; the archives are then removed."""
    for path in sorted(p for p in folder.rglob("*") if p.suffix.lower() in NESTED and p.is_file()):
        if not zipfile.is_zipfile(path):
            continue
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                inside = PurePosixPath(member.filename)
                is_sound = inside.suffix.lower() in AUDIO and member.file_size <= MAX_MEMBER
                if not is_sound or inside.is_absolute() or ".." in inside.parts:
                    continue
                target = folder / "ex" / inside
                target.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(member) as source, target.open("wb") as out:
                    shutil.copyfileobj(source, out)
        path.unlink()


@dataclass(frozen=True)
class Terms:
    """One paragraph of a machine-readable copyright file: patterns of files, who holds the rights, the licence."""

    files: tuple[str, ...]
    holders: str
    licence: str


def read_copyright(text: str) -> list[Terms]:
    """The `Files:` paragraphs of a Debian copyright file (format 1.0); none of an old one in free words."""
    found = []
    for paragraph in text.replace("\r", "").split("\n\n"):
        fields: dict[str, list[str]] = {}
        last = ""
        for line in paragraph.splitlines():
            if line[:1] in (" ", "\t"):
                fields.setdefault(last, []).append(line.strip())
            elif ":" in line:
                last, _, value = line.partition(":")
                last = last.strip().lower()
                fields[last] = [value.strip()]
        if fields.get("files") and fields.get("license"):
            holders = ", ".join(part for part in fields.get("copyright", []) if part and part != ".")
            patterns = " ".join(fields["files"]).replace(",", " ").split()
            found.append(Terms(tuple(patterns), holders, fields["license"][0]))
    return found


def terms_of(path: str, terms: list[Terms]) -> Terms | None:
    """The paragraph of a copyright file that covers an installed file.

    Patterns name files of the source, whose folders often differ from the installed ones, so leading folders of a
    pattern may be missing; the most telling pattern wins, the later of equals (as the format says).
    """
    best, found = (-1, -1), None
    for term in terms:
        for pattern in term.files:
            parts = pattern.strip("/").split("/")
            for skipped in range(len(parts)):
                tail = "/".join(parts[skipped:])
                plain = len(tail.replace("*", "").replace("?", ""))
                if skipped and plain < 4:
                    break  # "*" alone says nothing once its folder is gone
                if fnmatch.fnmatch("/" + path, "*/" + tail) and (plain, -skipped) >= best:
                    best, found = (plain, -skipped), term
                    break
    return found


def list_tracks(folder: Path, packages: tuple[str, ...] = PACKAGES) -> Iterator[FreeTrack]:
    """Every sound file of SHORTEST and more in the fetched packages, checked, in order."""
    for package in sorted(packages):
        root = folder / package
        papers = root / "usr/share/doc" / package / "copyright"
        terms = read_copyright(papers.read_text(encoding="utf-8", errors="replace")) if papers.exists() else []
        for path in sorted(p for p in root.rglob("*") if p.suffix.lower() in AUDIO and p.is_file()):
            track = check_track(path, folder, package, terms)
            if track is not None:
                yield track


def check_track(path: Path, folder: Path, package: str, terms: list[Terms]) -> FreeTrack | None:
    """One file: its length, its own tags, its licence, and what is wrong with it; None if it is too short for music."""
    from openvmas.fitting.licence import read_tags

    name = path.relative_to(folder).as_posix()
    try:
        seconds, level = measure(path)
    except InputError as error:
        return FreeTrack(name, package, 0.0, "", "", "", f"cannot be read: {error}")
    if seconds < SHORTEST:
        return None
    tags = read_tags(path)
    term = terms_of(path.relative_to(folder / package).as_posix(), terms)
    author = tags.get("artist") or (term.holders if term and term.files != ("*",) else "")
    licence = term.licence if term else tags.get("license") or IN_WORDS.get(package, "")
    problem = f"silent: {level:.0f} dBFS in its middle" if level < SILENCE_DB else ""
    return FreeTrack(name, package, round(seconds, 1), tags.get("title", ""), author, licence, problem)


def measure(path: Path) -> tuple[float, float]:
    """(length in s, level of the middle four seconds in dBFS) of a sound file. Raises InputError."""
    import av  # with what else decodes, here: the options of a library are known to every start of the command line
    import numpy as np
    from av.error import FFmpegError

    from openvmas.media.audio import audio_stream, to_channels
    from openvmas.media.probe import open_media

    with open_media(path) as container:
        stream = audio_stream(container, str(path))
        seconds = (container.duration or 0) / av.time_base
        squares, n_left = [], 4 * (stream.rate or SAMPLE_RATE_OUT)
        try:
            if seconds > SHORTEST:
                container.seek(round((seconds / 2 - 2) * av.time_base))
            for frame in container.decode(stream):
                squares.append(float(np.mean(to_channels(frame, 1) ** 2)) * frame.samples)
                n_left -= frame.samples
                if n_left <= 0:
                    break
        except FFmpegError as error:
            raise InputError(f"{path} is damaged ({error.strerror}); leave it out.") from error
        n_read = 4 * (stream.rate or SAMPLE_RATE_OUT) - n_left
    return seconds, 10 * float(np.log10(sum(squares) / max(n_read, 1) + 1e-18))
