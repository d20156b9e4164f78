"""Every wrong configuration ends in one message that names key, value and remedy."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest
import yaml

from vitrion.base.errors import InputError
from vitrion.campaign.opening import campaign_compositions
from vitrion.campaign.reference import config_reference
from vitrion.config import Config, Section, load_config, merge, validate_config
from vitrion.config.loading import RETIRED
from vitrion.config.models import Layer
from vitrion.config.yaml_text import config_schema, config_yaml
from vitrion.structure.compositions import COLUMNS

ROOT = Path(__file__).parents[2]
PAPER = yaml.safe_load((ROOT / "config.yaml").read_text())
TOY = yaml.safe_load((ROOT / "tests/toy/config.yaml").read_text())


def test_config_yaml_is_what_the_models_say() -> None:
    assert (ROOT / "config.yaml").read_text() == config_yaml(Config()), (
        "write it again: vitrion config > config.yaml"
    )
    assert Config(**PAPER) == Config()


def test_reference_is_what_the_models_say() -> None:
    assert (ROOT / "docs/configuration.md").read_text() == config_reference(), (
        "write it again: vitrion config --reference > docs/configuration.md"
    )


def test_reference_has_every_key_with_its_limits() -> None:
    lines = config_reference().splitlines()
    assert "| `quench_rate_K_ps` | `5.0` | number > 0 | cooling rate |" in lines
    keys = {line.split("`")[1] for line in lines if line.startswith("| `")}
    assert set(re.findall(r"^ *(\w+):", config_yaml(Config()), re.MULTILINE)) <= keys | {
        part for line in lines if line.startswith("## ") for part in line[3:].split(".")
    }
    assert set(COLUMNS) <= keys


def sections(section: type[Section] = Config) -> Iterator[type[Section]]:
    yield section
    for key in section.model_fields:
        if (inner := section.inner(key)) is not None:
            yield from sections(inner)


def key_paths(section: type[Section] = Config, above: tuple[str, ...] = ()) -> list[tuple]:
    """The path of every key that is no section."""
    found = []
    for key in section.model_fields:
        inner = section.inner(key)
        found += key_paths(inner, (*above, key)) if inner else [(*above, key)]
    return found


def test_every_key_has_a_description() -> None:
    """In the model, so that config.yaml, the schema and the reference have it too."""
    bare = [
        f"{section.__name__}.{key}"
        for section in sections()
        for key, field in section.model_fields.items()
        if section.inner(key) is None and not (field.description or "").strip()
    ]
    assert not bare
    assert all((section.__doc__ or "").strip() for section in sections())


def test_execution_and_limits_are_no_physics() -> None:
    config = validate_config(merge(PAPER, {"dynamics": {"device": "cpu"}}))
    physics = config.values("physics")
    assert "timestep_fs" in physics["dynamics"]
    assert not {"device", "threads", "checkpoint_wall_minutes"} & physics["dynamics"].keys()
    assert not {"limits", "attempts"} & physics["quench"].keys()
    assert config.hash() == Config().hash()
    stricter = validate_config(merge(PAPER, {"quench": {"limits": {"density_drift": 0.01}}}))
    assert stricter.values("physics") == Config().values("physics")
    assert stricter.hash() != Config().hash()


def test_keys_are_selected_one_by_one() -> None:
    assert Config().select("seed", "quench.melt_ps", "production.stop_when.least_ps") == {
        "seed": 20260106,
        "quench.melt_ps": 100.0,
        "production.stop_when.least_ps": None,
    }
    for key in ("dynamics.threads", "quench.limits", "production.until"):
        with pytest.raises(KeyError):
            Config().select(key)


def test_order_of_names_changes_no_value() -> None:
    cutoffs_A = {"Al-O": 2.4, "Al-Cl": 2.9}
    one, other = (
        validate_config(merge(PAPER, {"transport": {"cutoffs_A": dict(items)}}))
        for items in (cutoffs_A.items(), reversed(cutoffs_A.items()))
    )
    key = "transport.cutoffs_A"
    assert str(one.select(key)) == str(other.select(key))


def test_schema_refuses_unknown_keys() -> None:
    schema = json.loads(config_schema())
    assert schema["additionalProperties"] is False
    assert set(schema["properties"]) == set(Config.model_fields)


def test_paper_campaign() -> None:
    config = load_config(ROOT / "config.yaml")
    assert config.production.segments == 10
    assert len(campaign_compositions(config)) == 27


def test_overlay_replaces_compositions_and_merges_sections() -> None:
    config = load_config(ROOT / "config.yaml", ROOT / "tests/toy/config.yaml")
    assert config.campaign == "toy"
    assert set(campaign_compositions(config)) == {"LiAlCl", "NaGaBr", "KInI"}
    assert config.dynamics.timestep_fs == PAPER["dynamics"]["timestep_fs"]


# Wrong settings, one a line, each with a part of the message that it ends in.
REFUSED = """
replicas: true | replicas = True: give a whole number from 1 to 1000, for example 3
replicas: 2.5 | replicas = 2.5: give a whole number
replicas: two | replicas = 'two': give a whole number
replicas: 0 | replicas = 0: give a whole number from 1
replicas: | replicas = None: give a whole number
replicas: 1000000000 | from 1 to 1000
seed: -1 | seed = -1: give a whole number from 0
campaign: ".." | campaign = '..': use letters, digits
campaign: ../elsewhere | campaign = '../elsewhere': use letters
campaign: "" | campaign = '': use letters
campaign: 5 | campaign = 5: give a text, for example paper
compositions: "" | compositions = '': give a text, for example shipped
temperatures_K: 600 | temperatures_K = 600: write a list: [600]
temperatures_K: [] | whole numbers from 50 to 5000, at least one, for example [500,
temperatures_K: [600, -500] | temperatures_K (entry 2) = -500: give a whole number from 50
temperatures_K: ["500 C"] | temperatures_K (entry 1) = '500 C'
temperatures_K: [600, 600] | temperatures_K = [600, 600]: list each once; 600 is there twice
temperatures_K: [600, true] | entry 2 is true; true and false are no numbers
productoin: {} | productoin = {}: unknown key; did you mean production?
Production: {} | did you mean production?
whatever: 1 | unknown key; known: campaign, seed,
5: 3 | 5 = 3: this key is not read as text; write it in quotes
timestep_fs: 2 | unknown key here; write it as dynamics: {timestep_fs: 2}
dynamics.timestep_fs: 2 | unknown key here; write it as dynamics: {timestep_fs: 2}
production: {timestep_fs: 2} | production.timestep_fs = 2: unknown key here; write it as dynamics
quench: {replicas: 2} | quench.replicas = 2: unknown key here; write it as replicas: 2
split: {held_out: []} | unknown key here; write it as dataset: {split: ...}
frames_per_composition: 3 | it belongs to dataset.sample or finetune.iterate
timestep_ps: 0.002 | did you mean dynamics: {timestep_fs: 0.002}?
production: {lenght_ps: 3} | production.lenght_ps = 3: unknown key; did you mean length_ps?
dynamics: {timestep_ps: 0.002} | did you mean timestep_fs?
dynamics: {timestep_fs: 0.002} | dynamics.timestep_fs = 0.002: give a number from 0.1 to 10
dynamics: {device: tpu} | dynamics.device = 'tpu': give one of auto, cpu, cuda
dynamics: {sample_interval_ps: 1e-9} | at least one time step (0.004 ps)
dynamics: | dynamics = None: give the keys of the section (timestep_fs, device
production: 5 | production = 5: give the keys of the section
production: {segment_ps: 3} | a whole multiple of production.segment_ps (3)
production: {frame_interval_ps: 0.3} | multiple of production.frame_interval
production: {frame_interval_ps: 0.001} | multiple of dynamics.timestep_fs (0.004)
production: {length_ps: .inf} | production.length_ps = inf: give a number > 0 and ≤ 10000000
production: {length_ps: "10 ns"} | production.length_ps = '10 ns': give a number
production: {length_ps: 1e15} | give a number > 0 and ≤ 10000000, for example 10000.0
production: {segment_ps: 0.1} | makes 100000 segments; at most 10000 are possible
production: {stop_when: true} | give the keys of the section (relative_error, least_ps
production: {stop_when: {relative_error: 0.1}} | least_ps = None: is missing; give a number
production: {stop_when: {least_ps: 2e3, quantities: []}} | give a list of D_mobile, sigma_einstein
production: {until: {least_ps: 2e3}} | is now called production.stop_when
production: {stop_when: {least_ps: 2e3, quantities: [D_alkali]}} | is now called D_mobile
quench: {melt_ps: .nan} | quench.melt_ps = nan
quench: {melt_ps: 1e-6} | quench.melt_ps = 1e-06: at least one time step
quench: {quench_rate_K_ps: 1e9} | cools to the glass in less than one time step
quench: {melt_temperature_K: 300} | make it higher than quench.glass_temperature_K (300)
quench: {constant_pressure_below_K: 300} | give one above quench.glass_temperature_K (300)
quench: {constant_pressure_below_K: 1600} | at most quench.melt_temperature_K (1500), or null
quench: {glass_temperature_K: 2000} | quench.melt_temperature_K = 1500.0: make it higher than
quench: {limits: {density_ratio: [1.3, 0.5]}} | give the smaller number first
quench: {limits: {density_ratio: [1.3]}} | density_ratio = [1.3]: give a list of 2 numbers > 0
quench: {limits: {density_ratio: 1}} | density_ratio = 1: give a list of 2 numbers > 0, for example
quench: {limits: {least_distance_A: 1.2 A}} | least_distance_A = '1.2 A': give a number
transport: {discard_ps: 10_000} | less than production.length_ps (10000)
transport: {residence_tolerance_ps: 1e6} | less than production.length_ps (10000)
transport: {charges: {Xx: 1}} | transport.charges.Xx = 1: Xx is no element that CHGNet knows
transport: {charges: {Li: 50}} | transport.charges.Li = 50: give a number from -8 to 8
transport: {charges: {Li: one}} | transport.charges.Li = 'one': give a number from -8 to 8
transport: {charges: {Li: true}} | Li is true; true and false are no numbers
transport: {charges: {no: 1}} | transport.charges.False = 1: this key is not read as text
transport: {cutoffs_A: {AlCl: 2.9}} | write AlCl as two elements
transport: {cutoffs_A: {Al-Xx: 2.9}} | Xx is no element
transport: {cutoffs_A: {Al-Cl: -1}} | transport.cutoffs_A.Al-Cl = -1: give a number from 0.5 to 30
transport: {cutoffs_A: {Al-Cl: 3, Cl-Al: 3}} | give Al-Cl or Cl-Al, not both
transport: {rdf_cutoff_A: 1000} | give a number from 3 to 30, for example 10.0
dataset: {sources: []} | name labelled frames; dataset.label.engine is none
dataset: {sources: [""]} | dataset.sources (entry 1) = '': give a text
dataset: {sources: [a, a]} | list each once; a is there twice
dataset: {sources: resources/dft} | dataset.sources = 'resources/dft': write a list: [resources/dft]
dataset: {label_slope: 1} | give a list of 2 numbers > 0 or null, for example [0.3, 3.0]
dataset: {split: {held_out: LiAlCl}} | write a list: [LiAlCl]
dataset: {label: {engine: ase}} | dataset.label.ase.calculator = '': name one
dataset: {label: {gpaw: {kpoints: 4}}} | give mean_value or a list of 3 whole numbers from 1
dataset: {label: {gpaw: {valence_electrons: {Xx: 3}}}} | Xx is no element
dataset: {label: {vasp: {incar: 5}}} | incar = 5: give a table of
dataset: {label: {engine: gpaw}, sample: {frame_interval: 200}} | sampling gives 0 candidates
dataset: {label: {engine: gpaw}, sample: {frames_per_composition: 500}} | 120 candidates for 499
finetune: {freeze: [nope]} | finetune.freeze (entry 1) = 'nope': give one of comp
finetune: {model: ""} | finetune.model = '': give a text, for example shipped
finetune: {learning_rate: 5} | give a number > 0 and ≤ 1, for example 0.002
finetune: {warmup_epochs: 500} | at most finetune.epochs (100)
finetune: {loss: {energy: 0, force: 0, stress: 0}} | give one of the losses a weight above 0
finetune: {iterate: {rounds: 1}, model: train} | finetune.iterate.rounds = 1: choose what
finetune: {iterate: {rounds: 1}, model: pretrained} | set finetune.model
finetune: {accept: {override: []}} | finetune.accept = {'override': []}: is now called
finetune: {validation: {hot_md_ps: 1.0}} | hot_md_ps = 1.0: is now called
finetune: {validation: {override: [hot_md_length]}} | is now called stability_length
report: true | give the keys of the section (exclude_flagged
report: {exclude_flagged: 5} | give true or false
"""


@pytest.mark.parametrize("line", REFUSED.strip().splitlines())
def test_refused(line: str) -> None:
    settings, _, message = line.partition("|")
    with pytest.raises(InputError) as caught:
        validate_config(merge(PAPER, yaml.safe_load(settings)))
    assert message.strip() in str(caught.value)


WRONG = (True, float("nan"), -1, 1e300, "", "5 ps", [1, 1], [True], {"a": 1}, {1: 2}, None)
PYTHON = re.compile(r"\b(str|int|float|tuple|dict|valid|Input|Value error|pydantic|Extra)\b")


@pytest.mark.parametrize("path", key_paths(), ids=".".join)
def test_any_value_is_taken_or_refused_in_one_message(path: tuple[str, ...]) -> None:
    """Whatever a key is given: no other exception, and no word of Python's or pydantic's."""
    refused = []
    for value in WRONG:
        overlay = value
        for key in reversed(path):
            overlay = {key: overlay}
        try:
            config = validate_config(merge(PAPER, overlay))
            json.dumps(config.values("physics", "execution", "limit"), allow_nan=False)
        except InputError as error:
            refused.append(error)
    assert refused
    for error in refused:
        assert not PYTHON.search(error.remedy), str(error)
        assert len(str(error)) < 2000


def test_retired_names_lead_to_keys_that_exist() -> None:
    for old, new in RETIRED.items():
        *path, key = new.split(".")
        section = Config
        for part in path:
            section = section.inner(part)
        assert key in section.model_fields, f"{old} is called {new}, which does not exist"


def test_all_errors_are_reported_at_once() -> None:
    with pytest.raises(InputError) as caught:
        validate_config(merge(PAPER, {"seeed": 1, "replicas": -2}))
    assert "seeed" in str(caught.value)
    assert "replicas = -2" in str(caught.value)


def test_charged_composition_is_refused() -> None:
    config = validate_config(merge(PAPER, {"transport": {"charges": {"Al": 2}}}))
    with pytest.raises(InputError, match="not neutral"):
        campaign_compositions(config)


def test_element_without_charge_is_refused(tmp_path: Path) -> None:
    table = tmp_path / "compositions.tsv"
    rows = (ROOT / "tests/toy/compositions.tsv").read_text()
    table.write_text(rows.replace("Cl,O\tLiAlCl2.5O0.75", "Cl,S\tLiAlCl2.5S0.75"))
    with pytest.raises(InputError, match=r"charges of LiAlCl .*no charge of S; add S="):
        campaign_compositions(Config(campaign="x"), table)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"campaign: [", "is not YAML in line 1"),
        (b"a:\n\t- b", "is not YAML in line 2"),
        (b"- a\n- b\n", "must hold keys and values"),
        (b"campaign: caf\xe9\n", "save it as UTF-8"),
        (bytes(range(256)), "save it as UTF-8"),
        (b"\x00\x01", "is not YAML"),
        (b"[" * 5000, "is not YAML"),
        (b"seed: 2026-13-45\n", "is not YAML"),
        (b"seed: 1\n\nseed: 2\n", "has the key seed twice, in lines 1 and 3; remove one"),
        (b"quench: {melt_ps: 1.0, melt_ps: 2.0}", "has the key melt_ps twice"),
        (b"seed: 1\ntemperatures_K: [0600]", "has 0600 in line 2, which YAML reads as 384; write"),
        (b"quench: {melt_ps: 1:30.5}", "has 1:30.5 in line 1, which YAML reads as 90.5; write"),
        (b"seed: 1:30", "has 1:30 in line 1, which YAML reads as 90; write the decimal number"),
    ],
)
def test_not_a_configuration(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_bytes(content)
    with pytest.raises(InputError, match="configfile") as caught:
        load_config(path)
    assert message in str(caught.value)


def test_file_that_cannot_be_read(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none.yaml"):
        with pytest.raises(InputError, match="configfile = "):
            load_config(path)


def test_byte_order_mark_is_no_key(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_bytes("\ufeffseed: 5\n".encode())
    assert load_config(path).seed == 5


@pytest.mark.parametrize(
    ("overlay", "message"),
    [
        ({"formula_units": 99_996}, "formula_units = 99996: makes 524979 atoms"),
        ({"replicas": 1000, "production": {"segment_ps": 1.0}}, "at most 200000 jobs"),
        ({"transport": {"cutoffs_A": {"Al-Al": 3.0}}}, "cutoffs_A.Al-Al = 3.0: no composition"),
    ],
)
def test_what_no_composition_can_be(overlay: dict, message: str) -> None:
    overlay = merge(overlay, {"transport": {"discard_ps": 0.0, "residence_tolerance_ps": 0.0}})
    with pytest.raises(InputError) as caught:
        campaign_compositions(validate_config(merge(PAPER, overlay)))
    assert message in str(caught.value)


def test_layers_that_can_be_frozen_are_chgnets() -> None:
    from chgnet.model import CHGNet

    layers = [name for name, _ in CHGNet(verbose=False).named_children()]
    assert list(get_args(Layer)) == layers


def test_hash_follows_the_values() -> None:
    assert Config(campaign="a").hash() == Config(campaign="a").hash()
    assert Config(campaign="a").hash() != Config(campaign="a", seed=1).hash()
