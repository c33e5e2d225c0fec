"""The command `actiontubes visualize`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

from ..datasets.errors import InputError
from ..datasets.file_options import FileOptions
from ..datasets.formats.registry import read_annotations
from ..datasets.table_io import read_table
from ..datasets.tables import Tubes
from .arguments import Omit


def visualize(
    *,
    video: Path,
    tubes: Path,
    out: Path,
    ground_truth: Path | None = None,
    files: Annotated[FileOptions, Omit("classes", "person_class")],
    trail: bool = False,
    scale: int | None = None,
) -> None:
    """Draw the tubes of a table into a video.

    The video is looked up in the table by its name, with or without class folder
    (Basketball/v_Basketball_g01_c01 or v_Basketball_g01_c01). Each tube keeps its color; its tag
    shows the label and the score of the tube. Ground truth for another size of the video is scaled.

    Args:
        video: The video that the tubes belong to.
        tubes: A table of tubes or ground truth, .parquet or .csv.
        out: Output file, ending in .mp4.
        ground_truth: Ground truth in any format that `evaluate` reads, drawn as dashed white boxes.
        trail: Draw the path of each box's center over the last second.
        scale: Enlarge the frames by this whole factor, so that labels stay small. Default: until
            the short side has 480 pixels, at most 4.
    """
    from ..datasets.video.media import probe_video
    from ..detect.visualization.video import draw_video, fit_to_video

    table, truth = read_table(Tubes, tubes, first_frame=files.first_frame or 0), None
    info = probe_video(video)
    shown = fit_to_video(table, info, tubes, unit=files.box_unit)
    if ground_truth is not None:
        annotations = read_annotations(ground_truth, files, explicit_unit=True)
        if annotations.frame_unit == "second":
            raise InputError(
                f"--ground-truth {ground_truth}: AVA's CSV counts seconds, not frames; convert it "
                "to a table with frames and pixels"
            )
        truth = fit_to_video(
            annotations.tubes, info, annotations.path, unit=annotations.box_unit,
            videos=annotations.videos,
        )  # fmt: skip
    start = time.perf_counter()
    drawn = draw_video(video, shown, out, ground_truth=truth, trail=trail, scale=scale)
    seconds = time.perf_counter() - start
    print(
        f"{drawn.num_frames} frames in {seconds:.1f} s "
        f"({(drawn.num_frames or 0) / seconds:.1f} frames/s): {out}"
    )
