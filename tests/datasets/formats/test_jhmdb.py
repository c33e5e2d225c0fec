"""JHMDB's official folder, small ones made here and the real split lists."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from actiontubes.datasets.errors import InputError
from actiontubes.datasets.formats.jhmdb import (
    CLASSES,
    boxes_of_joints,
    boxes_of_masks,
    read_jhmdb_folder,
    read_splits,
)
from actiontubes.datasets.storage.files import load_pickle
from scipy.io import savemat


def write_masks(root: Path, name: str, masks: np.ndarray) -> None:
    folder = root / "puppet_mask" / name
    folder.mkdir(parents=True)
    savemat(folder / "puppet_mask.mat", {"part_mask": masks.astype(np.uint8)})


def test_boxes_of_masks() -> None:
    masks = np.zeros((24, 32, 3), np.uint8)
    masks[5:9, 10:21, 0] = 3
    masks[0, 0, 2] = masks[23, 31, 2] = 1
    # The middle frame is empty: no box there.
    assert boxes_of_masks(masks).tolist() == [[0, 10, 5, 20, 8], [2, 0, 0, 31, 23]]


def test_boxes_of_joints() -> None:
    joints = np.array([[[11.0], [31.0], [21.0]], [[5.0], [-4.0], [300.0]]])
    # Counted from 1 in the file, clipped to 320 x 240.
    assert boxes_of_joints(joints).tolist() == [[0, 10, 0, 30, 239]]


def test_folder(tmp_path: Path) -> None:
    masks = np.zeros((240, 320, 4), np.uint8)
    masks[50:100, 60:90] = 1
    write_masks(tmp_path, "wave/a", masks)
    write_masks(tmp_path, "golf/b", masks[:, :, :2])
    tubes, videos = read_jhmdb_folder(tmp_path, ["wave/a", "golf/b"])
    assert [CLASSES[label] for label in tubes.label] == ["wave"] * 4 + ["golf"] * 2
    assert tubes.boxes.tolist() == [[60, 50, 89, 99]] * 6
    assert videos.num_frames.tolist() == [4, 2]
    assert (videos.width[0], videos.height[0]) == (320, 240)


def test_damaged_folder(tmp_path: Path) -> None:
    write_masks(tmp_path, "wave/a", np.zeros((240, 320, 2)))
    with pytest.raises(InputError, match=r"puppet_mask.mat: shows no person in any frame"):
        read_jhmdb_folder(tmp_path, ["wave/a"])
    (tmp_path / "puppet_mask/wave/a/puppet_mask.mat").write_bytes(b"text")
    with pytest.raises(InputError, match=r"puppet_mask.mat: cannot be read as a MATLAB file"):
        read_jhmdb_folder(tmp_path, ["wave/a"])
    with pytest.raises(InputError, match="is not a class of JHMDB"):
        read_jhmdb_folder(tmp_path, ["dance/a"])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.array(["a", "b"]), "part_mask has the wrong shape|must be finite numbers"),
        (np.zeros((0, 0, 3)), "part_mask has the wrong shape"),
        (np.full((4, 5, 2), np.nan), "part_mask must be finite numbers"),
        ({"field": 1}, "contains objects of unknown kinds"),
        (np.zeros((4, 5, 2)), "shows no person"),
    ],
)
def test_masks_that_cannot_be(tmp_path: Path, values: object, message: str) -> None:
    path = tmp_path / "puppet_mask/wave/a/puppet_mask.mat"
    path.parent.mkdir(parents=True)
    savemat(path, {"part_mask": values})
    with pytest.raises(InputError, match=rf"puppet_mask\.mat: {message}"):
        read_jhmdb_folder(tmp_path, ["wave/a"])


def test_splits_of_small_lists(tmp_path: Path) -> None:
    for name in CLASSES:
        for k in (1, 2, 3):
            lines = f"{name}_a.avi {1 + (k == 2)}\n{name}_b.avi {2 - (k == 2)}\n{name}_c.avi 0\n"
            (tmp_path / f"{name}_test_split{k}.txt").write_text(lines)
    splits = read_splits(tmp_path)
    assert sorted(splits["train1"]) == [f"{name}/{name}_a" for name in CLASSES]
    assert splits["train1"] == splits["train3"] == splits["test2"]
    assert splits["test1"] == splits["test3"] == splits["train2"]
    (tmp_path / "wave_test_split2.txt").write_text("video.avi\n")
    with pytest.raises(InputError, match=r"wave_test_split2.txt: line 1"):
        read_splits(tmp_path)
    (tmp_path / "wave_test_split2.txt").unlink()
    with pytest.raises(InputError, match=r"1 of 63 .*wave_test_split2.txt"):
        read_splits(tmp_path)


def test_official_splits_are_those_of_the_pickle(
    shared: Callable[[str], Path], tmp_path: Path
) -> None:
    with zipfile.ZipFile(shared("jhmdb/splits.zip")) as archive:
        archive.extractall(tmp_path)
    splits = read_splits(tmp_path / "splits")
    pickle = load_pickle(shared("jhmdb/JHMDB-GT.pkl"))
    for k in range(3):
        assert sorted(splits[f"train{k + 1}"]) == sorted(pickle["train_videos"][k])
        assert sorted(splits[f"test{k + 1}"]) == sorted(pickle["test_videos"][k])
    (tmp_path / "splits/wave_test_split2.txt").unlink()
    with pytest.raises(InputError, match=r"1 of 63 .*wave_test_split2.txt"):
        read_splits(tmp_path / "splits")
    (tmp_path / "splits/wave_test_split2.txt").write_text("video.avi\n")
    with pytest.raises(InputError, match=r"wave_test_split2.txt: line 1"):
        read_splits(tmp_path / "splits")
