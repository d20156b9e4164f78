"""The fused operators against the plain ones in double precision."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from types import ModuleType

import numpy as np
import pytest
import torch
from ase.build import bulk
from torch import Tensor

from vitrion.potential import CHGNetPotential, kernels, load_model, operators
from vitrion.potential.graph import Adjacency, Graph, _Chosen, _ordered_pairs
from vitrion.potential.operators import AngularBasis, GatedMLP, LinearMap, NodeMap, RadialBasis

needs_compiler = pytest.mark.skipif(not kernels.available(), reason="no C compiler here")
NODES = 40


def bonds_and_edges(bonds: int, seed: int) -> Graph:
    """Random bonds among the first half of the atoms, a third of them short; no angles."""
    rng = np.random.default_rng(seed)
    start, end = rng.integers(0, NODES // 2, (2, bonds))
    source, target = np.concatenate((start, end)), np.concatenate((end, start))
    order = np.argsort(source, kind="stable")
    place = np.empty_like(order)
    place[order] = np.arange(2 * bonds)
    reverse = place[(order + bonds) % (2 * bonds)] if bonds else order
    offsets = np.searchsorted(source[order], np.arange(NODES + 1))
    parts = (offsets, source[order], target[order], reverse, order % max(bonds, 1), start, end)
    offsets, source, target, reverse, bond, start, end = (
        torch.from_numpy(part.astype(np.int64)) for part in parts
    )
    none = torch.empty(0, dtype=torch.int64)
    return Graph(
        vectors_A=torch.empty(bonds, 3),
        n_short=bonds // 3,
        start=start,
        end=end,
        edges=Adjacency(offsets, source, target, reverse),
        bond=bond,
        sign=torch.empty(2 * bonds),
        angles=Adjacency(none, none, none, none),
        node_edge=none,
        nodes_of_bond=none.view(0, 2),
        node_bond=none,
        node_center=none,
    )


def all_angles(nodes: int, seed: int) -> Adjacency:
    """All pairs of nodes of one central atom, the nodes spread at random over atoms."""
    center = np.sort(np.random.default_rng(seed).integers(0, NODES // 3, nodes))
    entries = torch.arange(nodes)
    return _ordered_pairs(torch.from_numpy(center), NODES, _Chosen(entries, None, nodes), None)[0]


def random_gated_mlp(hidden: bool, features: int, generator: torch.Generator) -> GatedMLP:
    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    weight, bias = 0.3 * normal(2, 64, 64), normal(2, 64)
    edge_map = normal(features, 128)
    return GatedMLP(
        edge_map=0.3 * (edge_map if hidden else centred(edge_map)).T.contiguous(),
        # As the network makes it: the input of the layer norms has zero mean.
        hidden=(weight - weight.mean(1, True), bias - bias.mean(1, True)) if hidden else None,
        scale=1 + 0.1 * normal(2, 64),
        shift=0.1 * normal(2, 64),
        epsilon=1e-5,
    )


def centred(x: Tensor) -> Tensor:
    """(rows, 128) with zero mean of both halves of each row."""
    halves = x.unflatten(1, (2, 64))
    return (halves - halves.mean(2, True)).flatten(1)


def to_double(gated_mlp: GatedMLP) -> GatedMLP:
    hidden = None if gated_mlp.hidden is None else tuple(part.double() for part in gated_mlp.hidden)
    rest = (part.double() for part in (gated_mlp.scale, gated_mlp.shift))
    return GatedMLP(gated_mlp.edge_map.double(), hidden, *rest, gated_mlp.epsilon)


@needs_compiler
@pytest.mark.parametrize("size", [0, 1, 7, 110, 1300])
@pytest.mark.parametrize("kind", ["edge messages", "angle messages", "angle updates"])
@pytest.mark.parametrize("features", [32, 64])
def test_fused_operators_are_the_plain_ones(size: int, kind: str, features: int) -> None:
    """Outputs and gradients, of as many bonds or nodes; and their bits for any thread count."""
    generator = torch.Generator().manual_seed(size)
    gated_mlps = [random_gated_mlp(kind != "angle updates", features, generator)]
    if kind == "edge messages":
        graph = bonds_and_edges(size, seed=size)
        gated_mlps.append(replace(gated_mlps[0], edge_map=0.3 * torch.randn(128, 32)))
        tables = [(NODES, 128), (NODES, 128), (size // 3, features), (size - size // 3, 32)]
        tables.append((size, 64))
        out_rows = NODES
    else:
        size = min(size, 300)
        graph = all_angles(size, seed=size)
        tables = [(size, 128), (size, 128), (len(graph.source), features)]
        if kind == "angle messages":
            tables.append((size, 64))
        out_rows = size if kind == "angle messages" else len(graph.source)
    inputs = [3 * torch.randn(table, generator=generator) for table in tables]
    if kind == "angle updates":  # the first map is the one that is centred
        inputs[:2] = map(centred, inputs[:2])
    grad_output = torch.randn((out_rows, 64), generator=generator)

    def compute(module: ModuleType, dtype: torch.dtype) -> Sequence[Tensor]:
        leaves = [x.to(dtype, copy=True).requires_grad_() for x in inputs]
        of_dtype = gated_mlps if dtype == torch.float32 else map(to_double, gated_mlps)
        out = getattr(module, kind.replace(" ", "_"))(*of_dtype, graph, *leaves)
        slopes = list(torch.autograd.grad(out, leaves, grad_output.to(dtype)))
        if kind == "angle updates":
            # The mean of these gradients is taken out by the centred map before.
            slopes[:2] = map(centred, slopes[:2])
        return out.detach(), *slopes

    agree(compute, atol=3e-5)


def agree(compute: Callable[[ModuleType, torch.dtype], Sequence[Tensor]], atol: float) -> None:
    """The kernels' results and gradients, for one and three threads, are those of plain torch."""
    before = torch.get_num_threads()
    found = []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            found.append(compute(kernels, torch.float32))
    finally:
        torch.set_num_threads(before)
    for result, shared, exact in zip(*found, compute(operators, torch.float64), strict=True):
        assert torch.equal(result, shared), "bits depend on the number of threads"
        torch.testing.assert_close(result.double(), exact.double(), rtol=1e-5, atol=atol)


