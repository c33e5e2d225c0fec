"""The pickles of the ACT detector and of its successors (MOC, MultiSports, mmaction2, HIT).

In the layout of ACT (Kalogeiton et al. 2017) frames count from 1, videos are named
"<class>/<video>", and labels are numbers from 0 into a list in the ground truth.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ..box_coordinates import has_swapped_corners
from ..class_list import ClassList
from ..errors import InputError
from ..files import load_pickle
from ..frame_numbers import frame_of_file, from_one_based
from ..tables import (
    Detections,
    Tubelets,
    TubeRows,
    Tubes,
    detections_from_rows,
    make_videos,
    tubes_from_rows,
)
from .annotation_format import AnnotationFormat, GroundTruth, ReadOptions


class ActFormat(AnnotationFormat):
    """ACT's ground truth pickle, and folders and pickles of detections and tubes."""

    name = "ACT's pickles"

    def matches(self, path: Path) -> bool:
        return path.is_dir() or path.suffix in (".pkl", ".pickle")

    def read_ground_truth(self, path: Path, options: ReadOptions) -> GroundTruth:
        if path.is_dir():
            raise InputError(
                f"{path}: contains no ground truth; expected groundtruth.parquet or .csv (written "
                "by `actiontubes prepare`), pyannot.pkl, UCF101v2-GT.pkl, JHMDB-GT.pkl or "
                "puppet_mask/"
            )
        return read_act_ground_truth(path)

    def read_detections(self, path: Path, options: ReadOptions) -> Detections:
        if path.is_dir():
            return read_tubelets(path, options).as_detections()
        return read_frame_detections(path, options)

    def read_tubes(self, path: Path, options: ReadOptions) -> Tubes:
        return (read_act_tubes if path.is_dir() else read_video_detections)(path, options)


def read_act_ground_truth(path: Path) -> GroundTruth:
    """Reads JHMDB-GT.pkl, UCF101v2-GT.pkl, multisports_GT.pkl or another of that layout.

    Args:
        path: a pickle of a dict with labels, gttubes, nframes, test_videos and resolution.

    Returns:
        the ground truth of all videos, coordinates untouched, labels in the file's order; the
        videos' fps are unknown.

    Raises:
        InputError: not such a file.
    """
    content = load_pickle(path)
    keys = ("labels", "gttubes", "nframes", "resolution", "test_videos")
    missing = [key for key in keys if not isinstance(content, dict) or key not in content]
    if missing:
        raise InputError(f"{path}: is not an ACT ground truth pickle: {', '.join(missing)} missing")
    splits = {
        f"{part}{number}": list(map(str, names))
        for part in ("test", "train")
        for number, names in enumerate(content.get(f"{part}_videos", ()), 1)
    }
    names = sorted(map(str, content["gttubes"]))
    tested = [name for key, listed in splits.items() if key.startswith("test") for name in listed]
    for key in ("gttubes", "nframes", "resolution"):
        absent = [name for name in (*names, *tested) if name not in content[key]]
        if absent:
            raise InputError(
                f"{path}: {key} has no entry for the video "
                f"{absent[0]}{f' (and {len(absent) - 1} more)' * (len(absent) > 1)}"
            )
    labels = tuple(map(str, content["labels"]))
    entries: list[TubeRows] = []
    for video, name in enumerate(names):
        for label, tubes in content["gttubes"][name].items():
            if not 0 <= int(label) < len(labels):
                raise InputError(
                    f"{path}: {name}: label {label} does not exist; the file has {len(labels)} "
                    "labels, counted from 0"
                )
            for tube in tubes:
                entries.append((video, int(label), _tube_rows(tube, f"{path}: {name}"), None))
    sizes = np.array([content["resolution"][name] for name in names], np.int64).reshape(-1, 2)
    videos = make_videos(
        names, [content["nframes"][name] for name in names], sizes[:, 1], sizes[:, 0]
    )
    tubes = tubes_from_rows(entries, tuple(names), labels)
    return GroundTruth(
        path=path, tubes=tubes, videos=videos, splits=splits, default_split=1,
        classes=ClassList(labels, source=str(path)),
    )  # fmt: skip


