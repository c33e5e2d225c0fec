"""Boxes stay on what they hold, whatever is done to a clip."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from actiontubes.datasets.clips.augmentation import (
    ClipTransform,
    color_matrix,
    sample_transform,
)
from actiontubes.datasets.clips.options import Augmentation
from actiontubes.datasets.errors import InputError
from actiontubes.datasets.video.resize import resize
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.transforms.v2 import functional as F

BACKGROUND, RECTANGLE = (40, 90, 60), (220, 60, 80)

sides = st.integers(24, 150)


@st.composite
def rectangles(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Two pictures with the same rectangle, (2, h, w, 3), and its box (1, 4)."""
    width, height = draw(sides), draw(sides)
    x1, y1 = draw(st.integers(0, width - 8)), draw(st.integers(0, height - 8))
    x2, y2 = draw(st.integers(x1 + 6, width)), draw(st.integers(y1 + 6, height))
    pictures = np.full((2, height, width, 3), BACKGROUND, np.uint8)
    pictures[:, y1:y2, x1:x2] = RECTANGLE
    return pictures, np.array([[x1, y1, x2, y2]], np.float64)


def found_box(picture: np.ndarray) -> np.ndarray | None:
    """Where red is more than green by half the rectangle's contrast or more."""
    values = picture.astype(float)
    red = values[..., 0] - values[..., 1] > 50
    if not red.any():
        return None
    rows, columns = np.flatnonzero(red.any(axis=1)), np.flatnonzero(red.any(axis=0))
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], np.float64)


@settings(deadline=None, max_examples=150)
@given(
    rectangles(),
    sides,
    sides,
    st.sampled_from([(1.0, 1.0), (0.4, 0.9), (0.75, 1.25), (1.1, 3.0)]),
    st.booleans(),
    st.integers(0, 2**31),
)
def test_a_rectangle_stays_in_its_box(
    drawn: tuple[np.ndarray, np.ndarray],
    height: int,
    width: int,
    scale: tuple[float, float],
    crop: bool,
    seed: int,
) -> None:
    pictures, box = drawn
    augmentation = Augmentation(flip=0.5, scale=scale, crop=crop, color=0.1)
    change = sample_transform(augmentation, np.random.default_rng(seed), pictures, height, width)
    clip = change.apply_to_frames(pictures)
    assert clip.shape == (2, height, width, 3) and clip.dtype == np.uint8
    (changed,), (kept,) = change.apply_to_boxes(box)
    if not kept:
        return
    found = found_box(clip[0])
    pixels = (changed[2:] - changed[:2]).min()
    if found is None:
        assert pixels < 2
        return
    # Linear interpolation moves an edge by up to half a pixel of the coarser of the two grids.
    zoom = max(change.size[0] / pictures.shape[1], change.size[1] / pictures.shape[2], 1) * scale[1]
    assert np.abs(found - changed).max() <= 1 + zoom / 2
    assert (clip[0] == clip[1]).all()


@given(rectangles())
def test_mirrored_twice_is_as_before(drawn: tuple[np.ndarray, np.ndarray]) -> None:
    pictures, box = drawn
    _, height, width, _ = pictures.shape
    mirror = ClipTransform((0, 0, width, height), (0, 0, width, height), (height, width), flip=True)
    once = mirror.apply_to_frames(pictures)
    assert (once == pictures[:, :, ::-1]).all()
    assert (mirror.apply_to_frames(once) == pictures).all()
    assert mirror.apply_to_boxes(mirror.apply_to_boxes(box)[0])[0].tolist() == box.tolist()


def test_without_augmentation_the_picture_is_stretched() -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (3, 24, 32, 3), np.uint8)
    change = sample_transform(None, np.random.default_rng(0), pictures, 48, 128)
    assert (change.apply_to_frames(pictures)[1] == resize(pictures[1], 48, 128)).all()
    boxes, kept = change.apply_to_boxes(np.array([[1.0, 2, 30, 20]]))
    assert boxes.tolist() == [[4, 4, 120, 40]] and kept.all()


