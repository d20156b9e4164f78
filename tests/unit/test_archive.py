"""An archive holds what it should, and whatever is done to it is found."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from vitrion.campaign import archive as archive_module
from vitrion.campaign.archive import CHECKSUMS, CRATE
from vitrion.campaign.jobs import campaign_jobs
from vitrion.campaign.opening import campaign_compositions, open_campaign
from vitrion.campaign.stopping import Decision
from vitrion.cli import main
from vitrion.config import load_config

TOY = Path(__file__).parents[1] / "toy/config.yaml"
GLASS = "quench/LiAlCl/r0/glass.extxyz"


@pytest.fixture
def finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Results of the toy campaign: every file that it makes, each with content of its own."""
    results = tmp_path / "results/toy"
    for job in campaign_jobs(*open_campaign([TOY])):
        for output in job.outputs:
            path = results / output
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"this is {output}")
    (results / "report/assets").mkdir()
    (results / "report/assets/viewer.js").write_text("view()")
    (results / "report/.partial").write_text("left behind")
    monkeypatch.chdir(tmp_path)
    return results


def archive(*options: str) -> int:
    return main(["archive", "--configfile", str(TOY), "--out", "archive", *options])


@pytest.fixture
def archived(finished: Path) -> Path:
    assert archive() == 0
    return finished.parents[1] / "archive"


def verify(folder: Path, capsys: pytest.CaptureFixture, *options: str) -> tuple[int, list[str]]:
    """Exit code, and the lines that it prints."""
    capsys.readouterr()
    try:
        code = main(["verify", str(folder), *options])
    except SystemExit as error:
        code = int(error.code)
    return code, capsys.readouterr().out.splitlines()


def test_holds_tables_and_versions_but_no_trajectories(archived: Path) -> None:
    held = {str(path.relative_to(archived)) for path in archived.rglob("*") if path.is_file()}
    assert {"config.yaml", "compositions.tsv", "requirements.lock", "environment.txt"} <= held
    assert {"summary/diffusion.parquet", "finetune/model.json", "report/index.html", GLASS} <= held
    assert "report/assets/viewer.js" in held
    assert not any(name.startswith(("production/", "transport/", "logs/")) for name in held)
    assert not any(".partial" in name for name in held)
    assert (archived / GLASS).read_text() == f"this is {GLASS}"
    assert "numpy==" in (archived / "environment.txt").read_text()


