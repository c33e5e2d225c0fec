"""The command `actiontubes link`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np

from ..datasets.box_coordinates import box_unit
from ..datasets.errors import InputError
from ..datasets.file_options import FileOptions
from ..datasets.formats.act import ActFormat, read_tubelets
from ..datasets.formats.annotation_format import ReadOptions
from ..datasets.formats.registry import (
    choose_videos,
    find_format,
    read_annotations,
    read_detections,
)
from ..datasets.table_io import read_table, write_table
from ..datasets.tables import Detections, Tubelets, Videos
from ..detect.linking.linker import link_all
from ..detect.linking.trimming import mean_tube_lengths, trim_max_subarray, trim_two_labels
from .arguments import Omit
from .overrides import parse_overrides

_PRESETS = {
    "act": ("act", "moc"),
    "viterbi": ("peng", "saha", "yowo"),
    "online": ("singh", "3d-retinanet"),
}


def link(
    *,
    detections: Path,
    out: Path,
    method: str = "act",
    preset: str | None = None,
    set: list[str] | None = None,
    trim: Literal["none", "two-label", "subarray"] = "none",
    ground_truth: Path | None = None,
    videos: Path | None = None,
    calibration: Path | None = None,
    files: Annotated[FileOptions, Omit("person_class")],
) -> None:
    """Link detections into action tubes.

    Args:
        detections: A table of detections, or another format that `evaluate` reads.
        out: Output file of the tubes, .parquet or .csv.
        method: persons (people first, then what each does), act (greedy, frame by frame), viterbi
            (best paths through the whole video: Peng & Schmid, Saha et al., YOWO), online
            (incremental: Singh et al.), or one of the presets.
        preset: Parameters of which paper: act or moc for --method act; peng, saha or yowo for
            viterbi; singh or 3d-retinanet for online. Default: the first of them.
        set: Change single parameters, such as gap=3 min_length=8.
        trim: Trim tubes in time: two-label dynamic programming (Saha et al., Singh et al.), or
            Peng's maximum subarray, which needs --ground-truth.
        ground_truth: Training ground truth: gives --trim subarray the mean tube lengths, and names
            the videos and classes of pickles and text files.
        videos: A table with the videos' lengths (needed by --preset yowo).
        calibration: The checkpoint of the detector (detector.safetensors or .onnx), for what its
            training measured for --method persons.
    """
    if calibration is not None and method != "persons":
        raise InputError("--calibration: only works with --method persons; leave it out")
    presets = _PRESETS.get(method, (method,))
    if preset is not None and preset not in presets:
        raise InputError(
            f"--preset {preset}: does not belong to --method {method}; choose {', '.join(presets)}"
        )
    truth = None
    if ground_truth is not None:
        truth = choose_videos(read_annotations(ground_truth, files))
    if trim == "subarray" and truth is None:
        raise InputError(
            "--trim subarray: needs --ground-truth (the training set's), for the mean tube "
            "length of each class"
        )
    file = find_format(detections)
    boxes: Detections | Tubelets
    if isinstance(file, ActFormat) and detections.is_dir():
        boxes = read_tubelets(detections, ReadOptions.from_ground_truth(truth, files))
    else:
        boxes = read_detections(detections, truth, files)
    overrides: dict[str, Any] = dict(parse_overrides(set))
    if method != "persons" and box_unit(boxes.boxes.reshape(-1, 4)) == "fraction":
        # A pixel more would be a frame more, and any two boxes would overlap.
        overrides = {"extent": "continuous", **overrides}
    measured = None
    if calibration is not None:
        from ..detect.inference.load import load_calibration

        measured = load_calibration(calibration)
        if measured is None:
            raise InputError(
                f"{calibration}: has no calibration; train with --calibration-videos, or leave "
                "out --calibration"
            )
    details = read_table(Videos, videos) if videos is not None else None
    linked = link_all(boxes, preset or method, videos=details, calibration=measured, **overrides)
    tubes = linked.tubes
    if trim == "two-label":
        tubes = trim_two_labels(tubes)
    elif trim == "subarray" and truth is not None:
        lengths = mean_tube_lengths(truth.tubes)
        absent = sorted(
            {tubes.label_names[label] for label in np.unique(tubes.label)} - lengths.keys()
        )
        if absent:
            raise InputError(
                f"{ground_truth}: has no tube of {', '.join(absent)}, so --trim subarray does "
                "not know how long they last; give ground truth with these classes"
            )
        tubes = trim_max_subarray(tubes, lengths)
    write_table(tubes, out)
    count = len(np.unique(tubes.tube))
    left_out = ""
    if linked.num_dropped:
        left_out = (
            f"; tubes left out: {linked.num_dropped}, too short or of too low a score (--set "
            "min_length= and min_score= change that)"
        )
    print(f"{out}: {count} tubes, {len(tubes)} boxes, from {len(boxes.score)} detections{left_out}")
