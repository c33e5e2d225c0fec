"""Times a detector from a video file to its tables, and each stage of that."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ...datasets.video.reader import read_video
from ..inference.clip_batches import prefetch_clip_batches
from ..inference.predictor import TorchPredictor, postprocess
from ..inference.tubes.detector_tubes import TubeBuilder, TubeOptions, detector_tubes
from ..inference.video_input import open_video_file
from ..people.person_boxes import FunctionSource
from .timing import synchronized_time

STAGES = ("decode", "proposals", "trunk", "head", "link")
"""Reading, resizing and cutting clips; finding people; the network up to the feature map; scoring
and refining boxes; linking."""


def benchmark_videos(
    predictors: Mapping[str, TorchPredictor], video: Path, source: FunctionSource
) -> dict[str, Any]:
    """Frames a second from a video file to its tables, every frame a key frame.

    Args:
        predictors: by the kind of their proposals.
        video: the file.
        source: where people are, for external proposals.

    Returns:
        end_to_end_fps: by predictor, the second of two runs of `detector_tubes`, whose stages
        overlap. stages: by predictor the share of each of `STAGES` in a third run, in which each
        stage waits for the one before, the seconds_per_frame of all, and the slowest as "limit".
    """
    result: dict[str, Any] = {"end_to_end_fps": {}, "stages": {}}
    for name, predictor in tqdm(predictors.items(), "videos", leave=False):
        with tempfile.TemporaryDirectory() as folder:
            for _ in range(2):
                start = time.perf_counter()
                opened = open_video_file(video, "video")
                with detector_tubes(opened, predictor, source, progress=False) as run:
                    frames = run(Path(folder)).num_frames
                fps = frames / (time.perf_counter() - start)
        result["end_to_end_fps"][name] = fps
        seconds = time_stages(predictor, video, source)
        total = sum(seconds.values())
        result["stages"][name] = {stage: each / total for stage, each in seconds.items()} | {
            "seconds_per_frame": total / frames,
            "limit": max(seconds, key=lambda stage: seconds[stage]),
        }
    return result


def time_stages(predictor: TorchPredictor, video: Path, source: FunctionSource) -> dict[str, float]:
    """Seconds that each of `STAGES` takes for a video, one after the other.

    On a GPU each stage waits for its kernels, which costs a little.
    """
    seconds = dict.fromkeys(STAGES, 0.0)
    device, config = predictor.device, predictor.config

    def timed(stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **kwargs: Any) -> Any:
            start = synchronized_time(device)
            result = function(*args, **kwargs)
            seconds[stage] += synchronized_time(device) - start
            return result

        return run

    builder = TubeBuilder(lambda rows: None, lambda rows: None, TubeOptions())
    link, next_batch = timed("link", builder.add), timed("decode", next)
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
            while batch := next_batch(batches, None):
                link(select(predictor.predict(batch), config))
                frames += len(batch.frame_numbers)
        timed("link", builder.finish)(frames)
    finally:
        for method in stages:
            delattr(predictor, method)
    if external is not None:
        seconds["decode"] -= seconds["proposals"]
    return seconds
