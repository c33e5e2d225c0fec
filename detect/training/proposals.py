"""Proposals of all videos of a set, found once before training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from accelerate import Accelerator
from tqdm import tqdm

from ...datasets.clips.detection_set import DetectionSet
from ...datasets.table_io import read_table, write_table
from ...datasets.tables import Detections
from ...datasets.video.media import read_frames
from ..people.proposals import Proposals, open_proposal_source, table_proposals

RPN_KINDS = ("resnet50", "resnet18", "features")


def prepare_proposals(
    source: str,
    train_set: DetectionSet,
    test_set: DetectionSet,
    out: Path,
    accelerator: Accelerator,
    resume: bool,
) -> tuple[Detections | None, Callable[[str], Proposals]]:
    """Proposals of all videos: as a table for training, and by a video's name for detection."""
    if source == "ground-truth":
        tubes = test_set.tubes
        score = np.ones(len(tubes))
        truth = Detections(
            tubes.video, tubes.frame, np.zeros_like(tubes.label), score, tubes.boxes,
            tubes.video_names, ("person",),
        )  # fmt: skip
        return None, _from_table(truth, test_set, "the ground truth")
    if source.endswith((".parquet", ".csv")):
        path = Path(source)
    else:
        path = out / "proposals.parquet"
        if accelerator.is_main_process and not (resume and path.is_file()):
            device = accelerator.device.type
            write_table(_find_people(source, [train_set, test_set], device), path)
        accelerator.wait_for_everyone()
    table = read_table(Detections, path)
    return table, _from_table(table, test_set, str(path))


def _from_table(table: Detections, videos: DetectionSet, where: str) -> Callable[[str], Proposals]:
    """The table's boxes in the pixels of the media, whose size may be another."""

    def of(name: str) -> Proposals:
        number = videos.names.index(name)
        look_up = table_proposals(table, name, where=where)
        width, height = videos.width[number], videos.height[number]

        def people(frames: np.ndarray, first: int) -> list[np.ndarray]:
            scale = np.array([frames.shape[2] / width, frames.shape[1] / height] * 2 + [1])
            shape = (len(frames), int(height), int(width), 3)
            # Only the size of the frames is asked for.
            blank = np.broadcast_to(np.zeros(1, np.uint8), shape)
            return [boxes * scale for boxes in look_up(blank, first)]

        return people

    return of


def _find_people(source: str, sets: list[DetectionSet], device: str) -> Detections:
    detect = open_proposal_source(source, device=device)
    todo = {name: (videos, number) for videos in sets for number, name in enumerate(videos.names)}
    names, video, frame, rows = tuple(todo), [], [], []
    for code, (videos, number) in enumerate(
        tqdm(todo.values(), desc="finding people", unit=" videos", leave=False)
    ):
        pictures = read_frames(videos.media[number], 0, int(videos.num_frames[number]))
        for place, picture in enumerate(pictures):
            size = np.array(picture.shape[1::-1])
            scale = np.array([videos.width[number], videos.height[number]]) / size
            boxes = detect(picture[None], place)[0] * [*scale, *scale, 1]
            video += [code] * len(boxes)
            frame += [place] * len(boxes)
            rows.append(boxes)
    table = np.concatenate(rows) if rows else np.empty((0, 5))
    return Detections(
        np.array(video, np.int32), np.array(frame, np.int32), np.zeros(len(video), np.int32),
        np.clip(table[:, 4], 0, 1).astype(np.float64), table[:, :4].astype(np.float64), names,
        ("person",),
    )  # fmt: skip
