"""Background music for your video: `openvmas.load("mini").score("clip.mp4")`.

Importing does no work: each name below is fetched when it is first used.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

__version__ = "0.2.0"
# Official builds of ONNX Runtime (1.32) report their use to Microsoft unless this is set before they are loaded; here
# nothing leaves the machine. Who wants it sets the variable to 0.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
__all__ = [
    "OpenVMASError",
    "ScoreResult",
    "Scorer",
    "Similarity",
    "analyze",
    "load",
    "plan",
    "score",
    "similarity",
    "stream",
]

if TYPE_CHECKING:
    from openvmas.errors import OpenVMASError
    from openvmas.generate.scorer import Scorer, ScoreResult, analyze, load, plan, score, stream
    from openvmas.generate.similarity import Similarity, similarity

_HOMES = {name: "openvmas.generate.scorer" for name in __all__}
_HOMES |= {"OpenVMASError": "openvmas.errors"} | dict.fromkeys(
    ("Similarity", "similarity"), "openvmas.generate.similarity"
)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'openvmas' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
