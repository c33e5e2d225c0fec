"""What must hold for any detections, under every protocol."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import pytest
from actiontubes.datasets.tables import Detections, Tubes, select_rows
from actiontubes.detect.evaluation.align import align_to_ground_truth
from actiontubes.detect.evaluation.evaluate import Evaluation, evaluate_tables
from actiontubes.detect.evaluation.protocols import ACT, MULTISPORTS, PROTOCOLS, ROAD, Protocol
from actiontubes.detect.experiments.plain_loop import plain_frame_ap
from actiontubes.detect.linking.linker import link
from hypothesis import assume, given, settings
from hypothesis import strategies as st

VIDEOS = ("a/one", "b/two", "b/three")
LABELS = ("jump", "run", "wave")
every_protocol = pytest.mark.parametrize("protocol", PROTOCOLS, ids=lambda each: each.name)
quick = settings(max_examples=40, deadline=None)


def truth_of(random: np.random.Generator, apart: bool = False) -> Tubes:
    """Ground truth: two to six tubes of 2 to 8 frames; `apart` keeps those of a video disjoint."""
    parts = []
    for tube in range(random.integers(2, 7)):
        length = int(random.integers(2, 9))
        corner = random.uniform(0, 60, 2) + np.array([apart * 200 * tube, 0])
        size = random.uniform(10, 60, 2)
        steps = np.arange(length)[:, None] * random.uniform(-2, 2, 2)
        boxes = np.concatenate([corner + steps, corner + steps + size], axis=1)
        frame = random.integers(0, 4) + np.arange(length)
        video, label = random.integers(0, 3), random.integers(0, 3)
        parts.append((np.full(length, video), frame, np.full(length, label), boxes, tube))
    columns = [np.concatenate([part[i] for part in parts]) for i in range(4)]
    tube = np.concatenate([np.full(len(part[0]), part[4]) for part in parts])
    return Tubes(
        columns[0].astype(np.int32),
        columns[1].astype(np.int32),
        columns[2].astype(np.int32),
        columns[3],
        tube.astype(np.int64),
        VIDEOS,
        LABELS,
    )


def detections_of(random: np.random.Generator, truth: Tubes) -> Detections:
    """Noisy copies of ground truth, some of another class or frame; no equal scores."""
    rows = random.integers(0, len(truth), random.integers(1, 40))
    boxes = truth.boxes[rows] + random.normal(0, 4, (len(rows), 4))
    boxes = np.concatenate(
        [np.minimum(boxes[:, :2], boxes[:, 2:]), np.maximum(boxes[:, :2], boxes[:, 2:])], axis=1
    )
    label = np.where(random.random(len(rows)) < 0.7, truth.label[rows], random.integers(0, 3))
    score = (random.permutation(len(rows)) + 1) / (len(rows) + 1)
    frame = truth.frame[rows] + random.integers(0, 3, len(rows)) * (random.random(len(rows)) < 0.3)
    return Detections(
        truth.video[rows],
        frame.astype(np.int32),
        label.astype(np.int32),
        score,
        boxes,
        VIDEOS,
        LABELS,
    )


def scored(truth: Tubes, random: np.random.Generator) -> Tubes:
    return replace(truth, tube_score=random.random(truth.tube.max() + 1)[truth.tube])


def tubes_of(random: np.random.Generator, truth: Tubes) -> Tubes:
    """Some of the tubes, moved and cut, some with another class."""
    keep = random.random(len(truth)) < 0.8
    keep[0] = True
    label = np.where(random.random(truth.tube.max() + 1) < 0.8, 0, random.integers(0, 3))
    moved = replace(
        truth,
        boxes=truth.boxes + random.normal(0, 2, 4),
        label=((truth.label + label[truth.tube]) % 3).astype(np.int32),
    )
    return select_rows(scored(moved, random), keep)


def run(
    truth: Tubes,
    protocol: Protocol,
    detections: Detections | None = None,
    tubes: Tubes | None = None,
) -> Evaluation:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        (result,) = evaluate_tables(truth, [protocol], detections, tubes)
    return result


def values(result: Evaluation) -> list[float]:
    return [
        value
        for scores in (*result.frame_scores, *result.video_scores)
        for value in scores.ap.values()
        if value is not None
    ]


seeds = st.integers(0, 2**32 - 1).map(np.random.default_rng)


@every_protocol
@quick
@given(random=seeds)
def test_perfect_detections_give_100(protocol: Protocol, random: np.random.Generator) -> None:
    truth = truth_of(random)
    detections = Detections(
        truth.video,
        truth.frame,
        truth.label,
        random.random(len(truth)),
        truth.boxes,
        VIDEOS,
        LABELS,
    )
    # The shift and the strict comparison of road's tubes do not let a perfect tube reach 1.
    thresholds = [0.1, 0.5] if protocol is ROAD else [0.1, 0.5, 0.95, 1.0]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        (result,) = evaluate_tables(
            truth, [protocol], detections, scored(truth, random), [0.3, 0.999], thresholds
        )
    # Identical tubes of one class would suppress one another; these never are.
    assume(protocol.tube_suppression is None or not _crowded(truth))
    assert values(result) == pytest.approx([100.0] * len(values(result)), abs=1.1e-3)


def _crowded(truth: Tubes) -> bool:
    from actiontubes.detect.evaluation.video_map import nms_tubes

    return not nms_tubes(replace(truth, tube_score=truth.tube / 10), 0.3).all()


@every_protocol
@quick
@given(random=seeds)
def test_shuffled_rows_change_nothing(protocol: Protocol, random: np.random.Generator) -> None:
    truth = truth_of(random)
    detections, tubes = detections_of(random, truth), tubes_of(random, truth)
    # With equal scores too.
    detections = replace(detections, score=np.round(detections.score, 1))
    mixed = [
        select_rows(table, random.permutation(len(table))) for table in (truth, detections, tubes)
    ]
    first, second = run(truth, protocol, detections, tubes), run(mixed[0], protocol, *mixed[1:])
    assert first.as_json() == second.as_json()


@every_protocol
@quick
@given(random=seeds)
def test_a_worse_false_positive_never_helps(
    protocol: Protocol, random: np.random.Generator
) -> None:
    truth = truth_of(random)
    detections = detections_of(random, truth)
    more = Detections(
        np.append(detections.video, random.integers(0, 3)).astype(np.int32),
        np.append(detections.frame, random.integers(0, 9)).astype(np.int32),
        np.append(detections.label, random.integers(0, 3)).astype(np.int32),
        np.append(detections.score, detections.score.min() / 2),
        np.append(detections.boxes, [[5000.0, 5000, 5010, 5010]], axis=0),
        VIDEOS,
        LABELS,
    )
    before, after = run(truth, protocol, detections), run(truth, protocol, more)
    assert all(b <= a + 1e-9 for a, b in zip(values(before), values(after)))


@every_protocol
@quick
@given(random=seeds)
def test_duplicates_never_help(protocol: Protocol, random: np.random.Generator) -> None:
    # Where ground truth boxes of a class overlap, a duplicate may find the other one by the
    # protocols that let it; here they lie apart.
    truth = truth_of(random, apart=True)
    detections, tubes = detections_of(random, truth), tubes_of(random, truth)
    twice = select_rows(detections, np.repeat(np.arange(len(detections)), 2))
    again = select_rows(tubes, np.tile(np.arange(len(tubes)), 2))
    again = replace(again, tube=np.append(tubes.tube, tubes.tube + 1000))
    before = run(truth, protocol, detections, tubes)
    after = run(truth, protocol, twice, again)
    assert all(b <= a + 1e-9 for a, b in zip(values(before), values(after)))


@quick
@given(random=seeds, factor=st.sampled_from([0.5, 2.0, 8.0]))
def test_scale_does_not_matter_without_a_pixel_rule(
    random: np.random.Generator, factor: float
) -> None:
    truth = truth_of(random)
    detections, tubes = detections_of(random, truth), tubes_of(random, truth)
    large = [replace(table, boxes=table.boxes * factor) for table in (truth, detections, tubes)]
    first, second = (
        run(truth, MULTISPORTS, detections, tubes),
        run(large[0], MULTISPORTS, *large[1:]),
    )
    assert values(first) == pytest.approx(values(second))


@every_protocol
@quick
@given(random=seeds)
def test_errors_add_to_100(protocol: Protocol, random: np.random.Generator) -> None:
    truth = truth_of(random)
    result = run(truth, protocol, detections_of(random, truth), tubes_of(random, truth))
    for errors, scores in (
        (result.frame_errors, result.frame_scores[1]),
        (result.video_errors, result.video_scores[3]),
    ):
        assert scores.threshold == 0.5
        for label, shares in errors.items():
            assert sum(shares.values()) == pytest.approx(100)
            assert min(shares.values()) > -1e-9
            assert shares["ap"] == pytest.approx(scores.ap[label])


@quick
@given(random=seeds, threshold=st.sampled_from([0.3, 0.5, 0.75]))
def test_equals_the_plain_loop(random: np.random.Generator, threshold: float) -> None:
    truth = truth_of(random)
    detections = detections_of(random, truth)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        (result,) = evaluate_tables(truth, [ACT], detections, frame_thresholds=[threshold])
    found = [float("nan") if ap is None else ap for ap in result.frame_scores[0].ap.values()]
    assert found == pytest.approx(plain_frame_ap(truth, detections, threshold), nan_ok=True)


@quick
@given(random=seeds)
def test_tubes_by_the_formulas(random: np.random.Generator) -> None:
    """Overlap of two tubes against the definition, frame by frame."""
    from actiontubes.detect.evaluation.video_map import tube_iou, tube_overlaps

    truth = truth_of(random)
    moved = replace(truth, boxes=truth.boxes + random.normal(0, 5, 4))
    for protocol, one, least in ((ACT, 1, 1), (MULTISPORTS, 0, 1), (ROAD, 1, 2)):
        overlaps = tube_overlaps(moved, truth, [protocol.tube_extent])
        found = dict(zip(zip(overlaps.tube, overlaps.other), tube_iou(overlaps, protocol)))
        for a in np.unique(truth.tube):
            for b in np.unique(truth.tube):
                first, second = np.flatnonzero(truth.tube == a), np.flatnonzero(truth.tube == b)
                if truth.video[first[0]] != truth.video[second[0]]:
                    assert (a, b) not in found
                    continue
                value = _tube_iou(moved, first, truth, second, protocol, one, least)
                assert found.get((a, b), 0.0) == pytest.approx(value)


def _tube_iou(
    moved: Tubes,
    first: np.ndarray,
    truth: Tubes,
    second: np.ndarray,
    protocol: Protocol,
    one: int,
    least: int,
) -> float:
    from actiontubes.detect.boxes.iou import rowwise_iou

    start = max(moved.frame[first[0]], truth.frame[second[0]])
    end = min(moved.frame[first[-1]], truth.frame[second[-1]])
    if end - start + 1 < least:
        return 0.0
    union = max(moved.frame[first[-1]], truth.frame[second[-1]]) - min(
        moved.frame[first[0]], truth.frame[second[0]]
    )
    ious = []
    for frame in range(start, end + 1):
        a = first[moved.frame[first] == frame]
        b = second[truth.frame[second] == frame]
        ious.append(rowwise_iou(moved.boxes[a], truth.boxes[b], protocol.tube_extent)[0])
    return float(np.mean(ious) * (end - start + one) / (union + one))


def test_one_sided_frames_videos_and_classes() -> None:
    """Ground truth of jump and run in two videos; one detection where there is none."""
    zero = np.zeros(2, np.int32)
    truth = Tubes(
        np.array([0, 1], np.int32),
        zero,
        np.array([0, 1], np.int32),
        np.array([[0.0, 0, 9, 9]] * 2),
        np.array([0, 1]),
        VIDEOS,
        LABELS,
    )
    hit = Detections(
        np.array([0, 0, 2, 0], np.int32),
        np.array([0, 5, 0, 0], np.int32),
        np.array([0, 0, 0, 2], np.int32),
        np.array([0.5, 0.9, 0.8, 0.7]),
        np.array([[0.0, 0, 9, 9]] * 4),
        VIDEOS,
        LABELS,
    )
    with pytest.warns(UserWarning, match=r"no ground truth for wave \(1 detections\)"):
        results = evaluate_tables(truth, PROTOCOLS, hit, frame_thresholds=[0.5])
    by_name = {result.protocol.name: result.frame_scores[0] for result in results}
    for scores in by_name.values():
        # A class without ground truth has no AP; one without detections has 0.
        assert scores.ap["wave"] is None
        assert scores.ap["run"] == 0
    # Two false positives come first: on a frame, and in a video, without ground truth.
    assert by_name["act"].ap["jump"] == pytest.approx(100 * (0 + 1 / 3) / 2)
    assert by_name["multisports"].ap["jump"] == pytest.approx(100 / 3)
    assert by_name["road"].ap["jump"] == pytest.approx(100 / 3)
    # Only frames with ground truth count.
    assert by_name["yowo"].ap["jump"] == pytest.approx(100)
    assert by_name["yowo"].mean == pytest.approx(50)


def test_rows_of_unknown_videos_are_counted() -> None:
    truth = truth_of(np.random.default_rng(0))
    detections = detections_of(np.random.default_rng(1), truth)
    foreign = replace(detections, video_names=("a/one", "b/two", "elsewhere"))
    count = int((detections.video == 2).sum())
    with pytest.warns(
        UserWarning, match=f"d.parquet: ignoring {count} of {len(detections)} rows .*elsewhere"
    ):
        assert len(align_to_ground_truth(foreign, truth, "d.parquet")) == len(detections) - count


@quick
@given(random=seeds)
def test_linked_perfect_detections_are_the_tubes(random: np.random.Generator) -> None:
    """From boxes to tubes to video-mAP: one long instance a video and class comes back whole."""
    length = int(random.integers(15, 40))
    corner = random.uniform(0, 100, (3, 2)).repeat(length, axis=0)
    video = np.repeat(np.arange(3, dtype=np.int32), length)
    frame = np.tile(np.arange(length, dtype=np.int32), 3)
    boxes = np.concatenate([corner, corner + 40], axis=1)
    truth = Tubes(video, frame, video, boxes, video.astype(np.int64), VIDEOS, LABELS)
    detections = Detections(video, frame, video, random.random(3 * length), boxes, VIDEOS, LABELS)
    result = run(truth, ACT, tubes=link(detections, "act", min_score=0.0))
    assert values(result) == pytest.approx([100.0] * len(values(result)))
