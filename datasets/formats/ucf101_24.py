"""UCF101-24: its ground truth files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..box_coordinates import xywh_to_xyxy
from ..class_list import ClassList
from ..errors import InputError
from ..files import load_pickle
from ..frame_numbers import from_one_based
from ..tables import TubeRows, make_videos, tubes_from_rows
from ..video_names import match_videos, read_video_list
from .annotation_format import AnnotationFormat, GroundTruth, ReadOptions
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
        if path.suffix not in (".pkl", ".pickle") or not path.is_file():
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
        return path.suffix == ".mat"

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
    content = load_pickle(path)
    first = next(iter(content.values()), None) if isinstance(content, dict) else None
    if not isinstance(first, dict) or not {"annotations", "numf", "label"} <= set(first):
        raise InputError(
            f"{path}: is not pyannot.pkl: it must be a dict from video to annotations, label and "
            "numf"
        )
    tubes = {
        str(name): [
            (int(tube["sf"]), int(tube["ef"]), int(tube["label"]), np.asarray(tube["boxes"]))
            for tube in entry["annotations"]
        ]
        for name, entry in content.items()
    }
    return _ground_truth(path, tubes, {str(name): int(e["numf"]) for name, e in content.items()})


def read_final_annots(path: Path) -> GroundTruth:
    """Reads finalAnnots.mat, where `sf` and the class count from 1 and `ef` is inclusive.

    Raises:
        InputError: not readable, or not of this layout.
    """
    found = load_matlab(path, "annot", simplify_cells=True)
    try:
        content = {str(entry["name"]): entry for entry in np.atleast_1d(found)}
        tubes = {
            name: [
                (
                    from_one_based(int(tube["sf"])),
                    int(tube["ef"]),
                    int(tube["class"]) - 1,
                    np.asarray(tube["boxes"]).reshape(-1, 4),
                )
                for tube in np.atleast_1d(entry["tubes"])
            ]
            for name, entry in content.items()
        }
        num_frames = {name: int(entry["num_imgs"]) for name, entry in content.items()}
    except (LookupError, TypeError, ValueError) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise InputError(f"{path}: is not finalAnnots.mat: annot ({reason})") from error
    return _ground_truth(path, tubes, num_frames)


def _ground_truth(
    path: Path,
    tubes: Mapping[str, Sequence[tuple[int, int, int, np.ndarray]]],
    num_frames: Mapping[str, int],
) -> GroundTruth:
    """The ground truth of all videos.

    Args:
        path: for messages; the official lists may stand beside it.
        tubes: of each video: first frame from 0, end (exclusive), label, (n, 4) x, y, width, height
            of any integer type.
        num_frames: of each video.
    """
    names = sorted(tubes)
    entries: list[TubeRows] = []
    for video, name in enumerate(names):
        for number, (start, end, label, boxes) in enumerate(tubes[name]):
            if not 0 <= label < len(CLASSES) or CLASSES[label] != name.split("/", 1)[0]:
                raise InputError(
                    f"{path}: {name}: label {label} does not match the class folder of the video"
                )
            if boxes.shape != (end - start, 4):
                raise InputError(
                    f"{path}: {name} tube {number}: has {boxes.shape[0]} boxes for {end - start} "
                    "frames"
                )
            rows = np.empty((end - start, 5))
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
    known = set(names)
    # The lists of all 101 classes serve too.
    chosen = [name for name in match_videos(read_video_list(test), names) if name in known]
    train = test.with_name("trainlist01.txt")
    if not train.is_file():
        return {"test1": chosen, "train1": sorted(known - set(chosen))}
    rest = match_videos(read_video_list(train), names)
    return {"test1": chosen, "train1": [name for name in rest if name in known]}
