"""The potential against chgnet itself, finite differences, and its own promises."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from ase.stress import full_3x3_to_voigt_6_stress
from chgnet.graph.crystalgraph import CrystalGraph
from chgnet.model import CHGNet
from pymatgen.io.ase import AseAtomsAdaptor
from torch.utils._python_dispatch import TorchDispatchMode

from vitrion.base.errors import InputError, PotentialError
from vitrion.base.units import EV_A3_TO_GPA
from vitrion.potential import (
    CHGNetBatch,
    CHGNetCalculator,
    CHGNetPotential,
    PotentialResult,
    load_model,
)
from vitrion.potential.engine import SKIN_A
from vitrion.potential.padded import PaddedEvaluation
from vitrion.structure.compositions import read_compositions
from vitrion.structure.packing import random_packing

COMPOSITIONS = read_compositions("shipped")

loaded = functools.cache(load_model)


def hot(name: str = "LiAlCl", *, seed: int, formula_units: int = 4, skew: float = 0.0) -> Atoms:
    """A rattled grid of one composition at 22 Å³ per atom, its species at random places."""
    rng = np.random.default_rng(seed)
    counts = COMPOSITIONS[name].counts(formula_units)
    symbols = [element for element, count in counts.items() for _ in range(count)]
    n = len(symbols)
    cell = np.eye(3) * (22 * n) ** (1 / 3)
    cell += rng.uniform(-skew, skew, (3, 3)) * cell[0, 0]
    side = int(np.ceil(n ** (1 / 3)))
    grid = np.stack(np.meshgrid(*[np.arange(side)] * 3), -1).reshape(-1, 3) / side
    positions = rng.permutation(grid)[:n] @ cell + rng.normal(0, 0.25, (n, 3))
    return Atoms(symbols, positions, cell=cell, pbc=True)


def compute(
    atoms: Atoms, model: str | CHGNet = "0.3.0", dtype: torch.dtype = torch.float64
) -> PotentialResult:
    if isinstance(model, str):
        model = loaded(model)
    potential = CHGNetPotential(model, atoms.numbers, dtype=dtype)
    return potential.compute(atoms.positions, atoms.cell.array, stress=True)


def chgnet(atoms: Atoms, model: str | CHGNet, dtype: torch.dtype) -> PotentialResult:
    """chgnet's own code, also in double precision, which it does not offer itself."""
    if isinstance(model, str):
        model = loaded(model)
    network: CHGNet = copy.deepcopy(model).to(dtype)
    reference = network.composition_model.fc.weight[0, atoms.numbers - 1].double().sum().item()
    network.composition_model = None
    structure = AseAtomsAdaptor.get_structure(atoms)
    graph: CrystalGraph = network.graph_converter(structure)
    graph.atom_frac_coord = torch.tensor(structure.frac_coords, dtype=dtype, requires_grad=True)
    graph.lattice = torch.tensor(structure.lattice.matrix, dtype=dtype, requires_grad=True)
    graph.neighbor_image = graph.neighbor_image.to(dtype)
    result = network.predict_graph(graph, task="efs")
    return PotentialResult(
        energy_eV=float(result["e"]) * len(atoms) + reference,
        forces_eV_A=result["f"].astype(np.float64),
        stress_eV_A3=result["s"].astype(np.float64) / 160.21766208,
    )


def assert_same(ours: PotentialResult, theirs: PotentialResult, atoms: Atoms) -> None:
    """Equal but for what chgnet keeps in single precision: 1/√2 of the angles, and the volume."""
    scale = max(1.0, abs(theirs.forces_eV_A).max())
    assert abs(ours.energy_eV - theirs.energy_eV) / len(atoms) < 1e-9
    assert abs(ours.forces_eV_A - theirs.forces_eV_A).max() < 2e-8 * scale
    np.testing.assert_allclose(ours.stress_eV_A3, theirs.stress_eV_A3, rtol=1e-6, atol=1e-9 * scale)


