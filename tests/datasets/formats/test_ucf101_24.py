"""pyannot.pkl and its traps."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from actiontubes.datasets.errors import InputError
from actiontubes.datasets.formats.registry import read_ground_truth
from actiontubes.datasets.formats.ucf101_24 import CLASSES, read_final_annots, read_pyannot
from scipy.io import savemat


def pyannot(folder: Path, **changes: object) -> Path:
    tube = {
        "label": 0,
        "sf": 2,
        "ef": 4,
        "boxes": np.array([[200, 100, 100, 90], [201, 100, 100, 90]], np.uint8),
        **changes,
    }
    path = folder / "pyannot.pkl"
    entry = {"annotations": [tube], "numf": np.uint8(50), "label": 0}
    path.write_bytes(pickle.dumps({"Basketball/v_1": entry}))
    return path


def test_small_integers_do_not_wrap(tmp_path: Path) -> None:
    truth = read_pyannot(pyannot(tmp_path))
    tubes, videos = truth.tubes, truth.videos
    assert videos is not None
    assert tubes.boxes.tolist() == [[200, 100, 300, 190], [201, 100, 301, 190]]
    assert tubes.frame.tolist() == [2, 3]
    assert videos.num_frames.tolist() == [50]
    assert tubes.label_names == CLASSES and len(CLASSES) == 24


def test_all_of_it(shared: Callable[[str], Path]) -> None:
    truth = read_pyannot(shared("ucf101-24/pyannot.pkl"))
    tubes, videos = truth.tubes, truth.videos
    assert videos is not None
    assert (len(videos), len(np.unique(tubes.tube)), len(tubes)) == (3194, 4458, 573_862)
    assert tubes.boxes[:, 2].max() <= 320 and tubes.boxes[:, 3].max() <= 240


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ef": 9}, "boxes: has 2 boxes for 7 frames"),
        ({"sf": 10**9, "ef": 2 * 10**9}, "boxes: has 2 boxes for 1000000000 frames"),
        ({"label": 3}, "boxes: label 3 does not match the class"),
        ({"label": 0.7}, "label: must be a whole number, not 0.7"),
        ({"sf": None}, "sf: must be a whole number, not None"),
        ({"sf": "2"}, "sf: must be a whole number, not '2'"),
        ({"boxes": None}, "boxes: must be rows of x, y, width, height, not None"),
        ({"boxes": [[1, 2, 3], [4, 5, 6]]}, r"boxes: has shape \(2, 3\)"),
    ],
)
def test_damaged(tmp_path: Path, change: dict[str, object], message: str) -> None:
    place = "pyannot.pkl: video Basketball/v_1: annotations: tube 1: "
    with pytest.raises(InputError, match=place + message):
        read_pyannot(pyannot(tmp_path, **change))


@pytest.mark.parametrize(
    ("video", "message"),
    [
        (None, "must be a dict with numf, not None"),
        ({}, "has no numf"),
        ({"numf": 5}, "has no annotations"),
        ({"numf": 0, "annotations": []}, "numf: must be 1 or more, not 0"),
        ({"numf": 5, "annotations": 3}, "annotations: must be a list with an item for each tube"),
        ({"numf": 5, "annotations": [{}]}, "annotations: tube 1: has no boxes"),
    ],
)
def test_damaged_video(tmp_path: Path, video: object, message: str) -> None:
    path = tmp_path / "pyannot.pkl"
    path.write_bytes(pickle.dumps({"Basketball/v_1": video}))
    with pytest.raises(InputError, match=f"pyannot.pkl: video Basketball/v_1: {message}"):
        read_pyannot(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sf": -1, "ef": 1}, "frame -1: frame must be between 0 and .*, not -1"),
        ({"sf": 49, "ef": 51}, "video Basketball/v_1, frame 50: the video ends before this frame"),
        ({"boxes": [[5, 5, -3, 9]] * 2}, "video Basketball/v_1, frame 2 .*: x2 < x1"),
    ],
)
def test_rows_that_cannot_be(tmp_path: Path, change: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_ground_truth(pyannot(tmp_path, **change))


def test_unknown_video_is_named(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("Basketball/v_2\n")
    with pytest.raises(InputError, match=r"1 of 1 .*Basketball/v_2"):
        read_ground_truth(pyannot(tmp_path), videos=tmp_path / "list.txt")


def test_videos_of_a_list_without_annotations_are_counted(tmp_path: Path) -> None:
    """Those of the other 77 classes are not meant."""
    (tmp_path / "testlist01.txt").write_text(
        "Basketball/v_1.avi\nBasketball/v_7.avi\nArchery/v_1.avi\n"
    )
    with pytest.warns(UserWarning, match=r"testlist01\.txt: ignoring 1 .* \(Basketball/v_7\)"):
        assert read_pyannot(pyannot(tmp_path)).splits["test1"] == ["Basketball/v_1"]


def test_matlab_file(tmp_path: Path) -> None:
    """Frames count from 1 there, and the last one belongs to the tube."""
    boxes = np.array([[200, 100, 100, 90], [201, 100, 100, 90]], np.uint8)
    kinds = {"name": object, "num_imgs": object, "tubes": object}
    annot = np.empty((1, 2), list(kinds.items()))
    tube = {"sf": 3, "ef": 4, "class": 1, "boxes": boxes}
    annot[0, 0] = ("Basketball/v_1", 50, tube)
    annot[0, 1] = ("Diving/v_2", 9, {**tube, "class": CLASSES.index("Diving") + 1})
    path = tmp_path / "finalAnnots.mat"
    savemat(path, {"annot": annot})
    truth = read_final_annots(path)
    tubes, videos = truth.tubes, truth.videos
    assert videos is not None
    assert tubes.boxes.tolist() == [[200, 100, 300, 190], [201, 100, 301, 190]] * 2
    assert tubes.frame.tolist() == [2, 3, 2, 3]
    assert [CLASSES[label] for label in tubes.label] == ["Basketball"] * 2 + ["Diving"] * 2
    assert videos.video == ("Basketball/v_1", "Diving/v_2")
    assert videos.num_frames.tolist() == [50, 9]


def test_single_values_in_a_matlab_file(tmp_path: Path) -> None:
    """A list of one video, of one tube of one box, as MATLAB's files hold them."""
    tube = {"sf": 3, "ef": 3, "class": 1, "boxes": np.array([[200, 100, 100, 90]], np.uint8)}
    video = {"name": "Basketball/v_1", "num_imgs": 50, "tubes": tube}
    savemat(tmp_path / "finalAnnots.mat", {"annot": video})
    tubes = read_final_annots(tmp_path / "finalAnnots.mat").tubes
    assert tubes.boxes.tolist() == [[200, 100, 300, 190]] and tubes.frame.tolist() == [2]


def test_damaged_matlab_file(tmp_path: Path) -> None:
    path = tmp_path / "finalAnnots.mat"
    path.write_bytes(b"text" * 100)
    with pytest.raises(InputError, match="cannot be read as a MATLAB file"):
        read_final_annots(path)
    tube = {"ef": 3, "class": 1, "boxes": np.ones((1, 4))}
    video = {"name": "Basketball/v_1", "num_imgs": 50, "tubes": tube}
    for variables, message in (
        ({"other": np.ones(3)}, "has no variable annot"),
        ({"annot": np.ones(3)}, "annot: video 1: must be a dict with name, not 1.0"),
        ({"annot": {"name": 1.5}}, "annot: video 1: name: must be text, not 1.5"),
        ({"annot": video}, "video Basketball/v_1: tubes: tube 1: has no sf"),
        ({"annot": {**video, "tubes": "none"}}, "tubes: must be a list with an item for each tube"),
        ({"annot": {**video, "num_imgs": "many"}}, "num_imgs: must be a whole number, not 'many'"),
    ):
        savemat(path, variables)
        with pytest.raises(InputError, match=f"finalAnnots.mat: .*{message}"):
            read_final_annots(path)
