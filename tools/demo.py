"""The command `actiontubes demo`."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path

from ..detect.experiments.demo import make_demo_data
from .arguments import parse_arguments

_MIN_DRAWN_SCORE = 0.3
_NUM_DRAWN_VIDEOS = 6
_PAIRS_TITLE = "Pairs that differ only in the direction of time"
_PAIRS_TEXT = (
    "AP: frame-AP at IoU 0.5 of the two classes. Right: of the ground truth boxes that a detection "
    "of either class overlaps with IoU 0.5 or more, the percentage on which the true class scores "
    "higher; 50 is chance. For comparison train I2D, which ignores the order of frames (demo "
    "--backbone i2d --out i2d)."
)


def demo(
    *,
    out: Path = Path("demo"),
    backbone: str | None = None,
    videos: int = 160,
    steps: int | None = None,
    seed: int = 0,
) -> None:
    """Make a small data set, train a detector on it, evaluate it and draw the results.

    No download, no data; a few minutes on two cores. The drawn people sit down or stand up, pick up
    or put down, push or pull, wave or jump, in front of moving backgrounds; the two actions of a
    pair differ only in the direction of time. Writes to OUT: report/index.html, results.json, drawn
    videos, tubes.png, the data set (data/) and the output of `actiontubes train` (trained/). Run
    again to continue after an interruption.

    Args:
        out: Output folder.
        backbone: Use another network than S3D-G, such as i2d, which cannot see the direction of
            time.
        videos: Number of training videos to draw.
        steps: Training steps. Default: the recipe's.
        seed: Random seed of the data set, the weights and the training.
    """
    from ..detect.inference.distributed import lock_folder
    from ..detect.training.state import STATE
    from .train import train

    start = time.perf_counter()
    data, trained = out / "data", out / "trained"
    words = ["--config", "demo", "--data", str(data), "--out", str(trained)]
    words += ["--seed", str(seed)]
    words += ["--resume"] if (trained / STATE).is_file() else []
    for option, value in (("--backbone", backbone), ("--steps", steps)):
        words += [] if value is None else [option, str(value)]
    options = parse_arguments(train, "train", words)
    with lock_folder(out):
        make_demo_data(data, videos, seed)
        train(**options)
        page, first = _write_results(out, options["config"].backbone)

    minutes = (time.perf_counter() - start) / 60
    print(f"\n{minutes:.1f} minutes. Look at")
    print(f"  {out / 'tubes.png'}  and  {out / (first + '.tubes.mp4')}")
    print(f"  {page}")
    print(f"actiontubes detect VIDEO --checkpoint {trained / 'detector.safetensors'}")


def _write_results(out: Path, network: str) -> tuple[Path, str]:
    """Writes scores, report and drawings; returns the report and the name of the first video.

    Args:
        out: of the demo, with its data and its training run.
        network: the name of the backbone.
    """
    from ..datasets.figures.motion import PAIRS
    from ..datasets.formats.registry import read_ground_truth
    from ..datasets.storage.files import write_json
    from ..datasets.storage.text_files import read_json
    from ..datasets.table_io import read_table, write_table
    from ..datasets.tables import Detections, Tubes, select_rows
    from ..detect.boxes.nms import nms_across_classes
    from ..detect.evaluation.align import align_to_ground_truth
    from ..detect.experiments.demo import pairs_table, score_pairs
    from ..detect.visualization.contact_sheet import draw_contact_sheet
    from ..detect.visualization.page import Section
    from ..detect.visualization.report import write_report
    from ..detect.visualization.video import draw_video

    data, trained = out / "data", out / "trained"
    boxes_file, tubes_file = trained / "detections.parquet", trained / "tubes.parquet"
    truth, _ = read_ground_truth(data)
    detections = align_to_ground_truth(read_table(Detections, boxes_file), truth, str(boxes_file))
    tubes = align_to_ground_truth(read_table(Tubes, tubes_file), truth, str(tubes_file))
    results = read_json(trained / "results.json")
    write_json(results, out / "results.json")
    pairs = score_pairs(truth, detections, results["frame_ap"]["0.5"], PAIRS)
    write_json({name: asdict(scores) for name, scores in pairs.items()}, out / "pairs.json")
    page = write_report(
        out / "report", truth, detections=detections, tubes=tubes, media=data / "videos",
        first_sections=[Section(_PAIRS_TITLE, _PAIRS_TEXT, pairs_table({network: pairs}))],
    )  # fmt: skip

    assert tubes.tube_score is not None
    shown = nms_across_classes(select_rows(tubes, tubes.tube_score >= _MIN_DRAWN_SCORE))
    write_table(shown, out / "tubes.parquet")
    test = [data / "videos" / f"{name}.mp4" for name in truth.video_names]
    for video in test[:_NUM_DRAWN_VIDEOS]:
        draw_video(video, shown, out / f"{video.stem}.tubes.mp4", ground_truth=truth, scale=3)
    draw_contact_sheet(test[:4], shown, out / "tubes.png", frames=(12, 24, 36, 48))

    return page, test[0].stem
