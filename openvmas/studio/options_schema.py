"""Options that a client sends by name, checked against the dataclasses of `config`."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import fields
from typing import Any

from pydantic import BaseModel

from openvmas.errors import OptionError
from openvmas.settings import GROUPS, Options

NAMES = {group: tuple(item.name for item in fields(kind)) for group, kind in GROUPS.items()}


def check_options(sent: BaseModel, groups: Collection[str]) -> dict[str, Any]:
    """The options that were sent, in their own types. groups: from which they may be; `model` goes with "generate".

    Raises OptionError.
    """
    given = sent.model_dump(exclude_unset=True)
    allowed = {name for group in groups for name in NAMES[group]} | ({"model"} if "generate" in groups else set())
    for name in given:
        if name not in allowed:
            raise OptionError(f"{name} cannot be set here; the options are {', '.join(sorted(allowed))}.")
    flat = Options.of(**given).flat()
    return {name: flat[name] for name in given}
