"""JHMDB: the official folders of puppet masks or joints, and the split lists."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ..errors import InputError, some_of
from ..storage.isolated import isolated_reader
from ..storage.text_files import read_lines
from ..tables import TubeRows, Tubes, Videos, make_videos, tubes_from_rows
from .matlab import read_variable

CLASSES = (
    "brush_hair", "catch", "clap", "climb_stairs", "golf", "jump", "kick_ball", "pick", "pour",
    "pullup", "push", "run", "shoot_ball", "shoot_bow", "shoot_gun", "sit", "stand",
    "swing_baseball", "throw", "walk", "wave",
)  # fmt: skip
WIDTH, HEIGHT = 320, 240

Boxes = Literal["masks", "joints"]
_FILES = {
    "masks": ("puppet_mask", "puppet_mask.mat", "part_mask"),
    "joints": ("joint_positions", "joint_positions.mat", "pos_img"),
}
_PARTS = {"1": "train", "2": "test"}
"""How the split lists number the parts; videos of part 0 are not used."""


def read_jhmdb_folder(
    root: Path, names: Sequence[str], boxes: Boxes = "masks"
) -> tuple[Tubes, Videos]:
    """Reads the official annotation folder: one tube for each video, of its class.

    Args:
        root: holds puppet_mask/<class>/<video>/puppet_mask.mat, or joint_positions/ likewise.
        names: the videos, "<class>/<video>".
        boxes: the tight box around the puppet's pixels (from the first to the last pixel, counted
            from 0, as in JHMDB-GT.pkl), or around the 15 joints, clipped to the frame.

    Returns:
        the ground truth and the videos (fps unknown). A frame with an empty mask has no box.

    Raises:
        InputError: a file is missing or has other contents.
    """
    from tqdm import tqdm

    entries: list[TubeRows] = []
    sizes = np.empty((len(names), 3), np.int64)
    with isolated_reader(read_variable) as read:
        for video, name in enumerate(tqdm(names, desc="annotations", unit="video", delay=2)):
            folder = name.split("/", 1)[0]
            if folder not in CLASSES:
                raise InputError(f"{name}: the folder {folder} is not a class of JHMDB")
            path = annotation_file(root, name, boxes)
            key = _FILES[boxes][2]
            values = _checked(read(path, key), key, path)
            if boxes == "masks":
                rows = boxes_of_masks(values)
                sizes[video] = values.shape[2], values.shape[1], values.shape[0]
            else:
                rows = boxes_of_joints(values)
                sizes[video] = values.shape[2], WIDTH, HEIGHT
            if not len(rows):
                raise InputError(f"{path}: shows no person in any frame; download it again")
            entries.append((video, CLASSES.index(folder), rows, None))
    videos = make_videos(names, sizes[:, 0], sizes[:, 1], sizes[:, 2])
    return tubes_from_rows(entries, tuple(names), CLASSES), videos


def annotation_file(root: Path, name: str, boxes: Boxes) -> Path:
    """The file of the masks or joints of a video, "<class>/<video>"."""
    folder, file, _ = _FILES[boxes]
    return root / folder / name / file


def boxes_of_masks(masks: np.ndarray) -> np.ndarray:
    """(n, 5) frame, x1, y1, x2, y2: the first and last pixels of each mask that is not empty.

    Args:
        masks: (H, W, T), non-zero on the person.
    """
    columns = np.max(masks, axis=0) > 0
    rows = np.max(masks, axis=1) > 0
    frames = np.flatnonzero(columns.any(axis=0))
    columns, rows = columns[:, frames], rows[:, frames]
    return np.stack(
        [
            frames,
            columns.argmax(axis=0),
            rows.argmax(axis=0),
            len(columns) - 1 - columns[::-1].argmax(axis=0),
            len(rows) - 1 - rows[::-1].argmax(axis=0),
        ],
        axis=1,
    ).astype(np.float64)


def boxes_of_joints(joints: np.ndarray) -> np.ndarray:
    """(T, 5) frame, x1, y1, x2, y2: the box around all joints, clipped to the frame.

    Args:
        joints: (2, J, T) x and y, counted from 1.
    """
    limit = np.array([WIDTH - 1, HEIGHT - 1])[:, None]
    low = np.clip(joints.min(axis=1) - 1, 0, limit)
    high = np.clip(joints.max(axis=1) - 1, 0, limit)
    return np.concatenate([np.arange(joints.shape[2])[None], low, high]).T.astype(np.float64)


def read_splits(folder: Path) -> dict[str, list[str]]:
    """The official lists `<class>_test_split<k>.txt`: lines of a video and 1 (train) or 2 (test).

    Args:
        folder: holds 63 of them, 21 classes in 3 splits.

    Returns:
        train1, test1, ... test3: videos as "<class>/<video>".

    Raises:
        InputError: lists are missing, or a line has another form.
    """
    files = {(name, k): folder / f"{name}_test_split{k}.txt" for k in (1, 2, 3) for name in CLASSES}
    missing = [path.name for path in files.values() if not path.is_file()]
    if missing:
        raise InputError(
            f"{folder}: {len(missing)} of 63 split lists are missing; unpack splits.zip from "
            f"the JHMDB site. Missing: {some_of(missing)}"
        )
    splits: dict[str, list[str]] = {f"{part}{k}": [] for k in (1, 2, 3) for part in _PARTS.values()}
    for (name, k), path in files.items():
        for number, line in enumerate(read_lines(path), 1):
            words = line.split()
            if not words:
                continue
            if len(words) != 2 or words[1] not in ("0", *_PARTS):
                raise InputError(
                    f"{path}: line {number}: must be a video and 1 (train), 2 (test) or 0; "
                    "download it again"
                )
            if words[1] in _PARTS:
                members = splits[f"{_PARTS[words[1]]}{k}"]
                members.append(f"{name}/{words[0].removesuffix('.avi')}")
    return splits


def _checked(content: Any, key: str, path: Path) -> np.ndarray:
    """The variable as an array (H, W, T) of masks, or (2, J, T) of joints."""
    values = np.asarray(content)
    if values.ndim == 2:
        values = values[..., None]
    if values.ndim != 3 or not values.size or (key == "pos_img" and values.shape[0] != 2):
        raise InputError(f"{path}: {key} has the wrong shape {values.shape}; download it again")
    if values.dtype.kind not in "buif" or not np.isfinite(values).all():
        raise InputError(f"{path}: {key} must be finite numbers; download it again")
    return values
