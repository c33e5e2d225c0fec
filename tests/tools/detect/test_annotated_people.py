"""`actiontubes detect --proposals` with files of label tools and trackers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from actiontubes.datasets.table_io import write_table
from actiontubes.datasets.tables import Tubes
from actiontubes.detect.model.build import build_detector
from actiontubes.detect.model.checkpoint import save_detector
from actiontubes.detect.model.config import DetectorConfig

TABLES = ["actions.csv", "detections.parquet", "labels.csv", "tracks.parquet", "tubes.parquet"]
FRAMES = 20


@pytest.fixture(scope="module")
def detector(tmp_path_factory) -> Path:
    """A detector with random weights that needs person boxes."""
    torch.manual_seed(1)
    config = DetectorConfig(
        labels=("clap", "dive"), backbone="i2d", width_multiplier=0.0625, endpoint="Mixed_3c",
        proposals="external", hidden=8, frames=4, size=(48, 64), norm="batch",
    )  # fmt: skip
    path = tmp_path_factory.mktemp("external") / "detector.safetensors"
    save_detector(build_detector(config).eval(), path)
    return path


def two_people() -> Tubes:
    """One walks, then waves, in a video of 64x48; another is there from frame 5 to 14."""
    rows = [(0, frame, 0 if frame < 12 else 1, 3) for frame in range(FRAMES)]
    rows += [(1, frame, 0, 7) for frame in range(5, 15)]
    frame, label, person = (np.array([row[column] for row in rows]) for column in (1, 2, 3))
    left = np.where(person == 3, 2.125 + frame, 40.0)
    top = np.full(len(rows), 6.5)
    return Tubes(
        video=np.zeros(len(rows), np.int32), frame=frame.astype(np.int32),
        label=label.astype(np.int32), boxes=np.column_stack([left, top, left + 12, top + 32.25]),
        tube=np.where(person == 3, label, 2), person=person.astype(np.int32),
        video_names=("clip",), label_names=("walk", "wave"),
    )  # fmt: skip


@pytest.fixture
def detect(command, numbered, detector: Path, tmp_path: Path) -> Callable[..., dict[str, bytes]]:
    """What the command writes with a file as --proposals, by the tables' names."""
    clip = numbered.write(tmp_path / "clip.mp4", FRAMES)

    def run(proposals: Path, *words: object) -> dict[str, bytes]:
        out = tmp_path / "out" / proposals.name
        done = command(
            "detect", clip, "--checkpoint", detector, "--proposals", proposals, "--out", out,
            "--tables-only", "--precision", "no", "--threshold", 0, *words,
        )  # fmt: skip
        assert done.code == 0, done.err
        return {name: (out / name).read_bytes() for name in TABLES}

    return run


def test_the_same_boxes_give_the_same_output(command, detect, tmp_path: Path) -> None:
    table = tmp_path / "people.parquet"
    write_table(two_people(), table)
    expected = detect(table)
    assert expected["tracks.parquet"] and expected["actions.csv"].count(b"\n") > 2
    outs = {
        "mot": "clip.mot.txt", "coco": "people.json", "cvat": "people.xml",
        "table": "people.csv",
    }  # fmt: skip
    for target, name in outs.items():
        path = tmp_path / name
        assert command("convert", table, "--to", target, "--out", path).code == 0
        assert detect(path) == expected, name


def test_a_folder_that_has_changed(command, detect, tmp_path: Path) -> None:
    """Results of a folder of boxes are not taken for those of the same folder, changed."""
    table, folder = tmp_path / "people.parquet", tmp_path / "mot"
    write_table(two_people(), table)
    assert command("convert", table, "--to", "mot", "--out", folder).code == 0
    first = detect(folder)
    assert detect(folder) == first
    file = folder / "clip.mot.txt"
    file.write_text(file.read_text().replace(",40.0,", ",36.0,"))
    with pytest.raises(AssertionError, match="give --overwrite"):
        detect(folder)
    assert detect(folder, "--overwrite")["tracks.parquet"] != first["tracks.parquet"]


def test_classes_name_the_people_of_mot(command, detect, tmp_path: Path) -> None:
    people = "".join(f"{frame},1,4,5,20,30,1,1,1\n" for frame in range(1, 21))
    cars = "".join(f"{frame},2,40,9,9,9,1,3,1\n" for frame in range(1, 21))
    path, alone = tmp_path / "clip.txt", tmp_path / "alone" / "clip.txt"
    alone.parent.mkdir()
    path.write_text(people + cars)
    alone.write_text(people)
    with pytest.raises(AssertionError, match=r"holds class numbers \(1, 3\); name them with --cla"):
        detect(path)
    names = tmp_path / "names.csv"
    names.write_text("1,pedestrian\n3,car\n")
    assert detect(path, "--classes", names) == detect(alone, "--overwrite")
