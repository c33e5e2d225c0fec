"""The pickles of ACT and those who came after (MOC, MultiSports, mmaction2, HIT).

ACT-detector's layout (Kalogeiton et al. 2017) has become the common one: frames count from 1 in
it, videos are named "<class>/<video>", labels are numbers from 0 into a list in the ground truth.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from ..files import load_pickle
from ..tables import (
    Detections,
    Tubelets,
    TubeRows,
    Tubes,
    Videos,
    detections_from_rows,
    tubes_from_rows,
)


def read_act_ground_truth(
    path: Path, split: int = 1, subset: str = "test", content: Any = None
) -> tuple[Tubes, Videos]:
    """Reads JHMDB-GT.pkl, UCF101v2-GT.pkl, multisports_GT.pkl or another of that layout.

    Args:
        path: a pickle of a dict with labels, gttubes, nframes, test_videos and resolution.
        split: which list of videos, from 1; 0 takes every video.
        subset: "test" or "train".
        content: what `load_pickle(path)` gives, where it is at hand.

    Returns:
        the ground truth of those videos, coordinates untouched, labels in the file's order; and
        the videos, fps unknown.

    Raises:
        InputError: not such a file, or no such split.
    """
    content = load_pickle(path) if content is None else content
    keys = ("labels", "gttubes", "nframes", "resolution", f"{subset}_videos")
    missing = [key for key in keys if not isinstance(content, dict) or key not in content]
    if missing:
        raise InputError(f"{path}: is not an ACT ground truth pickle: {', '.join(missing)} missing")
    lists = content[f"{subset}_videos"]
    if not 0 <= split <= len(lists):
        raise InputError(f"{path}: has no split {split}; choose 1 to {len(lists)}")
    names = sorted(content["gttubes"]) if split == 0 else list(lists[split - 1])
    for key in ("gttubes", "nframes", "resolution"):
        absent = [name for name in names if name not in content[key]]
        if absent:
            raise InputError(
                f"{path}: {key} has no entry for the {subset} video "
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
                entries.append((video, int(label), _rows(tube, f"{path}: {name}"), None))
    sizes = np.array([content["resolution"][name] for name in names], np.int64).reshape(-1, 2)
    videos = Videos(
        video=tuple(names),
        num_frames=np.array([content["nframes"][name] for name in names], np.int64),
        width=sizes[:, 1],
        height=sizes[:, 0],
        fps=np.full(len(names), np.nan),
        split=(subset if split else "",) * len(names),
    )
    return tubes_from_rows(entries, tuple(names), labels), videos


def read_act_tubes(folder: Path, ground_truth: Tubes) -> Tubes:
    """Reads `<video>_tubes.pkl` of every video, as ACT's and MOC's BuildTubes write them.

    Args:
        folder: holds `<class>/<video>_tubes.pkl`: a dict from label number to a list of (frames
            and boxes, score).
        ground_truth: gives the names of videos and labels, the labels in the data set's order.

    Raises:
        InputError: a video's file is missing, or not of that layout.
    """
    files = {video: folder / f"{name}_tubes.pkl" for video, name in _named(ground_truth)}
    _require(files.values(), folder, len(ground_truth.video_names))
    entries: list[TubeRows] = []
    for video, path in files.items():
        content = load_pickle(path)
        if not isinstance(content, dict):
            raise InputError(
                f"{path}: must be a dict from label number to tubes (ACT's or MOC's "
                "<video>_tubes.pkl)"
            )
        for label, tubes in content.items():
            _check_label(label, ground_truth, path)
            for tube, score in tubes:
                entries.append((video, int(label), _rows(tube, str(path)), float(score)))
    return tubes_from_rows(entries, ground_truth.video_names, ground_truth.label_names)


def read_tubelets(folder: Path, ground_truth: Tubes) -> Tubelets:
    """Reads `<video>/00001.pkl` and on, as ACT's extract_tubelets and MOC's det.py write them.

    Args:
        folder: holds `<class>/<video>/<frame, 5 digits>.pkl`. ACT: a pair of arrays, the first (N,
            2 + 4K) label, score, boxes. MOC: a dict from label + 1 to (N, 4K + 1) boxes, score.
        ground_truth: gives the names of videos and labels, the labels in the data set's order.

    Raises:
        InputError: a video has no folder, or a file is not of that layout.
    """
    from tqdm import tqdm

    folders = [folder / name for name in ground_truth.video_names]
    _require(folders, folder, len(folders))
    parts: list[np.ndarray] = []
    places: list[tuple[int, int]] = []
    for video, inside in enumerate(tqdm(folders, desc="reading", unit="video", delay=2)):
        for path in sorted(inside.glob("*.pkl")):
            if not path.stem.isdigit():
                raise InputError(f"{path}: its name must be a frame number such as 00001.pkl")
            part = _tubelets(load_pickle(path), path)
            if len(part):
                parts.append(part)
                places.append((video, int(path.stem) - 1))
    widths = {part.shape[1] for part in parts} or {6}
    if len(widths) > 1:
        lengths = " and ".join(str((width - 2) // 4) for width in sorted(widths))
        raise InputError(
            f"{folder}: mixes tubelets of {lengths} frames; they must all have the same length"
        )
    counts = [len(part) for part in parts]
    rows = np.concatenate([np.empty((0, *widths)), *parts])
    video, frame = np.repeat(np.array(places, np.int64).reshape(-1, 2), counts, axis=0).T
    names = ground_truth.video_names, ground_truth.label_names
    tubelets = Tubelets(
        video.astype(np.int32),
        frame.astype(np.int32),
        rows[:, 0].astype(np.int32),
        rows[:, 1].copy(),
        rows[:, 2:].reshape(len(rows), -1, 4),
        *names,
    )
    boxes = tubelets.as_detections()
    columns = (boxes.video, boxes.frame, boxes.label, boxes.score)
    detections_from_rows(np.column_stack([*columns, boxes.boxes]), *names, str(folder))
    return tubelets


def read_frame_detections(path: Path, ground_truth: Tubes) -> Detections:
    """Reads frame_detections.pkl of ACT, MOC and MultiSports.

    Args:
        path: rows of video index, frame from 1, label index, score, x1, y1, x2, y2.
        ground_truth: gives the names; the video index counts its `unique_names`.
    """
    content = load_pickle(path)
    try:
        rows = np.asarray(content, np.float64).reshape(-1, 8)
    except (ValueError, TypeError):
        raise InputError(
            f"{path}: must contain rows of 8 numbers: video, frame, label, score, x1, y1, x2, y2"
        ) from None
    rows[:, 1] -= 1
    return detections_from_rows(rows, ground_truth.video_names, ground_truth.label_names, str(path))


def read_video_detections(path: Path, ground_truth: Tubes) -> Tubes:
    """Reads video_detections.pkl of MultiSports: label index to (video name, score, tube)s."""
    content = load_pickle(path)
    if not isinstance(content, dict):
        raise InputError(
            f"{path}: must be a dict from label number to tubes (video_detections.pkl of "
            "MultiSports)"
        )
    names = {name: video for video, name in _named(ground_truth)}
    entries: list[TubeRows] = []
    for label, tubes in content.items():
        _check_label(label, ground_truth, path)
        for name, score, tube in tubes:
            if name not in names:
                raise InputError(f"{path}: label {label}: video {name} is not in the ground truth")
            entries.append((names[name], int(label), _rows(tube, str(path)), float(score)))
    return tubes_from_rows(entries, ground_truth.video_names, ground_truth.label_names)


def _named(ground_truth: Tubes) -> Iterable[tuple[int, str]]:
    return enumerate(ground_truth.video_names)


def _rows(tube: Any, source: str) -> np.ndarray:
    """The first five columns of a tube, its frames counted from 0; checked."""
    rows = np.asarray(tube, np.float64)
    if rows.ndim != 2 or rows.shape[1] < 5:
        raise InputError(
            f"{source}: a tube has shape {rows.shape}; it must be (n, 5): frame, x1, y1, x2, y2"
        )
    rows = rows[:, :5].copy()
    rows[:, 0] -= 1
    if not np.isfinite(rows).all():
        raise InputError(f"{source}: a tube contains NaN or infinity")
    if (rows[:, 0] < 0).any():
        raise InputError(
            f"{source}: a frame number is below 1; frames count from 1 in ACT's pickles"
        )
    if (rows[:, 3] < rows[:, 1]).any() or (rows[:, 4] < rows[:, 2]).any():
        raise InputError(f"{source}: a box has x2 < x1 or y2 < y1")
    return rows


def _tubelets(content: Any, path: Path) -> np.ndarray:
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


def _check_label(label: Any, ground_truth: Tubes, path: Path) -> None:
    if not 0 <= int(label) < len(ground_truth.label_names):
        raise InputError(
            f"{path}: label {label} does not exist; the ground truth has "
            f"{len(ground_truth.label_names)} labels, counted from 0"
        )


def _require(paths: Iterable[Path], folder: Path, wanted: int) -> None:
    missing = [path for path in paths if not path.exists()]
    if missing:
        raise InputError(
            f"{folder}: {len(missing)} of {wanted} videos have no file; the first is "
            f"{missing[0].relative_to(folder)}"
        )
