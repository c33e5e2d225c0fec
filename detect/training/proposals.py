"""Proposals of all videos of two sets, computed once before training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ...datasets.checks import detections_from_rows
from ...datasets.clips.detection_set import DetectionSet
from ...datasets.file_options import FileOptions
from ...datasets.labels import remap_codes
from ...datasets.storage.files import write_json
from ...datasets.storage.text_files import read_json
from ...datasets.table_io import write_table
from ...datasets.tables import Detections, concatenate_rows
from ...datasets.video.media import read_frames
from ..inference.predict_dataset import video_info
from ..people.proposals import find_source, open_proposal_source
from ..people.table import TableSource, table_source
from .options import RunOptions
from .state import STATE

RPN_KINDS = ("resnet50", "resnet18", "features")


def prepare_proposals(
    source: str,
    train_set: DetectionSet,
    others: Sequence[DetectionSet],
    folder: Path,
    run: RunOptions,
    files: FileOptions | None = None,
) -> tuple[Detections | None, TableSource]:
    """Person boxes of all videos, as a table for training and as a source for detection.

    Args:
        source: "ground-truth", whose boxes training jitters (the table is None); or a source of
            `open_proposal_source`.
        train_set: the videos of the table.
        others: those to detect in besides.
        folder: gets proposals.parquet, unless the source is a table, and proposals.json, what it is
            made of; a resumed run reads it.
        run: its device and whether it is resumed.
        files: what a table of proposals leaves open.
    """
    if source == "ground-truth":
        names = tuple(name for each in others for name in each.names)
        tubes = concatenate_rows(
            [
                replace(each.tubes, video=remap_codes(each.tubes.video, each.names, names))
                for each in others
            ]
        )
        truth = Detections(
            video=tubes.video, frame=tubes.frame, label=np.zeros_like(tubes.label),
            score=np.ones(len(tubes)), boxes=tubes.boxes, video_names=names,
            label_names=("person",),
        )  # fmt: skip
        return None, TableSource(truth, name="the ground truth")
    path, person_class = Path(source), None if files is None else files.person_class
    if find_source(source) is not table_source:
        path, files = folder / "proposals.parquet", None
        accelerator = run.accelerator(folder)
        sets = [train_set, *others]
        made_of = {"proposals": source, "videos": [name for each in sets for name in each.names]}
        made_of |= {"person_class": person_class} if person_class else {}
        record = path.with_suffix(".json")
        is_of_state = (folder / STATE).is_file()  # whose options are compared
        if accelerator.is_main_process and not (
            run.resume and path.is_file() and (is_of_state or _read_json(record) == made_of)
        ):
            record.unlink(missing_ok=True)
            device = accelerator.device.type
            write_table(_find_people(source, sets, device, person_class), path)
            write_json(made_of, record)
        accelerator.wait_for_everyone()
    if files is not None:  # those are of the ground truth
        files = replace(files, classes=None, label_attribute=None)
    people = table_source(str(path), device="cpu", threshold=0.0, files=files)
    table = people.select([video_info(train_set, row) for row in range(len(train_set))])
    people.warn_of_intervals(table)
    return replace(table, video_names=train_set.names), people


def _read_json(path: Path) -> object:
    return read_json(path) if path.is_file() else None


def _find_people(
    source: str, sets: list[DetectionSet], device: str, person_class: str | None
) -> Detections:
    """The person boxes of all frames of all videos, in pixels of the videos' tables."""
    people = open_proposal_source(
        source, device=device, files=FileOptions(person_class=person_class)
    )
    rows_of = {name: (videos, row) for videos in sets for row, name in enumerate(videos.names)}
    rows = [np.empty((0, 8))]
    for code, (videos, row) in enumerate(
        tqdm(rows_of.values(), desc="finding people", unit=" videos", leave=False)
    ):
        opened = people.open(video_info(videos, row))
        images = read_frames(videos.media[row], 0, int(videos.num_frames[row]))
        for number, image in enumerate(images):
            scale = np.array([videos.width[row], videos.height[row]]) / image.shape[1::-1]
            boxes = opened.propose(image[None], number)[0].scaled(scale)
            place = np.tile([code, number, 0], (len(boxes), 1))
            rows.append(np.column_stack([place, np.clip(boxes.score, 0, 1), boxes.boxes]))
    return detections_from_rows(np.concatenate(rows), tuple(rows_of), ("person",), source)
