"""The message operators of `vitrion.potential.operators`, fused, for float32 on the CPU.

`kernels.c` is compiled with the system's C compiler at first use, for the processor that it runs
on, and the library is kept in the user's cache. It shares torch's OpenMP threads. Without a
compiler the plain operators give the same results, more slowly.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import importlib.resources
import logging
import os
import platform
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from vitrion.potential.graph import Adjacency, Graph
from vitrion.potential.network import Network
from vitrion.potential.operators import AngularBasis, GatedMLP, LinearMap, NodeMap, RadialBasis

logger = logging.getLogger("vitrion")

_FLAGS = ("-std=gnu11", "-O3", "-march=native", "-fno-math-errno", "-fPIC", "-fopenmp")
_FEATURES = 64
_INT, _POINTER = ctypes.c_int64, ctypes.c_void_p
# Arguments of the functions of kernels.c between the structure and the number of threads.
_ARGUMENTS: dict[str, list[Any]] = {
    "forward": [_POINTER, _INT],
    "backward": [_POINTER, _INT],
    "linear": [_POINTER] * 2,
    "radial_forward": [_INT, _POINTER, _POINTER],
    "radial_backward": [_INT, _POINTER, _POINTER, _POINTER],
    "angular_forward": [_POINTER],
    "angular_backward": [_POINTER, _POINTER, _INT],
    "nodes_forward": [_POINTER] * 4,
    "nodes_backward": [_POINTER] * 4,
}
# mallopt's M_MMAP_THRESHOLD (32 MB is the most that it takes), M_TRIM_THRESHOLD and M_TOP_PAD.
_MALLOC_OPTIONS = ((-3, 32 << 20), (-1, 1 << 30), (-2, 64 << 20))


@functools.cache
def available() -> bool:
    """Whether the fused operators can be used on this machine (compiles them if need be)."""
    try:
        _library()
    except (OSError, subprocess.CalledProcessError) as error:
        reason = getattr(error, "stderr", None) or error
        logger.warning("no compiled kernels, the potential runs slower: %s", str(reason).strip())
        return False
    return True


def support(network: Network) -> bool:
    """Whether the fused operators cover a network (64 features, float32, CPU)."""
    return (
        network.device.type == "cpu"
        and network.dtype == torch.float32
        and all(map(_supports, network.gated_mlps))
        and all(node_map.weight.shape == (256, 64) for node_map in network.node_maps)
        and all(_supports_linear(linear_map) for linear_map in network.linear_maps)
        and all(len(b.frequencies) in (32, 64) for b in (network.radial, network.radial_short))
        and all(b.power == int(b.power) for b in (network.radial, network.radial_short))
        and len(network.angular.frequencies) <= 64
    )


def _supports(gated_mlp: GatedMLP) -> bool:
    edge_map, hidden = gated_mlp.edge_map, gated_mlp.hidden
    return (
        gated_mlp.scale.shape == (2, _FEATURES)
        and edge_map.shape in {(2 * _FEATURES, n) for n in (32, 64)}
        and edge_map.is_contiguous()
        and (hidden is None or hidden[0].shape == (2, _FEATURES, _FEATURES))
    )


def _supports_linear(linear_map: LinearMap) -> bool:
    return all(size % 32 == 0 and size <= 128 for size in linear_map.weight.shape)


def linear_map(map_: LinearMap, x: Tensor) -> Tensor:
    """See `operators.linear_map`."""
    return _Linear.apply(map_, x)


def radial_basis(basis: RadialBasis, lengths_A: Tensor) -> Tensor:
    """See `operators.radial_basis`."""
    return _Radial.apply(basis, lengths_A)


def angular_basis(basis: AngularBasis, angles: Adjacency, directions: Tensor) -> Tensor:
    """See `operators.angular_basis`."""
    rows = _Rows(angles.nodes, angles.groups, angles.source, angles.target)
    return _Angular.apply(basis, rows, directions)


def node_features(
    node_map: NodeMap, graph: Graph, bond: Tensor, of_center: Tensor
) -> tuple[Tensor, Tensor]:
    """See `operators.node_features`."""
    return _NodeFeatures.apply(node_map, graph, bond, of_center)


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
    """See `operators.edge_messages`."""
    n_atoms, n_short = len(source), graph.n_short
    of_short, of_long = (
        _Rows(n_atoms, None, graph.start[part], graph.end[part])
        for part in (slice(n_short), slice(n_short, None))
    )
    short_weight, long_weight = weight.split((n_short, len(weight) - n_short))
    return _Fused.apply(short, of_short, source, target, short_edge, short_weight) + _Fused.apply(
        long, of_long, source, target, long_edge, long_weight
    )


def angle_messages(
    gated_mlp: GatedMLP,
    angles: Adjacency,
    source: Tensor,
    target: Tensor,
    edge: Tensor,
    weight: Tensor,
) -> Tensor:
    """See `operators.angle_messages`."""
    rows = _Rows(angles.nodes, angles.groups, angles.source, angles.target)
    return _Fused.apply(gated_mlp, rows, source, target, edge, weight)


def angle_updates(
    gated_mlp: GatedMLP, angles: Adjacency, source: Tensor, target: Tensor, edge: Tensor
) -> Tensor:
    """See `operators.angle_updates`."""
    rows = _Rows(angles.nodes, angles.groups, angles.source, angles.target)
    return _Fused.apply(gated_mlp, rows, source, target, edge, None)


@dataclass(frozen=True)
class _Rows:
    """Angles, or bonds as a row in each direction.

    Attributes:
        nodes: number of nodes.
        groups: (groups + 1) first row of each group of angles; None for bonds.
        source, target: (rows) nodes of each angle or bond.
    """

    nodes: int
    groups: Tensor | None
    source: Tensor
    target: Tensor

    @property
    def n_groups(self) -> int:
        """Number of groups of angles; 0 for bonds."""
        return 0 if self.groups is None else self.groups.shape[0] - 1

    def parts(self, threads: int) -> int:
        """How many pieces of work there are.

        Angles: any number gives the same bits. Bonds: a table per part, so their number must not
        depend on that of the threads.
        """
        if self.groups is None:
            return min(max(self.source.shape[0] // 512, 1), 8)
        return 1 if threads == 1 else min(self.n_groups, 8 * threads)


class _Fused(torch.autograd.Function):
    """All messages and updates; messages have a weight, edges have rows without groups."""

    @staticmethod
    def forward(
        ctx: Any,
        gated_mlp: GatedMLP,
        rows: _Rows,
        source: Tensor,
        target: Tensor,
        edge: Tensor,
        weight: Tensor | None,
    ) -> Tensor:
        source, target, edge = source.contiguous(), target.contiguous(), edge.contiguous()
        weight = None if weight is None else weight.contiguous()
        ctx.save_for_backward(source, target, edge, weight)
        parts = rows.parts(torch.get_num_threads())
        if weight is None:
            out = source.new_empty((1, len(rows.source), _FEATURES))
        else:
            tables = parts if rows.groups is None else 1
            out = source.new_zeros((tables, rows.nodes, _FEATURES))
        operator = _operator(gated_mlp, rows, source, target, edge, weight)
        # The structure holds pointers alone: what they point to must stay as long.
        ctx.operator, ctx.gated_mlp, ctx.rows = operator, gated_mlp, rows
        _call("forward", operator, out, parts)
        return out[0]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
        rows = ctx.rows
        source, _, edge, weight = ctx.saved_tensors
        grad_output = grad_output.contiguous()
        parts = rows.parts(torch.get_num_threads())
        tables = parts if rows.groups is None else 1
        # The first features of atoms do not depend on positions.
        grad_source, grad_target = (
            source.new_zeros((tables, *source.shape)) if needed else None
            for needed in ctx.needs_input_grad[2:4]
        )
        grad_edge = torch.empty_like(edge)
        grad_weight = None if weight is None else torch.zeros_like(weight)
        gradients = _Gradients(
            *map(_pointer, (grad_output, grad_source, grad_target, grad_edge, grad_weight))
        )
        _call("backward", ctx.operator, ctypes.addressof(gradients), parts)
        return (
            None,
            None,
            None if grad_source is None else grad_source[0],
            None if grad_target is None else grad_target[0],
            grad_edge,
            grad_weight,
        )


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, map_: LinearMap, x: Tensor) -> Tensor:
        ctx.map = map_
        return _multiply(x, map_.transposed, map_.bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
        return None, _multiply(grad_output, ctx.map.weight, None)


def _multiply(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """x (rows, in) times weight (in, out)."""
    x, weight = x.contiguous(), weight.contiguous()
    out = x.new_empty((x.shape[0], weight.shape[1]))
    linear = _LinearC(x.shape[0], *weight.shape, weight.data_ptr(), _pointer(bias))
    _call("linear", linear, x, out)
    return out


class _Radial(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, basis: RadialBasis, lengths_A: Tensor) -> Tensor:
        lengths_A = lengths_A.contiguous()
        ctx.basis = basis
        ctx.save_for_backward(lengths_A)
        out = torch.empty((len(lengths_A), len(basis.frequencies)), dtype=torch.float32)
        _call("radial_forward", _radial(basis), len(lengths_A), lengths_A, out)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
        (lengths_A,) = ctx.saved_tensors
        grad = torch.empty_like(lengths_A)
        rows, grad_output = len(lengths_A), grad_output.contiguous()
        _call("radial_backward", _radial(ctx.basis), rows, lengths_A, grad_output, grad)
        return None, grad


class _Angular(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, basis: AngularBasis, rows: _Rows, directions: Tensor) -> Tensor:
        directions = directions.contiguous()
        ctx.basis, ctx.rows = basis, rows
        ctx.save_for_backward(directions)
        out = torch.empty((len(rows.source), basis.width), dtype=torch.float32)
        _call("angular_forward", _angular(basis, rows, directions), out)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
        (directions,) = ctx.saved_tensors
        grad, grad_output = torch.zeros_like(directions), grad_output.contiguous()
        parts = ctx.rows.parts(torch.get_num_threads())
        angular = _angular(ctx.basis, ctx.rows, directions)
        _call("angular_backward", angular, grad_output, grad, parts)
        return None, None, grad


class _NodeFeatures(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, node_map: NodeMap, graph: Graph, bond: Tensor, of_center: Tensor
    ) -> tuple[Tensor, Tensor]:
        bond, of_center = bond.contiguous(), of_center.contiguous()
        ctx.node_map, ctx.graph = node_map, graph
        ctx.sizes = bond.shape, of_center.shape
        source = bond.new_empty((len(graph.node_bond), 2 * _FEATURES))
        target = torch.empty_like(source)
        _call("nodes_forward", _nodes(node_map, graph), bond, of_center, source, target)
        return source, target

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        source, target = (grad.contiguous() for grad in grad_outputs)
        bond, of_center = source.new_empty(ctx.sizes[0]), source.new_zeros(ctx.sizes[1])
        nodes = _nodes(ctx.node_map, ctx.graph)
        _call("nodes_backward", nodes, source, target, bond, of_center)
        return None, None, bond, of_center


def _fields(types: Sequence[tuple[type, str]]) -> tuple[tuple[str, type], ...]:
    """Fields of a C structure: names by type, in order."""
    return tuple((name, type_) for type_, names in types for name in names.split())


class _OperatorC(ctypes.Structure):
    """`operator_t` of kernels.c."""

    _fields_ = _fields(
        (
            (_INT, "nodes rows groups"),
            (_POINTER, "group_rows source_node target_node source target edge"),
            (_INT, "features"),
            (_POINTER, "edge_map edge_map_back weight hidden hidden_back hidden_bias scale shift"),
            (ctypes.c_float, "epsilon"),
        )
    )


class _Gradients(ctypes.Structure):
    """`gradients_t` of kernels.c."""

    _fields_ = _fields(((_POINTER, "output source target edge weight"),))


class _LinearC(ctypes.Structure):
    """`linear_t` of kernels.c."""

    _fields_ = _fields(((_INT, "rows inputs outputs"), (_POINTER, "map bias")))


class _RadialC(ctypes.Structure):
    """`radial_t` of kernels.c."""

    _fields_ = _fields(
        ((_POINTER, "frequencies"), (_INT, "n power"), (ctypes.c_double, "cutoff norm"))
    )


class _AngularC(ctypes.Structure):
    """`angular_t` of kernels.c."""

    _fields_ = _fields(
        (
            (_POINTER, "frequencies"),
            (_INT, "order columns rows groups"),
            (_POINTER, "group_rows source_node target_node directions"),
        )
    )


class _NodesC(ctypes.Structure):
    """`nodes_t` of kernels.c."""

    _fields_ = _fields(((_INT, "bonds nodes"), (_POINTER, "nodes_of_bond center map map_back")))


def _operator(
    gated_mlp: GatedMLP,
    rows: _Rows,
    source: Tensor,
    target: Tensor,
    edge: Tensor,
    weight: Tensor | None,
) -> _OperatorC:
    hidden, hidden_bias = gated_mlp.hidden or (None, None)
    edge_map = gated_mlp.edge_map
    return _OperatorC(
        rows.nodes,
        rows.source.shape[0],
        rows.n_groups,
        *map(_pointer, (rows.groups, rows.source, rows.target, source, target, edge)),
        edge_map.shape[1],
        *map(_pointer, (gated_mlp.edge_map_transposed, edge_map, weight)),
        *map(_pointer, (gated_mlp.hidden_transposed, hidden, hidden_bias)),
        *map(_pointer, (gated_mlp.scale, gated_mlp.shift)),
        gated_mlp.epsilon,
    )


def _radial(basis: RadialBasis) -> _RadialC:
    frequencies = basis.frequencies
    return _RadialC(
        frequencies.data_ptr(), len(frequencies), int(basis.power), basis.cutoff_A, basis.norm
    )


def _angular(basis: AngularBasis, rows: _Rows, directions: Tensor) -> _AngularC:
    sizes = len(basis.frequencies), basis.width, len(rows.source), rows.n_groups
    tensors = (rows.groups, rows.source, rows.target, directions)
    return _AngularC(basis.padded_frequencies.data_ptr(), *sizes, *map(_pointer, tensors))


def _nodes(node_map: NodeMap, graph: Graph) -> _NodesC:
    tensors = (graph.nodes_of_bond, graph.node_center, node_map.transposed, node_map.weight)
    return _NodesC(graph.n_short, len(graph.node_bond), *map(_pointer, tensors))


def _call(name: str, structure: ctypes.Structure, *arguments: object) -> None:
    """A function of kernels.c; its last argument is the number of threads."""
    converted = [a.data_ptr() if isinstance(a, Tensor) else a for a in arguments]
    _function(name)(ctypes.byref(structure), *converted, torch.get_num_threads())


def _pointer(tensor: Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()


@functools.cache
def _function(name: str) -> Any:
    """A function of the library, which takes pointers and numbers without being told which."""
    function = getattr(_library(), name)
    function.argtypes = [_POINTER, *_ARGUMENTS[name], _INT]
    function.restype = None
    return function


@functools.cache
def _library() -> ctypes.CDLL:
    """The compiled kernels; from the cache if made from this source for compiler and processor.

    Raises:
        OSError, subprocess.CalledProcessError: no compiler, or one that fails.
    """
    source = importlib.resources.files("vitrion.potential") / "kernels.c"
    compiler = os.environ.get("CC", "cc").split()
    version = subprocess.run([*compiler, "--version"], check=True, capture_output=True, text=True)
    made_for = (source.read_text(), *_FLAGS, version.stdout, _processor())
    key = hashlib.sha256("\n".join(made_for).encode()).hexdigest()[:16]
    library = _cache_folder() / f"kernels-{key}.so"
    if not library.is_file():
        with importlib.resources.as_file(source) as path:
            _compile(compiler, path, library)
    _keep_freed_memory()
    loaded = ctypes.CDLL(str(library))
    return loaded


def _keep_freed_memory() -> None:
    """Let glibc reuse the memory of freed tensors instead of returning it to the system.

    A step allocates and frees the same tensors as the one before. Without this their pages are
    mapped and cleared by the system again and again, which took a tenth of the time of a step.
    """
    process = ctypes.CDLL(None)
    if hasattr(process, "mallopt"):
        for parameter, value in _MALLOC_OPTIONS:
            process.mallopt(parameter, value)


def _compile(compiler: list[str], source: Path, library: Path) -> None:
    """Compile in a temporary folder, then rename: two jobs may compile at the same time."""
    with tempfile.TemporaryDirectory(dir=library.parent) as folder:
        objects, made = Path(folder) / "kernels.o", Path(folder) / "kernels.so"
        for command in (
            [*compiler, *_FLAGS, "-c", str(source), "-o", str(objects)],
            # No OpenMP library of its own: the one that torch loaded serves both.
            [*compiler, "-shared", str(objects), "-o", str(made), "-lm"],
        ):
            subprocess.run(command, check=True, capture_output=True, text=True)
        made.replace(library)


def _cache_folder() -> Path:
    """`$XDG_CACHE_HOME/vitrion`, or a temporary folder where that cannot be written."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vitrion"
    try:
        home.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=home):
            return home
    except OSError:
        return Path(_private_folder())


@functools.cache
def _private_folder() -> str:
    return tempfile.mkdtemp(prefix="vitrion-")


def _processor() -> str:
    """The processor's features, on which `-march=native` depends."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return "\n".join(
        sorted({x for x in lines if x.startswith(("model name", "flags", "Features"))})
    )
