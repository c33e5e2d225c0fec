"""The folders of text files that YOWO and its successors write, one file for each frame.

Ground truth has lines of label, x1, y1, x2, y2; detections have the score behind the label.
"""

from __future__ import annotations

import csv
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..checks import detections_from_rows
from ..class_list import ClassList, read_class_list
from ..errors import InputError
from ..frame_numbers import frame_name, from_first_frame
from ..storage.files import atomic_write
from ..storage.text_files import read_csv, read_lines
from ..tables import Detections, Tubes, Videos
from .annotation_format import AnnotationFormat, GroundTruth, ReadOptions
from .exchange.output_files import file_of_video
from .frame_files import match_frame_files

_CLASSES, _VIDEOS = "classes.csv", "video_names.csv"
_COLUMNS = "label, score, x1, y1, x2, y2"
_YOLO_COLUMNS = "class, x centre, y centre, width, height, score"


class YowoFormat(AnnotationFormat):
    """A folder of YOWO's text files."""

    name = "YOWO's text files"

    def matches(self, path: Path) -> bool:
        return path.is_dir() and len(_text_files(path)) > 0

    def read_ground_truth(self, path: Path, options: ReadOptions) -> GroundTruth:
        """Reads lines without a score. Each box is a tube of its own: the files have no tracks."""
        table = self._read(path, options, is_truth=True)
        warnings.warn(f"{path}: has no tracks, so each box is a tube of its own", stacklevel=3)
        columns = {name: value for name, value in vars(table).items() if name != "score"}
        return GroundTruth(
            path=path, tubes=Tubes(**columns, tube=np.arange(len(table))),
            classes=options.classes or _own_classes(path),
        )  # fmt: skip

    def read_detections(self, path: Path, options: ReadOptions) -> Detections:
        """Reads `<class>_<video>_<frame from 00001>.txt`, or from 00000.

        A line is a label from 1, a score, x1, y1, x2, y2.

        Args:
            path: a folder such as ucf_detections/detections_5.
            options: must name the videos and the classes, the latter in the data set's order.

        Raises:
            InputError: a file's name does not say which video and frame it is, a line has another
                form, or the lines may be YOLO's.
        """
        return self._read(path, options, is_truth=False)

    def _read(self, path: Path, options: ReadOptions, *, is_truth: bool) -> Detections:
        from tqdm import tqdm

        names = options.video_names or _own_videos(path)
        if options.classes is None and (own := _own_classes(path)) is not None:
            options = replace(options, classes=own)
        classes = options.require_classes(path)
        files = _text_files(path)
        layout = "<class>_<video>_<frame>.txt"
        frames = match_frame_files([file.name for file in files], names, f"{path}/", layout)
        code_of_name = {name: code for code, name in enumerate(names)}
        rows: list[tuple[float, ...]] = []
        places: list[tuple[Path, int]] = []
        described = zip(files, frames.videos, frames.numbers.tolist())
        for file, name, number in tqdm(described, "reading", len(files), unit="frame", delay=2):
            video = code_of_name.setdefault(name, len(code_of_name))
            for i, line in enumerate(read_lines(file), 1):
                if line.strip():
                    rows.append((video, number, *_read_line(line, file, i, is_truth)))
                    places.append((file, i))

        def place(row: int) -> str:
            return f"{places[row][0]}: line {places[row][1]}"

        values = np.array(rows, np.float64).reshape(-1, 8)
        _refuse_yolo(values[:, 2:], path, is_truth)
        label = values[:, 2]
        if (bad := ~((label >= 1) & (label <= len(classes)))).any():
            row = int(bad.argmax())
            raise InputError(
                f"{place(row)}: label {label[row]:g} must be 1 to {len(classes)}, counted from 1"
            )
        values[:, 2] -= 1
        first = min(1, *frames.numbers) if options.first_frame is None else options.first_frame
        values[:, 1] = from_first_frame(values[:, 1], first)
        return detections_from_rows(values, tuple(code_of_name), classes, place)

    def write(self, table: Detections | Tubes, videos: Videos | None, path: Path) -> None:
        write_yowo(table, path)


def _text_files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.iterdir() if file.suffix.lower() == ".txt")


