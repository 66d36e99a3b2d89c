"""The options of `openvmas.settings` as the API takes and describes them: request bodies, checks, the page's list."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import fields
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, create_model

from openvmas.errors import OptionError
from openvmas.pretrained import list_presets
from openvmas.settings import GROUPS, Options, value_type

NAMES = {group: tuple(item.name for item in fields(kind)) for group, kind in GROUPS.items()}
JSON_TYPES = {float: "number", int: "integer", bool: "boolean", str: "text"}


class RequestBody(BaseModel):
    """A body from a client: no field that is not known, and no text where a number is wanted."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, strict=True)


class OptionInfo(BaseModel):
    """An option as the page shows it."""

    name: str
    group: Literal["plan", "generate", "mix"]
    type: Literal["number", "integer", "boolean", "text", "numbers"]
    default: float | bool | str | list[float] | None
    min: float | None
    max: float | None
    help: str


def whole(value: Any) -> Any:
    """The value, as an int if it is a whole number: in JSON 5.0 is one, too."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def options_body(name: str, *groups: str) -> type[RequestBody]:
    """The fields of some groups of options as a body, all of which may be left out; nothing that names a file."""
    wanted: dict[str, Any] = {}
    for group in groups:
        for item in fields(GROUPS[group]):
            kind, _, is_tuple = value_type(item, GROUPS[group])
            bounds: dict[str, Any] = {"ge": item.metadata.get("min"), "le": item.metadata.get("max")}
            longest: Any = {"max_length": 1000}
            of_one: Any = longest if kind is str else bounds
            of_all: Any = longest if is_tuple else {}
            one: Any = Annotated[kind, Field(**of_one)]
            if kind is int:
                one = Annotated[one, BeforeValidator(whole)]
            field: Any = Field(default=None, description=item.metadata["help"], **of_all)
            wanted[item.name] = (list[one] if is_tuple else one, field)
    if "generate" in groups:
        names = Literal[tuple(list_presets())]  # type: ignore[valid-type]
        wanted["model"] = (names, Field(default=None, description="Model that writes the music."))
    return create_model(name, __base__=RequestBody, **wanted)


if TYPE_CHECKING:
    JobOptions = ProjectSettings = RequestBody
else:
    JobOptions = options_body("JobOptions", "generate", "mix")
    ProjectSettings = options_body("ProjectSettings", "plan", "generate", "mix")


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


def describe_options() -> list[OptionInfo]:
    """All options that can be set for a project or a job, with their ranges."""
    made: list[OptionInfo] = []
    for name, group in GROUPS.items():
        for item in fields(group) if name != "output" else ():
            kind, _, is_tuple = value_type(item, group)
            default = list(item.default_factory()) if is_tuple else item.default  # type: ignore[misc]
            low, high = item.metadata.get("min"), item.metadata.get("max")
            made.append(OptionInfo(
                name=item.name, group=name, type="numbers" if is_tuple else JSON_TYPES[kind], default=default,  # pyright: ignore
                min=low, max=high, help=item.metadata["help"],
            ))  # fmt: skip
    return made
