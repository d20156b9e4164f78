"""Rounds of sampling, labelling and training, with an ASE calculator in the place of DFT."""

from __future__ import annotations

from pathlib import Path

from ase.io import read
from workflow import PAPER, ROOT, SMALLEST, TOY, Workflow

from vitrion.potential import model_hash
from vitrion.tables.io import read_table

# Two packings (one of them large), so that one trajectory trains and the other validates.
OVERLAY = """
campaign: rounds
compositions: {table}
dataset:
  sources: []
  label_slope: null  # Lennard-Jones atoms follow no potential of these elements
  sample:
    frames_per_composition: 2
    large_frames: 1
    packings_per_density: 1
    relative_densities: [0.9]
    temperatures_K: [1500.0]
    steps_per_temperature: 20
    frame_interval: 5
  functional: PBE
  label:
    engine: ase
    ase:
      calculator: "ase.calculators.lj:LennardJones"
      arguments: {{sigma: 1.5, epsilon: 0.1, rc: 5.0}}
finetune:
  epochs: 2
  iterate: {{rounds: 1, frames_per_composition: 2}}
"""


def test_a_round_samples_with_the_model_before_and_trains_on_more(tmp_path: Path) -> None:
    table, overlay = tmp_path / "one.tsv", tmp_path / "rounds.yaml"
    rows = (ROOT / "tests/toy/compositions.tsv").read_text().splitlines(keepends=True)
    table.write_text("".join(rows[:2]))
    overlay.write_text(OVERLAY.format(table=table))
    workflow = Workflow(tmp_path, PAPER, TOY, SMALLEST, overlay)
    results = tmp_path / "results/rounds"
    target = "results/rounds/round-1/finetune/model_metrics.parquet"
    ended = workflow.run(target)
    assert ended.returncode == 0, ended.stdout + ended.stderr

    first, second = results / "dataset", results / "round-1/dataset"
    known = {atoms.info["frame_id"] for atoms in read(first / "sampled/LiAlCl.extxyz", ":")}
    new = {atoms.info["frame_id"] for atoms in read(second / "sampled/LiAlCl.extxyz", ":")}
    assert len(new) == 2
    assert new.isdisjoint(known)
    dataset = read_table(second / "dataset.parquet")
    assert set(dataset["frame_id"]) == known | new
    assert set(read_table(first / "dataset.parquet")["frame_id"]) == known
    models = [
        "0.3.0",
        *(str(results / f"{folder}finetune/model.safetensors") for folder in ("", "round-1/")),
    ]
    assert len({model_hash(model) for model in models}) == 3
    assert set(read_table(tmp_path / target)["model"]) == {"pretrained", "fine-tuned"}

    # Dynamics runs with the last model, and a further round leaves all that is there.
    ended = workflow.run("--dry-run", "results/rounds/quench/LiAlCl/r0/glass.extxyz")
    assert "results/rounds/round-1/finetune/stability.parquet" in ended.stdout
    overlay.write_text(OVERLAY.format(table=table).replace("rounds: 1", "rounds: 2"))
    ended = workflow.run("--dry-run", target.replace("round-1", "round-2"))
    assert "round-2/dataset/sampled/LiAlCl.extxyz" in ended.stdout
    assert "output: results/rounds/round-1" not in ended.stdout
    assert "output: results/rounds/dataset" not in ended.stdout
