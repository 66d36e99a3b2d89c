"""Values in types that JSON has, with rounded numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from typing import Any

import numpy as np


def plain(value: Any, form: str = ".6g") -> Any:
    """The value with dataclasses as objects, arrays as lists, and NaN or infinities as None.

    form: to which numbers are rounded: ".6g" for 6 significant digits, ".4f" for 4 places.
    """
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value), form)
    if isinstance(value, Mapping):
        return {str(key): plain(item, form) for key, item in value.items()}
    if isinstance(value, np.ndarray | list | tuple):
        return [plain(item, form) for item in value]
    if isinstance(value, float | np.floating):
        return float(f"{value:{form}}") if math.isfinite(value) else None
    return int(value) if isinstance(value, np.integer) else value
