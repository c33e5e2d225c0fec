"""Times a detector from a video file to its tables, and each of its stages."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from ...datasets.tables import Detections, Tubes
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
from ..people.person_boxes import FunctionSource
from .benchmark_backbones import now

STAGES = ("decode", "proposals", "trunk", "head", "link")
"""Reading, resizing and cutting; finding people; the network up to the feature map; naming and
refining boxes; linking."""


def benchmark_videos(
    detectors: Mapping[str, Detector],
    video: Path,
    people: FunctionSource,
    *,
    half: torch.dtype | None = None,
    device: str = "cpu",
    progress: Callable[[str], None] = lambda name: None,
) -> dict[str, Any]:
    """Frames a second from a video file to its tables, every frame a key frame.

    Args:
        detectors: by where their proposals come from, in evaluation mode, on `device`.
        video: the file.
        people: for detectors without proposals of their own.
        half, device: see `dense.look`.
        progress: called with a name before each of three runs of a detector.

    Returns:
        end_to_end_fps: by detector, the second of two runs of `detector_tubes`, whose stages
        overlap. stages: by detector the share of each of `STAGES` in a third run, in which one
        stage waits for the other, the seconds_per_frame of all, and the largest as `limit`.
    """
    result: dict[str, Any] = {"end_to_end_fps": {}, "stages": {}}
    for name, detector in detectors.items():
        source = people if detector.proposals is None else None
        with tempfile.TemporaryDirectory() as folder:
            for _ in range(2):
                progress(f"a video, {name}")
                begin = time.perf_counter()
                with detector_tubes(
                    video, "video", detector, source, half=half, device=device, progress=False
                ) as run:
                    frames = run(Path(folder)).num_frames
                fps = frames / (time.perf_counter() - begin)
        result["end_to_end_fps"][name] = fps
        progress(f"stages, {name}")
        seconds = stage_seconds(detector, video, source, half=half, device=device)
        whole = sum(seconds.values())
        result["stages"][name] = {stage: part / whole for stage, part in seconds.items()} | {
            "seconds_per_frame": whole / frames,
            "limit": max(seconds, key=lambda stage: seconds[stage]),
        }
    return result


def stage_seconds(
    detector: Detector,
    video: Path,
    people: FunctionSource | None = None,
    *,
    half: torch.dtype | None = None,
    device: str = "cpu",
) -> dict[str, float]:
    """Seconds that each of `STAGES` takes of a video, one after the other.

    On a GPU each waits for its kernels, which costs a little.
    """
    seconds = dict.fromkeys(STAGES, 0.0)

    def timed(stage: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def run(*given: Any, **named: Any) -> Any:
            begin = now(device)
            result = call(*given, **named)
            seconds[stage] += now(device) - begin
            return result

        return run

    def nowhere(rows: Detections | Tubes) -> None: ...

    linking = TubeBuilder(nowhere, nowhere, "act", TUBE_SCORE_THRESHOLD, every=1)
    link, following = timed("link", linking.add), timed("decode", next)
    stages = {"maps": "trunk", "propose": "proposals", "find": "head"}
    for method, stage in stages.items():
        setattr(detector, method, timed(stage, getattr(detector, method)))
    frames = 0
    try:
        with prefetch_clip_batches(
            detector.settings, read_video(video), device=device, threads=False,
            people=people and FunctionSource(timed("proposals", people.function)),
        ) as ahead:  # fmt: skip
            while piece := following(ahead, None):
                found = predict_batch(detector, piece, device=device, half=half)
                link(as_detections(found, "video", detector.settings.labels, 1, 1))
                frames += len(piece.frames)
        timed("link", linking.finish)(frames)
    finally:
        for method in stages:
            delattr(detector, method)
    if people is not None:  # who are looked for while a piece is cut
        seconds["decode"] -= seconds["proposals"]
    return seconds
