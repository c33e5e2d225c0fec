"""Packed videos: the same frames, each by itself."""

from __future__ import annotations

import os
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from actiontubes.datasets.errors import InputError
from actiontubes.datasets.video.pack import pack_videos
from actiontubes.datasets.video.reader import count_frames, probe, read_frames_at, read_video
from actiontubes.datasets.video.writer import open_video_writer


def test_frames_keep_their_numbers(tmp_path: Path, numbered: Any) -> None:
    source = numbered.write(tmp_path / "v.mp4", num_frames=50, size=(160, 96), rate=12)
    packed = pack_videos({"run/v.one": source}, tmp_path / "out", short_side=48)
    path = packed["run/v.one"]
    assert path == tmp_path / "out/run/v.one.avi"
    info = probe(path)
    assert (info.width, info.height, info.fps, info.num_frames) == (80, 48, 12, 50)
    assert numbered.numbers(list(read_video(path))) == list(range(50))
    # As the middle of a film, and backwards.
    assert numbered.numbers(read_frames_at(path, [49, 17, 3])) == [49, 17, 3]
    with av.open(str(path)) as container:
        assert all(packet.is_keyframe for packet in container.demux(video=0) if packet.size)


@pytest.mark.parametrize("size", [(64, 48), (62, 46)])
def test_small_videos_keep_size_and_colours(
    tmp_path: Path, numbered: Any, size: tuple[int, int]
) -> None:
    source = numbered.write(tmp_path / "v.mp4", num_frames=3, size=size)
    packed = pack_videos({"v": source}, tmp_path / "out", quality=2)["v"]
    before, after = (np.stack(list(read_video(path))).astype(int) for path in (source, packed))
    assert before.shape == after.shape
    assert np.abs(before - after).mean() < 2


def test_folders_of_frames_of_odd_sides(tmp_path: Path, numbered: Any) -> None:
    (tmp_path / "v").mkdir()
    for number in range(5):
        frame = numbered.frame(number, 71, 53)
        cv2.imwrite(str(tmp_path / f"v/{number + 1:05d}.png"), frame[..., ::-1])
    packed = pack_videos({"v": tmp_path / "v"}, tmp_path / "out")["v"]
    frames = list(read_video(packed))
    assert numbered.numbers(frames) == list(range(5)) and frames[0].shape == (53, 71, 3)
    # Corner of the frames: red is still red.
    assert np.abs(frames[0][3, 3].astype(int) - [220, 30, 30]).max() < 12


def test_what_is_done_is_kept(tmp_path: Path, numbered: Any) -> None:
    source = numbered.write(tmp_path / "v.mp4", num_frames=4)

    def packed_again(**options: Any) -> bool:
        path = pack_videos({"v": source}, tmp_path / "out", **options)["v"]
        changed = path.stat().st_mtime_ns != 10**18
        os.utime(path, ns=(10**18, 10**18))
        return changed

    os.utime(source, ns=(10**17, 10**17))
    assert packed_again()
    assert not packed_again()
    assert packed_again(quality=5)
    assert packed_again(short_side=24, quality=5)
    assert not packed_again(short_side=24, quality=5)
    os.utime(source)
    assert packed_again(short_side=24, quality=5)
    os.utime(source, ns=(10**17, 10**17))
    (tmp_path / "out/v.avi").write_bytes(b"damaged")
    assert packed_again()


def test_nothing_half_written(tmp_path: Path, numbered: Any) -> None:
    source = numbered.write(tmp_path / "v.mp4", num_frames=4)
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    with pytest.raises(InputError, match=r"broken\.mp4"):
        pack_videos({"v": source, "w": tmp_path / "broken.mp4"}, tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").rglob("*")] == ["v.avi"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(
        InputError, match=r"empty: contains no video file and no frames named 00001\.jpg"
    ):
        pack_videos({"w": tmp_path / "empty"}, tmp_path / "out")


@pytest.mark.parametrize("name", ["../x", "a/../../x", "/x", "..\\..\\x", "..", ".", "a\0"])
def test_names_that_lead_elsewhere(tmp_path: Path, numbered: Any, name: str) -> None:
    source = numbered.write(tmp_path / "v.mp4", num_frames=2)
    folder = tmp_path / "deep" / "packed"
    with pytest.raises(InputError, match="leads out of this folder"):
        pack_videos({"fine": source, name: source}, folder)
    assert not (tmp_path / "deep").exists()


def test_names_of_one_file(tmp_path: Path, numbered: Any) -> None:
    source = numbered.write(tmp_path / "v.mp4", num_frames=2)
    with pytest.raises(InputError, match=r"the videos a/b and a/\./b would be one file"):
        pack_videos({"a/b": source, "a/./b": source}, tmp_path / "packed")


def test_frames_of_a_folder_and_the_shape_of_pixels(tmp_path: Path, numbered: Any) -> None:
    (tmp_path / "frames").mkdir()
    for number in range(12):
        image = numbered.frame(number)[..., ::-1]
        assert cv2.imwrite(str(tmp_path / f"frames/img_{number:05d}.png"), image)
    with open_video_writer(tmp_path / "wide.mp4", 25, pixel_aspect=Fraction(64, 45)) as writer:
        for number in range(3):
            writer.write(numbered.frame(number))
    media = {"a": tmp_path / "frames", "b": tmp_path / "wide.mp4"}
    packed = pack_videos(media, tmp_path / "packed")
    assert numbered.numbers(list(read_video(packed["a"]))) == list(range(12))
    assert [probe(packed[name]).pixel_aspect for name in "ab"] == [1, Fraction(64, 45)]


def test_refused(tmp_path: Path, numbered: Any) -> None:
    for options in ({"short_side": 0}, {"quality": 0}, {"quality": 32}):
        with pytest.raises(InputError, match=r"(--short-side 0|quality (0|32)): must be 1"):
            pack_videos({}, tmp_path, **options)
    source = numbered.write(tmp_path / "v.avi", num_frames=4, codec="mpeg4")
    with pytest.raises(InputError, match="would overwrite the video"):
        pack_videos({"v": source}, tmp_path)
    assert count_frames(source) == 4


def test_prepare_packs(shared: Callable[[str], Path], tmp_path: Path, run: Any) -> None:
    root = tmp_path / "root"
    (root / "videos").mkdir(parents=True)
    for name in ("pyannot.pkl", "testlist01.txt"):
        (root / name).symlink_to(shared(f"ucf101-24/{name}"))
    clip = shared("ucf101-24/videos/v_Basketball_g01_c01.avi")
    (root / "videos/v_Basketball_g01_c01.avi").symlink_to(clip)
    options = (
        "ucf101-24",
        "--root",
        root,
        "--out",
        tmp_path / "out",
        "--pack",
        tmp_path / "packed",
    )
    done = run("prepare", *options, "--short-side", 120)
    assert done.returncode == 0, done.stderr
    assert "3193 of 3194 videos were not found and are not packed" in done.stderr
    assert "packed: 1 videos" in done.stdout
    info = probe(tmp_path / "packed/Basketball/v_Basketball_g01_c01.avi")
    assert (info.width, info.height, info.num_frames) == (160, 120, 141)
    assert run("prepare", *options, "--media", tmp_path / "nowhere").returncode == 2
