"""The fused operators against the plain ones in double precision."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from ase.build import bulk
from torch import Tensor

from vitrion.potential import CHGNetPotential, kernels, load_model, operators
from vitrion.potential.graph import Adjacency
from vitrion.potential.operators import GatedMLP

needs_compiler = pytest.mark.skipif(not kernels.available(), reason="no C compiler here")
NODES = 40


def symmetric_graph(pairs: int, seed: int) -> tuple[Adjacency, Tensor]:
    """Random pairs among the first half of the nodes, both ways; and the pair of each row."""
    rng = np.random.default_rng(seed)
    a, b = rng.integers(0, NODES // 2, (2, pairs))
    source, target = np.concatenate((a, b)), np.concatenate((b, a))
    order = np.argsort(source, kind="stable")
    place = np.empty_like(order)
    place[order] = np.arange(2 * pairs)
    reverse = place[(order + pairs) % (2 * pairs)] if pairs else order
    offsets = np.searchsorted(source[order], np.arange(NODES + 1))
    parts = (offsets, source[order], target[order], reverse, order % max(pairs, 1))
    offsets, source, target, reverse, bond = (torch.from_numpy(p.astype(np.int64)) for p in parts)
    return Adjacency(offsets, source, target, reverse), bond


def random_gate(hidden: bool, generator: torch.Generator) -> GatedMLP:
    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    weight, bias = 0.3 * normal(2, 64, 64), normal(2, 64)
    return GatedMLP(
        # As the network makes it: the input of the layer norms has zero mean.
        hidden=(weight - weight.mean(1, True), bias - bias.mean(1, True)) if hidden else None,
        scale=1 + 0.1 * normal(2, 64),
        shift=0.1 * normal(2, 64),
        epsilon=1e-5,
    )


def to_double(gate: GatedMLP) -> GatedMLP:
    hidden = None if gate.hidden is None else tuple(part.double() for part in gate.hidden)
    return GatedMLP(hidden, gate.scale.double(), gate.shift.double(), gate.epsilon)


@needs_compiler
@pytest.mark.parametrize("pairs", [0, 1, 5, 301])
@pytest.mark.parametrize("kind", ["messages by bond", "messages", "update"])
@pytest.mark.parametrize("threads", [1, 3])
def test_fused_operators_are_the_plain_ones(pairs: int, kind: str, threads: int) -> None:
    graph, bond = symmetric_graph(pairs, seed=pairs)
    generator = torch.Generator().manual_seed(pairs)
    gate = random_gate(kind != "update", generator)
    entries = pairs if kind == "messages by bond" else 2 * pairs
    sizes = [(NODES, 128), (NODES, 128), (entries, 128)]
    if kind == "messages by bond":
        sizes.append((pairs, 64))
    elif kind == "messages":
        sizes.append((NODES, 64))
    inputs = [3 * torch.randn(size, generator=generator) for size in sizes]
    if kind == "update":  # the first map is the one that is centred
        inputs = [(x.unflatten(1, (2, 64)) - x.unflatten(1, (2, 64)).mean(2, True)).flatten(1)
                  for x in inputs]  # fmt: skip
    out_rows = 2 * pairs if kind == "update" else NODES
    grad_output = torch.randn((out_rows, 64), generator=generator)

    def evaluate(module, gate: GatedMLP, dtype: torch.dtype) -> tuple[Tensor, ...]:
        leaves = [x.to(dtype, copy=True).requires_grad_() for x in inputs]
        if kind == "update":
            out = module.update(gate, graph, *leaves)
        else:
            out = module.messages(gate, graph, *leaves, bond if "bond" in kind else None)
        return out.detach(), *torch.autograd.grad(out, leaves, grad_output.to(dtype))

    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        fused = evaluate(kernels, gate, torch.float32)
        torch.set_num_threads(1)
        alone = evaluate(kernels, gate, torch.float32)
    finally:
        torch.set_num_threads(before)
    exact = evaluate(operators, to_double(gate), torch.float64)
    for k, (result, single, expected) in enumerate(zip(fused, alone, exact, strict=True)):
        assert torch.equal(result, single), "bits depend on the number of threads"
        if kind == "update" and k > 0:
            # The mean of this gradient is taken out by the centred map before.
            result, expected = (
                x.unflatten(1, (2, 64)) - x.unflatten(1, (2, 64)).mean(2, True)
                for x in (result, expected)
            )
        torch.testing.assert_close(result.double(), expected, rtol=1e-5, atol=1e-5)


@needs_compiler
def test_extreme_features_stay_finite() -> None:
    graph, bond = symmetric_graph(20, seed=1)
    generator = torch.Generator().manual_seed(1)
    gate = random_gate(True, generator)
    source, target = torch.full((NODES, 128), 300.0), torch.full((NODES, 128), -800.0)
    source[:, ::2] = 0.0
    edge, weight = torch.zeros((20, 128)), torch.ones((20, 64))
    leaves = [x.requires_grad_() for x in (source, target, edge, weight)]
    out = kernels.messages(gate, graph, *leaves, bond)
    plain = operators.messages(gate, graph, *leaves, bond)
    torch.testing.assert_close(out, plain, rtol=1e-4, atol=1e-4)
    for gradient in torch.autograd.grad(out.sum(), leaves):
        assert torch.isfinite(gradient).all()


@pytest.fixture
def _fresh_library() -> Iterator[None]:
    kernels.available.cache_clear()
    kernels._library.cache_clear()
    yield
    kernels.available.cache_clear()
    kernels._library.cache_clear()


@pytest.mark.usefixtures("_fresh_library")
def test_without_a_compiler_the_plain_operators_do_the_work(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    atoms = bulk("NaCl", "rocksalt", a=5.7).repeat(2)
    atoms.rattle(0.2, seed=1)
    model = load_model("0.3.0")
    with_kernels = CHGNetPotential(model, atoms.numbers)
    expected = with_kernels.compute(atoms.positions, atoms.cell.array)
    kernels.available.cache_clear()
    kernels._library.cache_clear()
    monkeypatch.setenv("CC", "/nowhere/cc")
    with caplog.at_level(logging.WARNING):
        plain = CHGNetPotential(model, atoms.numbers)
    assert "the potential runs slower" in caplog.text
    result = plain.compute(atoms.positions, atoms.cell.array)
    np.testing.assert_allclose(result.forces_eV_A, expected.forces_eV_A, atol=1e-4)


@needs_compiler
@pytest.mark.usefixtures("_fresh_library")
def test_library_is_compiled_once_and_kept(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert kernels.available()
    (library,) = (tmp_path / "vitrion").iterdir()
    made = library.stat().st_mtime_ns
    kernels._library.cache_clear()
    kernels._library()
    assert library.stat().st_mtime_ns == made
