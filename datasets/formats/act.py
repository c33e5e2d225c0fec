"""The pickles of the ACT detector and of its successors (MOC, MultiSports, mmaction2, HIT).

In the layout of ACT (Kalogeiton et al. 2017) frames count from 1, videos are named
"<class>/<video>", and labels are numbers from 0 into a list in the ground truth.
"""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import numpy as np

from ..checks import as_integers, check_table, detections_from_rows
from ..class_list import ClassList
from ..errors import InputError, some_of
from ..frame_numbers import from_first_frame, to_one_based
from ..storage.files import atomic_write, load_pickle
from ..tables import (
    BOX_COLUMNS,
    Detections,
    Tubelets,
    TubeRows,
    Tubes,
    Videos,
    make_videos,
    tubes_from_rows,
)
from ..video_names import VideoIndex
from .annotation_format import AnnotationFormat, GroundTruth, ReadOptions
from .entries import Entry

_KEYS = ("labels", "gttubes", "nframes", "resolution", "test_videos")


class ActFormat(AnnotationFormat):
    """ACT's ground truth pickle, and folders and pickles of detections and tubes."""

    name = "ACT's pickles"

    def matches(self, path: Path) -> bool:
        return path.is_dir() or path.suffix.lower() in (".pkl", ".pickle")

    def read_ground_truth(self, path: Path, options: ReadOptions) -> GroundTruth:
        if path.is_dir():
            raise InputError(
                f"{path}: contains no ground truth; expected groundtruth.parquet or .csv (written "
                "by `actiontubes prepare`), JHMDB's or UCF101-24's downloads, or a file of CVAT, "
                "COCO, MOT, ACT or AVA"
            )
        return read_act_ground_truth(path)

    def read_detections(self, path: Path, options: ReadOptions) -> Detections:
        if path.is_dir():
            return read_tubelets(path, options).as_detections()
        return read_frame_detections(path, options)

    def read_tubes(self, path: Path, options: ReadOptions) -> Tubes:
        return (read_act_tubes if path.is_dir() else read_video_detections)(path, options)

    def write(self, table: Detections | Tubes, videos: Videos | None, path: Path) -> None:
        if not isinstance(table, Tubes):
            raise InputError(
                f"{path}: ACT's ground truth holds tubes, and these boxes are of none; link them "
                "first (`actiontubes link`)"
            )
        write_act_ground_truth(table, videos, path)


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
    content = Entry(load_pickle(path), path)
    missing = [key for key in _KEYS if content.get(key) is None]
    if missing:
        raise InputError(f"{path}: is not an ACT ground truth pickle: {', '.join(missing)} missing")
    labels = tuple(label.text() for label in content["labels"].each("label"))
    splits = {
        f"{part}{number}": [name.text() for name in names.each("video")]
        for part in ("test", "train")
        if (lists := content.get(f"{part}_videos")) is not None
        for number, names in enumerate(lists.each("split"), 1)
    }
    annotated = {name.text(): tubes for name, tubes in content["gttubes"].items("video")}
    names = sorted(annotated)
    tested = [name for key, listed in splits.items() if key.startswith("test") for name in listed]
    for key in ("gttubes", "nframes", "resolution"):
        absent = [name for name in (*names, *tested) if content[key].get(name) is None]
        if absent:
            raise InputError(f"{path}: {key} has no entry for the video {some_of(absent)}")
    entries: list[TubeRows] = []
    for video, name in enumerate(names):
        for number, tubes in annotated[name].items("label"):
            label = number.integer(0, len(labels) - 1)
            entries += [(video, label, _tube_rows(tube), None) for tube in tubes.each("tube")]
    sizes = [content["resolution"][name].parts("height", "width") for name in names]
    videos = make_videos(
        names,
        [content["nframes"][name].integer(least=1) for name in names],
        [width.integer(least=1) for _, width in sizes],
        [height.integer(least=1) for height, _ in sizes],
    )
    return GroundTruth(
        path=path,
        tubes=tubes_from_rows(entries, tuple(names), labels),
        videos=videos,
        splits=splits,
        default_split=1,
        classes=ClassList(labels, source=str(path)),
    )


