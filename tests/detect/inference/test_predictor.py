"""Each key frame is predicted once from the right frames; both modes agree where they should."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from actiontubes.datasets.tables import Detections
from actiontubes.detect.inference.clip_batches import (
    ClipBatch,
    iter_clip_batches,
    prefetch_clip_batches,
)
from actiontubes.detect.inference.clip_geometry import KEY_FRAMES_PER_CLIP, ClipGeometry
from actiontubes.detect.inference.predictor import (
    TorchPredictor,
    compile_trunk,
    postprocess,
    predict_frames,
)
from actiontubes.detect.model.build import build_detector
from actiontubes.detect.model.config import DetectorConfig
from actiontubes.detect.model.detector import Detector
from actiontubes.detect.people.person_boxes import FunctionSource
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

pytestmark = pytest.mark.usefixtures("one_thread")


def geometry(context: int, step: int = 1, **changes: Any) -> ClipGeometry:
    return ClipGeometry(DetectorConfig(labels=("run",), frames=context, frame_step=step, **changes))


def numbered_frames(count: int) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
    """Frames of one pixel that is the frame's number, each with a box that is, too."""
    for number in range(count):
        picture = np.array([number // 256, number % 256, 0], np.uint8).reshape(1, 1, 3)
        yield picture, np.full((1, 4), number, np.float64)


def numbers(clips: Tensor) -> np.ndarray:
    """(N, T) the frames that clips are made of."""
    return clips[:, :, 0, 0, 0].numpy().astype(int) * 256 + clips[:, :, 0, 0, 1].numpy()


def check_batches(
    found: Iterable[ClipBatch], count: int, context: int, step: int, mode: str, key_frame_step: int
) -> None:
    keys: list[int] = []
    for batch in found:
        seen = numbers(batch.clips)
        assert len(batch.clip_index) == len(batch.key_frame_positions) > 0
        assert len(batch.frame_numbers) == len(batch.clip_index)
        for row, frame in enumerate(batch.frame_numbers):
            clip = seen[batch.clip_index[row]]
            key = float(batch.key_frame_positions[row])
            # The clip's frame i is so many of the video's frames from the key frame.
            wanted = np.round(frame + (np.arange(len(clip)) - key) * step)
            assert np.array_equal(clip, np.clip(wanted, 0, count - 1))
            # There is the whole context, the key frame number context // 2 of it.
            before, after = np.floor(key), len(clip) - np.floor(key)
            assert before >= context // 2 and after >= context - context // 2
            if mode == "per_clip":
                assert len(clip) == context and key == context // 2
            assert batch.person_boxes[row].tolist() == [[frame] * 4]
        if mode == "shared":
            assert len(seen) == 1 and seen.shape[1] % 4 == 0
        keys += batch.frame_numbers.tolist()
    assert keys == list(range(0, count, key_frame_step))


@pytest.mark.parametrize("mode", ["shared", "per_clip"])
@pytest.mark.parametrize("step", [1, 2, 3])
@pytest.mark.parametrize("key_frame_step", [1, 3, 150])
def test_each_key_frame_once_with_its_context(mode: Any, step: int, key_frame_step: int) -> None:
    for count in (
        1,
        2,
        5,
        19,
        KEY_FRAMES_PER_CLIP - 1,
        KEY_FRAMES_PER_CLIP,
        KEY_FRAMES_PER_CLIP + 1,
        2 * KEY_FRAMES_PER_CLIP,
        2 * KEY_FRAMES_PER_CLIP + 31,
        301,
    ):
        frames = numbered_frames(count)
        found = iter_clip_batches(
            frames, geometry(20, step), mode=mode, key_frame_step=key_frame_step
        )
        check_batches(found, count, 20, step, mode, key_frame_step)


@settings(max_examples=60, deadline=None)
@given(
    count=st.integers(0, 90),
    context=st.integers(1, 25),
    step=st.integers(1, 4),
    mode=st.sampled_from(["shared", "per_clip"]),
    key_frame_step=st.integers(1, 40),
    num_key_frames=st.integers(1, 40),
)
def test_any_sizes(
    count: int, context: int, step: int, mode: Any, key_frame_step: int, num_key_frames: int
) -> None:
    frames = numbered_frames(count)
    found = iter_clip_batches(
        frames,
        geometry(context, step),
        mode=mode,
        key_frame_step=key_frame_step,
        key_frames_per_clip=num_key_frames,
    )
    check_batches(found, count, context, step, mode, key_frame_step)


def test_shared_clips_see_time_in_one_phase() -> None:
    """So that a frame's features do not depend on the batch that it lies in."""
    for step in (1, 2, 3):
        starts = set()
        for batch in iter_clip_batches(numbered_frames(400), geometry(20, step)):
            starts.add(
                (batch.frame_numbers[0] - batch.key_frame_positions[0].item() * step) % (4 * step)
            )
        assert len(starts) == 1


def test_memory_does_not_grow() -> None:
    """A batch is handed out as soon as its frames are there; older frames are forgotten."""
    made = 0

    def frames() -> Iterator[tuple[np.ndarray, None]]:
        nonlocal made
        for made in range(1000):  # noqa: B007
            yield np.zeros((1, 1, 3), np.uint8), None

    for mode in ("shared", "per_clip"):
        for batch in iter_clip_batches(frames(), geometry(20), mode=mode):  # type: ignore[arg-type]
            assert made <= batch.frame_numbers[-1] + 20
            assert not batch.person_boxes and batch.clips.shape[1] <= KEY_FRAMES_PER_CLIP + 2 * 20


def narrow(**changes: Any) -> Detector:
    torch.manual_seed(0)
    values: dict[str, Any] = {
        "labels": ("a", "b", "c"), "backbone": "i2d", "width_multiplier": 0.05, "proposals":
        "external", "hidden": 16, "roi_size": 2, "frames": 8, "size": (32, 48), "norm": "batch",
        "anchor_sides": (16, 32),
    }  # fmt: skip
    detector = build_detector(DetectorConfig(**values | changes))
    # So that small differences of features are differences of scores, and boxes move.
    torch.nn.init.normal_(detector.head.scores.weight, std=1.0)
    torch.nn.init.normal_(detector.head.deltas.weight, std=0.3)
    return detector.eval()


def video(count: int, change_every: int = 1, size: tuple[int, int] = (32, 48)) -> list[np.ndarray]:
    rng = np.random.default_rng(5)
    pictures = [rng.integers(0, 256, (*size, 3), np.uint8) for _ in range(count)]
    return [pictures[i // change_every * change_every] for i in range(count)]


def two_people(frames: np.ndarray, first: int) -> list[np.ndarray]:
    """In pixels of the frames, which may be larger than the trunk's."""
    box = np.array([[4.0, 4, 30, 28, 1], [10, 2, 46, 30, 0.5]])
    box[:, :4] *= np.tile(np.array(frames.shape[2:0:-1]) / (48, 32), 2)
    return [box for _ in frames]


def results(
    detector: Detector, frames: list[np.ndarray], external: bool = True, **options: Any
) -> dict[int, np.ndarray]:
    """Label, score and box of the detections of each frame."""
    rows: dict[int, list] = {}
    dtype = options.pop("autocast_dtype", None)
    proposals = "external" if external else "own"
    predictor = TorchPredictor(detector, proposals=proposals, autocast_dtype=dtype)
    source = FunctionSource(two_people) if external else None
    for found in predict_frames(predictor, frames, source=source, **options):
        for frame, label, score, box in zip(found.frame, found.label, found.score, found.boxes):
            rows.setdefault(int(frame), []).append([label, score, *box])
    return {frame: np.array(values) for frame, values in rows.items()}


def predict_batch(detector: Detector, batch: ClipBatch, threshold: float = 0.01) -> Detections:
    predictor = TorchPredictor(detector)
    return postprocess(predictor.predict(batch), predictor.config, threshold=threshold)


def test_both_ways_agree_on_a_trunk_that_sees_single_frames() -> None:
    """i2d below its poolings over time, every second frame a step: both ways see an even frame
    itself and the one before the last, where odd ones lie between two steps of the shared map."""
    settings = {"endpoint": "MaxPool_3a_3x3", "frames": 4}
    detector = narrow(**settings)
    assert detector.window(detector.config.endpoint) == 2
    frames = video(KEY_FRAMES_PER_CLIP + 9)
    shared, per_clip = results(detector, frames), results(detector, frames, mode="per_clip")
    assert list(shared) == list(per_clip) == list(range(KEY_FRAMES_PER_CLIP + 9))
    for frame in range(0, KEY_FRAMES_PER_CLIP + 9, 2):
        np.testing.assert_allclose(shared[frame], per_clip[frame], atol=1e-5)
    assert not np.allclose(shared[2][:, 1], shared[4][:, 1], atol=1e-3)


@pytest.mark.parametrize("proposals", ["external", "features", "resnet18"])
def test_both_ways_agree_on_a_still_video(proposals: str) -> None:
    """With i2d, which has no zeros around a clip's ends."""
    detector = narrow(proposals=proposals, proposal_count=5)
    assert detector.window(detector.config.endpoint) == 2
    frames = video(6, 6)
    external = proposals == "external"
    shared = results(detector, frames, external)
    per_clip = results(detector, frames, external, mode="per_clip")
    assert list(shared) == list(per_clip) == list(range(6))
    for frame in range(6):
        np.testing.assert_allclose(shared[frame], per_clip[frame], atol=1e-5)


def test_batches_of_any_size_give_the_same_detections() -> None:
    """With a context as long as what a step sees of time."""
    detector = narrow(backbone="i3d", endpoint="Conv2d_2c_3x3", frames=16)
    frames = [(frame, np.array([[4.0, 4, 30, 28]])) for frame in video(40)]
    whole: list[np.ndarray] = []
    for num_key_frames in (4, 12, 64):
        found = [
            predict_batch(detector, batch, threshold=0.0)
            for batch in iter_clip_batches(frames, geometry(16), key_frames_per_clip=num_key_frames)
        ]
        rows = [np.stack([f.frame, f.label, f.score, *f.boxes.T], axis=1) for f in found]
        whole.append(np.concatenate(rows))
    inner = [rows[(rows[:, 0] >= 16) & (rows[:, 0] < 24)] for rows in whole]
    assert len(inner[0]) == 8 * 3
    for rows in inner[1:]:
        np.testing.assert_allclose(rows, inner[0], atol=1e-4)


def test_more_key_frames_than_are_scored_at_once() -> None:
    detector = narrow(proposals="features", proposal_count=3)
    batch = next(iter_clip_batches([(frame, None) for frame in video(70)], geometry(8)))
    found = predict_batch(detector, batch, threshold=0.0)
    assert set(found.frame.tolist()) == set(range(64))
    assert (np.diff(found.frame) >= 0).all()
    alone = ClipBatch(
        batch.clips, batch.clip_index[40:41], batch.key_frame_positions[40:41],
        batch.frame_numbers[40:41],
    )  # fmt: skip
    expected, rows = predict_batch(detector, alone, threshold=0.0), found.frame == 40
    np.testing.assert_allclose(found.score[rows], expected.score, atol=1e-5)
    np.testing.assert_allclose(found.boxes[rows], expected.boxes, atol=1e-4)


@pytest.mark.parametrize("size", [(32, 48), (64, 96), (48, 48)])
def test_boxes_are_fractions_of_the_frame(size: tuple[int, int]) -> None:
    """Of frames of any size, and people given in their pixels."""
    detector = narrow()
    torch.nn.init.zeros_(detector.head.deltas.weight)
    found = results(detector, video(3, size=size))
    expected = np.array([[4, 4, 30, 28], [10, 2, 46, 30]]) / (48, 32, 48, 32)
    for rows in found.values():
        for box in rows[:, 2:]:
            assert np.abs(box - expected).max(axis=1).min() < 1e-6
    frames = {
        found.frame.dtype
        for found in predict_frames(
            TorchPredictor(detector), video(3), source=FunctionSource(two_people)
        )
    }
    assert frames == {np.dtype(np.int32)}


@pytest.mark.parametrize("key_frame_step", [1, 3])
@pytest.mark.parametrize("mode", ["shared", "per_clip"])
def test_threads_change_nothing(mode: Any, key_frame_step: int) -> None:
    """Bit by bit what is found without them; each source of people sees its frames once."""
    detector, frames = narrow(), video(KEY_FRAMES_PER_CLIP + 21, size=(64, 96))
    found: list[list[np.ndarray]] = []
    for threads in (True, False):
        seen: list[int] = []

        def people(batch: np.ndarray, first: int, seen: list[int] = seen) -> list[np.ndarray]:
            seen += range(first, first + len(batch))
            return two_people(batch, first)

        with prefetch_clip_batches(
            detector.config, frames, source=FunctionSource(people), mode=mode,
            key_frame_step=key_frame_step, threads=threads,
        ) as ahead:  # fmt: skip
            rows = [np.stack([f.frame, f.label, f.score, *f.boxes.T], axis=1)
                    for f in (predict_batch(detector, batch) for batch in ahead)]  # fmt: skip
        found.append(np.concatenate(rows))
        assert seen == list(range(0, len(frames), key_frame_step))
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize("mode", ["shared", "per_clip"])
@pytest.mark.parametrize("frames", [1, 8, 20, 21])
@pytest.mark.parametrize("step", [1, 2, 3])
def test_only_full_clips_are_compiled(monkeypatch, mode: Any, frames: int, step: int) -> None:
    """All but the last batch of a shared video: its shapes are those that were compiled."""
    calls: list[int] = []

    def compiling(plain: Any, dynamic: bool) -> Any:
        assert dynamic is False
        return lambda clips, names: calls.append(clips.shape[2]) or plain(clips, names)

    monkeypatch.setattr(torch, "compile", compiling)
    detector = narrow(
        frames=frames, frame_step=step, endpoint="MaxPool_3a_3x3", width_multiplier=0.01
    )
    compile_trunk(detector, mode)
    count = 2 * KEY_FRAMES_PER_CLIP * step + 5 if mode == "shared" else 9
    parts = list(iter_clip_batches(((frame, np.zeros((0, 4))) for frame in video(count)),
                        ClipGeometry(detector.config), mode=mode))  # fmt: skip
    lengths = [batch.clips.shape[1] for batch in parts]
    assert set(lengths[:-1]) == {ClipGeometry(detector.config).clip_length(mode)}
    for batch in (parts[0], parts[-1]):
        predict_batch(detector, batch)
    full = [lengths[0], lengths[-1]]
    assert calls == [length for length in full if length == lengths[0]]


def test_nobody_and_nothing() -> None:
    detector = narrow()

    def nobody(frames: np.ndarray, first: int) -> list[np.ndarray]:
        return [np.empty((0, 5)) for _ in frames]

    for mode in ("shared", "per_clip"):
        (found,) = predict_frames(
            TorchPredictor(detector), video(2), source=FunctionSource(nobody), mode=mode
        )  # type: ignore[arg-type]
        assert len(found.frame) == len(found.score) == 0 and found.boxes.shape == (0, 4)
        assert not list(
            predict_frames(TorchPredictor(detector), [], source=FunctionSource(nobody), mode=mode)
        )  # type: ignore[arg-type]


def test_external_proposals_replace_own_ones() -> None:
    detector = narrow(proposals="features")
    torch.nn.init.zeros_(detector.head.deltas.weight)
    found = results(detector, video(2))
    assert {tuple(np.round(box * (48, 32, 48, 32))) for box in found[0][:, 2:]} <= {
        (4, 4, 30, 28), (10, 2, 46, 30)
    }  # fmt: skip


def test_half_precision_is_near() -> None:
    detector = narrow(backbone="s3d-g", endpoint="Mixed_4b")
    frames = video(6)
    exact, near = (
        results(detector, frames),
        results(detector, frames, autocast_dtype=torch.bfloat16),
    )
    for frame, rows in exact.items():
        best, other = (np.sort(one[:, 1])[-2:] for one in (rows, near[frame]))
        np.testing.assert_allclose(best, other, atol=0.1)


@pytest.mark.parametrize(
    ("backbone", "endpoint", "stride"),
    [
        ("s3d-g", "MaxPool_3a_3x3", 4), ("s3d-g", "Mixed_4e", 4), ("i2d", "Mixed_5c", 8),
        ("r2plus1d_18", "layer3", 4), ("r2plus1d_18", "layer4", 8),
    ],
)  # fmt: skip
@pytest.mark.parametrize("step", [1, 3])
def test_the_phase_follows_the_backbone(
    backbone: str, endpoint: str, stride: int, step: int
) -> None:
    """All shared clips begin at one phase of the coarsest feature map's steps."""
    clips = geometry(20, step, backbone=backbone, endpoint=endpoint)
    assert clips.time_stride == stride
    batches = list(iter_clip_batches(numbered_frames(400), clips))
    starts = {
        (batch.frame_numbers[0] - batch.key_frame_positions[0].item() * step) % (stride * step)
        for batch in batches
    }
    assert len(starts) == 1 and len(batches) > 1
    assert all(batch.clips.shape[1] % stride == 0 for batch in batches)


def test_actionness_and_boxes_of_every_proposal() -> None:
    """One row a proposal, before any is dropped; with one softmax actionness is 1 - background."""
    for changes in ({}, {"multi_label": True}, {"per_class_boxes": True}):
        detector = narrow(**changes)
        boxes = np.array([[4.0, 4, 30, 28], [10, 2, 46, 30]])
        frames = [(frame, boxes) for frame in video(40)]
        batch = next(iter_clip_batches(frames, geometry(8)))
        predictions = TorchPredictor(detector).predict(batch)
        assert [each.frame for each in predictions] == list(range(40))
        for each in predictions:
            assert each.probabilities.shape == (2, 3) and each.actionness.shape == (2,)
            assert each.boxes.shape == ((2, 3, 4) if "per_class_boxes" in changes else (2, 1, 4))
            assert (each.actionness <= 1 + 1e-6).all()
            multi = "multi_label" in changes
            expected = each.probabilities.amax(1) if multi else each.probabilities.sum(1)
            torch.testing.assert_close(each.actionness, expected)
