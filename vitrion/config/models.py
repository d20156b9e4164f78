"""The configuration of a campaign: every key, its unit, default, limits, kind and meaning.

The models below are the one source: `config.yaml`, its JSON schema and the documentation are
written from them. A key that is not here is an error, so that no typing mistake goes unnoticed.

Every key is of one kind. *Physics* changes results; a rule of the workflow names the keys that its
result depends on, and runs again when one of them changes. *Execution* is how a job runs (device,
threads, checkpoints): it changes no result and makes nothing run again. A *limit* judges
measurements that are stored: it changes flags, and no dynamics runs again. Keys are physics unless
they are marked.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import re
from functools import cached_property
from typing import Annotated, Any, Literal, Self, cast, get_args, get_origin

from ase.data import atomic_numbers
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic.config import JsonDict

from vitrion.base.errors import InputError
from vitrion.structure.compositions import HEAVIEST

Kind = Literal["physics", "execution", "limit"]
# Marks of fields that are no physics.
EXECUTION: JsonDict = {"kind": "execution"}
LIMIT: JsonDict = {"kind": "limit"}

Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
PositiveInt = Annotated[int, Field(gt=0)]
Count = Annotated[int, Field(gt=0, le=100_000)]
# 10 µs of dynamics are beyond any computer; a longer time is a wrong unit.
Time_ps = Annotated[float, Field(gt=0, le=1e7)]
Text = Annotated[str, Field(min_length=1)]
# Temperatures and frames have so many digits in paths.
MOST_SEGMENTS, MOST_FRAMES = 10_000, 1000
Temperature = Annotated[float, Field(ge=50, le=5000)]
Timestep_fs = Annotated[float, Field(ge=0.1, le=10)]
RelativeDensity = Annotated[float, Field(ge=0.05, le=3)]
Kpoints = Annotated[int, Field(gt=0, le=100)]
RelaxationTime_fs = Annotated[float, Field(ge=1, le=1e7)]
# Whole charges stay whole numbers, so that their text stays the same.
Charge = Annotated[int, Field(ge=-8, le=8)] | Annotated[float, Field(ge=-8, le=8)]
Cutoff_A = Annotated[float, Field(ge=0.5, le=30)]
Fraction01 = Annotated[float, Field(ge=0, le=1)]


def _in_order(bounds: tuple[float, float]) -> tuple[float, float]:
    if bounds[0] > bounds[1]:
        raise ValueError("give the smaller number first")
    return bounds


def _element(symbol: str) -> str:
    if not 0 < atomic_numbers.get(symbol, 0) <= HEAVIEST:
        raise ValueError(f"{symbol} is no element that CHGNet knows (H to Pu); write its symbol")
    return symbol


def _of_pairs(cutoffs: dict[str, float]) -> dict[str, float]:
    for pair in cutoffs:
        if not re.fullmatch(r"[A-Z][a-z]?-[A-Z][a-z]?", pair):
            raise ValueError(f"write {pair} as two elements, for example Al-Cl")
        first, second = map(_element, pair.split("-"))
        if first != second and f"{second}-{first}" in cutoffs:
            raise ValueError(f"give {pair} or {second}-{first}, not both")
    return cutoffs


Element = Annotated[str, AfterValidator(_element)]


Bounds = Annotated[tuple[Positive, Positive], AfterValidator(_in_order)]


# This message becomes one that says what the key takes.
NO_BOOL = "true and false are no numbers"


def _takes_bool(annotation: Any) -> bool:
    return annotation in (bool, Any) or any(map(_takes_bool, get_args(annotation)))


def _place_of_bool(value: Any) -> str:
    """Where a value holds true or false, as words; empty where it holds none."""
    if isinstance(value, bool):
        return "not a number"
    if isinstance(value, dict):
        places = {str(key): entry for key, entry in value.items()}
    elif isinstance(value, list | tuple):
        places = {f"entry {number}": entry for number, entry in enumerate(value, start=1)}
    else:
        return ""
    found = ((place, entry) for place, entry in places.items() if isinstance(entry, bool))
    return next((f"{place} is {str(entry).lower()}" for place, entry in found), "")


class Section(BaseModel):
    """A part of the configuration; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _true_is_no_number(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuse `true` for 1 and `false` for 0, which Python would take."""
        key = str(info.field_name)
        if not (where := _place_of_bool(value)):
            return value
        if cls.inner(key) or _takes_bool(cls.model_fields[key].annotation):
            return value
        raise ValueError(f"{where}; {NO_BOOL}")

    @field_validator("*", mode="after")
    @classmethod
    def _each_once(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuse a list that names something twice, where its length is free."""
        annotation = cls.model_fields[str(info.field_name)].annotation
        if get_origin(annotation) is tuple and get_args(annotation)[-1] is ...:
            twice = [entry for place, entry in enumerate(value) if entry in value[:place]]
            if twice:
                raise ValueError(f"list each once; {twice[0]} is there twice")
        return value

    @classmethod
    def kind(cls, key: str) -> Kind:
        """The kind of one of its keys; that of a section of its own holds for all keys in it."""
        mark = cls.model_fields[key].json_schema_extra
        return cast(Kind, mark["kind"]) if isinstance(mark, dict) else "physics"

    @classmethod
    def inner(cls, key: str) -> type[Section] | None:
        """The section that one of its keys holds, or may hold."""
        annotation = cls.model_fields[key].annotation
        found = (a for a in (annotation, *get_args(annotation)) if isinstance(a, type))
        return next((a for a in found if issubclass(a, Section)), None)

    def values(self, *kinds: Kind) -> dict[str, Any]:
        """The values of some kinds of keys, as JSON holds them; sections are nested.

        Names within a value are in alphabetical order, so that their order in a file reruns no job.
        """
        values = self.model_dump(mode="json")
        for key in type(self).model_fields:
            inner = getattr(self, key)
            if self.kind(key) not in kinds:
                del values[key]
            elif isinstance(inner, Section) and self.kind(key) == "physics":
                values[key] = inner.values(*kinds)
            elif isinstance(inner, dict):
                values[key] = dict(sorted(values[key].items()))
        return values


def whole_multiple(total: float, part: float) -> int | None:
    """How often `part` fits into `total`, or None when it does not divide it."""
    times = round(total / part)
    return times if times > 0 and math.isclose(times * part, total, rel_tol=1e-9) else None


class Sample(Section):
    """Frames to label: ionic packings, melted and cooled with the current potential."""

    frames_per_composition: Annotated[int, Field(ge=0, le=MOST_FRAMES)] = Field(
        12, description="frames to label"
    )
    large_frames: Annotated[int, Field(ge=0, le=MOST_FRAMES)] = Field(
        1, description="how many of them come from a cell of twice the formula units"
    )
    formula_units: Count = Field(4, description="cell size in formula units")
    relative_densities: tuple[RelativeDensity, ...] = Field(
        (0.7, 0.85, 1.0),
        min_length=1,
        description="densities over the composition's density guess",
    )
    packings_per_density: Count = Field(2, description="independent packings at each density")
    temperatures_K: tuple[Temperature, ...] = Field(
        (1500.0, 1000.0, 600.0, 300.0),
        min_length=1,
        description="MD temperatures; every packing runs through them from hot to cold",
    )
    steps_per_temperature: Annotated[int, Field(gt=0, le=10_000_000)] = Field(
        100, description="MD steps of 2 fs at each temperature"
    )
    frame_interval: PositiveInt = Field(20, description="MD steps between candidate frames")


class Gpaw(Section):
    """Plane-wave DFT with GPAW; each calculation runs as its own process."""

    python: str = Field(
        "",
        description="interpreter that has GPAW; empty for the one in use",
        json_schema_extra=EXECUTION,
    )
    cutoff_eV: Annotated[float, Field(ge=100, le=5000)] = Field(
        500.0, description="plane-wave cutoff"
    )
    smearing_eV: Annotated[float, Field(gt=0, le=5)] = Field(0.05, description="Fermi-Dirac width")
    kpoints: Literal["mean_value"] | tuple[Kpoints, Kpoints, Kpoints] = Field(
        "mean_value",
        description="mean_value (1/4, 1/4, 1/4; for nearly cubic cells), or the number of k-points "
        "along each cell vector, Gamma included",
    )
    valence_electrons: dict[Element, Annotated[int, Field(gt=0, le=94)]] = Field(
        {"Li": 3, "Ga": 13},
        description="elements that need a harder PAW set than GPAW's default; generated once",
    )


class Vasp(Section):
    """DFT with the user's own VASP, with inputs as for CHGNet's training set."""

    command: Text = Field(
        "vasp_std",
        description="runs VASP in its folder; no shell reads it, so write bash -c for shell syntax",
        json_schema_extra=EXECUTION,
    )
    input_set: Literal["MPStaticSet", "MPScanStaticSet"] = Field(
        "MPStaticSet", description="pymatgen input set; MPScanStaticSet for r2SCAN"
    )
    incar: dict[str, bool | int | float | str] = Field(
        {}, description="INCAR tags over those of the input set"
    )


class AseCalculator(Section):
    """Any ASE calculator."""

    calculator: str = Field("", description="import path, for example ase.calculators.emt:EMT")
    arguments: dict[str, Any] = Field({}, description="keyword arguments of the calculator")


class Label(Section):
    """Labelling of sampled frames with DFT."""

    engine: Literal["none", "gpaw", "vasp", "ase"] = Field(
        "none", description="DFT code for sampled frames; none trains on dataset.sources alone"
    )
    gpaw: Gpaw = Gpaw()
    vasp: Vasp = Vasp()
    ase: AseCalculator = AseCalculator()


class Split(Section):
    """Which frames train, validate and test the potential."""

    held_out: tuple[Text, ...] = Field(
        ("LiGaCl", "LiGaI", "NaAlBr", "NaInCl", "KAlI", "KInBr"),
        description="compositions for the test split alone; they are never trained on",
    )
    validation_fraction: Annotated[float, Field(gt=0, lt=0.9)] = Field(
        0.15, description="share of each training composition's trajectories used for validation"
    )


class Dataset(Section):
    """DFT data to train on."""

    sources: tuple[Text, ...] = Field(
        ("resources/dft",), description="files or folders of labelled frames"
    )
    compositions: Literal["all", "campaign"] = Field(
        "all", description="train on all frames, or on those of the campaign's compositions alone"
    )
    max_force_eV_A: Positive = Field(30.0, description="frames with a larger force are left out")
    max_energy_deviation_eV_atom: Positive = Field(
        1.0,
        description="frames further from their composition's median energy, or after alignment "
        "from the potential, are left out",
    )
    label_slope: Bounds | None = Field(
        (0.3, 3.0),
        description="least and largest slope of energies, forces and stresses on CHGNet "
        "0.3.0's (r2scan's where that is the start); outside it their unit, sign or order is "
        "wrong; null does not compare them",
    )
    dispersion: Literal["d3bj", "none"] = Field(
        "d3bj",
        description="what is added to energies, forces and stresses of labels without dispersion: "
        "DFT-D3 with Becke-Johnson damping, or none",
    )
    functional: Literal["PBE", "PBEsol", "revPBE", "RPBE", "SCAN", "r2SCAN"] | None = Field(
        None,
        description="functional of labels whose level of theory does not name one, for the "
        "parameters of the dispersion",
    )
    sample: Sample = Sample()
    label: Label = Label()
    split: Split = Split()


class LossWeights(Section):
    """Relative weights of the losses of energy (eV/atom), force (eV/Å) and stress (GPa)."""

    criterion: Literal["MSE", "MAE", "Huber"] = Field(
        "Huber", description="loss of one component; Huber is quadratic below 0.1, then linear"
    )
    energy: NonNegative = Field(1.0, description="weight of the energy per atom")
    force: NonNegative = Field(1.0, description="weight of the forces")
    stress: NonNegative = Field(0.1, description="weight of the stress")


class Validation(Section):
    """What a trained model must reach before dynamics runs with it."""

    force_mae_ratio: Positive = Field(
        0.5,
        description="largest mean force error on held-out frames, over that of CHGNet 0.3.0 (of "
        "r2scan where that is the start)",
    )
    force_mae_meV_A: Positive | None = Field(
        None,
        description="largest mean force error on held-out frames; null for no such limit",
    )
    force_parity_slope: Bounds = Field(
        (0.97, 1.03),
        description="smallest and largest slope of predicted over true forces, held-out frames",
    )
    stability_ps: Annotated[float, Field(ge=0, le=10_000)] = Field(
        2.0,
        description="high-temperature stability test: length of an NVE run of a small melt of "
        "every composition, at half the time step; 0 for no such test. A model that has been "
        "tested is not tested again",
    )
    stability_temperature_K: Temperature = Field(
        1500.0, description="temperature of the stability test"
    )
    least_distance_A: NonNegative = Field(
        1.0,
        description="smallest allowed distance of two atoms in the stability test",
    )
    energy_drift_meV_atom_ps: Positive = Field(
        1.0,
        description="largest drift of the total energy in the stability test, beyond three "
        "standard errors",
    )
    override: tuple[
        Literal[
            "force_mae_ratio",
            "force_mae",
            "force_parity_slope",
            "stability_length",
            "stability_least_distance",
            "stability_energy_drift",
        ],
        ...,
    ] = Field(
        (),
        description="checks that may fail without stopping the campaign",
    )


class Iterate(Section):
    """Rounds of sampling with the fine-tuned model, labelling new frames and training again."""

    rounds: Annotated[int, Field(ge=0, le=9)] = Field(
        0, description="rounds after the first training; 0 for none"
    )
    frames_per_composition: Annotated[int, Field(gt=0, le=MOST_FRAMES)] = Field(
        4, description="frames to label per round, those least like the labelled ones"
    )


# Models that a name stands for: that of this package, and those published with chgnet.
NAMED_MODELS = ("shipped", "0.3.0", "r2scan")
# The layers of CHGNet, as chgnet names them.
Layer = Literal[
    "composition_model",
    "graph_converter",
    "atom_embedding",
    "bond_basis_expansion",
    "bond_embedding",
    "bond_weights_ag",
    "bond_weights_bg",
    "angle_basis_expansion",
    "angle_embedding",
    "atom_conv_layers",
    "bond_conv_layers",
    "angle_layers",
    "site_wise",
    "readout_norm",
    "pooling",
    "mlp",
]


class Finetune(Section):
    """Fine-tuning of CHGNet."""

    model: Text = Field(
        "shipped",
        description="shipped (the model that comes with Vitrion); train; pretrained (CHGNet "
        "0.3.0, or r2scan where that is the start); or a .safetensors file",
    )
    start: Text = Field(
        "shipped", description="model to start from: shipped, 0.3.0, r2scan, or a .safetensors file"
    )
    angle_cutoff_A: Annotated[float, Field(gt=0, le=6)] | None = Field(
        None,
        description="longest bond that makes angles; the start model's (3.0 in chgnet's) if not "
        "given. 3.3 to 3.6 suit bromides and iodides, and make each MD step slower",
    )
    epochs: Count = Field(100, description="largest number of epochs")
    patience: Count = Field(
        20, description="epochs without a better validation force error before stopping"
    )
    batch_size: Count = Field(4, description="frames per batch")
    replay: Annotated[float, Field(ge=0, le=100)] = Field(
        1.0,
        description="frames of the shipped model's training set that are trained beside each frame "
        "of one's own, with the start model's labels, so that it forgets less; 0 for none. "
        "0.3.0 and r2scan have not learned from them and replay none",
    )
    optimizer: Literal["adam", "muon"] = Field(
        "adam", description="muon learns more per step in long trainings, at a rate of about 0.01"
    )
    learning_rate: Annotated[float, Field(gt=0, le=1)] = Field(
        2e-3, description="largest learning rate"
    )
    warmup_epochs: NonNegative = Field(
        1.0,
        description="epochs in which the learning rate rises linearly; a cosine to zero follows",
    )
    gradient_clip: Positive = Field(10.0, description="largest gradient norm")
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.99,
        description="decay per step of the running average of the weights, which is the result; 0 "
        "for none",
    )
    freeze: tuple[Layer, ...] = Field(
        (), description="layers of CHGNet that stay fixed, e.g. [atom_embedding, bond_embedding]"
    )
    loss: LossWeights = LossWeights()
    iterate: Iterate = Iterate()
    validation: Validation = Field(Validation(), json_schema_extra=LIMIT)