def write_act_ground_truth(tubes: Tubes, videos: Videos | None, path: Path) -> None:
    """Writes a pickle as `read_act_ground_truth` reads it.

    Videos whose split is train are `train_videos`, the others `test_videos`.

    Raises:
        InputError: the size or length of a video is not known.

    Warns:
        what it cannot hold.
    """
    index = VideoIndex(videos.video if videos is not None else ())
    rows = [index.find(name) for name in tubes.video_names]
    if videos is None or None in rows:
        unknown = [name for name, row in zip(tubes.video_names, rows) if row is None]
        raise InputError(
            f"{path}: ACT's pickle needs the length and size of each video, and those of "
            f"{some_of(unknown)} are not known; give --media FOLDER or --videos videos.csv"
        )
    lost = [name for name in ("score", "tube_score", "person") if getattr(tubes, name) is not None]
    if np.isfinite(videos.fps).any():
        lost.append("fps")
    if lost:
        warnings.warn(f"{path}: ACT's pickle has no {', no '.join(lost)}; left out", stacklevel=3)
    order = np.lexsort((tubes.frame, tubes.tube))
    starts = np.flatnonzero(np.diff(tubes.tube[order], prepend=-1))
    annotated: dict[str, dict[int, list[np.ndarray]]] = {name: {} for name in tubes.video_names}
    for members in np.split(order, starts[1:]) if len(order) else ():
        frames = to_one_based(tubes.frame[members].astype(np.float64))
        tube = np.column_stack([frames, tubes.boxes[members]])
        name = tubes.video_names[tubes.video[members[0]]]
        annotated[name].setdefault(int(tubes.label[members[0]]), []).append(tube)
    known = [(name, row) for name, row in zip(tubes.video_names, rows) if row is not None]
    training = [name for name, row in known if videos.split[row] == "train"]
    testing = [name for name, row in known if videos.split[row] != "train"]
    content = {
        "labels": list(tubes.label_names),
        "gttubes": annotated,
        "nframes": {name: int(videos.num_frames[row]) for name, row in known},
        "train_videos": [training],
        "test_videos": [testing],
        "resolution": {name: (int(videos.height[row]), int(videos.width[row]))
                       for name, row in known},
    }  # fmt: skip
    with atomic_write(path) as temporary:
        temporary.write_bytes(pickle.dumps(content, protocol=2))


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
    _require(files.values(), folder, "_tubes.pkl")
    entries: list[TubeRows] = []
    for video, path in files.items():
        for label, entry in _iter_tubes(path, classes):
            tube, score = entry.parts("tube", "score")
            rows = _tube_rows(tube, _first_frame(options))
            entries.append((video, label, rows, score.number()))
    return tubes_from_rows(entries, names, classes)


