"""Frames left out after the analysis: what stays, what it takes, and what a later analysis does."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from vitrion.base.errors import InputError
from vitrion.campaign.opening import open_campaign
from vitrion.campaign.plan import make_plan, segment_bytes
from vitrion.config import Production, validate_config
from vitrion.trajectory import h5md as module
from vitrion.trajectory.h5md import (
    frames_path,
    read_checkpoint,
    read_metadata,
    read_samples,
    read_segments,
    thin_segment,
    thinned_path,
    write_checkpoint,
    write_segment,
)
from vitrion.trajectory.metadata import SegmentMetadata
from vitrion.trajectory.samples import Samples
from vitrion.trajectory.state import State

FRAMES, ATOMS, INTERVAL = 600, 84, 50
Make = Callable[[int], Path]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Writes consecutive segments of vibrating atoms."""

    def make(number: int) -> Path:
        random = np.random.default_rng(number)
        sites = np.random.default_rng(9).uniform(0, 20, (ATOMS, 3))
        state = State(
            numbers=np.full(ATOMS, 3),
            masses_u=np.full(ATOMS, 6.94),
            positions_A=sites,
            velocities_A_ps=random.normal(size=(ATOMS, 3)),
            cell_A=20 * np.eye(3),
        )
        samples = Samples(
            step=INTERVAL * (np.arange(1, FRAMES + 1) + number * FRAMES),
            stage=np.full(FRAMES, "produce"),
            cell_A=np.repeat(20 * np.eye(3)[None], FRAMES, axis=0),
            positions_A=(sites + random.normal(0, 0.25, (FRAMES, ATOMS, 3))).astype(np.float32),
            **{
                name: random.normal(0, 1, FRAMES)
                for name in ("target_K", "temperature_K", "energy_eV", "conserved_eV")
            },
            pressure_GPa=random.normal(0, 1, FRAMES),
        )
        path = tmp_path / f"segment-{number:04d}.h5"
        metadata = SegmentMetadata(
            composition="LiAlCl",
            temperature_K=600,
            replica=0,
            timestep_fs=2.0,
            frame_interval_ps=0.1,
            position_precision_A=0.001,
            model_hash="x",
            seed=5,
            n_frames=FRAMES,
        )
        write_segment(frames_path(path), [samples], state, metadata, checkpoint=False)
        write_checkpoint(path, state, metadata)
        return path

    return make