class Dynamics(Section):
    """Settings of every MD run."""

    timestep_fs: Timestep_fs = Field(
        4.0, description="MD time step of equilibration and production (benchmarks/timestep.md)"
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="where the potential runs", json_schema_extra=EXECUTION
    )
    threads: Annotated[int, Field(gt=0, le=1024)] = Field(
        2, description="CPU threads of a job that runs the potential", json_schema_extra=EXECUTION
    )
    thermostat: Literal["bussi", "nose_hoover"] = Field(
        "bussi",
        description="thermostat of NVT production and equilibration; other stages use bussi",
    )
    thermostat_tau_fs: RelaxationTime_fs = Field(
        100.0, description="relaxation time of the temperature"
    )
    barostat_tau_fs: RelaxationTime_fs = Field(
        1000.0, description="relaxation time of the pressure"
    )
    compressibility_1_GPa: Annotated[float, Field(ge=1e-5, le=100)] = Field(
        0.1,
        description="compressibility that the barostat assumes; sets how fast the volume relaxes, "
        "not its mean",
    )
    pressure_GPa: Annotated[float, Field(ge=-20, le=200)] = Field(
        0.0, description="pressure of NPT runs"
    )
    sample_interval_ps: Time_ps = Field(
        0.1, description="time between rows of thermo tables before production"
    )
    checkpoint_interval_ps: Time_ps = Field(
        10.0,
        description="longest simulated time between checkpoints",
        json_schema_extra=EXECUTION,
    )
    checkpoint_wall_minutes: Positive = Field(
        10.0,
        description="longest wall time between checkpoints",
        json_schema_extra=EXECUTION,
    )

    @property
    def timestep_ps(self) -> float:
        """Time of one step."""
        return self.timestep_fs / 1000

    def steps(self, time_ps: float) -> int:
        """Steps in a time, at least one."""
        return max(1, round(time_ps / self.timestep_ps))

    def with_timestep_fs(self, timestep_fs: float) -> Self:
        """The same settings with another time step."""
        return self.model_copy(update={"timestep_fs": timestep_fs})


