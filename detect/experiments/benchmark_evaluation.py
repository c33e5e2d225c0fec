"""Times reading, linking and evaluation on synthetic detections of UCF101-24's size."""

from __future__ import annotations

import sys
import tempfile
import timeit
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ...datasets.table_io import read_table, write_table
from ...datasets.tables import Detections, Tubes, select_rows
from ..evaluation.evaluate import VIDEO_THRESHOLDS, evaluate_tables
from ..evaluation.frame_map import frame_matches, frame_overlaps
from ..evaluation.protocols import ACT, PROTOCOLS
from ..evaluation.video_map import rank_tubes, tube_overlaps, video_matches
from ..linking.linker import link
from .plain_loop import plain_frame_ap, plain_link

_CLASSES = 24
_VIDEOS = 910


def synthetic_detections(size: float = 1.0, seed: int = 0) -> tuple[Tubes, Detections]:
    """Ground truth and detections like those of UCF101-24's test split.

    Args:
        size: 1 is 910 videos and about 275,000 detections; it scales the number of videos.
        seed: of the generator.
    """
    random = np.random.default_rng(seed)
    videos = max(1, round(_VIDEOS * size))
    instances = random.integers(1, 3, videos)
    video = np.repeat(np.arange(videos), instances)
    length = random.integers(60, 190, len(video))
    start = random.integers(0, 60, len(video))
    rows = np.repeat(np.arange(len(video)), length)
    within = np.arange(len(rows)) - np.repeat(np.cumsum(length) - length, length)
    corner = random.uniform((10, 10), (180, 90), (len(video), 2))
    extent = random.uniform((40, 60), (90, 130), (len(video), 2))
    speed = random.uniform(-0.2, 0.2, (len(video), 2))
    top_left = corner[rows] + speed[rows] * within[:, None]
    boxes = np.concatenate([top_left, top_left + extent[rows]], axis=1)
    video_names = tuple(f"class{i % _CLASSES:02d}/video{i:07d}" for i in range(videos))
    label_names = tuple(f"class{i:02d}" for i in range(_CLASSES))
    label = (video % _CLASSES).astype(np.int32)[rows]
    truth = Tubes(
        video=video[rows].astype(np.int32), frame=(start[rows] + within).astype(np.int32),
        label=label, boxes=boxes, tube=rows.astype(np.int64), video_names=video_names,
        label_names=label_names,
    )  # fmt: skip
    detected = np.flatnonzero(random.random(len(rows)) < 0.9)
    # Besides true positives: duplicates, wrong classes, boxes elsewhere.
    extra = random.choice(len(rows), round(0.75 * len(rows)))
    source = np.concatenate([detected, extra])
    true = np.arange(len(source)) < len(detected)
    other = random.integers(0, _CLASSES, len(source)).astype(np.int32)
    wrong = ~true & (random.random(len(source)) < 0.5)
    noise = np.where(true, 5.0, 25.0)[:, None] * random.standard_normal((len(source), 4))
    noisy = np.clip(boxes[source] + noise, 0, (319, 239, 319, 239))
    score = np.where(true, random.beta(4, 2, len(source)), random.beta(2, 4, len(source)))
    detections = Detections(
        video=truth.video[source], frame=truth.frame[source],
        label=np.where(wrong, other, label[source]), score=score,
        boxes=np.sort(noisy.reshape(-1, 2, 2), axis=1).reshape(-1, 4),
        video_names=video_names, label_names=label_names,
    )  # fmt: skip
    return truth, select_rows(detections, random.permutation(len(source)))


def benchmark_evaluation(size: float = 1.0) -> dict[str, Any]:
    """Times each step, the best of three runs, and the plain loops once on the same data.

    Args:
        size: 1 is UCF101-24's test split, about 275,000 detections; the plain loops then take some
            ten seconds each.

    Returns:
        detections; steps, for each seconds and detections_per_second; ratio of the plain loop's
        time to ours for frame_map and linking; peak_megabytes of this process.
    """
    truth, detections = synthetic_detections(size)
    tubes = link(detections)

    def frame_map() -> None:
        overlaps = frame_overlaps(truth, detections, [ACT], 0.5)
        frame_matches(overlaps, ACT, [0.5]).class_aps()

    def video_map() -> None:
        overlaps = tube_overlaps(tubes, truth, [ACT.tube_extent])
        video_matches(rank_tubes(tubes, overlaps, ACT), ACT, VIDEO_THRESHOLDS).class_aps()

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "detections.parquet"
        write_table(detections, path)
        steps: dict[str, Callable[[], object]] = {
            "reading": lambda: read_table(Detections, path),
            "linking": lambda: link(detections),
            "frame-mAP, one threshold": frame_map,
            "video-mAP, 13 thresholds": video_map,
            "everything, 4 protocols": lambda: evaluate_tables(truth, PROTOCOLS, detections, tubes),
        }
        seconds = {name: min(timeit.repeat(run, number=1, repeat=3)) for name, run in steps.items()}
    seconds["plain loop: linking"] = timeit.timeit(lambda: plain_link(detections), number=1)
    seconds["plain loop: frame-mAP"] = timeit.timeit(
        lambda: plain_frame_ap(truth, detections, 0.5), number=1
    )
    return {
        "detections": len(detections),
        "steps": {
            name: {"seconds": each, "detections_per_second": len(detections) / each}
            for name, each in seconds.items()
        },
        "ratio": {
            "linking": seconds["plain loop: linking"] / seconds["linking"],
            "frame_map": seconds["plain loop: frame-mAP"] / seconds["frame-mAP, one threshold"],
        },
        "peak_megabytes": _peak_megabytes(),
    }


def _peak_megabytes() -> float:
    """The peak memory of this process so far; NaN on Windows."""
    try:
        import resource
    except ImportError:
        return float("nan")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Linux counts in kilobytes, macOS in bytes.
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def benchmark_table(result: dict[str, Any]) -> str:
    """The result of `benchmark_evaluation` as text."""
    lines = [f"{result['detections']:,} detections", f"{'':28}{'seconds':>10}{'detections/s':>16}"]
    lines += [
        f"{name:28}{step['seconds']:>10.2f}{step['detections_per_second']:>16,.0f}"
        for name, step in result["steps"].items()
    ]
    lines += [
        f"{name} is {value:.0f} times as fast as the plain loop"
        for name, value in result["ratio"].items()
    ]
    return "\n".join([*lines, f"peak memory {result['peak_megabytes']:,.0f} MB"])
