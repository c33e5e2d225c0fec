"""Frames of several videos in one image."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from ...datasets.errors import InputError
from ...datasets.storage.files import atomic_write
from ...datasets.tables import Tubes
from ...datasets.video.reader import read_frames_at
from .video import draw_tubes, select_video


def draw_contact_sheet(
    videos: Sequence[Path], tubes: Tubes, out: Path, *, frames: Sequence[int], scale: int = 2
) -> None:
    """Writes a PNG with a row for each video and a column for each frame, with tubes drawn.

    Args:
        videos: files of one size.
        tubes: of these videos.
        out: the PNG file.
        frames: frame numbers from 0.
        scale: see `draw_frame`.
    """
    rows = []
    for video in videos:
        video_tubes = select_video(tubes, video)
        images = zip(frames, read_frames_at(video, frames), strict=True)
        drawn = [draw_tubes(frame, number, video_tubes, scale=scale) for number, frame in images]
        rows.append(np.concatenate(drawn, axis=1))
    sheet = np.concatenate(rows)[..., ::-1]
    with atomic_write(out) as temporary:
        if not cv2.imwrite(str(temporary), sheet):
            raise InputError(f"{out}: could not be written")