class GlassLimits(Section):
    """Limits of the checks of glasses and segments; what lies outside them is flagged."""

    least_melt_displacement_A: NonNegative = Field(
        4.0,
        description="smallest root mean squared displacement of mobile ions and central cations in "
        "the melt",
    )
    least_distance_A: NonNegative = Field(1.2, description="smallest distance of two atoms")
    temperature_tolerance: Positive = Field(
        0.1, description="largest relative deviation of the mean temperature from the target"
    )
    density_drift: Positive = Field(
        0.05,
        description="largest relative drift of the density over the last half of the NPT stage",
    )
    density_ratio: Bounds = Field(
        (0.7, 1.3),
        description="smallest and largest final density over the composition's density guess",
    )
    energy_drift_meV_atom_ps: Positive = Field(
        1.0, description="largest drift of the conserved energy"
    )
    long_range_order: Positive = Field(
        0.4,
        description="largest |g(r) - 1| of the most frequent element at 7 to 10 Å, beyond noise",
    )
    least_coordinated_fraction: Fraction01 = Field(
        0.5,
        description="smallest share of central cations with as many ligands as the column "
        "coordination of the compositions says (four if it says nothing)",
    )
    most_outside_training: Fraction01 = Field(
        0.1,
        description="largest share of atoms farther from the training set than 99 % of its own "
        "atoms are, in the model's features, in a segment; 0.3.0 and r2scan do not know their "
        "training set",
    )


