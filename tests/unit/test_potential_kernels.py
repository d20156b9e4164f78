"""The compiled network against the plain one in double precision."""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from chgnet.model import CHGNet
from torch import Tensor

from vitrion.potential import CHGNetPotential, kernels, load_model
from vitrion.potential.graph import Graph, GraphBuilder
from vitrion.potential.kernels import CompiledNetwork
from vitrion.potential.network import Network

needs_compiler = pytest.mark.skipif(not kernels.available(), reason="no C compiler here")
CPU = torch.device("cpu")

# chgnet's arguments: as published, and what takes other ways through the kernels.
MODELS = {
    "published": {},
    "two layers": {"n_conv": 2, "mlp_out_bias": True},
    "no hidden layers": {"atom_conv_hidden_dim": 0, "bond_conv_hidden_dim": 0},
    "wide bases": {"num_radial": 50, "num_angular": 41, "cutoff_coeff": 5, "n_conv": 3},
    "long angles, short readout": {"bond_graph_cutoff": 4.2, "mlp_hidden_dims": (64,)},
}


@functools.cache
def random_model(name: str) -> CHGNet:
    """Random weights, and random numbers where a new model has ones and zeros."""
    torch.manual_seed(len(name))
    model = CHGNet(**MODELS[name])
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter += 0.1 * torch.randn_like(parameter)
    return model.float().eval()


def gas(n_atoms: int) -> Atoms:
    """Atoms around the points of a grid, some of them closer than those of a glass."""
    rng = np.random.default_rng(n_atoms)
    cell = np.diag([1.0, 1.1, 0.9]) * (18 * n_atoms) ** (1 / 3) + 0.3
    side = int(np.ceil(n_atoms ** (1 / 3)))
    grid = np.stack(np.meshgrid(*[np.arange(side)] * 3), -1).reshape(-1, 3)[:n_atoms] / side
    positions = grid @ cell + rng.normal(0, 0.2, (n_atoms, 3))
    return Atoms(rng.choice([3, 8, 13, 17], n_atoms), positions, cell=cell, pbc=True)


def rocksalt() -> Atoms:
    """Angles of exactly 90° and 180°."""
    return bulk("LiF", "rocksalt", a=4.1)


def without_angles() -> Atoms:
    return bulk("NaCl", "rocksalt", a=9.0)


SYSTEMS = {
    **{f"{n} atoms": functools.partial(gas, n) for n in (1, 2, 23, 24, 25, 90)},
    "right angles": rocksalt,
    "no angles": without_angles,
}


def both(model: CHGNet) -> tuple[Network, Network]:
    """The plain network in single and in double precision."""
    single, double = (
        Network(model, device=CPU, dtype=dtype) for dtype in (torch.float32, torch.float64)
    )
    assert kernels.support(single)
    assert not kernels.support(double)
    return single, double


def graph_of(network: Network, atoms: Atoms) -> Graph:
    builder = GraphBuilder(
        cutoff_A=network.cutoff_A, angle_cutoff_A=network.angle_cutoff_A, skin_A=0.0, device=CPU
    )
    return builder.build(atoms.positions, atoms.cell.array)


def exact(network: Network, graph: Graph, features: Tensor) -> tuple[Tensor, Tensor]:
    return network.energies_and_bond_gradients(graph.vectors_A, graph, features)


@needs_compiler
@pytest.mark.parametrize(
    ("name", "system"),
    [("published", system) for system in SYSTEMS]
    + [(name, system) for name in list(MODELS)[1:] for system in ("25 atoms", "no angles")],
)
def test_compiled_network_is_the_plain_one(name: str, system: str) -> None:
    """Energies, gradients and features; their bits for any number of threads."""
    single, double = both(random_model(name))
    atoms = SYSTEMS[system]()
    graph = graph_of(single, atoms)
    features, (exact_features, _) = single.atoms(atoms.numbers)[0], double.atoms(atoms.numbers)
    compiled, before = CompiledNetwork(single), torch.get_num_threads()
    found = []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            energies, gradients = compiled.energies_and_bond_gradients(graph, features)
            found.append((energies, gradients, compiled.atom_features(graph, features)))
            # What a step leaves in the working memory has no meaning for the next: 0xff is NaN.
            kernels._workspace(0).fill_(255)
    finally:
        torch.set_num_threads(before)
    for one, shared in zip(*found, strict=True):
        assert torch.equal(one, shared), "bits depend on threads, or on what was there before"
    energies, gradients, of_atoms = found[0]
    expected_energies, expected_gradients = exact(double, graph, exact_features)
    expected = double.atom_features(graph.vectors_A, graph, exact_features)
    scale = expected_gradients.abs().max().item()
    torch.testing.assert_close(energies, expected_energies, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(gradients, expected_gradients, rtol=1e-4, atol=1e-5 * scale)
    torch.testing.assert_close(of_atoms.double(), expected, rtol=1e-4, atol=1e-5)


@needs_compiler
def test_extreme_features_stay_finite() -> None:
    single, double = both(random_model("published"))
    atoms = gas(24)
    graph, features = graph_of(single, atoms), single.atoms(atoms.numbers)[0]
    for scale in (1e3, 1e5):
        energies, gradients = CompiledNetwork(single).energies_and_bond_gradients(
            graph, scale * features
        )
        assert gradients.isfinite().all()
        expected, _ = exact(double, graph, scale * features.double())
        torch.testing.assert_close(energies, expected, rtol=1e-3, atol=1e-3)


@needs_compiler
def test_what_is_not_a_number_stays_so() -> None:
    """A blow-up must be noticed, whatever the approximations of exponentials."""
    single, _ = both(random_model("published"))
    near, far = gas(24), gas(23)
    far.positions += [200, 0, 0]
    atoms = near + far
    atoms.set_cell([400, 200, 200])
    graph, features = graph_of(single, atoms), single.atoms(atoms.numbers)[0]
    compiled = CompiledNetwork(single)
    sound, _ = compiled.energies_and_bond_gradients(graph, features)
    features = features.clone()
    features[3, 5] = torch.nan
    energies, gradients = compiled.energies_and_bond_gradients(graph, features)
    assert energies[:24].isnan().all()
    assert torch.equal(energies[24:], sound[24:])
    assert torch.equal(gradients.isnan().any(1), graph.start < 24)


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
