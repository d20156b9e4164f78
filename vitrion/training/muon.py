"""Muon in single precision, the matrices of one shape at once.

The optimiser is torch's (K. Jordan et al., 2024), which orthogonalises one matrix after another in
bfloat16. On a CPU without arithmetic for it that took half of a training step.
"""

from __future__ import annotations

import math
from collections import defaultdict

import torch
from torch import Tensor


class Muon(torch.optim.Muon):
    """torch.optim.Muon with Nesterov's momentum, no weight decay and steps as long as Adam's."""

    def __init__(self, matrices: list[Tensor], lr: float) -> None:
        super().__init__(matrices, lr=lr, weight_decay=0, adjust_lr_fn="match_rms_adamw")

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Change the parameters that have a gradient."""
        for group in self.param_groups:
            momentum = group["momentum"]
            by_shape: dict[torch.Size, list[tuple[Tensor, Tensor]]] = defaultdict(list)
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if "momentum_buffer" not in state:
                    state["momentum_buffer"] = torch.zeros_like(parameter.grad)
                mean = state["momentum_buffer"].lerp_(parameter.grad, 1 - momentum)
                update = parameter.grad.lerp(mean, momentum)
                by_shape[parameter.shape].append((parameter, update))
            for shape, members in by_shape.items():
                updates = orthogonalise(
                    torch.stack([update for _, update in members]),
                    coefficients=group["ns_coefficients"],
                    iterations=group["ns_steps"],
                    least_norm=group["eps"],
                )
                length = group["lr"] * 0.2 * math.sqrt(max(shape))
                for (parameter, _), update in zip(members, updates, strict=True):
                    parameter.sub_(update, alpha=length)


def orthogonalise(
    matrices: Tensor,
    *,
    coefficients: tuple[float, float, float],
    iterations: int,
    least_norm: float,
) -> Tensor:
    """Matrices with the same singular vectors and singular values near 1 (Newton and Schulz).

    Args:
        matrices: (matrices, rows, columns).
        coefficients: of x, x xᵀ x and (x xᵀ)² x in an iteration.
        iterations: number of them.
        least_norm: by which a matrix of zeros is divided.
    """
    a, b, c = coefficients
    is_tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if is_tall else matrices
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=least_norm)
    for _ in range(iterations):
        gram = x @ x.mT
        polynomial = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        x = torch.baddbmm(x, polynomial, x, beta=a)
    return x.mT if is_tall else x
