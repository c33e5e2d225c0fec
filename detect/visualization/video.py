"""A video with its tubes drawn."""

from __future__ import annotations

import math
import warnings
from pathlib import Path

import numpy as np

from ...datasets.errors import InputError, some_of
from ...datasets.prefetch import prefetch, write_in_background
from ...datasets.tables import Tubes, select_rows
from ...datasets.video.reader import VideoInfo, probe, read_timed_video
from ...datasets.video.writer import open_video_writer
from ...datasets.video_names import VideoIndex
from .frame import draw_frame, readable_scale

_FRAMES_AHEAD = 4  # decoded before they are drawn into, and drawn before they are encoded


def select_video(tubes: Tubes, video: Path) -> Tubes:
    """The rows of one video, sorted by frame.

    `VideoIndex.find_file` says which name of the table is the video's. A table without any name has
    no row for any video.

    Raises:
        InputError: no name is this video's, or several are.
    """
    code = VideoIndex(tubes.video_names).find_file(video)
    if code is None and tubes.video_names:
        raise InputError(
            f"{video}: the table has no video of this name; it has {some_of(tubes.video_names)}. "
            "Rename the file, or give the table of this video"
        )
    rows = np.flatnonzero(tubes.video == code)
    rows = rows[np.argsort(tubes.frame[rows], kind="stable")]
    return select_rows(tubes, rows)


def draw_video(
    video: Path,
    tubes: Tubes,
    out: Path,
    *,
    ground_truth: Tubes | None = None,
    trail: bool = False,
    progress: bool = True,
    scale: int | None = None,
) -> VideoInfo:
    """Draws a video's tubes into a copy of it, an MP4, in constant memory.

    The video's rows are found by `select_video`. Tubes are coloured in the order in which they
    begin. A tag shows the tube's score where the table has it, else the box's. A video without
    tubes gives a copy in which nothing is drawn. Frame count and presentation times stay the same.

    Args:
        video: the file to draw into.
        tubes: boxes in pixels of the original video.
        out: the MP4 to write, whole or not at all.
        ground_truth: drawn dashed and white.
        trail: draw the way of each box's centre over the last second.
        progress: show a bar on stderr.
        scale: as in `draw_frame`.

    Returns:
        What was written, with all frames counted.

    Raises:
        InputError: no name in a table is this video's, the video cannot be read, or `out` cannot
            be written.
    """
    from tqdm import tqdm

    if scale is not None and scale < 1:
        raise InputError(f"--scale {scale}: must be a whole number of 1 or more")
    info = probe(video)
    if out.exists() and out.samefile(video):
        raise InputError(f"--out {out}: is the input video itself; choose another file")
    found = select_video(tubes, video)
    truth = None if ground_truth is None else select_video(ground_truth, video)
    scores = found.score if found.tube_score is None else found.tube_score
    ranks = _ranks(found)
    fps = 25.0 if math.isnan(info.fps) else info.fps
    scale = scale or readable_scale(info.width, info.height)

    def encode(drawn: tuple[np.ndarray, float]) -> None:
        writer.write(*drawn)

    bar = {"total": info.num_frames, "desc": video.name, "unit": "frame", "delay": 1}
    with (
        open_video_writer(out, fps) as writer,
        prefetch(read_timed_video(video), _FRAMES_AHEAD) as frames,
        write_in_background(encode, _FRAMES_AHEAD) as write,
    ):
        for number, (time, frame) in enumerate(tqdm(frames, disable=not progress, **bar)):
            now = _rows_between(found, number, number)
            truth_now = slice(0) if truth is None else _rows_between(truth, number, number)
            past = _rows_between(found, number - round(fps), number)
            by_score = slice(None) if scores is None else np.argsort(scores[now], kind="stable")
            drawn = draw_frame(
                frame,
                found.boxes[now],
                _labels(found, now),
                None if scores is None else scores[now],
                ranks[now],
                truth_boxes=None if truth is None else truth.boxes[truth_now],
                truth_labels=None if truth is None else _labels(truth, truth_now),
                trails=_trails(found.boxes[past], ranks[past], ranks[now][by_score])
                if trail
                else None,
                scale=scale,
            )
            write((drawn, time))
    for kind, table in (("tubes", found), ("ground truth", truth)):
        late = 0 if table is None else int((table.frame >= writer.num_frames).sum())
        if late:
            warnings.warn(
                f"{video}: {late} {kind} boxes are on frames after its last frame "
                f"({writer.num_frames - 1}) and are not drawn",
                stacklevel=2,
            )
    return VideoInfo(out, info.width * scale, info.height * scale, fps, writer.num_frames)


def _ranks(tubes: Tubes) -> np.ndarray:
    """(R,) the place of each row's tube in the order in which tubes begin; rows sorted by frame."""
    _, first, inverse = np.unique(tubes.tube, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[inverse]


def _rows_between(tubes: Tubes, first: int, last: int) -> slice:
    """The rows on the frames first to last, of a table sorted by frame."""
    begin, end = np.searchsorted(tubes.frame, [first, last + 1])
    return slice(int(begin), int(end))


def _labels(tubes: Tubes, rows: slice) -> list[str]:
    return [tubes.label_names[code] for code in tubes.label[rows]]


def _trails(boxes: np.ndarray, tubes: np.ndarray, wanted: np.ndarray) -> dict[int, np.ndarray]:
    """For each wanted tube the centres of its boxes, oldest first."""
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    return {int(tube): centres[tubes == tube] for tube in wanted}
