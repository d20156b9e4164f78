"""Which element of a trajectory does what."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from vitrion.base.errors import InputError

logger = logging.getLogger("vitrion")

# Largest charge per atom of a neutral cell: charges of force fields have few digits.
NEUTRAL_e = 1e-6


@dataclass(frozen=True)
class Roles:
    """Roles of the elements.

    Attributes:
        mobile: the ion whose transport is analysed.
        center: central cation of the polyhedra, if there are any.
        ligands: elements of its first shell.
        bridges: ligands that join polyhedra to fragments; by default oxygen where it is a ligand,
            otherwise every ligand.
    """

    mobile: str
    center: str | None = None
    ligands: tuple[str, ...] = ()
    bridges: tuple[str, ...] = ()

    @property
    def joining(self) -> tuple[str, ...]:
        """`bridges`, or their default."""
        return self.bridges or (("O",) if "O" in self.ligands else self.ligands)

    def check(
        self,
        symbols: Sequence[str],
        charges: Mapping[str, float],
        *,
        allow_net_charge: bool = False,
    ) -> None:
        """Refuse roles or charges that do not fit the atoms.

        Args:
            symbols: element of each atom.
            charges: formal charge of each element in e.
            allow_net_charge: whether the cell may have one; a warning then says what it means.

        Raises:
            InputError: names the element and the remedy.
        """
        present = sorted(set(symbols))
        named = [("mobile", self.mobile), *(("ligands", ligand) for ligand in self.ligands)]
        if self.center:
            named.insert(1, ("center", self.center))
        for key, element in named:
            if element not in present:
                raise InputError(key, element, f"not in the trajectory; it has {present}")
        if len(set(self.ligands)) < len(self.ligands):
            raise InputError("ligands", list(self.ligands), "name each element once")
        unknown = set(self.bridges) - set(self.ligands)
        if unknown:
            raise InputError("bridges", sorted(unknown), "must be among the ligands")
        if self.center == self.mobile or {self.mobile, self.center} & set(self.ligands):
            raise InputError(
                "ligands",
                list(self.ligands),
                "mobile, center and ligands must be different elements",
            )
        missing = [element for element in present if element not in charges]
        if missing:
            raise InputError("charges", dict(charges), f"add the charge of {', '.join(missing)}")
        net = sum(charges[element] for element in symbols)
        if abs(net) <= NEUTRAL_e * len(symbols):
            return
        if not allow_net_charge:
            raise InputError(
                "charges",
                dict(charges),
                f"the cell has a net charge of {net:+.6g} e; correct them, or allow it where it is "
                "meant, as with vacancies (--allow-net-charge)",
            )
        logger.warning(
            "the cell has a net charge of %+.6g e: conductivities depend on the frame of reference",
            net,
        )
