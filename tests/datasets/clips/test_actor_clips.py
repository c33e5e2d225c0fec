"""Clips around actors: the right frames, the actor in the middle, the same at every run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from actiontubes.datasets.clips.actor_clips import (
    ActorClips,
    ActorTestClips,
    ActorTubes,
    window_transform,
)
from actiontubes.datasets.clips.detection_set import DetectionSet, open_detection_sets
from actiontubes.datasets.clips.options import ActorClipConfig
from actiontubes.datasets.errors import InputError
from actiontubes.datasets.flow.estimate import FLOW_ZERO
from actiontubes.datasets.tables import Tubes
from actiontubes.datasets.video.media import read_frame
from hypothesis import given
from hypothesis import strategies as st

FRAMES, HEIGHT, WIDTH = 30, 60, 100
SMALL = ActorClipConfig(frames=5, frame_step=2, size=(40, 32), jitter=0.1)
BOX_SIZE = np.array([12, 24])  # the largest of the walker, so that one pixel is 40 / (1.25 * 24)
SCALE = 40 / (1.25 * 24)
LABELS = ("walk", "turn left", "turn right")


def walker(frame: int) -> np.ndarray:
    """A box that walks to the right, from the picture's left edge."""
    corner = np.array([2 * frame, 20])
    return np.concatenate([corner, corner + BOX_SIZE])


@pytest.fixture(scope="module")
def video_set(tmp_path_factory: pytest.TempPathFactory) -> DetectionSet:
    """A folder of frames whose grey tells the frame, with the walker in white.

    Tube 7 is the walker in frames 5 to 24; tube 3 a still box in frames 0 to 3.
    """
    folder = tmp_path_factory.mktemp("videos") / "a"
    folder.mkdir()
    for frame in range(FRAMES):
        picture = np.full((HEIGHT, WIDTH, 3), 4 * frame, np.uint8)
        x1, y1, x2, y2 = walker(frame)
        picture[y1:y2, x1:x2] = 255
        cv2.imwrite(str(folder / f"{frame + 1:05d}.png"), picture)
    rows = [(frame, 0, 7, walker(frame)) for frame in range(24, 4, -1)]
    rows += [(frame, 1, 3, np.array([80, 40, 90, 60])) for frame in range(4)]
    frame, label, tube, boxes = (np.array(column) for column in zip(*rows))
    tubes = Tubes(
        np.zeros(len(rows), np.int32), frame, label, boxes.astype(float), tube, ("a",), LABELS
    )
    one = np.ones(1, np.int64)
    return DetectionSet(tubes, ("a",), LABELS, (folder,), FRAMES * one, WIDTH * one, HEIGHT * one)


def frames_seen(clip: np.ndarray) -> list[float]:
    """By the grey of the background, top right."""
    return (clip[:, 0, -1, 0] / 4).tolist()


def white(picture: np.ndarray) -> np.ndarray:
    """x1, y1, x2, y2 of what is white."""
    ys, xs = np.nonzero(picture[..., 0] > 190)
    return np.array([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1])


def test_the_middle_frame_is_the_box_s(video_set: DetectionSet) -> None:
    tubes = ActorTubes(video_set, SMALL)
    assert len(tubes) == 2 and tubes.label.tolist() == [1, 0]
    assert [tubes.num_boxes(tube) for tube in (0, 1)] == [4, 20]
    assert tubes.name(1, 0) == "a:5" and tubes.name(1, 19) == "a:24"
    clip = tubes.clip(1, 8)
    assert clip.shape == (5, 40, 32, 3) and clip.dtype == np.uint8
    assert frames_seen(clip) == [9, 11, 13, 15, 17]
    # Before the video's start and after its end its first and last frames stand still.
    assert frames_seen(tubes.clip(0, 1)) == [0, 0, 1, 3, 5]
    longer = ActorTubes(video_set, replace(SMALL, frame_step=4))
    assert frames_seen(longer.clip(1, 19))[2:] == [24, 28, 29]


