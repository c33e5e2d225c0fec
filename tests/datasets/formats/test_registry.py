"""Formats told apart, and which videos are evaluated."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from actiontubes.datasets.errors import InputError
from actiontubes.datasets.formats.registry import read_detections, read_ground_truth, read_tubes
from actiontubes.datasets.table_io import read_table, write_table
from actiontubes.datasets.tables import Tubes, Videos
from actiontubes.detect.experiments.benchmark_evaluation import synthetic_detections
from actiontubes.detect.linking.registry import link


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    truth, detections = synthetic_detections(0.005)
    write_table(truth, tmp_path / "groundtruth.csv")
    write_table(detections, tmp_path / "detections.csv")
    write_table(link(detections), tmp_path / "tubes.csv")
    return tmp_path


def videos_list(folder: Path, *names: str) -> Path:
    path = folder / "list.txt"
    path.write_text("".join(f"{name}\n" for name in names))
    return path


def test_tables(folder: Path) -> None:
    truth, videos = read_ground_truth(folder / "groundtruth.csv")
    assert videos is None and len(truth.video_names) == 5
    assert len(read_detections(folder / "detections.csv", truth)) > 500
    assert read_tubes(folder / "tubes.csv", truth).tube_score is not None
    with pytest.raises(InputError, match="no column tube_score"):
        read_tubes(folder / "groundtruth.csv", truth)


def test_only_the_videos_of_a_list(folder: Path) -> None:
    path = folder / "groundtruth.csv"
    whole = read_table(Tubes, path)
    first = whole.video_names[0]
    truth, _ = read_ground_truth(path, videos=videos_list(folder, first))
    assert truth.video_names == (first,)
    assert len(truth) == (whole.video == 0).sum()


def test_a_listed_video_may_have_no_ground_truth(folder: Path) -> None:
    path = folder / "groundtruth.csv"
    first = read_table(Tubes, path).video_names[0]
    with pytest.warns(UserWarning, match=r"1 of 2 .*quiet.; all detections on them count as false"):
        truth, _ = read_ground_truth(path, videos=videos_list(folder, "quiet", first))
    assert truth.video_names == ("quiet", first)
    assert set(truth.video.tolist()) == {1}
    with pytest.raises(InputError, match=r"1 of 1 .*quiet"):
        read_ground_truth(path, videos=videos_list(folder, "quiet"))


def test_splits_that_are_not_there(folder: Path) -> None:
    path = folder / "groundtruth.csv"
    with pytest.raises(InputError, match=r"a table .* has no splits"):
        read_ground_truth(path, split=1)
    with pytest.raises(InputError, match="give only one of them"):
        read_ground_truth(path, split=1, videos=videos_list(folder, "x"))
    with pytest.raises(InputError, match=r"test3\.txt does not exist"):
        read_ground_truth(folder, split=3)


def test_folder_of_tables(folder: Path) -> None:
    """The test videos of the videos' table; those without ground truth are known there."""
    whole, _ = read_ground_truth(folder)
    names = (*whole.video_names[:2], "quiet")
    count = len(names)
    write_table(
        Videos(
            names,
            *(np.full(count, 300) for _ in range(3)),
            np.full(count, 25.0),
            ("train", "test", "test"),
        ),
        folder / "videos.csv",
    )
    truth, videos = read_ground_truth(folder)
    assert truth.video_names == names[1:]
    assert videos is not None and len(videos) == 3
    (folder / "groundtruth.csv").unlink()
    with pytest.raises(InputError, match="actiontubes prepare"):
        read_ground_truth(folder)


def test_unknown_endings(folder: Path) -> None:
    truth, _ = read_ground_truth(folder / "groundtruth.csv")
    for read in (
        lambda path: read_ground_truth(path),
        lambda path: read_detections(path, truth),
        lambda path: read_tubes(path, truth),
    ):
        with pytest.raises(InputError, match=r"must be a .parquet or .csv file"):
            read(folder / "boxes.xml")
        for name in ("none.parquet", "none.csv", "none.pkl", "none.mat"):
            with pytest.raises((InputError, FileNotFoundError)):
                read(folder / name)
