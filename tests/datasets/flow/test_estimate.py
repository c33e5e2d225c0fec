"""Optical flow: OpenCV's own numbers, an exact zero, and mirrors that are exact."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import pytest
from actiontubes.datasets.clips.augmentation import ClipTransform, sample_transform
from actiontubes.datasets.clips.options import Augmentation
from actiontubes.datasets.errors import InputError
from actiontubes.datasets.flow.estimate import (
    FLOW_ZERO,
    MAX_DISPLACEMENT,
    FlowMethod,
    append_flow,
    append_missing_flow,
    compute_flow,
    decode_flow,
    encode_flow,
    flow_size,
    iter_flow,
    stack_flow,
)
from actiontubes.datasets.video.media import read_frames
from actiontubes.datasets.video.resize import resize
from hypothesis import given
from hypothesis import strategies as st

METHODS: tuple[FlowMethod, ...] = ("tvl1", "dis")


def texture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Blobs some pixels wide."""
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    return cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 2.5), None, 0, 255, cv2.NORM_MINMAX)


def mirror(flow: np.ndarray) -> np.ndarray:
    """(..., W, 2) uint8 flow of mirrored frames: the columns and the x-components change sides."""
    mirrored = flow[..., ::-1, :].copy()
    mirrored[..., 0] = 256 - mirrored[..., 0].astype(int)
    return mirrored


def moving(count: int, step: tuple[int, int] = (3, 0), side: int = 64) -> Iterator[np.ndarray]:
    """A window that moves over a texture, so that all in it moves by `step` pixels, (x, y)."""
    room = count * max(map(abs, step))
    wide = texture(side + 2 * room, side + 2 * room)
    for number in range(count):
        x, y = (room - number * one for one in step)
        yield np.ascontiguousarray(wide[y : y + side, x : x + side])


@pytest.mark.parametrize("method", METHODS)
def test_as_opencv_itself_on_a_real_clip(shared: Callable[[str], Path], method: str) -> None:
    video = shared("ucf101-24/videos/v_Biking_g01_c01.mp4")
    before, after = (one[60:130, 130:230] for one in read_frames(video, 40, 42))
    grey = [cv2.cvtColor(one, cv2.COLOR_RGB2GRAY) for one in (before, after)]
    if method == "tvl1":
        algorithm = cv2.optflow.createOptFlow_DualTVL1()
    else:
        algorithm = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    expected = algorithm.calc(*grey, None)
    found = compute_flow(before, after, method)  # type: ignore[arg-type]
    assert found.dtype == np.float32 and np.array_equal(found, expected)
    assert np.abs(found).max() > 1


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("step", [(3, 0), (-2, 1)])
def test_a_shift_is_found(method: FlowMethod, step: tuple[int, int]) -> None:
    found = compute_flow(*moving(2, step), method)
    assert found.shape == (64, 64, 2)
    inner = found[12:-12, 12:-12].reshape(-1, 2)
    np.testing.assert_allclose(np.median(inner, axis=0), step, atol=0.1)
    assert np.abs(inner - step).mean() < 0.3


def test_values_by_hand() -> None:
    pixels = np.array([0, 20, -20, 35, -900, 10, 20 / 127, -20 / 127, 0.07, -0.07])
    values = encode_flow(pixels)
    assert values.tolist() == [128, 255, 1, 255, 1, 192, 129, 127, 128, 128]
    assert values.dtype == np.uint8
    assert decode_flow(np.array([128, 255, 1], np.uint8)).tolist() == [0, 20, -20]


@given(st.floats(-50, 50, width=32))
def test_opposite_flow_has_the_opposite_value(pixels: float) -> None:
    one, other = encode_flow(np.array([pixels, -pixels]))
    assert int(one) + int(other) == 2 * FLOW_ZERO and one > 0
    assert (
        abs(decode_flow(one) - np.clip(pixels, -MAX_DISPLACEMENT, MAX_DISPLACEMENT))
        <= MAX_DISPLACEMENT / 127 / 2 + 1e-5
    )
    assert encode_flow(decode_flow(one)) == one


@given(st.integers(1, 2000), st.integers(1, 2000))
def test_size(height: int, width: int) -> None:
    h, w = flow_size(height, width)
    assert min(h, w) <= 256 and (h, w) <= (height, width)
    if min(height, width) <= 256:
        assert (h, w) == (height, width)
    else:
        assert min(h, w) == 256 and abs(w / h - width / height) < 0.01 * width / height + 4 / 256


def test_still_pictures_have_no_flow() -> None:
    still = texture(64, 64)
    for method in METHODS:
        fields = [field for _, field in iter_flow([still, still, still], method)]
        assert all((field == FLOW_ZERO).all() for field in fields) and len(fields) == 3
    ((picture, field),) = iter_flow([still])
    assert picture is still and (field == FLOW_ZERO).all() and field.shape == (64, 64, 2)
    assert not list(iter_flow([]))


def test_each_picture_with_the_flow_to_the_next() -> None:
    pictures = list(moving(6, (2, 1)))
    for threads in (1, 3, 0, 20):
        found = list(iter_flow(pictures, "dis", threads))
        assert all(a is b for (a, _), b in zip(found, pictures, strict=True))
        for number in range(5):
            expected = encode_flow(compute_flow(*pictures[number : number + 2], "dis"))
            assert np.array_equal(found[number][1], expected)
        assert np.array_equal(found[5][1], found[4][1])


