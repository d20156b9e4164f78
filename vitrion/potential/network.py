"""The equations of CHGNet, arranged for speed.

Deng et al., Nature Machine Intelligence 5, 1031 (2023), as chgnet 0.4.2 implements them. Atoms v,
bonds e and angles a carry 64 features each; with φ a gated MLP, w smooth cutoffs, L linear maps:

    v_i   ← v_i   + L_v Σ_j w^a_ij φ_v(v_i, e_ij, v_j)
    e_ij  ← e_ij  + L_e Σ_k w^b_ij w^b_ik φ_e(e_ij, e_ik, a_jik, v_i)
    a_jik ← a_jik + φ_a(e_ij, e_ik, a_jik, v_i)

What is arranged differently, with the same result:

- The first linear map of φ is a sum of one map per input. Those of atoms and bonds are computed
  once per atom and bond and gathered, not once per neighbour or angle. So each message is
  φ(source + target + edge), and one operator serves atoms and bonds.
- The factor w^b_ij is common to the sum over k and stands before it.
- Bonds beyond the angle cutoff never change: their embedding and first map are one matrix.
- The first angle features are a linear map of the angular basis: both maps are one matrix.
- The last angle update, whose result is not used, is left out.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import cast

import numpy as np
import torch
from chgnet.model import CHGNet, functions
from chgnet.model.basis import RadialBessel
from chgnet.model.composition_model import AtomRef
from chgnet.model.layers import AngleUpdate, AtomConv, BondConv
from torch import Tensor, nn
from torch.nn.functional import pad

from vitrion.base.errors import InputError
from vitrion.potential.graph import Graph
from vitrion.potential.operators import (
    AngularBasis,
    GatedMLP,
    LinearMap,
    RadialBasis,
    angle_messages,
    angle_updates,
    angular_basis,
    edge_messages,
    linear_map,
    node_features,
    radial_basis,
)

# Arguments of chgnet's constructor, with the values that these equations cover.
ARCHITECTURE = {
    "update_bond": True,
    "update_angle": True,
    "angle_layer_hidden_dim": 0,
    "mlp_first": True,
    "non_linearity": "silu",
    "gMLP_norm": "layer",
    "readout_norm": "layer",
    "conv_norm": None,
}

BASIS_MULTIPLE = 32  # columns of a basis, filled up with zeros for the kernels


class Network:
    """CHGNet's energy as a function of bond vectors, of one system or several side by side.

    Args:
        model: the weights.
        device: where to compute.
        dtype: precision of the network; geometry, radial basis and the sum of energies are in
            float64.
        trainable: results can be differentiated with respect to the weights of `model`, which are
            on the device and in the precision already. After a change of them make a new network.

    Attributes:
        cutoff_A, angle_cutoff_A: longest bond, and longest bond that makes angles.
        radial, radial_short, angular: bases of lengths of all and of short bonds, and of angles.
        weigh_bond, weigh_short, embed_bond, embed_angle: linear maps of these bases.
        atom_layers, bond_layers, angle_layers: by depth.
        long_gated_mlps: φ of the atom layers for bonds beyond the angle cutoff.
        readout_norm, readout_maps: the layer norm, and the linear maps, between which are silus.

    Raises:
        InputError: an architecture that these equations do not cover.
    """

    def __init__(
        self,
        model: CHGNet,
        *,
        device: torch.device,
        dtype: torch.dtype,
        trainable: bool = False,
    ) -> None:
        for key, value in ARCHITECTURE.items():
            if model.model_args.get(key, value) != value:
                raise InputError(
                    f"model: {key}", model.model_args[key], f"only {value!r} runs here"
                )
        self.cutoff_A = float(model.graph_converter.atom_graph_cutoff)
        self.angle_cutoff_A = float(model.graph_converter.bond_graph_cutoff)
        self.dtype, self.device = dtype, device
        if not trainable:
            model = copy.deepcopy(model).to(device=device, dtype=dtype).requires_grad_(False).eval()
        self._embed_atom = model.atom_embedding.embedding
        self._reference = cast(AtomRef | None, model.composition_model)

        bond_basis = model.bond_basis_expansion
        self.radial = _radial(bond_basis.rbf_expansion_ag, dtype)
        self.radial_short = _radial(bond_basis.rbf_expansion_bg, dtype)
        self.embed_bond = LinearMap(_padded(model.bond_embedding.weight))
        self.embed_angle = LinearMap(_padded(model.angle_embedding.weight))
        fourier = model.angle_basis_expansion.fourier_expansion
        self.angular = AngularBasis(
            frequencies=cast(Tensor, fourier.frequencies).double(),
            width=self.embed_angle.weight.shape[1],
            dtype=dtype,
        )
        self.weigh_bond = LinearMap(_padded(model.bond_weights_ag.weight))
        self.weigh_short = LinearMap(_padded(model.bond_weights_bg.weight))

        atom, bond, angle = (
            embedding.weight.shape[size]
            for embedding, size in (
                (model.atom_embedding.embedding, 1),
                (model.bond_embedding, 0),
                (model.angle_embedding, 0),
            )
        )
        of_edge, of_angle = (atom, bond, atom), (bond, bond, angle, atom)
        atom_convs = cast(list[AtomConv], model.atom_conv_layers)
        bond_convs = cast(list[BondConv], model.bond_conv_layers)
        angle_updates = cast(list[AngleUpdate], model.angle_layers[:-1])
        self.atom_layers = [
            Layer(c.twoBody_atom, of_edge, c.mlp_out, edge_input=1) for c in atom_convs
        ]
        self.long_gated_mlps = [
            replace(layer.gated_mlp, edge_map=layer.gated_mlp.edge_map @ self.embed_bond.weight)
            for layer in self.atom_layers
        ]
        embeds = (self.embed_angle.weight, *(None,) * len(bond_convs))
        self.bond_layers = [
            Layer(c.twoBody_bond, of_angle, c.mlp_out, edge_input=2, embed=embed)
            for c, embed in zip(bond_convs, embeds, strict=False)
        ]
        self.angle_layers = [
            Layer(c.twoBody_bond, of_angle, edge_input=2, embed=embed)
            for c, embed in zip(angle_updates, embeds, strict=False)
        ]
        self.readout_norm = cast(nn.LayerNorm, model.readout_norm)
        self.readout_maps = [
            LinearMap(map_.weight, map_.bias)
            for map_ in model.mlp.modules()
            if isinstance(map_, nn.Linear)
        ]
        self._readout = nn.Sequential(self.readout_norm, model.mlp)

    def atoms(self, numbers: np.ndarray) -> tuple[Tensor, float]:
        """Features (n, 64) of atoms before any message, and their reference energy in eV.

        The reference energy is the sum of the composition model's energies per atom, which do not
        depend on the structure; 0 for a model without a composition model.

        Raises:
            InputError: an unknown element.
        """
        known = self._embed_atom.num_embeddings
        if len(numbers) == 0 or numbers.min() < 1 or numbers.max() > known:
            raise InputError("atomic numbers", sorted(set(numbers.tolist())), f"use 1 to {known}")
        species = torch.from_numpy(numbers.astype(np.int64) - 1).to(self.device)
        if self._reference is None:
            return self._embed_atom(species), 0.0
        reference_energy_eV = self._reference.fc.weight[0, species].double().sum().item()
        return self._embed_atom(species), reference_energy_eV

    def energies_eV(self, vectors_A: Tensor, graph: Graph, atoms: Tensor) -> Tensor:
        """Energy of each atom without its reference energy, (n,) float64.

        Args:
            vectors_A: (bonds, 3) float64, `graph.vectors_A`, differentiable.
            graph: the bonds and angles.
            atoms: (n, 64) features, from `atoms`.
        """
        _, last = self._convolve(vectors_A, graph, atoms)
        return self._readout(last).double()[:, 0]

    def atom_features(self, vectors_A: Tensor, graph: Graph, atoms: Tensor) -> Tensor:
        """Features of the atoms before the last convolution, (n, 64); chgnet's `atom_fea`.

        The arguments are those of `energies_eV`.
        """
        before_last, _ = self._convolve(vectors_A, graph, atoms)
        return before_last

    def _convolve(self, vectors_A: Tensor, graph: Graph, atoms: Tensor) -> tuple[Tensor, Tensor]:
        """Features of the atoms before and after the last convolution, (n, 64) each."""
        angles, n_short = graph.angles, graph.n_short

        lengths = vectors_A.norm(dim=1)
        radial = radial_basis(self.radial, lengths)
        weight = linear_map(self.weigh_bond, radial)
        radial_short = radial_basis(self.radial_short, lengths[:n_short])
        weight_short = linear_map(self.weigh_short, radial_short)
        node_weight = weight_short.index_select(0, graph.node_bond)
        v = atoms
        short, long = radial.split((n_short, len(radial) - n_short))
        e = linear_map(self.embed_bond, short)
        directions = (vectors_A[:n_short] / lengths[:n_short, None]).index_select(
            0, graph.node_bond
        )
        directions = directions * graph.sign[graph.node_edge, None]
        # Angle features at depth 0 are the basis, whose embedding is part of the layers' maps.
        basis = angular_basis(self.angular, angles, directions)
        a = basis

        for depth, layer in enumerate(self.atom_layers):
            of_source, _, of_target = layer.first
            message = edge_messages(
                layer.gated_mlp,
                self.long_gated_mlps[depth],
                graph,
                linear_map(of_source, v),
                linear_map(of_target, v),
                e,
                long,
                weight,
            )
            before_last = v
            v = v + linear_map(layer.out, message)

            if depth < len(self.bond_layers):
                layer = self.bond_layers[depth]
                source, target = self._of_nodes(layer, graph, v, e)
                message = angle_messages(layer.gated_mlp, angles, source, target, a, node_weight)
                there, back = graph.nodes_of_bond.unbind(1)
                message = message.index_select(0, there) + message.index_select(0, back)
                e = e + linear_map(layer.out, message * weight_short)

            if depth < len(self.angle_layers):
                layer = self.angle_layers[depth]
                source, target = self._of_nodes(layer, graph, v, e)
                update = angle_updates(layer.gated_mlp, angles, source, target, a)
                a = (linear_map(self.embed_angle, basis) if depth == 0 else a) + update

        return before_last, v

    def energies_and_bond_gradients(
        self, vectors_A: Tensor, graph: Graph, atoms: Tensor
    ) -> tuple[Tensor, Tensor]:
        """`energies_eV`, and the gradient dE/dr of their sum by `vectors_A`, (bonds, 3), in eV/Å.

        Where the network is trainable both can be differentiated by its weights.
        """

        def total_eV(vectors_A: Tensor) -> tuple[Tensor, Tensor]:
            energies = self.energies_eV(vectors_A, graph, atoms)
            return energies.sum(), energies

        dE_dr, energies = torch.func.grad(total_eV, has_aux=True)(vectors_A)
        return energies, dE_dr

    @functools.cached_property
    def compiled_energies_eV(self) -> Callable[[Tensor, Graph, Tensor], Tensor]:
        """`energies_eV` with its small operations fused, for graphs of any size."""
        return torch.compile(self.energies_eV, dynamic=True, fullgraph=True)

    def _of_nodes(self, layer: Layer, graph: Graph, v: Tensor, e: Tensor) -> tuple[Tensor, Tensor]:
        """First linear map of (e_ij, v_i) and of e_ik on each node of the angles."""
        of_center = linear_map(layer.first[3], v)
        return node_features(layer.node_map, graph, e, of_center)


class Layer:
    """One convolution: its first linear map split by input, the rest of φ, and L.

    Args:
        gated: φ as chgnet holds it.
        inputs: widths of the features that it joins.
        out: L, a module with one linear map; None where there is none.
        edge_input: which of the inputs belongs to rows and not to nodes.
        embed: linear map of the features of rows that comes before φ.
    """

    def __init__(
        self,
        gated: functions.GatedMLP,
        inputs: Sequence[int],
        out: nn.Module | None = None,
        *,
        edge_input: int,
        embed: Tensor | None = None,
    ) -> None:
        core, gate = (
            [map_ for map_ in half.layers if isinstance(map_, nn.Linear)]
            for half in (gated.mlp_core, gated.mlp_gate)
        )
        # Stacked (core, gate): weight (2, out, in) and bias (2, out) of the one or two maps.
        maps = [
            (torch.stack((c.weight, g.weight)), torch.stack((c.bias, g.bias)))
            for c, g in zip(core, gate, strict=True)
        ]
        if len(maps) > 2:
            raise InputError("model", f"{len(maps)} maps in a gated MLP", "only 1 or 2 run here")
        # A layer norm takes the mean out: without it the kernels need not.
        last_weight, last_bias = maps[-1]
        maps[-1] = (
            last_weight - last_weight.mean(1, keepdim=True),
            last_bias - last_bias.mean(1, keepdim=True),
        )
        weight, bias = maps[0]
        parts = [part.contiguous() for part in weight.flatten(0, 1).split(list(inputs), dim=1)]
        # The bias comes with the features of atoms: the first input of edges, the last of angles.
        with_bias = 0 if edge_input == 1 else 3
        self.first = [
            LinearMap(part, bias.flatten() if k == with_bias else None)
            for k, part in enumerate(parts)
        ]
        core_norm, gate_norm = cast(nn.LayerNorm, gated.bn1), cast(nn.LayerNorm, gated.bn2)
        edge_map = parts[edge_input]
        self.gated_mlp = GatedMLP(
            edge_map=edge_map if embed is None else edge_map @ embed,
            hidden=maps[1] if len(maps) == 2 else None,
            scale=torch.stack((core_norm.weight, gate_norm.weight)),
            shift=torch.stack((core_norm.bias, gate_norm.bias)),
            epsilon=core_norm.eps,
        )
        if out is not None:
            (last,) = (map_ for map_ in out.modules() if isinstance(map_, nn.Linear))
            self.out = LinearMap(last.weight, last.bias)
        if edge_input == 2:  # angles, whose first two inputs are bonds: to source and target
            self.node_map = LinearMap(torch.cat([part.weight for part in self.first[:2]]))


def _radial(basis: RadialBessel, dtype: torch.dtype) -> RadialBasis:
    return RadialBasis(
        frequencies=_padded(cast(Tensor, basis.frequencies).double()),
        cutoff_A=1 / basis.inv_cutoff,
        norm=basis.norm_const,
        power=float(basis.smooth_cutoff.p),
        dtype=dtype,
    )


def _padded(weight: Tensor) -> Tensor:
    """With zeros in the last dimension, up to a multiple of `BASIS_MULTIPLE`."""
    return pad(weight, (0, -weight.shape[-1] % BASIS_MULTIPLE))
