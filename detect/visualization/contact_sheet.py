"""Frames of several videos on one sheet."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from ...datasets.errors import InputError
from ...datasets.files import atomic_write
from ...datasets.tables import Tubes, select_rows
from ...datasets.video.reader import read_frames_at
from .frame import draw_frame
from .video import select_video


def draw_contact_sheet(
    videos: Sequence[Path],
    tubes: Tubes,
    out: Path,
    *,
    frames: Sequence[int],
    scale: int = 2,
) -> None:
    """A PNG with a row for each video and a column for each frame, tubes drawn.

    Args:
        videos: files of one size.
        tubes: of these videos.
        frames: numbers from 0.
        scale: pixels of the sheet for each of the video.
    """
    rows = []
    for video in videos:
        mine = select_video(tubes, video)
        drawn = []
        for number, picture in zip(frames, read_frames_at(video, frames), strict=True):
            now = select_rows(mine, mine.frame == number)
            names = [mine.label_names[code] for code in now.label]
            drawn.append(
                draw_frame(picture, now.boxes, names, now.tube_score, now.tube, scale=scale)
            )
        rows.append(np.concatenate(drawn, axis=1))
    sheet = np.concatenate(rows)[..., ::-1]
    with atomic_write(out) as temporary:
        if not cv2.imwrite(str(temporary), sheet):
            raise InputError(f"{out}: could not be written")