def test_every_file_is_hashed_once(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trajectories make an archive large; each file is read once for its checksum."""
    hashed: list[str] = []

    def counting(path: Path, sha256=archive_module.sha256) -> str:
        hashed.append(str(path))
        return sha256(path)

    monkeypatch.setattr(archive_module, "sha256", counting)
    assert archive() == 0
    assert len(hashed) == len(set(hashed)) > 20


def test_a_trajectory_that_ended_early_is_archived_whole(
    finished: Path, capsys: pytest.CaptureFixture
) -> None:
    """`production.stop_when` left out its later segments and decisions."""
    overlay = finished.parents[1] / "early.yaml"
    settings = {"relative_error": 0.5, "least_ps": 2.0}
    production = {"length_ps": 6.0, "segment_ps": 2.0, "stop_when": settings}
    overlay.write_text(json.dumps({"production": production, "transport": {"discard_ps": 0.0}}))
    config, compositions = open_campaign([TOY, overlay])
    for job in campaign_jobs(config, compositions):
        if job.rule == "decide_length":
            decision = Decision(2.0, True, {}, config.production.stop_when.model_dump(mode="json"))
            decision.write(finished / job.outputs[0])
    for late in [
        *finished.glob("production/**/segment-000[12].h5"),
        *finished.glob("production/**/decision-0001.json"),
    ]:
        late.unlink()
    arguments = ["archive", "--configfile", str(TOY), str(overlay), "--out", "archive"]
    assert main([*arguments, "--trajectories"]) == 0
    folder = finished.parents[1] / "archive"
    assert len(list(folder.glob("production/**/segment-*.h5"))) == len(
        list(folder.glob("production/**/decision-0000.json"))
    )
    assert verify(folder, capsys)[0] == 0
    decision = next(folder.glob("production/**/decision-0000.json"))
    decision.write_text("{}")
    code, lines = verify(folder, capsys)
    assert code != 0
    assert any("changed" in line and "decision" in line for line in lines)
    assert not any("lacking" in line for line in lines)


def test_configuration_in_it_is_complete(archived: Path) -> None:
    config = load_config(archived / "config.yaml")
    expected, compositions = open_campaign([TOY])
    assert config == expected.model_copy(update={"compositions": "compositions.tsv"})
    assert campaign_compositions(config, archived / "compositions.tsv") == compositions


def test_checksums_are_those_of_sha256sum(archived: Path) -> None:
    ended = subprocess.run(
        ["sha256sum", "--check", "--strict", "--quiet", CHECKSUMS],
        cwd=archived, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    listed = [line[66:] for line in (archived / CHECKSUMS).read_text().splitlines()]
    held = {str(path.relative_to(archived)) for path in archived.rglob("*") if path.is_file()}
    assert {*listed, CHECKSUMS} == held


def test_metadata_is_an_ro_crate(archived: Path) -> None:
    """What RO-Crate 1.1 demands of the descriptor, the root and the files."""
    crate = json.loads((archived / CRATE).read_text())
    assert crate["@context"][0] == "https://w3id.org/ro/crate/1.1/context"
    entities = {entity["@id"]: entity for entity in crate["@graph"]}
    assert len(entities) == len(crate["@graph"])
    assert entities[CRATE]["@type"] == "CreativeWork"
    assert entities[CRATE]["conformsTo"] == {"@id": "https://w3id.org/ro/crate/1.1"}
    assert entities[CRATE]["about"] == {"@id": "./"}
    root = entities["./"]
    assert root["@type"] == "Dataset"
    assert {"name", "description", "datePublished", "license"} <= root.keys()
    held = {str(path.relative_to(archived)) for path in archived.rglob("*") if path.is_file()}
    assert {part["@id"] for part in root["hasPart"]} == held - {CRATE}
    for part in root["hasPart"]:
        entity = entities[part["@id"]]
        assert entity["@type"] == "File"
        if part["@id"] != CHECKSUMS:
            content = (archived / part["@id"]).read_bytes()
            assert entity["sha256"] == hashlib.sha256(content).hexdigest()
            assert entity["contentSize"] == str(len(content))
    refused = [e["@id"] for e in crate["@graph"] if e.get("description") == "file of the campaign"]
    assert refused == []
    for value in _references(crate["@graph"]):
        assert value in entities


def _references(value: object) -> list[str]:
    """Every entity that another one points to, but for the profile."""
    if isinstance(value, dict):
        own = [value["@id"]] if value.keys() == {"@id"} else []
        inner = [r for key, item in value.items() if key != "conformsTo" for r in _references(item)]
        return own + (inner if not own else [])
    return [r for item in value for r in _references(item)] if isinstance(value, list) else []


def test_authors_and_license(finished: Path) -> None:
    by = "https://creativecommons.org/licenses/by/4.0/"
    assert archive("--author", "A. Glass", "--author", "B. Melt", "--license", by) == 0
    graph = json.loads(Path("archive", CRATE).read_text())["@graph"]
    entities = {entity["@id"]: entity for entity in graph}
    names = [entities[author["@id"]]["name"] for author in entities["./"]["author"]]
    assert names == ["A. Glass", "B. Melt"]
    assert entities["./"]["license"] == {"@id": by}
    assert by in entities


def test_trajectories_on_demand(finished: Path, capsys: pytest.CaptureFixture) -> None:
    frames = "production/LiAlCl/T0800/r0/segment-0000.frames.h5"
    (finished / frames).write_text("frames")
    assert archive("--trajectories") == 0
    assert Path("archive/production/LiAlCl/T0800/r0/segment-0000.h5").is_file()
    assert Path("archive", frames).read_text() == "frames"
    assert verify(Path("archive"), capsys)[0] == 0
    shutil.rmtree("archive/production/LiAlCl")
    code, lines = verify(Path("archive"), capsys)
    assert code == 1
    assert "missing: production/LiAlCl/T0800/r0/segment-0000.h5" in lines


def test_unfinished_is_refused(finished: Path, capsys: pytest.CaptureFixture) -> None:
    (finished / "production/KInI/T1200/r0/segment-0001.h5").unlink()
    (finished / "summary/haven.parquet").unlink()
    assert archive() == 2
    message = capsys.readouterr().err
    assert "campaign = 'toy': not finished, 2 files are missing" in message
    assert "production/KInI/T1200/r0/segment-0001.h5, summary/haven.parquet;" in message
    assert not Path("archive").exists()
    assert archive("--unfinished") == 0
    root = json.loads(Path("archive", CRATE).read_text())["@graph"][1]
    assert "Unfinished: 2 files are missing." in root["description"]
    code, lines = verify(Path("archive"), capsys)
    assert code == 1
    assert [line.rpartition(": ")[2] for line in lines] == ["summary/haven.parquet"]
    assert lines[0].startswith("lacking")


def test_nothing_is_overwritten(archived: Path, capsys: pytest.CaptureFixture) -> None:
    assert archive() == 2
    assert "out = 'archive': is there already" in capsys.readouterr().err


def test_killed_archiving_is_taken_up_again(finished: Path) -> None:
    Path(".archive.partial").mkdir()
    Path(".archive.partial/half").write_text("")
    assert archive() == 0
    assert not Path("archive/half").exists()


def test_untouched_archive_is_right(archived: Path, capsys: pytest.CaptureFixture) -> None:
    code, lines = verify(archived, capsys)
    assert code == 0
    checksum = lines[0].rpartition(" ")[2]
    assert checksum == hashlib.sha256((archived / CHECKSUMS).read_bytes()).hexdigest()
    moved = archived.rename(archived.with_name("elsewhere"))
    assert verify(moved, capsys, "--checksum", checksum)[0] == 0


def change(folder: Path) -> None:
    """One bit of one file."""
    content = bytearray((folder / GLASS).read_bytes())
    content[3] ^= 1
    (folder / GLASS).write_bytes(content)


def rename(folder: Path) -> None:
    (folder / GLASS).rename(folder / "glass")


def unlist(folder: Path) -> None:
    """A file goes, and its line with it."""
    (folder / GLASS).unlink()
    lines = (folder / CHECKSUMS).read_text().splitlines(keepends=True)
    (folder / CHECKSUMS).write_text("".join(line for line in lines if GLASS not in line))


def lead_nowhere(folder: Path) -> None:
    (folder / GLASS).unlink()
    (folder / GLASS).symlink_to("nowhere")


LACKING = "lacking (archived unfinished, or removed together with its checksum)"


@pytest.mark.parametrize(
    ("tamper", "found"),
    [
        (change, [f"changed: {GLASS}"]),
        (lambda folder: (folder / GLASS).unlink(), [f"missing: {GLASS}"]),
        (lambda folder: (folder / "summary/more.parquet").touch(), ["extra: summary/more.parquet"]),
        (rename, [f"missing: {GLASS}", "extra: glass"]),
        (lead_nowhere, [f"changed: {GLASS}"]),
        (unlist, [f"{LACKING}: {GLASS}"]),
        (lambda folder: (folder / CRATE).write_text("{}"), [f"changed: {CRATE}"]),
        (lambda folder: (folder / "config.yaml").write_text("?"), ["changed: config.yaml"]),
        (lambda folder: (folder / "compositions.tsv").unlink(), ["missing: compositions.tsv"]),
    ],
)
def test_tampering_is_found(
    archived: Path,
    capsys: pytest.CaptureFixture,
    tamper: Callable[[Path], object],
    found: list[str],
) -> None:
    tamper(archived)
    assert verify(archived, capsys) == (1, found)


def test_changed_file_and_checksum_show_in_the_noted_checksum(
    archived: Path, capsys: pytest.CaptureFixture
) -> None:
    noted = verify(archived, capsys)[1][0].rpartition(" ")[2]
    before = hashlib.sha256((archived / GLASS).read_bytes()).hexdigest()
    change(archived)
    after = hashlib.sha256((archived / GLASS).read_bytes()).hexdigest()
    text = (archived / CHECKSUMS).read_text()
    (archived / CHECKSUMS).write_text(text.replace(before, after))
    assert verify(archived, capsys)[0] == 0
    code, lines = verify(archived, capsys, "--checksum", noted)
    assert code == 1
    assert lines[0].startswith(f"changed: {CHECKSUMS}")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "no archive; checksums.sha256 cannot be read"),
        ("abc  x\n", "= 'abc  x': not a checksum; the archive is damaged"),
        (f"{'0' * 64}  ../outside\n", "not a checksum"),
        (f"{'0' * 64}  /outside\n", "not a checksum"),
    ],
)
def test_not_an_archive(
    tmp_path: Path, capsys: pytest.CaptureFixture, text: str | None, message: str
) -> None:
    if text is not None:
        (tmp_path / CHECKSUMS).write_text(text)
    assert main(["verify", str(tmp_path)]) == 2
    assert message in capsys.readouterr().err
