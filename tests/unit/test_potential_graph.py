"""Graphs against brute force, and graphs of fixed size against those that fit."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import fields

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from vitrion.base.errors import PotentialError
from vitrion.potential.graph import Capacity, Graph, GraphBuilder, compact
from vitrion.potential.padded import _filled_up
from vitrion.potential.verlet import PairList, VerletList

CUTOFF_A, ANGLE_CUTOFF_A = 4.0, 2.6
CPU = torch.device("cpu")
quick = settings(max_examples=40, deadline=None)

Configuration = tuple[np.ndarray, np.ndarray]


@st.composite
def configurations(draw: st.DrawFn) -> Configuration:
    """A few atoms in any triclinic cell, right- or left-handed, mostly shorter than the cutoff."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    n_atoms = draw(st.integers(1, 5))
    cell_A = rng.uniform(-1, 1, (3, 3)) * draw(st.sampled_from([3.0, 5.0, 9.0]))
    volume_A3 = abs(np.linalg.det(cell_A))
    assume(volume_A3 > 2.5 * n_atoms)
    assume(heights_A(cell_A).min() > 1.0)
    return rng.uniform(-2, 3, (n_atoms, 3)) @ cell_A, cell_A


def heights_A(cell_A: np.ndarray) -> np.ndarray:
    """Distances between opposite faces."""
    return 1 / np.linalg.norm(np.linalg.inv(cell_A), axis=0)


def all_vectors(positions_A: np.ndarray, cell_A: np.ndarray) -> Iterator[tuple[int, int, tuple]]:
    """Every pair within the cutoff: both atoms, and the vector between them, by brute force."""
    fractional = positions_A @ np.linalg.inv(cell_A)
    wrapped_A = (fractional - np.floor(fractional)) @ cell_A
    reach = np.ceil(CUTOFF_A / heights_A(cell_A)).astype(int) + 1
    images = np.array(list(itertools.product(*(range(-n, n + 1) for n in reach))))
    for i, j in itertools.product(range(len(positions_A)), repeat=2):
        vectors = wrapped_A[j] - wrapped_A[i] + images @ cell_A
        keep = np.linalg.norm(vectors, axis=1) < CUTOFF_A
        if i == j:
            keep &= (images != 0).any(1)
        for vector in vectors[keep]:
            yield i, j, tuple(vector)


def builder(skin_A: float = 0.5) -> GraphBuilder:
    return GraphBuilder(cutoff_A=CUTOFF_A, angle_cutoff_A=ANGLE_CUTOFF_A, skin_A=skin_A, device=CPU)


def edge_vectors(graph: Graph) -> np.ndarray:
    return (graph.vectors_A[graph.bond] * graph.sign[:, None]).numpy()


@given(configurations())
@quick
def test_bonds_and_angles_are_those_of_brute_force(configuration: Configuration) -> None:
    positions_A, cell_A = configuration
    expected = sorted(all_vectors(positions_A, cell_A))
    lengths = np.array([np.linalg.norm(vector) for *_, vector in expected])
    for cutoff_A in (CUTOFF_A, ANGLE_CUTOFF_A):  # on the cutoff itself rounding decides
        assume((abs(lengths - cutoff_A) > 1e-6).all())
    if len({i for i, *_ in expected}) < len(positions_A):
        with pytest.raises(PotentialError, match="no neighbour"):
            builder().build(positions_A, cell_A)
        return
    graph = builder().build(positions_A, cell_A)
    source, target = graph.edges.source.numpy(), graph.edges.target.numpy()
    found = sorted(zip(source, target, map(tuple, edge_vectors(graph)), strict=True))
    assert [pair[:2] for pair in found] == [pair[:2] for pair in expected]
    for i, j in {pair[:2] for pair in expected}:
        ours, theirs = (
            np.array(sorted(tuple(np.round(v, 6)) for a, b, v in pairs if (a, b) == (i, j)))
            for pairs in (found, expected)
        )
        np.testing.assert_allclose(ours, theirs, atol=3e-6)

    for adjacency in (graph.edges, graph.angles):
        rows = torch.arange(len(adjacency.source))
        assert torch.equal(adjacency.reverse[adjacency.reverse], rows)
        assert torch.equal(adjacency.source[adjacency.reverse], adjacency.target)
        assert (adjacency.source.diff() >= 0).all()
        counts = torch.bincount(adjacency.source, minlength=adjacency.nodes)
        assert torch.equal(adjacency.offsets.diff(), counts)
    assert np.array_equal(edge_vectors(graph)[graph.edges.reverse], -edge_vectors(graph))

    is_short = np.flatnonzero(np.linalg.norm(edge_vectors(graph), axis=1) < ANGLE_CUTOFF_A)
    assert graph.node_edge.tolist() == is_short.tolist()
    pairs = [
        (a, b)
        for a, b in itertools.product(range(len(is_short)), repeat=2)
        if a != b and source[is_short[a]] == source[is_short[b]]
    ]
    angles = zip(graph.angles.source.tolist(), graph.angles.target.tolist(), strict=True)
    assert list(angles) == pairs
    for bond, nodes in enumerate(graph.nodes_of_bond.tolist()):
        assert graph.bond[graph.node_edge[nodes]].tolist() == [bond, bond]
        assert graph.sign[graph.node_edge[nodes]].tolist() == [1, -1]
    forward = graph.sign > 0
    assert torch.equal(graph.start[graph.bond[forward]], graph.edges.source[forward])
    assert torch.equal(graph.end[graph.bond[forward]], graph.edges.target[forward])
    group = torch.searchsorted(graph.angles.groups, torch.arange(len(pairs)), right=True) - 1
    assert torch.equal(graph.node_center, graph.edges.source[graph.node_edge])
    assert torch.equal(graph.node_bond, graph.bond[graph.node_edge])
    assert torch.equal(group, graph.node_center[graph.angles.source])


