"""Times a detector from a video file to its tables, and each of its stages."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ...datasets.tables import Detections, Tubes
from ...datasets.video.reader import read_video
from ..inference.clip_batches import prefetch_clip_batches
from ..inference.detector_tubes import TubeBuilder, TubeOptions, as_detections, detector_tubes
from ..inference.predictor import TorchPredictor, postprocess
from ..inference.video_input import open_video_file
from ..people.person_boxes import FunctionSource
from .benchmark_backbones import now

STAGES = ("decode", "proposals", "trunk", "head", "link")
"""Reading, resizing and cutting; finding people; the network up to the feature map; naming and
refining boxes; linking."""


def benchmark_videos(
    predictors: Mapping[str, TorchPredictor],
    video: Path,
    source: FunctionSource,
    *,
    progress: Callable[[str], None] = lambda name: None,
) -> dict[str, Any]:
    """Frames a second from a video file to its tables, every frame a key frame.

    Args:
        predictors: by where their proposals come from.
        video: the file.
        source: where people are, for external proposals.
        progress: called with a name before each of three runs of a predictor.

    Returns:
        end_to_end_fps: by predictor, the second of two runs of `detector_tubes`, whose stages
        overlap. stages: by predictor the share of each of `STAGES` in a third run, in which one
        stage waits for the other, the seconds_per_frame of all, and the largest as `limit`.
    """
    result: dict[str, Any] = {"end_to_end_fps": {}, "stages": {}}
    for name, predictor in predictors.items():
        with tempfile.TemporaryDirectory() as folder:
            for _ in range(2):
                progress(f"a video, {name}")
                begin = time.perf_counter()
                opened = open_video_file(video, "video")
                with detector_tubes(opened, predictor, source, progress=False) as run:
                    frames = run(Path(folder)).num_frames
                fps = frames / (time.perf_counter() - begin)
        result["end_to_end_fps"][name] = fps
        progress(f"stages, {name}")
        seconds = stage_seconds(predictor, video, source)
        whole = sum(seconds.values())
        result["stages"][name] = {stage: part / whole for stage, part in seconds.items()} | {
            "seconds_per_frame": whole / frames,
            "limit": max(seconds, key=lambda stage: seconds[stage]),
        }
    return result


def stage_seconds(
    predictor: TorchPredictor, video: Path, source: FunctionSource
) -> dict[str, float]:
    """Seconds that each of `STAGES` takes of a video, one after the other.

    On a GPU each waits for its kernels, which costs a little.
    """
    seconds = dict.fromkeys(STAGES, 0.0)
    device, config = predictor.device, predictor.config

    def timed(stage: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def run(*given: Any, **named: Any) -> Any:
            begin = now(device)
            result = call(*given, **named)
            seconds[stage] += now(device) - begin
            return result

        return run

    def nowhere(rows: Detections | Tubes) -> None: ...

    builder = TubeBuilder(nowhere, nowhere, TubeOptions())
    link, read_next = timed("link", builder.add), timed("decode", next)
    select = timed("head", postprocess)
    stages = {"extract_features": "trunk", "detect": "head"}
    external = None
    if predictor.proposals == "external":  # made while a batch is cut
        external = FunctionSource(timed("proposals", source.function))
    else:
        stages["propose"] = "proposals"
    for method, stage in stages.items():
        setattr(predictor, method, timed(stage, getattr(predictor, method)))
    frames = 0
    try:
        with prefetch_clip_batches(
            config, read_video(video), device=device, threads=False, source=external
        ) as batches:
            while batch := read_next(batches, None):
                found = select(predictor.predict(batch), config)
                link(as_detections(found, "video", config.labels, 1, 1))
                frames += len(batch.frame_numbers)
        timed("link", builder.finish)(frames)
    finally:
        for method in stages:
            delattr(predictor, method)
    if external is not None:
        seconds["decode"] -= seconds["proposals"]
    return seconds
