"""MOT Challenge's text files, one a video: ground truth and output of trackers.

A row is frame (from 1), id, x, y, width, height, confidence, class, visibility; output of trackers
has -1 for what it does not know. The class is a number from 1, which `labels.txt` beside the file
names, as CVAT exports it, or --classes.
"""

from __future__ import annotations

import csv
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..box_coordinates import xywh_to_xyxy
from ..checks import as_integers
from ..class_list import read_class_list
from ..errors import InputError, refuse_rows, some_of
from ..frame_numbers import from_first_frame, to_one_based
from ..storage.files import atomic_write
from ..storage.text_files import read_csv
from ..tables import Detections, Tubes, Videos
from .annotation_format import AnnotationFormat, GroundTruth, ReadOptions
from .exchange.exact_sides import exact_sides
from .exchange.output_files import file_of_video
from .exchange.person_tracks import annotated_steps, number_tracks, tubes_of_tracks

_COLUMNS = "frame, id, x, y, width, height, confidence, class, visibility"
_SUFFIX = ".mot.txt"
_LABELS = "labels.txt"
_PERSON = "person"
"""The class of rows without one: trackers of people write none."""
_FEWEST, _MOST = 6, 10


class MotFormat(AnnotationFormat):
    """A file of MOT Challenge, a sequence's folder, or a folder of either."""

    name = "MOT Challenge's text files"

    def matches(self, path: Path) -> bool:
        return len(_sequences(path)) > 0

    def has_no_tracks(self, path: Path) -> bool:
        """Whether all ids are -1, as in files of detections."""
        files = _sequences(path).values()
        ids = (cells[1].strip() for file in files for cells in read_csv(file) if len(cells) > 1)
        return all(float(each) == -1 for each in ids if each.lstrip("-").isdigit())

    def read_ground_truth(self, path: Path, options: ReadOptions) -> GroundTruth:
        table = _read_rows(path, options)
        if table.id is None:
            raise InputError(f"{path}: its ids are -1, so there are no tracks; track them first")
        video, frame, label = table.boxes.video, table.boxes.frame, table.boxes.label
        person = as_integers(table.id, np.int32, "id", path)
        if len(person):
            person = person + (1 - min(1, int(person.min())))
        tubes = Tubes(
            video=video, frame=frame, label=label, boxes=table.boxes.boxes, person=person,
            tube=np.zeros(len(frame), np.int64), video_names=table.boxes.video_names,
            label_names=table.boxes.label_names,
            score=table.boxes.score if (table.boxes.score != 1).any() else None,
        )  # fmt: skip
        tube = tubes_of_tracks(video, person, label, frame, annotated_steps(tubes))
        return GroundTruth(path=path, tubes=Tubes(**vars(tubes) | {"tube": tube}))

    def read_detections(self, path: Path, options: ReadOptions) -> Detections:
        return _read_rows(path, options).boxes

    def read_tubes(self, path: Path, options: ReadOptions) -> Tubes:
        return self.read_ground_truth(path, options).tubes

    def write(self, table: Detections | Tubes, videos: Videos | None, path: Path) -> None:
        write_mot(table, path)


class _MotRows(NamedTuple):
    """The rows of all videos; `id` is None where all are -1."""

    boxes: Detections
    id: np.ndarray | None


def _sequences(path: Path) -> dict[str, Path]:
    """The file of each video, by the video's name; {} where the path is no MOT file or folder."""
    if path.is_file():
        return {_video_name(path): path} if _is_mot(path) else {}
    if not path.is_dir():
        return {}
    if (file := path / "gt" / "gt.txt").is_file():
        return {path.name: file}
    if own := sorted(path.rglob(f"*{_SUFFIX}")):
        names = (file.relative_to(path).as_posix().removesuffix(_SUFFIX) for file in own)
        return dict(zip(names, own))
    files = [file for file in sorted(path.iterdir()) if file.suffix.lower() == ".txt"]
    files = [file for file in files if file.name != _LABELS]
    # A folder of thousands of text files is YOWO's, which one of them shows.
    if files:
        return {_video_name(file): file for file in files} if all(map(_is_mot, files[:3])) else {}
    inside = ((folder.name, folder / "gt" / "gt.txt") for folder in sorted(path.iterdir()))
    return {name: file for name, file in inside if file.is_file()}


