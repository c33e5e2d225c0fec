"""The folders of text files that YOWO and its successors write, one file for each frame."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..errors import InputError
from ..frame_numbers import from_one_based
from ..tables import Detections, detections_from_rows
from ..text_files import read_lines
from .annotation_format import AnnotationFormat, ReadOptions


class YowoFormat(AnnotationFormat):
    """A folder of YOWO's text files."""

    name = "YOWO's text files"

    def matches(self, path: Path) -> bool:
        return path.is_dir() and any(path.glob("*.txt"))

    def read_detections(self, path: Path, options: ReadOptions) -> Detections:
        """Reads `<class>_<video>_<frame from 00001>.txt`.

        A line is a label from 1, a score, x1, y1, x2, y2.

        Args:
            path: a folder such as ucf_detections/detections_5.
            options: must name the videos and the classes, the latter in the data set's order.

        Raises:
            InputError: a file belongs to no video of the ground truth, or a line has another form.
        """
        from tqdm import tqdm

        names, classes = options.require_names(path)
        videos = {name.replace("/", "_"): index for index, name in enumerate(names)}
        parts = [np.empty((0, 8))]
        for file in tqdm(sorted(path.glob("*.txt")), desc="reading", unit="frame", delay=2):
            name, _, number = file.stem.rpartition("_")
            if name not in videos or not number.isdigit():
                raise InputError(
                    f"{file}: the name must be <class>_<video>_<frame>.txt, for a video of the "
                    "ground truth"
                )
            lines = read_lines(file)
            rows = np.empty((len(lines), 8))
            rows[:, 0], rows[:, 1] = videos[name], from_one_based(int(number))
            for i, line in enumerate(lines):
                try:
                    rows[i, 2:] = [float(word) for word in line.split()]
                except ValueError:
                    raise InputError(
                        f"{file}: line {i + 1}: must be label, score, x1, y1, x2, y2"
                    ) from None
            rows[:, 2] -= 1
            parts.append(rows)
        rows = np.concatenate(parts)
        return detections_from_rows(rows, names, classes, str(path))
