"""The network of `vitrion.potential.network`, compiled, for float32 on the CPU.

`kernels.c` computes energies and their gradient by the bond vectors in one call. It is compiled
with the system's C compiler at first use, for the processor that it runs on, and the library is
kept in the user's cache. It shares torch's OpenMP threads. Without a compiler plain torch gives the
same results, more slowly.
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
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from vitrion.potential.graph import Graph
from vitrion.potential.network import Layer, Network
from vitrion.potential.operators import GatedMLP, LinearMap, RadialBasis

logger = logging.getLogger("vitrion")

_SOURCES = ("kernels.c", "gated_mlp.h", "vectors.h", "bases.h")
_FLAGS = ("-std=gnu11", "-O3", "-march=native", "-fno-math-errno", "-fPIC", "-fopenmp")
_FEATURES = 64
_MOST_LAYERS = 8  # of atoms, and of the readout
_WORKSPACE_HEADROOM = 1.1  # of a new workspace over what is needed
# mallopt's M_MMAP_THRESHOLD (32 MB is the most that it takes), M_TRIM_THRESHOLD and M_TOP_PAD.
_MALLOC_OPTIONS = ((-3, 32 << 20), (-1, 1 << 30), (-2, 64 << 20))


@functools.cache
def available() -> bool:
    """Whether this machine runs the compiled network (compiles it if need be)."""
    try:
        _library()
    except (OSError, subprocess.CalledProcessError) as error:
        reason = getattr(error, "stderr", None) or error
        logger.warning("no compiled kernels, the potential runs slower: %s", str(reason).strip())
        return False
    return True


def support(network: Network) -> bool:
    """Whether the compiled code covers a network (64 features, float32, CPU)."""
    n_layers, of_angles = len(network.atom_layers), (*network.bond_layers, *network.angle_layers)
    layers = (*network.atom_layers, *of_angles)
    radial = (network.radial, network.radial_short)
    return (
        network.device.type == "cpu"
        and network.dtype == torch.float32
        and 2 <= n_layers <= _MOST_LAYERS
        and (len(network.bond_layers), len(network.angle_layers)) == (n_layers - 1, n_layers - 2)
        and all(_supports(layer.gated_mlp) for layer in layers)
        and all(map_.weight.shape[1] in (32, 64) for map_ in _basis_maps(network))
        and all(
            map_.weight.shape == shape
            for shape, maps in (
                ((128, 64), [layer.first[k] for layer in network.atom_layers for k in (0, 2)]),
                ((128, 64), [layer.first[3] for layer in of_angles]),
                ((256, 64), [layer.node_map for layer in of_angles]),
                ((64, 64), [layer.out for layer in (*network.atom_layers, *network.bond_layers)]),
                ((64, 64), network.readout_maps[:-1]),
                ((1, 64), network.readout_maps[-1:]),
            )
            for map_ in maps
        )
        and all(len(b.frequencies) in (32, 64) and b.power == int(b.power) for b in radial)
        and len(network.readout_maps) <= _MOST_LAYERS
    )


def _supports(gated_mlp: GatedMLP) -> bool:
    shape = (2, _FEATURES)
    return (
        gated_mlp.scale.shape == shape
        and gated_mlp.edge_map.shape in {(2 * _FEATURES, n) for n in (32, 64)}
        and (gated_mlp.hidden is None or gated_mlp.hidden[0].shape == (*shape, _FEATURES))
    )


def _basis_maps(network: Network) -> tuple[LinearMap, ...]:
    return network.weigh_bond, network.weigh_short, network.embed_bond, network.embed_angle


_of_thread = threading.local()


def _workspace(size_bytes: int) -> Tensor:
    """Memory of at least that size, the same for all evaluations of a thread."""
    memory = getattr(_of_thread, "memory", None)
    if memory is None or len(memory) < size_bytes:
        _of_thread.memory = None  # freed before more is allocated
        memory = torch.empty(int(_WORKSPACE_HEADROOM * size_bytes), dtype=torch.uint8)
        _of_thread.memory = memory
    return memory


class CompiledNetwork:
    """A network that `support` covers.

    Args:
        network: CHGNet.
    """

    def __init__(self, network: Network) -> None:
        self._library = _library()
        self._keep: list[object] = []  # what the pointers of the structures point to
        self._network = self._structure(network)

    def energies_and_bond_gradients(self, graph: Graph, atoms: Tensor) -> tuple[Tensor, Tensor]:
        """Energy of each atom (n), and dE/dr (bonds, 3), the gradient of their sum.

        Args:
            graph: without dummies.
            atoms: (n, 64) features, from `Network.atoms`.

        Returns:
            float64, in eV without reference energies, and in eV/Å.
        """
        gradients = torch.empty_like(graph.vectors_A)
        energies, _ = self._evaluate(graph, atoms, gradients)
        return energies, gradients

    def atom_features(self, graph: Graph, atoms: Tensor) -> Tensor:
        """Features of the atoms before the last convolution; see `Network.atom_features`."""
        _, features = self._evaluate(graph, atoms, None)
        return features

    def _evaluate(
        self, graph: Graph, atoms: Tensor, gradients: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Energies and features of the atoms; fills `gradients`, unless there are none."""
        energies = torch.empty(len(atoms), dtype=torch.float64)
        features = torch.empty_like(atoms)
        result = _ResultC(*map(_pointer, (energies, gradients, features)))
        inputs = ctypes.byref(self._network), ctypes.byref(_graph(graph, atoms))
        workspace = _workspace(self._library.workspace_bytes(*inputs))
        pointers = *inputs, ctypes.byref(result), workspace.data_ptr()
        self._library.evaluate(*pointers, torch.get_num_threads())
        return energies, features

    def _structure(self, network: Network) -> _NetworkC:
        norm, last = network.readout_norm, network.readout_maps[-1]
        pointer = self._pointer
        return _NetworkC(
            len(network.atom_layers),
            len(network.readout_maps) - 1,
            self._array(
                _AtomLayerC(
                    self._gated_mlp(layer.gated_mlp),
                    self._gated_mlp(long),
                    self._linear(layer.first[0]),
                    self._linear(layer.first[2]),
                    self._linear(layer.out),
                )
                for layer, long in zip(network.atom_layers, network.long_gated_mlps, strict=True)
            ),
            self._array(
                _AngleLayerC(*self._of_angles(layer), self._linear(layer.out))
                for layer in network.bond_layers
            ),
            self._array(_AngleLayerC(*self._of_angles(layer)) for layer in network.angle_layers),
            self._radial(network.radial),
            self._radial(network.radial_short),
            _AngularC(
                pointer(network.angular.padded_frequencies),
                len(network.angular.frequencies),
                network.angular.width,
            ),
            *map(self._linear, _basis_maps(network)),
            pointer(norm.weight),
            pointer(norm.bias),
            self._array(map(self._linear, network.readout_maps[:-1])),
            pointer(last.weight),
            0.0 if last.bias is None else last.bias.item(),
            norm.eps,
        )

    def _of_angles(self, layer: Layer) -> tuple[ctypes.Structure, ...]:
        center = self._linear(layer.first[3])
        return self._gated_mlp(layer.gated_mlp), self._linear(layer.node_map), center

    def _gated_mlp(self, mlp: GatedMLP) -> _GatedMLPC:
        weight, bias = mlp.hidden or (None, None)
        tensors = (mlp.hidden_transposed, weight, bias, mlp.scale, mlp.shift)
        edge = self._linear(LinearMap(mlp.edge_map))
        return _GatedMLPC(mlp.edge_map.shape[1], edge, *map(self._pointer, tensors), mlp.epsilon)

    def _linear(self, map_: LinearMap) -> _LinearC:
        return _LinearC(*map(self._pointer, (map_.transposed, map_.weight, map_.bias)))

    def _radial(self, basis: RadialBasis) -> _RadialC:
        frequencies = self._pointer(basis.frequencies)
        sizes = len(basis.frequencies), int(basis.power)
        return _RadialC(frequencies, *sizes, basis.cutoff_A, basis.norm)

    def _pointer(self, tensor: Tensor | None) -> int | None:
        if tensor is None:
            return None
        tensor = tensor.contiguous()
        self._keep.append(tensor)
        return tensor.data_ptr()

    def _array(self, structures: Iterable[ctypes.Structure]) -> int | None:
        """Address of structures one after the other."""
        parts = list(structures)
        if not parts:
            return None
        array = (type(parts[0]) * len(parts))(*parts)
        self._keep.append(array)
        return ctypes.addressof(array)