@pytest.mark.parametrize("name", list(COMPOSITIONS))
def test_same_function_as_chgnet_for_every_composition(name: str) -> None:
    atoms = hot(name, seed=len(name) + sum(map(ord, name)), skew=0.1)
    assert_same(compute(atoms), chgnet(atoms, "0.3.0", torch.float64), atoms)


def self_images() -> Atoms:
    """Every atom bonds and makes angles with images of itself."""
    return Atoms("LiCl", [[0, 0, 0], [1.3, 1.5, 1.4]], cell=[2.8, 2.9, 3.1], pbc=True)


def sliver() -> Atoms:
    """A cell so skewed that neighbours sit several cells away."""
    cell = [[4, 0, 0], [9, 4, 0], [-7, 8, 4]]
    return Atoms("NaCl", [[0.1, 0, 0], [2.1, 0.3, 0.2]], cell=cell, pbc=True)


def without_angles() -> Atoms:
    """No bond within 3 Å."""
    return bulk("NaCl", "rocksalt", a=7.5)


def one_angle_node() -> Atoms:
    """A pair of atoms within 3 Å: bonds that could make angles, and no angle."""
    return Atoms("LiF", [[0, 0, 0], [1.8, 0, 0]], cell=[5, 5, 5], pbc=True)


@pytest.mark.parametrize("model", ["0.3.0", "r2scan"])
@pytest.mark.parametrize("make", [self_images, sliver, without_angles, one_angle_node])
def test_same_function_as_chgnet_in_odd_cells(make, model: str) -> None:
    atoms = make()
    assert_same(compute(atoms, model), chgnet(atoms, model, torch.float64), atoms)
    single, double = compute(atoms, model, torch.float32), compute(atoms, model)
    assert abs(single.energy_eV - double.energy_eV) / len(atoms) < 2e-6
    np.testing.assert_allclose(single.forces_eV_A, double.forces_eV_A, atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize("bond_features", [32, 64])
def test_a_model_of_another_width_runs_on_the_reference_operators(bond_features: int) -> None:
    """The C kernels hold 64 features and would read beyond the end of smaller tables."""
    torch.manual_seed(1)
    model = CHGNet(
        atom_fea_dim=32,
        bond_fea_dim=bond_features,
        angle_fea_dim=16,
        atom_conv_hidden_dim=32,
        bond_conv_hidden_dim=48,
        mlp_hidden_dims=(32, 16),
    ).eval()
    atoms = hot(seed=22, skew=0.1)
    assert_same(compute(atoms, model), chgnet(atoms, model, torch.float64), atoms)
    single = compute(atoms, model, torch.float32)
    np.testing.assert_allclose(
        single.forces_eV_A, compute(atoms, model).forces_eV_A, rtol=1e-4, atol=1e-4
    )
    assert CHGNetPotential(model, atoms.numbers)._compiled is None


def packed(name: str, *, formula_units: int, seed: int) -> Atoms:
    """The random packing that a melt starts from."""
    composition = COMPOSITIONS[name]
    volume_A3 = composition.volume_A3(formula_units, composition.density_guess_g_cm3)
    return random_packing(composition.counts(formula_units), volume_A3, seed)


@pytest.mark.parametrize("formula_units", [4, 16, 32])
@pytest.mark.parametrize("name", ["LiAlCl", "NaGaBr", "KInI"])
def test_single_precision_gives_the_exact_energy(name: str, formula_units: int) -> None:
    """Within 1e-6 eV/atom of double precision, in close contacts too (forces to 250 eV/Å)."""
    for seed in range(3):
        for atoms in (
            hot(name, seed=seed, formula_units=formula_units),
            packed(name, seed=seed, formula_units=formula_units),
        ):
            exact, single = compute(atoms), compute(atoms, dtype=torch.float32)
            assert abs(single.energy_eV - exact.energy_eV) / len(atoms) < 1e-6


@pytest.mark.parametrize(("model", "units"), [("0.3.0", 4), ("r2scan", 4), ("0.3.0", 8)])
def test_single_precision_is_better_than_chgnets(model: str, units: int) -> None:
    ours, theirs = [], []
    for seed in range(4):
        atoms = hot(seed=seed, formula_units=units)
        exact = compute(atoms, model)
        for errors, single in (
            (ours, compute(atoms, model, torch.float32)),
            (theirs, chgnet(atoms, model, torch.float32)),
        ):
            errors.append(
                (
                    abs(single.energy_eV - exact.energy_eV) / len(atoms),
                    np.sqrt(((single.forces_eV_A - exact.forces_eV_A) ** 2).mean()),
                    abs(single.stress_eV_A3 - exact.stress_eV_A3).max() * EV_A3_TO_GPA,
                )
            )
    assert (np.mean(ours, axis=0) < np.mean(theirs, axis=0)).all()


def test_forces_are_the_slope_of_the_energy() -> None:
    atoms, step_A = hot(seed=11, skew=0.1), 1e-4
    forces = compute(atoms).forces_eV_A
    rng = np.random.default_rng(0)
    for atom, axis in zip(rng.integers(0, len(atoms), 6), [0, 1, 2] * 2, strict=True):
        energies = []
        for sign in (1, -1):
            moved = atoms.copy()
            moved.positions[atom, axis] += sign * step_A
            energies.append(compute(moved).energy_eV)
        slope = (energies[0] - energies[1]) / (2 * step_A)
        assert -slope == pytest.approx(forces[atom, axis], abs=2e-5)
    assert abs(forces.sum(0)).max() < 1e-9


def test_stress_is_the_slope_by_strain() -> None:
    atoms, step = hot(seed=12, skew=0.1), 1e-5
    stress = compute(atoms).stress_eV_A3
    np.testing.assert_allclose(stress, stress.T, atol=1e-10)
    for i, j in ((0, 0), (1, 1), (2, 2), (0, 1), (1, 2), (2, 0)):
        energies = []
        for sign in (1, -1):
            strain = np.eye(3)
            strain[i, j] += sign * step
            strained = atoms.copy()
            strained.set_cell(atoms.cell.array @ strain, scale_atoms=True)
            energies.append(compute(strained).energy_eV)
        slope = (energies[0] - energies[1]) / (2 * step) / atoms.get_volume()
        assert slope == pytest.approx(stress[i, j], abs=2e-6)


def test_images_and_cells_that_are_the_same_crystal() -> None:
    atoms = hot(seed=13)
    exact = compute(atoms)
    rng = np.random.default_rng(1)
    unwrapped = atoms.copy()
    unwrapped.positions += rng.integers(-40, 40, (len(atoms), 3)) @ atoms.cell.array
    np.testing.assert_allclose(
        compute(unwrapped).forces_eV_A, exact.forces_eV_A, atol=1e-8, rtol=1e-9
    )
    doubled = compute(atoms.repeat((2, 1, 1)))
    assert doubled.energy_eV == pytest.approx(2 * exact.energy_eV, abs=1e-8)
    np.testing.assert_allclose(doubled.forces_eV_A[: len(atoms)], exact.forces_eV_A, atol=1e-8)
    np.testing.assert_allclose(doubled.stress_eV_A3, exact.stress_eV_A3, atol=1e-10)
    mirror = np.array([-1, 1, 1])
    mirrored = atoms.copy()  # in a left-handed cell
    mirrored.positions *= mirror
    mirrored.set_cell(atoms.cell.array * mirror)
    found = compute(mirrored)
    assert found.energy_eV == pytest.approx(exact.energy_eV, abs=1e-8)
    np.testing.assert_allclose(found.forces_eV_A, exact.forces_eV_A * mirror, atol=1e-8)
    stress = exact.stress_eV_A3 * np.outer(mirror, mirror)
    np.testing.assert_allclose(found.stress_eV_A3, stress, atol=1e-9)
    # chgnet divides by a negative volume.
    theirs = chgnet(mirrored, "0.3.0", torch.float64)
    np.testing.assert_allclose(theirs.stress_eV_A3, -stress, rtol=1e-6, atol=1e-9)


def same_bits(a: PotentialResult, b: PotentialResult) -> bool:
    return (
        a.energy_eV == b.energy_eV
        and np.array_equal(a.forces_eV_A, b.forces_eV_A)
        and np.array_equal(a.stress_eV_A3, b.stress_eV_A3)
    )


@pytest.mark.parametrize("formula_units", [4, 16])
def test_equal_input_gives_equal_bits_whatever_came_before(formula_units: int) -> None:
    atoms = hot(seed=14, formula_units=formula_units, skew=0.05)
    model, numbers = loaded("0.3.0"), atoms.numbers
    lived = CHGNetPotential(model, numbers)
    rng = np.random.default_rng(2)
    direction = rng.normal(size=(len(atoms), 3))
    positions, cell = atoms.positions.copy(), atoms.cell.array.copy()
    lists = set()
    for step in range(30):
        positions += 0.02 * direction
        cell *= 1 + 0.002 * (step % 3 - 1)
        result = lived.compute(positions, cell, stress=True)
        lists.add(id(lived._builder._verlet_list))
        if step % 6 == 5:
            fresh = CHGNetPotential(model, numbers).compute(positions, cell, stress=True)
            assert same_bits(result, fresh)
    assert 1 < len(lists) < 30, "the Verlet list should have been both kept and renewed"
    lived.compute(positions + 3.0 * direction, 1.1 * cell)
    assert same_bits(lived.compute(positions, cell, stress=True), result)


def test_no_bond_is_missed_however_the_cell_moves() -> None:
    atoms = hot(seed=16)
    potential = CHGNetPotential(loaded("0.3.0"), atoms.numbers, dtype=torch.float64)
    rng = np.random.default_rng(3)
    positions, cell = atoms.positions.copy(), atoms.cell.array.copy()
    for _ in range(12):
        strain = np.eye(3) + rng.normal(0, 0.01, (3, 3))
        cell = cell @ strain
        positions = positions @ strain + rng.normal(0, SKIN_A["cpu"] / 10, positions.shape)
        energy = potential.compute(positions, cell).energy_eV
        fresh = CHGNetPotential(loaded("0.3.0"), atoms.numbers, dtype=torch.float64)
        assert energy == fresh.compute(positions, cell).energy_eV


def test_stress_only_where_asked() -> None:
    atoms = hot(seed=17)
    potential = CHGNetPotential(loaded("0.3.0"), atoms.numbers)
    without = potential.compute(atoms.positions, atoms.cell.array)
    assert without.stress_eV_A3 is None
    assert without.forces_eV_A.dtype == np.float64
    with_stress = potential.compute(atoms.positions, atoms.cell.array, stress=True)
    assert np.array_equal(without.forces_eV_A, with_stress.forces_eV_A)


def test_states_without_physics_are_refused() -> None:
    atoms = hot(seed=18)
    potential = CHGNetPotential(loaded("0.3.0"), atoms.numbers)
    positions, cell = atoms.positions, atoms.cell.array
    broken = positions.copy()
    broken[3, 1] = np.nan
    with pytest.raises(PotentialError, match="not finite"):
        potential.compute(broken, cell)
    with pytest.raises(PotentialError, match=r"no neighbour within 6 Å"):
        potential.compute(positions * 20, cell * 20)
    lone = positions.copy()
    wide = np.diag([60.0, 60.0, 60.0])
    lone[5] = [40, 40, 40]
    with pytest.raises(PotentialError, match="atom 5 has no neighbour"):
        potential.compute(lone, wide)
    with pytest.raises(PotentialError, match="collapsed"):
        potential.compute(positions * 0.2, cell * 0.2)
    with pytest.raises(PotentialError, match="collapsed"):
        potential.compute(positions, cell * [1, 1, 0])
    # Two atoms on one spot: the Bessel functions divide by their distance.
    broken = positions.copy()
    broken[1] = broken[0]
    with pytest.raises(PotentialError, match="not finite"):
        potential.compute(broken, cell)
    # Later evaluations are not affected.
    fresh = CHGNetPotential(loaded("0.3.0"), atoms.numbers)
    assert potential.compute(positions, cell).energy_eV == fresh.compute(positions, cell).energy_eV


def test_wrong_input_is_refused() -> None:
    model = loaded("0.3.0")
    with pytest.raises(InputError, match="atomic numbers"):
        CHGNetPotential(model, [3, 0])
    with pytest.raises(InputError, match="atomic numbers"):
        CHGNetPotential(model, [3, 95])
    with pytest.raises(InputError, match="device"):
        CHGNetPotential(model, [3, 17], device="abacus")
    with pytest.raises(InputError, match="positions"):
        CHGNetPotential(model, [3, 17]).compute(np.zeros((3, 3)), np.eye(3))
    other = copy.deepcopy(model)
    other.model_args["gMLP_norm"] = "batch"
    with pytest.raises(InputError, match="gMLP_norm"):
        CHGNetPotential(other, [3, 17])


def test_calculator_is_the_potential() -> None:
    atoms = hot(seed=19, skew=0.1)
    atoms.calc = CHGNetCalculator("r2scan", device="cpu", dtype=torch.float64)
    result = compute(atoms, "r2scan")
    assert atoms.get_potential_energy() == result.energy_eV
    assert np.array_equal(atoms.get_forces(), result.forces_eV_A)
    assert np.array_equal(atoms.get_stress(), full_3x3_to_voigt_6_stress(result.stress_eV_A3))
    atoms.numbers[:] = atoms.numbers[::-1]
    assert atoms.get_potential_energy() == compute(atoms, "r2scan").energy_eV
    atoms.pbc = (True, True, False)
    with pytest.raises(InputError, match="pbc"):
        atoms.get_potential_energy()


def batch_of(*systems: Atoms) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    return {k: (atoms.positions, atoms.cell.array) for k, atoms in enumerate(systems)}


def test_a_batch_is_its_systems() -> None:
    """Of different sizes and cells, step after step, while one after another drops out."""
    systems = [hot(seed=30, skew=0.1), packed("KInI", formula_units=8, seed=1), hot(seed=31)]
    numbers = [atoms.numbers for atoms in systems]
    together = CHGNetBatch(loaded("0.3.0"), numbers, dtype=torch.float64, together=True)
    rng = np.random.default_rng(4)
    for step in range(12):
        configurations = batch_of(*systems)
        if step > 8:
            del configurations[1]
        results = together.compute(configurations, stress=True)
        assert results.keys() == configurations.keys()
        for k, result in results.items():
            alone = compute(systems[k])
            assert result.energy_eV == pytest.approx(alone.energy_eV, abs=1e-9)
            np.testing.assert_allclose(result.forces_eV_A, alone.forces_eV_A, atol=1e-8)
            np.testing.assert_allclose(result.stress_eV_A3, alone.stress_eV_A3, atol=1e-9)
        for atoms in systems:
            atoms.positions += rng.normal(0, 0.08, atoms.positions.shape)
            atoms.set_cell(atoms.cell.array * 1.002, scale_atoms=True)
    assert together.compute(configurations)[0].stress_eV_A3 is None


@pytest.mark.parametrize("together", [False, True])
def test_a_system_without_physics_leaves_its_batch_alone(together: bool) -> None:
    systems = [hot(seed=seed) for seed in (32, 33, 34, 35)]
    numbers = [atoms.numbers for atoms in systems]
    batch = CHGNetBatch(loaded("0.3.0"), numbers, dtype=torch.float64, together=together)
    sound = batch.compute(batch_of(*systems))
    systems[1].positions[3] = systems[1].positions[4]  # on one spot: a division by zero
    systems[2].positions *= 20
    systems[2].cell *= 20
    for broken, message in (((1,), "not finite"), ((1, 2), "no neighbour")):
        results = batch.compute(
            {k: c for k, c in batch_of(*systems).items() if k in (0, 3, *broken)}
        )
        assert isinstance(results[broken[-1]], PotentialError)
        assert message in str(results[broken[-1]])
        for k in (0, 3):
            np.testing.assert_allclose(results[k].forces_eV_A, sound[k].forces_eV_A, atol=1e-9)


def test_on_the_cpu_a_batch_has_the_bits_of_its_systems() -> None:
    systems = [hot(seed=36), hot(seed=37, formula_units=8)]
    batch = CHGNetBatch(loaded("0.3.0"), [atoms.numbers for atoms in systems])
    results = batch.compute(batch_of(*systems), stress=True)
    for k, atoms in enumerate(systems):
        assert same_bits(results[k], compute(atoms, dtype=torch.float32))


class Operations(TorchDispatchMode):
    """Notes every operation of torch."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(
        self, operation: Callable, types: object, args: tuple = (), kwargs: dict | None = None
    ) -> object:
        self.names.add(operation.overloadpacket.__name__)
        return operation(*args, **(kwargs or {}))


def padded(systems: list[Atoms]) -> PaddedEvaluation:
    """What a GPU runs, here on the CPU."""
    potentials = [
        CHGNetPotential(loaded("0.3.0"), atoms.numbers, dtype=torch.float64) for atoms in systems
    ]
    network = potentials[0].network
    return PaddedEvaluation(
        network, [p._builder for p in potentials], [p._atoms for p in potentials]
    )


def test_what_a_cuda_graph_holds_never_waits_for_the_host() -> None:
    """No size that depends on values, nothing taken to or from the host."""
    systems = [hot(seed=40), hot(seed=41, formula_units=8)]
    evaluation = padded(systems)
    evaluation.compute([a.positions for a in systems], [a.cell.array for a in systems])
    with Operations() as seen:
        evaluation._evaluate()
    assert "index_add_" in seen.names
    waits = {"nonzero", "bincount", "repeat_interleave", "masked_select", "unique", "lift_fresh"}
    assert not seen.names & (waits | {"_local_scalar_dense", "item"})


def test_buffers_grow_with_what_they_hold() -> None:
    """Compressed, a system has more bonds and angles than there was room for."""
    systems = [hot(seed=42, formula_units=8)]
    evaluation = padded(systems)
    for scale in (1.0, 0.85, 1.0):
        systems[0].set_cell(systems[0].cell.array * scale, scale_atoms=True)
        positions, cells = [systems[0].positions], [systems[0].cell.array]
        before = evaluation._capacity
        _, forces, _ = evaluation.compute(positions, cells)
        assert (evaluation._capacity != before) == (before is None or scale < 1)
        exact = compute(systems[0]).forces_eV_A
        np.testing.assert_allclose(forces[0], exact, atol=1e-9 * abs(exact).max())


def test_the_network_compiles_for_graphs_of_any_size() -> None:
    """Traced as for a GPU, without the slow part, which makes the code."""
    network = padded([hot(seed=43)])._network
    traced = torch.compile(network.energies_eV, dynamic=True, fullgraph=True, backend="aot_eager")
    for formula_units in (4, 8, 12):
        atoms = hot(seed=44, formula_units=formula_units)
        configuration = [atoms.positions], [atoms.cell.array]
        evaluation, plain = padded([atoms]), padded([atoms])
        evaluation._energies_eV = traced
        for found, exact in zip(
            evaluation.compute(*configuration), plain.compute(*configuration), strict=True
        ):
            np.testing.assert_allclose(found, exact, atol=1e-9)


@pytest.mark.gpu
def test_gpu_gives_the_same() -> None:
    atoms = hot(seed=20, formula_units=16)
    for dtype, tolerance in ((torch.float64, 1e-9), (torch.float32, 1e-3)):
        on_gpu = CHGNetPotential(loaded("0.3.0"), atoms.numbers, device="cuda", dtype=dtype)
        result = on_gpu.compute(atoms.positions, atoms.cell.array, stress=True)
        exact = compute(atoms)
        np.testing.assert_allclose(result.forces_eV_A, exact.forces_eV_A, atol=tolerance)
        np.testing.assert_allclose(result.stress_eV_A3, exact.stress_eV_A3, atol=tolerance)
