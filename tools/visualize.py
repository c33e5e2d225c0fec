"""The command `actiontubes visualize`."""

from __future__ import annotations

import time
from pathlib import Path

from ..datasets.formats.registry import read_ground_truth
from ..datasets.table_io import read_table
from ..datasets.tables import Tubes


def visualize(
    *,
    video: Path,
    tubes: Path,
    out: Path,
    ground_truth: Path | None = None,
    trail: bool = False,
    scale: int | None = None,
) -> None:
    """Draw the tubes of a table into a video.

    The video is looked up in the table by its name, with or without class folder
    (Basketball/v_Basketball_g01_c01 or v_Basketball_g01_c01). Each tube keeps its color; its tag
    shows the label and the score of the tube.

    Args:
        video: The video that the tubes belong to.
        tubes: A table of tubes or ground truth, .parquet or .csv.
        out: Output file, ending in .mp4.
        ground_truth: Ground truth in any format that `evaluate` reads, drawn as dashed white boxes.
        trail: Draw the path of each box's center over the last second.
        scale: Enlarge the frames by this whole factor, so that labels stay small. Default: until
            the short side has 480 pixels, at most 4.
    """
    from ..detect.visualization.video import draw_video

    table = read_table(Tubes, tubes)
    truth = read_ground_truth(ground_truth)[0] if ground_truth is not None else None
    start = time.perf_counter()
    drawn = draw_video(video, table, out, ground_truth=truth, trail=trail, scale=scale)
    seconds = time.perf_counter() - start
    print(
        f"{drawn.num_frames} frames in {seconds:.1f} s "
        f"({(drawn.num_frames or 0) / seconds:.1f} frames/s): {out}"
    )
