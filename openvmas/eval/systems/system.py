"""The interface of systems, which take a silent picture and give sound, and the specs that name them.

A spec is KIND or KIND:OPTIONS, as `ours`, `ours:candidates=1:guidance=2`, `folder:DIR`, or the name or path of a file
of systems/*.toml. The classes are in `eval.systems.baselines`, `eval.systems.composers`, `eval.systems.library`,
`eval.systems.fitted` and `eval.systems.external_systems`.
"""

from __future__ import annotations

import hashlib
import json
import pkgutil
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from openvmas import __version__
from openvmas.errors import OptionError
from openvmas.eval.suites.excerpt import Excerpt
from openvmas.media.audio import Audio

VERSION = 1  # of what the systems here do: another number makes the cache forget


@dataclass(frozen=True)
class Setting:
    """Folders that systems may use. library: folder of real tracks.

    systems: folder with command files; cache: folder for what is kept, None for the usual one.
    """

    library: Path | None = None
    systems: Path | None = None
    cache: Path | None = None


@dataclass(frozen=True)
class Task:
    """One clip for one system. scratch: an empty folder of its own; seed: of everything that is drawn."""

    excerpt: Excerpt
    seed: int
    scratch: Path


class System:
    """Base of all systems. says: one sentence for the page. needs_reference: only clips with true music are asked.

    known: names of its options; None where it judges them itself. is_random: another seed gives other music.
    selects_by_similarity: it chooses by the very similarity that measures.
    """

    says: ClassVar[str] = ""
    needs_reference: ClassVar[bool] = False
    selects_by_similarity: ClassVar[bool] = False
    is_random: bool = True
    known: ClassVar[frozenset[str] | None] = frozenset()

    def __init__(self, spec: str, options: dict[str, str], setting: Setting) -> None:
        """Raises OptionError, ModelError or InputError for what cannot work at all."""
        self.spec, self.options, self.setting = spec, options, setting
        unknown = next((name for name in options if self.known is not None and name not in self.known), None)
        if unknown:
            allowed = f"it has {', '.join(sorted(self.known or ()))}" if self.known else "it has none"
            raise OptionError(f"{spec}: there is no option {unknown}; {allowed}.")

    def describe(self) -> str:
        """One sentence on what it is, with what decides the result."""
        return self.says

    def version(self) -> str:
        """A text that changes when the same task would give another sound."""
        return f"{__version__} {VERSION}"

    def key(self, task: Task) -> str:
        """Names the result: hash of the clip, the seed and all that decides the sound."""
        parts = [task.excerpt.key, str(task.seed), self.spec, self.version(), json.dumps(self.options, sort_keys=True)]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def make(self, task: Task) -> Audio:
        """The sound for the clip: [C, L] at any rate, at best as long as the picture."""
        raise NotImplementedError


KINDS: dict[str, str] = {  # classes in `openvmas.eval.systems`, each imported when it is asked for
    "ours": "composers.Ours",
    "symbolic": "composers.Symbolic",
    "waveform": "composers.Waveform",
    "waveform-blind": "composers.Blind",
    "text": "composers.Text",
    "musicgen": "composers.MusicGen",
    "retrieval": "library.RetrievedTrack",
    "random": "library.RandomTrack",
    "fitted": "fitted.FittedTrack",
    "trimmed": "fitted.TrimmedTrack",
    "reference": "baselines.Reference",
    "codec": "baselines.CodecCopy",
    "click": "baselines.Click",
    "noise": "baselines.Noise",
    "silence": "baselines.Silence",
    "folder": "external_systems.Folder",
}
COMMAND = "external_systems.Command"


def open_system(spec: str, setting: Setting) -> System:
    """The system that a spec names. Raises OptionError, ModelError or InputError."""
    kind, _, rest = spec.partition(":")
    if kind in KINDS:
        options = {"folder": rest} if kind == "folder" else read_options(spec, rest)
    elif path := command_file(spec, setting):
        options = {"file": str(path)}
    else:
        raise OptionError(
            f"there is no system {spec}; choose from {', '.join(KINDS)}, or give a file of systems/*.toml."
        )
    found: type[System] = pkgutil.resolve_name(f"openvmas.eval.systems.{KINDS.get(kind, COMMAND)}")
    return found(spec, options, setting)


def read_options(spec: str, text: str) -> dict[str, str]:
    """name=value:name=value as a dict. Raises OptionError."""
    options = {}
    for part in text.split(":") if text else ():
        name, mark, value = part.partition("=")
        if not mark or not name:
            raise OptionError(f"{spec}: {part!r} is no option; write NAME=VALUE, several with colons between them.")
        options[name.strip()] = value.strip()
    return options


def command_file(spec: str, setting: Setting) -> Path | None:
    """The TOML file that a spec means, if there is one."""
    for path in (Path(spec), *((setting.systems / f"{spec}.toml",) if setting.systems else ())):
        if path.suffix == ".toml" and path.is_file():
            return path
    return None


def file_name(spec: str) -> str:
    """The spec as the name of a folder: readable, and different for different specs."""
    plain = "".join(c if c.isalnum() or c in "-_.=" else "-" for c in spec)
    is_readable = plain == spec and len(plain) < 60
    return plain if is_readable else f"{plain[:40]}-{hashlib.sha256(spec.encode()).hexdigest()[:8]}"
