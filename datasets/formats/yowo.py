"""The folders of text files that YOWO and its successors write, one file for each frame."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..box_coordinates import has_swapped_corners
from ..errors import InputError
from ..tables import Detections, detections_from_rows
from ..text_files import read_lines
from .annotation_format import AnnotationFormat, ReadOptions
from .frame_files import FrameFiles

_COLUMNS = "label, score, x1, y1, x2, y2"
_YOLO_COLUMNS = "class, x centre, y centre, width, height, score"


class YowoFormat(AnnotationFormat):
    """A folder of YOWO's text files."""

    name = "YOWO's text files"

    def matches(self, path: Path) -> bool:
        return path.is_dir() and any(path.glob("*.txt"))

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
        frames = FrameFiles(names, f"{path}/", "<class>_<video>_<frame>.txt")
        video_of_name = {name: code for code, name in enumerate(names)}
        rows: list[tuple[float, ...]] = []
        places: list[tuple[Path, int]] = []
        first = 1
        for file in tqdm(sorted(path.glob("*.txt")), desc="reading", unit="frame", delay=2):
            name, number = frames.find(file.name)
            first = min(first, number)
            video = video_of_name.setdefault(name, len(video_of_name))
            for i, line in enumerate(read_lines(file), 1):
                if line.strip():
                    rows.append((video, number, *_read_line(line, file, i)))
                    places.append((file, i))
        values = np.array(rows, np.float64).reshape(-1, 8)
        _refuse_yolo(values[:, 2:], path, options)
        values[:, 1] -= first if options.first_frame is None else options.first_frame
        values[:, 2] -= 1
        return detections_from_rows(
            values, tuple(video_of_name), classes,
            lambda row: f"{places[row][0]}: line {places[row][1]}",
        )  # fmt: skip


def _read_line(line: str, file: Path, number: int) -> list[float]:
    try:
        values = [float(word) for word in line.split()]
        if len(values) == 6:
            return values
    except ValueError:
        pass
    hint = "; YOLO's labels are not read" if len(line.split()) == 5 else ""
    raise InputError(f"{file}: line {number}: must be {_COLUMNS}, not {line.strip()[:80]!r}{hint}")


def _refuse_yolo(values: np.ndarray, path: Path, options: ReadOptions) -> None:
    """Refuses lines that may be YOLO's: class, centre and size in fractions, and score.

    Args:
        values: (R, 6) the numbers of each line.
        path: the folder.
        options: corners in fractions are certain where the user names the unit.
    """
    centre, size, boxes = values[:, 1:3], values[:, 3:5], values[:, 2:]
    # YOLO clips boxes to the frame, and writes six digits.
    inside = (size > 0) & (centre - size / 2 > -0.01) & (centre + size / 2 < 1.01)
    is_yolo = (
        bool(len(values)) and inside.all() and ((values[:, 5] >= 0) & (values[:, 5] <= 1)).all()
    )
    are_corners = not has_swapped_corners(boxes).any()
    if is_yolo and not (are_corners and options.box_unit == "fraction"):
        choice = f"; give --boxes fraction if they are {_COLUMNS}" if are_corners else ""
        raise InputError(
            f"{path}: the lines are YOLO's {_YOLO_COLUMNS}, in fractions of the frame, and must be "
            f"{_COLUMNS}{choice}"
        )
