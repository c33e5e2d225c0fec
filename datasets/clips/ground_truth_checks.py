"""Whether ground truth fits the videos that it is for: their sizes and lengths, and its boxes."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..box_coordinates import same_aspect, to_pixels
from ..errors import InputError, more_of, more_rows
from ..file_options import FileOptions
from ..formats.annotation_format import GroundTruth
from ..labels import match_labels, remap_codes
from ..video.media import measure_video, probe_video
from ..video.reader import count_frames

# Boxes that extend farther than this beyond the frame, in pixels, give a warning.
_MAX_OVERHANG = 2.0
# Programs that count frames differ by so much: the first or the last frame, or a damaged one.
_MAX_LENGTH_DIFFERENCE = 2
_MAX_LENGTH_SHARE = 0.01


def check_classes(truth: GroundTruth, names: Sequence[str], labels: Sequence[str]) -> None:
    """Refuses labels that repeat, and rows of the videos `names` whose class is not among them."""
    repeated = [name for i, name in enumerate(labels) if name in labels[:i]]
    if repeated:
        raise InputError(f"--labels: {repeated[0]} is given twice; give each class once")
    tubes = truth.tubes
    chosen = remap_codes(tubes.video, tubes.video_names, names) >= 0
    unknown = chosen & (match_labels(tubes.label_names, labels)[tubes.label] < 0)
    _refuse_rows(
        truth,
        unknown,
        lambda row: (
            f"class {tubes.label_names[tubes.label[row]]} is not one of --labels "
            f"({', '.join(labels)}); add it there, or remove its rows"
        ),
    )


def video_sizes(truth: GroundTruth, names: Sequence[str], paths: Sequence[Path]) -> np.ndarray:
    """(V, 3) int64 number of frames, width, height, in the pixels that the boxes refer to.

    They are those of the ground truth's table of videos. Videos that are not in it are measured;
    their width and height are those that the ground truth says of their frames, if it does.

    Raises:
        InputError: a file's aspect ratio, or its length, is not that of the table.

    Warns:
        A file has a few frames more or fewer than the table says.
    """
    from tqdm import tqdm

    table, sizes, near = truth.videos, {}, []
    if table is not None:
        sizes = dict(zip(table.video, zip(table.num_frames, table.width, table.height)))
    pairs = list(zip(names, paths))
    for name, path in tqdm(pairs, desc="measuring videos", unit="video", delay=2):
        if name not in sizes:
            length, width, height = measure_video(path)
            stated = truth.frame_size.get(name, (width, height))
            if not same_aspect(stated, (width, height)):
                raise InputError(
                    f"{path}: video {name} is {width}x{height}, but {truth.path.name} has boxes in "
                    f"frames of {stated[0]}x{stated[1]}; give other --media"
                )
            sizes[name] = length, *stated
            continue
        listed, *size = map(int, sizes[name])
        says = f"{path}: video {name}"
        mend = f"correct the table of videos of {truth.path.name}, or give other --media"
        info = probe_video(path)
        num_frames = info.num_frames
        if not same_aspect(size, (info.width, info.height)):
            raise InputError(
                f"{says} is {info.width}x{info.height}, but the table of videos says "
                f"{size[0]}x{size[1]}; {mend}"
            )
        if num_frames != listed and not path.is_dir():
            num_frames = count_frames(path)
        assert num_frames is not None
        if num_frames != listed:
            most = max(_MAX_LENGTH_DIFFERENCE, round(_MAX_LENGTH_SHARE * listed))
            difference = f"{says} has {num_frames} frames, but the table of videos says {listed}"
            if abs(num_frames - listed) > most:
                raise InputError(f"{difference}; {mend}")
            near.append(difference)
    if near:
        warnings.warn(f"{near[0]}{more_of(len(near), 'video')}", stacklevel=3)
    return np.array([sizes[name] for name in names], np.int64)


def in_pixels(
    truth: GroundTruth, names: Sequence[str], sizes: np.ndarray, files: FileOptions | None
) -> GroundTruth:
    """The ground truth with the boxes of some videos in pixels.

    Args:
        truth: the ground truth.
        names: the videos.
        sizes: (V, 3) of `video_sizes`.
        files: what the user says of the boxes.

    Raises:
        InputError: the boxes are fractions of the frame, and the user does not say so.
    """
    if truth.box_unit == "pixel":
        return truth
    tubes, by_name = truth.tubes, dict(zip(names, sizes[:, 1:]))
    size = np.array([by_name.get(name, (1, 1)) for name in tubes.video_names])[tubes.video]
    unit = None if files is None else files.box_unit
    boxes = to_pixels(tubes.boxes, size, truth.path, unit)
    return replace(truth, tubes=replace(tubes, boxes=boxes), box_unit="pixel")


def check_boxes(truth: GroundTruth, sizes: Mapping[str, np.ndarray]) -> None:
    """Refuses boxes after the end of their video or outside its frame.

    Args:
        truth: the ground truth, also of other videos.
        sizes: number of frames, width and height of the chosen videos, by name.

    Warns:
        Boxes extend more than 2 pixels beyond the frame.
    """
    tubes = truth.tubes
    unlimited = np.full(3, np.iinfo(np.int64).max)
    limits = np.array([sizes.get(name, unlimited) for name in tubes.video_names])
    frames, width, height = limits.reshape(-1, 3)[tubes.video].T
    x1, y1, x2, y2 = tubes.boxes.T
    _refuse_rows(
        truth,
        tubes.frame >= frames,
        lambda row: (
            f"the video has only {frames[row]} frames (0 to {frames[row] - 1}); correct the frame, "
            "or give --first-frame 1 if the file counts from 1"
        ),
    )
    chosen = frames < unlimited[0]
    # Some data sets write a box around the first column of pixels as x1 = x2 = 0.
    outside = (x2 < 0) | (y2 < 0) | (x1 >= width) | (y1 >= height)
    _refuse_rows(
        truth,
        chosen & outside,
        lambda row: (
            f"the box is outside the frame of {width[row]}x{height[row]}; correct the box, or "
            "width and height in the table of videos"
        ),
    )
    corner = np.column_stack([width, height, width, height])
    over = (tubes.boxes < -_MAX_OVERHANG) | (tubes.boxes > corner + _MAX_OVERHANG)
    over = chosen & over.any(axis=1)
    if over.any():
        warnings.warn(
            f"{_row_name(truth, int(np.argmax(over)))}: {int(over.sum())} boxes (this is "
            "the first) extend beyond the frame; they are clipped for training",
            stacklevel=3,
        )


def annotated_frames(truth: GroundTruth) -> np.ndarray | None:
    """(F, 2) index into `video_names` and frame, of those that were annotated; None for all.

    Where the format does not say, and most boxes are several frames apart, they are the frames with
    boxes.

    Warns:
        frames between those with boxes are learned as background.
    """
    tubes = truth.tubes
    order = np.lexsort((tubes.frame, tubes.tube))
    steps = np.diff(tubes.frame[order])[np.diff(tubes.tube[order]) == 0]
    usual = int(np.median(steps)) if len(steps) else 1
    if usual > 1:
        warnings.warn(
            f"most boxes are {usual} frames apart; only annotated frames are tested on, and the "
            "frames between them count as background in training. Train with --key-frames 1 and "
            "--background 0",
            stacklevel=3,
        )
    if truth.annotated_frames is not None or usual == 1:
        return truth.annotated_frames
    return np.unique(np.stack([tubes.video, tubes.frame], axis=1), axis=0)


def _refuse_rows(truth: GroundTruth, bad: np.ndarray, reason: Callable[[int], str]) -> None:
    """Raises an error that names the first bad row."""
    if bad.any():
        row = int(np.argmax(bad))
        more = more_rows(int(bad.sum()))
        raise InputError(f"{_row_name(truth, row)}{more}: {reason(row)}")


def _row_name(truth: GroundTruth, row: int) -> str:
    """The file, the row if it is a table's, the video and the frame."""
    path, tubes = truth.path, truth.tubes
    number = f"row {row + 1}: " if path.suffix.lower() in (".csv", ".parquet") else ""
    return f"{path}: {number}{tubes.video_names[tubes.video[row]]} frame {tubes.frame[row]}"
