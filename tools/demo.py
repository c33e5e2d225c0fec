"""The command `actiontubes demo`."""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path

_DRAWN_FROM = 0.3  # the lowest score of a tube that is drawn
_DRAWN_VIDEOS = 6
_PAIRS = (
    "AP: frame-AP at IoU 0.5 of the two classes. Right: of the ground truth boxes that a detection "
    "of either class overlaps by 0.5 or more, the percentage on which the true class scores "
    "higher; 50 is chance. I2D, which sees no order of frames, was trained once on the same videos "
    "for as many steps (demo --backbone i2d); its columns are that run's."
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
    import yaml

    from ..datasets.any_format import read_ground_truth
    from ..datasets.figures import PAIRS
    from ..datasets.files import write_json
    from ..datasets.tables import Detections, Tubes, read_table, select_rows, write_table
    from ..detect.demo import I2D, draw_sheet, pairs_table, score_pairs
    from ..detect.drawing import draw_video
    from ..detect.evaluation.evaluate import aligned
    from ..detect.evaluation.report import report_on
    from ..detect.linking.suppress import suppress_across_classes
    from .train import train

    begin = time.perf_counter()
    recipe = yaml.safe_load((files(__package__) / "recipes" / "demo.yaml").read_text("utf-8"))
    if backbone is not None:
        recipe["backbone"] = backbone
    if steps is not None:
        recipe["steps"] = steps
    data, trained = out / "data", out / "trained"
    _make_data(data, videos, seed)
    train(data=data, out=trained, seed=seed, resume=True, **recipe)

    found, linked = trained / "detections.parquet", trained / "tubes.parquet"
    truth, _ = read_ground_truth(data)
    detections = aligned(read_table(Detections, found), truth, str(found))
    tubes = aligned(read_table(Tubes, linked), truth, str(linked))
    results = json.loads((trained / "results.json").read_text("utf-8"))
    write_json(results, out / "results.json")
    pairs = score_pairs(truth, detections, results["frame_ap"]["0.5"], PAIRS)
    write_json({name: asdict(scores) for name, scores in pairs.items()}, out / "pairs.json")
    columns = {recipe["backbone"]: pairs} | ({} if recipe["backbone"] == "i2d" else {"i2d": I2D})
    page = report_on(
        out / "report", truth, detections=detections, tubes=tubes, media=data / "videos",
        more={"Pairs that differ only in the direction of time": (pairs_table(columns), _PAIRS)},
    )  # fmt: skip

    assert tubes.tube_score is not None
    good = suppress_across_classes(select_rows(tubes, tubes.tube_score >= _DRAWN_FROM))
    write_table(good, out / "tubes.parquet")
    test = [data / "videos" / f"{name}.mp4" for name in truth.video_names]
    for video in test[:_DRAWN_VIDEOS]:
        draw_video(video, good, out / f"{video.stem}.tubes.mp4", ground_truth=truth, scale=3)
    draw_sheet(test[:4], good, out / "tubes.png", frames=(12, 24, 36, 48))

    minutes = (time.perf_counter() - begin) / 60
    print(f"\n{minutes:.1f} minutes. Look at")
    print(f"  {out / 'tubes.png'}  and  {out / (test[0].stem + '.tubes.mp4')}")
    print(f"  {page}")
    print(f"actiontubes detect VIDEO --checkpoint {trained / 'detector.safetensors'}")


def _make_data(folder: Path, videos: int, seed: int) -> None:
    """Draws the data set, or takes over the one that an earlier run with the same options drew."""
    from ..datasets.figures import make_figures
    from ..datasets.files import InputError, write_json

    made, options = folder / "figures.json", {"videos": videos, "seed": seed}
    if made.is_file():
        before = json.loads(made.read_text("utf-8"))
        if before != options:
            words = " ".join(f"--{name} {value}" for name, value in before.items())
            raise InputError(
                f"{folder}: was made with {words}; run with the same options, or choose another "
                "--out"
            )
        return
    cores = os.cpu_count() or 1
    make_figures(folder, train=videos, seed=seed, workers=min(cores, 8) if cores > 1 else 0)
    write_json(options, made)
