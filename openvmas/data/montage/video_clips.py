"""Takes of an edit: what each shows over time.

`data.montage.editor` plans takes to music; `tools/video_editor.py` renders them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

KICK, KICK_RISE, KICK_FALL = 0.12, 0.08, 0.25  # relative zoom; s up; s of the way back (time constant)


@dataclass(frozen=True)
class Take:
    """One shot of an edit.

    path: a picture or footage. zoom: size of the view at start and end (1 = as much of the picture as fits).
    centre: where the view looks at start and end, in shares of the picture. ease: "even", "in", "out" (slowing down),
    "punch" (a fast zoom in the first 0.3 s), "hold" (moves only within `moving`, shares of the duration).
    source_start, speed: of footage. dissolve: s of dissolve into this take; is_fade: through black instead.
    flashes, kicks: s from the start; a kick is a zoom of KICK within KICK_RISE that eases back.
    grain: noise, grey levels; shake: pixels; exposure: relative drift per second.
    """

    path: str
    duration: float
    zoom: tuple[float, float] = (1.0, 1.0)
    centre: tuple[tuple[float, float], tuple[float, float]] = ((0.5, 0.5), (0.5, 0.5))
    ease: str = "even"
    source_start: float = 0.0
    speed: float = 1.0
    dissolve: float = 0.0
    is_fade: bool = False
    flashes: tuple[float, ...] = ()
    kicks: tuple[float, ...] = ()
    moving: tuple[float, float] = (1 / 3, 2 / 3)
    grain: float = 0.0
    shake: float = 0.0
    exposure: float = 0.0
    tint: tuple[float, float, float] = (1.0, 1.0, 1.0)


def view_window(
    take: Take, t: float, extent: tuple[int, int], size: tuple[int, int], jolt: np.ndarray | None = None
) -> tuple[list[float], float]:
    """View of a take t seconds after its start: centre (x, y in picture pixels) and picture pixels per pixel.

    extent: (width, height) of the picture; size: of the view; jolt: [2] pixels of the view, added to the centre.
    """
    share = _eased(take, t)
    zoom = take.zoom[0] * (take.zoom[1] / take.zoom[0]) ** share * _kicked(take.kicks, t)
    scale = min(extent[0] / size[0], extent[1] / size[1]) / zoom
    centre = []
    for axis in (0, 1):
        view = size[axis] * scale
        place = take.centre[0][axis] + (take.centre[1][axis] - take.centre[0][axis]) * share
        shifted = place * extent[axis] + (0.0 if jolt is None else jolt[axis] * scale)
        centre.append(float(np.clip(shifted, view / 2, extent[axis] - view / 2)))
    return centre, scale


def _kicked(kicks: tuple[float, ...], t: float) -> float:
    """The extra zoom of kicks: a fast rise, a slow way back."""
    extra = 0.0
    for kick in kicks:
        since = t - kick
        if 0 <= since < 8 * KICK_FALL:
            extra += min(since / KICK_RISE, 1.0) * float(np.exp(-max(since - KICK_RISE, 0) / KICK_FALL))
    return 1 + KICK * min(extra, 1.5)


def _eased(take: Take, t: float) -> float:
    """The share of its way that a take's view has gone after t seconds."""
    x = t / take.duration
    if take.ease == "punch":
        fast = min(t / 0.3, 1.0)
        return 0.85 * (1 - (1 - fast) ** 2) + 0.15 * min(x, 1.2)
    if take.ease == "hold":
        first, last = take.moving
        return float(np.clip((x - first) / max(last - first, 1e-6), 0, 1))
    x = float(np.clip(x, 0, 1.3))
    return {"even": x, "in": x**2, "out": 1 - (1 - min(x, 1)) ** 2}[take.ease]
