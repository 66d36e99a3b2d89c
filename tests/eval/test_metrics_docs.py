"""Every public function of eval/metrics says parameters, returns and an example, and the examples are true."""

from __future__ import annotations

import doctest
import importlib
import inspect
from types import FunctionType, ModuleType

import pytest

NAMES = ("distances", "diversity", "retrieval", "signal_quality", "statistics", "timing")
MODULES = [importlib.import_module(f"openvmas.eval.metrics.{name}") for name in NAMES]


def metrics(module: ModuleType) -> list[tuple[str, FunctionType]]:
    """Public functions that return a figure: not validators and not collections of others by name."""
    found = inspect.getmembers(module, inspect.isfunction)
    mine = [(name, f) for name, f in found if f.__module__ == module.__name__ and not name.startswith("_")]
    return [(name, f) for name, f in mine if not name.startswith(("validate", "evaluate"))]


@pytest.mark.parametrize("module", MODULES, ids=NAMES)
def test_examples_are_true(module: ModuleType) -> None:
    found = doctest.testmod(module)
    assert found.attempted > 0 and found.failed == 0


@pytest.mark.parametrize("module", MODULES, ids=NAMES)
def test_metrics_state_their_parameters_and_an_example(module: ModuleType) -> None:
    helpers = {"principal_axes", "squared_distances", "unit_rows", "posteriors"}  # one line says all
    for name, function in metrics(module):
        text = inspect.getdoc(function) or ""
        if name not in helpers:
            assert "Parameters\n----------" in text and "\n>>> " in text, name
            assert "Returns\n-------" in text, name
