"""AVA's files as a data set in frames and pixels."""

from __future__ import annotations

import re
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np

from ...class_list import ClassList, read_class_list
from ...errors import InputError, some_of
from ...labels import remap_codes
from ...split_words import split_by_words
from ...table_io import read_table
from ...tables import Tubes, Videos, concatenate_rows, select_rows
from ...video.media import locate_videos
from ...video_names import VideoIndex
from ..annotation_format import GroundTruth
from ..ava import name_classes, read_ava_ground_truth
from ..table import find_table
from .convert import measure_videos
from .seconds import seconds_to_frames

_PARTS = {"train": "train", "val": "test"}


def in_frames(truth: GroundTruth, media: Path | None = None) -> GroundTruth:
    """Ground truth in seconds and fractions as frames and pixels.

    The rates and sizes are those of videos.csv beside the file, or else of the videos in `media`.
    Videos that are neither there nor in videos.csv are left out.

    Raises:
        InputError: no video is known, or one ends before its boxes.

    Warns:
        how many videos are left out.
    """
    beside = find_table(truth.path.parent, "videos")
    videos = read_table(Videos, beside) if beside is not None else None
    if videos is None:
        found = locate_videos(media or truth.path.parent, truth.tubes.video_names)
        videos = measure_videos(found)
    index = VideoIndex(videos.video)
    rows = [index.find(name) for name in truth.tubes.video_names]
    missing = [name for name, row in zip(truth.tubes.video_names, rows) if row is None]
    if missing and len(missing) == len(rows):
        raise InputError(
            f"{truth.path}: AVA's seconds and fractions need the rate and the size of each video; "
            f"none of {some_of(missing)} was found; write videos.csv beside it "
            "(video,num_frames,width,height,fps), or give --media"
        )
    if missing:
        warnings.warn(
            f"{truth.path}: leaving out {len(missing)} of {len(rows)} videos, which were not found "
            f"({some_of(missing)})",
            stacklevel=3,
        )
    names = [name for name, row in zip(truth.tubes.video_names, rows) if row is not None]
    kept = np.array([row for row in rows if row is not None], np.int64)
    split = tuple(videos.split[row] for row in kept)
    videos = replace(select_rows(videos, kept), video=tuple(names), split=split)
    video = remap_codes(truth.tubes.video, truth.tubes.video_names, names)
    tubes = select_rows(truth.tubes, video >= 0)
    tubes = replace(tubes, video=video[video >= 0], video_names=tuple(names))
    splits = truth.splits
    if not splits and any(split):
        splits = split_by_words(dict(zip(names, split)), str(beside))
    return replace(
        truth, tubes=seconds_to_frames(tubes, videos, truth.path), videos=videos, splits=splits,
        default_split=1 if "test1" in splits else None, box_unit="pixel", frame_unit="frame",
    )  # fmt: skip


def read_ava_folder(root: Path, media: Path | None = None) -> GroundTruth:
    """AVA's downloads: ava_train_v2.2.csv and ava_val_v2.2.csv, the label map and the videos.

    Args:
        root: the folder.
        media: the folder of the videos; None: `root`.

    Raises:
        InputError: a file is missing, and which.
    """
    files = {part: sorted(root.glob(f"*{part}*.csv")) for part in _PARTS}
    files = {
        part: [file for file in found if not re.search("excluded|predicted", file.name)]
        for part, found in files.items()
    }
    for part, found in files.items():
        if len(found) != 1:
            names = some_of(file.name for file in found) or "none"
            raise InputError(
                f"{root}: needs one ava_{part}_v2.2.csv, and has {names}; download it from "
                "research.google.com/ava"
            )
    maps = sorted(root.glob("*.pbtxt"))
    listed = [file for file in maps if "activitynet" in file.name or len(maps) == 1]
    classes: ClassList | None = None
    if len(listed) == 1:
        classes = read_class_list(listed[0])
    elif maps:
        raise InputError(
            f"{root}: has {some_of(file.name for file in maps)}; keep the one with the classes "
            "that count"
        )
    parts = {part: read_ava_ground_truth(found[0]) for part, found in files.items()}
    shared = set(parts["train"].video_names) & set(parts["val"].video_names)
    if shared:
        raise InputError(f"{root}: video {min(shared)} is in the training and the validation file")
    truth = GroundTruth(
        path=root / "ava.csv", tubes=_join([*parts.values()], classes, root), classes=classes,
        box_unit="fraction", frame_unit="second",
    )  # fmt: skip
    truth = in_frames(truth, media or root)
    assert truth.videos is not None
    word = {name: _PARTS[part] for part, tubes in parts.items() for name in tubes.video_names}
    split = tuple(word[name] for name in truth.videos.video)
    splits = {
        f"{each}1": [name for name in truth.videos.video if word[name] == each]
        for each in _PARTS.values()
    }
    return replace(truth, videos=replace(truth.videos, split=split), splits=splits, default_split=1)


def _join(tables: list[Tubes], classes: ClassList | None, root: Path) -> Tubes:
    names = tuple(sorted({name for table in tables for name in table.video_names}))
    labels = tuple(sorted({name for table in tables for name in table.label_names},
                          key=lambda name: (len(name), name)))  # fmt: skip
    moved, first = [], 0
    for table in tables:
        video = remap_codes(table.video, table.video_names, names)
        label = remap_codes(table.label, table.label_names, labels)
        moved.append(
            replace(table, video=video.astype(np.int32), label=label.astype(np.int32),
                    tube=table.tube + first, video_names=names, label_names=labels)
        )  # fmt: skip
        first += int(table.tube.max(initial=-1)) + 1
    return name_classes(concatenate_rows(moved), classes, root)
