"""Muon: torch's, without the rounding to bfloat16."""

from __future__ import annotations

import pytest
import torch

from vitrion.training.muon import Muon, orthogonalise

SHAPES = [(8, 8), (5, 12), (12, 5), (8, 8)]


def random_matrices(seed: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator) for shape in SHAPES]


def test_steps_are_torchs(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = ([m.requires_grad_() for m in random_matrices(0)] for _ in range(2))
    reference = torch.optim.Muon(theirs, lr=0.05, weight_decay=0, adjust_lr_fn="match_rms_adamw")
    monkeypatch.setattr(torch.Tensor, "bfloat16", lambda self: self.clone())
    optimizer = Muon(ours, lr=0.05)
    for seed in (1, 2, 3):
        for a, b, gradient in zip(ours, theirs, random_matrices(seed), strict=True):
            a.grad, b.grad = gradient, gradient.clone()
        optimizer.step()
        reference.step()
        for a, b in zip(ours, theirs, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)
    assert optimizer.state_dict()["state"].keys() == reference.state_dict()["state"].keys()


def test_singular_values_come_near_one() -> None:
    (matrix,) = (m for m in random_matrices(4) if m.shape == (5, 12))
    x = orthogonalise(
        matrix[None], coefficients=(3.4445, -4.7750, 2.0315), iterations=5, least_norm=1e-7
    )[0]
    u, _, v = torch.linalg.svd(matrix, full_matrices=False)
    values = torch.linalg.svdvals(x)
    assert values.min() > 0.5
    assert values.max() < 1.5
    inside = u.mT @ x @ v.mT  # diagonal in the singular vectors of the matrix
    torch.testing.assert_close(inside, torch.diag(inside.diagonal()), rtol=0, atol=1e-5)


def test_a_parameter_without_gradient_stays() -> None:
    matrices = [m.requires_grad_() for m in random_matrices(0)]
    optimizer = Muon(matrices, lr=0.1)
    matrices[1].grad = torch.zeros_like(matrices[1])  # a norm of zero
    optimizer.step()
    for matrix, before in zip(matrices, random_matrices(0), strict=True):
        assert torch.equal(matrix, before)
