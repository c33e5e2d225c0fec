"""Times a detector from a video file to its tables, and each stage of that."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ...datasets.video.reader import read_video
from ...datasets.video.resize import resize
from ..inference.clip_batches import prefetch_clip_batches
from ..inference.predictor import TorchPredictor, postprocess
from ..inference.tubes.detector_tubes import TubeOptions, detector_tubes, open_builder
from ..inference.video_input import open_video, open_video_file
from ..model.config import ProposalKind
from ..people.person_boxes import FunctionSource
from .timing import median, synchronized_time, time_rounds

STAGES = ("decode", "proposals", "trunk", "head", "link")
"""Reading, resizing and cutting clips; finding people; the network up to the feature map; scoring
and refining boxes; linking."""

_PROPOSAL_STEP = 4  # of the variant that finds people on some frames only


@dataclass(frozen=True, eq=False)
class VideoVariant:
    """One way to run a detector on a video, every frame a key frame.

    Attributes:
        predictor: with its own or external proposals.
        baseline: the variant that its speed is divided by; "" for none.
        proposal_step: see `TubeOptions`.
        in_memory: the frames are decoded and resized before, in place of the file.
    """

    predictor: TorchPredictor
    baseline: str = ""
    proposal_step: int = 1
    in_memory: bool = False


def proposal_variants(
    predictors: Mapping[ProposalKind, TorchPredictor],
) -> dict[str, VideoVariant]:
    """What `benchmark_videos` compares.

    Args:
        predictors: "external", "features" and "resnet50", by the kind of their proposals.
    """
    external, resnet = predictors["external"], predictors["resnet50"]
    return {
        "in_memory": VideoVariant(external, in_memory=True),
        "external": VideoVariant(external, baseline="in_memory"),
        "features": VideoVariant(predictors["features"], baseline="external"),
        "resnet50": VideoVariant(resnet, baseline="external"),
        f"resnet50_step_{_PROPOSAL_STEP}": VideoVariant(
            resnet, baseline="external", proposal_step=_PROPOSAL_STEP
        ),
    }


def benchmark_videos(
    variants: Mapping[str, VideoVariant], video: Path, source: FunctionSource, repeats: int
) -> dict[str, Any]:
    """Frames a second from a video file to its tables, every frame a key frame.

    Args:
        variants: by name.
        video: the file.
        source: where people are, for external proposals.
        repeats: timed rounds, in which the variants alternate.

    Returns:
        end_to_end_fps: by variant, of `detector_tubes`, whose stages overlap (median).
        end_to_end_ratio: by variant, to its baseline (median over the rounds). stages: by variant
        from a file, the share of each of `STAGES` in a run in which each stage waits for the one
        before, the seconds_per_frame of all, and the slowest as "limit".
    """
    predictors = [variant.predictor for variant in variants.values()]
    config, device = predictors[0].config, predictors[0].device
    frames = np.stack([resize(frame, *config.size) for frame in read_video(video)])

    def run(variant: VideoVariant) -> None:
        opened = open_video(frames) if variant.in_memory else open_video_file(video)
        options = TubeOptions(proposal_step=variant.proposal_step)
        with (
            tempfile.TemporaryDirectory() as folder,
            detector_tubes(opened, variant.predictor, source, options, progress=False) as tubes,
        ):
            tubes(Path(folder))

    runs = {name: partial(run, variant) for name, variant in variants.items()}
    seconds = time_rounds(runs, repeats, device)
    result: dict[str, Any] = {
        "end_to_end_fps": {name: len(frames) / median(each) for name, each in seconds.items()},
        "end_to_end_ratio": {
            name: median(seconds[variant.baseline] / seconds[name])
            for name, variant in variants.items()
            if variant.baseline
        },
        "stages": {},
    }
    for name, variant in variants.items():
        if variant.in_memory or variant.proposal_step > 1:
            continue
        spent = time_stages(variant.predictor, video, source)
        total = sum(spent.values())
        result["stages"][name] = {stage: each / total for stage, each in spent.items()} | {
            "seconds_per_frame": total / len(frames),
            "limit": max(spent, key=lambda stage: spent[stage]),
        }
    return result


def videos_table(result: Mapping[str, Any]) -> list[str]:
    """The result of `benchmark_videos` as lines of text."""
    lines = []
    for name, fps in result["end_to_end_fps"].items():
        ratio = result["end_to_end_ratio"].get(name)
        baseline = "in_memory" if name == "external" else "external"
        times = "" if ratio is None else f"{ratio:>7.2f} times {baseline}"
        lines.append(f"  {name:18}{fps:>7.1f} frames/s{times}")
    for name, stages in result["stages"].items():
        shares = ", ".join(f"{stage} {stages[stage]:.0%}" for stage in STAGES)
        lines.append(f"time by stage, proposals {name}: {shares}; slowest: {stages['limit']}")
    return lines


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

    next_batch = timed("decode", next)
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
        with (
            tempfile.TemporaryDirectory() as folder,
            open_builder(Path(folder), TubeOptions()) as builder,
            prefetch_clip_batches(
                config, read_video(video), device=device, threads=False, source=external
            ) as batches,
        ):
            link = timed("link", builder.add)
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
