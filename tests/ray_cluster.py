"""A real cluster of several nodes on this machine, for tests."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import Any

import pytest

# A busy machine may take minutes to start what a node consists of; Ray reads these when it is first imported.
os.environ |= {"RAY_agent_register_timeout_ms": "300000", "RAY_worker_register_timeout_seconds": "300"}
os.environ |= {"RAY_USAGE_STATS_ENABLED": "0"}
SIZE = {"num_cpus": 1, "object_store_memory": 100_000_000}


def start_cluster(n_nodes: int) -> Iterator[Any]:
    """A cluster of nodes with one core each, joined; for a fixture."""
    ray: Any = pytest.importorskip("ray")
    utils: Any = pytest.importorskip("ray.cluster_utils")
    services: Any = pytest.importorskip("ray._private.services")
    ask = services.get_node

    def ask_again(*arguments: Any) -> Any:
        """Ray waits 30 s for a new node and has no setting for it."""
        limit = time.monotonic() + 300
        while True:
            try:
                return ask(*arguments)
            except RuntimeError:
                if time.monotonic() > limit:
                    raise
                time.sleep(0.5)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(services, "get_node", ask_again)
        found = utils.Cluster(initialize_head=True, head_node_args={**SIZE, "include_dashboard": False})
        for _ in range(n_nodes - 1):
            found.add_node(wait=False, **SIZE)
        found.wait_for_nodes(timeout=300)
        ray.init(address=found.address, log_to_driver=False, logging_level="ERROR")
        yield found
        ray.shutdown()
        found.shutdown()
