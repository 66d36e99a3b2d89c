"""From the name of a preset, or the path of a folder, to weights that are whole, licensed, and open on ONNX Runtime.

Weights lie in a folder with a `model.json` that the exporter wrote with `write_manifest`. Presets are folders inside
the package, so nothing is downloaded when a video is scored.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from openvmas.errors import ModelError

if TYPE_CHECKING:
    import onnxruntime

PRESETS_FOLDER = Path(__file__).parent / "weights"
MANIFEST = "model.json"
ALIGNMENT = "alignment"  # the preset that only compares picture and music
FORMAT = 1  # of the manifest; raised when an older reader could not use a newer folder


@dataclass(frozen=True)
class Weights:
    """One model, ready to be opened.

    files: role (such as "decoder") → path. sha256: over all files, by role; names the model in reports.
    sizes: numbers that the engine needs and that cannot be read from the files.
    """

    name: str
    version: str
    licence: str
    folder: Path
    files: dict[str, Path]
    sha256: str
    sizes: dict[str, Any] = field(default_factory=dict)

    def file(self, role: str) -> Path:
        """The file with this role; raises ModelError where the model has none."""
        if role not in self.files:
            raise ModelError(f"model {self.name} has no {role} file; export it again with this version of openvmas.")
        return self.files[role]

    def describe(self) -> dict[str, str]:
        """Name, version, hash and licence for reports and the container's metadata."""
        return {"name": self.name, "version": self.version, "sha256": self.sha256, "licence": self.licence}


def list_presets() -> list[str]:
    """Names of the models that came with the package and write music."""
    manifests = PRESETS_FOLDER.glob(f"*/{MANIFEST}")
    return sorted(path.parent.name for path in manifests if path.parent.name != ALIGNMENT)


def folder_of(name_or_path: str | Path) -> Path:
    """The folder of a preset, or the path itself where there is no such preset."""
    preset = PRESETS_FOLDER / str(name_or_path)
    return preset if (preset / MANIFEST).is_file() else Path(name_or_path)


def is_weights(name_or_path: str | Path) -> bool:
    """Whether this is a preset or a folder with a manifest."""
    return (folder_of(name_or_path) / MANIFEST).is_file()


def find_weights(name_or_path: str | Path) -> Weights:
    """Find a preset or a folder of exported weights and check every file's SHA-256.

    Raises ModelError where it is missing, damaged or of another format.
    """
    folder = folder_of(name_or_path)
    if not is_weights(folder):
        if (folder / "config.json").is_file():  # as `transformers` saves models
            raise ModelError(
                f"{folder} holds the weights of another program; MusicGen's write music that is fitted with "
                f"`score --music-from {folder}`, and go on being trained with `train joint --start-from`."
            )
        presets = ", ".join(list_presets()) or "none"
        raise ModelError(
            f"there is no model called {name_or_path}; presets here: {presets}; or give a folder that holds {MANIFEST}."
        )
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        if manifest["format"] != FORMAT:
            raise ModelError(
                f"model {folder} has format {manifest['format']}, but this version reads {FORMAT}; "
                "export it again or install the openvmas that wrote it."
            )
        files = {role: folder / entry["file"] for role, entry in manifest["files"].items()}
        expected = {role: entry["sha256"] for role, entry in manifest["files"].items()}
        name, version, licence = manifest["name"], manifest["version"], manifest["licence"]
        sizes = dict(manifest.get("sizes", {}))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{folder / MANIFEST} is damaged ({error}); install or export the model again.") from error
    for role, path in files.items():
        if not path.is_file():
            raise ModelError(f"model {name} lacks {path.name}; install or export it again.")
        if hash_file(path) != expected[role]:
            raise ModelError(f"{path.name} of model {name} is damaged; install or export it again.")
    return Weights(name, version, licence, folder, files, hash_roles(expected), sizes)


def find_alignment(name_or_path: str | Path) -> Weights:
    """Weights that compare picture and music: the model's, a folder `alignment` in its own, or the preset of that name.

    Raises ModelError where there is none.
    """
    weights = find_weights(name_or_path)
    if "music_embedding" in weights.files:
        return weights
    for folder in (weights.folder / ALIGNMENT, PRESETS_FOLDER / ALIGNMENT):
        if (folder / MANIFEST).is_file():
            return find_weights(folder)
    raise ModelError(
        f"model {weights.name} {weights.version} has no alignment part, so it cannot compare video and music; give a "
        "model with one, or export one with `openvmas train export - - FOLDER --joint RUN`."
    )


def write_manifest(
    folder: str | Path, *, name: str, version: str, licence: str, files: dict[str, str], sizes: dict[str, Any]
) -> Path:
    """Describe exported files (role → file name in `folder`) so that `find_weights` can read them; returns the path."""
    folder = Path(folder)
    manifest = {
        "format": FORMAT,
        "name": name,
        "version": version,
        "licence": licence,
        "files": {role: {"file": file, "sha256": hash_file(folder / file)} for role, file in sorted(files.items())},
        "sizes": sizes,
    }
    path = folder / MANIFEST
    path.write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    return path


def hash_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hash_roles(hashes: dict[str, str]) -> str:
    """One SHA-256 for the whole model, whatever the order and names of its files."""
    lines = "".join(f"{role} {digest}\n" for role, digest in sorted(hashes.items()))
    return hashlib.sha256(lines.encode()).hexdigest()


def open_graph(path: str | os.PathLike[str], threads: int) -> onnxruntime.InferenceSession:
    """Open an exported graph as a session that leaves the processor alone between steps."""
    import onnxruntime  # here, so that the studio's server, which only lists presets, does not load it

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # Two spinning threads on a busy machine were eight times slower than one.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if os.environ.get("OPENVMAS_DEVICE", "cpu") != "cpu":
        from openvmas.devices import open_session, the_device  # whoever has no graphics card does not load it

        return open_session(path, options, the_device())
    return onnxruntime.InferenceSession(os.fspath(path), options, providers=["CPUExecutionProvider"])


def run(graph: onnxruntime.InferenceSession, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
    """All outputs of a graph; the arrays are read where they are."""
    return [np.asarray(output) for output in graph.run(None, inputs)]