def test_the_actor_is_in_the_middle_and_moves_in_a_still_window(video_set: DetectionSet) -> None:
    tubes = ActorTubes(video_set, SMALL)
    for box in (3, 8, 15):
        clip = tubes.clip(1, box)
        corners = white(clip[2])
        assert np.abs(corners.reshape(2, 2).mean(axis=0) - (16, 20)).max() <= 1.5
        assert np.abs(corners[2:] - corners[:2] - SCALE * BOX_SIZE).max() <= 1.5
        # Two frames of the video later the walker is 4 pixels of it farther.
        step = white(clip[3])[:2] - white(clip[2])[:2]
        assert np.abs(step - (4 * SCALE, 0)).max() <= 1


def test_jitter_moves_the_window_by_whole_pixels(video_set: DetectionSet) -> None:
    tubes = ActorTubes(video_set, SMALL)
    still, moved = tubes.clip(1, 9), tubes.clip(1, 9, (1.0, -0.5))
    x, y = 3, 2  # a tenth of 32 and half of a tenth of 40
    np.testing.assert_array_equal(moved[:, y:, :-x], still[:, :-y, x:])


def test_grey_beyond_the_picture(video_set: DetectionSet) -> None:
    tubes = ActorTubes(video_set, replace(SMALL, context=2.0))
    clip = tubes.clip(1, 0)  # at x = 10 to 22, of a window 38 pixels wide
    assert (clip[:, :, 0] == 127).all() and (clip[:, 20, -1] != 127).all()


@pytest.mark.parametrize("memory", [0, 50_000, 1 << 30])
def test_memory_changes_nothing(video_set: DetectionSet, memory: int) -> None:
    ours = ActorClips(ActorTubes(video_set, SMALL, memory=memory), seed=3)
    theirs = ActorClips(ActorTubes(video_set, SMALL), seed=3)
    for position in (5, 0, 2, 5):
        assert torch.equal(ours[position].clip, theirs[position].clip)


def test_samples_follow_from_seed_and_position(video_set: DetectionSet) -> None:
    tubes = ActorTubes(video_set, SMALL)
    one, same, other = (ActorClips(tubes, seed=seed) for seed in (1, 1, 2))
    forth = [one[position] for position in range(30)]
    back = [same[position] for position in reversed(range(30))][::-1]
    for a, b in zip(forth, back):
        assert (a.name, a.label, a.seed) == (b.name, b.label, b.seed)
        assert torch.equal(a.clip, b.clip)
    assert {sample.label for sample in forth} == {0, 1}
    assert len({sample.name for sample in forth}) > 10
    assert any(not torch.equal(forth[k].clip, other[k].clip) for k in range(5))


def test_mirrored_but_for_left_and_right(video_set: DetectionSet) -> None:
    plain, mirrored = (
        ActorClips(ActorTubes(video_set, replace(SMALL, flip=flip)), seed=0) for flip in (0.0, 1.0)
    )
    seen = set()
    for position in range(12):
        sample = plain[position]
        expected = sample.clip if sample.label == 1 else sample.clip.flip(2)
        assert torch.equal(mirrored[position].clip, expected)
        seen.add(sample.label)
    assert seen == {0, 1}


def test_clips_to_test_on_are_fixed(video_set: DetectionSet) -> None:
    tests = ActorTestClips(ActorTubes(video_set, SMALL))
    assert len(tests) == 6
    assert [tests[k].name for k in range(6)] == ["a:0", "a:1", "a:2", "a:9", "a:14", "a:19"]
    assert [tests[k].label for k in range(6)] == [1, 1, 1, 0, 0, 0]
    assert torch.equal(tests[4].clip, torch.from_numpy(ActorTubes(video_set, SMALL).clip(1, 9)))
    with pytest.raises(IndexError):
        tests[6]


def test_media_of_another_size_than_the_boxes(video_set: DetectionSet, tmp_path: Path) -> None:
    for file in video_set.media[0].iterdir():
        picture = cv2.resize(cv2.imread(str(file)), (2 * WIDTH, 2 * HEIGHT))
        cv2.imwrite(str(tmp_path / file.name), picture)
    large = ActorTubes(replace(video_set, media=(tmp_path,)), SMALL).clip(1, 9)
    small = ActorTubes(video_set, SMALL).clip(1, 9)
    assert np.abs(white(large[2]) - white(small[2])).max() <= 1


