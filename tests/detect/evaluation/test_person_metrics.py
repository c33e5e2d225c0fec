"""HOTA and IDF1 by hand, and against TrackEval where it is installed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from actiontubes.datasets.errors import InputError
from actiontubes.datasets.tables import PersonRows, Tubes, concatenate_rows, select_rows
from actiontubes.detect.boxes.iou import pairwise_iou
from actiontubes.detect.evaluation.person_metrics import person_scores


def persons_of(rows: list[tuple[int, int, int, float]], videos: int = 1) -> PersonRows:
    """Rows of video, frame, person and x; boxes are 10 wide and high."""
    video, frame, person, x = np.transpose(rows)
    boxes = np.stack([x, np.zeros(len(x)), x + 10, np.full(len(x), 10.0)], axis=1)
    return PersonRows(
        video=video.astype(np.int32), frame=frame.astype(np.int32), score=np.ones(len(x)),
        boxes=boxes, person=person.astype(np.int64),
        video_names=tuple(f"v{number}" for number in range(videos)),
    )  # fmt: skip


def truth_of(persons: PersonRows) -> Tubes:
    assert persons.person is not None
    return Tubes(
        persons.video, persons.frame, np.zeros(len(persons), np.int32), persons.boxes,
        persons.person, persons.video_names, ("any",), person=persons.person,
    )  # fmt: skip


def test_perfect() -> None:
    persons = persons_of([(v, f, p, 50.0 * p) for v in (0, 1) for f in range(5) for p in (1, 2)], 2)
    renamed = replace(persons, person=10 - persons.person)  # any numbers
    assert set(person_scores(truth_of(persons), renamed).as_json().values()) == {100.0}


def test_a_track_that_breaks() -> None:
    """One person on 4 frames, found as persons 1 and 2 on two frames each, exactly.

    Every box is matched (DetA 1). Each of the 4 has association 2 / (4 + 2 - 2) = 1/2. Identity
    keeps one half: IDTP 2, so IDF1 = 2 * 2 / (4 + 4).
    """
    truth = truth_of(persons_of([(0, f, 1, 0.0) for f in range(4)]))
    found = persons_of([(0, f, 1 + f // 2, 0.0) for f in range(4)])
    scores = person_scores(truth, found)
    assert scores.detection == pytest.approx(100)
    assert scores.association == pytest.approx(50)
    assert scores.hota == pytest.approx(100 * np.sqrt(0.5))
    assert (scores.idf1, scores.id_precision, scores.id_recall) == pytest.approx((50, 50, 50))


def test_misses_false_boxes_and_the_threshold() -> None:
    """Of 4 boxes 2 are found with IoU 2/3, which 13 of the 19 thresholds allow; 1 is elsewhere."""
    truth = truth_of(persons_of([(0, f, 1, 0.0) for f in range(4)]))
    found = persons_of([(0, 0, 1, 2.0), (0, 1, 1, 2.0), (0, 7, 1, 0.0)])
    scores = person_scores(truth, found)
    detection = association = 2 / 5  # 2 of 4 and 3, shared by the only pair of persons
    assert scores.detection == pytest.approx(100 * detection * 13 / 19)
    assert scores.hota == pytest.approx(100 * np.sqrt(detection * association) * 13 / 19)
    assert scores.idf1 == pytest.approx(100 * 2 * 2 / 7)


def test_a_video_without_a_prediction_counts() -> None:
    both = persons_of([(0, 0, 1, 0.0), (1, 0, 1, 0.0)], 2)
    found = select_rows(both, both.video == 0)
    scores = person_scores(truth_of(both), found)
    assert scores.detection == pytest.approx(50) and scores.association == pytest.approx(100)
    nothing = person_scores(truth_of(both), select_rows(both, both.video == 7))
    assert set(nothing.as_json().values()) == {0.0}


def test_two_actions_of_a_person_are_one_person() -> None:
    persons = persons_of([(0, f, 1, 0.0) for f in range(4)])
    twice = concatenate_rows([persons, persons])
    assert set(person_scores(truth_of(twice), twice).as_json().values()) == {100.0}


def test_without_persons() -> None:
    persons = persons_of([(0, 0, 1, 0.0)])
    with pytest.raises(InputError, match="ground truth has no column person"):
        person_scores(replace(truth_of(persons), person=None), persons)
    with pytest.raises(InputError, match="the file has no column person"):
        person_scores(truth_of(persons), replace(persons, person=None))


@pytest.mark.parametrize("seed", range(5))
def test_equals_trackeval(seed: int) -> None:
    """Its own HOTA and Identity, on crowded random walks with misses, switches and false boxes."""
    metrics = pytest.importorskip("trackeval.metrics")
    random = np.random.default_rng(seed)
    rows, found = [], []
    for video in range(2):
        x = random.uniform(0, 40, 5)
        for frame in range(30):
            x = x + random.normal(0, 2, 5)
            for person in range(5):
                rows.append((video, frame, person + 1, x[person]))
                if random.random() < 0.8:
                    switched = person + 1 + 5 * (frame > 17) * (person < 2)
                    found.append((video, frame, switched, x[person] + random.normal(0, 2)))
            if random.random() < 0.3:
                found.append((video, frame, 20, random.uniform(0, 60)))
    truth, persons = persons_of(rows, 2), persons_of(found, 2)
    scores = person_scores(truth_of(truth), persons)
    hota, identity = metrics.HOTA(), metrics.Identity({"PRINT_CONFIG": False})
    sequences = [_as_trackeval(*(select_rows(each, each.video == video)
                                 for each in (truth, persons))) for video in range(2)]  # fmt: skip
    both = [
        metric.combine_sequences({str(i): metric.eval_sequence(s) for i, s in enumerate(sequences)})
        for metric in (hota, identity)
    ]
    expected = [both[0][name].mean() for name in ("HOTA", "DetA", "AssA")]
    expected += [both[1][name] for name in ("IDF1", "IDP", "IDR")]
    found_values = [*scores.as_json().values()]
    assert found_values == pytest.approx([100 * float(value) for value in expected])


def _as_trackeval(truth: PersonRows, persons: PersonRows) -> dict[str, object]:
    assert truth.person is not None and persons.person is not None
    ids = [np.unique(each.person, return_inverse=True)[1] for each in (truth, persons)]
    on = [[each.frame == frame for frame in range(30)] for each in (truth, persons)]
    return {
        "gt_ids": [ids[0][rows] for rows in on[0]],
        "tracker_ids": [ids[1][rows] for rows in on[1]],
        "similarity_scores": [
            pairwise_iou(truth.boxes[a], persons.boxes[b]) for a, b in zip(*on)
        ],
        "num_gt_ids": ids[0].max() + 1, "num_tracker_ids": ids[1].max() + 1,
        "num_gt_dets": len(truth), "num_tracker_dets": len(persons), "num_timesteps": 30,
    }  # fmt: skip
