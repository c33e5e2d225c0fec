"""The command `actiontubes convert`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from ..datasets.file_options import ConversionTarget, FileOptions
from ..datasets.options import OptionName
from .arguments import Omit


def convert(
    path: Path,
    *,
    source_format: Annotated[str | None, OptionName("from")] = None,
    to: ConversionTarget,
    out: Path,
    videos: Path | None = None,
    media: Path | None = None,
    files: Annotated[FileOptions, Omit("person_class")],
) -> None:
    """Convert annotations, tubes or detections from one format into another.

    Reads tables, CVAT for video 1.1 (XML or zip), MOT Challenge, COCO and COCO-video JSON, AVA's
    CSV, pickles of ACT and MOC, YOWO's text, and whatever else `evaluate` reads. The format is
    recognized by the content, and said; so is everything that the other format cannot hold.

    Args:
        path: File or folder to convert.
        source_format: Its format, if it is not recognized: table, cvat, mot, coco, ava, act, yowo,
            pyannot, finalannots, jhmdb or ucf101-24.
        to: Format to write.
        out: Output. Table: a .csv or .parquet file, or a folder (groundtruth.parquet and
            videos.csv). CVAT: .xml, .zip, or a folder with <video>.cvat.xml. MOT: a .txt file, or
            a folder with <video>.mot.txt. YOWO: a folder. COCO, AVA, ACT: a .json, .csv, .pkl file.
        videos: Convert only the videos in this list, one a line; or a table of videos with their
            lengths, sizes and rates. Default: videos.csv beside the file, if there is one.
        media: Folder with the videos, to measure what a format needs of them. Default: beside the
            file.
    """
    from ..datasets.formats.exchange.convert import convert_annotations, read_for_conversion

    annotations = read_for_conversion(path, source_format, files, videos)
    print(f"{path}: read as {annotations.format}", file=sys.stderr)
    for line in convert_annotations(annotations, to, out, media):
        print(line)
