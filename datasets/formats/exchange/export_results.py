"""Finished tables of results in the formats of label tools and trackers."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from ...errors import InputError, choose_from
from ...labels import remap_codes
from ...table_io import read_table
from ...table_writer import OUTPUT_FILES
from ...tables import Tubes, Videos
from ..registry import FORMATS

ExportFormat = Literal["cvat", "mot", "coco"]


def parse_export(text: str | None) -> list[ExportFormat]:
    """The formats that `--export` names between commas.

    Raises:
        InputError: one is not known.
    """
    words = [word.strip().lower() for word in (text or "").split(",") if word.strip()]
    for word in words:
        if word not in get_args(ExportFormat):
            raise InputError(
                f"--export {word}: unknown; {choose_from(word, get_args(ExportFormat))}"
            )
    return list(dict.fromkeys(words))  # type: ignore[arg-type]


def export_results(folder: Path, formats: list[ExportFormat]) -> list[Path]:
    """Writes the tubes of a folder of results beside its tables.

    Args:
        folder: with tubes.parquet and videos.parquet.
        formats: "cvat" for <video>.cvat.xml, which CVAT loads into a task of the video, "mot" for
            <video>.mot.txt, "coco" for coco.json of all videos.

    Returns:
        what was written: the folder, or coco.json.
    """
    tubes = read_table(Tubes, folder / OUTPUT_FILES.tubes)
    videos = read_table(Videos, folder / OUTPUT_FILES.videos)
    # Also videos in which nothing was found have a file.
    video = remap_codes(tubes.video, tubes.video_names, videos.video).astype(np.int32)
    tubes = replace(tubes, video=video, video_names=videos.video)
    written = []
    for name in formats:
        path = folder / "coco.json" if name == "coco" else folder
        with warnings.catch_warnings():
            # That CVAT has no scores is said in the option's help.
            warnings.filterwarnings("ignore", message=r".* has no .*score")
            FORMATS[name].write(tubes, videos, path)
        written.append(path)
    return written
