"""Every annotation format, and reading a file of any of them."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..files import load_pickle
from ..table_io import read_table
from ..tables import Detections, Tubes, Videos, select_rows
from ..video_names import ListedName, match_videos, read_video_list
from .act import (
    read_act_ground_truth,
    read_act_tubes,
    read_frame_detections,
    read_tubelets,
    read_video_detections,
)
from .ava import is_ava, read_ava_detections, read_ava_ground_truth
from .coco import read_coco_results
from .prepare import Splits, act_splits, prepare_jhmdb, prepare_ucf101_24, ucf_splits
from .ucf101_24 import is_pyannot, load_final_annots, read_final_annots, read_pyannot
from .yowo import read_yowo_detections


def read_ground_truth(
    path: Path, split: int | None = None, videos: Path | None = None
) -> tuple[Tubes, Videos | None]:
    """Reads ground truth and says which videos are evaluated.

    Args:
        path: a table; a folder that `prepare` has written; an ACT pickle such as JHMDB-GT.pkl;
            pyannot.pkl or finalAnnots.mat; an AVA CSV file.
        split: the test videos of this split, from 1 (prepared folders and ACT pickles; 1 there
            unless `videos` is given).
        videos: a list of the videos evaluated, one a line, see `match_videos`.

    Returns:
        the ground truth, its `unique_names` the videos evaluated; and what is known of the videos.

    Raises:
        InputError: not readable, no box in it, `split` where the format has none, or a line of the
            list that may mean several videos.
    """
    listed = read_video_list(videos) if videos is not None else None
    if listed is not None and split is not None:
        raise InputError("--split and --videos: give only one of them")
    tubes, details = _read_ground_truth(path, split, listed)
    if listed is not None:
        tubes = _of_videos(tubes, match_videos(listed, tubes.video_names), path)
    if not len(tubes):
        raise InputError(
            f"{path}: has no ground truth for the videos to evaluate; check --split or --videos"
        )
    return tubes, details


def read_detections(path: Path, ground_truth: Tubes, annotations: Path | None = None) -> Detections:
    """Reads detections.

    Args:
        path: a table; a folder of ACT's or MOC's per-frame pickles or of YOWO's text files;
            frame_detections.pkl; a COCO results file; an AVA CSV file.
        ground_truth: names videos and labels where the format has only numbers.
        annotations: see `read_coco_results`.

    Raises:
        InputError: not readable.
    """
    if path.is_dir():
        if any(path.glob("*.txt")):
            return read_yowo_detections(path, ground_truth)
        return read_tubelets(path, ground_truth).as_detections()
    if path.suffix == ".json":
        return read_coco_results(path, ground_truth, annotations)
    if path.suffix in (".pkl", ".pickle"):
        return read_frame_detections(path, ground_truth)
    if path.suffix == ".csv" and path.is_file() and is_ava(path):
        return read_ava_detections(path)
    return read_table(Detections, path)


def read_tubes(path: Path, ground_truth: Tubes) -> Tubes:
    """Reads scored tubes.

    Args:
        path: a table with tube_score; a folder of ACT's or MOC's `<video>_tubes.pkl`;
            video_detections.pkl.
        ground_truth: names videos and labels where the format has only numbers.

    Raises:
        InputError: not readable, or without scores.
    """
    if path.is_dir():
        tubes = read_act_tubes(path, ground_truth)
    elif path.suffix in (".pkl", ".pickle"):
        tubes = read_video_detections(path, ground_truth)
    else:
        tubes = read_table(Tubes, path)
    if tubes.tube_score is None:
        if len(tubes):
            raise InputError(f"{path}: has no column tube_score, which ranks the tubes")
        tubes = replace(tubes, tube_score=np.empty(0))
    return tubes


def _read_ground_truth(
    path: Path, split: int | None, listed: list[ListedName] | None
) -> tuple[Tubes, Videos | None]:
    if path.is_dir():
        return _read_folder(path, split, listed)
    if path.suffix in (".pkl", ".pickle"):
        content = load_pickle(path)
        if not is_pyannot(content):
            chosen = 0 if listed is not None else split or 1
            return read_act_ground_truth(path, chosen, content=content)
        _no_split(path, split, "pyannot.pkl")
        names = None if listed is None else match_videos(listed, sorted(content))
        return read_pyannot(path, names, content)
    if path.suffix == ".mat":
        _no_split(path, split, "finalAnnots.mat")
        entries = load_final_annots(path)
        names = None if listed is None else match_videos(listed, sorted(entries))
        return read_final_annots(path, names, entries)
    _no_split(path, split, "a table")
    if path.suffix == ".csv" and path.is_file() and is_ava(path):
        return read_ava_ground_truth(path), None
    return read_table(Tubes, path), None


def _read_folder(
    path: Path, split: int | None, listed: list[ListedName] | None
) -> tuple[Tubes, Videos | None]:
    table = next((file for file in _tables(path, "groundtruth") if file.is_file()), None)
    if table is None:
        raise InputError(
            f"{path}: has no groundtruth.parquet; run `actiontubes prepare`, or give a file"
        )
    tubes = read_table(Tubes, table)
    about = next((file for file in _tables(path, "videos") if file.is_file()), None)
    videos = read_table(Videos, about) if about is not None else None
    known = [*tubes.video_names, *(videos.video if videos is not None else ())]
    if listed is None:
        file = path / "splits" / f"test{split or 1}.txt"
        if file.is_file():
            listed = read_video_list(file)
        elif split is not None:
            raise InputError(f"--split {split}: {file} does not exist")
        elif videos is not None:
            test = [name for name, part in zip(videos.video, videos.split) if part == "test"]
            tubes = _of_videos(tubes, test or list(videos.video), path, set(known))
    if listed is not None:
        tubes = _of_videos(tubes, match_videos(listed, known), path, set(known))
    return tubes, videos


def _tables(folder: Path, name: str) -> tuple[Path, Path]:
    return folder / f"{name}.parquet", folder / f"{name}.csv"


def _no_split(path: Path, split: int | None, what: str) -> None:
    if split is not None:
        raise InputError(f"--split: {what} ({path}) has no splits; list the videos with --videos")


def _of_videos(tubes: Tubes, names: list[str], path: Path, known: set[str] | None = None) -> Tubes:
    """The ground truth of some videos; `known` ones may be without any."""
    present = set(tubes.video_names) if known is None else known
    missing = [name for name in names if name not in present]
    if missing:
        if known is not None or len(missing) == len(names):
            raise InputError(
                f"{path}: {len(missing)} of {len(names)} videos to evaluate are missing; the first "
                f"is {missing[0]}"
            )
        warnings.warn(
            f"{path}: {len(missing)} of {len(names)} videos to evaluate have no ground truth (the "
            f"first is {missing[0]}); all detections on them count as false positives",
            stacklevel=3,
        )
    place = {name: index for index, name in enumerate(dict.fromkeys(names))}
    code = np.array([place.get(name, -1) for name in tubes.video_names] or [-1], np.int32)
    video = code[tubes.video]
    kept = select_rows(tubes, video >= 0)
    return replace(kept, video=video[video >= 0], video_names=tuple(place))


@dataclass(frozen=True, eq=False)
class GroundTruth:
    """All of a data set's ground truth.

    Attributes:
        path: where it was read, for messages.
        tubes: of every split.
        videos: what is known of the videos, or None.
        splits: lists of videos by name: train1, test1, ...
    """

    path: Path
    tubes: Tubes
    videos: Videos | None
    splits: Splits


def read_annotations(data: Path) -> GroundTruth:
    """Reads all ground truth of a data set, and its splits.

    Args:
        data: see `open_detection_sets`.

    Raises:
        InputError: there is none, or it is not readable.
    """
    if data.is_dir():
        table = _table(data, "groundtruth")
        if table is not None:
            videos = _table(data, "videos")
            known = read_table(Videos, videos) if videos is not None else None
            tubes = read_table(Tubes, table)
            return GroundTruth(table, tubes, known, _split_lists(data, tubes, known))
        if any((data / name).is_file() for name in ("pyannot.pkl", "UCF101v2-GT.pkl")):
            prepared = prepare_ucf101_24(data)
        elif any((data / name).exists() for name in ("JHMDB-GT.pkl", "puppet_mask")):
            prepared = prepare_jhmdb(data)
        else:
            raise InputError(
                f"{data}: contains no ground truth; expected groundtruth.parquet or .csv, "
                "pyannot.pkl, UCF101v2-GT.pkl, JHMDB-GT.pkl or puppet_mask/"
            )
        return GroundTruth(data, prepared.tubes, prepared.videos, prepared.splits)
    if not data.is_file():
        raise InputError(f"{data}: file or folder not found")
    if data.suffix in (".pkl", ".pickle"):
        content = load_pickle(data)
        if not is_pyannot(content):
            tubes, known = read_act_ground_truth(data, 0, content=content)
            return GroundTruth(data, tubes, known, act_splits(content))
        tubes, known = read_pyannot(data, content=content)
        return GroundTruth(data, tubes, known, _listed_beside(data, known))
    if data.suffix == ".csv" and is_ava(data):
        raise InputError(
            f"{data}: AVA's CSV gives seconds and relative boxes, which training cannot use; "
            "convert it to a table with frames and pixels"
        )
    tubes, details = read_ground_truth(data)
    splits = _listed_beside(data, details) if details is not None else {}
    return GroundTruth(data, tubes, details, splits)


def _table(folder: Path, name: str) -> Path | None:
    files = (folder / f"{name}{ending}" for ending in (".parquet", ".csv"))
    return next((file for file in files if file.is_file()), None)


def _listed_beside(data: Path, videos: Videos) -> Splits:
    try:
        return ucf_splits(data.parent, videos.video)
    except InputError:
        return {}


def _split_lists(folder: Path, tubes: Tubes, videos: Videos | None) -> Splits:
    known = [*tubes.video_names, *(videos.video if videos is not None else ())]
    lists = {
        path.stem: match_videos(read_video_list(path), known)
        for path in sorted(folder.glob("splits/*.txt"))
    }
    if not lists and videos is not None:
        for part in ("train", "test"):
            members = [name for name, of in zip(videos.video, videos.split) if of == part]
            if members:
                lists[f"{part}1"] = members
    return lists