@pytest.mark.parametrize("threads", [1, 4])
def test_memory_does_not_grow(threads: int) -> None:
    made = 0

    def endless() -> Iterator[np.ndarray]:
        nonlocal made
        while True:
            made += 1
            yield np.zeros((16, 16, 3), np.uint8)

    for number, _ in enumerate(islice(append_flow(endless(), "dis", threads), 200)):
        assert made <= number + threads + 1


@pytest.mark.parametrize("method", METHODS)
def test_flow_of_mirrored_pictures(method: FlowMethod) -> None:
    """But for the algorithms' own order of pixels: half a step in the mean."""
    before, after = moving(2, (3, 1))
    found = mirror(encode_flow(compute_flow(before, after, method)))
    expected = encode_flow(compute_flow(before[:, ::-1].copy(), after[:, ::-1].copy(), method))
    difference = np.abs(found.astype(int) - expected)[8:-8, 8:-8]
    assert difference.mean() < 0.5 and np.median(found[..., 0]) < FLOW_ZERO < np.median(
        found[..., 1]
    )
    assert np.array_equal(mirror(found), encode_flow(compute_flow(before, after, method)))


def test_larger_pictures() -> None:
    """Of a short side of 512, flow is in pixels of 256, and stretched without a change of value."""
    before, after = (cv2.resize(one, (576, 512)) for one in moving(2, (3, 0), side=144))
    found = compute_flow(before, after, "dis")
    assert found.shape == (256, 288, 2)
    assert abs(np.median(found[..., 0]) - 6) < 0.2  # 3 of 144 pixels, 6 of 288
    both = next(append_flow([before, after], "dis"))
    assert both.shape == (512, 576, 5) and np.array_equal(both[..., :3], before)
    assert np.median(both[..., 3]) == encode_flow(np.array(6.0))


def test_pictures_that_have_flow_stay() -> None:
    pictures = list(moving(3))
    both = list(append_flow(pictures, "dis"))
    assert all(a is b for a, b in zip(append_missing_flow(both, "dis"), both, strict=True))
    for found, expected in zip(append_missing_flow(pictures, "dis"), both, strict=True):
        assert np.array_equal(found, expected)
    assert not list(append_missing_flow([]))


def test_errors() -> None:
    small, large = np.zeros((20, 30, 3), np.uint8), np.zeros((20, 32, 3), np.uint8)
    with pytest.raises(InputError, match="30x20 and 32x20"):
        compute_flow(small, large)
    with pytest.raises(InputError, match="must be tvl1 or dis"):
        compute_flow(small, small, "farneback")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="fails on frames of 4x4"):
        compute_flow(small[:4, :4], small[:4, :4], "dis")
    with pytest.raises(InputError, match="30x20 and 32x20"):
        list(iter_flow([small, small, large], "dis", threads=2))


def test_no_contrib(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(cv2, "optflow")
    picture = np.zeros((20, 20, 3), np.uint8)
    with pytest.raises(InputError, match="opencv-contrib-python-headless"):
        compute_flow(picture, picture)
    assert compute_flow(picture, picture, "dis").shape == (20, 20, 2)


# Augmentation of pictures with flow.


def with_random_flow(height: int = 24, width: int = 32) -> np.ndarray:
    rng = np.random.default_rng(0)
    rgb = rng.integers(0, 256, (3, height, width, 3), np.uint8)
    return np.concatenate([rgb, rng.integers(1, 256, (3, height, width, 2), np.uint8)], axis=3)


def test_mirrored_clips() -> None:
    both = with_random_flow()
    change = ClipTransform((0, 0, 32, 24), (0, 0, 32, 24), (24, 32), flip=True)
    clip = change.apply_to_frames(both)
    assert np.array_equal(clip[..., :3], both[:, :, ::-1, :3])
    assert np.array_equal(clip[..., 3:], mirror(both[..., 3:]))
    assert np.array_equal(change.apply_to_frames(clip), both)
    assert np.array_equal(change.apply_to_frames(both[..., 3:]), clip[..., 3:])


@pytest.mark.parametrize("size", [(24, 32), (48, 80), (10, 12), (7, 9)])
def test_channels_are_changed_apart(size: tuple[int, int]) -> None:
    """RGB is what it is without flow, flow what it is without RGB, colours do not touch it."""
    both = with_random_flow()
    rng = np.random.default_rng(2)
    changes = sample_transform(Augmentation(scale=(0.6, 0.6), color=0.5), rng, both, *size)
    clip = changes.apply_to_frames(both)
    assert clip.shape == (3, *size, 5)
    assert np.array_equal(clip[..., :3], changes.apply_to_frames(both[..., :3].copy()))
    assert np.array_equal(clip[..., 3:], changes.apply_to_frames(both[..., 3:].copy()))
    still = stack_flow(both[0, ..., :3], np.full((24, 32, 2), FLOW_ZERO, np.uint8))
    assert (
        changes.apply_to_frames(still[None])[..., 3:] == FLOW_ZERO
    ).all()  # around the picture, too
    assert np.array_equal(resize(both[0], *size)[..., 3:], resize(both[0, ..., 3:].copy(), *size))
    alone = sample_transform(
        Augmentation(scale=(0.6, 0.6)), np.random.default_rng(2), both[..., 3:], *size
    )
    assert alone.color is None and (alone.crop, alone.place) == (changes.crop, changes.place)