def _video_name(file: Path) -> str:
    """The name of a video: alpha of alpha.mot.txt, and of alpha/gt/gt.txt."""
    if file.parent.name == "gt" and file.stem in ("gt", "det"):
        return file.absolute().parents[1].name
    return file.name.removesuffix(_SUFFIX) if file.name.endswith(_SUFFIX) else file.stem


def _is_mot(path: Path) -> bool:
    """Whether the first row has MOT's numbers, and its boxes are no fractions, as AVA's are."""
    if path.suffix.lower() not in (".txt", ".csv"):
        return False
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        lines = (line for line in iter(lambda: file.readline(1000), "") if line.strip())
        cells = next(csv.reader([next(lines, "")]), [])
    try:
        numbers = [float(cell) for cell in cells]
    except ValueError:
        return False
    if not _FEWEST <= len(numbers) <= _MOST or numbers[0] % 1 or numbers[1] % 1:
        return False
    return len(numbers) not in (7, 8) or not all(-1 <= side <= 2 for side in numbers[2:6])


def _read_rows(path: Path, options: ReadOptions) -> _MotRows:
    sequences = _sequences(path)
    names = tuple(sorted(sequences))
    parts = [_read_file(sequences[name]) for name in names]
    counts = [len(part) for part in parts]
    values = np.concatenate([np.empty((0, 8)), *parts])
    by_file = {sequences[name]: part for name, part in zip(names, parts)}
    values[:, 0] = _count_from_0(values[:, 0], by_file, options.first_frame)
    labels, label = _name_classes(values[:, 7], path, sequences.values(), options)
    has_id = (values[:, 1] != -1).any()
    return _MotRows(
        Detections(
            video=np.repeat(np.arange(len(names), dtype=np.int32), counts),
            frame=as_integers(values[:, 0], np.int32, "frame", path),
            label=label, score=values[:, 6].copy(), boxes=xywh_to_xyxy(values[:, 2:6]),
            video_names=names, label_names=labels,
        ),
        values[:, 1] if has_id else None,
    )  # fmt: skip


def _read_file(file: Path) -> np.ndarray:
    """(R, 8) frame as it stands there, id, x, y, width, height, score, class."""
    rows: list[list[float]] = []
    numbers: list[int] = []
    for number, cells in enumerate(read_csv(file), 1):
        if not any(cell.strip() for cell in cells):
            continue
        try:
            row = [float(cell) for cell in cells if cell.strip()]
        except ValueError:
            row = []
        if not _FEWEST <= len(row) <= _MOST:
            raise InputError(f"{file}: row {number}: must be {_COLUMNS}, all numbers")
        rows.append([*row[:8], *(1.0, -1.0)[len(row) - 6 :]][:8])
        numbers.append(number)
    values = np.array(rows, np.float64).reshape(-1, 8)
    checks: tuple[tuple[np.ndarray, str], ...] = (
        (np.asarray(~np.isfinite(values).all(axis=1)), "a value is NaN or infinite"),
        ((values[:, [0, 1, 7]] % 1 != 0).any(axis=1), "frame, id and class must be whole numbers"),
        (np.asarray((values[:, 4:6] < 0).any(axis=1)), "width and height must be 0 or more"),
        (values[:, 0] < 0, "the frame must be 0 or more"),
    )
    for bad, why in checks:
        refuse_rows(bad, file, why, numbers)
    # In ground truth, 0 says that a box does not count; trackers write scores, or -1 for none.
    is_truth = np.isin(values[:, 6], (-1, 0, 1)).all()
    ignored = values[:, 6] == 0 if is_truth else np.zeros(len(values), bool)
    if ignored.any():
        warnings.warn(
            f"{file}: leaving out {int(ignored.sum())} of {len(values)} rows whose confidence is "
            "0, which marks boxes that do not count",
            stacklevel=5,
        )
    values = values[~ignored]
    values[values[:, 6] == -1, 6] = 1
    outside = np.asarray((values[:, 6] < 0) | (values[:, 6] > 1))
    refuse_rows(outside, file, "the confidence must be between 0 and 1", numbers)
    return values


def _count_from_0(
    frame: np.ndarray, files: Mapping[Path, np.ndarray], first: int | None
) -> np.ndarray:
    """Frame numbers of all files from 0. They count alike: one frame 0 says so of all."""
    if not len(frame):
        return frame
    first = min(1, int(frame.min())) if first is None else first
    for file, rows in files.items():
        refuse_rows(rows[:, 0] < first, file, f"the frame is before the first, {first}")
    return from_first_frame(frame, first)


