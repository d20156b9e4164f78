"""The message operators of CHGNet in plain torch: any device, any precision, autograd.

`vitrion.potential.kernels` has the same for the CPU in float32, fused.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import layer_norm, linear, silu

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
