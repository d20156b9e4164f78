"""The tables that Vitrion writes: their columns, units and meaning.

Names only, without pandas: what plans or names tables stays light. Writing and reading them is in
`vitrion.tables.io`.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Column:
    """A column's type (pandas name), unit (empty where it has none) and meaning."""

    dtype: str
    unit: str
    meaning: str


def _text(meaning: str) -> Column:
    return Column("str", "", meaning)


def _count(meaning: str) -> Column:
    return Column("int64", "", meaning)


def _flag(meaning: str) -> Column:
    return Column("bool", "", meaning)


def _real(unit: str, meaning: str) -> Column:
    return Column("float64", unit, meaning)


# The key of a trajectory; the first columns of every table of the transport analysis.
TRAJECTORY_KEY = {
    "composition": _text("name of the composition"),
    "mobile": _text("mobile ion, or several: Li,Na"),
    "center": _text("central cation of the polyhedra, or several: Al,Ga"),
    "ligands": _text("elements of its first shell, for example Cl,O"),
    "temperature_K": Column("int64", "K", "temperature of the production run"),
    "replica": _count("independent glass"),
}
COMPOSITION_KEY = {name: TRAJECTORY_KEY[name] for name in list(TRAJECTORY_KEY)[:4]}

_FRAME = {
    "frame": _text(
        "frame of reference: network (mean of all ions but the mobile ones) or center_of_mass"
    )
}
_STANDARD_ERROR = "one standard error"
_OR_BOUND = "one standard error; a bound where `not_diffusive` names an element"
_ION = {"species": _text("mobile ion")}
_CENTER = {"center_element": _text("element of the central cation")}
_QUANTITIES = (
    "D_mobile or D_<element> (cm²/s), sigma_<method> (mS/cm), t_mobile_<method>, haven_ratio, "
    "environment:<name> (fraction), residence:<name> (ps), D_tau:<name> (Å²); of "
    "several mobile ions D_mobile:<ion>"
)
_EVALUATED = {
    "model": _text("pretrained (0.3.0 or r2scan), start, fine-tuned, ... as evaluated"),
    "split": _text("train, val or test"),
}

# Of mobile ions with a central cation, and of a central cation with its environment.
_SURVIVAL = {
    "environment": _text("environment of the centre at the start"),
    "tau_ps": _real("ps", "integral of the survival P; NaN with too few departures"),
    "tau_err_ps": _real("ps", _STANDARD_ERROR),
    "tail_start_ps": _real("ps", "where the exponential tail of that integral begins"),
    "tail_share": _real("", "share of the tail in the integral"),
    "open_share": _real("", "share of the time origins after which no departure is seen"),
    "dwell_ps": _real("ps", "time in this environment per departure from it"),
    "dwell_err_ps": _real("ps", _STANDARD_ERROR),
    "leaving_rate_1_ps": _real("1/ps", "departures from this environment per time in it"),
    "leaving_rate_err_1_ps": _real("1/ps", _STANDARD_ERROR),
    "n_events": _count("departures seen"),
    "model": _text("definition and tail of the integral"),
}

