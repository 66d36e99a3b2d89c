"""Nodes: music for a batch of frames or a video, and the plan that it follows.

ComfyUI's types: IMAGE is a float tensor [F, h, w, 3] in [0, 1]; AUDIO is {"waveform": [1, C, L], "sample_rate": Hz};
VIDEO has save_to(path). PyTorch comes with ComfyUI and is only touched to hand the sound back.
"""

from __future__ import annotations

import tempfile
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

CATEGORY = "audio/OpenVMAS"
VOICES = ["mini", "symbolic"]
SAMPLE_RATE = 48_000  # Hz
WISHES: dict[str, tuple[Any, dict[str, Any]]] = {
    "text": ("STRING", {"default": "", "multiline": True, "tooltip": "What the music should be like, in words."}),
    "mood": ("STRING", {"default": "", "tooltip": "One mood word for the whole video."}),
    "tempo": ("FLOAT", {"default": 0.0, "min": 0.0, "max": 220.0, "tooltip": "Beats per minute; 0 fits the picture."}),
    "hits": ("STRING", {"default": "", "tooltip": "Seconds that must get an accent, as 2.5, 12.4."}),
}
MAKING: dict[str, tuple[Any, dict[str, Any]]] = {
    "voice": (VOICES, {"default": "mini", "tooltip": "The model, or notes by rule."}),
    "seed": ("INT", {"default": 0, "min": 0, "max": 2**32 - 1, "control_after_generate": True}),
}
PLAN: dict[str, tuple[Any, dict[str, Any]]] = {
    "plan": ("STRING", {"default": "", "forceInput": True, "tooltip": "A plan to follow instead of the wishes."}),
}


def wishes(text: str, mood: str, tempo: float, hits: str) -> dict[str, Any]:
    """Options of OpenVMAS; empty fields are left out. Raises ValueError for hits that are no numbers."""
    try:
        moments = tuple(float(part) for part in hits.replace(";", ",").split(",") if part.strip())
    except ValueError:
        raise ValueError(f"hits are seconds with commas between them, as 2.5, 12.4; not {hits!r}.") from None
    found = {"text": text.strip(), "mood": mood.strip(), "tempo": tempo, "hit": moments}
    return {name: value for name, value in found.items() if value}


def exact_rate(fps: float) -> Fraction:
    """Frames per second; 23.98, 29.97 and the like are written for 24000/1001, 30000/1001."""
    whole = round(fps * 1.001)
    return (
        Fraction(whole * 1000, 1001)
        if abs(fps - whole / 1.001) < 0.01 and fps != round(fps)
        else Fraction(fps).limit_denominator(1000)
    )


def write_frames(frames: Any, fps: float, path: Path) -> None:
    """Frames [F, h, w, 3] in [0, 1] as a video that the analysis reads; odd sides lose their last row or column."""
    import av

    rate = exact_rate(fps)
    height, width = (side // 2 * 2 for side in frames.shape[1:3])
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=rate, options={"crf": "16", "preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for index in range(frames.shape[0]):
            picture = np.asarray(frames[index, :height, :width, :3])
            frame = av.VideoFrame.from_ndarray(np.rint(picture.clip(0, 1) * 255).astype(np.uint8), format="rgb24")
            frame.pts, frame.time_base = index, 1 / rate
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def compose(path: Path, voice: str, seed: int, plan: str, asked: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """AUDIO as long as the video, and the plan that it followed."""
    import torch

    import openvmas
    from openvmas.planning.plan_yaml import read_plan, write_plan

    analysis = openvmas.analyze(path)
    chosen = read_plan(plan) if plan.strip() else openvmas.plan(analysis, seed=seed, **asked)
    piece = openvmas.load(voice).compose(chosen, analysis, seed=seed)
    wave = np.concatenate([np.broadcast_to(block, (2, block.shape[1])) for block in piece], axis=1)
    audio = {"waveform": torch.from_numpy(wave.astype(np.float32))[None], "sample_rate": SAMPLE_RATE}
    return audio, write_plan(chosen)


class ScoreFrames:
    """Music for a batch of frames."""

    CATEGORY, FUNCTION = CATEGORY, "score"
    RETURN_TYPES, RETURN_NAMES = ("AUDIO", "STRING"), ("audio", "plan")

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802 - the name that ComfyUI asks for
        frames = {"images": ("IMAGE",), "fps": ("FLOAT", {"default": 24.0, "min": 1.0, "max": 240.0, "step": 0.001})}
        return {"required": {**frames, **WISHES, **MAKING}, "optional": PLAN}

    def score(
        self,
        images: Any,
        fps: float,
        text: str,
        mood: str,
        tempo: float,
        hits: str,
        voice: str,
        seed: int,
        plan: str = "",
    ) -> tuple[dict[str, Any], str]:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "frames.mp4")
            write_frames(images, fps, path)
            return compose(path, voice, seed, plan, wishes(text, mood, tempo, hits))


class ScoreVideo:
    """Music for a video."""

    CATEGORY, FUNCTION = CATEGORY, "score"
    RETURN_TYPES, RETURN_NAMES = ("AUDIO", "STRING"), ("audio", "plan")

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        return {"required": {"video": ("VIDEO",), **WISHES, **MAKING}, "optional": PLAN}

    def score(
        self, video: Any, text: str, mood: str, tempo: float, hits: str, voice: str, seed: int, plan: str = ""
    ) -> tuple[dict[str, Any], str]:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "video.mp4")
            video.save_to(str(path))
            return compose(path, voice, seed, plan, wishes(text, mood, tempo, hits))


class PlanVideo:
    """The plan of a video's music, as text that can be edited."""

    CATEGORY, FUNCTION = CATEGORY, "plan"
    RETURN_TYPES, RETURN_NAMES = ("STRING",), ("plan",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        return {"required": {"video": ("VIDEO",), **WISHES}}

    def plan(self, video: Any, text: str, mood: str, tempo: float, hits: str) -> tuple[str]:
        import openvmas
        from openvmas.planning.plan_yaml import write_plan

        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "video.mp4")
            video.save_to(str(path))
            return (write_plan(openvmas.plan(path, **wishes(text, mood, tempo, hits))),)


NODE_CLASS_MAPPINGS = {"OpenVMASScoreFrames": ScoreFrames, "OpenVMASScoreVideo": ScoreVideo, "OpenVMASPlan": PlanVideo}
NODE_DISPLAY_NAME_MAPPINGS = {
    "OpenVMASScoreFrames": "OpenVMAS score frames",
    "OpenVMASScoreVideo": "OpenVMAS score video",
    "OpenVMASPlan": "OpenVMAS plan",
}
