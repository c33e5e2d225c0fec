"""What the official downloads of JHMDB and UCF101-24 contain, as our tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..class_list import ClassList
from ..errors import InputError, some_of
from ..frame_numbers import is_frame_folder
from ..video_names import VIDEO_EXTENSIONS
from .act import read_act_ground_truth
from .annotation_format import AnnotationFormat, GroundTruth, ReadOptions
from .complete import complete_ground_truth
from .jhmdb import CLASSES, Boxes, annotation_file, read_jhmdb_folder, read_splits
from .table import TableFolder, write_splits
from .ucf101_24 import PyannotFormat, read_pyannot

# Where each part is published.
JHMDB_SITE = "the JHMDB site (jhmdb.is.tue.mpg.de)"
ACT_ARCHIVE = "the ACT-detector's JHMDB archive"
UCF_SITE = "the UCF101 site (crcv.ucf.edu)"
UCF_ANNOTATIONS = "github.com/gurkirt/corrected-UCF101-Annots"


class JhmdbDownloads(AnnotationFormat):
    """A folder with JHMDB's downloads."""

    name = "a folder of JHMDB's downloads"

    def matches(self, path: Path) -> bool:
        return any((path / name).exists() for name in ("JHMDB-GT.pkl", "puppet_mask"))

    def read_ground_truth(self, path: Path, options: ReadOptions) -> GroundTruth:
        return replace(prepare_jhmdb(path).ground_truth, path=path)


class Ucf101Downloads(AnnotationFormat):
    """A folder with UCF101-24's downloads."""

    name = "a folder of UCF101-24's downloads"

    def matches(self, path: Path) -> bool:
        return any((path / name).is_file() for name in ("pyannot.pkl", "UCF101v2-GT.pkl"))

    def read_ground_truth(self, path: Path, options: ReadOptions) -> GroundTruth:
        return replace(prepare_ucf101_24(path).ground_truth, path=path)


@dataclass(frozen=True)
class Prepared:
    """What `prepare` read.

    Attributes:
        ground_truth: of every split; `split` of its videos says train or test of split 1.
        missing: videos that are not there, each with where to download it.
        remarks: where counts differ from the known totals.
        media: the folder of the videos; of several archives of the same videos, one.
    """

    ground_truth: GroundTruth
    missing: list[tuple[Path, str]]
    remarks: list[str]
    media: Path


def prepare_jhmdb(root: Path, boxes: Boxes = "masks") -> Prepared:
    """Reads a folder with JHMDB's downloads.

    Args:
        root: holds splits/ and puppet_mask/ (or joint_positions/) of the official site, or
            JHMDB-GT.pkl of the ACT archive; and, for training, the videos: ReCompress_Videos/,
            Rename_Images/ or Frames/.
        boxes: which of the official annotations to take boxes from; JHMDB-GT.pkl goes first.

    Raises:
        InputError: ground truth or split lists are missing, each file named with where to download
            it.
    """
    pickle = root / "JHMDB-GT.pkl"
    if pickle.is_file():
        truth = read_act_ground_truth(pickle)
    else:
        splits = read_splits(root / "splits")
        names = sorted({name for names in splits.values() for name in names})
        _require([annotation_file(root, name, boxes) for name in names], root, JHMDB_SITE)
        tubes, videos = read_jhmdb_folder(root, names, boxes)
        truth = GroundTruth(
            path=root, tubes=tubes, videos=videos, splits=splits, default_split=1,
            classes=ClassList(CLASSES),
        )  # fmt: skip
    sources = {
        "ReCompress_Videos": f"ReCompress_Videos.zip of {JHMDB_SITE}",
        "Rename_Images": f"Rename_Images.zip of {JHMDB_SITE}",
        "Frames": f"Frames of {ACT_ARCHIVE}",
    }
    expected = {
        "videos": 928, "tubes": 928, "test1": 268, "train1": 660, "test2": 270, "train2": 658,
        "test3": 265, "train3": 663,
    }  # fmt: skip
    if pickle.is_file():
        expected["boxes"] = 31_852
    return _prepared(root, truth, sources, expected)