def test_flow(video_set: DetectionSet) -> None:
    settings = replace(SMALL, stream="flow", flow_method="dis", flip=0.0)
    clips = ActorClips(ActorTubes(video_set, settings), seed=0)
    mirrored = ActorClips(ActorTubes(video_set, replace(settings, flip=1.0)), seed=0)
    sample = next(clips[k] for k in range(9) if clips[k].label == 0)
    position = next(k for k in range(9) if clips[k].label == 0)
    assert sample.clip.shape == (5, 40, 32, 2)
    walks = sample.clip[2, 16:24, 13:19].float().mean((0, 1))
    assert walks[0] > FLOW_ZERO + 6 and abs(walks[1] - FLOW_ZERO) < 4  # 2 pixels a frame are 12.7
    back = mirrored[position].clip
    assert torch.equal(back[..., 1], sample.clip[..., 1].flip(2))
    assert torch.equal(256 - back[..., 0].int(), sample.clip[..., 0].flip(2).int())


@given(
    x=st.floats(-30, 90), y=st.floats(-20, 50), width=st.floats(12, 90), height=st.floats(12, 90)
)
def test_windows_are_cut_where_they_lie(x: float, y: float, width: float, height: float) -> None:
    seen = np.array([x, y, max(x + width, 1), max(y + height, 1)])
    change = window_transform(seen, (HEIGHT, WIDTH), (40, 32))
    cut, place = (np.array(box).reshape(2, 2) for box in (change.crop, change.place))
    assert (cut >= 0).all() and (cut <= [WIDTH, HEIGHT]).all() and (cut[1] > cut[0]).all()
    assert (place >= 0).all() and (place <= [32, 40]).all() and (place[1] > place[0]).all()
    start, stop = seen.reshape(2, 2)
    expected = (cut - start) * np.array([32, 40]) / (stop - start)
    # Half a pixel of the clip, and half of the picture's where the cut is rounded.
    tolerance = 1.01 + 0.5 * np.array([32, 40]) / (stop - start)
    assert (np.abs(place - expected) <= tolerance).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"frames": 0}, "--frames 0: must be 1 or more"),
        ({"context": 0.9}, "context 0.9: must be 1 or more"),
        ({"jitter": 1.5}, "jitter 1.5: must be between 0 and 1"),
        ({"flip": 2.0}, "--flip 2.0: must be between 0 and 1"),
    ],
)
def test_settings_that_are_none(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        replace(SMALL, **changes)


def test_real_video(shared: Callable[[str], Path]) -> None:
    folder = shared("ucf101-24")
    name = "v_Basketball_g01_c01"
    videos, _ = open_detection_sets(
        folder / "pyannot.pkl", media=folder / "videos", train_videos=[name],
        test_videos=["v_SoccerJuggling_g23_c01"],
    )  # fmt: skip
    tests = ActorTestClips(ActorTubes(videos, ActorClipConfig(), memory=0))
    box = read_frame(videos.media[0], int(tests[1].name.rpartition(":")[2]))
    assert box is not None
    row = videos.tubes.frame.tolist().index(int(tests[1].name.rpartition(":")[2]))
    x1, y1, x2, y2 = videos.tubes.boxes[row].round().astype(int)
    # The middle of the clip's middle frame is the middle of the box, as large as the tube asks for.
    clip = tests[1].clip.numpy()[4]
    largest = (videos.tubes.boxes[:, 2:] - videos.tubes.boxes[:, :2]).max(axis=0)
    scale = (np.array([64, 80]) / (1.25 * largest)).min()
    size = np.round(scale * np.array([x2 - x1, y2 - y1])).astype(int)
    theirs = cv2.resize(box[y1:y2, x1:x2], size.tolist(), interpolation=cv2.INTER_AREA)
    x, y = (np.array([64, 80]) - size) // 2
    ours = clip[y : y + size[1], x : x + size[0]]
    inner = np.s_[2:-2, 2:-2]
    assert np.abs(ours[inner].astype(float) - theirs[inner]).mean() < 7


def test_nothing_to_draw_from(video_set: DetectionSet) -> None:
    with pytest.raises(InputError, match="--seed -1: must be 0 or more"):
        ActorClips(ActorTubes(video_set, SMALL), seed=-1)
    tubes = video_set.tubes
    none = {
        name: values[:0] for name, values in vars(tubes).items() if isinstance(values, np.ndarray)
    }
    with pytest.raises(InputError, match="none of the 1 videos has"):
        ActorTubes(replace(video_set, tubes=replace(tubes, **none)), SMALL)