def read_tubelets(folder: Path, options: ReadOptions) -> Tubelets:
    """Reads `<video>/00001.pkl` ..., which ACT's extract_tubelets and MOC's det.py write.

    Where a file has the number 0, all numbers count from 0.

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
    _require(folders, folder, "")
    parts: list[np.ndarray] = []
    videos_and_numbers: list[tuple[int, int]] = []
    file_of_width: dict[int, Path] = {}
    first = _first_frame(options)
    for video, inside in enumerate(tqdm(folders, desc="reading", unit="video", delay=2)):
        for path in sorted(inside.iterdir()) if inside.is_dir() else ():
            if path.suffix.lower() != ".pkl":
                continue
            if not path.stem.isdecimal():
                raise InputError(f"{path}: its name must be a frame number such as 00001.pkl")
            number = int(path.stem)
            if options.first_frame is None:
                first = min(first, number)
            for part in _tubelet_parts(Entry(load_pickle(path), path), names[1]):
                parts.append(part)
                videos_and_numbers.append((video, number))
                file_of_width.setdefault(part.shape[1], path)
    if folders and not any(path.suffix.lower() == ".pkl" for path in folder.rglob("*")):
        raise InputError(f"{folder}: has no .pkl file of a frame; give a folder of another format?")
    if len(file_of_width) > 1:
        lengths = [f"{width // 4} frames ({path})" for width, path in file_of_width.items()]
        raise InputError(
            f"{folder}: mixes tubelets of {some_of(lengths)}; they must all have the same length"
        )
    counts = [len(part) for part in parts]
    rows = np.concatenate([np.empty((0, *(file_of_width or (6,)))), *parts])
    video, number = np.repeat(np.reshape(videos_and_numbers, (-1, 2)), counts, axis=0).T
    tubelets = Tubelets(
        video=video.astype(np.int32),
        frame=as_integers(from_first_frame(number, first), np.int32, "frame", folder),
        label=rows[:, 0].astype(np.int32),
        score=rows[:, 1].copy(),
        boxes=rows[:, 2:].reshape(len(rows), rows.shape[1] // 4, 4),
        video_names=names[0],
        label_names=names[1],
    )
    check_table(tubelets.as_detections(), folder)
    return tubelets


def read_frame_detections(path: Path, options: ReadOptions) -> Detections:
    """Reads frame_detections.pkl of ACT, MOC and MultiSports.

    Args:
        path: rows of video index, frame from 1, label index, score, x1, y1, x2, y2.
        options: must name the videos and classes, in the order of the indices.
    """
    names = options.require_names(path)
    options.require_order(path)
    rows = Entry(load_pickle(path), path).array("video", "frame", "label", "score", *BOX_COLUMNS)
    first = _first_frame(options)
    if len(rows) and rows[:, 1].min() < first:
        raise InputError(
            f"{path}: row {rows[:, 1].argmin() + 1}: frame {rows[:, 1].min():g} is before {first}, "
            "the first of this format; give --first-frame if the file counts from another number"
        )
    rows[:, 1] = from_first_frame(rows[:, 1], first)
    return detections_from_rows(rows, *names, str(path))


def read_video_detections(path: Path, options: ReadOptions) -> Tubes:
    """Reads video_detections.pkl of MultiSports: label index to (video name, score, tube)s."""
    videos, classes = options.require_names(path)
    code_of_name = {name: code for code, name in enumerate(videos)}
    entries: list[TubeRows] = []
    for label, entry in _iter_tubes(path, classes):
        name, score, tube = entry.parts("video", "score", "tube")
        # A video that the ground truth lacks is counted when the two are compared.
        video = code_of_name.setdefault(name.text(), len(code_of_name))
        entries.append((video, label, _tube_rows(tube, _first_frame(options)), score.number()))
    return tubes_from_rows(entries, tuple(code_of_name), classes)


def _first_frame(options: ReadOptions) -> int:
    """The number of the first frame in a file of detections or tubes."""
    return 1 if options.first_frame is None else options.first_frame


def _iter_tubes(path: Path, classes: Sequence[str]) -> Iterator[tuple[int, Entry]]:
    """The label and the entry of each tube in a pickled dict from label number to tubes."""
    for key, tubes in Entry(load_pickle(path), path).items("label"):
        label = key.integer(0, len(classes) - 1)
        for tube in tubes.each("tube"):
            yield label, tube


def _tube_rows(tube: Entry, first_frame: int = 1) -> np.ndarray:
    """The first five columns of a tube, with frames counted from 0."""
    rows = tube.array("frame", *BOX_COLUMNS, more=True)
    if not len(rows):
        raise tube.error("has no boxes")
    number = as_integers(rows[:, 0], np.int32, "frame", tube).astype(np.int64)
    if number.min() < first_frame:
        raise tube.error(
            f"frame {number.min()} is before {first_frame}, the first of this format; give "
            "--first-frame if a file of detections or tubes counts from another number"
        )
    rows[:, 0] = from_first_frame(number, first_frame)
    return rows


def _tubelet_parts(content: Entry, labels: Sequence[str]) -> Iterator[np.ndarray]:
    """(N, 2 + 4K) label, score, boxes, from ACT's or MOC's layout; nothing without tubelets."""
    if isinstance(content.value, dict):
        for key, tubelets in content.items("label"):
            rows = _read_tubelets(tubelets, "the boxes of K frames, score", 1)
            label = np.full((len(rows), 1), key.integer(1, len(labels)) - 1.0)
            if len(rows):
                yield np.concatenate([label, rows[:, -1:], rows[:, :-1]], axis=1)
    elif isinstance(content.value, list | tuple) and len(content.value) == 2:
        tubelets = content.parts("tubelets", "all boxes")[0]
        rows = _read_tubelets(tubelets, "label, score, the boxes of K frames", 2)
        if len(rows):
            label = as_integers(rows[:, 0], np.int32, "label", tubelets)
            bad = (label < 0) | (label >= len(labels))
            if bad.any():
                raise tubelets.error(f"label {label[bad][0]} must be 0 to {len(labels) - 1}")
            yield rows
    else:
        raise content.error("is neither ACT's pair of arrays nor MOC's dict from label to tubelets")


def _read_tubelets(tubelets: Entry, columns: str, others: int) -> np.ndarray:
    """(N, `others` + 4K) rows with the boxes of K frames, four numbers each."""
    rows = tubelets.matrix(f"rows of {columns}")
    width = rows.shape[1] - others
    if len(rows) and (width < 4 or width % 4):
        raise tubelets.error(f"has shape {rows.shape}; it must be rows of {columns}")
    return rows


def _require(paths: Collection[Path], folder: Path, ending: str) -> None:
    """Refuses a folder without one of the videos' paths, and warns of those of other videos.

    Args:
        paths: the file or folder of each video.
        folder: what holds them.
        ending: of the files of other videos, which stand beside these; "" for folders.
    """
    missing = [path for path in paths if not path.exists()]
    if missing:
        raise InputError(
            f"{folder}: {len(missing)} of {len(paths)} videos have no file; the first is "
            f"{missing[0].relative_to(folder)}"
        )
    parents = {path.parent for path in paths}
    known = {*paths, *parents}
    others = {path for parent in parents for path in parent.iterdir()} - known
    ignored = sorted(
        str(path.relative_to(folder))
        for path in others
        if (path.name.endswith(ending) if ending else path.is_dir())
    )
    if ignored:
        warnings.warn(
            f"{folder}: ignoring {len(ignored)} videos that are not evaluated ({some_of(ignored)})",
            stacklevel=4,
        )
