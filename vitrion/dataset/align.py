"""One energy zero for the labels of every code and the potential."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass

import numpy as np

# Singular values below this share of the largest are zero.
RCOND = 1e-6


@dataclass(frozen=True)
class Alignment:
    """The shift between a level of theory and the potential.

    Attributes:
        shift_eV: energy to subtract from a label for each atom of an element.
        n_frames: number of frames it was fitted on.
        rank: number of independent combinations of elements in the frames; if it is less than the
            number of elements, the shift is the smallest of those that fit equally well.
        residual_rms_eV_atom: root mean square of shifted labels minus potential.
        residual_max_eV_atom: largest of these differences.
    """

    shift_eV: dict[str, float]
    n_frames: int
    rank: int
    residual_rms_eV_atom: float
    residual_max_eV_atom: float

    def total_shift_eV(self, symbols: Sequence[str]) -> float:
        """Energy in eV to subtract from the label of a cell with these atoms."""
        return sum(self.shift_eV.get(str(symbol), 0.0) for symbol in symbols)

    as_dict = asdict


def fit_alignment(
    symbols: Sequence[Sequence[str]],
    residual_eV_atom: Sequence[float],
    first: Sequence[bool] | None = None,
) -> Alignment:
    """Least squares of the residual on element fractions, of minimum norm.

    All glasses share one stoichiometry, so their fractions have a lower rank than there are
    elements; the minimum-norm solution is zero along what they do not determine. It is solved in
    float64, because normal equations in float32 are off by eV per atom here.

    Args:
        symbols: elements of the atoms of each frame.
        residual_eV_atom: label minus potential for each frame.
        first: frames that the shift is fitted on; the others determine what these leave open. None
            (or none of them) fits it on all alike. A potential is off by other amounts for crystals
            than for glasses, and the glasses of two levels must not get different zeros because one
            level also has crystals.
    """
    elements = sorted({str(s) for frame in symbols for s in frame})
    fractions = _fractions(symbols, elements)
    residual = np.asarray(residual_eV_atom, dtype=np.float64)
    is_first = np.ones(len(residual), dtype=bool)
    if first is not None and any(first):
        is_first = np.array(first, dtype=bool)
    shift, _, rank, _ = np.linalg.lstsq(fractions[is_first], residual[is_first], rcond=RCOND)
    if not is_first.all():
        # Along the directions that the first frames do not reach.
        _, _, directions = np.linalg.svd(fractions[is_first])
        open_directions = directions[rank:].T
        left = residual[~is_first] - fractions[~is_first] @ shift
        more, _, more_rank, _ = np.linalg.lstsq(
            fractions[~is_first] @ open_directions, left, rcond=RCOND
        )
        shift, rank = shift + open_directions @ more, rank + more_rank
    left = residual - fractions @ shift
    return Alignment(
        shift_eV=dict(zip(elements, shift.tolist(), strict=True)),
        n_frames=len(residual),
        rank=int(rank),
        residual_rms_eV_atom=float(np.sqrt(np.mean(left**2))),
        residual_max_eV_atom=float(np.abs(left).max()),
    )


def fit_level(
    names: Sequence[str],
    symbols: Sequence[Sequence[str]],
    residual_eV_atom: Sequence[float],
    *,
    is_held_out: Sequence[bool],
    first: Collection[str],
) -> Alignment:
    """The shift of one level of theory, fitted on `fitted_frames`.

    Args:
        names: composition of each frame.
        symbols: elements of the atoms of each frame.
        residual_eV_atom: label minus potential for each frame.
        is_held_out: which frames are held out, all of a composition alike.
        first: compositions that the shift is fitted on first (`fit_alignment`).
    """
    fitted = fitted_frames(names, symbols, is_held_out)
    return fit_alignment(
        [symbols[i] for i in fitted],
        [residual_eV_atom[i] for i in fitted],
        [names[i] in first for i in fitted],
    )


def fitted_frames(
    names: Sequence[str], symbols: Sequence[Sequence[str]], is_held_out: Sequence[bool]
) -> list[int]:
    """Frames to fit a shift on, so that held-out frames tell something that was not fitted.

    These are the frames that are not held out, and held-out ones only where the others do not
    determine their shift (an element of no other composition, for example).

    Args:
        names: composition of each frame.
        symbols: elements of the atoms of each frame.
        is_held_out: which frames are held out, all of a composition alike.

    Returns:
        Their indices: first those not held out.
    """
    indices = range(len(names))
    fitted = [i for i in indices if not is_held_out[i]]
    trained = [symbols[i] for i in fitted]
    held_out = {names[i]: symbols[i] for i in indices if is_held_out[i]}
    open_names = {n for n, example in held_out.items() if not is_determined(example, trained)}
    return fitted + [i for i in indices if is_held_out[i] and names[i] in open_names]


def is_determined(symbols: Sequence[str], fitted: Sequence[Sequence[str]]) -> bool:
    """Whether frames of some compositions determine the shift of another composition."""
    if not fitted:
        return False
    elements = sorted({str(s) for frame in [symbols, *fitted] for s in frame})
    known = np.unique(_fractions(fitted, elements), axis=0)
    both = np.vstack([known, _fractions([symbols], elements)])
    return bool(np.linalg.matrix_rank(both) == np.linalg.matrix_rank(known))


def _fractions(symbols: Sequence[Sequence[str]], elements: Sequence[str]) -> np.ndarray:
    """Share of each element in each frame (frames, elements)."""
    return np.array(
        [[np.mean([str(s) == e for s in frame]) for e in elements] for frame in symbols],
        dtype=np.float64,
    )
