"""All of a data set's ground truth, with the split lists that come with it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from .act_files import read_act_ground_truth
from .any_format import read_ground_truth
from .ava import is_ava
from .files import InputError, load_pickle
from .listed_videos import read_video_list, videos_meant
from .prepare import Splits, act_splits, prepare_jhmdb, prepare_ucf101_24, ucf_splits
from .tables import Tubes, Videos, read_table
from .ucf101_24 import is_pyannot, read_pyannot


@dataclass(frozen=True, eq=False)
class Annotations:
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


def read_annotations(data: Path) -> Annotations:
    """Reads all ground truth of a data set, and its splits.

    Args:
        data: see `open_video_sets`.

    Raises:
        InputError: there is none, or it is not readable.
    """
    if data.is_dir():
        table = _table(data, "groundtruth")
        if table is not None:
            videos = _table(data, "videos")
            known = read_table(Videos, videos) if videos is not None else None
            tubes = read_table(Tubes, table)
            return Annotations(table, tubes, known, _split_lists(data, tubes, known))
        if any((data / name).is_file() for name in ("pyannot.pkl", "UCF101v2-GT.pkl")):
            prepared = prepare_ucf101_24(data)
        elif any((data / name).exists() for name in ("JHMDB-GT.pkl", "puppet_mask")):
            prepared = prepare_jhmdb(data)
        else:
            raise InputError(
                f"{data}: contains no ground truth; expected groundtruth.parquet or .csv, "
                "pyannot.pkl, UCF101v2-GT.pkl, JHMDB-GT.pkl or puppet_mask/"
            )
        return Annotations(data, prepared.tubes, prepared.videos, prepared.splits)
    if not data.is_file():
        raise InputError(f"{data}: file or folder not found")
    if data.suffix in (".pkl", ".pickle"):
        content = load_pickle(data)
        if not is_pyannot(content):
            tubes, known = read_act_ground_truth(data, 0, content=content)
            return Annotations(data, tubes, known, act_splits(content))
        tubes, known = read_pyannot(data, content=content)
        return Annotations(data, tubes, known, _listed_beside(data, known))
    if data.suffix == ".csv" and is_ava(data):
        raise InputError(
            f"{data}: AVA's CSV gives seconds and relative boxes, which training cannot use; "
            "convert it to a table with frames and pixels"
        )
    tubes, details = read_ground_truth(data)
    splits = _listed_beside(data, details) if details is not None else {}
    return Annotations(data, tubes, details, splits)


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
        path.stem: videos_meant(read_video_list(path), known)
        for path in sorted(folder.glob("splits/*.txt"))
    }
    if not lists and videos is not None:
        for part in ("train", "test"):
            members = [name for name, of in zip(videos.video, videos.split) if of == part]
            if members:
                lists[f"{part}1"] = members
    return lists
