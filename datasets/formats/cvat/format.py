"""CVAT for video as an annotation format.

Own code: datumaro 1.13 takes the shapes as they stand, without the boxes between keyframes, knows
neither <source> nor step, and puts the tasks of a project onto the same frames; cvat-sdk talks to a
server.
"""

from __future__ import annotations

from pathlib import Path

from ...errors import InputError
from ...tables import Detections, Tubes, Videos
from ..annotation_format import AnnotationFormat, GroundTruth, ReadOptions
from .content import is_cvat
from .reading import cvat_files, read_cvat
from .writing import write_cvat


class CvatFormat(AnnotationFormat):
    """CVAT for video 1.1: XML, a zip file with it, or a folder of these."""

    name = "CVAT for video 1.1"

    def matches(self, path: Path) -> bool:
        return len(cvat_files(path)) > 0 if path.is_dir() else is_cvat(path)

    def read_ground_truth(self, path: Path, options: ReadOptions) -> GroundTruth:
        return read_cvat(path, options)

    def read_tubes(self, path: Path, options: ReadOptions) -> Tubes:
        return read_cvat(path, options).tubes

    def write(self, table: Detections | Tubes, videos: Videos | None, path: Path) -> None:
        if not isinstance(table, Tubes):
            raise InputError(
                f"{path}: CVAT holds tracks, and these boxes are of no tubes; link them first "
                "(`actiontubes link`)"
            )
        write_cvat(table, videos, path)
