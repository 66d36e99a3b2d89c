"""The example films that come with OpenVMAS, to try the studio with."""

from __future__ import annotations

import sysconfig
from dataclasses import dataclass
from pathlib import Path

PLACES = (Path(__file__).parents[3] / "examples", Path(sysconfig.get_path("data")) / "share" / "openvmas" / "examples")


@dataclass(frozen=True)
class Example:
    """A film. about: what is seen and heard in it."""

    name: str
    title: str
    about: str


EXAMPLES = (
    Example("city", "City", "31 seconds, fast cuts, noise of a street"),
    Example("landscape", "Landscape", "43 seconds, slow moves, a voice that speaks twice"),
)


def find_example(name: str) -> Path | None:
    """The file of an example: in the repository, or where an installed package keeps its data; None where it is not."""
    for place in PLACES:
        path = place / f"{name}.mp4"
        if path.exists():
            return path
    return None