def prepare_ucf101_24(root: Path) -> Prepared:
    """Reads a folder with UCF101-24's downloads.

    Args:
        root: holds pyannot.pkl with testlist01.txt (and trainlist01.txt; otherwise all other videos
            are for training), or UCF101v2-GT.pkl; and, for training, the videos: UCF-101/ or
            rgb-images/.

    Raises:
        InputError: ground truth or the list is missing, named with where to download it.
    """
    annotations, act = root / "pyannot.pkl", root / "UCF101v2-GT.pkl"
    expected: dict[str, int] = {}
    if annotations.is_file():
        if not PyannotFormat().matches(annotations):
            raise InputError(
                f"{annotations}: is not the expected pyannot.pkl; download it from "
                f"{UCF_ANNOTATIONS}"
            )
        truth = replace(read_pyannot(annotations), default_split=1)
        if not truth.splits:
            raise InputError(
                f"{root}: testlist01.txt is missing; download it from {UCF_ANNOTATIONS}"
            )
        expected = {
            "videos": 3194, "tubes": 4458, "boxes": 573_862, "test1": 910, "train1": 2284,
        }  # fmt: skip
    elif act.is_file():
        truth = read_act_ground_truth(act)
    else:
        raise InputError(
            f"{root}: needs pyannot.pkl (from {UCF_ANNOTATIONS}) or UCF101v2-GT.pkl (from the "
            "ACT-detector's UCF101 archive)"
        )
    sources = {
        "UCF-101": f"UCF101.rar of {UCF_SITE}",
        "rgb-images": "rgb-images of the realtime-action-detection or ACT archive",
    }
    return _prepared(root, truth, sources, expected)


def write_prepared(prepared: Prepared, folder: Path) -> list[Path]:
    """Writes groundtruth.parquet, videos.parquet and splits/<name>.txt; returns their paths.

    Raises:
        InputError: a row of the ground truth breaks a rule, see `complete_ground_truth`.
    """
    truth = complete_ground_truth(prepared.ground_truth, ReadOptions())
    paths = write_splits(truth.splits, folder)
    TableFolder().write(truth.tubes, truth.videos, folder)
    return [*paths, folder / "groundtruth.parquet", folder / "videos.parquet"]


def _prepared(
    root: Path, truth: GroundTruth, sources: Mapping[str, str], expected: Mapping[str, int]
) -> Prepared:
    """Compares what was read with what the complete data set has.

    Args:
        root: the folder of the downloads.
        truth: what was read.
        sources: folders of videos, and where to download them.
        expected: how many videos, tubes, boxes and members of lists there are.
    """
    videos, splits = truth.videos, truth.splits
    assert videos is not None
    counts = {
        "videos": len(videos),
        "tubes": len(np.unique(truth.tubes.tube)),
        "boxes": len(truth.tubes),
        **{name: len(names) for name, names in splits.items()},
    }
    remarks = [
        f"found {counts.get(name, 0)} {name}, but the complete data set has {count}"
        for name, count in expected.items()
        if counts.get(name, 0) != count
    ]
    test, train = (set(splits.get(name, ())) for name in ("test1", "train1"))
    split = tuple(
        "test" if name in test else "train" if name in train else "" for name in videos.video
    )
    truth = replace(truth, videos=replace(videos, split=split))
    present = next((name for name in sources if (root / name).is_dir()), None)
    if present is None:
        absent = [(root / " or ".join(sources), " or ".join(sources.values()))]
        return Prepared(truth, absent, remarks, root)
    paths = [root / present / name for name in videos.video]
    absent = [(path, sources[present]) for path in paths if not _is_video(path)]
    return Prepared(truth, absent, remarks, root / present)


def _is_video(path: Path) -> bool:
    if path.is_dir():
        return is_frame_folder(path.iterdir())
    # Not with_suffix: names of videos may hold dots.
    return any(path.with_name(path.name + each).is_file() for each in VIDEO_EXTENSIONS)


def _require(paths: Sequence[Path], root: Path, origin: str) -> None:
    missing = [str(path.relative_to(root)) for path in paths if not path.is_file()]
    if missing:
        raise InputError(
            f"{root}: {len(missing)} of {len(paths)} annotation files are missing; download "
            f"them from {origin}. Missing: {some_of(missing)}"
        )
