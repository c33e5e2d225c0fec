"""The contact sheet: a row for each video, a column for each frame."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from actiontubes.datasets.tables import Tubes
from actiontubes.datasets.video.reader import read_frames_at
from actiontubes.detect.visualization.contact_sheet import draw_contact_sheet
from actiontubes.detect.visualization.frame import draw_frame


def test_rows_are_videos_and_columns_are_frames(numbered, tmp_path: Path) -> None:
    videos = [numbered.write(tmp_path / f"{name}.mp4", 8, size=(64, 48)) for name in "ab"]
    box = np.array([[8.0, 8.0, 40.0, 40.0]])
    tubes = Tubes(
        video=np.array([0, 1], np.int32), frame=np.array([2, 5], np.int32),
        label=np.zeros(2, np.int32), boxes=np.repeat(box, 2, axis=0), tube=np.array([0, 1]),
        video_names=("a", "b"), label_names=("wave",), tube_score=np.array([0.75, 0.5]),
    )  # fmt: skip
    draw_contact_sheet(videos, tubes, tmp_path / "sheet.png", frames=(2, 5), scale=3)
    sheet = cv2.imread(str(tmp_path / "sheet.png"))[..., ::-1]
    assert sheet.shape == (2 * 3 * 48, 2 * 3 * 64, 3)
    for row, video in enumerate(videos):
        for column, frame in enumerate(read_frames_at(video, (2, 5))):
            drawn = (box, ["wave"], [(0.75, 0.5)[row]], [row]) if row == column else (box[:0], [])
            cell = sheet[row * 144 : (row + 1) * 144, column * 192 : (column + 1) * 192]
            np.testing.assert_array_equal(cell, draw_frame(frame, *drawn, scale=3))


def test_without_tubes_the_frames_are_shown(numbered, tmp_path: Path) -> None:
    video = numbered.write(tmp_path / "a.mp4", 3, size=(64, 48))
    empty = np.zeros(0, np.int32)
    tubes = Tubes(
        video=empty, frame=empty, label=empty, boxes=np.empty((0, 4)), tube=empty,
        video_names=(), label_names=(),
    )  # fmt: skip
    draw_contact_sheet([video], tubes, tmp_path / "sheet.png", frames=(1,), scale=1)
    sheet = cv2.imread(str(tmp_path / "sheet.png"))[..., ::-1]
    np.testing.assert_array_equal(sheet, read_frames_at(video, (1,))[0])
