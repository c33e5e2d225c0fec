"""Frames with boxes: where lines and tags lie, in which color, on top of what."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from actiontubes.detect.visualization.frame import PALETTE, draw_frame, readable_scale
from hypothesis import given, settings
from hypothesis import strategies as st

GRAY = np.full((240, 320, 3), 128, np.uint8)
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


def count_pixels(frame: np.ndarray, color: tuple[int, int, int]) -> int:
    """The number of pixels of exactly this color."""
    return int((frame == color).all(axis=2).sum())


def test_palette_is_distinguishable_for_everyone() -> None:
    linear = (np.array(PALETTE) / 255) ** 2.2
    for matrix in (np.eye(3), *DEFICIENCIES):
        perceived = 255 * np.clip(linear @ matrix.T, 0, 1) ** (1 / 2.2)
        distances = [np.linalg.norm(a - b) for a, b in itertools.combinations(perceived, 2)]
        assert min(distances) > 25


def test_scale_makes_text_readable() -> None:
    sizes = ((320, 240), (340, 256), (640, 480), (1920, 1080), (200, 150))
    assert [readable_scale(*size) for size in sizes] == [2, 2, 1, 1, 4]
    assert readable_scale(4, 4) == 4
    assert draw_frame(GRAY, BOX, ["run"]).shape == (480, 640, 3)
    assert draw_frame(GRAY, BOX, ["run"], scale=1).shape == (240, 320, 3)
    assert draw_frame(GRAY, BOX, ["run"], scale=3).shape == (720, 960, 3)


def test_without_boxes_nothing_is_drawn() -> None:
    frame = np.random.default_rng(0).integers(0, 255, (240, 320, 3), np.uint8)
    drawn = draw_frame(frame, np.empty((0, 4)), [], [], [], scale=1)
    np.testing.assert_array_equal(drawn, frame)
    assert drawn is not frame


def test_the_input_frame_is_not_modified() -> None:
    frame = GRAY.copy()
    draw_frame(frame, BOX, ["run"], scale=1)
    np.testing.assert_array_equal(frame, GRAY)


@pytest.mark.parametrize("scale", [1, 2, 3])
def test_the_box_is_drawn_at_its_coordinates(scale: int) -> None:
    drawn = draw_frame(GRAY, BOX, [""], scale=scale)
    for x, y in ((100, 130), (200, 130), (150, 180)):
        assert tuple(drawn[y * scale, x * scale]) == PALETTE[0]
    assert tuple(drawn[130 * scale, 150 * scale]) == (128, 128, 128)


def test_a_tube_keeps_its_color() -> None:
    for tube in range(20):
        drawn = draw_frame(GRAY, BOX, ["run"], tubes=[tube])
        assert count_pixels(drawn, PALETTE[tube % len(PALETTE)]) > 1000
        for other in range(len(PALETTE)):
            if other != tube % len(PALETTE):
                assert count_pixels(drawn, PALETTE[other]) == 0


@pytest.mark.parametrize("level", [0, 128, 255])
def test_boxes_stand_out_from_any_background(level: int) -> None:
    frame = np.full((240, 320, 3), level, np.uint8)
    for tube, color in enumerate(PALETTE):
        drawn = draw_frame(frame, BOX, ["run"], tubes=[tube], scale=1).astype(int)
        column = drawn[130, 95:105]
        assert (column == color).all(axis=1).any()
        contrast = np.abs(column - np.array(color)).sum(axis=1)
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
    """The number of pixels that a tag changes, without those of its box."""
    tagged = draw_frame(GRAY, box, ["diving"], [0.83])
    return int((tagged != draw_frame(GRAY, box, [""])).any(axis=2).sum())


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
def test_tags_stay_inside_the_frame(box: list[float]) -> None:
    assert tag_area(np.array([box], float)) > 0.9 * tag_area(BOX)


def test_tags_of_equal_boxes_do_not_cover_one_another() -> None:
    count = len(PALETTE)
    for box in (BOX, np.array([[0.0, 0.0, 320.0, 240.0]]), np.array([[250.0, 0.0, 319.0, 20.0]])):
        together = draw_frame(GRAY, np.repeat(box, count, axis=0), ["diving"] * count)
        for tube, color in enumerate(PALETTE[:-1]):  # the last box covers the others' lines
            alone = draw_frame(GRAY, box, ["diving"], tubes=[tube])
            tag = count_pixels(alone, color) - count_pixels(
                draw_frame(GRAY, box, [""], tubes=[tube]), color
            )
            assert count_pixels(together, color) > 0.9 * tag


def test_the_highest_score_is_on_top() -> None:
    boxes = np.repeat(BOX, 2, axis=0)
    for scores, top in (([0.9, 0.1], 0), ([0.1, 0.9], 1)):
        drawn = draw_frame(GRAY, boxes, ["", ""], scores)
        assert tuple(drawn[260, 200]) == PALETTE[top]


def test_ground_truth_is_dashed_and_white() -> None:
    drawn = draw_frame(GRAY, np.empty((0, 4)), [], truth_boxes=BOX, scale=1)
    side = drawn[80:180, 100]
    white = (side == 255).all(axis=1)
    assert 30 < white.sum() < 80
    assert np.abs(np.diff(white.astype(int))).sum() > 10


def test_trail_follows_the_centers() -> None:
    trail = np.array([[20.0, 30.0], [60.0, 30.0], [60.0, 70.0]])
    drawn = draw_frame(GRAY, np.empty((0, 4)), [], trails={1: trail}, scale=1)
    for x, y in ((40, 30), (60, 50), (60, 70)):
        assert np.abs(drawn[y, x].astype(int) - PALETTE[1]).max() < 30
    assert tuple(drawn[50, 30]) == (128, 128, 128)
