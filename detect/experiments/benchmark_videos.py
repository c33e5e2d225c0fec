"""Times a detector from a video file to its tables, and each stage of that."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from ...datasets.video.reader import read_video
from ..inference.clip_batches import prefetch_clip_batches
from ..inference.detector_tubes import (
    TUBE_SCORE_THRESHOLD,
    TubeBuilder,
    as_detections,
    detector_tubes,
)
from ..inference.predictor import predict_batch
from ..model.detector import Detector
from ..people.proposals import Proposals
from .timing import synchronized_time

STAGES = ("decode", "proposals", "trunk", "head", "link")
"""Reading, resizing and cutting clips; finding people; the network up to the feature map; scoring
and refining boxes; linking."""


def benchmark_videos(
    detectors: Mapping[str, Detector],
    video: Path,
    people: Proposals,
    *,
    half: torch.dtype | None,
    device: str,
    on_run: Callable[[str], None],
) -> dict[str, Any]:
    """Frames a second from a video file to its tables, every frame a key frame.

    Args:
        detectors: by the kind of their proposals, in evaluation mode, on `device`.
        video: the file.
        people: for detectors without proposals of their own.
        half, device: see `predict_batch`.
        on_run: called with a name before each of the three runs of a detector.

    Returns:
        end_to_end_fps: by detector, the second of two runs of `detector_tubes`, whose stages
        overlap. stages: by detector the share of each of `STAGES` in a third run, in which each
        stage waits for the one before, the seconds_per_frame of all, and the slowest as "limit".
    """
    result: dict[str, Any] = {"end_to_end_fps": {}, "stages": {}}
    for name, detector in detectors.items():
        source = people if detector.proposals is None else None
        with tempfile.TemporaryDirectory() as folder:
            for _ in range(2):
                on_run(f"a video, {name}")
                start = time.perf_counter()
                with detector_tubes(
                    video, "video", detector, source, half=half, device=device, progress=False
                ) as run:
                    frames = run(Path(folder)).num_frames
                fps = frames / (time.perf_counter() - start)
        result["end_to_end_fps"][name] = fps
        on_run(f"stages, {name}")
        seconds = time_stages(detector, video, source, half=half, device=device)
        total = sum(seconds.values())
        result["stages"][name] = {stage: each / total for stage, each in seconds.items()} | {
            "seconds_per_frame": total / frames,
            "limit": max(seconds, key=lambda stage: seconds[stage]),
        }
    return result


def time_stages(
    detector: Detector,
    video: Path,
    people: Proposals | None,
    *,
    half: torch.dtype | None,
    device: str,
) -> dict[str, float]:
    """Seconds that each of `STAGES` takes for a video, one after the other.

    On a GPU each stage waits for its kernels, which costs a little.
    """
    seconds = dict.fromkeys(STAGES, 0.0)

    def timed(stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **kwargs: Any) -> Any:
            start = synchronized_time(device)
            result = function(*args, **kwargs)
            seconds[stage] += synchronized_time(device) - start
            return result

        return run

    builder = TubeBuilder(
        lambda rows: None, lambda rows: None, "act", TUBE_SCORE_THRESHOLD, every=1
    )
    link, next_batch = timed("link", builder.add), timed("decode", next)
    stages = {"maps": "trunk", "propose": "proposals", "find": "head"}
    for method, stage in stages.items():
        setattr(detector, method, timed(stage, getattr(detector, method)))
    frames = 0
    try:
        with prefetch_clip_batches(
            detector.settings, read_video(video), device=device, threads=False,
            people=people and timed("proposals", people),
        ) as batches:  # fmt: skip
            while batch := next_batch(batches, None):
                predictions = predict_batch(detector, batch, device=device, half=half)
                link(as_detections(predictions, "video", detector.settings.labels, 1, 1))
                frames += len(batch.frames)
        timed("link", builder.finish)(frames)
    finally:
        for method in stages:
            delattr(detector, method)
    if people is not None:  # external proposals are found while a batch is cut
        seconds["decode"] -= seconds["proposals"]
    return seconds
