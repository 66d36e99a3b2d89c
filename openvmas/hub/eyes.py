"""CLIP or SigLIP as better eyes: what a picture asks for, by its likeness to stated sentences (zero-shot).

CLIP (Radford et al. 2021), SigLIP (Zhai et al. 2023), from a local folder with its tokenizer. The first use writes a
graph beside the weights, in which the sentences are constants; from then on ONNX Runtime looks, and neither PyTorch nor
`transformers` is loaded. For planning only: a plan made with eyes is scored as any other.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from openvmas.condition import FEELING_AXES, INSTRUMENT_AXES, STYLE_AXES
from openvmas.errors import ModelError
from openvmas.files import atomic_path
from openvmas.hub.vision import Preparation, read_preparation
from openvmas.media.video import FrameRequest, probe, read_frames
from openvmas.planning.schema import ScorePlan
from openvmas.pretrained import open_graph, run
from openvmas.vision.analysis import VideoAnalysis
from openvmas.vision.mood import LIMIT, add_rules, cues

if TYPE_CHECKING:
    import torch

CLASSES = {"clip": "CLIPModel", "siglip": "SiglipModel"}
GRAPH = "openvmas-eyes.onnx"  # beside the weights
WEIGHTS = ("*.safetensors", "pytorch_model*.bin")
TOKENIZERS = ("tokenizer.json", "vocab.json", "spiece.model")
OPSET = 17
LOOKS_PER_SECOND = Fraction(1)
BATCH = 8
# Axes with two sides: a sentence for each.
SIDES = {
    "valence": ("a happy, hopeful, beautiful picture", "a sad, grim, ugly picture"),
    "arousal": ("an exciting picture full of action", "a calm and quiet picture"),
}
# Axes that compete: the more a picture is like one sentence, the less it is like the others.
STYLES = {style: f"a picture that goes with {style.replace('_', ' ')} music" for style in STYLE_AXES}
FEELINGS = {feeling: f"a {feeling} picture" for feeling in FEELING_AXES}
INSTRUMENTS = {
    name: f"a picture that goes with the sound of {'a' if name in ('choir', 'synthesizer') else 'the'} {name}"
    for name in INSTRUMENT_AXES
}
GROUPS = (STYLES, FEELINGS, INSTRUMENTS)
SENTENCES = [s for pair in SIDES.values() for s in pair] + [s for group in GROUPS for s in group.values()]
AXES = (*SIDES, *STYLES, *FEELINGS, *INSTRUMENTS)


class Eyes:
    """A model that sees pictures and has read the sentences.

    Raises ModelError if the folder cannot be used, or if its graph is to be written and PyTorch is missing.
    """

    def __init__(self, folder: str | Path, threads: int = 2) -> None:
        path = Path(folder) / GRAPH
        if not is_written(path):
            write_graph(Path(folder))
        self.graph = open_graph(path, threads)
        self.prepare = Preparation(**_notes(self.graph)["prepare"])

    def likeness(self, pictures: np.ndarray) -> np.ndarray:
        """Logits of pictures and the sentences, [F, len(SENTENCES)].

        pictures: [F, h, w, 3] uint8 RGB, resized as `prepare.resized` says.
        """
        if pictures.ndim != 4 or pictures.shape[3] != 3 or pictures.dtype != np.uint8:
            raise ValueError(f"pictures must be [F, h, w, 3] uint8, not {pictures.shape} {pictures.dtype}")
        parts = (self.prepare.cut(pictures[start : start + BATCH]) for start in range(0, len(pictures), BATCH))
        return np.concatenate([run(self.graph, {"pictures": part})[0] for part in parts])

    def judge(self, pictures: np.ndarray) -> np.ndarray:
        """Axes that pictures ask for, [F, len(AXES)] in [-2, 2]: see `axes_of`."""
        return axes_of(self.likeness(pictures))

    def watch(self, path: str | Path) -> tuple[np.ndarray, np.ndarray]:
        """Times [F], s, and axes [F, len(AXES)] of a video, a picture a second."""
        info = probe(path)
        height, width = self.prepare.resized(info.height, info.width)
        request = FrameRequest(LOOKS_PER_SECOND, (width, height))
        chunks = [
            (chunk.times, self.judge(chunk.frames)) for chunk in read_frames(path, [request], info=info, chunk=32)
        ]
        times, axes = zip(*chunks, strict=True)
        return np.concatenate(times), np.concatenate(axes)


def is_written(path: Path) -> bool:
    """Whether a graph is that of the weights beside it and of these sentences; where no weights are left, it is.

    Raises ModelError for a graph that cannot be read.
    """
    if not path.is_file():
        return False
    has_weights = any(any(path.parent.glob(pattern)) for pattern in WEIGHTS)
    return not has_weights or _notes(open_graph(path, 1))["of"] == fingerprint(path.parent)


def _notes(graph: Any) -> dict[str, Any]:
    """The notes that `write_graph` left in a graph."""
    found: dict[str, Any] = json.loads(graph.get_modelmeta().custom_metadata_map["openvmas"])
    return found


def fingerprint(folder: Path) -> str:
    """A hash of the settings, the sizes of the weights' files and the sentences, in hexadecimal."""
    names = sorted(path.name for pattern in WEIGHTS for path in folder.glob(pattern))
    sizes = [(name, (folder / name).stat().st_size) for name in names]
    texts = [(folder / name).read_bytes() for name in ("config.json", "preprocessor_config.json")]
    return hashlib.sha256(repr((sizes, texts, SENTENCES)).encode()).hexdigest()


