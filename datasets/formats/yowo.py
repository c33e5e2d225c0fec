"""The folders of text files that YOWO and its successors write, one file for each frame."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..checks import detections_from_rows
from ..errors import InputError
from ..frame_numbers import from_first_frame
from ..storage.text_files import read_lines
from ..tables import Detections
from .annotation_format import AnnotationFormat, ReadOptions
from .frame_files import match_frame_files

_COLUMNS = "label, score, x1, y1, x2, y2"
_YOLO_COLUMNS = "class, x centre, y centre, width, height, score"


class YowoFormat(AnnotationFormat):
    """A folder of YOWO's text files."""

    name = "YOWO's text files"

    def matches(self, path: Path) -> bool:
        return path.is_dir() and len(_text_files(path)) > 0

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
        from tqdm import tqdm

        names, classes = options.require_names(path)
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
                    rows.append((video, number, *_read_line(line, file, i)))
                    places.append((file, i))

        def place(row: int) -> str:
            return f"{places[row][0]}: line {places[row][1]}"

        values = np.array(rows, np.float64).reshape(-1, 8)
        _refuse_yolo(values[:, 2:], path)
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


def _text_files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.iterdir() if file.suffix.lower() == ".txt")


def _read_line(line: str, file: Path, number: int) -> list[float]:
    try:
        values = [float(word) for word in line.split()]
        if len(values) == 6:
            return values
    except ValueError:
        pass
    hint = "; YOLO's labels are not read" if len(line.split()) == 5 else ""
    raise InputError(f"{file}: line {number}: must be {_COLUMNS}, not {line.strip()[:80]!r}{hint}")


def _refuse_yolo(values: np.ndarray, path: Path) -> None:
    """Refuses lines that are YOLO's: class, centre and size in fractions, and score.

    Corners in fractions fit only by chance: each score would have to be a centre.

    Args:
        values: (R, 6) the numbers of each line.
        path: the folder.
    """
    centre, size, score = values[:, 1:3], values[:, 3:5], values[:, 5:]
    # YOLO clips boxes to the frame, and writes six digits.
    inside = (size > 0) & (centre - size / 2 > -0.01) & (centre + size / 2 < 1.01)
    if len(values) and inside.all() and ((score >= 0) & (score <= 1)).all():
        raise InputError(
            f"{path}: the lines are YOLO's {_YOLO_COLUMNS}, in fractions of the frame, and must be "
            f"{_COLUMNS}; convert them, or write one table of video, frame, {_COLUMNS}"
        )
