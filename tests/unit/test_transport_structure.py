"""Contacts, environments, fragments and clusters."""

from __future__ import annotations

import numpy as np
import pytest
from exact_systems import analyze, estimates, rigid_clusters

from vitrion.base.errors import InputError
from vitrion.trajectory.unwrapping import Frames, Source, Trajectory
from vitrion.transport.contacts import Contacts, follow_contacts
from vitrion.transport.environments import environment_codes, environment_name
from vitrion.transport.network import network
from vitrion.transport.roles import Roles


def still(symbols, positions_A, cell_A, frames: int = 3) -> Trajectory:
    positions_A = np.broadcast_to(positions_A, (frames, *np.shape(positions_A)))
    return Trajectory.read(
        Source.of_arrays(symbols, positions_A, cell_A, 0.1), reference_frame="none"
    )


@pytest.mark.parametrize("breathing", [0.0, 0.02])
def test_contacts_are_those_of_every_frame_on_its_own(breathing):
    """Against all pairs and all images, in a small triclinic cell with fast atoms."""
    rng = np.random.default_rng(3)
    symbols = ["Al"] * 4 + ["Li"] * 7
    cell_A = np.array([[6.0, 0, 0], [2.0, 6.5, 0], [-1.5, 1.0, 7.0]])
    steps_A = rng.normal(0, 0.3, (150, 11, 3))
    steps_A[0] = rng.uniform(-20, 20, (11, 3))
    positions_A = np.cumsum(steps_A, axis=0)
    cells_A = cell_A * (1 + breathing * np.sin(np.arange(150) / 9))[:, None, None]
    source = Source(tuple(symbols), 0.1, False, (Frames(positions_A, cells_A),), "small")
    images = np.stack(np.meshgrid(*[np.arange(-12, 13)] * 3), axis=-1).reshape(-1, 3)
    with Trajectory.read(source, reference_frame="none") as t:
        for contacts in follow_contacts(t, "Al", {"Li": 3.5}):
            found = contacts["Li"]
            for offset in range(0, found.inside.shape[1], 13):
                frame = found.start + offset
                cell = cells_A[frame]
                vectors = positions_A[frame, None, 4:] - positions_A[frame, :4, None]
                # Reduce before counting images: the atoms start far apart.
                vectors -= np.round(vectors @ np.linalg.inv(cell)) @ cell
                near = images[np.abs(images).max(axis=1) <= 2] @ cell
                distances = np.linalg.norm(vectors[:, :, None] + near, axis=-1).min(axis=2)
                dense = np.zeros((4, 7), dtype=bool)
                dense[found.center, found.neighbor] = found.inside[:, offset]
                assert (dense == (distances < 3.5)).all()


ELEMENTS = ["F", "Cl", "Br", "I", "O", "S", "Se", "Te", "N", "P", "As", "H"]


def shell(ligands: dict[str, int]) -> dict[str, Contacts]:
    """One centre with so many of each ligand in contact, over one frame."""
    return {
        ligand: Contacts(
            start=0,
            center=np.zeros(count, dtype=int),
            neighbor=np.arange(count),
            inside=np.ones((count, 1), dtype=bool),
        )
        for ligand, count in ligands.items()
    }


@pytest.mark.parametrize(
    "ligands",
    [
        {"Cl": 5, "Br": 4, "O": 3},
        {"O": 17},
        dict.fromkeys(ELEMENTS[:9], 2),
        dict.fromkeys(ELEMENTS, 12),
    ],
)
def test_environments_of_many_ligands_keep_their_names(ligands):
    """Twelve ligands of three elements, seventeen of one, and up to twelve elements."""
    codes = environment_codes(shell(ligands), list(ligands), n_centers=2)
    assert codes.shape == (2, 1)
    name = "".join(f"{ligand}{count}" for ligand, count in ligands.items())
    assert environment_name(codes[0, 0], list(ligands)) == name
    assert environment_name(codes[1, 0], list(ligands)) == "bare"


def test_a_shell_with_more_ligands_than_a_code_holds_is_refused():
    with pytest.raises(InputError, match="a first shell holds 300 O, more than 255"):
        environment_codes(shell({"O": 300}), ["O"], n_centers=1)


def chain() -> tuple[list[str], np.ndarray]:
    """Al3O2Cl8 as a chain, one lone AlCl4 and a terminal O: fragments of 3, 1 and 1 Al."""
    symbols, positions_A = [], []

    def put(symbol, *at_A):
        symbols.append(symbol)
        positions_A.append(at_A)

    for k in range(3):
        put("Al", 3.4 * k, 0, 0)
        put("Cl", 3.4 * k, 1.5, 1.5)
        put("Cl", 3.4 * k, -1.5, 1.5)
    put("O", 1.7, 0, 0)
    put("O", 5.1, 0, 0)
    put("Al", 0, 12, 0)
    for x, y, z in 2.1 * np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) / np.sqrt(3):
        put("Cl", x, 12 + y, z)
    put("Al", 12, 12, 12)
    put("O", 12, 12, 13.7)
    put("Li", 6, 12, 6)
    return symbols, np.array(positions_A)


