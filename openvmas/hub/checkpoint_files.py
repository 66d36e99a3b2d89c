"""Loading published weights from local files only: a folder as `transformers` saves it, or one file of tensors.

Nothing is ever fetched. A file that is missing, damaged or of another model is refused in one sentence: `transformers`
itself only warns when weights are missing, and goes on with random numbers.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from openvmas.errors import ModelError


def transformers_library() -> Any:
    """The library `transformers`. Raises ModelError if it is not installed."""
    try:
        import transformers
    except ImportError as error:
        raise ModelError("transformers is not installed; run `pip install 'openvmas[hub]'`.") from error
    return transformers


def read_config(folder: Path, model_types: Sequence[str]) -> dict[str, Any]:
    """`config.json` of a folder whose model_type is one of those wanted. Raises ModelError."""
    wanted = " or ".join(model_types)
    if not folder.is_dir():
        raise ModelError(f"{folder} is not a folder; give one with config.json and weights of {wanted}.")
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        found = str(config["model_type"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{path} cannot be read as a model's settings; download the whole folder again.") from error
    if found not in model_types:
        raise ModelError(f"{folder} holds a model of type {found}; give a folder with {wanted}.")
    return config


def load_pretrained(folder: Path, classes: Mapping[str, str]) -> Any:
    """The model in a folder in fp32, frozen, in evaluation mode.

    classes: which class of `transformers` to load, by the folder's model_type. Raises ModelError.
    """
    name = classes[read_config(folder, tuple(classes))["model_type"]]
    library = transformers_library()
    with _quiet(library):
        try:
            model, found = getattr(library, name).from_pretrained(
                str(folder), local_files_only=True, output_loading_info=True
            )
        except Exception as error:  # transformers, safetensors and pickle share no narrower base class
            line = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
            raise ModelError(f"the weights in {folder} cannot be read ({line}); download them again.") from error
    _refuse(found["missing_keys"], [], folder, name)
    return model.float().eval().requires_grad_(False)


def load_tokenizer(folder: Path) -> Any | None:
    """The tokenizer in a folder; None if it holds none (`transformers` would make an empty one)."""
    if not any((folder / name).is_file() for name in ("tokenizer.json", "vocab.json", "spiece.model")):
        return None
    return transformers_library().AutoTokenizer.from_pretrained(str(folder), local_files_only=True)


@contextmanager
def _quiet(library: Any) -> Iterator[None]:
    """No progress bar and no report of keys that are not used (the other tower of a two-tower model)."""
    log = library.utils.logging
    level, has_bar = log.get_verbosity(), log.is_progress_bar_enabled()
    log.set_verbosity_error()
    log.disable_progress_bar()
    try:
        yield
    finally:
        log.set_verbosity(level)
        if has_bar:
            log.enable_progress_bar()


def read_folder(folder: Path) -> dict[str, Tensor]:
    """All tensors of a folder: model.safetensors or pytorch_model.bin, whole or in parts. Raises ModelError."""
    for name in ("model.safetensors", "pytorch_model.bin"):
        if (folder / name).is_file():
            return read_file(folder / name)
        index = folder / f"{name}.index.json"
        if index.is_file():
            try:
                parts = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
            except (ValueError, KeyError, AttributeError) as error:
                raise ModelError(f"{index} is damaged; download it again.") from error
            return {key: value for part in parts for key, value in read_file(folder / part).items()}
    raise ModelError(f"{folder} holds neither model.safetensors nor pytorch_model.bin; download the weights into it.")


def read_file(path: Path) -> dict[str, Tensor]:
    """Tensors of a safetensors file or a PyTorch checkpoint, by name. Raises ModelError.

    A checkpoint may hold the state under "model" or "state_dict", as training scripts save it.
    """
    if not path.is_file():
        raise ModelError(f"there is no file {path}; give the path of the downloaded weights.")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        with torch.serialization.safe_globals(_arrays()):
            found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # safetensors, zip and pickle share no narrower base class
        raise ModelError(f"{path} cannot be read as weights; download it again.") from error
    for key in ("model", "state_dict"):
        if isinstance(found, dict) and isinstance(found.get(key), dict):
            found = found[key]
    if not isinstance(found, dict) or not all(isinstance(value, Tensor) for value in found.values()):
        raise ModelError(f"{path} holds no table of weights; give the published checkpoint.")
    return found


def _arrays() -> list[Any]:
    """NumPy types that a checkpoint may hold beside its weights: plain arrays, such as the state of a sampler."""
    rebuild = np._core.multiarray._reconstruct  # pyright: ignore[reportAttributeAccessIssue]
    kinds = [type(np.dtype(name)) for name in ("bool", "int32", "int64", "uint32", "float32", "float64")]
    return [rebuild, (rebuild, "numpy.core.multiarray._reconstruct"), np.ndarray, np.dtype, *kinds]


def fill(module: nn.Module, state: Mapping[str, Tensor], path: Path, name: str) -> None:
    """Put a state into a module: every tensor there, of the right shape, none left over. Raises ModelError.

    The module may lie on the device "meta", where making it costs nothing. name: what the file should be.
    """
    own = module.state_dict()
    wrong = [key for key in own.keys() & state.keys() if own[key].shape != state[key].shape]
    _refuse(sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys()) + wrong, path, name)
    module.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in state.items()}, assign=True)


def _refuse(missing: Sequence[str], wrong: Sequence[str], path: Path, name: str) -> None:
    keys = [*missing, *wrong]
    if keys:
        examples = ", ".join(sorted(keys)[:3])
        raise ModelError(
            f"{path} is not {name}: {len(missing)} tensors are missing, {len(wrong)} do not fit ({examples}); "
            "download the published file again."
        )
