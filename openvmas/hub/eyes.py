"""CLIP or SigLIP as better eyes: what a picture asks for, by its likeness to stated sentences (zero-shot).

CLIP (Radford et al. 2021), SigLIP (Zhai et al. 2023), from a local folder with its tokenizer. For planning only: a plan
made with eyes is scored as any other, and what scores a video never loads PyTorch.
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch

from openvmas.condition import FEELING_AXES, INSTRUMENT_AXES, STYLE_AXES
from openvmas.errors import ModelError
from openvmas.hub.checkpoint_files import load_pretrained, read_config, transformers_library
from openvmas.hub.vision import read_preparation
from openvmas.media.video import FrameRequest, probe, read_frames
from openvmas.planning.schema import ScorePlan
from openvmas.vision.analysis import VideoAnalysis
from openvmas.vision.mood import LIMIT, add_rules, cues

CLASSES = {"clip": "CLIPModel", "siglip": "SiglipModel"}
TOKENIZERS = ("tokenizer.json", "vocab.json", "spiece.model")
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
AXES = (*SIDES, *STYLES, *FEELINGS, *INSTRUMENTS)


class Eyes:
    """A model that sees pictures and reads sentences. Raises ModelError if the folder cannot be used."""

    def __init__(self, folder: str | Path, device: str = "cpu") -> None:
        folder = Path(folder)
        self.kind = str(read_config(folder, tuple(CLASSES))["model_type"])
        self.prepare, self.device = read_preparation(folder), device
        self.model = load_pretrained(folder, CLASSES).to(device)
        sentences = [s for pair in SIDES.values() for s in pair] + [s for group in GROUPS for s in group.values()]
        self.words = self._tokens(folder, sentences)

    def _tokens(self, folder: Path, sentences: list[str]) -> dict[str, torch.Tensor]:
        library = transformers_library()
        # Without these files transformers goes on with an empty vocabulary.
        if not any((folder / name).is_file() for name in TOKENIZERS):
            raise ModelError(f"{folder} holds no tokenizer; download the whole folder again.")
        try:
            tokenizer = library.AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
        except Exception as error:  # tokenizers share no narrower base class
            raise ModelError(f"The tokenizer in {folder} cannot be read; download the whole folder again.") from error
        # SigLIP learned from sentences that are filled up to their full length.
        padding = "max_length" if self.kind == "siglip" else True
        length = int(self.model.config.text_config.max_position_embeddings)
        found = tokenizer(sentences, padding=padding, truncation=True, max_length=length, return_tensors="pt")
        wanted = ("input_ids", "attention_mask") if self.kind == "clip" else ("input_ids",)
        return {name: found[name].to(self.device) for name in wanted}

    def likeness(self, pictures: np.ndarray) -> np.ndarray:
        """Logits of pictures [F, h, w, 3] uint8 RGB and the sentences, in the order of SIDES and GROUPS: [F, S]."""
        if pictures.ndim != 4 or pictures.shape[3] != 3 or pictures.dtype != np.uint8:
            raise ValueError(f"pictures must be [F, h, w, 3] uint8, not {pictures.shape} {pictures.dtype}")
        found = []
        for start in range(0, len(pictures), BATCH):
            part = torch.from_numpy(np.ascontiguousarray(pictures[start : start + BATCH])).permute(0, 3, 1, 2)
            with torch.no_grad():
                seen = self.model(pixel_values=self.prepare(part).to(self.device), **self.words)
            found.append(seen.logits_per_image.float().cpu().numpy())
        return np.concatenate(found)

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
