"""Videos with tubes: which rows are drawn on which frame, and the contact sheet."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from actiontubes.datasets.errors import InputError
from actiontubes.datasets.tables import Tubes, make_videos
from actiontubes.datasets.video.reader import VideoInfo, probe, read_timed_video, read_video
from actiontubes.datasets.video.writer import open_video_writer
from actiontubes.detect.visualization.frame import PALETTE, draw_frame
from actiontubes.detect.visualization.video import (
    draw_tubes,
    draw_video,
    fit_to_video,
    select_video,
)

BOX = np.array([[100.0, 80.0, 200.0, 180.0]])


def tubes_table(**rows) -> Tubes:
    count = len(rows["frame"])
    return Tubes(
        video=np.zeros(count, np.int32),
        frame=np.array(rows["frame"], np.int32),
        label=np.zeros(count, np.int32),
        boxes=np.array(rows.get("boxes", [[8.0, 8.0, 40.0, 40.0]] * count)).reshape(-1, 4),
        tube=np.array(rows.get("tube", [0] * count), np.int64),
        video_names=rows.get("video_names", ("clip",)),
        label_names=("wave",),
    )


@pytest.mark.parametrize(
    ("names", "path", "expected"),
    [
        (("clip",), "clip.mp4", "clip"),
        (("clip.mp4", "other"), "x/clip.mp4", "clip.mp4"),
        (("run/clip", "walk/clip"), "data/walk/clip.avi", "walk/clip"),
        (("clip", "walk/clip"), "data/walk/clip.avi", "walk/clip"),
        (("walk/clip", "b"), "elsewhere/clip.avi", "walk/clip"),
        (("a.b.c", "a.b"), "a.b.c", "a.b.c"),
    ],
)
def test_a_video_is_selected_by_name(names: tuple[str, ...], path: str, expected: str) -> None:
    count = len(names)
    table = replace(
        tubes_table(frame=range(count), tube=range(count), video_names=names),
        video=np.arange(count, dtype=np.int32)[::-1].copy(),
    )
    rows = select_video(table, Path(path))
    assert [names[code] for code in rows.video] == [expected]


def test_a_video_without_a_matching_name() -> None:
    table = tubes_table(frame=[0], video_names=tuple("abcde"))
    with pytest.raises(
        InputError, match=r"no video of this name; it has a, b, c and 2 more. Rename"
    ):
        select_video(table, Path("clip.mp4"))
    table = tubes_table(frame=[0], video_names=("run/clip", "walk/clip"))
    with pytest.raises(InputError, match=r"could be run/clip, walk/clip; put the file into"):
        select_video(table, Path("clip.mp4"))
    assert len(select_video(tubes_table(frame=[], video_names=()), Path("clip.mp4"))) == 0


def test_rows_come_sorted_by_frame() -> None:
    table = tubes_table(frame=[3, 1, 2], boxes=[[i, 0, 9, 9] for i in (3, 1, 2)])
    rows = select_video(table, Path("clip.mp4"))
    assert rows.frame.tolist() == rows.boxes[:, 0].tolist() == [1, 2, 3]


def test_a_video_is_drawn_frame_by_frame(numbered, tmp_path: Path) -> None:
    times = [40 * i + 11 * (i % 3) for i in range(30)]
    video = numbered.write(tmp_path / "clip.mp4", 30, size=(320, 240), times=times)
    # Tube 7 begins first, so it has the palette's first color.
    table = tubes_table(frame=[5, 6, 10, 11], tube=[7, 7, 3, 3], boxes=np.repeat(BOX, 4, axis=0))
    out = tmp_path / "drawn.mp4"
    info = draw_video(video, table, out, progress=False)
    assert (info.width, info.height, info.num_frames, info.path) == (640, 480, 30, out)
    drawn = list(read_timed_video(out))
    assert [time for time, _ in drawn] == pytest.approx(np.array(times) / 1000, abs=1e-3)
    for number, (_, frame) in enumerate(drawn):
        rank_shown = {5: 0, 6: 0, 10: 1, 11: 1}.get(number)
        edge = frame[260, 200].astype(int)
        for rank in (0, 1):
            assert (np.abs(edge - PALETTE[rank]).max() < 40) == (rank == rank_shown), number


def test_a_video_without_tubes_is_copied(numbered, tmp_path: Path) -> None:
    video = numbered.write(tmp_path / "clip.mp4", 12, size=(640, 480))
    for table in (tubes_table(frame=[], video_names=()), tubes_table(frame=[])):
        draw_video(video, table, tmp_path / "copy.mp4", progress=False)
        copy = list(read_video(tmp_path / "copy.mp4"))
        for before, after in zip(read_video(video), copy, strict=True):
            assert np.abs(before.astype(int) - after).mean() < 3


@pytest.mark.parametrize(("rotation", "expected"), [(0, Fraction(64, 45)), (90, Fraction(45, 64))])
def test_the_copy_has_the_shape_of_the_original(
    numbered, tmp_path: Path, rotation: int, expected: Fraction
) -> None:
    source = tmp_path / "source.mp4"
    with open_video_writer(source, 25, pixel_aspect=Fraction(64, 45)) as writer:
        for number in range(12):
            writer.write(numbered.frame(number))
    video = tmp_path / "clip.mp4"
    with av.open(str(source)) as old, av.open(str(video), "w") as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        stream.set_display_rotation(rotation)
        for packet in old.demux(video=0):
            if packet.size:
                packet.stream = stream
                new.mux(packet)
    for scale in (1, 2):
        draw_video(
            video, tubes_table(frame=[3]), tmp_path / "drawn.mp4", progress=False, scale=scale
        )
        info = probe(tmp_path / "drawn.mp4")
        assert info.pixel_aspect == expected
        width, height = (64, 48) if rotation == 0 else (48, 64)
        assert (info.width, info.height) == (scale * width, scale * height)


def test_wide_videos_are_enlarged_less(numbered, tmp_path: Path) -> None:
    video = numbered.write(tmp_path / "clip.mp4", 3, size=(6000, 64))
    table, out = tubes_table(frame=[0]), tmp_path / "a.mp4"
    info = draw_video(video, table, out, progress=False)
    assert (info.width, info.height) == (12000, 128)
    with pytest.warns(UserWarning, match=r"clip\.mp4: is drawn at 2 and not 3 times its size of"):
        info = draw_video(video, table, out, progress=False, scale=3)
    assert (info.width, info.height) == (12000, 128)


def test_ground_truth_and_trail_are_drawn_too(numbered, tmp_path: Path) -> None:
    video = numbered.write(tmp_path / "clip.mp4", 20, size=(320, 240))
    boxes = BOX + np.array([[4, 0, 4, 0]]) * np.arange(20)[:, None] - 60
    table = tubes_table(frame=range(20), boxes=boxes)
    truth = tubes_table(frame=range(20), boxes=np.repeat(BOX + 10, 20, axis=0))
    out = tmp_path / "drawn.mp4"
    plain = draw_and_read(video, table, out)
    with_truth = draw_and_read(video, table, out, ground_truth=truth)
    with_trail = draw_and_read(video, table, out, trail=True)
    # On the last frame the center has come from (90, 70) to (166, 70).
    assert np.abs(with_trail[140, 240] - PALETTE[0]).max() < 60
    assert np.abs(plain[140, 240] - PALETTE[0]).max() > 60
    right = slice(180, 380), 420
    assert np.abs(with_truth[right] - plain[right]).mean() > 30


def draw_and_read(video: Path, table: Tubes, out: Path, **options) -> np.ndarray:
    draw_video(video, table, out, progress=False, **options)
    return list(read_video(out))[-1].astype(int)


def test_boxes_past_the_end_are_reported(numbered, tmp_path: Path) -> None:
    video = numbered.write(tmp_path / "clip.mp4", 10)
    table = tubes_table(frame=[8, 9, 10, 11, 12])
    with pytest.warns(UserWarning, match="3 tubes boxes are on frames after its last frame .9"):
        draw_video(video, table, tmp_path / "drawn.mp4", progress=False)
    with pytest.warns(UserWarning, match="3 ground truth boxes"):
        draw_video(
            video, tubes_table(frame=[]), tmp_path / "drawn.mp4", ground_truth=table, progress=False
        )


def test_the_video_itself_is_not_overwritten(numbered, tmp_path: Path) -> None:
    video = numbered.write(tmp_path / "clip.mp4", 3)
    with pytest.raises(InputError, match="is the input video itself"):
        draw_video(video, tubes_table(frame=[0]), tmp_path / "." / "clip.mp4", progress=False)


def test_one_frame_with_trail_and_ground_truth() -> None:
    """The same as `draw_frame` with the rows of that frame, the trail of the frames before it."""
    frame = np.full((240, 320, 3), 128, np.uint8)
    boxes = BOX + 10 * np.arange(6)[:, None]
    # Two tubes; the first has the lower score.
    tubes = replace(
        tubes_table(frame=[0, 0, 1, 1, 2, 2], tube=[4, 5] * 3, boxes=boxes),
        score=np.array([0.1, 0.9] * 3),
    )
    truth = tubes_table(frame=[2, 3], boxes=boxes[:2])
    centers = (boxes[:, :2] + boxes[:, 2:]) / 2
    expected = draw_frame(
        frame, boxes[4:], ["wave"] * 2, [0.1, 0.9], [4, 5], truth_boxes=boxes[:1],
        truth_labels=["wave"], trails={4: centers[[2, 4]], 5: centers[[3, 5]]}, scale=2,
    )  # fmt: skip
    np.testing.assert_array_equal(draw_tubes(frame, 2, tubes, truth, 1, 2), expected)
    # Nothing is on frame 9; the ground truth is there without tubes on frame 3.
    np.testing.assert_array_equal(draw_tubes(frame, 9, tubes, truth, 1, 1), frame)
    alone = draw_frame(
        frame, np.empty((0, 4)), [], truth_boxes=boxes[1:2], truth_labels=["wave"], scale=1
    )
    np.testing.assert_array_equal(draw_tubes(frame, 3, tubes, truth, 0, 1), alone)


def test_boxes_are_fitted_to_the_video() -> None:
    video = VideoInfo(Path("a.mp4"), 160, 120, 25.0, 9)
    boxes = np.array([[80.0, 40, 200, 180], [330, 0, 340, 9], [0, 0, 20, 20], [0, 0, 20, 20]])
    table = replace(
        tubes_table(frame=[4, 2, 3, 9], video_names=("Run/a", "Run/b")), boxes=boxes,
        video=np.array([0, 0, 1, 0], np.int32),
    )  # fmt: skip
    videos = make_videos(["Run/a"], 9, 320, 240)
    with pytest.warns(UserWarning) as warned:
        fitted = fit_to_video(table, video, Path("truth.csv"), videos=videos)
    assert fitted.boxes.tolist() == [[40, 20, 100, 90]] and fitted.frame.tolist() == [4]
    said = [str(each.message) for each in warned]
    assert said == [
        "truth.csv: ignoring 1 boxes of other videos, such as Run/b",
        "truth.csv: Run/a is 320x240 there, a.mp4 is 160x120; the boxes are scaled",
        "truth.csv: 1 of 3 boxes are after the last frame of a.mp4 (8) and are not drawn (the "
        "first on frame 9)",
        "truth.csv: 1 of 3 boxes are outside the frame of a.mp4, 160x120, and are not drawn (the "
        "first on frame 2)",
    ]
    with pytest.raises(InputError, match=r"Run/a is 200x90 there, a.mp4 is 160x120; give"):
        fit_to_video(table, video, Path("t.csv"), videos=make_videos(["Run/a"], 9, 200, 90))


def test_fractions_only_where_the_user_says_so() -> None:
    video = VideoInfo(Path("a.mp4"), 160, 120, 25.0, 9)
    table = replace(tubes_table(frame=[4]), boxes=np.array([[0.25, 0.5, 0.5, 0.75]]))
    table = replace(table, video_names=("a",))
    with pytest.raises(InputError, match=r"t.csv: the boxes are fractions .* --boxes fraction"):
        fit_to_video(table, video, Path("t.csv"))
    fitted = fit_to_video(table, video, Path("t.csv"), unit="fraction")
    assert fitted.boxes.tolist() == [[40, 60, 80, 90]]
    assert fit_to_video(table, video, Path("t.csv"), unit="pixel").boxes[0, 0] == 0.25
