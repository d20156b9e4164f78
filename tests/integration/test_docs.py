"""Every command, program and configuration in the documentation does what it says.

Commands run as they stand, in a copy of the checkout whose toy is as small as it can be. Those that
need a cluster, weeks, or minutes that another test already spends are checked in the way that
`CHECKS` names; a command that is neither fails the test.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import re
import shlex
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import ase.io
import pytest
import yaml
from ase import Atoms
from checkout import ROOT, run

from vitrion.campaign.opening import campaign_compositions
from vitrion.cli import build_parser
from vitrion.config import load_config, merge, validate_config
from vitrion.trajectory.h5md import read_samples

DOCS = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "resources").rglob("*.md")),
    ROOT / "vitrion/data/README.md",
]
WRITTEN = ("configuration.md", "tables.md")  # by the code; other tests hold them to it
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced block of a document."""

    document: Path
    language: str
    text: str

    def commands(self) -> list[str]:
        """The commands of a console block, without comments; lines that end in \\ go on."""
        lines = self.text.replace("\\\n", " ").splitlines()
        return [
            re.sub(r"\s+#.*", "", line.removeprefix("$ ")).strip()
            for line in lines
            if line.startswith("$ ")
        ]


BLOCKS = [
    Block(document, *found)
    for document in DOCS
    for found in BLOCK.findall(document.read_text())
    if document.name not in WRITTEN
]


def parses(command: str, folder: Path) -> None:
    """A vitrion command whose options are right."""
    build_parser().parse_args(shlex.split(command)[1:])


def dry_run(command: str, folder: Path) -> None:
    """Snakemake or make with the option that prints what it would do."""
    option = " --dry-run" if "--dry-run" not in command else ""
    ended = run(command + option, folder)
    assert ended.returncode == 0, ended.stdout + ended.stderr


def dry_run_in_container(command: str, folder: Path) -> None:
    """Snakemake looks for Apptainer even in a dry run; without it all other options are tried."""
    dry_run(
        command if shutil.which("apptainer") else command.replace(" --sdm apptainer", ""), folder
    )


def runs(command: str, folder: Path) -> None:
    """The command itself."""
    ended = run(command, folder)
    assert ended.returncode == 0, ended.stdout + ended.stderr


def looks(command: str, folder: Path) -> None:
    """A look at the machine, which may well lack something."""
    ended = run(command, folder)
    assert ended.returncode in (0, 1), ended.stdout + ended.stderr
    assert "Traceback" not in ended.stderr


def switches_on(command: str, folder: Path) -> None:
    """The environment is where `make` puts it."""
    assert command == ". .venv/bin/activate"
    assert "VENV ?= .venv" in (ROOT / "Makefile").read_text()


def installs(command: str, folder: Path) -> None:
    """An extra that the project has."""
    (extra,) = re.fullmatch(r"pip install -e '\.\[(\w+)\]'", command).groups()
    assert re.search(rf"^{extra} = \[", (ROOT / "pyproject.toml").read_text(), re.MULTILINE)


def names_files(command: str, folder: Path) -> None:
    """A command of another program, whose files of ours are there."""
    names = re.findall(r"resources/[\w/.-]+", command)
    assert names
    assert all((ROOT / name).is_file() for name in names)


def on_a_node(command: str, folder: Path) -> None:
    """A vitrion command that srun takes to a node."""
    parses(command[command.index("vitrion ") :], folder)


def submits(command: str, folder: Path) -> None:
    """A batch script of the shipped profile, which the user has copied; the shell can read it."""
    (name,) = re.fullmatch(r"sbatch profiles/mycluster/(\w+\.sh)", command).groups()
    ended = run(f"bash -n profiles/slurm/{name}", ROOT)
    assert ended.returncode == 0, ended.stderr


def has_recipe(command: str, folder: Path) -> None:
    """Apptainer with a recipe that is there; tests/unit/test_container.py looks into it."""
    assert (ROOT / command.split()[-1]).is_file()


def selects_tests(command: str, folder: Path) -> None:
    """pytest with the option that lists what it would run."""
    ended = run(f"{command} --collect-only -q", folder)
    assert ended.returncode == 0, ended.stdout + ended.stderr