def write_graph(folder: Path) -> Path:
    """Write the graph of a folder from its weights: prepared pictures [F, 3, H, W] to logits [F, len(SENTENCES)].

    Needs the extra `hub`. Raises ModelError if the folder cannot be used or not be written to.
    """
    try:
        import onnx
        import torch

        from openvmas.hub.checkpoint_files import load_pretrained, read_config
    except ImportError as error:
        raise ModelError(
            f"{folder} holds no {GRAPH}, and {error.name} is missing to write it; run `pip install 'openvmas[hub]'`."
        ) from error
    kind = str(read_config(folder, tuple(CLASSES))["model_type"])
    prepare, model = read_preparation(folder), load_pretrained(folder, CLASSES)
    size = prepare.crop or prepare.size or (model.config.vision_config.image_size,) * 2
    tower = _tower(model, kind, _tokens(folder, model, kind))
    notes = {"of": fingerprint(folder), "prepare": asdict(prepare), "kind": kind}
    try:
        with atomic_path(folder / GRAPH) as path:
            _trace(tower, torch.zeros(1, 3, *size), path)
            graph = onnx.load(str(path))
            onnx.helper.set_model_props(graph, {"openvmas": json.dumps(notes)})
            onnx.save(graph, str(path))
    except OSError as error:
        raise ModelError(
            f"{folder} cannot be written to ({error.strerror}); copy it to a folder of your own."
        ) from error
    return folder / GRAPH


def _tokens(folder: Path, model: Any, kind: str) -> dict[str, torch.Tensor]:
    """The sentences as the model reads them. Raises ModelError."""
    from openvmas.hub.checkpoint_files import transformers_library

    library = transformers_library()
    # Without these files transformers goes on with an empty vocabulary.
    if not any((folder / name).is_file() for name in TOKENIZERS):
        raise ModelError(f"{folder} holds no tokenizer; download the whole folder again.")
    try:
        tokenizer = library.AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
    except Exception as error:  # tokenizers share no narrower base class
        raise ModelError(f"The tokenizer in {folder} cannot be read; download the whole folder again.") from error
    # SigLIP learned from sentences that are filled up to their full length.
    padding = "max_length" if kind == "siglip" else True
    length = int(model.config.text_config.max_position_embeddings)
    found = tokenizer(SENTENCES, padding=padding, truncation=True, max_length=length, return_tensors="pt")
    return {name: found[name] for name in (("input_ids", "attention_mask") if kind == "clip" else ("input_ids",))}


def _tower(model: Any, kind: str, tokens: dict[str, torch.Tensor]) -> Any:
    """A module from prepared pictures to logits, in which what the model says of the sentences is constant."""
    import torch

    size = model.config.vision_config.image_size
    with torch.no_grad():
        words = model(pixel_values=torch.zeros(1, 3, size, size), **tokens).text_embeds
        columns, shift = words.T * model.logit_scale.exp(), model.logit_bias if kind == "siglip" else torch.zeros(1)

    class Tower(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.vision = model.vision_model
            self.project = model.visual_projection if kind == "clip" else torch.nn.Identity()

        def forward(self, pictures: torch.Tensor) -> torch.Tensor:
            seen = self.project(self.vision(pixel_values=pictures).pooler_output)
            return seen / seen.norm(dim=-1, keepdim=True) @ columns + shift

    return Tower().eval().requires_grad_(False)


def _trace(tower: Any, example: torch.Tensor, path: Path) -> None:
    """Write a module as a graph for any number of pictures."""
    import warnings

    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            tower, (example,), str(path), input_names=["pictures"], output_names=["likeness"],
            dynamic_axes={"pictures": {0: "n"}, "likeness": {0: "n"}}, opset_version=OPSET, dynamo=False,
        )  # fmt: skip


def axes_of(logits: np.ndarray) -> np.ndarray:
    """Likeness [F, S] to axes [F, len(AXES)], in [-2, 2].

    Two-sided axes: from -2 (all for the second sentence) to 2, by the softmax of the pair. Competing ones: the octaves
    by which a sentence's softmax share lies above an equal share; 0 is as much as any other.
    """
    columns, at = [], 0
    for _ in SIDES:
        columns.append(LIMIT * np.tanh((logits[:, at] - logits[:, at + 1]) / 2))
        at += 2
    for group in GROUPS:
        part = logits[:, at : at + len(group)].astype(np.float64)
        share = np.exp(part - part.max(axis=1, keepdims=True))
        share /= share.sum(axis=1, keepdims=True)
        columns += list(np.clip(np.log2(share * len(group) + 1e-9), -LIMIT, LIMIT).T)
        at += len(group)
    return np.stack(columns, axis=1)


def see_plan(plan: ScorePlan, analysis: VideoAnalysis, video: str | Path, eyes: Eyes) -> ScorePlan:
    """The plan with what these eyes see in place of the head's word; locked sections stay as they are."""
    times, axes = eyes.watch(video)
    sections = []
    for section in plan.sections:
        inside = (times >= section.start) & (times < section.end)
        if not inside.any():
            inside[np.argmin(np.abs(times - (section.start + section.end) / 2))] = True
        told = dict(zip(AXES, axes[inside].mean(axis=0).tolist(), strict=True))
        picture = add_rules(told, cues(analysis, section.start, section.end))
        sections.append(section if section.is_locked else replace(section, picture=picture))
    return replace(plan, sections=tuple(sections))
