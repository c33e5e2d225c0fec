"""UCF101-24: its ground truth files."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..box_coordinates import xywh_to_xyxy
from ..class_list import ClassList
from ..errors import some_of
from ..frame_numbers import from_one_based
from ..storage.files import load_pickle
from ..tables import TubeRows, make_videos, tubes_from_rows
from ..video_names import match_videos, read_video_list
from .annotation_format import AnnotationFormat, GroundTruth, ReadOptions
from .entries import Entry
from .matlab import load_matlab

CLASSES = (
    "Basketball", "BasketballDunk", "Biking", "CliffDiving", "CricketBowling", "Diving", "Fencing",
    "FloorGymnastics", "GolfSwing", "HorseRiding", "IceDancing", "LongJump", "PoleVault",
    "RopeClimbing", "SalsaSpin", "SkateBoarding", "Skiing", "Skijet", "SoccerJuggling", "Surfing",
    "TennisSwing", "TrampolineJumping", "VolleyballSpiking", "WalkingWithDog",
)  # fmt: skip
WIDTH, HEIGHT = 320, 240
FPS = 25.0


class PyannotFormat(AnnotationFormat):
    """pyannot.pkl of gurkirt/corrected-UCF101-Annots."""

    name = "pyannot.pkl"

    def matches(self, path: Path) -> bool:
        if path.suffix.lower() not in (".pkl", ".pickle") or not path.is_file():
            return False
        # The first video's entry stands at the beginning of the file, and has these keys.
        with path.open("rb") as file:
            begin = file.read(1024)
        return b"annotations" in begin or b"numf" in begin

    def read_ground_truth(self, path: Path, options: ReadOptions) -> GroundTruth:
        return read_pyannot(path)


class FinalAnnotsFormat(AnnotationFormat):
    """finalAnnots.mat of the same repository."""

    name = "finalAnnots.mat"

    def matches(self, path: Path) -> bool:
        return path.suffix.lower() == ".mat"

    def read_ground_truth(self, path: Path, options: ReadOptions) -> GroundTruth:
        return read_final_annots(path)


def read_pyannot(path: Path) -> GroundTruth:
    """Reads pyannot.pkl.

    Boxes are x, y, width, height there, in 8 or 16 bits; they become x1 = x, x2 = x + width, the
    coordinates otherwise untouched. `sf` counts from 0, `ef` is exclusive.

    Args:
        path: a dict from "<class>/<video>" to numf, label and annotations.

    Raises:
        InputError: not such a file.
    """
    content = Entry(load_pickle(path), path)
    tubes: dict[str, list[_Tube]] = {}
    num_frames: dict[str, int] = {}
    for key, video in content.items("video"):
        name = key.text()
        num_frames[name] = video["numf"].integer(least=1)
        tubes[name] = [
            (tube["boxes"], tube["sf"].integer(), tube["ef"].integer(), tube["label"].integer())
            for tube in video["annotations"].each("tube")
        ]
    return _ground_truth(path, tubes, num_frames)


def read_final_annots(path: Path) -> GroundTruth:
    """Reads finalAnnots.mat, where `sf` and the class count from 1 and `ef` is inclusive.

    Raises:
        InputError: not readable, or not of this layout.
    """
    content = Entry(load_matlab(path, "annot", simplify_cells=True), f"{path}: annot")
    tubes: dict[str, list[_Tube]] = {}
    num_frames: dict[str, int] = {}
    for entry in _unsqueezed(content).each("video"):
        name = entry["name"].text()
        if name in tubes:
            raise entry.error(f"{name} is there twice")
        video = Entry(entry.value, f"{path}: video {name}")
        num_frames[name] = video["num_imgs"].integer(least=1)
        tubes[name] = [
            (
                _unsqueezed(tube["boxes"]),
                from_one_based(tube["sf"].integer()),
                tube["ef"].integer(),
                from_one_based(tube["class"].integer()),
            )
            for tube in _unsqueezed(video["tubes"]).each("tube")
        ]
    return _ground_truth(path, tubes, num_frames)


def _unsqueezed(entry: Entry) -> Entry:
    """The list of one item, or the (1, 4) boxes, that MATLAB's files hold without the list."""
    value = entry.value
    is_row = isinstance(value, np.ndarray) and value.shape == (4,)
    return Entry([value], entry) if isinstance(value, dict) or is_row else entry


_Tube = tuple[Entry, int, int, int]
"""The boxes, the first frame from 0, the end (exclusive) and the label of a tube."""


def _ground_truth(
    path: Path, tubes: Mapping[str, Sequence[_Tube]], num_frames: Mapping[str, int]
) -> GroundTruth:
    """The ground truth of all videos, whose boxes are x, y, width, height of any number type.

    Args:
        path: for messages; the official lists may stand beside it.
        tubes, num_frames: of each video.
    """
    names = sorted(tubes)
    entries: list[TubeRows] = []
    for video, name in enumerate(names):
        for entry, start, end, label in tubes[name]:
            if not 0 <= label < len(CLASSES) or CLASSES[label] != name.split("/", 1)[0]:
                raise entry.error(f"label {label} does not match the class folder of the video")
            boxes = entry.array("x", "y", "width", "height")
            if len(boxes) != end - start or not len(boxes):
                raise entry.error(f"has {len(boxes)} boxes for {end - start} frames")
            rows = np.empty((len(boxes), 5))
            rows[:, 0] = np.arange(start, end)
            rows[:, 1:] = boxes
            entries.append((video, label, rows, None))
    xywh = tubes_from_rows(entries, tuple(names), CLASSES)
    return GroundTruth(
        path=path,
        tubes=replace(xywh, boxes=xywh_to_xyxy(xywh.boxes)),
        videos=make_videos(names, [num_frames[name] for name in names], WIDTH, HEIGHT, FPS),
        splits=read_official_splits(path.parent, names),
        classes=ClassList(CLASSES),
    )


def read_official_splits(folder: Path, names: Sequence[str]) -> dict[str, list[str]]:
    """The lists test1 and train1 of UCF101-24; none where there is no testlist01.txt.

    Args:
        folder: holds testlist01.txt, or a folder with the official lists.
        names: of all videos of the 24 classes.
    """
    places = (folder, folder / "splitfiles", folder / "ucfTrainTestlist")
    files = (place / "testlist01.txt" for place in places)
    test = next((file for file in files if file.is_file()), None)
    if test is None:
        return {}
    train = test.with_name("trainlist01.txt")
    chosen = _read_official_list(test, names)
    if not train.is_file():
        return {"test1": chosen, "train1": sorted(set(names) - set(chosen))}
    return {"test1": chosen, "train1": _read_official_list(train, names)}


def _read_official_list(path: Path, names: Sequence[str]) -> list[str]:
    """The videos of a list that have annotations; that of all 101 classes serves, too."""
    known = set(names)
    listed = match_videos(read_video_list(path), names)
    unknown = [name for name in listed if name not in known]
    unknown = [name for name in unknown if "/" not in name or name.split("/")[-2] in CLASSES]
    if unknown:
        warnings.warn(
            f"{path}: ignoring {len(unknown)} videos of the 24 classes that have no annotations "
            f"({some_of(unknown)})",
            stacklevel=4,
        )
    return [name for name in listed if name in known]
