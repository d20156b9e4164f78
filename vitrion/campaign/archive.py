"""A finished campaign as one folder that others can read and check.

The folder has the layout of the campaign's results: tables, dataset, potential with its model card,
glasses and report, without trajectories unless asked for. Beside them lie the whole configuration,
the compositions, the versions, `ro-crate-metadata.json` (RO-Crate 1.1, https://w3id.org/ro/crate/1.1)
and `checksums.sha256`, which `sha256sum -c` reads as well.
"""

from __future__ import annotations

import datetime
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path, PurePosixPath

from vitrion import __version__
from vitrion.base.errors import InputError
from vitrion.base.files import sha256, write_json
from vitrion.campaign.jobs import campaign_jobs
from vitrion.campaign.opening import WORKFLOW, campaign_compositions
from vitrion.campaign.status import read_status
from vitrion.campaign.stopping import decided_segments
from vitrion.config import Config, load_config
from vitrion.config.yaml_text import config_yaml
from vitrion.structure.compositions import Composition

CHECKSUMS = "checksums.sha256"
CRATE = "ro-crate-metadata.json"
PROFILE = "https://w3id.org/ro/crate/1.1"
PAPER = "https://arxiv.org/abs/2601.06384"
PAPER_TITLE = "Mechanisms of alkali ionic transport in amorphous oxyhalides solid state conductors"
NO_LICENSE = "No licence has been given; ask the authors."
LACKING = "lacking (archived unfinished, or removed together with its checksum)"
# Files of the workflow that say what the campaign ran with.
VERSIONS = {"requirements.lock": "envs/requirements.lock", "CITATION.cff": "CITATION.cff"}
DESCRIPTIONS = {
    "config.yaml": "every setting of the campaign",
    "compositions.tsv": "the glasses of the campaign",
    "requirements.lock": "versions that the workflow pins",
    "environment.txt": "versions installed where the archive was made",
    "CITATION.cff": "how to cite Vitrion",
    CHECKSUMS: "SHA-256 of every other file",
    "dataset": "labelled DFT frames, checked, aligned and split",
    "finetune": "the potential: weights, model card, learning curves, errors",
    "quench": "a glass, its history and its checks",
    "production": "molecular dynamics trajectory in H5MD segments",
    "summary": "table over the whole campaign; unit and meaning of each column in its metadata",
    "report": "report of the campaign",
}
FORMATS = {
    ".cff": "application/yaml",
    ".extxyz": "chemical/x-xyz",
    ".h5": "application/x-hdf5",
    ".html": "text/html",
    ".json": "application/json",
    ".parquet": "application/vnd.apache.parquet",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".tsv": "text/tab-separated-values",
    ".yaml": "application/yaml",
}


@dataclass(frozen=True)
class Discrepancy:
    """What is wrong with a file of an archive: changed, missing, extra or lacking."""

    what: str
    path: str

    def __str__(self) -> str:
        return f"{self.what}: {self.path}"