def test_fragments_and_environments_by_hand():
    symbols, positions_A = chain()
    cutoffs_A = {"Al-Cl": 2.6, "Al-O": 2.2, "Al-Li": 3.0}
    with still(symbols, positions_A, np.eye(3) * 24) as t:
        found = network(t, {("Al", "Cl"): 2.6, ("Al", "O"): 2.2}, ["O"])
    assert dict(zip(found.sizes, found.fraction, strict=True)) == pytest.approx(
        {1: 2 / 5, 3: 3 / 5}
    )
    assert found.bridging_fraction == pytest.approx(2 / 3)
    assert found.mean_fragment_size == pytest.approx(5 / 3)
    assert dict(zip(found.bridges.numbers, found.bridges.fraction, strict=True)) == pytest.approx(
        {0: 2 / 5, 1: 2 / 5, 2: 1 / 5}
    )
    bonded = {s: dict(zip(c.numbers, c.fraction, strict=True)) for s, c in found.centers.items()}
    assert bonded == {"Cl": {1: 1}, "O": {1: pytest.approx(1 / 3), 2: pytest.approx(2 / 3)}}
    assert list(found.percolation) == [1, 0, 0, 0]
    most = {atoms: found.angle_deg[density.argmax()] for atoms, density in found.angles.items()}
    assert most == {"Cl-Al-Cl": 109, "Cl-Al-O": 91, "O-Al-O": 179, "Al-O-Al": 179}
    for density in found.angles.values():
        assert density.sum() * 2 == pytest.approx(1)
    charges = {"Al": 3, "Cl": -1, "O": -2, "Li": 1}
    net = sum(charges[s] for s in symbols)
    charges["Li"] -= net
    frames_A = np.broadcast_to(positions_A, (8, *positions_A.shape))
    source = Source.of_arrays(symbols, frames_A, np.eye(3) * 24, 0.1)
    tables = analyze(source, charges, Roles(("Li",), ("Al",), ("Cl", "O")), cutoffs_A=cutoffs_A)
    coordination = tables["coordination"].set_index("environment")["fraction"].to_dict()
    assert coordination == pytest.approx({"Cl2O1": 0.4, "Cl2O2": 0.2, "Cl4": 0.2, "O1": 0.2})
    clusters = tables["clusters"].set_index("cluster")["mean_count"].to_dict()
    assert clusters == {"Al3Cl6O2": 1, "AlCl4": 1, "AlO": 1, "Li": 1}
    assert tables["network"].attrs["bridging_oxygen_fraction"] == pytest.approx(2 / 3)
    assert not tables["diffusion"]["diffusive"].any()


def test_a_ring_through_the_boundary_is_one_fragment():
    """Two Al joined by one oxygen inside the cell and one across its face."""
    positions_A = [[1, 5, 5], [4, 5, 5], [2.5, 5, 5], [7.5, 5, 5]]
    with still(["Al", "Al", "O", "O"], np.array(positions_A), np.diag([10.0, 10, 10])) as t:
        found = network(t, {("Al", "O"): 1.6}, ["O"])
        assert found.bridging_fraction == pytest.approx(0.5)
        ring = network(t, {("Al", "O"): 3.6}, ["O"])
    assert list(ring.sizes) == [2]
    assert ring.bridging_fraction == 1
    assert list(found.percolation) == [1, 0, 0, 0]
    assert list(ring.percolation) == [0, 1, 0, 0]


@pytest.mark.parametrize("copies", [1, 2])
@pytest.mark.parametrize(("planes", "directions"), [((0, 1, 2), 3), ((0, 1), 2), ((2,), 1)])
def test_a_lattice_percolates_along_its_bonds(copies, planes, directions):
    """Simple cubic Al with an O in the middle of the bonds along some of the axes."""
    cells_A = 4.0 * np.stack(np.unravel_index(np.arange(copies**3), (copies,) * 3), axis=1)
    oxygen_A = [cells_A + 2.0 * np.eye(3)[axis] for axis in planes]
    positions_A = np.concatenate([cells_A, *oxygen_A]) + 0.3
    symbols = ["Al"] * len(cells_A) + ["O"] * (len(planes) * len(cells_A))
    with still(symbols, positions_A, np.eye(3) * 4.0 * copies) as t:
        found = network(t, {("Al", "O"): 2.1}, ["O"])
    assert found.percolation[directions] == 1
    # An O between two images of the same Al joins nothing that is counted.
    assert list(found.bridges.numbers) == [2 * len(planes) if copies > 1 else 0]
    assert found.angles["Al-O-Al"][-1] * 2 == pytest.approx(1)


def test_rigid_clusters_have_equal_cluster_and_einstein_conductivity():
    kinds = {"Li": (6, 0.01), "AlCl4": (2, 0.004), "Al2Cl7": (4, 0.006)}
    source = rigid_clusters(kinds, frames=200, rng=np.random.default_rng(0))
    tables = analyze(
        source,
        {"Li": 1, "Al": 3, "Cl": -1},
        Roles(("Li",), ("Al",), ("Cl",)),
        cutoffs_A={"Al-Cl": 2.6, "Al-Li": 4.0},
        rdf_cutoff_A=3.0,
    )
    clusters = tables["clusters"].set_index("cluster")
    assert clusters["mean_count"].to_dict() == {"Li": 6, "Al2Cl7": 4, "AlCl4": 2}
    assert clusters["charge"].to_dict() == {"Li": 1, "Al2Cl7": -1, "AlCl4": -1}
    found = estimates(tables)
    by_cluster, by_cluster_err = found["sigma:cluster_nernst_einstein"]
    einstein, einstein_err = found["sigma:einstein"]
    assert by_cluster == pytest.approx(einstein, abs=3 * (by_cluster_err + einstein_err))
    by_method = tables["conductivity"].query("frame == 'none'").set_index("method")
    assert by_method.loc["nernst_einstein", "sigma_mS_cm"] > 4 * by_cluster
