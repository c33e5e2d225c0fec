"""ACT's, MOC's and MultiSports' pickles, written here as their code writes them."""

from __future__ import annotations

import os
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from actiontubes.datasets.errors import InputError
from actiontubes.datasets.file_options import FileOptions
from actiontubes.datasets.formats.act import (
    read_act_ground_truth,
    read_act_tubes,
    read_frame_detections,
    read_tubelets,
    read_video_detections,
)
from actiontubes.datasets.formats.annotation_format import GroundTruth, ReadOptions
from actiontubes.datasets.formats.registry import (
    read_annotations,
    read_detections,
    read_ground_truth,
    read_tubes,
)

BOX = [10.0, 20.0, 30.0, 40.0]


def content() -> dict[str, Any]:
    """Two videos of three frames; labels are not in alphabetical order."""
    rows = np.array([[1, *BOX], [2, *BOX]], np.float32)
    return {
        "labels": ["walk", "run"],
        "gttubes": {"walk/a": {0: [rows]}, "run/b": {1: [rows, rows + np.array([1, 5, 5, 5, 5])]}},
        "nframes": {"walk/a": 3, "run/b": 3},
        "resolution": {"walk/a": (240, 320), "run/b": (120, 160)},
        "train_videos": [["walk/a"]],
        "test_videos": [["run/b"]],
    }


def dumped(folder: Path, name: str, value: Any) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(value))
    return path


@pytest.fixture
def truth(tmp_path: Path) -> GroundTruth:
    whole = read_act_ground_truth(dumped(tmp_path, "gt.pkl", content()))
    return replace(whole, videos_in_order=True)


def test_videos_without_an_order(tmp_path: Path, truth: GroundTruth) -> None:
    rows = dumped(tmp_path, "frame_detections.pkl", [[0, 1, 1, 0.5, *BOX]])
    with pytest.raises(InputError, match=r"holds video numbers, .* with --videos"):
        read_detections(rows, replace(truth, videos_in_order=False))


def test_ground_truth(tmp_path: Path) -> None:
    tubes, videos = read_ground_truth(dumped(tmp_path, "gt.pkl", content()))
    assert tubes.video_names == ("run/b",)
    assert tubes.label_names == ("walk", "run")
    assert tubes.label.tolist() == [1] * 4
    assert tubes.frame.tolist() == [0, 1, 1, 2]
    assert tubes.tube.tolist() == [0, 0, 1, 1]
    assert tubes.boxes.tolist() == [BOX] * 2 + [[15, 25, 35, 45]] * 2
    assert videos is not None
    assert videos.video == ("run/b", "walk/a") and videos.num_frames.tolist() == [3, 3]
    assert (videos.width.tolist(), videos.height.tolist()) == ([160, 320], [120, 240])
    everything = read_annotations(tmp_path / "gt.pkl")
    assert everything.tubes.video_names == videos.video
    assert everything.splits == {"test1": ["run/b"], "train1": ["walk/a"]}


