"""The command `actiontubes visualize`."""

from __future__ import annotations

import time
from pathlib import Path

from ..datasets.any_format import read_ground_truth
from ..datasets.tables import Tubes, read_table


def visualize(
    *,
    video: Path,
    tubes: Path,
    out: Path,
    ground_truth: Path | None = None,
    trail: bool = False,
    scale: int | None = None,
) -> None:
    """Draw the tubes of a table into their video.

    Each tube keeps its colour; its tag shows the label and the tube's score. The video is found in
    the table by its name, such as Basketball/v_Basketball_g01_c01 or v_Basketball_g01_c01.

    Args:
        video: The video file that the tubes were found in.
        tubes: A table of tubes, .parquet or .csv; ground truth will do, too.
        out: The MP4 to write.
        ground_truth: Ground truth in any form that evaluate takes, drawn dashed and white.
        trail: Draw the way of each box's centre over the last second.
        scale: Enlarge the picture by this whole factor, so that text stays small beside it
            (default: what brings its short side to 480 pixels, at most 4).
    """
    from ..detect.drawing import draw_video

    table = read_table(Tubes, tubes)
    truth = read_ground_truth(ground_truth)[0] if ground_truth is not None else None
    begin = time.perf_counter()
    drawn = draw_video(video, table, out, ground_truth=truth, trail=trail, scale=scale)
    seconds = time.perf_counter() - begin
    print(
        f"{drawn.num_frames} frames in {seconds:.1f} s "
        f"({(drawn.num_frames or 0) / seconds:.1f} frames/s): {out}"
    )
