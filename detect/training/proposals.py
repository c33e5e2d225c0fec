"""Proposals of all videos of a set, found once before training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from accelerate import Accelerator
from tqdm import tqdm

from ...datasets.clips.detection_set import DetectionSet
from ...datasets.table_io import read_table, write_table
from ...datasets.tables import Detections
from ...datasets.video.media import read_frames
from ..inference.predict_dataset import video_info
from ..people.proposals import open_proposal_source
from ..people.table import TableSource

RPN_KINDS = ("resnet50", "resnet18", "features")


def prepare_proposals(
    source: str,
    train_set: DetectionSet,
    test_set: DetectionSet,
    out: Path,
    accelerator: Accelerator,
    resume: bool,
) -> tuple[Detections | None, TableSource]:
    """Proposals of all videos: as a table for training, and as a source for detection."""
    if source == "ground-truth":
        tubes = test_set.tubes
        score = np.ones(len(tubes))
        truth = Detections(
            tubes.video, tubes.frame, np.zeros_like(tubes.label), score, tubes.boxes,
            tubes.video_names, ("person",),
        )  # fmt: skip
        return None, TableSource(truth, name="the ground truth")
    if source.endswith((".parquet", ".csv")):
        path = Path(source)
    else:
        path = out / "proposals.parquet"
        if accelerator.is_main_process and not (resume and path.is_file()):
            device = accelerator.device.type
            write_table(_find_people(source, [train_set, test_set], device), path)
        accelerator.wait_for_everyone()
    table = read_table(Detections, path)
    return table, TableSource(table, name=str(path))


def _find_people(source: str, sets: list[DetectionSet], device: str) -> Detections:
    people = open_proposal_source(source, device=device)
    todo = {name: (videos, number) for videos in sets for number, name in enumerate(videos.names)}
    names, video, frame, rows = tuple(todo), [], [], []
    for code, (videos, number) in enumerate(
        tqdm(todo.values(), desc="finding people", unit=" videos", leave=False)
    ):
        pictures = read_frames(videos.media[number], 0, int(videos.num_frames[number]))
        opened = people.open(video_info(videos, number))
        for place, picture in enumerate(pictures):
            size = np.array(picture.shape[1::-1])
            scale = np.array([videos.width[number], videos.height[number]]) / size
            boxes = opened.propose(picture[None], place)[0].scaled(scale)
            video += [code] * len(boxes)
            frame += [place] * len(boxes)
            rows.append(np.column_stack([boxes.boxes, boxes.score]))
    table = np.concatenate(rows) if rows else np.empty((0, 5))
    return Detections(
        np.array(video, np.int32), np.array(frame, np.int32), np.zeros(len(video), np.int32),
        np.clip(table[:, 4], 0, 1).astype(np.float64), table[:, :4].astype(np.float64), names,
        ("person",),
    )  # fmt: skip
