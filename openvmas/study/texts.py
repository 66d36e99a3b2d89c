"""Texts that listeners read, in their language: one table for the page, the server and the consent."""

from __future__ import annotations

import functools
import tomllib
from importlib import resources

LANGUAGES = ("en", "de", "fr", "es")


@functools.cache
def texts_of(language: str) -> dict[str, str]:
    """All texts by key in one of LANGUAGES; some have {words} to be filled in."""
    table = tomllib.loads(resources.files("openvmas.study").joinpath("texts.toml").read_text(encoding="utf-8"))
    return {key: row[language] for key, row in table.items()}
