"""Zones: who is inside, and what --zone takes."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from actiontubes.datasets.errors import InputError
from actiontubes.detect.inference.live.zones import parse_zones
from hypothesis import given, settings
from hypothesis import strategies as st


def standing_at(*points: tuple[float, float]) -> np.ndarray:
    """Boxes of people whose feet are there."""
    return np.array([(x - 5, y - 40, x + 5, y) for x, y in points])


def test_rectangles_and_polygons() -> None:
    door, lane = parse_zones(["door=10,20,50,60", "lane=0,0,100,0,50,100"])
    assert (door.name, lane.name) == ("door", "lane")
    points = standing_at((30, 40), (9, 40), (51, 40), (30, 61), (30, 19), (50, 99))
    assert door.contains(points).tolist() == [True, False, False, False, False, False]
    assert lane.contains(points).tolist() == [True, False, True, False, True, True]
    (swapped,) = parse_zones(["door=50,60,10,20"])
    assert swapped.contains(points).tolist() == door.contains(points).tolist()
    assert door.contains(np.empty((0, 4))).tolist() == []


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)), min_size=3, max_size=7),
       st.integers(0, 20), st.integers(0, 20))  # fmt: skip
def test_as_opencv_says(corners: list[tuple[int, int]], x: int, y: int) -> None:
    """On points that lie on no border."""
    text = ",".join(f"{a},{b}" for a, b in corners)
    (zone,) = parse_zones([f"z={text}"])
    point = (x + 0.5, y + 0.25)
    side = cv2.pointPolygonTest(np.array(corners, np.float32), point, False)
    if side:
        assert zone.contains(standing_at(point)).tolist() == [side > 0]


@pytest.mark.parametrize("text", ["door", "door=", "=1,2,3,4", "door=1,2", "door=1,2,3",
                                  "door=a,b,c,d", "door=1,2,nan,4", "door=1,2,3,4,5"])  # fmt: skip
def test_what_is_no_zone(text: str) -> None:
    with pytest.raises(InputError, match=r"^--zone .*must be NAME=x1,y1,x2,y2"):
        parse_zones([text])


def test_names_are_unique() -> None:
    with pytest.raises(InputError, match="--zone a: is given twice"):
        parse_zones(["a=1,2,3,4", "a=1,2,3,4"])