# How commands are checked: the first pattern that fits the whole command. What fits none is run.
CHECKS: list[tuple[str, Callable[[str, Path], None], str]] = [
    (r"make (test|lint|bench)", dry_run, "sets up an environment; CI runs the targets"),
    (r"PIP_EXTRA_INDEX_URL=\S+ make toy", dry_run, "sets up an environment"),
    (r"\. \.venv/bin/activate", switches_on, "the tests run in an environment already"),
    (r"pip install .*", installs, "CI installs from the lock"),
    (r"snakemake( -n)?", dry_run, "the paper's campaign takes weeks"),
    (r"snakemake --configfile mine\.yaml", dry_run, "the paper's campaign takes weeks"),
    (r"snakemake .* --sdm apptainer .*", dry_run_in_container, "needs a cluster and Apptainer"),
    (r"snakemake --workflow-profile .*", dry_run, "needs a GPU or a cluster; tests/slurm runs one"),
    (r"sbatch .*", submits, "needs a cluster; tests/slurm runs Snakemake on one"),
    (r"srun .*", on_a_node, "needs a cluster"),
    (r"apptainer build .*", has_recipe, "tests/unit/test_container.py builds it where it can"),
    (r"vitrion doctor", looks, "exit code 1 where the machine lacks something"),
    (r"vitrion plan --calibrate", parses, "measures 1302 atoms; tests/unit/test_plan.py"),
    (r"vitrion (finetune|evaluate) .*", parses, "minutes; tests/unit/test_training.py"),
    (r"vitrion label .*", parses, "needs GPAW and hours; test_label_gpaw.py"),
    (r"vitrion dataset sample .*", parses, "minutes; tests/unit/test_dataset_sample.py"),
    (r"vitrion dataset collect .*", parses, "what the line before would have made"),
    (r".*(prepare\.py|sevenn train) .*", names_files, "needs sevenn"),
    (r".*(make_substitutes|draw_frames|models/shipped)\.py .*", names_files, "up to two hours"),
    (r"sh resources/label\.sh .*", names_files, "an hour; tests/unit/test_dataset_label.py"),
    (r"sh resources/glasses/make\.sh .*", names_files, "hours; tests/unit/test_shipped_glasses.py"),
    (r"pytest .*", selects_tests, "CI runs the tests"),
]


def check(command: str) -> Callable[[str, Path], None]:
    """How a command is checked."""
    return next((how for pattern, how, _ in CHECKS if re.fullmatch(pattern, command)), runs)


@pytest.fixture(scope="module")
def prepared(checkout: Path) -> Path:
    """The checkout with what the documents take for granted: a trajectory and a trained model."""
    samples = read_samples(checkout / "results/toy/production/LiAlCl/T0800/r0/segment-0000.h5")
    glass = ase.io.read(checkout / "results/toy/quench/LiAlCl/r0/glass.extxyz")
    frames = [
        Atoms(glass.numbers, positions, cell=cell, pbc=True)
        for positions, cell in zip(samples.positions_A, samples.cell_A, strict=True)
    ]
    ase.io.write(checkout / "XDATCAR", frames, format="vasp-xdatcar")
    for folder in ("my-model", "results/shipped-model"):
        runs(f"mkdir -p {folder} && cp results/toy/finetune/model.* {folder}", checkout)
    runs("printf 'replicas: 1\\n' > mine.yaml", checkout)
    return checkout


@pytest.mark.parametrize(
    ("command", "document"),
    dict.fromkeys(
        (command, block.document.name if block.document.parent.name == "docs" else
         str(block.document.relative_to(ROOT)))
        for block in BLOCKS if block.language == "console" for command in block.commands()
    ),
)  # fmt: skip
def test_command(request: pytest.FixtureRequest, command: str, document: str) -> None:
    how = check(command)
    # Only what runs there waits for the finished campaigns.
    runs_there = how in (runs, dry_run, looks)
    how(command, request.getfixturevalue("prepared") if runs_there else ROOT)


def test_every_check_is_used() -> None:
    commands = [c for block in BLOCKS if block.language == "console" for c in block.commands()]
    for pattern, _, _ in CHECKS:
        assert any(re.fullmatch(pattern, command) for command in commands), pattern


