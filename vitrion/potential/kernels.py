"""The message operators of `vitrion.potential.operators`, fused, for float32 on the CPU.

`kernels.c` is compiled with the system's C compiler at first use, for the processor it runs on, and
kept in the user's cache. It shares torch's OpenMP threads. Without a compiler the plain operators
do the same work, more slowly.
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
from vitrion.potential.operators import Gate

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


def fit(gate: Gate) -> bool:
    """Whether the fused operators cover this gated MLP (64 features, float32, CPU)."""
    return (
        gate.scale.shape == (2, _FEATURES)
        and gate.scale.dtype == torch.float32
        and gate.scale.device.type == "cpu"
        and (gate.hidden is None or gate.hidden[0].shape == (2, _FEATURES, _FEATURES))
    )


def update(gate: Gate, graph: Adjacency, own: Tensor, other: Tensor, between: Tensor) -> Tensor:
    """See `operators.update`."""
    return _Fused.apply(gate, graph, None, own, other, between, None)


def messages(
    gate: Gate,
    graph: Adjacency,
    own: Tensor,
    other: Tensor,
    between: Tensor,
    weight: Tensor,
    link: Tensor | None,
) -> Tensor:
    """See `operators.messages`."""
    return _Fused.apply(gate, graph, link, own, other, between, weight)


class _Fused(torch.autograd.Function):
    """Both operators; `update` is the one without a weight."""

    @staticmethod
    def forward(
        ctx: Any,
        gate: Gate,
        graph: Adjacency,
        link: Tensor | None,
        own: Tensor,
        other: Tensor,
        between: Tensor,
        weight: Tensor | None,
    ) -> Tensor:
        own, other, between = own.contiguous(), other.contiguous(), between.contiguous()
        weight = None if weight is None else weight.contiguous()
        ctx.gate, ctx.graph = gate, graph
        ctx.save_for_backward(link, own, other, between, weight)
        operator = _operator(gate, graph, link, own, other, between, weight)
        rows = len(graph.source) if weight is None else graph.nodes
        out = own.new_empty((rows, _FEATURES))
        _library().forward(ctypes.byref(operator), out.data_ptr(), torch.get_num_threads())
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, pull: Tensor) -> tuple[Tensor | None, ...]:
        gate, graph = ctx.gate, ctx.graph
        link, own, other, between, weight = ctx.saved_tensors
        operator = _operator(gate, graph, link, own, other, between, weight)
        pull = pull.contiguous()
        rows = len(graph.source)
        pull_own, pull_other = torch.empty_like(own), torch.empty_like(other)
        pull_row = own.new_empty((rows, 2 * _FEATURES))
        pull_between = pull_row if link is None else torch.empty_like(between)
        pull_weight_row = pull_weight = None
        if weight is not None:
            pull_weight_row = own.new_empty((rows, _FEATURES))
            pull_weight = torch.empty_like(weight)
        outputs = (pull, pull_own, pull_other, pull_row, pull_between, pull_weight_row, pull_weight)
        _library().backward(
            ctypes.byref(operator), *map(_pointer, outputs), torch.get_num_threads()
        )
        return None, None, None, pull_own, pull_other, pull_between, pull_weight


class _Operator(ctypes.Structure):
    """`operator_t` of kernels.c."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in ("nodes", "rows", "summed", "linked")),
        *(
            (name, ctypes.c_void_p)
            for name in (
                *("offsets", "source", "target", "reverse", "link"),
                *("own", "other", "between", "weight"),
                *("hidden", "hidden_back", "hidden_bias", "scale", "shift"),
            )
        ),
        ("epsilon", ctypes.c_float),
    )


def _operator(
    gate: Gate,
    graph: Adjacency,
    link: Tensor | None,
    own: Tensor,
    other: Tensor,
    between: Tensor,
    weight: Tensor | None,
) -> _Operator:
    hidden, hidden_bias = gate.hidden or (None, None)
    return _Operator(
        graph.nodes,
        len(graph.source),
        weight is not None,
        link is not None,
        *map(_pointer, (graph.offsets, graph.source, graph.target, graph.reverse, link)),
        *map(_pointer, (own, other, between, weight)),
        *map(_pointer, (gate.hidden_transposed, hidden, hidden_bias, gate.scale, gate.shift)),
        gate.epsilon,
    )


def _pointer(tensor: Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()


@functools.cache
def _library() -> ctypes.CDLL:
    """The compiled kernels, made when this source, compiler and processor have none yet.

    Raises:
        OSError, subprocess.CalledProcessError: no compiler, or one that cannot.
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
    """Compile beside the target, then rename: two jobs may do it at once."""
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
    """`$XDG_CACHE_HOME/vitrion`, or a folder of the user's own where that cannot be written."""
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
    """What `-march=native` depends on."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return "\n".join(
        sorted({x for x in lines if x.startswith(("model name", "flags", "Features"))})
    )