def tube(*rows: list[float]) -> dict[str, Any]:
    """The change of `content` to one tube of the test video."""
    return {"gttubes": {"run/b": {1: [np.array(rows)]}, "walk/a": {}}}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": None}, "is not an ACT ground truth pickle: labels missing"),
        ({"test_videos": [["run/c"]]}, "gttubes has no entry for the video run/c"),
        # Another type than expected, at any place.
        ({"labels": 3}, "labels: must be a list with an item for each label, not 3"),
        ({"labels": ["walk", ""]}, "labels: label 2: is empty"),
        ({"gttubes": ["run/b"]}, "gttubes: must be a dict by video, not a list of 1 items"),
        ({"gttubes": {"run/b": None}}, "gttubes: video run/b: must be a dict by label, not None"),
        ({"gttubes": {"run/b": {1: None}}}, "run/b: label 1: must be a list with an item for each"),
        ({"gttubes": {"run/b": {"x": []}}}, "run/b: label x: must be a whole number, not 'x'"),
        ({"gttubes": {"run/b": {7: []}}}, "run/b: label 7: must be 0 to 1, not 7"),
        ({"gttubes": {"run/b": {1: [None]}}}, "label 1: tube 1: must be rows of frame, x1, y1"),
        ({"gttubes": {"run/b": {1: [[[1, 2], [3]]]}}}, "tube 1: must be rows of .* one length"),
        ({"gttubes": {"run/b": {1: [np.full((1, 5), "a")]}}}, "tube 1: must be rows of frame"),
        ({"gttubes": {"run/b": {1: [np.ones((2, 3))]}}}, r"tube 1: has shape \(2, 3\); it must"),
        ({"gttubes": {"run/b": {1: [np.ones((0, 5))]}}}, "tube 1: has no boxes"),
        ({"nframes": {"run/b": "forty", "walk/a": 3}}, "nframes: run/b: must be a whole number"),
        ({"nframes": {"run/b": 2.5, "walk/a": 3}}, "nframes: run/b: must be a whole number, not 2"),
        ({"nframes": {"run/b": 0, "walk/a": 3}}, "nframes: run/b: must be 1 or more, not 0"),
        ({"nframes": {"run/b": 1e300, "walk/a": 3}}, "nframes: run/b: must be 1 to 2147483647"),
        ({"resolution": {"run/b": 120, "walk/a": (9, 9)}}, "resolution: run/b: must be 2 items"),
        ({"resolution": {"run/b": (-120, 160), "walk/a": (9, 9)}}, "height: must be 1 or more"),
        ({"test_videos": ["run/b"]}, "test_videos: split 1: must be a list"),
        ({"test_videos": [[None]]}, "test_videos: split 1: video 1: must be text, not None"),
        # Numbers that no box can have.
        (tube([0, *BOX]), "tube 1: .*frame 0 is before 1, .*--first-frame"),
        (tube([1.5, *BOX]), "video run/b: label 1: tube 1: frame 1.5 is not a whole number"),
        (tube([1e12, *BOX]), "tube 1: frame 1000000000000 is too large"),
        (tube([np.nan, *BOX]), "tube 1: frame nan is not a whole number"),
        (tube([4, *BOX]), "video run/b, frame 3: the video ends before this frame"),
        (tube([1, *BOX], [1, *BOX]), "video run/b, frame 0: this tube has this frame twice"),
        (tube([1, 9, 9, 3, 3]), "video run/b, frame 0: x2 < x1"),
        (tube([1, np.nan, 9, 3, 3]), "video run/b, frame 0: the box nan 9 3 3 is not finite"),
    ],
)
def test_damaged_ground_truth(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    changed = {k: v for k, v in {**content(), **change}.items() if v is not None}
    with pytest.raises(InputError, match=message) as caught:
        read_ground_truth(dumped(tmp_path, "gt.pkl", changed))
    assert str(caught.value).startswith(str(tmp_path / "gt.pkl"))


def test_code_in_a_pickle_is_refused(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(tmp_path / "made"),)

    with pytest.raises(InputError, match=r"posix\.mkdir|nt\.mkdir"):
        read_ground_truth(dumped(tmp_path, "gt.pkl", {"labels": Evil()}))
    assert not (tmp_path / "made").exists()


def tubelet(x: float, score: float) -> list[float]:
    """MOC's row of K = 2."""
    return [x, 0, x + 9, 9, x + 1, 0, x + 10, 9, score]


def test_moc_tubelets(tmp_path: Path, truth: GroundTruth) -> None:
    folder = tmp_path / "moc"
    empty = np.empty((0, 9), np.float32)
    for frame in (1, 2):
        rows = np.array([tubelet(frame, 0.5), tubelet(50, 0.25)], np.float32)
        dumped(folder, f"run/b/{frame:05d}.pkl", {1: empty, 2: rows})
        dumped(folder, f"walk/a/{frame:05d}.pkl", {1: rows[:1], 2: empty})
    tubelets = read_tubelets(folder, ReadOptions.from_ground_truth(truth))
    assert tubelets.boxes.shape == (6, 2, 4)
    names = [tubelets.video_names[i] for i in tubelets.video]
    assert names == ["run/b"] * 4 + ["walk/a"] * 2
    boxes = read_detections(folder, truth)
    assert len(boxes) == 12
    # Frames 1 and 2 of ACT's count, and one later for the second box of each.
    assert sorted(set(boxes.frame.tolist())) == [0, 1, 2]
    assert boxes.label.tolist() == [1] * 8 + [0] * 4


def test_act_tubelets(tmp_path: Path, truth: GroundTruth) -> None:
    folder = tmp_path / "act"
    rows = np.array([[1, 0.5, *tubelet(3, 0)[:8]]], np.float32)
    every = np.zeros((4, 11), np.float32)
    dumped(folder, "run/b/00002.pkl", (rows, every))
    dumped(folder, "walk/a/00001.pkl", (np.empty((0, 10), np.float32), every))
    tubelets = read_tubelets(folder, ReadOptions.from_ground_truth(truth))
    assert tubelets.frame.tolist() == [1]
    assert tubelets.label.tolist() == [1]
    assert tubelets.score.tolist() == [0.5]
    assert tubelets.boxes.tolist() == [[[3, 0, 12, 9], [4, 0, 13, 9]]]


def test_missing_video_is_named(tmp_path: Path, truth: GroundTruth) -> None:
    dumped(tmp_path, "act/run/b/00001.pkl", (np.empty((0, 10)), np.empty((0, 11))))
    with pytest.raises(InputError, match="1 of 2 videos have no file; the first is walk/a"):
        read_detections(tmp_path / "act", truth)


def test_tubes(tmp_path: Path, truth: GroundTruth) -> None:
    tube = np.array([[2, *BOX, 0.9], [3, *BOX, 0.7]], np.float32)
    dumped(tmp_path, "tubes/run/b_tubes.pkl", {0: [], 1: [(tube, np.float32(0.8))]})
    dumped(tmp_path, "tubes/walk/a_tubes.pkl", {0: [], 1: []})
    tubes = read_tubes(tmp_path / "tubes", truth)
    assert tubes.frame.tolist() == [1, 2]
    assert tubes.tube_score.tolist() == pytest.approx([0.8, 0.8])  # type: ignore[union-attr]
    assert [tubes.video_names[i] for i in tubes.video] == ["run/b"] * 2
    (tmp_path / "tubes/run/b_tubes.pkl").unlink()
    with pytest.raises(InputError, match=r"run/b_tubes\.pkl"):
        read_act_tubes(tmp_path / "tubes", ReadOptions.from_ground_truth(truth))


def test_multisports_results(tmp_path: Path, truth: GroundTruth) -> None:
    rows = [np.array([0, 1, 1, 0.5, *BOX]), np.array([1, 3, 0, 0.25, *BOX])]
    boxes = read_frame_detections(
        dumped(tmp_path, "frame_detections.pkl", rows), ReadOptions.from_ground_truth(truth)
    )
    assert boxes.frame.tolist() == [0, 2]
    assert boxes.score.tolist() == [0.5, 0.25]
    tube = np.array([[1, *BOX, 0.5]])
    results = {0: [("walk/a", 0.5, tube)], 1: []}
    tubes = read_video_detections(
        dumped(tmp_path, "video_detections.pkl", results), ReadOptions.from_ground_truth(truth)
    )
    assert [tubes.video_names[i] for i in tubes.video] == ["walk/a"]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ([9, 1, 0, 0.5, *BOX], "row 2: .*video number must be"),
        ([0, 0, 0, 0.5, *BOX], "row 2: frame 0 is before 1, the first"),
        ([0, 1, 5, 0.5, *BOX], "row 2: .*label number must be"),
        ([0, 1, 0, 7.0, *BOX], "row 2: .*must be between 0 and 1"),
        ([0, 1, 0, 0.5, 9, 9, 3, 3], "row 2: .*x2 < x1"),
        ([0, 1, 0, np.nan, *BOX], "row 2: .*NaN or infinite"),
        ([0, 1, 0.7, 0.5, *BOX], "row 2: .*must be whole numbers"),
        ([0, 1.5, 0, 0.5, *BOX], "row 2: .*must be whole numbers"),
        ([0, 1e12, 0, 0.5, *BOX], "row 2: the frame number is too large"),
    ],
)
def test_bad_rows_are_named(
    tmp_path: Path, truth: GroundTruth, row: list[float], message: str
) -> None:
    rows = np.array([[0, 1, 0, 0.5, *BOX], row])
    with pytest.raises(InputError, match=message):
        read_frame_detections(
            dumped(tmp_path, "frame_detections.pkl", rows), ReadOptions.from_ground_truth(truth)
        )