@needs_compiler
@pytest.mark.parametrize("rows", [0, 1, 24, 110])
@pytest.mark.parametrize("shape", [(128, 64), (64, 32), (64, 64), (32, 128)])
@pytest.mark.parametrize("with_bias", [False, True])
def test_linear_map(rows: int, shape: tuple[int, int], with_bias: bool) -> None:
    generator = torch.Generator().manual_seed(rows)
    weight, bias, x, grad_output = (
        torch.randn(size, generator=generator)
        for size in (shape, shape[:1], (rows, shape[1]), (rows, shape[0]))
    )

    def compute(module: ModuleType, dtype: torch.dtype) -> Sequence[Tensor]:
        map_ = LinearMap(weight.to(dtype), bias.to(dtype) if with_bias else None)
        leaf = x.to(dtype, copy=True).requires_grad_()
        out = module.linear_map(map_, leaf)
        return out.detach(), *torch.autograd.grad(out, leaf, grad_output.to(dtype))

    agree(compute, atol=3e-5)


@needs_compiler
@pytest.mark.parametrize("power", [5.0, 8.0])
def test_radial_basis(power: float) -> None:
    """Also beyond the cutoff, where it and its gradient are exactly zero."""
    lengths_A = torch.linspace(0.4, 7.0, 203, dtype=torch.float64)
    frequencies = torch.cat((torch.arange(1, 32).double() * 3.1416, torch.zeros(1)))
    grad_output = torch.randn((203, 32), generator=torch.Generator().manual_seed(0))

    def compute(module: ModuleType, dtype: torch.dtype) -> Sequence[Tensor]:
        basis = RadialBasis(frequencies, cutoff_A=6.0, norm=0.577, power=power, dtype=dtype)
        r = lengths_A.clone().requires_grad_()
        out = module.radial_basis(basis, r)
        (slope,) = torch.autograd.grad(out, r, grad_output.to(dtype))
        assert not out[lengths_A >= 6.0].any()
        assert not slope[lengths_A >= 6.0].any()
        return out.detach(), slope

    agree(compute, atol=1e-6)