def test_frames_that_stay_are_the_same(make: Make) -> None:
    path = make(0)
    whole, size = read_samples(path), frames_path(path).stat().st_size
    metadata, content = read_metadata(frames_path(path)), path.read_bytes()
    done = thin_segment(path, 4)
    kept = read_samples(path)
    for field in fields(Samples):
        found, expected = getattr(kept, field.name), getattr(whole, field.name)[3::4]
        if field.name == "positions_A":
            assert_same_positions(found, expected)
        else:
            np.testing.assert_array_equal(found, expected, err_msg=field.name)
    thinned = read_metadata(thinned_path(path))
    assert thinned.to_json() == replace(metadata, keep_every=4).to_json()
    assert path.read_bytes() == content  # from which the trajectory continues
    assert (done.frames, done.frames_kept) == (FRAMES, FRAMES // 4)
    assert (done.bytes, done.bytes_kept) == (size, thinned_path(path).stat().st_size)
    assert sorted(p.name for p in path.parent.iterdir()) == [path.name, thinned_path(path).name]


def assert_same_positions(found_A: np.ndarray, expected_A: np.ndarray) -> None:
    """Equal to the stored precision of 0.001 Å, and beyond to single precision."""
    np.testing.assert_allclose(found_A, expected_A, rtol=0, atol=4e-6)


def test_layout_is_that_of_a_segment(make: Make) -> None:
    path, untouched = make(0), make(1)
    thin_segment(path, 3)

    def layout(name: Path) -> dict[str, tuple]:
        found: dict[str, tuple] = {}

        def keep(name: str, item: h5py.Group | h5py.Dataset) -> None:
            kind = item.dtype if isinstance(item, h5py.Dataset) else "group"
            found[name] = (kind, sorted(item.attrs), item.attrs.get("unit"))

        with h5py.File(name) as file:
            file.visititems(keep)
            found["filters"] = tuple(sorted(file["particles/all/position/value"]._filters))
        return found

    assert layout(thinned_path(path)) == layout(frames_path(untouched))


@pytest.mark.parametrize(("every", "most"), [(2, 0.6), (10, 0.22), (0, 0.16)])
def test_size_follows(make: Make, every: int, most: float) -> None:
    """Headings and the checkpoint weigh something in a file as small as this one."""
    path = make(0)
    before = size_of_segment(path)
    thin_segment(path, every)
    assert size_of_segment(path) < most * before
    production = Production(segment_ps=0.1 * FRAMES, frame_interval_ps=0.1, keep_every=every)
    planned = segment_bytes(ATOMS, production, thinned=True)
    assert size_of_segment(path) == pytest.approx(planned, rel=0.2, abs=12_000)


def size_of_segment(path: Path) -> int:
    """Size of a segment and of the frames beside it."""
    return sum(file.stat().st_size for file in path.parent.glob(f"{path.stem}*"))


def test_thinning_again_leaves_the_common_frames(make: Make) -> None:
    path = make(0)
    whole = read_samples(path)
    thin_segment(path, 2)
    done = thin_segment(path, 3)
    np.testing.assert_array_equal(read_samples(path).step, whole.step[5::6])
    assert (done.frames, done.frames_kept) == (FRAMES, FRAMES // 6)
    content = thinned_path(path).read_bytes()
    assert thin_segment(path, 2).frames_kept == FRAMES // 6
    assert thinned_path(path).read_bytes() == content
    assert thin_segment(path, 0).frames_kept == 0
    again = thin_segment(path, 1)
    assert (again.frames, again.frames_kept, again.bytes_kept) == (FRAMES, 0, 0)
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_failed_thinning_leaves_the_frames(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make(0)
    content = frames_path(path).read_bytes()

    def full(*_: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(module, "_write_metadata", full)
    with pytest.raises(OSError, match="No space left"):
        thin_segment(path, 2)
    assert frames_path(path).read_bytes() == content
    assert sorted(p.name for p in path.parent.iterdir()) == [frames_path(path).name, path.name]


def test_thinning_that_was_interrupted_is_completed(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the new file and the removal of the old one both are there."""
    path = make(0)
    whole = read_samples(path)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            thin_segment(path, 2)
    assert thinned_path(path).exists()
    assert len(read_samples(path)) == FRAMES
    assert thin_segment(path, 2).frames_kept == FRAMES // 2
    assert not frames_path(path).exists()
    np.testing.assert_array_equal(read_samples(path).step, whole.step[1::2])


def test_damaged_frames_are_not_thinned(make: Make) -> None:
    path = make(0)
    with h5py.File(frames_path(path)) as file:
        offset = file["particles/all/position/value"].id.get_chunk_info(0).byte_offset
    with frames_path(path).open("r+b") as file:
        file.seek(offset + 100)
        file.write(b"\0\xff\0\xff")
    content = frames_path(path).read_bytes()
    with pytest.raises(InputError, match="damaged"):
        thin_segment(path, 2)
    assert frames_path(path).read_bytes() == content
    assert not thinned_path(path).exists()


def test_a_misplaced_file_of_frames_is_refused(make: Make) -> None:
    path = make(0)
    key = read_metadata(path).key
    assert key is not None
    assert read_segments([path], expected=key).n_frames == FRAMES
    state, metadata = read_checkpoint(path)
    write_checkpoint(path, state, replace(metadata, replica=1))
    for expected in (key, replace(key, replica=1)):  # the segment or its frames
        with pytest.raises(InputError, match="expected"):
            read_segments([path], expected=expected)


def test_later_analysis_uses_the_frames_that_all_segments_have(make: Make) -> None:
    paths = [make(number) for number in range(3)]
    whole = np.concatenate([chunk.positions_A for chunk in read_segments(paths).chunks])
    thin_segment(paths[0], 2)
    thin_segment(paths[1], 4)
    source = read_segments(paths)
    assert source.frame_interval_ps == pytest.approx(0.4)
    found = np.concatenate([chunk.positions_A for chunk in source.chunks])
    assert_same_positions(found, whole[3::4])
    assert source.n_frames == len(found)


def test_a_pattern_that_names_segments_and_frames_reads_each_once(make: Make) -> None:
    paths = [make(0), make(1)]
    thin_segment(paths[0], 2)
    found = sorted(paths[0].parent.glob("segment-*.h5"))
    assert len(found) == 4
    assert read_segments(found).n_frames == read_segments(paths).n_frames == FRAMES


def test_later_analysis_without_frames_says_what_is_missing(make: Make) -> None:
    paths = [make(0), make(1)]
    thin_segment(paths[1], 0)
    with pytest.raises(InputError, match=r"keep_every: 0.*remove this segment") as caught:
        read_segments(paths)
    assert str(paths[1]) in str(caught.value)


@pytest.mark.parametrize("every", [0, 2])
def test_plan_follows(tmp_path: Path, every: int) -> None:
    overlay = tmp_path / "thin.yaml"
    overlay.write_text(f"production: {{keep_every: {every}}}")
    config, compositions = open_campaign([overlay])
    plan = make_plan(config, compositions, steps_per_s=50.0, on_gpu=True)
    whole = make_plan(*open_campaign([]), steps_per_s=50.0, on_gpu=True)
    share = plan.storage_GB["trajectories"] / whole.storage_GB["trajectories"]
    assert share == pytest.approx(1 / every if every else 0.0, abs=0.01)
    assert plan.most_storage_GB == whole.most_storage_GB == sum(whole.storage_GB.values())
    assert plan.jobs == whole.jobs + 324
    assert math.isclose(plan.gpu_hours, whole.gpu_hours)
    assert "before frames are left out" in plan.to_text()


def test_an_interval_that_does_not_divide_a_segment_is_refused() -> None:
    with pytest.raises(InputError, match="whole multiple of keep_every frame intervals"):
        validate_config({"production": {"keep_every": 7}})
