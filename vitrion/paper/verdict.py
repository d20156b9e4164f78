"""The paper's claims, each compared with a campaign's numbers.

The claims are those of Binci, Jun, Deng and Ceder (arXiv 2601.06384). Each one is an estimate with
its standard error, and limits that were chosen before any campaign had run.

- *confirmed*: the 95 % interval of the estimate lies inside the limits;
- *refuted*: it lies outside of them;
- *not decided*: it crosses a limit, or there are fewer than three glasses.

A claim of equality (Ea of residence equals Ea of diffusion, Haven ratio near 1) therefore needs an
interval that fits within a stated margin (equivalence test: Schuirmann, J. Pharmacokinet. Biopharm.
15, 657, 1987), and large errors never confirm it. An estimate over compositions is their mean with
equal weights. Its error is the larger of that of the compositions' errors and that of the spread
between them (`vitrion.statistics.arrhenius.pool_replicas`). Its interval is Student's t; the
degrees of freedom are the number of glasses minus one. Flagged trajectories and flagged Arrhenius
fits do not count.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats

from vitrion.paper.family import halide, in_family
from vitrion.statistics.arrhenius import pool_replicas
from vitrion.statistics.differences import (
    FACTORS,
    LEAST_COMPOSITIONS,
    by_composition,
    spread_between,
)
from vitrion.tables import COMPOSITION_KEY, TABLES
from vitrion.tables.io import headline

CONFIRMED, REFUTED, NOT_DECIDED = "confirmed", "refuted", "not decided"
CONFIDENCE = 0.95
LEAST_GLASSES = 3
KEY = list(COMPOSITION_KEY)


@dataclass(frozen=True)
class Estimate:
    """A number that a claim is compared with.

    Attributes:
        value, err: estimate and its standard error; NaN when there is none.
        low, high: its 95 % interval.
        n_glasses: number of independent glasses that it comes from.
        note: further information, such as why there is no number.
    """

    value: float
    err: float
    low: float
    high: float
    n_glasses: int
    note: str = ""


@dataclass(frozen=True)
class Claim:
    """A claim of the paper and how it is tested.

    Attributes:
        name: key of the claim.
        statement: the claim in words.
        quantity: the number that is estimated.
        unit: its unit.
        low, high: the limits between which the claim holds.
        statistic: how the estimate is made and tested.
        estimate: makes it from a campaign's tables.
    """

    name: str
    statement: str
    quantity: str
    unit: str
    low: float
    high: float
    statistic: str
    estimate: Callable[[Mapping[str, pd.DataFrame]], Estimate]

    def row(self, tables: Mapping[str, pd.DataFrame]) -> dict[str, object]:
        """The claim's row of the `verdict` table."""
        found = self.estimate(tables)
        outcome, reason = decide(found, self.low, self.high)
        return {
            "claim": self.name,
            "statement": self.statement,
            "outcome": outcome,
            "quantity": self.quantity,
            "value": found.value,
            "err": found.err,
            "interval_low": found.low,
            "interval_high": found.high,
            "limit_low": self.low if np.isfinite(self.low) else float("nan"),
            "limit_high": self.high if np.isfinite(self.high) else float("nan"),
            "unit": self.unit,
            "statistic": self.statistic,
            "n_glasses": found.n_glasses,
            "reason": reason,
        }