class Quench(Section):
    """From a packing of ions to a glass: pack, melt, quench and anneal."""

    from_library: Text | None = Field(
        None,
        description="folder of finished glasses to start from, such as the quench/ of another "
        "campaign; the protocol below then makes none. null melts and quenches",
    )
    packing_density: RelativeDensity = Field(
        0.9, description="density of packing and melt over the composition's density guess"
    )
    melt_timestep_fs: Timestep_fs = Field(
        2.0, description="MD time step of melt, quench and anneal, and of the stability test"
    )
    melt_temperature_K: Temperature = Field(1500.0, description="temperature of the melt")
    melt_ps: Time_ps = Field(100.0, description="length of the NVT melt, at the packing density")
    quench_rate_K_ps: Positive = Field(5.0, description="cooling rate")
    constant_pressure_below_K: Temperature | None = Field(
        None,
        description="temperature from which the quench goes on at dynamics.pressure_GPa, so that "
        "the network forms at the glass's own density; choose one at which the melt does not boil. "
        "null keeps the melt's volume to the end of the quench",
    )
    glass_temperature_K: Temperature = Field(
        300.0, description="temperature at which the quench ends"
    )
    anneal_ps: Time_ps = Field(50.0, description="length of the NPT stage at that temperature")
    attempts: Annotated[int, Field(gt=0, le=100)] = Field(
        3,
        description="largest number of attempts, each with a seed of its own, until a glass is "
        "within the limits; a finished glass is kept until its file is removed",
        json_schema_extra=LIMIT,
    )
    limits: GlassLimits = Field(GlassLimits(), json_schema_extra=LIMIT)

    @property
    def protocol(self) -> dict[str, Any]:
        """What a glass is made by: the settings that its result depends on."""
        return {k: v for k, v in self.values("physics").items() if k != "from_library"}

    @property
    def cooling_ps(self) -> float:
        """Length of the quench from the melt to the glass temperature."""
        return (self.melt_temperature_K - self.glass_temperature_K) / self.quench_rate_K_ps