@given(configurations(), st.integers(0, 2**32))
@quick
def test_a_valid_verlet_list_holds_every_bond(configuration: Configuration, seed: int) -> None:
    positions_A, cell_A = configuration
    rng = np.random.default_rng(seed)
    verlet_list = VerletList(positions_A, cell_A, list_cutoff_A=CUTOFF_A + 0.5, device=CPU)
    strain = np.eye(3) + rng.normal(0, 0.02, (3, 3))
    moved_cell_A = cell_A @ strain
    moved_A = positions_A @ strain + rng.normal(0, 0.08, positions_A.shape)
    assume(heights_A(moved_cell_A).min() > 1.0)
    if verlet_list.is_valid(moved_A, moved_cell_A, cutoff_A=CUTOFF_A):
        graphs = [
            compact(
                pairs,
                torch.from_numpy(moved_A),
                torch.from_numpy(moved_cell_A)[None],
                cutoff_A=CUTOFF_A,
                angle_cutoff_A=ANGLE_CUTOFF_A,
            )[0]
            for pairs in (
                verlet_list.pairs,
                VerletList(moved_A, moved_cell_A, list_cutoff_A=CUTOFF_A, device=CPU).pairs,
            )
        ]
        assert_equal(*graphs)


def assert_equal(a: Graph, b: Graph) -> None:
    """The same graph bit for bit."""
    assert a.n_short == b.n_short
    names = {field.name for field in fields(a)} - {"n_short", "edges", "angles"}
    for name in names:
        assert torch.equal(getattr(a, name), getattr(b, name)), name
    for name in ("edges", "angles"):
        for field in fields(a.edges):
            parts = [getattr(getattr(graph, name), field.name) for graph in (a, b)]
            if parts != [None, None]:
                assert torch.equal(*parts), f"{name}.{field.name}"


@given(configurations(), st.tuples(*[st.integers(-3, 4)] * 3))
@quick
def test_what_exceeds_a_capacity_is_noticed(
    configuration: Configuration, spare: tuple[int, int, int]
) -> None:
    """Sizes are those of the configuration even where they do not fit; what fits is the same."""
    positions_A, cell_A = configuration
    n_atoms = len(positions_A)
    try:
        graph = builder().build(positions_A, cell_A)
    except PotentialError:
        return
    pairs = PairList.join([builder().pairs(positions_A, cell_A)], [n_atoms])
    need = (graph.n_short, len(graph.vectors_A) - graph.n_short, len(graph.angles.source))
    n_short, n_long, n_angles = need
    capacity = Capacity(
        pairs=len(pairs.bond_source) + 2,
        short=max(1, n_short + 1 + spare[0]),
        long=max(0, n_long + spare[1]),
        angles=max(0, n_angles + spare[2]),
    )
    padded, sizes = compact(
        _filled_up(pairs, capacity, n_atoms),
        torch.from_numpy(positions_A),
        torch.from_numpy(cell_A)[None],
        cutoff_A=CUTOFF_A,
        angle_cutoff_A=ANGLE_CUTOFF_A,
        capacity=capacity,
    )
    fits = capacity.short > n_short and capacity.long >= n_long and capacity.angles >= n_angles
    assert int(sizes.short) == n_short
    assert int(sizes.long) == n_long
    if capacity.short > n_short and capacity.long >= n_long:
        assert int(sizes.angles) == n_angles
    found = {name: int(getattr(sizes, name)) for name in ("short", "long", "angles")}
    assert capacity.did_overflow(**found) != fits
    assert (len(padded.vectors_A), padded.n_short) == (
        capacity.short + capacity.long,
        capacity.short,
    )
    if fits:
        assert_equal(without_dummies(padded, graph), graph)
        dummy = padded.edges.source == n_atoms
        assert (padded.vectors_A[padded.bond[dummy]].norm(dim=1) > CUTOFF_A).all()


def without_dummies(padded: Graph, graph: Graph) -> Graph:
    """The used slots of a padded graph, numbered as in the graph without dummies."""
    n_short, n_bonds, n_edges = graph.n_short, len(graph.vectors_A), len(graph.bond)
    n_nodes, n_angles, n_atoms = len(graph.node_edge), len(graph.angles.source), graph.edges.nodes
    used = torch.cat((torch.arange(n_short), padded.n_short + torch.arange(n_bonds - n_short)))
    number = torch.full((len(padded.vectors_A),), -1)
    number[used] = torch.arange(n_bonds)

    def cut(adjacency, rows: int, nodes: int):
        return type(adjacency)(
            adjacency.offsets[: nodes + 1],
            *(getattr(adjacency, name)[:rows] for name in ("source", "target", "reverse")),
            groups=None if adjacency.groups is None else adjacency.groups[: n_atoms + 1],
        )

    return Graph(
        vectors_A=padded.vectors_A[used],
        n_short=n_short,
        start=padded.start[used],
        end=padded.end[used],
        edges=cut(padded.edges, n_edges, n_atoms),
        bond=number[padded.bond[:n_edges]],
        sign=padded.sign[:n_edges],
        angles=cut(padded.angles, n_angles, n_nodes),
        node_edge=padded.node_edge[:n_nodes],
        nodes_of_bond=padded.nodes_of_bond[:n_short],
        node_bond=padded.node_bond[:n_nodes],
        node_center=padded.node_center[:n_nodes],
    )
