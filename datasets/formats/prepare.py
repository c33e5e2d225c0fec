"""What the official downloads of JHMDB and UCF101-24 contain, as our tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..errors import InputError, some_of
from ..files import atomic_write, load_pickle
from ..table_io import write_table
from ..tables import Tubes, Videos
from ..video_names import FRAME_EXTENSIONS, VIDEO_EXTENSIONS, match_videos, read_video_list
from .act import read_act_ground_truth
from .jhmdb import Boxes, annotation_file, read_jhmdb_folder, read_splits
from .ucf101_24 import is_pyannot, read_pyannot

Splits = Mapping[str, Sequence[str]]

# Where each part is published.
JHMDB_SITE = "the JHMDB site (jhmdb.is.tue.mpg.de)"
ACT_ARCHIVE = "the ACT-detector's JHMDB archive"
UCF_SITE = "the UCF101 site (crcv.ucf.edu)"
UCF_ANNOTATIONS = "github.com/gurkirt/corrected-UCF101-Annots"


@dataclass(frozen=True)
class Prepared:
    """What `prepare` found.

    Attributes:
        tubes: all ground truth, of every split.
        videos: `split` says train or test of split 1.
        splits: lists of videos by name: test1, train1, ...
        missing: pictures that are not there, each with where it comes from.
        remarks: where counts differ from the known totals.
    """

    tubes: Tubes
    videos: Videos
    splits: Splits
    missing: list[tuple[Path, str]]
    remarks: list[str]


def prepare_jhmdb(root: Path, boxes: Boxes = "masks") -> Prepared:
    """Reads a folder with JHMDB's downloads.

    Args:
        root: holds splits/ and puppet_mask/ (or joint_positions/) of the official site, or
            JHMDB-GT.pkl of the ACT archive; and, for training, the pictures: ReCompress_Videos/,
            Rename_Images/ or Frames/.
        boxes: which of the official annotations to take boxes from; JHMDB-GT.pkl goes first.

    Raises:
        InputError: ground truth or split lists are missing, each file named with where it comes
            from.
    """
    pickle = root / "JHMDB-GT.pkl"
    if pickle.is_file():
        content = load_pickle(pickle)
        tubes, videos = read_act_ground_truth(pickle, 0, content=content)
        splits = act_splits(content)
    else:
        parts = read_splits(root / "splits")
        splits = {
            f"{subset}{k}": names
            for k, part in enumerate(parts, 1)
            for subset, names in part.items()
        }
        names = sorted({name for names in splits.values() for name in names})
        _require([annotation_file(root, name, boxes) for name in names], root, JHMDB_SITE)
        tubes, videos = read_jhmdb_folder(root, names, boxes)
    places = {
        "ReCompress_Videos": f"ReCompress_Videos.zip of {JHMDB_SITE}",
        "Rename_Images": f"Rename_Images.zip of {JHMDB_SITE}",
        "Frames": f"Frames of {ACT_ARCHIVE}",
    }
    wanted = {"videos": 928, "tubes": 928, "boxes": 31_852 if pickle.is_file() else None}
    wanted |= {"test1": 268, "train1": 660, "test2": 270, "train2": 658}
    wanted |= {"test3": 265, "train3": 663}
    return _prepared(root, tubes, videos, splits, places, wanted)


def prepare_ucf101_24(root: Path) -> Prepared:
    """Reads a folder with UCF101-24's downloads.

    Args:
        root: holds pyannot.pkl with testlist01.txt (and trainlist01.txt; else all others train),
            or UCF101v2-GT.pkl; and, for training, the pictures: UCF-101/ or rgb-images/.

    Raises:
        InputError: ground truth or the list is missing, named with where it comes from.
    """
    annotations, act = root / "pyannot.pkl", root / "UCF101v2-GT.pkl"
    if annotations.is_file():
        content = load_pickle(annotations)
        if not is_pyannot(content):
            raise InputError(
                f"{annotations}: is not the expected pyannot.pkl; download it from "
                f"{UCF_ANNOTATIONS}"
            )
        tubes, videos = read_pyannot(annotations, content=content)
        splits = ucf_splits(root, videos.video)
        wanted: dict[str, int | None] = {"videos": 3194, "tubes": 4458, "boxes": 573_862}
        wanted |= {"test1": 910, "train1": 2284}
    elif act.is_file():
        content = load_pickle(act)
        tubes, videos = read_act_ground_truth(act, 0, content=content)
        splits = act_splits(content)
        wanted = {}
    else:
        raise InputError(
            f"{root}: needs pyannot.pkl (from {UCF_ANNOTATIONS}) or UCF101v2-GT.pkl (from the "
            "ACT-detector's UCF101 archive)"
        )
    places = {
        "UCF-101": f"UCF101.rar of {UCF_SITE}",
        "rgb-images": "rgb-images of the realtime-action-detection or ACT archive",
    }
    return _prepared(root, tubes, videos, splits, places, wanted)


def write_prepared(prepared: Prepared, folder: Path) -> list[Path]:
    """Writes groundtruth.parquet, videos.parquet and splits/<name>.txt; returns their paths."""
    paths = []
    for name, names in prepared.splits.items():
        paths.append(folder / "splits" / f"{name}.txt")
        with atomic_write(paths[-1]) as temporary:
            temporary.write_text("".join(f"{each}\n" for each in names), encoding="utf-8")
    paths += [folder / "groundtruth.parquet", folder / "videos.parquet"]
    write_table(prepared.tubes, paths[-2])
    write_table(prepared.videos, paths[-1])
    return paths


def _prepared(
    root: Path,
    tubes: Tubes,
    videos: Videos,
    splits: Splits,
    places: Mapping[str, str],
    wanted: Mapping[str, int | None],
) -> Prepared:
    found = {"videos": len(videos), "tubes": len(np.unique(tubes.tube)), "boxes": len(tubes)}
    found |= {name: len(names) for name, names in splits.items()}
    remarks = [
        f"found {found.get(name, 0)} {name}, but the complete data set has {count}"
        for name, count in wanted.items()
        if count is not None and found.get(name, 0) != count
    ]
    test, train = (set(splits.get(name, ())) for name in ("test1", "train1"))
    split = tuple(
        "test" if name in test else "train" if name in train else "" for name in videos.video
    )
    missing = _missing_pictures(root, videos.video, places)
    return Prepared(tubes, replace(videos, split=split), splits, missing, remarks)


def _missing_pictures(
    root: Path, names: Sequence[str], places: Mapping[str, str]
) -> list[tuple[Path, str]]:
    """Videos without pictures, in the first of the folders that is there."""
    present = next((name for name in places if (root / name).is_dir()), None)
    if present is None:
        return [(root / " or ".join(places), " or ".join(places.values()))]
    return [
        (root / present / name, places[present])
        for name in names
        if not _has_pictures(root / present / name)
    ]


def _has_pictures(path: Path) -> bool:
    if path.is_dir():
        return any((path / f"00001{ending}").is_file() for ending in FRAME_EXTENSIONS)
    # Not with_suffix: names of videos may hold dots.
    return any(path.with_name(path.name + ending).is_file() for ending in VIDEO_EXTENSIONS)


def act_splits(content: dict) -> dict[str, list[str]]:
    """The lists of an ACT pickle: test1, train1, test2, ..."""
    return {
        f"{subset}{k}": list(names)
        for subset in ("test", "train")
        for k, names in enumerate(content.get(f"{subset}_videos", []), 1)
    }


def ucf_splits(root: Path, names: Sequence[str]) -> dict[str, list[str]]:
    """The lists test1 and train1 of UCF101-24.

    Args:
        root: holds testlist01.txt, or a folder with the official lists.
        names: of all videos of the 24 classes.

    Raises:
        InputError: there is no testlist01.txt.
    """
    folders = (root, root / "splitfiles", root / "ucfTrainTestlist")
    test = next(
        (path / "testlist01.txt" for path in folders if (path / "testlist01.txt").is_file()), None
    )
    if test is None:
        raise InputError(f"{root}: testlist01.txt is missing; download it from {UCF_ANNOTATIONS}")
    known = set(names)
    # The list of all 101 classes serves too.
    chosen = [name for name in match_videos(read_video_list(test), names) if name in known]
    train = test.with_name("trainlist01.txt")
    if not train.is_file():
        return {"test1": chosen, "train1": sorted(known - set(chosen))}
    rest = match_videos(read_video_list(train), names)
    return {"test1": chosen, "train1": [name for name in rest if name in known]}


def _require(paths: Sequence[Path], root: Path, origin: str) -> None:
    missing = [str(path.relative_to(root)) for path in paths if not path.is_file()]
    if missing:
        raise InputError(
            f"{root}: {len(missing)} of {len(paths)} annotation files are missing; download "
            f"them from {origin}. Missing: {some_of(missing)}"
        )