class StopWhen(Section):
    """Stop criterion of a trajectory, applied after every segment from `least_ps` on."""

    relative_error: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.1, description="largest standard error over the value, for each of the quantities"
    )
    least_ps: Time_ps = Field(description="shortest length; production.length_ps is the longest")
    quantities: tuple[Literal["D_mobile", "sigma_einstein"], ...] = Field(
        ("D_mobile", "sigma_einstein"),
        min_length=1,
        description="quantities that must be that certain",
    )


class Production(Section):
    """NPT equilibration at each temperature, then long NVT production."""

    equilibrate_ps: Time_ps = Field(
        50.0,
        description="length of the NPT stage that finds the density, and of the NVT stage after it",
    )
    length_ps: Time_ps = Field(
        10_000.0,
        description="production length of one trajectory; with stop_when the largest length",
    )
    stop_when: StopWhen | None = Field(
        None,
        description="stop criterion before length_ps, e.g. "
        "{relative_error: 0.1, least_ps: 2000.0, quantities: [D_mobile, sigma_einstein]}; "
        "null for none",
    )
    segment_ps: Time_ps = Field(1_000.0, description="length of one segment: one job, one file")
    frame_interval_ps: Time_ps = Field(0.1, description="time between stored frames")
    position_precision_A: Annotated[float, Field(ge=1e-6, le=0.1)] = Field(
        0.001, description="precision of stored positions"
    )
    batch: Annotated[int, Field(gt=0, le=1000)] = Field(
        1,
        description="trajectories of a composition that one job steps together, on a GPU as one "
        "evaluation; choose it before production starts, since another number makes other jobs",
    )
    keep_every: Annotated[int, Field(ge=0)] = Field(
        1,
        description="frames kept after the analysis of a trajectory: 1 all, n every n-th, 0 none; "
        "a trajectory can be made longer in any case, but for stop_when, which needs some frames",
    )

    @cached_property
    def segments(self) -> int:
        """Number of segments in one trajectory; with `stop_when` the largest number."""
        return whole_multiple(self.length_ps, self.segment_ps) or 0

    @cached_property
    def least_segments(self) -> int:
        """Number of segments before `stop_when` may end a trajectory."""
        least_ps = self.stop_when.least_ps if self.stop_when else self.length_ps
        return whole_multiple(least_ps, self.segment_ps) or 0