def archive_campaign(
    config: Config,
    compositions: Mapping[str, Composition],
    table: Path,
    out: Path,
    *,
    folder: Path = Path(),
    trajectories: bool = False,
    unfinished: bool = False,
    authors: Sequence[str] = (),
    license: str = NO_LICENSE,
) -> str:
    """Copy a campaign into one folder; the folder appears whole or not at all.

    Args:
        config: the campaign.
        compositions: its glasses.
        table: the file that they were read from.
        out: folder to make.
        folder: where `results` lies.
        trajectories: whether the trajectories are copied too.
        unfinished: archive what is there although files are missing.
        authors: names for the metadata.
        license: web address of a licence, or words.

    Returns:
        The SHA-256 of `checksums.sha256`, which stands for all files.

    Raises:
        InputError: the campaign is not finished, or `out` is there.
    """
    if out.exists():
        raise InputError("out", str(out), "is there already; remove it or name another folder")
    status = read_status(config, compositions, folder)
    missing = [
        output
        for job in status.jobs
        for output in job.job.outputs
        if not (status.results / output).is_file()
    ]
    if missing and not unfinished:
        raise InputError(
            "campaign",
            config.campaign,
            f"not finished, {len(missing)} files are missing in {status.results}: "
            f"{_some(missing)}; run snakemake to its end, or archive what is there: --unfinished",
        )
    partial = out.with_name(f".{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    expected = _expected(config, compositions, status.results, trajectories=trajectories)
    wanted = {*expected} - {*missing}
    report = status.results / "report"
    wanted |= {
        str(path.relative_to(status.results))
        for path in report.rglob("*")
        if path.is_file() and not path.name.startswith(".")
    }
    if trajectories:  # frames lie beside their segments: all of them, or those that were kept
        wanted |= {
            str(path.relative_to(status.results))
            for path in (status.results / "production").rglob("segment-????.*.h5")
        }
    for name in sorted(wanted):
        _copy(status.results / name, partial / name)
    for name, source in VERSIONS.items():
        if (WORKFLOW / source).is_file():
            _copy(WORKFLOW / source, partial / name)
    _copy(table, partial / "compositions.tsv")
    moved = config.model_copy(update={"compositions": "compositions.tsv"})
    (partial / "config.yaml").write_text(config_yaml(moved))
    (partial / "environment.txt").write_text(_installed())
    digests = {name: sha256(path) for name, path in _files(partial)}
    files = [_describe(name, partial / name, digest) for name, digest in digests.items()]
    crate = _crate(files, config, compositions, missing=missing, authors=authors, license=license)
    write_json(partial / CRATE, crate)
    digests[CRATE] = sha256(partial / CRATE)
    checksums = "".join(f"{digest}  {name}\n" for name, digest in sorted(digests.items()))
    (partial / CHECKSUMS).write_text(checksums)
    partial.rename(out)
    return sha256(out / CHECKSUMS)


def verify_archive(folder: Path) -> list[Discrepancy]:
    """What is wrong with an archive: nothing, if all is as `archive_campaign` left it.

    Every checksum is computed again, and the files that the archived configuration asks for must
    be there. A file changed together with its line in `checksums.sha256` shows only in the checksum
    of `checksums.sha256` itself.

    Args:
        folder: the archive.

    Raises:
        InputError: it is no archive.
    """
    listed = _read_checksums(folder / CHECKSUMS)
    present = dict(_files(folder))
    findings = [Discrepancy("missing", name) for name in listed if name not in present]
    findings += [
        Discrepancy("changed", name)
        for name, expected in listed.items()
        if name in present and not _has_checksum(present[name], expected)
    ]
    findings += [
        Discrepancy("extra", name) for name in present if name not in listed and name != CHECKSUMS
    ]
    needed = {"config.yaml", "compositions.tsv", CRATE}
    findings += [Discrepancy(LACKING, name) for name in sorted(needed - {*listed, *present})]
    if needed & {finding.path for finding in findings}:
        return findings
    config = load_config(folder / "config.yaml")
    compositions = campaign_compositions(config, folder / config.compositions)
    trajectories = any(name.startswith("production/") for name in listed)
    expected = _expected(config, compositions, folder, trajectories=trajectories)
    findings += [
        Discrepancy(LACKING, name)
        for name in expected
        if name not in listed and name not in present
    ]
    return findings


def _expected(
    config: Config, compositions: Mapping[str, Composition], results: Path, *, trajectories: bool
) -> Iterator[str]:
    """Files of the results that an archive holds; what `transport` says is in `summary`."""
    left_out = ("transport",) if trajectories else ("transport", "production")

    def segments(trajectory: str) -> int:
        try:
            decided = decided_segments(results / trajectory, config.production)
        except InputError:  # a damaged decision, which its checksum tells of, asks for no more
            return config.production.least_segments
        return decided or config.production.segments

    for job in campaign_jobs(config, compositions, segments):
        if job.stage not in left_out:
            yield from job.outputs


def _crate(
    described: Sequence[Mapping[str, object]],
    config: Config,
    compositions: Mapping[str, Composition],
    *,
    missing: Sequence[str],
    authors: Sequence[str],
    license: str,
) -> dict[str, object]:
    """The metadata: RO-Crate 1.1 with SHA-256 checksums."""
    today = datetime.date.today().isoformat()
    files = [*described, {"@id": CHECKSUMS, "@type": "File", **_kind(CHECKSUMS)}]
    people = [
        {"@id": f"#author-{number}", "@type": "Person", "name": name}
        for number, name in enumerate(authors, start=1)
    ]
    ids = [{"@id": str(file["@id"])} for file in files]
    made = [i for i in ids if "/" in i["@id"]]
    temperatures = ", ".join(map(str, config.temperatures_K))
    root = {
        "@id": "./",
        "@type": "Dataset",
        "name": f"Vitrion campaign {config.campaign}",
        "description": f"Ion transport in glasses by molecular dynamics with a machine-learned "
        f"potential: {', '.join(compositions)} at {temperatures} K, {config.replicas} glasses "
        f"each, {config.production.length_ps:g} ps a trajectory."
        + (f" Unfinished: {len(missing)} files are missing." if missing else ""),
        "datePublished": today,
        "license": {"@id": license} if "://" in license else license,
        "citation": {"@id": PAPER},
        "mentions": {"@id": "#campaign"},
        "hasPart": ids,
    }
    if people:
        by = [{"@id": person["@id"]} for person in people]
        root["author"] = by if len(by) > 1 else by[0]
    graph = [
        {
            "@id": CRATE,
            "@type": "CreativeWork",
            "conformsTo": {"@id": PROFILE},
            "about": {"@id": "./"},
        },
        root,
        *files,
        *people,
        {
            "@id": "#campaign",
            "@type": "CreateAction",
            "name": f"campaign {config.campaign} with seed {config.seed}",
            "identifier": config.hash(),
            "endTime": today,
            "instrument": {"@id": "#vitrion"},
            "object": [{"@id": "config.yaml"}, {"@id": "compositions.tsv"}],
            "result": made,
        },
        {
            "@id": "#vitrion",
            "@type": "SoftwareApplication",
            "name": "Vitrion",
            "softwareVersion": _version(),
        },
        {"@id": PAPER, "@type": "ScholarlyArticle", "name": PAPER_TITLE},
    ]
    if "://" in license:
        graph.append({"@id": license, "@type": "CreativeWork", "name": license})
    context = [f"{PROFILE}/context", {"sha256": "https://schema.org/sha256"}]
    return {"@context": context, "@graph": graph}


def _describe(name: str, path: Path, digest: str) -> dict[str, object]:
    """A file in the metadata."""
    return {
        "@id": name,
        "@type": "File",
        **_kind(name),
        "contentSize": str(path.stat().st_size),
        "sha256": digest,
    }


def _kind(name: str) -> dict[str, str]:
    # Rounds of training have folders of their own around `dataset` and `finetune`.
    parts = [part for part in PurePosixPath(name).parts if not part.startswith("round-")]
    encoding = "application/octet-stream" if name.endswith(".safetensors") else "text/plain"
    return {
        "name": name,
        "description": DESCRIPTIONS.get(parts[0], "file of the campaign"),
        "encodingFormat": FORMATS.get(PurePosixPath(name).suffix, encoding),
    }


def _files(folder: Path) -> list[tuple[str, Path]]:
    """Every file below a folder by its path from there, in order."""
    found = ((path.relative_to(folder).as_posix(), path) for path in folder.rglob("*"))
    return sorted((name, path) for name, path in found if not path.is_dir())


def _has_checksum(path: Path, expected: str) -> bool:
    return path.is_file() and sha256(path) == expected  # a link may lead nowhere


def _read_checksums(path: Path) -> dict[str, str]:
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError):
        raise InputError(
            "folder", str(path.parent), f"no archive; {CHECKSUMS} cannot be read"
        ) from None
    listed = {}
    for number, line in enumerate(lines, start=1):
        digest, _, name = line.partition("  ")
        if len(digest) != 64 or not name or ".." in PurePosixPath(name).parts or name[0] == "/":
            raise InputError(
                f"line {number} of {path}", line, "not a checksum; the archive is damaged"
            )
        listed[name] = digest
    return listed


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


def _installed() -> str:
    found = {f"{d.metadata['Name']}=={d.version}" for d in distributions()}
    return "".join(f"{line}\n" for line in sorted(found, key=str.lower))


def _version() -> str:
    """Version, with the commit where the workflow is a checkout."""
    if not (
        WORKFLOW / "Snakefile"
    ).is_file():  # an installed package; its folder may be in a repository
        return __version__
    command = ["git", "-C", str(WORKFLOW), "describe", "--always", "--dirty"]
    try:
        ended = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return __version__
    return f"{__version__} ({ended.stdout.strip()})"


def _some(names: Sequence[str], most: int = 5) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
