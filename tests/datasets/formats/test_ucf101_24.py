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
    [({"ef": 9}, "has 2 boxes for 7 frames"), ({"label": 3}, "label 3 does not match the class")],
)
def test_damaged(tmp_path: Path, change: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_pyannot(pyannot(tmp_path, **change))


def test_unknown_video_is_named(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("Basketball/v_2\n")
    with pytest.raises(InputError, match=r"1 of 1 .*Basketball/v_2"):
        read_ground_truth(pyannot(tmp_path), videos=tmp_path / "list.txt")


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


def test_damaged_matlab_file(tmp_path: Path) -> None:
    path = tmp_path / "finalAnnots.mat"
    path.write_bytes(b"text" * 100)
    with pytest.raises(InputError, match="cannot be read as a MATLAB file"):
        read_final_annots(path)
    savemat(path, {"annot": np.ones(3)})
    with pytest.raises(InputError, match="is not finalAnnots\.mat: annot"):
        read_final_annots(path)
    savemat(path, {"other": np.ones(3)})
    with pytest.raises(InputError, match="has no variable annot"):
        read_final_annots(path)
