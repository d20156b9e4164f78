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
class Gate:
    """A gated MLP without its first linear map; core and gate lie side by side.

    φ(x) = silu(LN(core(x))) · sigmoid(LN(gate(x))).

    Attributes:
        hidden: (2, 64, 64) and (2, 64), the second linear map of core and gate after a silu, as
            weight[half, out, in] and bias; None where the first map is the only one.
        scale, shift: (2, 64) of the layer norms of core and gate.
        epsilon: of the layer norms.
    """

    hidden: tuple[Tensor, Tensor] | None
    scale: Tensor
    shift: Tensor
    epsilon: float

    @functools.cached_property
    def hidden_transposed(self) -> Tensor | None:
        """(2, 64, 64) as weight[half, in, out]."""
        return None if self.hidden is None else self.hidden[0].transpose(1, 2).contiguous()

    def __call__(self, first: Tensor) -> Tensor:
        """φ from the outcome (rows, 128) of the first linear map; (rows, 64)."""
        core, gate = first.chunk(2, dim=1)
        if self.hidden is not None:
            (core_weight, gate_weight), (core_bias, gate_bias) = self.hidden
            core = torch.addmm(core_bias, silu(core), core_weight.T)
            gate = torch.addmm(gate_bias, silu(gate), gate_weight.T)
        size = core.shape[1:]
        core = layer_norm(core, size, self.scale[0], self.shift[0], self.epsilon)
        gate = layer_norm(gate, size, self.scale[1], self.shift[1], self.epsilon)
        return silu(core) * torch.sigmoid(gate)


def update(gate: Gate, graph: Adjacency, own: Tensor, other: Tensor, between: Tensor) -> Tensor:
    """φ(own[source] + other[target] + between) on every row.

    Args:
        gate: φ after its first linear map.
        graph: the rows.
        own, other: (nodes, 128) first linear map of what sits on the nodes.
        between: (rows, 128) first linear map of what sits on the rows.

    Returns:
        (rows, 64).
    """
    return gate(own.index_select(0, graph.source) + other.index_select(0, graph.target) + between)


def messages(
    gate: Gate,
    graph: Adjacency,
    own: Tensor,
    other: Tensor,
    between: Tensor,
    weight: Tensor,
    link: Tensor | None,
) -> Tensor:
    """Σ over the rows of each source of weight · φ(own[source] + other[target] + between).

    Args:
        gate, graph, own, other: as for `update`.
        between: (links, 128) first linear map of what sits on the rows.
        weight: (links, 64) smooth cutoff; without links (nodes, 64), taken at the target.
        link: (rows) what a row shares with its reverse, or None: each row has its own `between`.

    Returns:
        (nodes, 64).
    """
    if link is not None:
        between = between.index_select(0, link)
    weight = weight.index_select(0, graph.target if link is None else link)
    message = update(gate, graph, own, other, between) * weight
    return message.new_zeros((graph.nodes, message.shape[1])).index_add(0, graph.source, message)
