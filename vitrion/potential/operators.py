"""The two message operators of CHGNet in plain torch: any device, any precision, autograd.

`vitrion.potential.kernels` has the same two for the CPU in float32, fused.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import layer_norm, silu

from vitrion.potential.graph import Adjacency


@dataclass(frozen=True)
class GatedMLP:
    """A gated MLP without its first linear map; core and gate lie side by side.

    φ(x) = silu(LN(core(x))) · sigmoid(LN(gate(x))). The widths are those of the model: 64 features
    in the published ones.

    Attributes:
        hidden: (2, out, hidden) and (2, out), the second linear map of core and gate after a silu,
            as weight[half, out, in] and bias; None where the first map is the only one.
        scale, shift: (2, out) of the layer norms of core and gate.
        epsilon: of the layer norms.
    """

    hidden: tuple[Tensor, Tensor] | None
    scale: Tensor
    shift: Tensor
    epsilon: float

    @functools.cached_property
    def hidden_transposed(self) -> Tensor | None:
        """(2, hidden, out) as weight[half, in, out]."""
        return None if self.hidden is None else self.hidden[0].transpose(1, 2).contiguous()

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


def update(
    gated_mlp: GatedMLP, graph: Adjacency, source: Tensor, target: Tensor, edge: Tensor
) -> Tensor:
    """φ(source + target + edge) on every row, with the features of its source and target node.

    Args:
        gated_mlp: φ after its first linear map.
        graph: the rows.
        source, target: (nodes, 128) first linear map of the features that a node gives to the rows
            that start from it and to those that point to it.
        edge: (rows, 128) first linear map of the features of each row.

    Returns:
        (rows, 64).
    """
    return gated_mlp(
        source.index_select(0, graph.source) + target.index_select(0, graph.target) + edge
    )


def messages(
    gated_mlp: GatedMLP,
    graph: Adjacency,
    source: Tensor,
    target: Tensor,
    edge: Tensor,
    weight: Tensor,
    bond: Tensor | None,
) -> Tensor:
    """Σ over the rows of each source node of weight · φ(source + target + edge).

    Args:
        gated_mlp, graph, source, target: as for `update`.
        edge: (bonds, 128) first linear map of the features that a row shares with its reverse;
            without `bond` (rows, 128), of each row.
        weight: (bonds, 64) smooth cutoff; without `bond` (nodes, 64), of the row's target node.
        bond: (rows) bond of each row, or None.

    Returns:
        (nodes, 64).
    """
    if bond is not None:
        edge = edge.index_select(0, bond)
    weight = weight.index_select(0, graph.target if bond is None else bond)
    message = update(gated_mlp, graph, source, target, edge) * weight
    return message.new_zeros((graph.nodes, message.shape[1])).index_add(0, graph.source, message)