ROWS = np.array([[1, *BOX]])


@pytest.mark.parametrize(
    ("results", "message"),
    [
        ([], "must be a dict by label, not a list of 0 items"),
        ({0: None}, "label 0: must be a list with an item for each tube"),
        ({0: [("walk/a", 0.9)]}, "label 0: tube 1: must be 3 items: video, score, tube"),
        ({0: [(7.5, 0.9, ROWS)]}, "label 0: tube 1: video: must be text, not 7.5"),
        ({0: [("walk/a", None, ROWS)]}, "label 0: tube 1: score: must be a number, not None"),
        ({0: [("walk/a", np.nan, ROWS)]}, "video walk/a, frame 0: tube_score is nan"),
        ({0: [("walk/a", 7.0, ROWS)]}, "video walk/a, frame 0: tube_score must be between 0 and 1"),
        ({0.5: []}, "label 0.5: must be a whole number, not 0.5"),
        ({2: []}, "label 2: must be 0 to 1, not 2"),
    ],
)
def test_damaged_tubes(tmp_path: Path, truth: GroundTruth, results: Any, message: str) -> None:
    with pytest.raises(InputError, match=f"video_detections.pkl: {message}"):
        read_tubes(dumped(tmp_path, "video_detections.pkl", results), truth)


@pytest.mark.parametrize(
    ("tubelets", "message"),
    [
        (None, "is neither ACT's pair of arrays nor MOC's dict"),
        ({1: [[1, 2]]}, r"label 1: has shape \(1, 2\); it must be rows of the boxes of K frames"),
        ({1: "rows"}, "label 1: must be rows of the boxes of K frames, score, not 'rows'"),
        ({0: [[*BOX, 0.5]]}, "label 0: must be 1 to 2, not 0"),
        ({"a": [[*BOX, 0.5]]}, "label a: must be a whole number"),
        (([[0.5, 0.5, *BOX]], 0), "tubelets: label 0.5 is not a whole number"),
        (([[2, 0.5, *BOX]], 0), "tubelets: label 2 must be 0 to 1"),
        (([[0, 0.5, *BOX, 1]], 0), "tubelets: has shape"),
        ({1: [[*BOX, 0.5], [*BOX, 7]]}, "video run/b, frame 0: score must be between 0 and 1"),
    ],
)
def test_damaged_tubelets(tmp_path: Path, truth: GroundTruth, tubelets: Any, message: str) -> None:
    dumped(tmp_path, "act/run/b/00001.pkl", tubelets)
    dumped(tmp_path, "act/walk/a/00001.pkl", {})
    with pytest.raises(InputError, match=f"act.*{message}"):
        read_detections(tmp_path / "act", truth)