TABLES: dict[str, dict[str, Column]] = {
    "trajectories": {
        **TRAJECTORY_KEY,
        "n_atoms": _count("atoms in the cell"),
        "volume_A3": _real("Å³", "mean cell volume"),
        "density_g_cm3": _real("g/cm³", "mean density"),
        "length_ps": _real("ps", "length analysed"),
        "frame_interval_ps": _real("ps", "time between frames"),
        "discard_ps": _real("ps", "left out at the start"),
        "mean_temperature_K": _real(
            "K", "mean kinetic temperature, of our runs at half steps; NaN without velocities"
        ),
        "drift_removed": _text("whose drift was removed: center_of_mass, framework or none"),
        "flags": _text("failed checks of the glass and of the segments; set in the summary"),
        "wall_hours": _real("h", "wall time of the dynamics; NaN when unknown"),
        "steps_per_s": _real("1/s", "MD steps per second; NaN when unknown"),
    },
    "msd": {
        **TRAJECTORY_KEY,
        "species": _text("element"),
        "lag_ps": _real("ps", "lag time"),
        "msd_A2": _real("Å²", "mean squared displacement"),
        "msd_err_A2": _real("Å²", _STANDARD_ERROR),
    },
    "diffusion": {
        **TRAJECTORY_KEY,
        **_FRAME,
        "species": _text("element"),
        "D_cm2_s": _real("cm²/s", "tracer diffusion coefficient; NaN when not diffusive"),
        "D_err_cm2_s": _real("cm²/s", _STANDARD_ERROR),
        "fit_start_ps": _real("ps", "first lag of the fit"),
        "fit_stop_ps": _real("ps", "last lag of the fit"),
        "loglog_slope": _real(
            "", "d log(MSD - offset) / d log lag of the later lags; 1 is diffusive"
        ),
        "diffusive": _flag("whether the slope is the same at all lags and in both halves"),
    },
    "conductivity": {
        **TRAJECTORY_KEY,
        **_FRAME,
        "method": _text("nernst_einstein, cluster_nernst_einstein or einstein"),
        "sigma_mS_cm": _real("mS/cm", "ionic conductivity"),
        "sigma_err_mS_cm": _real("mS/cm", _OR_BOUND),
        "t_mobile": _real("", "transference number of the mobile ion (of all of them together)"),
        "t_mobile_err": _real("", _OR_BOUND),
        "not_diffusive": _text(
            "nernst_einstein: elements that do not diffuse, whose part is bounded in the error"
        ),
    },
    "transference": {
        **TRAJECTORY_KEY,
        **_FRAME,
        "method": _text("nernst_einstein, cluster_nernst_einstein or einstein"),
        "species": _text("element"),
        "t": _real("", "transference number of the element; they sum to 1"),
        "t_err": _real("", _STANDARD_ERROR),
    },
    "onsager": {
        **TRAJECTORY_KEY,
        **_FRAME,
        "species_i": _text("element"),
        "species_j": _text("element"),
        "L": _real("S/cm", "Onsager coefficient; all of them sum to the Einstein conductivity"),
        "L_err": _real("S/cm", _STANDARD_ERROR),
        "L_self": _real("S/cm", "single-ion part (zero between species)"),
        "L_self_err": _real("S/cm", _STANDARD_ERROR),
        "L_distinct": _real("S/cm", "L - L_self"),
        "L_distinct_err": _real("S/cm", _STANDARD_ERROR),
    },
    "diffusion_curve": {
        **TRAJECTORY_KEY,
        **_FRAME,
        "species": _text("element"),
        "lag_ps": _real("ps", "lag time"),
        "D_cm2_s": _real("cm²/s", "slope of the MSD between lag/√2 and lag·√2, over six"),
        "D_err_cm2_s": _real("cm²/s", _STANDARD_ERROR),
    },
    "conductivity_curve": {
        **TRAJECTORY_KEY,
        **_FRAME,
        "method": _text("nernst_einstein or einstein"),
        "lag_ps": _real("ps", "lag time"),
        "sigma_mS_cm": _real("mS/cm", "conductivity by the slopes between lag/√2 and lag·√2"),
        "sigma_err_mS_cm": _real("mS/cm", _STANDARD_ERROR),
        "t_mobile": _real("", "transference number of the mobile ion by these slopes"),
        "t_mobile_err": _real("", _STANDARD_ERROR),
    },
    "haven": {
        **TRAJECTORY_KEY,
        **_FRAME,
        **_ION,
        "haven_ratio": _real("", "Haven ratio of the mobile ion, L_self / L"),
        "haven_ratio_err": _real("", _STANDARD_ERROR),
    },
    "clusters": {
        **TRAJECTORY_KEY,
        "cluster": _text("formula of the cluster"),
        "n_cations": _count("cations in the cluster"),
        "n_anions": _count("anions in the cluster"),
        "charge": _count("formal charge in e"),
        "mean_count": _real("", "mean number in the cell"),
        "D_cm2_s": _real("cm²/s", "diffusion coefficient of the cluster's centre"),
    },
    "cluster_sensitivity": {
        **TRAJECTORY_KEY,
        "bonds": _text("pairs of elements that bond within their first shell; default first"),
        "cutoff_shift_A": _real("Å", "added to every cutoff of those pairs"),
        "n_clusters": _real("", "mean number of clusters in the cell"),
        "largest_share": _real("", "mean share of the atoms in the largest cluster"),
        "sigma_mS_cm": _real("mS/cm", "cluster Nernst-Einstein conductivity"),
        "sigma_err_mS_cm": _real("mS/cm", _STANDARD_ERROR),
        "t_mobile": _real("", "transference number of the mobile ion (of all of them together)"),
        "t_mobile_err": _real("", _STANDARD_ERROR),
    },
    "rdf": {
        **TRAJECTORY_KEY,
        "species": _text("element at the origin"),
        "neighbor": _text("element counted"),
        "r_A": _real("Å", "distance (middle of the bin)"),
        "g": _real("", "radial distribution function"),
        "coordination": _real("", "neighbours within r (running coordination number)"),
    },
    "structure_factor": {
        **TRAJECTORY_KEY,
        "of": _text(
            "pair of elements (Al-Cl: partial), neutron or x-ray (total), or neutron, mixture "
            "(with crystals beside the glass)"
        ),
        "q_1_A": _real("1/Å", "length of the scattering vector"),
        "S": _real("", "structure factor after Faber and Ziman, 1 without order"),
        "S_err": _real("", _STANDARD_ERROR + "; NaN of mixtures and of one reciprocal vector"),
    },
    "total_pdf": {
        **TRAJECTORY_KEY,
        "radiation": _text("neutron or x-ray; neutron, mixture: with crystals beside the glass"),
        "r_A": _real("Å", "distance (middle of the bin)"),
        "g": _real("", "g(r) of all pairs, weighted by their scattering; NaN of mixtures"),
        "G_1_A2": _real("1/Å²", "reduced PDF G(r) = 4 pi r rho (g - 1)"),
    },
    "coordination": {
        **TRAJECTORY_KEY,
        **_CENTER,
        "environment": _text("ligands in the centre's first shell, for example Cl3O1"),
        "fraction": _real("", "mean fraction of the centres of this element"),
        "fraction_err": _real("", _STANDARD_ERROR),
    },
    "network": {
        **TRAJECTORY_KEY,
        "fragment_size": _count("central cations in a fragment of polyhedra that share ligands"),
        "fraction": _real("", "mean fraction of the central cations in fragments of this size"),
    },
    "qn": {
        **TRAJECTORY_KEY,
        "n_bridges": _count("bridging ligands of a central cation (n of Qn)"),
        "fraction": _real("", "mean fraction of the central cations"),
        "fraction_err": _real("", _STANDARD_ERROR),
    },
    "ligand_bonding": {
        **TRAJECTORY_KEY,
        "ligand": _text("element"),
        "n_centers": _count(
            "central cations bonded to it: 0 free, 1 terminal, 2 bridging, 3 triple"
        ),
        "fraction": _real("", "mean fraction of the ligands of this element"),
        "fraction_err": _real("", _STANDARD_ERROR),
    },
    "percolation": {
        **TRAJECTORY_KEY,
        "directions": _count("cell vectors along which some fragment has no end"),
        "fraction": _real("", "share of the snapshots"),
    },
    "angles": {
        **TRAJECTORY_KEY,
        "atoms": _text("elements of the angle, for example Cl-Al-O; the apex is in the middle"),
        "angle_deg": _real("degree", "angle between two bonds (middle of the bin)"),
        "density": _real("1/degree", "probability density"),
    },
    "residence": {
        **TRAJECTORY_KEY,
        **_ION,
        **_CENTER,
        **_SURVIVAL,
        "tau_intermittent_ps": _real(
            "ps", "relaxation time of the intermittent correlation; NaN without a plateau"
        ),
        "tau_intermittent_err_ps": _real("ps", _STANDARD_ERROR),
    },
    "residence_sensitivity": {
        **TRAJECTORY_KEY,
        **_ION,
        **_CENTER,
        "cutoff_shift_A": _real("Å", "added to the cutoff of central cation and mobile ion"),
        "tau_ps": _real("ps", "residence time over all environments, at the first 32 cations"),
        "tau_err_ps": _real("ps", _STANDARD_ERROR),
        "dwell_ps": _real("ps", "time in contact per departure"),
        "dwell_err_ps": _real("ps", _STANDARD_ERROR),
        "n_events": _count("departures seen"),
    },
    "environment_lifetimes": {**TRAJECTORY_KEY, **_CENTER, **_SURVIVAL},
    "residence_curve": {
        **TRAJECTORY_KEY,
        **_ION,
        **_CENTER,
        "environment": _text("environment of the centre at the start"),
        "lag_ps": _real("ps", "time since the start"),
        "P": _real("", "probability to be still in contact (continuous)"),
        "P_err": _real("", _STANDARD_ERROR),
        "C": _real("", "probability to be in contact again or still (intermittent)"),
        "C_err": _real("", _STANDARD_ERROR),
    },
    "cutoffs": {
        **TRAJECTORY_KEY,
        "species": _text("element at the origin"),
        "neighbor": _text("element"),
        "cutoff_A": _real("Å", "end of the first shell; NaN when g(r) has no minimum"),
        "origin": _text("g(r) or given"),
    },
    "non_gaussian": {
        **TRAJECTORY_KEY,
        "species": _text("element"),
        "lag_ps": _real("ps", "lag time"),
        "alpha2": _real("", "non-Gaussian parameter of the displacements"),
    },
    "van_hove": {
        **TRAJECTORY_KEY,
        "species": _text("element"),
        "lag_ps": _real("ps", "lag time"),
        "r_A": _real("Å", "distance travelled (middle of the bin)"),
        "density": _real("1/Å", "its probability density, 4 pi r² times the self part"),
    },
    "van_hove_distinct": {
        **TRAJECTORY_KEY,
        "species": _text("element"),
        "lag_ps": _real("ps", "lag time"),
        "r_A": _real("Å", "distance from one ion to another a lag later (middle of the bin)"),
        "g": _real("", "distinct part of the van Hove function over the density"),
    },
    "jumps": {
        **TRAJECTORY_KEY,
        "species": _text("element"),
        "n_jumps": _count("jumps from one resting place to the next"),
        "window_ps": _real("ps", "time that positions are averaged over"),
        "rate_1_ps": _real("1/ps", "jumps of an ion per time"),
        "rate_err_1_ps": _real("1/ps", _STANDARD_ERROR),
        "length_A": _real("Å", "root mean square length of a jump; NaN without jumps"),
        "back_fraction": _real("", "share of the jumps that the next jump undoes"),
        "back_fraction_err": _real("", _STANDARD_ERROR),
        "cosine": _real("", "mean cosine of the angle between a jump and the next one"),
        "cosine_err": _real("", _STANDARD_ERROR),
        "D_jump_cm2_s": _real("cm²/s", "rate times squared length over 6: D of independent jumps"),
    },
    "jump_lengths": {
        **TRAJECTORY_KEY,
        "species": _text("element"),
        "length_A": _real("Å", "length of a jump (middle of the bin)"),
        "density": _real("1/Å", "its probability density"),
    },
    "cluster_lifetimes": {
        **TRAJECTORY_KEY,
        "cluster": _text("formula of the cluster at the start; other: less frequent than 20 kinds"),
        **{name: column for name, column in _SURVIVAL.items() if name != "environment"},
    },
    "correlation": {
        **TRAJECTORY_KEY,
        "species_i": _text("element"),
        "species_j": _text("element"),
        "lag_ps": _real("ps", "lag time"),
        "total_A2": _real("Å²", "scalar product of the summed displacements of two elements"),
        "self_A2": _real("Å²", "part of each ion with itself (zero between elements)"),
        "distinct_A2": _real("Å²", "total minus self: correlated motion of different ions"),
        "total_err_A2": _real("Å²", _STANDARD_ERROR + " of the total"),
    },
    "convergence": {
        **TRAJECTORY_KEY,
        "quantity": _text(_QUANTITIES),
        "length_ps": _real("ps", "length of the first part of the trajectory"),
        "value": _real("as the quantity", "value from that part alone"),
        "err": _real("as the value", _STANDARD_ERROR),
    },
    "pooled": {
        **COMPOSITION_KEY,
        "temperature_K": TRAJECTORY_KEY["temperature_K"],
        "quantity": _text(_QUANTITIES),
        "value": _real("as the quantity", "mean over replicas; of ratios, ratio of means"),
        "err": _real("as the quantity", _STANDARD_ERROR),
        "n_replicas": _count("replicas that have a value"),
        "n_missing": _count("replicas without one: not diffusive, or too few events"),
        "comparable_err": _real(
            "as the quantity",
            "one standard error with the variance between glasses of all compositions",
        ),
        "freedom": _count("degrees of freedom of that variance"),
    },
    "arrhenius": {
        **COMPOSITION_KEY,
        "quantity": _text("D_mobile, sigma_einstein, residence:Cl4, D_tau:Cl4, ..."),
        "Ea_eV": _real("eV", "activation energy; NaN below three temperatures"),
        "Ea_err_eV": _real("eV", _STANDARD_ERROR),
        "ln_prefactor": _real("", "intercept of the fit at 1/T = 0"),
        "value_300K": _real("as the quantity", "extrapolation to 300 K; NaN where curved"),
        "value_300K_low": _real("as the quantity", "lower end of its one-sigma interval"),
        "value_300K_high": _real("as the quantity", "upper end of its one-sigma interval"),
        "n_points": _count("temperatures used"),
        "n_glasses": _count("glasses with a line"),
        "freedom": _count("degrees of freedom of the errors, over all compositions"),
        "flags": _text("why the fit may be wrong; empty where there is no reason"),
    },
    "differences": {
        "compared": _text("D, sigma_300K, Ea, t_mobile or haven_ratio, of the mobile ion"),
        "at": _text("temperature of the comparison; all for Ea"),
        "factor": _text("mobile, center or ligands; any for all compositions alike"),
        "n_compositions": _count("compositions with a value and an error"),
        "spread": _real(
            "ln of the quantity; Ea in eV; t and H_R as they are", "largest minus smallest level"
        ),
        "statistic": _real("", "F of leaving the factor out, or of all compositions alike"),
        "p": _real("", "probability of such a statistic without a difference"),
        "p_holm": _real("", "corrected for the number of tests by Holm's method"),
        "significant": _flag("whether the corrected probability is below 0.05"),
        "reason": _text("why there is no test; empty when there is one"),
    },
    "glass_transition": {
        **COMPOSITION_KEY,
        "glass": _count("independent glass"),
        "quantity": _text("energy (potential, eV/atom) or density (g/cm³)"),
        "Tg_K": _real("K", "where two straight lines cross; NaN where one is as good"),
        "Tg_err_K": _real("K", _STANDARD_ERROR),
        "slope_below": _real("as the quantity, per K", "of the line below"),
        "slope_above": _real("as the quantity, per K", "of the line above"),
        "p": _real("", "probability of so much better a fit than one line by chance"),
    },
    "finite_size": {
        **COMPOSITION_KEY,
        "temperature_K": TRAJECTORY_KEY["temperature_K"],
        "quantity": _text("D_mobile (cm²/s), sigma_einstein (mS/cm) or haven_ratio"),
        "sizes": _text("atoms in the cells, for example 84,336,1302"),
        "n_glasses": _count("glasses of all sizes that have a value"),
        "value_smallest": _real("as the quantity", "mean over the glasses of the smallest size"),
        "value_largest": _real("as the quantity", "mean over the glasses of the largest size"),
        "value_infinite": _real("as the quantity", "line in 1/L at 1/L = 0"),
        "value_infinite_err": _real("as the quantity", _STANDARD_ERROR),
        "p": _real("", "probability of such a slope where sizes do not matter"),
        "matrix_flows": _flag("whether the central cation diffuses (Yeh-Hummer then applies)"),
        "viscosity_mPa_s": _real("mPa s", "from the slope of D after Yeh and Hummer; else NaN"),
    },
    "verdict": {
        "claim": _text("short name of the paper's claim"),
        "statement": _text("the claim in words"),
        "outcome": _text("confirmed, refuted or not decided"),
        "quantity": _text("number that it is compared with"),
        "value": _real("as unit says", "the campaign's estimate"),
        "err": _real("as unit says", _STANDARD_ERROR),
        "interval_low": _real("as unit says", "lower end of its 95 % interval"),
        "interval_high": _real("as unit says", "upper end of its 95 % interval"),
        "limit_low": _real("as unit says", "the claim holds above it; NaN when there is none"),
        "limit_high": _real("as unit says", "the claim holds below it; NaN when there is none"),
        "unit": _text("unit of the quantity"),
        "statistic": _text("how the estimate is made and tested"),
        "n_glasses": _count("independent glasses (compositions, for spreads) that it comes from"),
        "more_glasses": _real(
            "",
            "glasses of the same compositions and length that a claim not decided needs beside "
            "them, if the estimate stays what it is; infinite where none would do, NaN where "
            "that is not known",
        ),
        "more_ns": _real("ns", "simulated time of these glasses at all temperatures"),
        "reason": _text("why not decided, and what was left out"),
    },
    "dataset": {
        "frame_id": _text("name of the frame"),
        "composition": _text("name of the composition; empty when it is none of the campaign's"),
        "source": _text("file the frame came from"),
        "engine": _text("code that labelled it"),
        "split": _text("train, val, test or none (left out)"),
        "n_atoms": _count("atoms"),
        "density_g_cm3": _real("g/cm³", "density"),
        "energy_eV_atom": _real("eV/atom", "label, with the dispersion that was added"),
        "aligned_energy_eV_atom": _real("eV/atom", "label after alignment"),
        "max_force_eV_A": _real("eV/Å", "largest force on an atom"),
        "pressure_GPa": _real("GPa", "minus the mean of the diagonal stress"),
        "flags": _text("why the frame was left out; empty when it was not"),
    },
    "model_metrics": {
        **_EVALUATED,
        "composition": _text("name of the composition, or all"),
        "energy_mae_meV_atom": _real("meV/atom", "mean absolute error of the energy"),
        "energy_rmse_meV_atom": _real("meV/atom", "root mean squared error of the energy"),
        "force_mae_meV_A": _real("meV/Å", "mean absolute error of force components"),
        "force_rmse_meV_A": _real("meV/Å", "root mean squared error of force components"),
        "force_mae_ratio": _real("", "force_mae over that of the table's first model"),
        "force_mae_ratio_err": _real("", _STANDARD_ERROR),
        "stress_mae_GPa": _real("GPa", "mean absolute error of stress components"),
        "stress_rmse_GPa": _real("GPa", "root mean squared error of stress components"),
        "force_parity_slope": _real("", "slope of predicted on true force; below 1 is too soft"),
        "force_parity_slope_err": _real("", _STANDARD_ERROR),
        "n_frames": _count("frames"),
        "trained_on": _flag(
            "the model, or one that it started from, was trained on frames of this composition, "
            "by its card; in rows of all, of one of them"
        ),
    },
    "element_metrics": {
        **_EVALUATED,
        "element": _text("element the force acts on"),
        "force_mae_meV_A": _real("meV/Å", "mean absolute error of force components"),
        "force_rmse_meV_A": _real("meV/Å", "root mean squared error of force components"),
        "force_parity_slope": _real("", "slope of predicted on true force; below 1 is too soft"),
        "n_atoms": _count("atoms"),
    },
    "frame_errors": {
        **_EVALUATED,
        "composition": _text("name of the composition"),
        "frame_id": _text("name of the frame; the worst force errors come first"),
        "energy_error_meV_atom": _real("meV/atom", "predicted minus true energy"),
        "force_mae_meV_A": _real("meV/Å", "mean absolute error of force components"),
        "force_max_error_meV_A": _real("meV/Å", "largest error of a force component"),
        "stress_mae_GPa": _real("GPa", "mean absolute error of stress components"),
    },
    "parity": {
        **_EVALUATED,
        "composition": _text("name of the composition"),
        "frame_id": _text("name of the frame"),
        "quantity": _text("energy (eV/atom), force (eV/Å) or stress (GPa); one row a component"),
        "element": _text("element the force acts on; empty for energy and stress"),
        "reference": _real("as the quantity", "label; energies on the model's own zero"),
        "predicted": _real("as the quantity", "prediction"),
    },
    "validation": {
        "check": _text("what was checked; the name that finetune.validation.override takes"),
        "value": _real("", "what was found"),
        "value_err": _real("", f"{_STANDARD_ERROR}; NaN where there is none"),
        "limit_low": _real("", "least allowed; NaN when there is none"),
        "limit_high": _real("", "most allowed; NaN when there is none"),
        "unit": _text("unit of value and limits"),
        "passed": _flag("whether the value lies within the limits"),
        "overridden": _flag("whether the configuration lets it fail"),
    },
    "stability": {
        "composition": _text("name of the composition"),
        "n_atoms": _count("atoms"),
        "length_ps": _real("ps", "length of the NVE run; shorter than asked for after a blow-up"),
        "temperature_K": _real("K", "mean kinetic temperature, 3N-3 degrees of freedom"),
        "least_distance_A": _real("Å", "nearest two atoms came"),
        "nearest_pair": _text("elements of those two"),
        "energy_drift_meV_atom_ps": _real("meV/atom/ps", "drift of the total energy"),
        "energy_drift_meV_atom_ps_err": _real("meV/atom/ps", "its standard error"),
    },
    "learning": {
        "epoch": _count("epochs done; 0 is the start model"),
        "learning_rate": _real("", "learning rate at the end of the epoch"),
        "train_energy_mae_meV_atom": _real("meV/atom", "training energy error, replay included"),
        "train_force_mae_meV_A": _real("meV/Å", "training force error, replay included"),
        "train_stress_mae_GPa": _real("GPa", "training stress error, replay included"),
        "val_energy_mae_meV_atom": _real("meV/atom", "validation energy error"),
        "val_force_mae_meV_A": _real("meV/Å", "validation force error"),
        "val_stress_mae_GPa": _real("GPa", "validation stress error"),
        "wall_s": _real("s", "wall time of the epoch"),
    },
    "thermo": {
        "stage": _text("melt, quench, anneal, equilibrate, produce, ..."),
        "time_ps": _real("ps", "time since the start of the run"),
        "target_temperature_K": _real("K", "temperature asked for"),
        "temperature_K": _real("K", "kinetic temperature at half steps, 3N-3 degrees of freedom"),
        "potential_energy_eV_atom": _real("eV/atom", "potential energy"),
        "conserved_energy_eV_atom": _real("eV/atom", "conserved quantity of the integrator"),
        "pressure_GPa": _real("GPa", "pressure; NaN when not computed"),
        "density_g_cm3": _real("g/cm³", "density"),
    },
    "retention": {
        "segment": _count("number of the segment"),
        "frames": _count("frames that the segment was made with"),
        "frames_kept": _count("frames that are left"),
        "bytes": _count("size of the file of its frames before"),
        "bytes_kept": _count("size of the file of the frames that are left"),
    },
    "glass_measurements": {
        "quantity": _text("what was measured"),
        "value": _real("as unit says", "NaN when the run ended before it could be measured"),
        "value_err": _real("as unit says", f"{_STANDARD_ERROR}; 0 where there is none"),
        "unit": _text("unit of the value; empty for ratios and shares"),
    },
    "glass_checks": {
        "check": _text("what was checked"),
        "value": _real("", "what was found"),
        "limit_low": _real("", "least allowed; NaN when there is none"),
        "limit_high": _real("", "most allowed; NaN when there is none"),
        "unit": _text("unit of value and limits"),
        "passed": _flag("whether the value lies within the limits"),
    },
}

# Written for each trajectory, and over the whole campaign.
TRANSPORT_TABLES = tuple(name for name, columns in TABLES.items() if "replica" in columns)
SUMMARY_TABLES = (
    *TRANSPORT_TABLES,
    "pooled",
    "arrhenius",
    "differences",
    "finite_size",
    "glass_transition",
    "verdict",
)
