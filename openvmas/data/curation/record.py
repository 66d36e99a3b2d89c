"""Records: candidates of a training set with all that is known of them, and drops, those that are refused."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

Kind = Literal["video", "audio", "image"]


@dataclass(frozen=True)
class Origin:
    """Source, address, author and licence of a record.

    source: name of the recipe's source. uri: path or address, and `tar path!member` inside a tar. collection: album,
    channel or folder; what is split as a whole. licence: SPDX identifier or the words found, "" where unknown.
    """

    source: str
    uri: str
    collection: str = ""
    title: str = ""
    author: str = ""
    licence: str = ""
    page: str = ""


@dataclass(frozen=True)
class Record:
    """One candidate: a file, or a span of it in seconds.

    id: stable over runs and machines. facts: what stages measured, by `stage.name`; values survive JSON.
    arrays: names of arrays that stages made, kept beside the record in an NPZ file (features, curves, codes).
    """

    id: str
    kind: Kind
    origin: Origin
    start: float = 0.0
    end: float | None = None
    sha256: str = ""
    facts: dict[str, Any] = field(default_factory=dict)
    arrays: tuple[str, ...] = ()

    def with_facts(self, stage: str, **values: Any) -> Record:
        """A copy with values added under `stage.name`."""
        return replace(self, facts={**self.facts, **{f"{stage}.{name}": value for name, value in values.items()}})

    def to_json(self) -> str:
        """One line, keys sorted, so that equal records give equal bytes."""
        return json.dumps(asdict(self), sort_keys=True, ensure_ascii=False)

    @staticmethod
    def from_json(line: str) -> Record:
        """Read what `to_json` wrote."""
        return Record.from_dict(json.loads(line))

    @staticmethod
    def from_dict(data: dict[str, Any]) -> Record:
        """Read what JSON leaves of `dataclasses.asdict`."""
        return Record(**{**data, "origin": Origin(**data["origin"]), "arrays": tuple(data["arrays"])})


@dataclass(frozen=True)
class Drop:
    """A refused record: the reason that is counted in the funnel, and a detail for its page."""

    record: Record
    stage: str
    reason: str
    detail: str = ""


def make_id(source: str, uri: str, start: float = 0.0, end: float | None = None) -> str:
    """Stable identifier of a span of a file: 16 hexadecimal digits."""
    text = f"{source}\n{uri}\n{start:.3f}\n{'' if end is None else f'{end:.3f}'}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]
