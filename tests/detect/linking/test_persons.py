"""People in made-up videos: who they are when they cross, leave, come back, and at a cut."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from actiontubes.datasets.tables import Detections, Tubes, select_rows
from actiontubes.detect.boxes.iou import pairwise_iou
from actiontubes.detect.boxes.merging import merge_overlapping
from actiontubes.detect.linking.box_tracker import assign
from actiontubes.detect.linking.linker import link, link_all
from actiontubes.detect.linking.persons import PersonsLinker
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

RUN, JUMP = 0, 1


def table(rows: list[tuple[int, int, float, float, float]], size=(40.0, 80.0)) -> Detections:
    """Boxes of one video from (frame, label, score, left, top), with a pixel of noise."""
    columns = np.array(sorted(rows)).reshape(-1, 5)
    low = columns[:, 3:] + np.random.default_rng(0).normal(0, 1, (len(columns), 2))
    return Detections(
        video=np.zeros(len(columns), np.int32),
        frame=columns[:, 0].astype(np.int32),
        label=columns[:, 1].astype(np.int32),
        score=columns[:, 2].copy(),
        boxes=np.concatenate([low, low + size], axis=1),
        video_names=("one",),
        label_names=("run", "jump"),
    )


def persons_at(tubes: Tubes, frame: int) -> dict[int, float]:
    """The left edge of each person on a frame."""
    rows = np.flatnonzero(tubes.frame == frame)
    assert tubes.person is not None
    return {int(tubes.person[row]): float(tubes.boxes[row, 0]) for row in rows}


def test_two_people_who_cross_keep_their_numbers() -> None:
    """They hide each other for some frames, and each seems to do what the other does."""
    rows = []
    for t in range(50):
        apart = abs(6 * t - (300 - 6 * t)) > 25
        rows += [(t, RUN, 0.8, 6 * t, 50), (t, JUMP, 0.3, 6 * t, 50)]
        if apart:
            rows += [(t, JUMP, 0.7, 300 - 6 * t, 50), (t, RUN, 0.2, 300 - 6 * t, 50)]
    tubes = link(table(rows), "persons")
    assert tubes.person is not None and set(tubes.person) == {1, 2}
    before, after = persons_at(tubes, 5), persons_at(tubes, 45)
    for person, left in before.items():
        assert left + after[person] == pytest.approx(300, abs=6)
    best = {
        person: tubes.label[np.argmax(np.where(tubes.person == person, tubes.tube_score, 0))]
        for person in (1, 2)
    }
    assert sorted(best.values()) == [RUN, JUMP]


def test_one_person_is_one_track_whatever_they_do() -> None:
    rows = [(t, RUN if t < 40 else JUMP, 0.8, 3 * t, 50) for t in range(80) if t % 7]
    result = link_all(table(rows), "persons")
    assert result.tracks is not None
    assert set(result.tracks.person) == {1}
    assert result.tracks.frame.tolist() == list(range(1, 80))
    assert set(zip(result.tubes.label.tolist(), result.tubes.person.tolist())) == {(0, 1), (1, 1)}


def appearance_of(who: np.ndarray) -> np.ndarray:
    """(R, 16) what persons look like, with noise; persons by number."""
    random = np.random.default_rng(1)
    return random.normal(0, 1, (10, 16))[who] + random.normal(0, 0.3, (len(who), 16))


def test_somebody_who_comes_back_is_known_by_appearance() -> None:
    """The first leaves to the right and comes back from the left, then somebody else comes."""
    rows = [(t, RUN, 0.8, 200 + 5 * t, 50) for t in range(20)]
    rows += [(t, RUN, 0.8, 5 * t - 400, 50) for t in range(80, 110)]
    rows += [(t, RUN, 0.8, 5 * t - 800, 50) for t in range(160, 190)]
    detections = table(rows)
    who = np.searchsorted([60, 150], detections.frame) // 2
    linker = PersonsLinker()
    results = [linker.update(detections, appearance_of(who)), linker.finish()]
    person = {
        (int(tubes.frame[0]), int(tubes.person[0]))
        for result in results
        for tubes in (
            select_rows(result.tubes, result.tubes.tube == tube)
            for tube in np.unique(result.tubes.tube)
        )
    }
    assert person == {(0, 1), (80, 1), (160, 2)}
    without = link(detections, "persons")
    assert set(without.person) == {1, 2, 3}


def test_a_cut_ends_every_track() -> None:
    detections = table([(t, RUN, 0.8, 100 + t, 50) for t in range(60)])
    (one,) = np.unique(link(detections, "persons").person)
    for method in ("persons", "act", "viterbi"):
        tubes = link(detections, method, cuts={"one": [30]})
        spans = [tubes.frame[tubes.tube == number] for number in np.unique(tubes.tube)]
        assert [(span[0], span[-1]) for span in spans] == [(0, 29), (30, 59)]
    assert one == 1 and link(detections, "persons", cuts={"one": [30]}).person.max() == 2


def test_frames_as_they_come_give_the_same_tubes() -> None:
    random = np.random.default_rng(3)
    rows = [
        (t, int(random.integers(2)), float(random.uniform(0.1, 1)), x + 2 * t, 50)
        for x in (0, 300, 600)
        for t in range(x // 10, 80 + x // 10)
        if random.random() < 0.8
    ]
    detections = table(rows)
    whole = link_all(detections, "persons")
    linker = PersonsLinker()
    results = []
    for low, high in pairwise([0, 7, 50, 90, 200]):
        chosen = (detections.frame >= low) & (detections.frame < high)
        results.append(linker.update(select_rows(detections, chosen)))
    results.append(linker.finish())
    assert sum(len(result.tubes) > 0 for result in results) > 1
    parts = [result.tubes for result in results if len(result.tubes)]
    numbers = np.concatenate([part.tube for part in parts])
    assert len(np.unique(numbers)) == len(np.unique(whole.tubes.tube))
    rows_of = lambda tubes: set(zip(tubes.frame, tubes.label, tubes.boxes[:, 0].round(6)))  # noqa: E731
    assert set().union(*map(rows_of, parts)) == rows_of(whole.tubes)


def test_boxes_of_a_person_are_averaged_by_score() -> None:
    boxes = np.array([[0, 0, 10, 10], [50, 0, 60, 10], [2, 0, 12, 10], [0, 0, 10, 10]], float)
    group, merged = merge_overlapping(
        np.array([0, 0, 0, 1]), np.array([0.6, 0.5, 0.2, 0.1]), boxes, 0.5
    )
    assert group.tolist() == [0, 1, 0, 2]
    np.testing.assert_allclose(merged, [[0.5, 0, 10.5, 10], [50, 0, 60, 10], [0, 0, 10, 10]])


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 2**32 - 1))
def test_assignment_has_the_greatest_sum(seed: int) -> None:
    """As one large problem has in which pairs of different groups are worth nothing."""
    random = np.random.default_rng(seed)
    group = np.sort(random.integers(0, 4, 12))
    column_group = np.sort(random.integers(0, 4, 10))
    matrix = random.random((12, 10)) * (random.random((12, 10)) < 0.5)
    matrix *= group[:, None] == column_group
    row, column = np.nonzero(matrix)
    chosen = assign(row, column, matrix[row, column], group)
    assert len(set(chosen[0].tolist())) == len(set(chosen[1].tolist())) == len(chosen[0])
    expected = matrix[linear_sum_assignment(matrix, maximize=True)].sum()
    assert matrix[chosen].sum() == pytest.approx(expected)


def test_nothing_gives_nothing() -> None:
    result = link_all(table([]), "persons")
    assert len(result.tubes) == 0 and result.num_dropped == 0
    assert pairwise_iou(result.tubes.boxes, result.tubes.boxes).shape == (0, 0)
