"""Embedders by name: `yamnet`, `musicnn`, or an adapter and where its weights are, such as `clap:FOLDER`.

PyTorch is only loaded when an adapter is opened.
"""

from __future__ import annotations

import hashlib
import importlib
from pathlib import Path
from typing import Any

from openvmas.errors import ModelError, OptionError
from openvmas.hub.taggers import Embedder, Musicnn, PictureEmbedder, Yamnet

EMBEDDERS: dict[str, type[Embedder]] = {"yamnet": Yamnet, "musicnn": Musicnn}
ADAPTERS = {"clap": "Clap", "vggish": "Vggish", "panns": "Panns", "passt": "Passt", "imagebind": "ImageBind"}


def check_name(name: str) -> None:
    """Raises OptionError for a name that is none, ModelError if its weights are not there."""
    kind, _, path = name.partition(":")
    if name in EMBEDDERS:
        return
    if kind not in ADAPTERS:
        choices = [*EMBEDDERS, *(f"{known}:PATH" for known in ADAPTERS)]
        raise OptionError(f"there is no embedder {name}; choose from {', '.join(choices)}.")
    if not path:
        raise OptionError(f"the embedder {kind} needs the path of its weights; write {kind}:PATH.")
    if not Path(path).expanduser().exists():
        raise ModelError(f"there are no weights at {path}; give the folder or file that holds those of {kind}.")


def class_of(name: str) -> Any:
    """The class of an embedder, found before any weights are read. Raises OptionError and ModelError."""
    check_name(name)
    kind, _, _ = name.partition(":")
    if kind in EMBEDDERS:
        return EMBEDDERS[kind]
    try:
        module = importlib.import_module(f"openvmas.hub.{kind}")
    except ImportError as error:
        raise ModelError(f"the embedder {kind} needs PyTorch; run `pip install 'openvmas[hub]'`.") from error
    return getattr(module, ADAPTERS[kind])


def open_embedder(name: str) -> Embedder:
    """Load an embedder. Raises OptionError and ModelError."""
    found, (_, _, path) = class_of(name), name.partition(":")
    return found.open(Path(path).expanduser()) if path else found()


def sees_pictures(name: str) -> bool:
    """Whether an embedder also takes pictures and so compares them with music. Raises OptionError and ModelError."""
    return issubclass(class_of(name), PictureEmbedder)


def weights_key(name: str) -> str:
    """A name for cached files that other weights do not share."""
    kind, _, path = name.partition(":")
    if not path:
        return kind
    place = Path(path).expanduser().resolve()
    files = sorted(p for p in place.iterdir() if p.is_file()) if place.is_dir() else [place]
    facts = [str(place), *(f"{p.name} {p.stat().st_size} {p.stat().st_mtime_ns}" for p in files)]
    return f"{kind}-{hashlib.sha256(chr(10).join(facts).encode()).hexdigest()[:12]}"
