"""Formats told apart, and which videos are evaluated."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from actiontubes.datasets.errors import InputError
from actiontubes.datasets.formats import registry
from actiontubes.datasets.formats.annotation_format import AnnotationFormat, ReadOptions
from actiontubes.datasets.formats.registry import (
    FORMATS,
    read_annotations,
    read_detections,
    read_ground_truth,
    read_tubes,
)
from actiontubes.datasets.table_io import read_table, write_table
from actiontubes.datasets.tables import Detections, Tubes, Videos
from actiontubes.detect.experiments.benchmark_evaluation import synthetic_detections
from actiontubes.detect.linking.linker import link


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
    truth = read_annotations(folder / "groundtruth.csv")
    assert truth.videos is None and len(truth.tubes.video_names) == 5
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
    with pytest.raises(InputError, match=r"groundtruth.csv has no splits; list the videos"):
        read_ground_truth(path, split=1)
    with pytest.raises(InputError, match="give only one of them"):
        read_ground_truth(path, split=1, videos=videos_list(folder, "x"))
    with pytest.raises(InputError, match=r"groundtruth.csv has no splits; list the videos"):
        read_ground_truth(folder, split=3)


def test_folder_of_tables(folder: Path) -> None:
    """The test videos of the videos' table; those without ground truth are known there."""
    whole, _ = read_ground_truth(folder)
    names = (*whole.video_names, "quiet")
    count = len(names)
    write_table(
        Videos(
            names,
            *(np.full(count, 300) for _ in range(3)),
            np.full(count, 25.0),
            ("train", *["test"] * (count - 1)),
        ),
        folder / "videos.csv",
    )
    truth, videos = read_ground_truth(folder)
    assert truth.video_names == names[1:]
    assert videos is not None and len(videos) == count
    (folder / "groundtruth.csv").unlink()
    with pytest.raises(InputError, match="actiontubes prepare"):
        read_ground_truth(folder)


def test_unknown_endings(folder: Path) -> None:
    truth = read_annotations(folder / "groundtruth.csv")
    for read in (
        lambda path: read_ground_truth(path),
        lambda path: read_detections(path, truth),
        lambda path: read_tubes(path, truth),
    ):
        (folder / "boxes.xml").touch()
        with pytest.raises(InputError, match=r"must be a .parquet or .csv file"):
            read(folder / "boxes.xml")
        for name in ("none.parquet", "none.csv", "none.pkl", "none.mat"):
            with pytest.raises(InputError, match="file or folder not found"):
                read(folder / name)


def test_a_split_that_others_have(folder: Path) -> None:
    (folder / "splits").mkdir()
    first, second = read_table(Tubes, folder / "groundtruth.csv").video_names[:2]
    (folder / "splits/test1.txt").write_text(f"{first}\n")
    (folder / "splits/test2.txt").write_text(f"{second}\n")
    assert read_ground_truth(folder)[0].video_names == (first,)
    assert read_ground_truth(folder, split=2)[0].video_names == (second,)
    with pytest.raises(InputError, match=r"--split 3: .* has no split 3; choose 1, 2"):
        read_ground_truth(folder, split=3)


class NotesFormat(AnnotationFormat):
    """One line a box: video, frame, label, x1, y1, x2, y2, and a score in detections."""

    name = "notes"

    def matches(self, path: Path) -> bool:
        return path.suffix == ".notes"

    def read_detections(self, path: Path, options: ReadOptions) -> Detections:
        words = [line.split() for line in path.read_text().splitlines()]
        videos, video = np.unique([each[0] for each in words], return_inverse=True)
        labels, label = np.unique([each[2] for each in words], return_inverse=True)
        return Detections(
            video=video.astype(np.int32),
            frame=np.array([each[1] for each in words], np.int32),
            label=label.astype(np.int32),
            score=np.array([each[7] for each in words], float),
            boxes=np.array([each[3:7] for each in words], float),
            video_names=tuple(map(str, videos)),
            label_names=tuple(map(str, labels)),
        )

    def write(self, table: Detections | Tubes, videos: Videos | None, path: Path) -> None:
        path.write_text(
            "".join(
                f"{table.video_names[video]} {frame} {table.label_names[label]} "
                f"{' '.join(map(str, box))} {score}\n"
                for video, frame, label, box, score in zip(
                    table.video, table.frame, table.label, table.boxes.tolist(), table.score
                )
            )
        )


def test_a_new_format_is_one_class_and_one_line(folder: Path, monkeypatch) -> None:
    monkeypatch.setattr(registry, "FORMATS", {"notes": NotesFormat(), **FORMATS})
    table = read_table(Detections, folder / "detections.csv")
    registry.FORMATS["notes"].write(table, None, folder / "a.notes")
    again = read_detections(folder / "a.notes")
    assert (again.boxes == table.boxes).all() and again.video_names == table.video_names
    with pytest.raises(InputError, match=r"a.notes: tubes cannot be read from notes"):
        read_tubes(folder / "a.notes")


def test_what_a_format_cannot_write_is_refused(folder: Path) -> None:
    tubes = read_table(Tubes, folder / "groundtruth.csv")
    for name, each in FORMATS.items():
        if name in ("table", "table-folder", "cvat", "mot", "yowo", "act", "coco", "ava"):
            continue
        with pytest.raises(InputError, match=r"out: .* cannot be written; write a table or COCO"):
            each.write(tubes, None, folder / "out")
    FORMATS["table-folder"].write(tubes, None, folder / "out")
    assert read_ground_truth(folder / "out")[0].video_names == tubes.video_names
