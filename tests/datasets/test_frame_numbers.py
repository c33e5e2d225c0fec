"""Folders of frames: which image is which frame, or a refusal that names the file."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from actiontubes.datasets.errors import InputError
from actiontubes.datasets.frame_numbers import frame_files, is_frame_folder
from actiontubes.datasets.video.media import (
    measure_video,
    probe_video,
    read_frame,
    read_frames,
    read_timed_frames,
)


def made(folder: Path, *names: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).touch()
    return folder


@pytest.mark.parametrize(
    ("names", "others"),
    [
        (["00001.jpg", "00002.jpg", "00003.jpg"], ["cover.jpg", "notes.txt", ".00001.jpg"]),
        (["00000.png", "00001.png", "00002.png"], ["depth_00000.png"]),
        ([f"{number}.jpg" for number in range(1, 13)], []),
        ([f"img_{number:05d}.JPG" for number in range(1, 12)], ["._img_00001.JPG"]),
        (["take2-frame0.bmp", "take2-frame1.webp", "take2-frame2.tif"], []),
        ([f"img ({number}).jpg" for number in range(1, 12)], ["cover.jpg"]),
        (["take_2_001_rgb.png", "take_2_002_rgb.png"], []),
        ([*(f"{number:02d}.png" for number in range(100)), "100.png"], []),
    ],
)
def test_names_that_are_certain(tmp_path: Path, names: list[str], others: list[str]) -> None:
    folder = made(tmp_path / "a", *names[::-1], *others)
    assert [file.name for file in frame_files(folder)] == names
    assert is_frame_folder(folder.iterdir())


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["00017.jpg", "00018.jpg"], "its first frame is 00017.jpg; rename the frames so that"),
        (["1.jpg", "2.jpg", "4.jpg"], "frame 3 is missing between 2.jpg and 4.jpg"),
        (["img_001.png", "img_006.png"], "frame 2 is missing between img_001.png and img_006.png"),
        (["1.jpg", "01.jpg", "2.jpg"], "has 01.jpg and 1.jpg; keep one file of each frame"),
        (["00001.jpg", "00001.png"], "has 00001.jpg and 00001.png; keep one"),
        (["img_1.jpg", "img_1_depth.jpg"], "has img_1.jpg and img_1_depth.jpg; keep the frames"),
        (["flow_x_1.jpg", "img_1.jpg"], "has flow_x_1.jpg and img_1.jpg; keep the frames of one"),
    ],
)
def test_names_that_are_not(tmp_path: Path, names: list[str], message: str) -> None:
    folder = made(tmp_path / "a", *names)
    for read in (frame_files, measure_video, probe_video, lambda path: read_frame(path, 0)):
        with pytest.raises(InputError, match=f"^{folder}: {message}"):
            read(folder)


def test_other_folders_are_none(tmp_path: Path) -> None:
    assert frame_files(made(tmp_path / "a", "cover.jpg", "1.txt")) == ()
    assert not is_frame_folder([Path("poster1.jpg"), Path("notes.txt")])
    assert not is_frame_folder([Path("shot1.jpg"), Path("shot2.jpg"), Path("film.wmv")])
    assert is_frame_folder([Path("1.jpg"), Path("film.wmv")])
    with pytest.raises(InputError, match=r"contains no video file and no frames named 00001\.jpg"):
        probe_video(tmp_path / "a")


def test_frames_are_read_in_their_order(tmp_path: Path) -> None:
    folder = made(tmp_path / "caf\udce9")
    for number in range(12):
        _, png = cv2.imencode(".png", np.full((4, 6, 3), 10 * number, np.uint8))
        (folder / f"frame{number}.png").write_bytes(png)
    assert [frame[0, 0, 0] for frame in read_frames(folder)] == list(range(0, 120, 10))
    assert [frame[0, 0, 0] for frame in read_frames(folder, 9, 14)] == [90, 100, 110]
    assert read_frame(folder, 12) is None
    assert measure_video(folder) == (12, 6, 4)
    assert [time for time, _ in read_timed_frames(folder)] == [number / 25 for number in range(12)]
    (folder / "frame12.png").write_bytes(b"")
    with pytest.raises(InputError, match=r"frame12\.png: cannot be read as an image"):
        read_frame(folder, 12)
    _, png = cv2.imencode(".png", np.zeros((8, 6, 3), np.uint8))
    (folder / "frame12.png").write_bytes(png)
    with pytest.raises(InputError, match=r"frame12\.png: is 6x8, and frames before it are 6x4"):
        list(read_frames(folder, 10))