def test_frames_from_0(tmp_path: Path, truth: GroundTruth) -> None:
    """By the name of a file, else as the user says."""
    for number in (0, 1):
        dumped(tmp_path, f"act/run/b/{number:05d}.pkl", {1: [[*BOX, 0.5]]})
    dumped(tmp_path, "act/walk/a/00002.pkl", {1: [[*BOX, 0.5]]})
    assert read_detections(tmp_path / "act", truth).frame.tolist() == [0, 1, 2]
    rows = dumped(tmp_path, "frame_detections.pkl", [[0, 0, 1, 0.5, *BOX]])
    tubes = dumped(tmp_path, "video_detections.pkl", {0: [("walk/a", 0.5, [[0, *BOX]])]})
    from_0 = FileOptions(first_frame=0)
    assert read_detections(rows, truth, from_0).frame.tolist() == [0]
    assert read_tubes(tubes, truth, from_0).frame.tolist() == [0]
    with pytest.raises(InputError, match=r"tube 1: .*frame 0 is before 1, .*--first-frame"):
        read_tubes(tubes, truth)


def test_other_videos_are_counted(tmp_path: Path, truth: GroundTruth) -> None:
    for name in ("run/b", "walk/a", "walk/c"):
        dumped(tmp_path, f"act/{name}/00001.pkl", {1: []})
        dumped(tmp_path, f"built/{name}_tubes.pkl", {})
    with pytest.warns(UserWarning, match=r"act: ignoring 1 videos .*\(walk/c\)"):
        read_detections(tmp_path / "act", truth)
    with pytest.warns(UserWarning, match=r"built: ignoring 1 videos .*\(walk/c_tubes\.pkl\)"):
        read_tubes(tmp_path / "built", truth)


def test_no_tubelets(tmp_path: Path, truth: GroundTruth) -> None:
    dumped(tmp_path, "act/run/b/00001.pkl", {1: []})
    dumped(tmp_path, "act/walk/a/00001.pkl", {})
    assert len(read_detections(tmp_path / "act", truth)) == 0


def test_tubes_of_a_video_that_is_not_evaluated(tmp_path: Path, truth: GroundTruth) -> None:
    results = {0: [("walk/z", 0.9, ROWS), ("walk/a", 0.9, ROWS)]}
    tubes = read_tubes(dumped(tmp_path, "video_detections.pkl", results), truth)
    assert [tubes.video_names[code] for code in tubes.video] == ["walk/z", "walk/a"]


def test_tubelets_of_several_lengths(tmp_path: Path, truth: GroundTruth) -> None:
    dumped(tmp_path, "act/run/b/00001.pkl", {1: [[*BOX, 0.5]]})
    dumped(tmp_path, "act/walk/a/00001.pkl", {1: [[*BOX, *BOX, 0.5]]})
    with pytest.raises(InputError, match=r"1 frames \(.*run/b.*, 2 frames \(.*walk/a"):
        read_detections(tmp_path / "act", truth)
