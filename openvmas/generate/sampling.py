"""From logits to the next tokens: guidance, temperature, top-k and top-p, one random stream per piece."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from openvmas.settings import GenerateOptions


@dataclass(frozen=True)
class Branch:
    """One way of running the decoder: what it is told, and with which weight its logits count."""

    use_events: bool
    use_meaning: bool
    weight: float


def plan_branches(options: GenerateOptions) -> list[Branch]:
    """Which branches guidance needs (Ho and Salimans 2022, with one scale for events and one for meaning).

    logits = full + (event_guidance - 1) (full - no events) + (guidance - 1) (full - no meaning); where both scales are
    the same, full + (guidance - 1) (full - neither), a branch less. The weights add up to 1, and branches of weight 0
    are not run. Without events at all, `full` is the branch without them.
    """
    events = options.event_guidance > 0
    extra_events = options.event_guidance - 1 if events else 0.0
    extra_meaning = options.guidance - 1
    if events and extra_events == extra_meaning:
        branches = [Branch(True, True, 1 + extra_meaning), Branch(False, False, -extra_meaning)]
    else:
        branches = [
            Branch(events, True, 1 + extra_events + extra_meaning),
            Branch(False, True, -extra_events),
            Branch(events, False, -extra_meaning),
        ]
    return [branch for branch in branches if branch.weight]


def sample(logits: np.ndarray, options: GenerateOptions, generators: list[np.random.Generator]) -> np.ndarray:
    """Tokens [N, K] (int64) from guided logits [N, K, V]; piece n draws from generators[n] alone."""
    n_entries = logits.shape[-1]
    logits = logits / options.temperature
    # The k greatest first, then in order: sorting all entries took longer than the rest of sampling together.
    order = np.broadcast_to(np.arange(n_entries), logits.shape)
    if 0 < options.top_k < n_entries:
        order = np.argpartition(logits, n_entries - options.top_k, axis=-1)[..., -options.top_k :]
    ranks = np.argsort(-np.take_along_axis(logits, order, axis=-1), axis=-1, kind="stable")
    order = np.take_along_axis(order, ranks, axis=-1)
    kept = np.take_along_axis(logits, order, axis=-1).astype(np.float64)
    probability = np.exp(kept - kept[..., :1])
    probability /= probability.sum(-1, keepdims=True)
    before = np.cumsum(probability, axis=-1) - probability
    probability[before >= options.top_p] = 0
    mass = np.cumsum(probability, axis=-1)
    draws = np.stack([generator.random(logits.shape[1]) for generator in generators])
    choice = (draws[..., None] * mass[..., -1:] >= mass).sum(-1)
    tokens = np.take_along_axis(order, np.minimum(choice, order.shape[-1] - 1)[..., None], axis=-1)[..., 0]
    assert tokens.max(initial=0) < n_entries
    return tokens.astype(np.int64)
