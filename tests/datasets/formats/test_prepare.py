"""`prepare` on folders laid out as the official downloads are."""

from __future__ import annotations

import pickle
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from actiontubes.datasets.errors import InputError
from actiontubes.datasets.formats.jhmdb import CLASSES
from actiontubes.datasets.formats.prepare import prepare_jhmdb, prepare_ucf101_24, write_prepared
from actiontubes.datasets.formats.registry import read_ground_truth
from scipy.io import savemat

Shared = Callable[[str], Path]


@pytest.fixture
def jhmdb(tmp_path: Path) -> Path:
    """Two videos a class, the first in train and the second in test of every split."""
    (tmp_path / "splits").mkdir()
    masks = np.zeros((24, 32, 3), np.uint8)
    masks[5:9, 10:21] = 1
    for name in CLASSES:
        for k in (1, 2, 3):
            lines = f"{name}_a.avi 1\n{name}_b.avi 2\n"
            (tmp_path / f"splits/{name}_test_split{k}.txt").write_text(lines)
        for video in (f"{name}_a", f"{name}_b"):
            folder = tmp_path / "puppet_mask" / name / video
            folder.mkdir(parents=True)
            savemat(folder / "puppet_mask.mat", {"part_mask": masks})
            (tmp_path / "ReCompress_Videos" / name).mkdir(parents=True, exist_ok=True)
            (tmp_path / "ReCompress_Videos" / name / f"{video}.avi").touch()
    return tmp_path


def test_jhmdb_official_folder(jhmdb: Path) -> None:
    (jhmdb / "ReCompress_Videos/golf/golf_a.avi").unlink()
    prepared = prepare_jhmdb(jhmdb)
    assert len(prepared.ground_truth.videos) == 42
    assert len(prepared.ground_truth.tubes) == 126
    (missing,) = prepared.missing
    assert missing[0] == jhmdb / "ReCompress_Videos/golf/golf_a"
    assert "ReCompress_Videos.zip" in missing[1]
    assert "found 42 videos, but the complete data set has 928" in prepared.remarks
    write_prepared(prepared, jhmdb / "out")
    truth, videos = read_ground_truth(jhmdb / "out", split=2)
    assert truth.video_names == tuple(f"{name}/{name}_b" for name in CLASSES)
    assert len(truth) == 63
    assert truth.boxes[0].tolist() == [10, 5, 20, 8]
    assert videos is not None and set(videos.split) == {"train", "test"}


def test_jhmdb_missing_annotations_are_all_named(jhmdb: Path) -> None:
    for name in ("wave/wave_a", "golf/golf_b"):
        (jhmdb / "puppet_mask" / name / "puppet_mask.mat").unlink()
    with pytest.raises(InputError, match=r"2 of 42 .*JHMDB site.*golf_b.*wave_a"):
        prepare_jhmdb(jhmdb)
    shutil.rmtree(jhmdb / "splits")
    with pytest.raises(InputError, match=r"63 of 63 .*splits\.zip"):
        prepare_jhmdb(jhmdb)


def test_jhmdb_pickle(shared: Shared, tmp_path: Path) -> None:
    shutil.copy(shared("jhmdb/JHMDB-GT.pkl"), tmp_path)
    prepared = prepare_jhmdb(tmp_path)
    assert prepared.remarks == []
    assert (len(prepared.ground_truth.videos), len(prepared.ground_truth.tubes)) == (928, 31_852)
    # No pictures at all: one line says what would do.
    ((_, origin),) = prepared.missing
    assert "Rename_Images.zip" in origin
    frames = tmp_path / "Frames" / prepared.ground_truth.videos.video[0]
    frames.mkdir(parents=True)
    (frames / "00001.png").touch()
    missing = prepare_jhmdb(tmp_path).missing
    assert len(missing) == 927
    write_prepared(prepared, tmp_path)
    from_folder, _ = read_ground_truth(tmp_path, split=3)
    from_pickle, _ = read_ground_truth(tmp_path / "JHMDB-GT.pkl", split=3)
    assert from_folder.video_names == from_pickle.video_names
    assert (
        np.sort(from_folder.boxes, axis=0).tolist() == np.sort(from_pickle.boxes, axis=0).tolist()
    )


def test_official_splits_go_with_the_real_names(shared: Shared, tmp_path: Path) -> None:
    with zipfile.ZipFile(shared("jhmdb/splits.zip")) as archive:
        archive.extractall(tmp_path)
    with pytest.raises(InputError, match="928 of 928 annotation files are missing"):
        prepare_jhmdb(tmp_path)


def test_ucf101_24(shared: Shared, tmp_path: Path) -> None:
    shutil.copy(shared("ucf101-24/pyannot.pkl"), tmp_path)
    with pytest.raises(InputError, match=r"testlist01\.txt is missing"):
        prepare_ucf101_24(tmp_path)
    shutil.copy(shared("ucf101-24/testlist01.txt"), tmp_path)
    (tmp_path / "UCF-101/Basketball").mkdir(parents=True)
    (tmp_path / "UCF-101/Basketball/v_Basketball_g01_c01.avi").touch()
    prepared = prepare_ucf101_24(tmp_path)
    assert prepared.remarks == []
    assert len(prepared.missing) == 3193
    assert {name: len(names) for name, names in prepared.ground_truth.splits.items()} == {
        "test1": 910,
        "train1": 2284,
    }
    write_prepared(prepared, tmp_path / "out")
    truth, _ = read_ground_truth(tmp_path / "out")
    assert (len(truth.video_names), len(truth)) == (910, 170_580)


def test_ucf101_24_as_act_pickle(tmp_path: Path) -> None:
    rows = np.array([[1, 2, 3, 4, 5]], np.float32)
    content: dict[str, Any] = {
        "labels": ["Diving"],
        "gttubes": {"Diving/a": {0: [rows]}, "Diving/b": {0: [rows]}},
        "nframes": {"Diving/a": 1, "Diving/b": 1},
        "resolution": {"Diving/a": (240, 320), "Diving/b": (240, 320)},
        "train_videos": [["Diving/a"]],
        "test_videos": [["Diving/b"]],
    }
    (tmp_path / "UCF101v2-GT.pkl").write_bytes(pickle.dumps(content))
    prepared = prepare_ucf101_24(tmp_path)
    assert prepared.ground_truth.splits == {"test1": ["Diving/b"], "train1": ["Diving/a"]}
    # A frame behind the end of the video: nothing is written.
    content["gttubes"]["Diving/b"] = {0: [rows + np.array([1, 0, 0, 0, 0])]}
    (tmp_path / "UCF101v2-GT.pkl").write_bytes(pickle.dumps(content))
    late = prepare_ucf101_24(tmp_path)
    with pytest.raises(InputError, match="Diving/b, frame 1: the video ends before"):
        write_prepared(late, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    (tmp_path / "UCF101v2-GT.pkl").unlink()
    with pytest.raises(InputError, match=r"pyannot\.pkl .* UCF101v2-GT\.pkl"):
        prepare_ucf101_24(tmp_path)
