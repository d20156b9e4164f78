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
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from vitrion.potential.graph import Adjacency
from vitrion.potential.operators import GatedMLP

logger = logging.getLogger("vitrion")

_FLAGS = ("-std=gnu11", "-O3", "-march=native", "-fno-math-errno", "-fPIC", "-fopenmp")
_FEATURES = 64


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


def support(gated_mlp: GatedMLP) -> bool:
    """Whether the fused operators cover this gated MLP (64 features, float32, CPU)."""
    return (
        gated_mlp.scale.shape == (2, _FEATURES)
        and gated_mlp.scale.dtype == torch.float32
        and gated_mlp.scale.device.type == "cpu"
        and (gated_mlp.hidden is None or gated_mlp.hidden[0].shape == (2, _FEATURES, _FEATURES))
    )


def update(
    gated_mlp: GatedMLP, graph: Adjacency, source: Tensor, target: Tensor, edge: Tensor
) -> Tensor:
    """See `operators.update`."""
    return _Fused.apply(gated_mlp, graph, None, source, target, edge, None)


def messages(
    gated_mlp: GatedMLP,
    graph: Adjacency,
    source: Tensor,
    target: Tensor,
    edge: Tensor,
    weight: Tensor,
    bond: Tensor | None,
) -> Tensor:
    """See `operators.messages`."""
    return _Fused.apply(gated_mlp, graph, bond, source, target, edge, weight)


class _Fused(torch.autograd.Function):
    """Both operators; `update` is the one without a weight."""

    @staticmethod
    def forward(
        ctx: Any,
        gated_mlp: GatedMLP,
        graph: Adjacency,
        bond: Tensor | None,
        source: Tensor,
        target: Tensor,
        edge: Tensor,
        weight: Tensor | None,
    ) -> Tensor:
        source, target, edge = source.contiguous(), target.contiguous(), edge.contiguous()
        weight = None if weight is None else weight.contiguous()
        ctx.gated_mlp, ctx.graph = gated_mlp, graph
        ctx.save_for_backward(bond, source, target, edge, weight)
        operator = _operator(gated_mlp, graph, bond, source, target, edge, weight)
        rows = len(graph.source) if weight is None else graph.nodes
        out = source.new_empty((rows, _FEATURES))
        _library().forward(ctypes.byref(operator), out.data_ptr(), torch.get_num_threads())
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
        gated_mlp, graph = ctx.gated_mlp, ctx.graph
        bond, source, target, edge, weight = ctx.saved_tensors
        operator = _operator(gated_mlp, graph, bond, source, target, edge, weight)
        grad_output = grad_output.contiguous()
        rows = len(graph.source)
        grad_source, grad_target = torch.empty_like(source), torch.empty_like(target)
        grad_row = source.new_empty((rows, 2 * _FEATURES))
        grad_edge = grad_row if bond is None else torch.empty_like(edge)
        grad_weight_row = grad_weight = None
        if weight is not None:
            grad_weight_row = source.new_empty((rows, _FEATURES))
            grad_weight = torch.empty_like(weight)
        tensors = (
            grad_output,
            grad_source,
            grad_target,
            grad_row,
            grad_edge,
            grad_weight_row,
            grad_weight,
        )
        _library().backward(
            ctypes.byref(operator), *map(_pointer, tensors), torch.get_num_threads()
        )
        return None, None, None, grad_source, grad_target, grad_edge, grad_weight


class _Operator(ctypes.Structure):
    """`operator_t` of kernels.c."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in ("nodes", "rows", "summed", "by_bond")),
        *(
            (name, ctypes.c_void_p)
            for name in (
                *("offsets", "source_node", "target_node", "reverse", "bond"),
                *("source", "target", "edge", "weight"),
                *("hidden", "hidden_back", "hidden_bias", "scale", "shift"),
            )
        ),
        ("epsilon", ctypes.c_float),
    )


def _operator(
    gated_mlp: GatedMLP,
    graph: Adjacency,
    bond: Tensor | None,
    source: Tensor,
    target: Tensor,
    edge: Tensor,
    weight: Tensor | None,
) -> _Operator:
    hidden, hidden_bias = gated_mlp.hidden or (None, None)
    transposed, scale, shift = gated_mlp.hidden_transposed, gated_mlp.scale, gated_mlp.shift
    return _Operator(
        graph.nodes,
        len(graph.source),
        weight is not None,
        bond is not None,
        *map(_pointer, (graph.offsets, graph.source, graph.target, graph.reverse, bond)),
        *map(_pointer, (source, target, edge, weight)),
        *map(_pointer, (transposed, hidden, hidden_bias, scale, shift)),
        gated_mlp.epsilon,
    )


def _pointer(tensor: Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()


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
    loaded = ctypes.CDLL(str(library))
    loaded.forward.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int)
    loaded.backward.argtypes = (*(ctypes.c_void_p,) * 8, ctypes.c_int)
    loaded.forward.restype = loaded.backward.restype = None
    return loaded


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
