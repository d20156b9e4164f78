"""The message operators of CHGNet in plain torch: any device, any precision, autograd.

`vitrion.potential.kernels` has the whole network for the CPU in float32.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import layer_norm, linear, pad, silu

from vitrion.potential.graph import Adjacency, Graph


@dataclass(frozen=True)
class GatedMLP:
    """A gated MLP without the first linear map of node features; core and gate lie side by side.

    φ(x) = silu(LN(core(x))) · sigmoid(LN(gate(x))). The widths are those of the model: 64 features
    in the published ones.

    Attributes:
        edge_map: (2 × hidden, features) first linear map of the features of rows.
        hidden: (2, out, hidden) and (2, out), the second linear map of core and gate after a silu,
            as weight[half, out, in] and bias; None where the first map is the only one.
        scale, shift: (2, out) of the layer norms of core and gate.
        epsilon: of the layer norms.
    """

    edge_map: Tensor
    hidden: tuple[Tensor, Tensor] | None
    scale: Tensor
    shift: Tensor
    epsilon: float

    @functools.cached_property
    def hidden_transposed(self) -> Tensor | None:
        """(2, hidden, out) as weight[half, in, out]."""
        return None if self.hidden is None else self.hidden[0].transpose(1, 2).contiguous()

    @functools.cached_property
    def edge_map_transposed(self) -> Tensor:
        """(features, 2 × hidden)."""
        return self.edge_map.T.contiguous()

    def __call__(self, first: Tensor) -> Tensor:
        """φ (rows, out) from the outcome (rows, 2 × hidden) of the first linear map."""
        core, gate = first.chunk(2, dim=1)
        if self.hidden is not None:
            (core_weight, gate_weight), (core_bias, gate_bias) = self.hidden
            core = torch.addmm(core_bias, silu(core), core_weight.T)
            gate = torch.addmm(gate_bias, silu(gate), gate_weight.T)
        size = core.shape[1:]
        core = layer_norm(core, size, self.scale[0], self.shift[0], self.epsilon)
        gate = layer_norm(gate, size, self.scale[1], self.shift[1], self.epsilon)
        return silu(core) * torch.sigmoid(gate)


@dataclass(frozen=True)
class RadialBasis:
    """sin(f r / r_c) / r with its smooth cutoff (eq. 3 of the paper).

    In double precision: phases reach 100 rad, where single precision leaves 4e-6 rad, which was the
    largest error of the energy. Frequencies of 0 fill the basis up to its width.

    Attributes:
        frequencies: (width) float64.
        cutoff_A: r_c.
        norm: of the functions.
        power: of the smooth cutoff, a whole number.
        dtype: of the result.
    """

    frequencies: Tensor
    cutoff_A: float
    norm: float
    power: float
    dtype: torch.dtype


@dataclass(frozen=True)
class AngularBasis:
    """1/√2, sin(f θ), cos(f θ) over √π, and zeros up to the width.

    Attributes:
        frequencies: (order) float64.
        width: at least 1 + 2 × order.
        dtype: of the result.
    """

    frequencies: Tensor
    width: int
    dtype: torch.dtype

    @functools.cached_property
    def padded_frequencies(self) -> Tensor:
        """With zeros up to a multiple of 8."""
        return pad(self.frequencies, (0, -len(self.frequencies) % 8))


def radial_basis(basis: RadialBasis, lengths_A: Tensor) -> Tensor:
    """The radial functions of each length, (bonds, width)."""
    r = lengths_A[:, None]
    scaled = r / basis.cutoff_A
    envelope = cutoff_polynomial(scaled, basis.power)
    wave = basis.norm * envelope / r * torch.sin(scaled * basis.frequencies)
    return wave.to(basis.dtype)


def cutoff_polynomial(scaled: Tensor, power: float) -> Tensor:
    """1 at 0, and 0 with two derivatives at 1 (Gasteiger et al., ICLR 2020); 0 beyond."""
    a, b, c = -(power + 1) * (power + 2) / 2, power * (power + 2), -power * (power + 1) / 2
    value = 1 + scaled**power * (a + scaled * (b + scaled * c))
    return torch.where(scaled < 1, value, torch.zeros_like(value))


def angular_basis(basis: AngularBasis, angles: Adjacency, directions: Tensor) -> Tensor:
    """The angular functions of each angle, (angles, width); directions are (nodes, 3) float64."""
    cosine = directions.index_select(0, angles.source) * directions.index_select(0, angles.target)
    # chgnet's guard of acos at 0 and π; part of the function.
    theta = torch.acos(cosine.sum(1) * (1 - 1e-6))[:, None]
    phase = theta * basis.frequencies
    constant = torch.full_like(theta, 1 / math.sqrt(2))
    padding = theta.new_zeros((len(theta), basis.width - 1 - 2 * phase.shape[1]))
    waves = torch.cat((constant, phase.sin(), phase.cos(), padding), dim=1) / math.sqrt(math.pi)
    return waves.to(basis.dtype)


@dataclass(frozen=True)
class LinearMap:
    """x → W x + b.

    Attributes:
        weight: (out, in).
        bias: (out); None for none.
    """

    weight: Tensor
    bias: Tensor | None = None

    @functools.cached_property
    def transposed(self) -> Tensor:
        """(in, out)."""
        return self.weight.T.contiguous()


def linear_map(map_: LinearMap, x: Tensor) -> Tensor:
    """The map of each row of x, (rows, in) to (rows, out)."""
    return linear(x, map_.weight, map_.bias)


def node_features(
    node_map: LinearMap, graph: Graph, bond: Tensor, of_center: Tensor
) -> tuple[Tensor, Tensor]:
    """First linear map of the features of the nodes of angles, as source and as target.

    Args:
        node_map: (64 to 256) of the features of bonds, to source (128) and target (128).
        graph: the nodes.
        bond: (n_short, 64) features of short bonds.
        of_center: (atoms, 128) first linear map of the features of central atoms, part of the
            source's.

    Returns:
        Two tables (nodes, 128).
    """
    mapped = linear_map(node_map, bond).index_select(0, graph.node_bond)
    source, target = mapped.chunk(2, dim=1)
    return source + of_center.index_select(0, graph.node_center), target


def edge_messages(
    short: GatedMLP,
    long: GatedMLP,
    graph: Graph,
    source: Tensor,
    target: Tensor,
    short_edge: Tensor,
    long_edge: Tensor,
    weight: Tensor,
) -> Tensor:
    """Σ over the edges of each atom of weight · φ(source + target + edge).

    Args:
        short, long: φ, with the first linear map of the features of short and of long bonds.
        graph: atoms, and bonds in both directions.
        source, target: (atoms, 128) first linear map of the features that an atom gives to the
            edges that start from it and to those that point to it.
        short_edge: (n_short, features) of bonds within the angle cutoff.
        long_edge: (bonds - n_short, features) of the others.
        weight: (bonds, 64) smooth cutoff.

    Returns:
        (atoms, 64).
    """
    mapped = torch.cat((linear(short_edge, short.edge_map), linear(long_edge, long.edge_map)))
    edge, weight = mapped.index_select(0, graph.bond), weight.index_select(0, graph.bond)
    return _sums(graph.edges, _gated(short, graph.edges, source, target, edge) * weight)


def angle_messages(
    gated_mlp: GatedMLP,
    angles: Adjacency,
    source: Tensor,
    target: Tensor,
    edge: Tensor,
    weight: Tensor,
) -> Tensor:
    """Σ over the angles of each source node of weight[target] · φ(source + target + edge).

    Args:
        gated_mlp: φ, with the first linear map of angle features.
        angles: pairs of short directed edges.
        source, target: (nodes, 128) first linear map of the features that a node gives to the
            angles that start from it and to those that point to it.
        edge: (angles, features) of the angles.
        weight: (nodes, 64) smooth cutoff.

    Returns:
        (nodes, 64).
    """
    message = angle_updates(gated_mlp, angles, source, target, edge)
    return _sums(angles, message * weight.index_select(0, angles.target))


def angle_updates(
    gated_mlp: GatedMLP, angles: Adjacency, source: Tensor, target: Tensor, edge: Tensor
) -> Tensor:
    """φ(source + target + edge) of each angle, (angles, 64); see `angle_messages`."""
    return _gated(gated_mlp, angles, source, target, linear(edge, gated_mlp.edge_map))


def _gated(
    gated_mlp: GatedMLP, rows: Adjacency, source: Tensor, target: Tensor, edge: Tensor
) -> Tensor:
    source, target = source.index_select(0, rows.source), target.index_select(0, rows.target)
    return gated_mlp(source + target + edge)


def _sums(rows: Adjacency, messages: Tensor) -> Tensor:
    zeros = messages.new_zeros((rows.nodes, messages.shape[1]))
    return zeros.index_add(0, rows.source, messages)
