"""Muon (Jordan 2024) for many small matrices: those of one shape are orthogonalised together.

The update is that of `torch.optim.Muon`, which takes one matrix at a time: with the 28 of the codec most of a step on a
GPU went by waiting for its 700 small launches. With several processes each takes a share of the matrices; they may be
sharded themselves (`train.distributed`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.tensor import DTensor, distribute_tensor

from openvmas.model.alignment import is_distributed


class BatchedMuon(torch.optim.Muon):
    """`torch.optim.Muon` with `adjust_lr_fn="match_rms_adamw"`; its checkpoints fit, too."""

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One update of every matrix that has a gradient."""
        if closure is not None:
            raise ValueError("closures are not supported")
        for group in self.param_groups:
            by_shape: dict[tuple[int, ...], list[Tensor]] = {}
            for parameter in group["params"]:
                if parameter.grad is not None:
                    by_shape.setdefault(tuple(sorted(parameter.shape)), []).append(parameter)
            for matrices in by_shape.values():
                self._update(matrices, group)

    def _update(self, matrices: list[Tensor], group: dict[str, Any]) -> None:
        for matrix in matrices:
            if "momentum_buffer" not in self.state[matrix]:
                self.state[matrix]["momentum_buffer"] = torch.zeros_like(matrix)
        gradients = [local_of(matrix.grad) for matrix in matrices]
        momenta = [local_of(self.state[matrix]["momentum_buffer"]) for matrix in matrices]
        for momentum, gradient in zip(momenta, gradients, strict=True):
            momentum.lerp_(gradient, 1 - group["momentum"])
        updates = momenta
        if group["nesterov"]:
            updates = [a.lerp(b, group["momentum"]) for a, b in zip(gradients, momenta, strict=True)]
        updates = [gather_matrix(update, matrix) for update, matrix in zip(updates, matrices, strict=True)]
        wide = torch.stack([update if update.shape[0] <= update.shape[1] else update.T for update in updates])
        made = orthogonalize_shared(wide, group["ns_coefficients"], group["ns_steps"], group["eps"])
        changes = [x.T if m.shape[0] > m.shape[1] else x for x, m in zip(made.float(), matrices, strict=True)]
        rate = 0.2 * math.sqrt(max(matrices[0].shape)) * group["lr"]
        for matrix, change in zip(matrices, changes, strict=True):
            own = own_rows(change, matrix)
            local_of(matrix).mul_(1 - group["lr"] * group["weight_decay"]).add_(own, alpha=-rate)


def local_of(x: Any) -> Tensor:
    """This process's rows of a sharded tensor (fsdp2), or the tensor itself."""
    return x.to_local() if isinstance(x, DTensor) else x


def gather_matrix(rows: Tensor, matrix: Tensor) -> Tensor:
    """The whole matrix from the rows that every process has, if `matrix` is sharded."""
    if not isinstance(matrix, DTensor):
        return rows
    shape = {"shape": matrix.shape, "stride": matrix.stride()}
    return DTensor.from_local(rows, matrix.device_mesh, matrix.placements, run_check=False, **shape).full_tensor()


def own_rows(whole: Tensor, matrix: Tensor) -> Tensor:
    """This process's rows of a sharded matrix, from the whole that all processes have."""
    if not isinstance(matrix, DTensor):
        return whole
    return distribute_tensor(whole, matrix.device_mesh, matrix.placements, src_data_rank=None).to_local()


def orthogonalize_shared(x: Tensor, *settings: Any) -> Tensor:
    """`orthogonalize`, each process a share of the matrices: for small batches it costs as much as the gradients."""
    if not is_distributed():
        return orthogonalize(x, *settings)
    size, rank = dist.get_world_size(), dist.get_rank()
    share = -(-len(x) // size)
    mine = x[rank * share : (rank + 1) * share]
    mine = orthogonalize(torch.cat([mine, x.new_zeros(share - len(mine), *x.shape[1:])]), *settings)
    parts = [torch.empty_like(mine) for _ in range(size)]
    dist.all_gather(parts, mine.contiguous())
    return torch.cat(parts)[: len(x)]


def orthogonalize(x: Tensor, coefficients: tuple[float, float, float], n_rounds: int, eps: float) -> Tensor:
    """Newton-Schulz iterations towards the nearest semi-orthogonal matrices, in bf16: [N, D, E] with D <= E."""
    a, b, c = coefficients
    x = x.bfloat16()
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp_min(eps)
    for _ in range(n_rounds):
        gram = x @ x.transpose(1, 2)
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x