def verdict_table(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """The `verdict` table: one row for each claim of the paper.

    Args:
        tables: `pooled`, `arrhenius`, `coordination`, `network` and `onsager` of a campaign,
            from `vitrion.statistics.summary.without_flagged`. Only glasses of the paper's family
            count.
    """
    tables = {name: table[in_family(table)] for name, table in tables.items() if "ligands" in table}
    return pd.DataFrame([claim.row(tables) for claim in CLAIMS])[list(TABLES["verdict"])]


def decide(found: Estimate, low: float, high: float) -> tuple[str, str]:
    """Outcome of a claim and its reason.

    Args:
        found: the estimate.
        low, high: the limits between which the claim holds.
    """
    if not np.isfinite(found.value) or found.n_glasses < LEAST_GLASSES:
        glasses = "glass gives" if found.n_glasses == 1 else "glasses give"
        few = f"{found.n_glasses} {glasses} a value; {LEAST_GLASSES} are needed"
        return NOT_DECIDED, "; ".join(filter(None, (few, found.note)))
    if low < found.low and found.high < high:
        return CONFIRMED, found.note
    if found.high < low or found.low > high:
        return REFUTED, found.note
    return NOT_DECIDED, "; ".join(filter(None, ("the interval crosses a limit", found.note)))


def _estimate(
    values: npt.ArrayLike, errors: npt.ArrayLike, n_glasses: int, note: str = ""
) -> Estimate:
    """Mean over compositions and its Student's t interval."""
    pooled = pool_replicas(values, errors)
    if not pooled.n:
        return _no_estimate(0, note)
    width = float("nan")
    if n_glasses > 1:
        width = float(stats.t.ppf(0.5 + CONFIDENCE / 2, n_glasses - 1)) * pooled.err
    many = f"{pooled.n} composition{'s' if pooled.n > 1 else ''}"
    return Estimate(
        pooled.value,
        pooled.err,
        pooled.value - width,
        pooled.value + width,
        n_glasses,
        "; ".join(filter(None, (many, note))),
    )


def _no_estimate(n_glasses: int, note: str) -> Estimate:
    nan = float("nan")
    return Estimate(value=nan, err=nan, low=nan, high=nan, n_glasses=n_glasses, note=note)


def _ratio(found: Estimate) -> Estimate:
    """The estimate of a ratio, from that of its logarithm."""
    value = float(np.exp(found.value))
    return Estimate(
        value,
        value * found.err,
        float(np.exp(found.low)),
        float(np.exp(found.high)),
        found.n_glasses,
        found.note,
    )


def _over_temperatures(rows: pd.DataFrame) -> Estimate:
    """Mean of x over temperatures and compositions.

    Temperatures of a composition share its glasses, so more temperatures add no independent glass.
    Their errors, of independent trajectories, are averaged.

    Args:
        rows: with x, x_err and n_replicas, indexed by composition key and temperature.
    """
    usable = rows[np.isfinite(rows["x"]) & np.isfinite(rows["x_err"])].reset_index()
    groups = usable.groupby(KEY)
    mean = groups["x"].mean()
    err = groups["x_err"].agg(lambda e: np.sqrt(np.sum(np.square(e))) / len(e))
    return _estimate(mean, err, int(groups["n_replicas"].max().sum()))


def _pooled(tables: Mapping[str, pd.DataFrame], quantity: str) -> pd.DataFrame:
    pooled = tables["pooled"]
    return pooled[pooled["quantity"] == quantity].set_index([*KEY, "temperature_K"])


def _of_glasses(rows: pd.DataFrame) -> Estimate:
    """Mean of x over compositions, with errors from the spread between glasses alone."""
    glasses = rows.groupby([*KEY, "replica"])["x"].mean().reset_index()
    by_composition = glasses.groupby(KEY)["x"]
    errors = (by_composition.std(ddof=1) / np.sqrt(by_composition.size())).fillna(0.0)
    return _estimate(by_composition.mean(), errors, len(glasses))


def _fourfold(tables: Mapping[str, pd.DataFrame]) -> Estimate:
    rows = tables["coordination"]
    fourfold = rows["environment"].map(lambda name: _ligands(name) == 4).astype(bool)
    rows = rows.assign(x=rows["fraction"].where(fourfold, 0.0))
    run = rows.groupby([*KEY, "temperature_K", "replica"])["x"].sum().reset_index()
    return _of_glasses(run)


def _ligands(environment: str) -> int:
    return sum(int(count) for count in re.findall(r"[A-Z][a-z]?(\d+)", environment))


def _fragments(tables: Mapping[str, pd.DataFrame]) -> Estimate:
    rows = tables["network"]
    rows = rows.assign(x=rows["fragment_size"] * rows["fraction"])
    return _of_glasses(rows.groupby([*KEY, "temperature_K", "replica"])["x"].sum().reset_index())


def _residence_ratio(oxygens: int) -> Callable[[Mapping[str, pd.DataFrame]], Estimate]:
    """Residence time at a tetrahedron with one oxygen more, over that with `oxygens`."""

    def estimate(tables: Mapping[str, pd.DataFrame]) -> Estimate:
        pooled = tables["pooled"]
        times = pooled[pooled["quantity"].str.startswith("residence:")].copy()
        times["environment"] = times["quantity"].str.removeprefix("residence:")

        def with_oxygens(n: int) -> pd.DataFrame:
            names = times["ligands"].map(halide) + str(4 - n) + (f"O{n}" if n else "")
            chosen = times[(times["environment"] == names) & (times["value"] > 0)]
            chosen = chosen.set_index([*KEY, "temperature_K"])
            logarithms = {"x": np.log(chosen["value"]), "x_err": chosen["err"] / chosen["value"]}
            return chosen[["n_replicas"]].assign(**logarithms)

        rows = with_oxygens(oxygens + 1)
        fewer = with_oxygens(oxygens).reindex(rows.index)
        rows["x"] -= fewer["x"]
        rows["x_err"] = np.hypot(rows["x_err"], fewer["x_err"])
        return _ratio(_over_temperatures(rows))

    return estimate


def _activation_energy(quantity: str) -> Callable[[Mapping[str, pd.DataFrame]], Estimate]:
    """Mean activation energy of a quantity, from fits without a flag."""

    def estimate(tables: Mapping[str, pd.DataFrame]) -> Estimate:
        fits = tables["arrhenius"]
        fits = fits[(fits["quantity"] == quantity) & fits["Ea_eV"].notna()]
        sound = fits[fits["flags"] == ""]
        counts = tables["pooled"].groupby(KEY)["n_replicas"].max()
        n_glasses = int(counts.reindex(pd.MultiIndex.from_frame(sound[KEY])).sum())
        left_out = len(fits) - len(sound)
        note = f"{left_out} fits with a flag are left out" if left_out else ""
        if not len(fits):
            note = "no composition has three diffusive temperatures"
        return _estimate(sound["Ea_eV"], sound["Ea_err_eV"], n_glasses, note)

    return estimate


def _haven(tables: Mapping[str, pd.DataFrame]) -> Estimate:
    rows = _pooled(tables, "haven_ratio")
    return _over_temperatures(rows.assign(x=rows["value"], x_err=rows["err"]))


def _transference(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """t by the three methods (e, ne, cne), one row for each composition and temperature."""
    found = _pooled(tables, "t_mobile_einstein")[["value", "err", "n_replicas"]]
    found = found.rename(columns={"value": "e", "err": "e_err"})
    for short, method in {"ne": "nernst_einstein", "cne": "cluster_nernst_einstein"}.items():
        rows = _pooled(tables, f"t_mobile_{method}")[["value", "err"]]
        rows = rows.rename(columns={"value": short, "err": f"{short}_err"})
        found = found.join(rows, how="inner")
    return found


def _nernst_einstein_misses(tables: Mapping[str, pd.DataFrame]) -> Estimate:
    t = _transference(tables)
    rows = t.assign(x=t["e"] - t["ne"], x_err=np.hypot(t["e_err"], t["ne_err"]))
    return _over_temperatures(rows)


def _clusters_come_closer(tables: Mapping[str, pd.DataFrame]) -> Estimate:
    t = _transference(tables)
    near, far = np.sign(t["cne"] - t["e"]), np.sign(t["ne"] - t["e"])
    x = (t["ne"] - t["e"]).abs() - (t["cne"] - t["e"]).abs()
    # The Einstein value cancels where both lie on the same side of it.
    err = np.sqrt(t["ne_err"] ** 2 + t["cne_err"] ** 2 + ((near - far) * t["e_err"]) ** 2)
    return _over_temperatures(t.assign(x=x, x_err=err))


def _cross_terms(tables: Mapping[str, pd.DataFrame]) -> Estimate:
    """t from all Onsager coefficients minus t from those within one species."""
    onsager, run = headline(tables["onsager"]), [*KEY, "temperature_K", "replica"]
    own = onsager[onsager["species_i"] == onsager["species_j"]]
    mobile = own[own["species_i"] == own["mobile"]].set_index(run)[["L", "L_err"]]
    rest = own[own["species_i"] != own["mobile"]].groupby(run)
    rest = rest.agg(rest=("L", "sum"), rest_err=("L_err", lambda e: np.sqrt(np.sum(e**2))))
    both = mobile.join(rest, how="inner")
    total2 = (both["L"] + both["rest"]) ** 2
    both["without"] = both["L"] / (both["L"] + both["rest"])
    both["without_err"] = np.hypot(both["rest"] * both["L_err"], both["L"] * both["rest_err"])
    both["without_err"] /= total2
    glasses = both.dropna().groupby([*KEY, "temperature_K"])
    without = glasses["without"].mean().to_frame()
    within = glasses["without_err"].agg(lambda e: np.sqrt(np.sum(e**2)) / len(e))
    between = (glasses["without"].std(ddof=1) / np.sqrt(glasses.size())).fillna(0.0)
    without["without_err"] = np.maximum(within, between)
    rows = _pooled(tables, "t_mobile_einstein").join(without, how="inner")
    rows["x"] = rows["value"] - rows["without"]
    rows["x_err"] = np.hypot(rows["err"], rows["without_err"])
    return _over_temperatures(rows)


def _spread(compared: str) -> Callable[[Mapping[str, pd.DataFrame]], Estimate]:
    """Spread between compositions, as the factor of one standard deviation."""

    def estimate(tables: Mapping[str, pd.DataFrame]) -> Estimate:
        values = by_composition(tables["pooled"], tables["arrhenius"])
        values = values[values["compared"] == compared]
        n = len(values)
        if n < LEAST_COMPOSITIONS or any(values[factor].nunique() < 2 for factor in FACTORS):
            have = "composition has" if n == 1 else "compositions have"
            why = f"{n} {have} a value, or do not differ in mobile ion, central cation and ligands"
            return _no_estimate(n, why)
        middle, low, high = np.exp(spread_between(values["x"], values["x_err"]))
        note = f"{n} compositions at {values['at'].iloc[0]}"
        # The distribution is not normal; half of the 68 % interval takes the place of the error.
        _, low_1, high_1 = spread_between(values["x"], values["x_err"], confidence=0.6827)
        err = float(np.exp(high_1) - np.exp(low_1)) / 2
        return Estimate(float(middle), err, float(low), float(high), n, note)

    return estimate


def _room_conductivity(tables: Mapping[str, pd.DataFrame]) -> Estimate:
    values = by_composition(tables["pooled"], tables["arrhenius"])
    values = values[values["compared"] == "sigma_300K"]
    z = values["x"] / values["x_err"]
    above, below = int((z > 2).sum()), int((z < -2).sum())
    counts = tables["pooled"].groupby(KEY)["n_replicas"].max()
    n_glasses = int(counts.reindex(pd.MultiIndex.from_frame(values[KEY])).sum())
    note = f"{above} above and {below} below by two errors"
    if not len(values):
        note = "no composition has a fit of the Einstein conductivity without a flag"
    return _ratio(_estimate(values["x"], values["x_err"], n_glasses, note))


INFINITE = float("inf")
CLAIMS = (
    Claim(
        "tetrahedra",
        "The central cations are surrounded by tetrahedra of halogen and oxygen.",
        "fraction of the central cations with four ligands", "", 0.5, INFINITE,
        "mean over temperatures, glasses, compositions; more than half", _fourfold,
    ),
    Claim(
        "fragments",
        "Tetrahedra share oxygen corners and form extended M-O-M fragments.",
        "central cations in the fragment that one belongs to", "", 2.0, INFINITE,
        "weight-averaged fragment size, mean over temperatures, glasses, compositions; larger than "
        "a pair", _fragments,
    ),
    Claim(
        "oxygen_slows_1",
        "Oxygen on the tetrahedron slows the mobile ion: it stays longer at X3O1 than at X4.",
        "residence time at X3O1 over that at X4", "", 1.0, INFINITE,
        "mean of the logarithm over temperatures and compositions; above 1", _residence_ratio(0),
    ),
    Claim(
        "oxygen_slows_2",
        "A second oxygen slows it further: it stays longer at X2O2 than at X3O1.",
        "residence time at X2O2 over that at X3O1", "", 1.0, INFINITE,
        "mean of the logarithm over temperatures and compositions; above 1", _residence_ratio(1),
    ),
    Claim(
        "same_activation_energy",
        "Residence and diffusion have the same activation energy.",
        "Ea of diffusion minus Ea of residence", "eV", -0.05, 0.05,
        "Ea of D times tau over all environments, mean over compositions; within 0.05 eV",
        _activation_energy("D_tau:all"),
    ),
    Claim(
        "activation_energy",
        "Activation energies of diffusion lie between 0.2 and 0.4 eV.",
        "Ea of the mobile ion's diffusion", "eV", 0.2, 0.4,
        "mean over compositions; within the range", _activation_energy("D_mobile"),
    ),
    Claim(
        "haven",
        "The mobile ion's Haven ratio is close to 1: its ions move without correlation.",
        "Haven ratio of the mobile ion", "", 0.8, 1.25,
        "ratio of means over glasses, mean over temperatures and compositions; within 1/1.25 to "
        "1.25", _haven,
    ),
    Claim(
        "nernst_einstein_misses",
        "Nernst-Einstein badly underestimates the mobile ion's transference number.",
        "t by Einstein minus t by Nernst-Einstein", "", 0.1, INFINITE,
        "mean over temperatures and compositions; more than 0.1", _nernst_einstein_misses,
    ),
    Claim(
        "clusters_come_closer",
        "Cluster Nernst-Einstein comes closer to the transference number.",
        "distance from Einstein by which cluster Nernst-Einstein is nearer", "", 0.0, INFINITE,
        "|t_NE - t_E| - |t_cNE - t_E|, mean over temperatures and compositions; above 0",
        _clusters_come_closer,
    ),
    Claim(
        "cross_terms",
        "The transference number needs the cross terms between species.",
        "t with minus t without the cross terms", "", 0.05, INFINITE,
        "mean over temperatures and compositions; changes t by more than 0.05 (size, either sign)",
        lambda tables: _size(_cross_terms(tables)),
    ),
    Claim(
        "independent_D",
        "Diffusion is nearly independent of mobile ion, central cation and halogen.",
        "factor between compositions (one standard deviation of ln D)", "", -INFINITE, 2.0,
        "Q-profile interval of the spread beyond errors (Viechtbauer 2007); below a factor of 2",
        _spread("D"),
    ),
    Claim(
        "independent_sigma",
        "Conductivity at 300 K is nearly independent of mobile ion, central cation and halogen.",
        "factor between compositions (one standard deviation of ln sigma)", "", -INFINITE, 2.0,
        "Q-profile interval of the spread beyond errors (Viechtbauer 2007); below a factor of 2",
        _spread("sigma_300K"),
    ),
    Claim(
        "conducting",
        "Conductivities at room temperature exceed 1 mS/cm.",
        "Einstein conductivity at 300 K", "mS/cm", 1.0, INFINITE,
        "extrapolated Arrhenius lines, geometric mean over compositions; above 1 mS/cm",
        _room_conductivity,
    ),
)  # fmt: skip


def _size(found: Estimate) -> Estimate:
    """The absolute value of an estimate; an interval that contains zero starts at zero."""
    crosses = found.low < 0 < found.high
    ends = sorted((abs(found.low), abs(found.high)))
    return Estimate(
        abs(found.value),
        found.err,
        0.0 if crosses else ends[0],
        ends[1],
        found.n_glasses,
        found.note,
    )
