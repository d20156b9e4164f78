"""Which element of a trajectory does what."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from vitrion.base.errors import InputError
from vitrion.structure.compositions import refuse_cations_without_role

logger = logging.getLogger("vitrion")

# Largest charge per atom of a neutral cell: charges of force fields have few digits.
NEUTRAL_e = 1e-6


@dataclass(frozen=True)
class Roles:
    """Roles of the elements.

    Attributes:
        mobile: the ions whose transport is analysed, one element or more.
        center: central cations of the polyhedra, if there are any.
        ligands: elements of their first shells.
        bridges: ligands that join polyhedra to fragments; by default oxygen where it is a ligand,
            otherwise every ligand.
    """

    mobile: tuple[str, ...]
    center: tuple[str, ...] = ()
    ligands: tuple[str, ...] = ()
    bridges: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """A single element may be given as it is."""
        for key, elements in vars(self).copy().items():
            if isinstance(elements, str):
                object.__setattr__(self, key, (elements,))

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
        groups = {"mobile": self.mobile, "center": self.center, "ligands": self.ligands}
        if not self.mobile:
            raise InputError("mobile", "", "name one element or more")
        for key, elements in groups.items():
            for element in elements:
                if element not in present:
                    raise InputError(key, element, f"not in the trajectory; it has {present}")
            if len(set(elements)) < len(elements):
                raise InputError(key, list(elements), "name each element once")
        unknown = set(self.bridges) - set(self.ligands)
        if unknown:
            raise InputError("bridges", sorted(unknown), "must be among the ligands")
        named = [element for elements in groups.values() for element in elements]
        if len(set(named)) < len(named):
            raise InputError(
                "ligands",
                list(self.ligands),
                "mobile, center and ligands must be different elements",
            )
        missing = [element for element in present if element not in charges]
        if missing:
            raise InputError("charges", dict(charges), f"add the charge of {', '.join(missing)}")
        if self.center:
            refuse_cations_without_role(present, named, charges)
        neutral = [ion for ion in self.mobile if charges[ion] == 0]
        if neutral and len(neutral) < len(self.mobile):
            raise InputError(
                "mobile",
                ",".join(self.mobile),
                f"{', '.join(neutral)} has no charge and the others have; analyse it on its own",
            )
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
