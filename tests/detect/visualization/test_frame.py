"""."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from actiontubes.datasets.errors import InputError
from actiontubes.datasets.tables import Tubes
from actiontubes.datasets.video.reader import read_timed_video, read_video
from actiontubes.detect.visualization.frame import PALETTE, draw_frame, readable_scale
from actiontubes.detect.visualization.video import draw_video, select_video
from hypothesis import given, settings
from hypothesis import strategies as st

GREY = np.full((240, 320, 3), 128, np.uint8)
BOX = np.array([[100.0, 80.0, 200.0, 180.0]])

# Machado, Oliveira & Fernandes (2009), severity 1: how linear RGB looks to protanopes,
# deuteranopes and tritanopes.
DEFICIENCIES = np.array(
    [
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216],
         [-0.003882, -0.048116, 1.051998]],
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
         [-0.011820, 0.042940, 0.968881]],
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602],
         [0.004733, 0.691367, 0.303900]],
    ]
)  # fmt: skip


def has_colour(picture: np.ndarray, colour: tuple[int, int, int]) -> int:
    """How many pixels have this very colour."""
    return int((picture == colour).all(axis=2).sum())


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


def test_palette_is_told_apart_by_everyone() -> None:
    linear = (np.array(PALETTE) / 255) ** 2.2
    for matrix in (np.eye(3), *DEFICIENCIES):
        seen = 255 * np.clip(linear @ matrix.T, 0, 1) ** (1 / 2.2)
        distances = [np.linalg.norm(a - b) for a, b in itertools.combinations(seen, 2)]
        assert min(distances) > 25


def test_scale_makes_text_legible() -> None:
    sizes = ((320, 240), (340, 256), (640, 480), (1920, 1080), (200, 150))
    assert [readable_scale(*size) for size in sizes] == [2, 2, 1, 1, 4]
    assert readable_scale(4, 4) == 4
    assert draw_frame(GREY, BOX, ["run"]).shape == (480, 640, 3)
    assert draw_frame(GREY, BOX, ["run"], scale=1).shape == (240, 320, 3)
    assert draw_frame(GREY, BOX, ["run"], scale=3).shape == (720, 960, 3)


def test_without_boxes_nothing_is_drawn() -> None:
    frame = np.random.default_rng(0).integers(0, 255, (240, 320, 3), np.uint8)
    drawn = draw_frame(frame, np.empty((0, 4)), [], [], [], scale=1)
    np.testing.assert_array_equal(drawn, frame)
    assert drawn is not frame


def test_the_frame_given_is_left_alone() -> None:
    frame = GREY.copy()
    draw_frame(frame, BOX, ["run"], scale=1)
    np.testing.assert_array_equal(frame, GREY)


@pytest.mark.parametrize("scale", [1, 2, 3])
def test_the_box_lies_where_it_should(scale: int) -> None:
    drawn = draw_frame(GREY, BOX, [""], scale=scale)
    for x, y in ((100, 130), (200, 130), (150, 180)):
        assert tuple(drawn[y * scale, x * scale]) == PALETTE[0]
    assert tuple(drawn[130 * scale, 150 * scale]) == (128, 128, 128)


def test_a_tube_keeps_its_colour() -> None:
    for tube in range(20):
        drawn = draw_frame(GREY, BOX, ["run"], tubes=[tube])
        assert has_colour(drawn, PALETTE[tube % len(PALETTE)]) > 1000
        for other in range(len(PALETTE)):
            if other != tube % len(PALETTE):
                assert has_colour(drawn, PALETTE[other]) == 0


@pytest.mark.parametrize("level", [0, 128, 255])
def test_boxes_stand_out_from_any_ground(level: int) -> None:
    frame = np.full((240, 320, 3), level, np.uint8)
    for tube, colour in enumerate(PALETTE):
        drawn = draw_frame(frame, BOX, ["run"], tubes=[tube], scale=1).astype(int)
        column = drawn[130, 95:105]
        assert (column == colour).all(axis=1).any()
        contrast = np.abs(column - np.array(colour)).sum(axis=1)
        assert contrast.max() > 150


@settings(max_examples=150, deadline=None)
@given(
    boxes=st.lists(
        st.tuples(*[st.floats(-1e7, 1e7) | st.floats(-50, 400) for _ in range(4)]), max_size=8
    ),
    width=st.integers(1, 400),
    height=st.integers(1, 300),
    label=st.text(max_size=40),
)
def test_any_box_and_label_can_be_drawn(boxes, width: int, height: int, label: str) -> None:
    boxes = np.sort(np.array(boxes, float).reshape(-1, 2, 2), axis=1).reshape(-1, 4)
    frame = np.full((height, width, 3), 128, np.uint8)
    drawn = draw_frame(
        frame,
        boxes,
        [label] * len(boxes),
        np.linspace(0, 1, len(boxes)),
        truth_boxes=boxes,
        truth_labels=[label] * len(boxes),
        trails={i: box.reshape(2, 2) for i, box in enumerate(boxes)},
        scale=1,
    )
    assert drawn.shape == frame.shape
    assert drawn.dtype == np.uint8


def tag_area(box: np.ndarray) -> int:
    """How many pixels a tag changes beside what the box alone does."""
    tagged = draw_frame(GREY, box, ["diving"], [0.83])
    return int((tagged != draw_frame(GREY, box, [""])).any(axis=2).sum())


@pytest.mark.parametrize(
    "box",
    [
        [-20, -20, 60, 60],
        [280, -20, 340, 60],
        [280, 200, 340, 260],
        [-20, 200, 40, 260],
        [0, 0, 320, 240],
        [318, 100, 320, 102],
    ],
)
def test_tags_stay_in_the_picture(box: list[float]) -> None:
    assert tag_area(np.array([box], float)) > 0.9 * tag_area(BOX)


def test_tags_of_equal_boxes_do_not_cover_one_another() -> None:
    count = len(PALETTE)
    for box in (BOX, np.array([[0.0, 0.0, 320.0, 240.0]]), np.array([[250.0, 0.0, 319.0, 20.0]])):
        together = draw_frame(GREY, np.repeat(box, count, axis=0), ["diving"] * count)
        for tube, colour in enumerate(PALETTE[:-1]):  # the last box covers the others' lines
            alone = draw_frame(GREY, box, ["diving"], tubes=[tube])
            tag = has_colour(alone, colour) - has_colour(
                draw_frame(GREY, box, [""], tubes=[tube]), colour
            )
            assert has_colour(together, colour) > 0.9 * tag


def test_the_surest_is_on_top() -> None:
    boxes = np.repeat(BOX, 2, axis=0)
    for scores, top in (([0.9, 0.1], 0), ([0.1, 0.9], 1)):
        drawn = draw_frame(GREY, boxes, ["", ""], scores)
        assert tuple(drawn[260, 200]) == PALETTE[top]


def test_ground_truth_is_dashed_and_white() -> None:
    drawn = draw_frame(GREY, np.empty((0, 4)), [], truth_boxes=BOX, scale=1)
    side = drawn[80:180, 100]
    white = (side == 255).all(axis=1)
    assert 30 < white.sum() < 80
    assert np.abs(np.diff(white.astype(int))).sum() > 10


def test_trail_follows_the_centres() -> None:
    trail = np.array([[20.0, 30.0], [60.0, 30.0], [60.0, 70.0]])
    drawn = draw_frame(GREY, np.empty((0, 4)), [], trails={1: trail}, scale=1)
    for x, y in ((40, 30), (60, 50), (60, 70)):
        assert np.abs(drawn[y, x].astype(int) - PALETTE[1]).max() < 30
    assert tuple(drawn[50, 30]) == (128, 128, 128)


@pytest.mark.parametrize(
    ("names", "path", "found"),
    [
        (("clip",), "clip.mp4", "clip"),
        (("clip.mp4", "other"), "x/clip.mp4", "clip.mp4"),
        (("run/clip", "walk/clip"), "data/walk/clip.avi", "walk/clip"),
        (("clip", "walk/clip"), "data/walk/clip.avi", "walk/clip"),
        (("walk/clip", "b"), "elsewhere/clip.avi", "walk/clip"),
        (("a.b.c", "a.b"), "a.b.c", "a.b.c"),
    ],
)
def test_a_video_is_found_by_name(names: tuple[str, ...], path: str, found: str) -> None:
    count = len(names)
    table = replace(
        tubes_table(frame=range(count), tube=range(count), video_names=names),
        video=np.arange(count, dtype=np.int32)[::-1].copy(),
    )
    rows = select_video(table, Path(path))
    assert [names[code] for code in rows.video] == [found]


def test_a_video_that_is_not_in_the_table() -> None:
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
    # Tube 7 begins first, so it has the palette's first colour.
    table = tubes_table(frame=[5, 6, 10, 11], tube=[7, 7, 3, 3], boxes=np.repeat(BOX, 4, axis=0))
    out = tmp_path / "drawn.mp4"
    info = draw_video(video, table, out, progress=False)
    assert (info.width, info.height, info.num_frames, info.path) == (640, 480, 30, out)
    drawn = list(read_timed_video(out))
    assert [time for time, _ in drawn] == pytest.approx(np.array(times) / 1000, abs=1e-3)
    for number, (_, frame) in enumerate(drawn):
        shown = {5: 0, 6: 0, 10: 1, 11: 1}.get(number)
        edge = frame[260, 200].astype(int)
        for rank in (0, 1):
            assert (np.abs(edge - PALETTE[rank]).max() < 40) == (rank == shown), number


def test_a_video_without_tubes_is_copied(numbered, tmp_path: Path) -> None:
    video = numbered.write(tmp_path / "clip.mp4", 12, size=(640, 480))
    for table in (tubes_table(frame=[], video_names=()), tubes_table(frame=[])):
        draw_video(video, table, tmp_path / "copy.mp4", progress=False)
        copy = list(read_video(tmp_path / "copy.mp4"))
        for before, after in zip(read_video(video), copy, strict=True):
            assert np.abs(before.astype(int) - after).mean() < 3


def test_ground_truth_and_trail_are_drawn_too(numbered, tmp_path: Path) -> None:
    video = numbered.write(tmp_path / "clip.mp4", 20, size=(320, 240))
    boxes = BOX + np.array([[4, 0, 4, 0]]) * np.arange(20)[:, None] - 60
    table = tubes_table(frame=range(20), boxes=boxes)
    truth = tubes_table(frame=range(20), boxes=np.repeat(BOX + 10, 20, axis=0))
    out = tmp_path / "drawn.mp4"
    plain = draw_and_read(video, table, out)
    with_truth = draw_and_read(video, table, out, ground_truth=truth)
    with_trail = draw_and_read(video, table, out, trail=True)
    # On the last frame the centre has come from (90, 70) to (166, 70).
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
