"""The figures of a campaign's report: names, titles, groups and captions, in the report's order.

Plain data without Matplotlib, so that rules, `vitrion plan` and `vitrion status` name figures
without the cost of drawing. The drawing functions are in `vitrion.report.figures`.
"""

from __future__ import annotations

from dataclasses import dataclass

FORMATS = ("svg", "png", "pdf")


@dataclass(frozen=True)
class FigureKind:
    """A figure of the report.

    Attributes:
        title: its heading.
        group: the chapter of the report that shows it.
        caption: what it shows.
    """

    title: str
    group: str
    caption: str


_CATALOGUE: dict[str, dict[str, tuple[str, str]]] = {
    "Compositions": {
        "maps": (
            "Differences between compositions",
            "Diffusion of the mobile ion, Einstein conductivity extrapolated to 300 K, activation "
            "energy of diffusion, transference number (Einstein) and Haven ratio. Where mobile ion "
            "A, central cation M and ligands X fill a grid, a map with the error of the last "
            "digits in brackets (colours span at least six errors; white: no value; hatched: "
            "flagged trajectories); else points with one standard error along the compositions. "
            "Framed or ringed: the value differs from the mean of all others by more than the "
            "errors allow (Holm's method at 0.05). Below: whether the quantity depends on A, M and "
            "X, or is alike in all compositions (table of differences), with the corrected "
            "probability and the largest ratio or difference.",
        ),
        "compositions": (
            "Compositions side by side, and experiments",
            "The same quantities with one standard error, one line for each composition. Ringed: "
            "significant outliers. Hollow: from flagged trajectories. Grey line: weighted mean; "
            "dashed: 1. Empty line: no value. Diamonds: measured conductivities at room "
            "temperature of glasses of the paper's family, on the composition's own line where "
            "there is one, else below.",
        ),
    },
    "Transport": {
        "mean_squared_displacement": (
            "Displacements by temperature",
            "Mean squared displacement (MSD) of the mobile ion, every replica, by temperature (one "
            "standard error shaded). The dashed guide has the slope of diffusion.",
        ),
        "displacement_by_species": (
            "Displacements by species",
            "MSD of the mobile ion, the central cation and every ligand at the highest "
            "temperature, averaged over replicas. The dashed guide has the slope of diffusion.",
        ),
        "diffusion_against_lag": (
            "Diffusion against lag",
            "Slope of the mobile ion's MSD over six, between two lags a factor of two apart, every "
            "replica (one standard error shaded). It falls while cages relax and is level where "
            "the ion diffuses. Thick: D and the lags that it comes from, where there is one.",
        ),
        "diffusion": (
            "Diffusion against temperature",
            "Tracer diffusion of the mobile ion, with its Arrhenius line where at least three "
            "temperatures are diffusive. Trajectories without a diffusive window have no D and "
            "are not shown. Hollow: from flagged trajectories. A bar that would leave the figure "
            "ends in an arrow.",
        ),
        "conductivity": (
            "Conductivity by three methods",
            "Ionic conductivity from tracer diffusion (Nernst-Einstein), from the diffusion of "
            "clusters, and from all correlations (Einstein), over replicas, with one standard "
            "error. An arrow: the error, or a value of zero or less, reaches beyond the axis.",
        ),
        "conductivity_against_lag": (
            "Conductivity against lag",
            "Conductivities by Nernst-Einstein and Einstein from slopes between two lags a factor "
            "of two apart, at the highest temperature, every replica (one standard error shaded). "
            "Grey: lags from which D of the mobile ion comes.",
        ),
        "transference": (
            "Transference number of the mobile ion",
            "Share of the conductivity that the mobile ion carries, by the three methods, over "
            "replicas, with one standard error. Dashed: 1, the mobile ion carries all.",
        ),
        "haven_ratio": (
            "Haven ratio of the mobile ion",
            "Self part of the mobile ion's Onsager coefficient divided by the whole coefficient, "
            "over replicas; 1 without correlations between different ions.",
        ),
        "correlations": (
            "Correlations between ions",
            "Correlated displacements divided by the mobile ion's self part, at the highest "
            "temperature, averaged over replicas: of different mobile ions (distinct), and of the "
            "mobile ion with each other element (scalar product of their summed displacements). "
            "0: the ions move independently.",
        ),
        "jumps": (
            "Jumps of the mobile ion",
            "Left: lengths of the mobile ion's jumps from one resting place to the next, at the "
            "highest temperature, averaged over replicas. Right: share of the jumps that the next "
            "jump undoes, at each temperature, with one standard error; dashed: a random walk on a "
            "simple cubic lattice.",
        ),
        "distinct_van_hove": (
            "Where other mobile ions are a time later",
            "Distinct part of the van Hove function of the mobile ion at short and long lags (cold "
            "to hot colours), at the highest temperature, averaged over replicas. A peak at r = 0: "
            "ions move into the place that another has left.",
        ),
        "finite_size": (
            "Size of the cell",
            "Diffusion coefficient of the mobile ion in the smallest cells, and in an infinite one "
            "by a line in the inverse edge of the cell, over that in the largest cells, with the "
            "probability that sizes do not matter.",
        ),
        "convergence": (
            "Convergence with length",
            "Values from the first part of the trajectories divided by those from their whole "
            "length, at the highest temperature, averaged over replicas with one standard error. "
            "Converged quantities lie on the line well before the end.",
        ),
    },
    "Residence": {
        "residence": (
            "Residence of the mobile ion by environment",
            "Probability that a mobile ion has not left the first shell of a central cation, by "
            "the cation's most common environments at the start, at the highest temperature (one "
            "standard error shaded).",
        ),
        "residence_times": (
            "Residence times against temperature",
            "Residence time by the central cation's most common environments, over replicas, with "
            "the Arrhenius line where three temperatures have enough departures.",
        ),
        "lifetimes": (
            "Stays, and lifetimes of environments",
            "By the central cation's most common environments, at the highest temperature, over "
            "replicas: residence time of the mobile ion (circles; the line to their left ends at "
            "the part of it that does not come from the exponential tail), mean time in contact "
            "per departure (crosses), and lifetime of the environment itself (diamonds), each with "
            "one standard error.",
        ),
        "cluster_lifetimes": (
            "Lifetimes of clusters",
            "How long a cluster of central cations and ligands stays the same ions, by its "
            "formula (the most frequent ones, and over all), at the highest temperature, averaged "
            "over replicas with one standard error. Changes that revert between two of at most "
            "1000 snapshots are not seen.",
        ),
        "residence_sensitivity": (
            "Residence time against the cutoff",
            "Residence time over all environments by cutoffs of central cation and mobile ion that "
            "are longer or shorter than the first minimum of g(r), over that by the first minimum, "
            "at the highest temperature, averaged over replicas, at 32 central cations.",
        ),
        "activation_energies": (
            "Activation energies of diffusion and of residence",
            "Activation energy of the mobile ion's diffusion against that of its residence (over "
            "all environments), one point for each composition. On the line they are equal; the "
            "band, 0.05 eV, is the margin within which the verdict calls them equal. Hollow: fits "
            "with a flag, or from flagged trajectories.",
        ),
    },
    "Structure": {
        "mobile_neighbors": (
            "Neighbours of the mobile ion",
            "g(r) around each mobile ion (left axis) and the number of neighbours within r (thin "
            "lines, right axis), by ligand, at the highest temperature. Compositions and replicas "
            "with that ion are averaged.",
        ),
        "radial_distribution": (
            "Radial distribution functions",
            "g(r) at the highest temperature, with the number of neighbours within r (thin lines, "
            "right axis): in one panel central cation M with oxygen O (with its ligands, where "
            "there is no oxygen), whose peak towers above all others, in the next the rest, with "
            "the mobile ion A and the other ligands X (numbered where there are several). Replicas "
            "are averaged.",
        ),
        "environments": (
            "Environments of the central cation",
            "Share of the central cations by the ligands in their first shell, averaged over "
            "temperatures and replicas.",
        ),
        "network": (
            "Fragments of the network",
            "Share of the central cations in fragments of polyhedra that share ligands, by the "
            "number of cations in the fragment, averaged over temperatures and replicas.",
        ),
        "structure_factors": (
            "Structure factors",
            "Total S(q) after Faber and Ziman as neutrons and X-rays see it, to be laid over "
            "measured curves, at the lowest temperature, averaged over replicas (one standard "
            "error shaded).",
        ),
        "total_pdfs": (
            "Total pair distribution functions",
            "Reduced PDF G(r) as neutrons and X-rays see it (form factors at q = 0, no "
            "termination), at the lowest temperature, averaged over replicas.",
        ),
        "bridges": (
            "Bridges of the network",
            "Left bar: central cations by their number n of bridging ligands (Qn). Other bars: "
            "halide and oxygen by the number of central cations that they are bonded to (0 free, 1 "
            "terminal, 2 bridging, 3 triple). The percentage above is the share of the snapshots "
            "in which a fragment percolates through the cell. Averaged over temperatures and "
            "replicas.",
        ),
        "angles": (
            "Angles between bonds",
            "Probability density of the angles between two bonds of a central cation M and of a "
            "bridging ligand, by halide X and oxygen, at the highest temperature, averaged over "
            "replicas. Grey: the angle of an ideal tetrahedron.",
        ),
    },
    "Glasses": {
        "glass_checks": (
            "Checks of the glasses",
            "Replicas of each composition that passed each check of the glass, out of those that "
            "were made. Orange: at least one did not pass; trajectories of such a glass are "
            "flagged.",
        ),
        "glass_transition": (
            "Glass transition along the quench",
            "Potential energy against the temperature of the quench, averaged over bins of it, "
            "with two straight lines that meet at the glass transition temperature, by glass. "
            "Quenches of MD are fast, so this temperature lies above that of experiments.",
        ),
        "quench_temperature": (
            "Melt and quench: temperature",
            "Temperature of every glass from packing to anneal.",
        ),
        "quench_density": (
            "Melt and quench: density",
            "Density of every glass from packing to anneal.",
        ),
        "quench_energy": (
            "Melt and quench: energy",
            "Potential energy of every glass from packing to anneal.",
        ),
    },
    "Potential": {
        "learning": (
            "Learning curves",
            "Mean absolute errors of the potential on training and validation frames, by epoch. "
            "Epoch 0 is the start model.",
        ),
        "parity": (
            "Parity of the potential",
            "Predicted against DFT forces, before and after fine-tuning, on each split. The slope "
            "of the forces is 1 for a potential that is neither too soft nor too stiff.",
        ),
    },
}
GROUPS = tuple(_CATALOGUE)
FIGURES = {
    name: FigureKind(title, group, caption)
    for group, figures in _CATALOGUE.items()
    for name, (title, caption) in figures.items()
}
