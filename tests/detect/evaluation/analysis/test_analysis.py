"""What the report says besides AP, each by hand on a few boxes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from actiontubes.datasets.tables import Detections, Tubes, make_videos, select_rows
from actiontubes.detect.evaluation.analysis.confusion import confusion_matrix
from actiontubes.detect.evaluation.analysis.linking_loss import REASONS, count_linked
from actiontubes.detect.evaluation.analysis.timelines import Span, timelines
from actiontubes.detect.evaluation.evaluate import evaluate_tables
from actiontubes.detect.evaluation.frame_map import frame_overlaps
from actiontubes.detect.evaluation.protocols import ACT, YOWO
from actiontubes.detect.experiments.benchmark_evaluation import synthetic_detections
from actiontubes.detect.linking.linker import link

NAMES = {"video_names": ("a", "b"), "label_names": ("run", "jump")}


def detections_of(*rows: tuple[int, int, int, float, float]) -> Detections:
    """Rows of video, frame, label, score and x; boxes are 10 wide and high."""
    video, frame, label, score, x = np.transpose(rows)
    boxes = np.stack([x, 0 * x, x + 10, 0 * x + 10], axis=1)
    codes = (each.astype(np.int32) for each in (video, frame, label))
    return Detections(*codes, score, boxes, **NAMES)


def tubes_of(*rows: tuple[int, int, int, float, float], scored: bool = True) -> Tubes:
    """Rows as those of detections; a tube for each video, label and score."""
    boxes = detections_of(*rows)
    keys = np.stack([boxes.video, boxes.label, boxes.score], axis=1)
    tube = np.unique(keys, axis=0, return_inverse=True)[1].reshape(-1)
    return Tubes(
        boxes.video, boxes.frame, boxes.label, boxes.boxes, tube.astype(np.int64), **NAMES,
        tube_score=boxes.score if scored else None,
    )  # fmt: skip


def test_confusion() -> None:
    """Frame 0: run found, and a second time; frame 1: run taken for jump; frame 2: jump missed."""
    truth = tubes_of((0, 0, 0, 1, 0), (0, 1, 0, 1, 0), (0, 2, 1, 1, 0), scored=False)
    boxes = detections_of(
        (0, 0, 0, 0.9, 0), (0, 0, 0, 0.8, 1), (0, 1, 1, 0.7, 0), (0, 1, 1, 0.6, 1),
        (0, 2, 1, 0.2, 0), (1, 5, 0, 0.9, 0),
    )  # fmt: skip
    overlaps = frame_overlaps(truth, boxes, [ACT, YOWO], 0.5)
    found = confusion_matrix(overlaps, ACT, 0.5, 0.5)
    # The second run, the second jump, and the run in video b.
    assert found.tolist() == [[1, 1, 0], [0, 0, 1], [2, 1, 0]]
    assert confusion_matrix(overlaps, ACT, 0.5, 0.1)[1].tolist() == [0, 1, 0]
    # Under yowo, frames without ground truth do not count.
    assert confusion_matrix(overlaps, YOWO, 0.5, 0.5)[2].tolist() == [1, 1, 0]


def test_confusion_adds_up() -> None:
    truth, boxes = synthetic_detections(0.02)
    found = confusion_matrix(frame_overlaps(truth, boxes, [ACT], 0.5), ACT, 0.5, 0.3)
    assert found[:-1].sum(axis=1).tolist() == np.bincount(truth.label, minlength=24).tolist()
    kept = np.bincount(boxes.label[boxes.score >= 0.3], minlength=24)
    assert found[:, :-1].sum(axis=0).tolist() == kept.tolist()
    (result,) = evaluate_tables(truth, [ACT], boxes)
    matches = result.matches["frame"]
    hits = int((matches.hits[0.5] & (matches.score >= 0.3)).sum())
    assert int(np.trace(found[:-1, :-1])) == hits


def test_what_became_of_detections() -> None:
    tubes = tubes_of((0, 0, 0, 0.9, 0), (0, 1, 0, 0.9, 0), (0, 2, 0, 0.9, 0))
    boxes = detections_of(
        (0, 0, 0, 0.9, 0), (0, 2, 0, 0.7, 1),  # in the tube; on frame 1 it was filled in
        (0, 0, 0, 0.5, 2),  # beside the first
        (0, 0, 0, 0.4, 50),  # elsewhere
        (0, 9, 0, 0.3, 0),  # later
        (0, 0, 1, 0.2, 0), (1, 0, 0, 0.1, 0),  # another class, another video
    )  # fmt: skip
    found = count_linked(boxes, tubes)
    assert list(found.counts.values()) == [2, 1, 1, 1, 2]
    assert found.median_scores[REASONS[0]] == 0.8
    assert (found.num_tubes, found.num_boxes, found.num_filled) == (1, 3, 1)
    nothing = count_linked(boxes, select_rows(tubes, tubes.frame > 9))
    assert list(nothing.counts.values()) == [0, 0, 0, 0, 7]
    assert nothing.median_scores[REASONS[0]] is None


def test_linked_detections_add_up() -> None:
    _, boxes = synthetic_detections(0.02)
    tubes = link(boxes)
    found = count_linked(boxes, tubes)
    assert sum(found.counts.values()) == len(boxes)
    assert found.counts[REASONS[0]] <= found.num_boxes - found.num_filled


def test_timelines() -> None:
    """Video a: run is found; a tube of jump is not there. Video b: jump is missed."""
    truth = tubes_of(*((0, f, 0, 1, 0) for f in range(4)), (1, 3, 1, 1, 0), scored=False)
    tubes = tubes_of(*((0, f, 0, 0.9, 0) for f in range(1, 4)), (0, 7, 1, 0.8, 0),
                     (0, 8, 1, 0.1, 0))  # fmt: skip
    videos = make_videos(["a", "b"], [20, 10], 320, 240)
    first, second = timelines(truth, tubes, ACT, 0.5, 0.5, videos)
    assert (first.video, first.num_frames, first.num_errors) == ("a", 20, 1)
    assert first.truth == [Span("run", 0, 3, None, True)]
    assert sorted(first.tubes, key=lambda each: each.label) == [
        Span("jump", 7, 7, 0.8, False), Span("run", 1, 3, 0.9, True),
    ]  # fmt: skip
    assert second.truth == [Span("jump", 3, 3, None, False)] and second.tubes == []
    # Under a threshold above its score, the tube of run is gone, and its truth missed.
    again = timelines(truth, replace(tubes), ACT, 0.5, 0.95)
    assert [each.num_errors for each in again] == [1, 1]
    assert [each.num_frames for each in again] == [4, 4]
