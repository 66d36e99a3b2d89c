"""Defaults and limits of the studio, each once. Imports nothing heavy."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from openvmas.errors import OptionError
from openvmas.settings import option, read_table
from openvmas.study.web_guard import is_loopback

MIN_TOKEN = 16  # characters; shorter ones can be guessed
MAX_FRAME_RATE = 250  # frames per second, above which a file is made to waste time
MAX_VARIATIONS = 8


@dataclass(frozen=True)
class StudioOptions:
    """Settings of `openvmas studio`."""

    host: str = option("127.0.0.1", "Address to listen on; any but this machine's own loopback needs --token.")
    port: int = option(8765, "Port to listen on; 0 takes a free one.", min=0, max=65535)
    max_upload: int = option(4000, "Largest video that may be uploaded, MB.", min=1, max=1_000_000)
    max_minutes: float = option(30.0, "Longest video, minutes.", min=0.01, max=600)
    max_pixels: int = option(
        8_912_896, "Most pixels of a frame, width times height (the default is 4096 by 2176).", min=1024, max=35_389_440
    )
    jobs: int = option(1, "Jobs that are done at a time, each in a worker process of its own.", min=1, max=64)
    ray: str | None = option(
        None, "Do the jobs on this Ray cluster: HOST:PORT, auto (the one of this machine) or local (a new one of all "
        "its cores); extra `ray`.", metavar="ADDRESS",
    )  # fmt: skip
    storage: str | None = option(
        None, "Storage that the cluster's nodes see too, as s3://BUCKET/FOLDER or a path; a folder in that of projects "
        "if left out.", metavar="ADDRESS",
    )  # fmt: skip
    token: tuple[str, ...] = option(
        tuple, "Secret word that a user must give, 16 characters or more; may be given several times, one per user.",
        envvar="OPENVMAS_TOKEN",
    )  # fmt: skip
    folder: str | None = option(
        None, "Folder of projects and queue; .openvmas/studio in your home if left out.", metavar="PATH"
    )
    expire_days: float = option(30.0, "Projects that nobody opened for so many days are deleted.", min=0.001, max=36500)
    no_browser: bool = option(False, "Do not open the page in a browser.")

    @classmethod
    def of(cls, **values: Any) -> StudioOptions:
        """Check types and ranges, and that others than this machine need a token. Raises OptionError."""
        made = read_table(cls, values)
        for token in made.token:
            if len(token) < MIN_TOKEN or not token.isascii() or not token.isprintable() or " " in token:
                raise OptionError(
                    f"token must be {MIN_TOKEN} or more ASCII characters without spaces; "
                    "make one with: python -c 'import secrets; print(secrets.token_urlsafe())'"
                )
        if len(set(made.token)) != len(made.token):
            raise OptionError("token was given twice with the same word; give each user another.")
        if made.storage is not None and made.ray is None:
            raise OptionError("storage is for the nodes of a cluster; give --ray too, or leave it out.")
        if made.ray is not None and made.ray.startswith("ray://"):
            raise OptionError(f"{made.ray} sends no streams back; give the cluster's own HOST:PORT, without ray://.")
        if not is_loopback(made.host) and not made.token:
            raise OptionError(
                f"host {made.host} can be reached by others; give --token, or leave out --host for this machine only."
            )
        return made

    @property
    def home(self) -> Path:
        """The folder of projects and queue."""
        return Path(self.folder) if self.folder else Path.home() / ".openvmas" / "studio"

    @property
    def threads(self) -> int:
        """Threads of the picture network in one job: the cores shared among the workers."""
        return max(1, (os.cpu_count() or 1) // self.jobs)

    @property
    def max_bytes(self) -> int:
        """Size of the largest upload."""
        return self.max_upload * 1_000_000
