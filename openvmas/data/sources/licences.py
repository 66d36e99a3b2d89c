"""Licences in one spelling, and whether a recipe takes them. What is not understood is kept as it was written."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from openvmas.data.curation.recipe import FREE_LICENCES, LicenceOptions

if TYPE_CHECKING:
    from openvmas.data.curation.record import Origin

_CC_ADDRESS = re.compile(r"creativecommons\.org/(licenses|publicdomain)/([a-z-]+)(?:/(\d\.\d))?", re.I)
_CC_SHORT = re.compile(r"cc[ -]?(by(?:[ -](?:nc|nd|sa))*)(?:[ -]?v?(\d(?:\.\d)?))?(?:[ -].*)?", re.I)
_CC_WORDS = re.compile(r"creative commons|attribution", re.I)


def normalise_licence(text: str) -> str:
    """SPDX-like name of a Creative Commons licence or of the public domain; anything else stays as it is.

    YouTube's own words ("Creative Commons Attribution license (reuse allowed)") become CC-BY.
    """
    text = " ".join(str(text).split())
    if found := _CC_ADDRESS.search(text):
        if found[1].lower() == "publicdomain":
            return "CC0-1.0" if found[2].lower() == "zero" else "PD"
        return _join(f"CC-{found[2].upper()}", found[3])
    if re.fullmatch(r"cc[ -]?0(?:[ -]?1\.0)?(?: universal)?", text, re.I) or "cc0" in text.lower():
        return "CC0-1.0"
    if found := _CC_SHORT.fullmatch(text):
        return _join("CC-" + re.sub("[ -]+", "-", found[1].upper()), found[2])
    if _CC_WORDS.search(text):
        return _from_words(text)
    if re.fullmatch(r"(in the )?public domain( mark)?( 1\.0)?|pd", text, re.I):
        return "PD"
    return text


def _join(name: str, version: str | None) -> str:
    if not version:
        return name
    return f"{name}-{version if '.' in version else version + '.0'}"


def _from_words(text: str) -> str:
    low = text.lower()
    if "attribution" not in low:
        return text
    words = {"NC": "non-?commercial", "ND": "no-?deriv", "SA": "share-?alike"}
    parts = ["CC-BY", *(part for part, word in words.items() if re.search(word, low))]
    version = re.search(r"\b(\d\.\d)\b", low)
    return _join("-".join(parts), version[1] if version else None)


def is_free(licence: str) -> bool:
    """Whether a licence lets the work be used and changed by anybody: public domain, CC0, CC BY, CC BY-SA."""
    return matches(licence, FREE_LICENCES)


def matches(licence: str, patterns: tuple[str, ...]) -> bool:
    """Whether a licence fits any of the patterns, upper or lower case alike."""
    return any(fnmatchcase(licence.lower(), pattern.lower()) for pattern in patterns)


def refusal(origin: Origin, options: LicenceOptions, is_address: bool) -> str:
    """The reason why a recipe does not take something under its licence; empty if it does."""
    if not origin.licence:
        if is_address:
            return "" if "*" in options.allow else "no licence is stated"
        return "" if options.unknown else "no licence is stated"
    patterns = options.allow or (FREE_LICENCES if is_address else ("*",))
    return "" if matches(origin.licence, patterns) else f"{origin.licence} is not among those allowed"