def read_act_tubes(folder: Path, options: ReadOptions) -> Tubes:
    """Reads `<video>_tubes.pkl` of every video, which BuildTubes of ACT and MOC writes.

    Args:
        folder: holds `<class>/<video>_tubes.pkl`: a dict from label number to a list of (frames
            and boxes, score).
        options: must name the videos and the classes, the latter in the data set's order.

    Raises:
        InputError: a video's file is missing, or has another layout.
    """
    names, classes = options.require_names(folder)
    files = {video: folder / f"{name}_tubes.pkl" for video, name in enumerate(names)}
    _require(files.values(), folder, len(names))
    entries: list[TubeRows] = []
    for video, path in files.items():
        content = _iter_scored_tubes(path, classes, "ACT's or MOC's <video>_tubes.pkl")
        for label, (tube, score) in content:
            entries.append((video, label, _tube_rows(tube, str(path)), float(score)))
    return tubes_from_rows(entries, names, classes)


def read_tubelets(folder: Path, options: ReadOptions) -> Tubelets:
    """Reads `<video>/00001.pkl` ..., which ACT's extract_tubelets and MOC's det.py write.

    Args:
        folder: holds `<class>/<video>/<frame, 5 digits>.pkl`. ACT: a pair of arrays, the first (N,
            2 + 4K) label, score, boxes. MOC: a dict from label + 1 to (N, 4K + 1) boxes, score.
        options: must name the videos and the classes, the latter in the data set's order.

    Raises:
        InputError: a video has no folder, or a file has another layout.
    """
    from tqdm import tqdm

    names = options.require_names(folder)
    folders = [folder / name for name in names[0]]
    _require(folders, folder, len(folders))
    parts: list[np.ndarray] = []
    videos_and_frames: list[tuple[int, int]] = []
    for video, inside in enumerate(tqdm(folders, desc="reading", unit="video", delay=2)):
        for path in sorted(inside.glob("*.pkl")):
            if not path.stem.isdigit():
                raise InputError(f"{path}: its name must be a frame number such as 00001.pkl")
            part = _tubelet_rows(load_pickle(path), path)
            if len(part):
                parts.append(part)
                videos_and_frames.append((video, frame_of_file(path)))
    widths = {part.shape[1] for part in parts} or {6}
    if len(widths) > 1:
        lengths = " and ".join(str((width - 2) // 4) for width in sorted(widths))
        raise InputError(
            f"{folder}: mixes tubelets of {lengths} frames; they must all have the same length"
        )
    counts = [len(part) for part in parts]
    rows = np.concatenate([np.empty((0, *widths)), *parts])
    video, frame = np.repeat(np.reshape(videos_and_frames, (-1, 2)), counts, axis=0).T
    tubelets = Tubelets(
        video=video.astype(np.int32),
        frame=frame.astype(np.int32),
        label=rows[:, 0].astype(np.int32),
        score=rows[:, 1].copy(),
        boxes=rows[:, 2:].reshape(len(rows), -1, 4),
        video_names=names[0],
        label_names=names[1],
    )
    boxes = tubelets.as_detections()
    columns = (boxes.video, boxes.frame, boxes.label, boxes.score)
    detections_from_rows(np.column_stack([*columns, boxes.boxes]), *names, str(folder))
    return tubelets


def read_frame_detections(path: Path, options: ReadOptions) -> Detections:
    """Reads frame_detections.pkl of ACT, MOC and MultiSports.

    Args:
        path: rows of video index, frame from 1, label index, score, x1, y1, x2, y2.
        options: must name the videos and classes, in the order of the indices.
    """
    names = options.require_names(path)
    content = load_pickle(path)
    try:
        rows = np.asarray(content, np.float64).reshape(-1, 8)
    except (ValueError, TypeError):
        raise InputError(
            f"{path}: must contain rows of 8 numbers: video, frame, label, score, x1, y1, x2, y2"
        ) from None
    rows[:, 1] = from_one_based(rows[:, 1])
    return detections_from_rows(rows, *names, str(path))


def read_video_detections(path: Path, options: ReadOptions) -> Tubes:
    """Reads video_detections.pkl of MultiSports: label index to (video name, score, tube)s."""
    videos, classes = options.require_names(path)
    codes = {name: video for video, name in enumerate(videos)}
    entries: list[TubeRows] = []
    content = _iter_scored_tubes(path, classes, "video_detections.pkl of MultiSports")
    for label, (name, score, tube) in content:
        if name not in codes:
            raise InputError(f"{path}: label {label}: video {name} is not in the ground truth")
        entries.append((codes[name], label, _tube_rows(tube, str(path)), float(score)))
    return tubes_from_rows(entries, videos, classes)


def _iter_scored_tubes(
    path: Path, classes: tuple[str, ...], layout: str
) -> Iterator[tuple[int, Any]]:
    """Yields label and entry of each tube in a pickled dict from label number to tubes.

    Raises:
        InputError: it is not such a dict, which `layout` describes, or a label is not a class.
    """
    content = load_pickle(path)
    if not isinstance(content, dict):
        raise InputError(f"{path}: must be a dict from label number to tubes ({layout})")
    for label, tubes in content.items():
        if not 0 <= int(label) < len(classes):
            raise InputError(
                f"{path}: label {label} does not exist; the ground truth has {len(classes)} "
                "labels, counted from 0"
            )
        for tube in tubes:
            yield int(label), tube


def _tube_rows(tube: Any, source: str) -> np.ndarray:
    """The first five columns of a tube, checked, with frames counted from 0."""
    rows = np.asarray(tube, np.float64)
    if rows.ndim != 2 or rows.shape[1] < 5:
        raise InputError(
            f"{source}: a tube has shape {rows.shape}; it must be (n, 5): frame, x1, y1, x2, y2"
        )
    rows = rows[:, :5].copy()
    rows[:, 0] = from_one_based(rows[:, 0])
    if not np.isfinite(rows).all():
        raise InputError(f"{source}: a tube contains NaN or infinity")
    if (rows[:, 0] < 0).any():
        raise InputError(
            f"{source}: a frame number is below 1; frames count from 1 in ACT's pickles"
        )
    if has_swapped_corners(rows[:, 1:]).any():
        raise InputError(f"{source}: a box has x2 < x1 or y2 < y1")
    return rows


def _tubelet_rows(content: Any, path: Path) -> np.ndarray:
    """(N, 2 + 4K) label, score, boxes, from either layout."""
    if isinstance(content, dict):
        parts = []
        for label, values in content.items():
            values = np.asarray(values, np.float64)
            if values.ndim != 2 or values.shape[1] % 4 != 1:
                raise InputError(
                    f"{path}: label {label}: array of shape {values.shape}; it must be (N, 4K + "
                    "1): the boxes of K frames, then the score"
                )
            labels = np.full((len(values), 1), int(label) - 1.0)
            parts.append(np.concatenate([labels, values[:, -1:], values[:, :-1]], axis=1))
        widths = {part.shape[1] for part in parts}
        if len(widths) > 1:
            raise InputError(f"{path}: mixes tubelets of different lengths")
        return np.concatenate(parts) if parts else np.empty((0, 6))
    if isinstance(content, tuple) and len(content) == 2:
        rows = np.asarray(content[0], np.float64)
        if not rows.size:
            return np.empty((0, 6))
        if rows.ndim == 2 and rows.shape[1] % 4 == 2 and rows.shape[1] > 2:
            return rows
    raise InputError(
        f"{path}: is neither ACT's pair of arrays nor MOC's dict from label to tubelets"
    )


def _require(paths: Iterable[Path], folder: Path, wanted: int) -> None:
    missing = [path for path in paths if not path.exists()]
    if missing:
        raise InputError(
            f"{folder}: {len(missing)} of {wanted} videos have no file; the first is "
            f"{missing[0].relative_to(folder)}"
        )
