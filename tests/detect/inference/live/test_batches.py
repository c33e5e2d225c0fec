"""A live video cut into clips: which frames they have, and how long they wait."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from actiontubes.datasets.video.live_queue import LiveFrame
from actiontubes.detect.inference.clip_batches import iter_clip_batches
from actiontubes.detect.inference.clip_geometry import ClipGeometry
from actiontubes.detect.inference.live.batches import LivePeople, Lookahead, iter_live_batches
from actiontubes.detect.model.config import DetectorConfig
from actiontubes.detect.people.person_boxes import FunctionSource

CONFIG = DetectorConfig(labels=("walk", "run"), frames=8, size=(24, 32))


def make_frame(number: int, height: int = 24, width: int = 32) -> np.ndarray:
    return np.full((height, width, 3), number % 256, np.uint8)


def frames(numbers: range, rate: float = 25.0) -> Iterator[LiveFrame]:
    for number in numbers:
        yield LiveFrame(number, number / rate, make_frame(number), number / rate)


def test_batches_are_those_of_a_whole_video() -> None:
    """With the whole lookahead, live clips are those of `iter_clip_batches`."""
    whole = [(make_frame(number), None) for number in range(40)]
    expected = list(iter_clip_batches(whole, ClipGeometry(CONFIG), key_frames_per_clip=8))
    live = list(iter_live_batches(frames(range(40)), CONFIG, step=8, lookahead=8))
    assert [len(keys) for _, keys in live] == [8] * 5
    for (batch, keys), other in zip(live, expected, strict=True):
        np.testing.assert_array_equal([key.number for key in keys], other.frame_numbers)
        assert torch.equal(batch.clips, other.clips)
        assert torch.equal(batch.key_frame_positions, other.key_frame_positions.double())


@pytest.mark.parametrize(("step", "lookahead"), [(4, 0), (8, 2), (5, None), (16, 100)])
@pytest.mark.parametrize("frame_step", [1, 2])
def test_every_frame_is_a_key_frame_once(step: int, lookahead: int | None, frame_step: int) -> None:
    config = DetectorConfig(labels=("walk",), frames=8, size=(24, 32),
                                frame_step=frame_step)  # fmt: skip
    came = 0

    def counted() -> Iterator[LiveFrame]:
        nonlocal came
        for frame in frames(range(50)):
            came += 1
            yield frame

    seen = []
    lengths = set()
    most = 8 * frame_step + 4 if lookahead is None else lookahead
    for batch, keys in iter_live_batches(counted(), config, step=step, lookahead=lookahead):
        lengths.add(batch.clips.shape[1])
        for place, frame in zip(batch.key_frame_positions.tolist(), keys, strict=True):
            here = batch.clips[0, int(place), 0, 0, 0].item()
            assert here == frame.number - frame.number % 1 - (place % 1) * frame_step
            seen.append(frame.number)
        # The first of a clip's key frames waited for the others, and for what it looks ahead.
        assert came - keys[0].number <= max(step + 3 * frame_step, 4) * 2 + most
    assert seen == list(range(50)) and len(lengths) == 1


def test_a_smaller_lookahead_waits_less() -> None:
    """After frame 3 four frames are there: the clip ends with the last of them again and again."""
    few = iter_live_batches(frames(range(100)), CONFIG, step=4, lookahead=0)
    batch, keys = next(few)
    assert [key.number for key in keys] == [0, 1, 2, 3]
    assert batch.clips[0, :, 0, 0, 0].tolist() == [0] * 8 + [0, 1, 2, 3] + [3] * 8
    batch, _ = next(few)
    assert batch.clips[0, :, 0, 0, 0].tolist() == [0] * 4 + list(range(8)) + [7] * 8


def test_people_in_pixels_of_the_clip() -> None:
    def people(frames: np.ndarray, first: int) -> list[np.ndarray]:
        return [np.array([[first, 0, 64, 48, 0.9]], np.float32) for _ in frames]

    big = (LiveFrame(n, n / 25, make_frame(n, 48, 64), n / 25) for n in range(4))
    find = LivePeople(FunctionSource(people)).find
    batch, _ = next(iter_live_batches(big, CONFIG, step=4, lookahead=0, people=find))
    assert [boxes.tolist() for boxes in batch.person_boxes] == [
        [[each / 2, 0.0, 32.0, 24.0]] for each in range(4)
    ]


def test_a_slow_source_is_waited_for_a_second_at_most() -> None:
    """At 4 frames a second a clip waits for 4 frames, though it could have 8; at 25 for all 8."""
    for rate, ahead in ((4.0, 4), (25.0, 8)):
        came = 0

        def counted(rate: float = rate) -> Iterator[LiveFrame]:
            nonlocal came
            for frame in frames(range(60), rate):
                came += 1
                yield frame

        waits = []
        for _, keys in iter_live_batches(counted(), CONFIG, step=4, lookahead=8):
            waits.append(came - 1 - keys[-1].number)
        assert waits[2:10] == [ahead] * 8


def test_the_lookahead_follows_the_rate() -> None:
    ahead = Lookahead(20, 1.0)
    assert ahead() == 20  # nothing is known yet
    list(ahead.watch(frames(range(10), 5.0)))
    assert ahead() == 5
    list(ahead.watch(frames(range(100, 110), 100.0)))
    assert ahead() == 20