@needs_compiler
@pytest.mark.parametrize("order", [15, 4])
def test_angular_basis(order: int) -> None:
    """Also where two directions are the same or opposite."""
    angles = all_angles(60, seed=3)
    generator = torch.Generator().manual_seed(1)
    directions = torch.randn((60, 3), generator=generator, dtype=torch.float64)
    directions /= directions.norm(dim=1, keepdim=True)
    first, second = int(angles.source[0]), int(angles.target[0])
    directions[second] = -directions[first]
    frequencies = torch.arange(1, order + 1).double() * 1.001
    grad_output = torch.randn((len(angles.source), 32), generator=generator)
    grad_output[:, 1 + 2 * order :] = 0  # what fills the basis up is not used

    def compute(module: ModuleType, dtype: torch.dtype) -> Sequence[Tensor]:
        leaf = directions.clone().requires_grad_()
        basis = AngularBasis(frequencies, width=32, dtype=dtype)
        out = module.angular_basis(basis, angles, leaf)
        (slope,) = torch.autograd.grad(out, leaf, grad_output.to(dtype))
        return out.detach(), slope

    agree(compute, atol=1e-5)


@needs_compiler
@pytest.mark.parametrize("bonds", [0, 1, 24, 101])
def test_node_features(bonds: int) -> None:
    rng = np.random.default_rng(bonds)
    center = np.sort(rng.integers(0, NODES, 2 * bonds))
    nodes_of_bond = rng.permutation(2 * bonds).reshape(bonds, 2)
    node_bond = np.empty(2 * bonds, dtype=np.int64)
    node_bond[nodes_of_bond] = np.arange(bonds)[:, None]
    graph = replace(
        bonds_and_edges(bonds, seed=0),
        n_short=bonds,
        nodes_of_bond=torch.from_numpy(nodes_of_bond),
        node_bond=torch.from_numpy(node_bond),
        node_center=torch.from_numpy(center),
    )
    generator = torch.Generator().manual_seed(2)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    weight, bond, of_center = 0.1 * normal(256, 64), normal(bonds, 64), normal(NODES, 128)
    grad_outputs = normal(2 * bonds, 128), normal(2 * bonds, 128)

    def compute(module: ModuleType, dtype: torch.dtype) -> Sequence[Tensor]:
        leaves = [x.to(dtype, copy=True).requires_grad_() for x in (bond, of_center)]
        out = module.node_features(NodeMap(weight.to(dtype)), graph, *leaves)
        slopes = torch.autograd.grad(out, leaves, [grad.to(dtype) for grad in grad_outputs])
        return *(part.detach() for part in out), *slopes

    agree(compute, atol=2e-5)


@needs_compiler
def test_extreme_features_stay_finite() -> None:
    graph = bonds_and_edges(20, seed=1)
    gated_mlp = random_gated_mlp(True, 32, torch.Generator().manual_seed(1))
    source, target = torch.full((NODES, 128), 300.0), torch.full((NODES, 128), -800.0)
    source[:, ::2] = 0.0
    short, long, weight = torch.zeros((6, 32)), torch.zeros((14, 32)), torch.ones((20, 64))
    leaves = [x.requires_grad_() for x in (source, target, short, long, weight)]
    out = kernels.edge_messages(gated_mlp, gated_mlp, graph, *leaves)
    plain = operators.edge_messages(gated_mlp, gated_mlp, graph, *leaves)
    torch.testing.assert_close(out, plain, rtol=1e-4, atol=1e-4)
    for gradient in torch.autograd.grad(out.sum(), leaves):
        assert torch.isfinite(gradient).all()


@needs_compiler
def test_what_is_not_a_number_stays_so() -> None:
    """A blow-up must be noticed, whatever the approximations of exponentials."""
    graph = bonds_and_edges(20, seed=2)
    gated_mlp = random_gated_mlp(True, 32, torch.Generator().manual_seed(2))
    source, target = torch.zeros((NODES, 128)), torch.zeros((NODES, 128))
    short, long, weight = torch.zeros((6, 32)), torch.zeros((14, 32)), torch.ones((20, 64))
    long[3, 5] = torch.nan
    out = kernels.edge_messages(gated_mlp, gated_mlp, graph, source, target, short, long, weight)
    bad = {int(graph.start[6 + 3]), int(graph.end[6 + 3])}
    assert set(out.isnan().any(1).nonzero()[:, 0].tolist()) == bad


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