def _pointer(tensor: Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()


_INT, _POINTER, _DOUBLE = ctypes.c_int64, ctypes.c_void_p, ctypes.c_double


def _fields(*types: tuple[type, str]) -> tuple[tuple[str, type], ...]:
    """Fields of a C structure: names by type, in order."""
    return tuple((name, type_) for type_, names in types for name in names.split())


class _LinearC(ctypes.Structure):
    """`linear_t` of kernels.c."""

    _fields_ = _fields((_POINTER, "map map_back bias"))


class _GatedMLPC(ctypes.Structure):
    """`gated_mlp_t` of kernels.c."""

    _fields_ = _fields(
        (_INT, "features"),
        (_LinearC, "edge"),
        (_POINTER, "hidden hidden_back hidden_bias scale shift"),
        (ctypes.c_float, "epsilon"),
    )


class _AtomLayerC(ctypes.Structure):
    """`atom_layer_t` of kernels.c."""

    _fields_ = _fields((_GatedMLPC, "short_bonds long_bonds"), (_LinearC, "source target out"))


class _AngleLayerC(ctypes.Structure):
    """`angle_layer_t` of kernels.c."""

    _fields_ = _fields((_GatedMLPC, "gated_mlp"), (_LinearC, "bond center out"))


class _RadialC(ctypes.Structure):
    """`radial_t` of kernels.c."""

    _fields_ = _fields((_POINTER, "frequencies"), (_INT, "n power"), (_DOUBLE, "cutoff norm"))


class _AngularC(ctypes.Structure):
    """`angular_t` of kernels.c."""

    _fields_ = _fields((_POINTER, "frequencies"), (_INT, "order columns"))


class _NetworkC(ctypes.Structure):
    """`network_t` of kernels.c."""

    _fields_ = _fields(
        (_INT, "atom_layers readout_layers"),
        (_POINTER, "atom bond angle"),
        (_RadialC, "radial radial_short"),
        (_AngularC, "angular"),
        (_LinearC, "weigh_bond weigh_short embed_bond embed_angle"),
        (_POINTER, "readout_scale readout_shift readout readout_last"),
        (_DOUBLE, "readout_bias"),
        (ctypes.c_float, "readout_epsilon"),
    )


class _GraphC(ctypes.Structure):
    """`graph_t` of kernels.c."""

    _fields_ = _fields(
        (_INT, "atoms bonds short_bonds nodes angles"),
        (_POINTER, "vectors start end nodes_of_bond node_center"),
        (_POINTER, "source target reverse first_angle features"),
    )


class _ResultC(ctypes.Structure):
    """`result_t` of kernels.c."""

    _fields_ = _fields((_POINTER, "energies gradients features"))


def _graph(graph: Graph, atoms: Tensor) -> _GraphC:
    angles = graph.angles
    tensors = (graph.vectors_A, graph.start, graph.end, graph.nodes_of_bond, graph.node_center)
    of_angles = (angles.source, angles.target, angles.reverse, angles.groups)
    return _GraphC(
        len(atoms),
        len(graph.vectors_A),
        graph.n_short,
        len(graph.node_center),
        len(angles.source),
        *map(_pointer, (*tensors, *of_angles, atoms)),
    )


@functools.cache
def _library() -> ctypes.CDLL:
    """The compiled kernels; from the cache if made from this source for compiler and processor.

    Raises:
        OSError, subprocess.CalledProcessError: no compiler, or one that fails.
    """
    folder = importlib.resources.files("vitrion.potential")
    sources = {name: (folder / name).read_text() for name in _SOURCES}
    compiler = os.environ.get("CC", "cc").split()
    version = subprocess.run([*compiler, "--version"], check=True, capture_output=True, text=True)
    made_for = (*sources.values(), *_FLAGS, version.stdout, _processor())
    key = hashlib.sha256("\n".join(made_for).encode()).hexdigest()[:16]
    library = _cache_folder() / f"kernels-{key}.so"
    if not library.is_file():
        _compile(compiler, sources, library)
    _keep_freed_memory()
    loaded = ctypes.CDLL(str(library))
    loaded.workspace_bytes.argtypes = [_POINTER] * 2
    loaded.workspace_bytes.restype = _INT
    loaded.evaluate.argtypes = [*[_POINTER] * 4, _INT]
    loaded.evaluate.restype = None
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


def _compile(compiler: list[str], sources: Mapping[str, str], library: Path) -> None:
    """Compile in a temporary folder, then rename: two jobs may compile at the same time."""
    with tempfile.TemporaryDirectory(dir=library.parent) as name:
        folder = Path(name)
        for source, text in sources.items():
            (folder / source).write_text(text)
        objects, made = folder / "kernels.o", folder / "kernels.so"
        for command in (
            [*compiler, *_FLAGS, "-c", str(folder / _SOURCES[0]), "-o", str(objects)],
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
