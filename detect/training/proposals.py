"""Person boxes of all videos of a data set, computed once before training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ...datasets.clips.detection_set import DetectionSet
from ...datasets.table_io import read_table, write_table
from ...datasets.tables import Detections
from ...datasets.video.media import read_frames
from ..people.proposals import Proposals, open_proposal_source, table_proposals
from .options import RunOptions

RPN_KINDS = ("resnet50", "resnet18", "features")


def prepare_proposals(
    source: str, train_set: DetectionSet, test_set: DetectionSet, folder: Path, run: RunOptions
) -> tuple[Detections | None, Callable[[str], Proposals]]:
    """Person boxes of all videos, as a table for training and by a video's name for detection.

    Args:
        source: "ground-truth", whose boxes training jitters (the table is None); or a source of
            `open_proposal_source`.
        train_set, test_set: the videos.
        folder: gets proposals.parquet, unless the source is a table; a resumed run reads it.
        run: its device and whether it is resumed.
    """
    if source == "ground-truth":
        tubes = test_set.tubes
        truth = Detections(
            video=tubes.video, frame=tubes.frame, label=np.zeros_like(tubes.label),
            score=np.ones(len(tubes)), boxes=tubes.boxes, video_names=tubes.video_names,
            label_names=("person",),
        )  # fmt: skip
        return None, _from_table(truth, test_set, "the ground truth")
    if source.endswith((".parquet", ".csv")):
        path = Path(source)
    else:
        path = folder / "proposals.parquet"
        accelerator = run.accelerator(folder)
        if accelerator.is_main_process and not (run.resume and path.is_file()):
            device = accelerator.device.type
            write_table(_find_people(source, [train_set, test_set], device), path)
        accelerator.wait_for_everyone()
    table = read_table(Detections, path)
    return table, _from_table(table, test_set, str(path))


def _from_table(table: Detections, videos: DetectionSet, where: str) -> Callable[[str], Proposals]:
    """Sources of person boxes by a video's name, scaled to the size of its media."""

    def open_source(name: str) -> Proposals:
        number = videos.names.index(name)
        look_up = table_proposals(table, name, where=where)
        width, height = videos.width[number], videos.height[number]

        def propose(frames: np.ndarray, first: int) -> list[np.ndarray]:
            scale = np.array([frames.shape[2] / width, frames.shape[1] / height] * 2 + [1])
            shape = (len(frames), int(height), int(width), 3)
            # The table needs only the size of the frames.
            blank = np.broadcast_to(np.zeros(1, np.uint8), shape)
            return [boxes * scale for boxes in look_up(blank, first)]

        return propose

    return open_source


def _find_people(source: str, sets: list[DetectionSet], device: str) -> Detections:
    """The person boxes of all frames of all videos, in pixels of the videos' tables."""
    propose = open_proposal_source(source, device=device)
    rows_of = {name: (videos, row) for videos in sets for row, name in enumerate(videos.names)}
    video, frame, found = [], [], []
    for code, (videos, row) in enumerate(
        tqdm(rows_of.values(), desc="finding people", unit=" videos", leave=False)
    ):
        for number, image in enumerate(
            read_frames(videos.media[row], 0, int(videos.num_frames[row]))
        ):
            scale = np.array([videos.width[row], videos.height[row]]) / image.shape[1::-1]
            boxes = propose(image[None], number)[0] * [*scale, *scale, 1]
            video += [code] * len(boxes)
            frame += [number] * len(boxes)
            found.append(boxes)
    boxes = np.concatenate(found) if found else np.empty((0, 5))
    return Detections(
        video=np.array(video, np.int32), frame=np.array(frame, np.int32),
        label=np.zeros(len(video), np.int32), score=np.clip(boxes[:, 4], 0, 1).astype(np.float64),
        boxes=boxes[:, :4].astype(np.float64), video_names=tuple(rows_of), label_names=("person",),
    )  # fmt: skip