def _name_classes(
    numbers: np.ndarray, path: Path, files: Iterable[Path], options: ReadOptions
) -> tuple[tuple[str, ...], np.ndarray]:
    """The names of the classes, and the code of each row."""
    present = sorted({int(number) for number in numbers})
    if present and present[-1] < 1:
        names = options.classes.names if options.classes is not None else (_PERSON,)
        if len(names) > 1:
            raise InputError(
                f"{path}: has no classes, and --classes has {len(names)}; give one name, or none "
                f"for the class {_PERSON}"
            )
        if options.classes is None:
            warnings.warn(
                f"{path}: has no classes; all boxes are of the class {_PERSON}", stacklevel=4
            )
        return names, np.zeros(len(numbers), np.int32)
    classes = options.classes
    if classes is None:
        # Beside each file; those of one folder are the same.
        lists = {file.with_name(_LABELS) for file in files}
        lists |= {path / _LABELS} if path.is_dir() else set()
        found = sorted(file for file in lists if file.is_file())
        if not found and options.only_people and len(present) == 1:
            return (_PERSON,), np.zeros(len(numbers), np.int32)
        if not found:
            raise InputError(
                f"{path}: holds class numbers ({some_of(present)}); name them with --classes, or "
                f"in {_LABELS} beside the file"
            )
        known = [read_class_list(file) for file in found]
        if len({each.names for each in known}) > 1:
            raise InputError(f"{found[0]}: differs from {found[1]}; give one list with --classes")
        classes = known[0]
    by_number = classes.by_number()
    if classes.numbers is None:
        by_number = {number + 1: name for number, name in by_number.items()}
    if unknown := [number for number in present if number not in by_number]:
        raise InputError(f"{path}: class number {unknown[0]} has no name in {classes.source}")
    order = {number: code for code, number in enumerate(by_number)}
    label = np.array([order[int(number)] for number in numbers], np.int32)
    return tuple(by_number.values()), label


def write_mot(table: Detections | Tubes, path: Path) -> list[Path]:
    """Writes <video>.mot.txt of each video into a folder, or one video into a .txt file.

    The id is the person, or the tube where persons are not known, and -1 in detections; the class
    is a number from 1 in labels.txt beside the files.

    Raises:
        InputError: one file for several videos.

    Warns:
        what these files cannot hold.
    """
    is_file = path.suffix.lower() in (".txt", ".csv")
    if is_file and len(table.video_names) > 1:
        raise InputError(
            f"{path}: MOT has one file for each video, and there are {len(table.video_names)}; "
            "give a folder"
        )
    if isinstance(table, Tubes):
        if table.tube_score is not None:
            warnings.warn(f"{path}: MOT has no tube_score; left out", stacklevel=3)
        track = number_tracks(table, path, one_box=False)
    else:
        track = np.full(len(table), -1)
    score = np.ones(len(table)) if table.score is None else table.score
    left, right = table.boxes[:, :2], table.boxes[:, 2:]
    rows = zip(
        to_one_based(table.frame.astype(np.int64)).tolist(), track.tolist(), left.tolist(),
        exact_sides(left, right).tolist(), score.tolist(), (table.label + 1).tolist(),
    )  # fmt: skip
    lines: dict[int, list[str]] = {code: [] for code in range(len(table.video_names))}
    for code, (frame, number, corner, sides, value, label) in zip(table.video.tolist(), rows):
        numbers = ",".join(repr(each) for each in (*corner, *sides, value))
        lines[code].append(f"{frame},{number},{numbers},{label},-1\n")
    files = []
    for code, name in enumerate(table.video_names):
        files.append(path if is_file else file_of_video(path, name, _SUFFIX))
        if is_file and _video_name(path) != name:
            warnings.warn(
                f"{path}: MOT names a video by its file; call it {name}{_SUFFIX} to keep the name",
                stacklevel=3,
            )
        with atomic_write(files[-1]) as temporary:
            temporary.write_text("".join(lines[code]), encoding="utf-8")
    for folder in dict.fromkeys(file.parent for file in files):
        with atomic_write(folder / _LABELS) as temporary:
            names = "".join(f"{name}\n" for name in table.label_names)
            temporary.write_text(names, encoding="utf-8")
    return files
