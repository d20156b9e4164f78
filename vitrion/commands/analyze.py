"""Analyse any trajectory: diffusion, conductivity, structure and residence times, with errors.

Reads our segments and the files of VASP, LAMMPS, GROMACS, CP2K, ASE, H5MD and others
(docs/trajectories.md). Several files are consecutive pieces of one trajectory. Positions that were
folded back into the cell are unwrapped.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from vitrion.base.errors import InputError
from vitrion.base.text import names, numbers
from vitrion.commands import output_folder

if TYPE_CHECKING:
    from ase import Atoms

    from vitrion.config import Transport
    from vitrion.transport.roles import Roles

HELP = "analyse any trajectory"
EXAMPLE = (
    "vitrion analyze run.extxyz --temperature-K 600 --frame-interval-ps 0.1 "
    "--charges Li=1,Al=3,Cl=-1,O=-2 --mobile Li --center Al --ligands Cl,O --out analysis"
)

# Options that are keys of the configuration's section `transport`.
SETTINGS = (
    "discard_ps",
    "reference_frame",
    "rdf_cutoff_A",
    "residence_tolerance_ps",
    "diffusive_tolerance",
    "least_displacement_A",
    "jump_length_A",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `vitrion analyze`."""
    parser.add_argument("trajectory", nargs="+", type=Path, help="files, in order of time")
    parser.add_argument("--temperature-K", type=float, required=True, help="temperature")
    parser.add_argument(
        "--frame-interval-ps",
        type=float,
        help="time between stored frames (default: the files' own)",
    )
    parser.add_argument(
        "--ignore-times", action="store_true", help="the times in the files are wrong"
    )
    parser.add_argument(
        "--charges", help="formal charges, e.g. Li=1,Al=3,Cl=-1,O=-2 (default: those in the file)"
    )
    parser.add_argument(
        "--allow-net-charge", action="store_true", help="the cell is meant to be charged"
    )
    parser.add_argument(
        "--mobile", required=True, help="the ion whose transport is analysed, or several: Li,Na"
    )
    parser.add_argument(
        "--center",
        default="",
        help="central cation of the polyhedra, or several: Al,Ga (default: none)",
    )
    parser.add_argument(
        "--ligands", default="", help="elements around the centre, e.g. Cl,O (default: none)"
    )
    parser.add_argument(
        "--bridges",
        default="",
        help="ligands that join polyhedra to fragments (default: O, otherwise all)",
    )
    parser.add_argument(
        "--out", type=output_folder, required=True, metavar="DIR", help="folder to write"
    )
    parser.add_argument(
        "--discard-ps", type=float, default=0.0, help="time left out at the start (default: 0)"
    )
    parser.add_argument(
        "--cell",
        metavar="A,B,C[,ALPHA,BETA,GAMMA]",
        help="cell in Å and degrees, for files without one (default: the files' own)",
    )
    parser.add_argument(
        "--cell-volume-A3",
        type=float,
        help="cubic cell, for files without one (default: the files' own)",
    )
    parser.add_argument(
        "--cell-file",
        type=Path,
        help="CP2K's file -1.cell, for files without cells (default: none)",
    )
    parser.add_argument(
        "--topology",
        type=Path,
        help="file that names the atoms, for XTC, TRR, DCD, NetCDF (default: none)",
    )
    parser.add_argument(
        "--elements",
        default="",
        help="elements of types and names in the file, e.g. 1=Li,2=Al (default: as named)",
    )
    parser.add_argument("--group", help="particle group of an H5MD file (default: the only one)")
    parser.add_argument(
        "--unwrapped", action="store_true", help="positions were never folded back into the cell"
    )
    parser.add_argument(
        "--reference-frame",
        choices=("center_of_mass", "framework", "none"),
        default="center_of_mass",
        help="whose drift is removed (default: %(default)s)",
    )
    parser.add_argument(
        "--cutoffs-A",
        default="",
        help="first-shell cutoffs, e.g. Al-Cl=2.9,Al-Li=4 (default: first minima of g(r))",
    )
    parser.add_argument(
        "--rdf-cutoff-A", type=float, default=10.0, help="largest r of g(r), 3 to 30 (default: 10)"
    )
    parser.add_argument(
        "--diffusive-tolerance",
        type=float,
        default=0.1,
        help="largest deviation of the log-log slope of a diffusive MSD from 1 (default: 0.1)",
    )
    parser.add_argument(
        "--least-displacement-A",
        type=float,
        default=1.0,
        help="smallest root mean squared displacement that counts as diffusion (default: 1)",
    )
    parser.add_argument(
        "--residence-tolerance-ps",
        type=float,
        default=0.5,
        help="longest absence that does not end a contact (default: 0.5)",
    )
    parser.add_argument(
        "--jump-length-A",
        type=float,
        default=1.5,
        help="shortest distance between two resting places of a mobile ion, 0.2 to 20 "
        "(default: 1.5)",
    )

    parser.add_argument(
        "--crystals",
        default="",
        metavar="FILE=SHARE",
        help="crystals beside the glass in a measured sample, by share of the mass, e.g. "
        "LiCl.cif=0.11: total S(q) and PDF of the mixture as well (default: none)",
    )


