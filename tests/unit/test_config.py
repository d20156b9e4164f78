"""Every wrong configuration ends in one message that names key, value and remedy."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from vitrion.base.errors import InputError
from vitrion.campaign.opening import campaign_compositions
from vitrion.campaign.reference import config_reference
from vitrion.config import Config, Section, load_config, merge, validate_config
from vitrion.config.loading import RETIRED
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
    assert (
        "| `melt_ps` | `100.0` | number > 0 | length of the NVT melt, at the packing density |"
        in lines
    )
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


@pytest.mark.parametrize(
    ("overlay", "message"),
    [
        ({"productoin": {}}, "productoin = {}: unknown key; did you mean production?"),
        ({"production": {"lenght_ps": 3}}, "lenght_ps = 3: unknown key; did you mean length_ps?"),
        ({"dynamics": {"timestep_ps": 0.002}}, "did you mean timestep_fs?"),
        ({"dynamics": {"timestep_fs": 0.002}}, "dynamics.timestep_fs = 0.002: Input should"),
        ({"dynamics": {"device": "tpu"}}, "dynamics.device = 'tpu'"),
        ({"temperatures_K": [-500]}, "temperatures_K.0 = -500: Input should be greater"),
        ({"temperatures_K": ["500 C"]}, "temperatures_K.0 = '500 C'"),
        ({"temperatures_K": [600, 600]}, "temperatures_K = [600, 600]: list each once"),
        ({"temperatures_K": []}, "temperatures_K"),
        ({"production": {"segment_ps": 3}}, "a whole multiple of production.segment_ps (3)"),
        ({"production": {"frame_interval_ps": 0.3}}, "multiple of production.frame_interval"),
        ({"production": {"frame_interval_ps": 0.001}}, "multiple of dynamics.timestep_fs (0.002)"),
        ({"transport": {"discard_ps": 10_000}}, "less than production.length_ps (10000)"),
        ({"campaign": "../elsewhere"}, "campaign = '../elsewhere'"),
        ({"campaign": ".."}, "campaign = '..'"),
        ({"transport": {"cutoffs_A": {"AlCl": 2.9}}}, "write AlCl as two elements"),
        ({"dataset": {"label": {"engine": "ase"}}}, "dataset.label.ase.calculator = '': name one"),
        ({"temperatures_K": 600}, "temperatures_K = 600: give a list"),
        ({"dynamics": None}, "dynamics = None: give the keys of the section, or leave it out"),
        ({"production": {"length_ps": float("inf")}}, "production.length_ps = inf"),
        ({"quench": {"melt_ps": float("nan")}}, "quench.melt_ps = nan"),
        ({"quench": {"melt_temperature_K": 300}}, "above quench.glass_temperature_K (300)"),
        ({"quench": {"limits": {"density_ratio": [1.3, 0.5]}}}, "give the smaller number first"),
        ({"seed": -1}, "seed = -1"),
        ({"replicas": 0}, "replicas = 0"),
        (
            {"finetune": {"iterate": {"rounds": 1}, "model": "train"}},
            "finetune.iterate.rounds = 1: choose what",
        ),
        ({"finetune": {"iterate": {"rounds": 1}, "model": "pretrained"}}, "set finetune.model"),
        ({"quench": {"limits": {"least_distance_A": "1.2 A"}}}, "quench.limits.least_distance_A"),
        (
            {"production": {"until": {"least_ps": 2000.0}}},
            "production.until = {'least_ps': 2000.0}: is now called production.stop_when",
        ),
        (
            {"finetune": {"accept": {"override": []}}},
            "finetune.accept = {'override': []}: is now called finetune.validation",
        ),
        (
            {"finetune": {"validation": {"hot_md_ps": 1.0}}},
            "hot_md_ps = 1.0: is now called finetune.validation.stability_ps",
        ),
        (
            {"finetune": {"validation": {"hot_md_temperature_K": 900}}},
            "is now called finetune.validation.stability_temperature_K",
        ),
        (
            {"finetune": {"validation": {"override": ["hot_md_length"]}}},
            "finetune.validation.override.0 = 'hot_md_length': is now called stability_length",
        ),
        (
            {"production": {"stop_when": {"least_ps": 2e3, "quantities": ["D_alkali"]}}},
            "production.stop_when.quantities.0 = 'D_alkali': is now called D_mobile",
        ),
    ],
)  # fmt: skip
def test_refused(overlay: dict, message: str) -> None:
    with pytest.raises(InputError) as caught:
        validate_config(merge(PAPER, overlay))
    assert message in str(caught.value)


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


@pytest.mark.parametrize("content", [b"campaign: [", b"- a\n- b\n", b"campaign: caf\xe9\n"])
def test_not_a_configuration(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bad.yaml"
    path.write_bytes(content)
    with pytest.raises(InputError, match="configfile"):
        load_config(path)


def test_hash_follows_the_values() -> None:
    assert Config(campaign="a").hash() == Config(campaign="a").hash()
    assert Config(campaign="a").hash() != Config(campaign="a", seed=1).hash()