def test_boxes_cut_by_hand() -> None:
    """The right half of a 40 x 20 picture, twice as large, mirrored."""
    change = ClipTransform((20, 0, 40, 20), (0, 0, 40, 40), (40, 40), flip=True)
    boxes = np.array([[22.0, 2, 26, 10], [13, 0, 23, 20], [12, 0, 22, 20], [0, 0, 9, 9]])
    changed, kept = change.apply_to_boxes(boxes)
    # 0.3 of the second is left, 0.2 of the third, nothing of the last.
    assert kept.tolist() == [True, True, False, False]
    assert changed[:2].tolist() == [[28, 4, 36, 20], [34, 0, 40, 40]]
    none, kept = change.apply_to_boxes(np.empty((0, 4)))
    assert none.shape == (0, 4) and kept.shape == (0,)


@pytest.mark.parametrize("factors", [(1.2, 1, 1), (1, 0.7, 1), (1, 1, 1.3), (0.9, 1.2, 0.8)])
def test_colours_as_torchvision_has_them(factors: tuple[float, float, float]) -> None:
    rng = np.random.default_rng(3)
    # Not too near to black and white, where torchvision cuts after each step.
    picture = rng.integers(70, 160, (20, 30, 3)).astype(np.float32) / 255
    image = torch.from_numpy(picture).permute(2, 0, 1)
    expected = F.adjust_brightness(image, factors[0])
    expected = F.adjust_saturation(F.adjust_contrast(expected, factors[1]), factors[2])
    grey = F.rgb_to_grayscale(image).mean().item()
    matrix = color_matrix(*factors, grey)
    ours = picture @ matrix[:, :3].T + matrix[:, 3]
    np.testing.assert_allclose(ours, expected.permute(1, 2, 0), atol=2e-3)


def test_colours_of_a_clip_change_all_alike() -> None:
    pictures = np.random.default_rng(0).integers(60, 180, (4, 24, 32, 3), np.uint8)
    pictures[2] = pictures[0]
    augmentation = Augmentation(flip=0, scale=(1, 1), color=0.4)
    clip = sample_transform(
        augmentation, np.random.default_rng(1), pictures, 24, 32
    ).apply_to_frames(pictures)
    assert (clip[0] == clip[2]).all() and (clip[0] != pictures[0]).any()
    still = Augmentation(flip=0, scale=(1, 1), color=0)
    clip = sample_transform(still, np.random.default_rng(1), pictures, 24, 32).apply_to_frames(
        pictures
    )
    assert (clip == pictures).all()


def test_zooms_and_places_cover_their_range() -> None:
    pictures = np.zeros((1, 100, 200, 3), np.uint8)
    rng = np.random.default_rng(0)
    augmentation = Augmentation(flip=0.3, scale=(0.5, 2))
    changes = [sample_transform(augmentation, rng, pictures, 100, 200) for _ in range(2000)]
    out = [change for change in changes if change.place != (0, 0, 200, 100)]
    # Zooms are drawn by their logarithm, so that as many go out as come in.
    assert 900 < len(out) < 1100
    assert 500 < sum(change.flip for change in changes) < 700
    cuts = np.array([change.crop for change in changes if change not in out])
    assert cuts[:, :2].min() == 0 and cuts[:, 2].max() == 200 and cuts[:, 3].max() == 100
    assert cuts[:, 0].max() > 90 and 100 <= (cuts[:, 2] - cuts[:, 0]).min() < 104
    middle = sample_transform(Augmentation(scale=(2, 2), crop=False), rng, pictures, 100, 200)
    assert middle.crop == (50, 25, 150, 75)


def test_resize_keeps_means_and_edges() -> None:
    """Shrunk by halves or more, every pixel counts."""
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (97, 211, 3), np.uint8)
    for size in ((40, 90), (48, 105), (20, 30), (97, 211), (130, 300)):
        small = resize(picture, *size)
        assert small.shape == (*size, 3)
        np.testing.assert_allclose(small.mean((0, 1)), picture.mean((0, 1)), atol=0.5)
    assert (resize(picture, 97, 211) == picture).all()
    halves = np.kron(rng.integers(0, 256, (8, 9, 3), np.uint8), np.ones((2, 2, 1), np.uint8))
    assert (resize(halves, 8, 9) == halves[::2, ::2]).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"flip": 1.5}, "--flip 1.5: must be between 0 and 1"),
        ({"color": -0.1}, "--color -0.1: must be between 0 and 1"),
        ({"scale": (1.2, 0.8)}, r"--scale 1.2 0.8: "),
        ({"scale": (0.0, 1.0)}, "scale"),
    ],
)
def test_refused(options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Augmentation(**options)
