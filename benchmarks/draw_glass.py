"""Picture of a glass: central cations with their ligands as tetrahedra's bonds, fragments whole.

python benchmarks/draw_glass.py benchmarks/lialcl/glass.extxyz benchmarks/lialcl/glass.png
"""

import sys

import ase.io
import matplotlib.pyplot as plt
import numpy as np
from ase.data import atomic_numbers, covalent_radii
from ase.data.colors import jmol_colors
from matplotlib.collections import LineCollection

from vitrion.report.glasses import glass_model

glass = ase.io.read(sys.argv[1])
model = glass_model(glass, ["Al"], ["O"], {("Al", "Cl"): 2.9, ("Al", "O"): 2.4})
xyz_A = np.reshape(model["xyz"], (-1, 3))
elements = np.array(model["elements"])

# Turned so that no two atoms of the picture hide each other by symmetry of the view.
a, b = np.radians(20.0), np.radians(15.0)
turned_A = (
    xyz_A
    @ np.array([[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]]).T
    @ np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]]).T
)
depth = turned_A[:, 2]
order = np.argsort(depth)
rank = {atom: 3 * place for place, atom in enumerate(order)}

figure, axes = plt.subplots(figsize=(4.2, 3.9))
for i, j in model["bonds"]:
    axes.add_collection(
        LineCollection(
            [turned_A[[i, j], :2]], colors="0.45", linewidths=2.5, zorder=min(rank[i], rank[j]) + 1
        )
    )
fade = (depth - depth.min()) / np.ptp(depth)
for atom in order:
    number = atomic_numbers[elements[atom]]
    color = 0.35 * (1 - fade[atom]) + (1 - 0.35 * (1 - fade[atom])) * jmol_colors[number]
    axes.add_patch(
        plt.Circle(
            turned_A[atom, :2],
            0.5 * covalent_radii[number],
            facecolor=color,
            edgecolor="0.25",
            linewidth=0.6,
            zorder=rank[atom] + 2,
        )
    )
for element in ("Li", "Al", "Cl", "O"):
    axes.scatter(
        [], [], s=60, color=jmol_colors[atomic_numbers[element]], edgecolor="0.25", label=element
    )
axes.autoscale_view()
axes.set_aspect("equal")
axes.axis("off")
axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
figure.savefig(sys.argv[2], dpi=120, bbox_inches="tight")