def test_every_block_has_a_language_that_is_checked() -> None:
    assert {block.language for block in BLOCKS} <= {"console", "python", "yaml"}
    for block in BLOCKS:
        if block.language == "console":
            assert block.commands(), f"no `$ ` in {block.document}: {block.text}"


NEEDS_ROUNDS = "results/paper"


@pytest.mark.parametrize(
    "block", [b for b in BLOCKS if b.language == "python"], ids=lambda b: b.document.name
)
def test_python(prepared: Path, block: Block, tmp_path: Path) -> None:
    if NEEDS_ROUNDS in block.text:  # of the paper's campaign; test_rounds.py makes such folders
        compile(block.text, str(block.document), "exec")
        return
    program = tmp_path / "program.py"
    program.write_text(block.text)
    # Documents beside data speak of their own folder.
    beside = block.document.parent if "resources" in block.document.parts else ROOT
    folder = prepared / beside.relative_to(ROOT)
    ended = run(f"PYTHONPATH={prepared} python {program}", folder)
    assert ended.returncode == 0, ended.stderr


def test_notebook(tmp_path: Path) -> None:
    """Its cells run in an empty folder, one after another; Jupyter is not needed for that."""
    notebook = json.loads((ROOT / "docs/python.ipynb").read_text())
    cells = ["".join(c["source"]) for c in notebook["cells"] if c["cell_type"] == "code"]
    assert not any(c.get("outputs") for c in notebook["cells"])  # they would grow stale
    program = tmp_path / "notebook.py"
    program.write_text("\n\n".join(cells))
    ended = run(f"PYTHONPATH={ROOT} python {program}", tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert "environment" in ended.stdout


@pytest.mark.parametrize(
    "block", [b for b in BLOCKS if b.language == "yaml"], ids=lambda b: b.document.name
)
def test_configuration(block: Block) -> None:
    toy = merge(yaml.safe_load((ROOT / "config.yaml").read_text()), {"campaign": "x"})
    config = validate_config(merge(toy, yaml.safe_load(block.text)))
    campaign_compositions(config)


def test_tutorial_shows_the_files_that_are_shipped() -> None:
    text = (ROOT / "docs/tutorial.md").read_text()
    rows = [
        [cell.strip() for cell in line.strip("| ").split("|")]
        for line in text.splitlines()
        if line.startswith(("| composition | formula", "| LiYClO"))
    ]
    shipped = (ROOT / "tests/toy/yttrium.tsv").read_text().splitlines()
    assert rows == [line.split("\t") for line in shipped]
    shown = next(b.text for b in BLOCKS if b.language == "yaml" and "campaign: yttrium\n" in b.text)
    own = yaml.safe_load((ROOT / "tests/toy/yttrium.yaml").read_text())
    assert yaml.safe_load(shown) == own


INLINE = re.compile(r"`((?:vitrion|snakemake) [^`<…]+)`")


@pytest.mark.parametrize("document", DOCS, ids=lambda d: str(d.relative_to(ROOT)))
def test_commands_in_sentences(document: Path, capsys: pytest.CaptureFixture) -> None:
    """Options exist; a whole command, which ends with a value, lacks no required one."""
    for found in INLINE.findall(BLOCK.sub("", document.read_text())):
        words = shlex.split(found)
        if words[0] == "vitrion":
            options = [word for word in words[1:] if word.startswith("--")]
            text = _help(words[1:])
            assert all(option in text for option in options), found
            if options and not words[-1].startswith("--"):
                with suppress(SystemExit):  # files that it names need not be there
                    build_parser().parse_args(words[1:])
                assert "required" not in capsys.readouterr().err, found


def _help(words: list[str]) -> str:
    """Help of the subcommand that the words name."""
    parser = build_parser()
    for word in words:
        choices = [a.choices for a in parser._actions if isinstance(a.choices, dict)]
        if word.startswith("-") or not choices:
            break
        assert word in choices[0], f"vitrion {' '.join(words)}"
        parser = choices[0][word]
    return parser.format_help()


LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


@pytest.mark.parametrize("document", DOCS, ids=lambda d: str(d.relative_to(ROOT)))
def test_links_lead_somewhere(document: Path) -> None:
    for target in LINK.findall(document.read_text()):
        if not target.startswith(("http://", "https://")):
            path, _, anchor = target.partition("#")
            linked = (document.parent / path).resolve() if path else document
            assert linked.exists(), target
            if anchor:
                heads = re.findall(r"^#+ (.*)$", linked.read_text(), re.MULTILINE)
                slugs = [re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads]
                assert anchor in slugs, target


def test_paths_in_sentences_exist() -> None:
    """Files of the repository that the documents name."""
    for document in DOCS:
        text = BLOCK.sub("", document.read_text())
        for path in re.findall(r"`((?:tests|vitrion|resources|docs)/[^`]+)`", text):
            assert any(ROOT.glob(path.partition("::")[0].rstrip("/"))), f"{document.name}: {path}"


def test_constants_of_the_method() -> None:
    """`module.NAME` = value and `config.key` = value are what the code has."""
    text = (ROOT / "docs/method.md").read_text()
    found = re.findall(r"`([\w.]+)`\s+=\s+([\d.]+)", text)
    assert len(found) > 8
    config = load_config(ROOT / "config.yaml")
    for name, value in found:
        path, _, last = name.rpartition(".")
        if last.isupper():
            actual = getattr(importlib.import_module(f"vitrion.{path}"), last)
        else:
            actual = config
            for part in name.split("."):
                actual = getattr(actual, part)
        assert float(actual) == float(value.rstrip(".")), name


def test_keys_that_documents_name_exist() -> None:
    """`section.key` of the configuration, wherever a document names one."""
    config = load_config(ROOT / "config.yaml")
    for document in DOCS:
        for name in re.findall(r"`((?:\w+\.)+\w+)`", document.read_text()):
            first, *rest = name.split(".")
            if first not in type(config).model_fields:
                continue
            if rest[-1].isupper() or rest[-1] in (
                "parquet",
                "tsv",
                "sh",
            ):  # a constant of a module, a file
                continue
            part: object = config
            for key in (first, *rest):
                assert hasattr(part, key), f"{document.name}: {name}"
                part = getattr(part, key)


def test_faults_name_their_tests() -> None:
    """`file::test[case]`, and "by name" after those that plain `pytest` leaves out."""
    text = (ROOT / "docs/faults.md").read_text()
    named = re.findall(r"`(test_\w+\.py)::(\w+)(\[\w+\])?`(, by name)?", text)
    assert len(named) > 15
    for file, name, _, _ in named:
        (path,) = (ROOT / "tests").rglob(file)
        assert f"def {name}(" in path.read_text()
    listed = run("pytest -m faults --collect-only -q tests/integration tests/slurm", ROOT).stdout
    marked = re.findall(r"^[\w/]+/(test_\w+\.py::[\w\[\]]+)$", listed, re.MULTILINE)
    by_name = {f"{file}::{name}{case}" for file, name, case, by_name in named if by_name}
    for test in marked:
        assert {test, test.partition("[")[0]} & by_name, test
    assert len(marked) >= len(by_name)
    for name in by_name:
        assert any(test.startswith(name) for test in marked), name


def _messages() -> Iterator[str]:
    """Every text in the code, what is filled in as …."""
    for path in (ROOT / "vitrion").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value
            elif isinstance(node, ast.JoinedStr):
                parts = (v.value if isinstance(v, ast.Constant) else "…" for v in node.values)
                yield "".join(map(str, parts))


def test_messages_of_the_faq_are_those_of_the_code() -> None:
    import snakemake.exceptions

    texts = [re.sub(r"\s+", " ", text) for text in _messages()]
    texts.append(inspect.getsource(snakemake.exceptions))
    heads = re.findall(r"^### `(.+)`$", (ROOT / "docs/faq.md").read_text(), re.MULTILINE)
    assert len(heads) > 15
    for head in heads:
        pattern = ".*".join(re.escape(part.strip()) for part in head.split("…"))
        assert any(re.search(pattern, text) for text in texts), head


def test_documents_name_no_machine() -> None:
    for document in DOCS:
        assert not re.search(r"/(root|tmp|work)/", document.read_text()), document