class Transport(Section):
    """Analysis of one trajectory."""

    discard_ps: NonNegative = Field(50.0, description="time left out at the start of production")
    reference_frame: Literal["center_of_mass", "framework", "none"] = Field(
        "center_of_mass",
        description="atoms whose drift is removed; framework is all but the mobile ions",
    )
    charges: dict[Element, Charge] = Field(
        {"Li": 1, "Na": 1, "K": 1, "Al": 3, "Ga": 3, "In": 3, "Cl": -1, "Br": -1, "I": -1, "O": -2},
        description="formal charges in e; those in a composition's row take precedence",
    )
    rdf_cutoff_A: Annotated[float, Field(ge=3, le=30)] = Field(
        10.0, description="largest distance of g(r)"
    )
    cutoffs_A: Annotated[dict[str, Cutoff_A], AfterValidator(_of_pairs)] = Field(
        {},
        description="first-shell cutoffs by pair, e.g. {Al-Cl: 2.9}; first minimum of g(r) for the "
        "others",
    )
    residence_tolerance_ps: NonNegative = Field(
        0.5, description="an absence of a mobile ion up to this long does not end its residence"
    )
    diffusive_tolerance: Positive = Field(
        0.1,
        description="largest deviation of the log-log slope of a diffusive MSD from 1",
    )
    least_displacement_A: NonNegative = Field(
        1.0, description="smallest root mean squared displacement that counts as diffusion"
    )
    jump_length_A: Annotated[float, Field(ge=0.2, le=20)] = Field(
        1.5,
        description="a mobile ion has jumped when it stays this far from its last resting place",
    )


class Report(Section):
    """Figures and report."""

    exclude_flagged: bool = Field(True, description="leave flagged trajectories out of summaries")


CAMPAIGN_NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$"