def run(args: argparse.Namespace) -> None:
    """Analyse and write the tables into `--out`."""
    from vitrion.report.overview import plot_overview
    from vitrion.trajectory.sources import read_files
    from vitrion.transport.analyze import analyze_source
    from vitrion.transport.roles import Roles

    for option in ("temperature_K", "frame_interval_ps", "cell_volume_A3"):
        _check_number(option, getattr(args, option), least=0, strictly=True)
    roles = Roles(
        mobile=names(args.mobile),
        center=names(args.center),
        ligands=names(args.ligands),
        bridges=names(args.bridges),
    )
    if bool(roles.center) != bool(roles.ligands):
        raise InputError(
            "ligands" if roles.center else "center",
            args.ligands if roles.center else args.center,
            "give --center and --ligands together, or neither",
        )
    settings = _settings(args, roles)
    crystals = _crystals(args.crystals)
    source = read_files(
        args.trajectory,
        frame_interval_ps=args.frame_interval_ps,
        ignore_times=args.ignore_times,
        topology=args.topology,
        elements=_elements(args.elements),
        group=args.group,
        unwrapped=args.unwrapped,
        cell_A=_cell(args.cell),
        cell_file=args.cell_file,
        cell_volume_A3=args.cell_volume_A3,
        scratch=next((folder for folder in (args.out, *args.out.parents) if folder.is_dir()), None),
    )
    for note in source.notes:
        print(f"note: {note}", file=sys.stderr)
    # The configuration's charges are whole numbers, those of other people's models need not be.
    charges = _charges(args.charges, source.charges)
    absent = [element for element in charges if element not in source.symbols]
    if absent:
        print(f"note: charges of {', '.join(absent)}, which the trajectory lacks", file=sys.stderr)
    settings = settings.model_copy(update={"charges": charges})
    key = {
        "composition": source.formula,
        "mobile": ",".join(roles.mobile),
        "center": ",".join(roles.center),
        "ligands": ",".join(roles.ligands),
        "temperature_K": args.temperature_K,
        "replica": 0,
    }
    analyze_source(
        source,
        args.out,
        roles=roles,
        key=key,
        settings=settings,
        allow_net_charge=args.allow_net_charge,
        crystals=crystals,
        metadata={
            "crystals": args.crystals,
            "trajectory": [str(path) for path in args.trajectory],
            "notes": list(source.notes),
        },
    )
    overview = args.out / "overview.png"
    overview.unlink(missing_ok=True)  # that of an earlier analysis
    plot_overview(args.out, overview)
    print(f"tables and overview.png in {args.out}")


def _settings(args: argparse.Namespace, roles: Roles) -> Transport:
    """The options that are keys of the configuration, with their limits there, but the charges."""
    from pydantic import ValidationError

    from vitrion.config import Transport, input_error
    from vitrion.structure.compositions import shell_pairs

    cutoffs_A = numbers("--cutoffs-A", args.cutoffs_A, "Al-Cl=2.9")
    values = {key: getattr(args, key) for key in SETTINGS} | {"cutoffs_A": cutoffs_A}
    try:
        settings = Transport.model_validate(values)
    except ValidationError as error:
        wrong = input_error(error, values, Transport)
        option = "--" + wrong.key.replace("_", "-")
        raise InputError(option, wrong.value, wrong.remedy) from None
    used = {frozenset(pair) for pair in shell_pairs(roles.mobile, roles.center, roles.ligands)}
    for pair, cutoff_A in settings.cutoffs_A.items():
        if frozenset(pair.split("-")) not in used:
            known = ", ".join(sorted("-".join(sorted(elements)) for elements in used))
            remedy = f"used are {known}" if known else "give --center and --ligands with it"
            raise InputError("--cutoffs-A", f"{pair}={cutoff_A:g}", f"no shell needs it; {remedy}")
    return settings


def _charges(text: str | None, in_file: Mapping[str, float] | None) -> dict[str, float]:
    """The charges that were given, otherwise those in the file."""
    example = "Li=1,Al=3,Cl=-1,O=-2"
    if text is not None:
        return numbers("charges", text, example)
    if in_file is None:
        raise InputError(
            "charges", None, f"the file holds no charge for each element; give --charges {example}"
        )
    return {
        name: int(charge) if charge == int(charge) else charge for name, charge in in_file.items()
    }


def _crystals(text: str) -> list[tuple[float, Atoms]]:
    """Parse `LiCl.cif=0.11` and read the files."""
    if not text:
        return []
    from vitrion.structure.files import read_structure

    shares = numbers("crystals", text, "LiCl.cif=0.11")
    if sum(shares.values()) >= 1 or not all(share > 0 for share in shares.values()):
        raise InputError("crystals", text, "give shares of the mass above 0, below 1 together")
    return [(share, read_structure(Path(path))) for path, share in shares.items()]


def _elements(text: str) -> dict[str, str]:
    """Parse `1=Li,2=Al`."""
    pairs = [item.split("=") for item in names(text)]
    if not all(len(pair) == 2 and all(part.strip() for part in pair) for pair in pairs):
        raise InputError("elements", text, "write each as NAME=ELEMENT, for example 1=Li,2=Al")
    found = {name.strip(): element.strip() for name, element in pairs}
    if len(found) < len(pairs):
        raise InputError("elements", text, "names one twice")
    return found


def _cell(text: str | None) -> list[float] | None:
    """Parse `12,12,15` or `12,12,15,90,90,120`."""
    if text is None:
        return None
    try:
        return [float(word) for word in names(text)]
    except ValueError:
        raise InputError(
            "cell", text, "give a,b,c or a,b,c,alpha,beta,gamma (Å and degrees), as 12,12,15"
        ) from None


def _check_number(
    option: str, value: float | None, *, least: float, strictly: bool = False
) -> None:
    if value is None:
        return
    if not math.isfinite(value) or value < least or (strictly and value == least):
        name = option.replace("_", "-")
        raise InputError(name, value, f"give a number {'above' if strictly else 'from'} {least:g}")
