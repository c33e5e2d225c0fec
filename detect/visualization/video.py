"""A video with its tubes drawn."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np

from ...datasets.box_coordinates import BoxUnit, rescale_boxes, same_aspect, to_pixels
from ...datasets.errors import InputError, some_of
from ...datasets.prefetch import prefetch, write_in_background
from ...datasets.tables import Tracks, Tubes, Videos, select_rows
from ...datasets.video.media import count_frames_to, probe_video, read_timed_frames
from ...datasets.video.reader import VideoInfo
from ...datasets.video.writer import MAX_SIDE, open_video_writer
from ...datasets.video_names import VideoIndex
from .frame import draw_frame, draw_status, readable_scale

Rows = TypeVar("Rows", Tubes, Tracks)
_FRAMES_AHEAD = 4  # frames decoded ahead of drawing, and drawn ahead of encoding


def select_video(tubes: Tubes, video: Path) -> Tubes:
    """The rows of one video, sorted by frame.

    `VideoIndex.find_file` says which name of the table is the video's. A table without any name has
    no row for any video.

    Raises:
        InputError: no name matches the video, or several do.
    """
    code = VideoIndex(tubes.video_names).find_file(video)
    if code is None and tubes.video_names:
        raise InputError(
            f"{video}: the table has no video of this name; it has {some_of(tubes.video_names)}. "
            "Rename the file, or give the table of this video"
        )
    rows = np.flatnonzero(tubes.video == code)
    return select_rows(tubes, rows[np.argsort(tubes.frame[rows], kind="stable")])


def fit_to_video(
    tubes: Tubes,
    video: VideoInfo,
    source: Path,
    *,
    unit: BoxUnit | None = None,
    videos: Videos | None = None,
) -> Tubes:
    """The rows of one video, sorted by frame, in pixels of this video.

    If the table has a single video, it is taken under any name.

    Args:
        tubes: of any number of videos.
        video: the file.
        source: the table's file, for messages.
        unit: of the boxes, as the user says; None decides by their numbers.
        videos: sizes of the videos that the boxes are for, where they are known.

    Raises:
        InputError: no name matches the video, the boxes are fractions and `unit` does not say so,
            or the size in `videos` has another aspect ratio.

    Warns:
        The video has another name, or another size, to which the boxes are scaled; boxes are of
        other videos, after the video's end, or outside the frame, and are left out.
    """
    if len(tubes.video_names) == 1 and VideoIndex(tubes.video_names).find_file(video.path) is None:
        (name,) = tubes.video_names
        warnings.warn(f"{source}: its only video is {name}, drawn into {video.path}", stacklevel=2)
        rows = select_rows(tubes, np.argsort(tubes.frame, kind="stable"))
    else:
        rows = select_video(tubes, video.path)
        name = tubes.video_names[rows.video[0]] if len(rows) else ""
        if others := len(tubes) - len(rows):
            other = next(each for each in tubes.video_names if each != name)
            warnings.warn(
                f"{source}: ignoring {others} boxes of other videos, such as {other}",
                stacklevel=2,
            )
    size = (video.width, video.height)
    boxes = to_pixels(rows.boxes, size, source, unit)
    row = None if videos is None else VideoIndex(videos.video).find(name)
    if videos is not None and row is not None:
        listed = int(videos.width[row]), int(videos.height[row])
        if listed != size:
            sizes = f"{name} is {listed[0]}x{listed[1]} there, {video.path} is {size[0]}x{size[1]}"
            if not same_aspect(listed, size):
                raise InputError(f"{source}: {sizes}; give the video that the boxes are for")
            warnings.warn(f"{source}: {sizes}; the boxes are scaled", stacklevel=2)
            boxes = rescale_boxes(boxes, listed, size)
    num_frames = count_frames_to(video, int(rows.frame.max(initial=-1)))
    late = rows.frame >= num_frames
    outside = np.any((boxes[:, :2] >= size) | (boxes[:, 2:] <= 0), axis=1) & ~late
    for bad, where in (
        (late, f"after the last frame of {video.path} ({num_frames - 1})"),
        (outside, f"outside the frame of {video.path}, {size[0]}x{size[1]},"),
    ):
        if bad.any():
            warnings.warn(
                f"{source}: {int(bad.sum())} of {len(rows)} boxes are {where} and are not drawn "
                f"(the first on frame {rows.frame[bad.argmax()]})",
                stacklevel=2,
            )
    code, names = np.zeros(len(rows), np.int32), (str(video.path),)
    fitted = replace(rows, boxes=boxes, video=code, video_names=names)
    return select_rows(fitted, ~(late | outside))


def draw_video(
    video: Path,
    tubes: Tubes,
    out: Path,
    *,
    ground_truth: Tubes | None = None,
    tracks: Tracks | None = None,
    clock: bool = False,
    trail: bool = False,
    progress: bool = True,
    scale: int | None = None,
) -> VideoInfo:
    """Writes an MP4 copy of a video with its tubes drawn, in constant memory.

    The rows of the video are those of `select_video`. Where the table knows persons, each has one
    color and a number; else colors follow the order in which tubes start. A tag shows the score of
    the tube if the table has it, otherwise that of the box. A video without tubes is copied. The
    number of frames, their times and the shape of their pixels stay the same.

    Args:
        video: the file to copy, or a folder of numbered frames.
        tubes: boxes in pixels of the original video.
        out: the MP4 file; nothing is left there after an error.
        ground_truth: drawn as dashed white boxes.
        tracks: everyone in the video; who has no tube on a frame is drawn thin.
        clock: show the time of each frame.
        trail: draw the path of each box's center over the last second.
        progress: show a progress bar on stderr.
        scale: see `draw_frame`; less where the frames would be larger than H.264 takes.

    Returns:
        The file written, with all its frames counted.

    Raises:
        InputError: no name in a table matches this video, the video cannot be read, or `out`
            cannot be written.
    """
    from tqdm import tqdm

    if scale is not None and scale < 1:
        raise InputError(f"--scale {scale}: must be a whole number of 1 or more")
    info = probe_video(video)
    if out.exists() and out.samefile(video):
        raise InputError(f"--out {out}: is the input video itself; choose another file")
    drawn_tubes = select_video(tubes, video)
    if drawn_tubes.person is None:
        drawn_tubes = _number_by_start(drawn_tubes)
    people = None
    if tracks is not None:
        people = select_rows(tracks, np.argsort(tracks.frame, kind="stable"))
    truth = None if ground_truth is None else select_video(ground_truth, video)
    fps = info.shown_fps
    scale = _drawable_scale(video, info, scale or readable_scale(info.width, info.height))
    trail_frames = round(fps) if trail else 0

    def encode(drawn: tuple[np.ndarray, float]) -> None:
        writer.write(*drawn)

    bar = {"total": info.num_frames, "desc": video.name, "unit": "frame", "delay": 1}
    with (
        open_video_writer(out, fps, pixel_aspect=info.pixel_aspect) as writer,
        prefetch(read_timed_frames(video), _FRAMES_AHEAD) as frames,
        write_in_background(encode, _FRAMES_AHEAD) as write,
    ):
        for number, (time, frame) in enumerate(tqdm(frames, disable=not progress, **bar)):
            drawn = draw_tubes(frame, number, drawn_tubes, truth, trail_frames, scale, people)
            if clock:
                draw_status(drawn, f"{int(time) // 60}:{time % 60:05.2f}")
            write((drawn, time))
    for kind, table in (("tubes", drawn_tubes), ("ground truth", truth)):
        late = 0 if table is None else int((table.frame >= writer.num_frames).sum())
        if late:
            warnings.warn(
                f"{video}: {late} {kind} boxes are on frames after its last frame "
                f"({writer.num_frames - 1}) and are not drawn",
                stacklevel=2,
            )
    return replace(
        info, path=out, width=info.width * scale, height=info.height * scale, fps=fps,
        num_frames=writer.num_frames,
    )  # fmt: skip


def _drawable_scale(video: Path, info: VideoInfo, scale: int) -> int:
    """The scale, or the largest with which H.264 takes the frames."""
    largest = max(1, MAX_SIDE // max(info.width, info.height))
    if scale > largest:
        warnings.warn(
            f"{video}: is drawn at {largest} and not {scale} times its size of "
            f"{info.width}x{info.height}, because H.264 takes at most {MAX_SIDE} pixels a side",
            stacklevel=3,
        )
    return min(scale, largest)


def draw_tubes(
    frame: np.ndarray,
    number: int,
    tubes: Tubes,
    ground_truth: Tubes | None = None,
    trail_frames: int = 0,
    scale: int | None = None,
    tracks: Tracks | None = None,
) -> np.ndarray:
    """Draws the boxes that tubes have on one frame of their video.

    Args:
        frame: (H, W, 3) uint8 RGB.
        number: of the frame, from 0.
        tubes, ground_truth: of this video, sorted by frame.
        trail_frames: draw the path of each box's center over so many frames.
        scale: see `draw_frame`.
        tracks: of everyone in this video, sorted by frame.

    Returns:
        (scale * H, scale * W, 3) uint8 RGB.
    """
    now = _select_frames(tubes, number, number)
    truth = None if ground_truth is None else _select_frames(ground_truth, number, number)
    scores = now.score if now.tube_score is None else now.tube_score
    who = now.tube if now.person is None else now.person
    others = {}
    if tracks is not None:
        here = _select_frames(tracks, number, number)
        boxes = zip(here.person.tolist(), here.boxes)
        others = {person: box for person, box in boxes if person not in who}
    trails = {}
    if trail_frames:
        past = _select_frames(tubes, number - trail_frames, number)
        centers = (past.boxes[:, :2] + past.boxes[:, 2:]) / 2
        order = slice(None) if scores is None else np.argsort(scores, kind="stable")
        past_who = past.tube if past.person is None else past.person
        trails = {each: centers[past_who == each] for each in who[order].tolist()}
    return draw_frame(
        frame, now.boxes, _labels(now), scores, who, trails=trails, others=others, scale=scale,
        truth_boxes=None if truth is None else truth.boxes,
        truth_labels=None if truth is None else _labels(truth),
    )  # fmt: skip


def _number_by_start(tubes: Tubes) -> Tubes:
    """The tubes numbered from 0 in the order in which they start; rows sorted by frame."""
    _, first, inverse = np.unique(tubes.tube, return_index=True, return_inverse=True)
    return replace(tubes, tube=np.argsort(np.argsort(first))[inverse])


def _select_frames(tubes: Rows, first: int, last: int) -> Rows:
    """The rows on the frames `first` to `last`, of a table sorted by frame."""
    start, stop = np.searchsorted(tubes.frame, [first, last + 1])
    return select_rows(tubes, np.arange(start, stop))


def _labels(tubes: Tubes) -> list[str]:
    """The label of each row, after the number of its person where that is known."""
    labels = [tubes.label_names[code] for code in tubes.label]
    if tubes.person is None:
        return labels
    return [f"{person} {label}" for person, label in zip(tubes.person.tolist(), labels)]