class Config(Section):
    """A whole campaign."""

    campaign: str = Field(
        "paper",
        pattern=CAMPAIGN_NAME,
        description="name; results are written to results/<campaign>",
    )
    seed: Annotated[int, Field(ge=0, le=10**15)] = Field(
        20260106, description="seed of the campaign, from which those of all jobs derive"
    )
    compositions: Text = Field(
        "shipped",
        description="tab-separated table of the compositions; shipped: the paper's 27",
    )
    formula_units: Count = Field(248, description="formula units per glass; 248 give 1302 atoms")
    replicas: Annotated[int, Field(gt=0, le=1000)] = Field(
        3, description="independent glasses of each composition"
    )
    temperatures_K: tuple[Annotated[int, Field(ge=50, le=5000)], ...] = Field(
        (500, 600, 700, 800), min_length=1, description="production temperatures"
    )
    dataset: Dataset = Dataset()
    finetune: Finetune = Finetune()
    dynamics: Dynamics = Dynamics()
    quench: Quench = Quench()
    production: Production = Production()
    transport: Transport = Transport()
    report: Report = Report()

    @model_validator(mode="after")
    def _rounds_are_labelled(self) -> Config:
        key, rounds = "finetune.iterate.rounds", self.finetune.iterate.rounds
        if rounds and self.finetune.model != "train":
            raise InputError(
                key, rounds, f"set finetune.model to train; it is {self.finetune.model}"
            )
        if rounds and self.dataset.label.engine == "none":
            raise InputError(
                key, rounds, "choose what labels its frames: dataset.label.engine gpaw, vasp or ase"
            )
        return self

    @model_validator(mode="after")
    def _the_calculator_is_named(self) -> Config:
        label = self.dataset.label
        if label.engine == "ase" and not label.ase.calculator:
            key = "dataset.label.ase.calculator"
            raise InputError(key, "", "name one, for example ase.calculators.emt:EMT")
        return self

    @model_validator(mode="after")
    def _frames_come_from_somewhere(self) -> Config:
        dataset, sample = self.dataset, self.dataset.sample
        if dataset.label.engine == "none":
            if not dataset.sources:
                raise InputError(
                    "dataset.sources", [], "name labelled frames; dataset.label.engine is none"
                )
            return self
        key = "dataset.sample.frames_per_composition"
        large = min(sample.large_frames, sample.frames_per_composition)
        per_packing = len(sample.temperatures_K) * (
            sample.steps_per_temperature // sample.frame_interval
        )
        packings = len(sample.relative_densities) * sample.packings_per_density
        for wanted, candidates in (
            (large, per_packing),
            (sample.frames_per_composition - large, packings * per_packing),
        ):
            if wanted > candidates:
                raise InputError(
                    key,
                    sample.frames_per_composition,
                    f"sampling gives {candidates} candidates for {wanted} of them; sample more "
                    "often (frame_interval), longer (steps_per_temperature) or from more packings "
                    "(packings_per_density)",
                )
        return self

    @model_validator(mode="after")
    def _training_can_learn(self) -> Config:
        finetune = self.finetune
        if finetune.warmup_epochs > finetune.epochs:
            key = "finetune.warmup_epochs"
            raise InputError(
                key, finetune.warmup_epochs, f"at most finetune.epochs ({finetune.epochs})"
            )
        loss = finetune.loss
        if not (loss.energy or loss.force or loss.stress):
            raise InputError("finetune.loss.force", 0, "give one of the losses a weight above 0")
        return self

    @model_validator(mode="after")
    def _the_melt_is_hotter(self) -> Config:
        key, melt_K = "quench.melt_temperature_K", self.quench.melt_temperature_K
        glass_K = self.quench.glass_temperature_K
        if melt_K <= glass_K:
            raise InputError(
                key, melt_K, f"make it higher than quench.glass_temperature_K ({glass_K:g})"
            )
        return self

    @model_validator(mode="after")
    def _the_volume_is_free_within_the_quench(self) -> Config:
        free_K, quench = self.quench.constant_pressure_below_K, self.quench
        if free_K and not quench.glass_temperature_K < free_K <= quench.melt_temperature_K:
            raise InputError(
                "quench.constant_pressure_below_K",
                free_K,
                f"give one above quench.glass_temperature_K ({quench.glass_temperature_K:g}) and "
                f"at most quench.melt_temperature_K ({quench.melt_temperature_K:g}), or null",
            )
        return self

    def sampling(self, generation: str) -> Sample:
        """How a round of training samples; `generation` is empty for the first."""
        if not generation:
            return self.dataset.sample
        frames = self.finetune.iterate.frames_per_composition
        changes = {"frames_per_composition": frames, "large_frames": 0}
        return self.dataset.sample.model_copy(update=changes)

    @cached_property
    def batches(self) -> tuple[tuple[tuple[int, int], ...], ...]:
        """Temperature and replica of the trajectories of each production job of a composition."""
        every = list(itertools.product(self.temperatures_K, range(self.replicas)))
        size = self.production.batch
        return tuple(tuple(every[first : first + size]) for first in range(0, len(every), size))

    @model_validator(mode="after")
    def _times_fit(self) -> Config:
        production, step_ps = self.production, self.dynamics.timestep_fs / 1000
        shortest_key, shortest_ps = "production.length_ps", production.length_ps
        if production.stop_when:
            if production.batch > 1:
                raise InputError(
                    "production.batch",
                    production.batch,
                    "make it 1: with production.stop_when each trajectory has a length of its own",
                )
            shortest_key, shortest_ps = (
                "production.stop_when.least_ps",
                production.stop_when.least_ps,
            )
            if shortest_ps > production.length_ps:
                raise InputError(
                    shortest_key,
                    shortest_ps,
                    f"at most production.length_ps ({production.length_ps:g})",
                )
        for key, total, part_key, part in (
            (shortest_key, shortest_ps, "production.segment_ps", production.segment_ps),
            ("production.length_ps", production.length_ps, "production.segment_ps",
             production.segment_ps),
            ("production.segment_ps", production.segment_ps, "production.frame_interval_ps",
             production.frame_interval_ps),
            ("production.frame_interval_ps", production.frame_interval_ps, "dynamics.timestep_fs",
             step_ps),
            ("production.segment_ps", production.segment_ps, "keep_every frame intervals",
             production.frame_interval_ps * (production.keep_every or 1)),
        ):  # fmt: skip
            if whole_multiple(total, part) is None:
                raise InputError(key, total, f"make it a whole multiple of {part_key} ({part:g})")
        for key, most in (("segments", MOST_SEGMENTS), ("frames of a segment", 10_000_000)):
            count = production.segments
            if key != "segments":
                count = whole_multiple(production.segment_ps, production.frame_interval_ps) or 0
            if count > most:
                raise InputError(
                    "production.segment_ps",
                    production.segment_ps,
                    f"makes {count} {key}; at most {most} are possible",
                )
        for key, value in (
            ("transport.discard_ps", self.transport.discard_ps),
            ("transport.residence_tolerance_ps", self.transport.residence_tolerance_ps),
        ):
            if value >= shortest_ps:
                raise InputError(
                    key,
                    value,
                    f"leave something to analyse: less than {shortest_key} ({shortest_ps:g})",
                )
        return self

    @model_validator(mode="after")
    def _no_stage_is_shorter_than_a_step(self) -> Config:
        quench, step_ps = self.quench, self.dynamics.timestep_ps
        quench_step_ps = quench.melt_timestep_fs / 1000
        for key, time_ps, least_ps in (
            ("quench.melt_ps", quench.melt_ps, quench_step_ps),
            ("quench.anneal_ps", quench.anneal_ps, quench_step_ps),
            ("production.equilibrate_ps", self.production.equilibrate_ps, step_ps),
            ("dynamics.sample_interval_ps", self.dynamics.sample_interval_ps, step_ps),
            ("dynamics.sample_interval_ps", self.dynamics.sample_interval_ps, quench_step_ps),
        ):
            if time_ps < least_ps:
                raise InputError(key, time_ps, f"at least one time step ({least_ps:g} ps)")
        if quench.cooling_ps < quench_step_ps:
            raise InputError(
                "quench.quench_rate_K_ps",
                quench.quench_rate_K_ps,
                f"cools to the glass in less than one time step ({quench_step_ps:g} ps); make it "
                "smaller",
            )
        return self

    def select(self, *keys: str) -> dict[str, Any]:
        """Values by dotted key, as JSON holds them, for example `quench.melt_ps`.

        Raises:
            KeyError: no such key, or one of a kind that changes no result.
        """
        selected = {}
        for key in keys:
            section: Section | None = self
            *path, name = key.split(".")
            for part in path:
                section = getattr(section, part)
            selected[key] = section.values("physics")[name] if section is not None else None
        return selected

    def hash(self) -> str:
        """First 16 hexadecimal characters of the SHA-256 of all values but those of execution."""
        text = json.dumps(self.values("physics", "limit"), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]
