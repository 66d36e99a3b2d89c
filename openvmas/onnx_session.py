"""Exported graphs on ONNX Runtime."""

from __future__ import annotations

import os

import numpy as np
import onnxruntime


def open_graph(path: str | os.PathLike[str], threads: int) -> onnxruntime.InferenceSession:
    """A session that leaves the processor alone between steps."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # Two spinning threads on a busy machine were eight times slower than one.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(os.fspath(path), options, providers=["CPUExecutionProvider"])


def run(graph: onnxruntime.InferenceSession, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
    """All outputs of a graph; the arrays are read where they are."""
    return [np.asarray(output) for output in graph.run(None, inputs)]
