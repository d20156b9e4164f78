"""The paper's claims, each compared with a campaign's numbers.

The claims are those of Binci, Jun, Deng and Ceder (arXiv 2601.06384). Each one is an estimate with
its standard error, and limits that were chosen before any campaign had run.

- *confirmed*: the 95 % interval of the estimate lies inside the limits;
- *refuted*: it lies outside of them;
- *not decided*: it crosses a limit, or there are fewer than three glasses.

A claim of equality (Ea of residence equals Ea of diffusion, Haven ratio near 1) therefore needs an
interval that fits within a stated margin (equivalence test: Schuirmann, J. Pharmacokinet. Biopharm.
15, 657, 1987), and large errors never confirm it. An estimate over compositions is their mean with
equal weights. Its error is the larger of two, and so are the degrees of freedom of its Student's t
interval: that of the glasses, with one variance between glasses for all compositions
(`vitrion.statistics.glasses`), and that of the spread between compositions, their number minus one.
With one glass of each composition nothing is known of the first, and the spread counts.
Temperatures of a glass are averaged first, because they are no independent glasses. Flagged
trajectories and flagged Arrhenius fits do not count.

A claim that is not decided says how many more glasses of the same compositions and length would
decide it, if the estimate stays what it is: the error of the glasses falls as the root of their
number, and what the compositions differ by beyond it remains.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats

from vitrion.paper.family import halide, in_family
from vitrion.statistics.differences import (
    COMPARED,
    FACTORS,
    LEAST_COMPOSITIONS,
    by_composition,
    spread_between,
)
from vitrion.statistics.glasses import glass_means, one_sigma, ratio_parts
from vitrion.tables import COMPOSITION_KEY, TABLES
from vitrion.tables.io import headline
from vitrion.transport.quantities import quantities

CONFIRMED, REFUTED, NOT_DECIDED = "confirmed", "refuted", "not decided"
CONFIDENCE = 0.95
LEAST_GLASSES = 3
MANY_GLASSES = 100_000
KEY = list(COMPOSITION_KEY)
RUN = [*KEY, "temperature_K", "replica"]


@dataclass(frozen=True)
class Estimate:
    """A number that a claim is compared with.

    Attributes:
        value, err: estimate and its standard error; NaN when there is none.
        low, high: its 95 % interval.
        n_glasses: number of independent glasses that it comes from.
        note: further information, such as why there is no number.
        errors: what the interval comes from, where it is one of Student's t.
        is_ratio: whether the interval is one of the logarithm.
    """

    value: float
    err: float
    low: float
    high: float
    n_glasses: int
    note: str = ""
    errors: Errors | None = None
    is_ratio: bool = False


@dataclass(frozen=True)
class Errors:
    """What the error of a mean over compositions comes from.

    Attributes:
        within: standard error of the mean by its glasses.
        between: standard error of the mean by the spread of the compositions, which holds the
            scatter of their glasses too.
        freedom: degrees of freedom of `within`; 0 for one glass of each composition.
        n_compositions: number of compositions.
    """

    within: float
    between: float
    freedom: int
    n_compositions: int

    def with_glasses(self, factor: float) -> Errors:
        """The errors expected with so many times the glasses of the same compositions."""
        within, between = self.within / factor**0.5, self.between / factor**0.5
        if self.between > self.within:  # by what the compositions differ
            between = (self.between**2 - self.within**2 + within**2) ** 0.5
        freedom = round((self.freedom + self.n_compositions) * factor) - self.n_compositions
        return Errors(within, between, freedom, self.n_compositions)

    @property
    def error(self) -> float:
        """The standard error that counts: the larger part."""
        return max(self.within, self.between)

    @property
    def width(self) -> float:
        """Half of the 95 % interval; NaN for one glass."""
        by_spread = self.between > self.within or not self.freedom
        freedom = self.n_compositions - 1 if by_spread else self.freedom
        quantile = 0.5 + CONFIDENCE / 2
        return float(stats.t.ppf(quantile, freedom)) * self.error if freedom else float("nan")


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

    def row(self, tables: Mapping[str, pd.DataFrame], glass_length_ns: float) -> dict[str, object]:
        """The claim's row of the `verdict` table.

        Args:
            tables: of the campaign.
            glass_length_ns: simulated time of a glass, over all its temperatures.
        """
        found = self.estimate(tables)
        outcome, reason = decide(found, self.low, self.high)
        more = float("nan")
        if outcome == NOT_DECIDED:
            more = more_glasses(found, self.low, self.high)
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
            "more_glasses": more,
            "more_ns": more * glass_length_ns,
            "reason": reason,
        }


def verdict_table(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """The `verdict` table: one row for each claim of the paper.

    Args:
        tables: `trajectories`, `pooled`, `arrhenius`, `coordination`, `network` and `onsager` of a
            campaign, from `vitrion.statistics.summary.without_flagged`. Only glasses of the paper's
            family count.
    """
    tables = {name: table[in_family(table)] for name, table in tables.items() if "ligands" in table}
    length_ns = tables["trajectories"].groupby([*KEY, "replica"])["length_ps"].sum().mean() / 1000
    rows = [claim.row(tables, float(length_ns)) for claim in CLAIMS]
    return pd.DataFrame(rows)[list(TABLES["verdict"])]


def decide(found: Estimate, low: float, high: float) -> tuple[str, str]:
    """Outcome of a claim and its reason.

    Args:
        found: the estimate.
        low, high: the limits between which the claim holds.
    """
    if not np.isfinite(found.value) and found.note:
        return NOT_DECIDED, found.note
    if not np.isfinite(found.value) or found.n_glasses < LEAST_GLASSES:
        glasses = "glass gives" if found.n_glasses == 1 else "glasses give"
        few = f"{found.n_glasses} {glasses} a value; {LEAST_GLASSES} are needed"
        return NOT_DECIDED, "; ".join(filter(None, (few, found.note)))
    if low < found.low and found.high < high:
        return CONFIRMED, found.note
    if found.high < low or found.low > high:
        return REFUTED, found.note
    return NOT_DECIDED, "; ".join(filter(None, ("the interval crosses a limit", found.note)))


def more_glasses(found: Estimate, low: float, high: float) -> float:
    """Glasses beside those there until the interval of an estimate crosses no limit.

    If the estimate, the scatter of glasses and the compositions stay as they are: the error of the
    glasses falls as one over the root of their number, and the degrees of freedom grow with it.

    Args:
        found: an estimate that does not decide.
        low, high: the limits between which the claim holds.

    Returns:
        At least as many as make `LEAST_GLASSES`; infinite where more than `MANY_GLASSES` would not
        do, NaN where there is no estimate or nothing is known of the scatter of glasses.
    """
    n, missing = found.n_glasses, max(LEAST_GLASSES - found.n_glasses, 0)
    errors = found.errors
    if not np.isfinite(found.value) or errors is None:
        return float("nan")
    if not errors.freedom:
        return float(missing) if missing else float("nan")
    limits = [limit for limit in (low, high) if np.isfinite(limit)]
    apart = [np.log(found.value / x) if found.is_ratio else found.value - x for x in limits]
    distance = float(np.min(np.abs(apart)))

    def decides(more: int) -> bool:
        return bool(errors.with_glasses((n + more) / n).width < distance)

    more = bisect_left(range(MANY_GLASSES), True, key=decides)
    return float(max(more, missing)) if more < MANY_GLASSES else float("inf")


def _estimate(
    values: npt.ArrayLike, errors: npt.ArrayLike, freedom: int, n_glasses: int, note: str = ""
) -> Estimate:
    """Mean over compositions and its Student's t interval.

    Args:
        values, errors: of the compositions, with one variance between glasses.
        freedom: degrees of freedom of that variance.
        n_glasses: of all compositions.
        note: further information.
    """
    x, err = np.asarray(values, dtype=float), np.asarray(errors, dtype=float)
    k = len(x)
    if not k:
        return _no_estimate(n_glasses, note)
    within = float(np.linalg.norm(err)) / k
    between = float(np.std(x, ddof=1)) / k**0.5 if k > 1 else 0.0
    parts = Errors(within, between, freedom, k)
    mean, width = float(x.mean()), parts.width
    many = f"{k} composition{'s' if k > 1 else ''}"
    note = "; ".join(filter(None, (many, note)))
    return Estimate(mean, parts.error, mean - width, mean + width, n_glasses, note, parts)


def _no_estimate(n_glasses: int, note: str) -> Estimate:
    nan = float("nan")
    return Estimate(value=nan, err=nan, low=nan, high=nan, n_glasses=n_glasses, note=note)


def _ratio(found: Estimate) -> Estimate:
    """The estimate of a ratio, from that of its logarithm."""
    value, low, high = (float(np.exp(x)) for x in (found.value, found.low, found.high))
    return replace(found, value=value, err=value * found.err, low=low, high=high, is_ratio=True)


def _over_glasses(rows: pd.DataFrame) -> Estimate:
    """Mean of x over temperatures, glasses and compositions.

    Temperatures of a glass are averaged first: more of them add no independent glass.

    Args:
        rows: composition key, temperature_K, replica, x and, where it has one, x_err.
    """
    rows = rows if "x_err" in rows else rows.assign(x_err=0.0)
    rows = rows.astype({"x": float, "x_err": float})
    usable = rows[np.isfinite(rows["x"]) & np.isfinite(rows["x_err"])]
    if usable.empty:
        return _no_estimate(0, "")
    glasses = usable.groupby([*KEY, "replica"]).agg(
        x=("x", "mean"), x_err=("x_err", lambda e: np.sqrt(np.sum(np.square(e))) / len(e))
    )
    which = glasses.groupby(KEY).ngroup()
    means = glass_means(which, glasses["x"], glasses["x_err"])
    return _estimate(means.mean, means.err, means.freedom, len(glasses))


def _glasses(tables: Mapping[str, pd.DataFrame], quantity: str) -> pd.DataFrame:
    """Values x of a quantity, one row for each glass and temperature.

    Ratios (t, H_R) are given as numbers whose mean over glasses is the ratio of means.
    """
    rows = quantities(tables)
    rows = rows[rows["quantity"] == quantity].dropna(subset=["value", "err", "weight"])
    parts = []
    for _, group in rows.groupby([*KEY, "temperature_K"]):
        x, x_err = ratio_parts(group["value"], group["err"], group["weight"])
        parts.append(group.assign(x=x, x_err=x_err))
    columns = [*KEY, "temperature_K", "replica", "x", "x_err"]
    return pd.concat(parts)[columns] if parts else pd.DataFrame(columns=columns)


def _fourfold(tables: Mapping[str, pd.DataFrame]) -> Estimate:
    rows = tables["coordination"]
    fourfold = rows["environment"].map(lambda name: _ligands(name) == 4).astype(bool)
    rows = rows.assign(x=rows["fraction"].where(fourfold, 0.0))
    run = rows.groupby([*KEY, "temperature_K", "replica"])["x"].sum().reset_index()
    return _over_glasses(run)


def _ligands(environment: str) -> int:
    return sum(int(count) for count in re.findall(r"[A-Z][a-z]?(\d+)", environment))


def _fragments(tables: Mapping[str, pd.DataFrame]) -> Estimate:
    rows = tables["network"]
    rows = rows.assign(x=rows["fragment_size"] * rows["fraction"])
    return _over_glasses(rows.groupby([*KEY, "temperature_K", "replica"])["x"].sum().reset_index())


def _residence_ratio(oxygens: int) -> Callable[[Mapping[str, pd.DataFrame]], Estimate]:
    """Residence time at a tetrahedron with one oxygen more, over that with `oxygens`."""

    def estimate(tables: Mapping[str, pd.DataFrame]) -> Estimate:
        times = tables["residence"]

        def with_oxygens(n: int) -> pd.DataFrame:
            names = times["ligands"].map(halide) + str(4 - n) + (f"O{n}" if n else "")
            chosen = times[(times["environment"] == names) & (times["tau_ps"] > 0)]
            x, x_err = np.log(chosen["tau_ps"]), chosen["tau_err_ps"] / chosen["tau_ps"]
            return chosen.assign(x=x, x_err=x_err).set_index(RUN)[["x", "x_err"]]

        fewer = with_oxygens(oxygens).add_suffix("_fewer")
        both = with_oxygens(oxygens + 1).join(fewer, how="inner")
        both["x"] -= both["x_fewer"]
        both["x_err"] = np.hypot(both["x_err"], both["x_err_fewer"])
        return _ratio(_over_glasses(both.reset_index()))

    return estimate


def _activation_energy(quantity: str) -> Callable[[Mapping[str, pd.DataFrame]], Estimate]:
    """Mean activation energy of a quantity, from fits without a flag."""

    def estimate(tables: Mapping[str, pd.DataFrame]) -> Estimate:
        fits = tables["arrhenius"]
        fits = fits[(fits["quantity"] == quantity) & fits["Ea_eV"].notna()]
        sound = fits[fits["flags"] == ""]
        n_glasses = int(sound["n_glasses"].sum())
        left_out = len(fits) - len(sound)
        note = f"{left_out} fits with a flag are left out" if left_out else ""
        if not len(fits):
            note = "no composition has three diffusive temperatures"
        freedom = int(sound["freedom"].max()) if len(sound) else 0
        err = sound["Ea_err_eV"] / one_sigma(sound["freedom"])
        return _estimate(sound["Ea_eV"], err, freedom, n_glasses, note)

    return estimate


def _haven(tables: Mapping[str, pd.DataFrame]) -> Estimate:
    return _over_glasses(_glasses(tables, "haven_ratio"))


def _transference(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """t by the three methods (e, ne, cne), one row for each glass and temperature."""
    found = None
    methods = {"e": "einstein", "ne": "nernst_einstein", "cne": "cluster_nernst_einstein"}
    for short, method in methods.items():
        rows = _glasses(tables, f"t_mobile_{method}").set_index(RUN)
        rows = rows.rename(columns={"x": short, "x_err": f"{short}_err"})
        found = rows if found is None else found.join(rows, how="inner")
    return found


def _nernst_einstein_misses(tables: Mapping[str, pd.DataFrame]) -> Estimate:
    t = _transference(tables)
    rows = t.assign(x=t["e"] - t["ne"], x_err=np.hypot(t["e_err"], t["ne_err"]))
    return _over_glasses(rows.reset_index())


def _clusters_come_closer(tables: Mapping[str, pd.DataFrame]) -> Estimate:
    t = _transference(tables)
    # On which side of the Einstein value each lies is a matter of the mean over glasses: absolute
    # values of single glasses would all be too large by their noise.
    mean = t.groupby([*KEY, "temperature_K"]).transform("mean")
    near, far = np.sign(mean["cne"] - mean["e"]), np.sign(mean["ne"] - mean["e"])
    x = far * (t["ne"] - t["e"]) - near * (t["cne"] - t["e"])
    # The Einstein value cancels where both lie on the same side of it.
    err = np.sqrt(t["ne_err"] ** 2 + t["cne_err"] ** 2 + ((near - far) * t["e_err"]) ** 2)
    return _over_glasses(t.assign(x=x, x_err=err).reset_index())


def _cross_terms(tables: Mapping[str, pd.DataFrame]) -> Estimate:
    """t from all Onsager coefficients minus t from those within one species."""
    onsager = headline(tables["onsager"])
    own = onsager[onsager["species_i"] == onsager["species_j"]]
    mobile = own[own["species_i"] == own["mobile"]].set_index(RUN)[["L", "L_err"]]
    rest = own[own["species_i"] != own["mobile"]].groupby(RUN)
    rest = rest.agg(rest=("L", "sum"), rest_err=("L_err", lambda e: np.sqrt(np.sum(e**2))))
    both = mobile.join(rest, how="inner").dropna()
    total = both["L"] + both["rest"]
    both["without"] = both["L"] / total
    both["without_err"] = np.hypot(both["rest"] * both["L_err"], both["L"] * both["rest_err"])
    both["without_err"] /= total**2
    rows = _glasses(tables, "t_mobile_einstein").set_index(RUN).join(both, how="inner")
    rows["x"] -= rows["without"]
    rows["x_err"] = np.hypot(rows["x_err"], rows["without_err"])
    return _over_glasses(rows.reset_index())


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
        freedom = int(values["freedom"].iloc[0])
        if not freedom:
            return _no_estimate(n, "one glass of each composition")
        middle, low, high = np.exp(spread_between(values["x"], values["x_err"], freedom))
        note = f"{n} compositions at {values['at'].iloc[0]}"
        # The distribution is not normal; half of the 68 % interval takes the place of the error.
        _, low_1, high_1 = spread_between(values["x"], values["x_err"], freedom, confidence=0.6827)
        err = float(np.exp(high_1) - np.exp(low_1)) / 2
        return Estimate(float(middle), err, float(low), float(high), n, note)

    return estimate


def _room_conductivity(tables: Mapping[str, pd.DataFrame]) -> Estimate:
    values = by_composition(tables["pooled"], tables["arrhenius"])
    values = values[values["compared"] == "sigma_300K"]
    z = values["x"] / values["x_err"]
    above, below = int((z > 2).sum()), int((z < -2).sum())
    fits = tables["arrhenius"]
    fits = fits[fits["quantity"] == COMPARED["sigma_300K"].name].set_index(KEY)
    n_glasses = int(fits["n_glasses"].reindex(pd.MultiIndex.from_frame(values[KEY])).sum())
    freedom = int(values["freedom"].max()) if len(values) else 0
    note = f"{above} above and {below} below by two errors"
    if not len(values):
        note = "no composition has a fit of the Einstein conductivity without a flag"
    return _ratio(_estimate(values["x"], values["x_err"], freedom, n_glasses, note))


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
    low = 0.0 if crosses else ends[0]
    return replace(found, value=abs(found.value), low=low, high=ends[1])