def _read_line(line: str, file: Path, number: int, is_truth: bool) -> list[float]:
    try:
        values = [float(word) for word in line.split()]
        if len(values) == 6 - is_truth:
            return [values[0], 1.0, *values[1:]] if is_truth else values
    except ValueError:
        pass
    hint = "; YOLO's labels are not read" if len(line.split()) == 5 and not is_truth else ""
    columns = _COLUMNS.replace(" score,", "") if is_truth else _COLUMNS
    raise InputError(f"{file}: line {number}: must be {columns}, not {line.strip()[:80]!r}{hint}")


def _refuse_yolo(values: np.ndarray, path: Path, is_truth: bool) -> None:
    """Refuses lines that are YOLO's: class, centre and size in fractions, and score.

    Corners in fractions fit only by chance: each score would have to be a centre.

    Args:
        values: (R, 6) the numbers of each line.
        path: the folder.
    """
    boxes = values[:, 2:] if is_truth else values[:, 1:5]
    centre, size = boxes[:, :2], boxes[:, 2:]
    score = values[:, 1:2] if is_truth else values[:, 5:]
    # YOLO clips boxes to the frame, and writes six digits.
    inside = (size > 0) & (centre - size / 2 > -0.01) & (centre + size / 2 < 1.01)
    if len(values) and inside.all() and ((score >= 0) & (score <= 1)).all():
        raise InputError(
            f"{path}: the lines are YOLO's {_YOLO_COLUMNS}, in fractions of the frame, and must be "
            f"{_COLUMNS}; convert them, or write one table of video, frame, {_COLUMNS}"
        )


def holds_scores(path: Path) -> bool:
    """Whether the first line of a folder's files has a score."""
    for file in _text_files(path):
        for line in read_lines(file):
            if line.strip():
                return len(line.split()) != 5
    return True


def _own_videos(path: Path) -> tuple[str, ...]:
    """The names of videos in the file that `write_yowo` leaves, or ()."""
    file = path / _VIDEOS
    return tuple(cells[0] for cells in read_csv(file)[1:] if cells) if file.is_file() else ()


def _own_classes(path: Path) -> ClassList | None:
    file = path / _CLASSES
    return read_class_list(file) if file.is_file() else None


def write_yowo(table: Detections | Tubes, folder: Path) -> None:
    """Writes <video>_<frame from 00001>.txt of each frame with boxes, and the names of classes and
    videos in classes.csv and video_names.csv, which have no place in the lines.

    Raises:
        InputError: two videos would have files of one name, or the folder has text files.

    Warns:
        what the files cannot hold.
    """
    flat = [name.replace("\\", "/").replace("/", "_") for name in table.video_names]
    if len(set(flat)) < len(flat):
        raise InputError(f"{folder}: two videos differ in / and _ only, which YOWO writes alike")
    if folder.is_dir() and _text_files(folder):
        raise InputError(f"{folder}: has text files, which would be read, too; give another folder")
    if isinstance(table, Tubes):
        lost = [name for name in ("tube", "tube_score", "person")
                if getattr(table, name) is not None]  # fmt: skip
        words = ", no ".join(lost)
        warnings.warn(f"{folder}: YOWO's files have no {words}; left out", stacklevel=3)
    order = np.lexsort((np.arange(len(table)), table.frame, table.video))
    lines: dict[Path, list[str]] = {}
    for row in order.tolist():
        name = frame_name(int(table.frame[row]))
        file = file_of_video(folder, flat[table.video[row]], f"_{name}.txt")
        score = [] if table.score is None else [table.score[row]]
        numbers = " ".join(repr(float(each)) for each in (*score, *table.boxes[row]))
        lines.setdefault(file, []).append(f"{table.label[row] + 1} {numbers}\n")
    for file, texts in lines.items():
        with atomic_write(file) as temporary:
            temporary.write_text("".join(texts), encoding="utf-8")
    for name, header, rows in (
        (_CLASSES, "number,name", [[code, name] for code, name in enumerate(table.label_names, 1)]),
        (_VIDEOS, "video", [[name] for name in table.video_names]),
    ):
        with atomic_write(folder / name) as temporary, temporary.open(
            "w", newline="", encoding="utf-8"
        ) as out:  # fmt: skip
            out.write(f"{header}\n")
            csv.writer(out).writerows(rows)
